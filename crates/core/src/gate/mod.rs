//! Gates: boolean trees over facts, lists and times, and the proof that one is open.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value as Json, json};

use crate::ChainId;
use crate::fact::{FactKey, View};
use crate::leaf::{Delegates, Leaf, Polarity, Subject};
use crate::pattern::Pattern;
use crate::resource::Resource;
use crate::transfer::Transfer;
use crate::wallet::{Holders, Wallet};

/// A gate's name: 1 to 64 letters, digits, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GateId(String);

/// A text that names no gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a gate's id has 1 to 64 letters, digits, `-` and `_`")]
pub struct GateIdError;

impl GateId {
    /// Reads a gate's name.
    ///
    /// # Errors
    /// [`GateIdError`].
    pub fn parse(text: &str) -> Result<Self, GateIdError> {
        let well_formed = (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if well_formed {
            Ok(Self(text.to_owned()))
        } else {
            Err(GateIdError)
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A guard over objects.
#[derive(Clone, Debug)]
pub struct Gate {
    /// Its name.
    pub id: GateId,
    /// What it guards, at least one pattern.
    pub resources: Vec<Pattern>,
    /// The age up to which a fact decides alone.
    pub fresh: Duration,
    /// The age up to which facts may still grant when the chain cannot be asked.
    pub stale: Duration,
    /// How many providers of a chain have to give the same answer; more where the chain itself demands more.
    pub agreement: usize,
    /// Whether it also takes the holdings of a vault whose delegate asks.
    pub delegation: Option<Delegates>,
    /// What it demands.
    pub require: Requirement,
}

/// A tree of conditions that always demands something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// At least one holds.
    Any(Group),
    /// Every one holds.
    All(Group),
    /// It does not hold.
    Not(Box<Requirement>),
    /// At least `count` hold.
    AtLeast(Count, Group),
    /// One condition.
    Leaf(Leaf),
}

/// One or more requirements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group(Vec<Requirement>);

impl Group {
    /// A group of these requirements, unless there are none: an empty `all` would hold for everybody.
    pub fn new(requirements: Vec<Requirement>) -> Option<Self> {
        if requirements.is_empty() {
            None
        } else {
            Some(Self(requirements))
        }
    }

    /// Whether two of them are the same: counted twice, it would stand for another.
    pub fn repeats(&self) -> bool {
        self.0
            .iter()
            .enumerate()
            .any(|(index, part)| self.0.iter().take(index).any(|other| other == part))
    }

    /// How many there are, at least one.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Never: here because every collection with a length is asked.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// How many of a group must hold: from 1 to the size of the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(usize);

impl Count {
    /// `count` of `group`, unless it would always or never hold.
    pub const fn new(count: usize, group: &Group) -> Option<Self> {
        if count >= 1 && count <= group.0.len() {
            Some(Self(count))
        } else {
            None
        }
    }
}

/// A refusal names so many conditions at the most.
const MAX_UNMET: usize = 32;

/// What is known of a condition. Three values, by Kleene's tables: what is unknown stays unknown unless the rest
/// already decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    Yes,
    /// It does not.
    No,
    /// The facts at hand do not tell.
    Unknown,
}

impl Truth {
    const fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            Self::Unknown => Self::Unknown,
        }
    }

    pub(crate) const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
        }
    }

    pub(crate) const fn or(self, other: Self) -> Self {
        self.not().and(other.not()).not()
    }
}

/// What a condition may come to for a wallet that has nothing and did nothing yet, now or some day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outlook {
    /// It may hold.
    pub(crate) may_hold: bool,
    /// It may not hold.
    pub(crate) may_fail: bool,
}

impl Outlook {
    /// Nothing meets it that is nothing.
    pub(crate) const NEVER: Self = Self {
        may_hold: false,
        may_fail: true,
    };
    /// It is the same for everybody, and what that is nobody knows beforehand.
    pub(crate) const EITHER: Self = Self {
        may_hold: true,
        may_fail: true,
    };
    /// Whoever has nothing meets it.
    pub(crate) const ALWAYS: Self = Self {
        may_hold: true,
        may_fail: false,
    };

    const fn not(self) -> Self {
        Self {
            may_hold: self.may_fail,
            may_fail: self.may_hold,
        }
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

impl Requirement {
    /// Adds the reads that decide the requirement for `subject`.
    pub(crate) fn reads(
        &self,
        subject: &Subject<'_>,
        polarity: Polarity,
        into: &mut BTreeSet<FactKey>,
    ) {
        match self {
            Self::Any(group) | Self::All(group) | Self::AtLeast(_, group) => {
                let parts = group.0.iter();
                parts.for_each(|part| part.reads(subject, polarity, into));
            }
            Self::Not(part) => part.reads(subject, polarity.not(), into),
            Self::Leaf(leaf) => into.extend(leaf.reads(subject, polarity)),
        }
    }

    /// The conditions that it is made of, in the order of the file.
    pub fn leaves(&self) -> Vec<&Leaf> {
        match self {
            Self::Any(group) | Self::All(group) | Self::AtLeast(_, group) => {
                group.0.iter().flat_map(Self::leaves).collect()
            }
            Self::Not(part) => part.leaves(),
            Self::Leaf(leaf) => vec![leaf],
        }
    }

    /// The chains that it reads.
    pub fn chains(&self) -> BTreeSet<ChainId> {
        match self {
            Self::Any(group) | Self::All(group) | Self::AtLeast(_, group) => {
                group.0.iter().flat_map(Self::chains).collect()
            }
            Self::Not(part) => part.chains(),
            Self::Leaf(leaf) => leaf.chain().into_iter().collect(),
        }
    }

    /// Whether the requirement holds for `subject`, as far as `facts` tell.
    pub(crate) fn evaluate(&self, subject: &Subject<'_>, facts: &View<'_>) -> Truth {
        self.evaluate_part(subject, Polarity::Admits, facts)
    }

    /// The same for a part of a tree, at which `polarity` holds.
    fn evaluate_part(&self, subject: &Subject<'_>, polarity: Polarity, facts: &View<'_>) -> Truth {
        self.truth(polarity, &|leaf, polarity| {
            leaf.evaluate(subject, polarity, facts)
        })
    }

    /// Whether it holds whatever any chain says.
    fn holds_by_configuration(&self, subject: &Subject<'_>, facts: &View<'_>) -> bool {
        let truth = self.truth(Polarity::Admits, &|leaf, polarity| {
            if leaf.rests_on_facts() {
                Truth::Unknown
            } else {
                leaf.evaluate(subject, polarity, facts)
            }
        });
        truth == Truth::Yes
    }

    /// Combines the truths of the leaves. Groups only count their parts, so the polarity changes at `not` alone.
    fn truth(&self, polarity: Polarity, leaf: &dyn Fn(&Leaf, Polarity) -> Truth) -> Truth {
        match self {
            Self::Any(group) => group.count(1, polarity, leaf),
            Self::All(group) => group.count(group.0.len(), polarity, leaf),
            Self::AtLeast(count, group) => group.count(count.0, polarity, leaf),
            Self::Not(part) => part.truth(polarity.not(), leaf).not(),
            Self::Leaf(condition) => leaf(condition, polarity),
        }
    }

    /// Whether a wallet that meets no condition of its own is let in, or may be some day: then anybody with a new key is.
    pub fn opens_for_nobody_in_particular(&self) -> bool {
        self.outlook().may_hold
    }

    fn outlook(&self) -> Outlook {
        match self {
            Self::Any(group) => group.outlook(1),
            Self::All(group) => group.outlook(group.0.len()),
            Self::AtLeast(count, group) => group.outlook(count.0),
            Self::Not(part) => part.outlook().not(),
            Self::Leaf(leaf) => leaf.outlook(),
        }
    }

    /// Whether it keeps anybody out for what they have or are.
    fn excludes(&self) -> bool {
        match self {
            Self::Any(group) | Self::All(group) | Self::AtLeast(_, group) => {
                group.0.iter().any(Self::excludes)
            }
            Self::Not(_) => true,
            Self::Leaf(leaf) => leaf.excludes(),
        }
    }

    /// The tree as JSON, in the shape of the configuration.
    pub fn describe(&self) -> Json {
        self.render(Polarity::Admits, &|leaf, _| leaf.describe())
    }

    /// The tree as JSON with what `subject` has at each leaf: `has` and `met` are null where the facts do not tell.
    pub(crate) fn explain(&self, subject: &Subject<'_>, facts: &View<'_>) -> Json {
        self.render(Polarity::Admits, &|leaf, polarity| {
            let mut explained = leaf.describe();
            if let Some(members) = explained.as_object_mut() {
                members.insert("needs".into(), leaf.needs().into());
                members.insert("has".into(), leaf.has(subject, polarity, facts));
                let met = match leaf.evaluate(subject, polarity, facts) {
                    Truth::Yes => true.into(),
                    Truth::No => false.into(),
                    Truth::Unknown => Json::Null,
                };
                members.insert("met".into(), met);
            }
            explained
        })
    }

    fn render(&self, polarity: Polarity, leaf: &dyn Fn(&Leaf, Polarity) -> Json) -> Json {
        let all = |group: &Group| {
            group
                .0
                .iter()
                .map(|part| part.render(polarity, leaf))
                .collect::<Vec<_>>()
        };
        match self {
            Self::Any(group) => json!({"any": all(group)}),
            Self::All(group) => json!({"all": all(group)}),
            Self::Not(part) => json!({"not": part.render(polarity.not(), leaf)}),
            Self::AtLeast(count, group) => {
                json!({"at_least": {"count": count.0, "of": all(group)}})
            }
            Self::Leaf(condition) => leaf(condition, polarity),
        }
    }

    /// The leaves that keep the requirement from holding, each with what it needs and what `subject` has.
    pub(crate) fn unmet(&self, subject: &Subject<'_>, facts: &View<'_>) -> Vec<Json> {
        let mut unmet = Vec::new();
        self.collect_unmet(Polarity::Admits, subject, facts, &mut unmet);
        unmet
    }

    fn collect_unmet(
        &self,
        polarity: Polarity,
        subject: &Subject<'_>,
        facts: &View<'_>,
        into: &mut Vec<Json>,
    ) {
        let wanted = Truth::from(polarity == Polarity::Admits);
        if into.len() >= MAX_UNMET || self.evaluate_part(subject, polarity, facts) == wanted {
            return;
        }
        match self {
            Self::Any(group) | Self::All(group) | Self::AtLeast(_, group) => group
                .0
                .iter()
                .for_each(|part| part.collect_unmet(polarity, subject, facts, into)),
            Self::Not(part) => part.collect_unmet(polarity.not(), subject, facts, into),
            Self::Leaf(leaf) => into.push(leaf.unmet(subject, polarity, facts)),
        }
    }
}

impl Group {
    fn outlook(&self, needed: usize) -> Outlook {
        let outlooks = || self.0.iter().map(Requirement::outlook);
        Outlook {
            may_hold: outlooks().filter(|part| part.may_hold).count() >= needed,
            may_fail: outlooks().filter(|part| !part.may_fail).count() < needed,
        }
    }

    fn count(
        &self,
        needed: usize,
        polarity: Polarity,
        leaf: &dyn Fn(&Leaf, Polarity) -> Truth,
    ) -> Truth {
        let (mut yes, mut unknown) = (0, 0);
        for part in &self.0 {
            match part.truth(polarity, leaf) {
                Truth::Yes => yes += 1,
                Truth::Unknown => unknown += 1,
                Truth::No => {}
            }
        }
        if yes >= needed {
            Truth::Yes
        } else if yes + unknown >= needed {
            Truth::Unknown
        } else {
            Truth::No
        }
    }
}

/// What a decision rests on: its oldest fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Basis {
    /// The chain of that fact.
    pub chain: ChainId,
    /// The block it was read at.
    pub block: u64,
    /// When it was read.
    pub read_at: Timestamp,
}

/// Proof that a gate is open to a wallet for one resource. Only [`Gate::decide`] makes one.
#[derive(Clone, Debug)]
pub struct Granted {
    gate: GateId,
    resource: Resource,
    basis: Option<Basis>,
}

impl Granted {
    /// The gate that opened.
    pub const fn gate(&self) -> &GateId {
        &self.gate
    }

    /// What it opened.
    pub const fn resource(&self) -> &Resource {
        &self.resource
    }

    /// What the decision rests on, unless that is the configuration alone: its lists and times.
    pub const fn basis(&self) -> Option<&Basis> {
        self.basis.as_ref()
    }
}

/// What a gate says.
#[derive(Clone, Debug)]
pub enum Decision {
    /// Open.
    Granted(Granted),
    /// Closed: it demands more than the wallet has.
    Denied,
    /// The facts do not tell. Neither of the above.
    Unknown,
}

impl Gate {
    /// The most specific pattern of this gate that covers `resource`.
    pub fn pattern_for(&self, resource: &Resource) -> Option<&Pattern> {
        self.resources
            .iter()
            .filter(|pattern| pattern.matches(resource))
            .min_by(|a, b| a.specificity(b))
    }

    fn subject<'a>(&'a self, holders: &'a Holders) -> Subject<'a> {
        // Whoever keeps somebody out takes no delegates: a vault would name one for what lets it in, and for nothing else.
        let delegation = self.delegation.as_ref();
        Subject {
            holders,
            delegation: delegation.filter(|_| !self.require.excludes()),
        }
    }

    /// The reads that decide the gate for `holders`.
    pub fn reads(&self, holders: &Holders) -> BTreeSet<FactKey> {
        let mut keys = BTreeSet::new();
        let subject = self.subject(holders);
        self.require.reads(&subject, Polarity::Admits, &mut keys);
        keys
    }

    /// Adds the facts of the gate that `transfer` on `chain` may change: those of its parties, whoever asks for them, and
    /// of what they may be vaults for.
    pub(crate) fn touched(
        &self,
        chain: ChainId,
        transfer: &Transfer,
        into: &mut BTreeSet<FactKey>,
    ) {
        for party in transfer.parties() {
            // What a vault has is read in other words than what a wallet has. Whose delegate it is read for does not matter.
            let holders = Holders::new([Wallet::of_key(party)], Some(party));
            let mut keys = self.reads(&holders);
            keys.retain(|key| key.chain == chain && key.read.may_change_by(transfer));
            into.append(&mut keys);
        }
    }

    /// Whether the gate holds for `holders`, as far as `facts` tell.
    pub fn evaluate(&self, holders: &Holders, facts: &View<'_>) -> Truth {
        self.require.evaluate(&self.subject(holders), facts)
    }

    /// Whether the gate holds for `holders` by its lists and times alone, whatever any chain says. Of `facts` it takes no
    /// more than the time.
    pub fn holds_by_configuration(&self, holders: &Holders, facts: &View<'_>) -> bool {
        self.require
            .holds_by_configuration(&self.subject(holders), facts)
    }

    /// What the gate demands as JSON, with what `holders` have at each leaf: `has` and `met` are null where the facts
    /// do not tell.
    pub fn explain(&self, holders: &Holders, facts: &View<'_>) -> Json {
        self.require.explain(&self.subject(holders), facts)
    }

    /// The leaves that keep the gate from holding, each with what it needs and what `holders` have.
    pub fn unmet(&self, holders: &Holders, facts: &View<'_>) -> Vec<Json> {
        self.require.unmet(&self.subject(holders), facts)
    }

    /// Decides whether `holders` may open `resource`, resting only on `facts`.
    pub fn decide(&self, holders: &Holders, resource: &Resource, facts: &View<'_>) -> Decision {
        // A gate grants only what it guards, whoever calls.
        if self.pattern_for(resource).is_none() {
            return Decision::Denied;
        }
        match self.evaluate(holders, facts) {
            Truth::No => Decision::Denied,
            Truth::Unknown => Decision::Unknown,
            Truth::Yes => {
                let basis = if self.holds_by_configuration(holders, facts) {
                    None
                } else {
                    match self.basis(holders, facts) {
                        // What the configuration does not open by itself, at least one fact does.
                        None => return Decision::Unknown,
                        basis => basis,
                    }
                };
                Decision::Granted(Granted {
                    gate: self.id.clone(),
                    resource: resource.clone(),
                    basis,
                })
            }
        }
    }

    fn basis(&self, holders: &Holders, facts: &View<'_>) -> Option<Basis> {
        self.reads(holders)
            .iter()
            .filter_map(|key| {
                facts.fact(key).map(|fact| Basis {
                    chain: key.chain,
                    block: fact.block,
                    read_at: fact.read_at,
                })
            })
            .min_by_key(|basis| basis.read_at)
    }
}

#[cfg(test)]
mod tests;
