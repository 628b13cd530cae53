//! The words a row of the table is written in: a [`Kind`] with every default, verb sets, and the usual subresources.

use super::{Column, Kind, Strategy, Subresource};

/// What every ordinary resource answers.
pub const ALL_VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
pub const CREATE: &[&str] = &["create"];
/// What `status`, `scale` and their like answer.
pub const GET_PATCH_UPDATE: &[&str] = &["get", "patch", "update"];
/// What a proxied or streaming path answers.
pub const CREATE_GET: &[&str] = &["create", "get"];
pub const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];

pub const STATUS: Subresource = same("status", GET_PATCH_UPDATE);
pub const SCALE: Subresource = other("scale", ("autoscaling", "v1", "Scale"), GET_PATCH_UPDATE);
pub const ONLY_STATUS: &[Subresource] = &[STATUS];

/// The column every Table begins with.
pub const NAME: Column = Column {
    name: "Name",
    kind: "string",
    format: "name",
    description: "Name, unique within a namespace",
    priority: 0,
    cell: |object, _| object["metadata"]["name"].as_str().unwrap_or_default().into(),
};

impl Kind {
    /// A namespaced, stored resource with all verbs, no subresources and only a Name column, kept under its plural.
    pub const fn new(
        group: &'static str,
        versions: &'static [&'static str],
        kind: &'static str,
        plural: &'static str,
        singular: &'static str,
    ) -> Self {
        Self {
            group,
            versions,
            storage_version: versions[0],
            storage_group: group,
            kind,
            plural,
            singular,
            short_names: &[],
            categories: &[],
            namespaced: true,
            verbs: ALL_VERBS,
            subresources: &[],
            registry: plural,
            columns: &[],
            columns_read: &[],
            fields: &[],
            fields_read: &[],
            strategy: Strategy::PLAIN,
            deprecation: "",
        }
    }
}

/// A subresource whose body is the parent itself.
pub const fn same(name: &'static str, verbs: &'static [&'static str]) -> Subresource {
    Subresource { name, body: ("", "", ""), verbs }
}

/// A subresource with a body of its own: (group, version, kind).
pub const fn other(
    name: &'static str,
    body: (&'static str, &'static str, &'static str),
    verbs: &'static [&'static str],
) -> Subresource {
    Subresource { name, body, verbs }
}
