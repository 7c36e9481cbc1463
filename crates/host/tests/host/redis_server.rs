//! Redis servers for the tests, and what can become of the way to them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::harness::eventually;

/// A Redis server, killed when dropped.
pub(crate) struct Redis {
    child: Child,
    pub(crate) port: u16,
}

impl Redis {
    pub(crate) fn start(port: u16) -> Self {
        Self::with(port, &[])
    }

    pub(crate) fn with(port: u16, arguments: &[&str]) -> Self {
        let child = Command::new("/usr/bin/redis-server")
            .args([
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
                "--port",
                &port.to_string(),
            ])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is missing: run scripts/setup");
        eventually(|| TcpStream::connect(("127.0.0.1", port)).ok())
            .expect("redis-server did not start");
        Self { child, port }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Passes connections on to `port`, and falls silent on those it has when told to.
pub(crate) struct Relay {
    pub(crate) port: u16,
    pub(crate) connections: Arc<AtomicUsize>,
    silenced: Arc<AtomicUsize>,
}

impl Relay {
    pub(crate) fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let silenced = Arc::new(AtomicUsize::new(0));
        thread::spawn({
            let (connections, silenced) = (connections.clone(), silenced.clone());
            move || {
                for near in listener.incoming() {
                    connections.fetch_add(1, Ordering::Relaxed);
                    let near = near.unwrap();
                    let far = TcpStream::connect(("127.0.0.1", to)).unwrap();
                    let born = silenced.load(Ordering::Relaxed);
                    for (mut from, mut to) in [
                        (near.try_clone().unwrap(), far.try_clone().unwrap()),
                        (far, near),
                    ] {
                        let silenced = silenced.clone();
                        thread::spawn(move || {
                            let mut part = [0; 4096];
                            while let Ok(length @ 1..) = from.read(&mut part) {
                                if silenced.load(Ordering::Relaxed) == born
                                    && to.write_all(&part[..length]).is_err()
                                {
                                    return;
                                }
                            }
                        });
                    }
                }
            }
        });
        Self {
            port,
            connections,
            silenced,
        }
    }

    pub(crate) fn silence(&self) {
        self.silenced.fetch_add(1, Ordering::Relaxed);
    }
}
