use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::harness::{Answer, App, manifest};

#[test]
fn requests_in_progress_end_before_the_host_does() {
    let mut host = App::new(&manifest("")).up(&[]);
    let mut busy = host.connect();
    busy.write_all(b"GET /sleep?ms=700 HTTP/1.1\r\nhost: h\r\n\r\n")
        .unwrap();
    let mut idle = host.connect();
    idle.write_all(b"GET /hello HTTP/1.1\r\nhost: h\r\n\r\n")
        .unwrap();
    std::thread::sleep(Duration::from_millis(200));
    host.terminate();
    let started = Instant::now();

    let answer = Answer::read(&mut busy);
    assert_eq!((answer.status, answer.body.as_str()), (200, "slept"));
    let mut rest = String::new();
    idle.read_to_string(&mut rest).unwrap();
    assert!(
        rest.ends_with("hello"),
        "an idle connection is closed: {rest}"
    );
    assert_eq!(host.wait().code(), Some(0));
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    assert!(TcpStream::connect(host.address).is_err());
    // The last line is written, too.
    assert!(host.says("GET /sleep 200").contains("GET /hello 200"));
}

#[test]
fn what_does_not_end_is_cut_off() {
    let mut host = App::new(&manifest("")).up(&["--drain-timeout", "300ms"]);
    let mut stuck = host.connect();
    stuck
        .write_all(b"GET /hang HTTP/1.1\r\nhost: h\r\n\r\n")
        .unwrap();
    let _silent = host.connect();
    std::thread::sleep(Duration::from_millis(200));
    let started = Instant::now();
    host.terminate();
    assert_eq!(host.wait().code(), Some(0));
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    host.says("cut off");
}

#[test]
fn connections_that_said_nothing_do_not_hold_it_up() {
    let mut host = App::new(&manifest("")).up(&[]);
    let _silent = host.connect();
    assert_eq!(host.ok("/hello"), "hello");
    let started = Instant::now();
    host.terminate();
    assert_eq!(host.wait().code(), Some(0));
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    assert!(!host.errors().contains("cut off"), "{}", host.errors());
}
