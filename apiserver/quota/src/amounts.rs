//! Named quantities: `corev1.ResourceList` and its arithmetic.

use std::collections::BTreeMap;
use std::fmt;

use schema::quantity::Quantity;
use serde_json::{Map, Value};

/// Amounts by resource name, in the names' order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amounts(BTreeMap<String, Quantity>);

impl Amounts {
    /// Reads a JSON object of quantities; what is no quantity is left out (validation has refused it before).
    #[must_use]
    pub fn read(value: &Value) -> Self {
        let entries = value.as_object().into_iter().flatten();
        let parsed = entries.filter_map(|(name, amount)| Some((name.clone(), Quantity::parse(&plain(amount)?).ok()?)));
        Self(parsed.collect())
    }

    #[must_use]
    pub fn to_json(&self) -> Value {
        Value::Object(
            self.0.iter().map(|(name, amount)| (name.clone(), amount.to_string().into())).collect::<Map<_, _>>(),
        )
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<Quantity> {
        self.0.get(name).copied()
    }

    pub fn set(&mut self, name: impl Into<String>, amount: Quantity) {
        self.0.insert(name.into(), amount);
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, Quantity)> {
        self.0.iter().map(|(name, amount)| (name.as_str(), *amount))
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds `other`, name by name.
    pub fn add(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            match self.0.get_mut(name) {
                Some(mine) => *mine = mine.add(amount),
                None => {
                    self.0.insert(name.clone(), *amount);
                }
            }
        }
    }

    /// Raises each amount to at least `other`'s.
    pub fn raise_to(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            match self.0.get_mut(name) {
                Some(mine) if *mine >= *amount => {}
                _ => {
                    self.0.insert(name.clone(), *amount);
                }
            }
        }
    }

    /// `self - other`, where nothing falls below zero.
    #[must_use]
    pub fn beyond(&self, other: &Self) -> Self {
        let mut out = Self::default();
        for (name, amount) in &self.0 {
            let rest = other.0.get(name).map_or(*amount, |less| amount.sub(less));
            out.set(name.clone(), if rest.is_negative() { Quantity::ZERO } else { rest });
        }
        for name in other.0.keys().filter(|name| !self.0.contains_key(*name)) {
            out.set(name.clone(), Quantity::ZERO);
        }
        out
    }

    /// The entries whose names `keep` wants.
    #[must_use]
    pub fn only(&self, keep: impl Fn(&str) -> bool) -> Self {
        Self(self.0.iter().filter(|(name, _)| keep(name)).map(|(name, amount)| (name.clone(), *amount)).collect())
    }

    #[must_use]
    pub fn without_zeros(self) -> Self {
        Self(self.0.into_iter().filter(|(_, amount)| !amount.is_zero()).collect())
    }

    /// The names of amounts that are larger than `limit`'s of the same name.
    #[must_use]
    pub fn exceeding(&self, limit: &Self) -> Vec<&str> {
        let over = |(name, amount): &(&String, &Quantity)| limit.0.get(*name).is_some_and(|limit| *amount > limit);
        self.0.iter().filter(over).map(|(name, _)| name.as_str()).collect()
    }
}

/// Quantities may be written as numbers.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

impl FromIterator<(String, Quantity)> for Amounts {
    fn from_iter<T: IntoIterator<Item = (String, Quantity)>>(entries: T) -> Self {
        Self(entries.into_iter().collect())
    }
}

/// `cpu=1,pods=2`: how messages write them.
impl fmt::Display for Amounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, amount)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{name}={amount}")?;
        }
        Ok(())
    }
}
