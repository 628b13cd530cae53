use serde_json::Value;
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op { In, NotIn, Exists, DoesNotExist, Equals, NotEquals, GreaterThan, LessThan }
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement { pub key: String, pub op: Op, pub values: Vec<String> }
/// `labelSelector=`; empty matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector { pub requirements: Vec<Requirement> }
/// Display: `unable to parse requirement: found '…', expected: …`
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub String);
impl LabelSelector {
    pub fn parse(_text: &str) -> Result<Self, SelectorError> { todo!() }
    /// From a metav1.LabelSelector object (`matchLabels`, `matchExpressions`).
    pub fn from_object(_selector: &Value) -> Result<Self, SelectorError> { todo!() }
    /// `labels` is `metadata.labels` (or null).
    #[must_use]
    pub fn matches(&self, _labels: &Value) -> bool { todo!() }
    #[must_use]
    pub fn is_empty(&self) -> bool { self.requirements.is_empty() }
}
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRequirement { pub field: String, pub equal: bool, pub value: String }
/// `fieldSelector=`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector { pub requirements: Vec<FieldRequirement> }
impl FieldSelector {
    pub fn parse(_text: &str) -> Result<Self, SelectorError> { todo!() }
    /// `lookup` gives a field's text ("" when unset).
    #[must_use]
    pub fn matches<'a>(&self, _lookup: impl Fn(&str) -> std::borrow::Cow<'a, str>) -> bool { todo!() }
}
