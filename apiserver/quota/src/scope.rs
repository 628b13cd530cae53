//! Scopes: which objects a quota counts (`corev1.ScopedResourceSelectorRequirement`).

use serde_json::Value;

use crate::{list, text};

/// One requirement; an object must meet all of a quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    pub scope: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    pub values: Vec<String>,
}

impl Selector {
    /// Those of a quota's `spec.scopes` and `spec.scopeSelector`.
    #[must_use]
    pub fn of(quota: &Value) -> Vec<Self> {
        let strings =
            |values: &[Value]| values.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect::<Vec<_>>();
        let named = strings(list(quota, "/spec/scopes"));
        let plain = named.into_iter().map(|scope| Self { scope, operator: "Exists".to_owned(), values: Vec::new() });
        let selected = list(quota, "/spec/scopeSelector/matchExpressions").iter().map(Self::read);
        plain.chain(selected).collect()
    }

    /// A ScopedResourceSelectorRequirement.
    #[must_use]
    pub fn read(expression: &Value) -> Self {
        Self {
            scope: text(expression, "/scopeName").to_owned(),
            operator: text(expression, "/operator").to_owned(),
            values: list(expression, "/values").iter().filter_map(|v| v.as_str().map(str::to_owned)).collect(),
        }
    }

    /// Whether the requirement holds for a name that may be absent: of a priority class, of a volume attributes class.
    pub(crate) fn admits(&self, name: Option<&str>) -> bool {
        let listed = name.is_some_and(|name| self.values.iter().any(|value| value == name));
        match self.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            "Exists" => name.is_some(),
            "DoesNotExist" => name.is_none(),
            _ => false,
        }
    }
}
