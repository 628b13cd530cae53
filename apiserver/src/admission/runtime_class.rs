//! RuntimeClass: a pod takes its class's overhead and place (`plugin/pkg/admission/runtimeclass`).

use quota::Amounts;
use serde_json::{Value, json};

use super::{Attributes, Operation};
use crate::http::status::{ApiError, ApiResult};

/// Gives a new pod what its class says.
pub async fn admit(a: &Attributes<'_>, pod: &mut Value) -> ApiResult<()> {
    let class = of(a, pod).await?;
    settle(pod, class.as_ref()).map_err(|why| a.forbidden(pod, &why))
}

/// Refuses a new pod an overhead that no class has given it. Whether it is one at all has been told before.
pub async fn validate(a: &Attributes<'_>, pod: &Value) -> ApiResult<()> {
    let new_pod = (a.operation, a.resource().group.as_str(), a.resource().plural.as_str(), a.subresource())
        == (Operation::Create, "", "pods", "");
    if new_pod && has_overhead(pod) && of(a, pod).await?.as_ref().is_none_or(|class| overhead(class).is_none()) {
        let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
        return Err(a.forbidden(pod, why));
    }
    Ok(())
}

/// The pod's class, if it names one.
async fn of(a: &Attributes<'_>, pod: &Value) -> ApiResult<Option<Value>> {
    match pod["spec"]["runtimeClassName"].as_str() {
        None => Ok(None),
        // Upstream's client asks the server for it, and fails over its own request.
        Some("") => Err(ApiError::new(500, "", "resource name may not be empty")),
        Some(name) => find(a, name, pod).await.map(Some),
    }
}

fn has_overhead(pod: &Value) -> bool {
    pod["spec"]["overhead"].is_object()
}

fn overhead(class: &Value) -> Option<&Value> {
    Some(&class["overhead"]["podFixed"]).filter(|overhead| overhead.is_object())
}

/// From the store: a class is often made right before the pod that wants it.
async fn find(a: &Attributes<'_>, name: &str, pod: &Value) -> ApiResult<Value> {
    let resource = a.app().resource("node.k8s.io", "runtimeclasses")?;
    let (found, _) = a.app().store.get(&resource.key("", name), None).await?;
    match found {
        Some(kv) => serde_json::from_slice(&kv.value).map_err(ApiError::internal),
        None => {
            let why = format!("pod rejected: RuntimeClass {name:?} not found");
            Err(a.forbidden(pod, &why))
        }
    }
}

fn settle(pod: &mut Value, class: Option<&Value>) -> Result<(), String> {
    if let Some(fixed) = class.and_then(overhead) {
        let own = &pod["spec"]["overhead"];
        let says = own.as_object().is_some_and(|own| !own.is_empty());
        if says && Amounts::read(own) != Amounts::read(fixed) {
            return Err("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead".to_owned());
        }
        pod["spec"]["overhead"] = fixed.clone();
    }
    let Some(scheduling) = class.map(|class| &class["scheduling"]).filter(|scheduling| scheduling.is_object()) else {
        return Ok(());
    };
    for (key, value) in scheduling["nodeSelector"].as_object().into_iter().flatten() {
        let own = &pod["spec"]["nodeSelector"][key];
        if own.is_string() && own != value {
            let (class, own) = (value.as_str().unwrap_or_default(), own.as_str().unwrap_or_default());
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {class}; pod.spec.nodeSelector[{key}] = {own}"
            ));
        }
        if !pod["spec"]["nodeSelector"].is_object() {
            pod["spec"]["nodeSelector"] = json!({});
        }
        pod["spec"]["nodeSelector"][key] = value.clone();
    }
    if let Some(more) = scheduling["tolerations"].as_array() {
        let mut tolerations = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
        for toleration in more {
            if !tolerations.contains(toleration) {
                tolerations.push(toleration.clone());
            }
        }
        pod["spec"]["tolerations"] = Value::Array(tolerations);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overhead_and_place_come_from_the_class() {
        let class = json!({
            "overhead": { "podFixed": { "cpu": "10m" } },
            "scheduling": { "nodeSelector": { "a": "b" }, "tolerations": [{ "key": "k" }] },
        });
        let mut pod = json!({ "spec": { "nodeSelector": { "c": "d" }, "tolerations": [{ "key": "x" }] } });
        settle(&mut pod, Some(&class)).unwrap();
        assert_eq!(
            pod["spec"],
            json!({ "overhead": { "cpu": "10m" }, "nodeSelector": { "a": "b", "c": "d" }, "tolerations": [{ "key": "x" }, { "key": "k" }] })
        );
        let rows = [
            (json!({ "overhead": { "cpu": "0.01" } }), Some(&class), ""),
            (
                json!({ "overhead": { "cpu": "1" } }),
                Some(&class),
                "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
            ),
            (json!({ "overhead": { "cpu": "1" } }), None, ""),
            (
                json!({ "nodeSelector": { "a": "z" } }),
                Some(&class),
                "conflict: runtimeClass.scheduling.nodeSelector[a] = b; pod.spec.nodeSelector[a] = z",
            ),
            (json!({}), None, ""),
            (json!({ "overhead": {} }), Some(&class), ""),
        ];
        for (spec, class, expected) in rows {
            let mut pod = json!({ "spec": spec });
            assert_eq!(settle(&mut pod, class).err().unwrap_or_default(), expected, "{spec}");
        }
    }
}
