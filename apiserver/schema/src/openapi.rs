//! OpenAPI documents from the same facts that everything else follows: v3 per group version, v2 as one swagger document,
//! and v2 in gnostic's protobuf form for older kubectl.
//!
//! Types carry what clients need to merge and validate: `x-kubernetes-group-version-kind`, list and map types, patch
//! keys. Paths carry what they look for: the kind of each operation, and the query parameters (`fieldValidation`,
//! `dryRun`). Documents are made anew on each call; the caller keeps the bytes.

mod gnostic;
mod paths;
mod types;

use serde_json::{Value, json};

pub use self::gnostic::v2_protobuf;
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

/// The document at `/openapi/v3/apis/GROUP/VERSION`; pass the resources of that group and version.
#[must_use]
pub fn v3(group: &str, version: &str, resources: &[Resource]) -> Value {
    let of_version: Vec<&Resource> =
        resources.iter().filter(|resource| resource.group == group && resource.version == version).collect();
    let mut types = Types::new(Dialect::V3);
    let paths = paths::paths(&of_version, &mut types);
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.35.0"},
        "paths": paths,
        "components": {"schemas": types.finish()},
    })
}

/// `/openapi/v2` of everything.
#[must_use]
pub fn v2(resources: &[Resource]) -> Value {
    let all: Vec<&Resource> = resources.iter().collect();
    let mut types = Types::new(Dialect::V2);
    let paths = paths::paths(&all, &mut types);
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "v1.35.0"},
        "paths": paths,
        "definitions": types.finish(),
    })
}

#[cfg(test)]
mod tests;
