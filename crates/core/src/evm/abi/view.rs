//! View functions that only a configuration knows: by their human-readable signature, with arguments as texts.
//!
//! Types and texts are understood once, when the configuration is read. What remains for a decision are calldata with
//! places for the account in question, and the place and type of one returned value.
//!
//! The encoding is alloy's. Its parsers of signatures and texts are not taken: they would be 80 KB of every function,
//! and they let pass what must not, such as an address with a wrong checksum. Tests hold this one against them.

use std::cmp::Ordering;
use std::fmt;
use std::iter::repeat;

use alloy_dyn_abi::{DynSolType, DynSolValue};
use alloy_primitives::{I256, keccak256};

use super::DecodeError;
use super::reader::Slice;
use crate::address::AddressError;
use crate::{Address, U256, decimal};

/// What stands for the account in question.
pub const ACCOUNT: &str = "$address";

/// The longest value of type `bytes` or `string` that is read, in bytes.
pub const MAX_VALUE_LEN: usize = 1024;

/// The longest signature.
const MAX_SIGNATURE_LEN: usize = 1024;
/// The longest calldata.
const MAX_CALLDATA_LEN: usize = 8 * 1024;
/// How deep tuples and lists may lie in each other.
const MAX_DEPTH: usize = 8;
/// The most words before the first dynamic value of an answer.
const MAX_HEAD_WORDS: usize = 1024;

/// A view function.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    name: String,
    selector: [u8; 4],
    inputs: Vec<DynSolType>,
    outputs: Vec<(String, DynSolType)>,
}

/// Why a text is no view function, or what it is asked does not fit it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// Not a function's signature.
    #[error("write for example \"function stakeOf(address owner) view returns (uint256 amount)\"")]
    Syntax,
    /// A function that may change the state.
    #[error("it must be `view` or `pure`: what is only asked changes nothing")]
    Mutability,
    /// Longer than anything sensible.
    #[error("use a shorter one")]
    Long,
    /// Another number of arguments.
    #[error("it takes {0}")]
    Count(usize),
    /// A text that is no value of the parameter's type.
    #[error("write a value of type {0}")]
    Argument(String),
    /// Not an address.
    #[error("{0}; or `{ACCOUNT}`")]
    Address(#[from] AddressError),
    /// No value of this name or index is returned.
    #[error("name one of what it returns, or its index from 0: {0}")]
    Returned(String),
    /// A returned value that cannot be compared.
    #[error("compare a number, a bool, an address, bytes or a string, not {0}")]
    Incomparable(String),
}

impl Function {
    /// Reads a signature: `function name(types) view returns (types)`, where parameters may have names.
    ///
    /// # Errors
    /// [`ViewError`].
    pub fn parse(text: &str) -> Result<Self, ViewError> {
        if text.len() > MAX_SIGNATURE_LEN {
            return Err(ViewError::Long);
        }
        let mut text = Cursor(text);
        let first = text.word().ok_or(ViewError::Syntax)?;
        let name = match first {
            "function" => text.word().ok_or(ViewError::Syntax)?,
            name => name,
        };
        let inputs = text.parameters(MAX_DEPTH).ok_or(ViewError::Syntax)?;
        let (mut reads_only, mut outputs) = (false, Vec::new());
        while let Some(word) = text.word() {
            match word {
                "view" | "pure" => reads_only = true,
                "external" | "public" => {}
                "returns" => {
                    outputs = text.parameters(MAX_DEPTH).ok_or(ViewError::Syntax)?;
                    break;
                }
                "payable" => return Err(ViewError::Mutability),
                _ => return Err(ViewError::Syntax),
            }
        }
        if !text.is_at_end() {
            return Err(ViewError::Syntax);
        }
        if !reads_only {
            return Err(ViewError::Mutability);
        }
        let inputs: Vec<_> = inputs.into_iter().map(|(_, ty)| ty).collect();
        let canonical = format!("{name}{}", list(&inputs));
        let [a, b, c, d, ..] = keccak256(canonical).0;
        Ok(Self {
            name: name.to_owned(),
            selector: [a, b, c, d],
            inputs,
            outputs,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Calldata of a call with these texts as arguments. [`ACCOUNT`] stands for the account in question wherever an
    /// address is expected, also inside arrays and tuples.
    ///
    /// # Errors
    /// [`ViewError`], with the index of the argument that it is about, if it is about one.
    pub fn calldata(&self, arguments: &[&str]) -> Result<Calldata, (Option<usize>, ViewError)> {
        if arguments.len() != self.inputs.len() {
            return Err((None, ViewError::Count(self.inputs.len())));
        }
        let encoded = |account: Address| {
            let parts = self.inputs.iter().zip(arguments).enumerate();
            let values = parts.map(|(index, (ty, text))| {
                coerce(ty, text, account).map_err(|error| (Some(index), error))
            });
            let values = values.collect::<Result<Vec<_>, _>>()?;
            Ok(DynSolValue::Tuple(values).abi_encode_params())
        };
        // The words in which calldata for two accounts differ are the places of the account.
        let bytes = encoded(Address::from_bytes([1; 20]))?;
        let other = encoded(Address::from_bytes([2; 20]))?;
        let differs = |(index, (a, b)): (usize, (&[u8], &[u8]))| (a != b).then_some(index);
        let places = bytes
            .chunks(32)
            .zip(other.chunks(32))
            .enumerate()
            .filter_map(differs)
            .collect();
        if bytes.len() > MAX_CALLDATA_LEN {
            return Err((None, ViewError::Long));
        }
        Ok(Calldata {
            selector: self.selector,
            arguments: bytes,
            places,
        })
    }

    /// The returned value of this name, or at this index.
    ///
    /// # Errors
    /// [`ViewError`], also for a value that is a list or a tuple.
    pub fn element(&self, which: &str) -> Result<Element, ViewError> {
        let index = self
            .outputs
            .iter()
            .position(|(name, _)| !name.is_empty() && name == which)
            .or_else(|| {
                // `parse` would also take a sign.
                let digits = which.bytes().all(|b| b.is_ascii_digit());
                which.parse().ok().filter(|_| digits)
            });
        let Some((_, ty)) = index.and_then(|index| self.outputs.get(index)) else {
            return Err(ViewError::Returned(self.returns()));
        };
        let kind = Kind::of(ty).ok_or_else(|| ViewError::Incomparable(name(ty)))?;
        let types = || self.outputs.iter().map(|(_, ty)| ty);
        let head = words(types()).ok_or(ViewError::Long)?;
        let at = words(types().take(index.unwrap_or_default())).ok_or(ViewError::Long)?;
        Ok(Element { at, head, kind })
    }

    fn returns(&self) -> String {
        let named = |(index, (name, ty)): (usize, &(String, DynSolType))| {
            let ty = self::name(ty);
            format!("{index} {ty} {name}").trim_end().to_owned()
        };
        let list: Vec<_> = self.outputs.iter().enumerate().map(named).collect();
        if list.is_empty() {
            "it returns nothing".to_owned()
        } else {
            list.join(", ")
        }
    }
}

/// How many words these types take before the first dynamic value; none beyond [`MAX_HEAD_WORDS`].
fn words<'a>(types: impl IntoIterator<Item = &'a DynSolType>) -> Option<usize> {
    let mut sum: usize = 0;
    for ty in types {
        let own = match ty {
            dynamic if dynamic.is_dynamic() => 1,
            DynSolType::Tuple(types) => words(types)?,
            DynSolType::FixedArray(ty, length) => words([&**ty])?.checked_mul(*length)?,
            _ => 1,
        };
        sum = sum
            .checked_add(own)
            .filter(|words| *words <= MAX_HEAD_WORDS)?;
    }
    Some(sum)
}

/// A type as signatures spell it.
fn name(ty: &DynSolType) -> String {
    match ty {
        DynSolType::Array(part) => format!("{}[]", name(part)),
        DynSolType::FixedArray(part, length) => format!("{}[{length}]", name(part)),
        DynSolType::Tuple(parts) => list(parts),
        other => Kind::of(other).map_or_else(String::new, |kind| kind.to_string()),
    }
}

fn list(types: &[DynSolType]) -> String {
    let names: Vec<_> = types.iter().map(name).collect();
    format!("({})", names.join(","))
}

/// What is left of a text.
struct Cursor<'a>(&'a str);

impl<'a> Cursor<'a> {
    fn skip_spaces(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }

    fn is_at_end(&mut self) -> bool {
        self.skip_spaces();
        self.0.is_empty()
    }

    fn take(&mut self, mark: char) -> bool {
        self.skip_spaces();
        let rest = self.0.strip_prefix(mark);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// Everything before the first character that is not `among`.
    fn span(&mut self, among: impl Fn(char) -> bool) -> &'a str {
        let end = self.0.find(|c| !among(c)).unwrap_or(self.0.len());
        let (span, rest) = self.0.split_at_checked(end).unwrap_or((self.0, ""));
        self.0 = rest;
        span
    }

    /// An identifier or a keyword.
    fn word(&mut self) -> Option<&'a str> {
        self.skip_spaces();
        if self.0.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let word = self.span(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '$'));
        Some(word).filter(|word| !word.is_empty())
    }

    /// `read` between these marks, as often as commas say.
    fn list<T>(
        &mut self,
        (open, close): (char, char),
        mut read: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let mut items = Vec::new();
        if !self.take(open) {
            return None;
        }
        if self.take(close) {
            return Some(items);
        }
        loop {
            items.push(read(self)?);
            if self.take(close) {
                return Some(items);
            }
            if !self.take(',') {
                return None;
            }
        }
    }

    /// Types with their names, if they have one, in parentheses.
    fn parameters(&mut self, depth: usize) -> Option<Vec<(String, DynSolType)>> {
        self.list(('(', ')'), |text| {
            let ty = text.ty(depth)?;
            let mut name = text.word();
            if matches!(name, Some("memory" | "calldata")) {
                name = text.word();
            }
            Some((name.unwrap_or_default().to_owned(), ty))
        })
    }

    fn ty(&mut self, depth: usize) -> Option<DynSolType> {
        let depth = depth.checked_sub(1)?;
        self.skip_spaces();
        let mut ty = if self.0.starts_with('(') {
            let parts = self.parameters(depth)?;
            DynSolType::Tuple(parts.into_iter().map(|(_, ty)| ty).collect())
        } else {
            match self.word()? {
                "tuple" if self.0.trim_ascii_start().starts_with('(') => return self.ty(depth),
                word => Kind::parse(word)?.ty(),
            }
        };
        let mut sizes = 0..MAX_DEPTH;
        while self.take('[') {
            sizes.next()?;
            let length = self.span(|c| c.is_ascii_digit());
            ty = match length {
                "" => DynSolType::Array(Box::new(ty)),
                digits => {
                    let length = digits.parse().ok().filter(|length| *length > 0)?;
                    DynSolType::FixedArray(Box::new(ty), length)
                }
            };
            if !self.take(']') {
                return None;
            }
        }
        Some(ty)
    }
}

/// The value of a text, in which [`ACCOUNT`] stands for `account`.
fn coerce(ty: &DynSolType, text: &str, account: Address) -> Result<DynSolValue, ViewError> {
    // A string that is a whole argument says what it says.
    if let DynSolType::String = ty {
        return Ok(DynSolValue::String(text.to_owned()));
    }
    let mut rest = Cursor(text);
    let value = value(ty, &mut rest, account)?;
    if rest.is_at_end() {
        Ok(value)
    } else {
        Err(ViewError::Argument(name(ty)))
    }
}

/// The value at the start of a text: lists in `[…]`, tuples in `(…)`, strings with commas in them in `"…"`.
fn value(
    ty: &DynSolType,
    text: &mut Cursor<'_>,
    account: Address,
) -> Result<DynSolValue, ViewError> {
    let wrong = || ViewError::Argument(name(ty));
    match ty {
        DynSolType::Array(part) => {
            let parts = values(&mut repeat(&**part), ('[', ']'), text, account, wrong)?;
            Ok(DynSolValue::Array(parts))
        }
        DynSolType::FixedArray(part, length) => {
            let parts = values(&mut repeat(&**part), ('[', ']'), text, account, wrong)?;
            let fits = parts.len() == *length;
            fits.then_some(DynSolValue::FixedArray(parts))
                .ok_or_else(wrong)
        }
        DynSolType::Tuple(types) => {
            let parts = values(&mut types.iter(), ('(', ')'), text, account, wrong)?;
            let fits = parts.len() == types.len();
            fits.then_some(DynSolValue::Tuple(parts)).ok_or_else(wrong)
        }
        other => {
            let kind = Kind::of(other).ok_or_else(wrong)?;
            let quoted = text.take('"');
            let token = if quoted {
                text.span(|c| c != '"')
            } else {
                text.skip_spaces();
                text.span(|c| !matches!(c, ',' | ']' | ')'))
                    .trim_ascii_end()
            };
            if quoted && (!text.take('"') || kind != Kind::String) {
                return Err(wrong());
            }
            kind.read(token, Some(account))
        }
    }
}

/// As many values as the text lists, each of the next type; none of more than there are types.
fn values(
    types: &mut dyn Iterator<Item = &DynSolType>,
    marks: (char, char),
    text: &mut Cursor<'_>,
    account: Address,
    wrong: impl FnOnce() -> ViewError,
) -> Result<Vec<DynSolValue>, ViewError> {
    let mut failure = None;
    let values = text.list(marks, |text| {
        let read = value(types.next()?, text, account);
        read.map_err(|error| failure = Some(error)).ok()
    });
    values.ok_or_else(|| failure.unwrap_or_else(wrong))
}

/// The calldata of one call, with places for the account in question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calldata {
    selector: [u8; 4],
    arguments: Vec<u8>,
    /// Which words of the arguments are the account's.
    places: Vec<usize>,
}

impl Calldata {
    /// Whether the call is another one for another account.
    pub const fn names_account(&self) -> bool {
        !self.places.is_empty()
    }

    /// The call about `account`.
    pub fn about(&self, account: Address) -> Vec<u8> {
        let mut bytes = self.selector.to_vec();
        for (index, word) in self.arguments.chunks(32).enumerate() {
            if self.places.contains(&index) {
                bytes.extend(account.into_alloy().into_word());
            } else {
                bytes.extend(word);
            }
        }
        bytes
    }
}

/// One of the values that a function returns: where it lies and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element {
    /// The word that holds it, or the offset of it.
    at: usize,
    /// How many words lead an answer.
    head: usize,
    kind: Kind,
}

/// A type that can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `uint`, of so many bits.
    Uint(usize),
    /// `int`, of so many bits.
    Int(usize),
    /// `bool`.
    Bool,
    /// `address`.
    Address,
    /// `bytes1` to `bytes32`.
    FixedBytes(usize),
    /// `bytes`.
    Bytes,
    /// `string`.
    String,
}

/// A value as the ABI has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Returned {
    /// A word.
    Word([u8; 32]),
    /// Up to [`MAX_VALUE_LEN`] bytes.
    Bytes(Vec<u8>),
}

impl Element {
    /// What it is.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The value in what the contract returned.
    ///
    /// # Errors
    /// [`DecodeError`], also for a value out of its type's range, one longer than [`MAX_VALUE_LEN`] and the empty answer
    /// of an address without code.
    pub fn decode(&self, returned: &[u8]) -> Result<Returned, DecodeError> {
        self.find(returned)
            .filter(|value| self.kind.has(value))
            .ok_or(DecodeError)
    }

    /// Which of the returned bytes it needs.
    pub(crate) fn slice(&self) -> Slice {
        let take = if self.kind.is_long() {
            MAX_VALUE_LEN
        } else {
            32
        };
        let bytes = |length: usize| u16::try_from(length).unwrap_or(u16::MAX);
        Slice {
            skip: bytes(self.at * 32),
            take: bytes(take),
            is_dynamic: self.kind.is_long(),
        }
    }

    /// The value in those bytes, of an answer of `size` bytes.
    ///
    /// # Errors
    /// As of [`Self::decode`].
    pub(crate) fn decode_slice(&self, size: usize, bytes: &[u8]) -> Result<Returned, DecodeError> {
        if size < self.head * 32 || bytes.len() > MAX_VALUE_LEN {
            return Err(DecodeError);
        }
        let value = if self.kind.is_long() {
            Returned::Bytes(bytes.to_vec())
        } else {
            Returned::Word(bytes.try_into().map_err(|_| DecodeError)?)
        };
        Some(value)
            .filter(|value| self.kind.has(value))
            .ok_or(DecodeError)
    }

    fn find(&self, returned: &[u8]) -> Option<Returned> {
        let word = |at: usize| {
            let bytes = returned.get(at..)?.first_chunk::<32>()?;
            Some(U256::from_be_bytes(*bytes))
        };
        returned.get(..self.head * 32)?;
        let own = word(self.at * 32)?;
        if !self.kind.is_long() {
            return Some(Returned::Word(own.to_be_bytes()));
        }
        let start = usize::try_from(own).ok()?;
        let length = usize::try_from(word(start)?)
            .ok()
            .filter(|length| *length <= MAX_VALUE_LEN)?;
        let bytes = returned.get(start.checked_add(32)?..)?.get(..length)?;
        Some(Returned::Bytes(bytes.to_vec()))
    }
}

/// Names the element within its function: part of a store's key.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.at, self.head, self.kind)
    }
}

impl Kind {
    fn of(ty: &DynSolType) -> Option<Self> {
        Some(match ty {
            DynSolType::Uint(bits) => Self::Uint(*bits),
            DynSolType::Int(bits) => Self::Int(*bits),
            DynSolType::Bool => Self::Bool,
            DynSolType::Address => Self::Address,
            DynSolType::FixedBytes(length) => Self::FixedBytes(*length),
            DynSolType::Bytes => Self::Bytes,
            DynSolType::String => Self::String,
            DynSolType::Function
            | DynSolType::Array(_)
            | DynSolType::FixedArray(..)
            | DynSolType::Tuple(_) => return None,
        })
    }

    const fn ty(self) -> DynSolType {
        match self {
            Self::Uint(bits) => DynSolType::Uint(bits),
            Self::Int(bits) => DynSolType::Int(bits),
            Self::Bool => DynSolType::Bool,
            Self::Address => DynSolType::Address,
            Self::FixedBytes(length) => DynSolType::FixedBytes(length),
            Self::Bytes => DynSolType::Bytes,
            Self::String => DynSolType::String,
        }
    }

    fn parse(word: &str) -> Option<Self> {
        // As Solidity spells them: without a sign and without leading zeros.
        let number = |digits: &str| {
            let number = digits.parse::<usize>().ok()?;
            (number.to_string() == digits).then_some(number)
        };
        let bits = |digits: &str| match digits {
            "" => Some(256),
            digits => number(digits).filter(|bits| (8..=256).contains(bits) && bits % 8 == 0),
        };
        Some(match word {
            "bool" => Self::Bool,
            "address" => Self::Address,
            "bytes" => Self::Bytes,
            "string" => Self::String,
            _ => {
                if let Some(digits) = word.strip_prefix("uint") {
                    Self::Uint(bits(digits)?)
                } else if let Some(digits) = word.strip_prefix("int") {
                    Self::Int(bits(digits)?)
                } else {
                    let length = number(word.strip_prefix("bytes")?)?;
                    Self::FixedBytes(Some(length).filter(|length| (1..=32).contains(length))?)
                }
            }
        })
    }

    /// The value of a text without its quotes.
    fn read(self, text: &str, account: Option<Address>) -> Result<DynSolValue, ViewError> {
        let number = |digits: &str| match digits.strip_prefix("0x") {
            Some(digits) => {
                let hexadecimal = digits.bytes().all(|b| b.is_ascii_hexdigit());
                U256::from_str_radix(digits, 16)
                    .ok()
                    .filter(|_| hexadecimal && !digits.is_empty())
            }
            None => decimal::parse(digits),
        };
        let bytes = || hex::decode(text.strip_prefix("0x")?).ok();
        let value = match self {
            Self::Uint(bits) => number(text).map(|value| DynSolValue::Uint(value, bits)),
            Self::Int(bits) => match text.strip_prefix('-') {
                None => number(text),
                Some(digits) => number(digits).map(U256::wrapping_neg),
            }
            // Beyond its range a number changes its sign.
            .filter(|value| value.is_zero() || value.bit(255) == text.starts_with('-'))
            .map(|value| DynSolValue::Int(I256::from_raw(value), bits)),
            Self::Bool => match text {
                "true" => Some(DynSolValue::Bool(true)),
                "false" => Some(DynSolValue::Bool(false)),
                _ => None,
            },
            Self::Address if text == ACCOUNT => {
                account.map(|account| DynSolValue::Address(account.into_alloy()))
            }
            Self::Address => Some(DynSolValue::Address(text.parse::<Address>()?.into_alloy())),
            Self::FixedBytes(length) => bytes().and_then(|bytes| {
                let mut word = [0; 32];
                word.get_mut(..length)
                    .filter(|word| word.len() == bytes.len())?
                    .copy_from_slice(&bytes);
                Some(DynSolValue::FixedBytes(word.into(), length))
            }),
            Self::Bytes => bytes().map(DynSolValue::Bytes),
            Self::String => Some(DynSolValue::String(text.to_owned())),
        };
        value
            .filter(|value| {
                value
                    .as_word()
                    .is_none_or(|word| self.has(&Returned::Word(word.0)))
            })
            .ok_or_else(|| ViewError::Argument(self.to_string()))
    }

    const fn is_long(self) -> bool {
        matches!(self, Self::Bytes | Self::String)
    }

    /// Whether more and less mean something.
    pub const fn is_ordered(self) -> bool {
        matches!(self, Self::Uint(_) | Self::Int(_))
    }

    /// Whether `value` is one of this type, and written as the ABI writes it.
    pub fn has(self, value: &Returned) -> bool {
        let shifted = |word: &[u8; 32], bits: usize| U256::from_be_bytes(*word).wrapping_shr(bits);
        match (self, value) {
            (Self::Uint(256), Returned::Word(_)) => true,
            (Self::Uint(bits), Returned::Word(word)) => shifted(word, bits).is_zero(),
            (Self::Int(bits), Returned::Word(word)) => {
                let bits = u32::try_from(bits).unwrap_or_default();
                I256::from_be_bytes(*word).bits() <= bits
            }
            (Self::Bool, Returned::Word(word)) => shifted(word, 1).is_zero(),
            (Self::Address, Returned::Word(word)) => shifted(word, 160).is_zero(),
            (Self::FixedBytes(length), Returned::Word(word)) => {
                word.iter().skip(length).all(|byte| *byte == 0)
            }
            (Self::Bytes, Returned::Bytes(bytes)) => bytes.len() <= MAX_VALUE_LEN,
            (Self::String, Returned::Bytes(bytes)) => {
                bytes.len() <= MAX_VALUE_LEN && std::str::from_utf8(bytes).is_ok()
            }
            (Self::Bytes | Self::String, Returned::Word(_))
            | (
                Self::Uint(_) | Self::Int(_) | Self::Bool | Self::Address | Self::FixedBytes(_),
                Returned::Bytes(_),
            ) => false,
        }
    }

    /// The value of a text.
    ///
    /// # Errors
    /// [`ViewError`], for a text that is no value of this type.
    pub fn value(self, text: &str) -> Result<Returned, ViewError> {
        let value = match self.read(text, None)? {
            DynSolValue::Bytes(bytes) => Returned::Bytes(bytes),
            DynSolValue::String(string) => Returned::Bytes(string.into_bytes()),
            other => Returned::Word(other.as_word().unwrap_or_default().0),
        };
        if self.has(&value) {
            Ok(value)
        } else {
            Err(ViewError::Argument(self.to_string()))
        }
    }

    /// Which of two values is the greater: as numbers, or byte for byte.
    pub fn order(self, a: &Returned, b: &Returned) -> Ordering {
        let signed = |word: &[u8; 32]| I256::from_be_bytes(*word);
        match (self, a, b) {
            (Self::Int(_), Returned::Word(a), Returned::Word(b)) => signed(a).cmp(&signed(b)),
            _ => a.cmp(b),
        }
    }

    /// What storage holds that nobody has written to.
    pub const fn zero(self) -> Returned {
        if self.is_long() {
            Returned::Bytes(Vec::new())
        } else {
            Returned::Word([0; 32])
        }
    }

    /// The value in words: numbers in decimal, bytes in hexadecimal.
    pub fn text(self, value: &Returned) -> String {
        match (self, value) {
            (Self::Int(_), Returned::Word(word)) => I256::from_be_bytes(*word).to_string(),
            (Self::Bool, Returned::Word(word)) => (*word != [0; 32]).to_string(),
            (Self::Address, Returned::Word(word)) => {
                Address::from_alloy(alloy_primitives::Address::from_word((*word).into()))
                    .to_string()
            }
            (Self::FixedBytes(length), Returned::Word(word)) => {
                let bytes = word.get(..length).unwrap_or_default();
                format!("0x{}", hex::encode(bytes))
            }
            (_, Returned::Word(word)) => U256::from_be_bytes(*word).to_string(),
            (Self::String, Returned::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            (_, Returned::Bytes(bytes)) => format!("0x{}", hex::encode(bytes)),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uint(bits) => write!(f, "uint{bits}"),
            Self::Int(bits) => write!(f, "int{bits}"),
            Self::Bool => f.write_str("bool"),
            Self::Address => f.write_str("address"),
            Self::FixedBytes(length) => write!(f, "bytes{length}"),
            Self::Bytes => f.write_str("bytes"),
            Self::String => f.write_str("string"),
        }
    }
}

impl Returned {
    /// The word of an account.
    pub fn account(account: Address) -> Self {
        Self::Word(account.into_alloy().into_word().0)
    }
}
