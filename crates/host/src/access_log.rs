//! One line per request, to stderr, without what may be secret: no query, no header.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

/// Lines that wait to be written; when a slow stderr fills this, further ones are dropped and counted.
const QUEUE: usize = 8192;
const WRITE_BYTES: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
    Off,
}

/// What is known of a request when its response is over.
pub(crate) struct Entry {
    pub(crate) at: SystemTime,
    pub(crate) client: SocketAddr,
    pub(crate) method: http::Method,
    pub(crate) path: String,
    pub(crate) status: u16,
    pub(crate) bytes: u64,
    pub(crate) took: Duration,
    /// The component that answered; empty when none did.
    pub(crate) component: Arc<str>,
}

#[derive(Clone)]
pub(crate) struct AccessLog(Option<Lines>);

#[derive(Clone)]
struct Lines {
    format: Format,
    lines: mpsc::SyncSender<String>,
    dropped: Arc<AtomicU64>,
}

/// Ends when the last [`AccessLog`] is gone and everything is written.
pub(crate) struct Writer(Option<JoinHandle<()>>);

impl Writer {
    pub(crate) fn finish(self) {
        if let Some(thread) = self.0 {
            // A writer that panicked has nothing more to write.
            let _ = thread.join();
        }
    }
}

pub(crate) fn start(format: Format) -> std::io::Result<(AccessLog, Writer)> {
    if format == Format::Off {
        return Ok((AccessLog(None), Writer(None)));
    }
    let (lines, received) = mpsc::sync_channel(QUEUE);
    let dropped = Arc::new(AtomicU64::new(0));
    let thread = thread::Builder::new()
        .name("access-log".to_owned())
        .spawn({
            let dropped = dropped.clone();
            move || write_all(&received, &dropped)
        })?;
    Ok((
        AccessLog(Some(Lines {
            format,
            lines,
            dropped,
        })),
        Writer(Some(thread)),
    ))
}

impl AccessLog {
    pub(crate) fn write(&self, entry: &Entry) {
        let Some(Lines {
            format,
            lines,
            dropped,
        }) = &self.0
        else {
            return;
        };
        if lines.try_send(line(*format, entry)).is_err() {
            dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn line(format: Format, entry: &Entry) -> String {
    let at = jiff::Timestamp::try_from(entry.at)
        .map(|at| format!("{at:.3}"))
        .unwrap_or_default();
    let milliseconds = entry.took.as_secs_f64() * 1e3;
    match format {
        Format::Json => {
            let line = serde_json::json!({
                "at": at,
                "client": entry.client.to_string(),
                "method": entry.method.as_str(),
                "path": entry.path,
                "status": entry.status,
                "bytes": entry.bytes,
                "ms": (milliseconds * 1e3).round() / 1e3,
                "component": &*entry.component,
            });
            format!("{line}\n")
        }
        Format::Text | Format::Off => format!(
            "{at} {} {} {} {} {}B {milliseconds:.3}ms {}\n",
            entry.client,
            entry.method,
            entry.path,
            entry.status,
            entry.bytes,
            if entry.component.is_empty() {
                "-"
            } else {
                &entry.component
            },
        ),
    }
}

fn write_all(lines: &mpsc::Receiver<String>, dropped: &AtomicU64) {
    let mut pending = String::with_capacity(WRITE_BYTES);
    while let Ok(line) = lines.recv() {
        pending.push_str(&line);
        while pending.len() < WRITE_BYTES {
            let Ok(line) = lines.try_recv() else { break };
            pending.push_str(&line);
        }
        match dropped.swap(0, Ordering::Relaxed) {
            0 => {}
            count => pending.push_str(&format!("{count} lines of the access log were dropped\n")),
        }
        // There is nowhere to say that stderr is gone.
        let _ = std::io::stderr().lock().write_all(pending.as_bytes());
        pending.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_500),
            client: "127.0.0.1:5".parse().unwrap(),
            method: http::Method::GET,
            path: "/v1/\"x\"".to_owned(),
            status: 200,
            bytes: 3,
            took: Duration::from_micros(1_234),
            component: Arc::from("access"),
        }
    }

    #[test]
    fn both_formats_say_the_same() {
        assert_eq!(
            line(Format::Text, &entry()),
            "1970-01-01T00:00:01.500Z 127.0.0.1:5 GET /v1/\"x\" 200 3B 1.234ms access\n"
        );
        let json: serde_json::Value = serde_json::from_str(&line(Format::Json, &entry())).unwrap();
        assert_eq!(json["path"], "/v1/\"x\"");
        assert_eq!(json["ms"], 1.234);
        assert_eq!(json["at"], "1970-01-01T00:00:01.500Z");
    }
}
