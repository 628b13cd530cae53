//! The descriptor the generic REST code works with: one served resource of one group and version, built in or custom.
//!
//! [`Catalogue`] is the whole table. It is immutable and replaced as a whole when a CustomResourceDefinition comes, changes
//! or goes, so that a request sees one consistent table from beginning to end.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use schema::Schema;
use serde_json::Value;

use super::custom::Custom;
use crate::kinds::{Kind, Strategy};
use crate::options::RuntimeConfig;

/// A path below an object, as discovery and OpenAPI list it.
#[derive(Clone, Debug)]
pub struct Sub {
    pub name: String,
    /// The body's group and version, empty where they are the parent's.
    pub group: String,
    pub version: String,
    pub kind: String,
    pub verbs: Vec<String>,
}

/// Where a resource's facts come from.
#[derive(Clone)]
pub enum Source {
    BuiltIn(&'static Kind),
    Custom(Arc<Custom>),
}

/// One resource in one served version.
#[derive(Clone)]
pub struct Resource {
    pub group: String,
    pub version: String,
    pub kind: String,
    pub list_kind: String,
    pub plural: String,
    pub singular: String,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub namespaced: bool,
    pub verbs: Vec<String>,
    pub subresources: Vec<Sub>,
    /// `/registry/pods/`; empty for virtual kinds.
    pub prefix: String,
    /// The apiVersion objects are stored under.
    pub storage_api_version: String,
    /// Answers in this version may be the stored bytes as they are.
    pub stored_as_served: bool,
    pub strategy: Strategy,
    pub source: Source,
}

impl Resource {
    #[must_use]
    pub fn built_in(kind: &'static Kind, version: &str) -> Self {
        let sub = |s: &crate::kinds::Subresource| {
            let (group, sub_version, sub_kind) = s.body;
            Sub {
                name: s.name.to_owned(),
                group: group.to_owned(),
                version: sub_version.to_owned(),
                kind: if sub_kind.is_empty() { kind.kind } else { sub_kind }.to_owned(),
                verbs: strings(s.verbs),
            }
        };
        let api_version = kind.api_version(version);
        Self {
            group: kind.group.to_owned(),
            version: version.to_owned(),
            kind: kind.kind.to_owned(),
            list_kind: format!("{}List", kind.kind),
            plural: kind.plural.to_owned(),
            singular: kind.singular.to_owned(),
            short_names: strings(kind.short_names),
            categories: strings(kind.categories),
            namespaced: kind.namespaced,
            verbs: strings(kind.verbs),
            subresources: kind.subresources.iter().map(sub).collect(),
            prefix: if kind.is_stored() { format!("/registry/{}/", kind.registry) } else { String::new() },
            storage_api_version: kind.storage_api_version(),
            stored_as_served: api_version == kind.storage_api_version(),
            strategy: kind.strategy,
            source: Source::BuiltIn(kind),
        }
    }

    /// `v1`, `apps/v1`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The model of the objects' fields.
    #[must_use]
    pub fn schema(&self) -> Option<Schema> {
        match &self.source {
            Source::BuiltIn(kind) => schema::builtin(&kind.api_version(&self.version), kind.kind),
            Source::Custom(custom) => Some(custom.version(&self.version)?.schema.clone()),
        }
    }

    #[must_use]
    pub fn is_custom(&self) -> bool {
        matches!(self.source, Source::Custom(_))
    }

    #[must_use]
    pub fn custom(&self) -> Option<&Arc<Custom>> {
        if let Source::Custom(custom) = &self.source { Some(custom) } else { None }
    }

    /// What requests for it are warned of: its kind, or its version, is to go.
    #[must_use]
    pub fn deprecation(&self) -> Option<String> {
        match &self.source {
            Source::BuiltIn(kind) => Some(kind.deprecation).filter(|text| !text.is_empty()).map(ToOwned::to_owned),
            Source::Custom(custom) => match custom.version(&self.version)?.deprecation.as_deref()? {
                "" => {
                    let what = format!("{} {} is deprecated", self.api_version(), self.kind);
                    Some(match custom.successor(&self.version) {
                        Some(version) => format!("{what}; use {}/{version} {}", self.group, self.kind),
                        None => what,
                    })
                }
                text => Some(text.to_owned()),
            },
        }
    }

    /// The store key of an object.
    #[must_use]
    pub fn key(&self, namespace: &str, name: &str) -> String {
        if self.namespaced { format!("{}{namespace}/{name}", self.prefix) } else { format!("{}{name}", self.prefix) }
    }

    /// The store prefix of a namespace's objects, or of all.
    #[must_use]
    pub fn range(&self, namespace: &str) -> String {
        if self.namespaced && !namespace.is_empty() {
            format!("{}{namespace}/", self.prefix)
        } else {
            self.prefix.clone()
        }
    }

    /// What discovery tells of it. Of a definition that is terminating nothing is to be written, though objects may still be
    /// updated: their finalizers must go.
    #[must_use]
    pub fn offered_verbs(&self) -> Vec<&str> {
        let closing = self.custom().is_some_and(|custom| custom.terminating);
        let offered = |verb: &&str| !(closing && matches!(*verb, "patch" | "create" | "update"));
        self.verbs.iter().map(String::as_str).filter(offered).collect()
    }

    #[must_use]
    pub fn has_verb(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }

    #[must_use]
    pub fn sub(&self, name: &str) -> Option<&Sub> {
        self.subresources.iter().find(|sub| sub.name == name)
    }

    /// Is it this resource of this group? For the few places that must know one by name.
    #[must_use]
    pub fn is(&self, group: &str, plural: &str) -> bool {
        self.group == group && self.plural == plural
    }

    /// Makes `object` one of `api_version`, whichever version it has now.
    pub fn convert(&self, object: &mut Value, api_version: &str) {
        match &self.source {
            Source::BuiltIn(kind) => kind.convert(object, api_version),
            Source::Custom(_) => object["apiVersion"] = api_version.into(),
        }
    }

    /// Whether a field selector may name this field, and what it reads.
    #[must_use]
    pub fn knows_field(&self, name: &str) -> bool {
        let plain = match &self.source {
            Source::BuiltIn(kind) => kind.fields.is_empty(),
            Source::Custom(_) => false,
        };
        match name {
            "metadata.name" => true,
            // Upstream's default lets objects in no namespace be asked for theirs; kinds with fields of their own do not.
            "metadata.namespace" => plain || self.namespaced,
            _ => match &self.source {
                Source::BuiltIn(kind) => kind.fields.iter().any(|(field, _)| *field == name),
                Source::Custom(custom) => {
                    custom.version(&self.version).is_some_and(|v| v.selectable.iter().any(|field| field == name))
                }
            },
        }
    }

    /// What is said of a field that cannot be selected by.
    #[must_use]
    pub fn unknown_field(&self, name: &str) -> String {
        let quoted = schema::go::quote(name);
        match (&self.source, self.kind.as_str()) {
            (Source::BuiltIn(kind), _) if kind.fields.is_empty() => {
                format!(r#"{quoted} is not a known field selector: only "metadata.name", "metadata.namespace""#)
            }
            (Source::BuiltIn(_), "Job") => format!("field label {quoted} not supported for Job"),
            (Source::BuiltIn(_), "ResourceSlice") => {
                format!("field label not supported for {}, Kind={}: {name}", self.api_version(), self.kind)
            }
            _ => format!("field label not supported: {name}"),
        }
    }
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|&s| s.to_owned()).collect()
}

/// All that is served at one moment.
#[derive(Default)]
pub struct Catalogue {
    /// group → version → plural
    by_name: HashMap<(String, String, String), Arc<Resource>>,
    /// Groups in discovery order, each with its versions, preferred first.
    pub groups: Vec<Group>,
}

/// One API group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub name: String,
    pub versions: Vec<String>,
}

impl Catalogue {
    /// The built-in kinds, then custom resources, whose groups come after in alphabetical order.
    #[must_use]
    pub fn new(custom: &[Arc<Custom>]) -> Self {
        Self::serving(custom, &RuntimeConfig::default())
    }

    /// The same without the built-in kinds that are not to be served.
    #[must_use]
    pub fn serving(custom: &[Arc<Custom>], config: &RuntimeConfig) -> Self {
        let mut this = Self::default();
        for kind in crate::kinds::all() {
            let all = kind.versions.iter().map(|version| Resource::built_in(kind, version));
            let served = all.filter(|row| config.serves(&row.group, &row.version, &row.plural));
            served.for_each(|row| this.add(row));
        }
        let mut groups: BTreeMap<&str, Vec<&Arc<Custom>>> = BTreeMap::new();
        for definition in custom {
            groups.entry(&definition.group).or_default().push(definition);
        }
        for definitions in groups.values() {
            let mut rows: Vec<Resource> = definitions.iter().flat_map(|d| Custom::resources(d)).collect();
            rows.sort_by(|a, b| super::custom::compare_versions(&a.version, &b.version));
            rows.into_iter().for_each(|row| this.add(row));
        }
        // A kind that is there in a beta version alone must not make that the preferred one.
        for group in &mut this.groups {
            group.versions.sort_by(|a, b| super::custom::compare_versions(a, b));
        }
        this
    }

    fn add(&mut self, resource: Resource) {
        let group = match self.groups.iter_mut().find(|g| g.name == resource.group) {
            Some(group) => group,
            None => {
                self.groups.push(Group { name: resource.group.clone(), versions: Vec::new() });
                self.groups.last_mut().expect("one has just been pushed")
            }
        };
        if !group.versions.contains(&resource.version) {
            group.versions.push(resource.version.clone());
        }
        let name = (resource.group.clone(), resource.version.clone(), resource.plural.clone());
        self.by_name.entry(name).or_insert_with(|| Arc::new(resource));
    }

    #[must_use]
    pub fn get(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.by_name.get(&(group.to_owned(), version.to_owned(), plural.to_owned()))
    }

    /// Whether the group has kinds of the server's own.
    #[must_use]
    pub fn is_built_in(&self, group: &str) -> bool {
        self.by_name.values().any(|resource| resource.group == group && !resource.is_custom())
    }

    /// The resource in its group's preferred version.
    #[must_use]
    pub fn preferred(&self, group: &str, plural: &str) -> Option<&Arc<Resource>> {
        let versions = &self.groups.iter().find(|g| g.name == group)?.versions;
        versions.iter().find_map(|version| self.get(group, version, plural))
    }

    /// The resources of one group and version, by name.
    #[must_use]
    pub fn of(&self, group: &str, version: &str) -> Vec<&Arc<Resource>> {
        let mut rows: Vec<_> = self.by_name.values().filter(|r| r.group == group && r.version == version).collect();
        rows.sort_by(|a, b| a.plural.cmp(&b.plural));
        rows
    }

    /// Those that discovery tells of: a definition in a version of the server's own is served, and not told of there.
    #[must_use]
    pub fn told(&self, group: &str, version: &str) -> Vec<&Arc<Resource>> {
        let mut rows = self.of(group, version);
        if rows.iter().any(|row| !row.is_custom()) {
            rows.retain(|row| !row.is_custom());
        }
        rows
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.by_name.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_stable_version_of_a_group_is_preferred() {
        let catalogue = Catalogue::new(&[]);
        let first =
            |name: &str| catalogue.groups.iter().find(|group| group.name == name).map(|g| g.versions[0].as_str());
        assert_eq!(first("admissionregistration.k8s.io"), Some("v1"));
        assert_eq!(first("autoscaling"), Some("v2"));
    }
}
