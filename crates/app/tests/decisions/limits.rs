//! What a session and a client may have read from chains, what is kept of it, and what binds nonces and sessions.

use tokengate_core::eip712;
use tokengate_core::eip4361::Message;

use super::*;

/// A gate that takes vaults.
const VAULTS: &str = r#"
[[gate]]
id = "vaults"
resources = ["media/vaults/**"]
max_age = "60s"
delegation = {}
require = { erc721 = { chain = "eip155:1", contract = "0x5fbdb2315678afecb367f032d93f642f64180aa3", at_least = "1" } }
"#;

const VAULT_RESOURCE: &str = "media/vaults/a.mp4";

fn limited(limits: &str) -> impl FnOnce(String) -> String {
    let limits = format!("[limits]\n{limits}\n");
    move |config| config + &limits + VAULTS
}

fn vault(n: u64) -> String {
    format!("0x{n:040x}")
}

/// A request for `resource` from `peer`, by this visitor's session.
fn ask_from(visit: &Visit, peer: &str, body: Value) -> Response {
    let bearer = format!("Bearer {}", visit.token);
    let fields = [
        ("authorization", bearer.as_str()),
        ("spin-client-addr", peer),
    ];
    visit.send_with(Method::POST, "/v1/access", Some(body), &fields)
}

/// How many keys of the store have `part` in them.
fn keys(ports: &Simulated, part: &str) -> usize {
    let store = ports.0.store.borrow();
    store.keys().filter(|key| key.contains(part)).count()
}

#[test]
fn ten_thousand_vaults_of_one_session_are_refused_before_the_chain_is_asked_and_none_is_kept() {
    let visit = Visit::with(limited(
        "per_session = \"300/1m\"\nreads_per_client = \"600/1m\"",
    ));
    visit.ports.0.balance.set(0);
    let mut other = Visit::of(&visit.ports, 8);
    other.token = token(&other.sign_in().1);
    visit.calls();
    let (mut refused, mut limited) = (0, 0);
    for n in 1..=10_000 {
        let body = json!({"resource": VAULT_RESOURCE, "vault": vault(n)});
        let response = ask_from(&visit, "192.0.2.1:1", body);
        match response.status() {
            StatusCode::FORBIDDEN => refused += 1,
            StatusCode::TOO_MANY_REQUESTS => {
                let wait = response.headers()["retry-after"].to_str().unwrap();
                assert!((1..=60).contains(&wait.parse::<u64>().unwrap()), "{wait}");
                limited += 1;
            }
            status => panic!("{n}: {status}"),
        }
    }
    assert_eq!(refused + limited, 10_000);
    // The wallet's own balance, the vault's, the delegation and the call: four of the quota for each.
    assert_eq!((refused, visit.calls()), (75, 75));
    // Of all of them only what was read of the wallet itself is kept.
    assert_eq!(keys(&visit.ports, ":fact:"), 1);
    let kept = keys(&visit.ports, "");
    assert!(
        kept < 75 + 40,
        "{kept}: an entry for each time that it was read, at most"
    );
    // No other is kept out: not the same client by another session, nor another client.
    visit.ports.0.balance.set(1);
    for peer in ["192.0.2.1:1", "192.0.2.2:1"] {
        let response = ask_from(&other, peer, json!({"resource": VAULT_RESOURCE}));
        assert_eq!(response.status(), StatusCode::OK, "{peer}");
    }
    visit.ports.advance(60);
    let response = ask_from(&visit, "192.0.2.1:1", json!({"resource": VAULT_RESOURCE}));
    assert_eq!(response.status(), StatusCode::OK, "in the next window");
}

#[test]
fn sessions_of_one_client_share_its_quota_of_reads() {
    let visit = Visit::with(limited(
        "per_session = \"1000/1m\"\nreads_per_client = \"40/1m\"",
    ));
    visit.ports.0.balance.set(0);
    let mut other = Visit::of(&visit.ports, 8);
    // The same instance: what two do not know of each other is another test's.
    other.service = visit.service.clone();
    other.token = token(&other.sign_in().1);
    visit.calls();
    for n in 1..=40 {
        let visitor = if n % 2 == 0 { &visit } else { &other };
        let body = json!({"resource": VAULT_RESOURCE, "vault": vault(n)});
        let status = ask_from(visitor, "192.0.2.1:1", body).status();
        let expected = if n <= 10 {
            StatusCode::FORBIDDEN
        } else {
            StatusCode::TOO_MANY_REQUESTS
        };
        assert_eq!(status, expected, "{n}");
    }
    assert_eq!(visit.calls(), 10);
    // The same, by redirect, and by the explanation of a gate.
    let target = format!("/v1/content/{VAULT_RESOURCE}?vault={}", vault(99));
    let bearer = format!("Bearer {}", visit.token);
    let check = format!("/v1/gates/vaults/check?address={}", vault(98));
    for target in [target.as_str(), check.as_str()] {
        let fields = [
            ("authorization", bearer.as_str()),
            ("spin-client-addr", "192.0.2.1:1"),
        ];
        let response = visit.send_with(Method::GET, target, None, &fields);
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS, "{target}");
    }
    assert_eq!(visit.calls(), 0);
}

#[test]
fn what_memory_and_the_store_know_costs_nothing() {
    let visit = Visit::with(limited(
        "per_session = \"1/1m\"\nreads_per_client = \"1/1m\"",
    ));
    assert_eq!(visit.access().0, StatusCode::OK);
    for round in 0..500 {
        assert_eq!(visit.access().0, StatusCode::OK, "{round}");
    }
    assert_eq!(visit.beside().access().0, StatusCode::OK, "of the store");
    assert_eq!(visit.calls(), 1);
    visit.ports.0.balance.set(0);
    let (status, problem) = visit.open(VAULT_RESOURCE, json!({"vault": vault(7)}));
    assert_eq!(status, StatusCode::OK, "of its own balance: {problem}");
    let (status, problem) = visit.open("media/outsiders/a", json!({}));
    assert_eq!(problem["code"], "too-many-requests");
    assert_eq!((status, visit.calls()), (StatusCode::TOO_MANY_REQUESTS, 0));
}

#[test]
fn a_sign_in_that_warms_is_charged_to_its_session() {
    let config = CONFIG.replace("prefetch = \"off\"", "prefetch = \"all\"");
    let config = config + "[limits]\nreads_per_client = \"2/1m\"\n";
    let mut visit = Visit::of(&Simulated::new(config), 7);
    visit.token = token(&visit.sign_in().1);
    // It reads two facts of all gates; the signature is a key's, and costs no call.
    assert_eq!(visit.calls(), 1);
    let mut other = Visit::of(&visit.ports, 8);
    other.service = visit.service.clone();
    other.token = token(&other.sign_in().1);
    assert_eq!(visit.calls(), 0, "there is nothing left to warm it with");
    assert_eq!(other.access().0, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(visit.access().0, StatusCode::OK);
}

#[test]
fn a_vault_is_kept_if_it_has_named_a_delegate_and_its_withdrawal_takes_its_place() {
    let visit = Visit::with(limited("per_session = \"1000/1m\""));
    visit.ports.0.balance.set(0);
    let ask = |visit: &Visit| visit.open(VAULT_RESOURCE, json!({"vault": vault(9)}));
    assert_eq!(ask(&visit).0, StatusCode::FORBIDDEN);
    assert_eq!(keys(&visit.ports, ":fact:"), 1, "of the wallet");
    visit.ports.advance(4);
    visit.ports.0.delegated.set(true);
    assert_eq!(ask(&visit).0, StatusCode::FORBIDDEN);
    assert_eq!(keys(&visit.ports, ":fact:"), 3, "and of its vault");
    visit.ports.advance(4);
    visit.ports.0.balance.set(1);
    assert_eq!(ask(&visit).0, StatusCode::OK);
    // The fact of before does not outlive its withdrawal.
    visit.ports.advance(61);
    visit.ports.0.balance.set(0);
    visit.ports.0.delegated.set(false);
    assert_eq!(ask(&visit).0, StatusCode::FORBIDDEN);
    visit.calls();
    visit.ports.advance(1);
    // An instance that knows the store alone is told so.
    visit.ports.0.delegated.set(true);
    let (status, _) = ask(&visit.beside());
    assert_eq!(
        (status, visit.calls()),
        (StatusCode::FORBIDDEN, 0),
        "as kept"
    );
}

#[test]
fn facts_are_entered_for_their_expiry_first_and_not_kept_without_an_entry() {
    let visit = Visit::new();
    visit.ports.0.refused_writes.replace(Some(":forget:"));
    assert_eq!(visit.access().0, StatusCode::OK);
    assert_eq!(keys(&visit.ports, ":fact:"), 0);
    let log = visit.ports.0.log.take().join("\n");
    assert!(log.contains("facts not kept"), "{log}");
    visit.ports.0.refused_writes.replace(None);
    visit.ports.advance(11);
    assert_eq!(visit.access().0, StatusCode::OK);
    assert_eq!(keys(&visit.ports, ":fact:"), 1);
    // An entry without its fact is no harm: it is worked off as others are.
    let other = Visit::of(&visit.ports, 8);
    for _ in 0..5 {
        visit.ports.advance(600);
        assert_eq!(other.sign_in().0, StatusCode::CREATED);
    }
    assert_eq!(keys(&visit.ports, ":fact:"), 0);
}

#[test]
fn lists_are_worked_off_faster_than_they_are_filled() {
    let visit = Visit::with(|config| {
        let config = config.replace("session_ttl = \"1h\"", "session_ttl = \"10h\"");
        limited("per_session = \"4294967295/1m\"\nreads_per_client = \"4294967295/1m\"")(config)
    });
    visit.ports.0.delegated.set(true);
    visit.ports.0.balance.set(0);
    // More than a batch takes, each time that one is due.
    let mut n = 0;
    let mut most = 0;
    for _ in 0..8 {
        for _ in 0..1_000 {
            n += 1;
            let body = json!({"resource": VAULT_RESOURCE, "vault": vault(n)});
            let status = ask_from(&visit, "192.0.2.1:1", body).status();
            assert_eq!(status, StatusCode::FORBIDDEN);
        }
        visit.ports.advance(700);
        most = most.max(keys(&visit.ports, ":fact:"));
    }
    // A fact and its list last for less than three rounds.
    assert!(most < 2 * 1_000 * 4, "{most}");
}

#[test]
fn a_decision_over_more_facts_than_one_may_read_is_refused_before_anything_is_asked() {
    let visit = Visit::with(limited("reads_per_decision = 2"));
    assert_eq!(
        visit.open("media/outsiders/a", json!({})).0,
        StatusCode::FORBIDDEN
    );
    visit.calls();
    let (status, problem) = visit.open(VAULT_RESOURCE, json!({"vault": vault(1)}));
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    assert_eq!(problem["code"], "too-many-reads");
    let both = json!({"resources": [RESOURCE, "media/outsiders/a"]});
    let (status, problem) = visit.ask(Method::POST, "/v1/access", Some(both));
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    assert_eq!(visit.calls(), 0);
}

/// However many names meet in a slot, and whatever a client calls itself: two instances that know each other through the
/// store alone admit a client no more often than its quota, a sixteenth more, and what each has not told yet.
#[test]
fn a_client_does_not_lower_its_count_by_names_of_its_choice() {
    let first = Visit::new();
    first.ports.advance(60);
    let second = first.beside();
    let mut admitted = 0;
    for n in 0..1_200 {
        let visit = if n % 2 == 0 { &first } else { &second };
        let target = format!("/v1/challenge?address={}&chain=eip155:1", vault(n));
        let fields = [("spin-client-addr", "192.0.2.1:1")];
        let response = visit.send_with(Method::GET, &target, None, &fields);
        admitted += usize::from(response.status() == StatusCode::OK);
    }
    let quota = 120;
    assert!(admitted >= quota, "{admitted}");
    assert!(
        admitted <= quota + quota / 16 + 2 * quota.div_ceil(16),
        "{admitted}"
    );
}

#[test]
fn slots_of_the_store_are_bounded_and_strangers_cannot_tell_them() {
    let places = || {
        let visit = Visit::new();
        visit.ask(Method::GET, "/v1/challenge?chain=eip155:1", None);
        let store = visit.ports.0.store.borrow();
        let rates = store.iter().filter(|(key, _)| key.contains(":rate:"));
        let rates: Vec<_> = rates
            .map(|(key, value)| {
                assert!(value.len() <= 60, "{key}: {}", value.len());
                key.clone()
            })
            .collect();
        let identity = store["tg1:store"].clone();
        (rates, identity)
    };
    let (rates, identity) = places();
    assert!(rates.iter().any(|key| key.starts_with("tg1:rate:client:")));
    assert!(
        rates
            .iter()
            .all(|key| key.len() <= "tg1:rate:address:ffff".len())
    );
    assert_eq!(identity.len(), 32);
}

#[test]
fn one_account_on_two_chains_is_two_wallets() {
    let config = CONFIG.replace("eip155:10", "eip155:5");
    let ports = Simulated::new(config);
    ports.0.contract.set(1);
    // A contract's address: no key is known of it.
    let contract = vault(0xabcdef);
    let clients = Cell::new(0);
    let sign_in = |chain: u64| {
        // As from somewhere else each time: no client's own limit is in the way.
        clients.set(clients.get() + 1);
        let peer = format!("192.0.2.{}:1", clients.get());
        let fields = [("spin-client-addr", peer.as_str())];
        let provider = if chain == 5 {
            Provider::OtherChain
        } else {
            Provider::Honest
        };
        ports.providers(provider);
        let visit = Visit::of(&ports, 7);
        let target = format!("/v1/challenge?address={contract}&chain=eip155:{chain}");
        let (_, challenge) = answer(&visit.send_with(Method::GET, &target, None, &fields));
        let message = challenge["message"].as_str().unwrap();
        let body = Some(visit.signed(message));
        let response = visit.send_with(Method::POST, "/v1/session", body, &fields);
        let (status, session) = answer(&response);
        (status, session, visit)
    };
    let open = |chain| {
        let (status, session, mut visit) = sign_in(chain);
        assert_eq!(status, StatusCode::CREATED, "{session}");
        assert_eq!(session["wallets"][0]["chain"], format!("eip155:{chain}"));
        visit.token = token(&session);
        visit
    };
    let is_open = |visit: &Visit| {
        let (status, _) = visit.beside().ask(Method::GET, "/v1/session", None);
        status == StatusCode::OK
    };
    let (victim, attacker) = (open(1), open(5));
    attacker.end_all();
    assert!(!is_open(&attacker));
    assert!(is_open(&victim), "ended by another contract at its address");
    // Nor is it locked out by what the other one signs.
    while sign_in(5).0 == StatusCode::CREATED {}
    let again = open(1);
    again.end_all();
    assert!(!is_open(&victim), "its own end counts");
    assert!(is_open(&open(1)), "and a sign-in after it is open");
}

#[test]
fn a_lower_lifetime_ends_sessions_at_once_and_a_higher_one_brings_none_back_that_was_ended() {
    let mut visit = Visit::new();
    let stolen = token(&visit.sign_in().1);
    let configure = |visit: &mut Visit, ttl: &str| {
        let config = CONFIG.replace("session_ttl = \"1h\"", &format!("session_ttl = \"{ttl}\""));
        visit.ports.0.config.replace(config);
        *visit = visit.beside();
    };
    visit.ports.advance(100);
    configure(&mut visit, "60s");
    assert_eq!(visit.access().1["code"], "expired-session");
    configure(&mut visit, "2m");
    assert_eq!(visit.access().0, StatusCode::OK);
    visit.end_all();
    visit.token = stolen;
    let other = Visit::of(&visit.ports, 8);
    // Long after the lifetime of now: with what it leaves behind, lists are worked off.
    for minute in 0..50 {
        assert_ne!(visit.access().0, StatusCode::OK, "{minute}");
        visit.ports.advance(60);
        assert_eq!(other.sign_in().0, StatusCode::CREATED);
    }
    configure(&mut visit, "1h");
    assert_eq!(visit.access().1["code"], "revoked-session");
}

#[test]
fn a_challenge_of_another_store_does_not_sign_in() {
    let here = Visit::new();
    let elsewhere = Simulated::new(CONFIG.to_owned());
    elsewhere.0.random.set(1_000);
    let there = Visit::of(&elsewhere, 7);
    assert_eq!(there.sign_in().0, StatusCode::CREATED);
    let message = here.challenge();
    // Both have the same keys, and neither knows what the other one has counted.
    let (status, problem) = there.present(&message);
    assert_eq!(status, StatusCode::UNAUTHORIZED, "{problem}");
    assert_eq!(problem["code"], "invalid-nonce");
    assert_eq!(here.beside().present(&message).0, StatusCode::CREATED);
    let captured = here.beside().present(&message).1;
    assert_eq!(captured["code"], "nonce-reused");
}

#[test]
fn a_challenge_needs_the_store_once() {
    let visit = Visit::of(&Simulated::new(CONFIG.to_owned()), 7);
    let target = "/v1/challenge?chain=eip155:1";
    visit.ports.0.store_up.set(false);
    let (status, problem) = visit.ask(Method::GET, target, None);
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{problem}");
    assert_eq!(problem["code"], "store-unavailable");
    visit.ports.0.store_up.set(true);
    assert_eq!(visit.ask(Method::GET, target, None).0, StatusCode::OK);
    visit.ports.0.store_up.set(false);
    for _ in 0..3 {
        visit.ports.advance(120);
        assert_eq!(visit.ask(Method::GET, target, None).0, StatusCode::OK);
    }
}

#[test]
fn typed_data_signs_in_where_it_is_configured_and_names_the_domain() {
    let typed = |visit: &Visit, message: &str| {
        let hash = eip712::hash_message(&Message::parse(message).unwrap());
        let (signature, recovery) = visit.key.sign_prehash_recoverable(&hash);
        let v = 27 + recovery.to_byte();
        let signature = format!("0x{}{v:02x}", hex::encode(signature.to_bytes()));
        let body =
            json!({"message": message, "signature": signature, "scheme": "eip712", "link": false});
        visit.ask(Method::POST, "/v1/session", Some(body))
    };
    let challenge = |visit: &Visit| {
        let target = format!("/v1/challenge?address={}&chain=eip155:1", visit.address());
        visit.ask(Method::GET, &target, None).1
    };
    let off = Visit::new();
    let offered = challenge(&off);
    assert!(offered["typed_data"].is_null(), "{offered}");
    let plain = offered["message"].as_str().unwrap();
    let statement = offered["statement"].as_str().unwrap();
    // Also where it names the domain, as it would have to where it is on.
    let named = plain.replacen(statement, &format!("gate.example: {statement}"), 1);
    assert_ne!(named, plain);
    assert_eq!(typed(&off, &named).0, StatusCode::UNPROCESSABLE_ENTITY);
    let (status, problem) = typed(&off, plain);
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    assert_eq!(problem["code"], "malformed-signature");

    let on =
        Visit::with(|config| config.replace("deny_max_age", "typed_data = true\ndeny_max_age"));
    let offered = challenge(&on);
    let statement = offered["statement"].as_str().unwrap();
    assert!(statement.starts_with("gate.example: "), "{statement}");
    assert_eq!(offered["typed_data"]["message"]["statement"], statement);
    let message = offered["message"].as_str().unwrap();
    let unnamed = message.replace("gate.example: ", "");
    let (status, problem) = typed(&on, &unnamed);
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    let (status, session) = typed(&on, message);
    assert_eq!(status, StatusCode::CREATED, "{session}");
}

#[test]
fn a_public_check_tells_nothing_of_a_list_of_addresses() {
    let visit = visit_more();
    let stranger = vault(0x77);
    let check = |gate: &str, address: &str| {
        let target = format!("/v1/gates/{gate}/check?address={address}");
        let (status, mut answer) = visit.ask(Method::GET, &target, None);
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer["address"].take();
        answer
    };
    let listed = check("list", &visit.address());
    assert_eq!(listed, check("list", &stranger), "the list can be tried");
    assert!(listed["granted"].is_null(), "{listed}");
    assert!(
        listed["explain"]["met"].is_null() && listed["explain"]["has"].is_null(),
        "{listed}"
    );
    // What does not hang on the list is told as ever.
    visit.ports.0.balance.set(1);
    assert_eq!(check("either", &stranger)["granted"], true);
    visit.ports.advance(11);
    visit.ports.0.balance.set(0);
    assert_eq!(
        check("either", &visit.address()),
        check("either", &stranger)
    );
    // And its session knows.
    assert_eq!(visit.open("media/list/a", json!({})).0, StatusCode::OK);
}

#[test]
fn a_forwarded_request_to_a_service_that_counts_peers_is_warned_of_once() {
    let visit = Visit::new();
    visit.ports.0.log.take();
    let target = "/v1/challenge?chain=eip155:1";
    for _ in 0..3 {
        let fields = [
            ("x-forwarded-for", "192.0.2.9"),
            ("spin-client-addr", "10.0.0.1:1"),
        ];
        visit.send_with(Method::GET, target, None, &fields);
    }
    let log = visit.ports.0.log.take();
    let warned = log.iter().filter(|line| line.contains("client_ip_header"));
    assert_eq!(warned.count(), 1, "{log:?}");
    let config = "[limits]\nclient_ip_header = \"x-forwarded-for\"\n";
    let visit = Visit::with(|text| text + config);
    visit.send_with(
        Method::GET,
        target,
        None,
        &[("x-forwarded-for", "192.0.2.9")],
    );
    let log = visit.ports.0.log.take().join("\n");
    assert!(!log.contains("client_ip_header"), "{log}");
}

/// RFC 4648 section 5, without padding.
fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut word = [0; 4];
        word[1..=chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes(word);
        for digit in 0..=chunk.len() {
            let index = (bits >> (18 - 6 * digit)) & 63;
            text.push(char::from(DIGITS[index as usize]));
        }
    }
    text
}

/// A token of version 2, of a wallet that its key proved, made now for half an hour.
fn of_version_2(visit: &Visit, epoch: u64) -> String {
    use tokengate_core::keys::{KeyRing, Purpose};
    let now = visit.ports.0.now.get().as_second();
    let mut payload = vec![2];
    payload.extend([7; 16]);
    for time in [now, now + 1_800, now + 1_800] {
        payload.extend(time.to_be_bytes());
    }
    payload.push(1);
    payload.extend(hex::decode(&visit.address()[2..]).unwrap());
    payload.extend([0; 8]);
    payload.extend(epoch.to_be_bytes());
    let ring = KeyRing::parse(&format!("a:{}", "11".repeat(32))).unwrap();
    let (kid, tag) = ring.sign(Purpose::Session, &[&payload]);
    format!("{kid}.{}.{}", base64url(&payload), base64url(&tag))
}

#[test]
fn a_session_of_version_2_is_ended_by_epochs_of_either_key() {
    let visit = Visit::new();
    let old_key = format!("tg1:epoch:{}", visit.address());
    let ask = |token: &str| {
        let mut beside = visit.beside();
        beside.token = token.to_owned();
        beside.access()
    };
    let set_old = |epoch: u64| {
        let mut store = visit.ports.0.store.borrow_mut();
        let keys = crate::support::store_keys();
        let epoch = keys.seal(
            tokengate_core::sealed::Kind::Epoch,
            &old_key,
            &epoch.to_be_bytes(),
        );
        store.insert(old_key.clone(), epoch);
    };
    let first = of_version_2(&visit, 0);
    assert_eq!(ask(&first).0, StatusCode::OK);
    // Ended by an instance that knew addresses only, and signed in again after that.
    set_old(5);
    assert_eq!(ask(&first).1["code"], "revoked-session");
    let second = of_version_2(&visit, 5);
    assert_eq!(ask(&second).0, StatusCode::OK);
    assert_eq!(
        visit.access().0,
        StatusCode::OK,
        "by wallet, nothing has ended it"
    );
    // Of before values carried a tag: what it says is not believed, and that it is there is enough.
    let plain = 5_u64.to_be_bytes().to_vec();
    let sealed = visit
        .ports
        .0
        .store
        .borrow_mut()
        .insert(old_key.clone(), plain);
    assert_eq!(ask(&second).1["code"], "revoked-session");
    visit
        .ports
        .0
        .store
        .borrow_mut()
        .insert(old_key.clone(), sealed.unwrap());
    visit.end_all();
    for token in [&first, &second, &visit.token] {
        assert_eq!(ask(token).1["code"], "revoked-session");
    }
    // The present lifetime counts from when a token of before was made.
    let third = of_version_2(&visit, u64::MAX);
    visit
        .ports
        .0
        .config
        .replace(CONFIG.replace("session_ttl = \"1h\"", "session_ttl = \"60s\""));
    visit.ports.advance(60);
    assert_eq!(ask(&third).1["code"], "expired-session");
}

#[test]
fn an_identity_whose_maker_has_ended_is_made_by_another_instance() {
    let ports = Simulated::new(CONFIG.to_owned());
    // The first claim was counted, and nothing came of it.
    ports
        .0
        .store
        .borrow_mut()
        .insert("tg1:store:claim".to_owned(), vec![1]);
    let ask = || {
        let visit = Visit::of(&ports, 7);
        visit
            .ask(Method::GET, "/v1/challenge?chain=eip155:1", None)
            .0
    };
    let mut refused = 0;
    while ask() == StatusCode::SERVICE_UNAVAILABLE {
        refused += 1;
        assert!(refused < 20, "it is not made");
    }
    assert!(refused > 0);
    let identity = ports.0.store.borrow()["tg1:store"].clone();
    assert_eq!(ask(), StatusCode::OK);
    assert_eq!(ports.0.store.borrow()["tg1:store"], identity);
}
