//! Networks by the names that Alchemy's webhooks give them.
//!
//! Source: `Network` and `CustomNetworks` of alchemy-sdk-js 3.6 (`src/types/types.ts`, `src/util/const.ts`), whose names are
//! those of the Notify API; of networks that have none there, <https://www.alchemy.com/docs/reference/node-supported-chains>.
//! Former test networks are listed too: a delivery of one is another chain's, and not of an unknown one.

use crate::ChainId;

/// By name.
const NETWORKS: [(&str, u64); 101] = [
    ("ABSTRACT_MAINNET", 2_741),
    ("ABSTRACT_TESTNET", 11_124),
    ("APECHAIN_CURTIS", 33_111),
    ("APECHAIN_MAINNET", 33_139),
    ("ARBNOVA_MAINNET", 42_170),
    ("ARB_GOERLI", 421_613),
    ("ARB_MAINNET", 42_161),
    ("ARB_SEPOLIA", 421_614),
    ("ASTAR_MAINNET", 592),
    ("AVAX_FUJI", 43_113),
    ("AVAX_MAINNET", 43_114),
    ("BASE_GOERLI", 84_531),
    ("BASE_MAINNET", 8_453),
    ("BASE_SEPOLIA", 84_532),
    ("BERACHAIN_BARTIO", 80_084),
    ("BERACHAIN_BEPOLIA", 80_069),
    ("BERACHAIN_MAINNET", 80_094),
    ("BLAST_MAINNET", 81_457),
    ("BLAST_SEPOLIA", 168_587_773),
    ("BNB_MAINNET", 56),
    ("BNB_TESTNET", 97),
    ("CELO_ALFAJORES", 44_787),
    ("CELO_BAKLAVA", 62_320),
    ("CELO_MAINNET", 42_220),
    ("CROSSFI_MAINNET", 4_158),
    ("CROSSFI_TESTNET", 4_157),
    ("DEGEN_MAINNET", 666_666_666),
    ("ETH_GOERLI", 5),
    ("ETH_HOLESKY", 17_000),
    ("ETH_HOODI", 560_048),
    ("ETH_MAINNET", 1),
    ("ETH_SEPOLIA", 11_155_111),
    ("FANTOM_MAINNET", 250),
    ("FANTOM_TESTNET", 4_002),
    ("FLOW_MAINNET", 747),
    ("FLOW_TESTNET", 545),
    ("FRAX_MAINNET", 252),
    ("FRAX_SEPOLIA", 2_522),
    ("GEIST_MAINNET", 63_157),
    ("GEIST_POLTER", 631_571),
    ("GENSYN_TESTNET", 685_685),
    ("GNOSIS_CHIADO", 10_200),
    ("GNOSIS_MAINNET", 100),
    ("INK_MAINNET", 57_073),
    ("INK_SEPOLIA", 763_373),
    ("LENS_MAINNET", 232),
    ("LENS_SEPOLIA", 37_111),
    ("LINEA_MAINNET", 59_144),
    ("LINEA_SEPOLIA", 59_141),
    ("LUMIA_PRISM", 994_873_017),
    ("LUMIA_TESTNET", 1_952_959_480),
    ("MANTLE_MAINNET", 5_000),
    ("MANTLE_SEPOLIA", 5_003),
    ("MATIC_AMOY", 80_002),
    ("MATIC_MAINNET", 137),
    ("MATIC_MUMBAI", 80_001),
    ("METIS_MAINNET", 1_088),
    ("MONAD_MAINNET", 143),
    ("MONAD_TESTNET", 10_143),
    ("OPBNB_MAINNET", 204),
    ("OPBNB_TESTNET", 5_611),
    ("OPT_GOERLI", 420),
    ("OPT_MAINNET", 10),
    ("OPT_SEPOLIA", 11_155_420),
    ("POLYGONZKEVM_CARDONA", 2_442),
    ("POLYGONZKEVM_MAINNET", 1_101),
    ("POLYGONZKEVM_TESTNET", 1_442),
    ("POLYNOMIAL_MAINNET", 8_008),
    ("POLYNOMIAL_SEPOLIA", 8_009),
    ("RONIN_MAINNET", 2_020),
    ("RONIN_SAIGON", 2_021),
    ("ROOTSTOCK_MAINNET", 30),
    ("ROOTSTOCK_TESTNET", 31),
    ("SCROLL_MAINNET", 534_352),
    ("SCROLL_SEPOLIA", 534_351),
    ("SEI_MAINNET", 1_329),
    ("SEI_TESTNET", 1_328),
    ("SETTLUS_MAINNET", 5_371),
    ("SETTLUS_SEPTESTNET", 5_373),
    ("SHAPE_MAINNET", 360),
    ("SHAPE_SEPOLIA", 11_011),
    ("SONEIUM_MAINNET", 1_868),
    ("SONEIUM_MINATO", 1_946),
    ("SONIC_BLAZE", 57_054),
    ("SONIC_MAINNET", 146),
    ("STORY_AENEID", 1_315),
    ("STORY_MAINNET", 1_514),
    ("SUPERSEED_MAINNET", 5_330),
    ("SUPERSEED_SEPOLIA", 53_302),
    ("TEA_SEPOLIA", 10_218),
    ("UNICHAIN_MAINNET", 130),
    ("UNICHAIN_SEPOLIA", 1_301),
    ("WORLDCHAIN_MAINNET", 480),
    ("WORLDCHAIN_SEPOLIA", 4_801),
    ("XMTP_TESTNET", 241_320_161),
    ("ZETACHAIN_MAINNET", 7_000),
    ("ZETACHAIN_TESTNET", 7_001),
    ("ZKSYNC_MAINNET", 324),
    ("ZKSYNC_SEPOLIA", 300),
    ("ZORA_MAINNET", 7_777_777),
    ("ZORA_SEPOLIA", 999_999_999),
];

/// The chain of this name.
pub(super) fn chain(name: &str) -> Option<ChainId> {
    let at = NETWORKS
        .binary_search_by_key(&name, |(name, _)| name)
        .ok()?;
    let (_, id) = NETWORKS.get(at)?;
    ChainId::new(*id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Network;

    #[test]
    fn names_are_in_order_and_each_is_found() {
        assert!(NETWORKS.is_sorted_by(|(one, _), (other, _)| one < other));
        for (name, id) in NETWORKS {
            assert_eq!(chain(name).map(ChainId::id), Some(id), "{name}");
        }
        assert_eq!(
            chain("ETH_MAINNET")
                .and_then(Network::of)
                .map(|known| known.name),
            Some("Ethereum")
        );
        assert_eq!(chain("RONIN_MAINNET").map(ChainId::id), Some(2_020));
        assert_eq!(chain("SOLANA_MAINNET"), None);
        assert_eq!(chain("eth_mainnet"), None);
    }
}
