//! The `schemas` (v3) or `definitions` (v2) of a document: what was referred to, and what that refers to.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};

use super::custom::ResourceFields;
use super::enums::{self, Enums};
use super::everywhere::{self, Scope};
use super::{Custom, Resource, group_version_kind};
use crate::{
    facts,
    model::{AnyKind, Field, ListKind, Node, Scalar, Shape, Struct, StructRef, Union},
};

/// (type, field, extension, its JSON): what is published and means nothing to the server; no field: of the type itself.
const EXTENSIONS: &[(&str, &str, &str, &str)] = &[
    (
        "api.core.v1.AppArmorProfile",
        "",
        "x-kubernetes-unions",
        r#"[{"discriminator":"type","fields-to-discriminateBy":{"localhostProfile":"LocalhostProfile"}}]"#,
    ),
    (
        "api.core.v1.SeccompProfile",
        "",
        "x-kubernetes-unions",
        r#"[{"discriminator":"type","fields-to-discriminateBy":{"localhostProfile":"LocalhostProfile"}}]"#,
    ),
    (
        "api.flowcontrol.v1.LimitResponse",
        "",
        "x-kubernetes-unions",
        r#"[{"discriminator":"type","fields-to-discriminateBy":{"queuing":"Queuing"}}]"#,
    ),
    (
        "api.flowcontrol.v1.PriorityLevelConfigurationSpec",
        "",
        "x-kubernetes-unions",
        r#"[{"discriminator":"type","fields-to-discriminateBy":{"exempt":"Exempt","limited":"Limited"}}]"#,
    ),
    (
        "api.flowcontrol.v1.Subject",
        "",
        "x-kubernetes-unions",
        r#"[{"discriminator":"kind","fields-to-discriminateBy":{"group":"Group","serviceAccount":"ServiceAccount","user":"User"}}]"#,
    ),
    ("api.core.v1.PersistentVolumeClaimStatus", "allocatedResourceStatuses", "x-kubernetes-map-type", r#""granular""#),
    ("kube-aggregator.pkg.apis.apiregistration.v1.APIServiceSpec", "caBundle", "x-kubernetes-list-type", r#""atomic""#),
    ("api.policy.v1.PodDisruptionBudgetSpec", "selector", "x-kubernetes-patch-strategy", r#""replace""#),
];

/// The fields of a custom resource that one may select by.
const SELECTABLE: &str = "x-kubernetes-selectable-fields";

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Dialect {
    V2,
    V3,
}

pub(super) struct Types {
    dialect: Dialect,
    scope: Scope,
    out: BTreeMap<String, Value>,
    /// Built-in types still to be written.
    queue: Vec<u16>,
    texts: Descriptions,
    enums: Enums,
}

/// Every kind has `apiVersion` and `kind`, but of all published types only this one has them described.
const TYPE_META: &str = "apimachinery.pkg.apis.meta.v1.DeleteOptions";

/// One of the many whose metadata are described as those of every kind are.
const METADATA: &str = "api.core.v1.Pod";
/// One of the many lists whose metadata are.
const LIST_METADATA: &str = "api.core.v1.PodList";
const EMBEDDED_API_VERSION: &str = "apiVersion defines the versioned schema of this representation of an object. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const EMBEDDED_KIND: &str = "kind is a string value representing the type of this object. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const CONVENTIONS: &str = "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md";

/// (type, field) to text; the field is empty for the type's own.
struct Descriptions(HashMap<(&'static str, &'static str), &'static str>);

impl Descriptions {
    fn read() -> Self {
        let line = |line: &'static str| {
            let (ty, rest) = line.split_once('\t')?;
            let (field, text) = rest.split_once('\t')?;
            Some(((ty, field), text)).filter(|_| !text.is_empty())
        };
        Self(facts::descriptions().lines().filter_map(line).collect())
    }

    fn get(&self, ty: &str, field: &str) -> Option<String> {
        let text = self.0.get(&(ty, field))?;
        Some(text.replace("\\n", "\n").replace("\\\\", "\\"))
    }
}

impl Types {
    pub fn new(dialect: Dialect, scope: Scope) -> Self {
        let (texts, enums) = (Descriptions::read(), Enums::read());
        Self { dialect, scope, out: BTreeMap::new(), queue: Vec::new(), texts, enums }
    }

    /// Writes everything that was referred to.
    pub fn finish(mut self) -> Value {
        while let Some(index) = self.queue.pop() {
            let schema = self.of_struct(index);
            self.out.insert(public_name(facts::by_index(index).name), schema);
        }
        Value::Object(self.out.into_iter().collect())
    }

    /// A reference to a built-in kind, or None if there is no such kind.
    pub fn kind(&mut self, api_version: &str, kind: &str) -> Option<Value> {
        facts::kind(api_version, kind).map(|index| self.builtin(index))
    }

    /// A reference to the type of a resource, and to that of its list.
    pub fn resource(&mut self, resource: &Resource) -> (Value, Value) {
        if let Some(custom) = &resource.custom {
            let name = custom_name(&resource.group, &resource.version, &resource.kind);
            let list = custom_name(&resource.group, &resource.version, &custom.list_kind);
            if !self.out.contains_key(&name) {
                let object = self.custom(resource, custom);
                let items = self.custom_list(resource, custom, &name);
                self.out.insert(name.clone(), object);
                self.out.insert(list.clone(), items);
            }
            return (self.reference(&name), self.reference(&list));
        }
        let api_version = resource.api_version();
        let object = self.kind(&api_version, &resource.kind).unwrap_or_else(|| json!({"type": "object"}));
        let list =
            self.kind(&api_version, &format!("{}List", resource.kind)).unwrap_or_else(|| json!({"type": "object"}));
        (object, list)
    }

    /// Of patches nothing is said but that they are some object: their forms differ.
    pub fn patch(&mut self) -> Value {
        self.leaf("io.k8s.apimachinery.pkg.apis.meta.v1.Patch", json!({
            "description": "Patch is provided to give a concrete name and type to the Kubernetes PATCH request body.",
            "type": "object",
        }))
    }

    /// What /version answers.
    pub fn version(&mut self) -> Value {
        let text = json!({"type": "string"});
        let of = |about: &str| json!({"type": "string", "description": about});
        self.leaf("io.k8s.apimachinery.pkg.version.Info", json!({
            "description": "Info contains versioning information. how we'll want to distribute that information.",
            "type": "object",
            "properties": {
                "major": of("Major is the major version of the binary version"),
                "minor": of("Minor is the minor version of the binary version"),
                "emulationMajor": of("EmulationMajor is the major version of the emulation version"),
                "emulationMinor": of("EmulationMinor is the minor version of the emulation version"),
                "minCompatibilityMajor": of("MinCompatibilityMajor is the major version of the minimum compatibility version"),
                "minCompatibilityMinor": of("MinCompatibilityMinor is the minor version of the minimum compatibility version"),
                "gitVersion": text, "gitCommit": text, "gitTreeState": text, "buildDate": text, "goVersion": text,
                "compiler": text, "platform": text,
            },
            "required": [
                "major", "minor", "gitVersion", "gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler", "platform",
            ],
        }))
    }

    /// A reference to a type that is no kind.
    pub fn named(&mut self, name: &str) -> Value {
        facts::index_of(name).map_or_else(|| json!({"type": "object"}), |index| self.builtin(index))
    }

    fn reference(&self, name: &str) -> Value {
        let place = if self.dialect == Dialect::V3 { "#/components/schemas/" } else { "#/definitions/" };
        json!({"$ref": format!("{place}{name}")})
    }

    fn builtin(&mut self, index: u16) -> Value {
        let name = public_name(facts::by_index(index).name);
        if !self.out.contains_key(&name) {
            // Marks it as under way, so that recursive types end.
            self.out.insert(name.clone(), Value::Null);
            self.queue.push(index);
        }
        self.reference(&name)
    }

    fn of_struct(&mut self, index: u16) -> Value {
        let of = facts::by_index(index);
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in &of.fields {
            properties.insert(field.name.to_string(), self.field(of, index, field));
            if field.required {
                required.push((field.order, Value::from(&*field.name)));
            }
        }
        // In the order of the Go struct.
        required.sort_unstable_by_key(|(order, _)| *order);
        let required: Vec<Value> = required.into_iter().map(|(_, name)| name).collect();
        let mut schema = Map::new();
        if let Some(text) = self.texts.get(of.name, "") {
            schema.insert("description".into(), text.into());
        }
        schema.insert("type".into(), "object".into());
        if !properties.is_empty() {
            schema.insert("properties".into(), properties.into());
        }
        if !required.is_empty() {
            schema.insert("required".into(), required.into());
        }
        if of.atomic {
            schema.insert("x-kubernetes-map-type".into(), "atomic".into());
        }
        if let Some(all) = everywhere::kinds(of.name, &self.scope) {
            schema.insert("x-kubernetes-group-version-kind".into(), all);
        } else if let Some((api_version, kind)) = facts::kind_of(index) {
            let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
            let group = if group == "meta.k8s.io" { "" } else { group };
            schema.insert("x-kubernetes-group-version-kind".into(), json!([group_version_kind(group, version, kind)]));
        }
        for (_, _, name, value) in EXTENSIONS.iter().filter(|(ty, field, ..)| *ty == of.name && field.is_empty()) {
            schema.insert((*name).to_owned(), serde_json::from_str(value).unwrap_or_default());
        }
        schema.into()
    }

    fn field(&mut self, of: &Struct, index: u16, field: &Field) -> Value {
        let mut text = if matches!(&*field.name, "apiVersion" | "kind") && facts::kind_of(index).is_some() {
            self.texts.get(TYPE_META, &field.name)
        } else {
            self.texts.get(of.name, &field.name)
        };
        let mut schema = self.node(&field.node);
        // Old clients would take those of the second version for more than they are.
        let default = field.implied().filter(|_| self.dialect == Dialect::V3);
        if schema.contains_key("$ref") && (text.is_some() || default.is_some()) && self.dialect == Dialect::V3 {
            schema = Map::from_iter([("allOf".to_owned(), json!([schema]))]);
        }
        let item = field.node.go.map(|go| go.rsplit_once(']').map_or(go, |(_, item)| item));
        if let Some(values) = item.and_then(|go| self.enums.get(of.name, go)) {
            let holder = match &field.node.shape {
                Shape::List { .. } => schema.get_mut("items"),
                Shape::Map { .. } => schema.get_mut("additionalProperties"),
                _ => {
                    text = Some(text.unwrap_or_default() + &enums::text(values));
                    schema.insert("enum".into(), enums::names(values));
                    None
                }
            };
            if let Some(Value::Object(holder)) = holder {
                holder.insert("enum".into(), enums::names(values));
            }
        }
        if let Some(text) = text {
            schema.insert("description".into(), text.into());
        }
        if let Some(default) = default {
            schema.insert("default".into(), default);
        }
        if field.patch.merge || field.patch.retain_keys {
            let words: Vec<&str> = [(field.patch.merge, "merge"), (field.patch.retain_keys, "retainKeys")]
                .iter()
                .filter(|(set, _)| *set)
                .map(|(_, word)| *word)
                .collect();
            schema.insert("x-kubernetes-patch-strategy".into(), words.join(",").into());
        }
        if let Some(key) = field.patch.merge_key {
            schema.insert("x-kubernetes-patch-merge-key".into(), key.into());
        }
        if let Shape::Struct { of: own, atomic } = &field.node.shape
            && *atomic != own.atomic
        {
            schema.insert("x-kubernetes-map-type".into(), if *atomic { "atomic" } else { "granular" }.into());
        }
        // The items of a list of a kind are no field that anybody merges.
        if &*field.name == "items" && facts::kind_of(index).is_some_and(|(_, kind)| kind.ends_with("List")) {
            schema.remove("x-kubernetes-list-type");
        }
        for (_, _, name, value) in
            EXTENSIONS.iter().filter(|(ty, of_field, ..)| *ty == of.name && *of_field == &*field.name)
        {
            schema.insert((*name).to_owned(), serde_json::from_str(value).unwrap_or_default());
        }
        schema.into()
    }

    fn node(&mut self, node: &Node) -> Map<String, Value> {
        let schema = match &node.shape {
            Shape::Any(kind) => self.any(*kind),
            Shape::Scalar(scalar) => self.scalar(*scalar),
            Shape::List { items, kind, wrapped } => {
                let mut schema = Map::from_iter([
                    ("type".to_owned(), "array".into()),
                    ("items".to_owned(), self.node(items).into()),
                ]);
                if *wrapped {
                    return schema;
                }
                match kind {
                    ListKind::Atomic => schema.insert("x-kubernetes-list-type".into(), "atomic".into()),
                    ListKind::Set => schema.insert("x-kubernetes-list-type".into(), "set".into()),
                    ListKind::Map(keys) => {
                        let keys: Vec<&str> = keys.iter().map(|key| &**key).collect();
                        schema.insert("x-kubernetes-list-map-keys".into(), keys.into());
                        schema.insert("x-kubernetes-list-type".into(), "map".into())
                    }
                };
                return schema;
            }
            Shape::Map { values, atomic } => {
                let mut schema = Map::from_iter([
                    ("type".to_owned(), "object".into()),
                    ("additionalProperties".to_owned(), {
                        let mut values = self.node(values);
                        values.remove("x-kubernetes-list-type");
                        values.into()
                    }),
                ]);
                if *atomic {
                    schema.insert("x-kubernetes-map-type".into(), "atomic".into());
                }
                return schema;
            }
            Shape::Struct { of: StructRef::Builtin(index), .. } => self.builtin(*index),
            Shape::Struct { .. } => json!({"type": "object"}),
            Shape::Union(union) => {
                let name = match union {
                    Union::PropsOrArray => "JSONSchemaPropsOrArray",
                    Union::PropsOrBool => "JSONSchemaPropsOrBool",
                    Union::PropsOrStrings => "JSONSchemaPropsOrStringArray",
                };
                self.leaf(&format!("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.{name}"), json!({}))
            }
        };
        match schema {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }

    fn any(&mut self, kind: AnyKind) -> Value {
        let name = match kind {
            AnyKind::RawExtension => "io.k8s.apimachinery.pkg.runtime.RawExtension",
            AnyKind::FieldsV1 => "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
            AnyKind::Json => "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
            AnyKind::Custom => return json!({}),
        };
        let schema = if kind == AnyKind::Json { json!({}) } else { json!({"type": "object"}) };
        self.leaf(name, schema)
    }

    fn scalar(&mut self, scalar: Scalar) -> Value {
        let v3 = self.dialect == Dialect::V3;
        match scalar {
            Scalar::Bool => json!({"type": "boolean"}),
            Scalar::Int32 => json!({"type": "integer", "format": "int32"}),
            Scalar::Int64 => json!({"type": "integer", "format": "int64"}),
            Scalar::Double => json!({"type": "number", "format": "double"}),
            Scalar::String => json!({"type": "string"}),
            Scalar::Bytes => json!({"type": "string", "format": "byte"}),
            Scalar::Quantity => {
                let schema = if v3 {
                    json!({"oneOf": [{"type": "string"}, {"type": "number"}]})
                } else {
                    json!({"type": "string"})
                };
                self.leaf("io.k8s.apimachinery.pkg.api.resource.Quantity", schema)
            }
            Scalar::IntOrString => {
                let schema = if v3 {
                    json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
                } else {
                    json!({"type": "string", "format": "int-or-string"})
                };
                self.leaf("io.k8s.apimachinery.pkg.util.intstr.IntOrString", schema)
            }
            Scalar::Time => {
                self.leaf("io.k8s.apimachinery.pkg.apis.meta.v1.Time", json!({"type": "string", "format": "date-time"}))
            }
            Scalar::MicroTime => self.leaf(
                "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
                json!({"type": "string", "format": "date-time"}),
            ),
            Scalar::Duration => self.leaf("io.k8s.apimachinery.pkg.apis.meta.v1.Duration", json!({"type": "string"})),
        }
    }

    fn leaf(&mut self, name: &str, mut schema: Value) -> Value {
        if !self.out.contains_key(name) {
            let text = self.texts.get(name.trim_start_matches("io.k8s."), "");
            if let (Some(text), Value::Object(schema)) = (text, &mut schema) {
                schema.insert("description".into(), text.into());
            }
            self.out.insert(name.to_owned(), schema);
        }
        self.reference(name)
    }

    fn custom(&mut self, resource: &Resource, custom: &Custom) -> Value {
        let mut schema = match custom.published(self.dialect) {
            Some(mut schema) => {
                self.resource_fields(false).add_to_root(&mut schema);
                self.resource_fields(true).add_to_embedded(&mut schema, self.dialect);
                schema
            }
            None => Map::from_iter([("type".to_owned(), "object".into())]),
        };
        let kind = group_version_kind(&resource.group, &resource.version, &resource.kind);
        schema.insert("x-kubernetes-group-version-kind".into(), json!([kind]));
        schema.extend(custom.selectable_fields().map(|fields| (SELECTABLE.to_owned(), fields)));
        schema.into()
    }

    fn custom_list(&mut self, resource: &Resource, custom: &Custom, item: &str) -> Value {
        let item = self.reference(item);
        let kind = &custom.list_kind;
        let about = format!("List of {}. More info: {CONVENTIONS}", resource.plural);
        let [api_version, name] = ["apiVersion", "kind"].map(|name| self.described_text(TYPE_META, name));
        let mut schema = json!({
            "description": format!("{kind} is a list of {}", resource.kind),
            "type": "object",
            "required": ["items"],
            "properties": {
                "apiVersion": api_version,
                "kind": name,
                "metadata": self.metadata("ListMeta", LIST_METADATA),
                "items": {"type": "array", "items": item, "description": about},
            },
            "x-kubernetes-group-version-kind": [group_version_kind(&resource.group, &resource.version, kind)],
        });
        if let Some(fields) = custom.selectable_fields() {
            schema[SELECTABLE] = fields;
        }
        schema
    }

    /// `embedded`: those of a resource in a field of another.
    fn resource_fields(&mut self, embedded: bool) -> ResourceFields {
        let metadata = self.metadata("ObjectMeta", METADATA);
        if embedded {
            let of = |about: &str| json!({"type": "string", "description": about});
            return ResourceFields { api_version: of(EMBEDDED_API_VERSION), kind: of(EMBEDDED_KIND), metadata };
        }
        let [api_version, kind] = ["apiVersion", "kind"].map(|name| self.described_text(TYPE_META, name));
        ResourceFields { api_version, kind, metadata }
    }

    /// A string with the description of a type's field.
    fn described_text(&self, ty: &str, field: &str) -> Value {
        json!({"type": "string", "description": self.texts.get(ty, field).unwrap_or_default()})
    }

    /// A reference to a type of metadata, described as it is in `like`.
    fn metadata(&mut self, name: &str, like: &str) -> Value {
        let Some(index) = facts::index_of(&format!("apimachinery.pkg.apis.meta.v1.{name}")) else {
            return json!({"type": "object"});
        };
        let metadata = self.builtin(index);
        match (self.texts.get(like, "metadata"), self.dialect) {
            (Some(text), Dialect::V3) => json!({"allOf": [metadata], "description": text}),
            (Some(text), Dialect::V2) => json!({"$ref": metadata["$ref"], "description": text}),
            (None, _) => metadata,
        }
    }
}

fn public_name(name: &str) -> String {
    format!("io.k8s.{name}")
}

/// `com.example.v1.Widget` of `example.com/v1`.
fn custom_name(group: &str, version: &str, kind: &str) -> String {
    let mut parts: Vec<&str> = group.split('.').collect();
    parts.reverse();
    format!("{}.{version}.{kind}", parts.join("."))
}
