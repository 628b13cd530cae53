//! sig-apps.

pub mod cron_job;
pub mod disruption;
pub mod replication_controller;
