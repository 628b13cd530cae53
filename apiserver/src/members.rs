//! Which API servers there are: each keeps a lease in the store, and all write the same list into the endpoints of the
//! `kubernetes` Service (upstream's lease endpoint reconciler, `controlplane/reconcilers/lease.go`).
//!
//! A lease that has not been renewed for [`LIFETIME`] is over. Every server judges that by its own clock, from when it saw
//! the lease change last, so clocks need not agree. The embedded store has one server and no leases.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::json;
use store::{Revision, WriteOutcome};

use crate::app::App;
use crate::bootstrap;
use crate::http::answer::to_json;
use crate::http::status::ApiResult;
use crate::options::{Backend, EndpointReconciler};

/// Where upstream keeps them.
const PREFIX: &str = "/registry/masterleases/";
/// Upstream's TTL, and how often it is renewed.
const LIFETIME: Duration = Duration::from_secs(15);
const RENEW: Duration = Duration::from_secs(10);

/// When each lease was last seen to change.
#[derive(Default)]
pub struct Members(Mutex<Seen>);

#[derive(Default)]
struct Seen(BTreeMap<String, (Revision, Instant)>);

impl Seen {
    /// Notes the leases there are now; the addresses of those that live, and of those that do not.
    fn judge(&mut self, found: &[(String, Revision)], now: Instant) -> (Vec<String>, Vec<String>) {
        self.0.retain(|address, _| found.iter().any(|(there, _)| there == address));
        for (address, revision) in found {
            match self.0.get_mut(address) {
                Some(seen) if seen.0 == *revision => {}
                Some(seen) => *seen = (*revision, now),
                None => drop(self.0.insert(address.clone(), (*revision, now))),
            }
        }
        let alive = |address: &String| now.duration_since(self.0[address].1) <= LIFETIME;
        found.iter().map(|(address, _)| address.clone()).partition(alive)
    }
}

/// Whether others may share the store, and clients could reach them.
fn shared(app: &App) -> bool {
    let leases = app.options.endpoint_reconciler_type == EndpointReconciler::Lease;
    leases && app.options.backend() == Backend::Etcd3 && !app.options.advertised().is_loopback()
}

/// The addresses of the servers that live, this one's lease renewed.
pub async fn addresses(app: &App) -> ApiResult<Vec<String>> {
    let own = app.options.advertised().to_string();
    if !shared(app) {
        return Ok(vec![own]);
    }
    renew(app, &own).await?;
    let range = app.store.range(PREFIX, None, 0, None).await?;
    let found: Vec<(String, Revision)> =
        range.items.iter().map(|kv| (kv.key[PREFIX.len()..].to_owned(), kv.mod_revision)).collect();
    let (alive, over) = app.members.0.lock().judge(&found, Instant::now());
    for (address, revision) in found.iter().filter(|(address, _)| over.contains(address)) {
        tracing::info!(address, "the lease of an API server is over");
        // Renewed or removed in the meantime: not ours to remove.
        app.store.delete(&format!("{PREFIX}{address}"), *revision).await?;
    }
    Ok(alive)
}

async fn renew(app: &App, own: &str) -> ApiResult<()> {
    let key = format!("{PREFIX}{own}");
    loop {
        let (found, now) = app.store.get(&key, None).await?;
        // The generation is what changes, as upstream's.
        let lease = json!({
            "kind": "Endpoints", "apiVersion": "v1", "metadata": { "generation": now },
            "subsets": [{ "addresses": [{ "ip": own }] }],
        });
        let outcome = app.store.put(&key, to_json(&lease), found.map_or(0, |kv| kv.mod_revision)).await?;
        // Lost to another that believed the lease over; it is there only once, so soon won.
        if let WriteOutcome::Done(_) = outcome {
            return Ok(());
        }
    }
}

/// Renews the lease and keeps the endpoints right, until the server stops.
pub fn follow(app: &Arc<App>) {
    if !shared(app) {
        return;
    }
    let app = app.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(RENEW) => {}
                () = app.stop.cancelled() => return,
            }
            if let Err(error) = bootstrap::kubernetes_service(&app).await {
                tracing::warn!(%error, "the list of API servers could not be brought up to date");
            }
        }
    });
}

/// Takes this server off the list; the last one stays on it.
///
/// # Errors
/// The store fails.
pub async fn leave(app: &Arc<App>) -> ApiResult<()> {
    if !shared(app) {
        return Ok(());
    }
    let own = app.options.advertised().to_string();
    let mut others = addresses(app).await?;
    others.retain(|address| *address != own);
    let key = format!("{PREFIX}{own}");
    if let (Some(lease), _) = app.store.get(&key, None).await? {
        app.store.delete(&key, lease.mod_revision).await?;
    }
    if others.is_empty() { Ok(()) } else { bootstrap::endpoints(app, &others).await }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_when_it_does_not_change() {
        let (mut seen, begin) = (Seen::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        let lease = |address: &str, revision| (address.to_owned(), revision);
        let both = |a, b| [lease("10.0.0.1", a), lease("10.0.0.2", b)];
        assert_eq!(seen.judge(&both(5, 6), at(0)).0.len(), 2);
        assert_eq!(seen.judge(&both(7, 6), at(10)).0.len(), 2);
        assert_eq!(seen.judge(&both(8, 6), at(20)), (vec!["10.0.0.1".into()], vec!["10.0.0.2".into()]));
        // Gone and back again: a new life.
        assert_eq!(seen.judge(&[lease("10.0.0.1", 9)], at(30)).0.len(), 1);
        assert_eq!(seen.judge(&both(10, 6), at(40)).0.len(), 2);
    }
}
