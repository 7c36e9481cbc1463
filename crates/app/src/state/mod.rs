//! The state of a component: configuration, secrets and what an instance remembers.
//!
//! Each kind of route names the state that it works with, and can be mounted only where that is loaded. A component
//! loads the state of its routes once per instance, and neither asks for nor sees any other secret.
//!
//! ```
//! use tokengate_app::{Ports, Route, routes, state};
//!
//! fn mounted<P: Ports>() -> Vec<Route<P, state::Access>> {
//!     routes::access::routes()
//! }
//! ```
//!
//! What mints URLs cannot be mounted in a component that has loaded no credentials:
//!
//! ```compile_fail
//! use tokengate_app::{Ports, Route, routes, state};
//!
//! fn mounted<P: Ports>() -> Vec<Route<P, state::Chains>> {
//!     routes::access::routes()
//! }
//! ```

mod error;
mod load;
mod operator;

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use tokengate_core::admin::AdminToken;
use tokengate_core::config::Config;
use tokengate_core::keys::KeyRing;
use tokengate_core::presign::Signer;
use tokengate_core::webhook::Key;

pub use self::error::LoadError;
pub use self::operator::{Installation, Signers};
use crate::cache::rate_counts::RateCounts;
use crate::cache::sessions::SessionCache;
use crate::chain::ChainState;
use crate::decision::FactState;
use crate::ports::Ports;
use crate::store::StoreState;
use crate::timeout::within;

/// How long reading all variables may take.
const LOAD_LIMIT: Duration = Duration::from_secs(10);

/// The state of a component. Clones are the same.
pub trait State: Clone + 'static {
    /// Reads it from the platform.
    fn read<P: Ports>(ports: &P) -> impl Future<Output = Result<Self, LoadError>>;

    /// Tells this instance from others in the log.
    fn instance(&self) -> [u8; 4];
}

/// Loads the state of a component: everything that its routes need is there afterwards.
///
/// # Errors
/// [`LoadError`], for the first thing that is missing or not valid.
pub async fn load<S: State>(ports: &impl Ports) -> Result<S, LoadError> {
    within(ports, LOAD_LIMIT, S::read(ports))
        .await
        .unwrap_or(Err(LoadError::Slow))
}

/// Configuration, the shared store and rate limits: what every function has but the demo page.
#[derive(Clone, Debug)]
pub struct Base {
    instance: [u8; 4],
    pub(crate) config: Rc<Config>,
    pub(crate) store: Rc<StoreState>,
    pub(crate) rates: Rc<RateCounts>,
}

impl Base {
    /// With store keys that are none of `keys`, where those are known.
    async fn read<P: Ports>(
        ports: &P,
        config: Config,
        keys: Option<&KeyRing>,
    ) -> Result<Self, LoadError> {
        let store_keys = load::store_keys(ports, keys).await?;
        let backend = load::backend(ports, &config, store_keys).await?;
        let [a, b, c, d, ..] = ports.random();
        let config = Rc::new(config);
        Ok(Self {
            instance: [a, b, c, d],
            store: Rc::new(StoreState::new(config.clone(), backend)),
            config,
            rates: Rc::default(),
        })
    }

    fn facts(&self) -> Rc<FactState> {
        let cache = &self.config.cache;
        Rc::new(FactState::new(cache.memory_bytes, cache.memory))
    }

    async fn chains<P: Ports>(self, ports: &P) -> Result<Chains, LoadError> {
        let providers = load::providers(ports, &self.config).await?;
        Ok(Chains {
            facts: self.facts(),
            chains: Rc::new(ChainState::new(self.config.clone(), providers)),
            base: self,
        })
    }
}

/// The state of `/v1/challenge`.
#[derive(Clone, Debug)]
pub struct Challenge {
    base: Base,
    pub(crate) keys: Rc<KeyRing>,
}

/// The state of routes that read chains and decide: `/v1/gates` and `/healthz`.
#[derive(Clone, Debug)]
pub struct Chains {
    base: Base,
    pub(crate) chains: Rc<ChainState>,
    pub(crate) facts: Rc<FactState>,
}

/// The state of `/v1/session`.
#[derive(Clone, Debug)]
pub struct SignIn {
    chains: Chains,
    pub(crate) keys: Rc<KeyRing>,
    pub(crate) sessions: Rc<SessionCache>,
}

/// The state of routes that mint URLs: `/v1/access` and `/v1/content`.
#[derive(Clone, Debug)]
pub struct Access {
    sign_in: SignIn,
    /// By bucket; every configured one has a signer.
    pub(crate) signers: Rc<HashMap<String, Signer>>,
}

/// The state of `/v1/events`.
#[derive(Clone, Debug)]
pub struct Events {
    base: Base,
    /// Without endpoints: what other instances publish of providers is known all the same.
    pub(crate) chains: Rc<ChainState>,
    pub(crate) facts: Rc<FactState>,
    /// What each source signs with.
    pub(crate) keys: Rc<HashMap<String, Key>>,
}

/// The state of `/v1/admin`.
#[derive(Clone, Debug)]
pub struct Admin {
    chains: Chains,
    /// Without one there are no such routes.
    pub(crate) token: Option<Rc<AdminToken>>,
}

/// The state of the demo page.
#[derive(Clone, Debug)]
pub struct Site {
    /// Where it finds a node that signs for it; empty outside of a demo.
    pub(crate) demo_rpc_url: Rc<str>,
}

/// The state of all routes in one component.
#[derive(Clone, Debug)]
pub struct All {
    access: Access,
    events: Events,
    admin: Admin,
    site: Site,
}

impl SignIn {
    /// Its part that makes challenges.
    pub(crate) fn challenge(&self) -> Challenge {
        Challenge {
            base: self.chains.base.clone(),
            keys: self.keys.clone(),
        }
    }
}

impl All {
    /// The state of `/v1/challenge`.
    pub fn challenge(&self) -> Challenge {
        self.access.sign_in.challenge()
    }

    /// The state of `/v1/session`.
    pub fn sign_in(&self) -> SignIn {
        self.access.sign_in.clone()
    }

    /// The state of `/v1/access` and `/v1/content`.
    pub fn access(&self) -> Access {
        self.access.clone()
    }

    /// The state of `/v1/gates` and `/healthz`.
    pub fn chains(&self) -> Chains {
        self.access.sign_in.chains.clone()
    }

    /// The state of `/v1/events`.
    pub fn events(&self) -> Events {
        self.events.clone()
    }

    /// The state of `/v1/admin`.
    pub fn admin(&self) -> Admin {
        self.admin.clone()
    }

    /// The state of the demo page.
    pub fn site(&self) -> Site {
        self.site.clone()
    }
}

impl Admin {
    /// The state of `/v1/gates` and `/healthz`, in the same instance.
    pub fn chains(&self) -> Chains {
        self.chains.clone()
    }
}

impl State for Challenge {
    async fn read<P: Ports>(ports: &P) -> Result<Self, LoadError> {
        let config = load::config(ports)?;
        let keys = load::keys(ports).await?;
        Ok(Self {
            base: Base::read(ports, config, Some(&keys)).await?,
            keys: Rc::new(keys),
        })
    }

    fn instance(&self) -> [u8; 4] {
        self.base.instance
    }
}

impl State for Chains {
    async fn read<P: Ports>(ports: &P) -> Result<Self, LoadError> {
        let base = Base::read(ports, load::config(ports)?, None).await?;
        base.chains(ports).await
    }

    fn instance(&self) -> [u8; 4] {
        self.base.instance
    }
}

impl State for SignIn {
    async fn read<P: Ports>(ports: &P) -> Result<Self, LoadError> {
        let config = load::config(ports)?;
        let keys = load::keys(ports).await?;
        let base = Base::read(ports, config, Some(&keys)).await?;
        Ok(Self {
            sessions: Rc::new(SessionCache::new(base.config.cache.memory)),
            chains: base.chains(ports).await?,
            keys: Rc::new(keys),
        })
    }

    fn instance(&self) -> [u8; 4] {
        self.chains.instance()
    }
}

impl State for Access {
    async fn read<P: Ports>(ports: &P) -> Result<Self, LoadError> {
        let sign_in = SignIn::read(ports).await?;
        let signers = load::signers(ports, &sign_in.chains.base.config).await?;
        Ok(Self {
            sign_in,
            signers: Rc::new(signers),
        })
    }

    fn instance(&self) -> [u8; 4] {
        self.sign_in.instance()
    }
}

impl State for Events {
    async fn read<P: Ports>(ports: &P) -> Result<Self, LoadError> {
        let base = Base::read(ports, load::config(ports)?, None).await?;
        let keys = load::webhook_keys(ports, &base.config).await?;
        Ok(Self {
            facts: base.facts(),
            chains: Rc::new(ChainState::new(base.config.clone(), BTreeMap::new())),
            base,
            keys: Rc::new(keys),
        })
    }

    fn instance(&self) -> [u8; 4] {
        self.base.instance
    }
}

impl State for Admin {
    async fn read<P: Ports>(ports: &P) -> Result<Self, LoadError> {
        let token = load::admin_token(ports).await?.map(Rc::new);
        Ok(Self {
            chains: Chains::read(ports).await?,
            token,
        })
    }

    fn instance(&self) -> [u8; 4] {
        self.chains.instance()
    }
}

impl State for Site {
    async fn read<P: Ports>(ports: &P) -> Result<Self, LoadError> {
        Ok(Self {
            demo_rpc_url: load::demo_rpc_url(ports).await?.into(),
        })
    }

    fn instance(&self) -> [u8; 4] {
        [0; 4]
    }
}

impl State for All {
    async fn read<P: Ports>(ports: &P) -> Result<Self, LoadError> {
        let site = Site::read(ports).await?;
        let token = load::admin_token(ports).await?.map(Rc::new);
        let access = Access::read(ports).await?;
        let chains = access.sign_in.chains.clone();
        let keys = load::webhook_keys(ports, &chains.base.config).await?;
        Ok(Self {
            events: Events {
                base: chains.base.clone(),
                chains: chains.chains.clone(),
                facts: chains.facts.clone(),
                keys: Rc::new(keys),
            },
            admin: Admin { chains, token },
            access,
            site,
        })
    }

    fn instance(&self) -> [u8; 4] {
        self.access.instance()
    }
}

macro_rules! part {
    ($($state:ty: $($field:ident).* => $part:ty;)*) => {$(
        impl AsRef<$part> for $state {
            fn as_ref(&self) -> &$part {
                &self.$($field).*
            }
        }
    )*};
}

part! {
    Challenge: base => Base;
    Chains: base => Base;
    SignIn: chains.base => Base;
    Access: sign_in.chains.base => Base;
    Events: base => Base;
    Admin: chains.base => Base;
    SignIn: chains => Chains;
    Access: sign_in.chains => Chains;
    Admin: chains => Chains;
    Access: sign_in => SignIn;
}

impl AsRef<Self> for Chains {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl AsRef<Self> for SignIn {
    fn as_ref(&self) -> &Self {
        self
    }
}
