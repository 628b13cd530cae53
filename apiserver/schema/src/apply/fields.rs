//! The fields of one manager: as they are stored until something takes from them or adds to them, a [`Set`] from then on.
//! An object has several managers, and most writes change what one of them has, or nothing but the time it did so.

use serde_json::Value;

use super::set::Set;

#[derive(Debug)]
pub(super) enum Fields {
    /// `FieldsV1` in the one form that a set is written in.
    Stored(Value),
    Set(Set),
}

impl Fields {
    pub fn read(stored: Value) -> Self {
        if Set::is_canonical(&stored) { Self::Stored(stored) } else { Self::Set(Set::from_fields_v1(stored)) }
    }

    pub fn is_empty(&self) -> bool {
        match self {
            Self::Stored(stored) => stored.as_object().is_none_or(serde_json::Map::is_empty),
            Self::Set(set) => set.is_empty(),
        }
    }

    pub fn subtract(&mut self, other: &Set) {
        match self {
            Self::Stored(stored) if !other.meets(stored) => {}
            _ => self.set().subtract(other),
        }
    }

    pub fn unite(&mut self, other: &Set) {
        match self {
            Self::Stored(stored) if other.is_within(stored) => {}
            _ => self.set().unite(other),
        }
    }

    /// The paths that are in `other` too, as errors write them.
    pub fn shared(&mut self, other: &Set) -> Vec<String> {
        match self {
            Self::Stored(stored) if !other.meets(stored) => Vec::new(),
            _ => self.set().intersection(other).paths(),
        }
    }

    /// From now on a set.
    pub fn set(&mut self) -> &mut Set {
        if let Self::Stored(stored) = self {
            *self = Self::Set(Set::from_fields_v1(stored.take()));
        }
        match self {
            Self::Set(set) => set,
            Self::Stored(_) => unreachable!("it has just been made a set"),
        }
    }

    pub fn into_set(self) -> Set {
        match self {
            Self::Stored(stored) => Set::from_fields_v1(stored),
            Self::Set(set) => set,
        }
    }

    pub fn into_fields_v1(self) -> Value {
        match self {
            Self::Stored(stored) => stored,
            Self::Set(set) => set.into_fields_v1(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, json};

    use super::*;

    /// `FieldsV1` as clients may write it, more or less well.
    fn fields() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![8 => Just(json!({})), 1 => Just(json!({".": {}})), 1 => Just(Value::Null)];
        leaf.prop_recursive(4, 24, 4, |below| {
            let step = prop_oneof![
                8 => "f:[abc]".prop_map(|step| step),
                2 => Just(".".to_owned()),
                1 => Just(r#"k:{"name":"a"}"#.to_owned()),
                1 => Just(r#"k:{"b":1,"a":"x"}"#.to_owned()),
            ];
            prop::collection::btree_map(step, below, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect::<Map<String, Value>>()))
        })
    }

    proptest! {
        #[test]
        fn one_form_is_canonical(stored in fields()) {
            let written = Set::from_fields_v1(stored.clone()).into_fields_v1();
            prop_assert!(Set::is_canonical(&written), "{}", written);
            prop_assert_eq!(Set::is_canonical(&stored), written == stored);
        }

        #[test]
        fn what_is_stored_changes_as_the_set_does(stored in fields(), other in fields()) {
            let (set, other) = (Set::from_fields_v1(stored.clone()), Set::from_fields_v1(other));
            let (mut fields, mut long) = (Fields::read(stored.clone()), set.clone());
            fields.subtract(&other);
            long.subtract(&other);
            prop_assert_eq!(fields.is_empty(), long.is_empty());
            prop_assert_eq!(fields.into_fields_v1(), long.into_fields_v1());
            let (mut fields, mut long) = (Fields::read(stored.clone()), set.clone());
            fields.unite(&other);
            long.unite(&other);
            prop_assert_eq!(fields.into_fields_v1(), long.into_fields_v1());
            prop_assert_eq!(Fields::read(stored).shared(&other), set.intersection(&other).paths());
        }
    }
}
