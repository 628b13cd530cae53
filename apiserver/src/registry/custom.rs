//! CustomResourceDefinitions as the REST code needs them: the served versions with their compiled schemas, printer columns,
//! scale paths and selectable fields (`apiextensions-apiserver/pkg/apis/apiextensions`).

use std::cmp::Ordering;
use std::sync::{Arc, OnceLock};

use schema::{Schema, field};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::conversion;
use super::resource::{Resource, Source, Sub};
use crate::kinds::validate::meta;
use crate::kinds::{NameRule, Strategy};

const VERBS: [&str; 8] = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];

/// One definition.
pub struct Custom {
    /// `plural.group`
    pub name: String,
    pub uid: String,
    pub group: String,
    pub versions: Vec<Version>,
    pub conversion: conversion::Strategy,
    /// The schema of each version, whether it is served or not.
    schemas: Vec<(String, Schema)>,
    storage: String,
    namespaced: bool,
    /// Its objects are being removed, for it will be: there are to be no new ones.
    pub terminating: bool,
    /// `status.acceptedNames`, else `spec.names`.
    names: Value,
    /// The spec has never changed: what is stored has been pruned and defaulted by these very schemas.
    settled: bool,
    generation: i64,
    /// Another definition has come in place of this one, or none: who watches its objects begins anew.
    pub replaced: CancellationToken,
}

/// One served version of a definition.
pub struct Version {
    pub name: String,
    pub schema: Schema,
    /// `openAPIV3Schema` as it was given, for OpenAPI; null where it is not structural.
    pub open_api: Value,
    /// The definition's `spec.preserveUnknownFields`.
    pub preserve_unknown: bool,
    /// `x-kubernetes-validations`, compiled when first needed.
    rules: OnceLock<Option<cel::rules::Rules>>,
    pub status: bool,
    pub scale: Option<Scale>,
    pub columns: Vec<PrinterColumn>,
    /// JSON paths without the leading dot, as field selectors name them.
    pub selectable: Vec<String>,
    pub deprecation: Option<String>,
}

/// The paths of `subresources.scale`, each beginning with a dot.
#[derive(Clone, Debug)]
pub struct Scale {
    pub spec_replicas: String,
    pub status_replicas: String,
    pub label_selector: Option<String>,
}

/// One of `additionalPrinterColumns`.
#[derive(Clone, Debug)]
pub struct PrinterColumn {
    pub name: String,
    pub kind: String,
    pub format: String,
    pub description: String,
    pub priority: i64,
    pub json_path: String,
}

impl Custom {
    /// Reads a definition, or says what is wrong with its schemas.
    ///
    /// # Errors
    /// The errors of `schema::crd::structural`, with paths below `spec.versions`.
    pub fn parse(definition: &Value) -> Result<Self, field::ErrorList> {
        let spec = &definition["spec"];
        let preserve = spec["preserveUnknownFields"].as_bool().unwrap_or(false);
        let mut versions = Vec::new();
        let mut schemas = Vec::new();
        let mut errors = Vec::new();
        let path = field::Path::new("spec").child("versions");
        for (index, version) in spec["versions"].as_array().into_iter().flatten().enumerate() {
            let at = path.index(index).child("schema").child("openAPIV3Schema");
            let open_api = version["schema"]["openAPIV3Schema"].clone();
            let structure = if open_api.is_null() { json!({ "type": "object" }) } else { open_api.clone() };
            match schema::crd::structural(&at, &structure, preserve) {
                Err(list) => errors.extend(list),
                Ok(schema) => {
                    schemas.push((text(version, "name"), schema.clone()));
                    if version["served"].as_bool().unwrap_or(false) {
                        // Of what is not structural nothing is published.
                        let structural = !preserve || schema::crd::violations(&at, &structure) == Ok(Vec::new());
                        let open_api = if structural { open_api } else { Value::Null };
                        versions.push(Version::parse(version, schema, open_api, preserve));
                    }
                }
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        versions.sort_by(|a, b| compare_versions(&a.name, &b.name));
        let accepted = &definition["status"]["acceptedNames"];
        let names = if text(accepted, "plural").is_empty() { &spec["names"] } else { accepted };
        let generation = definition["metadata"]["generation"].as_i64().unwrap_or(1);
        let storage = spec["versions"].as_array().into_iter().flatten().find(|v| v["storage"] == true);
        Ok(Self {
            name: text(&definition["metadata"], "name"),
            uid: text(&definition["metadata"], "uid"),
            group: text(spec, "group"),
            versions,
            conversion: conversion::Strategy::parse(&spec["conversion"]),
            schemas,
            storage: storage.map(|v| text(v, "name")).unwrap_or_default(),
            namespaced: spec["scope"] == "Namespaced",
            terminating: crate::crd::conditions::is_terminating(definition),
            names: names.clone(),
            settled: generation == 1,
            generation,
            replaced: CancellationToken::new(),
        })
    }

    /// Whether nothing of what is served has changed since `before`.
    #[must_use]
    pub fn continues(&self, before: &Self) -> bool {
        (&self.uid, self.generation, &self.names) == (&before.uid, before.generation, &before.names)
    }

    /// What was served before, if it goes on.
    #[must_use]
    pub fn after(mut self, before: &Arc<Self>) -> Arc<Self> {
        if !self.continues(before) {
            return Arc::new(self);
        }
        if self.terminating == before.terminating {
            return before.clone();
        }
        self.replaced = before.replaced.clone();
        Arc::new(self)
    }

    /// The schema of an object by its apiVersion.
    #[must_use]
    pub fn schema_of(&self, api_version: &str) -> Option<&Schema> {
        let version = api_version.strip_prefix(self.group.as_str())?.strip_prefix('/')?;
        self.schemas.iter().find(|(name, _)| name == version).map(|(_, schema)| schema)
    }

    #[must_use]
    pub fn version(&self, name: &str) -> Option<&Version> {
        self.versions.iter().find(|v| v.name == name)
    }

    /// The served version to use instead of a deprecated one: the best of those that are better and not deprecated themselves.
    #[must_use]
    pub fn successor(&self, deprecated: &str) -> Option<&str> {
        let better = |v: &&Version| v.deprecation.is_none() && compare_versions(&v.name, deprecated) == Ordering::Less;
        self.versions.iter().find(better).map(|v| v.name.as_str())
    }

    /// One row of the catalogue for each served version.
    #[must_use]
    pub fn resources(this: &Arc<Self>) -> Vec<Resource> {
        let list = |name: &str| -> Vec<String> {
            this.names[name].as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
        };
        let kind = text(&this.names, "kind");
        let plural = text(&this.names, "plural");
        let row = |version: &Version| {
            let mut subresources = Vec::new();
            let verbs = || ["get", "patch", "update"].map(str::to_owned).to_vec();
            if version.status {
                let (name, kind) = ("status".to_owned(), kind.clone());
                subresources.push(Sub { name, group: String::new(), version: String::new(), kind, verbs: verbs() });
            }
            if version.scale.is_some() {
                subresources.push(Sub {
                    name: "scale".to_owned(),
                    group: "autoscaling".to_owned(),
                    version: "v1".to_owned(),
                    kind: "Scale".to_owned(),
                    verbs: verbs(),
                });
            }
            let list_kind = text(&this.names, "listKind");
            Resource {
                group: this.group.clone(),
                version: version.name.clone(),
                list_kind: if list_kind.is_empty() { format!("{kind}List") } else { list_kind },
                kind: kind.clone(),
                plural: plural.clone(),
                singular: Some(text(&this.names, "singular")).filter(|s| !s.is_empty()).unwrap_or(kind.to_lowercase()),
                short_names: list("shortNames"),
                categories: list("categories"),
                namespaced: this.namespaced,
                verbs: VERBS.map(str::to_owned).to_vec(),
                subresources,
                prefix: format!("/registry/{}/{plural}/", this.group),
                storage_api_version: format!("{}/{}", this.group, this.storage),
                // With several versions an object may have been stored under another one than today's.
                stored_as_served: this.settled && this.versions.len() == 1 && this.storage == version.name,
                strategy: Strategy {
                    has_status: version.status,
                    has_generation: true,
                    unconditional_update: false,
                    name: NameRule::Subdomain,
                    warned_of_new: Some(meta::new_custom_finalizers),
                    ..Strategy::PLAIN
                },
                source: Source::Custom(this.clone()),
            }
        };
        this.versions.iter().map(row).collect()
    }
}

impl Version {
    /// Whether somebody has asked for the rules, which are compiled then.
    #[must_use]
    pub fn has_compiled(&self) -> bool {
        self.rules.get().is_some()
    }

    /// The rules of the schema, if there are any.
    #[must_use]
    pub fn rules(&self) -> Option<&cel::rules::Rules> {
        self.rules.get_or_init(|| cel::rules::Rules::new(&self.open_api)).as_ref()
    }

    fn parse(version: &Value, schema: Schema, open_api: Value, preserve_unknown: bool) -> Self {
        let subresources = &version["subresources"];
        let scale = subresources["scale"].as_object().map(|scale| Scale {
            spec_replicas: scale.get("specReplicasPath").and_then(Value::as_str).unwrap_or_default().to_owned(),
            status_replicas: scale.get("statusReplicasPath").and_then(Value::as_str).unwrap_or_default().to_owned(),
            label_selector: scale.get("labelSelectorPath").and_then(Value::as_str).map(str::to_owned),
        });
        let column = |c: &Value| PrinterColumn {
            name: text(c, "name"),
            kind: text(c, "type"),
            format: text(c, "format"),
            description: match text(c, "description") {
                said if said.is_empty() => {
                    format!("Custom resource definition column (in JSONPath format): {}", text(c, "jsonPath"))
                }
                said => said,
            },
            priority: c["priority"].as_i64().unwrap_or(0),
            json_path: text(c, "jsonPath"),
        };
        let mut columns: Vec<PrinterColumn> =
            version["additionalPrinterColumns"].as_array().into_iter().flatten().map(column).collect();
        if columns.is_empty() {
            columns.push(PrinterColumn {
                name: "Age".to_owned(),
                kind: "date".to_owned(),
                format: String::new(),
                description: "Creation time".to_owned(),
                priority: 0,
                json_path: ".metadata.creationTimestamp".to_owned(),
            });
        }
        let name = text(version, "name");
        let deprecated = version["deprecated"] == true;
        Self {
            schema,
            open_api,
            preserve_unknown,
            rules: OnceLock::new(),
            status: subresources.get("status").is_some(),
            scale,
            columns,
            selectable: version["selectableFields"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|f| text(f, "jsonPath").trim_start_matches('.').to_owned())
                .collect(),
            deprecation: deprecated.then(|| version["deprecationWarning"].as_str().unwrap_or_default().to_owned()),
            name,
        }
    }
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

/// `v2` before `v1` before `v1beta2` before `v1alpha1`, the rest after, alphabetically
/// (`apimachinery/pkg/version.CompareKubeAwareVersionStrings`); preferred first.
#[must_use]
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    fn parse(version: &str) -> Option<(u8, u32, u32)> {
        let digits = |s: &str| s.chars().take_while(char::is_ascii_digit).count();
        let rest = version.strip_prefix('v')?;
        let (major, rest) = rest.split_at(digits(rest));
        let major = major.parse().ok()?;
        for (rank, word) in [(1, "beta"), (0, "alpha")] {
            if let Some(minor) = rest.strip_prefix(word) {
                return Some((rank, major, minor.parse().ok()?));
            }
        }
        rest.is_empty().then_some((2, major, 0))
    }
    match (parse(a), parse(b)) {
        (Some(x), Some(y)) => y.cmp(&x),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_stability_then_number() {
        let mut versions = vec!["v1alpha1", "foo", "v1", "v2beta1", "v10", "v2", "v1beta2"];
        versions.sort_by(|a, b| compare_versions(a, b));
        assert_eq!(versions, ["v10", "v2", "v1", "v2beta1", "v1beta2", "v1alpha1", "foo"]);
    }

    #[test]
    fn a_deprecated_version_has_a_successor() {
        let version =
            |(name, deprecated): (&str, bool)| json!({ "name": name, "served": true, "deprecated": deprecated });
        for (versions, expected) in [
            (vec![("v1", true), ("v2", false), ("v3", false), ("v4", true)], Some("v3")),
            (vec![("v1", true), ("v1beta1", false)], None),
            (vec![("v1alpha1", true), ("v1beta1", false)], Some("v1beta1")),
            (vec![("v1", true)], None),
        ] {
            let spec = json!({ "group": "g.io", "names": { "plural": "foos", "kind": "Foo" },
                "versions": versions.iter().copied().map(version).collect::<Vec<_>>() });
            let custom = Custom::parse(&json!({ "spec": spec })).unwrap_or_else(|errors| panic!("{errors:?}"));
            assert_eq!(custom.successor(versions[0].0), expected, "{versions:?}");
        }
    }

    #[test]
    fn every_version_has_a_schema() {
        let schema = |field: &str| json!({ "openAPIV3Schema": { "type": "object", "properties": { field: { "type": "string" } } } });
        let custom = Custom::parse(
            &json!({ "spec": { "group": "g.io", "names": { "plural": "foos", "kind": "Foo" }, "versions": [
            { "name": "v1", "served": false, "storage": true, "schema": schema("a") },
            { "name": "v2", "served": true, "storage": false, "schema": schema("b") },
        ] } }),
        );
        let custom = Arc::new(custom.unwrap_or_else(|errors| panic!("{errors:?}")));
        let resource = Custom::resources(&custom).remove(0);
        for (version, expected) in [("g.io/v1", json!({ "a": "1" })), ("g.io/v2", json!({ "b": "1" }))] {
            let mut value = json!({ "apiVersion": version, "kind": "Foo", "a": "1", "b": "1" });
            conversion::prune_stored(&resource, &mut value);
            let fields = value.as_object_mut().unwrap();
            fields.retain(|name, _| name.len() == 1);
            assert_eq!(value, expected, "{version}");
        }
        assert!(custom.schema_of("other.io/v1").is_none());
    }
}
