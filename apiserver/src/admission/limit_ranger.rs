//! LimitRanger: a namespace's LimitRanges give containers default requests and limits, and bound what containers, pods and
//! volume claims may ask for (`plugin/pkg/admission/limitranger`).

use quota::{Amounts, resources};
use schema::quantity::Quantity;
use serde_json::{Value, json};

use super::{Attributes, Operation};
use crate::app::text;
use crate::http::status::ApiResult;

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// Gives a new pod's containers their defaults.
pub async fn mutate(a: &Attributes<'_>, pod: &mut Value) -> ApiResult<()> {
    for range in ranges(a).await? {
        apply_defaults(pod, &range);
    }
    Ok(())
}

/// Refuses pods and claims that are out of bounds. A pod's resources change by `resize` only; a claim may grow.
pub async fn validate(a: &Attributes<'_>, object: &Value) -> ApiResult<()> {
    let check: fn(&Value, &Value) -> Vec<String> =
        match (a.resource().group.as_str(), a.resource().plural.as_str(), a.subresource()) {
            ("", "pods", "") if a.operation == Operation::Create => pod_violations,
            ("", "pods", "resize") if a.operation == Operation::Update => pod_violations,
            ("", "persistentvolumeclaims", "") if a.operation != Operation::Delete => claim_violations,
            _ => return Ok(()),
        };
    if a.old.is_some_and(crate::registry::object::is_deleting) {
        return Ok(());
    }
    for range in ranges(a).await? {
        let wrong = check(object, &range);
        if !wrong.is_empty() {
            let why = if wrong.len() == 1 { wrong[0].clone() } else { format!("[{}]", wrong.join(", ")) };
            return Err(a.forbidden(object, &why));
        }
    }
    Ok(())
}

async fn ranges(a: &Attributes<'_>) -> ApiResult<Vec<Value>> {
    a.list("", "limitranges", a.namespace()).await
}

fn limits<'a>(range: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let all = range["spec"]["limits"].as_array().into_iter().flatten();
    all.filter(move |limit| text(limit, "/type") == kind)
}

/// The defaults of all of a range's items, and a note of what was set.
fn apply_defaults(pod: &mut Value, range: &Value) {
    let mut notes = Vec::new();
    for (list, what) in [("containers", "container"), ("initContainers", "init container")] {
        let containers = pod["spec"].get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let name = text(container, "/name").to_owned();
            for (field, from, word) in [("requests", "defaultRequest", "request"), ("limits", "default", "limit")] {
                let mut set = Vec::new();
                for item in limits(range, "Container") {
                    for (resource, amount) in item[from].as_object().into_iter().flatten() {
                        if !container["resources"][field][resource].is_null() {
                            continue;
                        }
                        if !container["resources"].is_object() {
                            container["resources"] = json!({});
                        }
                        container["resources"][field][resource] = amount.clone();
                        set.push(resource.as_str());
                    }
                }
                if !set.is_empty() {
                    set.sort_unstable();
                    notes.push(format!("{} {word} for {what} {name}", set.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        if !pod["metadata"]["annotations"].is_object() {
            pod["metadata"]["annotations"] = json!({});
        }
        pod["metadata"]["annotations"][ANNOTATION] = format!("LimitRanger plugin set: {}", notes.join("; ")).into();
    }
}

/// One bound of one type, as messages speak of it.
struct Bound<'a> {
    kind: &'a str,
    resource: &'a str,
    amount: Quantity,
    request: Option<Quantity>,
    limit: Option<Quantity>,
}

impl Bound<'_> {
    fn minimum(&self) -> Option<String> {
        let Self { kind, resource, amount, .. } = self;
        let say = |rest: String| Some(format!("minimum {resource} usage per {kind} is {amount}{rest}"));
        match (self.request, self.limit) {
            (None, _) => say(".  No request is specified".to_owned()),
            (Some(request), _) if request < *amount => say(format!(", but request is {request}")),
            (_, Some(limit)) if limit < *amount => say(format!(", but limit is {limit}")),
            _ => None,
        }
    }

    fn maximum(&self) -> Option<String> {
        let Self { kind, resource, amount, .. } = self;
        let say = |rest: String| Some(format!("maximum {resource} usage per {kind} is {amount}{rest}"));
        match (self.limit, self.request) {
            (None, _) => say(".  No limit is specified".to_owned()),
            (Some(limit), _) if limit > *amount => say(format!(", but limit is {limit}")),
            (_, Some(request)) if request > *amount => say(format!(", but request is {request}")),
            _ => None,
        }
    }

    /// Claims have requests only.
    fn maximum_request(&self) -> Option<String> {
        let Self { kind, resource, amount, .. } = self;
        let say = |rest: String| Some(format!("maximum {resource} usage per {kind} is {amount}{rest}"));
        match self.request {
            None => say(".  No request is specified".to_owned()),
            Some(request) if request > *amount => say(format!(", but request is {request}")),
            _ => None,
        }
    }

    fn ratio(&self) -> Option<String> {
        let Self { kind, resource, amount, .. } = self;
        let say =
            |rest: String| Some(format!("{resource} max limit to request ratio per {kind} is {amount}, but {rest}"));
        let there = |amount: Option<Quantity>| amount.filter(|amount| !amount.is_zero());
        let Some(request) = there(self.request) else {
            return say("no request is specified or request is 0".to_owned());
        };
        let Some(limit) = there(self.limit) else { return say("no limit is specified or limit is 0".to_owned()) };
        let ratio = limit.as_f64() / request.as_f64();
        if ratio > amount.as_f64() { say(format!("provided ratio is {ratio:.6}")) } else { None }
    }
}

type Rule = fn(&Bound<'_>) -> Option<String>;

fn violations(item: &Value, kind: &str, requests: &Amounts, limits: &Amounts, rules: &[(&str, Rule)]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (field, rule) in rules {
        for (resource, amount) in Amounts::read(&item[*field]).iter() {
            let (request, limit) = (requests.get(resource), limits.get(resource));
            wrong.extend(rule(&Bound { kind, resource, amount, request, limit }));
        }
    }
    wrong
}

const RULES: [(&str, Rule); 3] =
    [("min", |b| b.minimum()), ("max", |b| b.maximum()), ("maxLimitRequestRatio", |b| b.ratio())];

fn pod_violations(pod: &Value, range: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    for item in limits(range, "Container") {
        for list in ["containers", "initContainers"] {
            for container in pod["spec"][list].as_array().into_iter().flatten() {
                let read = |field: &str| Amounts::read(&container["resources"][field]);
                wrong.extend(violations(item, "Container", &read("requests"), &read("limits"), &RULES));
            }
        }
    }
    for item in limits(range, "Pod") {
        let (requests, limits) = (resources::sum(pod, "requests"), resources::sum(pod, "limits"));
        wrong.extend(violations(item, "Pod", &requests, &limits, &RULES));
    }
    let mut unique = Vec::new();
    for text in wrong {
        if !unique.contains(&text) {
            unique.push(text);
        }
    }
    unique
}

fn claim_violations(claim: &Value, range: &Value) -> Vec<String> {
    const KIND: &str = "PersistentVolumeClaim";
    let requests = Amounts::read(&claim["spec"]["resources"]["requests"]);
    let rules: [(&str, Rule); 2] = [("min", |b| b.minimum()), ("max", |b| b.maximum_request())];
    limits(range, KIND).flat_map(|item| violations(item, KIND, &requests, &Amounts::default(), &rules)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(kind: &str, item: Value) -> Value {
        let mut item = item;
        item["type"] = kind.into();
        json!({ "spec": { "limits": [item] } })
    }

    fn pod(requests: Value, limits: Value) -> Value {
        json!({ "spec": { "containers": [{ "name": "c", "resources": { "requests": requests, "limits": limits } }] } })
    }

    #[test]
    fn bounds() {
        let rows = [
            (
                json!({ "min": { "cpu": "100m" } }),
                pod(json!({}), json!({})),
                "minimum cpu usage per Container is 100m.  No request is specified",
            ),
            (
                json!({ "min": { "cpu": "100m" } }),
                pod(json!({ "cpu": "50m" }), json!({})),
                "minimum cpu usage per Container is 100m, but request is 50m",
            ),
            (
                json!({ "max": { "cpu": "1" } }),
                pod(json!({}), json!({})),
                "maximum cpu usage per Container is 1.  No limit is specified",
            ),
            (
                json!({ "max": { "cpu": "1" } }),
                pod(json!({ "cpu": "2" }), json!({ "cpu": "2" })),
                "maximum cpu usage per Container is 1, but limit is 2",
            ),
            (json!({ "max": { "cpu": "1" } }), pod(json!({ "cpu": "1" }), json!({ "cpu": "1" })), ""),
            (
                json!({ "maxLimitRequestRatio": { "memory": "3" } }),
                pod(json!({ "memory": "100M" }), json!({ "memory": "500M" })),
                "memory max limit to request ratio per Container is 3, but provided ratio is 5.000000",
            ),
            (
                json!({ "maxLimitRequestRatio": { "memory": "3" } }),
                pod(json!({}), json!({ "memory": "500M" })),
                "memory max limit to request ratio per Container is 3, but no request is specified or request is 0",
            ),
            (
                json!({ "min": { "cpu": "1" }, "max": { "memory": "1Gi" } }),
                pod(json!({ "cpu": "1m" }), json!({ "memory": "2Gi" })),
                "minimum cpu usage per Container is 1, but request is 1m; maximum memory usage per Container is 1Gi, but limit is 2Gi",
            ),
        ];
        for (item, pod, expected) in rows {
            assert_eq!(pod_violations(&pod, &range("Container", item.clone())).join("; "), expected, "{item} {pod}");
        }
        let two = json!({ "spec": { "containers": [
            { "resources": { "limits": { "cpu": "1" } } }, { "resources": { "limits": { "cpu": "1" } } }] } });
        assert_eq!(
            pod_violations(&two, &range("Pod", json!({ "max": { "cpu": "1500m" } }))),
            ["maximum cpu usage per Pod is 1500m, but limit is 2"]
        );
        let claim = json!({ "spec": { "resources": { "requests": { "storage": "20Gi" } } } });
        assert_eq!(
            claim_violations(&claim, &range("PersistentVolumeClaim", json!({ "max": { "storage": "10Gi" } }))),
            ["maximum storage usage per PersistentVolumeClaim is 10Gi, but request is 20Gi"]
        );
    }

    #[test]
    fn defaults_fill_what_is_not_said() {
        let item = json!({ "default": { "cpu": "1", "memory": "2Gi" }, "defaultRequest": { "cpu": "500m" } });
        let mut pod = pod(json!({ "cpu": "700m" }), json!({}));
        pod["spec"]["initContainers"] = json!([{ "name": "i" }]);
        apply_defaults(&mut pod, &range("Container", item));
        assert_eq!(
            pod["spec"]["containers"][0]["resources"],
            json!({ "requests": { "cpu": "700m" }, "limits": { "cpu": "1", "memory": "2Gi" } })
        );
        assert_eq!(
            pod["metadata"]["annotations"][ANNOTATION],
            "LimitRanger plugin set: cpu, memory limit for container c; cpu request for init container i; cpu, memory limit for init container i"
        );
    }
}
