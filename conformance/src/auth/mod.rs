//! sig-auth.

pub mod subject_review;
