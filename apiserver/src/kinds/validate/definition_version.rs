//! The versions of a CustomResourceDefinition: their schemas, subresources, columns and selectable fields.

use std::collections::BTreeSet;

use schema::field::{Error, ErrorList, Path, go_json};
use schema::names;
use serde_json::Value;

use super::super::json::Json;
use super::{internal_schema, meta, required};

pub const COLUMN_TYPES: &str = "boolean,date,integer,number,string";
pub const COLUMN_FORMATS: &str = "byte,date,date-time,double,float,int32,int64,password";
const MOST_SELECTABLE: usize = 8;
const LONGEST_WARNING: usize = 256;

/// What versions may say each for themselves. Upstream's internal type has it once, above the versions, where all say the
/// same; that is where errors are then found.
#[derive(Clone, Copy)]
pub struct Shared {
    schema: bool,
    subresources: bool,
    columns: bool,
    selectable: bool,
}

impl Shared {
    pub fn of(versions: &[Value]) -> Self {
        let same = |path: &str| versions.windows(2).all(|pair| pair[0].at(path) == pair[1].at(path));
        Self {
            schema: same("schema"),
            subresources: same("subresources"),
            columns: same("additionalPrinterColumns"),
            selectable: same("selectableFields"),
        }
    }
}

/// What is demanded of the schemas of a definition. One that has been stored with less may go on with it, as far as it
/// preserves unknown fields: schemas once were optional, and did not have to be structural.
#[derive(Clone, Copy)]
pub struct Demands {
    /// Versions that have none are told this, or only those that are served.
    schemas: Option<&'static str>,
    only_served: bool,
    structural: bool,
    /// There are defaults, and unknown fields are preserved.
    no_defaults: bool,
}

impl Demands {
    /// `old` is the spec before, null where there is none.
    pub fn of(spec: &Value, old: &Value) -> Self {
        const EXTENSIONS: [&str; 6] = [
            "x-kubernetes-embedded-resource",
            "x-kubernetes-preserve-unknown-fields",
            "x-kubernetes-int-or-string",
            "x-kubernetes-list-map-keys",
            "x-kubernetes-list-type",
            "x-kubernetes-validations",
        ];
        let preserve = spec.yes("preserveUnknownFields");
        let no_defaults = preserve && has(spec, &|schema| schema.has("default"));
        let extended = || has(spec, &|schema| EXTENSIONS.iter().any(|name| schema.has(name)));
        let complete = schemas(old).all(Value::is_object);
        let is_structural = |schema: &Value| {
            schema.is_null() || schema::crd::violations(&Path::default(), schema).is_ok_and(|found| found.is_empty())
        };
        Self {
            schemas: match (complete, preserve) {
                (true, _) => Some("schemas are required"),
                (false, false) => Some("because otherwise all fields are pruned"),
                (false, true) => None,
            },
            only_served: !complete,
            structural: !preserve || no_defaults || extended() || schemas(old).all(is_structural),
            no_defaults,
        }
    }
}

fn schemas(spec: &Value) -> impl Iterator<Item = &Value> {
    spec.list("versions").iter().map(|version| version.at("schema.openAPIV3Schema"))
}

/// Whether a schema of any version, or one within it, is as `is` says.
fn has(spec: &Value, is: &dyn Fn(&Value) -> bool) -> bool {
    fn below(schema: &Value, is: &dyn Fn(&Value) -> bool) -> bool {
        let single = ["items", "not", "additionalProperties", "additionalItems"].map(|name| schema.at(name));
        let several = ["items", "allOf", "anyOf", "oneOf"].into_iter().flat_map(|name| schema.list(name));
        let named = ["properties", "patternProperties", "definitions", "dependencies"]
            .into_iter()
            .flat_map(|name| schema.entries(name).values());
        is(schema) || single.into_iter().chain(several).chain(named).any(|one| one.is_object() && below(one, is))
    }
    schemas(spec).any(|schema| below(schema, is))
}

pub fn versions(errors: &mut ErrorList, spec: &Path, body: &Value, shared: Shared, demands: Demands) {
    let path = spec.child("versions");
    let versions = body.list("versions");
    for (i, version) in versions.iter().enumerate() {
        if let Some(why) = demands.schemas.filter(|_| !demands.only_served || version.yes("served"))
            && version.at("schema.openAPIV3Schema").is_null()
        {
            let at = path.index(i).child("schema").child("openAPIV3Schema");
            errors.push(Error::required(&at, why));
        }
    }
    if demands.no_defaults {
        let detail = "must be false in order to use defaults in the schema";
        errors.push(Error::invalid(&spec.child("preserveUnknownFields"), true, detail));
    }
    let mut seen = BTreeSet::new();
    let mut unique = true;
    for (i, version) in versions.iter().enumerate() {
        let at = path.index(i);
        let name = version.text("name");
        unique &= seen.insert(name);
        label(errors, &at.child("name"), name, "");
        deprecation(errors, &at.child("deprecationWarning"), version);
        of_version(errors, &at, version, shared, demands, false);
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
pub fn label(errors: &mut ErrorList, path: &Path, value: &str, prefix: &str) {
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
pub fn of_version(errors: &mut ErrorList, path: &Path, version: &Value, shared: Shared, demands: Demands, above: bool) {
    let open = version.at("schema.openAPIV3Schema");
    if shared.schema == above && !open.is_null() {
        let at = path.child(if above { "validation" } else { "schema" }).child("openAPIV3Schema");
        schema_of(errors, &at, open, version.has("subresources.status"), demands.structural);
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

fn schema_of(errors: &mut ErrorList, path: &Path, open: &Value, status: bool, structural: bool) {
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
    let defined = if structural { schema::crd::define(path, open) } else { schema::crd::define_loosely(path, open) };
    let fits = defined.errors.is_empty();
    errors.extend(defined.errors);
    if defined.sound {
        let rules = cel::rules::define(path, open);
        if fits && rules.is_empty() {
            schema::crd::each_default(path, open, &mut |at, schema, default| {
                errors.extend(schema::crd::embedded::check(at, default, schema, false, &meta::embedded_resource));
            });
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
