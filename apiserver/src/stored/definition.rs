//! CustomResourceDefinitions of apiextensions.k8s.io/v1beta1, as servers before 1.22 have stored them
//! (`apiextensions-apiserver/pkg/apis/apiextensions/{v1beta1,v1}`, their defaults and conversions).
//!
//! What v1beta1 says once for all versions, v1 says of each; the webhook of a conversion has an object of its own; and fields
//! that no schema knows are kept unless it is said otherwise. The API has never served v1beta1 here.

use schema::FieldValidation;
use serde_json::{Map, Value, json};
use store::splice;

const KIND: &str = "CustomResourceDefinition";
const OLD: &str = "apiextensions.k8s.io/v1beta1";
const TODAY: &str = "apiextensions.k8s.io/v1";

/// What is said above the versions, and the name it has in each of them.
const SHARED: [(&str, &str); 4] = [
    ("subresources", "subresources"),
    ("validation", "schema"),
    ("additionalPrinterColumns", "additionalPrinterColumns"),
    ("selectableFields", "selectableFields"),
];

/// The parts of a webhook of conversions, and their names in v1.
const WEBHOOK: [(&str, &str); 2] =
    [("webhookClientConfig", "clientConfig"), ("conversionReviewVersions", "conversionReviewVersions")];

/// Whether the JSON says that it is of v1beta1; looks no further than there.
pub fn is_old(stored: &[u8]) -> bool {
    splice::text(stored, b"apiVersion") == Some(OLD.as_bytes())
}

/// The definition as it would be stored today.
///
/// # Errors
/// It is no JSON, or none of a definition.
pub fn read(stored: &[u8]) -> Result<Value, String> {
    let old = serde_json::from_slice(stored).map_err(|error| error.to_string())?;
    let unknown = || format!("no kind {KIND:?} is registered for version {TODAY:?}");
    let (kind, schema) = super::kind(TODAY, KIND).zip(schema::builtin(TODAY, KIND)).ok_or_else(unknown)?;
    let decoded = schema::decode::value(to_v1(old), &schema, FieldValidation::Ignore);
    Ok(super::settle(kind, decoded.map_err(|why| why.to_string())?.value))
}

/// A definition of v1beta1 as one of v1, with v1beta1's own defaults; those that v1 has too are left to it.
#[must_use]
pub fn to_v1(mut definition: Value) -> Value {
    definition["apiVersion"] = TODAY.into();
    let Some(Value::Object(spec)) = definition.get_mut("spec") else { return definition };
    fill(spec);
    let shared = SHARED.map(|(above, field)| (field, take(spec, above)));
    spec.remove("version");
    for version in spec.get_mut("versions").and_then(Value::as_array_mut).into_iter().flatten() {
        let Value::Object(version) = version else { continue };
        for (field, value) in shared.iter().filter_map(|(field, value)| Some((*field, value.as_ref()?))) {
            version.insert(field.to_owned(), value.clone());
        }
        columns(version);
    }
    if let Some(Value::Object(conversion)) = spec.get_mut("conversion") {
        let webhook: Map<String, Value> =
            WEBHOOK.iter().filter_map(|(old, new)| Some(((*new).to_owned(), take(conversion, old)?))).collect();
        conversion.remove("webhook");
        if !webhook.is_empty() {
            conversion.insert("webhook".to_owned(), webhook.into());
        }
    }
    definition
}

/// What v1beta1 means by saying nothing, and v1 does not.
fn fill(spec: &mut Map<String, Value>) {
    if said(spec, "scope").is_none_or(|scope| scope == "") {
        spec.insert("scope".to_owned(), "Namespaced".into());
    }
    if let Some(name) = said(spec, "version").filter(|name| *name != "").cloned()
        && said(spec, "versions").is_none_or(|versions| *versions == json!([]))
    {
        spec.insert("versions".to_owned(), json!([{ "name": name, "served": true, "storage": true }]));
    }
    if said(spec, "preserveUnknownFields").is_none() {
        spec.insert("preserveUnknownFields".to_owned(), true.into());
    }
    if let Some(Value::Object(conversion)) = spec.get_mut("conversion")
        && conversion.get("strategy") == Some(&json!("Webhook"))
        && said(conversion, "conversionReviewVersions").is_none_or(|versions| *versions == json!([]))
    {
        conversion.insert("conversionReviewVersions".to_owned(), json!(["v1beta1"]));
    }
}

fn said<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    fields.get(name).filter(|value| !value.is_null())
}

fn take(fields: &mut Map<String, Value>, name: &str) -> Option<Value> {
    fields.remove(name).filter(|value| !value.is_null())
}

fn columns(version: &mut Map<String, Value>) {
    let columns = version.get_mut("additionalPrinterColumns").and_then(Value::as_array_mut);
    for column in columns.into_iter().flatten().filter_map(Value::as_object_mut) {
        if let Some(path) = column.remove("JSONPath") {
            column.insert("jsonPath".to_owned(), path);
        }
    }
}
