use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::harness::{App, Host, at_once, manifest};

fn closes(host: &Host, bytes: &[u8]) -> Duration {
    let mut stream = host.connect();
    let started = Instant::now();
    stream.write_all(bytes).unwrap();
    let mut rest = Vec::new();
    // A reset is a close, too: what was sent is not read.
    let _ = stream.read_to_end(&mut rest);
    started.elapsed()
}

#[test]
fn clients_that_do_not_finish_their_request_are_let_go() {
    let host = App::new(&manifest("")).up(&["--header-timeout", "500ms"]);
    for bytes in [
        &b""[..],
        b"P",
        b"PRI ",
        b"GET /hello HTTP/1.1\r\n",
        b"GET /hello HTTP/1.1\r\nhost: h\r\n\r\n",
    ] {
        let took = closes(&host, bytes);
        assert!(
            (400..5_000).contains(&took.as_millis()),
            "{took:?} for {bytes:?}"
        );
    }
}

#[test]
fn a_connection_serves_one_request_after_another() {
    let host = App::new(&manifest("")).up(&[]);
    let mut stream = host.connect();
    for _ in 0..3 {
        stream
            .write_all(b"GET /hello HTTP/1.1\r\nhost: h\r\n\r\n")
            .unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"hello") {
            let mut part = [0; 1024];
            let length = stream.read(&mut part).unwrap();
            assert_ne!(length, 0, "closed");
            answer.extend_from_slice(&part[..length]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 OK"));
    }
}

#[test]
fn oversize_heads_are_refused() {
    let host = App::new(&manifest("")).up(&[]);
    let large = format!(
        "GET /hello HTTP/1.1\r\nhost: h\r\nx-large: {}\r\n\r\n",
        "x".repeat(100_000)
    );
    assert_eq!(host.send(&large).status, 431);
    let many = format!(
        "GET /hello HTTP/1.1\r\nhost: h\r\n{}\r\n",
        "x-many: 1\r\n".repeat(200)
    );
    assert_eq!(host.send(&many).status, 431);
    assert_eq!(host.ok("/hello"), "hello");
}

#[test]
fn connections_beyond_the_limit_wait() {
    let host = App::new(&manifest("")).up(&["--max-connections", "2", "--header-timeout", "1s"]);
    let _idle = (host.connect(), host.connect());
    std::thread::sleep(Duration::from_millis(100));
    let started = Instant::now();
    assert_eq!(host.ok("/hello"), "hello");
    assert!(
        started.elapsed() > Duration::from_millis(300),
        "it was let in beside two others"
    );
    at_once(10, |_| assert_eq!(host.ok("/hello"), "hello"));
}

#[test]
fn http2_is_left_to_the_proxy() {
    let host = App::new(&manifest("")).up(&[]);
    let mut stream = host.connect();
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .unwrap();
    let mut answer = Vec::new();
    // Closed, whatever is said before that.
    let _ = stream.read_to_end(&mut answer);
    assert!(
        answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"),
        "{answer:?}"
    );
    assert_eq!(host.ok("/hello"), "hello");
}

#[test]
fn a_response_that_nobody_takes_is_cut_off() {
    let host = App::new(&manifest("")).up(&["--request-timeout", "500ms"]);
    let mut stream = host.connect();
    let started = Instant::now();
    stream
        .write_all(b"GET /big?bytes=20000000 HTTP/1.1\r\nhost: h\r\n\r\n")
        .unwrap();
    // Logged when its place is free again.
    host.says("GET /big 200");
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.len() < 20_000_000);
}

#[test]
fn a_request_that_names_no_path_or_an_unclear_host_is_malformed() {
    let host = App::new(&manifest("")).up(&[]);
    for request in [
        "OPTIONS * HTTP/1.1\r\nhost: h\r\n",
        "CONNECT h:80 HTTP/1.1\r\nhost: h:80\r\n",
        "GET /hello HTTP/1.1\r\n",
        "GET http://h/hello HTTP/1.1\r\n",
        "GET /hello HTTP/1.1\r\nhost: user@h\r\n",
    ] {
        let answer = host.send(&format!("{request}connection: close\r\n\r\n"));
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (400, "bad-request"),
            "{request}"
        );
    }
}
