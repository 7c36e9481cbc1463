// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.0;

/// Code that an externally owned account delegates to (EIP-7702) and that knows nothing of signatures.
contract MuteDelegate {
    receive() external payable {}
}
