//! The paths of a resource, with an operation a verb.

use serde_json::{Map, Value, json};

use super::{Dialect, Resource, kind_name};

pub(super) fn add(paths: &mut Map<String, Value>, resource: &Resource, dialect: Dialect) {
    let base = match resource.group.as_str() {
        "" => format!("/api/{}", resource.version),
        group => format!("/apis/{group}/{}", resource.version),
    };
    let plural = &resource.plural;
    let own = resource.type_name();
    let gvk = json!({ "group": resource.group, "version": resource.version, "kind": resource.kind });
    let operations = |verbs: &[&str], offered: &[String], body: &str, gvk: &Value| -> Map<String, Value> {
        let offered = verbs.iter().filter(|verb| offered.iter().any(|v| v == *verb));
        offered.map(|verb| (method(verb).to_owned(), operation(verb, body, gvk, dialect))).collect()
    };
    let mut put = |path: String, operations: Map<String, Value>, named: bool| {
        if operations.is_empty() {
            return;
        }
        let mut item = Value::Object(operations);
        item["parameters"] = parameters(path.contains("{namespace}"), named, dialect);
        paths.insert(path, item);
    };
    let place = if resource.namespaced {
        format!("{base}/namespaces/{{namespace}}/{plural}")
    } else {
        format!("{base}/{plural}")
    };
    if resource.namespaced {
        put(format!("{base}/{plural}"), operations(&["list"], &resource.verbs, &own, &gvk), false);
    }
    put(place.clone(), operations(&["list", "create", "deletecollection"], &resource.verbs, &own, &gvk), false);
    let item = format!("{place}/{{name}}");
    put(item.clone(), operations(&["get", "update", "patch", "delete"], &resource.verbs, &own, &gvk), true);
    for sub in &resource.subresources {
        let gvk = json!({ "group": sub.group, "version": sub.version, "kind": sub.kind });
        let body = if sub.kind == resource.kind { own.clone() } else { kind_name(&sub.group, &sub.version, &sub.kind) };
        let verbs = ["get", "create", "update", "patch", "delete"];
        put(format!("{item}/{}", sub.name), operations(&verbs, &sub.verbs, &body, &gvk), true);
    }
}

fn method(verb: &str) -> &'static str {
    match verb {
        "create" => "post",
        "update" => "put",
        "patch" => "patch",
        "delete" | "deletecollection" => "delete",
        _ => "get",
    }
}

/// Upstream's word for a verb, in `x-kubernetes-action`.
fn action(verb: &str) -> &'static str {
    match verb {
        "create" => "post",
        "update" => "put",
        "patch" => "patch",
        "delete" => "delete",
        "deletecollection" => "deletecollection",
        "list" => "list",
        _ => "get",
    }
}

fn operation(verb: &str, body: &str, gvk: &Value, dialect: Dialect) -> Value {
    let answer = if verb == "list" { format!("{body}List") } else { body.to_owned() };
    let query: &[&str] = match verb {
        "create" | "update" => &["dryRun", "fieldManager", "fieldValidation"],
        "patch" => &["dryRun", "fieldManager", "fieldValidation", "force"],
        "list" | "deletecollection" => &[
            "continue",
            "fieldSelector",
            "labelSelector",
            "limit",
            "resourceVersion",
            "resourceVersionMatch",
            "timeoutSeconds",
            "watch",
        ],
        "delete" => &["dryRun", "gracePeriodSeconds", "propagationPolicy"],
        _ => &[],
    };
    let mut parameters: Vec<Value> = query.iter().map(|name| parameter(name, "query", dialect)).collect();
    let reference = match verb {
        "deletecollection" => dialect.reference("io.k8s.apimachinery.pkg.apis.meta.v1.Status"),
        _ => dialect.reference(&answer),
    };
    let mut operation = json!({
        "x-kubernetes-action": action(verb),
        "x-kubernetes-group-version-kind": gvk,
        "responses": { "200": match dialect {
            Dialect::V2 => json!({ "description": "OK", "schema": reference }),
            Dialect::V3 => json!({ "description": "OK", "content": { "application/json": { "schema": reference } } }),
        } },
    });
    if matches!(verb, "create" | "update" | "patch") {
        let schema = if verb == "patch" { json!({ "type": "object" }) } else { dialect.reference(body) };
        match dialect {
            Dialect::V2 => parameters.push(json!({ "name": "body", "in": "body", "required": true, "schema": schema })),
            Dialect::V3 => {
                let media: &[&str] = if verb == "patch" {
                    &[
                        "application/json-patch+json",
                        "application/merge-patch+json",
                        "application/strategic-merge-patch+json",
                        "application/apply-patch+yaml",
                    ]
                } else {
                    &["*/*"]
                };
                let content: Map<String, Value> =
                    media.iter().map(|m| ((*m).to_owned(), json!({ "schema": schema }))).collect();
                operation["requestBody"] = json!({ "required": true, "content": content });
            }
        }
    }
    operation["parameters"] = Value::Array(parameters);
    operation
}

fn parameter(name: &str, place: &str, dialect: Dialect) -> Value {
    let kind = match name {
        "limit" | "timeoutSeconds" | "gracePeriodSeconds" => "integer",
        "watch" | "force" => "boolean",
        _ => "string",
    };
    let mut parameter = json!({ "name": name, "in": place, "uniqueItems": true });
    match dialect {
        Dialect::V2 => parameter["type"] = kind.into(),
        Dialect::V3 => {
            parameter = json!({ "name": name, "in": place, "schema": { "type": kind } });
        }
    }
    if place == "path" {
        parameter["required"] = true.into();
    }
    parameter
}

fn parameters(namespace: bool, named: bool, dialect: Dialect) -> Value {
    let mut list = Vec::new();
    if named {
        list.push(parameter("name", "path", dialect));
    }
    if namespace {
        list.push(parameter("namespace", "path", dialect));
    }
    Value::Array(list)
}
