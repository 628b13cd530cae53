//! A server of somebody's own that is asked, by a SubjectAccessReview, whether a request may be made
//! (`apiserver/plugin/pkg/authorizer/webhook`).

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context;
use auth::{Attributes, Decision, Target};
use axum::body::Body;
use cel::{Activation, untyped};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use parking_lot::Mutex;
use schema::field::Path;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::config::{self, Webhook as Configuration};
use super::kubeconfig::Connection;
use super::validate::{self, Condition};
use super::{Asked, Outcome};
use crate::access::file::aggregate;
use crate::outbound::explain;

/// So many answers are kept; when there are more, those whose time is over are forgotten, or else all.
const KEPT: usize = 8192;
/// Questions with more text of the asker's choosing are not kept.
const LONGEST: usize = 10_000;
/// The largest answer that is read.
const ANSWER: usize = 1024 * 1024;
/// Upstream's back-off: five attempts, half a second, half as much again each time.
const ATTEMPTS: u32 = 5;
const FIRST_DELAY: Duration = Duration::from_millis(500);

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Status {
    allowed: bool,
    denied: bool,
    reason: String,
}

pub struct Webhook {
    connection: Connection,
    configuration: Configuration,
    conditions: Vec<Condition>,
    answers: Mutex<HashMap<String, (Status, Instant)>>,
}

/// What an attempt came to: an answer, or why not and whether another may do better.
type Attempt = Result<Status, (String, bool)>;

impl Webhook {
    /// Reads the kubeconfig of a validated configuration.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn new(authorizer: &config::Authorizer) -> anyhow::Result<Self> {
        let configuration = authorizer.webhook.clone().context("a webhook is required when type=Webhook")?;
        let file = configuration.connection_info.kube_config_file.as_deref();
        let file = file.context("a webhook's connectionInfo must be of type KubeConfigFile")?;
        let conditions = validate::compile(&configuration.match_conditions, &Path::default())
            .map_err(|errors| anyhow::anyhow!(aggregate(&errors)))?;
        Ok(Self { connection: Connection::load(file)?, configuration, conditions, answers: Mutex::default() })
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
        let kept = self.kept(&key);
        let status = match kept {
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
            (false, true) => Outcome::from(Decision::Allow(reason)),
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

    fn kept(&self, key: &str) -> Option<Status> {
        let answers = self.answers.lock();
        let (status, until) = answers.get(key)?;
        (Instant::now() < *until).then(|| status.clone())
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
        let (mut answers, now) = (self.answers.lock(), Instant::now());
        if answers.len() >= KEPT {
            answers.retain(|_, (_, until)| *until > now);
            if answers.len() >= KEPT {
                answers.clear();
            }
        }
        answers.insert(key, (status.clone(), now + ttl));
    }

    async fn ask(&self, spec: &Value) -> Result<Status, String> {
        let version = format!("authorization.k8s.io/{}", self.configuration.subject_access_review_version);
        let mut review = json!({ "kind": "SubjectAccessReview", "apiVersion": version, "metadata": {}, "spec": spec });
        if self.configuration.subject_access_review_version == "v1beta1"
            && let Some(groups) = review["spec"].as_object_mut().and_then(|spec| spec.remove("groups"))
        {
            review["spec"]["group"] = groups;
        }
        let mut delay = FIRST_DELAY;
        for attempt in 1.. {
            match self.attempt(&review).await {
                Ok(status) => return Ok(status),
                Err((_, true)) if attempt < ATTEMPTS => {
                    tokio::time::sleep(delay).await;
                    delay = delay * 3 / 2;
                }
                Err((why, _)) => return Err(why),
            }
        }
        Err("there were no attempts".to_owned())
    }

    async fn attempt(&self, review: &Value) -> Attempt {
        let url = &self.connection.url;
        let told = |why: String| (format!("Post {url:?}: {why}"), false);
        match tokio::time::timeout(self.configuration.timeout, self.exchange(review)).await {
            Ok(answer) => answer,
            Err(_) => {
                Err(told("context deadline exceeded (Client.Timeout exceeded while awaiting headers)".to_owned()))
            }
        }
    }

    async fn exchange(&self, review: &Value) -> Attempt {
        let url = &self.connection.url;
        let told = |why: String| (format!("Post {url:?}: {why}"), false);
        let mut request = Request::post(url)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(ACCEPT, HeaderValue::from_static("application/json, */*"))
            .body(Body::from(crate::http::answer::to_json(review)))
            .map_err(|error| told(error.to_string()))?;
        if let Some(credentials) = &self.connection.credentials {
            request.headers_mut().insert(AUTHORIZATION, credentials.clone());
        }
        let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let address = if request.uri().port().is_some() { authority } else { format!("{authority}:443") };
        let response =
            self.connection.client.request(request).await.map_err(|error| told(explain(&error, &address)))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER).collect().await.map_err(|error| told(error.to_string()))?.to_bytes();
        if !head.status.is_success() {
            let again = matches!(
                head.status,
                StatusCode::INTERNAL_SERVER_ERROR | StatusCode::GATEWAY_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
            );
            let text = String::from_utf8_lossy(&body[..body.len().min(512)]);
            let why = format!("an error on the server ({:?}) has prevented the request from succeeding", text.trim());
            return Err((why, again || head.headers.contains_key(RETRY_AFTER)));
        }
        #[derive(Deserialize)]
        struct Review {
            #[serde(default)]
            status: Status,
        }
        let answer: Review = serde_json::from_slice(&body)
            .map_err(|error| (format!("couldn't get version/kind; json parse error: {error}"), false))?;
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
