//! Who a pod is to registries: its pull secrets as one containers-auth.json(5) (upstream `pkg/credentialprovider/secrets`).

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Map, Value, json};

use crate::sources::{Data, Kind, Sources};

/// A containers-auth.json(5); it is not shown.
#[derive(Clone, Default, PartialEq)]
pub struct Credentials(Option<Value>);

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Credentials(…)" } else { "Credentials(none)" })
    }
}

impl Credentials {
    /// The file's content; `None` when the pod brings nothing, and the user's own credentials are asked.
    #[must_use]
    pub fn auths(&self) -> Option<&Value> {
        self.0.as_ref()
    }

    /// Reads the pod's pull secrets; the names of those that are not to be had come besides.
    pub async fn of(pod: &Pod, sources: &mut Sources<'_>) -> (Self, Vec<String>) {
        let references = pod.spec.iter().flat_map(|spec| spec.image_pull_secrets.iter().flatten());
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for reference in references {
            match sources.get(Kind::Secret, &reference.name).await {
                Ok(data) => found.push(data),
                Err(_) => missing.push(reference.name.clone()),
            }
        }
        (Self::from_secrets(found.iter().map(AsRef::as_ref)), missing)
    }

    /// Puts secrets of both of Kubernetes' forms together; of two that speak of one registry the first counts.
    fn from_secrets<'a>(secrets: impl Iterator<Item = &'a Data>) -> Self {
        let mut all = Map::new();
        for secret in secrets {
            let read = |key: &str| secret.get(key).and_then(|text| serde_json::from_slice::<Value>(text).ok());
            // `.dockercfg` is what the other has below `auths`.
            let registries =
                read(".dockerconfigjson").map(|mut file| file["auths"].take()).or_else(|| read(".dockercfg"));
            let Some(Value::Object(registries)) = registries else { continue };
            for (registry, entry) in registries {
                if let Some(auth) = auth(&entry) {
                    all.entry(registry).or_insert_with(|| json!({ "auth": auth }));
                }
            }
        }
        Self((!all.is_empty()).then(|| json!({ "auths": all })))
    }
}

/// `user:password` in base64, given so or apart.
fn auth(entry: &Value) -> Option<String> {
    if let Some(auth) = entry["auth"].as_str().filter(|auth| !auth.is_empty()) {
        return Some(auth.to_owned());
    }
    let (user, password) = (entry["username"].as_str()?, entry["password"].as_str()?);
    Some(BASE64_STANDARD.encode(format!("{user}:{password}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_secrets() {
        let secret = |key: &str, value: Value| Data::from([(key.to_owned(), value.to_string().into_bytes())]);
        let apart = json!({ "username": "u", "password": "p", "email": "e" });
        let secrets = [
            secret(".dockerconfigjson", json!({ "auths": { "a.example": { "auth": "eA==" }, "b.example": apart } })),
            secret(".dockercfg", json!({ "a.example": { "auth": "later" }, "c.example": { "auth": "eQ==" }, "d": {} })),
            secret("other", json!({})),
            Data::from([(".dockercfg".to_owned(), b"no json".to_vec())]),
        ];
        let wanted = json!({ "auths": {
            "a.example": { "auth": "eA==" }, "b.example": { "auth": "dTpw" }, "c.example": { "auth": "eQ==" } } });
        let credentials = Credentials::from_secrets(secrets.iter());
        assert_eq!(credentials.auths(), Some(&wanted));
        assert_eq!(format!("{credentials:?}"), "Credentials(…)");
        assert_eq!(Credentials::from_secrets(secrets[2..].iter()), Credentials::default());
    }
}
