//! OpenAPI v3 and v2 from the fact table: what `kubectl explain`, `kubectl apply` and code generators read.
//!
//! A document holds the paths of the resources it was asked for and every type they reach. Types of built-in kinds are named
//! as upstream names them (`io.k8s.api.apps.v1.Deployment`), custom ones by their reversed group (`com.example.v1.Widget`).

mod paths;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value, json};

use crate::facts;
use crate::model::{ListKind, Node, Scalar, Shape, Struct};

/// One served resource (a group, version, plural), as the caller's registry knows it.
#[derive(Clone, Debug, Default)]
pub struct Resource {
    pub group: String,
    pub version: String,
    pub kind: String,
    pub plural: String,
    pub namespaced: bool,
    /// `get list watch create update patch delete deletecollection`
    pub verbs: Vec<String>,
    /// (`status`, kind), (`scale`, `Scale`) …
    pub subresources: Vec<Subresource>,
    /// `openAPIV3Schema` of a custom resource; None for built-in kinds.
    pub custom: Option<Value>,
}

#[derive(Clone, Debug, Default)]
pub struct Subresource {
    pub name: String,
    pub group: String,
    pub version: String,
    pub kind: String,
    pub verbs: Vec<String>,
}

impl Resource {
    /// The name of this kind's type in a document.
    fn type_name(&self) -> String {
        if self.custom.is_some() {
            let mut parts: Vec<&str> = self.group.split('.').rev().collect();
            parts.extend([self.version.as_str(), self.kind.as_str()]);
            return parts.join(".");
        }
        kind_name(&self.group, &self.version, &self.kind)
    }
}

fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// The type of a built-in kind; the kinds of meta/v1 stand for those that have no type of their own.
fn kind_name(group: &str, version: &str, kind: &str) -> String {
    facts::kind(&api_version(group, version), kind)
        .map_or_else(|| full("apimachinery.pkg.apis.meta.v1.Status"), |index| full(facts::by_index(index).name))
}

/// The fact table leaves out what all names begin with.
fn full(name: &str) -> String {
    format!("io.k8s.{name}")
}

/// The version of the specification, which decides where types are and how they are referred to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    V2,
    V3,
}

impl Dialect {
    fn reference(self, name: &str) -> Value {
        match self {
            Self::V2 => json!({ "$ref": format!("#/definitions/{name}") }),
            Self::V3 => json!({ "$ref": format!("#/components/schemas/{name}") }),
        }
    }
}

/// The document at `/openapi/v3/apis/GROUP/VERSION`; pass the resources of that group and version.
#[must_use]
pub fn v3(group: &str, version: &str, resources: &[Resource]) -> Value {
    let rows: Vec<&Resource> = resources.iter().filter(|r| r.group == group && r.version == version).collect();
    let (paths, types) = document(&rows, Dialect::V3);
    json!({
        "openapi": "3.0.0",
        "info": { "title": "Kubernetes", "version": "v1.35.0" },
        "paths": paths,
        "components": { "schemas": types },
    })
}

/// `/openapi/v2` of everything.
#[must_use]
pub fn v2(resources: &[Resource]) -> Value {
    let rows: Vec<&Resource> = resources.iter().collect();
    let (paths, types) = document(&rows, Dialect::V2);
    json!({
        "swagger": "2.0",
        "info": { "title": "Kubernetes", "version": "v1.35.0" },
        "paths": paths,
        "definitions": types,
    })
}

fn document(resources: &[&Resource], dialect: Dialect) -> (Value, Value) {
    let mut types = Types::new(dialect);
    for resource in resources {
        types.resource(resource);
        for sub in &resource.subresources {
            types.kind(&sub.group, &sub.version, &sub.kind);
        }
    }
    types.kind("", "v1", "Status");
    types.kind("", "v1", "DeleteOptions");
    let mut all = Map::new();
    for resource in resources {
        paths::add(&mut all, resource, dialect);
    }
    (Value::Object(all), types.finish())
}

/// The types of a document, each made once.
struct Types {
    dialect: Dialect,
    done: BTreeMap<String, Value>,
    /// Types that are referred to and have not been made yet.
    wanted: BTreeSet<u16>,
    /// Which group versions and kinds a type stands for.
    kinds: HashMap<String, Vec<Value>>,
}

impl Types {
    fn new(dialect: Dialect) -> Self {
        Self { dialect, done: BTreeMap::new(), wanted: BTreeSet::new(), kinds: HashMap::new() }
    }

    fn kind(&mut self, group: &str, version: &str, kind: &str) {
        let Some(index) = facts::kind(&api_version(group, version), kind) else { return };
        self.wanted.insert(index);
        let entry = json!({ "group": group, "version": version, "kind": kind });
        let entries = self.kinds.entry(full(facts::by_index(index).name)).or_default();
        if !entries.contains(&entry) {
            entries.push(entry);
        }
    }

    fn resource(&mut self, resource: &Resource) {
        let list = format!("{}List", resource.kind);
        let Some(schema) = &resource.custom else {
            self.kind(&resource.group, &resource.version, &resource.kind);
            self.kind(&resource.group, &resource.version, &list);
            return;
        };
        let kind = |kind: &str| json!([{ "group": resource.group, "version": resource.version, "kind": kind }]);
        let name = resource.type_name();
        let mut object = if schema.is_object() { schema.clone() } else { json!({ "type": "object" }) };
        if self.dialect == Dialect::V2 {
            lower(&mut object);
        }
        self.type_meta(&mut object, "ObjectMeta");
        object["x-kubernetes-group-version-kind"] = kind(&resource.kind);
        let mut items = json!({
            "type": "object", "required": ["items"],
            "description": format!("{list} is a list of {}", resource.kind),
            "properties": { "items": { "type": "array", "items": self.dialect.reference(&name),
                "description": format!("List of {}.", resource.plural) } },
        });
        self.type_meta(&mut items, "ListMeta");
        items["x-kubernetes-group-version-kind"] = kind(&list);
        self.done.insert(format!("{name}List"), items);
        self.done.insert(name, object);
    }

    /// apiVersion, kind and metadata, as every object has them.
    fn type_meta(&mut self, object: &mut Value, metadata: &str) {
        const VERSION: &str = "APIVersion defines the versioned schema of this representation of an object.";
        const KIND: &str = "Kind is a string value representing the REST resource this object represents.";
        let name = format!("apimachinery.pkg.apis.meta.v1.{metadata}");
        self.wanted.extend(facts::index_of(&name));
        if !object["properties"].is_object() {
            object["properties"] = json!({});
        }
        object["properties"]["apiVersion"] = json!({ "type": "string", "description": VERSION });
        object["properties"]["kind"] = json!({ "type": "string", "description": KIND });
        object["properties"]["metadata"] = self.refer(&full(&name), "Standard object's metadata.");
    }

    /// A reference with a description, which v3 allows only around it.
    fn refer(&self, name: &str, description: &str) -> Value {
        let mut value = match self.dialect {
            Dialect::V2 => self.dialect.reference(name),
            Dialect::V3 => json!({ "allOf": [self.dialect.reference(name)], "default": {} }),
        };
        if !description.is_empty() {
            value["description"] = description.into();
        }
        value
    }

    fn finish(mut self) -> Value {
        let text = facts::descriptions();
        let words: HashMap<(&str, &str), &str> = text
            .lines()
            .filter_map(|line| {
                let mut parts = line.splitn(3, '\t');
                Some(((parts.next()?, parts.next()?), parts.next()?))
            })
            .collect();
        while let Some(index) = self.wanted.pop_first() {
            let of = facts::by_index(index);
            let name = full(of.name);
            if self.done.contains_key(&name) {
                continue;
            }
            // The place is taken first: types refer to themselves.
            self.done.insert(name.clone(), Value::Null);
            let mut made = self.structure(of, &words);
            if let Some(kinds) = self.kinds.get(&name) {
                made["x-kubernetes-group-version-kind"] = json!(kinds);
            } else if let Some((api_version, kind)) = facts::kind_of(index) {
                let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
                made["x-kubernetes-group-version-kind"] = json!([{ "group": group, "version": version, "kind": kind }]);
            }
            self.done.insert(name, made);
        }
        let simple = [
            (
                "apimachinery.pkg.api.resource.Quantity",
                json!({ "type": "string", "description": "Quantity is a fixed-point representation of a number." }),
            ),
            (
                "apimachinery.pkg.util.intstr.IntOrString",
                json!({ "type": "string", "format": "int-or-string", "description": "IntOrString is a type that can hold an int32 or a string." }),
            ),
        ];
        for (name, value) in simple {
            self.done.insert(full(name), value);
        }
        Value::Object(self.done.into_iter().collect())
    }

    fn structure(&mut self, of: &Struct, words: &HashMap<(&str, &str), &str>) -> Value {
        let mut properties = Map::new();
        for field in &of.fields {
            let description = words.get(&(of.name, &*field.name)).copied().unwrap_or_default();
            let mut property = self.node(&field.node, description);
            if let Some(default) = &field.node.default {
                property["default"] = (**default).clone();
            }
            match &field.node.shape {
                Shape::List { kind: ListKind::Map(keys), .. } => {
                    property["x-kubernetes-list-type"] = "map".into();
                    property["x-kubernetes-list-map-keys"] = keys.iter().map(|key| Value::from(&**key)).collect();
                }
                Shape::List { kind: ListKind::Set, .. } => property["x-kubernetes-list-type"] = "set".into(),
                Shape::List { kind: ListKind::Atomic, .. } => property["x-kubernetes-list-type"] = "atomic".into(),
                Shape::Struct { atomic: true, .. } | Shape::Map { atomic: true, .. } => {
                    property["x-kubernetes-map-type"] = "atomic".into();
                }
                _ => {}
            }
            let strategy = match (field.patch.merge, field.patch.retain_keys) {
                (true, true) => "merge,retainKeys",
                (true, false) => "merge",
                (false, true) => "retainKeys",
                (false, false) => "",
            };
            if !strategy.is_empty() {
                property["x-kubernetes-patch-strategy"] = strategy.into();
            }
            if let Some(key) = field.patch.merge_key {
                property["x-kubernetes-patch-merge-key"] = key.into();
            }
            properties.insert(field.name.to_string(), property);
        }
        let mut made = json!({ "type": "object", "properties": properties });
        let required: Vec<&str> = of.fields.iter().filter(|f| f.required).map(|f| &*f.name).collect();
        if !required.is_empty() {
            made["required"] = json!(required);
        }
        if let Some(description) = words.get(&(of.name, "")) {
            made["description"] = (*description).into();
        }
        if of.atomic {
            made["x-kubernetes-map-type"] = "atomic".into();
        }
        made
    }

    fn node(&mut self, node: &Node, description: &str) -> Value {
        let plain = |kind: &str, format: &str| {
            let mut value = json!({ "type": kind });
            if !format.is_empty() {
                value["format"] = format.into();
            }
            value
        };
        let mut value = match &node.shape {
            Shape::Scalar(scalar) => match scalar {
                Scalar::Bool => plain("boolean", ""),
                Scalar::Int32 => plain("integer", "int32"),
                Scalar::Int64 => plain("integer", "int64"),
                Scalar::Double => plain("number", "double"),
                Scalar::String | Scalar::Duration => plain("string", ""),
                Scalar::Bytes => plain("string", "byte"),
                Scalar::Time | Scalar::MicroTime => plain("string", "date-time"),
                Scalar::Quantity => return self.refer(&full("apimachinery.pkg.api.resource.Quantity"), description),
                Scalar::IntOrString => {
                    return self.refer(&full("apimachinery.pkg.util.intstr.IntOrString"), description);
                }
            },
            Shape::Any(_) => plain("object", ""),
            // A schema, or something else: anything goes.
            Shape::Union(_) => json!({}),
            Shape::List { items, .. } => json!({ "type": "array", "items": self.item(items) }),
            Shape::Map { values, .. } => json!({ "type": "object", "additionalProperties": self.item(values) }),
            Shape::Struct { of, .. } => {
                self.wanted.extend(facts::index_of(of.name));
                return self.refer(&full(of.name), description);
            }
        };
        if !description.is_empty() {
            value["description"] = description.into();
        }
        value
    }

    fn item(&mut self, node: &Node) -> Value {
        let mut value = self.node(node, "");
        if let (Dialect::V3, Scalar::String) = (self.dialect, scalar(node).unwrap_or(Scalar::Bool)) {
            value["default"] = "".into();
        }
        value
    }
}

fn scalar(node: &Node) -> Option<Scalar> {
    if let Shape::Scalar(scalar) = node.shape { Some(scalar) } else { None }
}

/// Takes from a custom schema what version 2 cannot say.
fn lower(schema: &mut Value) {
    let Some(map) = schema.as_object_mut() else { return };
    for word in ["oneOf", "anyOf", "not", "nullable", "x-kubernetes-validations"] {
        map.remove(word);
    }
    if map.get("x-kubernetes-int-or-string").is_some() || map.get("x-kubernetes-preserve-unknown-fields").is_some() {
        map.remove("properties");
    }
    for word in ["items", "additionalProperties"] {
        if let Some(inner) = map.get_mut(word) {
            lower(inner);
        }
    }
    for property in map.get_mut("properties").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
        lower(property);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployments() -> Resource {
        let words = |list: &[&str]| list.iter().map(|&word| word.to_owned()).collect();
        Resource {
            group: "apps".to_owned(),
            version: "v1".to_owned(),
            kind: "Deployment".to_owned(),
            plural: "deployments".to_owned(),
            namespaced: true,
            verbs: words(&["get", "list", "create", "update", "patch", "delete", "deletecollection", "watch"]),
            ..Resource::default()
        }
    }

    #[test]
    fn every_reference_is_there() {
        let text = |document: &Value| document.to_string();
        for (document, at, prefix) in [
            (v3("apps", "v1", &[deployments()]), "/components/schemas", "#/components/schemas/"),
            (v2(&[deployments()]), "/definitions", "#/definitions/"),
        ] {
            let types = document.pointer(at).unwrap().as_object().unwrap();
            for part in text(&document).split(&format!("\"$ref\":\"{prefix}")).skip(1) {
                let name = part.split('"').next().unwrap();
                assert!(types.contains_key(name), "{name}");
            }
        }
    }

    #[test]
    fn kubectl_finds_what_it_looks_for() {
        let document = v3("apps", "v1", &[deployments()]);
        let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
        assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Deployment");
        let names: Vec<&str> =
            patch["parameters"].as_array().unwrap().iter().filter_map(|p| p["name"].as_str()).collect();
        assert!(names.contains(&"fieldValidation"));
        let spec = &document["components"]["schemas"]["io.k8s.api.apps.v1.DeploymentSpec"];
        assert!(spec["properties"]["replicas"]["description"].as_str().unwrap().starts_with("Number of desired pods"));
    }

    #[test]
    fn a_custom_kind_is_named_by_its_reversed_group() {
        let resource = Resource {
            group: "example.com".to_owned(),
            version: "v1".to_owned(),
            kind: "Widget".to_owned(),
            plural: "widgets".to_owned(),
            custom: Some(json!({ "type": "object", "properties": { "spec": { "type": "object" } } })),
            ..Resource::default()
        };
        let document = v3("example.com", "v1", &[resource]);
        let widget = &document["components"]["schemas"]["com.example.v1.Widget"];
        assert_eq!(widget["x-kubernetes-group-version-kind"][0]["kind"], "Widget");
    }
}
