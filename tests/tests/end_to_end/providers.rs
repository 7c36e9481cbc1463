//! Providers that are wrong, slow or gone: never a verdict that is not the chain's, an answer in time, and a healthy one
//! is found where there is one.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use alloy_primitives::Address;
use anyhow::{Context, ensure};
use tokengate_tests::chain::{Chain, ERC721};
use tokengate_tests::client::{CHAIN, Gate};
use tokengate_tests::config::{Config, DOMAIN};
use tokengate_tests::faulty::{Fault, Faulty};
use tokengate_tests::redis::Redis;
use tokengate_tests::service::{Service, Settings};
use tokengate_tests::store::Store;
use tokengate_tests::wallet::Wallet;
use tokengate_tests::world::{HELLO, HELLO_TEXT};

/// Of one provider, and of all.
const DEADLINES: &str = "provider = \"600ms\"\nchain = \"2s\"";
const DEADLINE: Duration = Duration::from_secs(2);
/// What a busy machine may take besides.
const MARGIN: Duration = Duration::from_millis(1_500);

/// A chain on which the token has changed hands of late: what it said 100 blocks ago, five minutes, is wrong for both.
struct Grounds {
    chain: Chain,
    store: Store,
    holder: Wallet,
    former: Wallet,
}

impl Grounds {
    async fn new() -> anyhow::Result<Self> {
        let (chain, store) = futures_util::future::try_join(
            Chain::with_contracts_since(Duration::from_secs(600)),
            Store::start(0),
        )
        .await?;
        store
            .put("season-1/hello.txt", "text/plain", HELLO_TEXT)
            .await?;
        let (holder, former) = (Wallet::seeded("holder")?, Wallet::owner()?);
        chain.mine(190, 3).await?;
        chain.transfer_token(0, holder.address()).await?;
        chain.mine(5, 3).await?;
        Ok(Self {
            chain,
            store,
            holder,
            former,
        })
    }

    /// A service that has nothing in its memory and nothing in its store.
    async fn service(
        &self,
        providers: &[&Faulty],
        configure: impl FnOnce(&mut Config),
        set: impl FnOnce(Settings) -> Settings,
    ) -> anyhow::Result<(Service, Gate)> {
        let mut config = Config::new(self.store.url());
        config.fresh = "0s";
        config.providers = providers.len();
        config.deadlines = DEADLINES;
        configure(&mut config);
        let urls: Vec<String> = providers.iter().map(|provider| provider.url()).collect();
        let (first, further) = urls.split_first().context("no provider")?;
        let settings = Settings::new(&config.to_string(), first).further_providers(further)?;
        let service = Service::start(&set(settings)).await?;
        let gate = Gate::new(service.url(), DOMAIN);
        Ok((service, gate))
    }
}

/// The status and how long it took.
async fn ask(gate: &Gate, token: &str) -> anyhow::Result<(u16, Duration)> {
    let asked = Instant::now();
    let reply = gate.ask(token, HELLO).await?;
    let took = asked.elapsed();
    let status = reply.status.as_u16();
    if status == 503 {
        ensure!(
            reply.header("retry-after").parse::<u64>().is_ok(),
            "{reply:?}"
        );
    }
    Ok((status, took))
}

/// How a service with some providers fares while the first of them has a fault: three decisions on the holder of the
/// token, and three on the former one.
struct Outcome {
    holder: Vec<u16>,
    former: Vec<u16>,
    longest: Duration,
    /// Requests at the faulty one, in all six.
    asked: usize,
    breaker: bool,
}

async fn under(
    grounds: &Grounds,
    fault: Fault,
    faulty: &Faulty,
    others: &[&Faulty],
    configure: impl FnOnce(&mut Config),
) -> anyhow::Result<Outcome> {
    // Time has passed since the last fault; on a chain in use, blocks have been made.
    grounds.chain.mine(1, 1).await?;
    faulty.behave(Fault::None).await?;
    let mut providers = vec![faulty];
    providers.extend(others);
    let (service, gate) = grounds
        .service(&providers, configure, |settings| settings)
        .await?;
    let holder = gate.sign_in(&grounds.holder).await?;
    let former = gate.sign_in(&grounds.former).await?;
    faulty.behave(fault).await?;
    faulty.take();
    let mut outcome = Outcome {
        holder: Vec::new(),
        former: Vec::new(),
        longest: Duration::ZERO,
        asked: 0,
        breaker: false,
    };
    for _ in 0..3 {
        for (token, statuses) in [
            (&holder, &mut outcome.holder),
            (&former, &mut outcome.former),
        ] {
            let (status, took) = ask(&gate, token).await?;
            statuses.push(status);
            outcome.longest = outcome.longest.max(took);
        }
    }
    outcome.asked = faulty.take().len();
    outcome.breaker = service.log().contains("not asked for a while");

    ensure!(
        outcome.longest < DEADLINE + MARGIN,
        "{fault:?}: {:?}",
        outcome.longest
    );
    // Whatever it was, it passes, and nothing of it was kept.
    faulty.behave(Fault::None).await?;
    let (status, _) = ask(&gate, &holder).await?;
    ensure!(
        status == 200,
        "{fault:?}: {status} afterwards: {}",
        service.log()
    );
    Ok(outcome)
}

/// Everything that a provider can do wrong and that a single answer shows.
const FAULTS: [Fault; 14] = [
    Fault::Refused,
    Fault::HungAfterAccept,
    Fault::HungMidBody,
    Fault::TooMany(1),
    Fault::TooMany(60),
    Fault::Status(500),
    Fault::Status(401),
    Fault::Html,
    Fault::Truncated,
    Fault::WrongId,
    Fault::WrongChain,
    Fault::Unsynced,
    Fault::Oversized,
    Fault::Redirect,
];

/// Faults that cost time, or nothing at all.
const BEARABLE: [Fault; 3] = [
    Fault::None,
    Fault::Slow(Duration::from_millis(150)),
    Fault::Reorganising,
];

/// So that a decision takes more than one read, with the block pinned.
fn in_pieces(config: &mut Config, fault: Fault) {
    if fault == Fault::Reorganising {
        config.chain.push_str("\nbatch = { reads = 1 }");
    }
}

fn row(table: &mut String, fault: Fault, outcome: &Outcome) -> anyhow::Result<()> {
    let fault = format!("{fault:?}");
    let breaker = if outcome.breaker { "opened" } else { "closed" };
    writeln!(
        table,
        "{fault:<20} {:?} {:?} {:>5} ms {:>3} {breaker}",
        outcome.holder,
        outcome.former,
        outcome.longest.as_millis(),
        outcome.asked,
    )?;
    Ok(())
}

const HEAD: &str = "fault                holder           former owner    longest  requests and breaker of the faulty one\n";

#[tokio::test]
async fn a_provider_alone_that_fails_is_no_verdict() -> anyhow::Result<()> {
    let grounds = Grounds::new().await?;
    let faulty = Faulty::start(grounds.chain.url()).await?;
    let mut table = format!("alone\n{HEAD}");
    for fault in FAULTS.into_iter().chain([Fault::Stale(100)]) {
        // Nobody else says how far the chain is: only the age of its blocks tells.
        let configure = |config: &mut Config| config.chain = "max_head_age = \"200s\"".to_owned();
        let outcome = under(&grounds, fault, &faulty, &[], configure).await?;
        row(&mut table, fault, &outcome)?;
        let all = outcome.holder.iter().chain(&outcome.former);
        ensure!(all.into_iter().all(|status| *status == 503), "{table}");
    }
    for fault in BEARABLE {
        let configure = |config: &mut Config| in_pieces(config, fault);
        let outcome = under(&grounds, fault, &faulty, &[], configure).await?;
        row(&mut table, fault, &outcome)?;
        ensure!(
            outcome.holder == [200; 3] && outcome.former == [403; 3],
            "{table}"
        );
        ensure!(!outcome.breaker, "{table}");
    }
    println!("{table}");
    Ok(())
}

#[tokio::test]
async fn beside_a_healthy_provider_every_decision_is_right_and_in_time() -> anyhow::Result<()> {
    let grounds = Grounds::new().await?;
    let faulty = Faulty::start(grounds.chain.url()).await?;
    let healthy = Faulty::start(grounds.chain.url()).await?;
    let mut table = format!("with a healthy second\n{HEAD}");
    let faults = FAULTS.into_iter().chain(BEARABLE).chain([
        Fault::Stale(100),
        Fault::Slow(Duration::from_secs(5)),
        Fault::NoBatches,
    ]);
    for fault in faults {
        let configure = |config: &mut Config| in_pieces(config, fault);
        let outcome = under(&grounds, fault, &faulty, &[&healthy], configure).await?;
        row(&mut table, fault, &outcome)?;
        ensure!(
            outcome.holder == [200; 3] && outcome.former == [403; 3],
            "{table}"
        );
    }
    println!("{table}");
    Ok(())
}

#[tokio::test]
async fn where_two_have_to_agree_a_liar_grants_nothing_whoever_answers_first() -> anyhow::Result<()>
{
    let grounds = Grounds::new().await?;
    let liar = Faulty::start(grounds.chain.url()).await?;
    let honest = Faulty::start(grounds.chain.url()).await?;
    let agreement = |config: &mut Config| config.chain = "quorum = 2".to_owned();
    let mut table = format!("two have to agree, one lies\n{HEAD}");
    // Honest ones agree, also where one of them is slower.
    for fault in [Fault::None, Fault::Slow(Duration::from_millis(150))] {
        let outcome = under(&grounds, fault, &liar, &[&honest], agreement).await?;
        row(&mut table, fault, &outcome)?;
        ensure!(
            outcome.holder == [200; 3] && outcome.former == [403; 3],
            "{table}"
        );
    }
    for first in [true, false] {
        liar.behave(Fault::None).await?;
        let providers = if first {
            [&liar, &honest]
        } else {
            [&honest, &liar]
        };
        let (service, gate) = grounds
            .service(&providers, agreement, |settings| settings)
            .await?;
        let holder = gate.sign_in(&grounds.holder).await?;
        let former = gate.sign_in(&grounds.former).await?;
        for slow in [true, false] {
            liar.behave(Fault::Lying).await?;
            let pause = Fault::Slow(Duration::from_millis(100));
            honest
                .behave(if slow { pause } else { Fault::None })
                .await?;
            for token in [&holder, &former] {
                let (status, took) = ask(&gate, token).await?;
                ensure!(status == 503, "{status}, the liar first: {first}");
                ensure!(took < DEADLINE + MARGIN, "{took:?}");
            }
        }
        let log = service.log();
        let line = log.lines().find(|line| line.contains("providers disagree"));
        let line = line.with_context(|| format!("nobody says so: {log}"))?;
        ensure!(
            line.contains("provider 1 at block") && line.contains("provider 2 at block"),
            "{line}"
        );
        // A single one, lying or honest, is not enough either.
        honest.behave(Fault::Refused).await?;
        ensure!(ask(&gate, &former).await?.0 == 503);
        honest.behave(Fault::None).await?;
    }
    // A liar alone would have been believed: that is what agreement is for.
    let outcome = under(&grounds, Fault::Lying, &liar, &[], |_| ()).await;
    ensure!(outcome.is_ok_and(|outcome| outcome.former == [200; 3]));
    println!("{table}");
    Ok(())
}

#[tokio::test]
async fn with_all_providers_dead_there_is_no_verdict_and_none_is_kept() -> anyhow::Result<()> {
    let grounds = Grounds::new().await?;
    let one = Faulty::start(grounds.chain.url()).await?;
    let other = Faulty::start(grounds.chain.url()).await?;
    let fresh = |config: &mut Config| config.fresh = "1h";
    let (_service, gate) = grounds
        .service(&[&one, &other], fresh, |settings| settings)
        .await?;
    let holder = gate.sign_in(&grounds.holder).await?;
    let former = gate.sign_in(&grounds.former).await?;
    for (first, second) in [
        (Fault::Refused, Fault::Refused),
        (Fault::HungAfterAccept, Fault::HungAfterAccept),
        (Fault::Status(502), Fault::HungMidBody),
    ] {
        one.behave(first).await?;
        other.behave(second).await?;
        for token in [&holder, &former] {
            let (status, took) = ask(&gate, token).await?;
            ensure!(status == 503, "{status}");
            ensure!(took < DEADLINE + MARGIN, "{took:?}");
        }
    }
    one.behave(Fault::None).await?;
    other.behave(Fault::None).await?;
    let grant = gate.ask(&holder, HELLO).await?.expect(200)?;
    ensure!(grant["basis"]["tier"] == "chain", "{grant}");
    gate.ask(&former, HELLO).await?.problem(403)?;
    Ok(())
}

#[tokio::test]
async fn a_fresh_instance_knows_what_others_learnt() -> anyhow::Result<()> {
    let grounds = Grounds::new().await?;
    let (redis, busy, healthy) = (
        Redis::start().await?,
        Faulty::start(grounds.chain.url()).await?,
        Faulty::start(grounds.chain.url()).await?,
    );
    let providers = [&busy, &healthy];
    let shared = |settings: Settings| settings.redis(redis.url());
    let (_first, gate) = grounds.service(&providers, |_| (), shared).await?;
    let holder = gate.sign_in(&grounds.holder).await?;
    // It asks for longer than it takes to start another service.
    busy.behave(Fault::TooMany(30)).await?;
    let (status, took) = ask(&gate, &holder).await?;
    ensure!(
        status == 200 && took < Duration::from_millis(600),
        "{status} after {took:?}"
    );
    // Told behind the response.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (_second, gate) = grounds.service(&providers, |_| (), shared).await?;
    busy.take();
    let (status, _) = ask(&gate, &holder).await?;
    ensure!(status == 200);
    let asked = busy.take();
    ensure!(asked.is_empty(), "a fresh instance asked it: {asked:?}");
    Ok(())
}

#[tokio::test]
async fn fifty_facts_over_three_chains_are_three_requests_at_once() -> anyhow::Result<()> {
    let grounds = Grounds::new().await?;
    let chains = [31_337_u64, 5, 10];
    let mut providers = Vec::new();
    for chain in chains {
        let own = Some(chain).filter(|chain| *chain != 31_337);
        providers.push(Faulty::of_chain(grounds.chain.url(), own).await?);
    }
    let configure = |config: &mut Config| {
        // The further providers are of further chains.
        config.providers = 1;
        let leaf = |chain: u64, tokens: std::ops::Range<u32>| {
            let ids: Vec<String> = tokens.map(|id| format!("\"{id}\"")).collect();
            format!(
                "{{ erc721 = {{ chain = \"eip155:{chain}\", contract = \"{ERC721}\", token_ids = [{}] }} }}",
                ids.join(", ")
            )
        };
        config.more = format!(
            r#"
[[chain]]
id = "eip155:5"
providers = ["{{{{ rpc_url_2 }}}}"]

[[chain]]
id = "eip155:10"
providers = ["{{{{ rpc_url_3 }}}}"]
max_head_age = "none"

[[gate]]
id = "everywhere"
resources = ["media/everywhere/**"]
max_age = "0s"
require = {{ all = [{}, {}, {}] }}
"#,
            leaf(31_337, 0..17),
            leaf(5, 0..17),
            leaf(10, 0..16)
        );
    };
    let all: Vec<&Faulty> = providers.iter().collect();
    let (_service, gate) = grounds
        .service(&all, configure, |settings| settings)
        .await?;
    let holder = gate.sign_in(&grounds.holder).await?;
    let delay = Duration::from_millis(400);
    for provider in &providers {
        provider.behave(Fault::Slow(delay)).await?;
        provider.take();
    }
    let asked = Instant::now();
    let grant = gate.ask(&holder, "media/everywhere/x").await?.expect(200)?;
    let took = asked.elapsed();
    ensure!(grant["gate"] == "everywhere", "{grant}");
    for (chain, provider) in chains.iter().zip(&providers) {
        let requests = provider.calls();
        ensure!(requests.len() == 1, "{chain}: {requests:?}");
    }
    ensure!(took < 3 * delay, "one after another: {took:?}");
    Ok(())
}

#[tokio::test]
async fn without_a_reader_batches_and_single_calls_say_the_same() -> anyhow::Result<()> {
    let grounds = Grounds::new().await?;
    let provider = Faulty::start(grounds.chain.url()).await?;
    let configure = |config: &mut Config| config.chain = "reader = \"calls\"".to_owned();
    for fault in [Fault::None, Fault::NoBatches] {
        let outcome = under(&grounds, fault, &provider, &[], configure).await?;
        ensure!(
            outcome.holder == [200; 3] && outcome.former == [403; 3],
            "{fault:?}"
        );
        ensure!(!outcome.breaker, "{fault:?}");
    }
    let outcome = under(&grounds, Fault::WrongChain, &provider, &[], configure).await?;
    // The chain's id is no word of 32 bytes here, and the balances are right.
    ensure!(outcome.holder == [200; 3], "{:?}", outcome.holder);
    let other = Faulty::of_chain(grounds.chain.url(), Some(5)).await?;
    let (_service, gate) = grounds
        .service(&[&other], configure, |settings| settings)
        .await?;
    let check = format!(
        "/v1/gates/season-1/check?address={}",
        grounds.holder.address()
    );
    gate.get(&check).await?.problem(503)?;
    Ok(())
}

/// Code that burns all the gas that it is given: INVALID.
const BURNER: &str = "0xfe";

#[tokio::test]
async fn what_is_too_much_for_one_call_is_read_in_pieces() -> anyhow::Result<()> {
    let grounds = Grounds::new().await?;
    let provider = Faulty::start(grounds.chain.url()).await?;
    let burners: Vec<Address> = (1..=4).map(Address::repeat_byte).collect();
    for burner in &burners {
        grounds.chain.set_code(*burner, BURNER).await?;
    }
    let leaf = |contract: &Address| {
        format!(
            "{{ erc20 = {{ chain = \"{CHAIN}\", contract = \"{contract}\", at_least = \"1\" }} }}"
        )
    };
    let burning: Vec<String> = burners.iter().map(leaf).collect();
    let configure = |config: &mut Config| {
        config.more = format!(
            r#"
[[gate]]
id = "burning"
resources = ["media/burning/**"]
max_age = "0s"
require = {{ any = [{}, {{ erc721 = {{ chain = "{CHAIN}", contract = "{ERC721}" }} }}] }}
"#,
            burning.join(", ")
        );
    };
    let (_service, gate) = grounds
        .service(&[&provider], configure, |settings| settings)
        .await?;
    let holder = gate.sign_in(&grounds.holder).await?;
    let former = gate.sign_in(&grounds.former).await?;
    // Contracts that fail are unknown, and say nothing about the others.
    gate.ask(&holder, "media/burning/x").await?.expect(200)?;
    gate.ask(&former, "media/burning/x").await?.problem(503)?;
    // A provider that takes no large requests answers small ones.
    provider.behave(Fault::Small(110)).await?;
    provider.take();
    ensure!(ask(&gate, &holder).await?.0 == 200);
    ensure!(ask(&gate, &former).await?.0 == 403);
    let largest = provider.take().len();
    ensure!(largest > 2, "{largest} requests");
    Ok(())
}
