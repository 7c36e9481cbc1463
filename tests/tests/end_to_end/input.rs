//! Bad input, route by route: each gets a problem document that says whose fault it is, and none is the service's.

use anyhow::{Context, ensure};
use http::Method;
use serde_json::{Value, json};
use tokengate_tests::chain::OWNER;
use tokengate_tests::client::{CHAIN, Reply};
use tokengate_tests::wallet::Wallet;
use tokengate_tests::world::{HELLO, World};

const LIMIT: usize = 64 * 1024;

/// The problem document of a request whose content or target is at fault.
fn at_fault(reply: &Reply) -> anyhow::Result<Value> {
    let status = reply.status.as_u16();
    ensure!(matches!(status, 400 | 422), "{status}: {}", reply.text());
    reply.problem(status)
}

#[tokio::test]
async fn queries_are_read_strictly() -> anyhow::Result<()> {
    let world = World::start().await?;
    // One letter of the right address in the wrong case.
    let miscased = OWNER.to_string().replacen('F', "f", 1);
    let nearly = &OWNER.to_string()[..41];
    // As long as a head may be, and what else is in one.
    let long = "a".repeat(12_000);
    for query in [
        String::new(),
        format!("address={OWNER}"),
        format!("address=&chain={CHAIN}"),
        format!("address={miscased}&chain={CHAIN}"),
        format!("address={nearly}&chain={CHAIN}"),
        format!("address={OWNER}0&chain={CHAIN}"),
        format!(
            "address={}&chain={CHAIN}",
            OWNER.to_string().replace("0x", "0X")
        ),
        format!("address={}&chain={CHAIN}", &OWNER.to_string()[2..]),
        format!("address=0x{}&chain={CHAIN}", "zz".repeat(20)),
        format!("address=%00{OWNER}&chain={CHAIN}"),
        format!("address=%FF&chain={CHAIN}"),
        format!("address={OWNER}&chain=eip155:1"),
        format!("address={OWNER}&chain=31337"),
        format!("address={OWNER}&chain=eip155:031337"),
        format!("address={OWNER}&chain=eip155:-1"),
        format!("address={OWNER}&chain=eip155:99999999999999999999999999"),
        format!("address={OWNER}&chain=solana:31337"),
        format!("address={OWNER}&chain={CHAIN}&chain=eip155:1"),
        format!("address={OWNER}&address={OWNER}&chain={CHAIN}"),
        format!("address={OWNER}&chain={CHAIN}&callback=x"),
        format!("address={OWNER}&chain={long}"),
    ] {
        let reply = world.gate.get(&format!("/v1/challenge?{query}")).await?;
        at_fault(&reply).with_context(|| query.clone())?;
    }
    for query in [
        String::new(),
        "address=".to_owned(),
        format!("address={miscased}"),
        format!("address={nearly}"),
        "address=vitalik.eth".to_owned(),
        format!("address={OWNER}&address={OWNER}"),
        format!("address={OWNER}&more=1"),
    ] {
        let reply = world
            .gate
            .get(&format!("/v1/gates/season-1/check?{query}"))
            .await?;
        at_fault(&reply).with_context(|| query.clone())?;
    }
    Ok(())
}

#[tokio::test]
async fn bodies_are_read_strictly() -> anyhow::Result<()> {
    let world = World::start().await?;
    let token = world.gate.sign_in(&Wallet::owner()?).await?;
    let bearer = format!("Bearer {token}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];

    let broken: [&[u8]; 9] = [
        b"",
        b"{",
        b"not json",
        b"{\"resource\":\"media/season-1/hello.txt\"",
        b"{\"resource\":\"media/season-1/hello.txt\"}{}",
        b"{\"resource\":\"\xff\xfe\"}",
        b"{\"resource\":\"a\nb\"}",
        b"{\"resource\":\"\\ud800\"}",
        b"\xef\xbb\xbf{\"resource\":\"media/season-1/hello.txt\"}",
    ];
    for path in ["/v1/access", "/v1/session"] {
        for body in broken {
            let reply = world
                .gate
                .send(Method::POST, path, &headers, body.to_vec())
                .await?;
            at_fault(&reply)
                .with_context(|| format!("{path} {}", String::from_utf8_lossy(body)))?;
        }
        // Deep nesting must exhaust nothing.
        let deep = "[".repeat(LIMIT - 1);
        let reply = world.gate.send(Method::POST, path, &headers, deep).await?;
        at_fault(&reply)?;

        let oversize = format!("{{\"message\":\"{}\"}}", "x".repeat(LIMIT));
        let reply = world
            .gate
            .send(Method::POST, path, &headers, oversize)
            .await?;
        reply.problem(413).context(path)?;

        for kind in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/jsonp",
            "",
        ] {
            let headers = [("authorization", bearer.as_str()), ("content-type", kind)];
            let reply = world.gate.send(Method::POST, path, &headers, "{}").await?;
            reply
                .problem(415)
                .with_context(|| format!("{path} {kind}"))?;
        }
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json; charset=utf-8"),
        ];
        let reply = world.gate.send(Method::POST, path, &headers, "{}").await?;
        at_fault(&reply).context("a parameter of the media type")?;
    }

    let shapes = [
        json!({}),
        json!([]),
        json!([HELLO]),
        json!([[HELLO]]),
        json!(null),
        json!("media/season-1/hello.txt"),
        json!(7),
        json!({ "resource": null }),
        json!({ "resource": 7 }),
        json!({ "resource": [HELLO] }),
        json!({ "resource": HELLO, "method": "PUT" }),
        json!({ "resource": HELLO, "method": "get" }),
        json!({ "resource": HELLO, "method": 1 }),
        json!({ "resource": HELLO, "disposition": "form-data" }),
        json!({ "resource": HELLO, "disposition": "attachment\r\nx: y" }),
        json!({ "resource": HELLO, "expires": 3600 }),
        json!({ "resource": HELLO, "resources": [HELLO] }),
        json!({ "resources": [] }),
        json!({ "resources": HELLO }),
        json!({ "resources": [7] }),
        json!({ "resources": [[HELLO]] }),
        json!({ "resources": [null] }),
        json!({ "resources": [{ "resource": HELLO, "more": 1 }] }),
        json!({ "resources": [HELLO], "method": "GET" }),
        json!({ "resources": vec![HELLO; 101] }),
    ];
    for body in shapes {
        let reply = world.gate.access(&token, &body).await?;
        at_fault(&reply).with_context(|| body.to_string())?;
    }
    let twice = format!("{{\"resource\":\"{HELLO}\",\"resource\":\"media/pass/extra.txt\"}}");
    let reply = world
        .gate
        .send(Method::POST, "/v1/access", &headers, twice)
        .await?;
    at_fault(&reply).context("a repeated member")?;

    let message = world.gate.challenge(&Wallet::owner()?).await?;
    let signature = Wallet::owner()?.personal_sign(&message);
    for body in [
        json!({}),
        json!([message, signature]),
        json!({ "message": message }),
        json!({ "signature": signature }),
        json!({ "message": message, "signature": null }),
        json!({ "message": [message], "signature": signature }),
        json!({ "message": message, "signature": signature, "cookie": "yes" }),
        json!({ "message": message, "signature": signature, "address": OWNER.to_string() }),
        json!({ "message": "", "signature": signature }),
        json!({ "message": "hello", "signature": signature }),
        json!({ "message": "x".repeat(60_000), "signature": signature }),
        json!({ "message": format!("\u{0}{message}"), "signature": signature }),
        json!({ "message": message, "signature": "0x" }),
        json!({ "message": message, "signature": "nonsense" }),
    ] {
        let reply = world.gate.post("/v1/session", &body).await?;
        at_fault(&reply).with_context(|| body.to_string())?;
    }
    // None of it spent the nonce.
    world
        .gate
        .session(&message, &signature)
        .await?
        .expect(201)?;
    Ok(())
}

#[tokio::test]
async fn resources_are_read_strictly() -> anyhow::Result<()> {
    let world = World::start().await?;
    let token = world.gate.sign_in(&Wallet::owner()?).await?;
    let long = format!("media/season-1/{}", "x".repeat(1_024));
    for resource in [
        "",
        "/",
        "media",
        "media/",
        "/media/season-1/hello.txt",
        "media/season-1/",
        "media/season-1/../uncovered.txt",
        "media/season-1/..",
        "media/season-1/.",
        "media/./season-1/hello.txt",
        "media/season-1//hello.txt",
        "media//season-1/hello.txt",
        "../media/season-1/hello.txt",
        "media/season-1/a\u{0}b",
        "media/season-1/a\nb",
        "media/season-1/a\rb",
        "media/season-1/a\u{7f}b",
        "media/season-1/a\u{85}b",
        "media/season-1\\hello.txt",
        "http://evil.example/media/season-1/hello.txt",
        &long,
    ] {
        let reply = world.gate.ask(&token, resource).await?;
        ensure!(
            matches!(reply.status.as_u16(), 400 | 404 | 422),
            "{resource:?}: {}",
            reply.status
        );
        reply.problem(reply.status.as_u16())?;
    }
    // In a body nothing is percent-decoded: this is the name of another object, which the gate covers.
    let grant = world
        .gate
        .ask(&token, "media/season-1/..%2Funcovered.txt")
        .await?
        .expect(200)?;
    let url = grant["url"].as_str().context("no URL")?;
    ensure!(
        url.contains("/media/season-1/..%252Funcovered.txt?"),
        "{url}"
    );
    let reply = world.http.get(url).await?;
    ensure!(
        reply.status == 404 || reply.status == 400,
        "{}",
        reply.status
    );
    Ok(())
}

#[tokio::test]
async fn a_route_answers_its_methods_and_names_them() -> anyhow::Result<()> {
    let world = World::start().await?;
    let routes = [
        ("/v1/challenge", "GET"),
        ("/v1/session", "POST"),
        ("/v1/session/renew", "POST"),
        ("/v1/access", "POST"),
        ("/v1/content/media/season-1/hello.txt", "GET"),
        ("/v1/gates", "GET"),
        ("/v1/gates/season-1", "GET"),
        ("/v1/gates/season-1/check", "GET"),
        ("/healthz/live", "GET"),
        ("/healthz/ready", "GET"),
        ("/openapi.json", "GET"),
        ("/", "GET"),
    ];
    for (path, right) in routes {
        for wrong in ["PUT", "PATCH", "DELETE", "POST", "GET", "BREW"] {
            if wrong == right || (path == "/v1/session" && matches!(wrong, "GET" | "DELETE")) {
                continue;
            }
            let reply = world
                .gate
                .send(
                    wrong.parse()?,
                    path,
                    &[("content-type", "application/json")],
                    "{}",
                )
                .await?;
            reply
                .problem(405)
                .with_context(|| format!("{wrong} {path}"))?;
            // RFC 9110 §15.5.6
            let allow: Vec<_> = reply.header("allow").split(',').map(str::trim).collect();
            ensure!(allow.contains(&right), "{wrong} {path}: {allow:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn unknown_paths_do_not_exist() -> anyhow::Result<()> {
    let world = World::start().await?;
    let token = world.gate.sign_in(&Wallet::owner()?).await?;
    for path in [
        "/v1",
        "/v1/",
        "/v2/access",
        "/v1/access/more",
        "/v1/sessions",
        "/v1/challenge/",
        "/v1/gates/season-1/more",
        "/v1/gates/season-1/check/more",
        "/v1/gates/%2e%2e/session",
        "/v1/gates/season%2D1%00",
        "/v1/gates/season-1%20",
        "/v1/gates//check",
        "/v1/admin",
        "/v1/admin/warm",
        "/v1/admin/watch",
        "/healthz",
        "/tokengate.toml",
        "/spin.toml",
        "/.env",
        "/openapi.json/",
    ] {
        let reply = world.gate.get_as(&token, path).await?;
        ensure!(
            matches!(reply.status.as_u16(), 400 | 404),
            "{path}: {}",
            reply.status
        );
        ensure!(!reply.text().contains("[service]"), "{path}");
    }
    Ok(())
}

#[tokio::test]
async fn bytes_that_are_no_http_end_in_a_refusal() -> anyhow::Result<()> {
    let world = World::start().await?;
    let host = world.gate.domain();
    let line = "x".repeat(200_000);
    let many = "a: b\r\n".repeat(5_000);
    let requests: [(&str, Vec<u8>); 9] = [
        ("no request line", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec()),
        ("a control character in the target", format!("GET /v1/content/a\x01b HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").into()),
        ("a raw byte above ASCII in the target", [b"GET /v1/content/\xff\xfe HTTP/1.1\r\nhost: ", host.as_bytes(), b"\r\nconnection: close\r\n\r\n"].concat()),
        ("a long target", format!("GET /{line} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").into()),
        ("a long header", format!("GET / HTTP/1.1\r\nhost: {host}\r\nx: {line}\r\nconnection: close\r\n\r\n").into()),
        ("many headers", format!("GET / HTTP/1.1\r\nhost: {host}\r\n{many}connection: close\r\n\r\n").into()),
        ("two lengths", format!("POST /v1/access HTTP/1.1\r\nhost: {host}\r\ncontent-length: 2\r\ncontent-length: 3\r\nconnection: close\r\n\r\n{{}}").into()),
        ("no length that is a number", format!("POST /v1/access HTTP/1.1\r\nhost: {host}\r\ncontent-length: x\r\nconnection: close\r\n\r\n{{}}").into()),
        ("a control character in the token", format!("GET /v1/content/{HELLO} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer a\x01b\r\nconnection: close\r\n\r\n").into()),
    ];
    for (what, request) in requests {
        let status = world.gate.send_raw(&request).await.context(what)?;
        ensure!(
            status.is_none_or(|status| (400..500).contains(&status)),
            "{what}: {status:?}"
        );
    }
    world.gate.get("/healthz/live").await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn what_a_problem_says_is_about_the_request() -> anyhow::Result<()> {
    let world = World::start().await?;
    let reply = world
        .gate
        .post("/v1/session", &json!({ "message": 1, "signature": "0x" }))
        .await?;
    let problem = at_fault(&reply)?;
    for secret in ["wasm", "panicked", "src/", ".rs", "/root", "127.0.0.1"] {
        ensure!(!problem.to_string().contains(secret), "{secret}: {problem}");
    }
    ensure!(
        problem["type"]
            .as_str()
            .is_some_and(|text| text.starts_with("/problems/")),
        "{problem}"
    );
    ensure!(
        problem["detail"].is_string() || problem["detail"] == Value::Null,
        "{problem}"
    );
    ensure!(
        reply.header("cache-control") == "no-store",
        "{:?}",
        reply.headers
    );
    Ok(())
}
