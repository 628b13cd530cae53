//! What the server passes on: logs, exec, attach and port-forward to kubelets, and `proxy` to pods, Services and nodes.
//!
//! An upgrade (WebSocket or SPDY) is not understood here: the request goes to the kubelet as it came, and once both sides
//! have switched protocols the bytes are spliced.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::body::Body;
use axum::extract::Request;
use http::header::{CONNECTION, HOST, TRANSFER_ENCODING, UPGRADE};
use http::{Method, Response, StatusCode, Uri};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::forward::{clean, forget_impersonation, splice};
use super::kubelet_words;
use super::status::{ApiError, ApiResult};
use crate::admission::{self, Attributes};
use crate::app::{App, Call, text};
use crate::options::Options;
use crate::registry::write;

const CONNECT: Duration = Duration::from_secs(10);
/// Where kubelets listen unless the node says otherwise.
const KUBELET_PORT: u64 = 10250;

/// How kubelets, and TLS backends of proxied requests, are reached.
pub struct Kubelets {
    tls: TlsConnector,
    /// For `https:` backends of `proxy`, whose certificates nobody can check.
    unchecked: TlsConnector,
}

impl Kubelets {
    /// # Errors
    /// A file cannot be read or holds no certificate or key.
    pub fn load(options: &Options) -> anyhow::Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = || ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let unchecked = || -> anyhow::Result<_> {
            Ok(builder()?.dangerous().with_custom_certificate_verifier(Arc::new(Unchecked(provider.clone()))))
        };
        // As upstream, kubelets' certificates are checked only when an authority is given for them.
        let checked = match &options.kubelet_certificate_authority {
            None => unchecked()?,
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in
                    CertificateDer::pem_file_iter(path).with_context(|| format!("read {}", path.display()))?
                {
                    roots.add(certificate?)?;
                }
                builder()?.with_root_certificates(roots)
            }
        };
        let config = match (&options.kubelet_client_certificate, &options.kubelet_client_key) {
            (Some(certificate), Some(key)) => {
                let chain = CertificateDer::pem_file_iter(certificate)
                    .and_then(Iterator::collect)
                    .with_context(|| format!("read {}", certificate.display()))?;
                let key = PrivateKeyDer::from_pem_file(key).with_context(|| format!("read {}", key.display()))?;
                checked.with_client_auth_cert(chain, key)?
            }
            _ => checked.with_no_client_auth(),
        };
        let unchecked = unchecked()?.with_no_client_auth();
        Ok(Self { tls: Arc::new(config).into(), unchecked: Arc::new(unchecked).into() })
    }
}

/// Accepts any certificate.
#[derive(Debug)]
struct Unchecked(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Where a request goes.
struct Backend {
    host: String,
    port: u16,
    scheme: Scheme,
    path: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
    /// Https with our client certificate.
    Kubelet,
}

/// Passes the call on and answers with what comes back.
pub async fn answer(call: &Call, request: Request) -> ApiResult<Response<Body>> {
    let info = &call.info;
    if let Some(mut options) = connect_options(call) {
        admission::admit(&Attributes::connect(call, &options), &mut options).await?;
    }
    let backend = match (call.resource.plural.as_str(), info.subresource.as_str()) {
        ("pods", "proxy") => pod_proxy(call).await?,
        ("services", "proxy") => service_proxy(call).await?,
        ("nodes", "proxy") => {
            let mut backend = node(&call.app, &info.name).await?;
            backend.path = format!("/{}", info.rest);
            backend
        }
        ("pods", sub) => match container(call).await? {
            Some(backend) => backend,
            // Nobody has written a log yet.
            None if sub == "log" => return Ok(Response::new(Body::empty())),
            None => {
                let message = format!("pod {} does not have a host assigned", info.name);
                return Err(ApiError::bad_request(message));
            }
        },
        _ => return Err(ApiError::no_route()),
    };
    let query = match info.subresource.as_str() {
        "proxy" => request.uri().query().unwrap_or_default().to_owned(),
        sub => kubelet_words::query(sub, call.query.iter()),
    };
    let response = forward(&call.app, backend, &query, request, call).await?;
    // A log that cannot be had is told as a Status; an upgrade that is refused, as the kubelet says it.
    let is_log = info.subresource == "log" && response.status() != StatusCode::SWITCHING_PROTOCOLS;
    if is_log && !response.status().is_success() {
        return Err(kubelet_words::refusal(response, &info.name).await);
    }
    Ok(response)
}

/// The options object of a connection, which admission judges; none for a log, which is a mere read.
fn connect_options(call: &Call) -> Option<Value> {
    let kind = match (call.resource.plural.as_str(), call.info.subresource.as_str()) {
        ("pods", "exec") => "PodExecOptions",
        ("pods", "attach") => "PodAttachOptions",
        ("pods", "portforward") => "PodPortForwardOptions",
        ("pods", "proxy") => "PodProxyOptions",
        ("services", "proxy") => "ServiceProxyOptions",
        ("nodes", "proxy") => "NodeProxyOptions",
        _ => return None,
    };
    let mut options = json!({ "kind": kind, "apiVersion": "v1" });
    match call.info.subresource.as_str() {
        "exec" | "attach" => {
            for stream in ["stdin", "stdout", "stderr", "tty"] {
                if call.query.flag(stream) {
                    options[stream] = true.into();
                }
            }
            if let Some(container) = call.query.text("container") {
                options["container"] = container.into();
            }
            let command: Vec<&str> = call.query.all("command").collect();
            if !command.is_empty() {
                options["command"] = json!(command);
            }
        }
        "portforward" => {
            let ports: Vec<i64> = call.query.all("ports").filter_map(|port| port.parse().ok()).collect();
            if !ports.is_empty() {
                options["ports"] = json!(ports);
            }
        }
        _ => options["path"] = format!("/{}", call.info.rest).into(),
    }
    Some(options)
}

/// The pod of the call, which must run somewhere.
async fn pod(call: &Call) -> ApiResult<Value> {
    let key = call.resource.key(&call.info.namespace, &call.info.name);
    Ok(write::load(call, &key).await?.ok_or_else(|| call.not_found(&call.info.name))?.value)
}

/// The kubelet's path of exec, attach, portForward and containerLogs; nothing while the pod has no node.
async fn container(call: &Call) -> ApiResult<Option<Backend>> {
    let info = &call.info;
    let pod = pod(call).await?;
    let node_name = text(&pod, "/spec/nodeName");
    let (namespace, name) = (&info.namespace, &info.name);
    let path = match info.subresource.as_str() {
        "portforward" => format!("/portForward/{namespace}/{name}"),
        sub => {
            let container = container_name(call, &pod)?;
            let verb = if sub == "log" { "containerLogs" } else { sub };
            format!("/{verb}/{namespace}/{name}/{container}")
        }
    };
    if node_name.is_empty() {
        return Ok(None);
    }
    let backend = node(&call.app, node_name).await?;
    Ok(Some(Backend { path, ..backend }))
}

/// The container a request is for: the one it names, or the only one.
fn container_name(call: &Call, pod: &Value) -> ApiResult<String> {
    let names = |list: &str| -> Vec<String> {
        let items = pod["spec"][list].as_array().into_iter().flatten();
        items.filter_map(|c| c["name"].as_str().map(str::to_owned)).collect()
    };
    let (containers, init) = (names("containers"), names("initContainers"));
    let name = &call.info.name;
    match call.query.text("container") {
        Some(wanted) => {
            let known = containers.iter().chain(&init).chain(&names("ephemeralContainers")).any(|c| c == wanted);
            if known {
                Ok(wanted.to_owned())
            } else {
                Err(ApiError::bad_request(format!("container {wanted} is not valid for pod {name}")))
            }
        }
        None => match containers.as_slice() {
            [only] => Ok(only.clone()),
            many => {
                let text =
                    format!("a container name must be specified for pod {name}, choose one of: [{}]", many.join(" "));
                let init = if init.is_empty() {
                    String::new()
                } else {
                    format!(" or one of the init containers: [{}]", init.join(" "))
                };
                Err(ApiError::bad_request(text + &init))
            }
        },
    }
}

/// A node's kubelet.
async fn node(app: &Arc<App>, name: &str) -> ApiResult<Backend> {
    // `name:port` and `https:name:port` are allowed for `nodes/proxy`.
    let (_, name, port) = split_name(name);
    let resource = app.resource("", "nodes")?;
    let (found, _) = app.store.get(&resource.key("", &name), None).await?;
    let kv = found.ok_or_else(|| ApiError::not_found("", "nodes", &name))?;
    let node: Value = serde_json::from_slice(&kv.value).map_err(ApiError::internal)?;
    let addresses = node["status"]["addresses"].as_array().map(Vec::as_slice).unwrap_or_default();
    let address = |kind: &str| addresses.iter().find(|a| a["type"] == kind).and_then(|a| a["address"].as_str());
    let host = address("InternalIP").or_else(|| address("Hostname")).or_else(|| address("ExternalIP"));
    let host = host
        .ok_or_else(|| ApiError::internal(format!("no preferred addresses found; known addresses: {addresses:?}")))?;
    let own = node.pointer("/status/daemonEndpoints/kubeletEndpoint/Port").and_then(Value::as_u64).filter(|p| *p != 0);
    let port = port.or(own).unwrap_or(KUBELET_PORT);
    let port = u16::try_from(port).map_err(|_| ApiError::internal(format!("{port} is no port")))?;
    Ok(Backend { host: host.to_owned(), port, scheme: Scheme::Kubelet, path: String::new() })
}

/// `[scheme:]name[:port]`
fn split_name(text: &str) -> (Scheme, String, Option<u64>) {
    let mut parts: Vec<&str> = text.split(':').collect();
    let mut scheme = Scheme::Http;
    if parts.len() > 1 && matches!(parts[0], "http" | "https") && parts.remove(0) == "https" {
        scheme = Scheme::Https;
    }
    let port = parts.get(1).and_then(|port| port.parse().ok());
    (scheme, parts.first().copied().unwrap_or_default().to_owned(), port)
}

async fn pod_proxy(call: &Call) -> ApiResult<Backend> {
    let (scheme, name, port) = split_name(&call.info.name);
    let key = call.resource.key(&call.info.namespace, &name);
    let pod = write::load(call, &key).await?.ok_or_else(|| call.not_found(&name))?.value;
    let host = text(&pod, "/status/podIP");
    if host.is_empty() {
        return Err(ApiError::bad_request("address not allowed"));
    }
    let first = || pod.pointer("/spec/containers/0/ports/0/containerPort").and_then(Value::as_u64);
    let port = port.or_else(first).unwrap_or(if scheme == Scheme::Https { 443 } else { 80 });
    let port = u16::try_from(port).map_err(|_| ApiError::bad_request(format!("{port} is no port")))?;
    Ok(Backend { host: host.to_owned(), port, scheme, path: format!("/{}", call.info.rest) })
}

/// An endpoint of the Service, from its EndpointSlices.
async fn service_proxy(call: &Call) -> ApiResult<Backend> {
    let namespace = &call.info.namespace;
    let mut parts: Vec<&str> = call.info.name.split(':').collect();
    let https = parts.len() > 1 && parts[0] == "https";
    if parts.len() > 1 && matches!(parts[0], "http" | "https" | "") {
        parts.remove(0);
    }
    let name = parts.first().copied().unwrap_or_default().to_owned();
    let wanted = parts.get(1).copied().unwrap_or_default().to_owned();
    let key = call.resource.key(namespace, &name);
    let service = write::load(call, &key).await?.ok_or_else(|| call.not_found(&name))?.value;
    let ports = service["spec"]["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let chosen = ports
        .iter()
        .find(|p| wanted.is_empty() || text(p, "/name") == wanted || p["port"].as_u64() == wanted.parse().ok());
    let missing = || ApiError::unavailable(format!("no endpoints available for service {:?}", call.info.name));
    let port_name = text(chosen.ok_or_else(missing)?, "/name").to_owned();
    let slices = call.app.resource("discovery.k8s.io", "endpointslices")?;
    let prefix = slices.range(namespace);
    let filter = |object: &store::cache::Object| object.label("kubernetes.io/service-name") == Some(&name);
    let query = store::cache::ListQuery {
        at: store::cache::At::Latest,
        prefix: &prefix,
        start: None,
        limit: 0,
        filter: Some(&filter),
    };
    let list = call.app.caches.of(&slices).list(query).await?;
    for item in &list.items {
        let slice = super::answer::value_of(&slices, item)?;
        let port = slice["ports"].as_array().into_iter().flatten().find(|p| text(p, "/name") == port_name);
        let port = port.and_then(|p| p["port"].as_u64()).and_then(|p| u16::try_from(p).ok());
        let ready = |e: &&Value| e["conditions"]["ready"].as_bool().unwrap_or(true);
        let endpoint = slice["endpoints"].as_array().into_iter().flatten().find(ready);
        let host = endpoint.and_then(|e| e["addresses"][0].as_str());
        if let (Some(port), Some(host)) = (port, host) {
            let scheme = if https { Scheme::Https } else { Scheme::Http };
            return Ok(Backend { host: host.to_owned(), port, scheme, path: format!("/{}", call.info.rest) });
        }
    }
    Err(missing())
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn connect(app: &App, backend: &Backend) -> anyhow::Result<Box<dyn Stream>> {
    let stream = tokio::time::timeout(CONNECT, TcpStream::connect((backend.host.as_str(), backend.port)))
        .await
        .map_err(|_| anyhow::anyhow!("dial tcp {}:{}: i/o timeout", backend.host, backend.port))?
        .with_context(|| format!("dial tcp {}:{}", backend.host, backend.port))?;
    stream.set_nodelay(true)?;
    let connector = match backend.scheme {
        Scheme::Http => return Ok(Box::new(stream)),
        Scheme::Https => &app.kubelets.unchecked,
        Scheme::Kubelet => &app.kubelets.tls,
    };
    let name = ServerName::try_from(backend.host.clone())?;
    let stream =
        tokio::time::timeout(CONNECT, connector.connect(name, stream)).await.context("TLS handshake timeout")??;
    Ok(Box::new(stream))
}

async fn forward(
    app: &Arc<App>,
    backend: Backend,
    query: &str,
    request: Request,
    call: &Call,
) -> ApiResult<Response<Body>> {
    let failed = |error: &dyn std::fmt::Display| ApiError::internal(format!("error dialing backend: {error:#}"));
    let stream = connect(app, &backend).await.map_err(|e| failed(&format!("{e:#}")))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| failed(&e))?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to a backend ended with an error");
        }
    });
    let upgrade = request.headers().get(UPGRADE).cloned();
    let (mut parts, body) = request.into_parts();
    let client = parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
    let path = if backend.path.is_empty() { "/" } else { &backend.path };
    let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    parts.uri = target.parse::<Uri>().map_err(|e| ApiError::bad_request(e.to_string()))?;
    parts.version = http::Version::HTTP_11;
    if call.info.subresource == "log" {
        parts.method = Method::GET;
    }
    clean(&mut parts.headers);
    if backend.scheme == Scheme::Kubelet {
        forget_impersonation(&mut parts.headers);
    }
    let host = format!("{}:{}", backend.host, backend.port);
    parts.headers.insert(HOST, host.parse().map_err(|_| failed(&"the backend's address is no host name"))?);
    if let Some(protocol) = &upgrade {
        parts.headers.insert(CONNECTION, http::HeaderValue::from_static("Upgrade"));
        parts.headers.insert(UPGRADE, protocol.clone());
    }
    let mut response = sender.send_request(Request::from_parts(parts, body)).await.map_err(|e| failed(&e))?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let client = client.ok_or_else(|| ApiError::bad_request("the connection cannot be upgraded"))?;
        let server = hyper::upgrade::on(&mut response);
        splice(app.clone(), client, server);
        let (parts, _) = response.into_parts();
        return Ok(Response::from_parts(parts, Body::empty()));
    }
    let (mut parts, body) = response.into_parts();
    clean(&mut parts.headers);
    parts.headers.remove(TRANSFER_ENCODING);
    Ok(Response::from_parts(parts, Body::new(body)))
}
