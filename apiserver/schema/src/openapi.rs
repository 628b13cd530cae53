//! OpenAPI documents from the same facts that everything else follows: v3 per group version, v2 as one swagger document,
//! and both in gnostic's protobuf forms.
//!
//! Types carry what clients need to merge and validate: `x-kubernetes-group-version-kind`, list and map types, patch
//! keys. Paths carry what they look for: the kind of each operation, and the query parameters (`fieldValidation`,
//! `dryRun`). Documents are made anew on each call; the caller keeps the bytes.

mod custom;
mod enums;
mod everywhere;
mod gnostic;
mod gnostic_v3;
mod parameters;
mod paths;
mod route;
mod types;

use serde_json::{Value, json};

pub use self::custom::Custom;
use self::everywhere::Scope;
pub use self::gnostic::v2_protobuf;
pub use self::gnostic_v3::v3_protobuf;
use self::route::Route;
use self::types::{Dialect, Types};

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
    /// What a definition says of its resource; None for built-in kinds.
    pub custom: Option<Custom>,
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
    fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }
}

fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// `x-kubernetes-group-version-kind` of an operation (an object) or a type (a list of these).
fn group_version_kind(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "version": version, "kind": kind})
}

/// What upstream calls this release in its documents.
const VERSION: &str = "1.35";

/// The document at `/openapi/v3/apis/GROUP/VERSION`; pass the resources of that group and version.
#[must_use]
pub fn v3(group: &str, version: &str, resources: &[Resource]) -> Value {
    let of_version: Vec<&Resource> =
        resources.iter().filter(|resource| resource.group == group && resource.version == version).collect();
    // Those of custom resources are made by another server upstream, and say so.
    if of_version.iter().any(|resource| resource.custom.is_some()) {
        let mut types = Types::new(Dialect::V3, Scope::Clients);
        let routes = paths::routes(&of_version, &mut types);
        let mut document = v3_document(&routes, types);
        document["info"] = json!({"title": "Kubernetes CRD Swagger", "version": "v0.1.0"});
        if let Some(components) = document["components"].as_object_mut() {
            components.remove("securitySchemes");
        }
        return document;
    }
    let mut types = Types::new(Dialect::V3, Scope::Own(group.to_owned(), version.to_owned()));
    let mut routes = paths::routes(&of_version, &mut types);
    routes.push(paths::discovery(group, version, &mut types));
    v3_document(&routes, types)
}

/// The document about a group as a whole, at `/openapi/v3/apis/GROUP`, or of the core group, at `/openapi/v3/api`.
#[must_use]
pub fn v3_group(group: &str) -> Value {
    let mut types = Types::new(Dialect::V3, Scope::Server);
    let route = paths::discovery(group, "", &mut types);
    v3_document(&[route], types)
}

/// The documents of no group.
pub const OTHERS: [&str; 4] = [".well-known/openid-configuration", "apis", "openid/v1/jwks", "version"];

/// One of [`OTHERS`].
#[must_use]
pub fn v3_other(name: &str) -> Option<Value> {
    let mut types = Types::new(Dialect::V3, Scope::Server);
    let route = paths::other(name, &mut types)?;
    Some(v3_document(&[route], types))
}

fn v3_document(routes: &[Route], types: Types) -> Value {
    let (paths, _) = route::document(routes, Dialect::V3);
    let mut components = json!({"securitySchemes": {"BearerToken": bearer_token()}});
    let schemas = types.finish();
    if schemas != json!({}) {
        components["schemas"] = schemas;
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": VERSION},
        "paths": paths,
        "components": components,
    })
}

/// How clients show who they are.
fn bearer_token() -> Value {
    json!({
        "description": "Bearer Token authentication", "in": "header", "name": "authorization", "type": "apiKey",
    })
}

/// `/openapi/v2` of everything.
#[must_use]
pub fn v2(resources: &[Resource]) -> Value {
    let all: Vec<&Resource> = resources.iter().collect();
    let mut types = Types::new(Dialect::V2, Scope::Server);
    let mut routes = paths::routes(&all, &mut types);
    let built_in = || all.iter().filter(|resource| resource.custom.is_none());
    let mut groups: Vec<(&str, &str)> =
        built_in().flat_map(|r| [(r.group.as_str(), r.version.as_str()), (r.group.as_str(), "")]).collect();
    groups.sort_unstable();
    groups.dedup();
    routes.extend(groups.into_iter().map(|(group, version)| paths::discovery(group, version, &mut types)));
    routes.extend(OTHERS.iter().filter_map(|name| paths::other(name, &mut types)));
    let (paths, parameters) = route::document(&routes, Dialect::V2);
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": VERSION},
        "paths": paths,
        "definitions": types.finish(),
        "parameters": parameters,
        "securityDefinitions": {"BearerToken": bearer_token()},
        "security": [{"BearerToken": []}],
    })
}

#[cfg(test)]
mod tests;
