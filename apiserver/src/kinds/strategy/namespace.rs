//! Namespaces: the finalizer `kubernetes` keeps one until its content is gone, and a label carries its name.

use serde_json::{Value, json};

use super::super::json::Json;
use super::super::validate;
use super::super::{NameRule, Strategy};
use super::WITH_STATUS;

pub const NAMESPACE: Strategy = Strategy {
    name: NameRule::Label,
    default: Some(default),
    prepare_create: Some(prepare_create),
    prepare_update: Some(|new, old| {
        // Finalizers are taken away through the subresource `finalize` only.
        new.take_from("spec.finalizers", old);
        new.take_from("status", old);
    }),
    validate: Some(validate::system::namespace),
    validate_path: &[("status", validate::system::namespace_status)],
    ..WITH_STATUS
};

const NAME_LABEL: &str = "kubernetes.io/metadata.name";

fn default(namespace: &mut Value) {
    namespace.default_to("status.phase", "Active");
    let name = namespace.text("metadata.name").to_owned();
    if name.is_empty() {
        return;
    }
    if !namespace.at("metadata.labels").is_object() {
        namespace.put("metadata.labels", json!({}));
    }
    if let Some(labels) = namespace.at_mut("metadata.labels").and_then(Value::as_object_mut) {
        labels.insert(NAME_LABEL.to_owned(), name.into());
    }
}

fn prepare_create(namespace: &mut Value) {
    namespace.put("status", json!({"phase": "Active"}));
    let mut finalizers = namespace.list("spec.finalizers").to_vec();
    if !finalizers.iter().any(|f| f == "kubernetes") {
        finalizers.push("kubernetes".into());
    }
    namespace.put("spec.finalizers", finalizers);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_namespace() {
        let mut n = json!({"metadata": {"name": "x"}});
        default(&mut n);
        prepare_create(&mut n);
        assert_eq!(
            n,
            json!({"metadata": {"name": "x", "labels": {NAME_LABEL: "x"}}, "spec": {"finalizers": ["kubernetes"]},
                "status": {"phase": "Active"}})
        );
    }
}
