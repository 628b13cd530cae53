//! An OpenID Connect issuer: TLS on a loopback port, a key it can exchange, and a switch to be away. It also tells claims.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, LOCATION};
use http::{HeaderMap, StatusCode, Uri};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::tls::Port;

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

/// What else is told under a path.
#[derive(Clone)]
pub enum Told {
    Text(String),
    /// To those with this access token.
    Secret(&'static str, String),
    /// Somewhere else.
    At(String),
}

struct Inner {
    key: Key,
    rotations: u32,
    down: bool,
    told: HashMap<String, Told>,
    asked: Vec<String>,
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
        let open = Port::open(&["127.0.0.1"]);
        let (port, ca) = (open.number, open.certificate.clone());
        let inner = Inner { key: Key::new("k0"), rotations: 0, down: false, told: HashMap::new(), asked: Vec::new() };
        let shared = Shared { port, inner: Arc::new(Mutex::new(inner)) };
        let stop = CancellationToken::new();
        open.serve(Router::new().fallback(handle).with_state(shared.clone()), stop.clone());
        Self { ca, shared, stop }
    }

    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.shared.port)
    }

    /// Answers nothing but 503.
    pub fn down(&self, down: bool) {
        self.shared.inner.lock().unwrap().down = down;
    }

    /// Tells something under a path from now on; the URL of it.
    pub fn tell(&self, path: &str, told: Told) -> String {
        self.shared.inner.lock().unwrap().told.insert(path.to_owned(), told);
        format!("{}{path}", self.url())
    }

    /// Which paths have been asked for since the last time this was asked.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.inner.lock().unwrap().asked)
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

async fn handle(State(shared): State<Shared>, headers: HeaderMap, uri: Uri) -> axum::response::Response {
    let mut inner = shared.inner.lock().unwrap();
    inner.asked.push(uri.path().to_owned());
    let issuer = format!("https://127.0.0.1:{}", shared.port);
    let answer = http::Response::builder();
    let (answer, text) = match uri.path() {
        _ if inner.down => (answer.status(StatusCode::SERVICE_UNAVAILABLE), String::new()),
        "/.well-known/openid-configuration" => {
            (answer, json!({ "issuer": issuer, "jwks_uri": format!("{issuer}/keys") }).to_string())
        }
        "/keys" => (answer, json!({ "keys": [inner.key.jwk()] }).to_string()),
        path => match inner.told.get(path) {
            Some(Told::Text(text)) => (answer, text.clone()),
            Some(Told::Secret(token, text)) => {
                let shown = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
                let known = shown == Some(&format!("Bearer {token}"));
                (answer.status(if known { StatusCode::OK } else { StatusCode::UNAUTHORIZED }), text.clone())
            }
            Some(Told::At(url)) => (answer.status(StatusCode::FOUND).header(LOCATION, url), String::new()),
            None => (answer.status(StatusCode::NOT_FOUND), String::new()),
        },
    };
    answer.body(axum::body::Body::from(text)).unwrap()
}
