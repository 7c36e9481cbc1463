// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.0;

interface IERC1271 {
    function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4 magicValue);
}

/// Asks an account whether a signature is its own (ERC-1271). It is never deployed: its creation code with the arguments
/// behind it runs in one `eth_call`, either without a destination or as the code of one (a state override), and returns
/// `(uint256 chainId, uint256 number, uint256 timestamp, bytes32 parentHash, uint256 verdict)`.
///
/// An account without code may be deployed first by a factory (ERC-6492), and one that its pending delegation gave its code
/// may be initialised (ERC-8010). Neither happens to an account that accepts the signature as it is.
contract SignatureValidator {
    uint256 private constant NO_CODE = 0;
    uint256 private constant ACCEPTED = 1;
    uint256 private constant REFUSED = 2;
    uint256 private constant ACCEPTED_INITIALISED = 3;

    /// ArbSys of Arbitrum and Orbit chains, where `block.number` and `blockhash` are not the chain's own.
    uint256 private constant ARB_SYS = 0x64;
    /// More than ArbSys needs; where another precompiled contract has its address, this much is lost at most.
    uint256 private constant ARB_SYS_GAS = 50000;

    /// `factory` is zero where there is none; then a `preparation` that is not empty is a call of the account itself.
    constructor(
        address account,
        bytes32 hash,
        bytes memory signature,
        address factory,
        bytes memory preparation
    ) {
        (uint256 number, bytes32 parentHash) = position();
        bytes memory question = abi.encodeCall(IERC1271.isValidSignature, (hash, signature));
        uint256 verdict = judge(account, question);
        if (verdict == NO_CODE && factory != address(0)) {
            if (deploys(factory, preparation, account)) verdict = judge(account, question);
        } else if (verdict == REFUSED && factory == address(0) && preparation.length != 0) {
            initialise(account, preparation);
            if (judge(account, question) == ACCEPTED) verdict = ACCEPTED_INITIALISED;
        }
        bytes memory answer = abi.encode(block.chainid, number, block.timestamp, parentHash, verdict);
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

    /// Whether `factory` says that it deployed this very account. Another account's initialiser could otherwise change
    /// what this one's answer depends on, and have it deployed by the way.
    function deploys(address factory, bytes memory data, address account) private returns (bool) {
        bool success;
        uint256 length;
        uint256 word;
        assembly ("memory-safe") {
            success := call(shr(1, gas()), factory, 0, add(data, 0x20), mload(data), 0, 0x20)
            length := returndatasize()
            word := mload(0)
        }
        return success && length >= 32 && word == uint256(uint160(account));
    }

    function initialise(address account, bytes memory data) private {
        // What it returns says nothing: the account is asked again.
        assembly ("memory-safe") {
            pop(call(shr(1, gas()), account, 0, add(data, 0x20), mload(data), 0, 0))
        }
    }

    /// The number of the block that this runs at and the hash of the one before it, as the chain itself counts.
    function position() private view returns (uint256 number, bytes32 parentHash) {
        bool found;
        (found, number) = askArbSys(abi.encodeWithSignature("arbBlockNumber()"));
        // Before the first block there is none; its hash is zero, as that of one that is too far away.
        if (!found) return (block.number, block.number == 0 ? bytes32(0) : blockhash(block.number - 1));
        uint256 word;
        if (number != 0) {
            (found, word) = askArbSys(abi.encodeWithSignature("arbBlockHash(uint256)", number - 1));
            if (found) parentHash = bytes32(word);
        }
    }

    function askArbSys(bytes memory question) private view returns (bool found, uint256 word) {
        assembly ("memory-safe") {
            found := staticcall(ARB_SYS_GAS, ARB_SYS, add(question, 0x20), mload(question), 0, 0x20)
            found := and(found, eq(returndatasize(), 0x20))
            word := mload(0)
        }
    }
}
