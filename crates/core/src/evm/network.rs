//! What is known of the well-known networks. Everything here can be overridden in `tokengate.toml`.
//!
//! Names and block times are those of viem's chain definitions.

use std::time::Duration;

use crate::ChainId;
use crate::abi::reader::Form;

/// A network's own traits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// EIP-155 chain id.
    pub id: u64,
    /// What people call it.
    pub name: &'static str,
    /// From block to block, in milliseconds, as far as it is steady.
    pub block_time: u32,
    /// How it is read, where that need not be found out by asking.
    pub reader: Option<Form>,
}

/// An unknown network is believed to be like Ethereum.
const DEFAULT_BLOCK_TIME: u32 = 12_000;

/// How far behind the others a provider may be, in time and at the least in blocks.
const TOLERANCE_MS: u32 = 15_000;
const LEAST_TOLERANCE: u64 = 3;

/// How old the newest block of a known network may be before its provider must have stopped following it.
const HEAD_AGE: Duration = Duration::from_secs(300);

/// How long finality takes at the most where it takes minutes: some four times Ethereum's.
const FINALITY_AGE: Duration = Duration::from_secs(60 * 60);

/// Tron and its test networks Shasta and Nile, whose JSON-RPC reference has "latest" for `eth_call` and nothing else.
const TRON: [u64; 3] = [728_126_428, 2_494_104_990, 3_448_148_188];

/// Networks whose finality waits for a proof of validity: ZKsync Era, Linea, Scroll and their test networks.
const PROVEN_LATE: [u64; 5] = [324, 59_141, 59_144, 534_351, 534_352];

const fn network(id: u64, name: &'static str, block_time: u32) -> Network {
    Network {
        id,
        name,
        block_time,
        reader: None,
    }
}

/// By id.
const NETWORKS: [Network; 36] = [
    network(1, "Ethereum", 12_000),
    network(10, "OP Mainnet", 2_000),
    network(25, "Cronos", 1_000),
    network(56, "BNB Smart Chain", 750),
    network(100, "Gnosis", 5_000),
    network(130, "Unichain", 1_000),
    network(137, "Polygon", 2_000),
    network(146, "Sonic", 630),
    network(252, "Fraxtal", 2_000),
    // Its virtual machine runs no EVM bytecode that a call brings along.
    Network {
        reader: Some(Form::Calls),
        ..network(324, "ZKsync Era", 200)
    },
    network(480, "World Chain", 2_000),
    network(5_000, "Mantle", 2_000),
    network(8_453, "Base", 2_000),
    network(10_200, "Gnosis Chiado", 5_000),
    network(17_000, "Holesky", 12_000),
    network(34_443, "Mode", 2_000),
    network(42_161, "Arbitrum One", 250),
    network(42_170, "Arbitrum Nova", 250),
    network(42_220, "Celo", 1_000),
    network(43_113, "Avalanche Fuji", 1_700),
    network(43_114, "Avalanche", 1_700),
    network(57_073, "Ink", 2_000),
    network(59_141, "Linea Sepolia", 2_000),
    network(59_144, "Linea", 2_000),
    network(80_002, "Polygon Amoy", 2_000),
    network(80_094, "Berachain", 2_000),
    network(81_457, "Blast", 2_000),
    network(84_532, "Base Sepolia", 2_000),
    network(421_614, "Arbitrum Sepolia", 250),
    network(534_351, "Scroll Sepolia", 3_000),
    network(534_352, "Scroll", 3_000),
    network(560_048, "Hoodi", 12_000),
    network(7_777_777, "Zora", 2_000),
    network(11_155_111, "Sepolia", 12_000),
    network(11_155_420, "OP Sepolia", 2_000),
    network(33_139, "ApeChain", 250),
];

impl Network {
    /// What is known of `chain`, if anything.
    pub fn of(chain: ChainId) -> Option<&'static Self> {
        NETWORKS.iter().find(|network| network.id == chain.id())
    }

    /// How many blocks a provider of `chain` may be behind the others.
    pub fn tolerance(chain: ChainId) -> u64 {
        let block_time = Self::of(chain).map_or(DEFAULT_BLOCK_TIME, |network| network.block_time);
        u64::from(TOLERANCE_MS.div_ceil(block_time)).max(LEAST_TOLERANCE)
    }

    /// Whether nodes of `chain` answer `eth_call` at no other block than the newest one.
    pub fn knows_latest_alone(chain: ChainId) -> bool {
        TRON.contains(&chain.id())
    }

    /// How far the `safe` or `finalized` block of `chain` may be behind its newest one before its finality must have
    /// stalled. Rollups that prove their blocks take hours, and are not bounded.
    pub fn finality_age(chain: ChainId) -> Option<Duration> {
        let network = Self::of(chain)?;
        (!PROVEN_LATE.contains(&network.id)).then_some(FINALITY_AGE)
    }

    /// How old the newest block of `chain` may be; of an unknown chain, which may make blocks on demand only, any age.
    pub fn head_age(chain: ChainId) -> Option<Duration> {
        Self::of(chain).map(|_| HEAD_AGE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_network_stands_once() {
        for (index, network) in NETWORKS.iter().enumerate() {
            assert!(ChainId::new(network.id).is_some());
            assert!(network.block_time > 0, "{}", network.name);
            let others = &NETWORKS[..index];
            assert!(others.iter().all(|other| other.id != network.id));
            assert!(others.iter().all(|other| other.name != network.name));
        }
    }

    #[test]
    fn tolerances_are_of_seconds_and_never_of_a_single_block() {
        let tolerance = |id| Network::tolerance(ChainId::new(id).unwrap());
        assert_eq!(tolerance(1), 3);
        assert_eq!(tolerance(8_453), 8);
        assert_eq!(tolerance(42_161), 60);
        assert_eq!(tolerance(31_337), 3);
        assert_eq!(Network::head_age(ChainId::new(31_337).unwrap()), None);
    }
}
