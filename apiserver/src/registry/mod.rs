//! The generic REST implementation: one file a verb, one descriptor ([`resource::Resource`]) for built-in and custom kinds.
//!
//! Reads come from the watch caches ([`caches`]); writes go to the store ([`write`]) with optimistic concurrency.

pub mod body;
pub mod caches;
pub mod conversion;
pub mod create;
pub mod custom;
pub mod delete;
pub mod follow;
pub mod hooks;
pub mod jsonpath;
pub mod object;
pub mod options;
pub mod patch;
pub mod pick;
pub mod read;
pub mod resource;
pub mod scale;
pub mod selection;
pub mod service;
pub mod table;
pub mod update;
pub mod versions;
pub mod watch;
pub mod write;
