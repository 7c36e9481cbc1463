//! Everything a test needs, started together: chain, provider front, store and service.

use crate::chain::Chain;
use crate::client::{Gate, Http};
use crate::config::{Config, DOMAIN};
use crate::faulty::Faulty;
use crate::service::{Service, Settings};
use crate::store::Store;

/// An object that the `season-1` gate covers.
pub const HELLO: &str = "media/season-1/hello.txt";
/// Its content.
pub const HELLO_TEXT: &str = "Hello, holder.\n";

/// The parts of one test.
pub struct World {
    /// A client of the service.
    pub gate: Gate,
    /// A client of anything else.
    pub http: Http,
    /// The service.
    pub service: Service,
    /// What the service reads the chain through.
    pub provider: Faulty,
    /// The chain.
    pub chain: Chain,
    /// The object store.
    pub store: Store,
    /// How the service was started.
    pub settings: Settings,
}

impl World {
    /// Starts it with the tests' configuration.
    pub async fn start() -> anyhow::Result<Self> {
        Self::with(|_| (), |settings| settings).await
    }

    /// Starts it with a configuration changed by `configure` and settings changed by `set`.
    pub async fn with(
        configure: impl FnOnce(&mut Config),
        set: impl FnOnce(Settings) -> Settings,
    ) -> anyhow::Result<Self> {
        let (chain, store) =
            futures_util::future::try_join(Chain::with_contracts(0), Store::start(0)).await?;
        let provider = Faulty::start(chain.url()).await?;
        for (key, content) in [
            ("season-1/hello.txt", HELLO_TEXT),
            (
                "season-1/other.txt",
                "Another object behind the same gate.\n",
            ),
            ("pass/extra.txt", "For pass holders.\n"),
            ("holders/report.txt", "For holders.\n"),
            ("uncovered.txt", "No gate covers this.\n"),
        ] {
            store.put(key, "text/plain", content).await?;
        }
        let mut config = Config::new(store.url());
        configure(&mut config);
        let settings = set(Settings::new(&config.to_string(), &provider.url()));
        let service = Service::start(&settings).await?;
        // Readiness and start-up checks may have asked the chain.
        provider.take();
        Ok(Self {
            gate: Gate::new(service.url(), DOMAIN),
            http: Http::default(),
            service,
            provider,
            chain,
            store,
            settings,
        })
    }
}
