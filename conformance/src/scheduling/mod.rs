//! sig-scheduling.

pub mod limit_range;
pub mod predicates;
pub mod preemption;
