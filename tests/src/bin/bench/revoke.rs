//! `scripts/bench revoke`: from a transfer to the refusal of whom the token was, and to the grant of whose it is.
//!
//! Each trial is a token of its own: its owner has been let in and goes on asking, its buyer has been refused and goes on
//! asking, every [`PAUSE`]; time counts from the receipt of the transfer, which anvil mines at once.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures_util::future::{join, try_join_all};
use tokengate_tests::client::Gate;
use tokengate_tests::delivery::Delivery;
use tokengate_tests::service;
use tokengate_tests::wallet::Wallet;
use tokengate_tests::world::{HELLO, World};

use crate::Figures;

const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const ADMIN: &str = "an operator's token of 32 characters";
const TRIALS: usize = 100;
const AT_ONCE: usize = 10;
const PAUSE: Duration = Duration::from_millis(50);
/// Nobody waits for longer.
const MOST: Duration = Duration::from_secs(30);

/// How the service learns of transfers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Webhook,
    Watch,
    Neither,
}

pub(crate) async fn run() -> anyhow::Result<()> {
    println!(
        "\n{:<52} {:>8} {:>8} {:>8}   {:>8} {:>8} {:>8}",
        "from the transfer, ms", "refused", "", "", "granted", "", ""
    );
    println!(
        "{:<52} {:>8} {:>8} {:>8}   {:>8} {:>8} {:>8}",
        format!("{TRIALS} transfers each"),
        "p50",
        "p95",
        "longest",
        "p50",
        "p95",
        "longest"
    );
    for (name, by, fresh) in [
        (
            "webhook, delivered at once; fresh 10 min",
            By::Webhook,
            "10m",
        ),
        ("tokengate watch --every 1s; fresh 10 min", By::Watch, "10m"),
        ("neither; fresh 5 s", By::Neither, "5s"),
    ] {
        let (refused, granted) = measure(by, fresh).await?;
        let percentiles = |figures: &Figures| {
            [50, 95, 100].map(|percent| format!("{:>8.0}", figures.percentile(percent)))
        };
        println!(
            "{name:<52} {}   {}",
            percentiles(&refused).join(" "),
            percentiles(&granted).join(" ")
        );
    }
    Ok(())
}

async fn measure(by: By, fresh: &'static str) -> anyhow::Result<(Figures, Figures)> {
    let mut prepared = Ok(());
    let world = World::with(
        |config| {
            config.fresh = fresh;
            config.more.push_str(
                "\n[[webhook]]\nid = \"own\"\nprovider = \"standard\"\nsecret = \"{{ events_secret }}\"\n",
            );
        },
        |settings| {
            let settings = settings.variable("admin_token", ADMIN);
            settings.clone().events(SECRET).unwrap_or_else(|error| {
                prepared = Err(error);
                settings
            })
        },
    )
    .await?;
    prepared?;
    let watcher = match by {
        By::Watch => Some(service::watch(world.service.url(), ADMIN).await?),
        By::Webhook | By::Neither => None,
    };
    // Token 0 is the world's own.
    let numbers: Vec<usize> = (1..=TRIALS).collect();
    let mut trials = Vec::new();
    for numbers in numbers.chunks(AT_ONCE) {
        let mut prepared = Vec::new();
        // One after another, so that each knows the number of its token.
        for number in numbers {
            prepared.push(Trial::new(&world, *number).await?);
        }
        let run = prepared.iter().map(|trial| trial.run(&world, by));
        trials.extend(try_join_all(run).await?);
    }
    drop(watcher);
    let (refused, granted) = trials.into_iter().unzip();
    let second = Duration::from_secs(1);
    Ok((
        Figures::new(refused, second)?,
        Figures::new(granted, second)?,
    ))
}

struct Trial {
    number: usize,
    seller: Wallet,
    buyer: Wallet,
    /// Their sessions.
    sold: String,
    bought: String,
}

impl Trial {
    async fn new(world: &World, number: usize) -> anyhow::Result<Self> {
        let seller = Wallet::seeded(&format!("seller {number}"))?;
        let buyer = Wallet::seeded(&format!("buyer {number}"))?;
        world.chain.mint_token(seller.address()).await?;
        let sold = world.gate.sign_in(&seller).await?;
        let bought = world.gate.sign_in(&buyer).await?;
        Ok(Self {
            number,
            seller,
            buyer,
            sold,
            bought,
        })
    }

    /// How long it takes until the seller is refused, and until the buyer is granted.
    async fn run(&self, world: &World, by: By) -> anyhow::Result<(Duration, Duration)> {
        // Hot in memory before it is sold, at a moment that has nothing to do with when it was read.
        let warm = Duration::from_millis(1_000 + 97 * (self.number as u64 * 37 % 50));
        let begun = Instant::now();
        while begun.elapsed() < warm {
            let (sold, bought) = (
                world.gate.ask(&self.sold, HELLO).await?,
                world.gate.ask(&self.bought, HELLO).await?,
            );
            sold.expect(200)?;
            bought.problem(403)?;
            tokio::time::sleep(PAUSE).await;
        }
        let (seller, buyer) = (self.seller.address(), self.buyer.address());
        let id = self.number as u64;
        let receipt = world.chain.sell_token(id, seller, buyer).await?;
        let sold_at = Instant::now();
        let tell = async {
            if by == By::Webhook {
                let logs = receipt.get("logs").and_then(|logs| logs.as_array());
                let logs = logs.context("a receipt without logs")?;
                let delivery = Delivery::of(&format!("trial-{id}"), logs);
                delivery.send(&world.gate, "own", SECRET).await?;
            }
            anyhow::Ok(())
        };
        let refused = until(&world.gate, &self.sold, 403, sold_at);
        let granted = until(&world.gate, &self.bought, 200, sold_at);
        let ((refused, granted), told) = join(join(refused, granted), tell).await;
        told?;
        Ok((refused?, granted?))
    }
}

/// How long it takes from `begun` until every answer is `wanted`.
async fn until(gate: &Gate, token: &str, wanted: u16, begun: Instant) -> anyhow::Result<Duration> {
    // Several in a row: instances learn of it one by one.
    const IN_A_ROW: u32 = 10;
    let (mut since, mut in_a_row) = (Duration::ZERO, 0);
    while in_a_row < IN_A_ROW {
        let asked = begun.elapsed();
        ensure!(asked < MOST, "no {wanted} within {MOST:?}");
        let status = gate.ask(token, HELLO).await?.status.as_u16();
        if status == wanted {
            if in_a_row == 0 {
                since = begun.elapsed();
            }
            in_a_row += 1;
        } else {
            in_a_row = 0;
        }
        tokio::time::sleep(PAUSE / 2).await;
    }
    Ok(since)
}
