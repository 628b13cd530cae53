//! bootstrapsigner: cluster-info carries, for each token that may sign, a detached signature of its kubeconfig, so that
//! whoever knows a token can tell that the information is genuine (JWS, RFC 7515, HMAC with SHA-256).

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use ring::hmac;

use super::{expiration, field, is_token};
use crate::context::Context;
use crate::framework::{Controller, Outcome, Queue, drive};

const KEY: &str = "kube-public/cluster-info";
const KUBECONFIG: &str = "kubeconfig";
const SIGNATURE: &str = "jws-kubeconfig-";

struct Signing {
    context: Arc<Context>,
}

pub fn start(context: &Arc<Context>) {
    let queue = Arc::new(Queue::default());
    let (on_secret, on_map) = (queue.clone(), queue.clone());
    context.kinds.bootstrap_tokens.on_change(move |_| on_secret.add(KEY));
    context.kinds.cluster_info.on_change(move |_| on_map.add(KEY));
    drive(&context.gate(), &Arc::new(Signing { context: context.clone() }), &queue, 1);
}

impl Controller for Signing {
    const NAME: &'static str = "bootstrap-signer-controller";

    async fn sync(&self, _: &str) -> Outcome {
        let kinds = &self.context.kinds;
        let Some(info) = kinds.cluster_info.get(KEY) else { return Ok(None) };
        let mut data = info.data.clone().unwrap_or_default();
        let kubeconfig = data.get(KUBECONFIG).cloned().unwrap_or_default();
        data.retain(|name, _| !name.starts_with(SIGNATURE));
        if !kubeconfig.is_empty() {
            for (id, secret) in tokens(&kinds.bootstrap_tokens.all(), self.context.now()) {
                data.insert(format!("{SIGNATURE}{id}"), signature(&kubeconfig, &id, &secret));
            }
        }
        if info.data.as_ref() == Some(&data) {
            return Ok(None);
        }
        let mut changed = (*info).clone();
        changed.data = Some(data);
        kinds.cluster_info.update(&info, &changed).await.map(|_| None)
    }
}

/// The tokens that may sign, with their secrets.
fn tokens(secrets: &[Arc<Secret>], now: Timestamp) -> BTreeMap<String, String> {
    let usable = |secret: &&Arc<Secret>| {
        is_token(secret)
            && field(secret, "usage-bootstrap-signing") == Some("true")
            && expiration(secret).is_none_or(|end| end > now)
    };
    let pair = |secret: &Arc<Secret>| {
        let (id, secret) = (field(secret, "token-id")?, field(secret, "token-secret")?);
        (!id.is_empty() && !secret.is_empty()).then(|| (id.to_owned(), secret.to_owned()))
    };
    secrets.iter().filter(usable).filter_map(pair).collect()
}

/// `header..signature`: the content is not repeated. The key is the token's secret part.
fn signature(content: &str, id: &str, secret: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(format!("{{\"alg\":\"HS256\",\"kid\":\"{id}\"}}"));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(content));
    format!("{header}..{}", URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The vector of upstream's own test (`cluster-bootstrap/token/jws`).
    #[test]
    fn signatures_are_upstreams() {
        assert_eq!(
            signature(
                "Hello from the other side. I must have called a thousand times.",
                "joshua",
                "my voice is my passcode"
            ),
            "eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9..VShe2taLd-YTrmWuRkcL_8QTNDHYxQIEBsAYYiIj1_8"
        );
    }

    #[test]
    fn only_usable_tokens_sign() {
        let secret = |id: &str, fields: serde_json::Value| -> Arc<Secret> {
            let mut data = json!({ "token-id": id, "token-secret": "s", "usage-bootstrap-signing": "true" });
            data.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            let encode =
                |value: &serde_json::Value| base64::engine::general_purpose::STANDARD.encode(value.as_str().unwrap());
            let data: BTreeMap<String, String> =
                data.as_object().unwrap().iter().map(|(name, value)| (name.clone(), encode(value))).collect();
            let name = format!("bootstrap-token-{id}");
            Arc::new(
                serde_json::from_value(json!({ "metadata": { "namespace": "kube-system", "name": name },
                    "type": super::super::SECRET_TYPE, "data": data }))
                .unwrap(),
            )
        };
        let all = [
            secret("aaaaaa", json!({})),
            secret("bbbbbb", json!({ "usage-bootstrap-signing": "false" })),
            secret("cccccc", json!({ "expiration": "2020-01-01T00:00:00Z" })),
            secret("dddddd", json!({ "expiration": "2999-01-01T00:00:00Z" })),
        ];
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(tokens(&all, now).into_keys().collect::<Vec<_>>(), ["aaaaaa", "dddddd"]);
    }
}
