//! What the tests of contract accounts rely on: that each kind of account judges signatures itself, on the chain, and that
//! the signature validator reports its judgement.

use alloy_primitives::{Address, B256, Bytes, U256, address, hex, keccak256};
use alloy_sol_types::{SolCall, sol};
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tokengate_core::abi::delegate_registry::{self, Delegation, Scope};
use tokengate_core::abi::erc1271::{Check, Verdict};
use tokengate_core::abi::signature_validator::{self, Preparation};
use tokengate_core::erc6492;
use tokengate_core::jsonrpc::{self, BlockTag, Call};
use tokengate_tests::accounts::{Counterfactual, Delegated, Market, Registry, Safe};
use tokengate_tests::accounts::{authorise_calldata, authorization, personal_sign};
use tokengate_tests::chain::{CHAIN_ID, Chain, ERC20, ERC721, ERC1155, MULTICALL3, OWNER};
use tokengate_tests::wallet::Wallet;

sol! {
    interface Erc1271 {
        function isValidSignature(bytes32 hash, bytes signature) external view returns (bytes4);
    }
    interface Multicall3 {
        struct Call3 { address target; bool allowFailure; bytes callData; }
        struct Result { bool success; bytes returnData; }
        function aggregate3(Call3[] calls) external payable returns (Result[] results);
    }
}

/// What a valid signature is answered with, as a word.
const ACCEPTED: &str = "0x1626ba7e00000000000000000000000000000000000000000000000000000000";

/// What deploys an account: a contract, and what it is called with.
type Factory = Option<(Address, Vec<u8>)>;

fn hash() -> B256 {
    keccak256("sign in")
}

fn wallets<const N: usize>(seeds: [&str; N]) -> anyhow::Result<[Wallet; N]> {
    let wallets: Vec<_> = seeds
        .into_iter()
        .map(Wallet::seeded)
        .collect::<anyhow::Result<_>>()?;
    wallets.try_into().ok().context("as many as asked for")
}

fn question(signature: &[u8]) -> Vec<u8> {
    Erc1271::isValidSignatureCall {
        hash: hash(),
        signature: Bytes::copy_from_slice(signature),
    }
    .abi_encode()
}

/// Whether the account itself accepts a signature over [`hash`]; a revert does not.
async fn accepts(chain: &Chain, account: Address, signature: &[u8]) -> anyhow::Result<bool> {
    let data = hex::encode_prefixed(question(signature));
    let call = json!([{ "to": account.to_string(), "data": data }, "latest"]);
    match chain.call("eth_call", call).await {
        Ok(answer) => Ok(answer == ACCEPTED),
        Err(error) if error.to_string().contains("revert") => Ok(false),
        Err(error) => Err(error),
    }
}

/// The signature validator's verdict on a signature over [`hash`], asked and read as the service does it; it is of this
/// chain and of its latest block.
async fn verdict(
    chain: &Chain,
    account: Address,
    signature: &[u8],
    factory: Factory,
) -> anyhow::Result<Verdict> {
    let check = Check {
        account: ours(account),
        hash: hash().0,
        signature,
    };
    let preparation = match &factory {
        Some((factory, calldata)) => Preparation::Factory(ours(*factory), calldata),
        None => Preparation::None,
    };
    verdict_after(chain, &check, preparation).await
}

/// The same after any preparation, run in both ways.
async fn verdict_after(
    chain: &Chain,
    check: &Check<'_>,
    preparation: Preparation<'_>,
) -> anyhow::Result<Verdict> {
    let code = signature_validator::code(check, preparation);
    let latest = json!(["latest", false]);
    let latest = chain.call("eth_getBlockByNumber", latest).await?;
    let mut verdicts = Vec::new();
    for call in [
        Call::deployless(code.clone()),
        Call::with_code(signature_validator::ADDRESS, code, Vec::new()),
    ] {
        let answer = eth_call(chain, &call).await?;
        let (id, block, verdict) = signature_validator::decode(&answer)?;
        ensure!(id.id() == CHAIN_ID, "chain {id}");
        ensure!(
            latest["number"] == format!("{:#x}", block.number),
            "{block:?}, not {latest}"
        );
        if let Some(parent) = block.parent {
            let hash = hex::encode_prefixed(parent.hash);
            ensure!(latest["parentHash"] == hash, "{block:?}, not {latest}");
        }
        ensure!(block.parent.is_some() == (block.number > 0), "{block:?}");
        verdicts.push(verdict);
    }
    ensure!(verdicts.first() == verdicts.last(), "{verdicts:?}");
    verdicts.pop().context("no verdict")
}

/// What a node answers to a call of the service's.
async fn eth_call(chain: &Chain, call: &Call) -> anyhow::Result<Vec<u8>> {
    let request = jsonrpc::eth_call(call, BlockTag::Latest);
    let mut request: Value = serde_json::from_slice(&request.to_body())?;
    let answer = chain.call("eth_call", request["params"].take()).await?;
    Ok(hex::decode(answer.as_str().context("no answer")?)?)
}

/// An address in the service's type.
fn ours(address: Address) -> tokengate_core::Address {
    tokengate_core::Address::from_bytes(address.into_array())
}

/// Unwraps an ERC-6492 signature: the signature itself, and what deploys its account.
fn unwrap_erc6492(wrapped: &[u8]) -> anyhow::Result<(Vec<u8>, Factory)> {
    let wrapped = erc6492::unwrap(wrapped)?.context("no wrapper")?;
    let factory = Address::from(*wrapped.factory.as_bytes());
    Ok((wrapped.signature, Some((factory, wrapped.factory_calldata))))
}

#[tokio::test]
async fn a_safe_accepts_as_many_owners_as_its_threshold_demands() -> anyhow::Result<()> {
    let chain = Chain::start(0).await?;
    let [a, b, c, stranger] = wallets(["a", "b", "c", "stranger"])?;
    let safe = Safe::deploy(&chain, &[&a, &b, &c], 2).await?;
    let rows: [(&[&Wallet], bool); 8] = [
        (&[&a, &b], true),
        (&[&b, &a], true),
        (&[&c, &a], true),
        (&[&b, &c], true),
        (&[&a, &b, &c], true),
        (&[&a], false),
        (&[&a, &a], false),
        (&[&a, &stranger], false),
    ];
    for (row, (signers, expected)) in rows.into_iter().enumerate() {
        let signature = safe.sign(hash(), signers);
        let accepted = accepts(&chain, safe.address(), &signature).await?;
        ensure!(accepted == expected, "row {row}: {accepted}");
    }
    let other = safe.sign(keccak256("something else"), &[&a, &b]);
    ensure!(!accepts(&chain, safe.address(), &other).await?);
    ensure!(!accepts(&chain, safe.address(), &[]).await?);
    Ok(())
}

#[tokio::test]
async fn a_counterfactual_account_accepts_its_owner_once_it_is_deployed() -> anyhow::Result<()> {
    let chain = Chain::start(0).await?;
    let [owner, stranger] = wallets(["owner", "stranger"])?;
    let account = Counterfactual::new(&chain, &owner, keccak256("salt")).await?;
    let signature = account.sign(hash());
    ensure!(!accepts(&chain, account.address(), &signature).await?);
    account.deploy().await?;
    ensure!(accepts(&chain, account.address(), &signature).await?);
    ensure!(!accepts(&chain, account.address(), &stranger.sign_hash(hash())).await?);
    account.deploy().await?;
    ensure!(accepts(&chain, account.address(), &signature).await?);

    // The other signature of the same key: s mirrored in the order, v flipped.
    let (r, rest) = signature.split_at(32);
    let (s, v) = rest.split_at(32);
    let order = U256::from_str_radix(
        "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141",
        16,
    )?;
    let s = (order - U256::from_be_slice(s)).to_be_bytes::<32>();
    let v = if v == [27] { [28] } else { [27] };
    let mirrored = [r, &s, &v].concat();
    ensure!(!accepts(&chain, account.address(), &mirrored).await?);
    Ok(())
}

#[tokio::test]
async fn a_delegated_account_accepts_its_own_key_and_the_key_it_authorised() -> anyhow::Result<()> {
    let chain = Chain::start(0).await?;
    let [session, stranger] = wallets(["session", "stranger"])?;
    let delegate = chain.deploy_own("DelegatedAccount").await?;
    // The sender of deployments has a nonce behind it, the other one has none.
    for wallet in [Wallet::owner()?, Wallet::seeded("fresh")?] {
        let account = Delegated::new(&chain, &wallet, delegate).await?;
        let at = account.address();
        ensure!(accepts(&chain, at, &account.sign(hash())).await?);
        ensure!(!accepts(&chain, at, &stranger.sign_hash(hash())).await?);
        ensure!(!accepts(&chain, at, &session.sign_hash(hash())).await?);
        account.authorise(&chain, session.address()).await?;
        ensure!(accepts(&chain, at, &session.sign_hash(hash())).await?);
        ensure!(!accepts(&chain, at, &stranger.sign_hash(hash())).await?);
    }
    Ok(())
}

#[tokio::test]
async fn a_session_key_is_authorised_by_the_accounts_key_only() -> anyhow::Result<()> {
    let chain = Chain::start(0).await?;
    let [wallet, stranger] = wallets(["wallet", "stranger"])?;
    let delegate = chain.deploy_own("DelegatedAccount").await?;
    let account = Delegated::new(&chain, &wallet, delegate).await?;
    for (signer, chain_id) in [(&stranger, CHAIN_ID), (&wallet, CHAIN_ID + 1)] {
        let data = authorise_calldata(signer, chain_id, stranger.address());
        let to = account.address().to_string();
        let call = json!([{ "to": to, "data": hex::encode_prefixed(data) }, "latest"]);
        let refused = chain.call("eth_call", call).await;
        ensure!(
            refused.is_err_and(|error| error.to_string().contains("not signed by the account"))
        );
    }
    Ok(())
}

#[tokio::test]
async fn an_account_runs_the_code_that_it_has_signed_before_it_has_it() -> anyhow::Result<()> {
    let chain = Chain::with_contracts(0).await?;
    let [wallet, session] = wallets(["wallet", "session"])?;
    let delegate = chain.deploy_own("DelegatedAccount").await?;
    let account = wallet.address();
    let signature = session.sign_hash(hash());
    let authorise = authorise_calldata(&wallet, CHAIN_ID, session.address());
    let call = |data: Vec<u8>| Multicall3::Call3 {
        target: account,
        allowFailure: true,
        callData: data.into(),
    };
    let aggregate = Multicall3::aggregate3Call {
        calls: vec![call(authorise), call(question(&signature))],
    };
    let data = hex::encode_prefixed(aggregate.abi_encode());
    for (authorization, expected) in [
        (authorization(&wallet, CHAIN_ID, delegate, 0), true),
        (authorization(&wallet, 0, delegate, 0), true),
        (authorization(&session, CHAIN_ID, delegate, 0), false),
    ] {
        let list: Value = json!([authorization.to_json()]);
        let to = MULTICALL3.to_string();
        let call = json!([{ "to": to, "data": data, "authorizationList": list }, "latest"]);
        let answer = chain.call("eth_call", call).await?;
        let answer = hex::decode(answer.as_str().context("no answer")?)?;
        let results = Multicall3::aggregate3Call::abi_decode_returns_validate(&answer)?;
        let last = results.last().context("no results")?;
        let accepted = hex::encode_prefixed(&last.returnData) == ACCEPTED;
        ensure!(accepted == expected, "{list}: {accepted}");
    }
    Ok(())
}

#[tokio::test]
async fn the_validator_reports_what_an_account_makes_of_a_signature() -> anyhow::Result<()> {
    let chain = Chain::start(0).await?;
    let [a, b, c, stranger] = wallets(["a", "b", "c", "stranger"])?;
    let safe = Safe::deploy(&chain, &[&a, &b, &c], 2).await?;
    let delegate = chain.deploy_own("DelegatedAccount").await?;
    let delegated = Delegated::new(&chain, &a, delegate).await?;
    let mute = chain.deploy_own("MuteDelegate").await?;
    let mute = Delegated::new(&chain, &b, mute).await?;
    // Answers every call with the identity of its input, and has no code.
    let precompiled = address!("0x0000000000000000000000000000000000000004");
    let own = stranger.sign_hash(hash());
    for (what, account, signature, expected) in [
        ("no code", stranger.address(), own.clone(), Verdict::NoCode),
        ("precompiled", precompiled, own.clone(), Verdict::NoCode),
        (
            "2 of 3",
            safe.address(),
            safe.sign(hash(), &[&a, &c]),
            Verdict::Accepted,
        ),
        (
            "1 of 3",
            safe.address(),
            safe.sign(hash(), &[&a]),
            Verdict::Refused,
        ),
        (
            "delegated",
            delegated.address(),
            delegated.sign(hash()),
            Verdict::Accepted,
        ),
        (
            "another key",
            delegated.address(),
            own.clone(),
            Verdict::Refused,
        ),
        ("mute", mute.address(), mute.sign(hash()), Verdict::Refused),
    ] {
        let verdict = verdict(&chain, account, &signature, None).await?;
        ensure!(verdict == expected, "{what}: {verdict:?}");
    }
    Ok(())
}

#[tokio::test]
async fn the_validator_deploys_an_account_that_is_not_there_yet() -> anyhow::Result<()> {
    let chain = Chain::start(0).await?;
    let [owner, stranger] = wallets(["owner", "stranger"])?;
    let account = Counterfactual::new(&chain, &owner, keccak256("salt")).await?;
    let (signature, factory) = unwrap_erc6492(&account.sign_wrapped(hash()))?;
    let (factory_address, _) = factory.clone().context("a factory")?;
    // Another account of the same owner, by another factory of the same kind.
    let other = Counterfactual::new(&chain, &owner, keccak256("pepper")).await?;
    let (_, others_factory) = unwrap_erc6492(&other.sign_wrapped(hash()))?;
    let wrong = stranger.sign_hash(hash());
    let at = account.address();

    // A call that the factory does not know reverts; the last factory has no code.
    let reverting = Some((factory_address, vec![1, 2, 3, 4]));
    let absent = Some((stranger.address(), vec![]));
    for (what, signature, factory, expected) in [
        (
            "deployed by its factory",
            &signature,
            &factory,
            Verdict::Accepted,
        ),
        ("of somebody else", &wrong, &factory, Verdict::Refused),
        ("without a factory", &signature, &None, Verdict::NoCode),
        (
            "of another account's factory",
            &signature,
            &others_factory,
            Verdict::NoCode,
        ),
        (
            "of a factory that reverts",
            &signature,
            &reverting,
            Verdict::NoCode,
        ),
        (
            "of a factory without code",
            &signature,
            &absent,
            Verdict::NoCode,
        ),
    ] {
        let verdict = verdict(&chain, at, signature, factory.clone()).await?;
        ensure!(verdict == expected, "{what}: {verdict:?}");
    }
    // Nothing of that stays: what a call deploys is gone when it ends.
    ensure!(!accepts(&chain, at, &signature).await?);

    account.deploy().await?;
    for (what, signature, factory, expected) in [
        ("without a factory", &signature, &None, Verdict::Accepted),
        ("with its factory", &signature, &factory, Verdict::Accepted),
        (
            "with a factory that reverts",
            &signature,
            &reverting,
            Verdict::Accepted,
        ),
        ("of somebody else", &wrong, &factory, Verdict::Refused),
    ] {
        let verdict = verdict(&chain, at, signature, factory.clone()).await?;
        ensure!(verdict == expected, "deployed, {what}: {verdict:?}");
    }
    Ok(())
}

#[tokio::test]
async fn the_validator_calls_no_factory_for_an_account_with_code() -> anyhow::Result<()> {
    let chain = Chain::start(0).await?;
    let [wallet, session] = wallets(["wallet", "session"])?;
    let delegate = chain.deploy_own("DelegatedAccount").await?;
    let account = Delegated::new(&chain, &wallet, delegate).await?;
    // It would accept after this call, which anybody may make.
    let prepare = authorise_calldata(&wallet, CHAIN_ID, session.address());
    let signature = session.sign_hash(hash());
    let at = account.address();
    let by_factory = verdict(&chain, at, &signature, Some((at, prepare.clone()))).await?;
    ensure!(by_factory == Verdict::Refused, "{by_factory:?}");
    // As the account's own initialisation it is reported apart.
    let check = Check {
        account: ours(at),
        hash: hash().0,
        signature: &signature,
    };
    let initialised = verdict_after(&chain, &check, Preparation::Initialisation(&prepare)).await?;
    ensure!(initialised == Verdict::Initialised, "{initialised:?}");

    // A signature that is good already is not put at risk: this call would take the session key's place.
    account.authorise(&chain, session.address()).await?;
    let replace = authorise_calldata(&wallet, CHAIN_ID, Address::repeat_byte(1));
    let accepted = verdict_after(&chain, &check, Preparation::Initialisation(&replace)).await?;
    ensure!(accepted == Verdict::Accepted, "{accepted:?}");
    Ok(())
}

#[tokio::test]
async fn the_validator_believes_a_factory_only_that_returns_the_account() -> anyhow::Result<()> {
    let chain = Chain::start(0).await?;
    let [owner, attacker] = wallets(["owner", "attacker"])?;
    let market = Market::new(&chain).await?;
    let signature = attacker.sign_hash(hash());
    let buy = |id| market.buy_and_deploy(id, attacker.address());

    // Deployed: the owner could be bought within the call.
    let deployed = market.account(1, owner.address(), true).await?;
    let factory = Some((market.buyer(), buy(1)));
    let refused = verdict(&chain, deployed, &signature, factory).await?;
    ensure!(refused == Verdict::Refused, "{refused:?}");

    // Not deployed: another account's initialisation buys the owner and has the account deployed by the way.
    let undeployed = market.account(2, owner.address(), false).await?;
    let relay = (market.buyer(), market.relay(buy(2)));
    let safe = Safe::undeployed(&chain, &[&attacker], 1, Some(relay)).await?;
    let (_, factory) = unwrap_erc6492(&safe.wrap(vec![]))?;
    let by_the_way = verdict(&chain, undeployed, &signature, factory.clone()).await?;
    ensure!(by_the_way == Verdict::NoCode, "{by_the_way:?}");
    // That Safe itself is deployed by the same call.
    let own = safe.sign(hash(), &[&attacker]);
    let own = verdict(&chain, safe.address(), &own, factory).await?;
    ensure!(own == Verdict::Accepted, "{own:?}");
    // The validator takes a liar's word: only listed factories are called at all.
    let factory = Some((market.buyer(), buy(2)));
    let by_liar = verdict(&chain, undeployed, &signature, factory).await?;
    ensure!(by_liar == Verdict::Accepted, "{by_liar:?}");
    ensure!(
        market.owner_of(2).await? == owner.address(),
        "nothing was bought"
    );
    Ok(())
}

#[tokio::test]
async fn the_block_is_arb_syss_where_that_answers() -> anyhow::Result<()> {
    let chain = Chain::start(0).await?;
    let arb_sys = address!("0x0000000000000000000000000000000000000064");
    // Answers every call with the same word: a number of 7, and a hash.
    chain.set_code(arb_sys, "0x60075f5260205ff3").await?;
    let check = Check {
        account: ours(Address::repeat_byte(1)),
        hash: hash().0,
        signature: &[],
    };
    let code = signature_validator::code(&check, Preparation::None);
    let answer = eth_call(&chain, &Call::deployless(code)).await?;
    let (_, block, _) = signature_validator::decode(&answer)?;
    ensure!(block.number == 7, "{block:?}");
    let parent = block.parent.context("no parent")?;
    ensure!(
        parent.number == 6 && parent.hash == U256::from(7).to_be_bytes(),
        "{block:?}"
    );
    Ok(())
}

#[tokio::test]
async fn the_validator_answers_whatever_an_account_does() -> anyhow::Result<()> {
    let chain = Chain::start(0).await?;
    let account = address!("0x00000000000000000000000000000000000acc07");
    let burner = address!("0x00000000000000000000000000000000000b0b0b");
    chain.set_code(burner, "0xfe").await?;
    // PUSH32 word, PUSH0, MSTORE, PUSH3 length, PUSH0, RETURN or REVERT.
    let answer =
        |word: &str, length: u32, end: &str| format!("0x7f{word}5f5262{length:06x}5f{end}");
    let accepted = ACCEPTED.trim_start_matches("0x");
    let dirty = format!("1626ba7e{}1", "0".repeat(55));
    let right_aligned = format!("{}1626ba7e", "0".repeat(56));
    for (what, code, expected) in [
        ("accepts", answer(accepted, 32, "f3"), Verdict::Accepted),
        (
            "accepts and goes on",
            answer(accepted, 0x010_0000, "f3"),
            Verdict::Accepted,
        ),
        (
            "answers too little",
            answer(accepted, 31, "f3"),
            Verdict::Refused,
        ),
        (
            "reverts with the right answer",
            answer(accepted, 32, "fd"),
            Verdict::Refused,
        ),
        (
            "answers more than the four bytes",
            answer(&dirty, 32, "f3"),
            Verdict::Refused,
        ),
        (
            "answers on the wrong side",
            answer(&right_aligned, 32, "f3"),
            Verdict::Refused,
        ),
        ("answers nothing", "0x00".to_owned(), Verdict::Refused),
        ("burns all gas", "0xfe".to_owned(), Verdict::Refused),
        ("never ends", "0x5b5f56".to_owned(), Verdict::Refused),
    ] {
        chain.set_code(account, &code).await?;
        for factory in [None, Some((burner, vec![]))] {
            let verdict = verdict(&chain, account, &[], factory).await?;
            ensure!(verdict == expected, "{what}: {verdict:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_delegation_covers_what_is_narrower() -> anyhow::Result<()> {
    let chain = Chain::start(0).await?;
    let registry = Registry::new(&chain).await?;
    let [to, vault] = wallets(["delegate", "vault"])?;
    let (to, from) = (to.address(), vault.address());
    let (id, rights, none) = (U256::from(7), keccak256("tokengate"), B256::ZERO);
    let amount = U256::from(500);
    let scopes = [
        Scope::All,
        Scope::Contract(ours(ERC721)),
        Scope::Erc721(ours(ERC721), id),
        Scope::Erc20(ours(ERC20)),
        Scope::Erc1155(ours(ERC1155), id),
    ];
    // Asked and read as the service does it: how much is delegated of each.
    let check = async |rights: B256| -> anyhow::Result<[U256; 5]> {
        let mut amounts = [U256::ZERO; 5];
        for (amount, scope) in amounts.iter_mut().zip(&scopes) {
            let delegation = Delegation {
                to: ours(to),
                from: ours(from),
                scope: scope.clone(),
                rights: rights.0,
            };
            let call = Call::to(delegate_registry::CANONICAL, delegation.calldata());
            *amount = delegation.decode(&eth_call(&chain, &call).await?)?;
        }
        Ok(amounts)
    };
    let (no, yes) = (U256::ZERO, U256::MAX);
    let nothing = [no; 5];
    ensure!(check(none).await? == nothing);

    registry
        .delegate_erc721(from, to, ERC721, id, rights, true)
        .await?;
    ensure!(check(rights).await? == [no, no, yes, no, no]);
    ensure!(check(none).await? == nothing, "some rights are not all");
    registry
        .delegate_contract(from, to, ERC721, none, true)
        .await?;
    ensure!(check(none).await? == [no, yes, yes, no, no]);
    ensure!(check(rights).await? == [no, yes, yes, no, no]);

    registry
        .delegate_erc20(from, to, ERC20, rights, amount)
        .await?;
    registry
        .delegate_erc1155(from, to, ERC1155, id, none, amount)
        .await?;
    ensure!(check(none).await? == [no, yes, yes, no, amount]);
    ensure!(check(rights).await? == [no, yes, yes, amount, amount]);
    registry
        .delegate_contract(from, to, ERC20, none, true)
        .await?;
    ensure!(check(none).await? == [no, yes, yes, yes, amount]);

    registry.delegate_all(from, to, none, true).await?;
    ensure!(check(rights).await? == [yes; 5]);
    registry.delegate_all(from, to, none, false).await?;
    registry
        .delegate_contract(from, to, ERC20, none, false)
        .await?;
    registry
        .delegate_contract(from, to, ERC721, none, false)
        .await?;
    registry
        .delegate_erc721(from, to, ERC721, id, rights, false)
        .await?;
    registry
        .delegate_erc20(from, to, ERC20, rights, U256::ZERO)
        .await?;
    registry
        .delegate_erc1155(from, to, ERC1155, id, none, U256::ZERO)
        .await?;
    ensure!(check(rights).await? == nothing);
    Ok(())
}

#[tokio::test]
async fn naming_a_delegate_costs_the_vault_nothing() -> anyhow::Result<()> {
    let chain = Chain::with_contracts(0).await?;
    let registry = Registry::new(&chain).await?;
    let [to, vault] = wallets(["delegate", "vault"])?;
    for from in [vault.address(), OWNER, ERC721] {
        let params = json!([from.to_string(), "latest"]);
        let before = chain.call("eth_getBalance", params.clone()).await?;
        registry
            .delegate_all(from, to.address(), B256::ZERO, true)
            .await?;
        let after = chain.call("eth_getBalance", params).await?;
        ensure!(before == after, "{from}: {before}, {after}");
    }
    Ok(())
}

#[test]
fn a_message_is_signed_as_personal_sign_does() -> anyhow::Result<()> {
    let wallet = Wallet::owner()?;
    let signature = personal_sign("hello", |hash| wallet.sign_hash(hash));
    ensure!(signature == wallet.personal_sign("hello"));
    Ok(())
}
