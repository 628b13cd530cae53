//! Who serves: every API server has a Lease in `kube-system` that bears its name, renewed while it lives (KEP-1965,
//! `controlplane/apiserver/server.go` and `controller/apiserverleasegc`). Nothing here depends on it; who mends a cluster reads it.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use nix::unistd::gethostname;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::{MissedTickBehavior, interval};

use crate::app::{App, Call, text};
use crate::bootstrap;
use crate::http::status::ApiResult;
use crate::registry::{delete, update};

const GROUP: &str = "coordination.k8s.io";
const NAMESPACE: &str = "kube-system";
/// Whose leases these are.
const LABEL: (&str, &str) = ("apiserver.kubernetes.io/identity", "kube-apiserver");
/// Upstream's figures.
const RENEW: Duration = Duration::from_secs(10);
const LIFETIME: i64 = 3600;
const COLLECT: Duration = Duration::from_secs(3600);

/// Keeps this server's lease and removes those that are over, until the server stops.
pub async fn run(app: Arc<App>) {
    let host = gethostname().map(|host| host.to_string_lossy().into_owned()).unwrap_or_default();
    let (mut renew, mut collect) = (interval(RENEW), interval(COLLECT));
    renew.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let done = tokio::select! {
            _ = renew.tick() => keep(&app, &host).await,
            _ = collect.tick() => collect_over(&app).await,
            () = app.stop.cancelled() => return,
        };
        if let Err(error) = done {
            tracing::warn!(%error, "the lease that says who this API server is could not be kept");
        }
    }
}

/// What a server on a host is called: the same after a restart.
fn name(host: &str) -> String {
    let part = |text: &str| [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat();
    let hash = Sha256::digest([part(host), part(LABEL.1)].concat());
    format!("apiserver-{}", base32(&hash[..16]))
}

/// RFC 4648 without padding, in small letters.
fn base32(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let bit = |at: usize| bytes.get(at / 8).map_or(0, |byte| byte >> (7 - at % 8) & 1);
    let letter = |at: usize| (0..5).fold(0, |value, bit_at| value << 1 | bit(at + bit_at));
    (0..bytes.len() * 8).step_by(5).map(|at| char::from(LETTERS[usize::from(letter(at))])).collect()
}

async fn keep(app: &Arc<App>, host: &str) -> ApiResult<()> {
    let (name, now) = (name(host), format!("{:.6}", Timestamp::now()));
    let labels = json!({ LABEL.0: LABEL.1, "kubernetes.io/hostname": host });
    let holder = format!("{name}_{}", uuid::Uuid::new_v4());
    let lease = json!({
        "metadata": { "name": name, "namespace": NAMESPACE, "labels": labels },
        "spec": { "holderIdentity": holder, "leaseDurationSeconds": LIFETIME, "renewTime": now },
    });
    if bootstrap::ensure(app, GROUP, "leases", lease).await? {
        return Ok(());
    }
    let call = Call::internal(app, GROUP, "leases", NAMESPACE, &name)?;
    let renewed = json!({ "metadata": { "labels": labels }, "spec": { "renewTime": now } });
    update::update(&call, &update::Change::Merge(renewed)).await.map(drop)
}

/// Whether nobody has renewed a lease for as long as it lasts.
fn is_over(lease: &Value, now: Timestamp) -> bool {
    let ours = lease["metadata"]["labels"][LABEL.0] == LABEL.1;
    let lasts = lease["spec"]["leaseDurationSeconds"].as_i64();
    let until = text(lease, "/spec/renewTime").parse::<Timestamp>().ok().zip(lasts);
    let until = until.and_then(|(renewed, lasts)| renewed.checked_add(SignedDuration::from_secs(lasts)).ok());
    // One that says nothing of that is nobody's.
    ours && until.is_none_or(|until| until < now)
}

async fn collect_over(app: &Arc<App>) -> ApiResult<()> {
    let resource = app.resource(GROUP, "leases")?;
    let range = app.store.range(&resource.range(NAMESPACE), None, 0, None).await?;
    for kv in range.items {
        let Ok(lease) = serde_json::from_slice::<Value>(&kv.value) else { continue };
        if !is_over(&lease, Timestamp::now()) {
            continue;
        }
        let call = Call::internal(app, GROUP, "leases", NAMESPACE, text(&lease, "/metadata/name"))?;
        let only = json!({ "preconditions": { "uid": lease["metadata"]["uid"] } });
        if let Err(error) = delete::delete(&call, &delete::Options::read(&only)).await
            && error.code != 404
        {
            return Err(error);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_called_as_upstream_calls_it() {
        assert_eq!(base32(b"foobar"), "mzxw6ytboi");
        assert_eq!(base32(b""), "");
        assert_eq!(name("node-1"), "apiserver-lgabes5ywnaqeagh5dny4zlzs4");
    }

    #[test]
    fn a_lease_is_over_when_it_has_lasted() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let lease = |renewed: &str, label: &str| {
            json!({ "metadata": { "labels": { LABEL.0: label } },
                "spec": { "renewTime": renewed, "leaseDurationSeconds": 3600 } })
        };
        for (lease, over) in [
            (lease("2026-01-01T11:30:00.000000Z", LABEL.1), false),
            (lease("2026-01-01T10:30:00.000000Z", LABEL.1), true),
            (lease("2026-01-01T10:30:00.000000Z", "another"), false),
            (json!({ "metadata": { "labels": { LABEL.0: LABEL.1 } }, "spec": {} }), true),
        ] {
            assert_eq!(is_over(&lease, now), over, "{lease}");
        }
    }
}
