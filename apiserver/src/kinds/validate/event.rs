//! Events (`pkg/apis/core/validation/events.go`): the object an event is about lives in the event's own namespace.

use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::Value;

use super::super::json::Json;
use super::named;

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
}
