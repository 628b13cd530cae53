/// A resource quantity, compared by its value; Display is canonical.
#[derive(Clone, Copy, Debug)]
pub struct Quantity;
/// Display: upstream's regexp message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
pub struct QuantityError;
impl Quantity {
    pub fn parse(_text: &str) -> Result<Self, QuantityError> { todo!() }
    /// Rounded up.
    #[must_use]
    pub fn value(&self) -> i64 { todo!() }
    #[must_use]
    pub fn milli_value(&self) -> i64 { todo!() }
}
