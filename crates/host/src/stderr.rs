//! All that this process says on stderr: its own messages, the log of requests and what guests print. One thread
//! writes it, so that whoever does not read it holds up nobody who serves.

use std::io::{self, Write};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use crate::escape::escape_lines;

/// What may wait to be written; when a slow reader fills this, further messages are dropped and counted.
const QUEUE_BYTES: usize = 4 << 20;
/// What a message occupies beside its text.
const MESSAGE_BYTES: usize = 64;
const WRITE_BYTES: usize = 64 << 10;
/// A longer line of a guest is broken.
const GUEST_LINE_BYTES: usize = 8 << 10;
/// How long the last messages may take to be written when the process ends.
const FLUSH: Duration = Duration::from_secs(1);

enum Message {
    Text(Vec<u8>),
    /// Answered when everything before it is written.
    Flush(mpsc::Sender<()>),
}

/// Says something on stderr, later and without waiting.
#[derive(Clone)]
pub(crate) struct Stderr {
    messages: mpsc::Sender<Message>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    queued_bytes: AtomicUsize,
    dropped: AtomicU64,
}

impl Stderr {
    pub(crate) fn start() -> io::Result<Self> {
        Self::start_with(io::stderr())
    }

    fn start_with(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (messages, received) = mpsc::channel();
        let counts = Arc::new(Counts::default());
        thread::Builder::new().name("stderr".to_owned()).spawn({
            let counts = counts.clone();
            move || write_all(out, &received, &counts)
        })?;
        Ok(Self { messages, counts })
    }

    pub(crate) fn say(&self, text: impl Into<Vec<u8>>) {
        let text = text.into();
        let bytes = text.len() + MESSAGE_BYTES;
        let queued = self.counts.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        if queued + bytes > QUEUE_BYTES || self.messages.send(Message::Text(text)).is_err() {
            self.counts.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until what was said is written, but not long for a reader that is stuck.
    pub(crate) fn flush(&self) {
        let (written, waiting) = mpsc::channel();
        if self.messages.send(Message::Flush(written)).is_ok() {
            // What is not written by now is lost with the process.
            let _ = waiting.recv_timeout(FLUSH);
        }
    }
}

/// For the subscriber, which writes each event at once. An event may quote what a server or a client said.
impl Write for Stderr {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.say(escape_lines(text));
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_all(mut out: impl Write, messages: &mpsc::Receiver<Message>, counts: &Counts) {
    let mut pending = Vec::with_capacity(WRITE_BYTES);
    while let Ok(first) = messages.recv() {
        let mut next = Some(first);
        let mut bytes = 0;
        let mut flushed = None;
        while let Some(message) = next {
            match message {
                Message::Text(text) => {
                    bytes += text.len() + MESSAGE_BYTES;
                    pending.extend_from_slice(&text);
                }
                Message::Flush(written) => {
                    flushed = Some(written);
                    break;
                }
            }
            next = (pending.len() < WRITE_BYTES)
                .then(|| messages.try_recv().ok())
                .flatten();
        }
        match counts.dropped.swap(0, Ordering::Relaxed) {
            0 => {}
            count => pending
                .extend_from_slice(format!("{count} messages were dropped here\n").as_bytes()),
        }
        // There is nowhere to say that stderr is gone.
        let _ = out.write_all(&pending);
        pending.clear();
        counts.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(written) = flushed {
            // Whoever waited may have given up.
            let _ = written.send(());
        }
    }
}

/// A guest's stdout and stderr.
pub(crate) struct GuestOutput(pub(crate) Stderr);

impl IsTerminal for GuestOutput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestOutput {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(Lines::new(&self.0))
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Lines::new(&self.0))
    }
}

/// Passes on whole lines, so that instances do not write into each other's.
struct Lines {
    stderr: Stderr,
    line: Vec<u8>,
}

impl Lines {
    fn new(stderr: &Stderr) -> Self {
        Self {
            stderr: stderr.clone(),
            line: Vec::new(),
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        // In steps, so that what is escaped at once is small, however much a guest writes.
        for bytes in bytes.chunks(GUEST_LINE_BYTES) {
            self.line.extend_from_slice(bytes);
            if let Some(end) = self.line.iter().rposition(|byte| *byte == b'\n') {
                let rest = self.line.split_off(end + 1);
                self.stderr.say(escape_lines(&self.line));
                self.line = rest;
            }
            if self.line.len() > GUEST_LINE_BYTES {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        if !self.line.is_empty() {
            self.line.push(b'\n');
            self.stderr.say(escape_lines(&self.line));
            self.line.clear();
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.end_line();
    }
}

impl AsyncWrite for Lines {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end_line();
        Poll::Ready(Ok(()))
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {}
}

impl OutputStream for Lines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        Ok(WRITE_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn guests_lines_come_whole() {
        let written = Written::default();
        let stderr = Stderr::start_with(written.clone()).unwrap();
        let (mut first, mut second) = (Lines::new(&stderr), Lines::new(&stderr));
        first.push(b"a");
        second.push(b"x\ny");
        first.push(b"b\n");
        first.push(&[b'l'; GUEST_LINE_BYTES + 1]);
        drop((first, second));
        stderr.flush();
        let long = "l".repeat(GUEST_LINE_BYTES + 1);
        assert_eq!(
            String::from_utf8(written.0.lock().unwrap().clone()).unwrap(),
            format!("x\nab\n{long}\ny\n")
        );
    }

    #[test]
    fn a_guests_line_cannot_act_on_a_terminal() {
        let written = Written::default();
        let stderr = Stderr::start_with(written.clone()).unwrap();
        let mut lines = Lines::new(&stderr);
        lines.push(b"{\"error\":\"\x1b[2J\x7f\xc2\x9b2J");
        lines.push("\u{202e}\u{2066}\u{2028}\"}\r\n".as_bytes());
        lines.push(b"\xff\x9b");
        drop(lines);
        let mut subscriber = stderr.clone();
        subscriber.write_all("said \u{9b}2J\n".as_bytes()).unwrap();
        Stderr::flush(&stderr);
        assert_eq!(
            String::from_utf8(written.0.lock().unwrap().clone()).unwrap(),
            "{\"error\":\"\\u001b[2J\\u007f\\u009b2J\\u202e\\u2066\\u2028\"}\\u000d\n\
             \\ufffd\\ufffd\nsaid \\u009b2J\n"
        );
    }

    #[test]
    fn nobody_waits_for_a_stuck_reader_and_what_is_lost_is_counted() {
        struct Stuck(mpsc::Receiver<()>, Written);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                // Until the test lets go of the other end.
                let _ = self.0.recv();
                self.1.write(bytes)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (release, stuck) = mpsc::channel();
        let written = Written::default();
        let stderr = Stderr::start_with(Stuck(stuck, written.clone())).unwrap();
        for _ in 0..10 {
            stderr.say(vec![b'x'; QUEUE_BYTES / 5]);
        }
        drop(release);
        stderr.flush();
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert!(text.len() <= QUEUE_BYTES, "{}", text.len());
        assert!(text.contains("messages were dropped here"));
    }
}
