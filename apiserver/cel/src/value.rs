//! Values at run time. JSON is converted when it is touched, and no sooner.

use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};

use schema::time::Instant;

use crate::{
    json::{JsonList, JsonMap},
    library::Extension,
    types::Type,
};

/// Why an evaluation has no value. Display: cel-go's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// An error of the expression, which `||`, `&&` and the quantifiers may absorb.
    #[error("{0}")]
    Failed(String),
    /// The cost limit of one evaluation was passed; nothing absorbs this.
    #[error("operation cancelled: actual cost limit exceeded")]
    CostExceeded,
}

pub type EvalResult<'a> = Result<Value<'a>, EvalError>;

pub(crate) fn failed<T>(message: impl Into<String>) -> Result<T, EvalError> {
    Err(EvalError::Failed(message.into()))
}

pub(crate) fn no_overload<T>() -> Result<T, EvalError> {
    failed("no such overload")
}

/// A value; `'a` is the lifetime of the JSON it may point into.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Str<'a>),
    Bytes(Arc<[u8]>),
    /// Nanoseconds.
    Duration(i64),
    /// Remembers the offset it was written with.
    Timestamp(Instant),
    List(List<'a>),
    Map(Map<'a>),
    Type(Type),
    Optional(Option<Arc<Value<'a>>>),
    /// Built by `Name{field: value}`.
    Object(Arc<ObjectValue<'a>>),
    Extension(Extension<'a>),
    /// What a schema keeps without describing it; only compared.
    Opaque(&'a serde_json::Value),
}

/// Text that is borrowed from JSON, or owned.
#[derive(Clone, Debug)]
pub enum Str<'a> {
    Borrowed(&'a str),
    Owned(Arc<str>),
}

impl std::ops::Deref for Str<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Owned(text) => text,
        }
    }
}

/// An object made by an expression, such as `JSONPatch{op: "add"}` or `Object.spec{…}`.
#[derive(Debug)]
pub struct ObjectValue<'a> {
    pub name: Arc<str>,
    pub fields: BTreeMap<Arc<str>, Value<'a>>,
}

#[derive(Clone, Debug)]
pub enum List<'a> {
    Owned(Arc<Vec<Value<'a>>>),
    Json(JsonList<'a>),
}

#[derive(Clone, Debug)]
pub enum Map<'a> {
    Owned(Arc<BTreeMap<Key<'a>, Value<'a>>>),
    Json(JsonMap<'a>),
}

/// A key of a map. Numbers of both kinds are one key if they are equal.
#[derive(Clone, Debug)]
pub enum Key<'a> {
    Bool(bool),
    Int(i64),
    Uint(u64),
    String(Str<'a>),
}

impl Key<'_> {
    fn rank(&self) -> (u8, i128, &str) {
        match self {
            Self::Bool(value) => (0, i128::from(*value), ""),
            Self::Int(value) => (1, i128::from(*value), ""),
            Self::Uint(value) => (1, i128::from(*value), ""),
            Self::String(text) => (2, 0, text),
        }
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for Key<'_> {}

impl PartialOrd for Key<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl<'a> From<Key<'a>> for Value<'a> {
    fn from(key: Key<'a>) -> Self {
        match key {
            Key::Bool(value) => Self::Bool(value),
            Key::Int(value) => Self::Int(value),
            Key::Uint(value) => Self::Uint(value),
            Key::String(text) => Self::String(text),
        }
    }
}

impl<'a> Value<'a> {
    #[must_use]
    pub fn string(text: impl Into<Arc<str>>) -> Self {
        Self::String(Str::Owned(text.into()))
    }

    #[must_use]
    pub fn list(values: Vec<Self>) -> Self {
        Self::List(List::Owned(Arc::new(values)))
    }

    pub(crate) fn some(value: Self) -> Self {
        Self::Optional(Some(Arc::new(value)))
    }

    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The key a map would file this under; whole doubles count as integers.
    pub(crate) fn key(&self) -> Option<Key<'a>> {
        Some(match self {
            Self::Bool(value) => Key::Bool(*value),
            Self::Int(value) => Key::Int(*value),
            Self::Uint(value) => Key::Uint(*value),
            Self::String(text) => Key::String(text.clone()),
            Self::Double(value) => Key::Int(whole(*value)?),
            _ => return None,
        })
    }

    /// What `size()` says, or 1: the measure of run-time costs.
    pub(crate) fn size_or_one(&self) -> u64 {
        match self {
            Self::Optional(Some(value)) => value.size_or_one(),
            Self::Extension(extension) => extension.size().unwrap_or(1),
            other => other.size().unwrap_or(1),
        }
    }

    pub(crate) fn size(&self) -> Option<u64> {
        let size = match self {
            Self::String(text) => text.chars().count(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(list) => list.len(),
            Self::Map(map) => map.len(),
            _ => return None,
        };
        Some(size as u64)
    }

    /// The type `type(x)` gives.
    pub(crate) fn type_of(&self) -> Type {
        match self {
            Self::Null => Type::Null,
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Uint(_) => Type::Uint,
            Self::Double(_) => Type::Double,
            Self::String(_) => Type::String,
            Self::Bytes(_) => Type::Bytes,
            Self::Duration(_) => Type::Duration,
            Self::Timestamp(_) => Type::Timestamp,
            Self::List(_) => Type::list(Type::Dyn),
            Self::Map(_) => Type::map(Type::Dyn, Type::Dyn),
            Self::Type(_) => Type::Type(None),
            Self::Optional(_) => Type::optional(Type::Dyn),
            Self::Object(object) => Type::object(&*object.name, []),
            Self::Extension(extension) => Type::Opaque(extension.type_name()),
            Self::Opaque(_) => Type::Opaque("unknown"),
        }
    }

    /// `==`. Numbers compare across kinds; values of different types are unequal.
    pub(crate) fn equals(&self, other: &Self) -> Result<bool, EvalError> {
        Ok(match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(_) | Self::Uint(_) | Self::Double(_), Self::Int(_) | Self::Uint(_) | Self::Double(_)) => {
                compare_numbers(self, other) == Some(std::cmp::Ordering::Equal)
            }
            (Self::String(a), Self::String(b)) => **a == **b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Duration(a), Self::Duration(b)) => a == b,
            (Self::Timestamp(a), Self::Timestamp(b)) => a == b,
            (Self::List(a), Self::List(b)) => return a.equals(b),
            (Self::Map(a), Self::Map(b)) => return a.equals(b),
            (Self::Type(a), Self::Type(b)) => a.runtime_name() == b.runtime_name(),
            (Self::Optional(None), Self::Optional(None)) => true,
            (Self::Optional(Some(a)), Self::Optional(Some(b))) => return a.equals(b),
            (Self::Object(a), Self::Object(b)) => {
                if a.name != b.name || a.fields.len() != b.fields.len() {
                    return Ok(false);
                }
                for ((name, value), (other_name, other)) in a.fields.iter().zip(&b.fields) {
                    if name != other_name || !value.equals(other)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Self::Extension(a), Self::Extension(b)) => a.same(b),
            (Self::Opaque(a), Self::Opaque(b)) => a == b,
            _ => false,
        })
    }

    /// The order of `<` and its like; `None` where there is none.
    pub(crate) fn compare(&self, other: &Self) -> Result<std::cmp::Ordering, EvalError> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Ok(a.cmp(b)),
            (Self::Int(_) | Self::Uint(_) | Self::Double(_), Self::Int(_) | Self::Uint(_) | Self::Double(_)) => {
                compare_numbers(self, other).ok_or_else(|| EvalError::Failed("NaN values cannot be ordered".to_owned()))
            }
            (Self::String(a), Self::String(b)) => Ok((**a).cmp(&**b)),
            (Self::Bytes(a), Self::Bytes(b)) => Ok(a.cmp(b)),
            (Self::Duration(a), Self::Duration(b)) => Ok(a.cmp(b)),
            (Self::Timestamp(a), Self::Timestamp(b)) => Ok(a.cmp(b)),
            _ => no_overload(),
        }
    }

    /// Whether it is the zero value of its type (`optional.ofNonZeroValue`).
    pub(crate) fn is_zero(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(value) => !value,
            Self::Int(value) => *value == 0,
            Self::Uint(value) => *value == 0,
            Self::Double(value) => *value == 0.0,
            Self::Duration(value) => *value == 0,
            Self::Timestamp(_) | Self::Type(_) | Self::Extension(_) | Self::Opaque(_) => false,
            Self::String(text) => text.is_empty(),
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::List(list) => list.is_empty(),
            Self::Map(map) => map.is_empty(),
            Self::Optional(inner) => inner.as_ref().is_none_or(|inner| inner.is_zero()),
            Self::Object(object) => object.fields.is_empty(),
        }
    }
}

/// A double that is an integer within i64.
pub(crate) fn whole(value: f64) -> Option<i64> {
    let fits = value.fract() == 0.0 && (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&value);
    fits.then_some(value as i64)
}

fn compare_numbers(a: &Value<'_>, b: &Value<'_>) -> Option<std::cmp::Ordering> {
    let integer = |value: &Value<'_>| match value {
        Value::Int(value) => Some(i128::from(*value)),
        Value::Uint(value) => Some(i128::from(*value)),
        _ => None,
    };
    let float_to_integer = |float: f64, integer: i128| {
        if float.is_nan() {
            return None;
        }
        // Beyond these bounds the double is larger than any integer here.
        if float >= 18_446_744_073_709_551_616.0 {
            return Some(std::cmp::Ordering::Greater);
        }
        if float < -9_223_372_036_854_775_808.0 {
            return Some(std::cmp::Ordering::Less);
        }
        let truncated = float.trunc() as i128;
        Some(truncated.cmp(&integer).then_with(|| float.fract().partial_cmp(&0.0).unwrap_or(std::cmp::Ordering::Equal)))
    };
    match (a, b) {
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        (Value::Double(a), b) => float_to_integer(*a, integer(b)?),
        (a, Value::Double(b)) => float_to_integer(*b, integer(a)?).map(std::cmp::Ordering::reverse),
        (a, b) => Some(integer(a)?.cmp(&integer(b)?)),
    }
}

impl<'a> List<'a> {
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Owned(values) => values.len(),
            Self::Json(list) => list.len(),
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element, or `None` beyond the end.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<EvalResult<'a>> {
        match self {
            Self::Owned(values) => values.get(index).cloned().map(Ok),
            Self::Json(list) => list.get(index),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = EvalResult<'a>> {
        let list = self.clone();
        (0..self.len()).filter_map(move |index| list.get(index))
    }

    pub(crate) fn to_vec(&self) -> Result<Vec<Value<'a>>, EvalError> {
        self.iter().collect()
    }

    pub(crate) fn contains(&self, wanted: &Value<'_>) -> Result<bool, EvalError> {
        for value in self.iter() {
            if value?.equals(wanted)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn equals(&self, other: &Self) -> Result<bool, EvalError> {
        if let Self::Json(list) = self
            && let Some(equal) = list.equals_unordered(other)
        {
            return equal;
        }
        if self.len() != other.len() {
            return Ok(false);
        }
        for (a, b) in self.iter().zip(other.iter()) {
            if !a?.equals(&b?)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl<'a> Map<'a> {
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Owned(entries) => entries.len(),
            Self::Json(map) => map.len(),
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a key, `None` if it is not there; an error if the key is of a wrong type.
    pub fn get(&self, key: &Value<'a>) -> Result<Option<Value<'a>>, EvalError> {
        match self {
            Self::Owned(entries) => Ok(key.key().and_then(|key| entries.get(&key).cloned())),
            Self::Json(map) => match key {
                Value::String(key) => map.get(key).transpose(),
                _ => no_overload(),
            },
        }
    }

    #[must_use]
    pub fn keys(&self) -> Vec<Value<'a>> {
        match self {
            Self::Owned(entries) => entries.keys().cloned().map(Value::from).collect(),
            Self::Json(map) => map.keys(),
        }
    }

    fn equals(&self, other: &Self) -> Result<bool, EvalError> {
        if self.len() != other.len() {
            return Ok(false);
        }
        if let (Self::Json(a), Self::Json(b)) = (self, other)
            && let Some(unequal) = a.undeclared_differ(b)
            && unequal
        {
            return Ok(false);
        }
        for key in self.keys() {
            match (self.get(&key)?, other.get(&key)?) {
                (Some(a), Some(b)) if a.equals(&b)? => {}
                (None, None) => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }
}

/// As cel-go prints values inside messages (`%v` of Go).
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL_VALUE"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Uint(value) => write!(f, "{value}"),
            Self::Double(value) => f.write_str(&crate::format::go_float(*value)),
            Self::String(text) => f.write_str(text),
            Self::Bytes(bytes) => write!(f, "{}", String::from_utf8_lossy(bytes)),
            Self::Duration(nanos) => f.write_str(&crate::time::seconds(*nanos)),
            Self::Timestamp(at) => at.fmt(f),
            Self::List(list) => {
                f.write_str("[")?;
                for (at, value) in list.iter().flatten().enumerate() {
                    write!(f, "{}{value}", if at == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Self::Map(map) => {
                f.write_str("{")?;
                for (at, key) in map.keys().into_iter().enumerate() {
                    let value = map.get(&key).ok().flatten().unwrap_or(Value::Null);
                    write!(f, "{}{key}: {value}", if at == 0 { "" } else { ", " })?;
                }
                f.write_str("}")
            }
            Self::Type(ty) => f.write_str(ty.runtime_name()),
            Self::Optional(None) => f.write_str("optional.none()"),
            Self::Optional(Some(value)) => write!(f, "optional({value})"),
            Self::Object(object) => write!(f, "{}", object.name),
            Self::Extension(extension) => write!(f, "{extension}"),
            Self::Opaque(json) => write!(f, "{json}"),
        }
    }
}

impl<'a> From<Cow<'a, str>> for Value<'a> {
    fn from(text: Cow<'a, str>) -> Self {
        match text {
            Cow::Borrowed(text) => Self::String(Str::Borrowed(text)),
            Cow::Owned(text) => Self::string(text),
        }
    }
}
