//! Jobs and CronJobs (`pkg/apis/batch/validation`).

use schema::field::{Error, ErrorList, Path};
use schema::names;
use schema::selector::LabelSelector;
use serde_json::{Map, Value};

use super::super::internal;
use super::super::json::Json;
use super::{
    LABEL_SELECTOR, cron, domain_prefixed_path, immutable, immutable_of, job_policy, label_selector, not_negative,
    one_of, pod, pod_warnings, required_one_of, selector_error, spec,
};

/// Above this, an Indexed Job would have too large a status.
const MAX_INDEXED: i64 = 100_000;
/// And above this where so many indexes may fail each by itself.
const MAX_FAILED: i64 = 10_000;
/// Job names have to leave room for the eleven characters a CronJob appends.
const CRON_NAME: usize = 52;
/// Above both, an Indexed Job may fail in more ways than its status can hold.
const SOFT_COMPLETIONS: i64 = 100_000;
const SOFT_PARALLELISM: i64 = 10_000;

#[must_use]
pub fn job(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    if !object.yes("spec.manualSelector") {
        generated_labels(&mut errors, object);
    }
    errors.extend(of_job(object));
    let completions = object.int("spec.completions");
    if object.text("spec.completionMode") == "Indexed" && completions > 0 {
        // The last of its pods is to have such a hostname.
        let name = object.text("metadata.name");
        let host = format!("{name}-{}", completions - 1);
        if !names::dns1123_label(&host).is_empty() {
            let detail = format!("will not able to create pod with invalid DNS label: {host}");
            errors.push(Error::invalid(&Path::new("metadata").child("name"), name, detail));
        }
    }
    errors
}

/// What is asked of a Job's spec, of an update twice (`ValidateJobSpec`).
fn of_job(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, body) = (spec(), object.at("spec"));
    job_spec(&mut errors, &path, body);
    if body.at("selector").is_null() {
        errors.push(Error::required(&path.child("selector"), ""));
    } else {
        label_selector(&mut errors, &path.child("selector"), body.at("selector"));
    }
    let labels = body.at("template.metadata.labels");
    // No selector matches nothing.
    let chosen = LabelSelector::from_object(body.at("selector"));
    if body.at("selector").is_null() || chosen.is_ok_and(|selector| !selector.matches(labels)) {
        errors.push(Error::invalid(
            &path.child("template").child("metadata").child("labels"),
            labels.clone(),
            "`selector` does not match template `labels`",
        ));
    }
    errors
}

/// A user's own value for a label that is generated is a mistake, and so is a selector of something else.
fn generated_labels(errors: &mut ErrorList, job: &Value) {
    if job.at("spec.selector").is_null() {
        return;
    }
    let path = spec().child("template").child("metadata").child("labels");
    let labels = job.entries("spec.template.metadata.labels");
    let generated = [
        ("controller-uid", job.text("metadata.uid")),
        ("job-name", job.text("metadata.name")),
        ("batch.kubernetes.io/controller-uid", job.text("metadata.uid")),
        ("batch.kubernetes.io/job-name", job.text("metadata.name")),
    ];
    for (key, expected) in generated.into_iter() {
        let at = path.key(key);
        match labels.get(key).and_then(Value::as_str) {
            None => errors.push(Error::required(&at, format!("must be '{expected}'"))),
            Some(value) if value == expected => {}
            Some(_) => {
                errors.push(Error::invalid(&at, Value::Object(labels.clone()), format!("must be '{expected}'")));
            }
        }
    }
    let labels: Value =
        generated.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect::<Map<_, _>>().into();
    let selector = job.at("spec.selector");
    if LabelSelector::from_object(selector).is_ok_and(|selector| !selector.matches(&labels)) {
        errors.push(selector_error(&spec().child("selector"), selector, "`selector` not auto-generated"));
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
    let (failed, per_index) = (path.child("maxFailedIndexes"), path.child("backoffLimitPerIndex"));
    if body.has("maxFailedIndexes") {
        not_negative(errors, body, "maxFailedIndexes", path);
        if !body.has("backoffLimitPerIndex") {
            errors.push(Error::required(&per_index, "when maxFailedIndexes is specified"));
        }
    }
    if let Some(manager) = body.at("managedBy").as_str() {
        managed_by(errors, &path.child("managedBy"), manager);
    }
    let mode = body.text("completionMode");
    if body.has("completionMode") {
        one_of(errors, &path.child("completionMode"), mode, &["NonIndexed", "Indexed"]);
    }
    if mode == "Indexed" {
        indexed(errors, path, body);
    } else if matches!(mode, "NonIndexed" | "") {
        for (field, at) in [("backoffLimitPerIndex", &per_index), ("maxFailedIndexes", &failed)] {
            if body.has(field) {
                errors.push(Error::invalid(at, body.int(field), "requires indexed completion mode"));
            }
        }
    }
    if body.has("podFailurePolicy") {
        job_policy::pod_failure(errors, &path.child("podFailurePolicy"), body);
    }
    if body.has("successPolicy") {
        let at = path.child("successPolicy");
        if mode == "Indexed" {
            job_policy::success(errors, &at, body);
        } else {
            let shown = internal::compact(body.at("successPolicy"), "api.batch.v1.SuccessPolicy");
            errors.push(Error::invalid_as(&at, shown, "requires indexed completion mode"));
        }
    }
    if body.has("podReplacementPolicy") {
        let all = ["Failed", "TerminatingOrFailed"];
        // A pod that is judged when it has failed is not replaced before.
        let supported = if body.has("podFailurePolicy") { &all[..1] } else { &all[..] };
        one_of(errors, &path.child("podReplacementPolicy"), body.text("podReplacementPolicy"), supported);
    }
    pod::template(errors, &path.child("template"), body.at("template"));
    let policy = body.text("template.spec.restartPolicy");
    let at = path.child("template").child("spec").child("restartPolicy");
    if policy == "Always" || policy.is_empty() {
        errors.push(Error::required(&at, "valid values: \"OnFailure\", \"Never\""));
    } else if !matches!(policy, "OnFailure" | "Never") {
        errors.push(Error::not_supported(&at, policy, &["OnFailure", "Never"]));
    } else if body.has("podFailurePolicy") && policy != "Never" {
        let detail = "only \"Never\" is supported when podFailurePolicy is specified";
        errors.push(Error::invalid(&at, policy, detail));
    }
}

fn indexed(errors: &mut ErrorList, path: &Path, body: &Value) {
    let (failed, completions) = (body.at("maxFailedIndexes").as_i64(), body.at("completions").as_i64());
    if completions.is_none() {
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
    let at = path.child("maxFailedIndexes");
    if let (Some(failed), Some(completions)) = (failed, completions)
        && failed > completions
    {
        errors.push(Error::invalid(&at, failed, "must be less than or equal to completions"));
    }
    if let Some(failed) = failed
        && failed > MAX_INDEXED
    {
        errors.push(Error::invalid(&at, failed, format!("must be less than or equal to {MAX_INDEXED}")));
    }
    if completions.is_some_and(|completions| completions > MAX_INDEXED) && body.has("backoffLimitPerIndex") {
        if failed.is_none() {
            let detail = format!("must be specified when completions is above {MAX_INDEXED}");
            errors.push(Error::required(&at, detail));
        }
        for (field, value) in [("parallelism", body.at("parallelism").as_i64()), ("maxFailedIndexes", failed)] {
            if let Some(value) = value
                && value > MAX_FAILED
            {
                let detail = format!(
                    "must be less than or equal to {MAX_FAILED} when completions are above {MAX_INDEXED} and used with \
                     backoff limit per index"
                );
                errors.push(Error::invalid(&path.child(field), value, detail));
            }
        }
    }
}

/// Who looks after the Job instead of its controller.
fn managed_by(errors: &mut ErrorList, path: &Path, manager: &str) {
    const LENGTH: usize = 63;
    domain_prefixed_path(errors, path, manager);
    if manager.len() > LENGTH {
        errors.push(Error::too_long(path, LENGTH));
    }
}

#[must_use]
pub fn job_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = of_job(new);
    let path = spec();
    // An elastic indexed Job changes both numbers together.
    let (at, asked) = (path.child("completions"), new.at("spec.completions"));
    let apart = !asked.is_null() && asked != new.at("spec.parallelism");
    if new.text("spec.completionMode") != "Indexed" {
        immutable(&mut errors, &at, asked, old.at("spec.completions"));
    } else if asked != old.at("spec.completions") && apart {
        errors.push(Error::invalid(&at, asked.clone(), "can only be modified in tandem with spec.parallelism"));
    }
    let (now, then) = (new.at("spec"), old.at("spec"));
    let template = movable(now.at("template"), old);
    for (field, of) in [
        ("selector", LABEL_SELECTOR),
        ("template", "api.core.v1.PodTemplateSpec"),
        ("completionMode", ""),
        ("podFailurePolicy", "api.batch.v1.PodFailurePolicy"),
        ("backoffLimitPerIndex", ""),
        ("managedBy", ""),
        ("successPolicy", "api.batch.v1.SuccessPolicy"),
    ] {
        let then = if field == "template" { &template } else { then.at(field) };
        immutable_of(&mut errors, &path.child(field), now.at(field), then, of);
    }
    errors
}

/// The template of `old` as it may have become. While suspended and never started, a queue controller may still say where the
/// pods go.
fn movable(template: &Value, old: &Value) -> Value {
    let mut before = old.at("spec.template").clone();
    if !old.yes("spec.suspend") || old.has("status.startTime") {
        return before;
    }
    let kept =
        ["spec.nodeSelector", "spec.tolerations", "spec.schedulingGates", "metadata.labels", "metadata.annotations"];
    for field in kept {
        before.take_from(field, template);
    }
    let affinity = "spec.affinity";
    match (template.has(affinity), before.has(affinity)) {
        (true, _) => {
            let mut own = before.at(affinity).as_object().cloned().map_or_else(|| serde_json::json!({}), Value::Object);
            own.take_from("nodeAffinity", template.at(affinity));
            before.put(affinity, own);
        }
        (false, true) => {
            before.remove("spec.affinity.nodeAffinity");
            if before.entries(affinity).is_empty() {
                before.remove(affinity);
            }
        }
        (false, false) => {}
    }
    before
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
    if body.has("timeZone") && body.text("timeZone").is_empty() {
        errors.push(Error::invalid(&path.child("timeZone"), "", "timeZone must be nil or non-empty string"));
    }
    if let Some(zone) = body.at("timeZone").as_str().filter(|zone| !zone.is_empty())
        && (zone.eq_ignore_ascii_case("local") || jiff::tz::TimeZone::get(zone).is_err())
    {
        errors.push(Error::invalid(&path.child("timeZone"), zone, format!("unknown time zone {zone}")));
    }
    let policy = body.text("concurrencyPolicy");
    required_one_of(&mut errors, &path.child("concurrencyPolicy"), policy, &["Allow", "Forbid", "Replace"]);
    let (at, template) = (path.child("jobTemplate").child("spec"), body.at("jobTemplate.spec"));
    job_spec(&mut errors, &at, template);
    if template.has("selector") {
        let detail = "`selector` will be auto-generated";
        errors.push(selector_error(&at.child("selector"), template.at("selector"), detail));
    }
    if template.yes("manualSelector") {
        errors.push(Error::not_supported(&at.child("manualSelector"), true, &["nil", "false"]));
    }
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

/// Warnings of a Job (`pkg/api/job/warnings.go`).
#[must_use]
pub fn job_warnings(job: &Value) -> Vec<String> {
    spec_warnings(job.at("spec"), "spec")
}

/// Warnings of what a CronJob makes.
#[must_use]
pub fn cron_job_warnings(object: &Value) -> Vec<String> {
    spec_warnings(object.at("spec.jobTemplate.spec"), "spec.jobTemplate.spec")
}

fn spec_warnings(spec: &Value, path: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    let many = spec.int("completions") > SOFT_COMPLETIONS && spec.int("parallelism") > SOFT_PARALLELISM;
    if many && spec.text("completionMode") == "Indexed" {
        warnings.push(format!(
            "{path}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes \
             might not be able to track completedIndexes when a big number of indexes fail"
        ));
    }
    warnings.extend(pod_warnings::of(spec.at("template"), &format!("{path}.template.")));
    warnings
}

/// A schedule from before there was a field for its time zone.
#[must_use]
pub fn schedule_warnings(object: &Value) -> Vec<String> {
    let zone = object.text("spec.schedule").contains("TZ");
    let text = "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see \
                https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details";
    zone.then(|| text.to_owned()).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::strategy::{cron_job::CRON_JOB, job::JOB};
    use super::super::texts;
    use super::*;

    #[test]
    fn fields_of_jobs() {
        let check = |more: Value| {
            let mut j = json!({"metadata": {"name": "j", "uid": "u"},
                "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "i"}]}}}});
            j["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            JOB.default.unwrap()(&mut j);
            JOB.prepare_create.unwrap()(&mut j);
            texts(&job(&j))
        };
        let indexed = |more: Value| {
            let mut spec = json!({"completionMode": "Indexed", "completions": 3, "parallelism": 1});
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            check(spec)
        };
        assert_eq!(
            check(json!({"managedBy": "x"})),
            ["spec.managedBy: Invalid value: \"x\": must be a domain-prefixed path (such as \"acme.io/foo\")"]
        );
        assert_eq!(
            check(json!({"backoffLimitPerIndex": 1})),
            ["spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"]
        );
        assert_eq!(
            check(json!({"successPolicy": {"rules": [{"succeededIndexes": "0"}]}})),
            [
                r#"spec.successPolicy: Invalid value: {"Rules":[{"SucceededIndexes":"0","SucceededCount":null}]}: requires indexed completion mode"#
            ]
        );
        assert_eq!(
            indexed(json!({"successPolicy": {"rules": [{"succeededIndexes": "0-1", "succeededCount": 3}]}})),
            [
                "spec.successPolicy.rules[0].succeededCount: Invalid value: 3: must be less than or equal to 2 (the number of \
                 indexes in the specified succeededIndexes field)"
            ]
        );
        assert_eq!(
            indexed(json!({"podFailurePolicy": {"rules": [{"action": "FailJob"}]}})),
            [
                "spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required"
            ]
        );
        assert_eq!(
            indexed(json!({"podFailurePolicy": {"rules": [{"action": "FailJob",
                "onExitCodes": {"operator": "In", "containerName": "x", "values": [0]}}]}})),
            [
                "spec.podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value: \"x\": must be one of the container \
                 or initContainer names in the pod template",
                "spec.podFailurePolicy.rules[0].onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator",
            ]
        );
        assert_eq!(
            check(json!({"selector": {"matchLabels": {"a": "b"}}}))[..1],
            [
                r#"spec.selector: Invalid value: {"matchLabels":{"a":"b","batch.kubernetes.io/controller-uid":"u"}}: `selector` not auto-generated"#
            ]
        );
    }

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
        // What it is by itself is told once more.
        assert_eq!(errors[..1], texts(&job(&always)));
        assert!(errors[1].starts_with("spec.template: Invalid value:") && errors[1].ends_with("field is immutable"));
    }

    #[test]
    fn completions_change_with_parallelism_or_not_at_all() {
        let job = |mode: &str, completions: i64, parallelism: i64| json!({"spec": {"completionMode": mode, "completions": completions, "parallelism": parallelism}});
        let at = "spec.completions: Invalid value: 4:";
        for (new, old, expected) in [
            (job("Indexed", 4, 4), job("Indexed", 3, 3), vec![]),
            (job("Indexed", 3, 5), job("Indexed", 3, 3), vec![]),
            (
                job("Indexed", 4, 3),
                job("Indexed", 3, 3),
                vec![format!("{at} can only be modified in tandem with spec.parallelism")],
            ),
            (job("Indexed", 4, 4), job("Indexed", 3, 2), vec![]),
            (job("NonIndexed", 4, 4), job("NonIndexed", 3, 3), vec![format!("{at} field is immutable")]),
        ] {
            let mut found = texts(&job_update(&new, &old));
            found.retain(|text| text.starts_with("spec.completions:"));
            assert_eq!(found, expected, "{new}");
        }
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
