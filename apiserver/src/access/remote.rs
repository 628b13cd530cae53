//! Where a webhook is, and how to speak to it: a kubeconfig file, as upstream's `webhook.LoadKubeconfig` reads it, and reviews
//! posted to the server it names (`apiserver/pkg/util/webhook`).

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use auth::trust::Identity;
use axum::body::Body;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;
use serde_json::Value;

use crate::outbound::{Http, Peer, client, explain};

/// The largest answer that is read.
const ANSWER: usize = 1024 * 1024;
/// Upstream's back-off: five attempts, half a second, half as much again each time.
const ATTEMPTS: u32 = 5;
const FIRST_DELAY: Duration = Duration::from_millis(500);

/// A server, the client to reach it, and what proves who we are.
pub struct Connection {
    url: String,
    client: Http,
    /// Of the header `Authorization`.
    credentials: Option<HeaderValue>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct File {
    #[serde(rename = "current-context")]
    current: String,
    clusters: Vec<Named>,
    users: Vec<Named>,
    contexts: Vec<Named>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    name: String,
    cluster: Cluster,
    user: User,
    context: Choice,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority: String,
    certificate_authority_data: String,
    insecure_skip_tls_verify: bool,
    tls_server_name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct User {
    client_certificate: String,
    client_certificate_data: String,
    client_key: String,
    client_key_data: String,
    token: String,
    #[serde(rename = "tokenFile")]
    token_file: String,
    username: String,
    password: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Choice {
    cluster: String,
    user: String,
}

/// What the data say, else the file, whose name is relative to the kubeconfig.
fn content(folder: &Path, data: &str, file: &str) -> anyhow::Result<Vec<u8>> {
    if !data.is_empty() {
        return BASE64_STANDARD.decode(data).context("decode the kubeconfig's data");
    }
    if file.is_empty() {
        return Ok(Vec::new());
    }
    let path = folder.join(file);
    std::fs::read(&path).with_context(|| format!("read {}", path.display()))
}

impl Connection {
    /// Reads the file's current context.
    ///
    /// # Errors
    /// It cannot be read, names nothing usable, or its server is not reached by https.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let file: File = serde_saphyr::from_str(&text).with_context(|| format!("use {}", path.display()))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let named = |list: &'static str, items: Vec<Named>, name: &str| {
            let found = items.into_iter().find(|item| item.name == name);
            found.with_context(|| format!("{}: there is no {name:?} in {list}", path.display()))
        };
        let context = named("contexts", file.contexts, &file.current)?.context;
        let cluster = named("clusters", file.clusters, &context.cluster)?.cluster;
        let user =
            if context.user.is_empty() { User::default() } else { named("users", file.users, &context.user)?.user };
        anyhow::ensure!(cluster.server.starts_with("https://"), "{}: the server must be https", path.display());
        let peer = Peer {
            ca_bundle: content(folder, &cluster.certificate_authority_data, &cluster.certificate_authority)?,
            insecure: cluster.insecure_skip_tls_verify,
            server_name: cluster.tls_server_name,
            identify: false,
        };
        let certificate = content(folder, &user.client_certificate_data, &user.client_certificate)?;
        let key = content(folder, &user.client_key_data, &user.client_key)?;
        let identity = (!certificate.is_empty()).then_some(Identity { certificate: &certificate, key: &key });
        let token = match user.token_file.as_str() {
            "" => user.token,
            file => String::from_utf8(content(folder, "", file)?).context("read the token file")?.trim().to_owned(),
        };
        let credentials = if !token.is_empty() {
            Some(format!("Bearer {token}"))
        } else if !user.username.is_empty() {
            Some(format!("Basic {}", BASE64_STANDARD.encode(format!("{}:{}", user.username, user.password))))
        } else {
            None
        };
        let mut credentials = credentials.map(HeaderValue::try_from).transpose().context("use the credentials")?;
        if let Some(value) = &mut credentials {
            value.set_sensitive(true);
        }
        Ok(Self { url: cluster.server, client: client(&peer, identity)?, credentials })
    }
}

/// What an attempt came to: an answer, or why not and whether another may do better.
type Attempt = Result<Value, (String, bool)>;

impl Connection {
    /// Posts a review and reads the answer to it, trying again where upstream does (`webhook.DefaultShouldRetry`).
    ///
    /// # Errors
    /// Why there is no answer, in Go's words.
    pub async fn review(&self, review: &Value, timeout: Duration) -> Result<Value, String> {
        let mut delay = FIRST_DELAY;
        for _ in 1..ATTEMPTS {
            match self.attempt(review, timeout).await {
                Ok(answer) => return Ok(answer),
                Err((why, false)) => return Err(why),
                Err((_, true)) => tokio::time::sleep(delay).await,
            }
            delay = delay * 3 / 2;
        }
        self.attempt(review, timeout).await.map_err(|(why, _)| why)
    }

    async fn attempt(&self, review: &Value, timeout: Duration) -> Attempt {
        match tokio::time::timeout(timeout, self.exchange(review)).await {
            Ok(answer) => answer,
            Err(_) => {
                Err(self.told("context deadline exceeded (Client.Timeout exceeded while awaiting headers)".to_owned()))
            }
        }
    }

    fn told(&self, why: String) -> (String, bool) {
        (format!("Post {:?}: {why}", self.url), false)
    }

    async fn exchange(&self, review: &Value) -> Attempt {
        let mut request = Request::post(&self.url)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(ACCEPT, HeaderValue::from_static("application/json, */*"))
            .body(Body::from(crate::http::answer::to_json(review)))
            .map_err(|error| self.told(error.to_string()))?;
        if let Some(credentials) = &self.credentials {
            request.headers_mut().insert(AUTHORIZATION, credentials.clone());
        }
        let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let address = if request.uri().port().is_some() { authority } else { format!("{authority}:443") };
        let response = self.client.request(request).await.map_err(|error| self.told(explain(&error, &address)))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER).collect().await.map_err(|error| self.told(error.to_string()))?.to_bytes();
        if !head.status.is_success() {
            let again = matches!(
                head.status,
                StatusCode::INTERNAL_SERVER_ERROR | StatusCode::GATEWAY_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
            );
            let text = String::from_utf8_lossy(&body[..body.len().min(512)]);
            let why = format!("an error on the server ({:?}) has prevented the request from succeeding", text.trim());
            return Err((why, again || head.headers.contains_key(RETRY_AFTER)));
        }
        serde_json::from_slice(&body)
            .map_err(|error| (format!("couldn't get version/kind; json parse error: {error}"), false))
    }
}
