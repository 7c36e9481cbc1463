// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.0;

/// Stakes with a term, tiers by name, and a switch for everybody: what gates ask view functions for.
contract Staking {
    struct Stake {
        uint256 amount;
        uint64 until;
    }

    mapping(address => Stake) private stakes;
    mapping(address => string) private tiers;
    bool public open;
    bool public paused;

    function set(address owner, uint256 amount, uint64 until, string calldata tier) external {
        stakes[owner] = Stake(amount, until);
        tiers[owner] = tier;
    }

    function setSwitches(bool open_, bool paused_) external {
        (open, paused) = (open_, paused_);
    }

    function stakeOf(address owner) external view returns (uint256 amount, uint64 until) {
        require(!paused, "paused");
        return (stakes[owner].amount, stakes[owner].until);
    }

    function tierOf(address owner) external view returns (uint256 points, string memory tier) {
        return (stakes[owner].amount * 2, tiers[owner]);
    }

    /// The stakes of several owners, from an amount on.
    function total(address[] calldata owners, uint256 least) external view returns (uint256 sum) {
        for (uint256 i = 0; i < owners.length; i++) {
            if (stakes[owners[i]].amount >= least) sum += stakes[owners[i]].amount;
        }
    }
}
