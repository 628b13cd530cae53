//! The server that audit events are posted to, as a kubeconfig names it (`apiserver/plugin/pkg/audit/webhook`,
//! `apiserver/pkg/util/webhook`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use axum::body::Body;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Request, Uri};
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::backend::Event;
use crate::outbound::{self, Http, explain};
use auth::trust::Identity;

/// How long one attempt may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// An attempt, and so many more; each waits longer than the one before by the factor.
const ATTEMPTS: u32 = 5;
const FACTOR: f64 = 1.5;
const JITTER: f64 = 0.2;
/// Of an answer nothing is wanted but that it is good.
const ANSWER: usize = 64 * 1024;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Kubeconfig {
    #[serde(rename = "current-context")]
    current: String,
    contexts: Vec<Named<Context_>>,
    clusters: Vec<Named<Cluster>>,
    users: Vec<Named<User>>,
}

#[derive(Debug, Deserialize)]
struct Named<T> {
    name: String,
    #[serde(alias = "context", alias = "cluster", alias = "user")]
    value: T,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Context_ {
    cluster: String,
    user: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    insecure_skip_tls_verify: bool,
    tls_server_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct User {
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    username: Option<String>,
    password: Option<String>,
}

pub struct Webhook {
    http: Http,
    url: Uri,
    address: String,
    authorization: Option<HeaderValue>,
    backoff: Duration,
}

/// What a file holds, or the data in its place; files are relative to the kubeconfig.
fn bytes(folder: &Path, file: Option<&PathBuf>, data: Option<&String>) -> anyhow::Result<Option<Vec<u8>>> {
    match (data, file) {
        (Some(data), _) => Ok(Some(BASE64_STANDARD.decode(data.trim()).context("decode a part of the kubeconfig")?)),
        (None, Some(file)) => {
            let path = folder.join(file);
            Ok(Some(std::fs::read(&path).with_context(|| format!("read {}", path.display()))?))
        }
        (None, None) => Ok(None),
    }
}

fn named<T>(list: Vec<Named<T>>, name: &str) -> Option<T> {
    list.into_iter().find(|one| one.name == name).map(|one| one.value)
}

impl Webhook {
    /// # Errors
    /// The kubeconfig cannot be read, or names no server that could be asked.
    pub fn load(path: &Path, backoff: Duration) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        Self::parse(&text, folder, backoff).with_context(|| format!("use {}", path.display()))
    }

    fn parse(text: &str, folder: &Path, backoff: Duration) -> anyhow::Result<Self> {
        let config: Kubeconfig = serde_saphyr::from_str(text)?;
        let context = named(config.contexts, &config.current);
        let context = context.with_context(|| format!("context {:?} does not exist", config.current))?;
        let cluster = named(config.clusters, &context.cluster);
        let cluster = cluster.with_context(|| format!("cluster {:?} does not exist", context.cluster))?;
        let user = named(config.users, &context.user).unwrap_or_default();
        let url: Uri = cluster.server.parse().with_context(|| format!("use the server {:?}", cluster.server))?;
        let address = url.authority().context("the server has no address")?.to_string();
        let bundle =
            bytes(folder, cluster.certificate_authority.as_ref(), cluster.certificate_authority_data.as_ref())?;
        let peer = outbound::Peer {
            ca_bundle: bundle.unwrap_or_default(),
            insecure: cluster.insecure_skip_tls_verify,
            server_name: cluster.tls_server_name,
            identify: false,
        };
        let certificate = bytes(folder, user.client_certificate.as_ref(), user.client_certificate_data.as_ref())?;
        let key = bytes(folder, user.client_key.as_ref(), user.client_key_data.as_ref())?;
        let identity = certificate.as_deref().zip(key.as_deref());
        let identity = identity.map(|(certificate, key)| Identity { certificate, key });
        let token = match (user.token, user.token_file) {
            (Some(token), _) => Some(token),
            (None, Some(file)) => {
                bytes(folder, Some(&file), None)?.map(|token| String::from_utf8_lossy(&token).into_owned())
            }
            (None, None) => None,
        };
        let authorization = match (token, user.username) {
            (Some(token), _) => Some(format!("Bearer {}", token.trim())),
            (None, Some(name)) => {
                let pair = format!("{name}:{}", user.password.unwrap_or_default());
                Some(format!("Basic {}", BASE64_STANDARD.encode(pair)))
            }
            (None, None) => None,
        };
        let authorization =
            authorization.map(HeaderValue::try_from).transpose().context("use the user's credentials")?;
        Ok(Self { http: outbound::plain_client(&peer, identity)?, url, address, authorization, backoff })
    }

    /// Posts events, again and again until they are taken, as often as upstream does.
    ///
    /// # Errors
    /// Why the last attempt failed.
    pub async fn post(&self, events: &[Event], stop: &CancellationToken) -> Result<(), String> {
        let items: Vec<_> = events.iter().map(|event| &**event).collect();
        let list = json!({ "kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": items });
        let body = crate::http::answer::to_json(&list);
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
        let mut request = Request::post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, */*")
            .body(Body::from(body))
            .map_err(|error| error.to_string())?;
        if let Some(value) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, value.clone());
        }
        let response = self.http.request(request).await.map_err(|error| explain(&error, &self.address))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER).collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        if head.status.is_success() {
            return Ok(());
        }
        Err(outbound::refusal(head.status, &body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubeconfig_names_the_server() {
        let text = "current-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\n\
            clusters: [{name: k, cluster: {server: 'http://127.0.0.1:1/audit'}}]\nusers: [{name: u, user: {token: t}}]\n";
        let webhook = Webhook::parse(text, Path::new("."), Duration::ZERO).unwrap();
        assert_eq!((webhook.url.path(), webhook.address.as_str()), ("/audit", "127.0.0.1:1"));
        assert_eq!(webhook.authorization.unwrap(), "Bearer t");
        let missing = Webhook::parse("current-context: x", Path::new("."), Duration::ZERO).err().unwrap();
        assert_eq!(format!("{missing:#}"), "context \"x\" does not exist");
    }
}
