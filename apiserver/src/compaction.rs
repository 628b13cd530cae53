//! Forgets the embedded store's history as upstream's API server forgets etcd's (`storage/etcd3/compact.go`): every interval,
//! what is older than one. What was before this server is forgotten at its start, for no client of it has seen that.

use std::sync::Arc;
use std::time::Duration;

use store::{Revision, Store, StoreError};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Compacts until the server stops; `every` zero: never.
pub async fn run(store: Arc<dyn Store>, every: Duration, stop: CancellationToken) {
    if every.is_zero() {
        return;
    }
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut earlier = None;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        earlier = step(&*store, earlier).await;
    }
}

/// Forgets what is older than `earlier` (the first time, all that is); the revision to begin with the next time.
async fn step(store: &dyn Store, earlier: Option<Revision>) -> Option<Revision> {
    let now = match store.revision().await {
        Ok(now) => now,
        Err(error) => {
            tracing::warn!(%error, "the store does not tell its revision: nothing is compacted");
            return earlier;
        }
    };
    match store.compact(earlier.unwrap_or(now)).await {
        Ok(()) | Err(StoreError::Compacted { .. }) => {}
        Err(error) => tracing::warn!(%error, "the store could not be compacted"),
    }
    Some(now)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use store::embedded::{Embedded, Options};

    use super::*;

    #[tokio::test]
    async fn an_interval_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let store = Embedded::open(dir.path(), Options::default()).unwrap();
        let readable = async |revision| store.range("/a", None, 0, Some(revision)).await.is_ok();
        let mut revisions = Vec::new();
        let mut earlier = None;
        for name in ["/a/1", "/a/2", "/a/3"] {
            store.put(name, Bytes::from_static(b"{}"), 0).await.unwrap();
            revisions.push(store.revision().await.unwrap());
            earlier = step(&store, earlier).await;
        }
        // The first step forgot what was before it, the third what was before the second.
        assert!(!readable(revisions[0]).await);
        assert!(readable(revisions[1]).await && readable(revisions[2]).await);
    }
}
