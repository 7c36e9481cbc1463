use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::harness::{Answer, App, Host, at_once, eventually, manifest};

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

/// Whether the host has closed a connection that it has not answered on.
fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let outcome = stream.read(&mut [0; 64]);
    stream.set_nonblocking(false).unwrap();
    match outcome {
        Ok(length) => length == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

const PART: &[u8] = b"GET /hello HTTP/1.1\r\nhost: h\r\n";
const PART_OF_A_BODY: &[u8] = b"POST /body HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\n123";

#[test]
fn a_client_that_leaves_requests_unfinished_loses_its_own_connections() {
    for part in [PART, PART_OF_A_BODY] {
        unfinished(part);
    }
}

fn unfinished(part: &[u8]) {
    let host = App::new(&manifest("")).up(&["--max-client-waiting", "3"]);
    let mut other = host.connect_from([127, 0, 0, 2]);
    other.write_all(PART).unwrap();
    let mut half: Vec<_> = (0..10)
        .map(|_| {
            let mut stream = host.connect();
            stream.write_all(part).unwrap();
            stream
        })
        .collect();
    eventually(|| {
        (half
            .iter_mut()
            .filter_map(|s| is_closed(s).then_some(()))
            .count()
            == 7)
            .then_some(())
    })
    .expect("the client kept more than three");
    assert!(
        !half.iter_mut().skip(7).any(is_closed),
        "the newest are kept"
    );
    other.write_all(b"connection: close\r\n\r\n").unwrap();
    assert_eq!(Answer::read(&mut other).body, "hello");
}

#[test]
fn a_client_has_only_so_many_connections_and_others_have_theirs() {
    let host = App::new(&manifest("")).up(&["--max-client-connections", "3"]);
    let mut busy: Vec<_> = (0..3)
        .map(|_| {
            let mut stream = host.connect();
            stream
                .write_all(b"GET /sleep?ms=2000 HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
                .unwrap();
            stream
        })
        .collect();
    // Until all three are at their requests, a further one takes the place of one that waits.
    std::thread::sleep(Duration::from_millis(500));
    let mut fourth = host.connect();
    eventually(|| is_closed(&mut fourth).then_some(())).expect("a fourth was let in");
    host.says("--max-client-connections");
    let mut other = host.connect_from([127, 0, 0, 2]);
    other.write_all(PART).unwrap();
    other.write_all(b"connection: close\r\n\r\n").unwrap();
    assert_eq!(Answer::read(&mut other).body, "hello");
    for busy in &mut busy {
        assert_eq!(Answer::read(busy).body, "slept");
    }
    assert_eq!(host.ok("/hello"), "hello");
}

#[test]
fn a_full_server_takes_from_the_client_with_the_most() {
    let host = App::new(&manifest("")).up(&[
        "--max-connections",
        "20",
        "--max-client-connections",
        "1000",
        "--header-timeout",
        "60s",
    ]);
    let mut few: Vec<_> = (0..2).map(|_| host.connect_from([127, 0, 0, 2])).collect();
    for stream in &mut few {
        stream.write_all(PART).unwrap();
    }
    let mut many: Vec<_> = (0..40)
        .map(|_| {
            let mut stream = host.connect_from([127, 0, 0, 3]);
            let _ = stream.write_all(PART);
            stream
        })
        .collect();
    for _ in 0..5 {
        // Longer than the header timeout is what it would take without fairness.
        let started = Instant::now();
        let mut newcomer = host.connect_from([127, 0, 0, 4]);
        newcomer.write_all(PART).unwrap();
        newcomer.write_all(b"connection: close\r\n\r\n").unwrap();
        assert_eq!(Answer::read(&mut newcomer).body, "hello");
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "{:?}",
            started.elapsed()
        );
    }
    assert!(many.iter_mut().any(is_closed));
    for stream in &mut few {
        stream.write_all(b"connection: close\r\n\r\n").unwrap();
        assert_eq!(Answer::read(stream).body, "hello");
    }
}

#[test]
fn peers_on_this_machine_have_no_bound_of_their_own() {
    let host = App::new(&manifest("")).up(&[]);
    let mut half: Vec<_> = (0..300)
        .map(|_| {
            let mut stream = host.connect();
            stream.write_all(PART).unwrap();
            stream
        })
        .collect();
    for stream in &mut half {
        stream.write_all(b"connection: close\r\n\r\n").unwrap();
        assert_eq!(Answer::read(stream).body, "hello");
    }
}

#[test]
fn a_log_shows_nothing_of_a_path_that_acts_on_a_terminal() {
    let host = App::new(&manifest("")).up(&[]);
    host.send("GET /hello/\u{9b}2J\u{202e}x HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
    let said = host.says("GET /hello/\\u009b2J\\u202ex 404");
    assert!(
        said.bytes()
            .all(|byte| byte == b'\n' || byte == b' ' || byte.is_ascii_graphic())
    );
}
