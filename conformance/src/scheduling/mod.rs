//! sig-scheduling, as far as no pod has to run.

pub mod limit_range;
