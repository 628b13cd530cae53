//! CronJobs.

use serde_json::Value;

use super::super::json::Json;
use super::super::validate;
use super::super::{Strategy, WarnedAgain};
use super::{PODS, SPEC_AND_STATUS, pod_spec, zero};

pub const CRON_JOB: Strategy = Strategy {
    default: Some(default),
    validate: Some(validate::batch::cron_job),
    named_after: Some(PODS),
    warnings: Some(validate::batch::cron_job_warnings),
    warned_again: WarnedAgain::NewGeneration,
    warned_always: Some(validate::batch::schedule_warnings),
    ..SPEC_AND_STATUS
};

fn default(object: &mut Value) {
    // The Job's own defaults wait until a Job is made of the template; those of its pods do not.
    pod_spec::default_at(object, "spec.jobTemplate.spec.template.spec");
    object.default_to("spec.concurrencyPolicy", "Allow");
    object.default_to("spec.suspend", false);
    object.default_to("spec.successfulJobsHistoryLimit", 3);
    object.default_to("spec.failedJobsHistoryLimit", 1);
    zero(object, &[]);
}
