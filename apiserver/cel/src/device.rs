//! Expressions that select devices (`k8s.io/dynamic-resource-allocation/cel`): what a class or a request says of `device`.

use std::sync::{Arc, LazyLock};

use crate::{
    Program, Type,
    admission::INSTANTIATION,
    env::{CompileError, Env},
    schema::{Decl, DeclKind},
};

/// The most a selector may cost, estimated from how large a device can be.
const MAX_COST: u64 = 1_000_000;
/// The most attributes and capacities of a device.
const MAX_ENTRIES: i64 = 32;
const MAX_DOMAIN: i64 = 63;
const MAX_NAME: i64 = 32;
const MAX_VALUE: i64 = 64;

/// What is wrong with a selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelectorError {
    /// Upstream's text.
    Invalid(String),
    /// The same, of an expression that is well formed but comes to nothing.
    Internal(String),
    TooComplex,
}

static DEVICE: LazyLock<Env> = LazyLock::new(|| {
    let map = |keys, values, named| {
        Arc::new(Decl { ty: DeclKind::Keyed { keys, values, named }, min_size: 0, max_elements: MAX_ENTRIES })
    };
    let attribute = Decl::simple(Type::Dyn, 0, MAX_VALUE);
    let quantity = Decl::simple(Type::Opaque("kubernetes.Quantity"), 0, 0);
    let fields = [
        ("driver", Decl::simple(Type::String, 0, MAX_DOMAIN)),
        ("attributes", map(MAX_DOMAIN, map(MAX_NAME, attribute, true), false)),
        ("capacity", map(MAX_DOMAIN, map(MAX_NAME, quantity, false), false)),
    ];
    let fields = fields.map(|(name, decl)| (name.to_owned(), decl));
    let device = Arc::new(Decl { ty: DeclKind::Object(fields.into()), min_size: 0, max_elements: 0 });
    Env::new().bindings().sized_variable("device", device.to_type("kubernetes.DRADevice"), device)
});

/// Compiles a selector. What an attribute is, is known only once it is read, so it may be the result as well as a bool.
pub fn compile(text: &str) -> Result<Program, SelectorError> {
    let program = DEVICE.compile(text).map_err(|error| match error {
        CompileError::Issues { shown, .. } => SelectorError::Invalid(format!("compilation failed: {shown}")),
        CompileError::Instantiation(why) => SelectorError::Internal(format!("{INSTANTIATION}{why}")),
    })?;
    let output = program.output();
    if !matches!(output, Type::Bool | Type::Dyn) {
        let message = format!("must evaluate to bool or the unknown type, not {output}");
        return Err(SelectorError::Invalid(message));
    }
    if program.estimated_cost().max > MAX_COST {
        return Err(SelectorError::TooComplex);
    }
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_know_what_a_device_has() {
        for good in [
            "true",
            "device.driver == \"dra.example.com\"",
            "device.attributes[\"dra.example.com\"].name",
            "device.attributes[\"dra.example.com\"].name == \"fish\"",
            "cel.bind(dra, device.attributes[\"dra.example.com\"], dra.a && dra.b)",
            "device.attributes[\"dra.example.com\"].name.isGreaterThan(semver(\"0.0.1\"))",
            "\"name\" in device.capacity[\"dra.example.com\"]",
            "device.capacity[\"dra.example.com\"].name.isGreaterThan(quantity(\"1Ki\"))",
            "device.attributes.exists_one(x, x == \"dra.example.com\")",
            "device.attributes[\"dra.example.com\"].services.matches(\"[^a]?sym\")",
        ] {
            assert!(compile(good).is_ok(), "{good}: {:?}", compile(good).err());
        }
        let invalid = |text: &str| match compile(text) {
            Err(SelectorError::Invalid(message)) => message,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(invalid("1"), "must evaluate to bool or the unknown type, not int");
        assert!(invalid("?!").starts_with("compilation failed: ERROR: <input>:1:1: Syntax error"));
        let shared = invalid("device.allowMultipleAllocations == true");
        assert!(shared.contains("undefined field 'allowMultipleAllocations'"), "{shared}");
        assert!(invalid("cel.bind(1, true, true)").contains("cel.bind() variable names must be simple identifiers"));
    }

    #[test]
    fn selectors_have_a_price() {
        let list = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]";
        let text = (0..7)
            .fold("int('1'.find('[0-9]*')) < 100".to_owned(), |inner, depth| format!("{list}.all(x{depth}, {inner})"));
        assert_eq!(compile(&text).err(), Some(SelectorError::TooComplex));
    }

    #[test]
    fn names_are_bound_for_devices_alone() {
        let bound = "cel.bind(a, 1, a + 1) == 2";
        assert!(compile(bound).is_ok());
        assert!(Env::new().compile(bound).is_err());
    }
}
