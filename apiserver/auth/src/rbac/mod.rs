//! Role-based access control: an index of roles and bindings, and pure decisions over it.
//!
//! The API server feeds [`Index`] from its caches of the four kinds and asks [`Index::authorize`] for each request. Reasons
//! and messages are upstream's (`plugin/pkg/auth/authorizer/rbac`, `pkg/registry/rbac`).

mod aggregate;
mod index;
mod model;
mod review;
mod rule;
#[cfg(test)]
mod tests;

pub use aggregate::aggregated_rules;
pub use index::Index;
pub use model::{API_GROUP, Binding, Role, RoleKind, SubjectKey};
pub use review::rules_review;
pub use rule::{PolicyRule, uncovered};
