//! CustomResourceDefinitions and APIServices (`apiextensions/validation`). Whether a schema is structural is asked of the
//! schema crate.

use std::collections::BTreeSet;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::Value;

use super::super::json::Json;
use super::{immutable, named, one_of, required_name, required_one_of, spec};

#[must_use]
pub fn definition(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, body) = (spec(), object.at("spec"));
    let (plural, group) = (body.text("names.plural"), body.text("group"));
    let name = object.text("metadata.name");
    if name != format!("{plural}.{group}") {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        errors.push(Error::invalid(&Path::new("metadata").child("name"), name, detail));
    }
    group_name(&mut errors, &path.child("group"), group);
    required_one_of(&mut errors, &path.child("scope"), body.text("scope"), &["Cluster", "Namespaced"]);
    versions(&mut errors, &path.child("versions"), body);
    names_of(&mut errors, &path.child("names"), body.at("names"));
    conversion(&mut errors, &path.child("conversion"), body);
    if body.yes("preserveUnknownFields") {
        let detail =
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.push(Error::invalid(&path.child("preserveUnknownFields"), true, detail));
    }
    errors
}

fn group_name(errors: &mut ErrorList, path: &Path, group: &str) {
    if group.is_empty() {
        errors.push(Error::required(path, ""));
    } else if !group.contains('.') {
        errors.push(Error::invalid(path, group, "should be a domain with at least one dot"));
    } else {
        named(errors, path, group, names::dns1123_subdomain);
    }
}

fn versions(errors: &mut ErrorList, path: &Path, body: &Value) {
    let versions = body.list("versions");
    let mut seen = BTreeSet::new();
    let mut unique = true;
    for (i, version) in versions.iter().enumerate() {
        let at = path.index(i);
        let name = version.text("name");
        unique &= seen.insert(name);
        named(errors, &at.child("name"), name, names::dns1035_label);
        schema_of(errors, &at.child("schema").child("openAPIV3Schema"), version);
        let mut columns = BTreeSet::new();
        for (j, column) in version.list("additionalPrinterColumns").iter().enumerate() {
            printer_column(errors, &at.child("additionalPrinterColumns").index(j), column, &mut columns);
        }
        let scale = version.at("subresources.scale");
        if !scale.is_null() {
            for (field, root) in [("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")] {
                let at = at.child("subresources").child("scale").child(field);
                let text = scale.text(field);
                if text.is_empty() {
                    errors.push(Error::required(&at, ""));
                } else if !text.starts_with(root) {
                    let detail = format!("should be a json path under {}", root.trim_end_matches('.'));
                    errors.push(Error::invalid(&at, text, detail));
                }
            }
        }
    }
    if !unique {
        errors.push(Error::invalid(path, versions.to_vec(), "must contain unique version names"));
    }
    if versions.iter().filter(|v| v.yes("storage")).count() != 1 {
        let detail = "must have exactly one version marked as storage version";
        errors.push(Error::invalid(path, versions.to_vec(), detail));
    }
}

fn schema_of(errors: &mut ErrorList, path: &Path, version: &Value) {
    let open = version.at("schema.openAPIV3Schema");
    if open.is_null() {
        errors.push(Error::required(path, "schemas are required"));
        return;
    }
    match schema::crd::structural(path, open, false) {
        Err(found) => errors.extend(found),
        Ok(_) => errors.extend(cel::rules::define(path, open)),
    }
}

fn printer_column<'a>(errors: &mut ErrorList, path: &Path, column: &'a Value, seen: &mut BTreeSet<&'a str>) {
    let name = column.text("name");
    if name.is_empty() {
        errors.push(Error::required(&path.child("name"), ""));
    } else if !seen.insert(name) {
        errors.push(Error::duplicate(&path.child("name"), name));
    }
    let kinds = ["boolean", "date", "integer", "number", "string"];
    required_one_of(errors, &path.child("type"), column.text("type"), &kinds);
    let json_path = column.text("jsonPath");
    if json_path.is_empty() {
        errors.push(Error::required(&path.child("jsonPath"), ""));
    } else if !json_path.starts_with('.') {
        let detail = "must be a simple json path starting with .";
        errors.push(Error::invalid(&path.child("jsonPath"), json_path, detail));
    }
}

fn names_of(errors: &mut ErrorList, path: &Path, body: &Value) {
    // A kind is a 1035 label in mixed case.
    let lower = |text: &str| names::dns1035_label(&text.to_lowercase());
    for field in ["plural", "singular", "kind", "listKind"] {
        let at = path.child(field);
        let text = body.text(field);
        let mixed = matches!(field, "kind" | "listKind");
        if text.is_empty() {
            if field != "singular" {
                errors.push(Error::required(&at, ""));
            }
            continue;
        }
        let messages = if mixed { lower(text) } else { names::dns1035_label(text) };
        for message in messages {
            let message =
                if mixed { format!("may have mixed case, but should otherwise match: {message}") } else { message };
            errors.push(Error::invalid(&at, text, message));
        }
    }
    for list in ["shortNames", "categories"] {
        for (i, name) in body.texts(list).into_iter().enumerate() {
            named(errors, &path.child(list).index(i), name, names::dns1035_label);
        }
    }
    let kind = body.text("kind");
    if !kind.is_empty() && kind == body.text("listKind") {
        errors.push(Error::invalid(&path.child("listKind"), kind, "kind and listKind may not be the same"));
    }
}

fn conversion(errors: &mut ErrorList, path: &Path, body: &Value) {
    let (strategy, webhook) = (body.text("conversion.strategy"), body.at("conversion.webhook"));
    one_of(errors, &path.child("strategy"), strategy, &["None", "Webhook"]);
    match (strategy, webhook.is_null()) {
        ("Webhook", true) => {
            let detail = "required when strategy is set to Webhook";
            errors.push(Error::required(&path.child("webhookClientConfig"), detail));
        }
        ("None", false) => {
            let detail = "should not be set when strategy is not set to Webhook";
            errors.push(Error::forbidden(&path.child("webhookClientConfig"), detail));
        }
        ("Webhook", false) => {
            super::webhook::client_config(errors, &path.child("webhookClientConfig"), webhook.at("clientConfig"));
            let at = path.child("conversionReviewVersions");
            super::webhook::review_versions(errors, &at, webhook.at("conversionReviewVersions"), "");
            let bundle = BASE64_STANDARD.decode(webhook.at("clientConfig").text("caBundle")).unwrap_or_default();
            if !bundle.trim_ascii().is_empty()
                && let Err(why) = auth::trust::check_bundle(&bundle)
            {
                let at = path.child("webhookClientConfig").child("caBundle");
                errors.push(Error::invalid(&at, webhook.at("clientConfig").at("caBundle").clone(), why));
            }
        }
        _ => {}
    }
}

#[must_use]
pub fn definition_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let established =
        old.list("status.conditions").iter().any(|c| c.text("type") == "Established" && c.text("status") == "True");
    if established {
        for field in ["group", "scope"] {
            immutable(&mut errors, &spec().child(field), new.at("spec").at(field), old.at("spec").at(field));
        }
        for field in ["kind", "plural"] {
            let (now, then) = (new.at("spec.names").at(field), old.at("spec.names").at(field));
            immutable(&mut errors, &spec().child("names").child(field), now, then);
        }
    }
    let served: Vec<&str> = new.list("spec.versions").iter().map(|v| v.text("name")).collect();
    for (i, stored) in old.texts("status.storedVersions").into_iter().enumerate() {
        if !served.contains(&stored) {
            let path = Path::new("status").child("storedVersions").index(i);
            let detail = format!(
                "missing from spec.versions; {stored} was previously a storage version, and must remain in \
                                  spec.versions until a storage migration ensures no data remains persisted in {stored} and \
                                  removes {stored} from status.storedVersions"
            );
            errors.push(Error::invalid(&path, stored, detail));
        }
    }
    errors
}

#[must_use]
pub fn api_service(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = spec();
    let (group, version) = (object.text("spec.group"), object.text("spec.version"));
    let name = object.text("metadata.name");
    if name != format!("{version}.{group}") {
        let detail = format!("must be `spec.version+\".\"+spec.group`: {:?}", format!("{version}.{group}"));
        errors.push(Error::invalid(&Path::new("metadata").child("name"), name, detail));
    }
    if !group.is_empty() {
        named(&mut errors, &path.child("group"), group, names::dns1123_subdomain);
    } else if version != "v1" {
        let detail = "only v1 may have an empty group and it better be legacy kube";
        errors.push(Error::required(&path.child("group"), detail));
    }
    required_name(&mut errors, &path.child("version"), version, names::dns1035_label);
    for (field, max) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
        let value = object.at("spec").int(field);
        if !(1..=max).contains(&value) {
            let detail = format!("must be positive and less than {max}");
            errors.push(Error::invalid(&path.child(field), value, detail));
        }
    }
    let service = object.at("spec.service");
    let bundle = object.text("spec.caBundle");
    if service.is_null() {
        if !bundle.is_empty() {
            let detail = "local APIServices may not have a caBundle";
            errors.push(Error::invalid(&path.child("caBundle"), format!("{} bytes", bundle.len() / 4 * 3), detail));
        }
        if object.yes("spec.insecureSkipTLSVerify") {
            let detail = "local APIServices may not have insecureSkipTLSVerify";
            errors.push(Error::invalid(&path.child("insecureSkipTLSVerify"), true, detail));
        }
        return errors;
    }
    for field in ["namespace", "name"] {
        super::required(&mut errors, service, field, &path.child("service"));
    }
    super::port_number(&mut errors, &path.child("service").child("port"), service.int("port"));
    if object.yes("spec.insecureSkipTLSVerify") && !bundle.is_empty() {
        let detail = "may not be true if caBundle is present";
        errors.push(Error::invalid(&path.child("insecureSkipTLSVerify"), true, detail));
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::texts;
    use super::*;

    fn example() -> Value {
        json!({"metadata": {"name": "greetings.example.dev"}, "spec": {"group": "example.dev", "scope": "Namespaced",
            "names": {"plural": "greetings", "singular": "greeting", "kind": "Greeting", "listKind": "GreetingList"},
            "conversion": {"strategy": "None"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}}}]}})
    }

    #[test]
    fn definitions() {
        assert_eq!(texts(&definition(&example())), Vec::<String>::new());
        let mut crd = example();
        crd["spec"]["group"] = json!("other");
        crd["spec"]["versions"][0]["storage"] = json!(false);
        let errors = texts(&definition(&crd));
        assert_eq!(
            errors[..2],
            [
                "metadata.name: Invalid value: \"greetings.example.dev\": must be spec.names.plural+\".\"+spec.group",
                "spec.group: Invalid value: \"other\": should be a domain with at least one dot",
            ]
        );
        assert!(errors[2].ends_with("must have exactly one version marked as storage version"));
        let mut crd = example();
        crd["spec"]["versions"][0]["schema"] = json!({});
        assert_eq!(
            texts(&definition(&crd)),
            ["spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required"]
        );
    }
}
