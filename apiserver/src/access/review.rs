//! Questions about access: the review kinds of authentication.k8s.io and authorization.k8s.io, answered and never stored.

use auth::{Attributes, Resource, Target, UserInfo};
use schema::selector::FieldSelector;
use serde_json::{Value, json};

use super::{Asked, Notes, Outcome, decide_asked, token_user};
use crate::app::{Call, text};
use crate::http::status::{ApiError, ApiResult};
use crate::kinds::validate;

/// An object whose namespace is not that of the request.
pub const OTHER_NAMESPACE: &str =
    "the namespace of the provided object does not match the namespace sent on the request";

/// Answers the review in `body`.
pub async fn answer(call: &Call, mut body: Value) -> ApiResult<Value> {
    crate::registry::create::wipe_system_fields(&mut body);
    match call.resource.plural.as_str() {
        plural @ ("selfsubjectaccessreviews" | "subjectaccessreviews" | "localsubjectaccessreviews") => {
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
            let status = call.app.access.authorizers.rules(&call.app, &call.user, text(&body, "/spec/namespace"));
            return Ok(anew(&body, json!({ "metadata": {}, "spec": {}, "status": status })));
        }
        "selfsubjectreviews" => {
            let made = crate::registry::object::now();
            let answer = json!({ "metadata": { "creationTimestamp": made }, "status": { "userInfo": call.user } });
            return Ok(anew(&body, answer));
        }
        "tokenreviews" => {
            if text(&body, "/spec/token").is_empty() {
                return Err(ApiError::bad_request("token is required for TokenReview in authentication"));
            }
            let audiences: Vec<String> = strings(&body["spec"]["audiences"]);
            let mut notes = Notes::default();
            let judged = token_user(&call.app, text(&body, "/spec/token"), &audiences, &mut notes).await;
            notes.tell(call.trail.as_deref());
            notes.warnings.into_iter().for_each(|warning| call.warn(warning));
            body["status"] = match judged {
                Ok((user, audiences)) => json!({ "authenticated": true, "user": user, "audiences": audiences }),
                // Whatever else was said of it is said again.
                Err(why) => {
                    let mut status = body["status"].as_object().cloned().unwrap_or_default();
                    status.remove("authenticated");
                    status.entry("user").or_insert_with(|| json!({}));
                    status.insert("error".to_owned(), why.into());
                    status.into()
                }
            };
            // The token is not repeated in the answer of a review that anyone may log.
        }
        _ => return Err(ApiError::no_route()),
    }
    Ok(body)
}

/// An answer that repeats nothing of the question but what it is.
fn anew(question: &Value, mut answer: Value) -> Value {
    for field in ["apiVersion", "kind"] {
        answer[field] = question[field].clone();
    }
    answer
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
    let (fields, unread_fields) = equalities(&resource["fieldSelector"]);
    let unread_labels = unread_labels(&resource["labelSelector"]);
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
    let selectors = [("fieldSelector", unread_fields), ("labelSelector", unread_labels)];
    let ignored = selectors.into_iter().filter_map(|(selector, unread)| {
        let ignored = match unread {
            Unread::None => return None,
            Unread::Some => "partially ignored",
            Unread::All => "ignored",
        };
        Some(format!("spec.resourceAttributes.{selector} {ignored} due to parse error"))
    });
    let errors: Vec<String> = error.into_iter().chain(ignored).collect();
    if !errors.is_empty() {
        status["evaluationError"] = errors.join("; ").into();
    }
    status
}

/// How much of a selector cannot be read. It restricts nothing, and so allows nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unread {
    None,
    Some,
    All,
}

impl Unread {
    fn of(read: usize, unread: bool) -> Self {
        match (unread, read) {
            (false, _) => Self::None,
            (true, 0) => Self::All,
            (true, _) => Self::Some,
        }
    }
}

/// The equalities of a field selector: all that an authorizer can use.
fn equalities(selector: &Value) -> (Vec<(String, String)>, Unread) {
    let Some(requirements) = selector["requirements"].as_array().filter(|list| !list.is_empty()) else {
        return match FieldSelector::parse(text(selector, "/rawSelector")) {
            Ok(raw) => {
                let equal = raw.requirements.into_iter().filter(|r| r.equal);
                (equal.map(|r| (r.field, r.value)).collect(), Unread::None)
            }
            Err(_) => (Vec::new(), Unread::All),
        };
    };
    let (mut found, mut read) = (Vec::new(), 0);
    for requirement in requirements {
        match (text(requirement, "/operator"), strings(&requirement["values"]).as_slice()) {
            ("In", [only]) => found.push((text(requirement, "/key").to_owned(), only.clone())),
            ("NotIn", [_]) => {}
            // Several values, and whether a field is there at all, are not to be had of fields.
            _ => continue,
        }
        read += 1;
    }
    (found, Unread::of(read, read < requirements.len()))
}

/// Whether a label selector can be read, which no authorizer of ours uses.
fn unread_labels(selector: &Value) -> Unread {
    let Some(requirements) = selector["requirements"].as_array().filter(|list| !list.is_empty()) else {
        let unread = schema::selector::LabelSelector::parse(text(selector, "/rawSelector")).is_err();
        return Unread::of(0, unread);
    };
    let known = |one: &&Value| matches!(text(one, "/operator"), "In" | "NotIn" | "Exists" | "DoesNotExist");
    let read = requirements.iter().filter(known).count();
    Unread::of(read, read < requirements.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_read_as_far_as_they_can_be() {
        let listed = |requirements: Value| json!({ "requirements": requirements });
        let one = json!({ "key": "a", "operator": "In", "values": ["b"] });
        let not = json!({ "key": "a", "operator": "NotIn", "values": ["b"] });
        let several = json!({ "key": "a", "operator": "In", "values": ["b", "c"] });
        let exists = json!({ "key": "a", "operator": "Exists" });
        let odd = json!({ "key": "a", "operator": "Odd" });
        for (selector, equal, fields, labels) in [
            (Value::Null, 0, Unread::None, Unread::None),
            (json!({ "rawSelector": "a=b" }), 1, Unread::None, Unread::None),
            (json!({ "rawSelector": "a in (b" }), 0, Unread::All, Unread::All),
            (listed(json!([one, not])), 1, Unread::None, Unread::None),
            (listed(json!([several])), 0, Unread::All, Unread::None),
            (listed(json!([one, exists])), 1, Unread::Some, Unread::None),
            (listed(json!([odd])), 0, Unread::All, Unread::All),
            (listed(json!([exists, odd])), 0, Unread::All, Unread::Some),
        ] {
            let (found, unread) = equalities(&selector);
            assert_eq!((found.len(), unread, unread_labels(&selector)), (equal, fields, labels), "{selector}");
        }
    }
}
