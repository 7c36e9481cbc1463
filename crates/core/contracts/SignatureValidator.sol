// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.0;

interface IERC1271 {
    function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4 magicValue);
}

/// Asks an account whether a signature is its own (ERC-1271), after a call of its factory if it may still have to be
/// deployed (ERC-6492). It is never deployed: the constructor runs in one `eth_call` without a destination and answers
/// `(uint256 chainId, uint256 blockNumber, uint256 verdict)` where it would otherwise leave code behind.
contract SignatureValidator {
    uint256 private constant NO_CODE = 0;
    uint256 private constant ACCEPTED = 1;
    uint256 private constant REFUSED = 2;

    /// `factory` is zero where there is none.
    constructor(
        address account,
        bytes32 hash,
        bytes memory signature,
        address factory,
        bytes memory factoryCalldata
    ) {
        bytes memory question = abi.encodeCall(IERC1271.isValidSignature, (hash, signature));
        uint256 verdict = judge(account, question);
        if (verdict != ACCEPTED && factory != address(0)) {
            // What the factory answers does not matter: afterwards there is an account, or there is none.
            assembly ("memory-safe") {
                pop(call(shr(1, gas()), factory, 0, add(factoryCalldata, 0x20), mload(factoryCalldata), 0, 0))
            }
            verdict = judge(account, question);
        }
        bytes memory answer = abi.encode(block.chainid, block.number, verdict);
        assembly ("memory-safe") {
            return(add(answer, 0x20), mload(answer))
        }
    }

    function judge(address account, bytes memory question) private view returns (uint256) {
        // Looked at first, because precompiled contracts answer without having code.
        if (account.code.length == 0) return NO_CODE;
        bool success;
        uint256 length;
        bytes32 word;
        // Half of the gas, so that an account or factory that burns what it is given cannot keep this from answering;
        // one word of the answer, so that a long one costs nothing.
        assembly ("memory-safe") {
            success := staticcall(shr(1, gas()), account, add(question, 0x20), mload(question), 0, 0x20)
            length := returndatasize()
            word := mload(0)
        }
        bool accepted = success && length >= 32 && word == bytes32(IERC1271.isValidSignature.selector);
        return accepted ? ACCEPTED : REFUSED;
    }
}
