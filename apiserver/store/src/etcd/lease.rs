//! Leases: keys that end together share one, as upstream's `storage/etcd3/lease_manager.go`.

use std::time::{Duration, Instant};

use etcd_client::Client;
use tokio::sync::Mutex;

use super::{call, failure};
use crate::StoreError;

/// A lease is given to keys for this part of its life, and at most for [`SHARED`]: so much later than asked for they end.
const PART: u32 = 20;
const SHARED: Duration = Duration::from_secs(60);
/// No more keys than these end at one moment.
const KEYS: usize = 1000;

/// The lease that is being given out.
#[derive(Default)]
pub(super) struct Leases(Mutex<Option<Current>>);

struct Current {
    id: i64,
    life: Duration,
    until: Instant,
    keys: usize,
}

impl Leases {
    /// A lease that ends after `life`, or a little later.
    pub async fn get(&self, client: &Client, life: Duration) -> Result<i64, StoreError> {
        let mut current = self.0.lock().await;
        if let Some(lease) = current.as_mut()
            && lease.life == life
            && lease.keys < KEYS
            && Instant::now() < lease.until
        {
            lease.keys += 1;
            return Ok(lease.id);
        }
        let shared = (life / PART).min(SHARED);
        let seconds = i64::try_from((life + shared).as_secs().max(1)).unwrap_or(i64::MAX);
        let granted = call(client.lease_client().grant(seconds, None)).await.map_err(|error| failure(error, 0))?;
        *current = Some(Current { id: granted.id(), life, until: Instant::now() + shared, keys: 1 });
        Ok(granted.id())
    }
}
