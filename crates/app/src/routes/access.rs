//! `POST /v1/access`: a session and one or more resources become presigned URLs.

use std::fmt;

use futures_util::future::join;
use http::{Method, StatusCode};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use tokengate_core::gate::{Basis, Gate, GateId, Granted};
use tokengate_core::merkle::Proof;
use tokengate_core::presign::{self, Disposition, PresignedUrl};
use tokengate_core::resource::Resource;
use tokengate_core::rfc3339;
use tokengate_core::session::{Session, TokenError};
use tokengate_core::wallet::Holders;
use tokengate_core::{Address, Timestamp};

use crate::context::Context;
use crate::decision::{self, Effort, Gathered, Tier};
use crate::http::extract;
use crate::http::problem::Problem;
use crate::http::{Request, Response, json_response};
use crate::limits::MAX_RESOURCES;
use crate::ports::Ports;
use crate::rate_limit::Payer;
use crate::route::Route;
use crate::state::Access;

/// The routes of this function.
pub fn routes<P: Ports>() -> Vec<Route<P, Access>> {
    vec![Route::new("/v1/access").on(Method::POST, post)]
}

/// One resource, or a list of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    resource: Option<String>,
    #[serde(default)]
    method: Option<presign::Method>,
    #[serde(default)]
    disposition: Option<Disposition>,
    resources: Option<Vec<Wanted>>,
    #[serde(default)]
    vault: Option<String>,
    #[serde(default)]
    proof: Option<Vec<String>>,
}

/// One resource and how it is wanted; in a list also a bare name.
struct Wanted {
    resource: String,
    method: presign::Method,
    disposition: Option<Disposition>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WantedMembers {
    resource: String,
    #[serde(default)]
    method: presign::Method,
    #[serde(default)]
    disposition: Option<Disposition>,
}

impl<'de> Deserialize<'de> for Wanted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WantedVisitor;

        impl<'de> Visitor<'de> for WantedVisitor {
            type Value = Wanted;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a resource, or an object with `resource`")
            }

            fn visit_str<E>(self, resource: &str) -> Result<Wanted, E> {
                Ok(Wanted {
                    resource: resource.to_owned(),
                    method: presign::Method::default(),
                    disposition: None,
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Wanted, A::Error> {
                let WantedMembers {
                    resource,
                    method,
                    disposition,
                } = Deserialize::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Wanted {
                    resource,
                    method,
                    disposition,
                })
            }
        }

        deserializer.deserialize_any(WantedVisitor)
    }
}

async fn post<P: Ports>(
    context: &Context<P, Access>,
    request: &Request,
    _: &str,
) -> Result<Response, Problem> {
    let session = context.sessions().authentic_session(request)?;
    let payer = Payer::of(&context.limiter(), request, Some(&session));
    let mut body: Body = extract::json(request)?;
    let vault = body.vault.take().map(|text| text.parse()).transpose()?;
    let proof = body.proof.take();
    let proof = proof
        .map(|entries| Proof::parse(entries.iter().map(String::as_str)))
        .transpose()?;
    let claimant = Claimant::new(session, vault, proof, payer);
    match body {
        Body {
            resource: Some(resource),
            method,
            disposition,
            resources: None,
            ..
        } => {
            let resource = Resource::parse(&resource)?;
            let method = method.unwrap_or_default();
            let opened = open(context, &claimant, &resource, method, disposition).await?;
            Ok(json_response(StatusCode::OK, &opened.document()))
        }
        Body {
            resource: None,
            method: None,
            disposition: None,
            resources: Some(wanted),
            ..
        } => open_all(context, &claimant, wanted).await,
        _ => Err(Problem::Body(
            "The body has either `resource`, with `method` and `disposition` where needed, or `resources`; and `vault` and `proof` with either.".into(),
        )),
    }
}

/// A session, the vault that one of its wallets may be a delegate of, and the proof that one of them may be on a list.
pub(crate) struct Claimant {
    session: Session,
    holders: Holders,
    payer: Payer,
}

impl Claimant {
    /// A session that asks, for its wallets and a vault, and with what proof.
    pub(crate) fn new(
        session: Session,
        vault: Option<Address>,
        proof: Option<Proof>,
        payer: Payer,
    ) -> Self {
        let wallets = session.members().iter().map(|member| member.wallet);
        let holders = Holders::new(wallets, vault).with_proof(proof);
        Self {
            session,
            holders,
            payer,
        }
    }

    /// The facts that decide `gates`, and what ends all that is opened, if anything does before its time.
    async fn gather<'g, P: Ports>(
        &self,
        context: &Context<P, Access>,
        gates: &[&'g Gate],
    ) -> Result<(Gathered<'g>, Option<Timestamp>), Problem> {
        let (facts, sessions) = (context.facts(), context.sessions());
        // At once, and both before a chain is asked for a session that may have been ended.
        let payer = Some(self.payer.clone());
        let at_hand =
            decision::at_hand(&facts, self.holders.clone(), gates, Effort::Verdict, payer);
        let known_open = sessions.known_open(&self.session);
        let (end, gathered) = join(known_open, at_hand).await;
        let (mut end, mut gathered) = (end?, gathered?);
        gathered.complete(&facts).await?;
        context.telemetry.cache_status(gathered.cache_status());
        // It may have been ended meanwhile.
        let waited = gathered.tier() == Tier::Chain;
        if waited && end.is_none() {
            end = sessions.known_open(&self.session).await?;
        }
        Ok((gathered, end))
    }
}

/// An opened resource.
pub(crate) struct Opened {
    pub(crate) url: PresignedUrl,
    granted: Granted,
    tier: Tier,
}

impl Opened {
    fn document(&self) -> Value {
        let basis = |basis: &Basis| json!({"chain": basis.chain, "block": basis.block, "fetched_at": rfc3339::format(basis.read_at), "tier": self.tier.as_str()});
        json!({
            "url": self.url.url.expose(),
            "method": self.url.method.as_str(),
            "expires_at": rfc3339::format(self.url.expires_at),
            "gate": self.granted.gate().as_str(),
            "basis": self.granted.basis().map(basis),
        })
    }
}

/// Opens one resource for a claimant.
pub(crate) async fn open<P: Ports>(
    context: &Context<P, Access>,
    claimant: &Claimant,
    resource: &Resource,
    method: presign::Method,
    disposition: Option<Disposition>,
) -> Result<Opened, Problem> {
    let gate = context
        .config()
        .gate_for(resource)
        .ok_or(Problem::UnknownResource)?;
    context.telemetry.gate(gate.id.as_str());
    let begun = context.ports.elapsed();
    let (gathered, end) = claimant.gather(context, &[gate]).await?;
    let judged = gathered.grant(context.config(), gate, resource);
    let took = context.ports.elapsed().saturating_sub(begun);
    context.telemetry.decided(took);
    context.telemetry.tier(gathered.tier().as_str());
    mint(context, claimant, end, judged?, method, disposition)
}

/// Signs for what was granted: a URL that ends with the session at the latest.
fn mint<P: Ports>(
    context: &Context<P, Access>,
    claimant: &Claimant,
    end: Option<Timestamp>,
    (granted, tier): (Granted, Tier),
    method: presign::Method,
    disposition: Option<Disposition>,
) -> Result<Opened, Problem> {
    // The clock is read again: the chain may have taken seconds, and the session may have ended meanwhile.
    let now = context.ports.now();
    let url_ttl = context.config().service.url_ttl;
    let session = &claimant.session;
    let until = |end: Timestamp| end.duration_since(now).try_into().unwrap_or_default();
    let mut ttl = url_ttl.min(until(session.expires_at()));
    if let Some(end) = end {
        ttl = ttl.min(until(end));
    }
    let url = context
        .state
        .signers
        .get(granted.resource().bucket())
        .ok_or(Problem::Misconfigured)?
        .presign(&granted, method, disposition, now, ttl)
        .ok_or(Problem::Session(TokenError::Expired))?;
    Ok(Opened { url, granted, tier })
}

async fn open_all<P: Ports>(
    context: &Context<P, Access>,
    claimant: &Claimant,
    wanted: Vec<Wanted>,
) -> Result<Response, Problem> {
    if !(1..=MAX_RESOURCES).contains(&wanted.len()) {
        return Err(Problem::ResourceCount);
    }
    let config = context.config();
    let wanted: Vec<_> = wanted
        .into_iter()
        .map(|wanted| {
            let resource = Resource::parse(&wanted.resource)?;
            let gate = config.gate_for(&resource).ok_or(Problem::UnknownResource)?;
            Ok((wanted, resource, gate))
        })
        .collect();
    let mut gates: Vec<&Gate> = Vec::new();
    for (_, _, gate) in wanted.iter().flatten() {
        if !gates.iter().any(|known| known.id == gate.id) {
            gates.push(gate);
        }
    }
    let (gathered, end) = claimant.gather(context, &gates).await?;
    // A gate that refuses says why once: a hundred times the same reasons would be megabytes.
    let mut refused: Vec<&GateId> = Vec::new();
    let mut results: Vec<Value> = Vec::new();
    for item in wanted {
        let opened = item.and_then(|(wanted, resource, gate)| {
            if refused.contains(&&gate.id) {
                return Err(Problem::RefusedAgain(gate.id.to_string()));
            }
            let judged = gathered.grant(context.config(), gate, &resource);
            let opened = judged.and_then(|judged| {
                mint(
                    context,
                    claimant,
                    end,
                    judged,
                    wanted.method,
                    wanted.disposition,
                )
            });
            if let Err(Problem::Refused { .. }) = opened {
                refused.push(&gate.id);
            }
            opened
        });
        results.push(match opened {
            Ok(opened) => opened.document(),
            Err(problem) => json!({"problem": problem.document()}),
        });
    }
    Ok(json_response(StatusCode::OK, &json!({"results": results})))
}
