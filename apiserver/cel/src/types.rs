//! CEL's types as the checker sees them, and how cel-go spells them.

use std::{collections::BTreeMap, fmt, sync::Arc};

use crate::escape::{RESERVED, escape};

/// A type of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// The type of an expression that has an error in it; assignable to anything, so that one error is reported once.
    Error,
    Dyn,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Duration,
    Timestamp,
    List(Arc<Type>),
    Map(Arc<Type>, Arc<Type>),
    Optional(Arc<Type>),
    /// A type with known fields, compared by name.
    Object(Arc<Object>),
    /// A library's type, such as `kubernetes.URL`.
    Opaque(&'static str),
    /// The type of a type.
    Type(Option<Arc<Type>>),
    Param(Param),
}

/// A type variable: of a declaration, or made by the checker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Param {
    Declared(char),
    Free(u32),
}

/// An object type. Field names are escaped identifiers ([`crate::escape`]).
#[derive(Debug)]
pub struct Object {
    pub name: String,
    pub fields: BTreeMap<String, Type>,
}

impl Object {
    /// The type of a field. Where it is one by context a reserved word need not be escaped: `metadata.namespace`.
    pub(crate) fn field(&self, name: &str) -> Option<&Type> {
        self.fields.get(name).or_else(|| self.fields.get(&escape(name).filter(|_| RESERVED.contains(&name))?))
    }
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Object {}

impl Type {
    #[must_use]
    pub fn list(of: Self) -> Self {
        Self::List(Arc::new(of))
    }

    #[must_use]
    pub fn map(key: Self, value: Self) -> Self {
        Self::Map(Arc::new(key), Arc::new(value))
    }

    #[must_use]
    pub fn optional(of: Self) -> Self {
        Self::Optional(Arc::new(of))
    }

    #[must_use]
    pub fn object(name: impl Into<String>, fields: impl IntoIterator<Item = (String, Self)>) -> Self {
        Self::Object(Arc::new(Object { name: name.into(), fields: fields.into_iter().collect() }))
    }

    /// The types this one is made of.
    pub(crate) fn params(&self) -> Vec<&Self> {
        match self {
            Self::List(of) | Self::Optional(of) | Self::Type(Some(of)) => vec![of],
            Self::Map(key, value) => vec![key, value],
            _ => Vec::new(),
        }
    }

    /// The same type with its parts replaced.
    pub(crate) fn with_params(&self, mut each: impl FnMut(&Self) -> Self) -> Self {
        match self {
            Self::List(of) => Self::list(each(of)),
            Self::Optional(of) => Self::optional(each(of)),
            Self::Type(Some(of)) => Self::Type(Some(Arc::new(each(of)))),
            Self::Map(key, value) => {
                let key = each(key);
                Self::map(key, each(value))
            }
            other => other.clone(),
        }
    }

    /// What is known of a policy's variable that came to this type: simple types, and lists and maps of them
    /// (`convertCelTypeToDeclType`).
    #[must_use]
    pub fn of_variable(&self) -> Self {
        match self {
            Self::List(_) | Self::Map(..) => self.with_params(Self::of_variable),
            Self::Object(_) | Self::Optional(_) | Self::Opaque(_) | Self::Type(_) | Self::Param(_) | Self::Error => {
                Self::Dyn
            }
            simple => simple.clone(),
        }
    }

    /// The name without parameters, as `type(x)` prints at run time.
    #[must_use]
    pub fn runtime_name(&self) -> &str {
        match self {
            Self::Error => "error",
            Self::Dyn | Self::Param(_) => "dyn",
            Self::Null => "null_type",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::Duration => "google.protobuf.Duration",
            Self::Timestamp => "google.protobuf.Timestamp",
            Self::List(_) => "list",
            Self::Map(..) => "map",
            Self::Optional(_) => "optional_type",
            Self::Object(object) => &object.name,
            Self::Opaque(name) => name,
            Self::Type(_) => "type",
        }
    }
}

/// As cel-go's `FormatCELType`.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error => f.write_str("!error!"),
            Self::Null => f.write_str("null"),
            Self::Duration => f.write_str("duration"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::List(of) => write!(f, "list({of})"),
            Self::Map(key, value) => write!(f, "map({key}, {value})"),
            Self::Optional(of) => write!(f, "optional_type({of})"),
            Self::Type(Some(of)) => write!(f, "type({of})"),
            Self::Param(Param::Declared(name)) => write!(f, "{name}"),
            Self::Param(Param::Free(number)) => write!(f, "_var{number}"),
            other => f.write_str(other.runtime_name()),
        }
    }
}

/// Reads a type as declarations write it: `list<A>`, `map<A, B>`, `optional<string>`, `type<A>`, `kubernetes.URL`.
/// For the tables of this crate only: what is wrong in them is a defect.
pub(crate) fn parse(text: &'static str) -> Type {
    let text = text.trim();
    if let Some((outer, inner)) = text.split_once('<') {
        let inner = inner.strip_suffix('>').unwrap_or(inner);
        return match outer {
            "list" => Type::list(parse(inner)),
            "optional" => Type::optional(parse(inner)),
            "type" => Type::Type(Some(Arc::new(parse(inner)))),
            "map" => {
                let (key, value) = inner.split_once(',').unwrap_or((inner, "dyn"));
                Type::map(parse(key), parse(value))
            }
            _ => Type::Error,
        };
    }
    match text {
        "dyn" => Type::Dyn,
        "null" => Type::Null,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "duration" => Type::Duration,
        "timestamp" => Type::Timestamp,
        "type" => Type::Type(None),
        one if one.len() == 1 => Type::Param(Param::Declared(one.chars().next().unwrap_or('A'))),
        name => Type::Opaque(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_variables() {
        for (came_to, known) in [
            ("string", "string"),
            ("timestamp", "timestamp"),
            ("map<string, list<int>>", "map<string, list<int>>"),
            ("list<optional<int>>", "list<dyn>"),
            ("optional<int>", "dyn"),
            ("kubernetes.Quantity", "dyn"),
            ("type<int>", "dyn"),
        ] {
            assert_eq!(parse(came_to).of_variable(), parse(known), "{came_to}");
        }
        let spec = Type::object("spec", [("__namespace__".to_owned(), Type::String)]);
        assert_eq!(Type::list(spec.clone()).of_variable(), Type::list(Type::Dyn));
        let Type::Object(spec) = spec else { unreachable!("it was made as one") };
        assert_eq!(["namespace", "__namespace__", "if"].map(|name| spec.field(name).is_some()), [true, true, false]);
    }
}
