// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.0;

import {Ecdsa} from "./Ecdsa.sol";

/// A contract account with one owner, who signs the hash itself (ERC-1271).
contract SmartAccount {
    address public immutable owner;

    constructor(address owner_) {
        owner = owner_;
    }

    function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4) {
        return Ecdsa.isBy(owner, hash, signature) ? this.isValidSignature.selector : bytes4(0xffffffff);
    }
}

/// Deploys accounts at addresses that are known beforehand (CREATE2), as ERC-6492 needs.
contract SmartAccountFactory {
    /// The account of `owner` for `salt`, which is deployed unless it already is.
    function createAccount(address owner, bytes32 salt) external returns (address account) {
        account = getAddress(owner, salt);
        if (account.code.length == 0) new SmartAccount{salt: salt}(owner);
    }

    function getAddress(address owner, bytes32 salt) public view returns (address) {
        bytes32 code = keccak256(abi.encodePacked(type(SmartAccount).creationCode, abi.encode(owner)));
        return address(uint160(uint256(keccak256(abi.encodePacked(bytes1(0xff), address(this), salt, code)))));
    }
}
