use super::*;

fn keys() -> KeyRing {
    KeyRing::parse(&format!("a:{}", "11".repeat(32))).unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// As configured where nothing else is said.
const ABSOLUTE: Duration = Duration::from_secs(100);

fn check(keys: &KeyRing, token: &str, now: Timestamp) -> Result<Session, TokenError> {
    super::check(keys, token, now, ABSOLUTE)
}

fn wallet(byte: u8) -> Wallet {
    Wallet::of_key(Address::from_bytes([byte; 20]))
}

fn session() -> Session {
    let by_contract = Wallet {
        control: Control::Contract(ChainId::new(10).unwrap()),
        ..wallet(8)
    };
    Session {
        id: [3; 16],
        signed_at: at(-10),
        issued_at: at(0),
        expires_at: at(60),
        ends_at: at(90),
        sealed_end: at(90),
        epochs: Epochs::ByWallet,
        members: vec![
            Member {
                wallet: wallet(7),
                epoch: 5,
            },
            Member {
                wallet: by_contract,
                epoch: u64::MAX,
            },
        ],
    }
}

#[test]
fn a_renewed_session_lasts_on_and_never_past_its_end() {
    let (renewed, token) = session().renew(&keys(), at(50), Duration::from_secs(20));
    assert_eq!(renewed.expires_at(), at(70));
    assert_eq!(check(&keys(), token.expose(), at(69)), Ok(renewed.clone()));
    assert_eq!(renewed.id(), session().id(), "ended with it");
    let (last, _) = renewed.renew(&keys(), at(65), Duration::from_secs(60));
    assert_eq!((last.expires_at(), last.ends_at()), (at(90), at(90)));
}

#[test]
fn the_longest_token_is_read_back() {
    let members = (0..8)
        .map(|byte| Member {
            wallet: wallet(byte),
            epoch: 1,
        })
        .collect();
    let full = Session {
        members,
        ..session()
    };
    let ring = KeyRing::parse(&format!("{}:{}", "k".repeat(16), "11".repeat(32))).unwrap();
    let token = encode(&ring, &full);
    assert!(token.expose().len() <= MAX_TOKEN_LEN);
    assert_eq!(check(&ring, token.expose(), at(1)), Ok(full));
}

#[test]
fn a_token_is_read_back_until_its_end() {
    let token = encode(&keys(), &session());
    assert_eq!(check(&keys(), token.expose(), at(59)), Ok(session()));
    assert_eq!(
        check(&keys(), token.expose(), at(60)),
        Err(TokenError::Expired)
    );
    assert_eq!(
        check(&keys(), token.expose(), at(-31)),
        Err(TokenError::Invalid),
        "a clock that is far behind"
    );
}

#[test]
fn every_changed_character_is_refused() {
    let token = encode(&keys(), &session()).expose().clone();
    for position in 0..token.len() {
        for replacement in [b'A', b'B', b'.', b'='] {
            let mut bytes = token.clone().into_bytes();
            if bytes[position] == replacement {
                continue;
            }
            bytes[position] = replacement;
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(
                check(&keys(), &changed, at(1)),
                Err(TokenError::Invalid),
                "{position}"
            );
        }
    }
}

#[test]
fn tokens_of_other_keys_and_kids_are_refused() {
    let token = encode(&keys(), &session()).expose().clone();
    for ring in [
        format!("a:{}", "22".repeat(32)),
        format!("b:{}", "11".repeat(32)),
    ] {
        assert_eq!(
            check(&KeyRing::parse(&ring).unwrap(), &token, at(1)),
            Err(TokenError::Invalid)
        );
    }
}

#[test]
fn a_lower_lifetime_ends_a_token_that_was_made_for_longer() {
    let token = encode(&keys(), &session());
    let check = |second, absolute| {
        let absolute = Duration::from_secs(absolute);
        super::check(&keys(), token.expose(), at(second), absolute)
    };
    // Signed at -10.
    assert!(check(29, 40).is_ok());
    assert_eq!(check(30, 40), Err(TokenError::Expired));
    let cut = check(29, 40).unwrap();
    assert_eq!((cut.expires_at(), cut.ends_at()), (at(30), at(30)));
    assert_eq!(cut.sealed_end(), at(90), "it lives as long where it is let");
    // Renewing under a lower lifetime does not lengthen what the token was made for.
    let (renewed, token) = cut.renew(&keys(), at(29), Duration::from_secs(60));
    assert_eq!(renewed.expires_at(), at(30));
    assert_eq!(renewed.signed_at(), at(-10));
    let again = super::check(&keys(), token.expose(), at(29), ABSOLUTE).unwrap();
    assert_eq!(again.signed_at(), at(-10));
}

/// A token as version 2 wrote it.
fn of_version_2(session: &Session) -> String {
    let mut payload = vec![WITHOUT_SIGNED_AT];
    payload.extend_from_slice(&session.id);
    for time in [session.issued_at, session.expires_at, session.sealed_end] {
        payload.extend_from_slice(&time.as_second().to_be_bytes());
    }
    let token = encode(&keys(), session);
    let payload_now = token.expose().split('.').nth(1).unwrap();
    let payload_now = Base64UrlUnpadded::decode_vec(payload_now).unwrap();
    payload.extend_from_slice(&payload_now[HEAD - 1..]);
    let ring = keys();
    let (kid, tag) = ring.sign(Purpose::Session, &[&payload]);
    format!(
        "{kid}.{}.{}",
        Base64UrlUnpadded::encode_string(&payload),
        Base64UrlUnpadded::encode_string(&tag)
    )
}

#[test]
fn a_token_of_version_2_counts_from_its_issue_and_its_renewal_keeps_that() {
    let token = of_version_2(&session());
    let old = check(&keys(), &token, at(1)).unwrap();
    assert_eq!(old.epochs(), Epochs::ByAddress);
    assert_eq!(old.members(), session().members());
    assert_eq!((old.signed_at(), old.ends_at()), (at(0), at(90)));
    let short = Duration::from_secs(30);
    assert_eq!(
        super::check(&keys(), &token, at(30), short),
        Err(TokenError::Expired)
    );
    let (_, renewed) = old.renew(&keys(), at(50), Duration::from_secs(40));
    let renewed = check(&keys(), renewed.expose(), at(51)).unwrap();
    assert_eq!((renewed.signed_at(), renewed.ends_at()), (at(0), at(90)));
    assert_eq!(renewed.epochs(), Epochs::ByWallet);
}
