//! Whether the shared store works.

use std::time::Duration;

use super::client::StoreClient;
use super::keys::PREFIX;
use crate::ports::{Ports, StoreError};

/// How long a probe is kept.
const PROBE: Duration = Duration::from_secs(60);

/// Whether the store takes and gives back a value.
pub(crate) async fn probe<P: Ports>(store: &StoreClient<P>) -> Result<(), StoreError> {
    let key = format!("{PREFIX}:probe");
    let round_trip = async {
        let kv = store.kv();
        kv.set(&key, b"1", PROBE).await?;
        match kv.get(&key).await? {
            Some(value) if value == b"1" => Ok(()),
            _ => Err(StoreError::Failed(
                "a value that was set is not there".into(),
            )),
        }
    };
    store.timed(round_trip).await
}
