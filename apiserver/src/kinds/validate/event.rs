//! Events (`pkg/apis/core/validation/events.go`): the object an event is about lives in the event's own namespace.

use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::Value;

use super::super::internal;
use super::super::json::Json;
use super::{IMMUTABLE, named, same};

#[must_use]
pub fn event(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let field = if object.has("regarding") { "regarding" } else { "involvedObject" };
    let about = object.at(field);
    let (namespace, other) = (object.text("metadata.namespace"), about.text("namespace"));
    let path = Path::new("involvedObject").child("namespace");
    let new = object.has("eventTime");
    // An event about an object without a namespace is kept in `default`; only those of old say more than that.
    let fits = match (other.is_empty(), new) {
        (true, true) => matches!(namespace, "default" | "kube-system"),
        (true, false) => matches!(namespace, "" | "default"),
        (false, true) => true,
        (false, false) => namespace == other,
    };
    if !fits {
        errors.push(Error::invalid(&path, other, "does not match event.namespace"));
    }
    if new {
        new_event(&mut errors, object);
    }
    errors
}

/// What an event says that has a time of its own.
fn new_event(errors: &mut ErrorList, object: &Value) {
    const LENGTH: usize = 128;
    const NOTE: usize = 1024;
    let core = object.text("apiVersion") == "v1";
    let (controller, instance) =
        if core { ("reportingComponent", "reportingInstance") } else { ("reportingController", "reportingInstance") };
    if object.text(controller).is_empty() {
        errors.push(Error::required(&Path::new(controller), ""));
    }
    named(errors, &Path::new(controller), object.text(controller), names::qualified_name);
    for field in [instance, "action", "reason"] {
        let text = object.text(field);
        if text.is_empty() {
            errors.push(Error::required(&Path::new(field), ""));
        } else if text.len() > LENGTH {
            errors.push(Error::invalid(&Path::new(field), "", format!("can have at most {LENGTH} characters")));
        }
    }
    if object.text(if core { "message" } else { "note" }).len() > NOTE {
        errors.push(Error::invalid(&Path::new("message"), "", format!("can have at most {NOTE} characters")));
    }
}

/// The first series of an event begins with the second time it happens.
fn series(errors: &mut ErrorList, object: &Value) {
    if !object.at("series").is_object() {
        return;
    }
    if object.int("series.count") < 2 {
        errors.push(Error::invalid(&Path::new("series.count"), "", "should be at least 2"));
    }
    if !object.has("series.lastObservedTime") {
        errors.push(Error::required(&Path::new("series.lastObservedTime"), ""));
    }
}

/// Of a new event in events.k8s.io more is asked than in the core group, which keeps those of old (`ValidateEventCreate`).
#[must_use]
pub fn new(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    if object.text("apiVersion") == "v1" {
        return errors;
    }
    series(&mut errors, object);
    if !object.has("eventTime") {
        errors.push(Error::required(&Path::new("eventTime"), ""));
    }
    let kind = object.text("type");
    if !matches!(kind, "Normal" | "Warning") {
        errors.push(Error::invalid(&Path::new("type"), "", format!("has invalid value: {kind}")));
    }
    for (field, shown) in [
        ("deprecatedFirstTimestamp", "firstTimestamp"),
        ("deprecatedLastTimestamp", "lastTimestamp"),
        ("deprecatedCount", "count"),
        ("deprecatedSource", "source"),
    ] {
        let value = object.at(field);
        let set = value.as_i64().map_or(!value.is_null(), |count| count != 0);
        if set && value.as_object().is_none_or(|source| !source.is_empty()) {
            errors.push(Error::invalid(&Path::new(shown), "", "needs to be unset"));
        }
    }
    errors
}

/// What a field is to Go.
enum Is {
    Text,
    Number,
    Time,
    Struct(&'static str),
    Pointer(&'static str),
}

const REFERENCE: &str = "api.core.v1.ObjectReference";

/// Fields of an event that are what they are for ever, and their names in core.
const FROZEN: [(&str, &str, Is); 13] = [
    ("regarding", "involvedObject", Is::Struct(REFERENCE)),
    ("reason", "reason", Is::Text),
    ("note", "message", Is::Text),
    ("deprecatedSource", "source", Is::Struct("api.core.v1.EventSource")),
    ("deprecatedFirstTimestamp", "firstTimestamp", Is::Time),
    ("deprecatedLastTimestamp", "lastTimestamp", Is::Time),
    ("deprecatedCount", "count", Is::Number),
    ("type", "type", Is::Text),
    ("eventTime", "eventTime", Is::Time),
    ("action", "action", Is::Text),
    ("related", "related", Is::Pointer(REFERENCE)),
    ("reportingController", "reportingController", Is::Text),
    ("reportingInstance", "reportingInstance", Is::Text),
];

/// In events.k8s.io an event may only become a series.
#[must_use]
pub fn update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    if new.text("apiVersion") == "v1" {
        return errors;
    }
    if !same(new.at("series"), old.at("series")) {
        series(&mut errors, new);
    }
    for (field, shown, is) in FROZEN {
        let (path, now, then) = (Path::new(shown), new.at(field), old.at(field));
        match is {
            Is::Struct(of) if !internal::same(now, then, of) => {
                errors.push(Error::invalid_as(&path, internal::compact(now, of), IMMUTABLE));
            }
            Is::Pointer(of) if now.is_null() != then.is_null() || !internal::same(now, then, of) => {
                let text = if now.is_null() { "null".to_owned() } else { internal::compact(now, of) };
                errors.push(Error::invalid_as(&path, text, IMMUTABLE));
            }
            Is::Text if now.as_str().unwrap_or_default() != then.as_str().unwrap_or_default() => {
                errors.push(Error::invalid(&path, now.as_str().unwrap_or_default(), IMMUTABLE));
            }
            Is::Number if now.as_i64().unwrap_or(0) != then.as_i64().unwrap_or(0) => {
                errors.push(Error::invalid(&path, now.as_i64().unwrap_or(0), IMMUTABLE));
            }
            Is::Time if now != then => errors.push(Error::invalid(&path, now.clone(), IMMUTABLE)),
            _ => {}
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::texts;
    use super::*;

    #[test]
    fn only_old_events_name_the_namespace_twice() {
        let mut event =
            json!({"apiVersion": "v1", "metadata": {"namespace": "a"}, "involvedObject": {"namespace": "b"}});
        let wrong = "involvedObject.namespace: Invalid value: \"b\": does not match event.namespace";
        assert_eq!(texts(&self::event(&event)), [wrong]);
        for (field, value) in [
            ("eventTime", "2020-01-01T00:00:00.000000Z"),
            ("reportingComponent", "a.b/c"),
            ("reportingInstance", "i"),
            ("action", "A"),
        ] {
            event[field] = value.into();
        }
        assert_eq!(texts(&self::event(&event)), ["reason: Required value"]);
    }

    #[test]
    fn an_event_only_becomes_a_series() {
        let old = json!({"apiVersion": "events.k8s.io/v1", "regarding": {"name": "p"}, "reason": "R", "type": "Normal",
            "eventTime": "2020-01-01T00:00:00.000000Z"});
        for (field, value, expected) in [
            ("series", json!({"count": 2, "lastObservedTime": "2020-01-01T00:00:00.000000Z"}), vec![]),
            (
                "series",
                json!({"count": 1}),
                vec![
                    "series.count: Invalid value: \"\": should be at least 2",
                    "series.lastObservedTime: Required value",
                ],
            ),
            ("reason", json!(null), vec!["reason: Invalid value: \"\": field is immutable"]),
            ("eventTime", json!(null), vec!["eventTime: Invalid value: null: field is immutable"]),
            ("deprecatedCount", json!(1), vec!["count: Invalid value: 1: field is immutable"]),
            (
                "regarding",
                json!({"name": "q"}),
                vec![
                    "involvedObject: Invalid value: {\"Kind\":\"\",\"Namespace\":\"\",\"Name\":\"q\",\"UID\":\"\",\"APIVersion\":\"\",\"ResourceVersion\":\"\",\"FieldPath\":\"\"}: field is immutable",
                ],
            ),
        ] {
            let mut new = old.clone();
            new[field] = value;
            assert_eq!(texts(&update(&new, &old)), expected, "{field}");
        }
        assert_eq!(super::new(&json!({"apiVersion": "v1"})), vec![]);
        let wrong = json!({"apiVersion": "events.k8s.io/v1", "type": "x", "deprecatedCount": 1});
        let expected = [
            "eventTime: Required value",
            "type: Invalid value: \"\": has invalid value: x",
            "count: Invalid value: \"\": needs to be unset",
        ];
        assert_eq!(texts(&super::new(&wrong)), expected);
    }
}
