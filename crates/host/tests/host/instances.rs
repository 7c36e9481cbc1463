use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::harness::{App, at_once, manifest};

#[test]
fn an_instance_is_reused_as_often_as_allowed() {
    let host = App::new(&manifest("")).up(&["--threads", "1", "--max-instance-reuse-count", "3"]);
    let seen: Vec<String> = (0..7).map(|_| host.ok("/seen")).collect();
    assert_eq!(seen, ["1", "2", "3", "1", "2", "3", "1"]);
}

#[test]
fn an_idle_instance_ends() {
    let host = App::new(&manifest("")).up(&["--threads", "1", "--idle-instance-timeout", "100ms"]);
    assert_eq!(host.ok("/seen"), "1");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(host.ok("/seen"), "1");
}

#[test]
fn one_instance_serves_requests_that_wait_at_once() {
    let host = App::new(&manifest("")).up(&["--threads", "1", "--max-instances", "3"]);
    let started = Instant::now();
    at_once(40, |_| assert_eq!(host.ok("/sleep?ms=300"), "slept"));
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "forty requests of 300 ms in three instances took {:?}",
        started.elapsed()
    );
}

#[test]
fn a_panic_costs_its_request_and_no_other() {
    let host = App::new(&manifest("")).up(&["--threads", "1"]);
    assert_eq!(host.ok("/seen"), "1");
    let answer = host.get("/panic");
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (500, "internal-error")
    );
    assert!(
        !answer.body.contains("asked to"),
        "what went wrong is for the log: {}",
        answer.body
    );
    host.says("an instance failed");
    assert_eq!(host.ok("/seen"), "1", "a new instance");
}

#[test]
fn memory_is_bounded() {
    let host = App::new(&manifest("")).up(&["--max-instance-memory", "16MiB"]);
    assert_eq!(host.ok("/fill?mib=8"), "8");
    assert_eq!(host.get("/fill?mib=32").status, 500);
    assert_eq!(host.ok("/hello"), "hello");
}

#[test]
fn what_never_answers_is_given_up() {
    let host = App::new(&manifest("")).up(&["--threads", "1", "--request-timeout", "500ms"]);
    let started = Instant::now();
    let answer = host.get("/hang");
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (504, "timed-out")
    );
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(host.ok("/hello"), "hello");
}

#[test]
fn a_guest_that_computes_for_ever_starves_nobody() {
    let host = App::new(&manifest("")).up(&["--threads", "1", "--request-timeout", "2s"]);
    std::thread::scope(|scope| {
        let stuck: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| host.get("/compute").status))
            .collect();
        std::thread::sleep(Duration::from_millis(300));
        let started = Instant::now();
        assert_eq!(host.ok("/hello"), "hello");
        assert!(
            started.elapsed() < Duration::from_millis(1_000),
            "{:?}",
            started.elapsed()
        );
        for stuck in stuck {
            assert_eq!(stuck.join().unwrap(), 504);
        }
    });
    // The stuck instances are gone, not merely given up.
    host.says("guest timed out");
    assert_eq!(host.ok("/hello"), "hello");
}

#[test]
fn more_requests_than_places_wait_their_turn() {
    let host = App::new(&manifest("")).up(&[
        "--threads",
        "1",
        "--max-in-flight",
        "2",
        "--max-computing",
        "1",
        "--max-instances",
        "2",
    ]);
    at_once(50, |_| assert_eq!(host.ok("/hello"), "hello"));
}

#[test]
fn who_waits_too_long_for_a_place_is_told_to_come_again() {
    let host = App::new(&manifest("")).up(&[
        "--threads",
        "1",
        "--max-in-flight",
        "1",
        "--request-timeout",
        "500ms",
    ]);
    // A response keeps its place until it has been read, or for the request timeout after it began; so the second
    // of these holds the only place when the third's time to wait is over.
    let unread: Vec<_> = (0..2)
        .map(|_| {
            let mut stream = host.connect();
            stream
                .write_all(b"GET /big?bytes=20000000 HTTP/1.1\r\nhost: h\r\n\r\n")
                .unwrap();
            std::thread::sleep(Duration::from_millis(100));
            stream
        })
        .collect();
    let answer = host.get("/hello");
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (503, "overloaded")
    );
    assert_eq!(answer.header("retry-after"), Some("1"));
    drop(unread);
    assert_eq!(host.ok("/hello"), "hello");
}

#[test]
fn a_request_whose_client_hung_up_keeps_its_place_until_its_guest_is_done() {
    let host = App::new(&manifest("")).up(&["--threads", "1", "--max-in-flight", "1"]);
    let mut gone = host.connect();
    gone.write_all(b"GET /sleep?ms=1500 HTTP/1.1\r\nhost: h\r\n\r\n")
        .unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let started = Instant::now();
    drop(gone);
    host.says("GET /sleep 499");
    assert_eq!(host.ok("/hello"), "hello");
    assert!(
        started.elapsed() > Duration::from_millis(800),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn a_stderr_that_nobody_reads_holds_up_nobody() {
    let mut host = App::new(&manifest("")).up_unread(&["--threads", "1"]);
    // More than a pipe holds, of the requests' log, the host's own and the guests' messages alike.
    let mut stream = host.connect();
    for _ in 0..3_000 {
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
    }
    for _ in 0..3 {
        assert_eq!(host.get("/panic").status, 500);
        assert_eq!(host.ok("/hello"), "hello");
    }
    drop(stream);
    host.terminate();
    assert_eq!(host.wait().code(), Some(0));
}
