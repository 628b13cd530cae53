//! Events, stored as core/v1; events.k8s.io/v1 is a view with other names (`pkg/apis/events/v1/conversion.go`).

use serde_json::Value;

use super::super::json::Json;
use super::super::validate;
use super::super::{SelectableField, Strategy};

pub const EVENT: Strategy = Strategy {
    create_on_update: true,
    convert: Some(convert),
    validate: Some(validate::event::event),
    validate_create: Some(validate::event::new),
    validate_update: Some(validate::event::update),
    ..Strategy::PLAIN
};

/// Core name, events.k8s.io name.
const RENAMED: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

fn convert(event: &mut Value, _: &str, to: &str) {
    let Some(fields) = event.as_object_mut() else { return };
    for (core, new) in RENAMED {
        let (from, to) = if to == "v1" { (new, core) } else { (core, new) };
        if let Some(value) = fields.remove(from) {
            fields.insert(to.to_owned(), value);
        }
    }
    // Who reports is always said in the one version, and when there is something to say in the other.
    match to {
        "v1" => {
            for name in ["reportingComponent", "reportingInstance"] {
                fields.entry(name).or_insert_with(|| "".into());
            }
        }
        _ => {
            fields.retain(|name, value| value != "" || !matches!(&**name, "reportingController" | "reportingInstance"))
        }
    }
}

/// Field selectors of a core Event.
pub const CORE_FIELDS: &[SelectableField] = &[
    ("involvedObject.kind", |e| e.text("involvedObject.kind").to_owned()),
    ("involvedObject.namespace", |e| e.text("involvedObject.namespace").to_owned()),
    ("involvedObject.name", |e| e.text("involvedObject.name").to_owned()),
    ("involvedObject.uid", |e| e.text("involvedObject.uid").to_owned()),
    ("involvedObject.apiVersion", |e| e.text("involvedObject.apiVersion").to_owned()),
    ("involvedObject.resourceVersion", |e| e.text("involvedObject.resourceVersion").to_owned()),
    ("involvedObject.fieldPath", |e| e.text("involvedObject.fieldPath").to_owned()),
    ("reason", |e| e.text("reason").to_owned()),
    ("reportingComponent", |e| e.text("reportingComponent").to_owned()),
    ("source", |e| {
        let source = e.text("source.component");
        if source.is_empty() { e.text("reportingComponent").to_owned() } else { source.to_owned() }
    }),
    ("type", |e| e.text("type").to_owned()),
];

/// The same for events.k8s.io, read from the object as it is stored or as it is served.
pub const NEW_FIELDS: &[SelectableField] = &[
    ("regarding.kind", |e| regarding(e, "kind")),
    ("regarding.namespace", |e| regarding(e, "namespace")),
    ("regarding.name", |e| regarding(e, "name")),
    ("regarding.uid", |e| regarding(e, "uid")),
    ("regarding.apiVersion", |e| regarding(e, "apiVersion")),
    ("regarding.resourceVersion", |e| regarding(e, "resourceVersion")),
    ("regarding.fieldPath", |e| regarding(e, "fieldPath")),
    ("reason", |e| e.text("reason").to_owned()),
    ("reportingController", |e| {
        let new = e.text("reportingController");
        if new.is_empty() { e.text("reportingComponent").to_owned() } else { new.to_owned() }
    }),
    ("type", |e| e.text("type").to_owned()),
];

/// Either form of an Event has names of its own for what the other says too.
pub const READ: &[&str] = &["involvedObject", "regarding", "reportingComponent", "source.component"];

fn regarding(event: &Value, field: &str) -> String {
    let object = if event.has("regarding") { event.at("regarding") } else { event.at("involvedObject") };
    object.text(field).to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn there_and_back() {
        let core = json!({"involvedObject": {"name": "p"}, "message": "m", "source": {"component": "c"}, "count": 1,
            "reportingComponent": "", "reportingInstance": "", "reason": "r"});
        let new = json!({"regarding": {"name": "p"}, "note": "m", "deprecatedSource": {"component": "c"},
            "deprecatedCount": 1, "reason": "r"});
        let mut e = core.clone();
        convert(&mut e, "v1", "events.k8s.io/v1");
        assert_eq!(e, new);
        convert(&mut e, "events.k8s.io/v1", "v1");
        assert_eq!(e, core);
    }
}
