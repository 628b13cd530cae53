//! Errors as the API tells them: a `metav1.Status` with upstream's codes, reasons, messages and details
//! (`apimachinery/pkg/api/errors`).

use std::borrow::Cow;

use schema::field::ErrorList;
use schema::go::quote;
use serde_json::{Value, json};
use store::StoreError;
use store::cache::CacheError;

/// An answer that is not a success.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    pub code: u16,
    pub reason: Cow<'static, str>,
    pub message: String,
    /// `StatusDetails`, or null.
    pub details: Value,
    /// `ListMeta`: where a list whose revision is forgotten may go on, inconsistently; or what a webhook says in its own.
    pub metadata: Option<Box<Value>>,
}

pub type ApiResult<T> = Result<T, ApiError>;

/// `pods`, or `deployments.apps`: how messages name a resource (upstream's `GroupResource.String`).
#[must_use]
pub fn qualified(group: &str, name: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

impl ApiError {
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason: Cow::Borrowed(reason), message: message.into(), details: Value::Null, metadata: None }
    }

    fn about(mut self, group: &str, kind: &str, name: &str) -> Self {
        let mut details = json!({ "kind": kind });
        if kind.is_empty() {
            details = json!({});
        }
        if !group.is_empty() {
            details["group"] = group.into();
        }
        if !name.is_empty() {
            details["name"] = name.into();
        }
        self.details = details;
        self
    }

    pub fn not_found(group: &str, plural: &str, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{} {} not found", qualified(group, plural), quote(name)))
            .about(group, plural, name)
    }

    /// No such path: the resource itself is unknown.
    pub fn no_route() -> Self {
        Self { details: json!({}), ..Self::new(404, "NotFound", "the server could not find the requested resource") }
    }

    pub fn already_exists(group: &str, plural: &str, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{} {} already exists", qualified(group, plural), quote(name)))
            .about(group, plural, name)
    }

    /// Names that the server made up were all taken.
    pub fn no_name_left(group: &str, plural: &str, name: &str) -> Self {
        let mut this = Self::already_exists(group, plural, name);
        this.message += ", the server was not able to generate a unique name for the object";
        this.details["retryAfterSeconds"] = 1.into();
        this
    }

    pub fn conflict(group: &str, plural: &str, name: &str, why: &str) -> Self {
        let text = format!("Operation cannot be fulfilled on {} {}: {why}", qualified(group, plural), quote(name));
        Self::new(409, "Conflict", text).about(group, plural, name)
    }

    /// The conflict of optimistic concurrency.
    pub fn modified(group: &str, plural: &str, name: &str) -> Self {
        const WHY: &str = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(group, plural, name, WHY)
    }

    /// `Deployment.apps "x" is invalid: …`, with one cause for each error.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &ErrorList) -> Self {
        let mut texts: Vec<String> = Vec::new();
        for error in errors {
            let text = error.to_string();
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let why = match texts.as_slice() {
            [] => "<nil>".to_owned(),
            [only] => only.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let mut this =
            Self::new(422, "Invalid", format!("{} {} is invalid: {why}", qualified(group, kind), quote(name)))
                .about(group, kind, name);
        let causes = errors
            .iter()
            .map(|e| json!({ "reason": e.kind.reason(), "message": e.body(), "field": e.field.to_string() }))
            .collect();
        this.details["causes"] = Value::Array(causes);
        this
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    pub fn forbidden(group: &str, plural: &str, name: &str, why: &str) -> Self {
        let subject = qualified(group, plural);
        let text = match (subject.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (false, true) => format!("{subject} is forbidden: {why}"),
            (false, false) => format!("{subject} {} is forbidden: {why}", quote(name)),
        };
        let this = Self::new(403, "Forbidden", text);
        if subject.is_empty() { Self { details: json!({}), ..this } } else { this.about(group, plural, name) }
    }

    pub fn method_not_allowed(group: &str, plural: &str, verb: &str) -> Self {
        let text = format!("{verb} is not supported on resources of kind {:?}", qualified(group, plural));
        Self::new(405, "MethodNotAllowed", text).about(group, plural, "")
    }

    /// The method has no meaning at all at this path.
    pub fn no_method() -> Self {
        Self {
            details: json!({}),
            ..Self::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
        }
    }

    pub fn not_acceptable() -> Self {
        let offers = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
        Self::new(406, "NotAcceptable", format!("only the following media types are accepted: {offers}"))
    }

    /// A watch in a form that has no stream.
    pub fn no_stream() -> Self {
        let offers = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
        Self::new(406, "NotAcceptable", format!("only the following media types are accepted: {offers}"))
    }

    pub fn unsupported_media(offers: &str) -> Self {
        let text = format!("the body of the request was in an unknown format - accepted media types include: {offers}");
        Self::new(415, "UnsupportedMediaType", text)
    }

    pub fn too_large(why: impl std::fmt::Display) -> Self {
        Self::new(413, "RequestEntityTooLarge", format!("Request entity too large: {why}"))
    }

    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    pub fn internal(message: impl std::fmt::Display) -> Self {
        let text = format!("Internal error occurred: {message}");
        Self {
            details: json!({ "causes": [{ "message": message.to_string() }] }),
            ..Self::new(500, "InternalError", text)
        }
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    pub fn too_many_requests(message: impl Into<String>, seconds: u32) -> Self {
        // None is said where there is none to wait.
        let details = if seconds == 0 { json!({}) } else { json!({ "retryAfterSeconds": seconds }) };
        Self { details, ..Self::new(429, "TooManyRequests", message) }
    }

    /// The `Retry-After` header that goes with the answer.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        self.details.get("retryAfterSeconds").and_then(Value::as_u64)
    }

    /// The body.
    #[must_use]
    pub fn status(&self) -> Value {
        let metadata = self.metadata.as_deref().cloned().unwrap_or_else(|| json!({}));
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": metadata,
            "status": "Failure", "message": self.message,
        });
        if !self.reason.is_empty() {
            status["reason"] = self.reason.clone().into();
        }
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status["code"] = self.code.into();
        status
    }
}

/// What upstream's client of etcd sends at once, in bytes.
const SENT: usize = 2 * 1024 * 1024;

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Compacted { .. } => Self::expired("The resourceVersion for the provided list is too old."),
            // Upstream's client of etcd sends no more than this, and what etcd says then is no Status.
            StoreError::TooLarge { size, .. } if size > SENT => {
                let what = format!("trying to send message larger than max ({size} vs. {SENT})");
                Self::new(500, "", format!("rpc error: code = ResourceExhausted desc = {what}"))
            }
            StoreError::TooLarge { .. } => Self::new(500, "", "etcdserver: request is too large"),
            StoreError::Future { requested, newest } => {
                Self::timeout(format!("Too large resource version: {requested}, current: {newest}"), None)
            }
            StoreError::Unreadable(why) => Self::internal(why),
            StoreError::Unavailable(_) | StoreError::SlowWatcher => Self::unavailable(error.to_string()),
        }
    }
}

impl From<CacheError> for ApiError {
    fn from(error: CacheError) -> Self {
        match error {
            CacheError::Expired { .. } => Self::expired(error.to_string()),
            CacheError::TooLarge { .. } => Self::timeout(error.to_string(), Some(1)),
            CacheError::NotReady | CacheError::Unreadable(_) => Self::too_many_requests(error.to_string(), 1),
            CacheError::Store(error) => error.into(),
        }
    }
}

impl ApiError {
    /// The request took longer than it may.
    #[must_use]
    pub fn deadline() -> Self {
        let message = "Timeout: request did not complete within the allotted timeout";
        Self { details: json!({}), ..Self::new(504, "Timeout", message) }
    }

    /// A revision that is not there yet; `seconds`: when to ask again.
    fn timeout(message: impl Into<String>, seconds: Option<u32>) -> Self {
        let mut details =
            json!({ "causes": [{ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" }] });
        if let Some(seconds) = seconds {
            details["retryAfterSeconds"] = seconds.into();
        }
        Self { details, ..Self::new(504, "Timeout", format!("Timeout: {}", message.into())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::field::{Error, Path};

    #[test]
    fn messages_are_upstreams() {
        assert_eq!(ApiError::not_found("", "pods", "x").message, "pods \"x\" not found");
        let errors = vec![Error::required(&Path::new("spec").child("foo"), "")];
        let invalid = ApiError::invalid("apps", "Deployment", "x", &errors);
        assert_eq!(invalid.message, "Deployment.apps \"x\" is invalid: spec.foo: Required value");
        assert_eq!(invalid.details["causes"][0]["reason"], "FieldValueRequired");
        assert_eq!(ApiError::forbidden("", "", "", "no").message, "forbidden: no");
    }
}
