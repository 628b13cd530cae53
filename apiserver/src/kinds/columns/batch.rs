//! Jobs and CronJobs.

use serde_json::Value;

use super::super::Column;
use super::super::json::Json;
use super::{AGE, CONTAINERS, IMAGES, SELECTOR, condition, human_duration, images, integer, names, or, seconds};
use super::{selector, since, text, wide};

pub const JOBS: &[Column] = &[
    text("Status", |job, _| status(job).into()),
    text("Completions", |job, _| completions(job).into()),
    text("Duration", |job, now| duration(job, now).into()),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

pub const CRON_JOBS: &[Column] = &[
    text("Schedule", |object, _| object.text("spec.schedule").into()),
    text("Timezone", |object, _| or(object.text("spec.timeZone"), "<none>").into()),
    Column {
        kind: "boolean",
        ..text("Suspend", |object, _| {
            object.at("spec.suspend").as_bool().map_or("<unset>", |s| if s { "True" } else { "False" }).into()
        })
    },
    integer("Active", |object, _| object.list("status.active").len().into()),
    text("Last Schedule", |object, now| {
        let last = object.at("status.lastScheduleTime");
        if last.is_null() { "<none>".into() } else { since(last, now).into() }
    }),
    AGE,
    wide("Containers", |object, _| names(object.list(TEMPLATE)).into()),
    wide("Images", |object, _| images(object.list(TEMPLATE)).into()),
    wide("Selector", |object, _| selector(object.at("spec.jobTemplate.spec.selector")).into()),
];

const TEMPLATE: &str = "spec.jobTemplate.spec.template.spec.containers";

fn status(job: &Value) -> &'static str {
    let is = |kind| condition(job, kind).text("status") == "True";
    if is("Complete") {
        "Complete"
    } else if is("Failed") {
        "Failed"
    } else if job.has("metadata.deletionTimestamp") {
        "Terminating"
    } else if is("Suspended") {
        "Suspended"
    } else if is("FailureTarget") {
        "FailureTarget"
    } else if is("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn completions(job: &Value) -> String {
    let succeeded = job.int("status.succeeded");
    match (job.at("spec.completions").as_i64(), job.int("spec.parallelism")) {
        (Some(completions), _) => format!("{succeeded}/{completions}"),
        (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        _ => format!("{succeeded}/1"),
    }
}

fn duration(job: &Value, now: i64) -> String {
    let Some(start) = seconds(job.at("status.startTime")) else { return String::new() };
    human_duration(seconds(job.at("status.completionTime")).unwrap_or(now) - start)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn job_cells() {
        let job = json!({"spec": {"completions": 3}, "status": {"succeeded": 1, "startTime": "1970-01-01T00:00:10Z",
            "conditions": [{"type": "Suspended", "status": "False"}]}});
        assert_eq!((status(&job), completions(&job).as_str(), duration(&job, 50).as_str()), ("Running", "1/3", "40s"));
        let job =
            json!({"spec": {"parallelism": 2}, "status": {"conditions": [{"type": "Complete", "status": "True"}]}});
        assert_eq!(
            (status(&job), completions(&job).as_str(), duration(&job, 50).as_str()),
            ("Complete", "0/1 of 2", "")
        );
    }
}
