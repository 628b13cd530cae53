//! What a process counts, as Prometheus reads it.

mod family;
mod process;

pub use family::{About, Family, Kind, Page, Stability};
pub use process::{Process, STARTED, started};

/// The Content-Type of a page.
pub const FORM: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

/// The bounds of a histogram's buckets: `first`, and each `factor` times the one before (`ExponentialBuckets`).
#[must_use]
pub const fn exponential<const N: usize>(first: f64, factor: f64) -> [f64; N] {
    let mut bounds = [first; N];
    let mut at = 1;
    while at < N {
        bounds[at] = bounds[at - 1] * factor;
        at += 1;
    }
    bounds
}
