// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.0;

import {Ecdsa} from "./Ecdsa.sol";

/// Tokens that anybody may buy, and accounts that belong to whoever owns a token (ERC-6551), deployed or not.
contract ForSale {
    uint256 public constant PRICE = 5 ether;
    mapping(uint256 id => address) public ownerOf;

    function mint(address to, uint256 id) external {
        require(ownerOf[id] == address(0), "minted");
        ownerOf[id] = to;
    }

    function buy(uint256 id, address to) external payable {
        require(msg.value >= PRICE, "too little");
        ownerOf[id] = to;
    }

    function createAccount(uint256 id) external returns (address account) {
        account = accountOf(id);
        if (account.code.length == 0) new BoundAccount{salt: 0}(this, id);
    }

    function accountOf(uint256 id) public view returns (address) {
        bytes32 code = keccak256(abi.encodePacked(type(BoundAccount).creationCode, abi.encode(this, id)));
        return address(uint160(uint256(keccak256(abi.encodePacked(bytes1(0xff), address(this), bytes32(0), code)))));
    }
}

contract BoundAccount {
    ForSale public immutable token;
    uint256 public immutable id;

    constructor(ForSale token_, uint256 id_) {
        (token, id) = (token_, id_);
    }

    function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4) {
        return Ecdsa.isBy(token.ownerOf(id), hash, signature) ? this.isValidSignature.selector : bytes4(0xffffffff);
    }
}

/// Has the price of a token, and spends it only in calls that nobody sends as a transaction.
contract Buyer {
    receive() external payable {}

    /// Passes for a factory: buys the token of an account, has the account deployed, and returns its address.
    function buyAndDeploy(ForSale token, uint256 id, address to) external returns (address) {
        token.buy{value: token.PRICE()}(id, to);
        return token.createAccount(id);
    }

    /// For a delegatecall out of another account's initialisation.
    function relay(address target, bytes calldata data) external {
        (bool success,) = target.call(data);
        require(success, "failed");
    }
}
