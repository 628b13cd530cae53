//! What a Job's status may say, and how it may change (`pkg/apis/batch/validation`, `ValidateJobStatusUpdate`). Most of it is judged
//! only where what it is about has changed (`getStatusValidationOptions`): others than the Job controller write statuses, too
//! (KEP-4368), and a status that was wrong before must not keep them from writing.

use schema::field::{Error, ErrorList, Path};
use serde_json::{Value, json};

use super::super::internal;
use super::super::json::Json;
use super::{IMMUTABLE, not_negative};

/// Whether a condition of the status has a value.
fn is(job: &Value, kind: &str, status: &str) -> bool {
    job.list("status.conditions").iter().any(|c| c.text("type") == kind && c.text("status") == status)
}

fn set(job: &Value, kind: &str) -> bool {
    is(job, kind, "True")
}

fn complete(job: &Value) -> bool {
    set(job, "Complete")
}

fn failed(job: &Value) -> bool {
    set(job, "Failed")
}

fn finished(job: &Value) -> bool {
    complete(job) || failed(job)
}

fn successful(job: &Value) -> bool {
    set(job, "SuccessCriteriaMet")
}

fn targeted(job: &Value) -> bool {
    set(job, "FailureTarget")
}

/// What is wrong with the conditions as a whole: they are not shown.
fn conditions(detail: impl Into<String>) -> Error {
    Error::invalid(&Path::new("status").child("conditions"), Value::Null, detail).value_omitted_if(true)
}

#[must_use]
pub fn status(new: &Value, old: &Value) -> ErrorList {
    let mut errors = itself(new, old);
    for kind in ["Failed", "Complete", "FailureTarget"] {
        if set(old, kind) && !set(new, kind) {
            errors.push(conditions(format!("cannot disable the terminal {kind}=True condition")));
        }
    }
    let (path, now, then) = (Path::new("status"), new.at("status"), old.at("status"));
    // An Indexed Job that has as many workers as completions may be made smaller.
    let elastic = indexed(new) && new.at("spec.completions") == new.at("spec.parallelism");
    for (field, counted) in [("failed", true), ("succeeded", !elastic)] {
        if counted && now.int(field) < then.int(field) {
            let detail = format!("cannot decrease the {field} counter");
            errors.push(Error::invalid(&path.child(field), now.int(field), detail));
        }
    }
    let (field, changed) = ("completionTime", now.at("completionTime") != then.at("completionTime"));
    if now.has(field) && then.has(field) && changed {
        errors.push(Error::invalid(&path.child(field), now.at(field).clone(), IMMUTABLE));
    }
    let field = "startTime";
    // A Job that is resumed begins anew.
    let resumed = set(old, "Suspended") && is(new, "Suspended", "False");
    if then.has(field) && now.at(field) != then.at(field) && !resumed && !new.yes("spec.suspend") {
        let detail = "field is immutable for unsuspended job once set";
        errors.push(Error::invalid(&path.child(field), now.at(field).clone(), detail));
    }
    if successful(old) && !successful(new) {
        errors.push(conditions("cannot disable the SuccessCriteriaMet=True condition"));
    }
    if complete(old) && !successful(old) && successful(new) {
        let detail = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
        errors.push(conditions(detail));
    }
    errors
}

fn indexed(job: &Value) -> bool {
    job.text("spec.completionMode") == "Indexed"
}

/// What has changed of a Job's status.
struct Changed<'a> {
    new: &'a Value,
    old: &'a Value,
}

impl Changed<'_> {
    fn field(&self, field: &str) -> bool {
        self.new.at("status").at(field) != self.old.at("status").at(field)
    }

    fn number(&self, field: &str) -> bool {
        self.new.at("status").int(field) != self.old.at("status").int(field)
    }

    fn state(&self, state: fn(&Value) -> bool) -> bool {
        state(self.new) != state(self.old)
    }
}

/// The new status by itself, as far as it has changed.
fn itself(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, status, changed) = (Path::new("status"), new.at("status"), Changed { new, old });
    for field in ["active", "succeeded", "failed", "ready", "terminating"] {
        not_negative(&mut errors, status, field, &path);
    }
    uncounted(&mut errors, status);
    ends(&mut errors, &changed);
    if (changed.state(failed) || changed.field("failedIndexes")) && failed(new) && !targeted(new) {
        errors.push(conditions("cannot set Failed=True condition without the FailureTarget=true condition"));
    }
    if (changed.state(complete) || changed.state(successful)) && complete(new) && !successful(new) {
        errors.push(conditions("cannot set Complete=True condition without the SuccessCriteriaMet=true condition"));
    }
    of_finished(&mut errors, &changed);
    indexes(&mut errors, &changed);
    let (field, terminating) = ("terminating", status.int("terminating"));
    if (changed.state(finished) || changed.field(field)) && terminating > 0 && finished(new) {
        errors.push(Error::invalid(&path.child(field), terminating, "terminating>0 is invalid for finished job"));
    }
    let ready = status.int("ready");
    if (changed.field("ready") || changed.number("active")) && ready > status.int("active") {
        errors.push(Error::invalid(&path.child("ready"), ready, "cannot set more ready pods than active"));
    }
    if successful(new) && failed(new) {
        errors.push(conditions("cannot set SuccessCriteriaMet=True and Failed=true conditions"));
    }
    if successful(new) && targeted(new) {
        errors.push(conditions("cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"));
    }
    if new.has("spec.successPolicy") && !successful(new) && complete(new) {
        let detail = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True";
        errors.push(conditions(detail));
    }
    errors
}

/// Pods that are to be counted are counted once.
fn uncounted(errors: &mut ErrorList, status: &Value) {
    let mut seen = std::collections::BTreeSet::new();
    for list in ["succeeded", "failed"] {
        let path = Path::new("status").child("uncountedTerminatedPods").child(list);
        for (i, uid) in status.at("uncountedTerminatedPods").texts(list).into_iter().enumerate() {
            if uid.is_empty() {
                errors.push(Error::invalid(&path.index(i), uid, "must not be empty"));
            } else if !seen.insert(uid) {
                errors.push(Error::duplicate(&path.index(i), uid));
            }
        }
    }
}

/// A Job ends in one way, and when it is complete, and only then, has a time for it.
fn ends(errors: &mut ErrorList, changed: &Changed) {
    let (new, status) = (changed.new, changed.new.at("status"));
    let completed = changed.state(complete);
    if (completed || changed.state(failed)) && complete(new) && failed(new) {
        errors.push(conditions("cannot set Complete=True and Failed=true conditions"));
    }
    if (completed || changed.state(targeted)) && complete(new) && targeted(new) {
        errors.push(conditions("cannot set Complete=True and FailureTarget=true conditions"));
    }
    let (path, field) = (Path::new("status").child("completionTime"), "completionTime");
    let timed = completed || changed.field(field);
    let (end, shown) = (status.text(field), status.at(field).clone());
    if timed && status.has(field) && !complete(new) {
        let detail = "cannot set completionTime when there is no Complete=True condition";
        errors.push(Error::invalid(&path, shown.clone(), detail));
    }
    if timed && !status.has(field) && complete(new) {
        errors.push(Error::required(&path, "completionTime is required for Complete jobs"));
    }
    let start = status.text("startTime");
    let times = changed.field("startTime") || changed.field(field);
    // Times are all written alike: they are in the order of their texts.
    if times && !start.is_empty() && !end.is_empty() && end < start {
        errors.push(Error::invalid(&path, shown, "must be equal to or after `startTime`"));
    }
}

/// A finished Job has begun, and has nothing left that runs or is to be counted.
fn of_finished(errors: &mut ErrorList, changed: &Changed) {
    let (new, status, path) = (changed.new, changed.new.at("status"), Path::new("status"));
    if !finished(new) {
        return;
    }
    let now = changed.state(finished);
    let active = status.int("active");
    if (now || changed.number("active")) && active > 0 {
        errors.push(Error::invalid(&path.child("active"), active, "active>0 is invalid for finished job"));
    }
    let nothing = new.yes("spec.suspend") && new.at("spec.completions") == &json!(0);
    if (now || changed.field("startTime")) && !nothing && !status.has("startTime") {
        errors.push(Error::required(&path.child("startTime"), "startTime is required for finished job"));
    }
    let (field, pods) = ("uncountedTerminatedPods", status.at("uncountedTerminatedPods"));
    let some = !pods.list("failed").is_empty() || !pods.list("succeeded").is_empty();
    if (now || changed.field(field)) && some {
        let shown = internal::compact(pods, "api.batch.v1.UncountedTerminatedPods");
        errors.push(Error::invalid_as(&path.child(field), shown, "must be empty for finished job"));
    }
}

/// Lists of completed and failed indexes.
fn indexes(errors: &mut ErrorList, changed: &Changed) {
    let (new, status, path) = (changed.new, changed.new.at("status"), Path::new("status"));
    let (done, broken) = ("completedIndexes", "failedIndexes");
    let (completed, lost) = (status.text(done), status.at(broken).as_str());
    let (completed_now, lost_now) = (changed.old.at("status").text(done) != completed, changed.field(broken));
    let completions = new.at("spec.completions").as_i64();
    let by_index = new.has("spec.backoffLimitPerIndex");
    let mut parse = |field: &str, list: &str| {
        if let Some(Err(why)) = completions.map(|completions| intervals(list, completions)) {
            errors.push(Error::invalid(&path.child(field), list, format!("error parsing {field}: {why}")));
        }
    };
    if completed_now {
        parse(done, completed);
    }
    if let Some(lost) = lost.filter(|_| lost_now && by_index) {
        parse(broken, lost);
    }
    if completed_now && !completed.is_empty() && !indexed(new) {
        let detail = "cannot set non-empty completedIndexes when non-indexed completion mode";
        errors.push(Error::invalid(&path.child(done), completed, detail));
    }
    let Some(lost) = lost else { return };
    if lost_now && !by_index {
        let detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        errors.push(Error::invalid(&path.child(broken), lost, detail));
    }
    if (lost_now || completed_now)
        && let Some(index) = completions.and_then(|completions| overlap(completed, lost, completions))
    {
        let detail = format!("failedIndexes and completedIndexes overlap at index: {index}");
        errors.push(Error::invalid(&path.child(broken), lost, detail));
    }
}

/// Indexes such as `1,3-5`, as intervals in their order.
fn intervals(list: &str, completions: i64) -> Result<Vec<(i64, i64)>, String> {
    if list.is_empty() {
        return Ok(Vec::new());
    }
    let mut all: Vec<(i64, i64)> = Vec::new();
    for text in list.split(',') {
        let next = interval(text, completions)?;
        if let Some((_, last)) = all.last().filter(|(_, last)| *last >= next.0) {
            return Err(format!("non-increasing order, previous: {last}, current: {}", next.0));
        }
        all.push(next);
    }
    Ok(all)
}

fn interval(text: &str, completions: i64) -> Result<(i64, i64), String> {
    let parts: Vec<&str> = text.split('-').collect();
    if parts.len() > 2 {
        return Err(format!(
            "the fragment {} violates the requirement that an index interval can have at most two parts separated by '-'",
            schema::go::quote(text)
        ));
    }
    let index = |text: &str| match text.parse::<i64>() {
        Err(_) => Err(format!("cannot convert string to integer for index: {}", schema::go::quote(text))),
        Ok(index) if index >= completions => Err(format!("too large index: {}", schema::go::quote(text))),
        Ok(index) => Ok(index),
    };
    let first = index(parts[0])?;
    let Some(last) = parts.get(1) else { return Ok((first, first)) };
    let last = index(last)?;
    if first >= last {
        return Err(format!("non-increasing order, previous: {first}, current: {last}"));
    }
    Ok((first, last))
}

/// The first index that both lists have; what cannot be read of them is told elsewhere.
fn overlap(completed: &str, lost: &str, completions: i64) -> Option<i64> {
    let read = |list: &str| -> Vec<(i64, i64)> {
        let texts = list.split(',').filter(|_| !list.is_empty());
        texts.filter_map(|text| interval(text, completions).ok()).collect()
    };
    let (completed, lost) = (read(completed), read(lost));
    let (mut c, mut l) = (completed.iter().peekable(), lost.iter().peekable());
    while let (Some((first, last)), Some((from, to))) = (c.peek(), l.peek()) {
        if first <= to && from <= last {
            return Some(*first.max(from));
        }
        if first <= from {
            c.next();
        } else {
            l.next();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::texts;
    use super::*;

    fn job(status: &Value) -> Value {
        json!({"spec": {"completions": 5, "parallelism": 2}, "status": status})
    }

    fn condition(kind: &str) -> Value {
        json!({"type": kind, "status": "True"})
    }

    #[test]
    fn what_a_status_says_at_once() {
        let (start, end) = ("2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z");
        let done = json!({"conditions": [condition("SuccessCriteriaMet"), condition("Complete")], "startTime": start,
            "completionTime": end});
        let with = |field: &str, value: Value| {
            let mut status = done.clone();
            status[field] = value;
            status
        };
        for (status, expected) in [
            (
                json!({"active": -1, "ready": 0}),
                vec![
                    "status.active: Invalid value: -1: must be greater than or equal to 0",
                    "status.ready: Invalid value: 0: cannot set more ready pods than active",
                ],
            ),
            (done.clone(), vec![]),
            (
                json!({"completionTime": end}),
                vec![
                    "status.completionTime: Invalid value: \"2020-01-02T00:00:00Z\": cannot set completionTime when there is no \
                 Complete=True condition",
                ],
            ),
            (with("active", json!(1)), vec!["status.active: Invalid value: 1: active>0 is invalid for finished job"]),
            (
                with("startTime", Value::Null),
                vec!["status.startTime: Required value: startTime is required for finished job"],
            ),
            (
                with("completionTime", Value::Null),
                vec!["status.completionTime: Required value: completionTime is required for Complete jobs"],
            ),
            (
                with("uncountedTerminatedPods", json!({"failed": ["a", "a", ""]})),
                vec![
                    "status.uncountedTerminatedPods.failed[1]: Duplicate value: \"a\"",
                    "status.uncountedTerminatedPods.failed[2]: Invalid value: \"\": must not be empty",
                    "status.uncountedTerminatedPods: Invalid value: {\"Succeeded\":null,\"Failed\":[\"a\",\"a\",\"\"]}: must be \
                 empty for finished job",
                ],
            ),
            (
                json!({"conditions": [condition("Failed")], "startTime": start}),
                vec![
                    "status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition",
                ],
            ),
            (
                json!({"completedIndexes": "1-2"}),
                vec![
                    "status.completedIndexes: Invalid value: \"1-2\": cannot set non-empty completedIndexes when non-indexed \
                 completion mode",
                ],
            ),
            (
                json!({"failedIndexes": "1"}),
                vec![
                    "status.failedIndexes: Invalid value: \"1\": cannot set non-null failedIndexes when backoffLimitPerIndex is \
                 null",
                ],
            ),
        ] {
            assert_eq!(texts(&super::status(&job(&status), &job(&json!({})))), expected, "{status}");
            assert!(super::status(&job(&status), &job(&status)).len() <= 3, "what has not changed is forgiven");
        }
    }

    #[test]
    fn what_a_change_may_not_take_back() {
        let old = json!({"failed": 2, "succeeded": 2, "startTime": "2020-01-01T00:00:00Z",
            "conditions": [condition("FailureTarget"), condition("SuccessCriteriaMet")]});
        let expected = [
            "status.conditions: Invalid value: cannot disable the terminal FailureTarget=True condition",
            "status.failed: Invalid value: 0: cannot decrease the failed counter",
            "status.succeeded: Invalid value: 0: cannot decrease the succeeded counter",
            "status.startTime: Invalid value: null: field is immutable for unsuspended job once set",
            "status.conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition",
        ];
        assert_eq!(texts(&super::status(&job(&json!({})), &job(&old))), expected);
    }

    #[test]
    fn lists_of_indexes() {
        for (list, expected) in [
            ("", Ok(vec![])),
            ("0,2-4", Ok(vec![(0, 0), (2, 4)])),
            ("2,1", Err("non-increasing order, previous: 2, current: 1")),
            ("3-3", Err("non-increasing order, previous: 3, current: 3")),
            ("x", Err("cannot convert string to integer for index: \"x\"")),
            ("5", Err("too large index: \"5\"")),
            (
                "1-2-3",
                Err(
                    "the fragment \"1-2-3\" violates the requirement that an index interval can have at most two parts \
                     separated by '-'",
                ),
            ),
        ] {
            assert_eq!(intervals(list, 5), expected.map_err(str::to_owned), "{list}");
        }
        for (completed, lost, expected) in
            [("0,2-4", "1", None), ("0,2-4", "1,3", Some(3)), ("x,1", "1", Some(1)), ("", "1", None)]
        {
            assert_eq!(overlap(completed, lost, 5), expected, "{completed} {lost}");
        }
    }
}
