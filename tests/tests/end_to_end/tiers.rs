//! Memory, store, chain: what each answers, and what remains right while one of them fails.

use std::cell::Cell;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures_util::future::{try_join, try_join_all};
use http::Method;
use serde_json::Value;
use tokengate_tests::chain::ERC721;
use tokengate_tests::client::Gate;
use tokengate_tests::delivery::Delivery;
use tokengate_tests::faulty::{Fault, Faulty};
use tokengate_tests::redis::Redis;
use tokengate_tests::service::Service;
use tokengate_tests::wallet::Wallet;
use tokengate_tests::world::{HELLO, World};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// The lines of the log that requests for an object left.
fn lines(world: &World) -> anyhow::Result<Vec<Value>> {
    let log = world.service.log();
    let lines = log.lines().filter(|line| line.contains("/v1/access"));
    let lines = lines.filter_map(|line| serde_json::from_str(line.get(line.find('{')?..)?).ok());
    Ok(lines.collect())
}

#[tokio::test]
async fn ten_thousand_requests_for_one_cold_fact_cost_each_instance_one_call_at_most()
-> anyhow::Result<()> {
    const REQUESTS: usize = 10_000;
    const AT_ONCE: usize = 1_000;
    let world = World::with(|config| config.fresh = "1h", |settings| settings).await?;
    let token = world.gate.sign_in(&Wallet::owner()?).await?;
    // Long enough for all that are there to find nothing and to wait.
    world
        .provider
        .behave(Fault::Slow(Duration::from_millis(1_500)))
        .await?;
    world.provider.take();
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut asked = JoinSet::new();
    for _ in 0..REQUESTS {
        let (gate, token, places) = (world.gate.clone(), token.clone(), places.clone());
        asked.spawn(async move {
            let _place = places.acquire_owned().await?;
            gate.ask(&token, HELLO).await?.expect(200).map(drop)
        });
    }
    while let Some(done) = asked.join_next().await {
        done??;
    }
    let calls = world.provider.take();
    let calls = calls
        .iter()
        .filter(|call| call["method"] == "eth_call")
        .count();
    // The log is read behind the responses.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let lines = lines(&world)?;
    ensure!(lines.len() == REQUESTS, "{} lines", lines.len());
    let count = |name: &str| {
        let counts = lines.iter().filter_map(|line| line["cache"][name].as_u64());
        counts.sum::<u64>()
    };
    let readers: Vec<_> = lines
        .iter()
        .filter(|line| line["cache"]["chain"].is_u64())
        .map(|line| line["instance"].as_str().unwrap_or_default())
        .collect();
    println!(
        "{REQUESTS} requests, {AT_ONCE} at once: {calls} calls to the provider by {} instances; {} waited for another's \
         read, {} facts were in memory, {} in the store",
        readers.len(),
        count("coalesced"),
        count("memory"),
        count("store"),
    );
    ensure!(calls >= 1 && calls == readers.len(), "{calls} {readers:?}");
    let distinct: HashSet<_> = readers.iter().collect();
    ensure!(distinct.len() == readers.len(), "{readers:?}");
    ensure!(!distinct.contains(&""), "a line without its instance");
    ensure!(count("coalesced") > 0, "nobody waited for another's read");
    Ok(())
}

/// How the store is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Adapter {
    KeyValue,
    Direct,
}

async fn over_redis(adapter: Adapter, redis: &Redis) -> anyhow::Result<World> {
    let url = redis.url().to_owned();
    let mut manifest = Ok(());
    let world = World::with(
        |config| {
            config.fresh = "1m";
            if adapter == Adapter::Direct {
                config.cache = "redis = \"{{ redis_url }}\"\nprefetch = \"off\"";
            }
        },
        |settings| match adapter {
            Adapter::KeyValue => settings.redis(&url),
            Adapter::Direct => settings.clone().direct_redis(&url).unwrap_or_else(|error| {
                manifest = Err(error);
                settings
            }),
        },
    )
    .await?;
    manifest?;
    Ok(world)
}

/// Closed loops of somebody who may and of somebody who may not, for a while; how long each answer took.
async fn load(
    gate: &Gate,
    holder: &str,
    outsider: &str,
    time: Duration,
) -> anyhow::Result<Vec<Duration>> {
    const LOOPS: usize = 8;
    let ask = async |n: usize| {
        let mut latencies = Vec::new();
        let begun = Instant::now();
        while begun.elapsed() < time {
            let sent = Instant::now();
            if n.is_multiple_of(2) {
                gate.ask(holder, HELLO).await?.expect(200)?;
            } else {
                gate.ask(outsider, HELLO).await?.problem(403)?;
            }
            latencies.push(sent.elapsed());
        }
        anyhow::Ok(latencies)
    };
    let mut latencies = try_join_all((0..LOOPS).map(ask)).await?.concat();
    latencies.sort_unstable();
    Ok(latencies)
}

async fn outage(adapter: Adapter) -> anyhow::Result<()> {
    const TIME: Duration = Duration::from_secs(3);
    let mut redis = Redis::start().await?;
    let world = over_redis(adapter, &redis).await?;
    let holder = world.gate.sign_in(&Wallet::owner()?).await?;
    let outsider = world.gate.sign_in(&Wallet::seeded("outsider")?).await?;
    let ended = world.gate.sign_in(&Wallet::owner()?).await?;
    world
        .gate
        .bearing(Method::DELETE, &ended, "/v1/session", "")
        .await?
        .expect(204)?;
    for phase in ["before", "killed", "restarted", "hung", "returned"] {
        match phase {
            "killed" => redis.kill(),
            "restarted" => redis.restart().await?,
            "hung" => redis.hang()?,
            "returned" => redis.go_on()?,
            _ => {}
        }
        let latencies = load(&world.gate, &holder, &outsider, TIME).await?;
        let at = |percent: usize| {
            let rank = latencies.len() * percent / 100;
            latencies.get(rank).map_or(0.0, |l| l.as_secs_f64() * 1e3)
        };
        println!(
            "{:<9} {phase:<10} {:>6} answers, all right   p50 {:>7.2} ms   p95 {:>7.2} ms   p99 {:>7.2} ms",
            format!("{adapter:?}"),
            latencies.len(),
            at(50),
            at(95),
            at(99)
        );
    }
    // What must not be assumed is not: nobody signs in while nonces cannot be counted.
    let wallet = Wallet::seeded("late")?;
    let message = world.gate.challenge(&wallet).await?;
    let signature = wallet.personal_sign(&message);
    redis.kill();
    world
        .gate
        .session(&message, &signature)
        .await?
        .problem(503)?;
    redis.restart().await?;
    // The connection that was lost is replaced by the first request that misses it. A store that has come back empty is
    // another one: a challenge of before is good no longer, as nothing counts whether it was used.
    let mut last = None;
    for _ in 0..20 {
        let message = world.gate.challenge(&wallet).await?;
        let signature = wallet.personal_sign(&message);
        let reply = world.gate.session(&message, &signature).await?;
        last = Some(reply.status);
        if reply.status == 201 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("no sign-in after the store came back: {last:?}")
}

#[tokio::test]
async fn a_store_that_dies_hangs_and_returns_makes_answers_slower_and_never_wrong()
-> anyhow::Result<()> {
    outage(Adapter::KeyValue).await
}

#[tokio::test]
async fn so_does_a_redis_that_is_spoken_to_directly() -> anyhow::Result<()> {
    outage(Adapter::Direct).await
}

#[tokio::test]
async fn what_is_kept_in_redis_expires_by_itself() -> anyhow::Result<()> {
    let redis = Redis::start().await?;
    let world = over_redis(Adapter::Direct, &redis).await?;
    let token = world.gate.sign_in(&Wallet::owner()?).await?;
    world.gate.ask(&token, HELLO).await?.expect(200)?;
    let ended = world.gate.sign_in(&Wallet::owner()?).await?;
    for path in ["/v1/session", "/v1/session?everywhere=true"] {
        let path = path.to_owned();
        let one = if path.contains('?') { &token } else { &ended };
        world
            .gate
            .bearing(Method::DELETE, one, &path, "")
            .await?
            .expect(204)?;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut connection = redis.connect().await?;
    let keys: Vec<String> = connection.query("KEYS", &["*"]).await?;
    for kind in ["fact", "nonce", "revoked", "epoch", "rate"] {
        let prefix = format!("tg1:{kind}:");
        ensure!(keys.iter().any(|key| key.starts_with(&prefix)), "{keys:?}");
    }
    // What the store itself is, and the longest lifetime of its sessions: a key of each, whatever is asked.
    let (own, others): (Vec<_>, Vec<_>) = keys
        .iter()
        .partition(|key| ["tg1:store", "tg1:lifetime"].contains(&key.as_str()));
    ensure!(own.len() == 2, "{keys:?}");
    for key in others {
        let ttl: i64 = connection.query("TTL", &[key]).await?;
        // A session ends within the hour, and clocks may differ.
        ensure!((1..=3_720).contains(&ttl), "{key} is kept for {ttl} s");
    }
    Ok(())
}

#[tokio::test]
async fn a_decision_over_redis_takes_one_round_trip_for_all_its_facts() -> anyhow::Result<()> {
    let redis = Redis::start().await?;
    let world = over_redis(Adapter::Direct, &redis).await?;
    let token = world.gate.sign_in(&Wallet::owner()?).await?;
    world.gate.ask(&token, HELLO).await?.expect(200)?;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let mut connection = redis.connect().await?;
    let () = connection.query("CONFIG", &["RESETSTAT"]).await?;
    let reply = world.gate.ask(&token, HELLO).await?;
    let grant = reply.expect(200)?;
    ensure!(grant["basis"]["tier"] == "store", "{grant}");
    let stats: String = connection.query("INFO", &["commandstats"]).await?;
    let calls = |command: &str| {
        let line = stats
            .lines()
            .find(|line| line.starts_with(&format!("cmdstat_{command}:")));
        line.and_then(|line| line.split_once("calls=")?.1.split(',').next()?.parse().ok())
            .unwrap_or(0_usize)
    };
    // One for the session and one for the facts, both on their way at once.
    ensure!(calls("mget") == 2, "{stats}");
    ensure!(calls("get") + calls("set") == 0, "{stats}");
    Ok(())
}

#[tokio::test]
async fn a_session_that_is_ended_elsewhere_is_refused_within_the_bound_of_memory()
-> anyhow::Result<()> {
    let redis = Redis::start().await?;
    let world = over_redis(Adapter::KeyValue, &redis).await?;
    let token = world.gate.sign_in(&Wallet::owner()?).await?;
    // Hot in the memory of several instances.
    let asked = (0..50).map(|_| world.gate.ask(&token, HELLO));
    for reply in try_join_all(asked).await? {
        reply.expect(200)?;
    }
    world
        .gate
        .bearing(Method::DELETE, &token, "/v1/session", "")
        .await?
        .expect(204)?;
    let ended = Instant::now();
    let mut last_let_in = Duration::ZERO;
    while ended.elapsed() < Duration::from_millis(2_500) {
        let asked = ended.elapsed();
        let reply = world.gate.ask(&token, HELLO).await?;
        if reply.status == 200 {
            last_let_in = asked;
        } else {
            reply.problem(401)?;
        }
    }
    println!("last let in {last_let_in:?} after it was ended");
    ensure!(last_let_in < Duration::from_secs(1), "{last_let_in:?}");
    Ok(())
}

#[tokio::test]
async fn an_invalidation_at_one_host_reaches_the_other_within_the_bound_of_memory_under_load()
-> anyhow::Result<()> {
    const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    let redis = Redis::start().await?;
    let url = redis.url().to_owned();
    let mut prepared = Ok(());
    let world = World::with(
        |config| {
            config.fresh = "1h";
            config.more.push_str(
                "\n[[webhook]]\nid = \"own\"\nprovider = \"standard\"\nsecret = \"{{ events_secret }}\"\n",
            );
        },
        |settings| {
            let settings = settings.redis(&url);
            settings.clone().events(SECRET).unwrap_or_else(|error| {
                prepared = Err(error);
                settings
            })
        },
    )
    .await?;
    prepared?;
    let second = Service::start(&world.settings).await?;
    let hosts = [
        world.gate.clone(),
        Gate::new(second.url(), world.gate.domain()),
    ];
    let token = world.gate.sign_in(&Wallet::owner()?).await?;
    for host in &hosts {
        host.warm(&token, HELLO).await?;
    }
    let stranger = Wallet::stranger()?.address();
    let begun = Instant::now();
    // When the host that was told has answered; until then everybody is let in.
    let told = Cell::new(None);
    let loops = (0..8).map(async |n: usize| {
        let host = hosts.get(n % 2).context("two hosts")?;
        let (mut let_in, mut kept_out) = (Duration::ZERO, 0_u32);
        while begun.elapsed() < Duration::from_secs(5) {
            let asked = begun.elapsed();
            let reply = host.ask(&token, HELLO).await?;
            if reply.status == 200 {
                let_in = asked;
            } else {
                reply.problem(403)?;
                kept_out += 1;
            }
        }
        anyhow::Ok((let_in, kept_out))
    });
    let tell = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        world.chain.transfer_token(0, stranger).await?;
        let delivery = Delivery::of_newest(&world.chain, ERC721).await?;
        let answer = delivery.send(&world.gate, "own", SECRET).await?;
        ensure!(answer["outdated"] == 1, "{answer}");
        told.set(Some(begun.elapsed()));
        anyhow::Ok(())
    };
    let (last, ()) = try_join(try_join_all(loops), tell).await?;
    let told = told.get().context("nobody was told")?;
    for (n, (let_in, kept_out)) in last.into_iter().enumerate() {
        let late = let_in.saturating_sub(told);
        println!(
            "host {}: last let in {late:?} after the other was told",
            n % 2 + 1
        );
        ensure!(late < Duration::from_secs(1), "{late:?}");
        ensure!(kept_out > 0, "nobody was kept out");
    }
    Ok(())
}

#[tokio::test]
async fn cache_status_and_the_log_say_which_tier_answered() -> anyhow::Result<()> {
    let world = World::with(|config| config.fresh = "1m", |settings| settings).await?;
    let token = world.gate.sign_in(&Wallet::seeded("outsider")?).await?;
    let told = async || {
        let reply = world.gate.ask(&token, HELLO).await?;
        reply.problem(403)?;
        anyhow::Ok(reply.header("cache-status").to_owned())
    };
    let first = told().await?;
    ensure!(first == "tokengate; fwd=miss; detail=chain", "{first}");
    let second = told().await?;
    let hit = second
        .strip_prefix("tokengate; hit; ttl=")
        .context(second.clone())?;
    ensure!(
        hit.ends_with("; detail=memory") || hit.ends_with("; detail=store"),
        "{second}"
    );
    Ok(())
}

#[tokio::test]
async fn facts_that_were_read_in_another_way_do_not_outlive_a_restart() -> anyhow::Result<()> {
    let redis = Redis::start().await?;
    let url = redis.url().to_owned();
    let world = World::with(
        |config| config.fresh = "1h",
        |settings| settings.redis(&url),
    )
    .await?;
    // A token that somebody has had for a moment: `finalized` does not know of it.
    let holder = Wallet::seeded("holder of a moment")?;
    world.chain.mine(100, 1).await?;
    world.chain.mint_token(holder.address()).await?;
    let token = world.gate.sign_in(&holder).await?;
    world.gate.warm(&token, HELLO).await?;
    let second = Faulty::start(world.chain.url()).await?;
    const PROVIDERS: &str = "providers = [\"{{ rpc_url }}\"]";
    let restarted = async |chain: &str, cache: &str| {
        let mut settings = world.settings.clone();
        let changed = [(PROVIDERS, chain), ("[cache]", cache)];
        for (from, to) in changed {
            ensure!(settings.config.contains(from), "{}", settings.config);
            settings.config = settings.config.replacen(from, to, 1);
        }
        if chain.contains("{{ rpc_url_2 }}") {
            settings = settings.further_providers(&[second.url()])?;
        }
        let mut service = Service::start(&settings).await?;
        let gate = Gate::new(service.url(), world.gate.domain());
        let reply = gate.ask(&token, HELLO).await?;
        ensure!(service.stop().await?.success());
        let answer = reply.json()?;
        let tier = answer["basis"]["tier"].as_str().unwrap_or_default();
        anyhow::Ok((reply.status.as_u16(), tier.to_owned()))
    };
    let two = "providers = [\"{{ rpc_url }}\", \"{{ rpc_url_2 }}\"]";
    for (what, chain, cache, status, tier) in [
        ("the same", PROVIDERS, "[cache]", 200, "store"),
        ("a provider more", two, "[cache]", 200, "store"),
        (
            "finalized",
            "providers = [\"{{ rpc_url }}\"]\nblock = \"finalized\"",
            "[cache]",
            403,
            "",
        ),
        (
            "two have to agree",
            "providers = [\"{{ rpc_url }}\", \"{{ rpc_url_2 }}\"]\nquorum = 2",
            "[cache]",
            200,
            "chain",
        ),
        (
            "by single calls",
            "providers = [\"{{ rpc_url }}\"]\nreader = \"calls\"",
            "[cache]",
            200,
            "chain",
        ),
        (
            "another service",
            PROVIDERS,
            "[cache]\nnamespace = \"other\"",
            200,
            "chain",
        ),
        ("the same again", PROVIDERS, "[cache]", 200, "store"),
    ] {
        let told = restarted(chain, cache).await?;
        ensure!(told == (status, tier.to_owned()), "{what}: {told:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_somebody_else_writes_into_redis_opens_nothing() -> anyhow::Result<()> {
    let redis = Redis::start().await?;
    let world = over_redis(Adapter::Direct, &redis).await?;
    let mut connection = redis.connect().await?;
    let holder = world.gate.sign_in(&Wallet::owner()?).await?;
    world.gate.ask(&holder, HELLO).await?.expect(200)?;
    let mut stored = async |pattern: &str| {
        // Written behind the response.
        for _ in 0..50 {
            let keys: Vec<String> = connection.query("KEYS", &[pattern]).await?;
            if let Some(key) = keys.into_iter().next() {
                return anyhow::Ok(key);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::bail!("nothing is stored at {pattern}")
    };
    let own = |wallet: &Wallet| format!("tg1:fact:*:721b:*:{:#x}", wallet.address());
    let theirs = stored(&own(&Wallet::owner()?)).await?;
    let outsider = Wallet::seeded("outsider")?;
    let token = world.gate.sign_in(&outsider).await?;
    world.gate.ask(&token, HELLO).await?.problem(403)?;
    let key = stored(&own(&outsider)).await?;
    // The holder's fact in the place of the outsider's.
    let copied: i64 = connection
        .query("COPY", &[&theirs, &key, "REPLACE"])
        .await?;
    ensure!(copied == 1, "not copied");
    // Longer than memory is believed.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    world.gate.ask(&token, HELLO).await?.problem(403)?;
    logged(&world, "a stored fact has no valid tag").await?;

    // That all sessions of somebody have ended, changed into something else.
    let everywhere = "/v1/session?everywhere=true";
    let ended = world.gate.sign_in(&Wallet::owner()?).await?;
    let last = world.gate.sign_in(&Wallet::owner()?).await?;
    let reply = world
        .gate
        .bearing(Method::DELETE, &last, everywhere, "")
        .await?;
    reply.expect_status(204)?;
    let keys: Vec<String> = connection.query("KEYS", &["tg1:epoch:*:key"]).await?;
    let [epoch] = keys.as_slice() else {
        anyhow::bail!("{keys:?}");
    };
    let () = connection
        .query("SET", &[epoch, "\0\0\0\0\0\0\0\0"])
        .await?;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    for token in [&ended, &holder] {
        world.gate.ask(token, HELLO).await?.problem(503)?;
    }
    logged(&world, "a stored epoch has no valid tag").await
}

/// Waits until the service's log has these words: it is read behind the responses.
async fn logged(world: &World, words: &str) -> anyhow::Result<()> {
    for _ in 0..50 {
        if world.service.log().contains(words) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("{words:?} is not logged: {}", world.service.log())
}
