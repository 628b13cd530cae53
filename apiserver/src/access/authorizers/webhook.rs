//! A server of somebody's own that is asked, by a SubjectAccessReview, whether a request may be made
//! (`apiserver/plugin/pkg/authorizer/webhook`).

use anyhow::Context;
use auth::{Attributes, Decision, Target};
use cel::{Activation, untyped};
use schema::field::Path;
use serde::Deserialize;
use serde_json::{Value, json};

use super::config::{self, Webhook as Configuration};
use super::validate::{self, Condition};
use super::{Asked, Outcome};
use crate::access::file::aggregate;
use crate::outbound::answers::Answers;
use crate::outbound::egress::{Egress, Network};
use crate::outbound::reviews::Connection;

/// So many answers are kept.
const KEPT: usize = 8192;
/// Questions with more text of the asker's choosing are not kept.
const LONGEST: usize = 10_000;

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Status {
    allowed: bool,
    denied: bool,
    reason: String,
}

pub struct Webhook {
    /// The configuration's.
    pub name: String,
    connection: Connection,
    configuration: Configuration,
    conditions: Vec<Condition>,
    answers: Answers<String, Status>,
}

impl Webhook {
    /// Reads the kubeconfig of a validated configuration.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn new(authorizer: &config::Authorizer, egress: &Egress) -> anyhow::Result<Self> {
        let configuration = authorizer.webhook.clone().context("a webhook is required when type=Webhook")?;
        let file = configuration.connection_info.kube_config_file.as_deref();
        let file = file.context("a webhook's connectionInfo must be of type KubeConfigFile")?;
        let conditions = validate::compile(&configuration.match_conditions, &Path::default())
            .map_err(|errors| anyhow::anyhow!(aggregate(&errors)))?;
        let connection = Connection::load(file, &egress.dialer(Some(Network::ControlPlane)))?;
        Ok(Self { name: authorizer.name.clone(), connection, configuration, conditions, answers: Answers::new(KEPT) })
    }

    /// What the server says; or, where it cannot be asked, what the failure policy does.
    pub async fn decide(&self, attributes: &Attributes<'_>, asked: &Asked<'_>) -> Outcome {
        let spec = spec(attributes, asked);
        match self.matches(&spec) {
            Ok(true) => {}
            Ok(false) => return Outcome::from(Decision::NoOpinion(String::new())),
            Err(why) => return self.failed(why),
        }
        let key = spec.to_string();
        let status = match self.answers.get(&key) {
            Some(status) => status,
            None => match self.ask(&spec).await {
                Ok(status) => {
                    self.keep(key, &status);
                    status
                }
                Err(why) => {
                    tracing::error!(why, "failed to make webhook authorizer request");
                    return self.failed(why);
                }
            },
        };
        let reason = status.reason;
        match (status.denied, status.allowed) {
            (true, true) => Outcome {
                decision: Decision::Deny(reason),
                error: Some("webhook subject access review returned both allow and deny response".to_owned()),
            },
            (true, false) => Outcome::from(Decision::Deny(reason)),
            (false, true) => Outcome::from(Decision::Allow(reason.into())),
            (false, false) => Outcome::from(Decision::NoOpinion(reason)),
        }
    }

    fn failed(&self, why: String) -> Outcome {
        let decision = match self.configuration.failure_policy.as_str() {
            "Deny" => Decision::Deny(String::new()),
            _ => Decision::NoOpinion(String::new()),
        };
        Outcome { decision, error: Some(why) }
    }

    /// Whether all conditions hold. Any that does not decides; otherwise any error does.
    fn matches(&self, spec: &Value) -> Result<bool, String> {
        if self.conditions.is_empty() {
            return Ok(true);
        }
        let shown = shown(spec);
        let activation = Activation::new().with("request", untyped(&shown));
        let mut errors = Vec::new();
        for condition in &self.conditions {
            match condition.program.evaluate(&activation).result {
                Ok(cel::Value::Bool(true)) => {}
                Ok(_) => return Ok(false),
                Err(error) => errors
                    .push(format!("cel evaluation error: expression '{}' resulted in error: {error}", condition.text)),
            }
        }
        match &errors[..] {
            [] => Ok(true),
            [only] => Err(only.clone()),
            all => Err(format!("[{}]", all.join(", "))),
        }
    }

    fn keep(&self, key: String, status: &Status) {
        let configuration = &self.configuration;
        let (keep, ttl) = if status.allowed {
            (configuration.cache_authorized_requests, configuration.authorized_ttl)
        } else {
            (configuration.cache_unauthorized_requests, configuration.unauthorized_ttl)
        };
        if keep == Some(false) || key.len() > LONGEST {
            return;
        }
        self.answers.put(key, status.clone(), ttl);
    }

    async fn ask(&self, spec: &Value) -> Result<Status, String> {
        let version = format!("authorization.k8s.io/{}", self.configuration.subject_access_review_version);
        let mut review = json!({ "kind": "SubjectAccessReview", "apiVersion": version, "metadata": {}, "spec": spec });
        if self.configuration.subject_access_review_version == "v1beta1"
            && let Some(groups) = review["spec"].as_object_mut().and_then(|spec| spec.remove("groups"))
        {
            review["spec"]["group"] = groups;
        }
        #[derive(Deserialize)]
        struct Review {
            #[serde(default)]
            status: Status,
        }
        let answer = self.connection.review(&review, self.configuration.timeout).await?;
        let answer: Review = serde_json::from_value(answer).map_err(|error| error.to_string())?;
        Ok(answer.status)
    }
}

/// A SubjectAccessReview's spec; what is empty is left out.
pub(super) fn spec(attributes: &Attributes<'_>, asked: &Asked<'_>) -> Value {
    let filled = |fields: &[(&str, &str)]| {
        let filled = fields.iter().filter(|(_, value)| !value.is_empty());
        Value::Object(filled.map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect())
    };
    let user = attributes.user;
    let mut spec = filled(&[("user", &user.username), ("uid", &user.uid)]);
    if !user.groups.is_empty() {
        spec["groups"] = json!(user.groups);
    }
    if !user.extra.is_empty() {
        spec["extra"] = json!(user.extra);
    }
    match attributes.target {
        Target::Path(path) => spec["nonResourceAttributes"] = filled(&[("path", path), ("verb", attributes.verb)]),
        Target::Resource(resource) => {
            spec["resourceAttributes"] = filled(&[
                ("namespace", resource.namespace),
                ("verb", attributes.verb),
                ("group", resource.group),
                ("version", asked.version),
                ("resource", resource.resource),
                ("subresource", resource.subresource),
                ("name", resource.name),
            ]);
            let equal = |(field, value): &(&str, &str)| json!({ "key": field, "operator": "In", "values": [value] });
            let requirements: Vec<Value> = asked.fields.iter().map(equal).collect();
            if !requirements.is_empty() {
                spec["resourceAttributes"]["fieldSelector"] = json!({ "requirements": requirements });
            }
        }
    }
    spec
}

/// The spec as conditions see it: what is text is there even when it is empty.
pub(super) fn shown(spec: &Value) -> Value {
    let mut whole = json!({ "user": "", "uid": "", "groups": [], "extra": {} });
    merge(&mut whole, spec);
    let empty = |names: &[&str]| Value::Object(names.iter().map(|name| ((*name).to_owned(), "".into())).collect());
    for (field, names) in [
        ("resourceAttributes", &["namespace", "verb", "group", "version", "resource", "subresource", "name"][..]),
        ("nonResourceAttributes", &["path", "verb"]),
    ] {
        if spec[field].is_object() {
            let mut all = empty(names);
            merge(&mut all, &spec[field]);
            whole[field] = all;
        }
    }
    whole
}

fn merge(into: &mut Value, from: &Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from.clone());
    }
}
