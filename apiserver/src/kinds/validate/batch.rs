//! Jobs and CronJobs (`pkg/apis/batch/validation`).

use schema::field::{Error, ErrorList, Path};
use schema::selector::LabelSelector;
use serde_json::Value;

use super::super::json::Json;
use super::{cron, immutable, label_selector, not_negative, one_of, pod, required_one_of, spec};

/// Above this, an Indexed Job would have too large a status.
const MAX_INDEXED: i64 = 100_000;
/// Job names have to leave room for the eleven characters a CronJob appends.
const CRON_NAME: usize = 52;

#[must_use]
pub fn job(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, body) = (spec(), object.at("spec"));
    job_spec(&mut errors, &path, body);
    if body.at("selector").is_null() {
        errors.push(Error::required(&path.child("selector"), ""));
    } else {
        label_selector(&mut errors, &path.child("selector"), body.at("selector"));
    }
    if !body.yes("manualSelector") {
        generated_labels(&mut errors, object);
    }
    let labels = body.at("template.metadata.labels");
    if LabelSelector::from_object(body.at("selector")).is_ok_and(|s| !s.matches(labels)) {
        errors.push(Error::invalid(
            &path.child("template").child("metadata").child("labels"),
            labels.clone(),
            "`selector` does not match template `labels`",
        ));
    }
    errors
}

/// A user's own value for a label that is generated is a mistake.
fn generated_labels(errors: &mut ErrorList, job: &Value) {
    let path = spec().child("template").child("metadata").child("labels");
    let labels = job.entries("spec.template.metadata.labels");
    for (key, expected) in [
        ("batch.kubernetes.io/controller-uid", job.text("metadata.uid")),
        ("batch.kubernetes.io/job-name", job.text("metadata.name")),
    ] {
        let value = labels.get(key).and_then(Value::as_str).unwrap_or_default();
        if value != expected {
            errors.push(Error::invalid(&path, Value::Object(labels.clone()), format!("must be '{expected}'")));
        }
    }
}

fn job_spec(errors: &mut ErrorList, path: &Path, body: &Value) {
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
    ] {
        not_negative(errors, body, field, path);
    }
    let mode = body.text("completionMode");
    if !mode.is_empty() {
        one_of(errors, &path.child("completionMode"), mode, &["NonIndexed", "Indexed"]);
    }
    if mode == "Indexed" {
        if !body.has("completions") {
            let detail = "when completion mode is Indexed";
            errors.push(Error::required(&path.child("completions"), detail));
        }
        if body.int("parallelism") > MAX_INDEXED {
            errors.push(Error::invalid(
                &path.child("parallelism"),
                body.int("parallelism"),
                format!("must be less than or equal to {MAX_INDEXED} when completion mode is Indexed"),
            ));
        }
    }
    for (i, rule) in body.list("podFailurePolicy.rules").iter().enumerate() {
        let at = path.child("podFailurePolicy").child("rules").index(i);
        let actions = ["Count", "FailIndex", "FailJob", "Ignore"];
        required_one_of(errors, &at.child("action"), rule.text("action"), &actions);
        match (rule.has("onExitCodes"), !rule.list("onPodConditions").is_empty()) {
            (true, true) => errors.push(Error::invalid(
                &at,
                rule.clone(),
                "specifying both OnExitCodes and OnPodConditions is not supported",
            )),
            (false, false) => errors.push(Error::invalid(
                &at,
                rule.clone(),
                "specifying one of OnExitCodes and OnPodConditions is required",
            )),
            _ => {}
        }
    }
    pod::template(errors, &path.child("template"), body.at("template"));
    let policy = body.text("template.spec.restartPolicy");
    let at = path.child("template").child("spec").child("restartPolicy");
    if policy == "Always" || policy.is_empty() {
        errors.push(Error::required(&at, "valid values: \"OnFailure\", \"Never\""));
    } else if body.has("podFailurePolicy") && policy != "Never" {
        let detail = "only \"Never\" is supported when podFailurePolicy is specified";
        errors.push(Error::invalid(&at, policy, detail));
    }
}

#[must_use]
pub fn job_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = spec();
    let indexed = new.text("spec.completionMode") == "Indexed";
    // An elastic indexed Job changes both numbers together.
    let elastic = indexed && new.at("spec.completions") == new.at("spec.parallelism");
    if !elastic {
        immutable(&mut errors, &path.child("completions"), new.at("spec.completions"), old.at("spec.completions"));
    }
    for field in
        ["selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"]
    {
        let (now, then) = (new.at("spec").at(field), old.at("spec").at(field));
        immutable(&mut errors, &path.child(field), now, then);
    }
    // While suspended and never started, a queue controller may still say where the pods go.
    let suspended = old.yes("spec.suspend") && !old.has("status.startTime");
    let mut template = new.at("spec.template").clone();
    if suspended {
        for field in [
            "spec.affinity",
            "spec.nodeSelector",
            "spec.tolerations",
            "spec.schedulingGates",
            "metadata.labels",
            "metadata.annotations",
        ] {
            template.take_from(field, old.at("spec.template"));
        }
    }
    immutable(&mut errors, &path.child("template"), &template, old.at("spec.template"));
    errors
}

#[must_use]
pub fn cron_job(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, body) = (spec(), object.at("spec"));
    let schedule = body.text("schedule");
    if schedule.is_empty() {
        errors.push(Error::required(&path.child("schedule"), ""));
    } else {
        if let Err(error) = cron::Schedule::parse(schedule) {
            errors.push(Error::invalid(&path.child("schedule"), schedule, error.to_string()));
        }
        if schedule.contains("TZ") {
            errors.push(Error::invalid(
                &path.child("schedule"),
                schedule,
                "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
            ));
        }
    }
    not_negative(&mut errors, body, "startingDeadlineSeconds", &path);
    let policy = body.text("concurrencyPolicy");
    required_one_of(&mut errors, &path.child("concurrencyPolicy"), policy, &["Allow", "Forbid", "Replace"]);
    if body.has("timeZone") && body.text("timeZone").is_empty() {
        errors.push(Error::invalid(&path.child("timeZone"), "", "timeZone must be nil or non-empty string"));
    }
    job_spec(&mut errors, &path.child("jobTemplate").child("spec"), body.at("jobTemplate.spec"));
    for field in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        not_negative(&mut errors, body, field, &path);
    }
    let name = object.text("metadata.name");
    if name.len() > CRON_NAME {
        let detail = format!("must be no more than {CRON_NAME} characters");
        errors.push(Error::invalid(&Path::new("metadata").child("name"), name, detail));
    }
    errors
}

#[must_use]
pub fn cron_job_warnings(object: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    if object.text("spec.schedule").contains("TZ") {
        warnings.push(
            "spec.schedule: CRON_TZ or TZ used in spec.schedule is not officially supported, use spec.timeZone instead"
                .to_owned(),
        );
    }
    warnings
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::strategy::{cron_job::CRON_JOB, job::JOB};
    use super::super::texts;
    use super::*;

    #[test]
    fn jobs_end() {
        let mut j = json!({"metadata": {"name": "j", "uid": "u"},
            "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "i"}]}}}});
        JOB.default.unwrap()(&mut j);
        JOB.prepare_create.unwrap()(&mut j);
        assert_eq!(texts(&job(&j)), Vec::<String>::new());
        let mut always = j.clone();
        always["spec"]["template"]["spec"]["restartPolicy"] = json!("Always");
        assert_eq!(
            texts(&job(&always)),
            ["spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\""]
        );
        let errors = texts(&job_update(&always, &j));
        assert!(errors[0].starts_with("spec.template: Invalid value:") && errors[0].ends_with("field is immutable"));
    }

    #[test]
    fn schedules_parse() {
        let mut c = json!({"metadata": {"name": "c"}, "spec": {"schedule": "* * * *", "jobTemplate": {"spec": {"template":
            {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "i"}]}}}}}});
        CRON_JOB.default.unwrap()(&mut c);
        assert_eq!(
            texts(&cron_job(&c)),
            ["spec.schedule: Invalid value: \"* * * *\": expected exactly 5 fields, found 4: [* * * *]"]
        );
        c["spec"]["schedule"] = json!("*/5 0-6 1,15 jan mon-fri");
        assert_eq!(texts(&cron_job(&c)), Vec::<String>::new());
    }
}
