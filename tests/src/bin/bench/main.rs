//! `scripts/bench`: what decisions cost on this machine, measured from outside over loopback, beside a baseline of the same run.

mod cache;
mod revoke;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use clap::{Parser, Subcommand};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use http::Method;
use http_body_util::Full;
use serde_json::json;
use tokengate_core::Timestamp;
use tokengate_probe::measure;
use tokengate_tests::artefact;
use tokengate_tests::client::Gate;
use tokengate_tests::config::DOMAIN;
use tokengate_tests::faulty::{Fault, Faulty};
use tokengate_tests::service::{SERVICE_KEYS, Service};
use tokengate_tests::wallet::Wallet;
use tokengate_tests::world::{HELLO, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use url::Url;

/// How long each load lasts, in connections and in time.
#[derive(Parser)]
struct Options {
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=300))]
    seconds: u64,
    /// Connections of the measurements, one closed loop each.
    #[arg(long, value_delimiter = ',', default_values_t = [50, 1_000])]
    connections: Vec<usize>,
    #[command(subcommand)]
    what: Option<What>,
}

/// One part alone; without, what decisions cost.
#[derive(Clone, Copy, Subcommand)]
enum What {
    /// What each tier costs, and how often it answers.
    Cache,
    /// How long a sold token still opens the gate.
    Revoke,
}

// The children's parent is the thread that started them, and that is this function's.
#[tokio::main(worker_threads = 1)]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let time = Duration::from_secs(options.seconds);
    println!("machine: {}", machine()?);
    match options.what {
        None => decisions(&options, time).await?,
        Some(What::Cache) => cache::run(time).await?,
        Some(What::Revoke) => revoke::run().await?,
    }
    println!("machine: {}", machine()?);
    Ok(())
}

/// What decisions cost, beside a baseline.
async fn decisions(options: &Options, time: Duration) -> anyhow::Result<()> {
    let world = World::with(|config| config.fresh = "1h", |settings| settings).await?;
    let address = world
        .service
        .url()
        .strip_prefix("http://")
        .context("a service without http")?
        .to_owned();
    let token = world.gate.sign_in(&Wallet::owner()?).await?;
    world.gate.ask(&token, HELLO).await?.expect(200)?;

    let live = request("GET", "/healthz/live", &[], "");
    let bearer = format!("Bearer {token}");
    let body = json!({ "resource": HELLO }).to_string();
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    let warm = request("POST", "/v1/access", &headers, &body);
    let redirect = request("GET", &format!("/v1/content/{HELLO}"), &headers[..1], "");

    println!(
        "\n{:<34} {:>6} {:>9} {:>9} {:>9} {:>9}",
        "closed loops", "conns", "req/s", "p50 ms", "p95 ms", "p99 ms"
    );
    // A first load fills pools and instances; it is not reported.
    load(
        &address,
        Arc::from(live.as_slice()),
        50,
        Duration::from_secs(1),
        200,
    )
    .await?;
    for &connections in &options.connections {
        let baseline = load(&address, Arc::from(live.as_slice()), connections, time, 200).await?;
        println!(
            "{}",
            Row("liveness (baseline)", connections, &baseline, None)
        );
        let loads = [
            ("warm decision, POST /v1/access", &warm, 200),
            ("warm decision, GET /v1/content", &redirect, 302),
        ];
        for (name, request, status) in loads {
            let figures = load(
                &address,
                Arc::from(request.as_slice()),
                connections,
                time,
                status,
            )
            .await?;
            println!("{}", Row(name, connections, &figures, Some(&baseline)));
        }
    }
    println!("host: {} resident", resident(world.service.id())?);

    println!("\ninside the guest, by Server-Timing");
    for (name, method, path, body) in [
        (
            "warm decision, POST /v1/access",
            Method::POST,
            "/v1/access",
            body.as_str(),
        ),
        (
            "session check, GET /v1/session",
            Method::GET,
            "/v1/session",
            "",
        ),
    ] {
        let figures = in_guest(&world.gate, &token, method, path, body).await?;
        println!("{name:<34} {figures}");
    }
    steps(&world, &token).await?;
    one_by_one(&world).await?;
    delayed(&world).await?;
    reads::run(&world).await?;
    println!("host: {} resident", resident(world.service.id())?);
    Ok(())
}

/// What one load showed: sorted latencies and the time they took.
struct Figures {
    latencies: Vec<Duration>,
    time: Duration,
}

impl Figures {
    fn new(mut latencies: Vec<Duration>, time: Duration) -> anyhow::Result<Self> {
        ensure!(!latencies.is_empty(), "nothing was answered");
        latencies.sort_unstable();
        Ok(Self { latencies, time })
    }

    fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.time.as_secs_f64()
    }

    fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.latencies.len() * percent)
            .div_ceil(100)
            .saturating_sub(1);
        self.latencies
            .get(rank)
            .map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
    }
}

/// A line of the table; with a baseline, the rate's ratio to it.
struct Row<'a>(&'a str, usize, &'a Figures, Option<&'a Figures>);

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(name, connections, figures, baseline) = self;
        let [p50, p95, p99] = [50, 95, 99].map(|percent| figures.percentile(percent));
        write!(
            f,
            "{name:<34} {connections:>6} {:>9.0} {p50:>9.2} {p95:>9.2} {p99:>9.2}",
            figures.rate()
        )?;
        match baseline {
            Some(baseline) => write!(
                f,
                "   {:.2} of the baseline",
                figures.rate() / baseline.rate()
            ),
            None => Ok(()),
        }
    }
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: {DOMAIN}\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        text.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    text.push_str(body);
    text.into_bytes()
}

/// Sends `request` over `connections` kept connections, each in a closed loop, for `time`. Any answer of another status ends it.
async fn load(
    address: &str,
    request: Arc<[u8]>,
    connections: usize,
    time: Duration,
    status: u16,
) -> anyhow::Result<Figures> {
    let mut loops = JoinSet::new();
    for _ in 0..connections {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let request = Arc::clone(&request);
        loops.spawn(async move {
            let mut connection = Connection::new(stream);
            let mut latencies = Vec::new();
            let begun = Instant::now();
            while begun.elapsed() < time {
                let sent = Instant::now();
                let answered = connection.ask(&request).await?;
                ensure!(answered == status, "{answered} instead of {status}");
                latencies.push(sent.elapsed());
            }
            anyhow::Ok(latencies)
        });
    }
    let begun = Instant::now();
    let mut latencies = Vec::new();
    while let Some(done) = loops.join_next().await {
        latencies.extend(done??);
    }
    Figures::new(latencies, begun.elapsed())
}

/// One kept HTTP/1.1 connection to a service whose every answer says its content-length.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            buffer: Vec::with_capacity(4096),
        }
    }

    /// Sends a request and reads its answer; the status.
    async fn ask(&mut self, request: &[u8]) -> anyhow::Result<u16> {
        const MAX_HEAD: usize = 16 * 1024;
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if let Some(head) = find(&self.buffer, b"\r\n\r\n") {
                let (status, length) = read_head(self.buffer.get(..head).unwrap_or_default())?;
                let whole = head + 4 + length;
                while self.buffer.len() < whole {
                    self.read_more().await?;
                }
                return Ok(status);
            }
            ensure!(self.buffer.len() < MAX_HEAD, "an endless header section");
            self.read_more().await?;
        }
    }

    async fn read_more(&mut self) -> anyhow::Result<()> {
        let read = self.stream.read_buf(&mut self.buffer).await?;
        ensure!(read > 0, "the service closed a kept connection");
        Ok(())
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

fn read_head(head: &[u8]) -> anyhow::Result<(u16, usize)> {
    let head = std::str::from_utf8(head)?;
    let status = head
        .get(9..12)
        .context("no status line")?
        .parse()
        .context("no status")?;
    for line in head.lines().skip(1) {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            return Ok((status, value.trim().parse()?));
        }
    }
    bail!("an answer without content-length: {head}")
}

/// The guest's own measure of a request, from Server-Timing's `total` of a thousand answers.
async fn in_guest(
    gate: &Gate,
    token: &str,
    method: Method,
    path: &str,
    body: &str,
) -> anyhow::Result<String> {
    let mut durations = Vec::new();
    for _ in 0..1_000 {
        let reply = gate
            .bearing(method.clone(), token, path, body.to_owned())
            .await?;
        reply.expect(200)?;
        let timing = reply.header("server-timing");
        let total = timing
            .split(',')
            .find_map(|metric| metric.trim().strip_prefix("total;dur="))
            .with_context(|| format!("no total in Server-Timing: {timing:?}"))?;
        durations.push(Duration::from_secs_f64(total.parse::<f64>()? / 1e3));
    }
    let figures = Figures::new(durations, Duration::from_secs(1))?;
    let [p50, p95, p99] = [50, 95, 99].map(|percent| figures.percentile(percent) * 1e3);
    Ok(format!("p50 {p50:.0} µs, p95 {p95:.0} µs, p99 {p99:.0} µs"))
}

/// Single steps of the core: in a guest under the host, and natively.
async fn steps(world: &World, token: &str) -> anyhow::Result<()> {
    const COUNT: u32 = 2_000;
    let manifest = format!(
        "spin_manifest_version = 2\n[application]\nname = \"probe\"\nversion = \"0.1.0\"\n[[trigger.http]]\nroute = \"/...\"\ncomponent = \"probe\"\n[component.probe]\nsource = \"{PROBE}\"\n"
    );
    artefact(PROBE, "scripts/build")?;
    let mut settings = world.settings.clone();
    settings.manifest = Some(manifest);
    settings.variables.clear();
    let probe = Service::start(&settings).await?;
    let wallet = Wallet::owner()?;
    let message = world.gate.challenge(&wallet).await?;
    let signature = wallet.personal_sign(&message);
    let native_check = measure::session_check(SERVICE_KEYS, token, now()?, COUNT);
    let native_recovery = measure::recovery(&message, &signature, COUNT);
    println!(
        "\n{:<34} {:>10} {:>10}   ratio",
        "single steps, µs", "guest", "native"
    );
    for (name, path, query, native) in [
        (
            "session token check",
            "session-check",
            vec![("keys", SERVICE_KEYS), ("token", token)],
            native_check,
        ),
        (
            "hash, recovery, address",
            "recovery",
            vec![("message", message.as_str()), ("signature", &signature)],
            native_recovery,
        ),
    ] {
        let native = native.map_err(anyhow::Error::msg)?.as_secs_f64() * 1e6;
        let mut url = Url::parse(&format!("{}/measure/{path}", probe.url()))?;
        url.query_pairs_mut()
            .extend_pairs(query)
            .append_pair("count", &COUNT.to_string());
        // A query writes spaces as plus signs; the probe reads percent-encoding alone.
        let url = url.as_str().replace('+', "%20");
        let reply = world.http.get(&url).await?;
        ensure!(reply.status == 200, "{name}: {}", reply.text());
        let guest = reply.text().parse::<f64>()? / 1e3;
        println!(
            "{name:<34} {guest:>10.2} {native:>10.2}   {:.2}",
            guest / native
        );
    }
    Ok(())
}

const PROBE: &str = "target/wasm32-wasip2/release/tokengate_probe.wasm";

fn now() -> anyhow::Result<Timestamp> {
    let since = SystemTime::UNIX_EPOCH.elapsed()?;
    Ok(Timestamp::from_second(i64::try_from(since.as_secs())?)?)
}

/// Sign-ins and first decisions of wallets that nobody has seen: nothing of these is cached.
async fn one_by_one(world: &World) -> anyhow::Result<()> {
    const WALLETS: usize = 1_000;
    println!("\n{WALLETS} new wallets, {AT_ONCE} at once");

    let mut signed = Vec::new();
    for n in 0..WALLETS {
        let wallet = Wallet::seeded(&format!("bench {n}"))?;
        let message = world.gate.challenge(&wallet).await?;
        signed.push((wallet.personal_sign(&message), message));
    }
    let gate = world.gate.clone();
    let (tokens, figures) = spread(signed, move |(signature, message)| {
        let gate = gate.clone();
        async move {
            let session = gate.session(&message, &signature).await?.expect(201)?;
            let token = session.get("token").and_then(|token| token.as_str());
            Ok(token.context("no token")?.to_owned())
        }
    })
    .await?;
    println!(
        "{}",
        Row("session, POST /v1/session", AT_ONCE, &figures, None)
    );

    let gate = world.gate.clone();
    let (_, figures) = spread(tokens, move |token| {
        let gate = gate.clone();
        async move { gate.ask(&token, HELLO).await?.problem(403) }
    })
    .await?;
    println!(
        "{}",
        Row("cold decision, POST /v1/access", AT_ONCE, &figures, None)
    );
    Ok(())
}

/// First decisions over a provider that takes 50 ms: what they take besides, and how many connections to it they need.
async fn delayed(world: &World) -> anyhow::Result<()> {
    const DELAY: Duration = Duration::from_millis(50);
    const WALLETS: usize = 100;
    const MANY: usize = 1_000;
    let provider = Faulty::start(world.chain.url()).await?;
    let settings = world
        .settings
        .clone()
        .variable("rpc_url", &provider.url())
        .variable("rpc_origin", &provider.url());
    let service = Service::start(&settings).await?;
    let gate = Gate::new(service.url(), DOMAIN);
    let mut tokens = Vec::new();
    for n in 0..MANY + WALLETS {
        tokens.push(
            gate.sign_in(&Wallet::seeded(&format!("delayed {n}"))?)
                .await?,
        );
    }
    provider.behave(Fault::Slow(DELAY)).await?;
    let block = json!({"jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": []});
    let mut direct = Vec::new();
    for _ in 0..WALLETS {
        let request = http::Request::post(provider.url())
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(block.to_string())))?;
        let sent = Instant::now();
        world.http.send(request).await?.expect(200)?;
        direct.push(sent.elapsed());
    }
    let many = tokens.split_off(WALLETS);
    let mut decided = Vec::new();
    for token in tokens {
        let sent = Instant::now();
        gate.ask(&token, HELLO).await?.problem(403)?;
        decided.push(sent.elapsed());
    }
    let (before, direct) = (
        provider.connections(),
        Figures::new(direct, Duration::from_secs(1))?,
    );
    let decided = Figures::new(decided, Duration::from_secs(1))?;
    println!("\na provider that takes 50 ms, one at a time, p50");
    println!("{:<34} {:>9.2} ms", "asked directly", direct.percentile(50));
    println!(
        "{:<34} {:>9.2} ms   {:.2} ms more, {:.3} of it",
        "cold decision, POST /v1/access",
        decided.percentile(50),
        decided.percentile(50) - direct.percentile(50),
        decided.percentile(50) / direct.percentile(50),
    );
    provider.take();
    let (_, figures) = spread(many, move |token| {
        let gate = gate.clone();
        async move { gate.ask(&token, HELLO).await?.problem(403) }
    })
    .await?;
    println!("{}", Row("the same, at once", AT_ONCE, &figures, None));
    println!(
        "{} calls to the provider over {} new connections",
        provider.take().len(),
        provider.connections() - before
    );
    Ok(())
}

const AT_ONCE: usize = 16;

/// Does `work` for every item, so many at once; what came out, and how long each and all took.
async fn spread<T, U, W, F>(items: Vec<T>, work: W) -> anyhow::Result<(Vec<U>, Figures)>
where
    W: Fn(T) -> F,
    F: Future<Output = anyhow::Result<U>>,
{
    let begun = Instant::now();
    let done: Vec<(U, Duration)> = stream::iter(items)
        .map(|item| async {
            let sent = Instant::now();
            let made = work(item).await?;
            anyhow::Ok((made, sent.elapsed()))
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let (made, latencies) = done.into_iter().unzip();
    Ok((made, Figures::new(latencies, begun.elapsed())?))
}

fn resident(process: Option<u32>) -> anyhow::Result<String> {
    let process = process.context("the host has ended")?;
    let status =
        std::fs::read_to_string(Path::new("/proc").join(process.to_string()).join("status"))?;
    let size = |name: &str| {
        status
            .lines()
            .find_map(|line| {
                line.strip_prefix(name)?
                    .trim()
                    .strip_suffix(" kB")?
                    .parse::<u64>()
                    .ok()
            })
            .map(|kib| format!("{} MiB", kib / 1024))
            .with_context(|| format!("no {name} in /proc"))
    };
    Ok(format!("{} (peak {})", size("VmRSS:")?, size("VmHWM:")?))
}

fn machine() -> anyhow::Result<String> {
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let averages: Vec<&str> = load.split_whitespace().take(3).collect();
    let cores = std::thread::available_parallelism()?;
    Ok(format!(
        "{cores} cores, load averages {}",
        averages.join(" ")
    ))
}
