//! JSON web signatures of others, and the key sets they publish (RFC 7515, 7517, 7518): RSA and ECDSA.
//!
//! ```text
//!  token ── Signed::parse ──> algorithm, key id, payload ── KeySet::verifies ──> whether to believe the payload
//! ```

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p521::ecdsa::signature::Verifier;
use ring::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm};
use serde::Deserialize;

/// What tokens may be signed with.
pub const ALGORITHMS: [&str; 9] = ["ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"];

/// A longer token is none. Those with somebody's claims from elsewhere are long: that is why the claims are there.
const MAX_TOKEN: usize = 1024 * 1024;
/// A set has a few keys; nobody needs more than this.
const MAX_KEYS: usize = 256;

static RSA: [(&str, &RsaParameters); 6] = [
    ("RS256", &signature::RSA_PKCS1_2048_8192_SHA256),
    ("RS384", &signature::RSA_PKCS1_2048_8192_SHA384),
    ("RS512", &signature::RSA_PKCS1_2048_8192_SHA512),
    ("PS256", &signature::RSA_PSS_2048_8192_SHA256),
    ("PS384", &signature::RSA_PSS_2048_8192_SHA384),
    ("PS512", &signature::RSA_PSS_2048_8192_SHA512),
];

/// A curve, and the one algorithm that keys on it sign with (RFC 7518, 3.4).
struct Curve {
    name: &'static str,
    algorithm: &'static str,
    /// The length of a coordinate; a signature is two such numbers.
    width: usize,
    /// Whether the owner of this uncompressed point has signed a message.
    verifies: fn(point: &[u8], message: &[u8], signature: &[u8]) -> bool,
}

static CURVES: [Curve; 3] = [
    Curve {
        name: "P-256",
        algorithm: "ES256",
        width: 32,
        verifies: |point, message, signature| by_ring(&signature::ECDSA_P256_SHA256_FIXED, point, message, signature),
    },
    Curve {
        name: "P-384",
        algorithm: "ES384",
        width: 48,
        verifies: |point, message, signature| by_ring(&signature::ECDSA_P384_SHA384_FIXED, point, message, signature),
    },
    Curve { name: "P-521", algorithm: "ES512", width: 66, verifies: p521_sha512 },
];

fn by_ring(algorithm: &'static dyn VerificationAlgorithm, point: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(algorithm, point).verify(message, signature).is_ok()
}

/// ring knows no P-521.
fn p521_sha512(point: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(point);
    let signature = p521::ecdsa::Signature::from_slice(signature);
    key.and_then(|key| key.verify(message, &signature?)).is_ok()
}

/// A token in three parts, its signature not yet judged.
#[derive(Clone, Debug)]
pub struct Signed<'a> {
    pub algorithm: String,
    /// Empty: any key may be the right one.
    pub key_id: String,
    pub payload: Vec<u8>,
    message: &'a [u8],
    signature: Vec<u8>,
}

impl<'a> Signed<'a> {
    /// # Errors
    /// It is no such token.
    pub fn parse(token: &'a str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Header {
            alg: String,
            #[serde(default)]
            kid: String,
        }
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|error| error.to_string());
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err("compact JWS format must have three parts".to_owned());
        };
        if token.len() > MAX_TOKEN {
            return Err(format!("it has more than {MAX_TOKEN} bytes"));
        }
        let message = &token.as_bytes()[..header.len() + 1 + payload.len()];
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|error| error.to_string())?;
        let (payload, signature) = (decode(payload)?, decode(signature)?);
        Ok(Self { algorithm: header.alg, key_id: header.kid, payload, message, signature })
    }
}

/// The `iss` of a token, which nobody has vouched for: good only to choose who is to judge it.
#[must_use]
pub fn unverified_issuer(token: &str) -> Option<String> {
    issuer_of(token).ok().filter(|issuer| !issuer.is_empty())
}

/// The same, empty where there is none.
///
/// # Errors
/// It is no token; in upstream's words.
pub fn issuer_of(token: &str) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Claims {
        #[serde(default)]
        iss: String,
    }
    let mut parts = token.split('.');
    let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err("malformed token".to_owned());
    };
    if token.len() > MAX_TOKEN {
        return Err(format!("it has more than {MAX_TOKEN} bytes"));
    }
    let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|error| format!("error decoding token: {error}"))?;
    let claims: Claims =
        serde_json::from_slice(&payload).map_err(|error| format!("while unmarshaling token: {error}"))?;
    Ok(claims.iss)
}

enum Material {
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
    /// An uncompressed point on the curve.
    Ecdsa(&'static Curve, Vec<u8>),
}

/// A published set of keys.
#[derive(Default)]
pub struct KeySet(Vec<(String, Material)>);

impl KeySet {
    /// Reads a `jwks` document. Keys of other kinds are passed over.
    ///
    /// # Errors
    /// It is none, or has too many keys.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Key>,
        }
        #[derive(Deserialize)]
        #[serde(default)]
        #[derive(Default)]
        struct Key {
            kty: String,
            kid: String,
            crv: String,
            n: String,
            e: String,
            x: String,
            y: String,
        }
        let set: Set = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if set.keys.len() > MAX_KEYS {
            return Err(format!("there are more than {MAX_KEYS} keys"));
        }
        let mut keys = Vec::new();
        for key in set.keys {
            let number =
                |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|error| format!("key {:?}: {error}", key.kid));
            let material = match key.kty.as_str() {
                "RSA" => {
                    let trimmed = |mut bytes: Vec<u8>| {
                        bytes.drain(..bytes.iter().take_while(|byte| **byte == 0).count());
                        bytes
                    };
                    Material::Rsa(RsaPublicKeyComponents { n: trimmed(number(&key.n)?), e: trimmed(number(&key.e)?) })
                }
                "EC" => {
                    let Some(curve) = CURVES.iter().find(|curve| curve.name == key.crv) else { continue };
                    let (x, y) = (number(&key.x)?, number(&key.y)?);
                    if x.len() != curve.width || y.len() != curve.width {
                        return Err(format!("key {:?} has coordinates of a wrong length", key.kid));
                    }
                    Material::Ecdsa(curve, [&[4][..], &x, &y].concat())
                }
                _ => continue,
            };
            keys.push((key.kid, material));
        }
        Ok(Self(keys))
    }

    /// Whether one of the keys that the token names, or any where it names none, has signed it.
    #[must_use]
    pub fn verifies(&self, token: &Signed<'_>) -> bool {
        let named = self.0.iter().filter(|(id, _)| token.key_id.is_empty() || *id == token.key_id);
        named.into_iter().any(|(_, material)| material.verifies(token))
    }
}

impl Material {
    fn verifies(&self, token: &Signed<'_>) -> bool {
        match self {
            Self::Rsa(key) => {
                let row = RSA.iter().find(|(name, _)| *name == token.algorithm);
                row.is_some_and(|(_, parameters)| key.verify(parameters, token.message, &token.signature).is_ok())
            }
            Self::Ecdsa(curve, point) => {
                curve.algorithm == token.algorithm && (curve.verifies)(point, token.message, &token.signature)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PublicKeyData, SigningKey};
    use ring::rand::SystemRandom;
    use ring::signature::{RsaEncoding, RsaKeyPair};
    use rustls::pki_types::PrivatePkcs8KeyDer;
    use rustls::pki_types::pem::PemObject;
    use serde_json::{Value, json};

    use super::*;

    fn encode(bytes: impl AsRef<[u8]>) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn message(algorithm: &str, id: &str) -> String {
        let header = json!({"alg": algorithm, "kid": id}).to_string();
        format!("{}.{}", encode(header), encode(r#"{"iss":"https://a"}"#))
    }

    /// r and s of rcgen's ASN.1, each as wide as a coordinate.
    fn fixed(der: &[u8], width: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let mut at = 2;
        for _ in 0..2 {
            let length = usize::from(der[at + 1]);
            let number = &der[at + 2..at + 2 + length];
            let number = &number[number.iter().take_while(|byte| **byte == 0).count()..];
            out.extend(std::iter::repeat_n(0, width - number.len()));
            out.extend_from_slice(number);
            at += 2 + length;
        }
        out
    }

    type Sign = Box<dyn Fn(&[u8]) -> Vec<u8>>;

    /// For a curve: an uncompressed point, and how its owner signs.
    fn owner(curve: &Curve) -> (Vec<u8>, Sign) {
        if curve.name == "P-521" {
            use p521::ecdsa::signature::Signer;
            // Any number below the curve's order, which begins with 0x01ff, will do.
            let mut secret = [0; 66];
            ring::rand::SecureRandom::fill(&SystemRandom::new(), &mut secret[1..]).unwrap();
            let key = p521::ecdsa::SigningKey::from_slice(&secret).unwrap();
            let point = key.verifying_key().to_sec1_point(false).as_bytes().to_vec();
            let sign = move |message: &[u8]| {
                let signature: p521::ecdsa::Signature = key.sign(message);
                signature.to_bytes().to_vec()
            };
            return (point, Box::new(sign));
        }
        let kind = if curve.width == 32 { &PKCS_ECDSA_P256_SHA256 } else { &PKCS_ECDSA_P384_SHA384 };
        let (pair, width) = (KeyPair::generate_for(kind).unwrap(), curve.width);
        (pair.der_bytes().to_vec(), Box::new(move |message| fixed(&pair.sign(message).unwrap(), width)))
    }

    #[test]
    fn elliptic_curves() {
        for curve in &CURVES {
            let Curve { algorithm, width, .. } = *curve;
            let ((point, sign), (_, other)) = (owner(curve), owner(curve));
            let key = |x: &[u8], y: &[u8]| json!({"kty": "EC", "kid": "k", "crv": curve.name, "x": encode(x), "y": encode(y)});
            let published = |key: Value| json!({"keys": [{"kty": "oct", "k": "x"}, key]}).to_string();
            let (x, y) = (&point[1..=width], &point[1 + width..]);
            let set = KeySet::parse(published(key(x, y)).as_bytes()).unwrap();
            let signed = |message: String| format!("{message}.{}", encode(sign(message.as_bytes())));
            let verifies = |token: &str| set.verifies(&Signed::parse(token).unwrap());
            let good = signed(message(algorithm, "k"));
            assert_eq!(unverified_issuer(&good).as_deref(), Some("https://a"));
            assert!(verifies(&good) && verifies(&signed(message(algorithm, ""))), "{algorithm}");
            assert!(!verifies(&signed(message(algorithm, "other"))), "another key is named");
            for wrong in ALGORITHMS.iter().chain(&["none", "EdDSA"]).filter(|wrong| **wrong != algorithm) {
                assert!(!verifies(&signed(message(wrong, "k"))), "{wrong} by a key on {}", curve.name);
            }
            let (_, signature) = good.rsplit_once('.').unwrap();
            assert!(!verifies(&format!("{}.{signature}", message(algorithm, ""))), "another message");
            let message = message(algorithm, "k");
            let with = |signature: &[u8]| verifies(&format!("{message}.{}", encode(signature)));
            let signature = sign(message.as_bytes());
            assert!(with(&signature) && !with(&other(message.as_bytes())), "another key");
            let longer = [&signature[..], &[0]].concat();
            let zero = vec![0; 2 * width];
            for (why, bad) in [
                ("nothing", &[][..]),
                ("half", &signature[..width]),
                ("truncated", &signature[..2 * width - 1]),
                ("longer", &longer),
                ("zeros", &zero),
            ] {
                assert!(!with(bad), "{algorithm}: {why}");
            }
            let elsewhere = KeySet::parse(published(key(y, x)).as_bytes()).unwrap();
            assert!(!elsewhere.verifies(&Signed::parse(&good).unwrap()), "a point that is not on the curve");
            assert!(KeySet::parse(published(key(x, &y[1..])).as_bytes()).is_err(), "half a point");
        }
    }

    #[test]
    fn rsa() {
        let made = std::process::Command::new("openssl").args(["genpkey", "-algorithm", "RSA"]).output();
        let Ok(made) = made else {
            eprintln!("SKIPPED: openssl is not installed");
            return;
        };
        let key = PrivatePkcs8KeyDer::from_pem_slice(&made.stdout).unwrap();
        let pair = RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).unwrap();
        let public: RsaPublicKeyComponents<Vec<u8>> = pair.public().into();
        let key =
            json!({"kty": "RSA", "kid": "r", "n": encode([&[0][..], &public.n].concat()), "e": encode(&public.e)});
        let set = KeySet::parse(json!({"keys": [key]}).to_string().as_bytes()).unwrap();
        let rows: [(&str, &dyn RsaEncoding); 6] = [
            ("RS256", &signature::RSA_PKCS1_SHA256),
            ("RS384", &signature::RSA_PKCS1_SHA384),
            ("RS512", &signature::RSA_PKCS1_SHA512),
            ("PS256", &signature::RSA_PSS_SHA256),
            ("PS384", &signature::RSA_PSS_SHA384),
            ("PS512", &signature::RSA_PSS_SHA512),
        ];
        for (algorithm, encoding) in rows {
            let message = message(algorithm, "r");
            let mut bytes = vec![0; pair.public().modulus_len()];
            pair.sign(encoding, &SystemRandom::new(), message.as_bytes(), &mut bytes).unwrap();
            let token = format!("{message}.{}", encode(&bytes));
            assert!(set.verifies(&Signed::parse(&token).unwrap()), "{algorithm}");
            let verifies = |message: &str, signature: &[u8]| {
                set.verifies(&Signed::parse(&format!("{message}.{}", encode(signature))).unwrap())
            };
            assert!(
                !verifies(&message, &bytes[..bytes.len() - 1]) && !verifies(&message, &[]),
                "{algorithm}: truncated"
            );
            for (wrong, _) in rows.iter().filter(|(wrong, _)| *wrong != algorithm) {
                assert!(!verifies(&self::message(wrong, "r"), &bytes), "{algorithm} as {wrong}");
            }
            bytes[9] ^= 1;
            assert!(!verifies(&message, &bytes), "{algorithm}");
        }
    }

    #[test]
    fn what_is_no_token_or_key() {
        for bad in ["", "a.b", "a.b.c", "a.b.c.d", "e30.e30.e30"] {
            assert!(Signed::parse(bad).is_err(), "{bad}");
            assert_eq!(unverified_issuer(bad), None, "{bad}");
        }
        let many: Vec<Value> = (0..=MAX_KEYS).map(|_| json!({"kty": "RSA"})).collect();
        for bad in
            [json!({}), json!({"keys": many}), json!({"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]})]
        {
            assert!(KeySet::parse(bad.to_string().as_bytes()).is_err());
        }
    }
}
