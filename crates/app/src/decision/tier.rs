//! Where what a decision rests on came from.

/// Where what a decision rests on came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tier {
    /// All from the configuration: no fact was needed.
    Config,
    /// All from the instance's memory.
    Memory,
    /// At least one from the shared store.
    Store,
    /// At least one from a chain.
    Chain,
}

impl Tier {
    /// The name in answers and in the log.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Memory => "memory",
            Self::Store => "store",
            Self::Chain => "chain",
        }
    }
}
