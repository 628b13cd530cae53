//! ImagePolicyWebhook: a server of somebody's own says whether a pod's images may be used
//! (`plugin/pkg/admission/imagepolicy`, reviews of imagepolicy.k8s.io/v1alpha1). Off by default.

use std::path::Path;
use std::time::Duration;

use schema::time::format_duration;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Attributes, Operation};
use crate::app::text;
use crate::http::status::ApiResult;
use crate::outbound::answers::Answers;
use crate::outbound::egress::Dialer;
use crate::outbound::reviews::Connection;

/// So many answers are kept.
const KEPT: usize = 1024;
const TIMEOUT: Duration = Duration::from_secs(30);
const VERSION: &str = "imagepolicy.k8s.io/v1alpha1";
/// What stands before the plugin's notes in the audit log.
const NOTES: &str = "imagepolicywebhook.image-policy.k8s.io/";

const MILLISECOND: i64 = 1_000_000;
const SECOND: i64 = 1000 * MILLISECOND;

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    allowed: bool,
    reason: String,
    audit_annotations: std::collections::BTreeMap<String, String>,
}

/// The plugin's `imagePolicy`, as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct File {
    kube_config_file: String,
    #[serde(rename = "allowTTL")]
    allow_ttl: i64,
    #[serde(rename = "denyTTL")]
    deny_ttl: i64,
    retry_backoff: i64,
    default_allow: bool,
}

pub struct ImagePolicy {
    connection: Connection,
    allow_ttl: Duration,
    deny_ttl: Duration,
    default_allow: bool,
    answers: Answers<String, Status>,
}

impl ImagePolicy {
    /// From the plugin's part of the configuration, YAML or JSON.
    ///
    /// # Errors
    /// There is none, it is wrong, or its kubeconfig cannot be used.
    pub fn configured(text: &str) -> anyhow::Result<Self> {
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Outer {
            image_policy: File,
        }
        anyhow::ensure!(!text.is_empty(), "no config specified");
        let Outer { image_policy: file } = serde_saphyr::from_str(text)?;
        let backoff = duration(file.retry_backoff, MILLISECOND, (1, 300 * SECOND), 500 * MILLISECOND)?;
        let ttl = |value, default| duration(value, SECOND, (SECOND, 1800 * SECOND), default);
        let (allow_ttl, deny_ttl) = (ttl(file.allow_ttl, 300 * SECOND)?, ttl(file.deny_ttl, 30 * SECOND)?);
        Ok(Self {
            connection: Connection::load(Path::new(&file.kube_config_file), &Dialer::Direct)?.retrying_after(backoff),
            allow_ttl,
            deny_ttl,
            default_allow: file.default_allow,
            answers: Answers::new(KEPT),
        })
    }

    async fn ask(&self, spec: &Value) -> Result<Status, String> {
        let review = json!({ "kind": "ImageReview", "apiVersion": VERSION, "metadata": {}, "spec": spec,
            "status": { "allowed": false } });
        let mut answer = self.connection.review(&review, TIMEOUT).await?;
        let (version, kind) = (text(&answer, "/apiVersion"), text(&answer, "/kind"));
        if (version, kind) != (VERSION, "ImageReview") {
            return Err(format!("no kind {kind:?} is registered for version {version:?}"));
        }
        serde_json::from_value(answer["status"].take()).map_err(|error| error.to_string())
    }
}

/// Upstream's way with numbers: -1 is none, 0 the default, others so many units between two bounds (all in nanoseconds).
fn duration(value: i64, unit: i64, (least, most): (i64, i64), default: i64) -> anyhow::Result<Duration> {
    let nanos = match value {
        -1 => 0,
        0 => default,
        _ => {
            let nanos = value.saturating_mul(unit);
            let [from, to, got] = [least, most, nanos].map(format_duration);
            anyhow::ensure!((least..=most).contains(&nanos), "valid value is between {from} and {to}, got {got}");
            nanos
        }
    };
    Ok(Duration::from_nanos(nanos.unsigned_abs()))
}

/// What is asked about a pod, or about its ephemeral containers alone.
fn spec(pod: &Value, ephemeral: bool, namespace: &str) -> Value {
    let lists: &[&str] = if ephemeral { &["ephemeralContainers"] } else { &["containers", "initContainers"] };
    let containers = lists.iter().filter_map(|list| pod["spec"][list].as_array()).flatten();
    let containers: Vec<Value> = containers
        .map(|container| match container["image"].as_str() {
            None | Some("") => json!({}),
            Some(image) => json!({ "image": image }),
        })
        .collect();
    let annotations = pod["metadata"]["annotations"].as_object().into_iter().flatten();
    let annotations: Map<String, Value> = annotations
        .filter(|(key, _)| key.contains(".image-policy.k8s.io/"))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let mut spec = json!({ "namespace": namespace });
    if !containers.is_empty() {
        spec["containers"] = containers.into();
    }
    if !annotations.is_empty() {
        spec["annotations"] = annotations.into();
    }
    spec
}

/// Refuses a pod whose images are not to be used.
pub async fn admit(a: &Attributes<'_>, object: &Value) -> ApiResult<()> {
    let Some(policy) = &a.app().admission.images else { return Ok(()) };
    let subresource = a.subresource();
    let asks = a.resource().is("", "pods") && matches!(subresource, "" | "ephemeralcontainers");
    if !asks || !matches!(a.operation, Operation::Create | Operation::Update) {
        return Ok(());
    }
    let spec = spec(object, !subresource.is_empty(), a.namespace());
    let question = spec.to_string();
    let status = match policy.answers.get(&question) {
        Some(status) => status,
        None => match policy.ask(&spec).await {
            Ok(status) => {
                let ttl = if status.allowed { policy.allow_ttl } else { policy.deny_ttl };
                policy.answers.put(question, status.clone(), ttl);
                status
            }
            Err(why) => {
                tracing::info!(why, allowed = policy.default_allow, "error contacting webhook backend");
                if policy.default_allow {
                    a.annotate(&format!("{NOTES}failed-open"), "true");
                    return Ok(());
                }
                return Err(a.forbidden(object, &why));
            }
        },
    };
    for (key, value) in &status.audit_annotations {
        a.annotate(&format!("{NOTES}{key}"), value);
    }
    match (status.allowed, status.reason.as_str()) {
        (true, _) => Ok(()),
        (false, "") => Err(a.forbidden(object, "one or more images rejected by webhook backend")),
        (false, why) => {
            Err(a.forbidden(object, &format!("image policy webhook backend denied one or more images: {why}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked() {
        let pod = json!({
            "metadata": { "annotations": { "a.image-policy.k8s.io/ticket": "1", "image-policy.k8s.io/no": "2", "b": "3" } },
            "spec": { "initContainers": [{ "image": "i" }], "containers": [{ "image": "c" }, { "name": "n" }],
                "ephemeralContainers": [{ "image": "e" }] },
        });
        let annotations = json!({ "a.image-policy.k8s.io/ticket": "1" });
        let containers = json!([{ "image": "c" }, {}, { "image": "i" }]);
        let whole = json!({ "containers": containers, "annotations": annotations, "namespace": "n" });
        assert_eq!(spec(&pod, false, "n"), whole);
        let ephemeral = json!({ "containers": [{ "image": "e" }], "annotations": annotations, "namespace": "n" });
        assert_eq!(spec(&pod, true, "n"), ephemeral);
    }

    #[test]
    fn numbers_of_the_configuration() {
        let bounds = (SECOND, 1800 * SECOND);
        let seconds =
            |value| duration(value, SECOND, bounds, 30 * SECOND).map(|d| d.as_secs()).map_err(|e| e.to_string());
        assert_eq!((seconds(-1), seconds(0), seconds(7), seconds(1800)), (Ok(0), Ok(30), Ok(7), Ok(1800)));
        assert_eq!(seconds(1801), Err("valid value is between 1s and 30m0s, got 30m1s".to_owned()));
        assert!(seconds(-2).is_err() && seconds(i64::MAX).is_err());
        let why = |text: &str| format!("{:#}", ImagePolicy::configured(text).err().expect("it is wrong"));
        assert_eq!(why(""), "no config specified");
        assert!(why("imagePolicy: {kubeConfigFile: /nowhere}").contains("/nowhere"));
    }
}
