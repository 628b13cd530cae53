use serde_json::Value;

use crate::Schema;
/// The `fieldValidation` query parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValidation { Ignore, Warn, Strict }
impl FieldValidation {
    /// `None` for an unknown word; the empty string is `Warn`... the caller picks its default.
    #[must_use]
    pub fn parse(_word: &str) -> Option<Self> { todo!() }
}
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded { pub value: Value, /** for `Warning:` headers */ pub warnings: Vec<String> }
/// Display is upstream's text (`strict decoding error: unknown field "spec.foo"`), to be put behind
/// `<Kind> in version "v1" cannot be handled as a <Kind>: `. All are 400 BadRequest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("{0}")]
    Syntax(String),
    #[error("{0}")]
    Type(String),
    #[error("strict decoding error: {}", .0.join(", "))]
    Strict(Vec<String>),
}
/// `schema`: None decodes plainly.
pub fn json(_bytes: &[u8], _schema: Option<&Schema>, _validation: FieldValidation) -> Result<Decoded, DecodeError> { todo!() }
pub fn yaml(_bytes: &[u8], _schema: Option<&Schema>, _validation: FieldValidation) -> Result<Decoded, DecodeError> { todo!() }
/// An already parsed value (from protobuf or a patch) against the schema: drops unknown fields and nulls, checks types.
pub fn value(_value: Value, _schema: &Schema, _validation: FieldValidation) -> Result<Decoded, DecodeError> { todo!() }
