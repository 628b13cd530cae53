//! The audit log (`--audit-policy-file`, `--audit-log-path`): who did what, as lines of audit.k8s.io/v1 Event JSON
//! (upstream `apiserver/pkg/audit`, `endpoints/filters/audit.go`).
//!
//! ```text
//!  request ── Log::begin (policy) ──> Trail ── note body, annotations, answer ──> a line for each Stage ──> Target
//! ```
//!
//! A request that no rule matches costs one look at the policy; without a policy nothing is done at all.

mod body;
mod file;
mod policy;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use auth::UserInfo;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use crate::http::request_info::RequestInfo;
use crate::options::Options;

pub use body::watched;
use file::{Limits, Target};
pub use policy::{Level, Stage};
use policy::{Policy, Verdict};

/// The header by which a client finds its request in the log, and may name it itself.
pub const ID_HEADER: &str = "audit-id";
/// A longer id of a client's is cut off.
const LONGEST_ID: usize = 256;

/// The log; without a policy or a file it logs nothing.
#[derive(Default)]
pub struct Log {
    policy: Option<Policy>,
    target: Option<Mutex<Target>>,
}

/// What is known of a request before it is looked at.
pub struct Beginning<'a> {
    pub id: &'a str,
    pub user: &'a UserInfo,
    pub info: &'a RequestInfo,
    pub uri: &'a str,
    pub agent: &'a str,
    pub addresses: Vec<String>,
}

/// What is being noted about one request.
pub struct Trail {
    log: Arc<Log>,
    verdict: Verdict,
    event: Mutex<Value>,
}

impl Log {
    /// # Errors
    /// The policy cannot be read, or the file not be opened.
    pub fn load(options: &Options) -> anyhow::Result<Self> {
        let Some(path) = &options.audit_policy_file else { return Ok(Self::default()) };
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let policy = Policy::parse(&text).with_context(|| format!("use {}", path.display()))?;
        let limits = Limits {
            size: options.audit_log_maxsize * 1024 * 1024,
            backups: options.audit_log_maxbackup,
            age: Duration::from_secs(options.audit_log_maxage * 86_400),
        };
        let open = |path: &Path| Target::open(path, limits).with_context(|| format!("open {}", path.display()));
        let target = options.audit_log_path.as_deref().map(open).transpose()?;
        Ok(Self { policy: Some(policy), target: target.map(Mutex::new) })
    }

    /// Begins the trail of a request; `None`: it is not logged.
    #[must_use]
    pub fn begin(self: &Arc<Self>, beginning: &Beginning<'_>) -> Option<Arc<Trail>> {
        let policy = self.policy.as_ref().filter(|_| self.target.is_some())?;
        let verdict = policy.judge(beginning.user, beginning.info);
        if verdict.level == Level::None {
            return None;
        }
        let event = first(beginning, verdict.level);
        let trail = Arc::new(Trail { log: self.clone(), verdict, event: Mutex::new(event) });
        trail.stage(Stage::RequestReceived);
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
    let Beginning { id, user, info, uri, agent, addresses } = beginning;
    let mut event = json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": level.name(), "auditID": id, "stage": "",
        "requestURI": uri, "verb": info.verb, "user": user, "sourceIPs": addresses,
        "requestReceivedTimestamp": micro(Timestamp::now()),
    });
    if !agent.is_empty() {
        event["userAgent"] = (*agent).into();
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

    /// Notes the body of the request.
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
        if let Some(object) = object.filter(|_| self.wants(Level::RequestResponse)) {
            for (field, own) in [("name", "/metadata/name"), ("uid", "/metadata/uid")] {
                let known = event["objectRef"][field].is_string() || !event["objectRef"].is_object();
                if let (false, Some(value)) = (known, object.pointer(own)) {
                    event["objectRef"][field] = value.clone();
                }
            }
            event["responseObject"] = self.trimmed(object);
        }
    }

    fn trimmed(&self, mut object: Value) -> Value {
        if self.verdict.omit_managed_fields {
            let one = |object: &mut Value| {
                if let Some(metadata) = object["metadata"].as_object_mut() {
                    metadata.remove("managedFields");
                }
            };
            if object["metadata"].is_object() {
                one(&mut object);
            }
            object["items"].as_array_mut().into_iter().flatten().for_each(one);
            if object["items"].is_null()
                && let Some(fields) = object.as_object_mut()
            {
                fields.remove("items");
            }
        }
        object
    }

    /// Writes a line, unless the policy leaves this stage out.
    pub fn stage(&self, stage: Stage) {
        if self.verdict.omit_stages.contains(&stage) {
            return;
        }
        let now = Timestamp::now();
        let mut line = {
            let mut event = self.event.lock();
            event["stage"] = stage.name().into();
            event["stageTimestamp"] = micro(now).into();
            serde_json::to_vec(&*event).expect("a Value has only string keys")
        };
        line.push(b'\n');
        let Some(target) = &self.log.target else { return };
        if let Err(error) = target.lock().write(&line, now) {
            tracing::error!(%error, "the audit log cannot be written");
        }
    }
}
