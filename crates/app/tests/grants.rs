//! A property over random gates, wallets and faults of providers: every fact that a grant rests on was true at some block
//! within its stated bound.
//!
//! The bound of a fact is `max_age`, or `stale_while_revalidate` where a gate has it, and how far its block may have been behind when it was
//! read: while a provider that keeps up answers, `max_lag` blocks beyond a head that is at most 30 seconds old; without
//! one `max_head_age`, for one provider's answer suffices where no other says how far the chain is.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, also in its helpers"
)]

mod support;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, pending};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_executor::block_on;
use futures_util::future::LocalBoxFuture;
use http::{Method, StatusCode};
use k256::ecdsa::SigningKey;
use serde_json::{Value, json};
use tokengate_app::state::All;
use tokengate_app::{
    CallError, Ports, RedisReply, Reply, Request, StoreError, load, routes, serve,
};
use tokengate_core::Timestamp;
use tokengate_core::eip191::hash_message;

use support::Tasks;
use support::reader::{self, Asked, Block, Outcome, word};

/// How many random histories there are; `GRANTS_CASES` overrides it.
const CASES: u64 = 300;
/// Steps of each.
const STEPS: usize = 40;
/// Seconds from block to block on the chain that is simulated.
const BLOCK_TIME: u64 = 12;
/// What the chain is configured and known for: blocks, and seconds.
const TOLERANCE: u64 = 3;
const HEAD_AGE: u64 = 300;
/// How long a head counts.
const SEEN: u64 = 30;
const PROVIDERS: usize = 3;
const CONTRACTS: usize = 3;
const WALLETS: usize = 3;
/// The contract that is hostile: it reverts, burns its gas or answers nothing whenever it likes.
const HOSTILE: usize = 2;
/// 2026-06-01T00:00:00Z.
const START: u64 = 1_780_272_000;

/// A source of random numbers that a seed repeats (SplitMix64).
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).unwrap()
    }
}

/// What a provider does for a while.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Conduct {
    Honest,
    /// Is stuck this many blocks behind.
    Stuck(u64),
    /// Says of every balance what it likes, and of its block the truth.
    Lies,
    Hung,
    Down,
    Fails,
    /// Names a block that the chain cannot have come to.
    Absurd(u64),
    OtherChain,
}

/// A requirement, as the test itself understands it.
#[derive(Clone, Debug)]
enum Rule {
    Holds(usize),
    Any(Vec<Rule>),
    All(Vec<Rule>),
    Not(Box<Rule>),
}

impl Rule {
    /// A rule of at most this depth. Below `not` there is one leaf, beside it something that a wallet has to hold.
    fn random(random: &mut Random, depth: u32) -> Self {
        match random.below(if depth == 0 { 1 } else { 4 }) {
            0 => Self::Holds(random.index(CONTRACTS)),
            1 => Self::Any(Self::two(random, depth)),
            2 => Self::All(Self::two(random, depth)),
            _ => {
                let held = random.index(CONTRACTS);
                let banned = (held + 1 + random.index(CONTRACTS - 1)) % CONTRACTS;
                let not = Self::Not(Box::new(Self::Holds(banned)));
                Self::All(vec![Self::Holds(held), not])
            }
        }
    }

    fn two(random: &mut Random, depth: u32) -> Vec<Self> {
        loop {
            let two = vec![
                Self::random(random, depth - 1),
                Self::random(random, depth - 1),
            ];
            // Equal conditions in one list are an error of the configuration.
            if format!("{:?}", two[0]) != format!("{:?}", two[1]) {
                return two;
            }
        }
    }

    fn toml(&self) -> String {
        let list = |rules: &[Self]| rules.iter().map(Self::toml).collect::<Vec<_>>().join(", ");
        match self {
            Self::Holds(contract) => format!(
                "{{ erc721 = {{ chain = \"eip155:1\", contract = \"{}\" }} }}",
                contract_address(*contract)
            ),
            Self::Any(rules) => format!("{{ any = [{}] }}", list(rules)),
            Self::All(rules) => format!("{{ all = [{}] }}", list(rules)),
            Self::Not(rule) => format!("{{ not = {} }}", rule.toml()),
        }
    }

    /// Whether it can have come out as `wanted`, where each leaf may have been read at another block.
    fn may_be(&self, wanted: bool, leaf: &impl Fn(usize, bool) -> bool) -> bool {
        match (self, wanted) {
            (Self::Holds(contract), wanted) => leaf(*contract, wanted),
            (Self::Not(rule), wanted) => rule.may_be(!wanted, leaf),
            (Self::Any(rules), true) | (Self::All(rules), false) => {
                rules.iter().any(|rule| rule.may_be(wanted, leaf))
            }
            (Self::All(rules), true) | (Self::Any(rules), false) => {
                rules.iter().all(|rule| rule.may_be(wanted, leaf))
            }
        }
    }
}

struct Gate {
    rule: Rule,
    /// How old its facts may be, in seconds.
    oldest: u64,
    toml: String,
}

/// Who holds what, from a block on.
type Holdings = [[bool; WALLETS]; CONTRACTS];

#[derive(Clone)]
struct Mined {
    timestamp: u64,
    holdings: Holdings,
}

struct World {
    config: String,
    now: Cell<u64>,
    blocks: RefCell<Vec<Mined>>,
    conduct: [Cell<Conduct>; PROVIDERS],
    addresses: Vec<String>,
    random: RefCell<Random>,
    store: RefCell<HashMap<String, Vec<u8>>>,
    tasks: Tasks,
}

#[derive(Clone)]
struct Simulated(Rc<World>);

fn contract_address(index: usize) -> String {
    format!("0x{}", format!("c{index}").repeat(20))
}

fn hash(number: u64) -> [u8; 32] {
    word(1_000_000 + number)
}

impl Simulated {
    fn reply(&self, conduct: Conduct, request: &Value) -> Value {
        let blocks = self.0.blocks.borrow();
        let newest = blocks.len() as u64 - 1;
        let head = match conduct {
            Conduct::Stuck(blocks) => newest.saturating_sub(blocks),
            _ => newest,
        };
        let chain = match conduct {
            Conduct::OtherChain => 5,
            _ => 1,
        };
        let number = |value: &Value| {
            let digits = value.as_str()?.strip_prefix("0x")?;
            u64::from_str_radix(digits, 16).ok()
        };
        let params = &request["params"];
        let result = match request["method"].as_str().unwrap() {
            "eth_chainId" => json!(format!("{chain:#x}")),
            "eth_getBlockByNumber" => {
                let number = number(&params[0]).unwrap_or(head);
                match blocks.get(usize::try_from(number).unwrap()) {
                    Some(block) if number <= head => json!({
                        "number": format!("{number:#x}"),
                        "hash": format!("0x{}", hex::encode(hash(number))),
                        "parentHash": format!("0x{}", hex::encode(hash(number.saturating_sub(1)))),
                        "timestamp": format!("{:#x}", block.timestamp),
                    }),
                    _ => Value::Null,
                }
            }
            "eth_call" => {
                let by_hash = params[1]["blockHash"].as_str().map(str::to_owned);
                let by_hash = by_hash.and_then(|wanted| {
                    (0..=head).find(|number| format!("0x{}", hex::encode(hash(*number))) == wanted)
                });
                let at = number(&params[1]).or(by_hash).unwrap_or(head).min(head);
                let mined = &blocks[usize::try_from(at).unwrap()];
                let block = Block {
                    chain,
                    number: match conduct {
                        Conduct::Absurd(more) => at.saturating_add(more),
                        _ => at,
                    },
                    timestamp: mined.timestamp,
                    parent: hash(at.saturating_sub(1)),
                    known: word(0),
                };
                match reader::request(params) {
                    Some(asked) => {
                        let read = |read: &Asked| self.read(conduct, &mined.holdings, read);
                        json!(format!("0x{}", reader::answer(block, &asked, read)))
                    }
                    None => json!("0x"),
                }
            }
            other => panic!("an unexpected call: {other}"),
        };
        json!({"jsonrpc": "2.0", "id": request["id"], "result": result})
    }

    fn read(&self, conduct: Conduct, holdings: &Holdings, read: &Asked) -> Outcome {
        let contract = (0..CONTRACTS).find(|index| contract_address(*index) == read.target);
        let calldata = read.calldata.as_deref().unwrap_or_default();
        let wallet = format!("0x{}", hex::encode(&calldata[16..36]));
        let wallet = self.0.addresses.iter().position(|known| *known == wallet);
        let held = holdings[contract.unwrap()][wallet.unwrap()];
        let mut random = self.0.random.borrow_mut();
        if contract == Some(HOSTILE) {
            match random.below(8) {
                0 => return Outcome::Burnt,
                1 => return Outcome::Reverted(vec![0x42; 4]),
                2 => return Outcome::Returned(Vec::new()),
                _ => {}
            }
        }
        let told = match conduct {
            Conduct::Lies => random.below(2) == 0,
            _ => held,
        };
        Outcome::Returned(word(u64::from(told)).to_vec())
    }
}

impl Ports for Simulated {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(i64::try_from(self.0.now.get()).unwrap()).unwrap()
    }

    fn elapsed(&self) -> Duration {
        Duration::from_secs(self.0.now.get())
    }

    fn random(&self) -> [u8; 16] {
        let mut random = self.0.random.borrow_mut();
        let halves = [random.next().to_be_bytes(), random.next().to_be_bytes()];
        halves.concat().try_into().unwrap()
    }

    async fn sleep(&self, duration: Duration) {
        support::yield_for(duration).await;
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.0.tasks.push(task);
    }

    fn wait(&self) -> (Box<dyn Any>, LocalBoxFuture<'static, ()>) {
        support::wait()
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.store.borrow().get(key).cloned())
    }

    async fn set(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        let mut store = self.0.store.borrow_mut();
        store.insert(key.to_owned(), value.to_vec());
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.0.store.borrow_mut().remove(key);
        Ok(())
    }

    async fn increment(&self, key: &str) -> Result<u64, StoreError> {
        let mut store = self.0.store.borrow_mut();
        let count = store.entry(key.to_owned()).or_default();
        count.push(1);
        Ok(count.len() as u64)
    }

    async fn redis(&self, _: &str, _: &str, _: &[&[u8]]) -> Result<Vec<RedisReply>, StoreError> {
        support::no_redis()
    }

    async fn post(&self, url: &str, body: Vec<u8>, _: usize) -> Result<Reply, CallError> {
        let index = (0..PROVIDERS).find(|index| url.starts_with(&format!("http://p{index}.")));
        let conduct = self.0.conduct[index.unwrap()].get();
        let status = match conduct {
            Conduct::Down => return Err(CallError::Refused),
            Conduct::Hung => pending().await,
            Conduct::Fails => 502,
            _ => 200,
        };
        let request: Value = serde_json::from_slice(&body).unwrap();
        let body = match request.as_array() {
            Some(batch) => Value::from_iter(batch.iter().map(|one| self.reply(conduct, one))),
            None => self.reply(conduct, &request),
        };
        Ok(Reply {
            status,
            retry_after: None,
            body: body.to_string().into_bytes(),
        })
    }

    fn config_text(&self) -> Result<String, String> {
        Ok(self.0.config.clone())
    }

    async fn variable(&self, name: &str) -> Result<Option<String>, String> {
        Ok(Some(match name {
            "service_keys" => format!("a:{}", "11".repeat(32)),
            "store_keys" => support::STORE_KEYS.to_owned(),
            "media_access_key_id" => "AKIAEXAMPLE".to_owned(),
            "media_secret_access_key" => "a secret".to_owned(),
            _ => return Ok(None),
        }))
    }

    fn log(&self, _: &str) {}
}

fn key(wallet: usize) -> SigningKey {
    SigningKey::from_slice(&[u8::try_from(wallet).unwrap() + 1; 32]).unwrap()
}

fn address_of(key: &SigningKey) -> String {
    let point = key.verifying_key().to_sec1_point(false);
    let hash = alloy_sol_types::private::keccak256(&point.as_bytes()[1..]);
    format!("0x{}", hex::encode(&hash[12..]))
}

/// An instance of the service.
struct Instance {
    ports: Simulated,
    service: Result<All, tokengate_app::LoadError>,
}

impl Instance {
    fn new(ports: &Simulated) -> Self {
        Self {
            ports: ports.clone(),
            service: block_on(load(ports)),
        }
    }

    fn ask(
        &self,
        method: Method,
        target: &str,
        token: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let body = body.map(|body| Bytes::from(body.to_string()));
        let mut request: Request = http::Request::new(body.unwrap_or_default());
        *request.method_mut() = method;
        *request.uri_mut() = target.parse().unwrap();
        let headers = request.headers_mut();
        headers.insert("content-type", "application/json".parse().unwrap());
        if !token.is_empty() {
            headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        let routes = routes::all();
        let answer = serve(&routes, &self.service, &self.ports, request);
        let response = self.ports.0.tasks.drive(answer);
        self.ports.0.tasks.run();
        let body = serde_json::from_slice(response.body()).unwrap_or_default();
        (response.status(), body)
    }

    fn sign_in(&self, wallet: usize) -> String {
        let key = key(wallet);
        let target = format!("/v1/challenge?address={}&chain=eip155:1", address_of(&key));
        let (_, challenge) = self.ask(Method::GET, &target, "", None);
        let message = challenge["message"].as_str().unwrap();
        let (signature, recovery) = key.sign_prehash_recoverable(&hash_message(message.as_bytes()));
        let v = 27 + recovery.to_byte();
        let signature = format!("0x{}{v:02x}", hex::encode(signature.to_bytes()));
        let body = json!({"message": message, "signature": signature});
        let (status, session) = self.ask(Method::POST, "/v1/session", "", Some(body));
        assert_eq!(status, StatusCode::CREATED, "{session}");
        session["token"].as_str().unwrap().to_owned()
    }
}

/// What came out of a history.
#[derive(Default)]
struct Tally {
    requests: usize,
    grants: usize,
    refusals: usize,
    unknown: usize,
}

/// One random history.
struct History {
    random: Random,
    ports: Simulated,
    gates: Vec<Gate>,
    /// The provider that keeps up and answers throughout, if one does.
    anchor: Option<usize>,
    /// The provider that may lie: only where two have to agree.
    liar: Option<usize>,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let quorum = 1 + random.below(2);
        let anchor = (random.below(3) > 0).then(|| random.index(PROVIDERS));
        let liar = (quorum == 2).then(|| {
            let other = 1 + random.index(PROVIDERS - 1);
            anchor.map_or(0, |anchor| (anchor + other) % PROVIDERS)
        });
        let gates: Vec<Gate> = (0..3)
            .map(|index| {
                let rule = Rule::random(&mut random, 2);
                let fresh = 1 + random.below(20);
                let stale = (random.below(3) == 0).then(|| fresh + 1 + random.below(60));
                let stale_line = stale.map_or_else(String::new, |stale| {
                    format!("stale_while_revalidate = \"{}s\"\n", stale - fresh)
                });
                let toml = format!(
                    "[[gate]]\nid = \"g{index}\"\nresources = [\"media/g{index}/**\"]\nmax_age = \"{fresh}s\"\n{stale_line}require = {}\n",
                    rule.toml()
                );
                Gate {
                    rule,
                    oldest: stale.unwrap_or(fresh),
                    toml,
                }
            })
            .collect();
        let providers: Vec<_> = (0..PROVIDERS)
            .map(|index| format!("\"http://p{index}.example\""))
            .collect();
        let config = format!(
            "[service]\ndomains = [\"gate.example\"]\nsession_ttl = \"24h\"\nurl_ttl = \"5m\"\n[limits]\nper_client = \"100000/1m\"\n\
             per_address = \"100000/1m\"\n[cache]\nprefetch = \"off\"\n[[chain]]\nid = \"eip155:1\"\nproviders = [{}]\nquorum = {quorum}\n\
             [[bucket]]\nid = \"media\"\nendpoint = \"http://127.0.0.1:9000\"\nregion = \"r\"\naddressing = \"path\"\n\
             credentials = \"media\"\n{}",
            providers.join(", "),
            gates
                .iter()
                .map(|gate| gate.toml.as_str())
                .collect::<String>()
        );
        let mut holdings = Holdings::default();
        for wallet in holdings.iter_mut().flatten() {
            *wallet = random.below(2) == 0;
        }
        let blocks = (0..200)
            .map(|number| Mined {
                timestamp: START - (199 - number) * BLOCK_TIME,
                holdings,
            })
            .collect();
        let ports = Simulated(Rc::new(World {
            config,
            now: Cell::new(START),
            blocks: RefCell::new(blocks),
            conduct: std::array::from_fn(|_| Cell::new(Conduct::Honest)),
            addresses: (0..WALLETS)
                .map(|wallet| address_of(&key(wallet)))
                .collect(),
            random: RefCell::new(Random(random.next())),
            store: RefCell::default(),
            tasks: Tasks::default(),
        }));
        Self {
            random,
            ports,
            gates,
            anchor,
            liar,
        }
    }

    /// Time passes, blocks are made at their times, and with the next one something may have been sold or bought.
    fn pass(&mut self) {
        let world = &self.ports.0;
        world.now.set(world.now.get() + self.random.below(20));
        let mut blocks = world.blocks.borrow_mut();
        let mut newest = blocks.last().unwrap().clone();
        while newest.timestamp + BLOCK_TIME <= world.now.get() {
            newest.timestamp += BLOCK_TIME;
            if self.random.below(3) == 0 {
                let (contract, wallet) = (self.random.index(CONTRACTS), self.random.index(WALLETS));
                newest.holdings[contract][wallet] ^= true;
            }
            blocks.push(newest.clone());
        }
    }

    fn misbehave(&mut self) {
        let index = self.random.index(PROVIDERS);
        if self.anchor == Some(index) {
            return;
        }
        let conduct = match self.random.below(9) {
            0 | 1 => Conduct::Honest,
            2 => Conduct::Stuck(1 + self.random.below(60)),
            3 if self.liar == Some(index) => Conduct::Lies,
            3 => Conduct::Stuck(4),
            4 => Conduct::Hung,
            5 => Conduct::Down,
            6 => Conduct::Fails,
            7 => Conduct::Absurd([7, 1_000, 1 << 36, u64::MAX][self.random.index(4)]),
            _ => Conduct::OtherChain,
        };
        self.ports.0.conduct[index].set(conduct);
    }

    /// Whether `wallet` held of `contract`, or did not, at a block that was one of the newest within the bound.
    fn was(&self, gate: &Gate, wallet: usize, contract: usize, held: bool) -> bool {
        let lag = match self.anchor {
            // Its newest block is one that is up to 12 seconds old itself.
            Some(_) => SEEN + (TOLERANCE + 1) * BLOCK_TIME,
            None => HEAD_AGE + BLOCK_TIME,
        };
        let world = &self.ports.0;
        let since = world.now.get() - gate.oldest - lag;
        let blocks = world.blocks.borrow();
        let mut seen = blocks
            .iter()
            .zip(blocks.iter().skip(1).map(Some).chain([None]));
        seen.any(|(block, next)| {
            next.is_none_or(|next| next.timestamp >= since)
                && block.holdings[contract][wallet] == held
        })
    }

    fn run(mut self, seed: u64) -> Tally {
        let mut tally = Tally::default();
        let mut instances = [Instance::new(&self.ports), Instance::new(&self.ports)];
        let tokens: Vec<_> = (0..WALLETS)
            .map(|wallet| instances[0].sign_in(wallet))
            .collect();
        for step in 0..STEPS {
            if self.random.below(3) == 0 {
                self.misbehave();
            }
            self.pass();
            if self.random.below(12) == 0 {
                // One ends, and another one begins without knowing anything.
                let index = self.random.index(instances.len());
                instances[index] = Instance::new(&self.ports);
            }
            let (gate, wallet) = (
                self.random.index(self.gates.len()),
                self.random.index(WALLETS),
            );
            let instance = &instances[self.random.index(instances.len())];
            let body = json!({"resource": format!("media/g{gate}/a")});
            let (status, answer) =
                instance.ask(Method::POST, "/v1/access", &tokens[wallet], Some(body));
            tally.requests += 1;
            match status {
                StatusCode::OK => tally.grants += 1,
                StatusCode::FORBIDDEN => tally.refusals += 1,
                StatusCode::SERVICE_UNAVAILABLE => tally.unknown += 1,
                other => panic!("seed {seed}, step {step}: {other} {answer}"),
            }
            if status == StatusCode::OK {
                let gate = &self.gates[gate];
                let leaf = |contract, held| self.was(gate, wallet, contract, held);
                let conduct: Vec<_> = self.ports.0.conduct.iter().map(Cell::get).collect();
                assert!(
                    gate.rule.may_be(true, &leaf),
                    "seed {seed}, step {step}: wallet {wallet} was let in by {:?}, which was not so within {} s and the lag; \
                     anchor {:?}, {conduct:?}: {answer}",
                    gate.rule,
                    gate.oldest,
                    self.anchor
                );
            }
        }
        tally
    }
}

#[test]
fn every_fact_that_a_grant_rests_on_was_true_within_its_bound() {
    let cases = std::env::var("GRANTS_CASES").ok();
    let cases = cases.map_or(CASES, |cases| cases.parse().unwrap());
    let first = std::env::var("GRANTS_SEED").ok();
    let first = first.map_or(1, |seed| seed.parse().unwrap());
    let mut total = Tally::default();
    for seed in first..first + cases {
        let tally = History::new(seed).run(seed);
        total.requests += tally.requests;
        total.grants += tally.grants;
        total.refusals += tally.refusals;
        total.unknown += tally.unknown;
    }
    let Tally {
        requests,
        grants,
        refusals,
        unknown,
    } = total;
    println!(
        "{cases} histories from seed {first}, {requests} requests: {grants} grants, {refusals} refusals, {unknown} without a verdict"
    );
    // Of what never grants, or never refuses, nothing would be shown.
    assert!(
        grants * 10 > requests && refusals * 10 > requests,
        "too few to mean anything"
    );
}
