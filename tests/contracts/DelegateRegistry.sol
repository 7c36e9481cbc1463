// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.0;

/// The part of the delegate.xyz registry, version 2, that sets delegations and checks them, with that registry's
/// semantics: whoever calls names a delegate; a wider delegation covers a narrower question; and a delegation without
/// rights covers every right.
contract DelegateRegistry {
    enum Kind {
        All,
        Contract,
        Erc721,
        Erc20,
        Erc1155
    }

    /// How much is delegated; of what is delegated whole or not at all, everything.
    mapping(bytes32 delegation => uint256 amount) private amounts;

    function delegateAll(address to, bytes32 rights, bool enable) external payable returns (bytes32) {
        return set(key(Kind.All, msg.sender, to, address(0), 0, rights), whole(enable));
    }

    function delegateContract(address to, address contract_, bytes32 rights, bool enable)
        external
        payable
        returns (bytes32)
    {
        return set(key(Kind.Contract, msg.sender, to, contract_, 0, rights), whole(enable));
    }

    function delegateERC721(address to, address contract_, uint256 tokenId, bytes32 rights, bool enable)
        external
        payable
        returns (bytes32)
    {
        return set(key(Kind.Erc721, msg.sender, to, contract_, tokenId, rights), whole(enable));
    }

    function delegateERC20(address to, address contract_, bytes32 rights, uint256 amount)
        external
        payable
        returns (bytes32)
    {
        return set(key(Kind.Erc20, msg.sender, to, contract_, 0, rights), amount);
    }

    function delegateERC1155(address to, address contract_, uint256 tokenId, bytes32 rights, uint256 amount)
        external
        payable
        returns (bytes32)
    {
        return set(key(Kind.Erc1155, msg.sender, to, contract_, tokenId, rights), amount);
    }

    function checkDelegateForAll(address to, address from, bytes32 rights) external view returns (bool) {
        return delegated(Kind.All, to, from, address(0), 0, rights) != 0;
    }

    function checkDelegateForContract(address to, address from, address contract_, bytes32 rights)
        external
        view
        returns (bool)
    {
        return delegated(Kind.Contract, to, from, contract_, 0, rights) != 0;
    }

    function checkDelegateForERC721(address to, address from, address contract_, uint256 tokenId, bytes32 rights)
        external
        view
        returns (bool)
    {
        return delegated(Kind.Erc721, to, from, contract_, tokenId, rights) != 0;
    }

    function checkDelegateForERC20(address to, address from, address contract_, bytes32 rights)
        external
        view
        returns (uint256)
    {
        return delegated(Kind.Erc20, to, from, contract_, 0, rights);
    }

    function checkDelegateForERC1155(address to, address from, address contract_, uint256 tokenId, bytes32 rights)
        external
        view
        returns (uint256)
    {
        return delegated(Kind.Erc1155, to, from, contract_, tokenId, rights);
    }

    /// The largest amount among the delegations that cover the question.
    function delegated(Kind kind, address to, address from, address contract_, uint256 tokenId, bytes32 rights)
        private
        view
        returns (uint256)
    {
        uint256 ofEveryRight = widest(kind, to, from, contract_, tokenId, "");
        uint256 ofTheRights = widest(kind, to, from, contract_, tokenId, rights);
        return ofEveryRight > ofTheRights ? ofEveryRight : ofTheRights;
    }

    function widest(Kind kind, address to, address from, address contract_, uint256 tokenId, bytes32 rights)
        private
        view
        returns (uint256)
    {
        if (amounts[key(Kind.All, from, to, address(0), 0, rights)] != 0) return type(uint256).max;
        if (kind == Kind.All) return 0;
        if (amounts[key(Kind.Contract, from, to, contract_, 0, rights)] != 0) return type(uint256).max;
        return amounts[key(kind, from, to, contract_, tokenId, rights)];
    }

    function set(bytes32 delegation, uint256 amount) private returns (bytes32) {
        amounts[delegation] = amount;
        return delegation;
    }

    function whole(bool enable) private pure returns (uint256) {
        return enable ? type(uint256).max : 0;
    }

    function key(Kind kind, address from, address to, address contract_, uint256 tokenId, bytes32 rights)
        private
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(kind, from, to, contract_, tokenId, rights));
    }
}
