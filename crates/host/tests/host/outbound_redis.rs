use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{App, Host, PATIENCE, at_once, free_port, manifest};
use crate::redis_server::{Redis, Relay};

/// More than a command's deadline, and less than two of them.
const ABOUT_A_SECOND: Duration = Duration::from_millis(1_900);

fn app(port: u16) -> App {
    App::new(&manifest(&format!(
        "allowed_outbound_hosts = [\"redis://127.0.0.1:{port}\"]\n"
    )))
}

fn url(port: u16) -> String {
    format!("redis://127.0.0.1:{port}")
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

fn target(path: &str, url: &str, more: &str) -> String {
    format!("{path}?url={}{more}", encoded(url))
}

/// The target that has the probe send a command.
fn command(url: &str, command: &str, arguments: &[&str]) -> String {
    let arguments = encoded(&arguments.join("|"));
    let more = format!("&command={}&arguments={arguments}", encoded(command));
    target("/redis/execute", url, &more)
}

#[test]
fn every_function_of_redis_does_what_it_says() {
    let redis = Redis::start(free_port());
    let mut subscriber = TcpStream::connect(("127.0.0.1", redis.port)).unwrap();
    subscriber.set_read_timeout(Some(PATIENCE)).unwrap();
    subscriber.write_all(b"SUBSCRIBE channel\r\n").unwrap();
    let mut heard = BufReader::new(subscriber).lines().map(Result::unwrap);
    assert!(heard.any(|line| line == ":1"), "it did not subscribe");

    let host = app(redis.port).up(&[]);
    let seen = host.ok(&target("/redis/functions", &url(redis.port), ""));
    assert_eq!(
        seen.lines().collect::<Vec<_>>(),
        [
            "get Some([0, 255, 13, 10])",
            "none None",
            "incr 1",
            "incr 2",
            "sadd 2",
            "sadd 1",
            "smembers abc",
            "srem 1",
            "incr of a set Some(Error::TypeError)",
            "incr of bytes Some(Error::TypeError)",
            "del 2",
        ]
    );
    assert!(heard.any(|line| line == "message"), "nothing was published");
}

#[test]
fn a_command_of_redis_is_answered_element_by_element() {
    let redis = Redis::start(free_port());
    let host = app(redis.port).up(&[]);
    let ask = |name: &str, arguments: &[&str]| {
        let answer = host.get(&command(&url(redis.port), name, arguments));
        (answer.status, answer.body)
    };
    let ok = |text: &str| (200, text.to_owned());
    assert_eq!(ask("SET", &["a", "1"]), ok("+OK"));
    assert_eq!(ask("SET", &["once", "mine", "NX", "EX", "100"]), ok("+OK"));
    assert_eq!(
        ask("SET", &["once", "theirs", "NX", "EX", "100"]),
        ok("nil")
    );
    assert!(["100", "99", "98"].contains(&ask("TTL", &["once"]).1.trim_start_matches(':')));
    assert_eq!(ask("MGET", &["a", "none", "once"]), ok("$1 nil $mine"));
    assert_eq!(ask("PING", &[]), ok("+PONG"));
    assert_eq!(ask("EVAL", &["return '\\0\\255'", "0"]), ok("$\\x00\\xff"));
    assert_eq!(
        ask("eval", &["return {1, {ARGV[1], {}}, false}", "0", "x"]),
        ok(":1 $x nil")
    );
    // What the server says of a command goes to whoever sent it.
    let (status, text) = ask("LPUSH", &["a", "x"]);
    assert_eq!(status, 502);
    assert!(text.contains("WRONGTYPE"), "{text}");
    let (status, text) = ask("NONSENSE", &["a"]);
    assert_eq!(status, 502);
    assert!(text.contains("unknown command"), "{text}");
    assert!(!host.errors().contains("a Redis server failed"));
    assert_eq!(ask("GET", &["a"]), ok("$1"));
}

#[test]
fn instances_of_a_thread_share_a_connection_to_redis() {
    let redis = Redis::start(free_port());
    let relay = Relay::start(redis.port);
    let host = app(relay.port).up(&["--threads", "1", "--max-instance-reuse-count", "1"]);
    let mut counts: Vec<u32> = at_once(60, |_| {
        let count = host.ok(&command(&url(relay.port), "INCR", &["n"]));
        count.trim_start_matches(':').parse().unwrap()
    });
    counts.sort_unstable();
    assert_eq!(counts, (1..=60).collect::<Vec<_>>());
    assert_eq!(relay.connections.load(Ordering::Relaxed), 1);
    // A further database is a further connection.
    let other = format!("{}/1", url(relay.port));
    assert_eq!(host.ok(&command(&other, "GET", &["n"])), "nil");
    assert_eq!(relay.connections.load(Ordering::Relaxed), 2);
}

#[test]
fn what_would_change_or_hold_a_shared_connection_to_redis_is_refused() {
    let redis = Redis::start(free_port());
    let host = app(redis.port).up(&["--threads", "1"]);
    let url = url(redis.port);
    for (name, arguments) in [
        ("SELECT", &["1"][..]),
        ("select", &["1"]),
        ("CLIENT", &["REPLY", "OFF"]),
        ("MULTI", &[]),
        ("SUBSCRIBE", &["channel"]),
        ("BLPOP", &["list", "0"]),
        ("XREAD", &["block", "0", "STREAMS", "s", "$"]),
        ("SCRIPT", &["debug", "YES"]),
        ("QUIT", &[]),
    ] {
        let refusal = host.failure(&command(&url, name, arguments));
        assert!(refusal.contains("which others share"), "{name}: {refusal}");
    }
    assert_eq!(
        host.ok(&command(&url, "XREAD", &["STREAMS", "BLOCK", "0"])),
        "nil"
    );
}

#[test]
fn only_allowed_redis_servers_are_reached() {
    let redis = Redis::start(free_port());
    let port = redis.port;
    let host = app(port).up(&[]);
    let allowed = url(port);
    assert_eq!(host.ok(&target("/redis/get", &allowed, "&key=a")), "None");
    for other in [
        format!("redis://localhost:{port}"),
        format!("redis://127.0.0.1:{}", free_port()),
        "redis://127.0.0.1".to_owned(),
        format!("rediss://127.0.0.1:{port}"),
        format!("redis://127.0.0.1:{port}@localhost:{port}"),
        format!("http://127.0.0.1:{port}"),
        format!("127.0.0.1:{port}"),
        "unix:///run/redis.sock".to_owned(),
        format!("{allowed}/nodatabase"),
        String::new(),
    ] {
        let failure = host.failure(&target("/redis/get", &other, "&key=a"));
        assert_eq!(failure, "Error::InvalidAddress", "{other}");
    }
    host.says("outbound Redis denied");
    let failure = host.failure(&command("redis://elsewhere:1", "PING", &[]));
    assert!(failure.contains("allowed_outbound_hosts"), "{failure}");

    let denied = App::new(&manifest("")).up(&[]);
    denied.failure(&target("/redis/get", &allowed, "&key=a"));
}

#[test]
fn too_much_for_or_from_redis_is_refused() {
    let redis = Redis::start(free_port());
    let host = app(redis.port).up(&[]);
    let url = url(redis.port);
    let set = |bytes: usize| target("/redis/set", &url, &format!("&key=big&bytes={bytes}"));
    host.ok(&set((4 << 20) - 100));
    let refusal = host.failure(&set(4 << 20));
    assert!(refusal.contains("a command has at most"), "{refusal}");

    let eval = |script: &str| command(&url, "EVAL", &[script, "0"]);
    let elements = |count: usize| eval(&format!("return redis.call('LRANGE', 'l', 1, {count})"));
    host.ok(&eval("for i = 0, 20000 do redis.call('RPUSH', 'l', i) end"));
    assert_eq!(host.ok(&elements(10_000)).split(' ').count(), 10_000);
    let refusal = host.failure(&elements(10_001));
    assert!(refusal.contains("at most 10000 elements"), "{refusal}");
    let refusal = host.failure(&eval("return string.rep('x', 16 * 1024 * 1024 + 1)"));
    assert!(refusal.contains("a reply has at most"), "{refusal}");

    // Instances that hold nothing yet: the probe's port keeps its connection.
    let host = app(redis.port).up(&[]);
    let open = |url: &str, count| host.get(&target("/redis/open", url, &format!("&count={count}")));
    for _ in 0..3 {
        assert_eq!(open(&url, 1024).body, "1024");
        assert_eq!(open(&url, 1025).body, "1024 Error::TooManyConnections");
    }
    let databases = format!("{url}/NUMBER");
    let refusal = open(&databases, 1024).body;
    assert!(refusal.contains("Error::TooManyConnections"), "{refusal}");
    assert_eq!(open(&databases, 50).body, "50", "they were not let go");
}

#[test]
fn a_dead_redis_server_fails_at_once_and_works_when_it_is_back() {
    let port = free_port();
    let host = app(port).up(&["--threads", "1"]);
    let increment = command(&url(port), "INCR", &["n"]);
    let fails_at_once = || {
        let started = Instant::now();
        host.failure(&increment);
        let elapsed = started.elapsed();
        assert!(elapsed < Duration::from_millis(500), "{elapsed:?}");
    };
    for _ in 0..3 {
        fails_at_once();
    }
    host.says("a Redis server failed");

    let redis = Redis::start(port);
    assert_eq!(host.ok(&increment), ":1", "what failed before is forgotten");
    drop(redis);
    for _ in 0..3 {
        fails_at_once();
    }

    let redis = Redis::start(port);
    assert_eq!(host.ok(&increment), ":1");
    drop(redis);
    let _redis = Redis::start(port);
    // Unasked, nobody noticed that the connection ended: this may cost one command, and no more.
    let first = host.get(&increment).status;
    let count = if first == 200 { ":2" } else { ":1" };
    assert_eq!(host.ok(&increment), count);
}

#[test]
fn a_redis_server_that_accepts_and_says_nothing_fails_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let host = app(port).up(&["--threads", "1", "--max-computing", "1"]);
    let get = target("/redis/get", &url(port), "&key=a");
    let started = Instant::now();
    // Whoever waits leaves room to compute: these wait together.
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..20)
            .map(|_| scope.spawn(|| host.failure(&get)))
            .collect();
        thread::sleep(Duration::from_millis(100));
        assert_eq!(host.ok("/hello"), "hello");
        assert!(started.elapsed() < Duration::from_millis(900));
        for failure in waiting {
            let failure = failure.join().unwrap();
            assert!(failure.contains("timed out"), "{failure}");
        }
    });
    let elapsed = started.elapsed();
    assert!(elapsed < ABOUT_A_SECOND, "{elapsed:?}");
}

#[test]
fn a_connection_to_redis_that_fell_silent_is_replaced() {
    let redis = Redis::start(free_port());
    let relay = Relay::start(redis.port);
    let host = app(relay.port).up(&["--threads", "1"]);
    let increment = command(&url(relay.port), "INCR", &["n"]);
    assert_eq!(host.ok(&increment), ":1");
    relay.silence();
    let started = Instant::now();
    host.failure(&increment);
    let elapsed = started.elapsed();
    assert!(elapsed < ABOUT_A_SECOND, "{elapsed:?}");
    assert_eq!(host.ok(&increment), ":2");
    assert_eq!(relay.connections.load(Ordering::Relaxed), 2);
}

#[test]
fn a_password_for_redis_is_in_no_error_and_no_log() {
    let server = Redis::with(free_port(), &["--requirepass", "right-secret"]);
    // A server that does not know a command repeats what it was sent with it.
    let renamed = ["AUTH", "HELLO"].map(|command| ["--rename-command", command, ""]);
    let renamed = Redis::with(free_port(), renamed.as_flattened());
    let (port, other, dead) = (server.port, renamed.port, free_port());
    let hosts = [port, other, dead].map(|port| format!("\"{}\"", url(port)));
    let app = App::new(&manifest(&format!(
        "allowed_outbound_hosts = [{}]\n",
        hosts.join(", ")
    )));
    let host = app.up_with_environment(&["--threads", "1"], "RUST_LOG", "debug");
    let with = |password: &str, port: u16| format!("redis://:{password}@127.0.0.1:{port}");
    let get = |host: &Host, url: &str| host.get(&target("/redis/get", url, "&key=a")).body;
    assert_eq!(get(&host, &with("right-secret", port)), "None");
    let mut told = Vec::new();
    for url in [
        with("wrong-secret", port),
        with("wrong-secret", other),
        with("wrong-secret", dead),
        format!("{}?protocol=resp3", with("wrong-secret", other)),
        format!("redis://:wrong-secret@elsewhere:{port}"),
        format!("{}/wrong-secret", with("wrong-secret", port)),
        format!("redis://:wrong-secret@127.0.0.1:{port}x"),
    ] {
        told.push(host.failure(&target("/redis/get", &url, "&key=a")));
        told.push(host.failure(&command(&url, "GET", &["a"])));
    }
    host.says("Password authentication failed");
    told.push(host.errors());
    for text in told {
        assert!(!text.contains("secret"), "{text}");
    }
    assert_eq!(get(&host, &with("right-secret", port)), "None");
}
