//! The demo: the repository's own `tokengate.toml` over a local chain and a local store, each where that file expects it.

use std::fs::File;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use alloy_primitives::{Address, hex};
use anyhow::{Context, ensure};

use crate::chain::Chain;
use crate::process::Process;
use crate::root;
use crate::service::{self, Service, Settings, free_port};
use crate::store::Store;

const WALK_THROUGH: &str = include_str!("walk-through.sh");

const COVER: &str = r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 360" role="img" aria-label="Season 1">
  <rect width="640" height="360" fill="#10131a"/>
  <circle cx="320" cy="160" r="96" fill="none" stroke="#7c9cff" stroke-width="12"/>
  <path d="M320 112v96M272 160h96" stroke="#7c9cff" stroke-width="12" stroke-linecap="round"/>
  <text x="320" y="316" fill="#e8ecf4" font-family="sans-serif" font-size="32" text-anchor="middle">Season 1</text>
</svg>
"##;

/// The demo's private objects: key, media type, content.
pub const OBJECTS: [(&str, &str, &str); 5] = [
    (
        "season-1/hello.txt",
        "text/plain; charset=utf-8",
        "Hello, holder. The chain says this is yours to read.\n",
    ),
    ("season-1/cover.svg", "image/svg+xml", COVER),
    (
        "season-1/episodes/1.txt",
        "text/plain; charset=utf-8",
        "Episode 1. A wallet, a signature and one short-lived URL.\n",
    ),
    (
        "pass/backstage.txt",
        "text/plain; charset=utf-8",
        "Backstage. For holders of pass 7.\n",
    ),
    (
        "holders/report.txt",
        "text/plain; charset=utf-8",
        "The holders' report. Your balance was enough.\n",
    ),
];

/// A source of events in the configuration.
pub const EVENTS: &str = r#"
[[webhook]]
id = "tests"
provider = "standard"
secret = "{{ events_secret }}"
"#;

/// Where the demo's parts listen on the loopback interface.
#[derive(Clone, Copy)]
pub struct Ports {
    /// The chain's JSON-RPC.
    pub chain: u16,
    /// The store.
    pub store: u16,
    /// The service.
    pub service: u16,
}

/// The ports that `tokengate.toml`, the page and the walk-through name.
pub const PORTS: Ports = Ports {
    chain: 8545,
    store: 9000,
    service: 3000,
};

impl Ports {
    /// Three that nothing listens on now.
    pub fn free() -> anyhow::Result<Self> {
        Ok(Self {
            chain: free_port()?,
            store: free_port()?,
            service: free_port()?,
        })
    }

    /// Says which port is taken, before anything has started.
    pub fn check(&self) -> anyhow::Result<()> {
        for (part, port) in [
            ("the chain", self.chain),
            ("the store", self.store),
            ("the service", self.service),
        ] {
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
            ensure!(
                free.is_ok(),
                "port {port}, where {part} should listen, is in use: `ss -ltnp 'sport = :{port}'` names the program \
                 that holds it; end that and start again"
            );
        }
        Ok(())
    }

    /// The text with the demo's own ports replaced by these.
    pub fn put_in(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (from, to) in [
            (PORTS.chain, self.chain),
            (PORTS.store, self.store),
            (PORTS.service, self.service),
        ] {
            text = text.replace(&format!(":{from}"), &format!(":{to}"));
        }
        text
    }
}

/// A running demo.
pub struct Demo {
    watch: Process,
    service: Service,
    chain: Chain,
    store: Store,
    ports: Ports,
    admin_token: String,
}

impl Demo {
    /// Starts it.
    pub async fn start(ports: Ports) -> anyhow::Result<Self> {
        Self::start_with(ports, None).await
    }

    /// Starts it with a source of events, `tests`, which signs with this by the Standard Webhooks specification, and with
    /// sign-in by typed data.
    pub async fn with_events(ports: Ports, secret: &str) -> anyhow::Result<Self> {
        Self::start_with(ports, Some(secret)).await
    }

    async fn start_with(ports: Ports, events: Option<&str>) -> anyhow::Result<Self> {
        ports.check()?;
        let mut config =
            std::fs::read_to_string(root().join("tokengate.toml")).context("tokengate.toml")?;
        if events.is_some() {
            config.push_str(EVENTS);
            // Off where nothing is said, so whoever tests what it does switches it on.
            let service = "[service]\n";
            ensure!(config.contains(service), "tokengate.toml has no [service]");
            config = config.replacen(service, "[service]\ntyped_data = true\n", 1);
        }
        let chain = Chain::with_contracts(ports.chain).await?;
        let store = Store::start(ports.store).await?;
        for (key, content_type, content) in OBJECTS {
            store.put(key, content_type, content).await?;
        }
        let admin_token = random_key()?;
        let mut settings = Settings::new(&ports.put_in(&config), chain.url())
            .variable("service_keys", &format!("demo:{}", random_key()?))
            .variable("store_keys", &format!("demo:{}", random_key()?))
            .variable("demo_rpc_url", chain.url())
            .variable("admin_token", &admin_token);
        settings.port = ports.service;
        if let Some(secret) = events {
            settings = settings.events(secret)?;
        }
        let service = Service::start(&settings).await?;
        let watch = service::watch(service.url(), &admin_token).await?;
        Ok(Self {
            watch,
            service,
            chain,
            store,
            ports,
            admin_token,
        })
    }

    /// The service's base URL, by the name that `tokengate.toml` gives it.
    pub fn service_url(&self) -> &str {
        self.service.url()
    }

    /// The chain's JSON-RPC endpoint.
    pub fn chain_url(&self) -> &str {
        self.chain.url()
    }

    /// The operator's token.
    pub fn admin_token(&self) -> &str {
        &self.admin_token
    }

    /// Gives the owner's token away.
    pub async fn give_token(&self, to: Address) -> anyhow::Result<()> {
        self.chain.transfer_token(0, to).await
    }

    /// What to open and what to paste.
    pub fn instructions(&self) -> String {
        format!(
            "\nTokengate  {}/  (open it: a page with a demo wallet)\nAPI        {}/openapi.json\nChain      {}  (id 31337)\n\
             Store      {}  (bucket media)\n\nThe same with curl, to paste into a shell:\n\n{}\nCtrl-C ends all of it.\n",
            self.service.url(),
            self.service.url(),
            self.chain.url(),
            self.store.url(),
            self.walk_through()
        )
    }

    /// A shell session from signature to bytes, and to refusal.
    pub fn walk_through(&self) -> String {
        self.ports.put_in(WALK_THROUGH)
    }

    /// Waits until a part ends by itself, which none should; answers its last words.
    pub async fn broken(&mut self) -> anyhow::Result<String> {
        tokio::select! {
            words = self.chain.ended() => words,
            words = self.service.ended() => words,
            status = self.watch.wait() => Ok(format!("tokengate watch: {}\n{}", status?, self.watch.stderr())),
        }
    }

    /// Ends it: who asks the service before it, and the service before all else, so that it can answer what it has begun.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let status = self.watch.stop(Duration::from_secs(5)).await?;
        ensure!(status.success(), "tokengate watch ended with {status}");
        let status = self.service.stop().await?;
        ensure!(status.success(), "the service ended with {status}");
        self.store.stop().await;
        self.chain.stop().await
    }
}

/// 32 bytes of the kernel's randomness in hexadecimal: keys of one run are worth nothing in the next.
fn random_key() -> anyhow::Result<String> {
    let mut key = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    Ok(hex::encode(key))
}
