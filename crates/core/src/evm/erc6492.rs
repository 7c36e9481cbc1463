//! ERC-6492: signatures of accounts that are not deployed yet.

use alloy_sol_types::{SolCall as _, SolValue, sol, sol_data};

use crate::Address;
use crate::signature::SignatureError;

sol! {
    // Safe, SafeProxyFactory.
    function createProxyWithNonce(address singleton, bytes initializer, uint256 saltNonce) external;
    function createChainSpecificProxyWithNonce(address singleton, bytes initializer, uint256 saltNonce) external;
    // Biconomy, SmartAccountFactory.
    function deployCounterFactualAccount(address moduleSetupContract, bytes moduleSetupData, uint256 index) external;
    // Alchemy, MultiOwnerLightAccountFactory.
    function createAccountSingle(address owner, uint256 salt) external;

    interface CoinbaseSmartWalletFactory {
        function createAccount(bytes[] owners, uint256 nonce) external;
    }
    interface LightAccountFactory {
        function createAccount(address owner, uint256 salt) external;
    }
    interface MultiOwnerLightAccountFactory {
        function createAccount(address[] owners, uint256 salt) external;
    }
    /// ZeroDev's KernelFactory and Biconomy's NexusAccountFactory.
    interface ModularAccountFactory {
        function createAccount(bytes data, bytes32 salt) external;
    }
    interface K1ValidatorFactory {
        function createAccount(address eoaOwner, uint256 index, address[] attesters, uint8 threshold) external;
    }
    interface Erc6551Registry {
        function createAccount(address implementation, bytes32 salt, uint256 chainId, address tokenContract, uint256 tokenId) external;
    }
}

/// A factory that is known to deploy what the account's address commits to (CREATE2), to do nothing else that the address
/// does not commit to, and to return the address.
struct Factory {
    address: [u8; 20],
    /// The selectors of which that holds: some factories have functions besides whose addresses commit to nothing (CREATE).
    functions: &'static [[u8; 4]],
}

const fn factory(address: [u8; 20], functions: &'static [[u8; 4]]) -> Factory {
    Factory { address, functions }
}

const SAFE: &[[u8; 4]] = &[
    createProxyWithNonceCall::SELECTOR,
    createChainSpecificProxyWithNonceCall::SELECTOR,
];
const MODULAR: &[[u8; 4]] = &[ModularAccountFactory::createAccountCall::SELECTOR];
const COINBASE: &[[u8; 4]] = &[CoinbaseSmartWalletFactory::createAccountCall::SELECTOR];
const LIGHT: &[[u8; 4]] = &[LightAccountFactory::createAccountCall::SELECTOR];
const K1: &[[u8; 4]] = &[K1ValidatorFactory::createAccountCall::SELECTOR];

/// By the vendors' own lists, which docs/guides/sign-in.md names.
const KNOWN: &[Factory] = &[
    // Safe 1.3.0, canonical.
    factory(
        [
            0xa6, 0xb7, 0x1e, 0x26, 0xc5, 0xe0, 0x84, 0x5f, 0x74, 0xc8, 0x12, 0x10, 0x2c, 0xa7,
            0x11, 0x4b, 0x6a, 0x89, 0x6a, 0xb2,
        ],
        SAFE,
    ),
    // Safe 1.3.0, eip155.
    factory(
        [
            0xc2, 0x28, 0x34, 0x58, 0x1e, 0xbc, 0x85, 0x27, 0xd9, 0x74, 0xf8, 0xa1, 0xc9, 0x7e,
            0x1b, 0xea, 0x4e, 0xf9, 0x10, 0xbc,
        ],
        SAFE,
    ),
    // Safe 1.4.1.
    factory(
        [
            0x4e, 0x1d, 0xcf, 0x7a, 0xd4, 0xe4, 0x60, 0xcf, 0xd3, 0x07, 0x91, 0xcc, 0xc4, 0xf9,
            0xc8, 0xa4, 0xf8, 0x20, 0xec, 0x67,
        ],
        SAFE,
    ),
    // Coinbase Smart Wallet 1.
    factory(
        [
            0x0b, 0xa5, 0xed, 0x0c, 0x6a, 0xa8, 0xc4, 0x90, 0x38, 0xf8, 0x19, 0xe5, 0x87, 0xe2,
            0x63, 0x3c, 0x4a, 0x9f, 0x42, 0x8a,
        ],
        COINBASE,
    ),
    // Coinbase Smart Wallet 1.1.
    factory(
        [
            0xba, 0x5e, 0xd1, 0x10, 0xef, 0xdb, 0xa3, 0xd0, 0x05, 0xbf, 0xc8, 0x82, 0xd7, 0x53,
            0x58, 0xac, 0xbb, 0xb8, 0x58, 0x42,
        ],
        COINBASE,
    ),
    // Kernel 3.0.
    factory(
        [
            0x67, 0x23, 0xb4, 0x4a, 0xbe, 0xec, 0x4e, 0x71, 0xeb, 0xe3, 0x23, 0x2b, 0xd5, 0xb4,
            0x55, 0x80, 0x5b, 0xad, 0xd2, 0x2f,
        ],
        MODULAR,
    ),
    // Kernel 3.1.
    factory(
        [
            0xaa, 0xc5, 0xd4, 0x24, 0x0a, 0xf8, 0x72, 0x49, 0xb3, 0xf7, 0x1b, 0xc8, 0xe4, 0xa2,
            0xca, 0xe0, 0x74, 0xa3, 0xe4, 0x19,
        ],
        MODULAR,
    ),
    // Kernel 3.2.
    factory(
        [
            0x7a, 0x1d, 0xba, 0xb7, 0x50, 0xf1, 0x2a, 0x90, 0xeb, 0x1b, 0x60, 0xd2, 0xae, 0x3a,
            0xd1, 0x7d, 0x4d, 0x81, 0xef, 0xfe,
        ],
        MODULAR,
    ),
    // Kernel 3.3.
    factory(
        [
            0x25, 0x77, 0x50, 0x7b, 0x78, 0xc2, 0x00, 0x8f, 0xf3, 0x67, 0x26, 0x1c, 0xb6, 0x28,
            0x5d, 0x44, 0xba, 0x5e, 0xf2, 0xe9,
        ],
        MODULAR,
    ),
    // LightAccount 1.1.0.
    factory(
        [
            0x00, 0x00, 0x4e, 0xc7, 0x00, 0x02, 0xa3, 0x24, 0x00, 0xf8, 0xae, 0x00, 0x5a, 0x26,
            0x08, 0x10, 0x65, 0x62, 0x0d, 0x20,
        ],
        LIGHT,
    ),
    // LightAccount 2.0.0.
    factory(
        [
            0x00, 0x00, 0x00, 0x00, 0x00, 0x40, 0x0c, 0xdf, 0xef, 0x5e, 0x27, 0x14, 0xe6, 0x3d,
            0x80, 0x40, 0xb7, 0x00, 0xbc, 0x24,
        ],
        LIGHT,
    ),
    // MultiOwnerLightAccount 2.0.0.
    factory(
        [
            0x00, 0x00, 0x00, 0x00, 0x00, 0x19, 0xd2, 0xee, 0x9f, 0x27, 0x29, 0xa6, 0x5a, 0xfe,
            0x20, 0xbb, 0x00, 0x20, 0xae, 0xfc,
        ],
        &[
            MultiOwnerLightAccountFactory::createAccountCall::SELECTOR,
            createAccountSingleCall::SELECTOR,
        ],
    ),
    // Biconomy Smart Account 2.
    factory(
        [
            0x00, 0x00, 0x00, 0xa5, 0x6a, 0xac, 0xa3, 0xe9, 0xa4, 0xc4, 0x79, 0xea, 0x6b, 0x6c,
            0xd0, 0xdb, 0xcb, 0x66, 0x34, 0xf5,
        ],
        &[deployCounterFactualAccountCall::SELECTOR],
    ),
    // Nexus 1.0.1.
    factory(
        [
            0x00, 0x00, 0x00, 0x22, 0x6c, 0xad, 0xa0, 0xd8, 0xb3, 0x60, 0x34, 0xf5, 0xd5, 0xc0,
            0x68, 0x55, 0xf5, 0x9f, 0x6f, 0x3a,
        ],
        MODULAR,
    ),
    // Nexus 1.0.2.
    factory(
        [
            0x00, 0x00, 0x00, 0xc3, 0xa9, 0x3d, 0x2c, 0x5e, 0x02, 0xcb, 0x05, 0x3a, 0xc6, 0x75,
            0x66, 0x5b, 0x1c, 0x42, 0x17, 0xf9,
        ],
        MODULAR,
    ),
    // Nexus 1.2.0.
    factory(
        [
            0x00, 0x00, 0x00, 0x00, 0x1d, 0x1d, 0x50, 0x04, 0xa0, 0x2b, 0xaf, 0xab, 0x9d, 0xe2,
            0xd6, 0xce, 0x5b, 0x7b, 0x13, 0xde,
        ],
        MODULAR,
    ),
    // Nexus 1.0.1 with a K1 validator.
    factory(
        [
            0x00, 0x00, 0x00, 0x24, 0x11, 0x5a, 0xa9, 0x90, 0xf0, 0xba, 0xe0, 0xb6, 0xb0, 0xd5,
            0xb8, 0xf6, 0x8b, 0x68, 0x4c, 0xd6,
        ],
        K1,
    ),
    // Nexus 1.0.2 with a K1 validator.
    factory(
        [
            0x28, 0x28, 0xa0, 0xe0, 0xf3, 0x6d, 0x8d, 0x8b, 0xea, 0xe9, 0x5f, 0x00, 0xe2, 0xbb,
            0xf2, 0x35, 0xe4, 0x23, 0x0f, 0xac,
        ],
        K1,
    ),
    // ERC-6551 registry.
    factory(
        [
            0x00, 0x00, 0x00, 0x00, 0x65, 0x51, 0xc1, 0x94, 0x87, 0x81, 0x46, 0x12, 0xe5, 0x8f,
            0xe0, 0x68, 0x13, 0x77, 0x57, 0x58,
        ],
        &[Erc6551Registry::createAccountCall::SELECTOR],
    ),
];

/// The factories that are called where the configuration names none.
pub fn well_known_factories() -> Vec<Address> {
    KNOWN
        .iter()
        .map(|known| Address::from_bytes(known.address))
        .collect()
}

/// Whether `factory` may be called with `calldata`: it is one of `allowed`, and of a well-known one this function deploys
/// what the account's address commits to.
pub fn may_call(factory: Address, calldata: &[u8], allowed: &[Address]) -> bool {
    let known = KNOWN
        .iter()
        .find(|known| Address::from_bytes(known.address) == factory);
    allowed.contains(&factory)
        && known.is_none_or(|known| {
            calldata
                .first_chunk::<4>()
                .is_some_and(|selector| known.functions.contains(selector))
        })
}

/// What the wrapped form ends with.
pub const MAGIC: [u8; 32] = [
    0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92,
    0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92,
];

/// A signature with what deploys the account that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrapped {
    /// The contract that deploys the account.
    pub factory: Address,
    /// What it is called with.
    pub factory_calldata: Vec<u8>,
    /// The signature that the account itself takes.
    pub signature: Vec<u8>,
}

/// Unwraps `abi.encode(factory, factoryCalldata, signature) ‖ magic`; `None` without the magic.
///
/// # Errors
/// [`SignatureError::Wrapper`], for the magic behind anything else.
pub fn unwrap(bytes: &[u8]) -> Result<Option<Wrapped>, SignatureError> {
    const ERROR: SignatureError = SignatureError::Wrapper("ERC-6492");
    type Parts = (sol_data::Address, sol_data::Bytes, sol_data::Bytes);
    let Some(encoded) = bytes.strip_suffix(&MAGIC) else {
        return Ok(None);
    };
    let (factory, factory_calldata, signature) =
        <Parts as alloy_sol_types::SolType>::abi_decode_params_validate(encoded)
            .map_err(|_| ERROR)?;
    let factory = Address::from_alloy(factory);
    // Without a factory the wrapper says nothing, and the check takes the zero address for its absence.
    if factory == Address::from_bytes([0; 20]) {
        return Err(ERROR);
    }
    Ok(Some(Wrapped {
        factory,
        factory_calldata: factory_calldata.into(),
        signature: signature.into(),
    }))
}

impl Wrapped {
    /// The wrapped form.
    pub fn to_bytes(&self) -> Vec<u8> {
        let parts = (
            self.factory.into_alloy(),
            alloy_primitives::Bytes::copy_from_slice(&self.factory_calldata),
            alloy_primitives::Bytes::copy_from_slice(&self.signature),
        );
        let mut bytes = parts.abi_encode_params();
        bytes.extend(MAGIC);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped() -> Wrapped {
        Wrapped {
            factory: Address::from_bytes([5; 20]),
            factory_calldata: vec![1, 2, 3],
            signature: vec![4; 65],
        }
    }

    #[test]
    fn the_mark_is_the_published_one() {
        assert_eq!(hex::encode(MAGIC), "6492".repeat(16));
    }

    #[test]
    fn the_well_known_factories_are_the_published_ones() {
        let published = [
            "0xa6B71E26C5e0845f74c812102Ca7114b6a896AB2",
            "0xC22834581EbC8527d974F8a1c97E1bEA4EF910BC",
            "0x4e1DCf7AD4e460CfD30791CCC4F9c8a4f820ec67",
            "0x0BA5ED0c6AA8c49038F819E587E2633c4A9F428a",
            "0xBA5ED110eFDBa3D005bfC882d75358ACBbB85842",
            "0x6723b44Abeec4E71eBE3232BD5B455805baDD22f",
            "0xaac5D4240AF87249B3f71BC8E4A2cae074A3E419",
            "0x7a1dBAB750f12a90EB1B60D2Ae3aD17D4D81EfFe",
            "0x2577507b78c2008Ff367261CB6285d44ba5eF2E9",
            "0x00004EC70002a32400f8ae005A26081065620D20",
            "0x0000000000400CdFef5E2714E63d8040b700BC24",
            "0x000000000019d2Ee9F2729A65AfE20bb0020AefC",
            "0x000000a56Aaca3e9a4C479ea6b6CD0DbcB6634F5",
            "0x000000226cada0d8b36034F5D5c06855F59F6F3A",
            "0x000000c3A93d2c5E02Cb053AC675665b1c4217F9",
            "0x000000001D1D5004a02bAfAb9de2D6CE5b7B13de",
            "0x00000024115AA990F0bAE0B6b0D5B8F68b684cd6",
            "0x2828A0E0f36d8d8BeAE95F00E2BbF235e4230fAc",
            "0x000000006551c19487814612e58FE06813775758",
        ];
        let known = well_known_factories();
        assert_eq!(known.len(), published.len());
        for (known, published) in known.iter().zip(published) {
            // In checksum case (ERC-55), as the vendors write it.
            assert_eq!(known.to_string(), published);
        }
    }

    #[test]
    fn a_well_known_factory_is_called_by_the_functions_whose_address_commits_to_everything() {
        let allowed = well_known_factories();
        let safe: Address = "0xa6B71E26C5e0845f74c812102Ca7114b6a896AB2"
            .parse()
            .unwrap();
        let biconomy: Address = "0x000000a56Aaca3e9a4C479ea6b6CD0DbcB6634F5"
            .parse()
            .unwrap();
        let registry: Address = "0x000000006551c19487814612e58FE06813775758"
            .parse()
            .unwrap();
        let own = Address::from_bytes([5; 20]);
        // Selectors as block explorers show them: createProxyWithNonce, createProxy (CREATE), deployCounterFactualAccount,
        // deployAccount (CREATE), createAccount of ERC-6551.
        for (factory, selector, expected) in [
            (safe, "1688f0b9", true),
            (safe, "61b69abd", false),
            (safe, "1688f0", false),
            (safe, "", false),
            (biconomy, "df20ffbc", true),
            (biconomy, "1688f0b9", false),
            (registry, "8a54c52f", true),
            (own, "8a54c52f", false),
        ] {
            let calldata = hex::decode(selector).unwrap();
            assert_eq!(
                may_call(factory, &calldata, &allowed),
                expected,
                "{factory} {selector}"
            );
            assert!(!may_call(factory, &calldata, &[]));
        }
        // Of an operator's own factory nothing is known but that it is trusted.
        assert!(may_call(own, &[1, 2, 3], &[own]));
        assert!(!may_call(safe, &hex::decode("61b69abd").unwrap(), &[safe]));
    }

    #[test]
    fn what_is_wrapped_is_unwrapped() {
        assert_eq!(unwrap(&wrapped().to_bytes()), Ok(Some(wrapped())));
        assert_eq!(unwrap(&[4; 65]), Ok(None));
        assert_eq!(unwrap(&[]), Ok(None));
    }

    #[test]
    fn the_mark_behind_anything_else_is_refused() {
        let bytes = wrapped().to_bytes();
        let (encoded, _) = bytes.split_at(bytes.len() - 32);
        for end in 0..encoded.len() {
            let cut = [&encoded[..end], &MAGIC].concat();
            // Trailing zero padding may be missing without a change of meaning; everything else may not.
            if let Ok(found) = unwrap(&cut) {
                assert_eq!(found, Some(wrapped()), "{end}");
            }
        }
        let nobody = Wrapped {
            factory: Address::from_bytes([0; 20]),
            ..wrapped()
        };
        assert!(unwrap(&nobody.to_bytes()).is_err());
    }
}
