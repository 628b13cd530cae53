//! The kinds the server is born with, as facts: names, scope, verbs, subresources, columns, selectable fields, and the few
//! rules that no schema can say. The REST code is generic and reads these tables; nothing else knows a kind by name.
//!
//! What refers to what: [`all`] lists every [`Kind`], a row in the file of its group (`core`, `apps` …); a row points at its
//! [`Strategy`] (`strategy/`, which in turn calls `validate/`), its [`columns`](Kind::columns) (`columns/`) and its
//! [`fields`](Kind::fields). Field types, defaults said by markers, list types and merge keys are not here: they are in the
//! `schema` crate.
//!
//! What callers may rely on: every function reachable from a row is pure and total (it never panics, whatever the JSON), and
//! every `default` is idempotent.

mod admission;
mod apps;
mod autoscaling;
mod batch;
pub mod columns;
mod core;
mod extension;
pub mod internal;
mod json;
mod network;
mod policy;
mod rbac;
mod resource;
mod review;
pub mod row;
mod storage;
mod strategy;
pub mod update_order;
pub mod validate;

use std::sync::LazyLock;

use schema::field::ErrorList;
use serde_json::Value;

pub use self::columns::human_duration;
pub use self::strategy::METADATA;

/// One resource of one group, in all its versions.
#[derive(Clone, Copy)]
pub struct Kind {
    /// The API group, "" for core.
    pub group: &'static str,
    /// Served versions, preferred first.
    pub versions: &'static [&'static str],
    /// The version objects are stored in.
    pub storage_version: &'static str,
    /// The group objects are stored in: its own, except that events.k8s.io Events are kept as core Events.
    pub storage_group: &'static str,
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
    /// Where upstream keeps it below `/registry/`: "pods", "services/specs", "minions" …; "" for the virtual kinds that are
    /// answered and never stored (reviews, Binding, ComponentStatus).
    pub registry: &'static str,
    /// Table columns behind Name (which is implied first), Age included where upstream has it. A list with a Name column of
    /// its own (Event) is complete as it is; [`Kind::table_columns`] knows the difference.
    pub columns: &'static [Column],
    /// All that the columns look at, as dotted paths that lead through lists; the rest of an object is then not even parsed
    /// for a Table. Empty where it is not worth the list: anything.
    pub columns_read: &'static [&'static str],
    /// Field selector names beyond metadata.name and metadata.namespace, and how to read each from an object.
    pub fields: &'static [SelectableField],
    /// What those look at besides the paths that are their names: an object is parsed no further for them.
    pub fields_read: &'static [&'static str],
    pub strategy: Strategy,
    /// What every request for it is warned of.
    pub deprecation: &'static str,
}

/// The name of a field selector, and how it reads an object, as it is stored or as it is served.
pub type SelectableField = (&'static str, fn(&Value) -> String);

/// A path below an object: `status`, `scale`, `log` …
#[derive(Clone, Copy)]
pub struct Subresource {
    pub name: &'static str,
    /// The kind of its body with group and version ("" where it is the parent's), such as ("autoscaling", "v1", "Scale").
    pub body: (&'static str, &'static str, &'static str),
    pub verbs: &'static [&'static str],
}

impl Kind {
    /// `v1`, `apps/v1`: the apiVersion of this kind in `version`.
    #[must_use]
    pub fn api_version(&self, version: &str) -> String {
        join(self.group, version)
    }

    /// The apiVersion objects are stored under.
    #[must_use]
    pub fn storage_api_version(&self) -> String {
        join(self.storage_group, self.storage_version)
    }

    /// Whether objects of this kind exist in the store; false for reviews, Binding and ComponentStatus.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        !self.registry.is_empty()
    }

    /// All that the selectable fields look at, as dotted paths.
    pub fn fields_paths(&self) -> impl Iterator<Item = &'static str> + use<> {
        let Self { fields, fields_read, .. } = *self;
        fields.iter().map(|(name, _)| *name).chain(fields_read.iter().copied())
    }

    /// All columns of a Table of this kind, in order.
    pub fn table_columns(&self) -> impl Iterator<Item = &'static Column> + use<> {
        let own = self.columns.iter().any(|c| c.name == row::NAME.name);
        const NAME: &Column = &row::NAME;
        (!own).then_some(NAME).into_iter().chain(self.columns)
    }

    /// Makes `object` one of `to` (an apiVersion, such as `autoscaling/v2`), whichever version it has now.
    pub fn convert(&self, object: &mut Value, to: &str) {
        let from = object["apiVersion"].as_str().unwrap_or_default().to_owned();
        if from == to {
            return;
        }
        if let Some(convert) = self.strategy.convert {
            convert(object, &from, to);
        }
        if let Some(fields) = object.as_object_mut() {
            fields.insert("apiVersion".to_owned(), to.into());
        }
    }
}

fn join(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// One Table column. `priority` 0 is shown always, 1 with `-o wide`.
#[derive(Clone, Copy)]
pub struct Column {
    pub name: &'static str,
    /// OpenAPI type: "string", "integer" …
    pub kind: &'static str,
    /// OpenAPI format, "name" for the name column.
    pub format: &'static str,
    pub description: &'static str,
    /// 0, or 1 for what wide output shows; [`UNDEFINED`].
    pub priority: i32,
    /// The cell for `object`; `now` is seconds since the epoch, for ages.
    pub cell: fn(object: &Value, now: i64) -> Value,
}

/// The priority of a column that Tables have cells of, but do not define.
pub const UNDEFINED: i32 = -1;

/// Warnings of an object as it is to be, and as it is.
pub type NewWarnings = fn(&Value, Option<&Value>) -> Vec<String>;

/// What upstream's `rest.RESTCreateStrategy` and friends do for one kind. Every function is pure; `None` means that the
/// generic behaviour is all there is. Generic behaviour (metadata validation, status reset on create and on a spec
/// update, spec reset on a status update, generation) belongs to the REST code and is switched here.
#[derive(Clone, Copy)]
pub struct Strategy {
    /// `status` is a subresource: reset on create, kept on update, written alone by `…/status`.
    pub has_status: bool,
    /// Metadata that a write of the status leaves as it is, besides what only the server sets.
    pub status_keeps: &'static [&'static str],
    /// With `has_status`: a create keeps the status it came with. Only kubelets, which register with theirs, need it. Where
    /// it is false, the status is dropped before `prepare_create` runs.
    pub status_on_create: bool,
    /// metadata.generation is 1 at creation and grows when the spec changes.
    pub has_generation: bool,
    /// With `has_generation`: what is given empty differs from what is not given (upstream's `reflect.DeepEqual`).
    pub generation_counts_empty: bool,
    /// PUT on a name that does not exist creates it (upstream's AllowCreateOnUpdate).
    pub create_on_update: bool,
    /// An update may omit resourceVersion (upstream's AllowUnconditionalUpdate).
    pub unconditional_update: bool,
    /// metadata.deletionGracePeriodSeconds handling: only pods are deleted gracefully.
    pub graceful: bool,
    /// What a create cannot set, besides the status: nobody is named its manager.
    pub unmanaged: &'static [&'static str],
    /// The rules of metadata.name.
    pub name: NameRule,
    /// Fills what schema defaults cannot (derived defaults), after them, on create, update and when read from the store.
    pub default: Option<fn(&mut Value)>,
    /// Drops or sets fields before a create.
    pub prepare_create: Option<fn(&mut Value)>,
    /// Labels that a new object does not have are its template's, those that `prepare_create` adds to it included.
    pub labels_of_template: bool,
    /// The same before an update: (new, old).
    pub prepare_update: Option<PrepareUpdate>,
    /// Subresources whose updates change what `prepare_update` and the generic rules for `status` would keep, and how:
    /// the `approval` and `status` of certificate requests.
    pub prepare_path: &'static [(&'static str, PrepareUpdate)],
    /// What must be true of an object by itself; asked on create and on update.
    pub validate: Option<fn(&Value) -> ErrorList>,
    /// What must be true of a new object, and is not asked again.
    pub validate_create: Option<fn(&Value) -> ErrorList>,
    /// What an update may not change, on top of `validate`: (new, old).
    pub validate_update: Option<UpdateRule>,
    /// Subresources whose updates follow rules of their own instead of `validate_update`: pods' `resize` and
    /// `ephemeralcontainers`. [`Strategy::update_rule`] picks the one that applies.
    pub validate_path: &'static [(&'static str, UpdateRule)],
    /// What is made of an object's name, and no good where that is no DNS label; told when it is created.
    pub named_after: Option<&'static str>,
    /// Warnings sent with the answer of a create, and of such updates as [`Strategy::warned_again`] says.
    pub warnings: Option<fn(&Value) -> Vec<String>>,
    pub warned_again: WarnedAgain,
    /// Warnings sent with the answer of every create and update, after the others.
    pub warned_always: Option<fn(&Value) -> Vec<String>>,
    /// Warnings of what a create or an update brings that was not there before (new, old).
    pub warned_of_new: Option<NewWarnings>,
    /// Warnings sent with the answer of an update of the status.
    pub status_warnings: Option<fn(&Value) -> Vec<String>>,
    /// Turns an object from one served version into another: (object, from, to), both apiVersions such as
    /// `autoscaling/v1`. Call it through [`Kind::convert`].
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

/// Which updates are warned of what creates are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WarnedAgain {
    Always,
    /// Those that make a new generation.
    NewGeneration,
    /// The same, of what was there before: upstream takes the one for the other.
    OfTheFormer,
    /// None: programs make most of them.
    Never,
}

/// What the server does to an object before an update: (new, old).
pub type PrepareUpdate = fn(&mut Value, &Value);

/// What is wrong with a change from one object to another: (new, old).
pub type UpdateRule = fn(&Value, &Value) -> ErrorList;

impl Strategy {
    /// The rule for changes made through `subresource`, "" being the object itself.
    #[must_use]
    pub fn update_rule(&self, subresource: &str) -> Option<UpdateRule> {
        let own = self.validate_path.iter().find(|(name, _)| *name == subresource);
        own.map_or(self.validate_update, |(_, rule)| Some(*rule))
    }

    /// No status, no generation, subdomain name, unconditional updates; the starting point of most rows.
    pub const PLAIN: Self = Self {
        has_status: false,
        status_keeps: &[],
        status_on_create: false,
        has_generation: false,
        generation_counts_empty: false,
        create_on_update: false,
        unconditional_update: true,
        graceful: false,
        unmanaged: &[],
        name: NameRule::Subdomain,
        default: None,
        prepare_create: None,
        labels_of_template: false,
        prepare_update: None,
        prepare_path: &[],
        validate: None,
        validate_create: None,
        validate_update: None,
        validate_path: &[],
        named_after: None,
        warnings: None,
        warned_again: WarnedAgain::Always,
        warned_always: None,
        warned_of_new: None,
        status_warnings: None,
        convert: None,
    };
}

/// Every built-in kind, the groups in upstream's discovery order.
#[must_use]
pub fn all() -> &'static [Kind] {
    static ALL: LazyLock<Vec<Kind>> = LazyLock::new(|| {
        [
            core::KINDS,
            extension::REGISTRATION,
            apps::KINDS,
            core::EVENTS,
            review::KINDS,
            autoscaling::KINDS,
            batch::KINDS,
            policy::CERTIFICATES,
            network::KINDS,
            policy::KINDS,
            rbac::KINDS,
            storage::KINDS,
            admission::KINDS,
            extension::DEFINITIONS,
            policy::SCHEDULING,
            network::DISCOVERY,
            resource::KINDS,
            policy::FLOW_CONTROL,
        ]
        .concat()
    });
    &ALL
}

#[cfg(test)]
mod tests;
