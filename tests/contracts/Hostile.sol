// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.0;

/// Answers with a megabyte.
contract ReturndataBomb {
    function balanceOf(address) external pure returns (uint256) {
        assembly ("memory-safe") {
            return(0, 0x100000)
        }
    }
}

/// Uses whatever gas it is given.
contract GasBurner {
    function balanceOf(address) external pure returns (uint256) {
        while (true) {}
        return 1;
    }
}

/// An honest token that takes four million gas to say that everybody has one.
contract HeavyToken {
    function balanceOf(address) external view returns (uint256) {
        uint256 enough = gasleft() > 4_000_000 ? gasleft() - 4_000_000 : 0;
        while (gasleft() > enough) {}
        require(enough > 0);
        return 1;
    }
}

/// The precompiled contract by which an Orbit chain tells its own block numbers, here 1,000 ahead of what
/// `block.number` is, and their hashes.
contract OrbitSys {
    function arbBlockNumber() external view returns (uint256) {
        return block.number + 1000;
    }

    function arbBlockHash(uint256 number) external view returns (bytes32) {
        require(number < block.number + 1000 && number + 256 >= block.number + 1000);
        return blockhash(number - 1000);
    }
}
