//! `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10).

use tokengate_core::config::Rate;

/// The state of a limit, for the header fields that tell the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    pub(crate) policy: &'static str,
    pub(crate) rate: Rate,
    pub(crate) remaining: u32,
    pub(crate) reset: u64,
}

impl Quota {
    /// Whether less is left of it than of `other`.
    pub(crate) const fn is_nearer(&self, other: &Self) -> bool {
        self.remaining < other.remaining
    }

    /// The fields, by name.
    pub(crate) fn fields(&self) -> [(&'static str, String); 2] {
        let Self {
            policy,
            rate,
            remaining,
            reset,
        } = self;
        let window = rate.window.as_secs();
        [
            (
                "ratelimit-policy",
                format!("\"{policy}\";q={};w={window}", rate.quota),
            ),
            ("ratelimit", format!("\"{policy}\";r={remaining};t={reset}")),
        ]
    }
}
