//! What a webhook answers, read as client-go reads it: whatever looks like protobuf or JSON is, everything else is YAML, and it must
//! be the review that was asked for, in a version that is known.

use std::time::Duration;

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use schema::FieldValidation;
use schema::decode;
use serde_json::Value;

use super::CallError;
use crate::app::text;

/// Where upstream makes the scheme that reviews are of.
const SCHEME: &str = "k8s.io/apiserver/pkg/util/webhook/client.go:71";

/// What every message of protobuf begins with.
const PROTOBUF: &[u8] = b"k8s\0";

/// An answer as it came.
pub struct Answer<'a> {
    pub status: StatusCode,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
}

impl Answer<'_> {
    /// When to ask again: a server that is busy says so.
    #[must_use]
    pub fn again_after(&self) -> Option<Duration> {
        let busy = self.status == StatusCode::TOO_MANY_REQUESTS || self.status.is_server_error();
        let seconds = self.headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
        busy.then(|| Duration::from_secs(seconds))
    }

    /// The review, in answer to `asked`.
    ///
    /// # Errors
    /// Upstream's words for what is none.
    pub fn review(&self, asked: &Value) -> Result<Value, CallError> {
        if !self.status.is_success() {
            return Err(CallError::Answer(self.refusal()));
        }
        let kind = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("application/json");
        if self.body.is_empty() {
            let code = self.status.as_u16();
            return Err(CallError::Answer(format!(
                "0-length response with status code: {code} and content type: {kind}"
            )));
        }
        let answer = self.decoded().map_err(CallError::Answer)?;
        known(&answer, asked).map_err(CallError::Answer)?;
        Ok(answer)
    }

    /// The document, of whichever sort it is by its beginning; what its header says does not count.
    fn decoded(&self) -> Result<Value, String> {
        if self.body.starts_with(PROTOBUF) {
            let (version, kind, mut value) = schema::protobuf::decode(self.body).map_err(|error| error.to_string())?;
            value["apiVersion"] = version.into();
            value["kind"] = kind.into();
            return Ok(value);
        }
        let is_json = self.body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
        let decoded = if is_json {
            decode::json(self.body, None, FieldValidation::Ignore)
        } else {
            decode::yaml(self.body, None, FieldValidation::Ignore)
        };
        let decoded = decoded.map_err(|error| format!("couldn't get version/kind; json parse error: {error}"))?;
        Ok(decoded.value)
    }

    /// What client-go says of an error (`api/errors.NewGenericServerResponse`).
    #[must_use]
    pub fn refusal(&self) -> String {
        if let Ok(told) = serde_json::from_slice::<Value>(self.body)
            && told["kind"] == "Status"
            && let Some(message) = told["message"].as_str()
        {
            return message.to_owned();
        }
        let kind = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("text/plain");
        let body = String::from_utf8_lossy(&self.body[..self.body.len().min(2048)]);
        let told = if kind.starts_with("text/") { body.trim() } else { "unknown" };
        match self.status.as_u16() {
            400 => "the server rejected our request for an unknown reason".to_owned(),
            401 => "the server has asked for the client to provide credentials".to_owned(),
            403 => told.to_owned(),
            // What is acceptable is for the server to say.
            406 | 415 if !matches!(told, "" | "unknown") => told.to_owned(),
            406 => "the server was unable to respond with a content type that the client supports".to_owned(),
            404 => "the server could not find the requested resource".to_owned(),
            405 => "the server does not allow this method on the requested resource".to_owned(),
            409 => "the server reported a conflict".to_owned(),
            410 => "the server responded with the status code 410 but did not return more information".to_owned(),
            415 => "the media type sent is not supported by the server".to_owned(),
            422 => "the server rejected our request due to an error in our request".to_owned(),
            429 => "the server has received too many requests and has asked us to try again later".to_owned(),
            503 => "the server is currently unable to handle the request".to_owned(),
            504 => "the server was unable to return a response in the time allotted, but may still be processing the \
                    request"
                .to_owned(),
            500.. => format!("an error on the server ({told:?}) has prevented the request from succeeding"),
            code => format!("the server responded with the status code {code} but did not return more information"),
        }
    }
}

/// Whether an answer is of the kind that was asked, or says nothing of it.
fn known(answer: &Value, asked: &Value) -> Result<(), String> {
    let (wanted, review) = (text(asked, "/apiVersion"), text(asked, "/kind"));
    let (version, kind) = decode::interpret(answer)?;
    let version = if version.is_empty() { wanted } else { version };
    let kind = if kind.is_empty() { review } else { kind };
    if (version, kind) == (wanted, review) {
        return Ok(());
    }
    let split = |version: &str| version.rsplit_once('/').map(|(group, version)| (group.to_owned(), version.to_owned()));
    let (group, short) = split(wanted).unwrap_or_default();
    let other = split(version).filter(|(own, version)| *own == group && matches!(version.as_str(), "v1" | "v1beta1"));
    match other {
        Some((_, found)) if kind == review => {
            Err(format!("converting ({found}.{kind}) to ({short}.{review}): unknown conversion"))
        }
        _ if (version, kind) == ("v1", "Status") => {
            Err(format!("converting (v1.Status) to ({short}.{review}): unknown conversion"))
        }
        _ => Err(format!("no kind {kind:?} is registered for version {version:?} in scheme {SCHEME:?}")),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::json;

    use super::*;

    fn of(code: u16, kind: &'static str, body: &str) -> Result<Value, String> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        let status = StatusCode::from_u16(code).unwrap();
        let asked = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview" });
        let answer = Answer { status, headers: &headers, body: body.as_bytes() };
        answer.review(&asked).map_err(|error| error.to_string())
    }

    #[test]
    fn answers_are_read_as_client_go_reads_them() {
        const STRUCT: &str = r#"Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
        for (code, kind, body, said) in [
            (
                200,
                "application/json",
                "",
                "0-length response with status code: 200 and content type: application/json".to_owned(),
            ),
            (
                200,
                "text/plain",
                "hello",
                format!("couldn't get version/kind; json parse error: json: cannot unmarshal string into {STRUCT}"),
            ),
            (
                200,
                "application/json",
                "[]",
                format!("couldn't get version/kind; json parse error: json: cannot unmarshal array into {STRUCT}"),
            ),
            (
                200,
                "application/json",
                r#"{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview"}"#,
                "converting (v1beta1.AdmissionReview) to (v1.AdmissionReview): unknown conversion".to_owned(),
            ),
            (
                200,
                "application/json",
                r#"{"apiVersion":"v1","kind":"Status"}"#,
                "converting (v1.Status) to (v1.AdmissionReview): unknown conversion".to_owned(),
            ),
            (
                200,
                "application/json",
                r#"{"apiVersion":"v1","kind":"Pod"}"#,
                format!("no kind \"Pod\" is registered for version \"v1\" in scheme {SCHEME:?}"),
            ),
            (404, "text/plain", "no", "the server could not find the requested resource".to_owned()),
            (415, "text/plain", "only XML", "only XML".to_owned()),
            (
                500,
                "text/plain",
                "boom\n",
                "an error on the server (\"boom\") has prevented the request from succeeding".to_owned(),
            ),
            (
                500,
                "application/json",
                "{}",
                "an error on the server (\"unknown\") has prevented the request from succeeding".to_owned(),
            ),
            (400, "application/json", r#"{"kind":"Status","message":"m"}"#, "m".to_owned()),
        ] {
            assert_eq!(of(code, kind, body), Err(said), "{body}");
        }
        assert_eq!(of(200, "application/json", "{}"), Ok(json!({})));
        assert_eq!(of(200, "application/yaml", "kind: AdmissionReview"), Ok(json!({ "kind": "AdmissionReview" })));
    }

    #[test]
    fn protobuf_is_told_by_its_beginning() {
        let review = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "response": { "uid": "u", "allowed": true, "status": { "message": "m" }, "patch": "W10=", "patchType": "JSONPatch" } });
        let body = schema::protobuf::encode("admission.k8s.io/v1", "AdmissionReview", &review).unwrap();
        let asked = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview" });
        let answer = Answer { status: StatusCode::OK, headers: &HeaderMap::new(), body: &body };
        let read = answer.review(&asked).unwrap();
        for field in ["uid", "allowed", "patch", "patchType"] {
            assert_eq!(read["response"][field], review["response"][field], "{field}");
        }
        assert_eq!(read["response"]["status"]["message"], "m");
    }

    #[test]
    fn busy_servers_are_asked_again() {
        let after = |code: u16, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
            Answer { status: StatusCode::from_u16(code).unwrap(), headers: &headers, body: b"" }.again_after()
        };
        assert_eq!(after(429, "1"), Some(Duration::from_secs(1)));
        assert_eq!((after(503, "x"), after(404, "1")), (None, None));
    }
}
