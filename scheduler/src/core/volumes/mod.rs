//! Volumes and claims.

pub mod matching;
