//! sig-auth.

pub mod certificates;
pub mod mounted_tokens;
pub mod service_accounts;
pub mod subject_review;
