//! Every kind of account signs in, and for each of them whatever is not its own signature over its own message does not.

use alloy_primitives::{Address, B256, eip191_hash_message, hex, keccak256};
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tokengate_tests::accounts::{
    Counterfactual, Delegated, FACTORY, Market, REGISTRY, Registry, SAFE_FACTORY, Safe,
};
use tokengate_tests::accounts::{authorise_calldata, authorization, erc6492, erc8010};
use tokengate_tests::chain::{CHAIN_ID, ERC721};
use tokengate_tests::client::{CHAIN, Gate, Reply};
use tokengate_tests::config::DOMAIN;
use tokengate_tests::faulty::Fault;
use tokengate_tests::wallet::Wallet;
use tokengate_tests::world::{HELLO, World};

/// A service that also knows a second chain, so that a message can name it, and may call the factories of the tests.
async fn world() -> anyhow::Result<World> {
    World::with(
        |config| {
            config.chain = format!("factories = [\"{FACTORY}\", \"{SAFE_FACTORY}\"]");
            config.more =
                "\n[[chain]]\nid = \"eip155:10\"\nproviders = [\"{{ rpc_url }}\"]\n".to_owned();
        },
        |settings| settings,
    )
    .await
}

async fn challenge(gate: &Gate, address: Address) -> anyhow::Result<Value> {
    gate.get(&format!("/v1/challenge?address={address}&chain={CHAIN}"))
        .await?
        .expect(200)
}

async fn message(gate: &Gate, address: Address) -> anyhow::Result<String> {
    let challenge = challenge(gate, address).await?;
    let message = challenge["message"].as_str().context("no message")?;
    Ok(message.to_owned())
}

async fn present(gate: &Gate, message: &str, signature: &[u8]) -> anyhow::Result<Reply> {
    gate.session(message, &hex::encode_prefixed(signature))
        .await
}

/// How an account signs a hash.
type Sign<'a> = dyn Fn(B256) -> Vec<u8> + 'a;

/// What holds of one kind of account.
struct Account<'a> {
    what: &'static str,
    address: Address,
    sign: &'a Sign<'a>,
    /// Somebody else's signature, in the account's own form.
    sign_wrongly: &'a Sign<'a>,
    /// The code of the answer to a signature that is not the account's.
    refusal: &'static str,
    /// The chain for which alone the account is proven, if it is not by its key.
    proven_on: Option<&'static str>,
}

impl Account<'_> {
    /// Runs the table: each row is a message, who signs what, and the answer.
    async fn signs_in_alone(&self, gate: &Gate) -> anyhow::Result<()> {
        let sign = |text: &str| (self.sign)(eip191_hash_message(text));
        let message = message(gate, self.address).await?;
        let other_chain = message.replace("Chain ID: 31337\n", "Chain ID: 10\n");
        let unknown_chain = message.replace("Chain ID: 31337\n", "Chain ID: 5\n");
        let other_domain = message.replacen(DOMAIN, "evil.example", 1);
        let other_text = message.replacen("Sign in", "Sign on", 1);
        let mut bits = sign(&message);
        // In the last scalar of the innermost signature: what is damaged is the signature, not its wrapper.
        let at = self.scalar(&bits).context("no signature inside")?;
        bits[at] ^= 1;
        let rows = [
            ("a flipped bit", &message, bits, 401, self.refusal),
            (
                "a changed text",
                &other_text,
                sign(&message),
                401,
                self.refusal,
            ),
            (
                "another signer",
                &message,
                (self.sign_wrongly)(eip191_hash_message(&message)),
                401,
                self.refusal,
            ),
            (
                "another chain",
                &other_chain,
                sign(&other_chain),
                401,
                "wrong-chain",
            ),
            (
                "an unknown chain",
                &unknown_chain,
                sign(&unknown_chain),
                422,
                "unknown-chain",
            ),
            (
                "another domain",
                &other_domain,
                sign(&other_domain),
                401,
                "wrong-domain",
            ),
        ];
        for (variant, text, signature, status, code) in rows {
            let what = || format!("{}, {variant}", self.what);
            ensure!(
                variant == "a flipped bit" || variant == "another signer" || *text != message,
                what()
            );
            let problem = present(gate, text, &signature)
                .await?
                .problem(status)
                .with_context(what)?;
            ensure!(problem["code"] == code, "{}: {problem}", what());
        }
        // None of them used the nonce up.
        let session = present(gate, &message, &sign(&message))
            .await?
            .expect(201)
            .context(self.what)?;
        ensure!(
            session["wallets"][0]["chain"] == json!(self.proven_on),
            "{session}"
        );
        ensure!(
            session["address"] == self.address.to_checksum(None),
            "{session}"
        );
        let problem = present(gate, &message, &sign(&message))
            .await?
            .problem(401)?;
        ensure!(
            problem["code"] == "nonce-reused",
            "{}: {problem}",
            self.what
        );
        Ok(())
    }

    /// Where the low byte of `s` of the first signature over the message stands.
    fn scalar(&self, signature: &[u8]) -> Option<usize> {
        // A recovery byte behind 64 bytes of which s is low: the form that all of these accounts use inside.
        (64..signature.len()).find_map(|v| {
            let (recovery, s) = (signature.get(v)?, signature.get(v - 32)?);
            let scalars = signature.get(v - 64..v)?;
            let dense = scalars.iter().filter(|byte| **byte != 0).count() > 56;
            (matches!(recovery, 27 | 28) && *s < 0x80 && dense).then_some(v - 1)
        })
    }
}

#[tokio::test]
async fn an_externally_owned_account_signs_in() -> anyhow::Result<()> {
    let world = world().await?;
    let (wallet, other) = (Wallet::owner()?, Wallet::stranger()?);
    let account = Account {
        what: "an externally owned account",
        address: wallet.address(),
        sign: &|hash| wallet.sign_hash(hash),
        sign_wrongly: &|hash| other.sign_hash(hash),
        refusal: "signature-mismatch",
        proven_on: None,
    };
    account.signs_in_alone(&world.gate).await
}

#[tokio::test]
async fn a_safe_of_three_signs_in_with_two_and_opens_what_it_holds() -> anyhow::Result<()> {
    let world = world().await?;
    let owners = ["one", "two", "three"].map(Wallet::seeded);
    let [Ok(one), Ok(two), Ok(three)] = owners else {
        anyhow::bail!("no wallets");
    };
    let safe = Safe::deploy(&world.chain, &[&one, &two, &three], 2).await?;
    let account = Account {
        what: "a Safe, 2 of 3",
        address: safe.address(),
        sign: &|hash| safe.sign(hash, &[&one, &three]),
        sign_wrongly: &|hash| safe.sign(hash, &[&two]),
        refusal: "signature-refused",
        proven_on: Some(CHAIN),
    };
    account.signs_in_alone(&world.gate).await?;
    world.chain.transfer_token(0, safe.address()).await?;
    let message = message(&world.gate, safe.address()).await?;
    let signature = safe.sign(eip191_hash_message(&message), &[&two, &three]);
    let session = present(&world.gate, &message, &signature)
        .await?
        .expect(201)?;
    let token = session["token"].as_str().context("no token")?;
    world.gate.ask(token, HELLO).await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn an_account_that_is_not_deployed_yet_signs_in_and_also_afterwards() -> anyhow::Result<()> {
    let world = world().await?;
    let (owner, other) = (Wallet::seeded("owner")?, Wallet::seeded("other")?);
    let account = Counterfactual::new(&world.chain, &owner, keccak256("salt")).await?;
    let others = Counterfactual::new(&world.chain, &other, keccak256("salt")).await?;
    let undeployed = Account {
        what: "a counterfactual account",
        address: account.address(),
        sign: &|hash| account.sign_wrapped(hash),
        // Its own factory deploys it, so that its contract judges the other key.
        sign_wrongly: &|hash| account.wrap(other.sign_hash(hash)),
        refusal: "signature-refused",
        proven_on: Some(CHAIN),
    };
    undeployed.signs_in_alone(&world.gate).await?;
    let message = message(&world.gate, account.address()).await?;
    let hash = eip191_hash_message(&message);
    for (what, signature, code) in [
        (
            "another account's factory call",
            others.sign_wrapped(hash),
            "account-not-deployed",
        ),
        ("no wrapper", account.sign(hash), "signature-mismatch"),
    ] {
        let problem = present(&world.gate, &message, &signature)
            .await?
            .problem(401)?;
        ensure!(problem["code"] == code, "{what}: {problem}");
    }
    account.deploy().await?;
    let deployed = Account {
        what: "the same account, deployed",
        address: account.address(),
        sign: &|hash| account.sign(hash),
        sign_wrongly: &|hash| other.sign_hash(hash),
        refusal: "signature-refused",
        proven_on: Some(CHAIN),
    };
    deployed.signs_in_alone(&world.gate).await?;
    // Wallets go on wrapping for a while after they have deployed.
    present(&world.gate, &message, &account.sign_wrapped(hash))
        .await?
        .expect(201)?;
    Ok(())
}

#[tokio::test]
async fn a_factory_that_is_not_listed_is_named_and_no_chain_is_asked() -> anyhow::Result<()> {
    let world = world().await?;
    let owner = Wallet::seeded("owner")?;
    let account = Counterfactual::new(&world.chain, &owner, keccak256("salt")).await?;
    let message = message(&world.gate, account.address()).await?;
    let signature = owner.sign_hash(eip191_hash_message(&message));
    let unlisted = Address::repeat_byte(9);
    world.provider.take();
    let problem = present(
        &world.gate,
        &message,
        &erc6492(unlisted, vec![1], signature),
    )
    .await?
    .problem(401)?;
    ensure!(problem["code"] == "account-not-deployed", "{problem}");
    let detail = problem["detail"].as_str().context("no detail")?;
    ensure!(
        detail.contains(&unlisted.to_string()) && detail.contains("`factories`"),
        "{detail}"
    );
    ensure!(world.provider.take().is_empty());
    Ok(())
}

#[tokio::test]
async fn an_account_whose_owner_is_bought_within_the_call_does_not_sign_in() -> anyhow::Result<()> {
    let world = world().await?;
    let (owner, attacker) = (Wallet::seeded("owner")?, Wallet::seeded("attacker")?);
    let market = Market::new(&world.chain).await?;
    for (id, deployed) in [(1, true), (2, false)] {
        let account = market.account(id, owner.address(), deployed).await?;
        let message = message(&world.gate, account).await?;
        let signature = attacker.sign_hash(eip191_hash_message(&message));
        let buy = market.buy_and_deploy(id, attacker.address());
        // By a factory of the attacker's, and by the initialisation of the attacker's own Safe out of the Safe's factory.
        let by_itself = erc6492(market.buyer(), buy.clone(), signature.clone());
        let relay = (market.buyer(), market.relay(buy));
        let safe = Safe::undeployed(&world.chain, &[&attacker], 1, Some(relay)).await?;
        let by_safe = safe.wrap(signature.clone());
        for (what, signature) in [
            ("unwrapped", signature),
            ("by itself", by_itself),
            ("by a Safe", by_safe),
        ] {
            present(&world.gate, &message, &signature)
                .await?
                .problem(401)
                .with_context(|| format!("{what}, deployed: {deployed}"))?;
        }
        ensure!(
            market.owner_of(id).await? == owner.address(),
            "nothing was bought"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_safe_that_is_not_deployed_yet_signs_in_through_its_own_factory() -> anyhow::Result<()> {
    // The factories that a service knows by itself.
    let world = World::start().await?;
    let (one, two) = (Wallet::seeded("one")?, Wallet::seeded("two")?);
    let safe = Safe::undeployed(&world.chain, &[&one, &two], 2, None).await?;
    let message = message(&world.gate, safe.address()).await?;
    let hash = eip191_hash_message(&message);
    let problem = present(&world.gate, &message, &safe.wrap(safe.sign(hash, &[&one])))
        .await?
        .problem(401)?;
    ensure!(problem["code"] == "signature-refused", "{problem}");
    let session = present(
        &world.gate,
        &message,
        &safe.wrap(safe.sign(hash, &[&one, &two])),
    )
    .await?
    .expect(201)?;
    ensure!(session["wallets"][0]["chain"] == CHAIN, "{session}");
    Ok(())
}

#[tokio::test]
async fn a_delegated_account_signs_in_by_its_key_and_by_what_its_code_accepts() -> anyhow::Result<()>
{
    let world = world().await?;
    let (wallet, other) = (Wallet::seeded("delegating")?, Wallet::seeded("other")?);
    let code = world.chain.deploy_own("DelegatedAccount").await?;
    let delegated = Delegated::new(&world.chain, &wallet, code).await?;
    let account = Account {
        what: "an account delegated by EIP-7702",
        address: delegated.address(),
        sign: &|hash| delegated.sign(hash),
        sign_wrongly: &|hash| other.sign_hash(hash),
        refusal: "signature-refused",
        proven_on: None,
    };
    account.signs_in_alone(&world.gate).await?;
    // A key that its code accepts besides its own speaks for it where the code is.
    let session_key = Wallet::seeded("session key")?;
    delegated
        .authorise(&world.chain, session_key.address())
        .await?;
    let by_session_key = Account {
        what: "the same account, by a key that it authorised",
        sign: &|hash| session_key.sign_hash(hash),
        proven_on: Some(CHAIN),
        ..account
    };
    by_session_key.signs_in_alone(&world.gate).await
}

#[tokio::test]
async fn a_delegated_accounts_key_signs_in_whatever_its_delegate_says() -> anyhow::Result<()> {
    let world = world().await?;
    let other = Wallet::seeded("other")?;
    for delegate in ["MuteDelegate", "RefusingDelegate", "RevertingDelegate"] {
        let wallet = Wallet::seeded(delegate)?;
        let code = world.chain.deploy_own(delegate).await?;
        Delegated::new(&world.chain, &wallet, code).await?;
        let message = message(&world.gate, wallet.address()).await?;
        let hash = eip191_hash_message(&message);
        let problem = present(&world.gate, &message, &other.sign_hash(hash))
            .await?
            .problem(401)?;
        ensure!(
            problem["code"] == "signature-refused",
            "{delegate}: {problem}"
        );
        let session = present(&world.gate, &message, &wallet.sign_hash(hash))
            .await?
            .expect(201)
            .context(delegate)?;
        ensure!(
            session["wallets"][0]["chain"].is_null(),
            "{delegate}: {session}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_key_signs_in_while_no_provider_answers_and_a_contract_does_not() -> anyhow::Result<()> {
    let world = world().await?;
    let wallet = Wallet::seeded("key")?;
    let owner = Wallet::seeded("owner")?;
    let safe = Safe::deploy(&world.chain, &[&owner], 1).await?;
    for fault in [
        Fault::Refused,
        Fault::TooMany(1),
        Fault::Silent,
        Fault::Unsynced,
    ] {
        world.provider.behave(Fault::None).await?;
        let of_safe = message(&world.gate, safe.address()).await?;
        let of_key = message(&world.gate, wallet.address()).await?;
        world.provider.behave(fault).await?;
        let signature = safe.sign(eip191_hash_message(&of_safe), &[&owner]);
        let problem = present(&world.gate, &of_safe, &signature)
            .await?
            .problem(503)
            .with_context(|| format!("{fault:?}"))?;
        ensure!(
            problem["code"] == "chain-unavailable",
            "{fault:?}: {problem}"
        );
        let signature = wallet.sign_hash(eip191_hash_message(&of_key));
        present(&world.gate, &of_key, &signature)
            .await?
            .expect(201)
            .with_context(|| format!("{fault:?}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn on_a_chain_that_runs_less_each_account_signs_in_that_can_be_checked() -> anyhow::Result<()>
{
    let world = world().await?;
    let (wallet, owner) = (Wallet::seeded("key")?, Wallet::seeded("owner")?);
    let session_key = Wallet::seeded("session key")?;
    let safe = Safe::deploy(&world.chain, &[&owner], 1).await?;
    let counterfactual = Counterfactual::new(&world.chain, &owner, keccak256("salt")).await?;
    let code = world.chain.deploy_own("DelegatedAccount").await?;
    let own = authorization(&wallet, CHAIN_ID, code, 0);
    let initialisation = authorise_calldata(&wallet, CHAIN_ID, session_key.address());
    let by_key = |hash| wallet.sign_hash(hash);
    let by_safe = |hash| safe.sign(hash, &[&owner]);
    let by_factory = |hash| counterfactual.sign_wrapped(hash);
    let by_session_key = |hash: B256| {
        erc8010(
            &session_key.sign_hash(hash),
            &own,
            Some((None, &initialisation)),
        )
    };
    let at = wallet.address();
    let rows: [(Fault, &str, Address, &Sign<'_>, Option<&str>); 9] = [
        (Fault::NoDestinationless, "a key", at, &by_key, None),
        (
            Fault::NoDestinationless,
            "a Safe",
            safe.address(),
            &by_safe,
            None,
        ),
        (
            Fault::NoDestinationless,
            "a factory",
            counterfactual.address(),
            &by_factory,
            None,
        ),
        (
            Fault::NoDestinationless,
            "a delegation",
            at,
            &by_session_key,
            None,
        ),
        (Fault::NoOverrides, "a key", at, &by_key, None),
        // Multicall3 is deployed: it can ask, and prepare nothing.
        (Fault::NoOverrides, "a Safe", safe.address(), &by_safe, None),
        (
            Fault::NoOverrides,
            "a factory",
            counterfactual.address(),
            &by_factory,
            Some("account-not-deployed"),
        ),
        (
            Fault::NoOverrides,
            "a delegation",
            at,
            &by_session_key,
            Some("signature-refused"),
        ),
        (
            Fault::NoAuthorizations,
            "a delegation",
            at,
            &by_session_key,
            Some("account-not-delegated"),
        ),
    ];
    for (fault, what, address, sign, refusal) in rows {
        world.provider.behave(fault).await?;
        let what = || format!("{fault:?}, {what}");
        let message = message(&world.gate, address).await?;
        let signature = sign(eip191_hash_message(&message));
        let reply = present(&world.gate, &message, &signature).await?;
        match refusal {
            None => drop(reply.expect(201).with_context(what)?),
            Some(code) => {
                let problem = reply.problem(401).with_context(what)?;
                ensure!(problem["code"] == code, "{}: {problem}", what());
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_delegation_that_was_revoked_stays_so_at_a_node_that_ignores_nonces() -> anyhow::Result<()>
{
    let world = world().await?;
    let (wallet, attacker) = (Wallet::seeded("revoked")?, Wallet::seeded("attacker")?);
    let code = world.chain.deploy_own("OpenDelegate").await?;
    Delegated::new(&world.chain, &wallet, code).await?;
    Delegated::new(&world.chain, &wallet, Address::ZERO).await?;
    // Anybody can read this authorization off the chain, and initialise what it delegated to.
    let past = authorization(&wallet, CHAIN_ID, code, 0);
    let initialise = keccak256("initialise()")[..4].to_vec();
    let at = wallet.address();
    for fault in [Fault::None, Fault::IgnoresNonces(at)] {
        world.provider.behave(fault).await?;
        let message = message(&world.gate, at).await?;
        let signature = attacker.sign_hash(eip191_hash_message(&message));
        for call in [None, Some((None, initialise.as_slice()))] {
            let problem = present(&world.gate, &message, &erc8010(&signature, &past, call))
                .await?
                .problem(401)?;
            ensure!(
                problem["code"] == "account-not-delegated",
                "{fault:?}: {problem}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_account_signs_in_by_a_delegation_that_it_has_signed_and_not_sent() -> anyhow::Result<()>
{
    let world = world().await?;
    let (wallet, other) = (Wallet::seeded("pre-delegated")?, Wallet::seeded("other")?);
    let session_key = Wallet::seeded("session key")?;
    let code = world.chain.deploy_own("DelegatedAccount").await?;
    let own = authorization(&wallet, CHAIN_ID, code, 0);
    let initialisation = authorise_calldata(&wallet, CHAIN_ID, session_key.address());
    let account = Account {
        what: "a pre-delegated account",
        address: wallet.address(),
        sign: &|hash| erc8010(&wallet.sign_hash(hash), &own, None),
        sign_wrongly: &|hash| erc8010(&other.sign_hash(hash), &own, None),
        refusal: "signature-refused",
        proven_on: None,
    };
    account.signs_in_alone(&world.gate).await?;
    // A call of anything but the account is not made.
    let elsewhere = message(&world.gate, wallet.address()).await?;
    let signature = session_key.sign_hash(eip191_hash_message(&elsewhere));
    let call = Some((Some(code), initialisation.as_slice()));
    let problem = present(&world.gate, &elsewhere, &erc8010(&signature, &own, call))
        .await?
        .problem(401)?;
    ensure!(problem["code"] == "signature-refused", "{problem}");
    let initialised = Account {
        what: "a pre-delegated account, initialised with a key",
        sign: &|hash| {
            erc8010(
                &session_key.sign_hash(hash),
                &own,
                Some((None, &initialisation)),
            )
        },
        sign_wrongly: &|hash| erc8010(&session_key.sign_hash(hash), &own, None),
        proven_on: Some(CHAIN),
        ..account
    };
    initialised.signs_in_alone(&world.gate).await?;
    let message = message(&world.gate, wallet.address()).await?;
    let hash = eip191_hash_message(&message);
    const UNDELEGATED: &str = "account-not-delegated";
    for (what, delegation, code) in [
        (
            "by another key",
            authorization(&other, CHAIN_ID, code, 0),
            UNDELEGATED,
        ),
        (
            "for another chain",
            authorization(&wallet, 10, code, 0),
            UNDELEGATED,
        ),
        (
            "of another nonce",
            authorization(&wallet, CHAIN_ID, code, 7),
            UNDELEGATED,
        ),
        // The delegation itself is code, which then answers nothing.
        (
            "to an address without code",
            authorization(&wallet, CHAIN_ID, Address::repeat_byte(7), 0),
            "signature-refused",
        ),
    ] {
        let signature = erc8010(&session_key.sign_hash(hash), &delegation, None);
        let problem = present(&world.gate, &message, &signature)
            .await?
            .problem(401)
            .context(what)?;
        ensure!(problem["code"] == code, "{what}: {problem}");
    }
    Ok(())
}

#[tokio::test]
async fn typed_data_signs_in_like_a_text_where_it_is_configured() -> anyhow::Result<()> {
    let wallet = Wallet::owner()?;
    let off = world().await?;
    let offered = challenge(&off.gate, wallet.address()).await?;
    ensure!(offered["typed_data"].is_null(), "{offered}");
    let body = json!({ "message": offered["message"], "signature": "0x00", "scheme": "eip712" });
    off.gate.post("/v1/session", &body).await?.problem(422)?;
    drop(off);

    let world = World::with(|config| config.typed_data = true, |settings| settings).await?;
    let challenge = challenge(&world.gate, wallet.address()).await?;
    let message = challenge["message"].as_str().context("no message")?;
    ensure!(message.contains("\n\ngate.example: "), "{message}");
    // The library that wallets use hashes what the service gives them to sign.
    let hash = typed_data_hash(&challenge["typed_data"]).await?;
    let body = |scheme: &str, signature: Vec<u8>| json!({ "message": message, "signature": hex::encode_prefixed(signature), "scheme": scheme });
    let text_hash = eip191_hash_message(message);
    for (what, body) in [
        ("as a text", body("eip191", wallet.sign_hash(hash))),
        ("a text", body("eip712", wallet.sign_hash(text_hash))),
        (
            "another's",
            body("eip712", Wallet::stranger()?.sign_hash(hash)),
        ),
    ] {
        let problem = world.gate.post("/v1/session", &body).await?.problem(401)?;
        ensure!(problem["code"] == "signature-mismatch", "{what}: {problem}");
    }
    world
        .gate
        .post("/v1/session", &body("eip712", wallet.sign_hash(hash)))
        .await?
        .expect(201)?;
    Ok(())
}

/// `hashTypedData` of viem.
async fn typed_data_hash(typed_data: &Value) -> anyhow::Result<B256> {
    let script = "import { hashTypedData } from 'viem'; console.log(hashTypedData(JSON.parse(process.argv[1])))";
    let output = tokio::process::Command::new("node")
        .current_dir(tokengate_tests::root().join("tests"))
        .args(["--input-type=module", "--eval", script])
        .arg(typed_data.to_string())
        .output()
        .await?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

#[tokio::test]
async fn a_delegate_opens_what_its_vault_holds_as_far_as_the_gate_takes_it() -> anyhow::Result<()> {
    let world = World::with(
        |config| {
            config.fresh = "0s";
            config.more = format!(
                r#"
[[gate]]
id = "vaults"
resources = ["media/vaults/**"]
max_age = "0s"
delegation = {{ rights = "tokengate" }}
require = {{ erc721 = {{ chain = "{CHAIN}", contract = "{ERC721}", at_least = "1" }} }}
"#
            );
        },
        |settings| settings,
    )
    .await?;
    let (vault, delegate) = (Wallet::owner()?.address(), Wallet::stranger()?);
    let token = world.gate.sign_in(&delegate).await?;
    let ask = async |resource: &str, vault: Address| {
        let body = json!({ "resource": resource, "vault": vault.to_string() });
        world.gate.access(&token, &body).await
    };
    // Without a registry on the chain nobody can say who is whose delegate.
    ask("media/vaults/x", vault).await?.problem(503)?;
    let registry = Registry::new(&world.chain).await?;
    ask("media/vaults/x", vault).await?.problem(403)?;
    let rights = |name: &str| {
        let mut word = [0; 32];
        word[..name.len()].copy_from_slice(name.as_bytes());
        B256::from(word)
    };
    let name = async |rights: B256, enable: bool| {
        let to = delegate.address();
        registry
            .delegate_contract(vault, to, ERC721, rights, enable)
            .await
    };
    name(rights("else"), true).await?;
    ask("media/vaults/x", vault).await?.problem(403)?;
    name(rights("tokengate"), true).await?;
    world.provider.take();
    ask("media/vaults/x", vault).await?.expect(200)?;
    let calls = world.provider.calls();
    ensure!(calls.len() == 1, "{} calls for one decision", calls.len());
    world
        .gate
        .get_as(&token, &format!("/v1/content/media/vaults/x?vault={vault}"))
        .await?
        .expect_status(302)?;
    // Not every gate takes vaults, not every vault has named the delegate, and without a vault there is none.
    ask(HELLO, vault).await?.problem(403)?;
    ask("media/vaults/x", REGISTRY).await?.problem(403)?;
    world
        .gate
        .ask(&token, "media/vaults/x")
        .await?
        .problem(403)?;
    name(rights("tokengate"), false).await?;
    ask("media/vaults/x", vault).await?.problem(403)?;
    // A vault that no longer holds the token has nothing to delegate.
    name(B256::ZERO, true).await?;
    ask("media/vaults/x", vault).await?.expect(200)?;
    world
        .chain
        .transfer_token(0, Address::repeat_byte(5))
        .await?;
    ask("media/vaults/x", vault).await?.problem(403)?;
    Ok(())
}
