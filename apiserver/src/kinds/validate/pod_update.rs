//! What of a pod may change after its creation, through the object itself and through `ephemeralcontainers`
//! (`ValidatePodUpdate`, `ValidatePodEphemeralContainersUpdate`).

use std::collections::BTreeSet;

use schema::field::{Error, ErrorList, Path};
use serde_json::Value;

use super::super::internal;
use super::super::json::Json;
use super::{pod_annotations, same, spec};

const SPEC: &str = "api.core.v1.PodSpec";
const EPHEMERAL: &str = "api.core.v1.EphemeralContainer";

/// What of a running pod's spec may change.
const ALLOWED: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

#[must_use]
pub fn pod(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    pod_annotations::update(&mut errors, new, old);
    let path = spec();
    for list in ["containers", "initContainers"] {
        if new.at("spec").list(list).len() != old.at("spec").list(list).len() {
            errors.push(Error::forbidden(&path.child(list), "pod updates may not add or remove containers"));
            return errors;
        }
    }
    if !deadline(&mut errors, &path, new, old) {
        return errors;
    }
    tolerations(&mut errors, &path, new, old);
    gates(&mut errors, &path, new, old);
    if internal::same(new.at("spec"), old.at("spec"), SPEC) {
        return errors;
    }

    let mut munged = new.at("spec").clone();
    let before = old.at("spec");
    for list in ["containers", "initContainers"] {
        for (container, old) in munged.list_mut(list).iter_mut().zip(before.list(list)) {
            container.take_from("image", old);
        }
    }
    for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        munged.take_from(field, before);
    }
    if before.int("terminationGracePeriodSeconds") < 0 && munged.int("terminationGracePeriodSeconds") == 1 {
        munged.take_from("terminationGracePeriodSeconds", before);
    }
    if !before.list("schedulingGates").is_empty() {
        gated(&mut errors, &mut munged, before);
    }
    if !internal::same(&munged, before, SPEC) {
        let diff = internal::diff(before, &munged, SPEC);
        errors.push(Error::forbidden(&path, format!("{ALLOWED}\n{diff}")));
    }
    errors
}

/// Whether the rest is worth a look.
fn deadline(errors: &mut ErrorList, path: &Path, new: &Value, old: &Value) -> bool {
    let field = "spec.activeDeadlineSeconds";
    let at = path.child("activeDeadlineSeconds");
    match (new.at(field).as_i64(), old.at(field).as_i64()) {
        (Some(new), _) if !(0..=i64::from(i32::MAX)).contains(&new) => {
            errors.push(Error::invalid(&at, new, "must be between 0 and 2147483647, inclusive"));
            false
        }
        (Some(new), Some(old)) if new > old => {
            errors.push(Error::invalid(&at, new, "must be less than or equal to previous value"));
            false
        }
        (None, Some(_)) => {
            errors.push(Error::invalid(&at, Value::Null, "must not update from a positive integer to nil value"));
            true
        }
        _ => true,
    }
}

fn tolerations(errors: &mut ErrorList, path: &Path, new: &Value, old: &Value) {
    let now = new.list("spec.tolerations");
    let timeless = |t: &Value| {
        let mut t = t.clone();
        t.remove("tolerationSeconds");
        t
    };
    let kept = old.list("spec.tolerations").iter().all(|t| {
        let t = timeless(t);
        now.iter().any(|n| same(&timeless(n), &t))
    });
    if !kept {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(Error::forbidden(&path.child("tolerations"), detail));
    }
}

fn gates(errors: &mut ErrorList, path: &Path, new: &Value, old: &Value) {
    let known: BTreeSet<&str> = old.list("spec.schedulingGates").iter().map(|g| g.text("name")).collect();
    for (i, gate) in new.list("spec.schedulingGates").iter().enumerate() {
        let name = gate.text("name");
        if !known.contains(name) {
            let at = path.child("schedulingGates").index(i).child("name");
            let detail = "only deletion is allowed, but found new scheduling gate";
            errors.push(Error::forbidden(&at, format!("{detail} '{name}'")));
        }
    }
}

/// A gated pod has no node yet: it may still become more particular about which. What changed so is taken back in `munged`.
fn gated(errors: &mut ErrorList, munged: &mut Value, before: &Value) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    let path = spec();
    let selector = munged.at("nodeSelector").clone();
    if before.entries("nodeSelector").iter().any(|(key, value)| selector.get(key) != Some(value)) {
        let detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.push(Error::invalid(&path.child("nodeSelector"), selector, detail));
    }
    munged.take_from("nodeSelector", before);

    let (now, then) = (munged.at("affinity.nodeAffinity").clone(), before.at("affinity.nodeAffinity"));
    if same(&now, then) {
        return;
    }
    let at = path.child("affinity").child("nodeAffinity").child(REQUIRED).child("nodeSelectorTerms");
    let terms = |affinity: &Value| affinity.at(REQUIRED).at("nodeSelectorTerms").clone();
    let (terms, before_terms) = (terms(&now), terms(then));
    let (new, old) = (terms.list(""), before_terms.list(""));
    if !old.is_empty() && old.len() != new.len() {
        let shown = internal::compact(&terms, "[]api.core.v1.NodeSelectorTerm");
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        errors.push(Error::invalid_as(&at, shown, detail));
    } else {
        for (i, (new, old)) in new.iter().zip(old).enumerate() {
            if !only_adds(new, old) {
                let detail = "only additions are allowed (no mutations or deletions)";
                errors.push(Error::invalid_as(
                    &at.index(i),
                    internal::compact(new, "api.core.v1.NodeSelectorTerm"),
                    detail,
                ));
            }
        }
    }
    let others = ["podAffinity", "podAntiAffinity"].iter().any(|field| munged.at("affinity").has(field));
    match (munged.has("affinity"), before.has("affinity")) {
        (false, true) => munged.put("affinity", serde_json::json!({ "nodeAffinity": then })),
        (true, false) if !others => munged.remove("affinity"),
        _ => {
            let mut affinity = munged.at("affinity").clone();
            affinity.take_from("nodeAffinity", before.at("affinity"));
            munged.put("affinity", affinity);
        }
    }
}

/// A term that says nothing selects nothing, and what is added to it would select more.
fn only_adds(new: &Value, old: &Value) -> bool {
    const LISTS: [&str; 2] = ["matchExpressions", "matchFields"];
    if LISTS.iter().all(|list| old.list(list).is_empty()) {
        return LISTS.iter().all(|list| new.list(list).is_empty());
    }
    LISTS.iter().all(|list| {
        let (new, old) = (new.list(list), old.list(list));
        new.len() >= old.len() && new.iter().zip(old).all(|(new, old)| same(new, old))
    })
}

/// Ephemeral containers may be added; what is there stays.
#[must_use]
pub fn ephemeral_containers(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    if pod_annotations::is_mirror(old) {
        errors.push(Error::forbidden(&super::unnamed(), "static pods do not support ephemeral containers"));
        return errors;
    }
    let path = spec().child("ephemeralContainers");
    let now = new.list("spec.ephemeralContainers");
    for before in old.list("spec.ephemeralContainers") {
        let name = before.text("name");
        match now.iter().rfind(|container| container.text("name") == name) {
            None => {
                let detail = format!("existing ephemeral containers {name:?} may not be removed\n");
                errors.push(Error::forbidden(&path, detail));
            }
            Some(now) if !internal::same(now, before, EPHEMERAL) => {
                let diff = internal::diff(before, now, EPHEMERAL);
                let detail = format!("existing ephemeral containers {name:?} may not be changed\n{diff}");
                errors.push(Error::forbidden(&path, detail));
            }
            Some(_) => {}
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::strategy::pod::POD;
    use super::super::texts;
    use super::*;

    fn example() -> Value {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "i"}]}});
        POD.default.unwrap()(&mut pod);
        pod
    }

    #[test]
    fn a_pod_hardly_changes() {
        let old = example();
        let mut new = old.clone();
        new["spec"]["containers"][0]["image"] = json!("j");
        new["spec"]["tolerations"] = json!([{"key": "k", "operator": "Exists"}]);
        assert_eq!(pod(&new, &old), vec![]);
        new["spec"]["containers"][0]["command"] = json!(["x"]);
        let errors = texts(&pod(&new, &old));
        let expected = "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,\
                        `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
                        tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously \
                        negative)\n@@ -5,7 +5,9 @@\n   {\n    \"Name\": \"a\",\n    \"Image\": \"i\",\n-   \"Command\": null,\n+   \
                        \"Command\": [\n+    \"x\"\n+   ],\n    \"Args\": null,\n    \"WorkingDir\": \"\",\n    \"Ports\": null,\n";
        assert_eq!(errors, [expected]);
    }

    #[test]
    fn what_one_field_says() {
        let spec = |field: &str, value: Value| {
            let mut pod = example();
            pod["spec"][field] = value;
            pod
        };
        let term = |key: &str| {
            json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms":
                [{"matchExpressions": [{"key": key, "operator": "Exists"}]}]}}})
        };
        for (field, old, new, expected) in [
            ("activeDeadlineSeconds", json!(5), json!(4), ""),
            (
                "activeDeadlineSeconds",
                json!(5),
                json!(6),
                "activeDeadlineSeconds: Invalid value: 6: must be less than or equal to previous value",
            ),
            (
                "activeDeadlineSeconds",
                json!(5),
                json!(null),
                "activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value",
            ),
            (
                "initContainers",
                json!([{"name": "b"}]),
                json!([]),
                "initContainers: Forbidden: pod updates may not add or remove containers",
            ),
            (
                "tolerations",
                json!([{"key": "a"}]),
                json!([]),
                "tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds",
            ),
            (
                "schedulingGates",
                json!([]),
                json!([{"name": "a"}]),
                "schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'a'",
            ),
            ("terminationGracePeriodSeconds", json!(-1), json!(1), ""),
            ("nodeSelector", json!({"a": "b"}), json!({"a": "b", "c": "d"}), ""),
            (
                "nodeSelector",
                json!({"a": "b"}),
                json!({}),
                "nodeSelector: Invalid value: {}: only additions to spec.nodeSelector are allowed (no mutations or deletions)",
            ),
            ("affinity", json!(null), term("a"), ""),
            (
                "affinity",
                term("a"),
                term("b"),
                "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]: Invalid value: {\"MatchExpressions\":[{\"Key\":\"b\",\"Operator\":\"Exists\",\"Values\":null}],\"MatchFields\":null}: only additions are allowed (no mutations or deletions)",
            ),
            (
                "affinity",
                term("a"),
                json!(null),
                "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Invalid value: null: no additions/deletions to non-empty NodeSelectorTerms list are allowed",
            ),
        ] {
            let (mut old, mut new) = (spec(field, old), spec(field, new));
            if matches!(field, "nodeSelector" | "affinity") {
                for pod in [&mut old, &mut new] {
                    pod["spec"]["schedulingGates"] = json!([{"name": "g"}]);
                }
            }
            let expected = if expected.is_empty() { vec![] } else { vec![format!("spec.{expected}")] };
            assert_eq!(texts(&pod(&new, &old)), expected, "{field}");
        }
    }

    #[test]
    fn ephemeral_containers_stay() {
        let mut old = example();
        old["spec"]["ephemeralContainers"] = json!([{"name": "d", "image": "i"}]);
        let mut new = old.clone();
        new["spec"]["ephemeralContainers"] = json!([{"name": "d", "image": "j"}]);
        let errors = texts(&ephemeral_containers(&new, &old));
        let expected = "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"d\" may not be changed\n@@ -1,6 +1,6 \
                        @@\n {\n  \"Name\": \"d\",\n- \"Image\": \"i\",\n+ \"Image\": \"j\",\n  \"Command\": null,\n  \"Args\": \
                        null,\n  \"WorkingDir\": \"\",\n";
        assert_eq!(errors, [expected]);
        let removed = "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"d\" may not be removed\n";
        assert_eq!(texts(&ephemeral_containers(&example(), &old)), [removed]);
    }
}
