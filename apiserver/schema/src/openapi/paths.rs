//! The `paths` of a document: the operations of every resource and subresource.

use serde_json::{Map, Value, json};

use super::{
    Resource, group_version_kind,
    types::{Dialect, Types},
};

/// (query parameter, type, text)
type Query = (&'static str, &'static str, &'static str);

const DRY_RUN: Query = ("dryRun", "string", "All runs the whole request without storing its result.");
const FIELD_MANAGER: Query =
    ("fieldManager", "string", "The name under which the fields set by this request are recorded.");
const FIELD_VALIDATION: Query =
    ("fieldValidation", "string", "What to do about unknown and duplicate fields: Ignore, Warn or Strict.");
const FORCE: Query = ("force", "boolean", "Take over fields that conflict (apply only).");
const PRETTY: Query = ("pretty", "string", "Indents the answer.");
const LIST: &[Query] = &[
    ("allowWatchBookmarks", "boolean", "Asks for BOOKMARK events."),
    ("continue", "string", "Goes on with a list that was cut by limit."),
    ("fieldSelector", "string", "Restricts by fields."),
    ("labelSelector", "string", "Restricts by labels."),
    ("limit", "integer", "The most items to answer at once."),
    ("resourceVersion", "string", "The version to read at or watch from."),
    ("resourceVersionMatch", "string", "How resourceVersion is meant."),
    ("sendInitialEvents", "boolean", "Begins a watch with what there is."),
    ("timeoutSeconds", "integer", "Ends the call after this time."),
    ("watch", "boolean", "Follows changes."),
];
const DELETE: &[Query] = &[
    DRY_RUN,
    ("gracePeriodSeconds", "integer", "How long the object may take to end."),
    ("orphanDependents", "boolean", "Deprecated: use propagationPolicy."),
    ("propagationPolicy", "string", "Orphan, Background or Foreground."),
];

const PATCHES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

const CUSTOM_PATCHES: &[&str] =
    &["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"];

pub(super) fn paths(resources: &[&Resource], types: &mut Types) -> Value {
    let mut out = Map::new();
    for resource in resources {
        let root = match resource.group.as_str() {
            "" => format!("/api/{}", resource.version),
            group => format!("/apis/{group}/{}", resource.version),
        };
        let plural = &resource.plural;
        let scope = if resource.namespaced { format!("{root}/namespaces/{{namespace}}") } else { root.clone() };
        let (object, list) = types.resource(resource);
        let mut builder = Builder { resource, types };
        let collection = builder.collection(&object, &list);
        insert(&mut out, format!("{scope}/{plural}"), collection, resource.namespaced, false, builder.types.dialect());
        if resource.namespaced && builder.has("list") {
            let everywhere = builder.operation("list", "ForAllNamespaces", None, &list, LIST);
            let everywhere = Map::from_iter([("get".to_owned(), everywhere)]);
            insert(&mut out, format!("{root}/{plural}"), everywhere, false, false, builder.types.dialect());
        }
        let item = builder.item(&object);
        let dialect = builder.types.dialect();
        insert(&mut out, format!("{scope}/{plural}/{{name}}"), item, resource.namespaced, true, dialect);
        for subresource in &resource.subresources {
            let api_version = super::api_version(&subresource.group, &subresource.version);
            let schema = if subresource.kind == resource.kind {
                object.clone()
            } else {
                types.kind(&api_version, &subresource.kind).unwrap_or_else(|| json!({"type": "string"}))
            };
            let row = Resource {
                group: subresource.group.clone(),
                version: subresource.version.clone(),
                kind: subresource.kind.clone(),
                verbs: subresource.verbs.clone(),
                ..Resource::clone(resource)
            };
            let mut builder = Builder { resource: &row, types };
            let item = builder.operations(&subresource.verbs, &schema, &camel(&subresource.name));
            insert(
                &mut out,
                format!("{scope}/{plural}/{{name}}/{}", subresource.name),
                item,
                resource.namespaced,
                true,
                dialect,
            );
        }
    }
    out.into()
}

fn insert(
    out: &mut Map<String, Value>,
    path: String,
    mut item: Map<String, Value>,
    namespaced: bool,
    named: bool,
    dialect: Dialect,
) {
    if item.is_empty() {
        return;
    }
    let mut parameters = Vec::new();
    for (set, name) in [(named, "name"), (namespaced, "namespace")] {
        if set {
            parameters.push(parameter(name, "path", "string", "", dialect));
        }
    }
    if !parameters.is_empty() {
        item.insert("parameters".into(), parameters.into());
    }
    out.insert(path, item.into());
}

fn parameter(name: &str, place: &str, ty: &str, text: &str, dialect: Dialect) -> Value {
    let mut parameter = Map::from_iter([("name".to_owned(), name.into()), ("in".to_owned(), place.into())]);
    if !text.is_empty() {
        parameter.insert("description".into(), text.into());
    }
    if place == "path" {
        parameter.insert("required".into(), true.into());
    }
    match dialect {
        Dialect::V3 => parameter.insert("schema".into(), json!({"type": ty, "uniqueItems": true})),
        Dialect::V2 => parameter.insert("type".into(), ty.into()),
    };
    parameter.into()
}

fn camel(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map(|first| first.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
}

struct Builder<'a, 'b> {
    resource: &'a Resource,
    types: &'b mut Types,
}

impl Builder<'_, '_> {
    fn has(&self, verb: &str) -> bool {
        self.resource.verbs.iter().any(|other| other == verb)
    }

    fn collection(&mut self, object: &Value, list: &Value) -> Map<String, Value> {
        let mut item = Map::new();
        let status = self.types.kind("v1", "Status").unwrap_or_else(|| json!({"type": "object"}));
        if self.has("list") {
            item.insert("get".into(), self.operation("list", "", None, list, LIST));
        }
        if self.has("create") {
            let query = [DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION];
            item.insert("post".into(), self.operation("post", "", Some(object), object, &query));
        }
        if self.has("deletecollection") {
            let options = self.types.kind("v1", "DeleteOptions");
            let query: Vec<Query> = LIST.iter().chain(DELETE).copied().filter(|(name, ..)| *name != "watch").collect();
            item.insert(
                "delete".into(),
                self.operation("deletecollection", "Collection", options.as_ref(), &status, &query),
            );
        }
        item
    }

    fn item(&mut self, object: &Value) -> Map<String, Value> {
        let verbs: Vec<String> = self.resource.verbs.iter().filter(|verb| *verb != "create").cloned().collect();
        self.operations(&verbs, object, "")
    }

    fn operations(&mut self, verbs: &[String], object: &Value, suffix: &str) -> Map<String, Value> {
        let mut item = Map::new();
        let write = [DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION];
        for verb in verbs {
            let (method, operation) = match verb.as_str() {
                "get" => ("get", self.operation("get", suffix, None, object, &[])),
                "update" => ("put", self.operation("put", suffix, Some(object), object, &write)),
                "create" => ("post", self.operation("post", suffix, Some(object), object, &write)),
                "patch" => {
                    let patch = self.patch_body();
                    let query = [DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION, FORCE];
                    ("patch", self.operation("patch", suffix, Some(&patch), object, &query))
                }
                "delete" => {
                    let options = self.types.kind("v1", "DeleteOptions");
                    let status = self.types.kind("v1", "Status").unwrap_or_else(|| json!({"type": "object"}));
                    ("delete", self.operation("delete", suffix, options.as_ref(), &status, DELETE))
                }
                _ => continue,
            };
            item.insert(method.to_owned(), operation);
        }
        item
    }

    fn patch_body(&mut self) -> Value {
        // Any object: the patch types differ.
        json!({"type": "object"})
    }

    fn operation(
        &mut self,
        action: &str,
        suffix: &str,
        body: Option<&Value>,
        answer: &Value,
        query: &[Query],
    ) -> Value {
        let resource = self.resource;
        let dialect = self.types.dialect();
        let mut parameters: Vec<Value> =
            query.iter().chain([&PRETTY]).map(|(name, ty, text)| parameter(name, "query", ty, text, dialect)).collect();
        let media: &[&str] = match action {
            // Clients choose the form of a patch by this: only built-in kinds have merge keys.
            "patch" if self.resource.custom.is_some() => CUSTOM_PATCHES,
            "patch" => PATCHES,
            _ => &["*/*"],
        };
        let group: String = if resource.group.is_empty() {
            "core".into()
        } else {
            resource.group.split('.').next().map(camel).unwrap_or_default()
        };
        let scope = if resource.namespaced && suffix != "ForAllNamespaces" { "Namespaced" } else { "" };
        let verb = match action {
            "get" => "read",
            "post" => "create",
            "put" => "replace",
            "deletecollection" => "delete",
            other => other,
        };
        let id = format!("{verb}{}{}{scope}{}{suffix}", camel(&group), camel(&resource.version), resource.kind);
        let kind = group_version_kind(&resource.group, &resource.version, &resource.kind);
        let mut operation = json!({
            "operationId": id,
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": kind,
        });
        let types = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
        let content = |schema: &Value, media: &[&str]| -> Value {
            media.iter().map(|media| ((*media).to_owned(), json!({"schema": schema}))).collect::<Map<_, _>>().into()
        };
        let Value::Object(map) = &mut operation else { return operation };
        match dialect {
            Dialect::V3 => {
                if let Some(body) = body {
                    map.insert("requestBody".into(), json!({"content": content(body, media)}));
                }
                map.insert(
                    "responses".into(),
                    json!({"200": {"description": "OK", "content": content(answer, &types[..1])}}),
                );
            }
            Dialect::V2 => {
                if let Some(body) = body {
                    let required = !matches!(action, "delete" | "deletecollection");
                    parameters.push(json!({"name": "body", "in": "body", "required": required, "schema": body}));
                }
                map.insert("consumes".into(), media.into());
                map.insert("produces".into(), types.as_slice().into());
                map.insert("responses".into(), json!({"200": {"description": "OK", "schema": answer}}));
            }
        }
        map.insert("parameters".into(), parameters.into());
        operation
    }
}
