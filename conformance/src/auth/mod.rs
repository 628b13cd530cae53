//! sig-auth.

pub mod certificates;
pub mod service_accounts;
pub mod subject_review;
