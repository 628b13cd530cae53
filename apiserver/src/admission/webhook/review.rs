//! The AdmissionReview a hook is sent, and what its answer means (`webhook/request/admissionreview.go`).

use std::time::Instant;

use base64::prelude::BASE64_STANDARD;
use base64::{DecodeError, Engine};
use schema::{FieldValidation, decode};
use serde_json::{Value, json};

use super::hook::{Hook, Review};
use crate::admission::Attributes;
use crate::admission::matching::Seen;
use crate::admission::request::request;
use crate::app::text;
use crate::http::status::ApiError;
use crate::outbound;

/// Why a hook did not agree.
#[derive(Debug)]
pub enum Failure {
    /// It could not be asked, or did not answer properly: its `failurePolicy` decides.
    Calling(String),
    /// The request is refused, whatever the policy.
    Refused(ApiError),
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Refused(error)
    }
}

/// What a hook that agrees has to say.
#[derive(Debug, PartialEq)]
pub struct Verdict {
    /// A JSON patch that is not empty.
    pub patch: Option<Value>,
}

/// Sends the review and reads the verdict.
pub async fn ask(
    a: &Attributes<'_>,
    hook: &Hook,
    seen: &Seen,
    object: &Value,
    old: &Value,
    mutating: bool,
) -> Result<Verdict, Failure> {
    if a.dry_run() && hook.side_effects {
        let text = format!("admission webhook {:?} does not support dry run", hook.name);
        return Err(Failure::Refused(ApiError::bad_request(text)));
    }
    let version = hook.review.ok_or_else(|| {
        let why = "could not create admission objects: webhook does not accept known AdmissionReview versions";
        Failure::Calling(format!("{why} (v1, v1beta1)"))
    })?;
    let client = hook.client.as_ref();
    let client = client.map_err(|why| Failure::Calling(format!("could not get REST client: {why}")))?;
    let uid = uuid::Uuid::new_v4().to_string();
    let mut request = request(a, seen);
    for (field, value) in [("uid", &Value::from(uid.as_str())), ("object", object), ("oldObject", old)] {
        request[field] = value.clone();
    }
    let review = json!({ "kind": "AdmissionReview", "apiVersion": version.api_version(), "request": request });
    // There is no more time than the request has.
    let left = a.call.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let timeout = left.map_or(hook.timeout, |left| left.min(hook.timeout));
    let answer = outbound::post(a.app(), client, &review, timeout).await;
    let answer = answer.map_err(|error| error.to_string()).and_then(|answer| typed(version, &answer).map(|()| answer));
    let answer = answer.map_err(|error| Failure::Calling(format!("failed to call webhook: {error}")))?;
    let verdict = read(version, &uid, &answer, mutating);
    let response = verdict.map_err(|why| Failure::Calling(format!("received invalid webhook response: {why}")))?;
    for warning in response["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        a.call.warn(warning);
    }
    for (key, value) in response["auditAnnotations"].as_object().into_iter().flatten() {
        a.annotate(&format!("{}/{key}", hook.name), value.as_str().unwrap_or_default());
    }
    if response["allowed"] != true {
        return Err(Failure::Refused(refusal(&hook.name, &response["status"])));
    }
    if !mutating {
        return Ok(Verdict { patch: None });
    }
    let patch = patch(response)
        .map_err(|why| Failure::Calling(format!("received undecodable patch in webhook response: {why}")))?;
    if patch.is_some() && version == Review::V1 && response["patchType"] != "JSONPatch" {
        return Err(Failure::Calling(format!("unsupported patch type {:?}", text(response, "/patchType"))));
    }
    Ok(Verdict { patch })
}

/// The `response` of an answer that is one to our review.
fn read<'a>(version: Review, uid: &str, answer: &'a Value, mutating: bool) -> Result<&'a Value, String> {
    let response = &answer["response"];
    if !response.is_object() {
        return Err("webhook response was absent".to_owned());
    }
    // v1beta1 was never checked, and servers that speak it rely on that.
    if version == Review::V1Beta1 {
        return Ok(response);
    }
    let have = text(response, "/uid");
    if have != uid {
        return Err(format!("expected response.uid={uid:?}, got {have:?}"));
    }
    let (have_version, have_kind) = (text(answer, "/apiVersion"), text(answer, "/kind"));
    if have_version != version.api_version() || have_kind != "AdmissionReview" {
        let have = match have_version.split_once('/') {
            Some(_) => format!("{have_version}, Kind={have_kind}"),
            None => format!("/{have_version}, Kind={have_kind}"),
        };
        return Err(format!("expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {have}"));
    }
    let patch = !text(response, "/patch").is_empty();
    let kind = response["patchType"].as_str();
    match (mutating, patch, kind) {
        (true, true, None) => Err("webhook returned response.patch but not response.patchType".to_owned()),
        (true, false, Some(_)) => Err("webhook returned response.patchType but not response.patch".to_owned()),
        (true, true, Some("")) => Err("webhook returned invalid response.patchType of \"\"".to_owned()),
        (false, true, _) => Err("validating webhook may not return response.patch".to_owned()),
        (false, false, Some(_)) => Err("validating webhook may not return response.patchType".to_owned()),
        _ => Ok(response),
    }
}

/// Whether the fields of an answer are of their types; the error is that of Go's decoder.
fn typed(version: Review, answer: &Value) -> Result<(), String> {
    let unfit = |value: &Value, place: &str, wanted: &str| {
        let kind = decode::go_kind(value);
        Err(format!("json: cannot unmarshal {kind} into Go struct field {place} of type {wanted}"))
    };
    let Some(response) = answer.get("response").filter(|value| !value.is_null()) else { return Ok(()) };
    let Some(fields) = response.as_object() else {
        let wanted = match version {
            Review::V1 => "v1.AdmissionResponse",
            Review::V1Beta1 => "v1beta1.AdmissionResponse",
        };
        return unfit(response, "AdmissionReview.response", wanted);
    };
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
        let place = format!("AdmissionResponse.response.{name}");
        let patch_type = if version == Review::V1 { "v1.PatchType" } else { "v1beta1.PatchType" };
        match name.as_str() {
            "uid" if !value.is_string() => return unfit(value, &place, "types.UID"),
            "allowed" if !value.is_boolean() => return unfit(value, &place, "bool"),
            "patchType" if !value.is_string() => return unfit(value, &place, patch_type),
            "status" if !value.is_object() => return unfit(value, &place, "v1.Status"),
            "status" => {
                let schema = schema::builtin("v1", "Status");
                let decoded = schema.map(|schema| decode::value(value.clone(), &schema, FieldValidation::Ignore));
                if let Some(Err(error)) = decoded {
                    // To Go the fields are those of the whole document.
                    let error = error.to_string();
                    let (front, place) = error.split_once("Go struct field ").unwrap_or((&error, ""));
                    let place = place.replacen('.', ".response.status.", 1);
                    return Err(format!("{front}Go struct field {place}"));
                }
            }
            "auditAnnotations" => match value.as_object() {
                None => return unfit(value, &place, "map[string]string"),
                Some(map) => {
                    if let Some(wrong) = map.values().find(|value| !value.is_string() && !value.is_null()) {
                        return unfit(wrong, &place, "string");
                    }
                }
            },
            "warnings" => match value.as_array() {
                None => return unfit(value, &place, "[]string"),
                Some(list) => {
                    if let Some(wrong) = list.iter().find(|value| !value.is_string() && !value.is_null()) {
                        return unfit(wrong, &place, "string");
                    }
                }
            },
            "patch" => match value.as_str() {
                None => return unfit(value, &place, "[]uint8"),
                Some(text) => {
                    if let Err(error) = BASE64_STANDARD.decode(text) {
                        let at = match error {
                            DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => at,
                            DecodeError::InvalidLength(_) | DecodeError::InvalidPadding => text.len(),
                        };
                        return Err(format!("illegal base64 data at input byte {at}"));
                    }
                }
            },
            _ => {}
        }
    }
    Ok(())
}

fn patch(response: &Value) -> Result<Option<Value>, String> {
    let text = text(response, "/patch");
    if text.is_empty() {
        return Ok(None);
    }
    let bytes = BASE64_STANDARD.decode(text).map_err(|error| error.to_string())?;
    let patch = decode::json(&bytes, None, FieldValidation::Ignore).map_err(|error| error.to_string())?.value;
    match &patch {
        Value::Null => Ok(None),
        Value::Array(list) if list.is_empty() => Ok(None),
        Value::Array(list) => match list.iter().find(|operation| !operation.is_object() && !operation.is_null()) {
            Some(wrong) => Err(decode::unfit(wrong, "jsonpatch.Operation")),
            None => Ok(Some(patch)),
        },
        _ => Err(decode::unfit(&patch, "jsonpatch.Patch")),
    }
}

/// A refusal in the hook's own words (`webhook/errors.ToStatusErr`).
fn refusal(name: &str, status: &Value) -> ApiError {
    let by = format!("admission webhook {name:?} denied the request");
    let reason = text(status, "/reason").to_owned();
    let message = match (text(status, "/message"), reason.as_str()) {
        ("", "") => format!("{by} without explanation"),
        ("", reason) => format!("{by}: {reason}"),
        (message, _) => format!("{by}: {message}"),
    };
    let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(0).max(400);
    let metadata = schema::builtin("v1", "Status").map(|schema| {
        let told = json!({ "metadata": status["metadata"] });
        let told = decode::value(told, &schema, FieldValidation::Ignore).map(|decoded| decoded.value);
        Box::new(told.map_or(Value::Null, |mut told| told["metadata"].take()))
    });
    let metadata = metadata.filter(|metadata| metadata.is_object());
    ApiError { code, reason: reason.into(), message, details: status["details"].clone(), metadata }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_checked_as_upstream_checks_them() {
        let good = json!({ "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": { "uid": "u", "allowed": true } });
        assert!(read(Review::V1, "u", &good, true).is_ok());
        let wrong = |change: &dyn Fn(&mut Value), mutating: bool| {
            let mut answer = good.clone();
            change(&mut answer);
            read(Review::V1, "u", &answer, mutating).unwrap_err()
        };
        assert_eq!(wrong(&|a| a["response"] = Value::Null, true), "webhook response was absent");
        assert_eq!(wrong(&|a| a["response"]["uid"] = "x".into(), true), "expected response.uid=\"u\", got \"x\"");
        assert_eq!(
            wrong(&|a| a["apiVersion"] = "v1".into(), true),
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /v1, Kind=AdmissionReview"
        );
        assert_eq!(
            wrong(&|a| a["response"]["patch"] = "W10=".into(), true),
            "webhook returned response.patch but not response.patchType"
        );
        assert_eq!(
            wrong(&|a| a["response"]["patch"] = "W10=".into(), false),
            "validating webhook may not return response.patch"
        );
    }

    #[test]
    fn fields_are_of_their_types() {
        for (response, said) in [
            (
                json!("x"),
                "json: cannot unmarshal string into Go struct field AdmissionReview.response of type v1.AdmissionResponse",
            ),
            (
                json!({ "uid": 5 }),
                "json: cannot unmarshal number into Go struct field AdmissionResponse.response.uid of type types.UID",
            ),
            (
                json!({ "allowed": "yes" }),
                "json: cannot unmarshal string into Go struct field AdmissionResponse.response.allowed of type bool",
            ),
            (
                json!({ "warnings": "x" }),
                "json: cannot unmarshal string into Go struct field AdmissionResponse.response.warnings of type []string",
            ),
            (
                json!({ "warnings": [1] }),
                "json: cannot unmarshal number into Go struct field AdmissionResponse.response.warnings of type string",
            ),
            (
                json!({ "auditAnnotations": { "a": 1 } }),
                "json: cannot unmarshal number into Go struct field AdmissionResponse.response.auditAnnotations of type string",
            ),
            (
                json!({ "status": "x" }),
                "json: cannot unmarshal string into Go struct field AdmissionResponse.response.status of type v1.Status",
            ),
            (
                json!({ "status": { "code": "x" } }),
                "json: cannot unmarshal string into Go struct field Status.response.status.code of type int32",
            ),
            (json!({ "patch": "***" }), "illegal base64 data at input byte 0"),
        ] {
            assert_eq!(typed(Review::V1, &json!({ "response": response })), Err(said.to_owned()));
        }
        assert_eq!(
            typed(Review::V1, &json!({ "response": { "status": { "code": 403 }, "foo": 1, "patch": "W10=" } })),
            Ok(())
        );
    }

    #[test]
    fn refusals() {
        let told = |status: Value| {
            let error = refusal("a.b.c", &status);
            format!("{} {} {}", error.code, error.reason, error.message)
        };
        assert_eq!(told(Value::Null), "400  admission webhook \"a.b.c\" denied the request without explanation");
        assert_eq!(
            told(json!({ "code": 403, "reason": "Forbidden", "message": "no" })),
            "403 Forbidden admission webhook \"a.b.c\" denied the request: no"
        );
        let named = json!({ "metadata": { "continue": "c", "remainingItemCount": 3, "odd": 1 } });
        assert_eq!(refusal("a.b.c", &named).status()["metadata"], json!({ "continue": "c", "remainingItemCount": 3 }));
        assert_eq!(refusal("a.b.c", &Value::Null).status()["metadata"], json!({}));
        assert_eq!(told(json!({ "reason": "why" })), "400 why admission webhook \"a.b.c\" denied the request: why");
    }

    #[test]
    fn patches() {
        let of = |text: &str| patch(&json!({ "patch": BASE64_STANDARD.encode(text) }));
        assert_eq!(of("[]"), Ok(None));
        assert!(of("[{\"op\":\"remove\",\"path\":\"/a\"}]").unwrap().is_some());
        let said = |text: &str| of(text).unwrap_err();
        assert_eq!(said("{}"), "json: cannot unmarshal object into Go value of type jsonpatch.Patch");
        assert_eq!(said("[1]"), "json: cannot unmarshal number into Go value of type jsonpatch.Operation");
        assert_eq!(said("junk"), "invalid character 'j' looking for beginning of value");
    }
}
