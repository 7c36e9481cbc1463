//! What a revert says that answers a question about one token: `ownerOf` (EIP-721), `userOf` (ERC-4907), `owner` (ERC-6551).
//!
//! EIP-721 demands that `ownerOf` throws for a token that does not exist, and leaves open how. So a revert in general is
//! consistent with "nobody owns it", but only some say so, and some say that the contract cannot answer at present.

use alloy_sol_types::{Panic, Revert, SolError};

/// What a revert says about the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// There is no such token.
    Nonexistent,
    /// The contract does not answer at present: it is paused, or a check in its own code failed.
    Unavailable,
    /// Neither: without data, with an unknown error, or in words of the contract's own.
    Unexplained,
}

/// A custom error by its selector.
struct CustomError {
    selector: [u8; 4],
    /// Its signature; the tests hash it.
    #[cfg_attr(not(test), expect(dead_code, reason = "the selector is its hash"))]
    signature: &'static str,
    meaning: Meaning,
}

const ERRORS: [CustomError; 9] = [
    // EIP-6093, OpenZeppelin Contracts 5.
    CustomError {
        selector: [0x7e, 0x27, 0x32, 0x89],
        signature: "ERC721NonexistentToken(uint256)",
        meaning: Meaning::Nonexistent,
    },
    // ERC721A 4 (chiru-labs/ERC721A, IERC721A.sol).
    CustomError {
        selector: [0xdf, 0x2d, 0x9b, 0x42],
        signature: "OwnerQueryForNonexistentToken()",
        meaning: Meaning::Nonexistent,
    },
    // Solady (vectorized/solady, ERC721.sol), also DN404's mirror.
    CustomError {
        selector: [0xce, 0xea, 0x21, 0xb6],
        signature: "TokenDoesNotExist()",
        meaning: Meaning::Nonexistent,
    },
    // SolidState (solidstate-network/solidstate-solidity, IERC721BaseInternal.sol): the zero address as owner.
    CustomError {
        selector: [0x7e, 0x1a, 0x7d, 0x8b],
        signature: "ERC721Base__InvalidOwner()",
        meaning: Meaning::Nonexistent,
    },
    // Solidity: failed assertions, overflow, an index out of bounds.
    CustomError {
        selector: Panic::SELECTOR,
        signature: "Panic(uint256)",
        meaning: Meaning::Unavailable,
    },
    // OpenZeppelin Contracts 5 (Pausable.sol).
    CustomError {
        selector: [0xd9, 0x3c, 0x06, 0x65],
        signature: "EnforcedPause()",
        meaning: Meaning::Unavailable,
    },
    // SolidState (Pausable.sol).
    CustomError {
        selector: [0x05, 0x95, 0x19, 0xda],
        signature: "Pausable__Paused()",
        meaning: Meaning::Unavailable,
    },
    // Names that contracts give the same error of their own.
    CustomError {
        selector: [0x9e, 0x87, 0xfa, 0xc8],
        signature: "Paused()",
        meaning: Meaning::Unavailable,
    },
    CustomError {
        selector: [0xab, 0x35, 0x69, 0x6f],
        signature: "ContractPaused()",
        meaning: Meaning::Unavailable,
    },
];

/// Reasons, whole, that say that there is no such token.
const NONEXISTENT: [&str; 7] = [
    // OpenZeppelin Contracts 2 to 4.6 (ERC721.sol).
    "ERC721: owner query for nonexistent token",
    // OpenZeppelin Contracts 4.7 to 4.9.
    "ERC721: invalid token ID",
    // Solmate 6 (transmissions11/solmate, ERC721.sol).
    "NOT_MINTED",
    // ERC721A 1 to 3: for ids that were not minted, and for burned ones.
    "ERC721A: owner query for nonexistent token",
    "ERC721A: unable to determine the owner of token",
    // nibbstack/erc721, formerly 0xcert (nf-token.sol: NOT_VALID_NFT).
    "003002",
    // ERC721Psi (estarriolvetch/ERC721Psi).
    "ERC721Psi: owner query for nonexistent token",
];

/// In a reason of any contract: "Pausable: paused" of OpenZeppelin Contracts 2 to 4, and its likes.
const PAUSED: &str = "paus";

/// What a revert with this data says. A call that ran out of gas looks like one without data: the caller tells them apart.
pub fn meaning(data: &[u8]) -> Meaning {
    if data.starts_with(&Revert::SELECTOR) {
        let Ok(Revert { reason }) = Revert::abi_decode(data) else {
            return Meaning::Unexplained;
        };
        return if NONEXISTENT.contains(&reason.as_str()) {
            Meaning::Nonexistent
        } else if reason.to_ascii_lowercase().contains(PAUSED) {
            Meaning::Unavailable
        } else {
            Meaning::Unexplained
        };
    }
    ERRORS
        .iter()
        .find(|error| data.starts_with(&error.selector))
        .map_or(Meaning::Unexplained, |error| error.meaning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_selector_is_the_hash_of_its_signature() {
        for error in ERRORS {
            let hash = alloy_primitives::keccak256(error.signature);
            assert_eq!(hash[..4], error.selector, "{}", error.signature);
        }
    }

    #[test]
    fn a_reason_counts_whole_and_a_pause_in_any_words() {
        let said = |reason: &str| meaning(&Revert::from(reason).abi_encode());
        for reason in NONEXISTENT {
            assert_eq!(said(reason), Meaning::Nonexistent, "{reason}");
            let longer = format!("low-level call failed: {reason}");
            assert_eq!(said(&longer), Meaning::Unexplained, "{longer}");
        }
        for reason in [
            "Pausable: paused",
            "PAUSED",
            "the list pauses until tomorrow",
        ] {
            assert_eq!(said(reason), Meaning::Unavailable, "{reason}");
        }
        for reason in ["", "Address: low-level call failed", "not minted"] {
            assert_eq!(said(reason), Meaning::Unexplained, "{reason}");
        }
    }

    #[test]
    fn data_that_is_no_whole_error_says_nothing() {
        let whole = Revert::from("NOT_MINTED").abi_encode();
        for length in 0..whole.len() - 31 {
            let cut = whole.get(..length).unwrap_or_default();
            assert_eq!(meaning(cut), Meaning::Unexplained, "{length}");
        }
        assert_eq!(meaning(&[0; 1024]), Meaning::Unexplained);
    }
}
