// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.0;

/// Code that an externally owned account delegates to (EIP-7702) and that refuses every signature, or reverts.
contract RefusingDelegate {
    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        return 0xffffffff;
    }
}

contract RevertingDelegate {
    fallback() external {
        revert("not today");
    }
}

/// Accepts every signature once anybody has initialised it.
contract OpenDelegate {
    bool public initialised;

    function initialise() external {
        initialised = true;
    }

    function isValidSignature(bytes32, bytes calldata) external view returns (bytes4) {
        return initialised ? this.isValidSignature.selector : bytes4(0xffffffff);
    }
}
