use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

use rustls::crypto::ring;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection};

use crate::harness::{App, EVERYTHING, Host, PROBE, Upstream, at_once, free_port, manifest};

fn allowing(hosts: &str) -> Host {
    App::new(&manifest(&format!("allowed_outbound_hosts = [{hosts}]\n"))).up(&[])
}

#[test]
fn nothing_is_reached_that_is_not_allowed() {
    let upstream = Upstream::start();
    let port = upstream.address.port();
    for hosts in [
        String::new(),
        format!("\"https://127.0.0.1:{port}\""),
        format!("\"http://localhost:{port}\""),
        "\"http://127.0.0.1\"".to_owned(),
    ] {
        let host = allowing(&hosts);
        assert!(
            host.failure(&format!("/fetch?url=http://127.0.0.1:{port}/"))
                .contains("HttpRequestDenied"),
            "{hosts}"
        );
        host.says("outbound request denied");
    }
    assert_eq!(upstream.connections.load(Ordering::Relaxed), 0);
}

#[test]
fn what_a_variable_allows_is_reached() {
    let upstream = Upstream::start();
    let app = App::new(&format!(
        "{EVERYTHING}[variables]\norigin = {{ required = true }}\n{PROBE}allowed_outbound_hosts = [\"{{{{ origin }}}}\"]\n"
    ));
    let host = app.up(&["--variable", &format!("origin=http://{}", upstream.address)]);
    assert_eq!(
        host.ok(&format!("/fetch?url=http://{}/", upstream.address)),
        "200 upstream"
    );
    let head = upstream.heads.lock().unwrap()[0].to_ascii_lowercase();
    assert_eq!(
        head.matches(&format!("host: {}\r\n", upstream.address))
            .count(),
        1,
        "{head}"
    );
    assert!(head.starts_with("get / http/1.1"), "{head}");

    let error = app.refused(&[
        "--variable",
        &format!("origin=http://{}/hidden", upstream.address),
    ]);
    assert!(
        error.contains("`{{ origin }}` in allowed_outbound_hosts has a path"),
        "{error}"
    );
    assert!(
        !error.contains("hidden"),
        "a variable's value is not shown: {error}"
    );
}

#[test]
fn redirects_are_the_guests_to_follow() {
    let upstream = Upstream::start();
    let host = allowing(&format!("\"http://{}\"", upstream.address));
    assert_eq!(
        host.ok(&format!("/fetch?url=http://{}/moved", upstream.address)),
        "302 "
    );
}

#[test]
fn connections_are_kept_and_calls_run_at_once() {
    let upstream = Upstream::start();
    let host = App::new(&manifest(&format!(
        "allowed_outbound_hosts = [\"http://{}\"]\n",
        upstream.address
    )))
    .up(&["--threads", "1"]);
    for _ in 0..5 {
        host.ok(&format!("/fetch?url=http://{}/", upstream.address));
    }
    assert_eq!(upstream.connections.load(Ordering::Relaxed), 1);

    let started = Instant::now();
    let answer = host.ok(&format!(
        "/fetch?times=5&url=http://{}/slow",
        upstream.address
    ));
    assert_eq!(answer.matches("200 slow").count(), 5);
    assert!(
        started.elapsed().as_millis() < 1_200,
        "five calls of 300 ms, one after another"
    );
}

#[test]
fn a_thousand_calls_share_a_few_connections() {
    const AT_ONCE: usize = 16;
    let upstream = Upstream::start();
    let host = App::new(&manifest(&format!(
        "allowed_outbound_hosts = [\"http://{}\"]\n",
        upstream.address
    )))
    .up(&["--threads", "2"]);
    at_once(AT_ONCE, |index| {
        for _ in 0..1_000 / AT_ONCE + usize::from(index < 1_000 % AT_ONCE) {
            host.ok(&format!("/fetch?url=http://{}/", upstream.address));
        }
    });
    assert_eq!(upstream.heads.lock().unwrap().len(), 1_000);
    let connections = upstream.connections.load(Ordering::Relaxed);
    println!("1,000 outbound calls, {AT_ONCE} at a time, opened {connections} connections");
    // Each of the two threads has a pool of its own, and any of the sixteen calls may come from either.
    assert!(connections <= 2 * AT_ONCE, "{connections} connections");
}

#[test]
fn requests_that_wait_for_others_leave_room_to_compute() {
    let upstream = Upstream::start();
    let host = App::new(&manifest(&format!(
        "allowed_outbound_hosts = [\"http://{}\"]\n",
        upstream.address
    )))
    .up(&["--threads", "1", "--max-computing", "1"]);
    let started = Instant::now();
    at_once(20, |_| {
        host.ok(&format!("/fetch?url=http://{}/slow", upstream.address))
    });
    assert!(
        started.elapsed().as_millis() < 3_000,
        "twenty calls of 300 ms took {:?}",
        started.elapsed()
    );
}

#[test]
fn failures_have_their_own_codes() {
    let upstream = Upstream::start();
    let closed = free_port();
    let host = allowing(&format!(
        "\"http://{0}\", \"https://{0}\", \"http://127.0.0.1:{closed}\", \"http://*.invalid:80\"",
        upstream.address
    ));
    for (url, code) in [
        (format!("http://127.0.0.1:{closed}/"), "ConnectionRefused"),
        ("http://nowhere.invalid:80/".to_owned(), "DnsError"),
        (
            format!("https://{}/", upstream.address),
            "ConnectionTerminated",
        ),
        (
            format!("http://{}/garbage", upstream.address),
            "HttpProtocolError",
        ),
        (
            format!("http://{}/short", upstream.address),
            "HttpResponseIncomplete",
        ),
    ] {
        let failure = host.failure(&format!("/fetch?url={url}"));
        assert!(failure.contains(code), "{url}: {failure}");
    }
}

#[test]
fn tls_fails_with_its_own_codes() {
    let self_signed = tls_upstream();
    // RFC 8446 section 6.2: a fatal alert, handshake_failure, in place of the server's hello.
    let alerting = raw_upstream(&[21, 3, 3, 0, 2, 2, 40]);
    let nonsense = raw_upstream(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let origins = [self_signed, alerting, nonsense].map(|address| format!("https://{address}"));
    let host = allowing(
        &origins
            .each_ref()
            .map(|origin| format!("\"{origin}\""))
            .join(", "),
    );
    let codes = [
        "TlsCertificateError",
        "TlsAlertReceived",
        "TlsProtocolError",
    ];
    for (origin, code) in origins.iter().zip(codes) {
        let failure = host.failure(&format!("/fetch?url={origin}/"));
        assert!(failure.contains(code), "{origin}: {failure}");
    }
    let alert = host.failure(&format!("/fetch?url={}/", origins[1]));
    assert!(
        alert.contains("40") && alert.contains("HandshakeFailure"),
        "{alert}"
    );
}

/// A TLS server with a certificate that nobody signed but itself.
fn tls_upstream() -> SocketAddr {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    let config = Arc::new(config);
    accepting(move |mut stream| {
        let mut session = ServerConnection::new(config.clone()).unwrap();
        // It ends with the client's alert.
        while session
            .complete_io(&mut stream)
            .is_ok_and(|(read, _)| read > 0)
        {}
    })
}

/// A server that takes a client's first words and answers with these.
fn raw_upstream(answer: &'static [u8]) -> SocketAddr {
    accepting(move |mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(answer);
        // Until the client has read it and hangs up.
        let _ = stream.read(&mut [0; 4096]);
    })
}

fn accepting(converse: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            converse(stream.unwrap());
        }
    });
    address
}

#[test]
fn an_allow_list_that_cannot_be_meant_stops_the_start() {
    let error = App::new(&manifest(
        "allowed_outbound_hosts = [\"https://a.example/path\"]\n",
    ))
    .refused(&[]);
    assert!(
        error.contains("spin.toml:9:27: ") && error.contains("has a path"),
        "{error}"
    );
}
