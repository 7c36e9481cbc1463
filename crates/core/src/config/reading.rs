//! Fingerprints of how chains are read: what separates facts in the shared store that were read in different ways.

use std::collections::BTreeMap;

use super::{Chain, ReadAt};
use crate::abi::reader::Form;
use crate::gate::Gate;
use crate::jsonrpc::BlockTag;
use crate::{ChainId, fingerprint};

/// The edition of what is stored of chains: one more whenever a stored value would mean something else to older code.
const EDITION: u32 = 2;

/// The fingerprints of a configuration, made once.
#[derive(Clone, Debug, Default)]
pub(super) struct Spaces {
    chains: BTreeMap<ChainId, String>,
    facts: BTreeMap<(ChainId, usize), String>,
}

impl Spaces {
    pub(super) fn new(chains: &BTreeMap<ChainId, Chain>, gates: &[Gate]) -> Self {
        let mut spaces = Self::default();
        for chain in chains.values() {
            let reading = reading(chain);
            spaces.chains.insert(chain.id, short(&reading));
            // What no gate demands is read as the chain demands it.
            let quorums = gates.iter().map(|gate| gate.agreement).chain([1]);
            for quorum in quorums.map(|agreement| agreement.max(chain.agreement)) {
                let name = || short(&format!("{reading} quorum={quorum}"));
                spaces.facts.entry((chain.id, quorum)).or_insert_with(name);
            }
        }
        spaces
    }

    pub(super) fn of_facts(&self, chain: ChainId, quorum: usize) -> Option<&str> {
        self.facts.get(&(chain, quorum)).map(String::as_str)
    }

    pub(super) fn of_chain(&self, chain: ChainId) -> Option<&str> {
        self.chains.get(&chain).map(String::as_str)
    }
}

/// All of the configuration that decides which answers are facts of `chain`, but for the quorum. Nothing that is found
/// out at run time: two instances of one configuration must have one key for a fact.
fn reading(chain: &Chain) -> String {
    // Every field is named here, so that a new one is put on one side or the other.
    let Chain {
        id,
        name: _,
        // Their URLs are variables, and whom an operator adds or removes says nothing of what the others have answered.
        providers: _,
        read_at,
        reader,
        // What a reader's answer costs says nothing of what it is.
        deposit_gas: _,
        tolerance,
        head_age,
        agreement: _,
        batch: _,
        // Of sign-ins.
        factories: _,
    } = chain;
    let block = match read_at {
        ReadAt::Tag(BlockTag::Latest) => "latest".to_owned(),
        ReadAt::Tag(BlockTag::Safe) => "safe".to_owned(),
        ReadAt::Tag(BlockTag::Finalized) => "finalized".to_owned(),
        ReadAt::Tag(BlockTag::Number(number)) => format!("number:{number}"),
        ReadAt::Tag(BlockTag::Hash(hash)) => format!("hash:{}", hex::encode(hash)),
        ReadAt::Confirmations(count) => format!("confirmations:{count}"),
    };
    let reader = match reader {
        // Which of them each provider takes is found at run time.
        None => "any".to_owned(),
        Some(Form::Override) => "override".to_owned(),
        Some(Form::Creation) => "creation".to_owned(),
        Some(Form::Calls) => "calls".to_owned(),
        Some(Form::Deployed(address)) => address.to_lower_hex(),
    };
    let head_age = head_age.map_or_else(|| "none".to_owned(), |age| age.as_millis().to_string());
    format!(
        "edition={EDITION} chain={id} block={block} reader={reader} head_age={head_age} tolerance={tolerance}"
    )
}

/// 8 bytes in hexadecimal: an operator chooses what is hashed, so nobody looks for collisions.
fn short(text: &str) -> String {
    let [a, b, c, d, e, f, g, h, ..] = fingerprint(&[text.as_bytes()]);
    hex::encode([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use crate::ChainId;
    use crate::config::Config;

    /// A configuration with a chain of three providers, and gates of these agreements.
    fn config(chain: &str, agreements: &[usize]) -> Config {
        let gates = agreements.iter().enumerate().map(|(n, agreement)| {
            format!(
                "[[gate]]\nid = \"g{n}\"\nresources = [\"media/{n}/**\"]\nmax_age = \"5m\"\nquorum = {agreement}\n\
                 require = {{ native = {{ chain = \"eip155:1\", at_least = \"5\" }} }}\n"
            )
        });
        let text = format!(
            "[service]\ndomains = [\"gate.example\"]\nsession_ttl = \"1h\"\nurl_ttl = \"5m\"\n\
             [[chain]]\nid = \"eip155:1\"\nproviders = [\"{{{{ a }}}}\", \"{{{{ b }}}}\", \"{{{{ c }}}}\"]\n{chain}\n\
             [[bucket]]\nid = \"media\"\nendpoint = \"http://127.0.0.1:9000\"\nregion = \"r\"\naddressing = \"path\"\n\
             credentials = \"media\"\n{}",
            gates.collect::<String>()
        );
        Config::parse(&text).unwrap()
    }

    fn one() -> ChainId {
        ChainId::new(1).unwrap()
    }

    fn space(chain: &str) -> String {
        let config = config(chain, &[1]);
        config.fact_space(one(), 1).unwrap().to_owned()
    }

    /// Settings of a chain of which any two are another way of reading it.
    const READINGS: [&str; 16] = [
        "",
        "block = \"safe\"",
        "block = \"finalized\"",
        "confirmations = 0",
        "confirmations = 1",
        "confirmations = 12",
        "quorum = 2",
        "quorum = 3",
        "quorum = 2\nblock = \"finalized\"",
        "reader = \"calls\"",
        "reader = \"override\"",
        "reader = \"0x5fbdb2315678afecb367f032d93f642f64180aa3\"",
        "max_head_age = \"none\"",
        "max_head_age = \"7s\"",
        "max_lag = 0",
        "max_lag = 7",
    ];

    #[test]
    fn facts_of_chains_that_are_read_differently_have_different_keys() {
        let mut seen = HashMap::new();
        for chain in READINGS {
            let space = space(chain);
            assert!(space.len() == 16 && space.bytes().all(|b| b.is_ascii_hexdigit()));
            assert_eq!(seen.insert(space, chain), None, "{chain}");
        }
        for number in [0, 1, 12] {
            let mut config = config("", &[1]);
            assert!(config.read_at_block(one(), number));
            let space = config.fact_space(one(), 1).unwrap().to_owned();
            assert_eq!(seen.insert(space, "number"), None, "{number}");
        }
    }

    #[test]
    fn one_configuration_has_one_key_for_a_fact_whatever_else_it_says() {
        for chain in READINGS {
            assert_eq!(space(chain), space(chain));
            let more = format!("name = \"Mainnet\"\nbatch = {{ reads = 7 }}\n{chain}");
            assert_eq!(space(chain), space(&more), "{chain}");
        }
        // The default says the same as the default in words.
        assert_eq!(space(""), space("block = \"latest\"\nquorum = 1"));
        let other = config("", &[1, 2, 1]);
        assert_eq!(other.fact_space(one(), 1), Some(space("").as_str()));
    }

    #[test]
    fn the_quorum_of_a_fact_is_the_larger_one_of_the_chains_and_the_gates() {
        let space = |chain: &str, agreements: &[usize], agreement| {
            let config = config(chain, agreements);
            config.fact_space(one(), agreement).map(str::to_owned)
        };
        let two = space("quorum = 2", &[1], 1);
        assert!(two.is_some());
        assert_eq!(space("", &[1, 2], 2), two, "the gate demands it");
        assert_eq!(space("quorum = 2", &[1, 2], 2), two, "both do");
        assert_ne!(space("", &[1, 2], 1), two);
        assert_ne!(space("quorum = 2", &[1, 3], 3), two);
        assert_eq!(space("", &[1, 2], 3), None, "nobody demands it");
        let quorums = |chain: &str, agreements: &[usize]| {
            Vec::from_iter(config(chain, agreements).quorums(one()))
        };
        assert_eq!(quorums("", &[1, 3, 1]), [1, 3]);
        assert_eq!(quorums("quorum = 2", &[1, 3, 1]), [2, 3]);
        assert_eq!(quorums("quorum = 2", &[1, 2]), [2], "each once");
        for chain in ["", "quorum = 2"] {
            let config = config(chain, &[1, 2, 3]);
            for quorum in config.quorums(one()) {
                let space = config.fact_space(one(), quorum);
                assert!(space.is_some(), "what is invalidated has a key");
            }
        }
    }

    #[test]
    fn what_is_stored_of_a_chain_itself_depends_on_how_it_is_read_and_on_no_quorum() {
        let space = |chain: &str| {
            let config = config(chain, &[1, 2]);
            config.chain_space(one()).unwrap().to_owned()
        };
        assert_eq!(space(""), space("quorum = 2"));
        assert_ne!(space(""), space("block = \"finalized\""));
        let config = config("", &[1]);
        assert_ne!(config.chain_space(one()), config.fact_space(one(), 1));
        let unknown = ChainId::new(2).unwrap();
        assert_eq!(
            (config.chain_space(unknown), config.fact_space(unknown, 1)),
            (None, None)
        );
    }
}
