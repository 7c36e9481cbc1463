//! Facts: single on-chain reads, the unit of caching.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::abi::delegate_registry::{Delegation, Scope};
use crate::abi::reader::Slice;
use crate::abi::revert::{self, Meaning};
use crate::abi::view::{Element, Returned};
use crate::abi::{DecodeError, erc20, erc721, erc1155, erc4907, erc6551};
use crate::decimal;
use crate::jsonrpc::{self, BlockTag, Call, Request};
use crate::transfer::Transfer;
use crate::{Address, ChainId, U256};

/// One view call: which contract, which function, which arguments.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Read {
    /// ERC-721 `balanceOf`.
    Erc721Balance {
        /// The token contract.
        contract: Address,
        /// The account asked about.
        owner: Address,
    },
    /// ERC-721 `ownerOf`.
    Erc721Owner {
        /// The token contract.
        contract: Address,
        /// The token.
        token_id: U256,
    },
    /// ERC-1155 `balanceOf`.
    Erc1155Balance {
        /// The token contract.
        contract: Address,
        /// The account asked about.
        owner: Address,
        /// The token kind.
        id: U256,
    },
    /// ERC-1155 `balanceOfBatch`, for one account.
    Erc1155Balances {
        /// The token contract.
        contract: Address,
        /// The account asked about.
        owner: Address,
        /// The token kinds, at least two.
        ids: Vec<U256>,
    },
    /// ERC-20 `balanceOf`.
    Erc20Balance {
        /// The token contract.
        contract: Address,
        /// The account asked about.
        owner: Address,
    },
    /// The account's balance of the chain's own currency, in wei.
    NativeBalance {
        /// The account asked about.
        owner: Address,
    },
    /// ERC-4907 `userOf`.
    Erc4907User {
        /// The token contract.
        contract: Address,
        /// The token.
        token_id: U256,
    },
    /// `owner` of an ERC-6551 account.
    AccountOwner {
        /// The account.
        account: Address,
    },
    /// A view function that the configuration names.
    View {
        /// The contract.
        contract: Address,
        /// The call.
        calldata: Vec<u8>,
        /// Which of the returned values counts.
        element: Element,
    },
    /// A check of the delegate registry at `registry`.
    Delegation {
        /// The registry.
        registry: Address,
        /// What is checked.
        delegation: Delegation,
    },
}

/// What a read was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// One balance.
    Amount(U256),
    /// The sum of several balances, saturating.
    Amounts(U256),
    /// The owner of a token or of an account, or the user of a token.
    Owner(Address),
    /// There is none: the contract reverted with an error that says so, or answered the zero address.
    Nobody,
    /// The contract reverted without an error that says why: nobody owns the token, as far as that lets somebody in.
    /// Where owning it keeps out, it is not known.
    Reverted,
    /// What a view function returned.
    Returned(Returned),
}

/// The contract gave no answer that its standard allows. Neither a yes nor a no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the contract gave no answer that its standard allows")]
pub struct Unreadable;

impl From<DecodeError> for Unreadable {
    fn from(_: DecodeError) -> Self {
        Self
    }
}

/// A read on a chain: the key under which its fact is cached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FactKey {
    /// The chain.
    pub chain: ChainId,
    /// The read.
    pub read: Read,
}

/// The answer to a read, with where and when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// The answer.
    pub value: Value,
    /// The number of the block it was read at.
    pub block: u64,
    /// When it was read, by the reader's clock.
    pub read_at: Timestamp,
}

impl Read {
    /// The contract to call and the calldata; none for the balance of the chain's own currency, which is no contract's.
    pub fn call(&self) -> Option<(Address, Vec<u8>)> {
        Some(match self {
            Self::Erc721Balance { contract, owner } => (*contract, erc721::balance_of(*owner)),
            Self::Erc721Owner { contract, token_id } => (*contract, erc721::owner_of(*token_id)),
            Self::Erc1155Balance {
                contract,
                owner,
                id,
            } => (*contract, erc1155::balance_of(*owner, *id)),
            Self::Erc1155Balances {
                contract,
                owner,
                ids,
            } => (*contract, erc1155::balance_of_batch(*owner, ids)),
            Self::Erc20Balance { contract, owner } => (*contract, erc20::balance_of(*owner)),
            Self::NativeBalance { .. } => return None,
            Self::Erc4907User { contract, token_id } => (*contract, erc4907::user_of(*token_id)),
            Self::AccountOwner { account } => (*account, erc6551::owner()),
            Self::View {
                contract, calldata, ..
            } => (*contract, calldata.clone()),
            Self::Delegation {
                registry,
                delegation,
            } => (*registry, delegation.calldata()),
        })
    }

    /// The same as a JSON-RPC request of its own.
    pub fn request(&self, block: BlockTag) -> Request {
        match self.call() {
            Some((target, calldata)) => {
                let call = Call::to(target, calldata).with_gas(crate::abi::reader::GAS);
                jsonrpc::eth_call(&call, block)
            }
            None => jsonrpc::eth_get_balance(self.subject(), block),
        }
    }

    /// The account or contract that is asked.
    pub(crate) const fn subject(&self) -> Address {
        match self {
            Self::Erc721Balance { contract, .. }
            | Self::Erc721Owner { contract, .. }
            | Self::Erc1155Balance { contract, .. }
            | Self::Erc1155Balances { contract, .. }
            | Self::Erc20Balance { contract, .. }
            | Self::Erc4907User { contract, .. }
            | Self::View { contract, .. } => *contract,
            Self::NativeBalance { owner } => *owner,
            Self::AccountOwner { account } => *account,
            Self::Delegation { registry, .. } => *registry,
        }
    }

    /// Which of the returned bytes it needs.
    pub(crate) fn slice(&self) -> Slice {
        match self {
            // The offset and the length of the list lead it.
            Self::Erc1155Balances { ids, .. } => Slice {
                take: u16::try_from((ids.len() + 2) * 32).unwrap_or(u16::MAX),
                ..Slice::WORD
            },
            Self::View { element, .. } => element.slice(),
            _ => Slice::WORD,
        }
    }

    /// Whether what a revert says may be an answer.
    pub(crate) const fn is_revert_told(&self) -> bool {
        self.is_about_a_token()
    }

    /// The value in the bytes of [`Self::slice`], of an answer of `size` bytes.
    pub(crate) fn decode_slice(&self, size: usize, bytes: &[u8]) -> Result<Value, Unreadable> {
        match self {
            Self::View { element, .. } => Ok(Value::Returned(element.decode_slice(size, bytes)?)),
            _ => self.decode(bytes),
        }
    }

    /// Whether `transfer`, on the chain of this read, may change the answer. What its log is called does not matter: there
    /// are contracts of several standards. A read about an account changes with that account's own transfers only, except
    /// that of a view function: which account it is about, if any, is in its calldata, and not told apart here.
    pub(crate) fn may_change_by(&self, transfer: &Transfer) -> bool {
        let of = |contract: &Address| *contract == transfer.contract;
        let by = |owner: &Address| transfer.parties().any(|party| party == *owner);
        let with = |id: &U256| transfer.tokens.may_include(id);
        match self {
            Self::Erc721Balance { contract, owner } | Self::Erc20Balance { contract, owner } => {
                of(contract) && by(owner)
            }
            Self::Erc721Owner { contract, token_id } | Self::Erc4907User { contract, token_id } => {
                of(contract) && with(token_id)
            }
            Self::Erc1155Balance {
                contract,
                owner,
                id,
            } => of(contract) && by(owner) && with(id),
            Self::Erc1155Balances {
                contract,
                owner,
                ids,
            } => of(contract) && by(owner) && ids.iter().any(with),
            Self::View { contract, .. } => of(contract),
            // An account's owner is that of a token which the configuration does not name.
            Self::NativeBalance { .. } | Self::AccountOwner { .. } | Self::Delegation { .. } => {
                false
            }
        }
    }

    /// The value in what the contract returned.
    ///
    /// # Errors
    /// [`Unreadable`], if the bytes are not the function's return value.
    pub fn decode(&self, returned: &[u8]) -> Result<Value, Unreadable> {
        Ok(match self {
            Self::Erc721Balance { .. } => Value::Amount(erc721::decode_balance(returned)?),
            Self::Erc721Owner { .. } => Value::Owner(erc721::decode_owner(returned)?),
            Self::Erc1155Balance { .. } => Value::Amount(erc1155::decode_balance(returned)?),
            Self::Erc1155Balances { ids, .. } => Value::Amounts(
                erc1155::decode_balances(returned, ids.len())?
                    .into_iter()
                    .fold(U256::ZERO, U256::saturating_add),
            ),
            Self::Erc20Balance { .. } => Value::Amount(erc20::decode_balance(returned)?),
            Self::NativeBalance { .. } => Value::Amount(U256::from_be_bytes(
                <[u8; 32]>::try_from(returned).map_err(|_| Unreadable)?,
            )),
            Self::Erc4907User { .. } => {
                erc4907::decode_user(returned)?.map_or(Value::Nobody, Value::Owner)
            }
            Self::AccountOwner { .. } => {
                erc6551::decode_owner(returned)?.map_or(Value::Nobody, Value::Owner)
            }
            Self::View { element, .. } => Value::Returned(element.decode(returned)?),
            Self::Delegation { delegation, .. } => Value::Amount(delegation.decode(returned)?),
        })
    }

    /// The value that a revert with this data stands for. One that ran out of gas is none.
    ///
    /// # Errors
    /// [`Unreadable`], except of a question about one token that may not exist: who owns it, who uses it, and who has the
    /// account that belongs to it.
    pub fn reverted(&self, data: &[u8]) -> Result<Value, Unreadable> {
        if !self.is_about_a_token() {
            return Err(Unreadable);
        }
        match revert::meaning(data) {
            Meaning::Nonexistent => Ok(Value::Nobody),
            Meaning::Unexplained => Ok(Value::Reverted),
            Meaning::Unavailable => Err(Unreadable),
        }
    }

    /// Whether its answer is who has one token, or the account of one.
    const fn is_about_a_token(&self) -> bool {
        matches!(
            self,
            Self::Erc721Owner { .. } | Self::Erc4907User { .. } | Self::AccountOwner { .. }
        )
    }
}

impl FactKey {
    /// About how many bytes of memory it takes.
    pub fn size(&self) -> usize {
        let more = match &self.read {
            Read::Erc1155Balances { ids, .. } => ids.len() * size_of::<U256>(),
            Read::View { calldata, .. } => calldata.len(),
            _ => 0,
        };
        size_of::<Self>() + more
    }

    /// The key of this fact in the shared store, below a prefix of the caller's.
    pub fn store_key(&self) -> String {
        let chain = self.chain.id();
        match &self.read {
            Read::Erc721Balance { contract, owner } => format!(
                "{chain}:721b:{}:{}",
                contract.to_lower_hex(),
                owner.to_lower_hex()
            ),
            Read::Erc721Owner { contract, token_id } => {
                format!("{chain}:721o:{}:{token_id}", contract.to_lower_hex())
            }
            Read::Erc1155Balance {
                contract,
                owner,
                id,
            } => format!(
                "{chain}:1155:{}:{}:{id}",
                contract.to_lower_hex(),
                owner.to_lower_hex()
            ),
            Read::Erc1155Balances {
                contract,
                owner,
                ids,
            } => {
                // Lists of ids have no bound that a store's key has; their digest does.
                let list = ids
                    .iter()
                    .flat_map(U256::to_be_bytes::<32>)
                    .collect::<Vec<_>>();
                format!(
                    "{chain}:1155s:{}:{}:{}",
                    contract.to_lower_hex(),
                    owner.to_lower_hex(),
                    hex::encode(alloy_primitives::keccak256(list))
                )
            }
            Read::Erc20Balance { contract, owner } => format!(
                "{chain}:20:{}:{}",
                contract.to_lower_hex(),
                owner.to_lower_hex()
            ),
            Read::NativeBalance { owner } => format!("{chain}:native:{}", owner.to_lower_hex()),
            Read::Erc4907User { contract, token_id } => {
                format!("{chain}:4907:{}:{token_id}", contract.to_lower_hex())
            }
            Read::AccountOwner { account } => format!("{chain}:6551:{}", account.to_lower_hex()),
            Read::View {
                contract,
                calldata,
                element,
            } => format!(
                "{chain}:view:{}:{}:{element}",
                contract.to_lower_hex(),
                hex::encode(alloy_primitives::keccak256(calldata))
            ),
            Read::Delegation {
                registry,
                delegation,
            } => {
                let scope = match &delegation.scope {
                    Scope::All => "all".to_owned(),
                    Scope::Contract(contract) => format!("contract:{}", contract.to_lower_hex()),
                    Scope::Erc721(contract, id) => format!("721:{}:{id}", contract.to_lower_hex()),
                    Scope::Erc20(contract) => format!("20:{}", contract.to_lower_hex()),
                    Scope::Erc1155(contract, id) => {
                        format!("1155:{}:{id}", contract.to_lower_hex())
                    }
                };
                format!(
                    "{chain}:delegation:{}:{}:{}:{}:{scope}",
                    registry.to_lower_hex(),
                    delegation.to.to_lower_hex(),
                    delegation.from.to_lower_hex(),
                    hex::encode(delegation.rights)
                )
            }
        }
    }
}

/// The stored form of a fact. The field `e` names its edition: an entry of another edition is a miss.
#[derive(Serialize, Deserialize)]
struct Stored {
    e: u8,
    v: String,
    b: u64,
    t: i64,
    /// Of a mark: the time that facts have to be younger than.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    s: Option<i64>,
}

const EDITION: u8 = 1;

/// Something that happened on a chain, after which older knowledge of a fact is outdated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// Where it happened: facts read before this block do not know of it. 0 where the number says nothing.
    pub block: u64,
    /// Only facts read after this know of it, whatever their block: that block may be another by now.
    pub since: Option<Timestamp>,
}

/// What clocks of different instances may differ by.
const SKEW: Duration = Duration::from_secs(2);

impl Touch {
    /// Whether `fact` was read when it had happened.
    pub fn is_known_to(&self, fact: &Fact) -> bool {
        let later = |since: Timestamp| {
            since
                .checked_add(SKEW)
                .is_ok_and(|since| fact.read_at > since)
        };
        fact.block >= self.block && self.since.is_none_or(later)
    }

    /// What is outdated by either.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            block: self.block.max(other.block),
            since: self.since.max(other.since),
        }
    }
}

/// What the shared store knows of a fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// What it was.
    Fact(Fact),
    /// Only that what was known before is outdated, and when that was noted.
    Touched(Touch, Timestamp),
}

impl Known {
    /// Reads the bytes back for the read that asked. Anything unexpected is `None`: a miss, never a value.
    pub fn from_bytes(read: &Read, bytes: &[u8]) -> Option<Self> {
        Fact::from_bytes(read, bytes)
            .map(Self::Fact)
            .or_else(|| Touch::from_bytes(bytes).map(|(touch, at)| Self::Touched(touch, at)))
    }
}

/// How a touch is kept in the place of the fact that it outdates.
const TOUCHED: &str = "t";

impl Touch {
    /// The bytes kept in the shared store from `now` on.
    pub fn to_bytes(&self, now: Timestamp) -> Vec<u8> {
        // As of a fact's.
        serde_json::to_vec(&Stored {
            e: EDITION,
            v: TOUCHED.to_owned(),
            b: self.block,
            t: now.as_millisecond(),
            s: self.since.map(Timestamp::as_millisecond),
        })
        .unwrap_or_default()
    }

    fn from_bytes(bytes: &[u8]) -> Option<(Self, Timestamp)> {
        let stored = Stored::read(bytes)?;
        if stored.v != TOUCHED {
            return None;
        }
        let time = |millis| Timestamp::from_millisecond(millis).ok();
        let since = match stored.s {
            Some(millis) => Some(time(millis)?),
            None => None,
        };
        let touch = Self {
            block: stored.b,
            since,
        };
        Some((touch, time(stored.t)?))
    }
}

impl Stored {
    fn read(bytes: &[u8]) -> Option<Self> {
        let stored: Self = serde_json::from_slice(bytes).ok()?;
        (stored.e == EDITION).then_some(stored)
    }
}

/// What the store keeps in a fact's place, whatever its read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// When it was read, or outdated.
    pub since: Timestamp,
    /// Whether it is the mark of a touch.
    pub is_mark: bool,
}

impl Kept {
    /// Reads its bytes; `None` for what is neither a fact nor a mark.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let stored = Stored::read(bytes)?;
        Some(Self {
            since: Timestamp::from_millisecond(stored.t).ok()?,
            is_mark: stored.v == TOUCHED,
        })
    }
}

impl Fact {
    /// About how many bytes of memory it takes.
    pub fn size(&self) -> usize {
        let more = match &self.value {
            Value::Returned(Returned::Bytes(bytes)) => bytes.len(),
            _ => 0,
        };
        size_of::<Self>() + more
    }

    /// The bytes kept in the shared store.
    pub fn to_bytes(&self) -> Vec<u8> {
        let v = match &self.value {
            Value::Amount(amount) => format!("a{amount}"),
            Value::Amounts(sum) => format!("s{sum}"),
            Value::Owner(owner) => format!("o{}", owner.to_lower_hex()),
            Value::Nobody => "n".to_owned(),
            Value::Reverted => "r".to_owned(),
            Value::Returned(Returned::Word(word)) => format!("w{}", hex::encode(word)),
            Value::Returned(Returned::Bytes(bytes)) => format!("b{}", hex::encode(bytes)),
        };
        // Serialising integers and a string into a vector has no way to fail.
        serde_json::to_vec(&Stored {
            e: EDITION,
            v,
            b: self.block,
            t: self.read_at.as_millisecond(),
            s: None,
        })
        .unwrap_or_default()
    }

    /// Reads the bytes back for the read that asked. Anything unexpected is `None`: a miss, never a value.
    pub fn from_bytes(read: &Read, bytes: &[u8]) -> Option<Self> {
        let stored = Stored::read(bytes)?;
        let (kind, rest) = stored.v.split_at_checked(1)?;
        let value = match (kind, read) {
            (
                "a",
                Read::Erc721Balance { .. }
                | Read::Erc1155Balance { .. }
                | Read::Erc20Balance { .. }
                | Read::NativeBalance { .. }
                | Read::Delegation { .. },
            ) => Value::Amount(decimal::parse(rest)?),
            ("s", Read::Erc1155Balances { .. }) => Value::Amounts(decimal::parse(rest)?),
            ("o", read) if read.is_about_a_token() => Value::Owner(rest.parse().ok()?),
            ("n", read) if read.is_about_a_token() && rest.is_empty() => Value::Nobody,
            ("r", read) if read.is_about_a_token() && rest.is_empty() => Value::Reverted,
            ("w" | "b", Read::View { element, .. }) => {
                let bytes = hex::decode(rest).ok()?;
                let value = match kind {
                    "w" => Returned::Word(bytes.try_into().ok()?),
                    _ => Returned::Bytes(bytes),
                };
                Value::Returned(Some(value).filter(|value| element.kind().has(value))?)
            }
            _ => return None,
        };
        Some(Self {
            value,
            block: stored.b,
            read_at: Timestamp::from_millisecond(stored.t).ok()?,
        })
    }

    /// Whether it was read before the block of `known` and says otherwise: then it is the older one, whenever it was read.
    pub fn contradicts(&self, known: &Self) -> bool {
        self.block < known.block && self.value != known.value
    }

    /// Whether the fact was read at most `max_age` from `now`. One that is stamped ahead, by another instance's clock,
    /// is as far off as one that is old.
    pub fn is_within(&self, max_age: Duration, now: Timestamp) -> bool {
        now.duration_since(self.read_at).unsigned_abs() <= max_age
    }
}

/// Facts at hand, looked at with a limit on their age.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    facts: BTreeMap<FactKey, Fact>,
}

/// Facts of at most a given age: what one evaluation may rest on.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    facts: &'a Facts,
    max_age: Duration,
    now: Timestamp,
}

impl Facts {
    /// Adds a fact, in place of one that is there.
    pub fn insert(&mut self, key: FactKey, fact: Fact) {
        self.facts.insert(key, fact);
    }

    /// Takes a fact away.
    pub fn remove(&mut self, key: &FactKey) {
        self.facts.remove(key);
    }

    /// The facts of at most `max_age` at `now`.
    pub const fn within(&self, max_age: Duration, now: Timestamp) -> View<'_> {
        View {
            facts: self,
            max_age,
            now,
        }
    }
}

impl<'a> View<'a> {
    /// As of when they are looked at.
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// The fact, if it is there and young enough.
    pub fn fact(&self, key: &FactKey) -> Option<&'a Fact> {
        self.facts
            .facts
            .get(key)
            .filter(|fact| fact.is_within(self.max_age, self.now))
    }
}

#[cfg(test)]
mod tests;
