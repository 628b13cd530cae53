//! csrcleaner: requests are removed some time after they are settled, or when nobody settles them
//! (`pkg/controller/certificates/cleaner`).

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{conditions, is_issued};
use crate::context::Context;
use crate::framework::meta::created;
use crate::framework::{Controller, Outcome, Queue, drive};

const SETTLED: SignedDuration = SignedDuration::from_hours(1);
const PENDING: SignedDuration = SignedDuration::from_hours(24);

struct Cleaner {
    context: Arc<Context>,
}

pub fn start(context: &Arc<Context>, queue: &Arc<Queue>) {
    drive(&context.gate(), &Arc::new(Cleaner { context: context.clone() }), queue, 1);
}

impl Controller for Cleaner {
    const NAME: &'static str = "certificatesigningrequest-cleaner-controller";

    async fn sync(&self, key: &str) -> Outcome {
        let kind = &self.context.kinds.signing_requests;
        let Some(request) = kind.get(key) else { return Ok(None) };
        let left = expires(&request).duration_since(self.context.now());
        match Duration::try_from(left) {
            Ok(left) if !left.is_zero() => Ok(Some(left)),
            _ => kind.delete(&request.metadata, None).await.map(|()| None),
        }
    }
}

/// When the request is to be removed.
fn expires(request: &CertificateSigningRequest) -> Timestamp {
    let after = |from: Timestamp, by: SignedDuration| from.checked_add(by).unwrap_or(Timestamp::MAX);
    let pending = after(created(&request.metadata), PENDING);
    let settled = conditions(request).iter().filter_map(|condition| {
        let counts = match condition.type_.as_str() {
            "Denied" | "Failed" => true,
            "Approved" => is_issued(request),
            _ => false,
        };
        let since = condition.last_update_time.as_ref().map_or(created(&request.metadata), |time| time.0);
        counts.then(|| after(since, SETTLED))
    });
    let undecided = !conditions(request).iter().any(|c| matches!(c.type_.as_str(), "Approved" | "Denied" | "Failed"));
    // Approved and not signed yet: as long as an undecided one.
    let default = if undecided || !is_issued(request) { pending } else { Timestamp::MAX };
    settled.min().unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lifetimes() {
        let request = |status: serde_json::Value| -> CertificateSigningRequest {
            serde_json::from_value(json!({
                "metadata": { "name": "a", "creationTimestamp": "2026-01-01T00:00:00Z" },
                "spec": { "request": "", "signerName": "x/y" }, "status": status,
            }))
            .unwrap()
        };
        let condition =
            |kind: &str| json!([{ "type": kind, "status": "True", "lastUpdateTime": "2026-01-01T02:00:00Z" }]);
        let rows = [
            (json!({}), "2026-01-02T00:00:00Z"),
            (json!({ "conditions": condition("Denied") }), "2026-01-01T03:00:00Z"),
            (json!({ "conditions": condition("Failed") }), "2026-01-01T03:00:00Z"),
            (json!({ "conditions": condition("Approved"), "certificate": "YQ==" }), "2026-01-01T03:00:00Z"),
            (json!({ "conditions": condition("Approved") }), "2026-01-02T00:00:00Z"),
        ];
        for (status, expected) in rows {
            assert_eq!(expires(&request(status.clone())).to_string(), expected, "{status}");
        }
    }
}
