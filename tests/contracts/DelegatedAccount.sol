// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.0;

import {Ecdsa} from "./Ecdsa.sol";

/// Code that an externally owned account delegates to (EIP-7702): it accepts what the account's own key signed, and what
/// the session key signed that the account's own key authorised.
contract DelegatedAccount {
    address public sessionKey;

    /// Anyone may bring the authorisation; the account's own key signed it over keccak-256 of
    /// `abi.encode(chainId, account, key)`.
    function authoriseBySignature(address key, bytes calldata signature) external {
        bytes32 hash = keccak256(abi.encode(block.chainid, address(this), key));
        require(Ecdsa.isBy(address(this), hash, signature), "not signed by the account");
        sessionKey = key;
    }

    function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4) {
        bool valid = Ecdsa.isBy(address(this), hash, signature) || Ecdsa.isBy(sessionKey, hash, signature);
        return valid ? this.isValidSignature.selector : bytes4(0xffffffff);
    }
}
