// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.0;

interface IERC721 {
    function ownerOf(uint256 tokenId) external view returns (address);
}

/// What an ERC-6551 account says of its owner, as the EIP's example implementation has it. A registry writes the token into
/// the account's code; here `bind` does.
contract TokenBoundAccount {
    uint256 private chainId;
    address private tokenContract;
    uint256 private tokenId;

    function bind(uint256 chainId_, address tokenContract_, uint256 tokenId_) external {
        (chainId, tokenContract, tokenId) = (chainId_, tokenContract_, tokenId_);
    }

    function token() external view returns (uint256, address, uint256) {
        return (chainId, tokenContract, tokenId);
    }

    function owner() external view returns (address) {
        if (chainId != block.chainid) return address(0);
        return IERC721(tokenContract).ownerOf(tokenId);
    }
}
