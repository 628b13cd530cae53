//! CustomResourceDefinitions and APIServices (`apiextensions/v1/defaults.go`, `apiregistration/v1/defaults.go`).

use serde_json::{Value, json};

use super::super::json::Json;
use super::super::validate;
use super::super::{NameRule, Strategy};
use super::{METADATA, SPEC_AND_STATUS, WITH_STATUS, webhook};
use crate::registry::object::now;

pub const DEFINITION: Strategy = Strategy {
    unconditional_update: false,
    default: Some(default),
    prepare_create: Some(prepare_create),
    prepare_update: Some(|new, old| {
        drop_preserve(new);
        new.take_from("status", old);
        store(new);
    }),
    validate_create: Some(validate::definition::definition),
    warnings: Some(warnings),
    validate_update: Some(validate::definition::definition_update),
    validate_path: &[("status", validate::definition::definition_status)],
    ..SPEC_AND_STATUS
};

pub const API_SERVICE: Strategy = Strategy {
    status_keeps: METADATA,
    // `v1.` is the one of the core group.
    name: NameRule::PathSegment,
    unconditional_update: false,
    default: Some(|object| webhook::default_port(object, "spec.service")),
    prepare_create: Some(|service| {
        if service.at("spec.service").is_null() {
            let condition = json!({"type": "Available", "status": "True", "lastTransitionTime": now(), "reason": "Local",
                "message": "Local APIServices are always available"});
            service.put("status", json!({ "conditions": [condition] }));
        }
    }),
    validate: Some(validate::api_service::api_service),
    validate_path: &[("status", validate::api_service::api_service_status)],
    ..WITH_STATUS
};

fn default(definition: &mut Value) {
    let kind = definition.text("spec.names.kind").to_owned();
    if !kind.is_empty() {
        definition.default_to("spec.names.singular", kind.to_lowercase());
        definition.default_to("spec.names.listKind", format!("{kind}List"));
    }
    definition.default_to("spec.conversion", json!({"strategy": "None"}));
    let webhook = definition.at("spec.conversion.webhook");
    if webhook.is_object() && !webhook.has("clientConfig") && webhook.list("conversionReviewVersions").is_empty() {
        // The internal type has no place for one that says nothing.
        definition.remove("spec.conversion.webhook");
    }
    webhook::default_port(definition, "spec.conversion.webhook.clientConfig.service");
    if definition.list("status.storedVersions").is_empty() {
        store(definition);
    }
}

/// Formats that are kept but never checked.
fn warnings(definition: &Value) -> Vec<String> {
    let mut formats = std::collections::BTreeSet::new();
    for version in definition.list("spec.versions") {
        unrecognized(version.at("schema.openAPIV3Schema"), &mut formats);
    }
    formats.into_iter().map(|format| format!("unrecognized format {format:?}")).collect()
}

fn unrecognized<'a>(schema: &'a Value, formats: &mut std::collections::BTreeSet<&'a str>) {
    let (ty, format) = (schema.text("type"), schema.text("format"));
    if !format.is_empty() && !schema::crd::format::is_known(ty, format) {
        formats.insert(format);
    }
    let properties = schema.entries("properties").values();
    let single = ["items", "additionalProperties", "not"].map(|name| schema.at(name));
    let several = ["allOf", "anyOf", "oneOf"].into_iter().flat_map(|name| schema.list(name));
    for below in properties.chain(single).chain(several).filter(|below| below.is_object()) {
        unrecognized(below, formats);
    }
}

fn prepare_create(definition: &mut Value) {
    drop_preserve(definition);
    let names = json!({"plural": "", "kind": ""});
    definition.put("status", json!({"conditions": null, "acceptedNames": names, "storedVersions": []}));
    store(definition);
}

/// The storage version is used from the moment the definition says so.
fn store(definition: &mut Value) {
    let storage = definition.list("spec.versions").iter().find(|version| version.yes("storage"));
    let Some(name) = storage.map(|version| version.text("name").to_owned()) else { return };
    let mut stored = definition.list("status.storedVersions").to_vec();
    if !stored.iter().any(|version| *version == name) {
        stored.push(name.into());
        definition.put("status.storedVersions", stored);
    }
}

/// `preserveUnknownFields: false` is what v1 means by saying nothing.
fn drop_preserve(definition: &mut Value) {
    if definition.at("spec.preserveUnknownFields") == &json!(false) {
        definition.remove("spec.preserveUnknownFields");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_derived() {
        let mut crd = json!({"spec": {"names": {"plural": "greetings", "kind": "Greeting"},
            "versions": [{"name": "v1", "storage": true}]}});
        default(&mut crd);
        prepare_create(&mut crd);
        assert_eq!(
            crd["spec"]["names"],
            json!({"plural": "greetings", "kind": "Greeting", "singular": "greeting", "listKind": "GreetingList"})
        );
        assert_eq!(crd["spec"]["conversion"], json!({"strategy": "None"}));
        assert_eq!(crd["status"]["storedVersions"], json!(["v1"]));
    }
}
