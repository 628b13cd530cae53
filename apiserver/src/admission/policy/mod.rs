//! ValidatingAdmissionPolicy and MutatingAdmissionPolicy: users' own rules, in CEL (`apiserver/pkg/admission/plugin/policy`).
//!
//! ```text
//!  policies, bindings ── watch ──> Index (compiled policies with their bindings) ──> rules, selectors ──> params
//!                                                                                     └─> expressions ──> decision
//! ```
//! A policy says nothing until a binding names it. Without any binding a request costs one load of a pointer.

mod checking;
mod definition;
mod index;
mod mutating;
mod params;
mod request;
mod validating;

pub use definition::{Binding, Body, Definition};
pub use index::{Index, follow};
pub use mutating::mutate;
pub use validating::validate;

/// Several errors as upstream's aggregate shows them.
fn aggregate(errors: &[String]) -> String {
    match errors {
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    }
}
