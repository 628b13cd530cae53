//! One pod's life on this node.
//!
//! ```text
//! watch ─▶ manager ─▶ actor ──▶ state ──▶ plan (pure: what to do now) ──▶ setup, starts, stops ─┐
//!                       ▲          └────▶ status (pure: what to say) ──▶ writer ──▶ API          │
//!                       └──────────────── events: pause's notices, probes, finished work ◀───────┘
//! ```
//!
//! The actor alone changes a pod's [`state`]; everything that takes time runs beside it and reports back as an event.

pub mod actor;
pub mod admit;
pub mod allocation;
pub mod manager;
pub mod plan;
pub mod probing;
pub mod registry;
pub mod setup;
pub mod state;
pub mod status;
pub mod stop;
pub mod writer;
