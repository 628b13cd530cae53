//! What an admission plugin is told about a request: upstream's `admission.Attributes`
//! (`apiserver/pkg/admission/attributes.go`).

use std::fmt;

use auth::UserInfo;
use schema::names;
use serde_json::{Map, Value, json};
use store::cache::{At, ListQuery};

use crate::app::{App, Call, text};
use crate::audit::Level;
use crate::http::answer::value_of;
use crate::http::status::{ApiError, ApiResult};
use crate::registry::resource::Resource;

/// What is being done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    /// exec, attach, portforward, proxy.
    Connect,
}

impl Operation {
    /// As rules and reviews write it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// A group, version and kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Gvk {
    pub group: String,
    pub version: String,
    pub kind: String,
}

impl Gvk {
    #[must_use]
    pub fn new(group: &str, version: &str, kind: &str) -> Self {
        Self { group: group.to_owned(), version: version.to_owned(), kind: kind.to_owned() }
    }

    /// The kind of an object by its own `apiVersion` and `kind`.
    #[must_use]
    pub fn of(object: &Value) -> Self {
        let api_version = text(object, "/apiVersion");
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        Self::new(group, version, text(object, "/kind"))
    }

    /// `v1`, `apps/v1`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }
}

impl fmt::Display for Gvk {
    /// As Go shows one: `apps/v1, Kind=Deployment`, `/v1, Kind=Pod`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}, Kind={}", self.group, self.version, self.kind)
    }
}

/// One request as the plugins see it. The object itself travels beside it, because mutating plugins change it; it is null
/// for [`Operation::Delete`].
pub struct Attributes<'a> {
    pub call: &'a Call,
    pub operation: Operation,
    /// The kind of the object (and of `old`): the resource's own, or that of the subresource's body.
    pub kind: Gvk,
    /// The object's name; empty for a creation whose name is still to be generated.
    pub name: String,
    /// What is there now, for [`Operation::Update`] and [`Operation::Delete`].
    pub old: Option<&'a Value>,
    /// `meta.k8s.io/v1` CreateOptions, UpdateOptions or DeleteOptions; null for [`Operation::Connect`].
    pub options: Value,
}

impl<'a> Attributes<'a> {
    /// A creation of `object` at the call's place.
    #[must_use]
    pub fn create(call: &'a Call, object: &Value) -> Self {
        let name = match call.info.name.as_str() {
            "" => text(object, "/metadata/name"),
            name => name,
        };
        let options = options(call, "CreateOptions");
        let kind = Gvk::of(object);
        Self { call, operation: Operation::Create, kind, name: name.to_owned(), old: None, options }
    }

    /// A change of `old`: of the call's object, or of the view that the call's subresource is.
    #[must_use]
    pub fn update(call: &'a Call, old: &'a Value) -> Self {
        let options = options(call, "UpdateOptions");
        let (kind, name) = (Gvk::of(old), call.info.name.clone());
        Self { call, operation: Operation::Update, kind, name, old: Some(old), options }
    }

    /// The deletion of `old`.
    #[must_use]
    pub fn delete(call: &'a Call, old: &'a Value, options: Value) -> Self {
        // Who deletes a collection names nobody.
        let name = if call.info.verb == "deletecollection" { String::new() } else { call.info.name.clone() };
        Self { call, operation: Operation::Delete, kind: Gvk::of(old), name, old: Some(old), options }
    }

    /// A connection through the call's subresource; `object` holds its options.
    #[must_use]
    pub fn connect(call: &'a Call, object: &Value) -> Self {
        let (kind, name) = (Gvk::of(object), call.info.name.clone());
        Self { call, operation: Operation::Connect, kind, name, old: None, options: Value::Null }
    }

    #[must_use]
    pub fn app(&self) -> &'a App {
        &self.call.app
    }

    #[must_use]
    pub fn resource(&self) -> &'a Resource {
        &self.call.resource
    }

    #[must_use]
    pub fn subresource(&self) -> &'a str {
        &self.call.info.subresource
    }

    /// The namespace of the request; for a Namespace its own name, "" for what has none.
    #[must_use]
    pub fn namespace(&self) -> &str {
        if self.resource().is("", "namespaces") { &self.name } else { &self.call.info.namespace }
    }

    #[must_use]
    pub fn user(&self) -> &'a UserInfo {
        &self.call.user
    }

    #[must_use]
    pub fn dry_run(&self) -> bool {
        self.call.dry_run()
    }

    /// A write of whole objects of this resource, not through a subresource?
    #[must_use]
    pub fn is(&self, operation: Operation, group: &str, plural: &str) -> bool {
        self.operation == operation && self.subresource().is_empty() && self.resource().is(group, plural)
    }

    /// Notes something in the audit log: under a qualified name with a prefix, where the first note stays.
    pub fn annotate(&self, key: &str, value: &str) {
        self.annotate_from(Level::Metadata, key, value);
    }

    /// The same, for logs that say at least so much.
    pub fn annotate_from(&self, level: Level, key: &str, value: &str) {
        let Some(trail) = self.call.trail.as_ref().filter(|trail| trail.wants(level)) else { return };
        if key.contains('/') && names::qualified_name(key).is_empty() {
            trail.annotate(key, value);
        } else {
            tracing::warn!(key, "what a plugin has to say is not logged: the annotation's key is no qualified name");
        }
    }

    /// A refusal: `pods "x" is forbidden: …` (upstream's `admission.NewForbidden`).
    #[must_use]
    pub fn forbidden(&self, object: &Value, why: &str) -> ApiError {
        let own = |field: &str| text(object, &format!("/metadata/{field}")).to_owned();
        // The name may not have been generated yet.
        let name = [self.name.clone(), own("name"), own("generateName"), "Unknown".to_owned()];
        let name = name.into_iter().find(|name| !name.is_empty()).unwrap_or_default();
        self.call.forbidden(&name, why)
    }

    /// All objects of a built-in resource in a namespace ("": in all), as the cache has them.
    ///
    /// # Errors
    /// The cache cannot be read.
    pub async fn list(&self, group: &str, plural: &str, namespace: &str) -> ApiResult<Vec<Value>> {
        let resource = self.app().resource(group, plural)?;
        let prefix = resource.range(namespace);
        let query = ListQuery { at: At::NotOlderThan(0), prefix: &prefix, start: None, limit: 0, filter: None };
        let list = self.app().caches.of(&resource).list(query).await?;
        list.items.iter().map(|item| value_of(&resource, item)).collect()
    }
}

/// The options of a request from its query, `kind` being one of `meta.k8s.io/v1`.
fn options(call: &Call, kind: &str) -> Value {
    let mut map = Map::new();
    map.insert("kind".to_owned(), kind.into());
    map.insert("apiVersion".to_owned(), "meta.k8s.io/v1".into());
    if call.dry_run() {
        map.insert("dryRun".to_owned(), json!(["All"]));
    }
    for field in ["fieldManager", "fieldValidation"] {
        if let Some(word) = call.query.text(field) {
            map.insert(field.to_owned(), word.into());
        }
    }
    Value::Object(map)
}
