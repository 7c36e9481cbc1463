//! Starts hosts and what they talk to, and ends them again.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

/// More than any step here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A component that is the probe, and whatever else the test says of it.
pub(crate) const PROBE: &str = "[component.probe]\nsource = \"probe.wasm\"\n";

/// The head of a manifest in which the probe answers every path.
pub(crate) const EVERYTHING: &str = "spin_manifest_version = 2\n[application]\nname = \"test\"\n\
    [[trigger.http]]\nroute = \"/...\"\ncomponent = \"probe\"\n";

/// A manifest in which the probe answers every path, with `more` in its component table and what follows that.
pub(crate) fn manifest(more: &str) -> String {
    format!("{EVERYTHING}{PROBE}{more}")
}

fn probe() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let probe = target.join("wasm32-wasip2/release/tokengate_probe.wasm");
    assert!(
        probe.is_file(),
        "{} is missing: build it with scripts/build",
        probe.display()
    );
    probe
}

/// An application's directory.
pub(crate) struct App {
    pub(crate) directory: tempfile::TempDir,
}

impl App {
    pub(crate) fn new(manifest: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("spin.toml"), manifest).unwrap();
        std::os::unix::fs::symlink(probe(), directory.path().join("probe.wasm")).unwrap();
        Self { directory }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        std::fs::write(self.path(name), text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tokengate"));
        command.current_dir(self.directory.path()).arg("up");
        if !arguments.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        if !arguments.contains(&"--cache-dir") {
            // Shared by all tests, so that the probe is compiled once.
            command
                .arg("--cache-dir")
                .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled"));
        }
        command
            .args(arguments)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn up(&self, arguments: &[&str]) -> Host {
        Host::start(self.command(arguments), true)
    }

    pub(crate) fn up_with_environment(&self, arguments: &[&str], name: &str, value: &str) -> Host {
        let mut command = self.command(arguments);
        command.env(name, value);
        Host::start(command, true)
    }

    /// A host whose stderr nobody reads.
    pub(crate) fn up_unread(&self, arguments: &[&str]) -> Host {
        Host::start(self.command(arguments), false)
    }

    /// What the host says when it does not start.
    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(output.stdout.is_empty(), "it said that it listens");
        errors
    }
}

/// A running host, killed when dropped.
pub(crate) struct Host {
    child: Child,
    pub(crate) address: SocketAddr,
    errors: Arc<Mutex<String>>,
    _unread: Option<ChildStderr>,
}

impl Host {
    fn start(mut command: Command, read: bool) -> Self {
        let mut child = command.spawn().unwrap();
        let errors = Arc::new(Mutex::new(String::new()));
        let stderr = child.stderr.take().unwrap();
        let mut unread = None;
        if read {
            let mut stderr = BufReader::new(stderr);
            let errors = errors.clone();
            thread::spawn(move || {
                let mut line = Vec::new();
                while stderr
                    .read_until(b'\n', &mut line)
                    .is_ok_and(|length| length > 0)
                {
                    errors
                        .lock()
                        .unwrap()
                        .push_str(&String::from_utf8_lossy(&line));
                    line.clear();
                }
            });
        } else {
            unread = Some(stderr);
        }
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let Some(address) = line.trim().strip_prefix("listening on http://") else {
            child.wait().unwrap();
            thread::sleep(Duration::from_millis(100));
            panic!("the host did not start: {}", errors.lock().unwrap());
        };
        Self {
            child,
            address: address.parse().unwrap(),
            errors,
            _unread: unread,
        }
    }

    pub(crate) fn get(&self, target: &str) -> Answer {
        self.send(&format!(
            "GET {target} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
            self.address
        ))
    }

    /// The body of a 200.
    pub(crate) fn ok(&self, target: &str) -> String {
        let answer = self.get(target);
        assert_eq!(
            answer.status,
            200,
            "{target}: {} {}",
            answer.body,
            self.errors()
        );
        answer.body
    }

    /// The text with which the probe says that something failed.
    pub(crate) fn failure(&self, target: &str) -> String {
        let answer = self.get(target);
        assert_eq!(answer.status, 502, "{target}: {}", answer.body);
        answer.body
    }

    /// Sends `request` as it is and reads until the host closes.
    pub(crate) fn send(&self, request: &str) -> Answer {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        Answer::read(&mut stream)
    }

    /// What the process has in memory, in bytes (VmRSS and VmHWM of proc(5)): now, and at most so far.
    pub(crate) fn memory(&self) -> (usize, usize) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let bytes = |field: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(field));
            let kib = line.unwrap().trim().strip_suffix(" kB").unwrap();
            kib.parse::<usize>().unwrap() << 10
        };
        (bytes("VmRSS:"), bytes("VmHWM:"))
    }

    /// A connection from another loopback address: to the host another client.
    pub(crate) fn connect_from(&self, client: [u8; 4]) -> TcpStream {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((client, 0)).into()).unwrap();
        socket.connect(&self.address.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub(crate) fn errors(&self) -> String {
        self.errors.lock().unwrap().clone()
    }

    /// Waits until stderr holds `text`.
    pub(crate) fn says(&self, text: &str) -> String {
        eventually(|| Some(self.errors()).filter(|errors| errors.contains(text)))
            .unwrap_or_else(|| panic!("never said {text:?}: {}", self.errors()))
    }

    pub(crate) fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        eventually(|| self.child.try_wait().unwrap()).expect("the host did not end")
    }

    /// As a crash would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look() {
            Some(found) => return Some(found),
            None if Instant::now() > deadline => return None,
            None => thread::sleep(Duration::from_millis(20)),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        // A reset after the answer, for a request that was not read to its end, is no failure to answer.
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (head, body) = text
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self {
            status,
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The code of a problem document.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        let document: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(document["status"], self.status);
        document["code"].as_str().unwrap().to_owned()
    }
}

/// Something for guests to call: `/` says so, `/moved` redirects, `/slow` takes its time, `/never` says nothing.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
    pub(crate) heads: Arc<Mutex<Vec<String>>>,
}

impl Upstream {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let heads = Arc::new(Mutex::new(Vec::new()));
        thread::spawn({
            let (connections, heads) = (connections.clone(), heads.clone());
            move || {
                for stream in listener.incoming() {
                    connections.fetch_add(1, Ordering::Relaxed);
                    let heads = heads.clone();
                    thread::spawn(move || converse(stream.unwrap(), &heads));
                }
            }
        });
        Self {
            address,
            connections,
            heads,
        }
    }
}

fn converse(mut stream: TcpStream, heads: &Mutex<Vec<String>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let path = head.split(' ').nth(1)?.to_owned();
        heads.lock().unwrap().push(head);
        let answer = match path.as_str() {
            "/moved" => "HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n",
            "/slow" => {
                thread::sleep(Duration::from_millis(300));
                "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nslow"
            }
            "/garbage" => "this is not HTTP\r\n\r\n",
            "/short" => {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort")
                    .ok()?;
                return None;
            }
            "/never" => {
                thread::sleep(PATIENCE);
                return None;
            }
            _ => "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nupstream",
        };
        stream.write_all(answer.as_bytes()).ok()?;
    }
}

/// A port that nothing listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Runs `work` `times` at once and collects what it returns.
pub(crate) fn at_once<T: Send>(times: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..times)
            .map(|index| scope.spawn(move || work(index)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}
