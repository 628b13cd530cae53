//! sig-instrumentation.

pub mod core_events;
pub mod events;
