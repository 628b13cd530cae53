//! What every controller stands on: cached kinds, a work queue, and the loop that joins them.
//!
//! ```text
//!  API watch ──► Kind<K> (one reflector a kind, shared) ──handlers──► Queue (keys) ──► Controller::sync(key)
//!                   ▲                                                                        │
//!                   └────────────── written through: the answer of each write ◄──────────────┘
//! ```
//!
//! Writing through is what upstream does with "expectations": a controller that has just created a pod sees it in the
//! cache at once, so that a late watch can never make it create another.

mod claim;
mod controller;
mod errors;
pub mod history;
mod kind;
mod merge;
pub mod meta;
pub mod pods;
mod queue;
mod store;

pub use claim::{claim, owner_key, queue_owners};
pub use controller::{Controller, Gate, Outcome, Queues, drive};
pub use errors::{ApiError, reason_of};
pub use kind::{Kind, Object};
pub use merge::difference;
pub use queue::Queue;
pub use store::Change;
