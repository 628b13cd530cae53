//! How much a pod and its containers ask for (`validateResourceRequirements`, `validatePodResources`,
//! `validatePodResourceClaims`).

use std::collections::BTreeSet;

use quota::Amounts;
use schema::field::{Error, ErrorList, Path};
use schema::names;
use schema::quantity::Quantity;
use serde_json::{Value, json};

use super::super::internal;
use super::super::json::Json;
use super::resource_name::{self, PAGES};
use super::{NOT_NEGATIVE, named, quantity_text, required_one_of};

/// What may be asked for: of a container it is not the same as of a whole pod.
type NameRule = fn(&mut ErrorList, &Path, &str);

/// Resources that are counted rather than measured, besides those with a domain.
const COUNTED: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

/// A container's.
pub fn of_container(errors: &mut ErrorList, path: &Path, resources: &Value, spec: &Value) {
    requirements(errors, path, resources, resource_name::of_container);
    claims_used(errors, &path.child("claims"), resources.list("claims"), spec);
}

/// What a pod costs beside its containers: as if it were the limits of one.
pub fn overhead(errors: &mut ErrorList, path: &Path, amounts: &Value) {
    requirements(errors, path, &json!({ "limits": amounts }), resource_name::of_container);
}

/// The whole pod's.
pub fn of_pod(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let (path, resources) = (path.child("resources"), spec.at("resources"));
    if resources.is_null() {
        return;
    }
    if spec.text("os.name") == "windows" {
        errors.push(Error::forbidden(&path, "may not be set for a windows pod"));
        return;
    }
    if resources.has("claims") {
        let detail = "claims may not be set for Resources at pod-level";
        errors.push(Error::forbidden(&path.child("claims"), detail));
    }
    requirements(errors, &path, resources, resource_name::of_pod);
    claims_used(errors, &path.child("claims"), resources.list("claims"), spec);
    enough_for_containers(errors, &path, spec);
}

fn requirements(errors: &mut ErrorList, path: &Path, resources: &Value, rule: NameRule) {
    let (limits, requests) = (resources.entries("limits"), resources.entries("requests"));
    for (name, value) in limits {
        let at = path.child("limits").key(name);
        rule(errors, &at, name);
        if let Some(limit) = amount(errors, &at, name, value) {
            whole_pages(errors, &at, name, &limit);
        }
    }
    for (name, value) in requests {
        let at = path.child("requests").key(name);
        rule(errors, &at, name);
        if let Some(asked) = amount(errors, &at, name, value) {
            within_limit(errors, path, name, &asked, limits.get(name));
            whole_pages(errors, &at, name, &asked);
        }
    }
    let any = |of: fn(&str) -> bool| limits.keys().chain(requests.keys()).any(|name| of(name));
    if any(|name| name.starts_with(PAGES)) && !any(|name| matches!(name, "cpu" | "memory")) {
        errors.push(Error::forbidden(path, "HugePages require cpu or memory"));
    }
}

/// How much of a resource; what can only be had in whole is asked for in whole.
fn amount(errors: &mut ErrorList, path: &Path, name: &str, value: &Value) -> Option<Quantity> {
    let text = quantity_text(value);
    let amount = match Quantity::parse(&text) {
        Ok(amount) => amount,
        Err(error) => {
            errors.push(Error::invalid(path, text, error.to_string()));
            return None;
        }
    };
    if amount.is_negative() {
        errors.push(Error::invalid(path, amount.to_string(), NOT_NEGATIVE));
    }
    if (COUNTED.contains(&name) || resource_name::is_extended(name)) && !amount.is_whole() {
        errors.push(Error::invalid(path, amount.to_string(), "must be an integer"));
    }
    Some(amount)
}

/// Resources of Kubernetes itself may be promised more than once; others, and large pages, may not.
fn overcommits(name: &str) -> bool {
    resource_name::is_native(name) && !name.starts_with(PAGES)
}

fn within_limit(errors: &mut ErrorList, path: &Path, name: &str, asked: &Quantity, limit: Option<&Value>) {
    let Some(limit) = limit else {
        if !overcommits(name) {
            let detail = "Limit must be set for non overcommitable resources";
            errors.push(Error::required(&path.child("limits"), detail));
        }
        return;
    };
    let Ok(limit) = Quantity::parse(&quantity_text(limit)) else { return };
    let rule = if *asked != limit && !overcommits(name) {
        "must be equal to"
    } else if *asked > limit {
        "must be less than or equal to"
    } else {
        return;
    };
    let detail = format!("{rule} {name} limit of {limit}");
    errors.push(Error::invalid(&path.child("requests"), asked.to_string(), detail));
}

/// Large pages are had as a whole.
fn whole_pages(errors: &mut ErrorList, path: &Path, name: &str, amount: &Quantity) {
    let Some(size) = name.strip_prefix(PAGES) else { return };
    let size = Quantity::parse(size).ok().filter(Quantity::is_whole).map_or(0, |size| size.value());
    if size <= 0 || amount.value() % size != 0 {
        let detail = format!("{amount} is not positive integer multiple of {name}");
        errors.push(Error::invalid(path, amount.to_string(), detail));
    }
}

/// What a pod as a whole asks for is at least what its containers do, and none of them has a higher limit.
fn enough_for_containers(errors: &mut ErrorList, path: &Path, spec: &Value) {
    for (field, only_pages) in [("requests", false), ("limits", true)] {
        let given = Amounts::read(spec.at("resources").at(field));
        let needed = quota::resources::of_containers(spec, field);
        for (name, sum) in needed.iter().filter(|(name, _)| !only_pages || name.starts_with(PAGES)) {
            if let Some(given) = given.get(name).filter(|given| sum > *given) {
                let detail = format!("must be greater than or equal to aggregate container {field} of {sum}");
                errors.push(Error::invalid(&path.child(field).key(name), given.to_string(), detail));
            }
        }
    }
    let given = Amounts::read(spec.at("resources.limits"));
    for (i, container) in spec.list("containers").iter().enumerate() {
        for (name, limit) in Amounts::read(container.at("resources.limits")).iter() {
            if let Some(given) = given.get(name).filter(|given| limit > *given) {
                let at = path.child("containers").index(i).key(name).child("limits");
                let detail = format!("must be less than or equal to pod limits of {given}");
                errors.push(Error::invalid(&at, limit.to_string(), detail));
            }
        }
    }
}

/// The devices a container shares with others of its pod, or a request of them.
fn claims_used(errors: &mut ErrorList, path: &Path, claims: &[Value], spec: &Value) {
    let known: BTreeSet<&str> =
        spec.list("resourceClaims").iter().map(|claim| claim.text("name")).filter(|name| !name.is_empty()).collect();
    let mut seen = BTreeSet::new();
    for (i, claim) in claims.iter().enumerate() {
        let (path, name, request) = (path.index(i), claim.text("name"), claim.text("request"));
        if name.is_empty() {
            errors.push(Error::required(&path, ""));
            continue;
        }
        if seen.contains(name) {
            errors.push(Error::duplicate(&path, name));
        } else {
            claim_used_once(errors, &path, name, request, &mut seen);
        }
        if !known.contains(name) {
            let mut error = Error::not_found(&path, name);
            error.detail = if known.is_empty() {
                "must be one of the names in pod.spec.resourceClaims which is empty".to_owned()
            } else {
                let known: Vec<&str> = known.iter().copied().collect();
                format!("must be one of the names in pod.spec.resourceClaims: {}", known.join(", "))
            };
            errors.push(error);
        }
    }
}

/// A request of a claim is used once, and not beside the whole of the claim.
fn claim_used_once(errors: &mut ErrorList, path: &Path, name: &str, request: &str, seen: &mut BTreeSet<String>) {
    let key = if request.is_empty() {
        let parts = seen.iter().filter(|key| key.split_once('/').is_some_and(|(claim, _)| claim == name)).count();
        errors.extend(std::iter::repeat_n(Error::duplicate(path, name), parts));
        name.to_owned()
    } else {
        named(errors, &path.child("request"), request, names::dns1123_label);
        format!("{name}/{request}")
    };
    if !seen.insert(key.clone()) {
        errors.push(Error::duplicate(path, key));
    }
}

/// The devices of a pod: each claim is named once, and is either there or made from a template.
pub fn claims(errors: &mut ErrorList, path: &Path, claims: &[Value], in_mirror: bool) {
    let mut seen = BTreeSet::new();
    for (i, claim) in claims.iter().enumerate() {
        if in_mirror {
            errors.push(Error::forbidden(&super::unnamed(), "static pods do not support resource claims"));
            continue;
        }
        let (path, name) = (path.index(i), claim.text("name"));
        if name.is_empty() {
            errors.push(Error::required(&path.child("name"), ""));
        } else if !seen.insert(name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        } else {
            named(errors, &path.child("name"), name, names::dns1123_label);
        }
        claim_source(errors, &path, claim);
    }
}

fn claim_source(errors: &mut ErrorList, path: &Path, claim: &Value) {
    const SOURCES: [&str; 2] = ["resourceClaimName", "resourceClaimTemplateName"];
    let given: Vec<&str> = SOURCES.into_iter().filter(|source| claim.has(source)).collect();
    let detail = match given.len() {
        0 => "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
        1 => "",
        _ => "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
    };
    if !detail.is_empty() {
        errors.push(Error::invalid_as(path, internal::compact(claim, "api.core.v1.PodResourceClaim"), detail));
    }
    for source in given {
        named(errors, &path.child(source), claim.text(source), names::dns1123_subdomain);
    }
}

/// What becomes of a container when its resources change; upstream does not count the rules.
pub fn resize_policy(errors: &mut ErrorList, path: &Path, rules: &[Value], restart: &str) {
    let mut seen = BTreeSet::new();
    for (i, rule) in rules.iter().enumerate() {
        let (resource, policy) = (rule.text("resourceName"), rule.text("restartPolicy"));
        if !seen.insert(resource) {
            errors.push(Error::duplicate(&path.index(i), resource));
        }
        required_one_of(errors, path, resource, &["cpu", "memory"]);
        required_one_of(errors, path, policy, &["NotRequired", "RestartContainer"]);
        if restart == "Never" && policy != "NotRequired" {
            let detail = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            errors.push(Error::invalid(path, policy, detail));
        }
    }
}

/// An init container that ends is not restarted for its resources' sake.
pub fn resize_of_init_container(errors: &mut ErrorList, path: &Path, rules: &[Value]) {
    for (i, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.text("restartPolicy") == "RestartContainer") {
        let detail = "must not be set to 'RestartContainer' for non-sidecar initContainers";
        errors.push(Error::invalid(&path.index(i).child("restartPolicy"), rule.text("restartPolicy"), detail));
    }
}

#[cfg(test)]
mod tests {
    use super::super::texts;
    use super::*;

    #[test]
    fn amounts() {
        for (resources, expected) in [
            (json!({"limits": {"cpu": "1"}, "requests": {"cpu": "500m"}}), vec![]),
            (
                json!({"limits": {"cpu": "-1"}, "requests": {"cpu": "1000m"}}),
                vec![
                    "r.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
                    "r.requests: Invalid value: \"1\": must be less than or equal to cpu limit of -1",
                ],
            ),
            (
                json!({"limits": {"a.b/c": "1.5"}}),
                vec!["r.limits[a.b/c]: Invalid value: \"1500m\": must be an integer"],
            ),
            (
                json!({"limits": {"a.b/c": "2"}, "requests": {"a.b/c": "1"}}),
                vec!["r.requests: Invalid value: \"1\": must be equal to a.b/c limit of 2"],
            ),
            (
                json!({"limits": {"hugepages-2Mi": "3Mi"}}),
                vec![
                    "r.limits[hugepages-2Mi]: Invalid value: \"3Mi\": 3Mi is not positive integer multiple of hugepages-2Mi",
                    "r: Forbidden: HugePages require cpu or memory",
                ],
            ),
        ] {
            let mut errors = ErrorList::new();
            of_container(&mut errors, &Path::new("r"), &resources, &json!({}));
            assert_eq!(texts(&errors), expected);
        }
        let mut errors = ErrorList::new();
        overhead(&mut errors, &Path::new("overhead"), &json!({"a": "1"}));
        assert!(errors.iter().all(|error| error.field.to_string() == "overhead.limits[a]") && errors.len() == 2);
    }

    #[test]
    fn claims_are_used_once() {
        let spec = json!({"resourceClaims": [{"name": "b"}, {"name": "a"}]});
        let used = |name: &str, request: &str| json!({"name": name, "request": request});
        for (claims, expected) in [
            (vec![used("a", "r"), used("a", "s"), used("b", "")], vec![]),
            (vec![used("a", "r"), used("a", "r")], vec!["r.claims[1]: Duplicate value: \"a/r\""]),
            (vec![used("a", ""), used("a", "R b")], vec!["r.claims[1]: Duplicate value: \"a\""]),
            (
                vec![used("a", "r"), used("a", "s"), used("a", "")],
                vec!["r.claims[2]: Duplicate value: \"a\"", "r.claims[2]: Duplicate value: \"a\""],
            ),
            (
                vec![used("", "R b"), used("c", "")],
                vec![
                    "r.claims[0]: Required value",
                    "r.claims[1]: Not found: \"c\": must be one of the names in pod.spec.resourceClaims: a, b",
                ],
            ),
        ] {
            let mut errors = ErrorList::new();
            of_container(&mut errors, &Path::new("r"), &json!({ "claims": claims }), &spec);
            assert_eq!(texts(&errors), expected);
        }
    }

    #[test]
    fn of_whole_pods() {
        let container =
            json!({"resources": {"limits": {"cpu": "3", "hugepages-2Mi": "4Mi"}, "requests": {"cpu": "2"}}});
        let spec = |resources: Value, os: &str| json!({"os": {"name": os}, "resources": resources, "containers": [container, container]});
        for (spec, expected) in [
            (spec(json!(null), "windows"), vec![]),
            (spec(json!({}), "windows"), vec!["resources: Forbidden: may not be set for a windows pod"]),
            (
                spec(json!({"claims": [], "requests": {"ephemeral-storage": "1"}}), ""),
                vec![
                    "resources.claims: Forbidden: claims may not be set for Resources at pod-level",
                    "resources.requests[ephemeral-storage]: Unsupported value: \"ephemeral-storage\": supported values: \
                     \"cpu\", \"hugepages-\", \"memory\"",
                ],
            ),
            (
                spec(json!({"requests": {"cpu": "2"}, "limits": {"cpu": "2", "hugepages-2Mi": "6Mi"}}), ""),
                vec![
                    "resources.requests[cpu]: Invalid value: \"2\": must be greater than or equal to aggregate container \
                     requests of 4",
                    "resources.limits[hugepages-2Mi]: Invalid value: \"6Mi\": must be greater than or equal to aggregate \
                     container limits of 8Mi",
                    "resources.containers[0][cpu].limits: Invalid value: \"3\": must be less than or equal to pod limits of 2",
                    "resources.containers[1][cpu].limits: Invalid value: \"3\": must be less than or equal to pod limits of 2",
                ],
            ),
        ] {
            let mut errors = ErrorList::new();
            of_pod(&mut errors, &Path::default(), &spec);
            assert_eq!(texts(&errors), expected);
        }
    }
}
