//! Bodies as the log sees them: objects, whatever they were encoded in; and the end of answers that go on for long.

use std::sync::Arc;

use axum::body::Body;
use serde_json::Value;

use super::{Stage, Trail};
use crate::http::witness::{Witness, Witnessed};

/// The object in a body; `None` where it is none that is known.
pub fn object(media: &str, bytes: &[u8]) -> Option<Value> {
    match media.split(';').next().unwrap_or_default().trim() {
        "application/vnd.kubernetes.protobuf" => {
            let (version, kind, mut value) = schema::protobuf::decode(bytes).ok()?;
            if value.is_object() {
                value["apiVersion"] = version.into();
                value["kind"] = kind.into();
            }
            Some(value)
        }
        "application/yaml" | "application/apply-patch+yaml" => {
            schema::decode::yaml(bytes, None, schema::FieldValidation::Ignore).ok().map(|decoded| decoded.value)
        }
        "" => serde_json::from_slice(bytes).ok(),
        media if media.ends_with("json") => serde_json::from_slice(bytes).ok(),
        _ => None,
    }
}

/// An answer's body that tells the log when it has ended, however it ends.
pub fn watched(body: Body, trail: Arc<Trail>) -> Body {
    Body::new(Witnessed::new(body, End(trail)))
}

struct End(Arc<Trail>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.stage(Stage::ResponseComplete);
        self.0.settle_later();
    }
}

impl Witness for End {}
