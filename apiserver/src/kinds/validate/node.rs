//! Nodes (`ValidateNode`, `ValidateNodeUpdate`). Most of it is asked of an update twice.

use schema::field::{Error, ErrorList, Path};
use serde_json::Value;

use super::super::json::Json;
use super::address::{self, cidr};
use super::{affinity, quantity_of, quota, spec};

#[must_use]
pub fn warnings(node: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    if node.has("spec.configSource") {
        warnings.push("spec.configSource: the feature is removed".to_owned());
    }
    if !node.text("spec.externalID").is_empty() {
        warnings.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned());
    }
    for (i, range) in node.texts("spec.podCIDRs").into_iter().enumerate() {
        warnings.extend(address::cidr_warnings(format_args!("spec.podCIDRs[{i}]"), range));
    }
    warnings
}

#[must_use]
pub fn node(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    taints(&mut errors, object);
    amounts(&mut errors, object);
    let (capacity, path) = ("status.nodeInfo.swap.capacity", Path::new("metadata").child("nodeSwapStatus"));
    if object.has(capacity) && object.int(capacity) < 1 {
        errors.push(Error::invalid(&path.child("capacity"), object.int(capacity), "must be greater than 0"));
    }
    features(&mut errors, object);
    let (path, ranges) = (spec().child("podCIDRs"), object.texts("spec.podCIDRs"));
    let parsed: Vec<_> = ranges.iter().enumerate().map(|(i, range)| cidr(&mut errors, &path.index(i), range)).collect();
    if ranges.len() > 1 {
        if let Some(wrong) = parsed.iter().position(Option::is_none) {
            let why = format!("invalid CIDR[{wrong}]: <nil> (invalid CIDR address: {})", ranges[wrong]);
            let detail = format!("invalid PodCIDRs. failed to check with dual stack with error:{why}");
            errors.push(Error::internal(&path, detail));
        }
        let sixes = ranges.iter().filter(|range| range.contains(':')).count();
        let both = parsed.iter().all(Option::is_some) && sixes > 0 && sixes < ranges.len();
        if !both || ranges.len() > 2 {
            let detail = "may specify no more than one CIDR for each IP family";
            errors.push(Error::invalid(&path, object.at("spec.podCIDRs").clone(), detail));
        }
    }
    errors
}

fn taints(errors: &mut ErrorList, node: &Value) {
    affinity::taints(errors, &Path::new("metadata").child("taints"), node.list("spec.taints"));
}

/// How much a node has of everything.
fn amounts(errors: &mut ErrorList, node: &Value) {
    for field in ["capacity", "allocatable"] {
        let path = Path::new("status").child(field);
        for (name, amount) in node.at("status").entries(field) {
            quantity_of(errors, &path.child(name), amount, quota::whole(name));
        }
    }
}

/// What a kubelet says it can do, such as `Feature` or `Feature/part`, in their order.
fn features(errors: &mut ErrorList, node: &Value) {
    const LENGTH: usize = 253;
    let (path, all) = (Path::new("status").child("declaredFeatures"), node.texts("status.declaredFeatures"));
    for (i, name) in all.iter().enumerate() {
        let quoted = schema::go::quote(name);
        if name.len() > LENGTH {
            let detail = format!("invalid feature name {quoted}: must be no more than {LENGTH} characters");
            errors.push(Error::invalid(&path.index(i), *name, detail));
        } else if !is_feature(name) {
            let detail = format!(
                "invalid feature name {quoted}: must start with an UpperCamelCase segment, with subsequent segments separated by \
                 '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"
            );
            errors.push(Error::invalid(&path.index(i), *name, detail));
        }
        match all.get(i + 1) {
            Some(next) if next == name => errors.push(Error::duplicate(&path.index(i + 1), *next)),
            Some(next) if *next < *name => {
                errors.push(Error::invalid(&path.index(i + 1), *next, "list must be sorted alphabetically"));
            }
            _ => {}
        }
    }
}

fn is_feature(name: &str) -> bool {
    let is_segment = |segment: &str| {
        segment.starts_with(|first: char| first.is_ascii_alphabetic())
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    name.starts_with(|first: char| first.is_ascii_uppercase()) && name.split('/').all(is_segment)
}

#[must_use]
pub fn update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    amounts(&mut errors, new);
    features(&mut errors, new);
    let mut seen = std::collections::BTreeSet::new();
    for (i, address) in new.list("status.addresses").iter().enumerate() {
        if !seen.insert((address.text("type"), address.text("address"))) {
            let path = Path::new("status").child("addresses").index(i);
            errors.push(Error::duplicate(&path, address.clone()));
        }
    }
    let path = spec();
    let (now, then) = (new.list("spec.podCIDRs"), old.list("spec.podCIDRs"));
    let others = if now.len() == then.len() { now.iter().zip(then).filter(|(a, b)| a != b).count() } else { 1 };
    for _ in (0..others).take_while(|_| !then.is_empty()) {
        let detail = "node updates may not change podCIDR except from \"\" to valid";
        errors.push(Error::forbidden(&path.child("podCIDRs"), detail));
    }
    let (now, then) = (new.text("spec.providerID"), old.text("spec.providerID"));
    if !then.is_empty() && now != then {
        let detail = "node updates may not change providerID except from \"\" to valid";
        errors.push(Error::forbidden(&path.child("providerID"), detail));
    }
    taints(&mut errors, new);
    if new.text("spec.externalID") != old.text("spec.externalID") {
        errors.push(Error::forbidden(&path.child("externalID"), "may not be updated"));
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::texts;
    use super::*;

    #[test]
    fn taints_and_ranges() {
        let object = json!({"spec": {"podCIDRs": ["11.0.1.0/24"], "taints": [{"key": "a", "effect": "Never"}]}});
        let effect = "metadata.taints[0].effect: Unsupported value: \"Never\": supported values: \"NoSchedule\", \
                      \"PreferNoSchedule\", \"NoExecute\"";
        assert_eq!(texts(&node(&object)), [effect]);
        let old = json!({"spec": {"podCIDRs": ["11.0.1.0/24"]}});
        let new = json!({"spec": {"podCIDRs": ["11.0.2.0/24"], "externalID": "x"}});
        assert_eq!(
            texts(&update(&new, &old)),
            [
                "spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid",
                "spec.externalID: Forbidden: may not be updated"
            ]
        );
        for (ranges, expected) in [
            (json!(["11.0.1.0/24", "fd00::/64"]), vec![]),
            (
                json!(["11.0.1.0/24", "11.0.2.0/24"]),
                vec![
                    "spec.podCIDRs: Invalid value: [\"11.0.1.0/24\",\"11.0.2.0/24\"]: may specify no more than one CIDR for each IP \
                 family",
                ],
            ),
            (
                json!(["11.0.1.0/24", "x"]),
                vec![
                    "spec.podCIDRs[1]: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
                    "spec.podCIDRs: Internal error: invalid PodCIDRs. failed to check with dual stack with error:invalid CIDR[1]: \
                 <nil> (invalid CIDR address: x)",
                    "spec.podCIDRs: Invalid value: [\"11.0.1.0/24\",\"x\"]: may specify no more than one CIDR for each IP family",
                ],
            ),
        ] {
            assert_eq!(texts(&node(&json!({"spec": {"podCIDRs": ranges}}))), expected);
        }
    }

    #[test]
    fn what_a_status_says() {
        let check = |status: Value| texts(&update(&json!({ "status": status }), &json!({})));
        assert_eq!(
            check(json!({"capacity": {"pods": "1500m", "cpu": "-1"}})),
            [
                "status.capacity.cpu: Invalid value: \"-1\": must be greater than or equal to 0",
                "status.capacity.pods: Invalid value: \"1500m\": must be an integer"
            ]
        );
        assert!(check(json!({"declaredFeatures": ["A", "B/part"]})).is_empty());
        let found = check(json!({"declaredFeatures": ["B", "A", "A", "a"]}));
        assert_eq!(found[0], "status.declaredFeatures[1]: Invalid value: \"A\": list must be sorted alphabetically");
        assert_eq!(found[1], "status.declaredFeatures[2]: Duplicate value: \"A\"");
        assert!(
            found[2].starts_with("status.declaredFeatures[3]: Invalid value: \"a\": invalid feature name \"a\": must")
        );
        let twice = json!({"addresses": [{"type": "Hostname", "address": "a"}, {"type": "Hostname", "address": "a"}]});
        assert_eq!(check(twice), ["status.addresses[1]: Duplicate value: {\"address\":\"a\",\"type\":\"Hostname\"}"]);
    }
}
