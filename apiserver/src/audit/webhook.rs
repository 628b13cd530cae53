//! The server that audit events are posted to, as a kubeconfig names it (`apiserver/plugin/pkg/audit/webhook`,
//! `apiserver/pkg/util/webhook`).

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::backend::Event;
use crate::outbound;
use crate::outbound::egress::Dialer;
use crate::outbound::kubeconfig::Server;

/// How long one attempt may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// An attempt, and so many more; each waits longer than the one before by the factor.
const ATTEMPTS: u32 = 5;
const FACTOR: f64 = 1.5;
const JITTER: f64 = 0.2;

pub struct Webhook {
    server: Server,
    backoff: Duration,
}

impl Webhook {
    /// # Errors
    /// The kubeconfig cannot be read, or names no server that could be asked.
    pub fn load(path: &Path, backoff: Duration, through: &Dialer) -> anyhow::Result<Self> {
        Ok(Self { server: Server::load(path, true, through)?, backoff })
    }

    /// Posts events, again and again until they are taken, as often as upstream does.
    ///
    /// # Errors
    /// Why the last attempt failed.
    pub async fn post(&self, events: &[Event], stop: &CancellationToken) -> Result<(), String> {
        let body = crate::http::answer::to_json(&list(events));
        let mut wait = self.backoff;
        for attempt in 1.. {
            let failed = match tokio::time::timeout(PATIENCE, self.attempt(body.clone())).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(why)) => why,
                Err(_) => "context deadline exceeded".to_owned(),
            };
            if attempt == ATTEMPTS || stop.is_cancelled() {
                return Err(failed);
            }
            let spread = f64::from(uuid::Uuid::new_v4().as_bytes()[0]) / 256.0;
            tokio::select! {
                () = tokio::time::sleep(wait.mul_f64(1.0 + spread * JITTER)) => {}
                () = stop.cancelled() => return Err(failed),
            }
            wait = wait.mul_f64(FACTOR);
        }
        Ok(())
    }

    async fn attempt(&self, body: bytes::Bytes) -> Result<(), String> {
        let (head, body) = self.server.post(body).await?;
        if head.status.is_success() {
            Ok(())
        } else {
            Err(outbound::Answer { status: head.status, headers: &head.headers, body: &body }.refusal())
        }
    }
}

/// Events as they are sent: what kind they are of, their list says.
fn list(events: &[Event]) -> Value {
    let item = |event: &Event| {
        let mut item = Value::clone(event);
        if let Value::Object(fields) = &mut item {
            fields.remove("kind");
            fields.remove("apiVersion");
        }
        item
    };
    let items: Vec<Value> = events.iter().map(item).collect();
    json!({ "kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": items })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_list_says_what_its_items_are() {
        let event = json!({ "kind": "Event", "apiVersion": "audit.k8s.io/v1", "verb": "get" });
        let sent = list(&[Arc::new(event)]);
        assert_eq!((&sent["kind"], &sent["items"]), (&json!("EventList"), &json!([{ "verb": "get" }])));
    }
}
