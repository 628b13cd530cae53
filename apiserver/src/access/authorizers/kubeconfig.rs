//! Where a webhook is, and how to speak to it: a kubeconfig file, as upstream's `webhook.LoadKubeconfig` reads it.

use std::path::Path;

use anyhow::Context;
use auth::trust::Identity;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use serde::Deserialize;

use crate::outbound::{Http, Peer, client};

/// A server, the client to reach it, and what proves who we are.
pub struct Connection {
    pub url: String,
    pub client: Http,
    /// Of the header `Authorization`.
    pub credentials: Option<HeaderValue>,
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
