//! ERC-165 (EIP-165): which interfaces a contract says that it has.

use alloy_sol_types::{SolCall, sol};

use super::DecodeError;

sol! {
    function supportsInterface(bytes4 interfaceId) external view returns (bool);
}

/// The identifier of ERC-721 (EIP-721).
pub const ERC721: [u8; 4] = [0x80, 0xac, 0x58, 0xcd];
/// The identifier of ERC-1155 (EIP-1155).
pub const ERC1155: [u8; 4] = [0xd9, 0xb6, 0x7a, 0x26];
/// No interface: a contract that claims this one answers anything with `true`.
pub const NONE: [u8; 4] = [0xff; 4];

/// Calldata of `supportsInterface(id)`.
pub fn supports_interface(id: [u8; 4]) -> Vec<u8> {
    supportsInterfaceCall {
        interfaceId: id.into(),
    }
    .abi_encode()
}

/// The answer to [`supports_interface`].
///
/// # Errors
/// [`DecodeError`], also for the empty answer of an address without code.
pub fn decode_supports_interface(returned: &[u8]) -> Result<bool, DecodeError> {
    supportsInterfaceCall::abi_decode_returns_validate(returned).map_err(|_| DecodeError)
}
