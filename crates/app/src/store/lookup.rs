//! How a lookup in the shared store fails.

/// Why it is not known whether the store keeps anything of a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LookupError {
    /// It could not be looked up.
    Failed,
    /// There is something that was written without the store's keys. It may stand where a tombstone was.
    Forged,
}
