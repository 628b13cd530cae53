//! AuthorizationConfiguration (`apiserver.config.k8s.io`), from `--authorization-config` or made of `--authorization-mode` and
//! `--authorization-webhook-*`.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::access::file::{GROUP, Shape, decode};
use crate::options::Options;

/// Upstream's defaults of TTLs, in the file and of the flags.
const AUTHORIZED_TTL: Duration = Duration::from_secs(5 * 60);
const UNAUTHORIZED_TTL: Duration = Duration::from_secs(30);
/// What is not said by flags.
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Configuration {
    /// Asked in this order.
    pub authorizers: Vec<Authorizer>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Authorizer {
    #[serde(rename = "type")]
    pub kind: String,
    pub name: String,
    pub webhook: Option<Webhook>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Webhook {
    #[serde(rename = "authorizedTTL", deserialize_with = "duration")]
    pub authorized_ttl: Duration,
    pub cache_authorized_requests: Option<bool>,
    #[serde(rename = "unauthorizedTTL", deserialize_with = "duration")]
    pub unauthorized_ttl: Duration,
    pub cache_unauthorized_requests: Option<bool>,
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
    pub subject_access_review_version: String,
    pub match_condition_subject_access_review_version: String,
    pub failure_policy: String,
    pub connection_info: ConnectionInfo,
    pub match_conditions: Vec<MatchCondition>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConnectionInfo {
    #[serde(rename = "type")]
    pub kind: String,
    pub kube_config_file: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MatchCondition {
    pub expression: String,
}

/// Go's notation.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.as_str() {
        "0" | "0s" => Ok(Duration::ZERO),
        text => runtime::flags::duration(text).map_err(serde::de::Error::custom),
    }
}

const WEBHOOK: Shape = Shape::Object(&[
    ("authorizedTTL", Shape::Leaf),
    ("cacheAuthorizedRequests", Shape::Leaf),
    ("unauthorizedTTL", Shape::Leaf),
    ("cacheUnauthorizedRequests", Shape::Leaf),
    ("timeout", Shape::Leaf),
    ("subjectAccessReviewVersion", Shape::Leaf),
    ("matchConditionSubjectAccessReviewVersion", Shape::Leaf),
    ("failurePolicy", Shape::Leaf),
    ("connectionInfo", Shape::Object(&[("type", Shape::Leaf), ("kubeConfigFile", Shape::Leaf)])),
    ("matchConditions", Shape::List(&Shape::Object(&[("expression", Shape::Leaf)]))),
]);
const CONFIGURATION: Shape = Shape::Object(&[(
    "authorizers",
    Shape::List(&Shape::Object(&[("type", Shape::Leaf), ("name", Shape::Leaf), ("webhook", WEBHOOK)])),
)]);

/// The name an authorizer that is no webhook must have.
#[must_use]
pub fn name_of(kind: &str) -> String {
    kind.to_ascii_lowercase()
}

impl Configuration {
    /// Reads a file's text.
    ///
    /// # Errors
    /// It is no such configuration, or has unknown fields.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let versions = ["v1", "v1beta1", "v1alpha1"];
        let mut this: Self = decode(text, (GROUP, "AuthorizationConfiguration"), &versions, &CONFIGURATION)?;
        for webhook in this.authorizers.iter_mut().filter_map(|authorizer| authorizer.webhook.as_mut()) {
            for (ttl, default) in
                [(&mut webhook.authorized_ttl, AUTHORIZED_TTL), (&mut webhook.unauthorized_ttl, UNAUTHORIZED_TTL)]
            {
                if ttl.is_zero() {
                    *ttl = default;
                }
            }
        }
        Ok(this)
    }

    /// What the flags come to; Node and RBAC where nothing is said.
    ///
    /// # Errors
    /// They do not fit together.
    pub fn of_flags(options: &Options) -> anyhow::Result<Self> {
        let flags = &options.authorization;
        let modes: Vec<&str> = if flags.authorization_mode.is_empty() {
            vec!["Node", "RBAC"]
        } else {
            flags.authorization_mode.iter().map(String::as_str).collect()
        };
        let webhook = modes.contains(&"Webhook");
        for (index, mode) in modes.iter().enumerate() {
            let known = super::validate::KINDS.contains(mode);
            anyhow::ensure!(known, "authorization-mode {mode:?} is not a valid mode");
            let twice = modes[..index].contains(mode);
            anyhow::ensure!(!twice, "authorization-mode {modes:?} has mode specified more than once");
        }
        let (abac, policies) = (modes.contains(&"ABAC"), flags.authorization_policy_file.is_some());
        anyhow::ensure!(!abac || policies, "authorization-mode ABAC's authorization policy file not passed");
        anyhow::ensure!(abac || !policies, "cannot specify --authorization-policy-file without mode ABAC");
        let file = &flags.authorization_webhook_config_file;
        anyhow::ensure!(
            webhook || file.is_none(),
            "cannot specify --authorization-webhook-config-file without mode Webhook"
        );
        anyhow::ensure!(
            !webhook || file.is_some(),
            "authorization-mode Webhook's authorization config file not passed"
        );
        let authorized = flags.authorization_webhook_cache_authorized_ttl.unwrap_or(AUTHORIZED_TTL);
        let unauthorized = flags.authorization_webhook_cache_unauthorized_ttl.unwrap_or(UNAUTHORIZED_TTL);
        let webhook = || Webhook {
            authorized_ttl: authorized,
            cache_authorized_requests: Some(!authorized.is_zero()),
            unauthorized_ttl: unauthorized,
            cache_unauthorized_requests: Some(!unauthorized.is_zero()),
            timeout: TIMEOUT,
            failure_policy: "NoOpinion".to_owned(),
            subject_access_review_version: flags
                .authorization_webhook_version
                .clone()
                .unwrap_or_else(|| "v1beta1".to_owned()),
            connection_info: ConnectionInfo { kind: "KubeConfigFile".to_owned(), kube_config_file: file.clone() },
            ..Webhook::default()
        };
        let authorizers = modes.iter().map(|mode| match *mode {
            "Webhook" => {
                Authorizer { kind: "Webhook".to_owned(), name: "default".to_owned(), webhook: Some(webhook()) }
            }
            kind => Authorizer { kind: kind.to_owned(), name: name_of(kind), webhook: None },
        });
        Ok(Self { authorizers: authorizers.collect() })
    }
}
