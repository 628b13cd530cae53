//! The kinds the server is born with, as facts: names, scope, verbs, subresources, columns, selectable fields, and the few
//! rules that no schema can say. The REST code is generic and reads these tables; nothing else knows a kind by name.
//!
//! What refers to what: [`all`] lists every [`Kind`]; a kind points at its [`Strategy`] (`strategy/<kind>.rs`), its
//! [`columns`](Kind::columns) (`table/`) and its [`fields`](Kind::fields). Field types, defaults, list types and merge keys are not here:
//! they are in the `schema` crate.

use schema::field::ErrorList;
use serde_json::Value;

/// One resource of one group, in all its versions.
pub struct Kind {
    /// The API group, "" for core.
    pub group: &'static str,
    /// Served versions, preferred first.
    pub versions: &'static [&'static str],
    /// The version objects are stored in.
    pub storage_version: &'static str,
    pub kind: &'static str,
    /// Plural resource name, as in URLs.
    pub plural: &'static str,
    pub singular: &'static str,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub namespaced: bool,
    /// Verbs as discovery lists them.
    pub verbs: &'static [&'static str],
    pub subresources: &'static [Subresource],
    /// Where upstream keeps it below `/registry/`: "pods", "services/specs", "minions" …
    pub registry: &'static str,
    /// Table columns behind Name (which is implied first), Age included where upstream has it.
    pub columns: &'static [Column],
    /// Field selector names beyond metadata.name and metadata.namespace, and how to read each from an object.
    pub fields: &'static [(&'static str, fn(&Value) -> String)],
    pub strategy: Strategy,
}

/// A path below an object: `status`, `scale`, `log` …
pub struct Subresource {
    pub name: &'static str,
    /// The kind of its body with group and version ("" where it is the parent's), such as ("autoscaling", "v1", "Scale").
    pub body: (&'static str, &'static str, &'static str),
    pub verbs: &'static [&'static str],
}

/// One Table column. `priority` 0 is shown always, 1 with `-o wide`.
pub struct Column {
    pub name: &'static str,
    /// OpenAPI type: "string", "integer" …
    pub kind: &'static str,
    /// OpenAPI format, "name" for the name column.
    pub format: &'static str,
    pub description: &'static str,
    pub priority: i32,
    /// The cell for `object`; `now` is seconds since the epoch, for ages.
    pub cell: fn(object: &Value, now: i64) -> Value,
}

/// What upstream's `rest.RESTCreateStrategy` and friends do for one kind. Every function is pure; `None` means that the
/// generic behaviour is all there is. Generic behaviour (metadata validation, status reset on create and on a spec
/// update, spec reset on a status update, generation) belongs to the REST code and is switched here.
#[derive(Clone, Copy)]
pub struct Strategy {
    /// `status` is a subresource: reset on create, kept on update, written alone by `…/status`.
    pub has_status: bool,
    /// metadata.generation is 1 at creation and grows when the spec changes.
    pub has_generation: bool,
    /// PUT on a name that does not exist creates it (upstream's AllowCreateOnUpdate).
    pub create_on_update: bool,
    /// An update may omit resourceVersion (upstream's AllowUnconditionalUpdate).
    pub unconditional_update: bool,
    /// metadata.deletionGracePeriodSeconds handling: only pods are deleted gracefully.
    pub graceful: bool,
    /// The rules of metadata.name.
    pub name: NameRule,
    /// Fills what schema defaults cannot (derived defaults), after them, on create, update and when read from the store.
    pub default: Option<fn(&mut Value)>,
    /// Drops or sets fields before a create.
    pub prepare_create: Option<fn(&mut Value)>,
    /// The same before an update: (new, old).
    pub prepare_update: Option<fn(&mut Value, &Value)>,
    pub validate: Option<fn(&Value) -> ErrorList>,
    /// (new, old)
    pub validate_update: Option<fn(&Value, &Value) -> ErrorList>,
    /// Warnings sent with the answer of a create or update.
    pub warnings: Option<fn(&Value) -> Vec<String>>,
    /// Turns an object from one served version into another: (object, from, to).
    pub convert: Option<fn(&mut Value, &str, &str)>,
}

/// What a name may look like (`apimachinery/pkg/api/validation`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NameRule {
    /// RFC 1123 subdomain, 253 bytes; most kinds.
    Subdomain,
    /// RFC 1123 label, 63 bytes; namespaces, services use RFC 1035.
    Label,
    /// RFC 1035 label, 63 bytes.
    Label1035,
    /// Anything that is one path segment; RBAC.
    PathSegment,
}

impl Strategy {
    /// No status, no generation, subdomain name, unconditional updates; the starting point of most rows.
    pub const PLAIN: Self = Self {
        has_status: false,
        has_generation: false,
        create_on_update: false,
        unconditional_update: true,
        graceful: false,
        name: NameRule::Subdomain,
        default: None,
        prepare_create: None,
        prepare_update: None,
        validate: None,
        validate_update: None,
        warnings: None,
        convert: None,
    };
}

/// Every built-in kind.
#[must_use]
pub fn all() -> &'static [Kind] {
    &[]
}
