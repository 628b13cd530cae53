//! ComponentStatuses: stored nowhere; each is asked how it is when somebody wants to know. Upstream looks for the scheduler and the
//! controller manager on their usual ports of its own machine, and takes any certificate.

use std::time::Duration;

use component_base::ports;
use futures::future;
use http::StatusCode;
use serde_json::{Value, json};

use super::health;
use super::status::{ApiError, ApiResult};
use crate::app::{App, Call, text};
use crate::outbound::{self, Peer};
use crate::registry::selection::Selection;

/// How long a component may take to answer (upstream's `probeTimeOut`).
const TIMEOUT: Duration = Duration::from_secs(20);

/// Where to ask.
enum At {
    Port(u16),
    Store,
}

const COMPONENTS: [(&str, At); 3] = [
    ("scheduler", At::Port(ports::SCHEDULER)),
    ("controller-manager", At::Port(ports::CONTROLLER_MANAGER)),
    ("etcd-0", At::Store),
];

/// All of them that the request selects.
///
/// # Errors
/// 400 for a selector that is none.
pub async fn list(call: &Call) -> ApiResult<Vec<Value>> {
    let selection = Selection::parse(&call.resource, &call.query)?;
    let all = COMPONENTS.iter().map(|(name, at)| status(&call.app, name, at));
    let mut found = future::join_all(all).await;
    found.retain(|status| {
        let fields = |field: &str| if field == "metadata.name" { text(status, "/metadata/name") } else { "" };
        selection.labels.matches(&Value::Null) && selection.fields.matches(|field| fields(field).into())
    });
    Ok(found)
}

/// The one that the request names.
///
/// # Errors
/// 404 where it is none of them, in the kind's name as upstream does.
pub async fn get(call: &Call) -> ApiResult<Value> {
    let name = call.info.name.as_str();
    match COMPONENTS.iter().find(|(known, _)| *known == name) {
        Some((name, at)) => {
            let mut found = status(&call.app, name, at).await;
            found["kind"] = call.resource.kind.as_str().into();
            found["apiVersion"] = call.resource.api_version().into();
            Ok(found)
        }
        None => Err(ApiError::not_found("", &call.resource.singular, name)),
    }
}

async fn status(app: &App, name: &str, at: &At) -> Value {
    let (healthy, message, error) = match at {
        At::Port(port) => {
            let (healthy, message) = ask(app, &format!("https://127.0.0.1:{port}/healthz")).await;
            (healthy, message, String::new())
        }
        At::Store => match health::store(app).await {
            None => (true, "ok".to_owned(), String::new()),
            Some(why) => (false, String::new(), why.to_owned()),
        },
    };
    let mut condition = json!({ "type": "Healthy", "status": if healthy { "True" } else { "False" } });
    for (field, text) in [("message", message), ("error", error)] {
        if !text.is_empty() {
            condition[field] = text.into();
        }
    }
    json!({ "metadata": { "name": name }, "conditions": [condition] })
}

/// Whether the answer is a good one, and what it says.
async fn ask(app: &App, url: &str) -> (bool, String) {
    let peer = Peer { ca_bundle: Vec::new(), insecure: true, server_name: None, identify: false, network: None };
    match outbound::fetch(app, &peer, url, None, TIMEOUT).await {
        Ok((code, _, body)) if (StatusCode::OK..StatusCode::BAD_REQUEST).contains(&code) => {
            (true, String::from_utf8_lossy(&body).into_owned())
        }
        Ok((code, ..)) => (false, format!("HTTP probe failed with statuscode: {}", code.as_u16())),
        Err(why) => (false, why),
    }
}
