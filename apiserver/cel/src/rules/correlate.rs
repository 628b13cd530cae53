//! What of an old object corresponds to a part of the new one (`apiserver/pkg/cel/common/equality.go`): fields and map entries by
//! name, items of map lists by key, other items to nothing. Unchanged parts may stay as invalid as they were (KEP-4008).

use serde_json::Value as Json;

use crate::{ListType, Schema};

/// A part of the new object, with what it was.
#[derive(Clone, Copy)]
pub(super) struct Correlated<'a> {
    pub schema: &'a Schema,
    pub new: &'a Json,
    pub old: Option<&'a Json>,
}

impl<'a> Correlated<'a> {
    pub(super) fn key(self, name: &str) -> Option<Self> {
        let (new, old) = (self.new.as_object()?.get(name), self.old?.as_object()?.get(name));
        let schema = self.schema.property(name).or_else(|| self.schema.element())?;
        Some(Self { schema, new: new?, old })
    }

    pub(super) fn index(self, index: usize) -> Option<Self> {
        let new = self.new.as_array()?.get(index)?;
        let old = counterpart(self.schema, self.old?, new)?;
        Some(Self { schema: self.schema.element()?, new, old: Some(old) })
    }

    pub(super) fn unchanged(self) -> bool {
        self.old.is_some_and(|old| equal(self.schema, self.new, old))
    }
}

/// The item of a map list that has the keys of `item`.
pub(super) fn counterpart<'a>(schema: &Schema, list: &'a Json, item: &Json) -> Option<&'a Json> {
    let ListType::Map(keys) = schema.list_type()? else { return None };
    let same = |other: &&Json| keys.iter().all(|key| other.get(key) == item.get(key));
    list.as_array()?.iter().find(same)
}

/// Deep equality; map lists have no order.
fn equal(schema: &Schema, new: &Json, old: &Json) -> bool {
    if new == old {
        return true;
    }
    match (new, old) {
        (Json::Array(new), Json::Array(items)) if new.len() == items.len() => new.iter().all(|item| {
            let below = schema.element();
            let old = counterpart(schema, old, item);
            matches!((below, old), (Some(below), Some(old)) if equal(below, item, old))
        }),
        (Json::Object(new), Json::Object(old)) if new.len() == old.len() => new.iter().all(|(name, value)| {
            let below = schema.property(name).or_else(|| schema.element());
            old.get(name).is_some_and(|old| below.map_or(value == old, |below| equal(below, value, old)))
        }),
        _ => false,
    }
}
