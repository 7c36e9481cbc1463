use super::*;
use crate::abi::view;

const OWNER: Address = Address::from_bytes([7; 20]);
const CONTRACT: Address = Address::from_bytes([9; 20]);

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(1_800_000_000_000 + millis).unwrap()
}

fn reads() -> Vec<(Read, Value)> {
    vec![
        (
            Read::Erc721Balance {
                contract: CONTRACT,
                owner: OWNER,
            },
            Value::Amount(U256::MAX),
        ),
        (
            Read::Erc721Owner {
                contract: CONTRACT,
                token_id: U256::from(1),
            },
            Value::Owner(OWNER),
        ),
        (
            Read::Erc721Owner {
                contract: CONTRACT,
                token_id: U256::from(2),
            },
            Value::Nobody,
        ),
        (
            Read::Erc1155Balance {
                contract: CONTRACT,
                owner: OWNER,
                id: U256::from(1),
            },
            Value::Amount(U256::ZERO),
        ),
        (
            Read::Erc1155Balances {
                contract: CONTRACT,
                owner: OWNER,
                ids: vec![U256::from(1), U256::from(2)],
            },
            Value::Amounts(U256::from(3)),
        ),
        (
            Read::Erc20Balance {
                contract: CONTRACT,
                owner: OWNER,
            },
            Value::Amount(U256::from(5)),
        ),
        (
            Read::NativeBalance { owner: OWNER },
            Value::Amount(U256::from(5)),
        ),
        (
            Read::Erc4907User {
                contract: CONTRACT,
                token_id: U256::from(1),
            },
            Value::Owner(OWNER),
        ),
        (Read::AccountOwner { account: CONTRACT }, Value::Nobody),
        (
            Read::Erc4907User {
                contract: CONTRACT,
                token_id: U256::from(2),
            },
            Value::Reverted,
        ),
        (view("uint8", 4), Value::Returned(Returned::Word([0; 32]))),
        (view("uint8", 5), Value::Returned(Returned::Word([0; 32]))),
        (
            view("string", 4),
            Value::Returned(Returned::Bytes(b"gold".to_vec())),
        ),
    ]
}

fn view(returns: &str, argument: u8) -> Read {
    let function = format!("function f() view returns ({returns})");
    Read::View {
        contract: CONTRACT,
        calldata: vec![1, 2, 3, argument],
        element: view::Function::parse(&function)
            .unwrap()
            .element("0")
            .unwrap(),
    }
}

#[test]
fn facts_survive_the_store_and_only_for_their_own_read() {
    for (read, value) in reads() {
        let fact = Fact {
            value,
            block: 12,
            read_at: at(345),
        };
        assert_eq!(
            Fact::from_bytes(&read, &fact.to_bytes()),
            Some(fact.clone()),
            "{read:?}"
        );
        for (other, _) in reads() {
            if let Some(misread) = Fact::from_bytes(&other, &fact.to_bytes()) {
                assert_eq!(
                    std::mem::discriminant(&misread.value),
                    std::mem::discriminant(&fact.value)
                );
            }
        }
    }
}

#[test]
fn a_touch_outdates_what_was_read_before_it_and_survives_the_store() {
    let read = Read::NativeBalance { owner: OWNER };
    let fact = |block, second| Fact {
        value: Value::Amount(U256::ONE),
        block,
        read_at: at(second),
    };
    let mined = Touch {
        block: 12,
        since: None,
    };
    assert!(!mined.is_known_to(&fact(11, 900)));
    assert!(mined.is_known_to(&fact(12, 1)), "the same event once more");
    let undone = Touch {
        block: 0,
        since: Some(at(100)),
    };
    assert!(!undone.is_known_to(&fact(99, 100)));
    assert!(!undone.is_known_to(&fact(99, 2_100)), "clocks differ");
    assert!(undone.is_known_to(&fact(1, 2_101)));
    let both = mined.and(undone);
    assert!(!both.is_known_to(&fact(11, 2_101)) && !both.is_known_to(&fact(12, 100)));
    assert!(both.is_known_to(&fact(12, 2_101)));
    for touch in [mined, undone, both] {
        // However long ago a block was undone, the mark is as old as what was noted last.
        let bytes = touch.to_bytes(at(3_700));
        let mark = Kept {
            since: at(3_700),
            is_mark: true,
        };
        assert_eq!(Kept::from_bytes(&bytes), Some(mark));
        for (read, _) in reads() {
            assert_eq!(
                Known::from_bytes(&read, &bytes),
                Some(Known::Touched(touch, at(3_700)))
            );
            assert_eq!(Fact::from_bytes(&read, &bytes), None);
        }
    }
    let kept = fact(5, 6).to_bytes();
    assert_eq!(
        Known::from_bytes(&read, &kept),
        Some(Known::Fact(fact(5, 6)))
    );
    let read_then = Kept {
        since: at(6),
        is_mark: false,
    };
    assert_eq!(Kept::from_bytes(&kept), Some(read_then));
    assert_eq!(Kept::from_bytes(b"{}"), None);
    let other = Fact {
        value: Value::Amount(U256::ZERO),
        ..fact(11, 900)
    };
    assert!(other.contradicts(&fact(12, 1)));
    assert!(!fact(11, 900).contradicts(&fact(12, 1)), "it says the same");
    assert!(!other.contradicts(&fact(11, 1)), "of the same block");
}

#[test]
fn corrupt_and_foreign_entries_are_misses() {
    let read = Read::NativeBalance { owner: OWNER };
    for bytes in [
        &b""[..],
        b"5",
        b"null",
        b"{}",
        br#"{"e":2,"v":"a5","b":1,"t":1}"#,
        br#"{"e":1,"v":"","b":1,"t":1}"#,
        br#"{"e":1,"v":"a","b":1,"t":1}"#,
        br#"{"e":1,"v":"a-5","b":1,"t":1}"#,
        br#"{"e":1,"v":"n","b":1,"t":1}"#,
        br#"{"e":1,"v":"r","b":1,"t":1}"#,
        br#"{"e":1,"v":"a5","b":-1,"t":1}"#,
        "{\"e\":1,\"v\":\"ß5\",\"b\":1,\"t\":1}".as_bytes(),
        b"\xff",
    ] {
        assert_eq!(
            Fact::from_bytes(&read, bytes),
            None,
            "{}",
            String::from_utf8_lossy(bytes)
        );
    }
}

#[test]
fn different_reads_have_different_store_keys() {
    let mut keys: Vec<_> = reads()
        .into_iter()
        .flat_map(|(read, _)| {
            [1, 137].map(|chain| {
                FactKey {
                    chain: ChainId::new(chain).unwrap(),
                    read: read.clone(),
                }
                .store_key()
            })
        })
        .collect();
    let count = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), count);
}

#[test]
fn age_is_bounded_in_both_directions() {
    let fact = Fact {
        value: Value::Nobody,
        block: 1,
        read_at: at(0),
    };
    let age = Duration::from_secs(5);
    assert!(fact.is_within(age, at(5_000)));
    assert!(!fact.is_within(age, at(5_001)));
    assert!(fact.is_within(age, at(-5_000)));
    assert!(!fact.is_within(age, at(-5_001)));
    assert!(fact.is_within(Duration::ZERO, at(0)) && !fact.is_within(Duration::ZERO, at(-1)));
}

#[test]
fn a_revert_is_an_answer_only_to_a_question_about_one_token() {
    let (contract, token_id) = (CONTRACT, U256::from(2));
    let about_a_token = [
        Read::Erc721Owner { contract, token_id },
        Read::Erc4907User { contract, token_id },
        Read::AccountOwner { account: CONTRACT },
    ];
    // ERC721NonexistentToken(uint256); no data, Error(string) without a string; Panic(uint256), EnforcedPause().
    for (selector, value) in [
        ("7e273289", Ok(Value::Nobody)),
        ("", Ok(Value::Reverted)),
        ("08c379a0", Ok(Value::Reverted)),
        ("4e487b71", Err(Unreadable)),
        ("d93c0665", Err(Unreadable)),
    ] {
        let data = hex::decode(selector).unwrap();
        for read in &about_a_token {
            assert_eq!(read.reverted(&data), value, "{selector} {read:?}");
        }
        for (read, _) in reads() {
            let about = about_a_token
                .iter()
                .any(|about| std::mem::discriminant(about) == std::mem::discriminant(&read));
            assert!(about || read.reverted(&data).is_err(), "{read:?}");
        }
    }
}
