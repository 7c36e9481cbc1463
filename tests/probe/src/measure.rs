//! What single steps of the core cost, measured where they run: natively, or in WebAssembly inside the host.

use std::hint::black_box;
use std::time::{Duration, Instant};

use tokengate_core::Timestamp;
use tokengate_core::eip4361::Message;
use tokengate_core::keys::KeyRing;
use tokengate_core::session;
use tokengate_core::signature::bytes_from_hex;
use tokengate_core::signer::{Scheme, Verification};

/// The time of one check of a session token, out of `count`.
///
/// # Errors
/// Why the token is none, in words.
pub fn session_check(
    keys: &str,
    token: &str,
    now: Timestamp,
    count: u32,
) -> Result<Duration, String> {
    let keys = KeyRing::parse(keys).map_err(|error| error.to_string())?;
    time(count, || {
        session::check(&keys, black_box(token), now).map_err(|error| error.to_string())
    })
}

/// The time of hashing a message and recovering the signer of its signature, out of `count`.
///
/// # Errors
/// Why there is none, in words.
pub fn recovery(message: &str, signature: &str, count: u32) -> Result<Duration, String> {
    let message = Message::parse(message).map_err(|error| error.to_string())?;
    let signature = bytes_from_hex(signature).map_err(|error| error.to_string())?;
    time(count, || {
        Verification::new(&message, Scheme::Eip191, black_box(signature.clone()), &[])
            .map_err(|error| error.to_string())
    })
}

fn time<T>(count: u32, step: impl Fn() -> Result<T, String>) -> Result<Duration, String> {
    // Once before the clock runs: what is lazily made is made.
    black_box(step()?);
    let begun = Instant::now();
    for _ in 0..count {
        black_box(step()?);
    }
    Ok(begun.elapsed() / count.max(1))
}
