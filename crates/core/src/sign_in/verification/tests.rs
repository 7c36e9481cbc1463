use super::*;
use crate::U256;
use k256::ecdsa::SigningKey;

const FACTORY: Address = Address::from_bytes([5; 20]);

fn key(byte: u8) -> SigningKey {
    SigningKey::from_slice(&[byte; 32]).unwrap()
}

fn address(key: &SigningKey) -> Address {
    let point = key.verifying_key().to_sec1_point(false);
    Address::from_alloy(alloy_primitives::Address::from_raw_public_key(
        &point.as_bytes()[1..],
    ))
}

fn sign(key: &SigningKey, hash: &[u8; 32]) -> Vec<u8> {
    let (signature, recovery) = key.sign_prehash_recoverable(hash);
    let mut bytes = signature.to_bytes().to_vec();
    bytes.push(27 + recovery.to_byte());
    bytes
}

fn text(account: Address) -> String {
    format!(
        "gate.example wants you to sign in with your Ethereum account:\n{account}\n\n\nURI: https://gate.example\nVersion: 1\nChain ID: 1\nNonce: a1b2c3d4e5f60718\nIssued At: 2026-01-02T03:04:05.000Z"
    )
}

/// What the validator answers on chain 1 or another.
fn answer(chain: u64, verdict: u64) -> Vec<u8> {
    [chain, 100, 1_800_000_000, 99, verdict]
        .map(|word| U256::from(word).to_be_bytes::<32>())
        .concat()
}

/// `signature` over the message of `account`, and what is made of it without a chain.
fn read(account: Address, signature: Vec<u8>) -> Result<Verification, VerifyError> {
    let text = text(account);
    let message = Message::parse(&text).unwrap();
    Verification::new(&message, Scheme::Eip191, signature, &[FACTORY])
}

fn hash(account: Address) -> [u8; 32] {
    eip191::hash_message(text(account).as_bytes())
}

/// What the validator's verdict comes to.
fn concluded(
    verification: &Verification,
    verdict: u64,
    state: Option<AccountState>,
) -> Result<Control, VerifyError> {
    let evidence = verification
        .conclude(Way::Override, &answer(1, verdict), state.as_ref())
        .unwrap();
    assert_eq!(evidence.block().number, 100);
    let outcome = evidence.into_outcome();
    outcome.map(|signer| {
        assert_eq!(signer.wallet().address, verification.account());
        signer.wallet().control
    })
}

fn counterfactual(factory: Address, signature: Vec<u8>) -> Vec<u8> {
    erc6492::Wrapped {
        factory,
        factory_calldata: vec![1, 2, 3],
        signature,
    }
    .to_bytes()
}

/// An ERC-8010 wrapper by the key of the account, with a call of `to` if there is one.
fn delegated(
    key: &SigningKey,
    chain: u64,
    nonce: u8,
    call: Option<(Address, &[u8])>,
    signature: &[u8],
) -> Vec<u8> {
    use alloy_sol_types::SolValue as _;
    let delegation = alloy_primitives::Address::repeat_byte(6);
    let small = |value: u64| match u8::try_from(value).unwrap() {
        0 => 0x80,
        byte => byte,
    };
    let mut list = vec![small(chain), 0x80 + 20];
    list.extend(delegation);
    list.push(small(nonce.into()));
    let header = 0xc0 + u8::try_from(list.len()).unwrap();
    let hash = alloy_primitives::keccak256([&[0x05, header], list.as_slice()].concat());
    let authorization = sign(key, &hash.0);
    let word = |bytes: &[u8]| U256::from_be_slice(bytes);
    let tuple = (
        U256::from(chain),
        delegation,
        U256::from(nonce),
        U256::from(authorization[64] - 27),
        word(&authorization[..32]),
        word(&authorization[32..64]),
    );
    let (to, data) = call.unwrap_or((address(key), &[]));
    let data = alloy_primitives::Bytes::copy_from_slice(data);
    let suffix = (tuple, to.into_alloy(), data).abi_encode_params();
    let length = U256::from(suffix.len()).to_be_bytes::<32>();
    [signature, &suffix, &length, &erc8010::MAGIC].concat()
}

#[test]
fn a_key_that_recovers_to_the_address_is_proof_without_a_chain_in_every_form() {
    let (mine, other) = (key(1), key(2));
    let account = address(&mine);
    let signature = sign(&mine, &hash(account));
    let by_other = sign(&other, &hash(account));
    type Wrap<'a> = Box<dyn Fn(&[u8]) -> Vec<u8> + 'a>;
    let forms: [Wrap<'_>; 6] = [
        Box::new(<[u8]>::to_vec),
        Box::new(|signature| counterfactual(FACTORY, signature.to_vec())),
        // What no chain is asked about need not be allowed, nor for this chain, nor by this key.
        Box::new(|signature| counterfactual(Address::from_bytes([8; 20]), signature.to_vec())),
        Box::new(|signature| delegated(&mine, 1, 0, None, signature)),
        Box::new(|signature| delegated(&mine, 2, 0, None, signature)),
        Box::new(|signature| delegated(&other, 1, 0, None, signature)),
    ];
    for (form, wrap) in forms.iter().enumerate() {
        let signer = read(account, wrap(&signature)).unwrap().by_key().unwrap();
        assert_eq!(signer.wallet(), Wallet::of_key(account), "{form}");
        assert_eq!(signer.chain().id(), 1);
        let by_other = read(account, wrap(&by_other));
        assert!(
            by_other.is_err() || by_other.unwrap().by_key().is_none(),
            "{form}"
        );
    }
}

#[test]
fn without_the_key_a_contract_decides_and_speaks_for_its_chain_alone() {
    let (mine, other) = (key(1), key(2));
    let account = address(&mine);
    let by_other = sign(&other, &hash(account));
    let by_rule = vec![1, 2, 3];
    let here = Control::Contract(ChainId::new(1).unwrap());
    let malformed = VerifyError::Signature(SignatureError::Length);
    for (signature, verdict, expected) in [
        (&by_other, 0, Err(VerifyError::Mismatch)),
        (&by_rule, 0, Err(malformed)),
        (&by_other, 1, Ok(here)),
        (&by_rule, 1, Ok(here)),
        (&by_other, 2, Err(VerifyError::Refused)),
        (&by_rule, 2, Err(VerifyError::Refused)),
        // Nothing was to be initialised.
        (&by_rule, 3, Err(VerifyError::Refused)),
    ] {
        let verification = read(account, signature.clone()).unwrap();
        assert_eq!(
            concluded(&verification, verdict, None),
            expected,
            "{verdict}"
        );
    }
}

#[test]
fn an_answer_of_another_chain_or_in_another_form_is_not_believed() {
    let verification = read(Address::from_bytes([9; 20]), vec![]).unwrap();
    let conclude = |way, returned: &[u8]| verification.conclude(way, returned, None);
    for way in [Way::Creation, Way::Override] {
        for chain in [2, 31_337] {
            assert_eq!(
                conclude(way, &answer(chain, 1)),
                Err(Unbelievable::WrongChain)
            );
        }
        for returned in [
            &answer(1, 4),
            &answer(0, 0),
            &answer(1, 1)[..159],
            &answer(1, 1)[..96],
            &[],
            &crate::abi::erc1271::ACCEPTED[..],
        ] {
            assert_eq!(conclude(way, returned), Err(Unbelievable::Form));
        }
    }
    assert_eq!(
        conclude(Way::Multicall3, &answer(1, 1)),
        Err(Unbelievable::Form)
    );
}

#[test]
fn any_change_of_the_message_is_another_message() {
    let mine = key(1);
    let text = text(address(&mine));
    for scheme in [Scheme::Eip191, Scheme::Eip712] {
        let message = Message::parse(&text).unwrap();
        let hash = match scheme {
            Scheme::Eip191 => eip191::hash_message(text.as_bytes()),
            Scheme::Eip712 => eip712::hash_message(&message),
        };
        let signature = sign(&mine, &hash);
        let check = |text: &str, scheme| {
            let message = Message::parse(text).unwrap();
            Verification::new(&message, scheme, signature.clone(), &[])
                .unwrap()
                .by_key()
                .is_some()
        };
        assert!(check(&text, scheme));
        for (from, to) in [
            ("gate.example wants", "gate.examples wants"),
            ("gate.example wants", "https://gate.example wants"),
            ("\n\n\nURI", "\n\nOpen it.\n\nURI"),
            ("//gate.example", "//gate.example/"),
            ("Chain ID: 1", "Chain ID: 2"),
            ("a1b2c3d4e5f60718", "a1b2c3d4e5f60719"),
            ("04:05.000Z", "04:05.001Z"),
            (
                "05.000Z",
                "05.000Z\nExpiration Time: 2027-01-02T03:04:05.000Z",
            ),
            ("05.000Z", "05.000Z\nNot Before: 2026-01-02T03:04:05.000Z"),
            ("05.000Z", "05.000Z\nRequest ID: 1"),
            ("05.000Z", "05.000Z\nResources:\n- https://gate.example/a"),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text, "{from}");
            assert!(!check(&changed, scheme), "{to}");
        }
        let other = if scheme == Scheme::Eip191 {
            Scheme::Eip712
        } else {
            Scheme::Eip191
        };
        assert!(!check(&text, other));
    }
}

#[test]
fn a_factory_outside_of_the_list_is_refused_by_name_and_one_of_it_has_to_deploy_the_account() {
    let account = Address::from_bytes([9; 20]);
    let unlisted = Address::from_bytes([8; 20]);
    let error = read(account, counterfactual(unlisted, vec![1])).unwrap_err();
    assert_eq!(error, VerifyError::UnlistedFactory(unlisted));
    let words = error.to_string();
    assert!(
        words.contains(&unlisted.to_string()) && words.contains("`factories`"),
        "{words}"
    );

    let verification = read(account, counterfactual(FACTORY, vec![1])).unwrap();
    let here = Control::Contract(ChainId::new(1).unwrap());
    for (verdict, expected) in [
        (0, Err(VerifyError::NotDeployed)),
        (1, Ok(here)),
        (2, Err(VerifyError::Refused)),
        (3, Err(VerifyError::Refused)),
    ] {
        assert_eq!(
            concluded(&verification, verdict, None),
            expected,
            "{verdict}"
        );
    }
    let plain = read(account, vec![1]).unwrap();
    assert_ne!(verification.call(Way::Creation), plain.call(Way::Creation));
    assert!(
        !verification.ways().contains(&Way::Multicall3),
        "it calls no factory"
    );
}

#[test]
fn a_pending_delegation_counts_with_the_present_nonce_alone() {
    let mine = key(1);
    let account = address(&mine);
    let verification = read(account, delegated(&mine, 1, 7, None, &[1])).unwrap();
    assert!(verification.needs_state());
    let here = Control::Contract(ChainId::new(1).unwrap());
    let state = |nonce, has_code| Some(AccountState { nonce, has_code });
    for (verdict, state, expected) in [
        (1, state(7, false), Ok(here)),
        (1, state(7, true), Ok(here)),
        (1, state(8, false), Err(VerifyError::NotDelegated)),
        (1, state(8, true), Err(VerifyError::NotDelegated)),
        (1, state(6, false), Err(VerifyError::NotDelegated)),
        (1, None, Err(VerifyError::NotDelegated)),
        (0, state(7, false), Err(VerifyError::NotDelegated)),
        (2, state(7, false), Err(VerifyError::Refused)),
        // It was not to be initialised.
        (3, state(7, false), Err(VerifyError::Refused)),
    ] {
        assert_eq!(
            concluded(&verification, verdict, state),
            expected,
            "{verdict} {state:?}"
        );
    }
    // Once the delegation was sent, or revoked, the account is what its code says without it.
    let state = |nonce, has_code| AccountState { nonce, has_code };
    assert!(verification.as_sent(&state(7, true)).is_none());
    assert!(verification.as_sent(&state(8, false)).is_none());
    let sent = verification.as_sent(&state(8, true)).unwrap();
    assert!(!sent.needs_state());
    assert_eq!(
        sent.call(Way::Override),
        read(account, vec![1]).unwrap().call(Way::Override)
    );
}

#[test]
fn a_delegated_account_is_initialised_by_a_call_of_itself_and_only_without_code_before() {
    let mine = key(1);
    let account = address(&mine);
    let here = Control::Contract(ChainId::new(1).unwrap());
    let state = |has_code| Some(AccountState { nonce: 0, has_code });
    let calling = |to| delegated(&mine, 0, 0, Some((to, &[1, 2, 3])), &[1]);
    let of_itself = read(account, calling(account)).unwrap();
    assert_eq!(concluded(&of_itself, 3, state(false)), Ok(here));
    assert_eq!(
        concluded(&of_itself, 3, state(true)),
        Err(VerifyError::Refused)
    );
    let of_another = read(account, calling(Address::from_bytes([8; 20]))).unwrap();
    assert_eq!(
        concluded(&of_another, 3, state(false)),
        Err(VerifyError::Refused)
    );
    let without = read(account, delegated(&mine, 0, 0, None, &[1])).unwrap();
    assert_eq!(of_another.call(Way::Override), without.call(Way::Override));
    assert_ne!(of_itself.call(Way::Override), without.call(Way::Override));
    // A delegation that another key signed, or for another chain, is none of the account's.
    for wrapped in [
        delegated(&key(2), 1, 0, None, &[1]),
        delegated(&mine, 2, 0, None, &[1]),
    ] {
        assert_eq!(
            read(account, wrapped).unwrap_err(),
            VerifyError::NotDelegated
        );
    }
}

#[test]
fn every_way_of_asking_names_its_gas_and_a_delegation_has_a_destination() {
    use crate::jsonrpc::{BlockTag, eth_call};
    let mine = key(1);
    let account = address(&mine);
    let verifications = [
        read(account, vec![1]).unwrap(),
        read(account, counterfactual(FACTORY, vec![1])).unwrap(),
        read(account, delegated(&mine, 1, 0, None, &[1])).unwrap(),
    ];
    for verification in verifications {
        for way in verification.ways() {
            let body = eth_call(&verification.call(*way), BlockTag::Latest).to_body();
            let request: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let call = &request["params"][0];
            assert_eq!(call["gas"], format!("{GAS:#x}"), "{way:?}");
            assert!(call["from"].is_string(), "{way:?}");
            assert_eq!(call["to"].is_string(), *way != Way::Creation, "{way:?}");
            assert_eq!(
                request["params"][2].is_object(),
                *way == Way::Override,
                "{way:?}"
            );
            if verification.needs_state() {
                assert!(call["authorizationList"].is_array() && call["to"].is_string());
            }
        }
    }
}
