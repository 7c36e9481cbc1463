//! A provider: whether it serves the chain, how far behind it is, and whether it does what decisions ask of it.

mod comparison;

use std::time::Duration;

use futures_util::future::join_all;
use futures_util::join;
use serde::Serialize;
use tokengate_core::abi::reader::{Form, Reader};
use tokengate_core::block::Numbering;
use tokengate_core::config::{Chain, ReadAt, Template};
use tokengate_core::jsonrpc::{self, Answer, BlockTag, Header, ReplyError, Request};
use tokengate_core::secret::Secret;
use tokengate_core::signer::{self, Way};
use tokengate_core::{Address, ChainId};

use self::comparison::{compare, same_hosts};
use super::{Finding, MAX_REPLY_LEN, Web, call_finding, host};
use crate::ports::CallError;
use crate::state::Installation;
use crate::timeout::within;

/// How often latency is measured; an odd number has a median.
const ROUNDS: usize = 3;
/// How far back an archive is asked.
const ARCHIVE_DEPTH: u64 = 10_000;

/// Chains that are in use make a block every few seconds.
const OLD_HEAD: i64 = 300;
/// A block of the future says that our clock is behind.
const FUTURE_HEAD: i64 = -60;

/// What was found out about a chain.
#[derive(Clone, Debug, Serialize)]
pub struct ChainReport {
    /// Which one.
    pub chain: ChainId,
    /// What people call it.
    pub name: String,
    /// Which state is read, as it is configured.
    pub read_at: String,
    /// Its providers, in order of preference.
    pub providers: Vec<ProviderReport>,
}

/// What was found out about a provider. What was not found out is `None`.
#[derive(Clone, Debug, Serialize)]
pub struct ProviderReport {
    /// Its place in the chain's list, from 1.
    pub position: usize,
    /// The host of its URL.
    pub host: String,
    /// How long a call takes: the median of three, in microseconds.
    pub latency_us: Option<u64>,
    /// The id of the chain that it serves.
    pub chain_id: Option<u64>,
    /// The number of its newest block.
    pub head: Option<u64>,
    /// How many blocks it is behind the best provider of the chain.
    pub lag_blocks: Option<u64>,
    /// How old its newest block is, by that block's time and our clock.
    pub head_age_seconds: Option<i64>,
    /// Whether it answers several requests in one body.
    pub batch: Option<bool>,
    /// How its chain is read: "override", "creation", the address of a deployed reader or "calls".
    pub reader: Option<String>,
    /// Whether the chain's contracts see its own blocks ("own") or those of another chain ("foreign").
    pub block_numbers: Option<&'static str>,
    /// How it checks signatures of contract accounts: "creation", "override" or "multicall3".
    pub signature_checks: Option<&'static str>,
    /// Whether it knows the newest safe block.
    pub safe: Option<bool>,
    /// Whether it knows the newest finalised block.
    pub finalized: Option<bool>,
    /// Whether it answers for a block named by its hash (EIP-1898).
    pub block_hash: Option<bool>,
    /// Whether it has the state of 10,000 blocks ago, or of block 1.
    pub archive: Option<bool>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// A provider has no usable answer.
enum ProbeError {
    Call(CallError),
    Status(u16),
    Reply(ReplyError),
}

pub(super) async fn examine<P: Web>(
    installation: &Installation,
    ports: &P,
    chain: &Chain,
    deadline: Duration,
) -> ChainReport {
    let urls = installation.providers(chain.id);
    let probed = chain.providers.iter().zip(urls).enumerate();
    let probed = probed.map(|(index, (template, url))| {
        let provider = Provider {
            ports,
            url,
            chain,
            deadline,
            source: source(template),
        };
        async move { provider.probe(index + 1).await }
    });
    let mut probed = join_all(probed).await;
    same_hosts(&mut probed, urls);
    let best = probed
        .iter()
        .filter_map(|(_, head)| head.as_ref())
        .max_by_key(|head| head.number)
        .cloned();
    if let Some(best) = best {
        for (report, head) in &mut probed {
            if let Some(head) = head {
                compare(report, head, &best);
            }
        }
    }
    ChainReport {
        chain: chain.id,
        name: chain.name.clone(),
        read_at: match chain.read_at {
            ReadAt::Tag(tag) => tag_name(tag),
            ReadAt::Confirmations(count) => format!("{count} confirmations"),
        },
        providers: probed.into_iter().map(|(report, _)| report).collect(),
    }
}

/// Where the provider's URL is to be corrected: the variables that hold it, or its place in the file.
fn source(template: &Template) -> String {
    let names: Vec<&str> = template.variables().collect();
    match names.as_slice() {
        [] => template.position().to_string(),
        [name] => format!("the variable {name}"),
        names => format!("the variables {}", names.join(" and ")),
    }
}

fn tag_name(tag: BlockTag) -> String {
    match tag {
        BlockTag::Latest => "latest".into(),
        BlockTag::Safe => "safe".into(),
        BlockTag::Finalized => "finalized".into(),
        BlockTag::Number(number) => format!("block {number}"),
        // No configuration names a block so.
        BlockTag::Hash(_) => "a block".into(),
    }
}

const fn way_name(way: Way) -> &'static str {
    match way {
        Way::Creation => "creation",
        Way::Override => "override",
        Way::Multicall3 => "multicall3",
    }
}

struct Provider<'a, P> {
    ports: &'a P,
    url: &'a Secret<String>,
    chain: &'a Chain,
    deadline: Duration,
    source: String,
}

impl<P: Web> Provider<'_, P> {
    /// What is wrong with it, and its newest block if it serves the chain.
    async fn probe(&self, position: usize) -> (ProviderReport, Option<Header>) {
        let mut report = ProviderReport {
            position,
            host: host(self.url),
            latency_us: None,
            chain_id: None,
            head: None,
            lag_blocks: None,
            head_age_seconds: None,
            batch: None,
            reader: None,
            block_numbers: None,
            signature_checks: None,
            safe: None,
            finalized: None,
            block_hash: None,
            archive: None,
            findings: Vec::new(),
        };
        let head = match self.greet(&mut report).await {
            Ok(true) => self.head(&mut report).await,
            Ok(false) => None,
            Err(error) => {
                report.findings.push(self.unusable(error));
                None
            }
        };
        if let Some(head) = &head {
            self.abilities(&mut report, head).await;
        }
        (report, head)
    }

    /// Whether it serves the right chain, asked often enough to tell how long it takes.
    async fn greet(&self, report: &mut ProviderReport) -> Result<bool, ProbeError> {
        let mut times = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            let start = self.ports.elapsed();
            let reply = self.call(jsonrpc::eth_chain_id()).await?;
            times.push(self.ports.elapsed().saturating_sub(start));
            report.chain_id = Some(jsonrpc::quantity(&reply).map_err(ProbeError::Reply)?);
        }
        times.sort();
        let median = times.get(ROUNDS / 2).copied().unwrap_or_default();
        report.latency_us = Some(u64::try_from(median.as_micros()).unwrap_or(u64::MAX));
        let expected = self.chain.id.id();
        let served = report.chain_id.unwrap_or_default();
        if served != expected {
            report.findings.push(Finding::error(
                "wrong-chain",
                format!("it serves chain {served}, not {expected}"),
                format!("set {} to a provider of {}", self.source, self.chain.id),
            ));
        }
        Ok(served == expected)
    }

    async fn head(&self, report: &mut ProviderReport) -> Option<Header> {
        let head = match self.block(BlockTag::Latest).await {
            Ok(Some(head)) => head,
            Ok(None) => {
                report.findings.push(Finding::error(
                    "no-head",
                    "it has no newest block",
                    "wait until the node is synced, or choose another provider",
                ));
                return None;
            }
            Err(error) => {
                report.findings.push(self.unusable(error));
                return None;
            }
        };
        let made = i64::try_from(head.timestamp).unwrap_or(i64::MAX);
        let age = self.ports.now().as_second().saturating_sub(made);
        report.head = Some(head.number);
        report.head_age_seconds = Some(age);
        if age >= OLD_HEAD {
            report.findings.push(Finding::warning(
                "old-head",
                format!("its newest block is {age} s old"),
                "see that the node is synced and that the chain still makes blocks; a development chain may make none",
            ));
        } else if age <= FUTURE_HEAD {
            report.findings.push(Finding::warning(
                "clock",
                format!("its newest block is {} s in the future", age.unsigned_abs()),
                "set this machine's clock, for example with chrony or systemd-timesyncd",
            ));
        }
        Some(head)
    }

    /// What decisions need, and what is good to know.
    async fn abilities(&self, report: &mut ProviderReport, head: &Header) {
        let archive = match head.number.saturating_sub(ARCHIVE_DEPTH) {
            0 => head.number.min(1),
            number => number,
        };
        let state = match self.chain.read_at {
            ReadAt::Tag(tag) => tag,
            ReadAt::Confirmations(count) => BlockTag::Number(head.number.saturating_sub(count)),
        };
        let form = self.form().await;
        let (code, configured, numbering, way, safe, finalized, batch, by_hash, archive) = join!(
            self.code(),
            self.reads_at(form.unwrap_or(Form::Calls), state),
            self.numbering(form.unwrap_or(Form::Calls), head.number),
            self.signature_checks(),
            self.block(BlockTag::Safe),
            self.block(BlockTag::Finalized),
            self.takes_batches(),
            self.knows_state(BlockTag::Hash(head.hash)),
            self.knows_state(BlockTag::Number(archive)),
        );
        let knows = |block: Result<Option<Header>, ProbeError>| matches!(block, Ok(Some(_)));
        report.safe = Some(knows(safe));
        report.finalized = Some(knows(finalized));
        report.batch = Some(batch);
        report.block_hash = Some(by_hash);
        report.archive = Some(archive);
        report.reader = form.map(|form| form.to_string());
        report.block_numbers = numbering.map(|(numbering, _)| match numbering {
            Numbering::Own => "own",
            Numbering::Foreign => "foreign",
        });
        report.signature_checks = way.map(way_name);
        if let Some((Numbering::Foreign, seen)) = numbering {
            report.findings.push(Finding::warning(
                "foreign-block-numbers",
                format!(
                    "contracts of this chain see block {seen} where the chain counts {}: they see the blocks of another chain",
                    head.number
                ),
                "nothing has to be done: reads name their block by its header, which takes two more calls; in gates, name blocks and times as the contracts see them",
            ));
        }
        if form.is_some() && way.is_none() {
            report.findings.push(Finding::warning(
                "signature-checks",
                "it checks no signatures: contract accounts (ERC-1271) cannot sign in through it",
                "choose a provider that runs calls without a destination or with a state override, or have Multicall3 deployed at its canonical address",
            ));
        }
        if form.is_none() {
            let problem = match (self.chain.reader, code) {
                (Some(Form::Deployed(address)), Some(0)) => {
                    format!("there is no contract at {address}")
                }
                (Some(Form::Deployed(address)), _) => format!("what is at {address} is no reader"),
                (Some(form), _) => format!("it does not run `reader = \"{form}\"`"),
                (None, _) => "it answers neither the reader nor single calls".to_owned(),
            };
            report.findings.push(Finding::error(
                "reader",
                format!("the chain cannot be read: {problem}"),
                "leave `reader` under [[chain]] out to find out what the provider can do, and see that the node is synced",
            ));
        } else if !configured {
            let state = match self.chain.read_at {
                ReadAt::Tag(tag) => format!("block = \"{}\"", tag_name(tag)),
                ReadAt::Confirmations(count) => format!("confirmations = {count}"),
            };
            report.findings.push(Finding::error(
                "block",
                format!("it does not support `{state}`: every decision of the chain would fail"),
                "leave `block` and `confirmations` under [[chain]] out, or name fewer confirmations, or choose another provider",
            ));
        }
    }

    /// The length of the code where the reader is said to be deployed.
    async fn code(&self) -> Option<usize> {
        let Some(Form::Deployed(address)) = self.chain.reader else {
            return None;
        };
        let reply = self.call(jsonrpc::eth_get_code(address)).await;
        Some(jsonrpc::data(&reply.ok()?).ok()?.len())
    }

    /// How decisions read it: as is configured, else the best of what it can do.
    async fn form(&self) -> Option<Form> {
        let ways = [Form::Override, Form::Creation, Form::Calls];
        let ways = match &self.chain.reader {
            Some(form) => std::slice::from_ref(form),
            None => &ways,
        };
        for form in ways {
            if self.reads_at(*form, BlockTag::Latest).await {
                return Some(*form);
            }
        }
        None
    }

    /// Whose blocks contracts see, and the number that they see of the block of this number. `None` where a reader cannot
    /// be asked for that block.
    async fn numbering(&self, form: Form, number: u64) -> Option<(Numbering, u64)> {
        let block = BlockTag::Number(number);
        let reader = Reader::new(self.chain.id, Vec::new(), None);
        let call = reader.call(form, self.chain.deposit_gas)?;
        let (header, reply) = join!(
            self.call(jsonrpc::eth_get_block_by_number(block)),
            self.call(jsonrpc::eth_call(&call, block)),
        );
        let header = jsonrpc::header_with_parent(&header.ok()?).ok()??;
        let returned = jsonrpc::data(&reply.ok()?).ok()?;
        let seen = reader.decode(&returned).ok()?.block;
        Some((Numbering::of(&header, &seen)?, seen.number))
    }

    /// The first way in which it runs the check that sign-ins of contract accounts make.
    async fn signature_checks(&self) -> Option<Way> {
        for way in [Way::Creation, Way::Override, Way::Multicall3] {
            let request = jsonrpc::eth_call(&signer::probe(way), BlockTag::Latest);
            let Ok(reply) = self.call(request).await else {
                continue;
            };
            let runs = |returned: Vec<u8>| signer::runs_checks(way, self.chain.id, &returned);
            if jsonrpc::data(&reply).is_ok_and(runs) {
                return Some(way);
            }
        }
        None
    }

    /// Whether decisions could be read at `state`: by the call that they make, with nothing in it.
    async fn reads_at(&self, form: Form, state: BlockTag) -> bool {
        let reader = Reader::new(self.chain.id, Vec::new(), None);
        let Some(call) = reader.call(form, self.chain.deposit_gas) else {
            return self.knows_state(state).await;
        };
        let Ok(reply) = self.call(jsonrpc::eth_call(&call, state)).await else {
            return false;
        };
        jsonrpc::data(&reply).is_ok_and(|returned| reader.decode(&returned).is_ok())
    }

    /// Whether the state at a block can be asked for at all.
    async fn knows_state(&self, block: BlockTag) -> bool {
        let zero = Address::from_bytes([0; 20]);
        let reply = self.call(jsonrpc::eth_get_balance(zero, block)).await;
        reply.is_ok_and(|reply| Answer::read(&reply).is_ok_and(|answer| answer.amount().is_ok()))
    }

    async fn takes_batches(&self) -> bool {
        let requests = [jsonrpc::eth_chain_id(), jsonrpc::eth_chain_id()];
        let reply = self.send(jsonrpc::batch(&requests)).await;
        reply.is_ok_and(|reply| {
            jsonrpc::batched(&reply, requests.len())
                .is_ok_and(|answers| answers.iter().all(Result::is_ok))
        })
    }

    async fn block(&self, tag: BlockTag) -> Result<Option<Header>, ProbeError> {
        let reply = self.call(jsonrpc::eth_get_block_by_number(tag)).await?;
        jsonrpc::header(&reply).map_err(ProbeError::Reply)
    }

    async fn call(&self, request: Request) -> Result<Vec<u8>, ProbeError> {
        self.send(request.to_body()).await
    }

    async fn send(&self, body: Vec<u8>) -> Result<Vec<u8>, ProbeError> {
        let call = self.ports.post(self.url.expose(), body, MAX_REPLY_LEN);
        let reply = within(self.ports, self.deadline, call)
            .await
            .unwrap_or(Err(CallError::Timeout))
            .map_err(ProbeError::Call)?;
        if reply.status == 200 {
            Ok(reply.body)
        } else {
            Err(ProbeError::Status(reply.status))
        }
    }

    fn unusable(&self, error: ProbeError) -> Finding {
        let source = &self.source;
        match error {
            ProbeError::Call(error) => call_finding(error, self.deadline, source),
            ProbeError::Status(status) => Finding::error(
                "status",
                format!("it answers with HTTP status {status}"),
                match status {
                    401 | 403 => format!(
                        "see that the API key in {source} is right and may be used from here"
                    ),
                    402 | 429 => format!(
                        "the quota of the account behind {source} is used up: wait, or get a larger one"
                    ),
                    300..=399 | 404 | 405 => format!(
                        "see that {source} has the right path and scheme: redirects are not followed"
                    ),
                    _ => format!(
                        "see that {source} is the address of a JSON-RPC endpoint, and that it is up"
                    ),
                },
            ),
            ProbeError::Reply(ReplyError::Malformed) => Finding::error(
                "not-json-rpc",
                "what it answers is not JSON-RPC 2.0",
                format!("see that {source} is the address of a JSON-RPC endpoint"),
            ),
            ProbeError::Reply(error @ (ReplyError::Node { .. } | ReplyError::Reverted(_))) => {
                Finding::error(
                    "node-error",
                    error.to_string(),
                    format!(
                        "see that the node behind {source} is synced and that its API key may call eth_* methods"
                    ),
                )
            }
        }
    }
}
