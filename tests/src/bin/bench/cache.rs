//! `scripts/bench cache`: what each tier costs inside the guest, how often each answers under a skewed load, and how many
//! requests wait for a chain with and without reading ahead.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures_util::future::try_join_all;
use tokengate_core::domain::Domain;
use tokengate_core::eip4361::{Challenge, Message};
use tokengate_core::keys::KeyRing;
use tokengate_core::nonce::{self, Binding};
use tokengate_core::session::{self, Admission, Lifetime};
use tokengate_core::signature;
use tokengate_core::signer::{Scheme, Verification};
use tokengate_core::{Address, ChainId, Timestamp};
use tokengate_tests::chain::CHAIN_ID;
use tokengate_tests::client::Gate;
use tokengate_tests::config::DOMAIN;
use tokengate_tests::faulty::Fault;
use tokengate_tests::redis::Redis;
use tokengate_tests::service::{SERVICE_KEYS, Settings};
use tokengate_tests::wallet::Wallet;
use tokengate_tests::world::{HELLO, World};

use crate::{Figures, now};

pub(crate) async fn run(time: Duration) -> anyhow::Result<()> {
    tiers().await?;
    skewed(time).await?;
    ahead(time).await
}

/// The parts of `Server-Timing`, in microseconds, and the tier that `Cache-Status` names.
struct Told {
    total: f64,
    /// From the request, understood, to the verdict.
    decision: f64,
    store: f64,
    chain: f64,
    tier: String,
    waited: bool,
}

async fn ask(gate: &Gate, token: &str, resource: &str) -> anyhow::Result<Told> {
    let reply = gate.ask(token, resource).await?;
    reply.expect(200)?;
    let timing = reply.header("server-timing").to_owned();
    let part = |name: &str| {
        let mut metrics = timing.split(", ");
        metrics.find_map(|metric| {
            let value = metric.strip_prefix(name)?.strip_prefix(";dur=")?;
            Some(value.parse::<f64>().ok()? * 1e3)
        })
    };
    let status = reply.header("cache-status");
    let tier = status.rsplit("detail=").next().unwrap_or_default();
    Ok(Told {
        total: part("total").with_context(|| timing.clone())?,
        decision: part("decision").with_context(|| timing.clone())?,
        store: part("store").unwrap_or_default(),
        chain: part("chain").unwrap_or_default(),
        tier: tier.to_owned(),
        waited: status.contains("; fwd="),
    })
}

/// A decision at each tier, one at a time.
async fn tiers() -> anyhow::Result<()> {
    const SAMPLES: usize = 2_000;
    println!(
        "\n{:<44} {:^17}   {:^17}   {:^17}",
        "inside the guest, µs", "the request", "its decision", "less its waits"
    );
    println!(
        "{:<44} {:>8} {:>8}   {:>8} {:>8}   {:>8} {:>8}",
        "", "p50", "p95", "p50", "p95", "p50", "p95"
    );
    let redis = Redis::start().await?;
    let (off, on) = (
        "prefetch = \"off\"\nmemory_ttl = \"0s\"",
        "prefetch = \"off\"",
    );
    let direct = "prefetch = \"off\"\nmemory_ttl = \"0s\"\nredis = \"{{ redis_url }}\"";
    let url = redis.url().to_owned();
    for (name, cache, tier) in [
        ("memory", on, "memory"),
        ("store, the embedded one", off, "store"),
        ("store, Redis by key-value", off, "store"),
        ("store, Redis directly", direct, "store"),
        ("chain, over a provider that takes 50 ms", off, "chain"),
    ] {
        let settings = |settings: Settings| match name {
            "store, Redis by key-value" => settings.redis(&url),
            "store, Redis directly" => match settings.clone().direct_redis(&url) {
                Ok(settings) => settings,
                Err(_) => settings,
            },
            _ => settings,
        };
        let world = World::with(
            |config| {
                config.fresh = if tier == "chain" { "1ms" } else { "1h" };
                config.cache = cache;
            },
            settings,
        )
        .await?;
        let token = world.gate.sign_in(&Wallet::owner()?).await?;
        ask(&world.gate, &token, HELLO).await?;
        let mut samples = SAMPLES;
        if tier == "chain" {
            let slow = Fault::Slow(Duration::from_millis(50));
            world.provider.behave(slow).await?;
            samples = 100;
        }
        let (mut totals, mut decisions, mut own) = (Vec::new(), Vec::new(), Vec::new());
        // The first of an instance's requests also load its configuration.
        let mut left = samples * 3;
        while totals.len() < samples {
            left = left.checked_sub(1).context("another tier answers")?;
            let told = ask(&world.gate, &token, HELLO).await?;
            if told.tier == tier {
                let micros = |micros: f64| Duration::from_secs_f64(micros.max(0.0) / 1e6);
                totals.push(micros(told.total));
                decisions.push(micros(told.decision));
                own.push(micros(told.decision - told.store - told.chain));
            }
        }
        let mut columns = Vec::new();
        for samples in [totals, decisions, own] {
            let figures = Figures::new(samples, Duration::from_secs(1))?;
            let [p50, p95] = [50, 95].map(|percent| figures.percentile(percent) * 1e3);
            columns.push(format!("{p50:>8.0} {p95:>8.0}"));
        }
        println!("{name:<44} {}", columns.join("   "));
    }
    Ok(())
}

const WALLETS: usize = 100_000;
const GATES: u64 = 50;

/// Code that answers 1 to whatever it is asked: everybody holds one of it.
const ONE: &str = "0x600160005260206000f3";

/// The contract of gate `n`.
fn contract(n: u64) -> String {
    format!("0x{:040x}", 0xc0de_0000 + n)
}

/// Gates `g0`, `g1` and so on, each over a contract of its own.
fn gates(fresh: &str) -> String {
    let mut text = String::new();
    for n in 0..GATES {
        let contract = contract(n);
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "\n[[gate]]\nid = \"g{n}\"\nresources = [\"media/g{n}/**\"]\nmax_age = \"{fresh}\"\nrequire = {{ erc20 = {{ \
             chain = \"eip155:{CHAIN_ID}\", contract = \"{contract}\", at_least = \"1\" }} }}\n"
        );
    }
    text
}

async fn world(cache: &'static str, fresh: &str) -> anyhow::Result<World> {
    let more = gates(fresh);
    let world = World::with(
        |config| {
            config.cache = cache;
            config.more = more;
        },
        |settings| settings,
    )
    .await?;
    for n in 0..GATES {
        world.chain.set_code(contract(n).parse()?, ONE).await?;
    }
    Ok(world)
}

/// Numbers below a bound, of which small ones are drawn more often: by Zipf's law, the n-th in proportion to 1/n.
struct Zipf {
    sums: Vec<f64>,
    state: AtomicU64,
}

impl Zipf {
    fn new(bound: usize, seed: u64) -> Self {
        let mut sum = 0.0;
        let sums = (1..=bound).map(|n| {
            sum += 1.0 / n as f64;
            sum
        });
        Self {
            sums: sums.collect(),
            state: AtomicU64::new(seed),
        }
    }

    fn draw(&self) -> usize {
        // SplitMix64 (Steele, Lea and Flood 2014).
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.state.fetch_add(STEP, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let all = self.sums.last().copied().unwrap_or_default();
        let at = (z >> 11) as f64 / (1_u64 << 53) as f64 * all;
        self.sums.partition_point(|sum| *sum <= at)
    }
}

/// A session of a wallet of its own, made as the service makes it but for the chain's word.
fn token(n: usize, now: Timestamp) -> anyhow::Result<String> {
    let wallet = Wallet::seeded(&format!("zipf {n}"))?;
    let keys = KeyRing::parse(SERVICE_KEYS)?;
    let chain = ChainId::new(CHAIN_ID).context("a chain")?;
    let domain = Domain::parse(DOMAIN)?;
    let ttl = Duration::from_secs(300);
    let address: Address = wallet.address().to_string().parse()?;
    let binding = Binding {
        store: [0; 16],
        domain: domain.as_str(),
        chain,
        address: Some(address),
    };
    let mut random = [0; 16];
    random
        .iter_mut()
        .zip(n.to_be_bytes())
        .for_each(|(byte, n)| *byte = n);
    let nonce = nonce::mint(&keys, &binding, now, ttl, random);
    let challenge = Challenge {
        domain: domain.as_str(),
        address,
        statement: "A benchmark.",
        uri: &domain.uri(),
        chain,
        nonce: &nonce,
        issued_at: now,
        expiration_time: now.checked_add(ttl)?,
    };
    let text = challenge.to_string();
    let message = Message::parse(&text)?;
    let signature = signature::bytes_from_hex(&wallet.personal_sign(&text))?;
    let verification = Verification::new(&message, Scheme::Eip191, signature, &[])?;
    let signer = verification.by_key().context("not signed by the key")?;
    let pending = nonce::check(&keys, &nonce, &binding, now, ttl)?;
    let admission = Admission {
        signer,
        nonce: pending.consume(1).context("a nonce")?,
        epoch: 0,
    };
    let hour = Duration::from_secs(3600);
    let lifetime = Lifetime {
        idle: hour,
        absolute: hour,
    };
    let (_, token) = session::mint(&keys, &admission, None, now, lifetime, random)?;
    Ok(token.expose().clone())
}

/// Draws wallets and gates for a while; how often each tier answered.
async fn draw(
    world: &World,
    time: Duration,
    gates: usize,
    wallets: usize,
) -> anyhow::Result<(BTreeMap<String, usize>, usize, Figures)> {
    const LOOPS: usize = 16;
    let (wallets, gates) = (
        Arc::new(Zipf::new(wallets, 1)),
        Arc::new(Zipf::new(gates, 2)),
    );
    let issued = now()?;
    let begun = Instant::now();
    let one = async |_: usize| {
        let (mut tiers, mut waited, mut latencies) = (BTreeMap::new(), 0, Vec::new());
        while begun.elapsed() < time {
            let token = token(wallets.draw(), issued)?;
            let resource = format!("media/g{}/a.mp4", gates.draw());
            let sent = Instant::now();
            let told = ask(&world.gate, &token, &resource).await?;
            latencies.push(sent.elapsed());
            *tiers.entry(told.tier).or_insert(0) += 1;
            waited += usize::from(told.waited);
        }
        anyhow::Ok((tiers, waited, latencies))
    };
    let (mut tiers, mut waited, mut latencies) = (BTreeMap::new(), 0, Vec::new());
    for (one, own, times) in try_join_all((0..LOOPS).map(one)).await? {
        for (tier, count) in one {
            *tiers.entry(tier).or_insert(0) += count;
        }
        waited += own;
        latencies.extend(times);
    }
    Ok((tiers, waited, Figures::new(latencies, begun.elapsed())?))
}

/// How often each tier answers.
async fn skewed(time: Duration) -> anyhow::Result<()> {
    println!(
        "\nZipf's law over {WALLETS} wallets and {GATES} gates, facts fresh for 60 s, {} s each\n\
         {:<44} {:>9} {:>9} {:>9} {:>9} {:>9}",
        time.as_secs(),
        "",
        "requests",
        "memory",
        "store",
        "chain",
        "p50 ms"
    );
    for (name, cache) in [
        ("memory believed for 1 s", "prefetch = \"off\""),
        (
            "for 60 s: the most that epochs could give",
            "prefetch = \"off\"\nmemory_ttl = \"60s\"",
        ),
        ("not at all", "prefetch = \"off\"\nmemory_ttl = \"0s\""),
    ] {
        let world = world(cache, "60s").await?;
        let (tiers, _, figures) = draw(&world, time, GATES as usize, WALLETS).await?;
        let all: usize = tiers.values().sum();
        let share = |tier: &str| {
            let count = tiers.get(tier).copied().unwrap_or_default();
            format!("{:.1} %", count as f64 * 100.0 / all as f64)
        };
        println!(
            "{name:<44} {all:>9} {:>9} {:>9} {:>9} {:>9.2}",
            share("memory"),
            share("store"),
            share("chain"),
            figures.percentile(50)
        );
    }
    Ok(())
}

/// How many requests for what is asked for often wait for the chain.
async fn ahead(time: Duration) -> anyhow::Result<()> {
    println!(
        "\n20 wallets and {GATES} gates, facts fresh for 3 s, a provider that takes 50 ms, {} s each\n\
         {:<44} {:>9} {:>14} {:>9} {:>9}",
        time.as_secs(),
        "",
        "requests",
        "waited for it",
        "p50 ms",
        "p99 ms"
    );
    let mut shares = Vec::new();
    for (name, cache, fresh) in [
        (
            "read when it is asked for",
            "prefetch = \"off\"\nrefresh_ahead = \"off\"",
            "3s",
        ),
        (
            "hot facts read ahead",
            "prefetch = \"off\"\nrefresh_ahead = \"1000/1s\"",
            "3s",
        ),
        (
            "stale for a minute, read behind",
            "prefetch = \"off\"\nrefresh_ahead = \"off\"",
            "3s\"\nstale = \"60s",
        ),
    ] {
        let world = world(cache, fresh).await?;
        let slow = Fault::Slow(Duration::from_millis(50));
        world.provider.behave(slow).await?;
        // Each fact's first read is nobody's fault.
        draw(&world, time / 2, GATES as usize, 20).await?;
        let (tiers, waited, figures) = draw(&world, time, GATES as usize, 20).await?;
        let all: usize = tiers.values().sum();
        ensure!(all > 0, "nothing was asked");
        let share = waited as f64 * 100.0 / all as f64;
        shares.push(share);
        println!(
            "{name:<44} {all:>9} {:>14} {:>9.2} {:>9.2}",
            format!("{share:.2} %"),
            figures.percentile(50),
            figures.percentile(99)
        );
    }
    if let [none, ahead, behind] = shares.as_slice() {
        println!(
            "of the first: {:.2} with reading ahead, {:.2} with stale grants",
            ahead / none,
            behind / none
        );
    }
    Ok(())
}
