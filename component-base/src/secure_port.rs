//! The port where a component tells how it is (`SecureServingOptions`): HTTPS, with a certificate made anew at each start
//! where none is given.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use auth::user::UserInfo;
use auth::x509::{Asked, ClientAuthority, server_config};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::pki_types::CertificateDer;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::access::{Access, Refused};
use crate::health::{self, Report, Results};
use crate::metrics::{self, Page, Process};
use crate::query::Query;

/// So many connections are served at once: those who ask are few.
const CONNECTIONS: usize = 64;
const ENDPOINTS: [&str; 3] = ["healthz", "livez", "readyz"];
/// How long a client may take for the TLS handshake, and for a request's head.
const PATIENCE: Duration = Duration::from_secs(10);

/// Upstream's flags.
#[derive(Clone, Debug, clap::Args)]
pub struct SecureServing {
    /// Where health and metrics are told
    #[arg(long, default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    /// The port for that, HTTPS; 0: none. By default upstream's of this component
    #[arg(long)]
    pub secure_port: Option<u16>,
    /// The certificate shown there; by default one that is made anew at each start
    #[arg(long, requires = "tls_private_key_file")]
    pub tls_cert_file: Option<PathBuf>,
    /// The key of that certificate
    #[arg(long, requires = "tls_cert_file")]
    pub tls_private_key_file: Option<PathBuf>,
    /// The authority of clients that are believed besides the cluster's
    #[arg(long)]
    pub client_ca_file: Option<PathBuf>,
    /// How to reach the API server that says who is asking; without it only certificates of --client-ca-file are known
    #[arg(long)]
    pub authentication_kubeconfig: Option<PathBuf>,
    /// How to reach the API server that says what they may see; without it they see --authorization-always-allow-paths
    #[arg(long)]
    pub authorization_kubeconfig: Option<PathBuf>,
    /// Paths that everybody may see
    #[arg(long, value_delimiter = ',', default_value = "/healthz,/readyz,/livez")]
    pub authorization_always_allow_paths: Vec<String>,
}

/// A check's name, and what is wrong if something is.
pub type Check = (&'static str, Option<&'static str>);

/// What a component tells.
pub trait Pages: Send + Sync + 'static {
    /// What comes of the checks of an endpoint (`healthz` …); `None`: there is no such endpoint.
    fn checks(&self, endpoint: &str) -> Option<Vec<Check>>;
    /// What it counts.
    fn metrics(&self, page: &mut Page);
    /// Counts from nothing again.
    fn reset(&self);
}

/// Opens the port and serves it for as long as the runtime runs. `usual` is the port where the flags do not say.
///
/// # Errors
/// A file cannot be used, or the port is taken.
pub async fn open(flags: &SecureServing, usual: u16, pages: Arc<impl Pages>) -> anyhow::Result<()> {
    let port = flags.secure_port.unwrap_or(usual);
    if port == 0 {
        return Ok(());
    }
    let listener = TcpListener::bind((flags.bind_address, port)).await;
    let listener = listener.with_context(|| format!("listen on {}", SocketAddr::new(flags.bind_address, port)))?;
    let server = Arc::new(Server { access: access(flags).await?, pages, results: Results::default() });
    let acceptor = TlsAcceptor::from(tls(flags)?);
    metrics::started();
    tokio::spawn(async move {
        let never = runtime::listen::connections(listener, Some(CONNECTIONS), move |stream, _| {
            let (acceptor, server) = (acceptor.clone(), server.clone());
            async move {
                let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await else { return };
                let chain: Arc<[_]> = stream.get_ref().1.peer_certificates().unwrap_or_default().into();
                let service = service_fn(move |request: Request<Incoming>| {
                    let (server, chain) = (server.clone(), chain.clone());
                    async move {
                        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
                        Ok::<_, Infallible>(server.answer(&chain, method, uri, headers).await)
                    }
                });
                let mut http = auto::Builder::new(TokioExecutor::new());
                http.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
                if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
                    tracing::debug!(%error, "a client's connection broke");
                }
            }
        });
        match never.await {}
    });
    Ok(())
}

async fn access(flags: &SecureServing) -> anyhow::Result<Access> {
    let client = async |path: &Option<PathBuf>| match path {
        Some(path) => runtime::client::connect(Some(path)).await.map(Some),
        None => Ok(None),
    };
    let authentication = client(&flags.authentication_kubeconfig).await?;
    let authorization = client(&flags.authorization_kubeconfig).await?;
    let mut access = Access::new(authentication, authorization, &flags.authorization_always_allow_paths);
    if let Some(path) = &flags.client_ca_file {
        let own = || ClientAuthority::from_pem(&std::fs::read(path)?);
        access.own = Some(own().with_context(|| format!("use --client-ca-file {}", path.display()))?);
    }
    Ok(access)
}

fn tls(flags: &SecureServing) -> anyhow::Result<Arc<rustls::ServerConfig>> {
    if let (Some(certificate), Some(key)) = (&flags.tls_cert_file, &flags.tls_private_key_file) {
        let read = |path: &PathBuf| std::fs::read(path).with_context(|| format!("read {}", path.display()));
        return server_config(&read(certificate)?, &read(key)?, Asked::Anyone);
    }
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    server_config(own.cert.pem().as_bytes(), own.signing_key.serialize_pem().as_bytes(), Asked::Anyone)
}

struct Server<P> {
    access: Access,
    pages: Arc<P>,
    results: Results,
}

impl<P: Pages> Server<P> {
    async fn answer(
        &self,
        chain: &[CertificateDer<'_>],
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Response<Full<Bytes>> {
        let mut response = match self.access.check(chain, method, uri.path(), headers).await {
            Ok(()) => self.page(method, uri),
            Err(Refused::Unknown) => status(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized"),
            Err(Refused::Forbidden(user)) => status(StatusCode::FORBIDDEN, "Forbidden", &forbidden(&user, method, uri)),
            Err(Refused::Unasked(why)) => {
                tracing::warn!(why, path = uri.path(), "nobody says whether a page may be seen");
                let text = format!("Internal Server Error: {}\n", schema::go::quote(uri.path()));
                text_page(StatusCode::INTERNAL_SERVER_ERROR, text)
            }
        };
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
        response
    }

    fn page(&self, method: &Method, uri: &Uri) -> Response<Full<Bytes>> {
        let path = uri.path().strip_prefix('/').unwrap_or_default();
        let mut page = Page::default();
        match (path, *method == Method::DELETE) {
            ("metrics", true) => self.pages.reset(),
            ("metrics/slis", true) => self.results.reset(),
            ("metrics", false) => {
                self.pages.metrics(&mut page);
                match Process::read() {
                    Ok(process) => process.write(&mut page),
                    Err(error) => tracing::warn!(%error, "the process cannot be looked at"),
                }
                return typed(StatusCode::OK, metrics::FORM, page.text());
            }
            ("metrics/slis", false) => {
                self.results.write(&mut page);
                return typed(StatusCode::OK, metrics::FORM, page.text());
            }
            _ => return self.health(path, &Query::of(uri)),
        }
        text_page(StatusCode::OK, "metrics reset\n".to_owned())
    }

    fn health(&self, path: &str, query: &Query) -> Response<Full<Bytes>> {
        let (endpoint, only) = path.split_once('/').map_or((path, None), |(endpoint, check)| (endpoint, Some(check)));
        let endpoint = ENDPOINTS.into_iter().find(|known| *known == endpoint);
        let answer = endpoint.and_then(|endpoint| {
            let checks = self.pages.checks(endpoint)?;
            if let Some(only) = only {
                return checks.iter().find(|(name, _)| *name == only).map(|(_, wrong)| health::single(*wrong));
            }
            let mut report = Report::new(endpoint, query.all("exclude"));
            for (name, wrong) in checks {
                if !report.excludes(name) {
                    report.add(name, wrong);
                    self.results.add(endpoint, name, wrong.is_none());
                }
            }
            Some(report.finish(query.get("verbose").is_some()))
        });
        let (code, text) = answer.unwrap_or_else(|| (404, "404 page not found\n".to_owned()));
        text_page(StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), text)
    }
}

fn forbidden(user: &UserInfo, method: &Method, uri: &Uri) -> String {
    let (name, path) = (schema::go::quote(&user.username), schema::go::quote(uri.path()));
    format!("forbidden: User {name} cannot {} path {path}", method.as_str().to_ascii_lowercase())
}

fn status(code: StatusCode, reason: &str, message: &str) -> Response<Full<Bytes>> {
    let mut body = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code.as_u16() });
    if code == StatusCode::FORBIDDEN {
        body["details"] = json!({});
    }
    typed(code, "application/json", schema::json::to_vec(&body))
}

fn text_page(code: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = typed(code, "text/plain; charset=utf-8", text);
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn typed(code: StatusCode, form: &'static str, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(form));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    struct Fixed;

    impl Pages for Fixed {
        fn checks(&self, endpoint: &str) -> Option<Vec<Check>> {
            match endpoint {
                "healthz" => Some(vec![("ping", None)]),
                "readyz" => Some(vec![("ping", None), ("informer-sync", Some("not yet"))]),
                _ => None,
            }
        }

        fn metrics(&self, _: &mut Page) {}

        fn reset(&self) {}
    }

    #[tokio::test]
    async fn pages() {
        let always = ["/healthz", "/healthz/*", "/readyz", "/livez"].map(str::to_owned);
        let access = Access::new(None, None, &always);
        let server = Server { access, pages: Arc::new(Fixed), results: Results::default() };
        let forbidden = concat!(
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","#,
            r#""message":"forbidden: User \"system:anonymous\" cannot get path \"/metrics\"","reason":"Forbidden","#,
            r#""details":{},"code":403}"#
        );
        for (path, code, expected) in [
            ("/healthz", 200, "ok"),
            ("/healthz?verbose", 200, "[+]ping ok\nhealthz check passed\n"),
            ("/healthz/ping", 200, "ok"),
            ("/healthz/pong", 404, "404 page not found\n"),
            ("/readyz", 500, "[+]ping ok\n[-]informer-sync failed: reason withheld\nreadyz check failed\n"),
            ("/readyz?exclude=informer-sync", 200, "ok"),
            ("/livez", 404, "404 page not found\n"),
            ("/metrics", 403, forbidden),
        ] {
            let answer = server.answer(&[], &Method::GET, &path.parse().unwrap(), &HeaderMap::new()).await;
            assert_eq!(answer.status().as_u16(), code, "{path}");
            assert_eq!(answer.headers()[CACHE_CONTROL], "no-cache, private");
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(std::str::from_utf8(&body).unwrap(), expected, "{path}");
        }
        let page = async |method: Method, path: &str| {
            let answer = server.page(&method, &path.parse().unwrap());
            let (code, body) = (answer.status().as_u16(), answer.into_body().collect().await.unwrap().to_bytes());
            (code, std::str::from_utf8(&body).unwrap().to_owned())
        };
        assert_eq!(page(Method::GET, "/metrics").await.0, 200);
        let (_, indicators) = page(Method::GET, "/metrics/slis").await;
        for line in [
            "kubernetes_healthcheck{name=\"informer-sync\",type=\"readyz\"} 0\n",
            "kubernetes_healthchecks_total{name=\"informer-sync\",status=\"error\",type=\"readyz\"} 1\n",
            "kubernetes_healthchecks_total{name=\"ping\",status=\"success\",type=\"healthz\"} 2\n",
            "kubernetes_healthchecks_total{name=\"ping\",status=\"success\",type=\"readyz\"} 2\n",
            "process_start_time_seconds ",
        ] {
            assert!(indicators.contains(line), "{line} in {indicators}");
        }
        for path in ["/metrics", "/metrics/slis"] {
            assert_eq!(page(Method::DELETE, path).await, (200, "metrics reset\n".to_owned()));
        }
        let (_, indicators) = page(Method::GET, "/metrics/slis").await;
        assert!(!indicators.contains("kubernetes_healthcheck"), "{indicators}");
    }

    #[tokio::test]
    async fn a_port_is_opened_with_a_certificate_of_its_own() {
        let flags = |args: &[&str]| {
            #[derive(clap::Parser)]
            struct All {
                #[command(flatten)]
                secure: SecureServing,
            }
            <All as clap::Parser>::parse_from(std::iter::once("c").chain(args.iter().copied())).secure
        };
        open(&flags(&["--secure-port=0"]), 1, Arc::new(Fixed)).await.expect("no port");
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let flags = flags(&["--bind-address=127.0.0.1"]);
        open(&flags, free.port(), Arc::new(Fixed)).await.expect("a port");
        let taken = open(&flags, free.port(), Arc::new(Fixed)).await.expect_err("it is taken");
        assert_eq!(taken.to_string(), format!("listen on {free}"));
        let config = auth::trust::client_config(auth::trust::Trust::Anyone, None).unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = tokio::net::TcpStream::connect(free).await.unwrap();
        let stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get("/healthz").header("host", "localhost").body(Full::<Bytes>::default()).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "ok");
    }
}
