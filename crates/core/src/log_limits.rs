//! How much a provider lists in one `eth_getLogs`: found out by being refused, and forgotten after a while.

use std::time::Duration;

use jiff::Timestamp;

/// For how long a limit is taken for granted: providers change them, and one busy block is not every block.
const KEPT: Duration = Duration::from_secs(60 * 60);

/// The most that one provider is asked to list at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// Blocks; half of what the provider has refused.
    blocks: u64,
    /// Blocks; half of what was too long to be read, and more again where lists are short.
    fitting: u64,
    /// Contracts; half of what the provider has refused for a single block.
    contracts: usize,
    learned_at: Option<Timestamp>,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self::NONE
    }
}

impl LogLimits {
    /// Nothing is known.
    pub const NONE: Self = Self {
        blocks: u64::MAX,
        fitting: u64::MAX,
        contracts: usize::MAX,
        learned_at: None,
    };

    /// What is known at `now`.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> Self {
        let young = |at: Timestamp| now.duration_since(at).unsigned_abs() <= KEPT;
        if self.learned_at.is_some_and(young) {
            *self
        } else {
            Self::default()
        }
    }

    /// The most blocks, at least 1.
    pub fn blocks(&self) -> u64 {
        self.blocks.min(self.fitting).max(1)
    }

    /// The most contracts, at least 1.
    pub fn contracts(&self) -> usize {
        self.contracts.max(1)
    }

    /// Notes that the provider does not list so many blocks.
    pub fn refused_blocks(&mut self, count: u64, now: Timestamp) {
        self.learn(now).blocks = count / 2;
    }

    /// Notes that so many blocks have more logs than are read at once.
    pub fn too_long(&mut self, count: u64, now: Timestamp) {
        self.learn(now).fitting = count / 2;
    }

    /// Notes that so many blocks were listed, and that twice as many would have been read too.
    pub fn was_short(&mut self, count: u64) {
        if count >= self.fitting {
            self.fitting = count.saturating_mul(2);
        }
    }

    /// Notes that the provider does not list so many contracts, not even for a single block.
    pub fn refused_contracts(&mut self, count: usize, now: Timestamp) {
        self.learn(now).contracts = count / 2;
    }

    /// Notes that fewer contracts were listed where more were refused for a single block: it was not the blocks that were
    /// too many.
    pub fn fewer_contracts_worked(&mut self) {
        self.blocks = u64::MAX;
    }

    fn learn(&mut self, now: Timestamp) -> &mut Self {
        *self = self.at(now);
        self.learned_at = Some(now);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn what_was_refused_is_not_asked_for_again_for_a_while() {
        let mut limits = LogLimits::default();
        assert_eq!(
            (limits.blocks(), limits.contracts()),
            (u64::MAX, usize::MAX)
        );
        limits.refused_blocks(1_000, at(0));
        limits.refused_contracts(50, at(10));
        let limits = limits.at(at(3_610));
        assert_eq!((limits.blocks(), limits.contracts()), (500, 25));
        assert_eq!(limits.at(at(3_611)), LogLimits::default());
    }

    #[test]
    fn what_was_too_long_grows_again_and_never_past_what_was_refused() {
        let mut limits = LogLimits::default();
        limits.refused_blocks(64, at(0));
        limits.too_long(8, at(0));
        assert_eq!(limits.blocks(), 4);
        limits.was_short(2);
        assert_eq!(limits.blocks(), 4, "of fewer blocks than may be asked for");
        for expected in [8, 16, 32, 32] {
            limits.was_short(limits.blocks());
            assert_eq!(limits.blocks(), expected);
        }
    }

    #[test]
    fn a_limit_on_contracts_is_none_on_blocks() {
        let mut limits = LogLimits::default();
        limits.refused_blocks(2, at(0));
        limits.refused_contracts(21, at(0));
        limits.fewer_contracts_worked();
        assert_eq!((limits.blocks(), limits.contracts()), (u64::MAX, 10));
        limits.refused_contracts(1, at(0));
        limits.too_long(1, at(0));
        assert_eq!((limits.blocks(), limits.contracts()), (1, 1));
    }
}
