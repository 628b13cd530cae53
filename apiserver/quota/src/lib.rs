//! What a ResourceQuota counts, and whether a request still fits (`apiserver/pkg/quota/v1`, `pkg/quota/v1/evaluator`).
//!
//! ```text
//!  objects ── Evaluator::usage ──> Amounts ── check ──> the API server's admission: new status.used, or a refusal
//!                                     └────── total ──> the resourcequota controller: status.used from scratch
//! ```
//!
//! Everything here is pure and works on API objects as JSON, so that admission and the controller cannot disagree.

mod amounts;
mod check;
mod claims;
mod evaluator;
mod pods;
pub mod resources;
mod scope;
mod services;

pub use amounts::Amounts;
pub use check::{Limited, Operation, Quota, Request, check};
pub use evaluator::{Evaluator, total};
pub use pods::{is_charged, is_native};
pub use scope::Selector;

use serde_json::Value;

/// Text at a pointer such as `/spec/nodeName`, "" when there is none.
fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The list at a pointer, empty when there is none.
fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
