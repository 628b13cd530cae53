//! Our own tests for upstream's conformance specs.
//!
//! ```text
//!  specs.txt (upstream's names) ── table ── one row a spec: name → async fn(Test)
//!                                    │            grouped as upstream groups them: api_machinery/watch.rs …
//!  runner ── fixture (a cluster) ── Test (a namespace of its own, a client)
//! ```
//!
//! A spec asserts what upstream's `test/e2e` source of the same name asserts, in our own words. `cargo run -p
//! knetsim-conformance -- --focus Watchers` runs some and prints a table; the test `api_only` runs all that need no
//! running pod and compares with `known-failures.txt`, so that a spec that begins to fail or to pass is noticed.
//!
//! To add a spec: write `async fn name(t: Test) -> anyhow::Result<()>` in the file of its area, name it in that file's
//! `specs!`, and where the file is new, in [`table::AREAS`].

pub mod client;
pub mod expect;
pub mod fixture;
pub mod operations;
pub mod pods;
pub mod report;
pub mod runner;
pub mod spec;
pub mod table;

mod api_machinery;
mod apps;
mod architecture;
mod auth;
mod cli;
mod instrumentation;
mod network;
mod node;
mod scheduling;
mod storage;

pub use client::{Objects, Patch, Refused, Watch};
pub use spec::{Needs, Spec, Test};
