use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::harness::{App, EVERYTHING, PROBE, manifest};

fn checked(more: &str) -> App {
    App::new(&format!(
        "{EVERYTHING}[application.tool.tokengate]\nstartup_check = \"/healthz/startup\"\n\
         {PROBE}{more}[component.idle]\nsource = \"probe.wasm\"\n"
    ))
}

#[test]
fn a_component_that_has_nothing_to_check_passes() {
    assert_eq!(checked("").up(&[]).ok("/hello"), "hello");
}

#[test]
fn a_component_that_refuses_stops_the_start_and_is_quoted() {
    let error = checked("[component.probe.variables]\nstartup = \"refuse\"\n").refused(&[]);
    assert!(
        error.contains("component `probe` refuses to start: gates.toml:3: no such chain; add it"),
        "{error}"
    );
    assert!(!error.contains("`idle`"), "{error}");
}

#[test]
fn a_component_that_does_not_answer_stops_the_start() {
    let error = checked("[component.probe.variables]\nstartup = \"hang\"\n").refused(&[]);
    assert!(
        error.contains("component `probe` refuses to start: no answer"),
        "{error}"
    );
}

#[test]
fn the_startup_check_is_answered_to_the_host_alone() {
    // The probe says what it is asked, so that the host is what keeps it from strangers.
    let app = checked("[component.probe.variables]\nstartup = \"words\"\n");
    let host = app.up(&[]);
    for target in [
        "/healthz/startup",
        "/healthz/startup?x",
        "http://h/healthz/startup",
    ] {
        for field in ["", "spin-startup-check: 1\r\n"] {
            let answer = host.send(&format!(
                "GET {target} HTTP/1.1\r\nhost: h\r\n{field}connection: close\r\n\r\n"
            ));
            assert_eq!(
                (answer.status, answer.problem().as_str()),
                (404, "route-not-found"),
                "{target} {field}"
            );
        }
    }
    // Nor can a client make a guest believe that the host asks.
    let echoed = host.send(
        "GET /echo HTTP/1.1\r\nhost: h\r\nSpin-Startup-Check: 1\r\nconnection: close\r\n\r\n",
    );
    assert!(!echoed.body.contains("startup-check"), "{}", echoed.body);
}

#[test]
fn what_the_host_does_not_support_is_an_error_with_its_place() {
    for (more, error) in [
        (
            "sqlite_databases = [\"default\"]\n",
            "spin.toml:9:1: `sqlite_databases` in `component.probe` is not supported",
        ),
        (
            "sorce = 1\n",
            "spin.toml:9:1: unknown key `sorce` in `component.probe`",
        ),
        (
            "[[trigger.redis]]\nchannel = \"c\"\ncomponent = \"probe\"\n",
            "spin.toml:9:11: triggers of type `redis`",
        ),
        (
            "[[trigger.http]]\nroute = \"/...\"\ncomponent = \"probe\"\n",
            "matches the same paths",
        ),
        (
            "files = [1]\n",
            "spin.toml:9:10: `component.probe.files[0]` must be a table",
        ),
    ] {
        let said = App::new(&manifest(more)).refused(&[]);
        assert!(said.contains(error), "{error}: {said}");
    }
    let app = App::new(&manifest(""));
    app.write("rc.toml", "[sqlite_database.default]\ntype = \"spin\"\n");
    let said = app.refused(&["--runtime-config-file", "rc.toml"]);
    assert!(said.contains("rc.toml:1:2: `sqlite_database`"), "{said}");
}

#[test]
fn a_source_that_is_no_component_is_named() {
    let app = App::new(&manifest("").replace("probe.wasm", "gone.wasm"));
    assert!(app.refused(&[]).contains("gone.wasm cannot be read"));
    app.write("gone.wasm", "not wasm");
    assert!(
        app.refused(&[])
            .contains("gone.wasm is no WebAssembly component")
    );
    // The smallest component: it exports nothing.
    app.write("gone.wasm", b"\0asm\x0d\0\x01\0");
    let error = app.refused(&[]);
    assert!(
        error.contains("component `probe` exports neither wasi:http/handler@0.3.0"),
        "{error}"
    );
}

#[test]
fn an_import_that_nobody_provides_is_named() {
    const NAME: &[u8] = b"example:nothing/here@1.0.0";
    // The type of an instance with one function, and an import of such an instance.
    let mut component =
        b"\0asm\x0d\0\x01\0\x07\x0e\x01\x42\x02\x01\x40\0\x01\0\x04\0\x01x\x01\0\x0a".to_vec();
    component.push(NAME.len() as u8 + 5);
    component.extend([1, 0, NAME.len() as u8]);
    component.extend(NAME);
    component.extend([5, 0]);
    let app = App::new(&manifest("").replace("probe.wasm", "other.wasm"));
    app.write("other.wasm", &component);
    let error = app.refused(&[]);
    assert!(
        error.contains("component `probe`") && error.contains("example:nothing/here@1.0.0"),
        "{error}"
    );

    let listed = imports(&app, "other.wasm");
    assert_eq!(listed, "import example:nothing/here@1.0.0\n");
}

fn imports(app: &App, file: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_tokengate"))
        .arg("imports")
        .arg(app.path(file))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn imports_are_listed_one_a_line() {
    let listed = imports(&App::new(&manifest("")), "spin.toml");
    for line in [
        "probe import spin:key-value/key-value@3.0.0",
        "probe import wasi:keyvalue/atomics@0.2.0-draft2",
        "probe export wasi:http/handler@0.3.0",
    ] {
        assert!(
            listed.lines().any(|listed| listed == line),
            "{line} in {listed}"
        );
    }
}

#[test]
fn a_port_in_use_is_said() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = App::new(&manifest("")).refused(&["--listen", &address]);
    assert!(
        error.contains(&format!("cannot listen on {address}")) && error.contains("in use"),
        "{error}"
    );
}

#[test]
fn a_corrupt_compiled_component_is_compiled_again() {
    let app = App::new(&manifest(""));
    let cache = app.path("cache");
    let cached = ["--cache-dir", "cache"];
    drop(app.up(&cached));
    let entry = std::fs::read_dir(&cache)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    assert_eq!(
        std::fs::metadata(&cache).unwrap().permissions().mode() & 0o777,
        0o700
    );
    let sound = std::fs::read(&entry).unwrap();
    let mut corrupt = sound.clone();
    let middle = corrupt.len() / 2;
    corrupt[middle] ^= 0xff;
    std::fs::write(&entry, &corrupt).unwrap();
    let host = app.up(&cached);
    host.says("corrupt");
    assert_eq!(host.ok("/hello"), "hello");
    drop(host);
    assert_eq!(
        std::fs::read(&entry).unwrap().len(),
        sound.len(),
        "it was written again"
    );
    assert_ne!(std::fs::read(&entry).unwrap(), corrupt);

    std::fs::set_permissions(&cache, std::fs::Permissions::from_mode(0o777)).unwrap();
    let error = app.refused(&cached);
    assert!(error.contains("could be written by others"), "{error}");
}

#[test]
fn a_state_directory_or_a_store_that_others_can_write_stops_the_start() {
    let app = App::new(&manifest("key_value_stores = [\"default\"]\n"));
    let state = app.path("state");
    let arguments = ["--state-dir", "state"];
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let set = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    drop(app.up(&arguments));
    let store = state.join("default.redb");
    assert_eq!((mode(&state), mode(&store)), (0o700, 0o600));

    for open in [0o777, 0o770, 0o702] {
        set(&state, open);
        let error = app.refused(&arguments);
        assert!(
            error.contains("could be written by others") && error.contains("chmod 700 "),
            "{error}"
        );
    }
    set(&state, 0o700);
    for open in [0o666, 0o620] {
        set(&store, open);
        let error = app.refused(&arguments);
        assert!(
            error.contains("could be written by others") && error.contains("chmod 600 "),
            "{error}"
        );
    }
    set(&store, 0o644);
    let host = app.up(&arguments);
    host.says("could be read by other users");
    assert_eq!(mode(&store), 0o600);
    drop(host);

    std::fs::rename(&state, app.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink(app.path("elsewhere"), &state).unwrap();
    let error = app.refused(&arguments);
    assert!(error.contains("a link is refused"), "{error}");
}

#[test]
fn a_redis_beyond_this_machine_without_tls_or_a_password_is_warned_of_once() {
    let app = App::new(&manifest("key_value_stores = [\"default\"]\n"));
    let store = |url: &str| {
        app.write(
            "rc.toml",
            format!("[key_value_store.default]\ntype = \"redis\"\nurl = \"{url}\"\n"),
        );
        let host = app.up(&["--runtime-config-file", "rc.toml"]);
        host.ok("/hello");
        host.says("GET /hello 200")
    };
    // Not connected to: addresses for documentation (RFC 5737).
    let said = store("redis://192.0.2.7");
    assert!(
        said.contains("without TLS and without a password")
            && said.contains("redis://192.0.2.7:6379"),
        "{said}"
    );
    let said = store("redis://:hidden@192.0.2.7");
    assert!(
        said.contains("is used without TLS: its password") && !said.contains("hidden"),
        "{said}"
    );
    for quiet in ["rediss://:hidden@192.0.2.7", "redis://127.0.0.1:1"] {
        let said = store(quiet);
        assert!(!said.contains("beyond this machine"), "{quiet}: {said}");
    }
}
