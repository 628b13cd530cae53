//! sig-apps.

mod workloads;

pub mod cron_job;
pub mod daemon_set;
pub mod deployment;
pub mod disruption;
pub mod job;
pub mod replica_set;
pub mod replication_controller;
pub mod stateful_set;
