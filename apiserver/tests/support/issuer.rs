//! An OpenID Connect issuer: TLS on a loopback port, a key it can exchange, and a switch to be away.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::{StatusCode, Uri};
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
        let open = Port::open(&["127.0.0.1"]);
        let (port, ca) = (open.number, open.certificate.clone());
        let inner = Inner { key: Key::new("k0"), rotations: 0, down: false };
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
