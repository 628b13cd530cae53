//! AccessTokens: the other side of a grant. Each token is redeemed by a task of its own that tries until it succeeds
//! or the token is gone; every failure is told in its `Redeemed` condition.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::api::conditions::State;
use crate::api::{AccessToken, Link, Site};
use crate::router::tls;

/// Upstream's limit for the whole request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer.
const MAX_ANSWER: usize = 1 << 20;
/// Between two attempts, doubled up to the maximum.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Redeems `token` for `site`, however long it takes.
pub async fn run(client: Client, token: Arc<AccessToken>, site: Arc<Site>) {
    let mut wait = RETRY.0;
    loop {
        let outcome = attempt(&client, &token, &site).await;
        let failed = outcome.as_ref().err().map(|error| format!("{error:#}"));
        if let Err(error) = tell(&client, &token, outcome).await {
            tracing::warn!(%error, token = token.name_any(), "status not written");
        } else if failed.is_none() {
            return;
        }
        if let Some(error) = failed {
            tracing::warn!(error, token = token.name_any(), "not redeemed; trying again");
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RETRY.1);
    }
}

async fn attempt(client: &Client, token: &AccessToken, site: &Site) -> anyhow::Result<()> {
    let namespace = token.namespace().unwrap_or_default();
    let links: Api<Link> = Api::namespaced(client.clone(), &namespace);
    // The last attempt may have failed only in telling so.
    if links.get_opt(&token.name_any()).await?.is_some() {
        return Ok(());
    }
    let answer = tokio::time::timeout(TIMEOUT, post(token, &site.uid().unwrap_or_default())).await;
    let answer = answer.map_err(|_| anyhow!("Controller got error: {} does not answer", token.spec.url))??;
    let mut documents = answer.split("---\n").filter(|document| !document.trim().is_empty());
    let owner = site.controller_owner_ref(&()).map(|owner| OwnerReference {
        controller: None,
        block_owner_deletion: None,
        ..owner
    });
    let mut secret: Secret = document(documents.next())?;
    secret.metadata.owner_references = Some(owner.iter().cloned().collect());
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    create(&secrets, &secret).await.context("Controller could not create received secret")?;
    for text in documents {
        let mut link: Link = document(Some(text))?;
        link.metadata.owner_references = Some(owner.iter().cloned().collect());
        link.spec.cost = token.spec.link_cost.filter(|cost| *cost > 0).or(link.spec.cost);
        create(&links, &link).await.context("Controller could not create received link")?;
    }
    Ok(())
}

fn document<T: DeserializeOwned>(text: Option<&str>) -> anyhow::Result<T> {
    serde_saphyr::from_str(text.unwrap_or_default()).context("Controller could not decode response")
}

async fn create<K>(api: &Api<K>, object: &K) -> kube::Result<()>
where
    K: Resource + Clone + DeserializeOwned + serde::Serialize + std::fmt::Debug,
{
    match api.create(&PostParams::default(), object).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let name = object.meta().name.clone().unwrap_or_default();
            api.patch(&name, &PatchParams::default(), &Patch::Merge(object)).await.map(drop)
        }
        other => other.map(drop),
    }
}

async fn post(token: &AccessToken, subject: &str) -> anyhow::Result<String> {
    if token.spec.ca.is_empty() {
        bail!("token does not have a CA");
    }
    let url: Uri = token.spec.url.parse().context("could not parse token url")?;
    let (host, port) = match (url.scheme_str(), url.host()) {
        (Some("https"), Some(host)) => (host.to_owned(), url.port_u16().unwrap_or(443)),
        (Some("https"), None) => bail!("could not parse token url: no host"),
        _ => bail!("token url scheme must be https"),
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(token.spec.ca.as_bytes()) {
        roots.add(certificate.context("the token's CA cannot be read")?)?;
    }
    let config = ClientConfig::builder_with_provider(tls::provider()).with_safe_default_protocol_versions()?;
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let connection = TcpStream::connect((host.as_str(), port)).await.context("Controller got error")?;
    let connection = TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(host)?, connection).await;
    let connection = TokioIo::new(connection.context("Controller got error")?);
    let (mut sender, driver) = hyper::client::conn::http1::handshake(connection).await?;
    let driver = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(driver));
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let request = Request::post(url.path())
        .header("host", authority)
        .header("name", token.name_any())
        .header("subject", subject)
        .body(Full::new(bytes::Bytes::from(token.spec.code.clone())))?;
    let response = sender.send_request(request).await.context("Controller got error")?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(|error| anyhow!(error))?;
    drop(driver);
    let text = String::from_utf8(body.to_bytes().to_vec()).context("Controller could not decode response")?;
    if !status.is_success() {
        let reason = status.canonical_reason().unwrap_or_default();
        bail!("Controller got failed response: {} ({reason}) {}", status.as_u16(), text.trim());
    }
    Ok(text)
}

async fn tell(client: &Client, token: &AccessToken, outcome: anyhow::Result<()>) -> kube::Result<()> {
    let mut status = token.status.clone().unwrap_or_default();
    let state: State = outcome.map_err(|error| format!("{error:#}")).into();
    let generation = token.metadata.generation.unwrap_or_default();
    let now = Timestamp::now();
    status.status.set("Redeemed", &state, generation, now);
    status.redeemed = state == State::Ready;
    // The columns say what the one condition says; upstream has no Ready here.
    let all = &status.status.conditions;
    let redeemed = all.iter().find(|it| it.type_ == "Redeemed").expect("it was set above").clone();
    status.status.status.clone_from(&redeemed.reason);
    status.status.message.clone_from(&redeemed.message);
    let api: Api<AccessToken> = Api::namespaced(client.clone(), &token.namespace().unwrap_or_default());
    let patch = serde_json::json!({ "status": status });
    api.patch_status(&token.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await.map(drop)
}
