use crate::harness::{App, PROBE, manifest};

#[test]
fn requests_go_where_the_routes_say() {
    let app = App::new(&format!(
        "spin_manifest_version = 2\n[application]\nname = \"t\"\n\
         [[trigger.http]]\nroute = \"/hello\"\ncomponent = \"probe\"\n\
         [[trigger.http]]\nroute = \"/echo/:name/...\"\ncomponent = \"other\"\n\
         [[trigger.http]]\nroute = \"/fixed\"\n\
         static_response = {{ status_code = 418, headers = {{ x-kind = \"fixed\" }}, body = \"short\" }}\n\
         {PROBE}[component.other]\nsource = \"probe.wasm\"\n"
    ));
    let host = app.up(&[]);
    assert_eq!(host.ok("/hello?x=/echo"), "hello");
    // A trailing slash makes no difference to the routes; the probe itself is stricter.
    assert_eq!(host.get("/hello/").body, host.get("/echo/x/y").body);
    let fixed = host.get("/fixed");
    assert_eq!(
        (fixed.status, fixed.body.as_str(), fixed.header("x-kind")),
        (418, "short", Some("fixed"))
    );
    for nowhere in ["/", "/nowhere", "/hello/more", "/HELLO", "/echo"] {
        let answer = host.get(nowhere);
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (404, "route-not-found"),
            "{nowhere}"
        );
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    let log = host.says("GET /echo 404");
    assert!(
        log.contains(" GET /hello 200 5B ") && !log.contains("x=/echo"),
        "no query in the log: {log}"
    );
}

#[test]
fn a_guest_learns_how_it_was_reached_and_clients_cannot_say_it() {
    let app = App::new(&format!(
        "spin_manifest_version = 2\n[application]\nname = \"t\"\n\
         [[trigger.http]]\nroute = \"/:kind/...\"\ncomponent = \"probe\"\n{PROBE}"
    ));
    let host = app.up(&[]);
    // The probe echoes under one path only, so the wildcard is empty here.
    let answer = host.send(
        "GET /echo?a=b HTTP/1.1\r\nhost: gate.example:80\r\nspin-client-addr: forged\r\nSpin-Invented: x\r\nx-kept: y\r\nconnection: close\r\n\r\n",
    );
    assert!(
        answer
            .body
            .starts_with("GET http://gate.example:80/echo?a=b\n"),
        "{}",
        answer.body
    );
    for line in [
        "spin-full-url: http://gate.example:80/echo?a=b\n",
        "spin-path-info: \n",
        "spin-matched-route: /:kind/...\n",
        "spin-component-route: /:kind\n",
        "spin-raw-component-route: /:kind/...\n",
        "spin-path-match-kind: echo\n",
        "spin-client-addr: 127.0.0.1:",
        "x-kept: y\n",
    ] {
        assert!(answer.body.contains(line), "{line} in {}", answer.body);
    }
    assert!(
        !answer.body.contains("forged") && !answer.body.contains("invented"),
        "{}",
        answer.body
    );
}

#[test]
fn a_request_without_exactly_one_host_is_malformed() {
    let host = App::new(&manifest("")).up(&[]);
    for request in [
        "GET /hello HTTP/1.1\r\nconnection: close\r\n\r\n",
        "GET /hello HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n",
        "GET /hello HTTP/1.1\r\nhost: a b\r\nconnection: close\r\n\r\n",
    ] {
        let answer = host.send(request);
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (400, "bad-request"),
            "{request}"
        );
    }
    assert_eq!(host.send("GET /hello HTTP/1.0\r\n\r\n").status, 200);
}
