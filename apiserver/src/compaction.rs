//! Forgets the embedded store's history as upstream's API server forgets etcd's (`storage/etcd3/compact.go`): every interval,
//! what is older than one. What was before this server's start is kept as long: clients that have seen it go on where they were.

use std::sync::Arc;
use std::time::Duration;

use store::{Revision, Store, StoreError};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

/// Compacts until the server stops; `every` zero: never. As upstream, the first interval only tells what the second one forgets.
pub async fn run(store: Arc<dyn Store>, every: Duration, stop: CancellationToken) {
    if every.is_zero() {
        return;
    }
    let mut ticks = interval_at(Instant::now() + every, every);
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

/// Forgets what is older than `earlier`, which is not known the first time; the revision to begin with the next time.
async fn step(store: &dyn Store, earlier: Option<Revision>) -> Option<Revision> {
    let now = match store.revision().await {
        Ok(now) => now,
        Err(error) => {
            tracing::warn!(%error, "the store does not tell its revision: nothing is compacted");
            return earlier;
        }
    };
    if let Some(earlier) = earlier {
        match store.compact(earlier).await {
            Ok(()) | Err(StoreError::Compacted { .. }) => {}
            Err(error) => tracing::warn!(%error, "the store could not be compacted"),
        }
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
        // The first step forgets nothing, of this server or of one before it, and each other one what was before the last.
        for (name, forgotten) in [("/a/0", 0), ("/a/1", 0), ("/a/2", 1), ("/a/3", 2)] {
            store.put(name, Bytes::from_static(b"{}"), 0).await.unwrap();
            revisions.push(store.revision().await.unwrap());
            if name != "/a/0" {
                earlier = step(&store, earlier).await;
            }
            for (index, revision) in revisions.iter().enumerate() {
                assert_eq!(readable(*revision).await, index >= forgotten, "{index} after {name}");
            }
        }
    }
}
