//! Questions about access: the review kinds of authentication.k8s.io and authorization.k8s.io, answered and never stored.

use auth::{Attributes, Resource, Target, UserInfo};
use serde_json::{Value, json};

use super::{decide, token};
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
                return Err(invalid(call, "user", "at least one of user or group must be specified"));
            }
            if call.resource.namespaced && text(spec, "/resourceAttributes/namespace") != call.info.namespace {
                return Err(ApiError::bad_request("spec.resourceAttributes.namespace must match namespace"));
            }
            let user = subject(spec);
            body["status"] = access(call, &user, spec).await?;
        }
        "selfsubjectrulesreviews" => {
            if text(&body, "/spec/namespace").is_empty() {
                return Err(ApiError::bad_request("no namespace on request"));
            }
            body["status"] = call.app.access.policy.rules(&call.user, text(&body, "/spec/namespace"));
        }
        "selfsubjectreviews" => body["status"] = json!({ "userInfo": call.user }),
        "tokenreviews" => {
            let audiences: Vec<String> = strings(&body["spec"]["audiences"]);
            body["status"] = match token(&call.app, text(&body, "/spec/token"), &audiences).await {
                Ok((user, audiences)) => json!({ "authenticated": true, "user": user, "audiences": audiences }),
                Err(why) => json!({ "authenticated": false, "user": {}, "error": format!("[invalid bearer token, {why}]") }),
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
    let attributes = match (resource.is_object(), path.is_object()) {
        (true, false) => Attributes {
            user,
            verb: text(resource, "/verb"),
            target: Target::Resource(Resource {
                group: text(resource, "/group"),
                resource: text(resource, "/resource"),
                subresource: text(resource, "/subresource"),
                namespace: text(resource, "/namespace"),
                name: text(resource, "/name"),
            }),
        },
        (false, true) => Attributes { user, verb: text(path, "/verb"), target: Target::Path(text(path, "/path")) },
        _ => {
            let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            return Err(invalid(call, "resourceAttributes", why));
        }
    };
    let decision = decide(&call.app, &attributes).await;
    let mut status = json!({ "allowed": decision.allowed() });
    if matches!(decision, auth::Decision::Deny(_)) {
        status["denied"] = true.into();
    }
    if !decision.reason().is_empty() {
        status["reason"] = decision.reason().into();
    }
    Ok(status)
}

fn invalid(call: &Call, field: &str, why: &str) -> ApiError {
    let at = schema::field::Path::new("spec").child(field);
    call.invalid("", &vec![schema::field::Error::invalid(&at, Value::Null, why)])
}
