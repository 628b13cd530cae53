//! LimitRanger: a namespace's LimitRanges give containers default requests and limits, and bound what they may ask for.

use std::cmp::Ordering;

use schema::quantity::Quantity;
use serde_json::{Value, json};

use super::Attributes;
use crate::app::text;
use crate::http::status::ApiResult;

pub async fn admit(a: &Attributes<'_>, pod: &mut Value) -> ApiResult<()> {
    for range in a.list("", "limitranges", a.namespace()).await? {
        for limit in range["spec"]["limits"].as_array().into_iter().flatten() {
            if text(limit, "/type") == "Container" {
                container_defaults(pod, limit);
                let wrong = container_violations(pod, limit);
                if !wrong.is_empty() {
                    let why = if wrong.len() == 1 { wrong[0].clone() } else { format!("[{}]", wrong.join(", ")) };
                    return Err(a.forbidden(pod, &why));
                }
            }
        }
    }
    Ok(())
}

fn containers(pod: &mut Value) -> impl Iterator<Item = &mut Value> {
    let spec = pod.get_mut("spec").and_then(Value::as_object_mut).into_iter().flatten();
    spec.filter(|(name, _)| matches!(name.as_str(), "containers" | "initContainers"))
        .flat_map(|(_, list)| list.as_array_mut().into_iter().flatten())
}

fn container_defaults(pod: &mut Value, limit: &Value) {
    for container in containers(pod) {
        for (field, from) in [("limits", "default"), ("requests", "defaultRequest")] {
            for (name, amount) in limit[from].as_object().into_iter().flatten() {
                // A request that is not given follows a limit that is.
                let follows = field == "requests" && !container["resources"]["limits"][name].is_null();
                let own = container["resources"][field][name].is_null();
                if own && !(follows && limit["defaultRequest"][name].is_null()) {
                    if !container["resources"].is_object() {
                        container["resources"] = json!({});
                    }
                    container["resources"][field][name] = amount.clone();
                }
            }
        }
    }
}

fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    let parse = |value: &Value| Quantity::parse(value.as_str()?).ok();
    parse(a)?.partial_cmp(&parse(b)?)
}

fn container_violations(pod: &mut Value, limit: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    for container in containers(pod) {
        let resources = &container["resources"];
        for (name, max) in limit["max"].as_object().into_iter().flatten() {
            let have = &resources["limits"][name];
            let bound = max.as_str().unwrap_or_default();
            if have.is_null() {
                wrong.push(format!("maximum {name} usage per Container is {bound}.  No limit is specified"));
            } else if compare(have, max) == Some(Ordering::Greater) {
                wrong.push(format!(
                    "maximum {name} usage per Container is {bound}, but limit is {}",
                    have.as_str().unwrap_or_default()
                ));
            }
        }
        for (name, min) in limit["min"].as_object().into_iter().flatten() {
            let have = &resources["requests"][name];
            let bound = min.as_str().unwrap_or_default();
            if have.is_null() {
                wrong.push(format!("minimum {name} usage per Container is {bound}.  No request is specified"));
            } else if compare(have, min) == Some(Ordering::Less) {
                wrong.push(format!(
                    "minimum {name} usage per Container is {bound}, but request is {}",
                    have.as_str().unwrap_or_default()
                ));
            }
        }
    }
    wrong
}
