//! Tokens that are kept in Secrets: looked up, judged, and their use noted at the Secret
//! (upstream `pkg/serviceaccount/legacy.go`, KEP-2799). Since when that is done for all of them is said by a ConfigMap
//! (`pkg/controlplane/controller/legacytokentracking`).

use std::sync::Arc;
use std::time::Duration;

use auth::UserInfo;
use auth::serviceaccount::{LAST_USED_LABEL, LegacyClaims, TRACKING_CONFIG_MAP as TRACKING, last_used};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::notes::Notes;
use crate::app::{App, Call, text};
use crate::bootstrap;
use crate::http::status::ApiResult;
use crate::registry::follow::{self, Step};
use crate::registry::update;
use crate::registry::write::live;

const NAMESPACE: &str = "kube-system";
/// The ConfigMap is not created more often than this, for servers that do not want it may be deleting it.
const CREATED_EVERY: Duration = Duration::from_secs(30 * 60);
/// After this time what has failed is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// The user of a token whose signature is good.
///
/// # Errors
/// Why it is refused.
pub async fn user(app: &Arc<App>, token: &str, claims: &LegacyClaims, notes: &mut Notes) -> Result<UserInfo, String> {
    let find = |plural, name| live(app, plural, &claims.namespace, name);
    let secret = find("secrets", &claims.secret).await.map_err(|error| error.to_string())?;
    let account = find("serviceaccounts", &claims.account).await.map_err(|error| error.to_string())?;
    if claims.aud.is_empty() {
        notes.annotations.push(("authentication.k8s.io/legacy-token", claims.sub.clone()));
    }
    let judged = claims.judge(token, secret.as_ref(), account.as_ref());
    notes.annotations.extend(judged.annotations);
    notes.warnings.extend(judged.warning.map(str::to_owned));
    if let Some(secret) = secret.filter(|_| judged.used)
        && let Some(today) = last_used(&secret, Timestamp::now())
        && let Err(error) = label(app, claims, &secret, &today).await
    {
        // The token is none the worse for it.
        tracing::warn!(%error, namespace = claims.namespace, secret = claims.secret, "a token's last use could not be noted");
    }
    judged.user.map_err(|error| error.to_string())
}

async fn label(app: &Arc<App>, claims: &LegacyClaims, secret: &Value, today: &str) -> ApiResult<()> {
    let call = Call::internal(app, "", "secrets", &claims.namespace, &claims.secret)?;
    let uid = text(secret, "/metadata/uid");
    let patch = json!({ "metadata": { "uid": uid, "labels": { LAST_USED_LABEL: today } } });
    update::update(&call, &update::Change::Merge(patch)).await?;
    Ok(())
}

/// What to do about the ConfigMap.
#[derive(Debug, PartialEq, Eq)]
enum Action {
    Nothing,
    Create,
    /// Its date cannot be read.
    Mend,
    Wait(Duration),
}

/// `since` is the ConfigMap's date, if there is one; `created` when this server last created it.
fn plan(since: Option<&str>, created: Option<Instant>, now: Instant) -> Action {
    match since {
        Some(since) if since.parse::<Date>().is_ok() => Action::Nothing,
        Some(_) => Action::Mend,
        None => match created.map(|at| CREATED_EVERY.saturating_sub(now.duration_since(at))) {
            None | Some(Duration::ZERO) => Action::Create,
            Some(left) => Action::Wait(left),
        },
    }
}

/// Keeps the ConfigMap there, with the day on which it was created.
///
/// # Errors
/// The ConfigMaps cannot be read.
pub async fn track(app: &Arc<App>) -> ApiResult<()> {
    let since: Arc<Mutex<Option<String>>> = Arc::default();
    let changed = Arc::new(Notify::new());
    let (known, tell) = (since.clone(), changed.clone());
    let is_ours = |object: &store::cache::Object| object.namespace() == NAMESPACE && object.name() == TRACKING;
    follow::follow(app, "", "configmaps", move |_, step| match step {
        Step::Restart => *known.lock() = None,
        Step::Now(object) if is_ours(object) => {
            let map: Value = serde_json::from_slice(object.bytes()).unwrap_or_default();
            *known.lock() = Some(text(&map, "/data/since").to_owned());
            tell.notify_one();
        }
        Step::Gone(object) if is_ours(object) => {
            *known.lock() = None;
            tell.notify_one();
        }
        Step::Now(_) | Step::Gone(_) | Step::Settled => {}
    })
    .await?;
    let app = app.clone();
    tokio::spawn(async move {
        let mut created = None;
        loop {
            let step = plan(since.lock().as_deref(), created, Instant::now());
            let wait = match &step {
                Action::Nothing => None,
                Action::Wait(left) => Some(*left),
                Action::Create | Action::Mend => match write(&app, &step).await {
                    Ok(made) => {
                        created = made.then(Instant::now).or(created);
                        None
                    }
                    Err(error) => {
                        tracing::warn!(%error, "ConfigMap {NAMESPACE}/{TRACKING} could not be written");
                        Some(AGAIN)
                    }
                },
            };
            let timer = async {
                match wait {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = changed.notified() => {}
                () = timer => {}
                () = app.stop.cancelled() => return,
            }
        }
    });
    Ok(())
}

/// Whether it was created.
async fn write(app: &Arc<App>, step: &Action) -> ApiResult<bool> {
    let data = json!({ "since": Timestamp::now().to_zoned(TimeZone::UTC).date().to_string() });
    if *step == Action::Create {
        let map = json!({ "metadata": { "namespace": NAMESPACE, "name": TRACKING }, "data": data });
        return bootstrap::ensure(app, "", "configmaps", map).await;
    }
    let call = Call::internal(app, "", "configmaps", NAMESPACE, TRACKING)?;
    update::update(&call, &update::Change::Merge(json!({ "data": data }))).await?;
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_is_kept() {
        let then = Instant::now();
        let minutes = |count: u64| Duration::from_secs(60 * count);
        for (since, created, later, expected) in [
            (Some("2026-01-31"), None, 0, Action::Nothing),
            (Some("2026-02-31"), None, 0, Action::Mend),
            (Some(""), Some(then), 0, Action::Mend),
            (None, None, 0, Action::Create),
            (None, Some(then), 1, Action::Wait(minutes(29))),
            (None, Some(then), 30, Action::Create),
        ] {
            assert_eq!(plan(since, created, then + minutes(later)), expected, "{since:?}");
        }
    }
}
