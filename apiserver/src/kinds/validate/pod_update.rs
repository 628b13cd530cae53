//! What of a pod may change after its creation, through the object itself and through its subresources
//! (`ValidatePodUpdate`, `ValidatePodResize`, `ValidatePodEphemeralContainersUpdate`).

use std::collections::BTreeSet;

use schema::field::{Error, ErrorList, Path};
use serde_json::Value;

use super::super::json::Json;
use super::super::strategy::pod::qos_class;
use super::{same, spec};

/// What of a running pod's spec may change.
const ALLOWED: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

#[must_use]
pub fn pod(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    if new.at("spec") == old.at("spec") {
        return errors;
    }
    let path = spec();
    for list in ["containers", "initContainers"] {
        if new.at("spec").list(list).len() != old.at("spec").list(list).len() {
            errors.push(Error::forbidden(
                &path.child(list),
                if list == "containers" {
                    "pod updates may not add or remove containers"
                } else {
                    "pod updates may not add or remove init containers"
                },
            ));
            return errors;
        }
    }
    deadline(&mut errors, &path, new, old);
    tolerations(&mut errors, &path, new, old);
    gates(&mut errors, &path, new, old);

    let gated = !old.list("spec.schedulingGates").is_empty();
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
    if gated {
        // A gated pod has no node yet: it may still become more particular about which.
        for field in ["nodeSelector", "affinity"] {
            munged.take_from(field, before);
        }
    }
    if !same(&munged, before) {
        let changed: Vec<&String> = munged
            .entries("")
            .iter()
            .filter(|(name, value)| !same(value, before.at(name)))
            .map(|(name, _)| name)
            .chain(before.entries("").keys().filter(|name| !munged.has(name) && before.has(name)))
            .collect();
        let list = changed.iter().map(|name| format!("  spec.{name}\n")).collect::<String>();
        errors.push(Error::forbidden(&path, format!("{ALLOWED}\n{list}")));
    }
    errors
}

fn deadline(errors: &mut ErrorList, path: &Path, new: &Value, old: &Value) {
    let field = "spec.activeDeadlineSeconds";
    let at = path.child("activeDeadlineSeconds");
    match (new.at(field).as_i64(), old.at(field).as_i64()) {
        (Some(new), Some(old)) if new > old => {
            errors.push(Error::invalid(&at, new, "must be less than or equal to previous value"));
        }
        (None, Some(_)) => {
            errors.push(Error::invalid(&at, Value::Null, "must not update from a positive integer to nil value"))
        }
        _ => {}
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
        errors.push(Error::forbidden(
            &path.child("tolerations"),
            "existing toleration can not be modified except its tolerationSeconds",
        ));
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

/// Ephemeral containers may be added; what is there stays.
#[must_use]
pub fn ephemeral_containers(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = spec().child("ephemeralContainers");
    let now = new.list("spec.ephemeralContainers");
    for before in old.list("spec.ephemeralContainers") {
        let name = before.text("name");
        match now.iter().position(|c| c.text("name") == name) {
            None => {
                let detail = format!("existing ephemeral containers {name:?} may not be removed\n");
                errors.push(Error::forbidden(&path, detail));
            }
            Some(i) if !same(&now[i], before) => {
                let detail = format!("existing ephemeral containers {name:?} may not be changed\n");
                errors.push(Error::forbidden(&path, detail));
            }
            Some(_) => {}
        }
    }
    let mut rest = new.at("spec").clone();
    rest.take_from("ephemeralContainers", old.at("spec"));
    if !same(&rest, old.at("spec")) {
        errors.push(Error::forbidden(&spec(), "only ephemeral containers may be changed here"));
    }
    errors
}

/// `resize` changes cpu and memory, and not so much that the QoS class would be another.
#[must_use]
pub fn resize(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    if qos_class(new) != qos_class(old) {
        errors.push(Error::invalid(
            &spec(),
            new.at("spec").clone(),
            "Pod QOS Class may not change as a result of resizing",
        ));
    }
    let mut rest = new.at("spec").clone();
    for list in ["containers", "initContainers"] {
        for (container, before) in rest.list_mut(list).iter_mut().zip(old.at("spec").list(list)) {
            for field in ["resources", "resizePolicy"] {
                container.take_from(field, before);
            }
        }
    }
    if !same(&rest, old.at("spec")) {
        errors.push(Error::forbidden(&spec(), "only cpu and memory resources are mutable"));
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
        assert_eq!(errors.len(), 1);
        assert!(
            errors[0].starts_with("spec: Forbidden: pod updates may not change fields other than `spec.containers")
        );
    }

    #[test]
    fn subresources_change_their_part() {
        let old = example();
        let mut new = old.clone();
        new["spec"]["ephemeralContainers"] = json!([{"name": "d", "image": "i"}]);
        assert_eq!(ephemeral_containers(&new, &old), vec![]);
        assert_eq!(ephemeral_containers(&old, &new).len(), 1);
        assert_eq!(pod(&new, &old).len(), 1);

        let mut new = old.clone();
        new["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "1"}});
        assert_eq!(resize(&new, &old).len(), 1, "best effort pods stay so");
        assert_eq!(resize(&new, &new), vec![]);
    }
}
