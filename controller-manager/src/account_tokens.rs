//! Tokens kept in Secrets of type `kubernetes.io/service-account-token` (upstream
//! `pkg/controller/serviceaccount/tokens_controller.go`): such a Secret is given the token of the ServiceAccount it names,
//! and is deleted when that one is gone or is another.
//!
//! ```text
//!  ServiceAccount gone ──> its Secrets' keys ─┐
//!  Secret changed ────────────────────────────┴─> namespace/name ──> plan ──> fill | delete | forget its reference
//! ```

pub mod clean;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use auth::serviceaccount::{LegacyClaims, SECRET_TYPE, Signer, SigningKey};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::context::Context;
use crate::framework::meta::{annotation, key_of, split_key};
use crate::framework::{ApiError, Controller, Outcome, Queue, drive};

const NAME: &str = "kubernetes.io/service-account.name";
const UID: &str = "kubernetes.io/service-account.uid";

struct Tokens {
    context: Arc<Context>,
    signer: Signer,
    /// PEM; empty where pods trust nobody.
    authority: Vec<u8>,
}

/// ServiceAccounts from which a deleted Secret's name is to be taken; keys are `namespace/account/secret`.
struct References {
    context: Arc<Context>,
}

/// A signer with the key of this file.
///
/// # Errors
/// It cannot be read, or holds no usable key.
pub fn signer(path: &std::path::Path) -> anyhow::Result<Signer> {
    let flag = || format!("reading --service-account-private-key-file {}", path.display());
    let key = SigningKey::from_pem(&std::fs::read(path).with_context(flag)?).with_context(flag)?;
    Ok(Signer::new(key, auth::serviceaccount::LEGACY_ISSUER))
}

/// Fills Secrets with tokens of `signer` and with `authority`.
pub fn start(context: &Arc<Context>, signer: Signer, authority: Vec<u8>) {
    let (queue, references) = (Arc::new(Queue::default()), Arc::new(Queue::default()));
    let (on_secret, on_gone) = (queue.clone(), references.clone());
    context.kinds.account_tokens.on_change(move |change| {
        let secret = change.object();
        if change.new.is_some() {
            on_secret.add(key_of(&secret.metadata));
        } else if let Some(account) = annotation(&secret.metadata, NAME) {
            let (namespace, name) = (text(&secret.metadata.namespace), text(&secret.metadata.name));
            on_gone.add(format!("{namespace}/{account}/{name}"));
        }
    });
    let (on_account, secrets) = (queue.clone(), context.kinds.account_tokens.clone());
    context.kinds.service_accounts.on_change(move |change| {
        let (Some(old), uid) = (change.old, change.new.map(|new| &new.metadata.uid)) else { return };
        if uid == Some(&old.metadata.uid) {
            return;
        }
        for secret in secrets.in_namespace(text(&old.metadata.namespace)) {
            if annotation(&secret.metadata, NAME) == old.metadata.name.as_deref() {
                on_account.add(key_of(&secret.metadata));
            }
        }
    });
    let tokens = Tokens { context: context.clone(), signer, authority };
    drive(&context.gate(), &Arc::new(tokens), &queue, 1);
    drive(&context.gate(), &Arc::new(References { context: context.clone() }), &references, 1);
}

fn text(field: &Option<String>) -> &str {
    field.as_deref().unwrap_or_default()
}

/// Whether the Secret is for this very account. One that names no uid is for whoever has the name.
fn belongs(secret: &ObjectMeta, account: &ObjectMeta) -> bool {
    annotation(secret, UID).is_none_or(|uid| uid.is_empty() || Some(uid) == account.uid.as_deref())
}

/// The Secret with all it should have; `None`: it has it.
fn filled(
    secret: &Secret,
    account: &ServiceAccount,
    authority: &[u8],
    sign: impl FnOnce(&LegacyClaims) -> anyhow::Result<String>,
) -> anyhow::Result<Option<Secret>> {
    let have = |key: &str| secret.data.as_ref().and_then(|data| data.get(key)).map_or(&[][..], |value| &value.0);
    let mut more = BTreeMap::new();
    if !authority.is_empty() && have("ca.crt") != authority {
        more.insert("ca.crt", authority.to_vec());
    }
    let namespace = text(&secret.metadata.namespace);
    if have("namespace").is_empty() {
        more.insert("namespace", namespace.as_bytes().to_vec());
    }
    let (name, uid) = (text(&account.metadata.name), text(&account.metadata.uid));
    if have("token").is_empty() {
        more.insert("token", sign(&LegacyClaims::new(namespace, name, uid, text(&secret.metadata.name)))?.into_bytes());
    }
    if more.is_empty() {
        return Ok(None);
    }
    let mut changed = secret.clone();
    let data = changed.data.get_or_insert_default();
    data.extend(more.into_iter().map(|(key, value)| (key.to_owned(), ByteString(value))));
    let annotations = changed.metadata.annotations.get_or_insert_default();
    annotations.insert(NAME.to_owned(), name.to_owned());
    annotations.insert(UID.to_owned(), uid.to_owned());
    Ok(Some(changed))
}

impl Tokens {
    /// The account of this name as the cache has it, else as the API server has it: the cache may be a moment behind.
    async fn account(&self, namespace: &str, name: &str) -> Result<Option<Arc<ServiceAccount>>, kube::Error> {
        if let Some(known) = self.context.kinds.service_accounts.get(&format!("{namespace}/{name}")) {
            return Ok(Some(known));
        }
        let api = kube::Api::<ServiceAccount>::namespaced(self.context.client.clone(), namespace);
        Ok(api.get_opt(name).await?.map(Arc::new))
    }
}

impl Controller for Tokens {
    const NAME: &'static str = "serviceaccount-token-controller";

    async fn sync(&self, key: &str) -> Outcome {
        let secrets = &self.context.kinds.account_tokens;
        let Some(secret) = secrets.get(key).filter(|secret| secret.type_.as_deref() == Some(SECRET_TYPE)) else {
            return Ok(None);
        };
        let Some(name) = annotation(&secret.metadata, NAME) else { return Ok(None) };
        let mut account = self.account(split_key(key).0, name).await?;
        if account.as_ref().is_some_and(|account| !belongs(&secret.metadata, &account.metadata)) {
            // What the cache has may be the one before.
            let api = kube::Api::<ServiceAccount>::namespaced(self.context.client.clone(), split_key(key).0);
            account = api.get_opt(name).await?.map(Arc::new);
        }
        let Some(account) = account.filter(|account| belongs(&secret.metadata, &account.metadata)) else {
            return match secrets.delete(&secret.metadata, None).await {
                // It is another Secret by now.
                Err(error) if error.is_conflict() => Ok(None),
                other => other.map(|()| None),
            };
        };
        let changed = match filled(&secret, &account, &self.authority, |claims| self.signer.issue_legacy(claims)) {
            Ok(Some(changed)) => changed,
            Ok(None) => return Ok(None),
            Err(error) => {
                tracing::warn!(key, %error, "no token could be made");
                return Ok(None);
            }
        };
        match secrets.update(&secret, &changed).await {
            // Somebody else has changed or removed it: the watch will tell.
            Err(error) if error.is_conflict() || error.is_not_found() => Ok(None),
            other => other.map(|_| None),
        }
    }
}

impl Controller for References {
    const NAME: &'static str = "serviceaccount-token-controller";

    async fn sync(&self, key: &str) -> Outcome {
        let kinds = &self.context.kinds;
        let Some((account_key, name)) = key.rsplit_once('/') else { return Ok(None) };
        let namespace = split_key(account_key).0;
        let Some(account) = kinds.service_accounts.get(account_key) else { return Ok(None) };
        let listed = account.secrets.iter().flatten().any(|reference| reference.name.as_deref() == Some(name));
        if !listed || kinds.account_tokens.get(&format!("{namespace}/{name}")).is_some() {
            return Ok(None);
        }
        let mut changed = (*account).clone();
        changed.secrets.get_or_insert_default().retain(|reference| reference.name.as_deref() != Some(name));
        match kinds.service_accounts.update(&account, &changed).await {
            Err(error) if error.is_not_found() => Ok(None),
            other => other.map(|_| None),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secret(annotations: serde_json::Value, data: serde_json::Value) -> Secret {
        let meta = json!({ "namespace": "n", "name": "s", "annotations": annotations });
        serde_json::from_value(json!({ "metadata": meta, "type": SECRET_TYPE, "data": data })).unwrap()
    }

    #[test]
    fn what_is_missing_is_filled_in() {
        let account = json!({ "metadata": { "namespace": "n", "name": "a", "uid": "u" } });
        let account: ServiceAccount = serde_json::from_value(account).unwrap();
        let sign = |claims: &LegacyClaims| Ok(format!("{}:{}:{}", claims.sub, claims.account_uid, claims.secret));
        let fresh = filled(&secret(json!({ NAME: "a" }), json!(null)), &account, b"ca", sign).unwrap().unwrap();
        let data = fresh.data.clone().unwrap();
        let of = |key: &str| String::from_utf8(data[key].0.clone()).unwrap();
        assert_eq!((of("ca.crt"), of("namespace")), ("ca".to_owned(), "n".to_owned()));
        assert_eq!(of("token"), "system:serviceaccount:n:a:u:s");
        assert_eq!(annotation(&fresh.metadata, UID), Some("u"));
        let never = |_: &LegacyClaims| -> anyhow::Result<String> { panic!("a token is there already") };
        assert_eq!(filled(&fresh, &account, b"ca", never).unwrap(), None);
        assert_eq!(filled(&fresh, &account, b"", never).unwrap(), None);
        let renewed = filled(&fresh, &account, b"other", never).unwrap().unwrap();
        assert_eq!(renewed.data.unwrap()["ca.crt"].0, b"other");
    }

    #[test]
    fn whose_a_secret_is() {
        let account = ObjectMeta { uid: Some("u".into()), ..ObjectMeta::default() };
        for (annotations, expected) in
            [(json!({}), true), (json!({ UID: "" }), true), (json!({ UID: "u" }), true), (json!({ UID: "v" }), false)]
        {
            assert_eq!(belongs(&secret(annotations.clone(), json!({})).metadata, &account), expected, "{annotations}");
        }
    }
}
