//! The log's usual form, an event a line: JSON with its fields in the order of upstream's types, and escaped as Go does it.

use serde_json::Value;

use super::note;

/// How a value is written.
enum Form {
    /// By name.
    Plain,
    /// An object of the API: in the order of its kind.
    Object,
    /// These fields first.
    Fields(&'static [(&'static str, Form)]),
    Each(&'static Form),
}

use Form::{Each, Fields, Object, Plain};

const EVENT: Form = Fields(&[
    ("kind", Plain),
    ("apiVersion", Plain),
    ("level", Plain),
    ("auditID", Plain),
    ("stage", Plain),
    ("requestURI", Plain),
    ("verb", Plain),
    ("user", USER),
    ("impersonatedUser", USER),
    ("sourceIPs", Plain),
    ("userAgent", Plain),
    ("objectRef", REFERENCE),
    ("responseStatus", STATUS),
    ("requestObject", Object),
    ("responseObject", Object),
    ("requestReceivedTimestamp", Plain),
    ("stageTimestamp", Plain),
    ("annotations", Plain),
]);
const USER: Form = Fields(&[("username", Plain), ("uid", Plain), ("groups", Plain), ("extra", Plain)]);
const REFERENCE: Form = Fields(&[
    ("resource", Plain),
    ("namespace", Plain),
    ("name", Plain),
    ("uid", Plain),
    ("apiGroup", Plain),
    ("apiVersion", Plain),
    ("resourceVersion", Plain),
    ("subresource", Plain),
]);
const STATUS: Form = Fields(&[
    ("metadata", Plain),
    ("status", Plain),
    ("message", Plain),
    ("reason", Plain),
    (
        "details",
        Fields(&[
            ("name", Plain),
            ("group", Plain),
            ("kind", Plain),
            ("uid", Plain),
            ("causes", Each(&Fields(&[("reason", Plain), ("message", Plain), ("field", Plain)]))),
            ("retryAfterSeconds", Plain),
        ]),
    ),
    ("code", Plain),
]);

/// The line, without its end.
#[must_use]
pub fn line(event: &Value) -> Vec<u8> {
    let mut out = String::new();
    write(event, &EVENT, &mut out);
    note::escaped(out).into_bytes()
}

fn write(value: &Value, form: &Form, out: &mut String) {
    match (form, value) {
        (Object, value) => out.push_str(&String::from_utf8_lossy(&schema::json::to_vec(value))),
        (Fields(fields), Value::Object(map)) => {
            let first = fields.iter().filter_map(|(name, form)| Some((*name, map.get(*name)?, form)));
            let others = map.iter().filter(|(name, _)| fields.iter().all(|(known, _)| known != name));
            let all = first.chain(others.map(|(name, value)| (name.as_str(), value, &Plain)));
            list('{', all, '}', out, |(name, value, form), out| {
                out.push_str(&Value::from(name).to_string());
                out.push(':');
                write(value, form, out);
            });
        }
        (Each(form), Value::Array(items)) => list('[', items.iter(), ']', out, |item, out| write(item, form, out)),
        (Plain | Fields(_) | Each(_), value) => out.push_str(&value.to_string()),
    }
}

/// Puts commas between.
fn list<T>(open: char, items: impl Iterator<Item = T>, close: char, out: &mut String, one: impl Fn(T, &mut String)) {
    out.push(open);
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(',');
        }
        one(item, out);
    }
    out.push(close);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_in_upstreams_order() {
        let event = json!({
            "annotations": { "b": "<", "a": "" }, "apiVersion": "audit.k8s.io/v1", "kind": "Event", "other": 1,
            "user": { "groups": ["g"], "username": "u" },
            "responseStatus": { "code": 422, "details": { "causes": [{ "field": "f", "reason": "R" }], "name": "n" }, "metadata": {} },
            "requestObject": { "apiVersion": "v1", "kind": "Pod", "metadata": { "namespace": "b", "name": "a" } },
            "objectRef": { "apiVersion": "v1", "resource": "pods" }, "stage": "ResponseComplete",
        });
        assert_eq!(
            String::from_utf8(line(&event)).unwrap(),
            concat!(
                r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","stage":"ResponseComplete","user":{"username":"u","groups":["g"]},"#,
                r#""objectRef":{"resource":"pods","apiVersion":"v1"},"responseStatus":{"metadata":{},"details":{"name":"n","#,
                r#""causes":[{"reason":"R","field":"f"}]},"code":422},"requestObject":{"kind":"Pod","apiVersion":"v1","metadata":"#,
                r#"{"name":"a","namespace":"b"}},"annotations":{"a":"","b":"\u003c"},"other":1}"#,
            )
        );
        assert_eq!(line(&json!({})), b"{}");
    }
}
