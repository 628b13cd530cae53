//! Events, of either group: events.k8s.io calls the same fields by other names.

use serde_json::Value;

use super::super::Column;
use super::super::json::{Json, NULL};
use super::super::row::NAME;
use super::{or, since, text, wide};

pub const EVENTS: &[Column] = &[
    text("Last Seen", |event, now| last_seen(event, now).into()),
    text("Type", |event, _| event.text("type").into()),
    text("Reason", |event, _| event.text("reason").into()),
    text("Object", |event, _| {
        let object = either(event, "involvedObject", "regarding");
        let kind = object.text("kind").to_lowercase();
        let name = object.text("name");
        if name.is_empty() { kind.into() } else { format!("{kind}/{name}").into() }
    }),
    wide("Subobject", |event, _| either(event, "involvedObject", "regarding").text("fieldPath").into()),
    wide("Source", |event, _| source(event).into()),
    text("Message", |event, _| either(event, "message", "note").as_str().unwrap_or_default().trim().into()),
    wide("First Seen", |event, now| first_seen(event, now).into()),
    wide("Count", |event, _| {
        let count = either(event, "count", "deprecatedCount").as_i64().unwrap_or_default();
        let series = event.at("series.count").as_i64();
        series.unwrap_or(if count == 0 { 1 } else { count }).into()
    }),
    Column { priority: 1, ..NAME_LAST },
];

const NAME_LAST: Column = Column { format: "name", ..text(NAME_TEXT, |object, _| object.text("metadata.name").into()) };

const NAME_TEXT: &str = NAME.name;

fn either<'a>(event: &'a Value, core: &str, new: &str) -> &'a Value {
    [core, new].iter().map(|field| event.at(field)).find(|v| !v.is_null()).unwrap_or(&NULL)
}

fn first_seen(event: &Value, now: i64) -> String {
    let first = either(event, "firstTimestamp", "deprecatedFirstTimestamp");
    since(if first.is_null() { event.at("eventTime") } else { first }, now)
}

fn last_seen(event: &Value, now: i64) -> String {
    let series = event.at("series.lastObservedTime");
    let last = either(event, "lastTimestamp", "deprecatedLastTimestamp");
    if !series.is_null() {
        since(series, now)
    } else if last.is_null() {
        first_seen(event, now)
    } else {
        since(last, now)
    }
}

fn source(event: &Value) -> String {
    let old = either(event, "source", "deprecatedSource");
    let new = event.text("reportingComponent");
    let component = or(old.text("component"), or(new, event.text("reportingController")));
    let instance = or(old.text("host"), event.text("reportingInstance"));
    if instance.is_empty() { component.to_owned() } else { format!("{component}, {instance}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cells(event: &Value) -> Vec<Value> {
        EVENTS.iter().map(|c| (c.cell)(event, 100)).collect()
    }

    #[test]
    fn both_groups_read_the_same() {
        let core = json!({"metadata": {"name": "p.1"}, "type": "Normal", "reason": "Pulled", "message": " m ",
            "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{a}"}, "count": 2,
            "source": {"component": "kubelet", "host": "n"},
            "firstTimestamp": "1970-01-01T00:00:40Z", "lastTimestamp": "1970-01-01T00:01:30Z"});
        let new = json!({"metadata": {"name": "p.1"}, "type": "Normal", "reason": "Pulled", "note": "m",
            "regarding": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{a}"}, "deprecatedCount": 2,
            "deprecatedSource": {"component": "kubelet", "host": "n"},
            "deprecatedFirstTimestamp": "1970-01-01T00:00:40Z", "deprecatedLastTimestamp": "1970-01-01T00:01:30Z"});
        let expected =
            json!(["10s", "Normal", "Pulled", "pod/p", "spec.containers{a}", "kubelet, n", "m", "60s", 2, "p.1"]);
        assert_eq!(Value::Array(cells(&core)), expected);
        assert_eq!(Value::Array(cells(&new)), expected);
    }

    #[test]
    fn series_and_event_time() {
        let event = json!({"eventTime": "1970-01-01T00:01:00.5Z",
            "series": {"count": 7, "lastObservedTime": "1970-01-01T00:01:39.1Z"}});
        assert_eq!((last_seen(&event, 100), first_seen(&event, 100)), ("1s".to_owned(), "40s".to_owned()));
    }
}
