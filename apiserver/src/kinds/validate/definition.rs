//! CustomResourceDefinitions (`apiextensions/validation`). Whether a schema is structural is asked of the schema crate.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::Value;

use super::super::json::Json;
use super::definition_version::{Demands, Shared, label, of_version, versions};
use super::{immutable, required, required_one_of, spec};

const APPROVED: &str = "api-approved.kubernetes.io";

#[must_use]
pub fn definition(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    names_follow(&mut errors, object);
    errors.extend(sound(object, &Value::Null));
    errors
}

/// What must be true of a definition whenever it is written; `old` is the one before, if there is one, from which mistakes of
/// former versions of the API may stay.
fn sound(object: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, body) = (spec(), object.at("spec"));
    group_name(&mut errors, &path.child("group"), body.text("group"));
    required_one_of(&mut errors, &path.child("scope"), body.text("scope"), &["Cluster", "Namespaced"]);
    let shared = Shared::of(body.list("versions"));
    let demands = Demands::of(body, old.at("spec"));
    versions(&mut errors, &path, body, shared, demands);
    for field in ["plural", "singular", "kind", "listKind"] {
        required(&mut errors, body.at("names"), field, &path.child("names"));
    }
    names_of(&mut errors, &path.child("names"), body.at("names"));
    if let Some(version) = body.list("versions").first() {
        of_version(&mut errors, &path, version, shared, demands, true);
    }
    conversion(&mut errors, &path.child("conversion"), body);
    accepted_names(&mut errors, object);
    if !object.has("status.storedVersions") || object.list("status.storedVersions").is_empty() {
        let at = Path::new("status").child("storedVersions");
        errors.push(Error::invalid(&at, Value::Null, "must have at least one stored version"));
    } else {
        stored_versions(&mut errors, object);
    }
    approval(&mut errors, object);
    if body.yes("preserveUnknownFields") && !old.yes("spec.preserveUnknownFields") {
        let detail =
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.push(Error::invalid(&path.child("preserveUnknownFields"), true, detail));
    }
    errors
}

/// The name of a definition is made of what it defines.
fn names_follow(errors: &mut ErrorList, object: &Value) {
    let wanted = format!("{}.{}", object.text("spec.names.plural"), object.text("spec.group"));
    let detail = "must be spec.names.plural+\".\"+spec.group";
    for field in ["generateName", "name"] {
        let name = object.at("metadata").text(field);
        if !name.is_empty() && name != wanted {
            errors.push(Error::invalid(&Path::new("metadata").child(field), name, detail));
        }
    }
}

fn group_name(errors: &mut ErrorList, path: &Path, group: &str) {
    let wrong = names::dns1123_subdomain(group);
    if group.is_empty() {
        errors.push(Error::required(path, ""));
    } else if !wrong.is_empty() {
        errors.push(Error::invalid(path, group, wrong.join(",")));
    } else if !group.contains('.') {
        errors.push(Error::invalid(path, group, "should be a domain with at least one dot"));
    }
}

fn names_of(errors: &mut ErrorList, path: &Path, body: &Value) {
    for field in ["plural", "singular", "kind", "listKind"] {
        let mixed = matches!(field, "kind" | "listKind");
        let prefix = if mixed { "may have mixed case, but should otherwise match: " } else { "" };
        if !body.text(field).is_empty() {
            label(errors, &path.child(field), body.text(field), prefix);
        }
    }
    let list = |errors: &mut ErrorList, field: &str| {
        for (i, name) in body.texts(field).into_iter().enumerate() {
            label(errors, &path.child(field).index(i), name, "");
        }
    };
    list(errors, "shortNames");
    let kind = body.text("kind");
    if !kind.is_empty() && kind == body.text("listKind") {
        errors.push(Error::invalid(&path.child("listKind"), kind, "kind and listKind may not be the same"));
    }
    list(errors, "categories");
}

fn conversion(errors: &mut ErrorList, path: &Path, body: &Value) {
    let (strategy, webhook) = (body.text("conversion.strategy"), body.at("conversion.webhook"));
    if strategy != "None" && body.yes("preserveUnknownFields") {
        let detail = "must be None if spec.preserveUnknownFields is true";
        errors.push(Error::invalid(&path.child("strategy"), strategy, detail));
    }
    let (client, reviews) = (webhook.at("clientConfig"), path.child("conversionReviewVersions"));
    let at = path.child("webhookClientConfig");
    required_one_of(errors, &path.child("strategy"), strategy, &["None", "Webhook"]);
    if strategy == "Webhook" {
        if client.is_null() {
            errors.push(Error::required(&at, "required when strategy is set to Webhook"));
        } else {
            super::webhook::client_config(errors, &at, client);
        }
        super::webhook::review_versions(errors, &reviews, webhook.at("conversionReviewVersions"), "");
    } else {
        let detail = "should not be set when strategy is not set to Webhook";
        if !client.is_null() {
            errors.push(Error::forbidden(&at, detail));
        }
        if !webhook.list("conversionReviewVersions").is_empty() {
            errors.push(Error::forbidden(&reviews, detail));
        }
    }
}

/// Every version that objects were stored in must stay, the present one among them.
fn stored_versions(errors: &mut ErrorList, object: &Value) {
    let path = Path::new("status").child("storedVersions");
    let stored = object.texts("status.storedVersions");
    let versions = object.list("spec.versions");
    for version in versions.iter().filter(|version| version.yes("storage")) {
        let name = version.text("name");
        if !stored.contains(&name) {
            let detail = format!("must have the storage version {name}");
            errors.push(Error::invalid(&path, object.at("status.storedVersions").clone(), detail));
        }
    }
    for (i, stored) in stored.into_iter().enumerate() {
        if !versions.iter().any(|version| version.text("name") == stored) {
            let detail = format!(
                "missing from spec.versions; {stored} was previously a storage version, and must remain in \
                 spec.versions until a storage migration ensures no data remains persisted in {stored} and \
                 removes {stored} from status.storedVersions"
            );
            errors.push(Error::invalid(&path.index(i), stored, detail));
        }
    }
}

/// Whether the community's groups may have this definition: [`APPROVED`] says who said so.
pub enum Approval {
    /// No group of the community's.
    NotNeeded,
    Approved(String),
    Bypassed(String),
    Invalid(String),
    Missing(String),
}

impl Approval {
    #[must_use]
    pub fn of(definition: &Value) -> Self {
        const SEE: &str = "see https://github.com/kubernetes/enhancements/pull/1111";
        let group = definition.text("spec.group");
        let community = ["k8s.io", "kubernetes.io"];
        if !community
            .iter()
            .any(|root| group.strip_suffix(root).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
        {
            return Self::NotNeeded;
        }
        let word = definition.at("metadata.annotations").get(APPROVED).and_then(Value::as_str).unwrap_or_default();
        let needed = format!("protected groups must have approval annotation \"{APPROVED}\"");
        if word.is_empty() {
            return Self::Missing(format!("{needed}, {SEE}"));
        }
        if word.starts_with("unapproved") {
            return Self::Bypassed(format!("not approved: \"{word}\""));
        }
        let address = word.split_once("://").is_some_and(|(scheme, rest)| {
            scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && !rest.is_empty() && !rest.starts_with('/')
        });
        if address {
            Self::Approved(format!("approved in {word}"))
        } else {
            Self::Invalid(format!("{needed} with either a URL or a reason starting with \"unapproved\", {SEE}"))
        }
    }
}

fn approval(errors: &mut ErrorList, object: &Value) {
    let path = Path::new("metadata").child("annotations").key(APPROVED);
    match Approval::of(object) {
        Approval::Missing(why) => errors.push(Error::required(&path, why)),
        Approval::Invalid(why) => {
            let word = object.at("metadata.annotations").get(APPROVED).cloned().unwrap_or_default();
            errors.push(Error::invalid(&path, word, why));
        }
        Approval::NotNeeded | Approval::Approved(_) | Approval::Bypassed(_) => {}
    }
}

/// What must be true of a status that is written alone.
#[must_use]
pub fn definition_status(new: &Value, _: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    accepted_names(&mut errors, new);
    errors
}

fn accepted_names(errors: &mut ErrorList, object: &Value) {
    names_of(errors, &Path::new("status").child("acceptedNames"), object.at("status.acceptedNames"));
}

#[must_use]
pub fn definition_update(new: &Value, old: &Value) -> ErrorList {
    // Schemas and their rules are long to judge: what is as it was is as good as it was.
    let judged = ["spec", "status", "metadata.annotations"];
    let mut errors = if judged.iter().any(|path| !super::same(new.at(path), old.at(path))) {
        sound(new, old)
    } else {
        ErrorList::new()
    };
    let established =
        old.list("status.conditions").iter().any(|c| c.text("type") == "Established" && c.text("status") == "True");
    let fields = [("scope", established), ("names.kind", established), ("group", true), ("names.plural", true)];
    for (field, _) in fields.into_iter().filter(|(_, fixed)| *fixed) {
        let at = field.split('.').fold(spec(), |path, name| path.child(name));
        immutable(&mut errors, &at, new.at("spec").at(field), old.at("spec").at(field));
    }
    ca_bundle(&mut errors, new, old);
    errors
}

const CA_BUNDLE: &str = "spec.conversion.webhook.clientConfig.caBundle";

/// Whether the authorities that a definition's conversion webhook is trusted by can be read, if it names some.
///
/// # Errors
/// What is wrong with them.
pub fn check_ca_bundle(definition: &Value) -> Result<(), String> {
    let bundle = BASE64_STANDARD.decode(definition.text(CA_BUNDLE)).unwrap_or_default();
    if bundle.trim_ascii().is_empty() { Ok(()) } else { auth::trust::check_bundle(&bundle) }
}

/// Authorities that can be read must not make way for some that cannot.
fn ca_bundle(errors: &mut ErrorList, new: &Value, old: &Value) {
    if let (Ok(()), Err(why)) = (check_ca_bundle(old), check_ca_bundle(new)) {
        let at = spec().child("conversion").child("webhookClientConfig").child("caBundle");
        errors.push(Error::invalid(&at, new.at(CA_BUNDLE).clone(), why));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use schema::field::go_json;

    use super::super::definition_version::{COLUMN_FORMATS, COLUMN_TYPES};
    use super::super::{internal_schema, texts};
    use super::*;

    fn example() -> Value {
        json!({"metadata": {"name": "greetings.example.dev"}, "spec": {"group": "example.dev", "scope": "Namespaced",
            "names": {"plural": "greetings", "singular": "greeting", "kind": "Greeting", "listKind": "GreetingList"},
            "conversion": {"strategy": "None"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}}}]}, "status": {"storedVersions": ["v1"]}})
    }

    /// The one version's field, and what is wrong with the definition then.
    fn with(field: &str, value: Value) -> Vec<String> {
        let mut crd = example();
        crd["spec"]["versions"][0][field] = value;
        texts(&definition(&crd))
    }

    /// What all versions say is said above them.
    #[test]
    fn fields_of_all_versions() {
        let shown = "[{\"Name\":\"v1\",\"Served\":true,\"Storage\":false,\"Deprecated\":false,\"DeprecationWarning\":null,\
                     \"Schema\":null,\"Subresources\":null,\"AdditionalPrinterColumns\":null,\"SelectableFields\":null}]";
        let column = "spec.additionalPrinterColumns[0]";
        for (field, value, expected) in [
            (
                "schema",
                json!({"openAPIV3Schema": {"type": "string"}}),
                vec!["spec.validation.openAPIV3Schema.type: Invalid value: \"string\": must be object at the root".to_owned()],
            ),
            (
                "subresources",
                json!({"scale": {"specReplicasPath": "spec.a", "statusReplicasPath": ".spec.a", "labelSelectorPath": ".a"}}),
                vec![
                    "spec.subresources.scale.specReplicasPath: Invalid value: \"spec.a\": must be a simple json path \
                     starting with ."
                        .to_owned(),
                    "spec.subresources.scale.statusReplicasPath: Invalid value: \".spec.a\": should be a json path under \
                     .status"
                        .to_owned(),
                    "spec.subresources.scale.labelSelectorPath: Invalid value: \".a\": should be a json path under either \
                     .spec or .status"
                        .to_owned(),
                ],
            ),
            (
                "additionalPrinterColumns",
                json!([{"type": "text", "format": "x"}]),
                vec![
                    format!("{column}.name: Required value"),
                    format!("{column}.type: Invalid value: \"text\": must be one of {COLUMN_TYPES}"),
                    format!("{column}.format: Invalid value: \"x\": must be one of {COLUMN_FORMATS}"),
                    format!("{column}.JSONPath: Required value"),
                ],
            ),
            (
                "selectableFields",
                json!([{"jsonPath": ".spec"}]),
                vec![
                    "spec.selectableFields[0].jsonPath: Invalid value: \".spec\": is an invalid path: does not refer to a \
                     valid field"
                        .to_owned(),
                ],
            ),
            (
                "deprecationWarning",
                json!("old"),
                vec![
                    "spec.versions[0].deprecationWarning: Invalid value: \"old\": can only be set for deprecated versions"
                        .to_owned(),
                ],
            ),
            (
                "storage",
                json!(false),
                vec![
                    format!("spec.versions: Invalid value: {shown}: must have exactly one version marked as storage version"),
                ],
            ),
        ] {
            assert_eq!(with(field, value), expected, "{field}");
        }
        let mut two = example();
        two["spec"]["versions"].as_array_mut().unwrap().push(json!({"name": "v2", "served": true, "storage": false,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"a": {}}}}}));
        assert_eq!(
            texts(&definition(&two)),
            [
                "spec.versions[1].schema.openAPIV3Schema.properties[a].type: Required value: must not be empty for specified \
                 object fields"
            ]
        );
    }

    /// What has been stored by servers that demanded less may go on as it is, as long as it preserves unknown fields.
    #[test]
    fn definitions_of_old() {
        let crd = |preserve: bool, schemas: [Value; 2]| {
            let mut crd = example();
            crd["spec"]["preserveUnknownFields"] = preserve.into();
            let version = |(name, schema): (&str, Value)| json!({"name": name, "served": name == "v1", "storage": name == "v1", "schema": schema});
            crd["spec"]["versions"] = ["v1", "v2"].into_iter().zip(schemas).map(version).collect();
            crd
        };
        let of = |schema: Value| json!({ "openAPIV3Schema": schema });
        let (none, object) = (Value::Null, of(json!({"type": "object"})));
        let loose = of(json!({"type": "object", "properties": {"a": {}}}));
        let default = of(json!({"type": "object", "properties": {"a": {}, "b": {"type": "string", "default": "x"}}}));
        let extended =
            of(json!({"type": "object", "properties": {"a": {}}, "x-kubernetes-preserve-unknown-fields": true}));
        let at = |i: usize, field: &str| format!("spec.versions[{i}].schema.openAPIV3Schema{field}");
        let typeless = at(0, ".properties[a].type: Required value: must not be empty for specified object fields");
        let no_defaults =
            "spec.preserveUnknownFields: Invalid value: true: must be false in order to use defaults in the schema";
        let no_way_back = "spec.preserveUnknownFields: Invalid value: true: cannot set to true, set \
                           x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        let old = crd(true, [loose.clone(), none.clone()]);
        let sound = crd(false, [object.clone(), of(json!({"type": "object", "title": "2"}))]);
        for (new, old, expected) in [
            (crd(true, [of(json!({"properties": {"b": {}}})), none.clone()]), &old, vec![]),
            (crd(true, [object.clone(), none.clone()]), &old, vec![]),
            (crd(false, [loose.clone(), none.clone()]), &old, vec![typeless.clone()]),
            (
                crd(false, [none.clone(), object.clone()]),
                &old,
                vec![at(0, ": Required value: because otherwise all fields are pruned")],
            ),
            (crd(true, [default, none.clone()]), &old, vec![no_defaults.to_owned(), typeless.clone()]),
            (crd(true, [extended, none.clone()]), &old, vec![typeless.clone()]),
            // What was sound stays so.
            (
                crd(true, [object.clone(), none.clone()]),
                &sound,
                vec![at(1, ": Required value: schemas are required"), no_way_back.to_owned()],
            ),
            (crd(true, [loose, object]), &sound, vec![typeless, no_way_back.to_owned()]),
        ] {
            assert_eq!(texts(&definition_update(&new, old)), expected, "{new}");
        }
    }

    #[test]
    fn selectable_fields() {
        let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {
            "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
            "spec": {"type": "object", "properties": {"s": {"type": "string"}, "n": {"type": "number"}}}}}});
        let with = |paths: &[&str]| {
            let mut crd = example();
            let fields: Vec<Value> = paths.iter().map(|path| json!({"jsonPath": path})).collect();
            crd["spec"]["versions"][0]["schema"] = schema.clone();
            crd["spec"]["versions"][0]["selectableFields"] = fields.into();
            texts(&definition(&crd))
        };
        let at = |i: usize| format!("spec.selectableFields[{i}].jsonPath");
        assert_eq!(with(&[".spec.s"]), Vec::<String>::new());
        for (paths, expected) in [
            (&[""][..], format!("{}: Required value", at(0))),
            (
                &["spec.s"],
                format!("{}: Invalid value: \"spec.s\": is an invalid path: expected [ or . but got: spec", at(0)),
            ),
            (
                &[".spec['s']"],
                format!("{}: Invalid value: \".spec['s']\": is an invalid path: array notation is not allowed", at(0)),
            ),
            (&[".spec.s", ".spec.s"], format!("{}: Duplicate value: \".spec.s\"", at(1))),
            (
                &[".metadata.name"],
                format!("{}: Invalid value: \".metadata.name\": must not point to fields in metadata", at(0)),
            ),
            (
                &[".spec.n"],
                format!(
                    "{}: Invalid value: \".spec.n\": must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.",
                    at(0)
                ),
            ),
        ] {
            assert_eq!(with(paths), [expected], "{paths:?}");
        }
    }

    #[test]
    fn the_community_approves_of_its_groups() {
        let of = |word: Value| {
            let mut crd = example();
            crd["metadata"] = json!({"name": "greetings.x.k8s.io", "annotations": {APPROVED: word}});
            crd["spec"]["group"] = json!("x.k8s.io");
            texts(&definition(&crd))
        };
        for word in ["https://github.com/kubernetes/enhancements/pull/1111", "unapproved, experimental"] {
            assert_eq!(of(word.into()), Vec::<String>::new());
        }
        let field = format!("metadata.annotations[{APPROVED}]");
        let needed = format!("protected groups must have approval annotation \"{APPROVED}\"");
        let see = "see https://github.com/kubernetes/enhancements/pull/1111";
        assert_eq!(of(Value::Null), [format!("{field}: Required value: {needed}, {see}")]);
        let or = "with either a URL or a reason starting with \"unapproved\"";
        assert_eq!(of("yes".into()), [format!("{field}: Invalid value: \"yes\": {needed} {or}, {see}")]);
    }

    /// Shown as upstream's internal type.
    #[test]
    fn the_root_besides_a_status_subresource() {
        let mut crd = example();
        crd["spec"]["versions"][0]["subresources"] = json!({"status": {}});
        assert_eq!(texts(&definition(&crd)), Vec::<String>::new());
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["minProperties"] = json!(1);
        let errors = texts(&definition(&crd));
        let begin = "spec.validation.openAPIV3Schema: Invalid value: {\"ID\":\"\",\"Schema\":\"\",\"Ref\":null,";
        assert!(errors[0].starts_with(begin), "{errors:?}");
        assert!(errors[0].contains("\"MinProperties\":1,") && errors[0].ends_with(&internal_schema::only_at_root()));
    }

    #[test]
    fn deprecation_warnings() {
        let at = "spec.versions[0].deprecationWarning: Invalid value";
        for (text, wrong) in [
            ("", format!("{at}: \"\": must not be an empty string")),
            (
                "a\0",
                format!(
                    "{at}: \"a\\u0000\": must only contain printable UTF-8 characters; non-printable character found at index 1"
                ),
            ),
        ] {
            assert_eq!(
                with("deprecationWarning", text.into()),
                [format!("{at}: {}: can only be set for deprecated versions", go_json(&text.into()))]
            );
            let mut crd = example();
            crd["spec"]["versions"][0]["deprecated"] = true.into();
            crd["spec"]["versions"][0]["deprecationWarning"] = text.into();
            assert_eq!(texts(&definition(&crd)), [wrong]);
        }
    }

    #[test]
    fn updates_and_the_status_alone() {
        let (mut crd, old) = (example(), example());
        crd["spec"]["group"] = "other.dev".into();
        assert_eq!(
            texts(&definition_update(&crd, &old)),
            ["spec.group: Invalid value: \"other.dev\": field is immutable"]
        );
        let mut crd = example();
        crd["status"]["storedVersions"] = json!(["v0"]);
        assert_eq!(texts(&definition_status(&crd, &old)), Vec::<String>::new());
        assert_eq!(texts(&definition_update(&crd, &old)).len(), 2);
        crd["status"]["acceptedNames"] = json!({ "plural": "A B" });
        assert!(
            texts(&definition_status(&crd, &old))[0].starts_with("status.acceptedNames.plural: Invalid value: \"A B\"")
        );
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
        assert!(errors[2].ends_with("must have exactly one version marked as storage version"), "{errors:?}");
        let mut crd = example();
        crd["spec"]["versions"][0]["schema"] = json!({});
        assert_eq!(
            texts(&definition(&crd)),
            ["spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required"]
        );
    }
}
