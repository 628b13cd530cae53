//! The group batch.

use super::Kind;
use super::row::ONLY_STATUS;

pub const KINDS: &[Kind] = &[
    Kind {
        short_names: &["cj"],
        categories: &["all"],
        subresources: ONLY_STATUS,
        ..Kind::new("batch", &["v1"], "CronJob", "cronjobs", "cronjob")
    },
    Kind { categories: &["all"], subresources: ONLY_STATUS, ..Kind::new("batch", &["v1"], "Job", "jobs", "job") },
];
