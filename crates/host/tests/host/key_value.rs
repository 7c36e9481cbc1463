use std::time::{Duration, Instant};

use crate::harness::{App, Host, at_once, eventually, free_port, manifest};
use crate::redis_server::{Redis, Relay};

const STORE: &str = "key_value_stores = [\"default\"]\n";

/// What both backends must do.
fn exercise(host: &Host) {
    assert_eq!(host.ok("/kv/get?key=a"), "none");
    host.ok("/kv/set?key=a&value=1");
    host.ok("/kv/set?key=b%20c&value=");
    assert_eq!(host.ok("/kv/get?key=a"), "1");
    host.ok("/kv/set?key=a&value=2");
    assert_eq!(host.ok("/kv/get?key=a"), "2");
    assert_eq!(host.ok("/kv/keys"), "a,b c");
    host.ok("/kv/delete?key=a");
    host.ok("/kv/delete?key=a");
    assert_eq!(host.ok("/kv/get?key=a"), "none");
    assert_eq!(host.ok("/kv/many"), "many-1=1,many-none=none,many-2=2");
    assert_eq!(host.ok("/kv/keys"), "b c");

    let mut values: Vec<i64> = at_once(60, |_| host.ok("/increment?key=n").parse().unwrap());
    values.sort_unstable();
    assert_eq!(
        values,
        (1..=60).collect::<Vec<_>>(),
        "every caller gets a value of its own"
    );
    assert_eq!(host.ok("/increment?key=n&delta=-10"), "50");
    host.ok("/kv/set?key=text&value=words");
    host.failure("/increment?key=text");
    assert_eq!(host.ok("/kv/get?key=text"), "words");

    assert_eq!(host.ok("/swap?key=s"), "true,first");
    assert_eq!(host.ok("/kv/get?key=s"), "first");
}

#[test]
fn the_embedded_store_keeps_what_it_acknowledged() {
    let app = App::new(&manifest(STORE));
    let host = app.up(&[]);
    exercise(&host);
    host.ok("/kv/set?key=kept&value=yes");
    host.kill();
    let host = app.up(&[]);
    assert_eq!(host.ok("/kv/get?key=kept"), "yes");
    assert_eq!(host.ok("/increment?key=n"), "51");
}

#[test]
fn a_store_in_use_stops_a_second_host() {
    let app = App::new(&manifest(STORE));
    let _host = app.up(&[]);
    let error = app.refused(&[]);
    assert!(error.contains("in use by another process"), "{error}");
}

#[test]
fn only_listed_stores_open() {
    let app = App::new(&manifest("key_value_stores = [\"other\"]\n"));
    app.write(
        "rc.toml",
        "[key_value_store.other]\ntype = \"spin\"\npath = \"deep/other.db\"\n",
    );
    let host = app.up(&["--runtime-config-file", "rc.toml"]);
    host.ok("/kv/set?store=other&key=a&value=1");
    assert!(
        host.failure("/kv/get?store=default&key=a")
            .contains("AccessDenied")
    );
    assert!(
        host.failure("/kv/get?store=unheard&key=a")
            .contains("AccessDenied")
    );
    assert!(
        host.failure("/increment?store=default&key=a")
            .contains("AccessDenied")
    );
    assert!(app.path("deep/other.db").is_file());
    assert!(
        !app.path(".spin/tokengate/default.redb").exists(),
        "a store that nobody uses is not made"
    );
}

#[test]
fn a_label_without_a_store_stops_the_start() {
    let error = App::new(&manifest("key_value_stores = [\"other\"]\n")).refused(&[]);
    assert!(
        error.contains("spin.toml:9:21: there is no key-value store `other`"),
        "{error}"
    );
}

#[test]
fn too_much_is_refused() {
    let host = App::new(&manifest(STORE)).up(&[]);
    let long = "k".repeat(5_000);
    assert!(
        host.failure(&format!("/kv/get?key={long}"))
            .contains("at most")
    );
    assert!(
        host.failure(&format!("/kv/set?key={long}&value=1"))
            .contains("at most")
    );
    assert!(
        host.failure(&format!("/increment?key={long}"))
            .contains("at most")
    );
}

fn app_on_redis(port: u16) -> App {
    let app = App::new(&manifest(STORE));
    app.write(
        "rc.toml",
        format!(
            "[key_value_store.default]\ntype = \"redis\"\nurl = \"redis://127.0.0.1:{port}\"\n"
        ),
    );
    app
}

#[test]
fn the_redis_store_is_shared_by_hosts() {
    let redis = Redis::start(free_port());
    let app = app_on_redis(redis.port);
    let host = app.up(&["--runtime-config-file", "rc.toml"]);
    let second = app.up(&["--runtime-config-file", "rc.toml"]);
    exercise(&host);
    assert_eq!(second.ok("/kv/get?key=s"), "first");
    assert_eq!(second.ok("/increment?key=n"), "51");
}

#[test]
fn a_redis_outage_fails_fast_and_passes() {
    let port = free_port();
    let app = app_on_redis(port);
    // It starts without Redis, too: a cache is not needed to answer.
    let host = app.up(&["--runtime-config-file", "rc.toml", "--threads", "1"]);
    let started = Instant::now();
    host.failure("/kv/get?key=a");
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    // Not only the guest is told.
    host.says("a key-value store failed");

    let redis = Redis::start(port);
    eventually(|| (host.get("/kv/set?key=a&value=1").status == 200).then_some(()))
        .expect("it never connected");
    drop(redis);
    // What it was still answering when it was killed may arrive.
    eventually(|| (host.get("/kv/get?key=a").status == 502).then_some(()))
        .expect("it answers without Redis");
    let started = Instant::now();
    host.failure("/kv/get?key=a");
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(host.ok("/hello"), "hello");

    let _redis = Redis::start(port);
    eventually(|| (host.get("/kv/set?key=a&value=1").status == 200).then_some(()))
        .expect("it never reconnected");
}

#[test]
fn a_redis_connection_that_fell_silent_is_replaced() {
    let redis = Redis::start(free_port());
    let relay = Relay::start(redis.port);
    let app = app_on_redis(relay.port);
    let host = app.up(&["--runtime-config-file", "rc.toml", "--threads", "1"]);
    assert_eq!(host.ok("/increment?key=n"), "1");
    relay.silence();
    host.failure("/increment?key=n");
    assert_eq!(host.ok("/increment?key=n"), "2");
}
