use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::harness::{Answer, App, Host, at_once, eventually, manifest};

fn host() -> Host {
    App::new(&manifest("")).up(&["--max-request-body", "1000"])
}

fn post(host: &Host, bytes: usize) -> Answer {
    host.send(&format!(
        "POST /body HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {bytes}\r\n\r\n{}",
        "x".repeat(bytes)
    ))
}

fn post_chunked(host: &Host, chunks: usize) -> Answer {
    let mut stream = host.connect();
    stream
        .write_all(b"POST /body HTTP/1.1\r\nhost: h\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n")
        .unwrap();
    for _ in 0..chunks {
        // The host may have answered and closed already.
        let _ = stream.write_all(format!("64\r\n{}\r\n", "x".repeat(100)).as_bytes());
    }
    let _ = stream.write_all(b"0\r\n\r\n");
    Answer::read(&mut stream)
}

#[test]
fn a_body_within_the_limit_arrives() {
    let host = host();
    for bytes in [0, 1, 1_000] {
        assert_eq!(post(&host, bytes).body, bytes.to_string());
    }
    assert_eq!(post_chunked(&host, 10).body, "1000");
}

#[test]
fn a_body_beyond_the_limit_is_refused_however_it_comes() {
    let host = host();
    for answer in [post(&host, 1_001), post_chunked(&host, 11)] {
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (413, "body-too-large")
        );
    }
    assert_eq!(host.ok("/hello"), "hello");
}

#[test]
fn a_large_response_arrives_whole() {
    let host = host();
    let answer = host.get("/big?bytes=5000000");
    assert_eq!(answer.header("content-length"), Some("5000000"));
    assert_eq!(answer.body.len(), 5_000_000);
    host.says("GET /big 200 5000000B");
}

#[test]
fn clients_that_send_slowly_keep_nobody_waiting() {
    let host = App::new(&manifest("")).up(&[
        "--threads",
        "1",
        "--max-in-flight",
        "2",
        "--max-computing",
        "1",
        "--request-timeout",
        "1s",
    ]);
    let head = "POST /body HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 10\r\n\r\n";
    let mut slow: Vec<_> = (0..5)
        .map(|_| {
            let mut stream = host.connect();
            stream.write_all(format!("{head}12345").as_bytes()).unwrap();
            stream
        })
        .collect();
    // This one has sent enough to be handed to the guest, and stops there.
    let mut begun = host.connect();
    let part = format!(
        "POST /body HTTP/1.1\r\nhost: h\r\ncontent-length: 100000\r\n\r\n{}",
        "x".repeat(80_000)
    );
    begun.write_all(part.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let started = Instant::now();
    assert_eq!(host.ok("/hello"), "hello");
    assert!(
        started.elapsed() < Duration::from_millis(500),
        "{:?}",
        started.elapsed()
    );

    slow[0].write_all(b"67890").unwrap();
    assert_eq!(Answer::read(&mut slow[0]).body, "10");
    let answer = Answer::read(&mut slow[1]);
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (408, "request-timeout")
    );
}

const CHUNKED: &str = "POST /body HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n";

/// One answer of a connection that stays open.
fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .to_ascii_lowercase()
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            if length == Some(body.len()) {
                return format!("{} {body}", head.split(' ').nth(1).unwrap());
            }
        }
        let mut part = [0; 4096];
        let length = stream.read(&mut part).unwrap();
        assert_ne!(length, 0, "closed after {text:?}");
        bytes.extend_from_slice(&part[..length]);
    }
}

/// Waits until the host has taken in what was sent: nothing of it is in the sockets' queues.
fn is_read(host: &Host, streams: &[TcpStream]) {
    eventually(|| {
        // Local and remote address, state, then what waits to be sent and to be read (proc_net_tcp).
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let host_port = format!(":{:04X}", host.address.port());
        let ports: Vec<String> = streams
            .iter()
            .map(|stream| format!(":{:04X}", stream.local_addr().unwrap().port()))
            .collect();
        let mut waiting = table.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (local, remote, queues) = (fields.get(1)?, fields.get(2)?, fields.get(4)?);
            let ours = |near: &str, far: &str| {
                near.ends_with(&host_port) && ports.iter().any(|port| far.ends_with(port))
            };
            (ours(local, remote) || ours(remote, local)).then(|| *queues == "00000000:00000000")
        });
        waiting.all(|queue| queue).then_some(())
    })
    .expect("the host did not read what was sent");
}

#[test]
fn chunks_of_one_byte_cost_no_more_than_their_bytes() {
    const CONNECTIONS: usize = 50;
    const CHUNKS: usize = 60_000;
    let host = App::new(&manifest("")).up(&["--threads", "2", "--request-timeout", "100s"]);
    // As many instances as it takes, and what they keep.
    let whole = format!(
        "POST /body HTTP/1.1\r\nhost: h\r\ncontent-length: {CHUNKS}\r\n\r\n{}",
        "x".repeat(CHUNKS)
    );
    for _ in 0..2 {
        at_once(CONNECTIONS, |_| {
            let mut stream = host.connect();
            stream.write_all(whole.as_bytes()).unwrap();
            assert_eq!(answer(&mut stream), format!("200 {CHUNKS}"));
        });
    }
    let (before, _) = host.memory();
    let mut streams: Vec<_> = (0..CONNECTIONS).map(|_| host.connect()).collect();
    let chunks = "1\r\nx\r\n".repeat(CHUNKS);
    std::thread::scope(|scope| {
        for stream in &mut streams {
            scope.spawn(|| {
                stream.write_all(CHUNKED.as_bytes()).unwrap();
                stream.write_all(chunks.as_bytes()).unwrap();
            });
        }
    });
    is_read(&host, &streams);
    let (during, _) = host.memory();
    println!(
        "{CONNECTIONS} bodies of {CHUNKS} chunks: {} KiB resident before, {} KiB with them",
        before >> 10,
        during >> 10
    );
    assert!(
        during < before + (8 << 20),
        "{before} bytes before, {during} with {CONNECTIONS} bodies of {CHUNKS} chunks"
    );
    for stream in &mut streams {
        stream.write_all(b"0\r\n\r\n").unwrap();
        assert_eq!(answer(stream), format!("200 {CHUNKS}"));
    }
}

#[test]
fn small_chunks_beyond_what_is_read_ahead_cost_no_more_either() {
    const CHUNKS: usize = 300_000;
    let host = App::new(&manifest("")).up(&["--threads", "1", "--request-timeout", "100s"]);
    let mut stream = host.connect();
    stream
        .write_all(
            format!(
                "POST /body HTTP/1.1\r\nhost: h\r\ncontent-length: {CHUNKS}\r\n\r\n{}",
                "x".repeat(CHUNKS)
            )
            .as_bytes(),
        )
        .unwrap();
    assert_eq!(answer(&mut stream), format!("200 {CHUNKS}"));
    let (before, _) = host.memory();
    stream.write_all(CHUNKED.as_bytes()).unwrap();
    stream
        .write_all("1\r\nx\r\n".repeat(CHUNKS).as_bytes())
        .unwrap();
    is_read(&host, std::slice::from_ref(&stream));
    let (during, _) = host.memory();
    assert!(
        during < before + (8 << 20),
        "{before} bytes before, {during} with a body of {CHUNKS} chunks"
    );
    stream.write_all(b"0\r\n\r\n").unwrap();
    assert_eq!(answer(&mut stream), format!("200 {CHUNKS}"));
}

#[test]
fn a_body_arrives_whole_in_whatever_form_it_comes() {
    let host = App::new(&manifest("")).up(&["--threads", "1"]);
    let mut stream = host.connect();
    let echo = |method: &str, rest: &str| format!("{method} /echo HTTP/1.1\r\nhost: h\r\n{rest}");
    let chunked = |body: &str| echo("POST", &format!("transfer-encoding: chunked\r\n\r\n{body}"));
    for (request, body) in [
        (
            chunked("3;name=value;other=\"x\"\r\nabc\r\n2 ;x\r\nde\r\n0;last\r\n\r\n"),
            "abcde",
        ),
        (
            chunked("3\r\nabc\r\n0\r\nx-trailer: 1\r\nspin-full-url: http://evil/\r\n\r\n"),
            "abc",
        ),
        (chunked("0000000000003\r\nabc\r\n000\r\n\r\n"), "abc"),
        (chunked("0\r\n\r\n"), ""),
        (echo("GET", "content-length: 3\r\n\r\nabc"), "abc"),
        (
            echo(
                "DELETE",
                "transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
            ),
            "a",
        ),
    ] {
        // Whole, byte by byte, and two requests in one write, all on one connection.
        stream.write_all(request.as_bytes()).unwrap();
        let whole = answer(&mut stream);
        for byte in request.as_bytes() {
            stream.write_all(&[*byte]).unwrap();
        }
        let slow = answer(&mut stream);
        assert!(
            whole.starts_with("200 ") && whole.ends_with(&format!("\n\n{body}")),
            "{whole}"
        );
        assert_eq!(whole, slow, "{request}");
    }
    let two = format!("{CHUNKED}1\r\na\r\n0\r\n\r\nGET /hello HTTP/1.1\r\nhost: h\r\n\r\n");
    stream.write_all(two.as_bytes()).unwrap();
    let mut both = Vec::new();
    while !both.ends_with(b"hello") {
        let mut part = [0; 1024];
        let length = stream.read(&mut part).unwrap();
        assert_ne!(length, 0, "closed");
        both.extend_from_slice(&part[..length]);
    }
}

#[test]
fn a_body_around_the_size_of_a_block_arrives_whole() {
    let host = App::new(&manifest("")).up(&["--threads", "1"]);
    let mut stream = host.connect();
    for bytes in [
        1, 4_095, 4_096, 4_097, 65_535, 65_536, 65_537, 131_072, 200_000,
    ] {
        let body = "x".repeat(bytes);
        for request in [
            format!("POST /body HTTP/1.1\r\nhost: h\r\ncontent-length: {bytes}\r\n\r\n{body}"),
            format!("{CHUNKED}{bytes:x}\r\n{body}\r\n0\r\n\r\n"),
        ] {
            stream.write_all(request.as_bytes()).unwrap();
            assert_eq!(answer(&mut stream), format!("200 {bytes}"));
        }
    }
}

#[test]
fn a_head_that_expects_100_gets_it_before_its_body() {
    let host = App::new(&manifest("")).up(&["--threads", "1"]);
    let mut stream = host.connect();
    stream
        .write_all(
            b"POST /body HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n",
        )
        .unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"12345").unwrap();
    assert_eq!(answer(&mut stream), "200 5");
}

#[test]
fn malformed_chunks_are_refused_and_kept_nowhere() {
    let host = App::new(&manifest("")).up(&["--threads", "1"]);
    for body in [
        // A size line that never ends, and a size beyond 64 bits.
        "0".repeat(200_000),
        format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(200_000)),
        "ffffffffffffffffff\r\nx".to_owned(),
        "x\r\n".to_owned(),
        "1\r\nxy\r\n0\r\n\r\n".to_owned(),
        format!("0\r\n{}\r\n", "x-trailer: 1\r\n".repeat(20_000)),
    ] {
        let mut stream = host.connect();
        let _ = stream.write_all(CHUNKED.as_bytes());
        let _ = stream.write_all(body.as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
            "{answer}"
        );
    }
    assert_eq!(host.ok("/hello"), "hello");
}

#[test]
fn clients_that_stall_with_large_bodies_hold_up_neither_small_ones_nor_others_for_long() {
    let host = App::new(&manifest("")).up(&[
        "--threads",
        "1",
        "--max-body-memory",
        "64KiB",
        "--request-timeout",
        "2s",
    ]);
    let large = "POST /body HTTP/1.1\r\nhost: h\r\ncontent-length: 60000\r\n\r\n";
    // Takes all the memory, and stalls.
    let mut holder = host.connect();
    holder.write_all(CHUNKED.as_bytes()).unwrap();
    holder
        .write_all(format!("1388\r\n{}\r\n", "x".repeat(5_000)).as_bytes())
        .unwrap();
    is_read(&host, std::slice::from_ref(&holder));
    let mut waiting = host.connect();
    waiting
        .write_all(format!("{large}{}", "x".repeat(60_000)).as_bytes())
        .unwrap();

    for _ in 0..5 {
        assert_eq!(post(&host, 4_000).body, "4000");
    }
    let answered = answer(&mut holder);
    assert!(answered.starts_with("408 "), "{answered}");
    let answered = answer(&mut waiting);
    assert!(
        answered == "200 60000" || answered.starts_with("503 "),
        "{answered}"
    );
    // What the one that stalled held is free again.
    let mut next = host.connect();
    next.write_all(format!("{large}{}", "x".repeat(60_000)).as_bytes())
        .unwrap();
    assert_eq!(answer(&mut next), "200 60000");
    // More such bodies than there is memory for take turns.
    at_once(10, |_| {
        let mut stream = host.connect();
        stream
            .write_all(format!("{large}{}", "x".repeat(60_000)).as_bytes())
            .unwrap();
        assert_eq!(answer(&mut stream), "200 60000");
    });
}

#[test]
fn one_client_does_not_get_all_the_memory_for_bodies() {
    let host = App::new(&manifest("")).up(&[
        "--threads",
        "1",
        "--max-body-memory",
        "256KiB",
        "--max-client-connections",
        "100",
    ]);
    let stalled: Vec<_> = (0..8)
        .map(|_| {
            let mut stream = host.connect();
            stream.write_all(CHUNKED.as_bytes()).unwrap();
            stream
                .write_all(format!("1388\r\n{}\r\n", "x".repeat(5_000)).as_bytes())
                .unwrap();
            stream
        })
        .collect();
    is_read(&host, &stalled);
    let mut other = host.connect_from([127, 0, 0, 9]);
    other
        .write_all(
            format!(
                "POST /body HTTP/1.1\r\nhost: h\r\ncontent-length: 60000\r\n\r\n{}",
                "x".repeat(60_000)
            )
            .as_bytes(),
        )
        .unwrap();
    let started = Instant::now();
    assert_eq!(answer(&mut other), "200 60000");
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
}
