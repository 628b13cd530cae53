//! CustomResourceDefinitions (`apiextensions/validation`). Whether a schema is structural is asked of the schema crate.

use std::collections::BTreeSet;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use schema::field::{Error, ErrorList, Path, go_json};
use schema::names;
use serde_json::Value;

use super::super::json::Json;
use super::{immutable, internal_schema, required, required_one_of, spec};

const COLUMN_TYPES: &str = "boolean,date,integer,number,string";
const COLUMN_FORMATS: &str = "byte,date,date-time,double,float,int32,int64,password";
const MOST_SELECTABLE: usize = 8;
const LONGEST_WARNING: usize = 256;
const APPROVED: &str = "api-approved.kubernetes.io";

/// What versions may say each for themselves. Upstream's internal type has it once, above the versions, where all say the
/// same; that is where errors are then found.
#[derive(Clone, Copy)]
struct Shared {
    schema: bool,
    subresources: bool,
    columns: bool,
    selectable: bool,
}

impl Shared {
    fn of(versions: &[Value]) -> Self {
        let same = |path: &str| versions.windows(2).all(|pair| pair[0].at(path) == pair[1].at(path));
        Self {
            schema: same("schema"),
            subresources: same("subresources"),
            columns: same("additionalPrinterColumns"),
            selectable: same("selectableFields"),
        }
    }
}

#[must_use]
pub fn definition(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    names_follow(&mut errors, object);
    errors.extend(sound(object));
    errors
}

/// What must be true of a definition whenever it is written.
fn sound(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, body) = (spec(), object.at("spec"));
    group_name(&mut errors, &path.child("group"), body.text("group"));
    required_one_of(&mut errors, &path.child("scope"), body.text("scope"), &["Cluster", "Namespaced"]);
    let shared = Shared::of(body.list("versions"));
    versions(&mut errors, &path, body, shared);
    for field in ["plural", "singular", "kind", "listKind"] {
        required(&mut errors, body.at("names"), field, &path.child("names"));
    }
    names_of(&mut errors, &path.child("names"), body.at("names"));
    if let Some(version) = body.list("versions").first() {
        of_version(&mut errors, &path, version, shared, true);
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
    if body.yes("preserveUnknownFields") {
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

fn versions(errors: &mut ErrorList, spec: &Path, body: &Value, shared: Shared) {
    let path = spec.child("versions");
    let versions = body.list("versions");
    for (i, version) in versions.iter().enumerate() {
        if version.at("schema.openAPIV3Schema").is_null() {
            let at = path.index(i).child("schema").child("openAPIV3Schema");
            errors.push(Error::required(&at, "schemas are required"));
        }
    }
    let mut seen = BTreeSet::new();
    let mut unique = true;
    for (i, version) in versions.iter().enumerate() {
        let at = path.index(i);
        let name = version.text("name");
        unique &= seen.insert(name);
        label(errors, &at.child("name"), name, "");
        deprecation(errors, &at.child("deprecationWarning"), version);
        of_version(errors, &at, version, shared, false);
    }
    let shown = || match body.at("versions") {
        Value::Array(list) => {
            let list: Vec<String> = list.iter().map(|version| internal_version(version, shared)).collect();
            format!("[{}]", list.join(","))
        }
        _ => "null".to_owned(),
    };
    if !unique {
        errors.push(Error::invalid_as(&path, shown(), "must contain unique version names"));
    }
    if versions.iter().filter(|v| v.yes("storage")).count() != 1 {
        let detail = "must have exactly one version marked as storage version";
        errors.push(Error::invalid_as(&path, shown(), detail));
    }
    // The internal type has the first version's name once more.
    if let Some(first) = versions.first().filter(|first| !first.text("name").is_empty()) {
        label(errors, &spec.child("version"), first.text("name"), "");
    }
}

/// A version as the internal type has it.
fn internal_version(version: &Value, shared: Shared) -> String {
    let json = |path: &str| go_json(version.at(path));
    let own = |shared: bool, path: &str| if shared { "null".to_owned() } else { json(path) };
    let open = version.at("schema.openAPIV3Schema");
    let schema = if shared.schema || open.is_null() {
        "null".to_owned()
    } else {
        format!("{{\"OpenAPIV3Schema\":{}}}", internal_schema::schema(open))
    };
    format!(
        "{{\"Name\":{},\"Served\":{},\"Storage\":{},\"Deprecated\":{},\"DeprecationWarning\":{},\"Schema\":{schema},\
         \"Subresources\":{},\"AdditionalPrinterColumns\":{},\"SelectableFields\":{}}}",
        go_json(&version.text("name").into()),
        version.yes("served"),
        version.yes("storage"),
        version.yes("deprecated"),
        json("deprecationWarning"),
        own(shared.subresources, "subresources"),
        own(shared.columns, "additionalPrinterColumns"),
        own(shared.selectable, "selectableFields"),
    )
}

/// A DNS label; what is wrong with it is one error.
fn label(errors: &mut ErrorList, path: &Path, value: &str, prefix: &str) {
    let wrong = names::dns1035_label(&if prefix.is_empty() { value.to_owned() } else { value.to_lowercase() });
    if !wrong.is_empty() {
        errors.push(Error::invalid(path, value, format!("{prefix}{}", wrong.join(","))));
    }
}

fn deprecation(errors: &mut ErrorList, path: &Path, version: &Value) {
    let Some(text) = version.at("deprecationWarning").as_str() else { return };
    // Upstream's type has a pointer here, which is shown as JSON.
    let mut wrong = |detail: String| errors.push(Error::invalid_as(path, go_json(&text.into()), detail));
    if !version.yes("deprecated") {
        return wrong("can only be set for deprecated versions".to_owned());
    }
    if text.is_empty() {
        wrong("must not be an empty string".to_owned());
    }
    if text.len() > LONGEST_WARNING {
        wrong(format!("must be <= {LONGEST_WARNING} characters long"));
    }
    if let Some((at, _)) = text.char_indices().find(|(_, c)| !schema::go::is_print(*c)) {
        let detail =
            format!("must only contain printable UTF-8 characters; non-printable character found at index {at}");
        wrong(detail);
    }
}

/// What a version says for itself, or, `above` the versions, what all of them say.
fn of_version(errors: &mut ErrorList, path: &Path, version: &Value, shared: Shared, above: bool) {
    let open = version.at("schema.openAPIV3Schema");
    if shared.schema == above && !open.is_null() {
        let at = path.child(if above { "validation" } else { "schema" }).child("openAPIV3Schema");
        schema_of(errors, &at, open, version.has("subresources.status"));
    }
    if shared.subresources == above {
        scale(errors, &path.child("subresources"), version.at("subresources.scale"));
    }
    if shared.columns == above {
        for (i, column) in version.list("additionalPrinterColumns").iter().enumerate() {
            printer_column(errors, &path.child("additionalPrinterColumns").index(i), column);
        }
    }
    if shared.selectable == above {
        let at = path.child("selectableFields");
        let fields = version.list("selectableFields");
        if !fields.is_empty() && shared.schema && !above {
            let detail = "may only be set when `version.schema.openAPIV3Schema` is not included";
            errors.push(Error::invalid(&at, "", detail));
        } else {
            selectable(errors, &at, fields, open);
        }
    }
}

fn schema_of(errors: &mut ErrorList, path: &Path, open: &Value, status: bool) {
    if status && open.text("type") != "object" {
        let detail =
            "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        errors.push(Error::invalid(&path.child("type"), open.text("type"), detail));
    } else if status && !internal_schema::fits_status(open) {
        errors.push(Error::invalid_as(path, internal_schema::schema(open), internal_schema::only_at_root()));
    }
    if open.yes("nullable") {
        errors.push(Error::forbidden(&path.child("nullable"), "nullable cannot be true at the root"));
    }
    let defined = schema::crd::define(path, open);
    let fits = defined.errors.is_empty();
    errors.extend(defined.errors);
    if defined.sound {
        let rules = cel::rules::define(path, open);
        if fits && rules.is_empty() {
            errors.extend(cel::rules::define_defaults(path, open));
        }
        errors.extend(rules);
    }
}

fn scale(errors: &mut ErrorList, path: &Path, scale: &Value) {
    if scale.is_null() {
        return;
    }
    const PATHS: [(&str, &[&str], &str); 3] = [
        ("specReplicasPath", &[".spec."], ".spec"),
        ("statusReplicasPath", &[".status."], ".status"),
        ("labelSelectorPath", &[".spec.", ".status."], "either .spec or .status"),
    ];
    for (field, roots, words) in PATHS {
        let at = path.child("scale").child(field);
        let text = scale.text(field);
        if text.is_empty() {
            if field != "labelSelectorPath" {
                errors.push(Error::required(&at, ""));
            }
        } else if !text.starts_with('.') {
            errors.push(Error::invalid(&at, text, "must be a simple json path starting with ."));
        } else if !roots.iter().any(|root| text.starts_with(root)) {
            errors.push(Error::invalid(&at, text, format!("should be a json path under {words}")));
        }
    }
}

fn printer_column(errors: &mut ErrorList, path: &Path, column: &Value) {
    required(errors, column, "name", path);
    let one_of = |list: &str, word: &str| list.split(',').any(|one| one == word);
    let (ty, at) = (column.text("type"), path.child("type"));
    if ty.is_empty() {
        errors.push(Error::required(&at, format!("must be one of {COLUMN_TYPES}")));
    } else if !one_of(COLUMN_TYPES, ty) {
        errors.push(Error::invalid(&at, ty, format!("must be one of {COLUMN_TYPES}")));
    }
    let format = column.text("format");
    if !format.is_empty() && !one_of(COLUMN_FORMATS, format) {
        errors.push(Error::invalid(&path.child("format"), format, format!("must be one of {COLUMN_FORMATS}")));
    }
    let (json_path, at) = (column.text("jsonPath"), path.child("JSONPath"));
    if json_path.is_empty() {
        errors.push(Error::required(&at, ""));
    } else if !json_path.starts_with('.') {
        errors.push(Error::invalid(&at, json_path, "must be a simple json path starting with ."));
    }
}

fn selectable(errors: &mut ErrorList, path: &Path, fields: &[Value], open: &Value) {
    let mut seen = BTreeSet::new();
    for (i, field) in fields.iter().enumerate() {
        let at = path.index(i).child("jsonPath");
        let text = field.text("jsonPath");
        if text.is_empty() {
            errors.push(Error::required(&at, ""));
            continue;
        }
        match cel::rules::resolve(text, open, false) {
            Err(why) => errors.push(Error::invalid(&at, text, format!("is an invalid path: {why}"))),
            Ok(found) => {
                if !matches!(found.schema.text("type"), "string" | "boolean" | "integer") {
                    let detail = "must point to a field of type string, boolean or integer. Enum string fields and strings with \
                                  formats are allowed.";
                    errors.push(Error::invalid(&at, text, detail));
                }
                if found.text == "metadata" || found.text.starts_with("metadata.") {
                    errors.push(Error::invalid(&at, text, "must not point to fields in metadata"));
                }
                if !seen.insert(found.text) {
                    errors.push(Error::duplicate(&at, text));
                }
            }
        }
    }
    if seen.len() > MOST_SELECTABLE {
        errors.push(Error::too_many(path, seen.len(), MOST_SELECTABLE));
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
    if strategy == "Webhook" && body.yes("preserveUnknownFields") {
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
    let mut errors = if judged.iter().any(|path| new.at(path) != old.at(path)) { sound(new) } else { ErrorList::new() };
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

/// Authorities that can be read must not make way for some that cannot.
fn ca_bundle(errors: &mut ErrorList, new: &Value, old: &Value) {
    let path = "spec.conversion.webhook.clientConfig.caBundle";
    let check = |object: &Value| {
        let bundle = BASE64_STANDARD.decode(object.text(path)).unwrap_or_default();
        if bundle.trim_ascii().is_empty() { Ok(()) } else { auth::trust::check_bundle(&bundle) }
    };
    if let (Ok(()), Err(why)) = (check(old), check(new)) {
        let at = spec().child("conversion").child("webhookClientConfig").child("caBundle");
        errors.push(Error::invalid(&at, new.at(path).clone(), why));
    }
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
