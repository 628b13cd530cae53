//! The model: what a value of a type may look like, and how lists, maps and structs merge.
//!
//! A [`Schema`] is a [`Node`] tree. Built-in structs are referred to by their row in the fact table and read from it when
//! first touched ([`crate::facts`]); those of custom resources are owned by the tree ([`crate::crd`]). Everything else
//! in the crate walks this tree next to a `serde_json::Value`.

use std::{ops::Deref, sync::Arc};

use serde_json::Value;

use crate::{crd::Validator, facts};

/// A kind's model, cheap to clone.
#[derive(Clone, Debug)]
pub struct Schema {
    pub(crate) root: Arc<Node>,
    /// Value validation of a custom resource; built-in kinds are validated by their strategies.
    pub(crate) validator: Option<Arc<Validator>>,
}

/// The model of a built-in kind: `builtin("apps/v1", "Deployment")`. List kinds and the kinds of meta/v1 too.
#[must_use]
pub fn builtin(api_version: &str, kind: &str) -> Option<Schema> {
    let of = facts::kind(api_version, kind)?;
    let root = Arc::new(Node::new(Shape::Struct { of: StructRef::Builtin(of), atomic: false }));
    Some(Schema { root, validator: None })
}

/// How upstream's code names a kind: the type of its version (`v1.Pod`), and the one all versions become (`core.Pod`).
#[must_use]
pub fn go_types(api_version: &str, kind: &str) -> Option<(String, String)> {
    let mut parts = facts::name_of(facts::kind(api_version, kind)?).rsplit('.').skip(1);
    let (version, package) = (parts.next()?, parts.next()?);
    // Events have one internal type, in core.
    let package = if package == "events" { "core" } else { package };
    Some((format!("{version}.{kind}"), format!("{package}.{kind}")))
}

/// A struct by the fact table's name: `api.core.v1.PodSpec`.
#[must_use]
pub fn struct_of(name: &str) -> Option<&'static Struct> {
    facts::index_of(name).map(facts::by_index)
}

impl Schema {
    /// The place of a whole object.
    #[must_use]
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// Whether it is a custom resource's: decoding leaves types alone and validation speaks.
    #[must_use]
    pub fn is_custom(&self) -> bool {
        self.validator.is_some()
    }

    /// The value validation of a custom resource.
    #[must_use]
    pub fn validator(&self) -> Option<&Validator> {
        self.validator.as_deref()
    }
}

/// One place of the tree.
#[derive(Clone, Debug)]
pub struct Node {
    pub shape: Shape,
    pub default: Option<Arc<Value>>,
    /// `null` is a value here (custom resources only; built-in decoding drops nulls).
    pub nullable: bool,
    /// Go's name of the type, where it is not the one that follows from the shape (`v1.PodPhase`).
    pub go: Option<&'static str>,
}

impl Node {
    pub(crate) fn new(shape: Shape) -> Self {
        Self { shape, default: None, nullable: false, go: None }
    }
}

#[derive(Clone, Debug)]
pub enum Shape {
    /// Anything at all; merged as a whole by server-side apply unless it is an object (granular, as upstream's
    /// `x-kubernetes-preserve-unknown-fields`).
    Any(AnyKind),
    Scalar(Scalar),
    List {
        items: Arc<Node>,
        kind: ListKind,
        wrapped: bool,
    },
    Map {
        values: Arc<Node>,
        atomic: bool,
    },
    Struct {
        of: StructRef,
        atomic: bool,
    },
    /// apiextensions' `JSONSchemaPropsOr…`.
    Union(Union),
}

/// Forms of free JSON that differ on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnyKind {
    RawExtension,
    Json,
    FieldsV1,
    /// A custom resource's field of no fixed type.
    Custom,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    Bool,
    Int32,
    Int64,
    Double,
    String,
    Bytes,
    Quantity,
    IntOrString,
    Time,
    MicroTime,
    Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListKind {
    Atomic,
    Set,
    Map(Arc<[Box<str>]>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Union {
    PropsOrArray,
    PropsOrBool,
    PropsOrStrings,
}

/// A struct, in the fact table or owned.
#[derive(Clone, Debug)]
pub enum StructRef {
    Builtin(u16),
    Custom(Arc<Struct>),
}

impl Deref for StructRef {
    type Target = Struct;

    fn deref(&self) -> &Struct {
        match self {
            Self::Builtin(index) => facts::by_index(*index),
            Self::Custom(of) => of,
        }
    }
}

#[derive(Debug, Default)]
pub struct Struct {
    /// The fact table's name (`api.apps.v1.Deployment`); empty for custom structs.
    pub name: &'static str,
    /// Merged as a whole by server-side apply.
    pub atomic: bool,
    /// Sorted by name.
    pub fields: Vec<Field>,
    /// Nested order of the wire form; empty for custom structs.
    pub wire: Vec<Wire>,
    /// What becomes of fields not listed.
    pub unknown: Unknown,
    /// `x-kubernetes-embedded-resource`: apiVersion, kind and metadata are implied.
    pub embedded: bool,
}

#[derive(Debug, Default)]
pub enum Unknown {
    #[default]
    Drop,
    Keep,
}

/// One entry of a message: a field, or an inlined struct (by the name of its type) whose fields JSON shows in place.
#[derive(Debug)]
pub enum Wire {
    Field { number: u32, index: u16 },
    Inline { number: u32, of: &'static str, fields: Vec<Wire> },
}

#[derive(Debug)]
pub struct Field {
    pub name: Box<str>,
    pub node: Node,
    pub required: bool,
    /// The default is said to be `""`, the zero value, which decoding gives anyway.
    pub empty_default: bool,
    pub presence: Presence,
    pub patch: PatchFacts,
    /// Place among the fields of the Go struct.
    pub order: u16,
}

impl Field {
    /// What it holds where nothing is said: its default, or, where Go's type has no way to be absent, that type's zero.
    pub(crate) fn implied(&self) -> Option<Value> {
        if let Some(default) = &self.node.default {
            return Some(Value::clone(default));
        }
        match (&self.node.shape, self.presence) {
            _ if self.empty_default => Some("".into()),
            (Shape::Struct { .. }, Presence::Always | Presence::OmitEmpty | Presence::OmitZero) => {
                Some(Value::Object(serde_json::Map::new()))
            }
            (Shape::Scalar(scalar), Presence::Always) => match scalar {
                Scalar::String => Some("".into()),
                Scalar::Int32 | Scalar::Int64 | Scalar::Double => Some(0.into()),
                Scalar::Bool => Some(false.into()),
                _ => None,
            },
            _ => None,
        }
    }
}

/// How Go shows a field that holds its zero value; it decides what a client sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// A pointer: shown if and only if it was set.
    Pointer,
    /// A pointer that is null where it was not set.
    Null,
    /// Left out when zero; a struct never counts as zero.
    OmitEmpty,
    /// Left out when zero, structs too.
    OmitZero,
    /// Always shown.
    Always,
    /// No Go type stands behind it.
    Free,
}

/// Strategic merge: `patchStrategy` and `patchMergeKey`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PatchFacts {
    pub merge: bool,
    /// A map is taken as a whole.
    pub replace: bool,
    pub retain_keys: bool,
    pub merge_key: Option<&'static str>,
}

impl Struct {
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Field> {
        let index = self.fields.binary_search_by(|field| (*field.name).cmp(name)).ok()?;
        self.fields.get(index)
    }

    /// The Go type's name, `v1.DeploymentSpec`'s `DeploymentSpec`.
    #[must_use]
    pub fn go_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or_default()
    }

    /// The structs inlined in this one, outermost first, that a field of it belongs to: Go's decoder names them.
    #[must_use]
    pub fn inlined(&self, field: &str) -> Vec<&'static str> {
        fn within(wire: &[Wire], index: usize) -> Option<Vec<&'static str>> {
            wire.iter().find_map(|entry| match entry {
                Wire::Field { index: own, .. } => (usize::from(*own) == index).then(Vec::new),
                Wire::Inline { of, fields, .. } => {
                    let inner = within(fields, index)?;
                    Some(std::iter::once(*of).chain(inner).collect())
                }
            })
        }
        let Ok(index) = self.fields.binary_search_by(|known| (*known.name).cmp(field)) else { return Vec::new() };
        // What says what an object is has no number.
        within(&self.wire, index).unwrap_or_else(|| vec!["TypeMeta"])
    }
}
