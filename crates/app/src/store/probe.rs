//! Whether the shared store works.

use std::time::Duration;

use super::keys::PREFIX;
use super::timed;
use crate::ports::{Ports, StoreError};
use crate::router::Context;

/// How long a probe is kept.
const PROBE: Duration = Duration::from_secs(60);

/// Whether the store takes and gives back a value.
pub(crate) async fn probe<P: Ports>(
    context: &Context<'_, P>,
    limit: Duration,
) -> Result<(), StoreError> {
    let key = format!("{PREFIX}:probe");
    let round_trip = async {
        let store = context.store();
        store.set(&key, b"1", PROBE).await?;
        match store.get(&key).await? {
            Some(value) if value == b"1" => Ok(()),
            _ => Err(StoreError::Failed(
                "a value that was set is not there".into(),
            )),
        }
    };
    timed(context, limit, round_trip).await
}
