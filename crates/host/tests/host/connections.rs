use std::io::{Read, Write};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

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
        b"PRI",
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

#[tokio::test]
async fn http2_is_served_with_prior_knowledge() {
    let host = App::new(&manifest("")).up(&[]);
    let client = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http::<Empty<Bytes>>();
    let answers = futures_util::future::join_all((0..20).map(async |_| {
        let uri = format!("http://{}/echo?h2", host.address).parse().unwrap();
        let response = client.get(uri).await.unwrap();
        let version = response.version();
        (
            version,
            response.into_body().collect().await.unwrap().to_bytes(),
        )
    }))
    .await;
    for (version, body) in answers {
        assert_eq!(version, http::Version::HTTP_2);
        assert!(
            body.starts_with(format!("GET http://{}/echo?h2\n", host.address).as_bytes()),
            "{body:?}"
        );
    }
}
