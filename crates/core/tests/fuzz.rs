//! Fuzzing of everything that reads what strangers send: messages, signatures and their wrappers, answers about them,
//! session tokens, nonces, deliveries of events. Each property says how often it ran, how many of its inputs were accepted, and from which
//! seed they were drawn: a new one in every run, unless `PROPTEST_RNG_SEED` repeats one.
//!
//! The number of cases is proptest's own variable, `PROPTEST_CASES`; without it the file takes some seconds.
//! `scripts/fuzz` is the longer run.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, also in its helpers"
)]

mod support;

use std::cell::Cell;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use alloy_primitives::Bytes;
use alloy_sol_types::{SolType, SolValue, sol_data};
use base64ct::{Base64UrlUnpadded, Encoding};
use iri_string::types::UriStr;
use k256::ecdsa::SigningKey;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};
use serde_json::{Map, Value};
use support::{
    ACCEPTED, INITIALISED, NO_CODE, REFUSED, SIGNER, bytes, concluded, headers, kind, read,
    sign as sign_delivery, text, twin,
};
use tokengate_core::abi::erc1271;
use tokengate_core::eip4361::Message;
use tokengate_core::erc8010::Authorization;
use tokengate_core::keys::{KeyRing, Purpose};
use tokengate_core::nonce::{self, Binding, CLOCK_SKEW};
use tokengate_core::secret::Secret;
use tokengate_core::session::{self, Admission, Lifetime, Session};
use tokengate_core::signature::{RecoverableSignature, bytes_from_hex};
use tokengate_core::signer::{AccountState, Scheme, Verification, VerifiedSigner, Way};
use tokengate_core::transfer::Transfer;
use tokengate_core::wallet::{Control, Wallet};
use tokengate_core::webhook::{Key, Unverified};
use tokengate_core::{
    Address, ChainId, Timestamp, U256, eip191, eip712, erc6492, erc8010, rfc3339,
};

/// How often a property runs unless `PROPTEST_CASES` says otherwise: a few seconds for all of them.
const CASES: u32 = 32_768;

/// What this run draws from.
static SEED: LazyLock<u64> = LazyLock::new(|| match Config::default().rng_seed {
    RngSeed::Fixed(seed) => seed,
    // The standard library draws this one.
    RngSeed::Random => RandomState::new().build_hasher().finish(),
});

/// How one property went.
struct Run {
    cases: u32,
    accepted: u32,
}

impl Run {
    /// A property about what is accepted says nothing while nothing is. A run of a few cases may be that unlucky.
    fn accepted_some(&self) {
        assert!(self.accepted > 0 || self.cases < 1000);
    }

    fn accepted_nothing(&self) {
        assert_eq!(self.accepted, 0);
    }
}

/// Holds `property` against values of `strategy`; it says whether it saw its input accepted.
fn fuzz<S: Strategy>(
    name: &str,
    strategy: S,
    property: impl Fn(S::Value) -> Result<bool, TestCaseError>,
) -> Run {
    let mut config = Config {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(*SEED),
        ..Config::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = CASES;
    }
    let cases = config.cases;
    let repeated_by = format!("PROPTEST_RNG_SEED={} PROPTEST_CASES={cases}", *SEED);
    let accepted = Cell::new(0);
    let start = Instant::now();
    TestRunner::new(config)
        .run(&strategy, |value| {
            accepted.set(accepted.get() + u32::from(property(value)?));
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{name}: {failure}\nrepeated by {repeated_by}"));
    let accepted = accepted.get();
    println!(
        "{name}: {cases} cases, {accepted} accepted, {:.1?}, {repeated_by}",
        start.elapsed()
    );
    Run { cases, accepted }
}

/// One change of some bytes.
#[derive(Clone, Debug)]
enum Edit {
    Flip(Index, u8),
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Truncate(Index),
    /// Repeats what follows a place.
    Repeat(Index, usize),
    /// Goes on as another input does.
    Splice(Index, Index),
    /// Overwrites an aligned word: an offset, a length or a number, where the bytes are ABI-encoded.
    Word(Index, U256),
}

impl Edit {
    fn apply(&self, mut bytes: Vec<u8>, donor: &[u8]) -> Vec<u8> {
        let at = |index: &Index, bytes: &[u8]| index.index(bytes.len() + 1);
        let inside = |index: &Index, bytes: &[u8]| index.index(bytes.len().max(1));
        match self {
            Self::Flip(index, bit) => {
                let at = inside(index, &bytes);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << (bit % 8);
                }
            }
            Self::Set(index, value) => {
                let at = inside(index, &bytes);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = *value;
                }
            }
            Self::Insert(index, more) => {
                let at = at(index, &bytes);
                bytes.splice(at..at, more.iter().copied());
            }
            Self::Remove(index, count) => {
                let at = at(index, &bytes);
                bytes.drain(at..(at + count).min(bytes.len()));
            }
            Self::Truncate(index) => bytes.truncate(at(index, &bytes)),
            Self::Repeat(index, count) => {
                let at = at(index, &bytes);
                let end = (at + count).min(bytes.len());
                let again = bytes[at..end].to_vec();
                bytes.splice(end..end, again);
            }
            Self::Splice(index, from) => {
                bytes.truncate(at(index, &bytes));
                bytes.extend(&donor[at(from, donor)..]);
            }
            Self::Word(index, value) => {
                let at = 32 * index.index((bytes.len() / 32).max(1));
                if let Some(word) = bytes.get_mut(at..at + 32) {
                    word.copy_from_slice(&value.to_be_bytes::<32>());
                }
            }
        }
        bytes
    }
}

fn edits(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Edit>> {
    let index = any::<Index>;
    let edit = prop_oneof![
        (index(), any::<u8>()).prop_map(|(at, bit)| Edit::Flip(at, bit)),
        (index(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        (index(), "[ -~\n]{1,4}").prop_map(|(at, more)| Edit::Insert(at, more.into())),
        (index(), prop::collection::vec(any::<u8>(), 1..40))
            .prop_map(|(at, more)| Edit::Insert(at, more)),
        (index(), 1..40usize).prop_map(|(at, count)| Edit::Remove(at, count)),
        index().prop_map(Edit::Truncate),
        (index(), 1..80usize).prop_map(|(at, count)| Edit::Repeat(at, count)),
        (index(), index()).prop_map(|(at, from)| Edit::Splice(at, from)),
        (index(), word()).prop_map(|(at, value)| Edit::Word(at, value)),
    ];
    prop::collection::vec(edit, count)
}

/// Numbers that decoders stumble over, and others.
fn word() -> impl Strategy<Value = U256> {
    prop_oneof![
        select(vec![
            0_u64,
            1,
            2,
            3,
            27,
            28,
            32,
            64,
            65,
            96,
            256,
            1 << 32,
            u64::MAX
        ])
        .prop_map(U256::from),
        Just(U256::ZERO),
        (0..512u64).prop_map(U256::from),
        any::<[u8; 32]>().prop_map(U256::from_be_bytes),
        select(vec![
            U256::MAX,
            U256::MAX - U256::from(31),
            U256::ONE << 255,
            U256::ONE << 64
        ]),
    ]
}

fn edited(edits: &[Edit], bytes: &[u8], donor: &[u8]) -> Vec<u8> {
    edits
        .iter()
        .fold(bytes.to_vec(), |bytes, edit| edit.apply(bytes, donor))
}

fn edited_text(edits: &[Edit], text: &str, donor: &str) -> String {
    String::from_utf8_lossy(&edited(edits, text.as_bytes(), donor.as_bytes())).into_owned()
}

/// One change of the lines of a text.
#[derive(Clone, Debug)]
enum LineEdit {
    Remove(Index),
    Repeat(Index),
    Swap(Index, Index),
    /// Puts a line of another text in.
    Insert(Index, Index),
    /// Puts a line of another text in the place of one.
    Replace(Index, Index),
}

impl LineEdit {
    fn apply<'a>(&self, lines: &mut Vec<&'a str>, donor: &[&'a str]) {
        // An edit never empties a text, and the donor is one that nothing was removed from.
        let (last, at) = (lines.len(), |index: &Index, lines: &[&str]| {
            index.index(lines.len())
        });
        match self {
            Self::Remove(index) if last > 1 => {
                lines.remove(at(index, lines));
            }
            Self::Remove(_) => {}
            Self::Repeat(index) => {
                let at = at(index, lines);
                lines.insert(at, lines[at]);
            }
            Self::Swap(one, other) => {
                let (one, other) = (at(one, lines), at(other, lines));
                lines.swap(one, other);
            }
            Self::Insert(to, from) => lines.insert(to.index(last + 1), donor[at(from, donor)]),
            Self::Replace(to, from) => {
                let to = at(to, lines);
                lines[to] = donor[at(from, donor)];
            }
        }
    }
}

fn line_edits() -> impl Strategy<Value = Vec<LineEdit>> {
    let index = any::<Index>;
    let edit = prop_oneof![
        index().prop_map(LineEdit::Remove),
        index().prop_map(LineEdit::Repeat),
        (index(), index()).prop_map(|(one, other)| LineEdit::Swap(one, other)),
        (index(), index()).prop_map(|(to, from)| LineEdit::Insert(to, from)),
        (index(), index()).prop_map(|(to, from)| LineEdit::Replace(to, from)),
    ];
    prop::collection::vec(edit, 1..4)
}

/// One way to change a message.
#[derive(Clone, Debug)]
enum Change {
    Lines(Vec<LineEdit>),
    Bytes(Vec<Edit>),
    /// A few characters for a few others: small enough that messages survive it.
    Characters(Index, String, usize),
    /// A line of another message for the one with the same label.
    Field(Index),
}

impl Change {
    fn apply(&self, text: &str, donor: &str) -> String {
        let donor_lines: Vec<_> = donor.split('\n').collect();
        let mut lines: Vec<_> = text.split('\n').collect();
        match self {
            Self::Lines(edits) => {
                edits
                    .iter()
                    .for_each(|edit| edit.apply(&mut lines, &donor_lines));
                lines.join("\n")
            }
            Self::Bytes(edits) => edited_text(edits, text, donor),
            Self::Characters(at, more, less) => {
                // The grammar is ASCII, so every place in a valid message is between two characters.
                let at = at.index(text.len() + 1);
                let end = (at + less).min(text.len());
                [&text[..at], more.as_str(), &text[end..]].concat()
            }
            Self::Field(index) => {
                let label = |line: &'_ str| line.find(": ").map(|end| line[..end].to_owned());
                let field = donor_lines[index.index(donor_lines.len())];
                for line in &mut lines {
                    if label(line).is_some() && label(line) == label(field) {
                        *line = field;
                    }
                }
                lines.join("\n")
            }
        }
    }
}

/// A valid message, and what became of it.
fn changed_message() -> impl Strategy<Value = (&'static Seed, String)> {
    let change = prop_oneof![
        line_edits().prop_map(Change::Lines),
        edits(1..4).prop_map(Change::Bytes),
        (any::<Index>(), "[ -~\n]{0,3}", 0..3usize)
            .prop_map(|(at, more, less)| Change::Characters(at, more, less)),
        any::<Index>().prop_map(Change::Field),
    ];
    (seed(), seed(), change)
        .prop_map(|(seed, donor, change)| (seed, change.apply(&seed.text, &donor.text)))
}

/// A valid message of the development key's account, with that key's signatures in both schemes.
#[derive(Debug)]
struct Seed {
    text: String,
    by_eip191: [u8; 65],
    by_eip712: [u8; 65],
}

impl Seed {
    fn message(&self) -> Message<'_> {
        Message::parse(&self.text).unwrap()
    }

    fn signature(&self, scheme: Scheme) -> &[u8; 65] {
        match scheme {
            Scheme::Eip191 => &self.by_eip191,
            Scheme::Eip712 => &self.by_eip712,
        }
    }
}

fn seed() -> impl Strategy<Value = &'static Seed> {
    (0..SEEDS.len()).prop_map(|index| &SEEDS[index])
}

static SEEDS: LazyLock<Vec<Seed>> = LazyLock::new(|| {
    published_messages()
        .map(|published| {
            let mut lines: Vec<_> = published.split('\n').collect();
            lines[1] = SIGNER;
            let text = lines.join("\n");
            let message = Message::parse(&text).unwrap();
            Seed {
                by_eip191: sign(&eip191::hash_message(text.as_bytes())),
                by_eip712: sign(&eip712::hash_message(&message)),
                text,
            }
        })
        .collect()
});

/// The valid messages among the vectors.
fn published_messages() -> impl Iterator<Item = String> {
    let messages = |name: &str, member: &'static str| {
        let of = move |vector: Value| text(&vector, member).unwrap().to_owned();
        read::<Map<String, Value>>(name)
            .into_iter()
            .map(move |(_, vector)| of(vector))
    };
    let typed: Vec<Value> = read("eip712/sign_in.json");
    messages("eip4361/parsing/parsing_positive.json", "message")
        .chain(messages("eip4361/grammar/valid_uris.json", "msg"))
        .chain(messages("eip4361/grammar/valid_resources.json", "msg"))
        .chain(messages("eip4361/grammar/valid_specification.json", "msg"))
        .chain(
            typed
                .into_iter()
                .map(|vector| text(&vector, "message").unwrap().to_owned()),
        )
}

/// The signature of the first well-known development key.
fn sign(hash: &[u8; 32]) -> [u8; 65] {
    static KEY: LazyLock<SigningKey> = LazyLock::new(|| {
        let vectors: Vec<Value> = read("erc8010/wrap.json");
        SigningKey::from_slice(&bytes(&vectors[0], "private_key")).unwrap()
    });
    let (signature, recovery) = KEY.sign_prehash_recoverable(hash);
    let mut bytes = [27 + recovery.to_byte(); 65];
    bytes[..64].copy_from_slice(&signature.to_bytes());
    bytes
}

fn hash(message: &Message<'_>, scheme: Scheme) -> [u8; 32] {
    match scheme {
        Scheme::Eip191 => eip191::hash_message(message.text().as_bytes()),
        Scheme::Eip712 => eip712::hash_message(message),
    }
}

fn scheme() -> impl Strategy<Value = Scheme> {
    select(vec![Scheme::Eip191, Scheme::Eip712])
}

/// The text that the fields of a message make. In its address alone the letters may have either case.
fn written(message: &Message<'_>) -> String {
    let data = &eip712::typed_data(message)["message"];
    let field = |member: &str| text(data, member).unwrap();
    let address = message.text().split('\n').nth(1).unwrap();
    assert_eq!(address.parse(), Ok(message.address));
    let mut written = format!(
        "{} wants you to sign in with your Ethereum account:\n{address}\n\n",
        field("domain")
    );
    if let Some(statement) = message.statement {
        written.push_str(&format!("{statement}\n"));
    }
    written.push_str(&format!(
        "\nURI: {}\nVersion: 1\nChain ID: {}\nNonce: {}\nIssued At: {}",
        message.uri,
        message.chain.id(),
        message.nonce,
        field("issuedAt"),
    ));
    if message.expiration_time.is_some() {
        written.push_str(&format!("\nExpiration Time: {}", field("expirationTime")));
    }
    if message.not_before.is_some() {
        written.push_str(&format!("\nNot Before: {}", field("notBefore")));
    }
    if let Some(id) = message.request_id {
        written.push_str(&format!("\nRequest ID: {id}"));
    }
    if let Some(resources) = &message.resources {
        written.push_str("\nResources:");
        for resource in resources {
            written.push_str(&format!("\n- {resource}"));
        }
    }
    written
}

/// What holds of every text: it is refused, or read in full and the same way twice.
fn is_read_in_full(text: &str) -> Result<bool, TestCaseError> {
    let Ok(message) = Message::parse(text) else {
        return Ok(false);
    };
    prop_assert_eq!(message.text(), text);
    prop_assert_eq!(&written(&message), text);
    let again = message.text().to_owned();
    prop_assert_eq!(Message::parse(&again), Ok(message.clone()));
    let data = &eip712::typed_data(&message)["message"];
    let time = |member| rfc3339::parse(support::text(data, member).unwrap());
    prop_assert_eq!(Some(message.issued_at), time("issuedAt"));
    prop_assert_eq!(message.expiration_time, time("expirationTime"));
    prop_assert_eq!(message.not_before, time("notBefore"));
    Ok(true)
}

#[test]
fn no_text_makes_the_message_parser_panic() {
    let any_text = prop_oneof![any::<String>(), "\\PC{0,400}", "[ -~\n]{0,400}"];
    fuzz("message, any text", any_text, |text| is_read_in_full(&text)).accepted_nothing();
}

/// Lines of many valid messages in the order of the grammar, and sometimes out of it.
fn composed_message() -> impl Strategy<Value = String> {
    let lines = |label: &'static str| -> Vec<&'static str> {
        let found: Vec<_> = SEEDS
            .iter()
            .flat_map(|seed| seed.text.split('\n').filter(move |l| l.starts_with(label)))
            .collect();
        assert!(!found.is_empty(), "{label}");
        found
    };
    let one = move |label| select(lines(label)).prop_map(Some);
    let maybe = move |label| prop::option::of(select(lines(label)));
    let origins: Vec<_> = SEEDS
        .iter()
        .filter_map(|seed| seed.text.split('\n').next())
        .collect();
    let statements: Vec<_> = SEEDS
        .iter()
        .filter_map(|seed| seed.message().statement)
        .collect();
    let address = select(vec![SIGNER, "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"]);
    let statement = prop::option::of(select(statements));
    let head = (select(origins), address, statement).prop_map(|(origin, address, statement)| {
        [Some(origin), Some(address), Some(""), statement, Some("")]
    });
    let fields = (
        one("URI: "),
        one("Version: "),
        one("Chain ID: "),
        one("Nonce: "),
        one("Issued At: "),
        maybe("Expiration Time: "),
        maybe("Not Before: "),
        maybe("Request ID: "),
    );
    let resources = prop::option::of(prop::collection::vec(select(lines("- ")), 0..4));
    let edits = prop_oneof![3 => Just(vec![]), 1 => line_edits()];
    (head, fields, resources, edits).prop_map(|(head, fields, resources, edits)| {
        let (uri, version, chain, nonce, issued, expiration, not_before, id) = fields;
        let fields = [
            uri, version, chain, nonce, issued, expiration, not_before, id,
        ];
        let mut lines: Vec<_> = head.into_iter().chain(fields).flatten().collect();
        if let Some(resources) = resources {
            lines.push("Resources:");
            lines.extend(resources);
        }
        let donor = lines.clone();
        edits.iter().for_each(|edit| edit.apply(&mut lines, &donor));
        lines.join("\n")
    })
}

#[test]
fn messages_made_of_lines_of_messages_are_read_in_full_or_refused() {
    fuzz("message, lines of many", composed_message(), |text| {
        is_read_in_full(&text)
    })
    .accepted_some();
}

#[test]
fn changed_messages_are_read_in_full_or_refused() {
    fuzz("message, changed", changed_message(), |(_, text)| {
        is_read_in_full(&text)
    })
    .accepted_some();
}

/// Whatever is changed in a valid message: what we accept, the other implementation reads as the same fields.
/// It may be stricter in the domain, where it reads the authority of a web URL, which cannot be empty or encoded, and
/// in the leading zeros of addresses in URIs, which only the EIP's vectors have.
#[test]
fn nothing_is_accepted_that_another_parser_reads_differently() {
    let changed = changed_message().prop_map(|(_, text)| text);
    let input = prop_oneof![changed, composed_message()];
    fuzz("message, by two parsers", input, |message| {
        let Ok(ours) = Message::parse(&message) else {
            return Ok(false);
        };
        let theirs: signinwithethereum::Message = match message.parse() {
            Ok(theirs) => theirs,
            Err(error) => {
                let uris = || ours.resources.iter().flatten().chain([&ours.uri]);
                prop_assert!(
                    error.to_string().starts_with("Invalid Domain")
                        || uris().any(|uri| UriStr::new(uri).is_err()),
                    "{error}: {message}"
                );
                return Ok(true);
            }
        };
        prop_assert_eq!(ours.domain, theirs.domain.as_str());
        prop_assert_eq!(ours.address.as_bytes(), &theirs.address);
        prop_assert_eq!(ours.statement, theirs.statement.as_deref());
        prop_assert_eq!(ours.scheme, theirs.scheme.as_deref());
        prop_assert_eq!(ours.uri, theirs.uri.as_str());
        prop_assert_eq!(ours.chain.id(), theirs.chain_id);
        prop_assert_eq!(ours.nonce, &theirs.nonce);
        prop_assert_eq!(ours.request_id, theirs.request_id.as_deref());
        let times = [Some(ours.issued_at), ours.expiration_time, ours.not_before];
        let their_times = [
            Some(theirs.issued_at),
            theirs.expiration_time,
            theirs.not_before,
        ];
        prop_assert_eq!(
            times.map(|time| time.map(Timestamp::as_nanosecond)),
            their_times.map(|time| time.map(|time| time.as_ref().unix_timestamp_nanos()))
        );
        let resources = theirs.resources.iter().map(|uri| uri.as_str());
        prop_assert!(ours.resources.iter().flatten().copied().eq(resources));
        Ok(true)
    })
    .accepted_some();
}

/// What a message says, apart from how its text says it: a field that is absent says what an empty one does.
fn meaning<'a>(message: &Message<'a>) -> impl PartialEq + std::fmt::Debug + use<'a> {
    (
        (message.scheme, message.domain, message.address),
        message.statement.unwrap_or_default(),
        (message.uri, message.chain, message.nonce),
        (
            message.issued_at,
            message.expiration_time,
            message.not_before,
        ),
        message.request_id.unwrap_or_default(),
        message.resources.clone().unwrap_or_default(),
    )
}

#[test]
fn a_signature_speaks_for_one_meaning_of_a_message() {
    let name = "message, changed under its signature";
    let input = (changed_message(), scheme());
    fuzz(name, input, |((seed, text), scheme)| {
        let Ok(message) = Message::parse(&text) else {
            return Ok(false);
        };
        let original = seed.message();
        let signature = seed.signature(scheme).to_vec();
        let signer = concluded(&message, scheme, signature, NO_CODE);
        let same = match scheme {
            Scheme::Eip191 => text == seed.text,
            Scheme::Eip712 => eip712::typed_data(&message) == eip712::typed_data(&original),
        };
        prop_assert_eq!(signer.is_ok(), same);
        if same {
            prop_assert_eq!(meaning(&message), meaning(&original));
        }
        Ok(true)
    })
    .accepted_some();
}

/// All that is read as the same signature: `v` in its two notations, and EIP-2098.
fn notations(signature: &[u8; 65]) -> [Vec<u8>; 3] {
    let (rs, v) = signature.split_at(64);
    let odd = v[0] - 27;
    let mut compact = rs.to_vec();
    compact[32] |= odd << 7;
    [signature.to_vec(), [rs, &[odd]].concat(), compact]
}

/// The three notations, the two wrappers, and the twin with the other `s` that verifies, which is none of them.
fn forms(signature: &[u8; 65]) -> [Vec<u8>; 6] {
    static WRAPPED: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
        ["erc6492/wrap.json", "erc8010/wrap.json"].map(|name| {
            let vectors: Vec<Value> = read(name);
            // Of the delegations the second is for every chain.
            bytes(&vectors[1], "wrapped")
        })
    });
    let [full, parity, compact] = notations(signature);
    let [counterfactual, delegated] = &*WRAPPED;
    let counterfactual = erc6492::Wrapped {
        signature: full.clone(),
        ..erc6492::unwrap(counterfactual).unwrap().unwrap()
    };
    let delegated = [&full, &delegated[full.len()..]].concat();
    let mut twin = twin(&full[..64]);
    twin.push(55 - full[64]);
    [
        full,
        parity,
        compact,
        counterfactual.to_bytes(),
        delegated,
        twin,
    ]
}

/// The delegation in [`forms`].
static GENUINE: LazyLock<Authorization> = LazyLock::new(|| {
    let [.., delegated, _] = forms(&SEEDS[0].by_eip191);
    erc8010::unwrap(&delegated).unwrap().unwrap().authorization
});

/// A message, one form of its signature in one scheme, and what became of that.
fn changed_signature() -> impl Strategy<Value = (&'static Seed, Scheme, Vec<u8>)> {
    let none_or_some = prop_oneof![1 => edits(0..1), 4 => edits(1..4)];
    let input = (seed(), scheme(), 0..6usize, 0..6usize, none_or_some);
    input.prop_map(|(seed, scheme, form, other, edits)| {
        let forms = forms(seed.signature(scheme));
        let changed = edited(&edits, &forms[form], &forms[other]);
        (seed, scheme, changed)
    })
}

/// What a signature says inside its wrapper, if it has one and that is sound.
fn inner(signature: &[u8]) -> Vec<u8> {
    if let Ok(Some(wrapped)) = erc8010::unwrap(signature) {
        wrapped.signature
    } else if let Ok(Some(wrapped)) = erc6492::unwrap(signature) {
        wrapped.signature
    } else {
        signature.to_vec()
    }
}

#[test]
fn no_bytes_make_the_signature_readers_panic() {
    let signature = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..400),
        prop::collection::vec(any::<u8>(), 64..66),
    ];
    let magic = select(vec![&[][..], &erc6492::MAGIC, &erc8010::MAGIC]);
    let input = (
        signature,
        magic,
        "(0x)?[0-9a-fA-Fxg]{0,140}",
        any::<[u8; 32]>(),
    );
    fuzz(
        "signature, any bytes",
        input,
        |(bytes, magic, text, hash)| {
            let bytes = [&bytes, magic].concat();
            let recovered = RecoverableSignature::from_bytes(&bytes)
                .and_then(|signature| signature.recover(&hash));
            let _ = erc6492::unwrap(&bytes);
            let _ = erc8010::unwrap(&bytes);
            if let Ok(read) = bytes_from_hex(&text) {
                prop_assert_eq!(format!("0x{}", hex::encode(read)), text.to_lowercase());
            }
            prop_assert_eq!(
                bytes_from_hex(&format!("0x{}", hex::encode(&bytes))),
                Ok(bytes)
            );
            prop_assert_ne!(recovered, Ok(SIGNER.parse().unwrap()));
            Ok(recovered.is_ok())
        },
    )
    .accepted_some();
}

#[test]
fn a_changed_signature_is_not_the_keys_unless_it_is_the_same_one() {
    let name = "signature, changed";
    fuzz(name, changed_signature(), |(seed, scheme, changed)| {
        let genuine = notations(seed.signature(scheme)).contains(&inner(&changed));
        let recovered = RecoverableSignature::from_bytes(&inner(&changed))
            .and_then(|signature| signature.recover(&hash(&seed.message(), scheme)));
        prop_assert_eq!(recovered == Ok(SIGNER.parse().unwrap()), genuine);
        Ok(genuine)
    })
    .accepted_some();
}

#[test]
fn a_changed_wrapper_is_refused_or_read_as_what_it_says() {
    let name = "wrapper, changed";
    fuzz(name, changed_signature(), |(_, _, changed)| {
        let counterfactual = erc6492::unwrap(&changed);
        if let Ok(Some(wrapped)) = &counterfactual {
            let again = wrapped.to_bytes();
            prop_assert_eq!(erc6492::unwrap(&again), Ok(Some(wrapped.clone())));
            prop_assert_ne!(wrapped.factory, Address::from_bytes([0; 20]));
        }
        let delegated = erc8010::unwrap(&changed);
        if let Ok(Some(wrapped)) = &delegated {
            let of = &wrapped.authorization;
            let suffix = &changed[wrapped.signature.len()..];
            let word = |index: usize| U256::from_be_slice(&suffix[32 * index..32 * (index + 1)]);
            prop_assert_eq!(word(0), U256::from(of.chain));
            prop_assert_eq!(word(1), U256::from_be_slice(of.delegation.as_bytes()));
            prop_assert_eq!(word(2), U256::from(of.nonce));
            prop_assert!(word(3) <= U256::ONE);
            let by_signer = of.authority() == Ok(SIGNER.parse().unwrap());
            prop_assert_eq!(by_signer, *of == *GENUINE);
        }
        let marked = |magic: &[u8]| changed.ends_with(magic);
        prop_assert_eq!(counterfactual == Ok(None), !marked(&erc6492::MAGIC));
        prop_assert_eq!(delegated == Ok(None), !marked(&erc8010::MAGIC));
        Ok(matches!(counterfactual, Ok(Some(_))) || matches!(delegated, Ok(Some(_))))
    })
    .accepted_some();
}

/// An answer about a signature on chain 1 or about there, or anything at all.
fn any_answer() -> impl Strategy<Value = (Answer, Vec<Edit>)> {
    let chain = || prop_oneof![3 => Just(None), 1 => word().prop_map(Some)];
    let verdict = prop_oneof![
        4 => select(vec![NO_CODE, ACCEPTED, REFUSED, INITIALISED]).prop_map(U256::from),
        1 => word(),
    ];
    let returned = prop_oneof![
        2 => Just(erc1271::ACCEPTED.to_vec()),
        1 => Just([erc1271::ACCEPTED; 2].concat()),
        1 => Just(vec![]),
        1 => prop::collection::vec(any::<u8>(), 0..70),
    ];
    let results = prop::collection::vec((prop::bool::weighted(0.8), returned), 1..4);
    let answer = prop_oneof![
        (chain(), [word(), word(), word()], verdict)
            .prop_map(|(chain, block, verdict)| Answer::Validator(chain, block, verdict)),
        (chain(), prop::bool::weighted(0.9), results)
            .prop_map(|(chain, success, results)| Answer::Multicall(chain, success, results)),
        prop::collection::vec(any::<u8>(), 0..200).prop_map(Answer::Bytes),
    ];
    (answer, prop_oneof![2 => edits(0..1), 1 => edits(1..3)])
}

/// What a node may answer; where no chain is named, on the right one.
#[derive(Clone, Debug)]
enum Answer {
    Validator(Option<U256>, [U256; 3], U256),
    Multicall(Option<U256>, bool, Vec<(bool, Vec<u8>)>),
    Bytes(Vec<u8>),
}

impl Answer {
    fn to_bytes(&self, here: ChainId) -> Vec<u8> {
        let here = U256::from(here.id());
        match self {
            Self::Validator(chain, [number, timestamp, parent], verdict) => [
                chain.unwrap_or(here),
                *number,
                *timestamp,
                *parent,
                *verdict,
            ]
            .map(|word| word.to_be_bytes::<32>())
            .concat(),
            Self::Multicall(chain, success, results) => {
                let block = [
                    chain.unwrap_or(here),
                    U256::from(5),
                    U256::from(6),
                    U256::from(7),
                ];
                let mut all = block
                    .map(|word| {
                        let word = word.to_be_bytes::<32>();
                        (*success, Bytes::copy_from_slice(&word))
                    })
                    .to_vec();
                all.extend(
                    results
                        .iter()
                        .map(|(success, data)| (*success, Bytes::copy_from_slice(data))),
                );
                (all,).abi_encode_params()
            }
            Self::Bytes(bytes) => bytes.clone(),
        }
    }
}

/// What a multicall's answer shows of an account, read apart from the service: of six results the first names the chain,
/// the next three the block, and the fifth is the account's.
fn multicall_accepts(returned: &[u8], chain: ChainId) -> bool {
    type Results = (sol_data::Array<(sol_data::Bool, sol_data::Bytes)>,);
    let Ok((results,)) = Results::abi_decode_params(returned) else {
        return false;
    };
    let id = U256::from(chain.id()).to_be_bytes::<32>();
    matches!(
        results.as_slice(),
        [(true, first), (true, _), (true, _), (true, _), (true, account), _]
            if first[..] == id && account[..] == erc1271::ACCEPTED
    )
}

/// The account as the chain has it, beside the answer.
fn state() -> impl Strategy<Value = Option<AccountState>> {
    let nonce = prop_oneof![3 => Just(GENUINE.nonce), 1 => 0..3u64];
    let state = (nonce, any::<bool>());
    prop::option::weighted(
        0.8,
        state.prop_map(|(nonce, has_code)| AccountState { nonce, has_code }),
    )
}

#[test]
fn nobody_is_signed_in_but_by_the_right_answer() {
    let way = select(vec![Way::Creation, Way::Override, Way::Multicall3]);
    let input = (
        changed_signature(),
        any_answer(),
        way,
        state(),
        any::<bool>(),
    );
    fuzz(
        "answer",
        input,
        |((seed, scheme, signature), (answer, edits), way, state, listed)| {
            let message = seed.message();
            let wrapped = erc6492::unwrap(&signature).ok().flatten();
            let factories: Vec<_> = wrapped.iter().map(|wrapped| wrapped.factory).collect();
            let factories = if listed { factories.as_slice() } else { &[] };
            let by_key = notations(seed.signature(scheme)).contains(&inner(&signature));
            let Ok(verification) =
                Verification::new(&message, scheme, signature.clone(), factories)
            else {
                // Only a wrapper can be beyond belief, whatever the chain says.
                prop_assert!(
                    signature.ends_with(&erc6492::MAGIC) || signature.ends_with(&erc8010::MAGIC)
                );
                prop_assert!(!by_key);
                return Ok(false);
            };
            prop_assert_eq!(
                verification.by_key().map(|signer| signer.wallet()),
                by_key.then_some(Wallet::of_key(message.address))
            );
            if by_key {
                return Ok(true);
            }
            prop_assert!(wrapped.is_none() || listed);
            let delegation = erc8010::unwrap(&signature).ok().flatten();
            if let Some(wrapped) = &delegation {
                prop_assert_eq!(&wrapped.authorization, &*GENUINE);
            }
            let returned = answer.to_bytes(message.chain);
            let returned = edited(&edits, &returned, &support::answer(message.chain, ACCEPTED));
            let evidence = verification.conclude(way, &returned, state.as_ref()).ok();
            let signer = evidence.and_then(|evidence| evidence.into_outcome().ok());

            let says = |index: usize, word: u64| {
                let word = U256::from(word).to_be_bytes::<32>();
                returned.get(32 * index..32 * (index + 1)) == Some(word.as_slice())
            };
            let small = |index: usize| {
                let high = returned.get(32 * index..32 * index + 24);
                high.is_some_and(|high| high.iter().all(|byte| *byte == 0))
            };
            let of_validator =
                returned.len() == 160 && says(0, message.chain.id()) && small(1) && small(2);
            let (accepted, initialised) = match way {
                Way::Creation | Way::Override => (
                    of_validator && says(4, ACCEPTED),
                    of_validator && says(4, INITIALISED),
                ),
                Way::Multicall3 => (multicall_accepts(&returned, message.chain), false),
            };
            let proven = match &delegation {
                None => accepted,
                Some(wrapped) => state.is_some_and(|state| {
                    let by_itself = wrapped
                        .initialisation
                        .as_ref()
                        .is_some_and(|(to, _)| *to == message.address);
                    state.nonce == wrapped.authorization.nonce
                        && (accepted || initialised && by_itself && !state.has_code)
                }),
            };
            let expected = proven.then_some(Control::Contract(message.chain));
            let found = signer.map(|signer| signer.wallet().control);
            // A sound answer must be believed; one that is not may be refused for its form alone.
            if found.is_some() || edits.is_empty() {
                prop_assert_eq!(found, expected, "{:?}", returned);
            }
            if let Some(signer) = signer {
                prop_assert_eq!(signer.wallet().address, message.address);
                prop_assert_eq!(signer.chain(), message.chain);
            }
            Ok(signer.is_some())
        },
    )
    .accepted_some();
}

const NOW: i64 = 1_800_000_000;
const LIFETIME: Lifetime = Lifetime {
    idle: Duration::from_secs(3600),
    absolute: Duration::from_secs(86_400),
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(NOW + second).unwrap()
}

/// A moment in the hours around what was minted, often one that decides.
fn moment() -> impl Strategy<Value = i64> {
    prop_oneof![
        3 => 0..3600i64,
        1 => -100..90_000i64,
        1 => select(vec![-31, -30, -29, 299, 300, 329, 330, 331, 3599, 3600, 3601, 86_400]),
    ]
}

fn ring(order: &str) -> KeyRing {
    let entry = |kid: char| format!("{kid}:{}", hex::encode([u8::try_from(kid).unwrap(); 32]));
    KeyRing::parse(&order.chars().map(entry).collect::<Vec<_>>().join(",")).unwrap()
}

const TTL: Duration = Duration::from_secs(300);

/// The id of the store that counts nonces.
const STORE: [u8; 16] = [5; 16];

/// A session of `signer`, also of those of `present`, under the first key of `order`.
fn minted(
    order: &str,
    signer: VerifiedSigner,
    present: Option<&Session>,
    id: u8,
) -> (String, Session) {
    let keys = ring(order);
    let binding = Binding {
        store: STORE,
        domain: "gate.example",
        chain: signer.chain(),
        address: None,
    };
    let nonce = nonce::mint(&keys, &binding, at(0), TTL, [id; 16]);
    let admission = Admission {
        signer,
        nonce: nonce::check(&keys, &nonce, &binding, at(0), TTL)
            .unwrap()
            .consume(1)
            .unwrap(),
        epoch: id.into(),
    };
    let (session, token) =
        session::mint(&keys, &admission, present, at(0), LIFETIME, [id; 16]).unwrap();
    (token.expose().clone(), session)
}

/// Tokens of the service's two keys, and last one of a key that it has not.
static TOKENS: LazyLock<Vec<(String, Session)>> = LazyLock::new(|| {
    let seed = &SEEDS[0];
    let signature = seed.by_eip191.to_vec();
    let by_key = concluded(&seed.message(), Scheme::Eip191, signature, NO_CODE).unwrap();
    let text = seed
        .text
        .replacen(SIGNER, &format!("0x{}", "07".repeat(20)), 1);
    let message = Message::parse(&text).unwrap();
    let by_contract = concluded(&message, Scheme::Eip191, vec![], ACCEPTED).unwrap();
    let first = minted("ab", by_key, None, 1);
    let linked = minted("ab", by_contract, Some(&first.1), 2);
    let by_other_key = minted("ba", by_contract, None, 3);
    vec![first, linked, by_other_key, minted("c", by_key, None, 4)]
});

/// One way to change a token.
#[derive(Clone, Debug)]
enum TokenChange {
    Bytes(Vec<Edit>),
    /// Kid, payload and tag of three tokens.
    Parts([usize; 3]),
    /// The bytes that the payload, or the tag, encodes.
    Decoded(usize, Vec<Edit>),
    UpperCase(Index),
}

impl TokenChange {
    fn apply(&self, token: &str, donor: &str) -> String {
        let parts: Vec<_> = token.split('.').collect();
        match self {
            Self::Bytes(edits) => edited_text(edits, token, donor),
            Self::Parts(from) => {
                let part = |part: usize| TOKENS[from[part]].0.split('.').nth(part).unwrap();
                [part(0), part(1), part(2)].join(".")
            }
            Self::Decoded(part, edits) => {
                let decode = |text: &str| Base64UrlUnpadded::decode_vec(text).unwrap();
                let donor = decode(donor.split('.').nth(*part).unwrap());
                let bytes = edited(edits, &decode(parts[*part]), &donor);
                let encoded = Base64UrlUnpadded::encode_string(&bytes);
                let mut parts = parts;
                parts[*part] = &encoded;
                parts.join(".")
            }
            Self::UpperCase(index) => {
                let at = index.index(token.len());
                let mut token = token.to_owned();
                token[at..=at].make_ascii_uppercase();
                token
            }
        }
    }
}

#[test]
fn no_token_opens_a_session_but_one_that_was_minted_and_that_one_only() {
    let token = || 0..TOKENS.len();
    let change = prop_oneof![
        1 => Just(TokenChange::Bytes(vec![])),
        3 => edits(1..4).prop_map(TokenChange::Bytes),
        1 => [token(), token(), token()].prop_map(TokenChange::Parts),
        2 => (1..3usize, edits(1..4)).prop_map(|(part, edits)| TokenChange::Decoded(part, edits)),
        1 => any::<Index>().prop_map(TokenChange::UpperCase),
    ];
    let input = (token(), token(), change, moment());
    let keys = ring("ab");
    let ours = TOKENS.split_last().unwrap().1;
    fuzz("token, changed", input, |(token, donor, change, now)| {
        let text = change.apply(&TOKENS[token].0, &TOKENS[donor].0);
        let checked = session::check(&keys, &text, at(now), LIFETIME.absolute);
        let minted = ours.iter().find(|(token, _)| *token == text);
        let expected = minted
            .filter(|(_, session)| now >= -30 && at(now) < session.expires_at())
            .map(|(_, session)| session);
        prop_assert_eq!(checked.as_ref().ok(), expected);
        Ok(checked.is_ok())
    })
    .accepted_some();
}

#[test]
fn no_text_is_a_token() {
    let text = prop_oneof![
        any::<String>(),
        "[ab]\\.[A-Za-z0-9_-]{0,440}\\.[A-Za-z0-9_-]{40,44}",
        "[A-Za-z0-9_=.-]{0,500}",
    ];
    let keys = ring("ab");
    fuzz("token, any text", (text, moment()), |(text, now)| {
        Ok(session::check(&keys, &text, at(now), LIFETIME.absolute).is_ok())
    })
    .accepted_nothing();
}

/// Whoever held a key could put anything under its tag. That must not make the service panic, nor a session that it
/// would write in another way than it read it.
#[test]
fn an_authentic_token_of_any_payload_is_a_session_or_refused() {
    let time = || {
        let near = (-4000..90_000i64).prop_map(|second| NOW + second);
        let edges = select(vec![
            i64::MIN,
            i64::MAX,
            0,
            -1,
            253_402_207_200,
            -377_705_023_201,
        ]);
        prop_oneof![8 => near, 1 => edges, 1 => any::<i64>()]
    };
    let member = prop::collection::vec(prop_oneof![Just(0), any::<u8>()], 36);
    let payload = (
        prop_oneof![6 => Just(3), 3 => Just(2), 1 => any::<u8>()],
        any::<[u8; 16]>(),
        [time(), time(), time(), time()],
        prop::collection::vec(member, 0..10),
        prop_oneof![9 => Just(None), 1 => any::<u8>().prop_map(Some)],
        prop_oneof![9 => edits(0..1), 1 => edits(1..2)],
    )
        .prop_map(|(version, id, times, members, count, edits)| {
            let mut payload = vec![version];
            payload.extend(id);
            // The first edition that is read had three times.
            let times = times.iter().skip(usize::from(version == 2));
            payload.extend(times.flat_map(|time| time.to_be_bytes()));
            payload.push(count.unwrap_or(u8::try_from(members.len()).unwrap()));
            payload.extend(members.concat());
            edited(&edits, &payload, &[])
        });
    let keys = ring("ab");
    let input = (payload, moment(), 0..100_000u64);
    fuzz("token, any payload", input, |(payload, now, idle)| {
        let (kid, tag) = keys.sign(Purpose::Session, &[&payload]);
        let [text, tag] = [&payload, &tag[..]].map(Base64UrlUnpadded::encode_string);
        let token = format!("{kid}.{text}.{tag}");
        let Ok(session) = session::check(&keys, &token, at(now), LIFETIME.absolute) else {
            return Ok(false);
        };
        prop_assert!(!session.members().is_empty());
        prop_assert!(session.expires_at() > at(now));
        let end = session.signed_at().checked_add(LIFETIME.absolute);
        let end = end.unwrap_or(Timestamp::MAX);
        prop_assert!(session.expires_at() <= end && session.ends_at() <= end);
        prop_assert!(session.ends_at() <= session.sealed_end());
        let (renewed, token) = session.renew(&keys, at(now), Duration::from_secs(idle));
        prop_assert_eq!(renewed.members(), session.members());
        prop_assert_eq!(renewed.id(), session.id());
        prop_assert!(renewed.expires_at() <= session.ends_at());
        let checked = session::check(&keys, token.expose(), at(now), LIFETIME.absolute);
        let lasts = renewed.expires_at() > at(now);
        prop_assert_eq!(checked.ok(), lasts.then_some(renewed));
        Ok(true)
    })
    .accepted_some();
}

/// What a nonce may be bound to; the domains try to pass for a part of the address or the chain.
fn binding() -> impl Strategy<Value = Binding<'static>> {
    let domains = vec![
        "gate.example",
        "gate.exampl",
        "\u{7}gate.example",
        "example",
    ];
    let addresses = [[7; 20], *b"gate.examplegate.exa"].map(Address::from_bytes);
    (
        select(domains),
        select(vec![1, 2, 0x0700_0000_0000_0000]),
        prop::option::of(select(addresses.to_vec())),
    )
        .prop_map(|(domain, chain, address)| Binding {
            store: STORE,
            domain,
            chain: ChainId::new(chain).unwrap(),
            address,
        })
}

#[test]
fn a_changed_nonce_is_foreign_and_so_is_one_bound_to_something_else() {
    let binding_of = || prop_oneof![2 => Just(None), 1 => binding().prop_map(Some)];
    let change = prop_oneof![2 => edits(0..1), 3 => edits(1..4)];
    let order = select(vec!["ab", "ba", "c"]);
    let input = (
        (binding(), binding_of(), moment()),
        (change, any::<bool>(), order),
    );
    let keys = ring("ab");
    fuzz(
        "nonce, changed",
        input,
        |((made_for, other, now), (edits, upper, order))| {
            let minted = nonce::mint(&ring(order), &made_for, at(0), TTL, [9; 16]);
            let donor = nonce::mint(&keys, &made_for, at(1), TTL, [8; 16]);
            let mut text = edited_text(&edits, &minted, &donor);
            if upper {
                text.make_ascii_uppercase();
            }
            let asked = other.unwrap_or(made_for);
            let checked = nonce::check(&keys, &text, &asked, at(now), TTL);
            let lower = text.to_lowercase();
            let is_bound = (asked.domain, asked.chain) == (made_for.domain, made_for.chain)
                && (made_for.address.is_none() || made_for.address == asked.address);
            // It was minted at 0 or at 1, for as long as nonces last; the clocks may differ by half a minute.
            let (authentic, second) = if lower == donor {
                (true, 1)
            } else {
                (lower == minted && order != "c", 0)
            };
            let ttl = i64::try_from(TTL.as_secs()).unwrap();
            let skew = i64::try_from(CLOCK_SKEW.as_secs()).unwrap();
            let in_time = (second - skew..=second + ttl + skew).contains(&now);
            let expected = (authentic && is_bound && in_time)
                .then(|| hex::encode([if second == 0 { 9_u8 } else { 8 }; 16]));
            prop_assert_eq!(
                checked.ok().map(|nonce| nonce.id().to_owned()),
                expected.clone()
            );
            Ok(expected.is_some())
        },
    )
    .accepted_some();
}

#[test]
fn no_text_is_a_nonce_and_no_authentic_one_makes_the_check_panic() {
    let text = prop_oneof![any::<String>(), "[0-9a-fA-F]{80,84}", "0[23][0-9a-f]{80}"];
    let millis = prop_oneof![
        (-400..400i64).prop_map(|second| (NOW + second) * 1000),
        any::<i64>(),
        select(vec![i64::MIN, i64::MAX, 0, -1]),
    ];
    let input = (text, binding(), any::<u8>(), millis, moment());
    let keys = ring("ab");
    fuzz(
        "nonce, any",
        input,
        |(text, binding, version, millis, now)| {
            let check = |text: &str| nonce::check(&keys, text, &binding, at(now), TTL);
            prop_assert!(check(&text).is_err());
            let header = [&[version % 5], &millis.to_be_bytes()[..], &[1; 16]].concat();
            let address = binding.address.as_ref().map_or(&[][..], |a| a.as_bytes());
            let chain = binding.chain.id().to_be_bytes();
            let domain = binding.domain.as_bytes();
            let parts = [&header, &STORE[..], &chain, address, domain];
            let (_, tag) = keys.sign(Purpose::Nonce, &parts);
            let checked = check(&hex::encode([&header, &tag[..16]].concat()));
            if checked.is_ok() {
                let away = (millis - (NOW + now) * 1000).abs();
                prop_assert!(away <= 330_000, "{}", away);
            }
            Ok(checked.is_ok())
        },
    )
    .accepted_some();
}

/// The deliveries of the vectors.
static DELIVERIES: LazyLock<Vec<Value>> = LazyLock::new(|| read("webhooks/deliveries.json"));

fn key_of(delivery: &Value) -> Key {
    let secret = text(delivery, "secret").unwrap().to_owned();
    Key::new(kind(delivery), &Secret::new(secret)).unwrap()
}

#[test]
fn no_body_makes_the_readers_of_deliveries_panic() {
    let delivery = || select(DELIVERIES.iter().collect::<Vec<_>>());
    let body = prop_oneof![
        6 => (delivery(), delivery(), edits(1..4)).prop_map(|(one, other, edits)| {
            edited_text(&edits, text(one, "body").unwrap(), text(other, "body").unwrap())
        }),
        1 => (delivery(), any::<Index>(), json_value()).prop_map(|(one, at, value)| {
            let mut body = serde_json::from_str(text(one, "body").unwrap()).unwrap();
            *part(&mut body, at) = value;
            body.to_string()
        }),
        1 => any::<String>(),
    ];
    fuzz("delivery, any", (delivery(), body), |(delivery, body)| {
        // Its own source has signed it, or it would not be read.
        let (kind, secret) = (kind(delivery), text(delivery, "secret").unwrap());
        let fields = sign_delivery(kind, secret, &body, &NOW.to_string());
        let key = key_of(delivery);
        let verified = key.verify(&fields, body.as_bytes(), at(0)).unwrap();
        let read = verified.read();
        if let Ok(read) = &read {
            prop_assert!(read.id.as_ref().is_none_or(|id| id.len() <= 256));
            for log in &read.logs {
                prop_assert!(log.topics.len() <= 4 && log.data.len() <= body.len());
                let _ = Transfer::read(log);
            }
        }
        Ok(read.is_ok_and(|read| !read.logs.is_empty()))
    })
    .accepted_some();
}

#[test]
fn a_changed_delivery_is_forged() {
    let input = (select(DELIVERIES.iter().collect::<Vec<_>>()), edits(1..4));
    fuzz("delivery, changed", input, |(delivery, edits)| {
        let body = text(delivery, "body").unwrap().as_bytes();
        let changed = edited(&edits, body, body);
        let fields = headers(delivery);
        let now = Timestamp::from_second(delivery["now"].as_i64().unwrap()).unwrap();
        let key = key_of(delivery);
        let outcome = key.verify(&fields, &changed, now).err();
        prop_assert_eq!(outcome, (changed != body).then_some(Unverified::Forged));
        Ok(outcome.is_none())
    });
}

fn json_value() -> impl Strategy<Value = Value> {
    select(vec![
        Value::Null,
        true.into(),
        0.into(),
        (-1).into(),
        1.5.into(),
        u64::MAX.into(),
        "".into(),
        "0x".into(),
        "0xffffffffffffffffff".into(),
        Value::Array(Vec::new()),
        Value::Object(Map::new()),
    ])
}

/// One of the values that a value is made of.
fn part(value: &mut Value, at: Index) -> &mut Value {
    let mut pointers = vec![String::new()];
    let mut next = 0;
    while let Some(pointer) = pointers.get(next).cloned() {
        match value.pointer(&pointer).unwrap() {
            Value::Array(entries) => {
                pointers.extend((0..entries.len()).map(|index| format!("{pointer}/{index}")));
            }
            Value::Object(members) => {
                pointers.extend(members.keys().map(|name| format!("{pointer}/{name}")));
            }
            _ => {}
        }
        next += 1;
    }
    value
        .pointer_mut(&pointers[at.index(pointers.len())])
        .unwrap()
}
