//! A server that a kubeconfig's current context names, and how to speak to it: where webhooks of audit, authentication and
//! authorization are (upstream `apiserver/pkg/util/webhook`, `LoadKubeconfig`).

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use auth::trust::Identity;
use axum::body::Body;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::response::Parts;
use http::{Request, Uri};
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;

use super::egress::Dialer;
use super::{Http, Peer, client, explain, plain_client};

/// The largest answer that is read.
const ANSWER: usize = 1024 * 1024;

/// How long a server may take, as it is told.
const PATIENCE: &str = "30s";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    #[serde(rename = "current-context")]
    current: String,
    contexts: Vec<Named<Choice>>,
    clusters: Vec<Named<Cluster>>,
    users: Vec<Named<User>>,
}

#[derive(Debug, Deserialize)]
#[serde(bound = "T: Default + Deserialize<'de>")]
struct Named<T> {
    name: String,
    #[serde(default, alias = "context", alias = "cluster", alias = "user")]
    value: T,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Choice {
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

/// What the data say, else the file, whose name is relative to the kubeconfig; nothing when neither is given.
fn content(folder: &Path, data: Option<&str>, file: Option<&Path>) -> anyhow::Result<Option<Vec<u8>>> {
    match (data.filter(|data| !data.is_empty()), file.filter(|file| !file.as_os_str().is_empty())) {
        (Some(data), _) => Ok(Some(BASE64_STANDARD.decode(data.trim()).context("decode a part of the kubeconfig")?)),
        (None, Some(file)) => {
            let path = folder.join(file);
            Ok(Some(std::fs::read(&path).with_context(|| format!("read {}", path.display()))?))
        }
        (None, None) => Ok(None),
    }
}

fn named<T>(list: Vec<Named<T>>, what: &str, name: &str) -> anyhow::Result<T> {
    let found = list.into_iter().find(|one| one.name == name);
    found.map(|one| one.value).with_context(|| format!("{what} {name:?} does not exist"))
}

impl User {
    fn credentials(&self, folder: &Path) -> anyhow::Result<Option<HeaderValue>> {
        let token = match self.token.as_deref().filter(|token| !token.is_empty()) {
            Some(token) => Some(token.to_owned()),
            None => content(folder, None, self.token_file.as_deref())?
                .map(|token| String::from_utf8(token).context("read the token file"))
                .transpose()?,
        };
        let text = match (token, &self.username) {
            (Some(token), _) => format!("Bearer {}", token.trim()),
            (None, Some(name)) => {
                let pair = format!("{name}:{}", self.password.as_deref().unwrap_or_default());
                format!("Basic {}", BASE64_STANDARD.encode(pair))
            }
            (None, None) => return Ok(None),
        };
        let mut value = HeaderValue::try_from(text).context("use the user's credentials")?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// A server, the client to reach it, and what proves who we are.
pub struct Server {
    pub url: Uri,
    http: Http,
    /// Host and port, as errors name them.
    address: String,
    credentials: Option<HeaderValue>,
}

/// The address as it is asked: with the time there is for an answer, and no query of its own.
fn limited(url: &Uri) -> anyhow::Result<Uri> {
    let mut parts = url.clone().into_parts();
    parts.path_and_query = Some(format!("{}?timeout={PATIENCE}", url.path()).parse()?);
    Ok(Uri::from_parts(parts)?)
}

impl Server {
    /// Reads the file's current context. Only where `plain` is allowed may the server be without TLS.
    ///
    /// # Errors
    /// The file cannot be read, or names nothing usable.
    pub fn load(path: &Path, plain: bool, through: &Dialer) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        Self::parse(&text, folder, plain, through).with_context(|| format!("use {}", path.display()))
    }

    fn parse(text: &str, folder: &Path, plain: bool, through: &Dialer) -> anyhow::Result<Self> {
        let file: File = serde_saphyr::from_str(text)?;
        let context = named(file.contexts, "context", &file.current)?;
        let cluster = named(file.clusters, "cluster", &context.cluster)?;
        let user = if context.user.is_empty() { User::default() } else { named(file.users, "user", &context.user)? };
        let url: Uri = cluster.server.parse().with_context(|| format!("use the server {:?}", cluster.server))?;
        let secure = url.scheme_str() == Some("https");
        anyhow::ensure!(secure || plain, "the server must be https");
        let authority = url.authority().context("the server has no address")?.to_string();
        let address = match url.port() {
            Some(_) => authority,
            None => format!("{authority}:{}", if secure { 443 } else { 80 }),
        };
        let authorities =
            content(folder, cluster.certificate_authority_data.as_deref(), cluster.certificate_authority.as_deref())?;
        let peer = Peer {
            ca_bundle: authorities.unwrap_or_default(),
            insecure: cluster.insecure_skip_tls_verify,
            server_name: cluster.tls_server_name,
            identify: false,
            network: None,
        };
        let certificate = content(folder, user.client_certificate_data.as_deref(), user.client_certificate.as_deref())?;
        let key = content(folder, user.client_key_data.as_deref(), user.client_key.as_deref())?;
        let identity = certificate.as_deref().zip(key.as_deref());
        let identity = identity.map(|(certificate, key)| Identity { certificate, key });
        let connect = if plain { plain_client } else { client };
        let http = connect(&peer, identity, through.clone())?;
        // Nobody on the way is to read them.
        let credentials = if secure { user.credentials(folder)? } else { None };
        Ok(Self { url: limited(&url)?, http, address, credentials })
    }

    /// Posts JSON and reads the answer.
    ///
    /// # Errors
    /// Why there is none, in Go's words.
    pub async fn post(&self, body: Bytes) -> Result<(Parts, Bytes), String> {
        let mut request = Request::post(self.url.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(ACCEPT, HeaderValue::from_static("application/json, */*"))
            .body(Body::from(body))
            .map_err(|error| error.to_string())?;
        if let Some(credentials) = &self.credentials {
            request.headers_mut().insert(AUTHORIZATION, credentials.clone());
        }
        let response = self.http.request(request).await.map_err(|error| explain(&error, &self.address))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER).collect().await.map_err(|error| error.to_string())?;
        Ok((head, body.to_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, plain: bool) -> Result<Server, String> {
        Server::parse(text, Path::new("."), plain, &Dialer::Direct).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_kubeconfig_names_the_server() {
        let text = "current-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\n\
            clusters: [{name: k, cluster: {server: 'http://127.0.0.1:1/audit?x=1'}}]\nusers: [{name: u, user: {token: t}}]\n";
        let server = parse(text, true).expect("a server");
        assert_eq!(server.url, "http://127.0.0.1:1/audit?timeout=30s");
        assert_eq!((server.address.as_str(), server.credentials), ("127.0.0.1:1", None));
        let secure = text.replace("http:", "https:");
        assert_eq!(parse(&secure, true).expect("a server").credentials.expect("a token"), "Bearer t");
        assert_eq!(parse(text, false).err().as_deref(), Some("the server must be https"));
        assert_eq!(parse("current-context: x", true).err().as_deref(), Some("context \"x\" does not exist"));
        let without = text.replace("users: [{name: u, user: {token: t}}]", "");
        assert_eq!(parse(&without, true).err().as_deref(), Some("user \"u\" does not exist"));
        let basic = secure.replace("token: t", "username: u, password: p");
        assert_eq!(parse(&basic, true).expect("a server").credentials.expect("a pair"), "Basic dTpw");
    }
}
