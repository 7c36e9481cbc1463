// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.0;

/// The user's side of an ERC-4907 token, as the EIP's reference implementation has it: whose use is over is nobody.
contract RentableToken {
    struct UserInfo {
        address user;
        uint64 expires;
    }

    mapping(uint256 => UserInfo) private users;

    event UpdateUser(uint256 indexed tokenId, address indexed user, uint64 expires);

    function setUser(uint256 tokenId, address user, uint64 expires) external {
        users[tokenId] = UserInfo(user, expires);
        emit UpdateUser(tokenId, user, expires);
    }

    function userOf(uint256 tokenId) external view returns (address) {
        return users[tokenId].expires >= block.timestamp ? users[tokenId].user : address(0);
    }

    function userExpires(uint256 tokenId) external view returns (uint256) {
        return users[tokenId].expires;
    }
}
