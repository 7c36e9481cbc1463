// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.0;

/// Signatures of 65 bytes, r ‖ s ‖ v, with v in {27, 28} and s in the lower half of the order.
library Ecdsa {
    uint256 private constant HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    /// Whether `account`'s key made `signature` over `hash`.
    function isBy(address account, bytes32 hash, bytes calldata signature) internal pure returns (bool) {
        if (account == address(0) || signature.length != 65) return false;
        uint256 s = uint256(bytes32(signature[32:64]));
        if (s > HALF_ORDER) return false;
        return ecrecover(hash, uint8(signature[64]), bytes32(signature[:32]), bytes32(s)) == account;
    }
}
