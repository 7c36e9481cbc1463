//! Requests and responses.

pub(crate) mod extract;
pub(crate) mod problem;
