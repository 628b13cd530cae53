//! Auto-generated tokens in Secrets that nobody uses any more (upstream
//! `pkg/controller/serviceaccount/legacy_serviceaccount_token_cleaner.go`, KEP-2799): first marked invalid, and removed when
//! nobody has missed them for as long again.
//!
//! Days are compared as `2006-01-02` in UTC, as the labels have them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use auth::serviceaccount::{INVALID_SINCE_LABEL, LAST_USED_LABEL, SECRET_TYPE, TRACKING_CONFIG_MAP, day};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, ServiceAccount};
use k8s_openapi::jiff::civil::Date;
use k8s_openapi::jiff::tz::TimeZone;
use k8s_openapi::jiff::{SignedDuration, Timestamp, ToSpan};
use kube::Api;
use kube::api::{DeleteParams, Preconditions};
use serde_json::json;

use super::{NAME, belongs, text};
use crate::context::Context;
use crate::framework::meta::{annotation, created};
use crate::framework::{ApiError, Controller, Outcome, Queue, drive};

/// So often all Secrets are gone through.
const ROUND: Duration = Duration::from_secs(24 * 3600);

struct Cleaner {
    context: Arc<Context>,
    period: SignedDuration,
}

/// Removes what has not been used for `period`, and then not been missed for as long.
pub fn start(context: &Arc<Context>, period: Duration) {
    let queue = Arc::new(Queue::default());
    queue.add("all".to_owned());
    let period = SignedDuration::try_from(period).unwrap_or(SignedDuration::MAX);
    drive(&context.gate(), &Arc::new(Cleaner { context: context.clone(), period }), &queue, 1);
}

/// What becomes of a Secret.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Stays,
    /// Its token is good no more from this day on.
    Invalid(String),
    Goes,
}

fn is_day(text: &str) -> bool {
    text.parse::<Date>().is_ok()
}

fn earlier(now: Timestamp, period: SignedDuration) -> Timestamp {
    now.checked_sub(period).unwrap_or(Timestamp::MIN)
}

/// Whether use has been noted for `period`; the first day was not a whole one.
fn tracked_long_enough(since: &str, now: Timestamp, period: SignedDuration) -> bool {
    let first = since.parse::<Date>().ok().and_then(|date| date.checked_add(1.day()).ok());
    let first = first.and_then(|date| date.to_zoned(TimeZone::UTC).ok());
    first.is_some_and(|first| first.timestamp() <= earlier(now, period))
}

/// `account` is the one of the Secret's name, `mounted` whether a pod refers to the Secret.
fn fate(
    secret: &Secret,
    account: Option<&ServiceAccount>,
    mounted: impl FnOnce() -> bool,
    now: Timestamp,
    period: SignedDuration,
) -> Fate {
    let meta = &secret.metadata;
    let label = |key: &str| meta.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str);
    let keep_from = day(earlier(now, period));
    let recent = created(meta) >= earlier(now, period);
    // A date that cannot be read says nothing: better kept.
    let used = label(LAST_USED_LABEL).is_some_and(|used| !is_day(used) || used >= keep_from.as_str());
    // Others somebody has made on purpose.
    let generated = account.is_some_and(|account| {
        let mut listed = account.secrets.iter().flatten().filter_map(|reference| reference.name.as_ref());
        belongs(meta, &account.metadata) && listed.any(|name| Some(name) == meta.name.as_ref())
    });
    let is_token = secret.type_.as_deref() == Some(SECRET_TYPE);
    if !is_token || meta.deletion_timestamp.is_some() || recent || used || !generated || mounted() {
        return Fate::Stays;
    }
    match label(INVALID_SINCE_LABEL).filter(|since| is_day(since)) {
        None => Fate::Invalid(day(now)),
        Some(since) if since >= keep_from.as_str() => Fate::Stays,
        Some(_) => Fate::Goes,
    }
}

/// The Secrets that pods refer to by name.
fn mounted(pods: &[Arc<Pod>]) -> BTreeSet<String> {
    let specs = pods.iter().filter_map(|pod| serde_json::to_value(pod.spec.as_ref()?).ok());
    specs.flat_map(|spec| auth::node::secrets(&spec)).collect()
}

impl Controller for Cleaner {
    const NAME: &'static str = "legacy-serviceaccount-token-cleaner-controller";

    async fn sync(&self, _all: &str) -> Outcome {
        let (context, kinds, now) = (&self.context, &self.context.kinds, self.context.now());
        let maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), "kube-system");
        let since =
            maps.get_opt(TRACKING_CONFIG_MAP).await?.and_then(|map| map.data?.remove("since")).unwrap_or_default();
        if !tracked_long_enough(&since, now, self.period) {
            return Ok(Some(ROUND));
        }
        // By namespace, where anything is asked of it.
        let mut pods = HashMap::new();
        for secret in kinds.account_tokens.all() {
            let namespace = text(&secret.metadata.namespace);
            let account = annotation(&secret.metadata, NAME).map(|name| format!("{namespace}/{name}"));
            let account = account.and_then(|key| kinds.service_accounts.get(&key));
            let name = text(&secret.metadata.name);
            let mounted = || {
                let found = || mounted(&kinds.pods.in_namespace(namespace));
                pods.entry(namespace.to_owned()).or_insert_with(found).contains(name)
            };
            let done = match fate(&secret, account.as_deref(), mounted, now, self.period) {
                Fate::Stays => continue,
                Fate::Invalid(today) => {
                    tracing::info!(namespace, name, "an unused token is marked as invalid");
                    let labels = json!({ INVALID_SINCE_LABEL: today });
                    let patch = json!({ "metadata": { "uid": secret.metadata.uid, "labels": labels } });
                    kinds.account_tokens.merge(&secret.metadata, None, &patch).await.map(drop)
                }
                Fate::Goes => {
                    tracing::info!(namespace, name, "an unused token is removed");
                    // Whoever has used it meanwhile has changed it.
                    let resource_version = secret.metadata.resource_version.clone();
                    let preconditions = Some(Preconditions { resource_version, uid: None });
                    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
                    secrets.delete(name, &DeleteParams { preconditions, ..DeleteParams::default() }).await.map(drop)
                }
            };
            match done {
                Err(error) if !error.is_conflict() && !error.is_not_found() => {
                    // The others are none the worse for it; it has its turn again in the next round.
                    tracing::warn!(namespace, name, %error, "an unused token could not be cleaned away");
                }
                _ => {}
            }
        }
        Ok(Some(ROUND))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR: SignedDuration = SignedDuration::from_hours(8760);

    fn now() -> Timestamp {
        "2026-06-15T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn only_what_was_generated_and_not_used_goes_and_not_at_once() {
        let secret = |created: &str, labels: serde_json::Value| -> Secret {
            let annotations =
                json!({ "kubernetes.io/service-account.name": "a", "kubernetes.io/service-account.uid": "u" });
            let meta = json!({ "namespace": "n", "name": "s", "creationTimestamp": created, "labels": labels, "annotations": annotations });
            serde_json::from_value(json!({ "metadata": meta, "type": SECRET_TYPE })).unwrap()
        };
        let account = |uid: &str, secrets: serde_json::Value| -> ServiceAccount {
            serde_json::from_value(
                json!({ "metadata": { "namespace": "n", "name": "a", "uid": uid }, "secrets": secrets }),
            )
            .unwrap()
        };
        let (old, lists) = ("2020-01-01T00:00:00Z", json!([{ "name": "s" }]));
        let ours = account("u", lists.clone());
        let invalid = Fate::Invalid("2026-06-15".to_owned());
        let rows = [
            ("never used", secret(old, json!({})), Some(&ours), false, invalid),
            ("young", secret("2025-06-15T12:00:00Z", json!({})), Some(&ours), false, Fate::Stays),
            ("used", secret(old, json!({ LAST_USED_LABEL: "2025-06-15" })), Some(&ours), false, Fate::Stays),
            ("who knows", secret(old, json!({ LAST_USED_LABEL: "lately" })), Some(&ours), false, Fate::Stays),
            ("mounted", secret(old, json!({})), Some(&ours), true, Fate::Stays),
            ("nobody's", secret(old, json!({})), None, false, Fate::Stays),
            ("another's", secret(old, json!({})), Some(&account("v", lists)), false, Fate::Stays),
            ("made by hand", secret(old, json!({})), Some(&account("u", json!([]))), false, Fate::Stays),
            (
                "not missed yet",
                secret(old, json!({ INVALID_SINCE_LABEL: "2025-06-15" })),
                Some(&ours),
                false,
                Fate::Stays,
            ),
            ("not missed", secret(old, json!({ INVALID_SINCE_LABEL: "2025-06-14" })), Some(&ours), false, Fate::Goes),
        ];
        for (what, secret, account, mounted, expected) in rows {
            assert_eq!(fate(&secret, account, || mounted, now(), YEAR), expected, "{what}");
        }
        let used_long_ago = secret(old, json!({ LAST_USED_LABEL: "2025-06-14", INVALID_SINCE_LABEL: "x" }));
        assert_eq!(fate(&used_long_ago, Some(&ours), || false, now(), YEAR), Fate::Invalid("2026-06-15".to_owned()));
    }

    #[test]
    fn nothing_is_concluded_before_use_was_noted_for_as_long() {
        for (since, expected) in [("2025-06-14", true), ("2025-06-15", false), ("", false), ("long ago", false)] {
            assert_eq!(tracked_long_enough(since, now(), YEAR), expected, "{since}");
        }
    }

    #[test]
    fn what_pods_refer_to() {
        let pod = json!({ "spec": { "containers": [{ "name": "c", "envFrom": [{ "secretRef": { "name": "e" } }] }],
            "volumes": [{ "name": "v", "secret": { "secretName": "s" } }], "imagePullSecrets": [{ "name": "p" }] } });
        let pod = Arc::new(serde_json::from_value(pod).unwrap());
        assert_eq!(mounted(&[pod]), ["e", "p", "s"].map(str::to_owned).into());
    }
}
