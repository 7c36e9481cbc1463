//! One line per request, to stderr, without what may be secret: no query, no header.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::escape::escape;
use crate::stderr::Stderr;

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
pub(crate) struct AccessLog {
    format: Format,
    stderr: Stderr,
}

impl AccessLog {
    pub(crate) fn new(format: Format, stderr: Stderr) -> Self {
        Self { format, stderr }
    }

    pub(crate) fn write(&self, entry: &Entry) {
        if self.format != Format::Off {
            self.stderr.say(line(self.format, entry));
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
            format!("{}\n", escape(&line.to_string()))
        }
        Format::Text | Format::Off => format!(
            "{at} {} {} {} {} {}B {milliseconds:.3}ms {}\n",
            entry.client,
            entry.method,
            escape(&entry.path),
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

    #[test]
    fn a_path_cannot_act_on_a_terminal_or_a_reader_in_either_format() {
        let path = "/\u{1b}[2J\u{7f}\u{9b}2J\u{202e}\u{2066}\u{2028}\n\u{1f600}";
        let entry = Entry {
            path: path.to_owned(),
            ..entry()
        };
        for format in [Format::Text, Format::Json] {
            let line = line(format, &entry);
            let text = line.strip_suffix('\n').unwrap();
            assert!(
                text.bytes()
                    .all(|byte| byte.is_ascii_graphic() || byte == b' '),
                "{text:?}"
            );
        }
        assert!(line(Format::Text, &entry).contains("\\u009b2J\\u202e\\u2066\\u2028"));
        let json: serde_json::Value = serde_json::from_str(&line(Format::Json, &entry)).unwrap();
        assert_eq!(json["path"], path);
    }
}
