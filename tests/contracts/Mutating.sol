// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.0;

/// A token that anybody may buy for anybody.
contract Buyable {
    mapping(address => uint256) public balanceOf;

    function buy(address who) external {
        balanceOf[who] += 1;
    }
}

/// Another tenant's token. Whoever asks it for a balance buys the asked account one of the other token: what is asked of
/// that one in the same call would be answered otherwise than the chain has it.
contract Mutating {
    Buyable public target;

    function aim(Buyable token) external {
        target = token;
    }

    function balanceOf(address who) external returns (uint256) {
        target.buy(who);
        return 1;
    }
}
