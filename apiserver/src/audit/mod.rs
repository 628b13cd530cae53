//! Auditing (`--audit-policy-file`, `--audit-log-path`, `--audit-webhook-config-file`): who did what, as events of
//! audit.k8s.io/v1 (upstream `apiserver/pkg/audit`, `endpoints/filters/audit.go`).
//!
//! ```text
//!  request ── Log::begin (policy) ──> Trail ── note body, annotations, answer ──> an event for each Stage ──> backends
//! ```
//!
//! Of requests that take long it is noted where the time went ([`parts`]). A request that no rule matches costs one look at the policy; without a policy nothing is done at all.

mod backend;
mod body;
mod check;
mod file;
mod flags;
mod legacy;
mod line;
pub mod note;
pub mod parts;
mod policy;
mod truncate;
mod webhook;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use auth::UserInfo;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use crate::http::request_info::RequestInfo;
use crate::metrics::Page;
use crate::metrics::families::{AUDIT_ERRORS, AUDIT_EVENTS, AUDIT_LEVELS, AUDIT_REJECTED};
use crate::options::Options;
use crate::outbound::egress::{Egress, Network};

use backend::{Backend, Event, Told};
pub use body::{Ending, watched};
use file::Limits;
pub use flags::Flags;
pub use policy::{Level, Stage};
use policy::{Policy, Verdict};

/// The header by which a client finds its request in the log, and may name it itself.
pub const ID_HEADER: &str = "audit-id";
/// A longer id of a client's is cut off.
const LONGEST_ID: usize = 256;
/// So is what a longer name of a client's program says, which is told.
const LONGEST_AGENT: usize = 1024;

/// What is told to whom; without a policy or a backend nothing is.
#[derive(Default)]
pub struct Log {
    policy: Option<Policy>,
    backends: Vec<Backend>,
    /// Events made, and requests that were refused for want of one.
    events: AtomicU64,
    refused: AtomicU64,
    /// Requests, by what of them is logged.
    levels: [AtomicU64; Level::ALL.len()],
}

/// What is known of a request before it is looked at.
pub struct Beginning<'a> {
    pub id: &'a str,
    pub user: &'a UserInfo,
    pub info: &'a RequestInfo,
    pub uri: &'a str,
    pub agent: &'a str,
    pub addresses: Vec<String>,
    /// It is refused before it is known whose it is, which is all that is told of it.
    pub early: bool,
}

/// What is being noted about one request.
pub struct Trail {
    log: Arc<Log>,
    verdict: Verdict,
    event: Mutex<Value>,
    /// What somebody has to wait for.
    owed: Mutex<Owed>,
}

/// Events that blocking backends have still to be told of, by the backend's index.
#[derive(Default)]
struct Owed {
    events: Vec<(usize, Event)>,
    refused: bool,
}

impl Log {
    /// Starts the backends; they need a runtime.
    ///
    /// # Errors
    /// The policy or the webhook's kubeconfig cannot be read, or the file not be opened.
    pub fn load(options: &Options, egress: &Egress) -> anyhow::Result<Self> {
        let Some(path) = &options.audit_policy_file else { return Ok(Self::default()) };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("loading audit policy file: failed to read file path {path:?}"))?;
        let policy = Policy::parse(&text)
            .map_err(|error| anyhow::anyhow!("loading audit policy file: {error:#}: from file {}", path.display()))?;
        let (flags, mut backends) = (&options.audit, Vec::new());
        if let Some(path) = &options.audit_log_path {
            let limits = Limits {
                size: options.audit_log_maxsize * 1024 * 1024,
                backups: options.audit_log_maxbackup,
                age: Duration::from_secs(options.audit_log_maxage * 86_400),
                compress: options.audit_log_compress,
            };
            let file = file::Target::open(path, limits).with_context(|| format!("open {}", path.display()))?;
            let target = backend::Target::Log(Mutex::new(file), flags.audit_log_format);
            backends.push(Backend::start("log", target, flags.audit_log_mode, flags.log()?));
        }
        if let Some(path) = &flags.audit_webhook_config_file {
            let through = egress.dialer(Some(Network::ControlPlane));
            let webhook = webhook::Webhook::load(path, flags.audit_webhook_initial_backoff, &through)?;
            let target = backend::Target::Webhook(Box::new(webhook));
            backends.push(Backend::start("webhook", target, flags.audit_webhook_mode, flags.webhook()?));
        }
        Ok(Self { policy: Some(policy), backends, ..Self::default() })
    }

    /// Sends what waits to be sent; nothing is told after this.
    pub async fn shutdown(&self) {
        futures::future::join_all(self.backends.iter().map(Backend::shutdown)).await;
    }

    /// Upstream's series.
    #[allow(clippy::cast_precision_loss)] // As all numbers on the page.
    pub fn write(&self, page: &mut Page) {
        page.number(&AUDIT_EVENTS, &[], self.events.load(Ordering::Relaxed) as f64);
        page.number(&AUDIT_REJECTED, &[], self.refused.load(Ordering::Relaxed) as f64);
        for (level, count) in Level::ALL.iter().zip(&self.levels) {
            let count = count.load(Ordering::Relaxed);
            if count > 0 {
                page.number(&AUDIT_LEVELS, &[level.name()], count as f64);
            }
        }
        let too_large = self.backends.iter().filter_map(Backend::too_large).reduce(|a, b| a + b);
        let truncation = too_large.map(|events| ("truncate", events));
        for (plugin, lost) in self.backends.iter().map(Backend::lost).chain(truncation).filter(|(_, lost)| *lost > 0) {
            page.number(&AUDIT_ERRORS, &[plugin], lost as f64);
        }
    }

    /// Whether anybody is told of anything.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.policy.is_some() && !self.backends.is_empty()
    }

    /// Begins the trail of a request; `None`: it is not logged.
    #[must_use]
    pub fn begin(self: &Arc<Self>, beginning: &Beginning<'_>) -> Option<Arc<Trail>> {
        let policy = self.policy.as_ref().filter(|_| !self.backends.is_empty())?;
        let verdict = policy.judge(beginning.user, beginning.info);
        self.levels[verdict.level as usize].fetch_add(1, Ordering::Relaxed);
        if verdict.level == Level::None {
            return None;
        }
        let event = first(beginning, verdict.level);
        let trail = Trail { log: self.clone(), verdict, event: Mutex::new(event), owed: Mutex::default() };
        let trail = Arc::new(trail);
        if !beginning.early {
            trail.stage(Stage::RequestReceived);
        }
        Some(trail)
    }
}

/// The id of a request: the client's, or a new one.
#[must_use]
pub fn id(headers: &http::HeaderMap) -> String {
    let own = headers.get(ID_HEADER).and_then(|value| value.to_str().ok()).filter(|id| !id.is_empty());
    own.map_or_else(|| uuid::Uuid::new_v4().to_string(), |id| id.chars().take(LONGEST_ID).collect())
}

fn first(beginning: &Beginning<'_>, level: Level) -> Value {
    let Beginning { id, user, info, uri, agent, addresses, .. } = beginning;
    let mut event = json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": level.name(), "auditID": id, "stage": "",
        "requestURI": uri, "verb": info.verb, "user": user, "sourceIPs": addresses,
        "requestReceivedTimestamp": micro(Timestamp::now()),
    });
    if !agent.is_empty() {
        event["userAgent"] = match agent.char_indices().map(|(at, _)| at).take_while(|at| *at <= LONGEST_AGENT).last() {
            Some(end) if agent.len() > LONGEST_AGENT => format!("{}...TRUNCATED", &agent[..end]).into(),
            _ => (*agent).into(),
        };
    }
    if info.is_resource {
        let mut reference = Map::new();
        for (field, value) in [
            ("resource", &info.resource),
            ("namespace", &info.namespace),
            ("name", &info.name),
            ("apiGroup", &info.group),
            ("apiVersion", &info.version),
            ("subresource", &info.subresource),
        ] {
            if !value.is_empty() {
                reference.insert(field.to_owned(), value.as_str().into());
            }
        }
        event["objectRef"] = Value::Object(reference);
    }
    event
}

/// Of an object, of those of a list, and of those in a Table's rows; a patch has none.
fn without_managed_fields(object: &mut Value) {
    let Some(fields) = object.as_object_mut() else { return };
    if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    if let Some(Value::Array(items)) = fields.get_mut("items") {
        items.iter_mut().for_each(without_managed_fields);
    }
    if let Some(Value::Array(rows)) = fields.get_mut("rows") {
        rows.iter_mut().filter_map(|row| row.get_mut("object")).for_each(without_managed_fields);
    }
}

fn micro(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

impl Trail {
    /// Whether the objects of the request, of the answer, are logged.
    #[must_use]
    pub fn wants(&self, level: Level) -> bool {
        self.verdict.level >= level
    }

    /// The user the request is carried out as.
    pub fn impersonated(&self, user: &UserInfo) {
        self.event.lock()["impersonatedUser"] = json!(user);
    }

    /// Notes what a step along the way has to say; the first note under a key stays.
    pub fn annotate(&self, key: &str, value: &str) {
        let mut event = self.event.lock();
        let annotations = &mut event["annotations"];
        if !annotations.is_object() {
            *annotations = json!({});
        }
        if annotations[key].is_null() {
            annotations[key] = value.into();
        }
    }

    /// Notes the object in the body of the request, once it is read and has its defaults; none: it could not be read.
    pub fn object(&self, object: Option<&Value>, with_defaults: impl FnOnce(&Value) -> Value) {
        let mut event = self.event.lock();
        let Some(object) = object else {
            if let Some(event) = event.as_object_mut() {
                event.remove("requestObject");
            }
            return;
        };
        for (field, own) in [
            ("namespace", "/metadata/namespace"),
            ("name", "/metadata/name"),
            ("uid", "/metadata/uid"),
            ("resourceVersion", "/metadata/resourceVersion"),
        ] {
            let own = object.pointer(own).and_then(Value::as_str).filter(|own| !own.is_empty());
            if let (None, Some(own)) = (event["objectRef"].get(field), own) {
                event["objectRef"][field] = own.into();
            }
        }
        if self.wants(Level::Request) {
            event["requestObject"] = self.trimmed(with_defaults(object));
        }
    }

    /// Notes the body of the request as it came.
    pub fn request(&self, media: &str, bytes: &[u8]) {
        if self.wants(Level::Request)
            && !bytes.is_empty()
            && let Some(object) = body::object(media, bytes)
        {
            self.event.lock()["requestObject"] = self.trimmed(object);
        }
    }

    /// Notes the answer; `body`, where it has been kept, with its media type.
    pub fn response(&self, code: u16, body: Option<(&str, &[u8])>) {
        // Who accepts nothing that there is is not told in a form that could be logged.
        let body = body.filter(|_| code != 406);
        let object = body.and_then(|(media, bytes)| body::object(media, bytes));
        let mut event = self.event.lock();
        let mut status = json!({ "metadata": {}, "code": code });
        if let Some(told) = object.as_ref().filter(|object| object["kind"] == "Status" && object["apiVersion"] == "v1")
        {
            for field in ["status", "message", "reason", "details"] {
                if !told[field].is_null() {
                    status[field] = told[field].clone();
                }
            }
        }
        event["responseStatus"] = status;
        // Documents that are no objects, such as the version, are not told.
        if let Some(object) = object.filter(|object| self.wants(Level::RequestResponse) && object["kind"].is_string()) {
            event["responseObject"] = self.trimmed(object);
        }
    }

    fn trimmed(&self, mut object: Value) -> Value {
        if self.verdict.omit_managed_fields {
            without_managed_fields(&mut object);
        }
        object
    }

    /// Notes that the request came to nothing, which is told at once; it is the last that is told of it.
    pub fn panicked(&self, why: &str) {
        let message = format!("APIServer panic'd: {why}");
        self.event.lock()["responseStatus"] = json!({
            "metadata": {}, "status": "Failure", "message": message, "reason": "InternalError", "code": 500,
        });
        self.stage(Stage::Panic);
    }

    /// Tells of a stage, unless the policy leaves it out. What somebody has to wait for, [`settle`](Self::settle) tells.
    pub fn stage(&self, stage: Stage) {
        if self.verdict.omit_stages.contains(&stage) {
            return;
        }
        let event = {
            let mut event = self.event.lock();
            event["stage"] = stage.name().into();
            event["stageTimestamp"] = micro(Timestamp::now()).into();
            Arc::new(event.clone())
        };
        self.log.events.fetch_add(1, Ordering::Relaxed);
        for (at, backend) in self.log.backends.iter().enumerate() {
            match backend.offer(&event) {
                Told::Done => {}
                Told::Owed(event) => self.owed.lock().events.push((at, event)),
                Told::Refused => self.owed.lock().refused = true,
            }
        }
    }

    /// Tells blocking backends what they have not been told yet; false: the request must not go on.
    pub async fn settle(&self) -> bool {
        let owed = std::mem::take(&mut *self.owed.lock());
        let mut refused = owed.refused;
        for (at, event) in owed.events {
            refused |= self.log.backends[at].tell(&[event]).await == Told::Refused;
        }
        !refused
    }

    /// Counts a request that was refused because of that.
    pub fn refuse(&self) {
        self.log.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// The same for those who cannot wait.
    fn settle_later(self: &Arc<Self>) {
        if !self.owed.lock().events.is_empty() {
            let this = self.clone();
            tokio::spawn(async move { this.settle().await });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn managed_fields_are_left_out_wherever_they_are() {
        let own = || json!({ "metadata": { "name": "a", "managedFields": [{}] } });
        let bare = || json!({ "metadata": { "name": "a" } });
        for (mut object, expected) in [
            (own(), bare()),
            (json!({ "items": [own(), own()] }), json!({ "items": [bare(), bare()] })),
            (
                json!({ "rows": [{ "cells": [], "object": own() }] }),
                json!({ "rows": [{ "cells": [], "object": bare() }] }),
            ),
            (
                json!([{ "op": "add", "path": "/data/a", "value": "b" }]),
                json!([{ "op": "add", "path": "/data/a", "value": "b" }]),
            ),
            (json!("text"), json!("text")),
        ] {
            without_managed_fields(&mut object);
            assert_eq!(object, expected);
        }
    }
}
