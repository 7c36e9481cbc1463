//! Why a component cannot be loaded.

use tokengate_core::admin::TooShort;
use tokengate_core::config::ConfigError;
use tokengate_core::keys::KeyRingError;

/// Load errors: for the operator, in words that hold no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// `tokengate.toml` is not there.
    #[error(
        "tokengate.toml cannot be read ({0}); mount it into the component with `files` in spin.toml"
    )]
    File(String),
    /// `tokengate.toml` is not valid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The variable with the service's keys is not set.
    #[error(
        "the variable service_keys is not set; make one with `echo \"a:$(openssl rand -hex 32)\"`"
    )]
    NoKeys,
    /// The variable with the service's keys is not valid.
    #[error("the variable service_keys is not valid: {0}")]
    Keys(#[from] KeyRingError),
    /// The variable with the keys of the shared store is not set.
    #[error(
        "the variable store_keys is not set; give it to every component that has the key-value store, and make one with `echo \"a:$(openssl rand -hex 32)\"`"
    )]
    NoStoreKeys,
    /// The variable with the keys of the shared store is not valid.
    #[error("the variable store_keys is not valid: {0}")]
    StoreKeys(KeyRingError),
    /// A key is in both rings.
    #[error(
        "store_keys and service_keys share a key: components that only have the store could mint sessions; make another one for store_keys"
    )]
    SharedKey,
    /// The variable with the operator's token is not valid.
    #[error("the variable admin_token is not valid: {0}")]
    AdminToken(#[from] TooShort),
    /// The platform could not say what a variable holds.
    #[error("the variable {name} cannot be read: {reason}")]
    Variable {
        /// The variable.
        name: String,
        /// Why, in the platform's words.
        reason: String,
    },
    /// The platform's variables did not come in time.
    #[error("the platform's variables could not be read in time")]
    Slow,
}
