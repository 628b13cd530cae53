//! The Common Expression Language as Kubernetes v1.35 uses it: the language of cel-go 0.26 with Kubernetes' libraries and limits.
//!
//! ```text
//! text ─ lexer ─ parser (macros) ─ checker (types, unify, decl, library) ─ validators
//!                                     ├─ estimate   what it may cost, from the schema's bounds
//!                                     └─ plan ─ eval   a value, and what it did cost (price)
//! ```
//! An [`Env`] declares variables and compiles text to a [`Program`]; a program is evaluated with an [`Activation`], as often as
//! one likes. Values ([`Value`]) point into the JSON they come from; [`Schema`] says how JSON is typed, [`untyped`] does without.
//! [`admission`], [`rules`] and [`device`] are the uses: expressions about requests, `x-kubernetes-validations`, and selectors
//! of devices.
//!
//! ```
//! use cel::{Activation, Env, Type, Value, untyped};
//! let json = serde_json::json!({"replicas": 3});
//! let program = Env::new().variable("object", Type::Dyn).compile("object.replicas > 2").unwrap();
//! let result = program.evaluate(&Activation::new().with("object", untyped(&json)));
//! assert!(matches!(result.result, Ok(Value::Bool(true))));
//! assert_eq!(result.cost, 3);
//! ```
//! Bounds: text, nesting and tree size in [`Env::compile`]; run time by cost ([`PER_CALL_LIMIT`]); the size of made values.

pub mod admission;
mod ast;
mod checker;
mod decl;
mod deep;
pub mod device;
mod env;
mod escape;
mod estimate;
mod eval;
mod format;
mod json;
mod lexer;
mod library;
mod macros;
mod operators;
mod parser;
mod plan;
mod price;
mod program;
pub mod rules;
mod schema;
mod selects;
mod source;
mod time;
mod to_json;
mod types;
mod unify;
mod validators;
mod value;

pub use self::{
    env::{CompileError, Env},
    escape::{RESERVED, escape, unescape},
    estimate::CostEstimate,
    json::{typed, untyped, untyped_escaped},
    library::{Authorizer, Check, Decision, Extension, Subject, unreadable_url},
    program::{Activation, Evaluated, MATCH_CONDITIONS_COST_BUDGET, PER_CALL_LIMIT, Program, RUNTIME_COST_BUDGET},
    schema::{Decl, ListType, Schema},
    selects::selects,
    source::Issue,
    types::{Object, Type},
    value::{EvalError, EvalResult, Key, List, Map, ObjectValue, Str, Value},
};

#[cfg(test)]
mod tests;
