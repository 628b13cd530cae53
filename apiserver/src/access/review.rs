//! Questions about access: the review kinds of authentication.k8s.io and authorization.k8s.io, answered and never stored.

use auth::{Attributes, Resource, Target, UserInfo};
use schema::selector::FieldSelector;
use serde_json::{Value, json};

use super::{Asked, Notes, Outcome, decide_asked, token_user};
use crate::app::{Call, text};
use crate::http::status::{ApiError, ApiResult};

/// Answers the review in `body`.
pub async fn answer(call: &Call, mut body: Value) -> ApiResult<Value> {
    match call.resource.plural.as_str() {
        "selfsubjectaccessreviews" => {
            let user = call.user.clone();
            body["status"] = access(call, &user, &body["spec"]).await?;
        }
        "subjectaccessreviews" | "localsubjectaccessreviews" => {
            let spec = &body["spec"];
            if text(spec, "/user").is_empty() && spec["groups"].as_array().is_none_or(Vec::is_empty) {
                return Err(invalid(call, "user", "".into(), "at least one of user or group must be specified"));
            }
            if call.resource.namespaced && text(spec, "/resourceAttributes/namespace") != call.info.namespace {
                let why = format!("spec.resourceAttributes.namespace must match namespace: {}", call.info.namespace);
                return Err(ApiError::bad_request(why));
            }
            let user = subject(spec);
            body["status"] = access(call, &user, spec).await?;
        }
        "selfsubjectrulesreviews" => {
            if text(&body, "/spec/namespace").is_empty() {
                return Err(ApiError::bad_request("no namespace on request"));
            }
            let namespace = text(&body, "/spec/namespace");
            body["status"] = call.app.access.authorizers.rules(&call.app, &call.user, namespace);
        }
        "selfsubjectreviews" => body["status"] = json!({ "userInfo": call.user }),
        "tokenreviews" => {
            let audiences: Vec<String> = strings(&body["spec"]["audiences"]);
            let mut notes = Notes::default();
            let judged = token_user(&call.app, text(&body, "/spec/token"), &audiences, &mut notes).await;
            notes.tell(call.trail.as_deref());
            notes.warnings.into_iter().for_each(|warning| call.warn(warning));
            body["status"] = match judged {
                Ok((user, audiences)) => json!({ "authenticated": true, "user": user, "audiences": audiences }),
                Err(why) => json!({ "user": {}, "error": why }),
            };
            // The token is not repeated in the answer of a review that anyone may log.
        }
        _ => return Err(ApiError::no_route()),
    }
    crate::registry::object::set(&mut body, "creationTimestamp", Value::Null);
    Ok(body)
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

fn subject(spec: &Value) -> UserInfo {
    let mut user = UserInfo::new(text(spec, "/user"), strings(&spec["groups"]));
    user.uid = text(spec, "/uid").to_owned();
    for (key, values) in spec["extra"].as_object().into_iter().flatten() {
        user.extra.insert(key.clone(), strings(values));
    }
    user
}

async fn access(call: &Call, user: &UserInfo, spec: &Value) -> ApiResult<Value> {
    let resource = &spec["resourceAttributes"];
    let path = &spec["nonResourceAttributes"];
    let mut fields = Vec::new();
    let attributes = match (resource.is_object(), path.is_object()) {
        (true, false) => {
            fields = equalities(call, &resource["fieldSelector"])?;
            check_selector(call, "labelSelector", &resource["labelSelector"])?;
            Attributes {
                user,
                verb: text(resource, "/verb"),
                target: Target::Resource(Resource {
                    group: text(resource, "/group"),
                    resource: text(resource, "/resource"),
                    subresource: text(resource, "/subresource"),
                    namespace: text(resource, "/namespace"),
                    name: text(resource, "/name"),
                }),
            }
        }
        (false, true) => Attributes { user, verb: text(path, "/verb"), target: Target::Path(text(path, "/path")) },
        (true, true) => {
            let why = "cannot be specified in combination with resourceAttributes";
            return Err(invalid(call, "nonResourceAttributes", path.clone(), why));
        }
        (false, false) => {
            let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            return Err(invalid(call, "resourceAttributes", Value::Null, why));
        }
    };
    let fields: Vec<(&str, &str)> = fields.iter().map(|(field, value)| (field.as_str(), value.as_str())).collect();
    let asked = Asked { version: text(resource, "/version"), fields: &fields };
    let Outcome { decision, error } = decide_asked(&call.app, &attributes, &asked).await;
    let mut status = json!({ "allowed": decision.allowed() });
    if matches!(decision, auth::Decision::Deny(_)) {
        status["denied"] = true.into();
    }
    if !decision.reason().is_empty() {
        status["reason"] = decision.reason().into();
    }
    if let Some(error) = error {
        status["evaluationError"] = error.into();
    }
    Ok(status)
}

/// A selector is given as text or as requirements, not both (KEP-4601).
fn check_selector(call: &Call, field: &str, selector: &Value) -> ApiResult<()> {
    let raw = text(selector, "/rawSelector");
    let requirements = selector["requirements"].as_array().is_some_and(|list| !list.is_empty());
    let at = format!("resourceAttributes.{field}");
    match (raw.is_empty(), requirements) {
        (false, true) => Err(invalid(
            call,
            &format!("{at}.rawSelector"),
            raw.into(),
            "may not specified at the same time as requirements",
        )),
        (true, false) if selector.is_object() => {
            let at = schema::field::Path::new("spec").child(&at).child("requirements");
            let why = format!("when {at} is specified, requirements or rawSelector is required");
            Err(call.invalid("", &vec![schema::field::Error::required(&at, why)]))
        }
        _ => Ok(()),
    }
}

/// The equalities of a field selector: all that an authorizer can use. What cannot be read restricts nothing, and so
/// allows nothing more.
fn equalities(call: &Call, selector: &Value) -> ApiResult<Vec<(String, String)>> {
    check_selector(call, "fieldSelector", selector)?;
    let raw = FieldSelector::parse(text(selector, "/rawSelector")).unwrap_or_default();
    let raw = raw.requirements.into_iter().filter(|r| r.equal).map(|r| (r.field, r.value));
    let listed = selector["requirements"].as_array().into_iter().flatten().filter_map(|requirement| {
        let values = requirement["values"].as_array().map_or(&[][..], Vec::as_slice);
        match (text(requirement, "/operator"), values) {
            ("In", [only]) => Some((text(requirement, "/key").to_owned(), only.as_str()?.to_owned())),
            _ => None,
        }
    });
    Ok(raw.chain(listed).collect())
}

fn invalid(call: &Call, field: &str, value: Value, why: &str) -> ApiError {
    let at = schema::field::Path::new("spec").child(field);
    call.invalid("", &vec![schema::field::Error::invalid(&at, value, why)])
}
