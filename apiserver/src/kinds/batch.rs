//! The group batch.

use super::json::Json;
use super::row::ONLY_STATUS;
use super::{Kind, columns, strategy};

pub const KINDS: &[Kind] = &[
    Kind {
        short_names: &["cj"],
        categories: &["all"],
        subresources: ONLY_STATUS,
        columns: columns::batch::CRON_JOBS,
        strategy: strategy::cron_job::CRON_JOB,
        ..Kind::new("batch", &["v1"], "CronJob", "cronjobs", "cronjob")
    },
    Kind {
        categories: &["all"],
        subresources: ONLY_STATUS,
        columns: columns::batch::JOBS,
        fields: &[("status.successful", |o| o.int("status.succeeded").to_string())],
        fields_read: &["status.succeeded"],
        strategy: strategy::job::JOB,
        ..Kind::new("batch", &["v1"], "Job", "jobs", "job")
    },
];
