//! String types of a few values, which documents name (kube-openapi's `generators/enum.go`).

use std::collections::HashMap;

use serde_json::Value;

use crate::facts;

/// `facts/enums.txt`, described in `generate/src/table.rs`.
static TEXT: &str = include_str!("../../facts/enums.txt");

/// The values of a type in their order.
pub(super) type Values = Vec<&'static str>;

pub(super) struct Enums {
    /// By Go's name of the type: its full name, and the values.
    by_go_name: HashMap<&'static str, Vec<(&'static str, Values)>>,
}

impl Enums {
    pub fn read() -> Self {
        let mut by_go_name: HashMap<_, Vec<(&'static str, Values)>> = HashMap::new();
        let mut current = "";
        for line in TEXT.lines() {
            let Some(value) = line.strip_prefix(' ') else {
                current = line;
                by_go_name.entry(facts::in_package(current)).or_default().push((current, Values::new()));
                continue;
            };
            let last = by_go_name.get_mut(facts::in_package(current)).and_then(|all| all.last_mut());
            if let Some((_, values)) = last {
                values.push(value);
            }
        }
        Self { by_go_name }
    }

    /// The values of a type by Go's name of it (`v1.Protocol`), as a field of `owner` names it: packages share such names, and
    /// the owner's own comes first.
    pub fn get(&self, owner: &str, go: &str) -> Option<&Values> {
        let package = |name: &str| name.rsplit_once('.').map(|(package, _)| package.to_owned());
        let all = self.by_go_name.get(go)?;
        let own = all.iter().find(|(name, _)| package(name) == package(owner));
        own.or_else(|| all.first()).map(|(_, values)| values)
    }
}

pub(super) fn names(values: &Values) -> Value {
    values.iter().copied().map(Value::from).collect()
}

/// What follows a field's own description.
pub(super) fn text(values: &Values) -> String {
    let lines: Vec<String> = values.iter().map(|value| format!(" - `{value:?}`")).collect();
    format!("\n\nPossible enum values:\n{}", lines.join("\n"))
}
