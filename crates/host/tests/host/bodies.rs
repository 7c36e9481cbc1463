use std::io::Write;
use std::time::{Duration, Instant};

use crate::harness::{Answer, App, Host, manifest};

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
        (408, "too-slow")
    );
}
