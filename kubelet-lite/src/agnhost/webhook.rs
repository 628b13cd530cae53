//! `webhook` and `crd-conversion-webhook`: the admission and conversion servers that upstream's tests deploy, answer for
//! answer (`test/images/agnhost/{webhook,crd-conversion-webhook}`).

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

const LABEL: &str = "webhook-e2e-test";
const DENIED: &str = "webhook-disallow";

/// What must happen before the answer is sent.
#[derive(Debug, PartialEq)]
pub enum Wait {
    No,
    For(Duration),
    Forever,
}

/// The answer to an AdmissionReview at a path; `None`: no such page.
#[must_use]
pub fn admit(path: &str, review: &Value) -> Option<(Value, Wait)> {
    let request = &review["request"];
    let mut wait = Wait::No;
    let mut response = match path {
        "/always-allow-delay-5s" => {
            wait = Wait::For(Duration::from_secs(5));
            allowed()
        }
        "/always-deny" => denied("this webhook denies all requests"),
        "/add-label" => add_label(&request["object"]),
        "/pods" => {
            let (response, forever) = pod(&request["object"]);
            if forever {
                wait = Wait::Forever;
            }
            response
        }
        "/pods/attach" => attach(request),
        "/mutating-pods" => mutate_pod(&request["object"]),
        "/configmaps" => data(request, "the configmap contains unwanted key and value", "the configmap"),
        "/custom-resource" => data(request, "the custom resource contains unwanted data", "the custom resource"),
        "/mutating-configmaps" | "/mutating-custom-resource" => mutate_data(&request["object"]),
        "/crd" if request["object"]["metadata"]["labels"][LABEL] == DENIED => denied("the crd contains unwanted label"),
        "/crd" => allowed(),
        _ => return None,
    };
    response["uid"] = request["uid"].clone();
    let review = json!({ "kind": "AdmissionReview", "apiVersion": review["apiVersion"], "response": response });
    Some((review, wait))
}

fn allowed() -> Value {
    json!({ "allowed": true })
}

fn denied(message: &str) -> Value {
    json!({ "allowed": false, "status": { "metadata": {}, "message": message } })
}

fn patched(patch: &Value) -> Value {
    json!({ "allowed": true, "patchType": "JSONPatch", "patch": BASE64_STANDARD.encode(patch.to_string()) })
}

fn add_label(object: &Value) -> Value {
    let labels = &object["metadata"]["labels"];
    if labels["added-label"].is_string() {
        return allowed();
    }
    patched(&if labels.as_object().is_some_and(|labels| !labels.is_empty()) {
        json!([{ "op": "add", "path": "/metadata/labels/added-label", "value": "yes" }])
    } else {
        json!([{ "op": "add", "path": "/metadata/labels", "value": { "added-label": "yes" } }])
    })
}

/// The verdict on a pod, and whether it must never be sent.
fn pod(pod: &Value) -> (Value, bool) {
    let mut wrong = String::new();
    let label = pod["metadata"]["labels"][LABEL].as_str().unwrap_or_default();
    if label == DENIED {
        wrong += "the pod contains unwanted label; ";
    }
    let forever = label == "wait-forever";
    if forever {
        wrong += "the pod response should not be sent; ";
    }
    for container in pod["spec"]["containers"].as_array().into_iter().flatten() {
        if container["name"].as_str().is_some_and(|name| name.contains(DENIED)) {
            wrong += "the pod contains unwanted container name; ";
        }
    }
    (if wrong.is_empty() { allowed() } else { denied(wrong.trim()) }, forever)
}

fn attach(request: &Value) -> Value {
    let options = &request["object"];
    let meant = request["name"] == "to-be-attached-pod"
        && request["subResource"] == "attach"
        && options["stdin"] == true
        && options["container"] == "container1";
    if meant { denied("attaching to pod 'to-be-attached-pod' is not allowed") } else { allowed() }
}

fn mutate_pod(pod: &Value) -> Value {
    const NAME: &str = "webhook-added-init-container";
    let has = pod["spec"]["initContainers"].as_array().into_iter().flatten().any(|container| container["name"] == NAME);
    if has || pod["metadata"]["name"] != "webhook-to-be-mutated" {
        return allowed();
    }
    let container = json!({ "image": "webhook-added-image", "name": NAME, "resources": {} });
    patched(&json!([{ "op": "add", "path": "/spec/initContainers", "value": [container] }]))
}

fn data(request: &Value, unwanted: &str, what: &str) -> Value {
    let deletion = request["operation"] == "DELETE";
    let object = if deletion { &request["oldObject"] } else { &request["object"] };
    let reason = match object["data"][LABEL].as_str() {
        Some(DENIED) if !deletion => unwanted.to_owned(),
        Some("webhook-nondeletable") if deletion => {
            format!("{what} cannot be deleted because it contains unwanted key and value")
        }
        _ => return allowed(),
    };
    json!({ "allowed": false, "status": { "metadata": {}, "reason": reason } })
}

fn mutate_data(object: &Value) -> Value {
    let stage = match () {
        () if object["data"]["mutation-stage-1"] == "yes" => 2,
        () if object["data"]["mutation-start"] == "yes" => 1,
        () => return allowed(),
    };
    patched(&json!([{ "op": "add", "path": format!("/data/mutation-stage-{stage}"), "value": "yes" }]))
}

/// The answer to a ConversionReview: `stable.example.com` v1 has `hostPort`, v2 `host` and `port`.
#[must_use]
pub fn convert(review: &Value) -> Value {
    let request = &review["request"];
    let to = request["desiredAPIVersion"].as_str().unwrap_or_default();
    let objects = request["objects"].as_array().into_iter().flatten();
    let converted: Result<Vec<Value>, String> = objects.map(|object| convert_one(object, to)).collect();
    let (objects, result) = match converted {
        Ok(objects) => (objects, json!({ "metadata": {}, "status": "Success" })),
        Err(why) => (Vec::new(), json!({ "metadata": {}, "status": "Failure", "message": why })),
    };
    json!({ "kind": "ConversionReview", "apiVersion": review["apiVersion"],
        "response": { "uid": request["uid"], "convertedObjects": objects, "result": result } })
}

fn convert_one(object: &Value, to: &str) -> Result<Value, String> {
    const VERSIONS: [&str; 2] = ["stable.example.com/v1", "stable.example.com/v2"];
    let from = object["apiVersion"].as_str().unwrap_or_default();
    if from == to {
        return Err(format!("conversion from a version to itself should not call the webhook: {to}"));
    }
    if let Some(unknown) = [from, to].into_iter().find(|version| !VERSIONS.contains(version)) {
        return Err(format!("unexpected conversion version {unknown:?}"));
    }
    let mut new = object.clone();
    new["apiVersion"] = to.into();
    let Some(fields) = new.as_object_mut() else { return Err("no object".to_owned()) };
    if to == VERSIONS[1] {
        if let Some(both) = fields.remove("hostPort") {
            let text = both.as_str().unwrap_or_default();
            let parts: Vec<&str> = text.split(':').collect();
            let [host, port] = parts.as_slice() else { return Err(format!("invalid hostPort value `{text}`")) };
            fields.insert("host".to_owned(), (*host).into());
            fields.insert("port".to_owned(), (*port).into());
        }
    } else if fields.contains_key("host") || fields.contains_key("port") {
        let mut take = |name: &str| fields.remove(name).and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
        let both = format!("{}:{}", take("host"), take("port"));
        fields.insert("hostPort".to_owned(), both.into());
    }
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(path: &str, request: Value) -> Value {
        let review = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request });
        admit(path, &review).expect("a page").0["response"].clone()
    }

    fn patch(response: &Value) -> Value {
        let bytes = BASE64_STANDARD.decode(response["patch"].as_str().expect("a patch")).expect("base64");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    #[test]
    fn admission() {
        assert_eq!(response("/always-deny", json!({ "uid": "u" }))["uid"], "u");
        assert_eq!(
            response(
                "/pods",
                json!({ "object": { "metadata": { "labels": { LABEL: DENIED } },
                "spec": { "containers": [{ "name": "webhook-disallow-1" }] } } })
            )["status"]["message"],
            "the pod contains unwanted label; the pod contains unwanted container name;"
        );
        let stages = response("/mutating-configmaps", json!({ "object": { "data": { "mutation-start": "yes" } } }));
        assert_eq!(patch(&stages)[0]["path"], "/data/mutation-stage-1");
        let kept = json!({ "operation": "DELETE", "oldObject": { "data": { LABEL: "webhook-nondeletable" } } });
        assert_eq!(
            response("/configmaps", kept)["status"]["reason"],
            "the configmap cannot be deleted because it contains unwanted key and value"
        );
        assert!(admit("/nothing", &json!({})).is_none());
        let waiting = json!({ "request": { "object": { "metadata": { "labels": { LABEL: "wait-forever" } } } } });
        assert_eq!(admit("/pods", &waiting).expect("a page").1, Wait::Forever);
    }

    #[test]
    fn conversion() {
        let v1 = json!({ "apiVersion": "stable.example.com/v1", "kind": "E2e", "hostPort": "localhost:8080" });
        let v2 = convert_one(&v1, "stable.example.com/v2").expect("it can be converted");
        assert_eq!((&v2["host"], &v2["port"], v2.get("hostPort")), (&json!("localhost"), &json!("8080"), None));
        assert_eq!(convert_one(&v2, "stable.example.com/v1"), Ok(v1.clone()));
        assert!(convert_one(&v1, "stable.example.com/v1").is_err());
        let review = json!({ "request": { "uid": "u", "desiredAPIVersion": "other/v1", "objects": [v1] } });
        assert_eq!(convert(&review)["response"]["result"]["message"], "unexpected conversion version \"other/v1\"");
    }
}
