//! sig-scheduling.

pub mod predicates;
pub mod preemption;
