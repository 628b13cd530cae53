//! An OpenID Connect issuer: TLS on a loopback port, a key it can exchange, and a switch to be away.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::{StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

struct Key {
    id: String,
    pair: EcdsaKeyPair,
}

impl Key {
    fn new(id: &str) -> Self {
        let made = rcgen::KeyPair::generate().unwrap();
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.serialized_der(), &random).unwrap();
        Self { id: id.to_owned(), pair }
    }

    fn sign(&self, claims: &Value) -> String {
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let header = json!({ "alg": "ES256", "kid": self.id }).to_string();
        let message = format!("{}.{}", encode(header.as_bytes()), encode(claims.to_string().as_bytes()));
        let signature = self.pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", encode(signature.as_ref()))
    }

    fn jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        json!({ "kty": "EC", "crv": "P-256", "kid": self.id, "x": encode(&point[1..33]), "y": encode(&point[33..]) })
    }
}

struct Inner {
    key: Key,
    rotations: u32,
    down: bool,
}

#[derive(Clone)]
struct Shared {
    port: u16,
    inner: Arc<Mutex<Inner>>,
}

pub struct Issuer {
    /// PEM.
    pub ca: String,
    shared: Shared,
    stop: CancellationToken,
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Issuer {
    pub fn start() -> Self {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let (ca, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let tls = auth::x509::server_config(ca.as_bytes(), key.as_bytes(), None).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let inner = Inner { key: Key::new("k0"), rotations: 0, down: false };
        let shared = Shared { port, inner: Arc::new(Mutex::new(inner)) };
        let stop = CancellationToken::new();
        let router = Router::new().fallback(handle).with_state(shared.clone());
        let token = stop.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(token.run_until_cancelled(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let acceptor = tokio_rustls::TlsAcceptor::from(tls);
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let (acceptor, router) = (acceptor.clone(), router.clone());
                    tokio::spawn(async move {
                        let Ok(stream) = acceptor.accept(stream).await else { return };
                        let service = TowerToHyperService::new(router);
                        let builder = auto::Builder::new(TokioExecutor::new());
                        let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                    });
                }
            }));
        });
        Self { ca, shared, stop }
    }

    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.shared.port)
    }

    /// Answers nothing but 503.
    pub fn down(&self, down: bool) {
        self.shared.inner.lock().unwrap().down = down;
    }

    /// Publishes and uses another key from now on.
    pub fn rotate(&self) {
        let mut inner = self.shared.inner.lock().unwrap();
        inner.rotations += 1;
        inner.key = Key::new(&format!("k{}", inner.rotations));
    }

    /// A token with these claims, good for an hour.
    pub fn token(&self, claims: &Value) -> String {
        let claims = self.whole(claims);
        self.shared.inner.lock().unwrap().key.sign(&claims)
    }

    /// The same, but signed by somebody else with the key's name.
    pub fn stranger(&self, claims: &Value) -> String {
        let id = self.shared.inner.lock().unwrap().key.id.clone();
        Key::new(&id).sign(&self.whole(claims))
    }

    fn whole(&self, claims: &Value) -> Value {
        let mut whole = json!({ "iss": self.url(), "exp": jiff::Timestamp::now().as_second() + 3600 });
        whole.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        whole
    }
}

async fn handle(State(shared): State<Shared>, uri: Uri) -> axum::response::Response {
    let inner = shared.inner.lock().unwrap();
    let issuer = format!("https://127.0.0.1:{}", shared.port);
    let answer = match uri.path() {
        _ if inner.down => None,
        "/.well-known/openid-configuration" => Some(json!({ "issuer": issuer, "jwks_uri": format!("{issuer}/keys") })),
        "/keys" => Some(json!({ "keys": [inner.key.jwk()] })),
        _ => None,
    };
    let (code, text) = match answer {
        Some(answer) => (StatusCode::OK, answer.to_string()),
        None => (StatusCode::SERVICE_UNAVAILABLE, String::new()),
    };
    http::Response::builder().status(code).body(axum::body::Body::from(text)).unwrap()
}
