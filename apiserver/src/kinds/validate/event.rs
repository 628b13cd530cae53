//! Events (`pkg/apis/core/validation/events.go`): the object an event is about lives in the event's own namespace.

use schema::field::{Error, ErrorList, Path};
use serde_json::Value;

use super::super::json::Json;

#[must_use]
pub fn event(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let field = if object.has("regarding") { "regarding" } else { "involvedObject" };
    let about = object.at(field);
    let (namespace, other) = (object.text("metadata.namespace"), about.text("namespace"));
    let path = Path::new("involvedObject").child("namespace");
    // An event about an object without a namespace is kept in `default`.
    let fits = if other.is_empty() { matches!(namespace, "" | "default" | "kube-system") } else { namespace == other };
    if !fits {
        errors.push(Error::invalid(&path, other, "does not match event.namespace"));
    }
    if object.has("eventTime") && object.text("apiVersion") == "events.k8s.io/v1" {
        for (field, max) in [("reportingController", 0), ("reportingInstance", 128), ("action", 128), ("reason", 128)] {
            let text = object.text(field);
            if text.is_empty() {
                errors.push(Error::required(&Path::new(field), ""));
            } else if max != 0 && text.len() > max {
                errors.push(Error::invalid(&Path::new(field), "", format!("can have at most {max} characters")));
            }
        }
    }
    errors
}
