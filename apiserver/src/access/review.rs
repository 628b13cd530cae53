//! Questions about access: the review kinds of authentication.k8s.io and authorization.k8s.io, answered and never stored.

use auth::{Attributes, Resource, Target, UserInfo};
use schema::selector::FieldSelector;
use serde_json::{Value, json};

use super::{Asked, Notes, Outcome, decide_asked, token_user};
use crate::app::{Call, text};
use crate::http::status::{ApiError, ApiResult};
use crate::kinds::validate;
use crate::registry::{create, object};

/// An object whose namespace is not that of the request.
pub const OTHER_NAMESPACE: &str =
    "the namespace of the provided object does not match the namespace sent on the request";

/// Answers the review in `body`.
pub async fn answer(call: &Call, mut body: Value) -> ApiResult<Value> {
    object::set(&mut body, "creationTimestamp", Value::Null);
    match call.resource.plural.as_str() {
        plural @ ("selfsubjectaccessreviews" | "subjectaccessreviews" | "localsubjectaccessreviews") => {
            if call.resource.namespaced {
                let namespace = text(&body, "/metadata/namespace");
                if !namespace.is_empty() && namespace != call.info.namespace {
                    return Err(ApiError::bad_request(OTHER_NAMESPACE));
                }
                object::set(&mut body, "namespace", call.info.namespace.clone().into());
            }
            create::track(call, None, &mut body);
            let errors = validate::review::access(&body, plural);
            if !errors.is_empty() {
                // Upstream's error names no kind.
                return Err(ApiError::invalid(&call.resource.group, "", "", &errors));
            }
            let user = if plural == "selfsubjectaccessreviews" { call.user.clone() } else { subject(&body["spec"]) };
            body["status"] = access(call, &user, &body["spec"]).await;
        }
        "selfsubjectrulesreviews" => {
            if text(&body, "/spec/namespace").is_empty() {
                return Err(ApiError::bad_request("no namespace on request"));
            }
            let namespace = text(&body, "/spec/namespace");
            body["status"] = call.app.access.authorizers.rules(&call.app, &call.user, namespace);
            body["spec"] = json!({});
            body["metadata"] = json!({});
        }
        "selfsubjectreviews" => {
            body["metadata"] = json!({ "creationTimestamp": object::now() });
            body["status"] = json!({ "userInfo": call.user });
        }
        "tokenreviews" => {
            if text(&body, "/spec/token").is_empty() {
                return Err(ApiError::bad_request("token is required for TokenReview in authentication"));
            }
            create::track(call, None, &mut body);
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

/// What the authorizers say to a question that is well formed.
async fn access(call: &Call, user: &UserInfo, spec: &Value) -> Value {
    let resource = &spec["resourceAttributes"];
    let path = &spec["nonResourceAttributes"];
    let mut unread = Vec::new();
    let fields = equalities(&resource["fieldSelector"], &mut unread);
    if schema::selector::LabelSelector::parse(text(resource, "/labelSelector/rawSelector")).is_err() {
        unread.push("spec.resourceAttributes.labelSelector ignored due to parse error");
    }
    let attributes = if resource.is_object() {
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
    } else {
        Attributes { user, verb: text(path, "/verb"), target: Target::Path(text(path, "/path")) }
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
    let errors: Vec<String> = error.into_iter().chain(unread.into_iter().map(str::to_owned)).collect();
    match errors.as_slice() {
        [] => {}
        [one] => status["evaluationError"] = one.as_str().into(),
        several => status["evaluationError"] = format!("[{}]", several.join(", ")).into(),
    }
    status
}

/// The equalities of a field selector: all that an authorizer can use. What cannot be read restricts nothing, and so
/// allows nothing more.
fn equalities(selector: &Value, unread: &mut Vec<&'static str>) -> Vec<(String, String)> {
    let raw = FieldSelector::parse(text(selector, "/rawSelector")).unwrap_or_else(|_| {
        unread.push("spec.resourceAttributes.fieldSelector ignored due to parse error");
        FieldSelector::default()
    });
    let raw = raw.requirements.into_iter().filter(|r| r.equal).map(|r| (r.field, r.value));
    let listed = selector["requirements"].as_array().into_iter().flatten().filter_map(|requirement| {
        let values = requirement["values"].as_array().map_or(&[][..], Vec::as_slice);
        match (text(requirement, "/operator"), values) {
            ("In", [only]) => Some((text(requirement, "/key").to_owned(), only.as_str()?.to_owned())),
            _ => None,
        }
    });
    raw.chain(listed).collect()
}
