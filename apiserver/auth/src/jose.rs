//! JSON web signatures of others, and the key sets they publish (RFC 7515, 7517, 7518): RSA and ECDSA.
//!
//! ```text
//!  token ── Signed::parse ──> algorithm, key id, payload ── KeySet::verifies ──> whether to believe the payload
//! ```

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm};
use serde::Deserialize;

/// What tokens may be signed with. ES512 is missing, for ring knows no P-521.
pub const ALGORITHMS: [&str; 8] = ["ES256", "ES384", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"];

/// A longer token is none.
const MAX_TOKEN: usize = 64 * 1024;
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

/// Curve, algorithm, the length of a coordinate.
static ECDSA: [(&str, &str, &dyn VerificationAlgorithm, usize); 2] = [
    ("P-256", "ES256", &signature::ECDSA_P256_SHA256_FIXED, 32),
    ("P-384", "ES384", &signature::ECDSA_P384_SHA384_FIXED, 48),
];

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
    #[derive(Deserialize)]
    struct Claims {
        iss: String,
    }
    let mut parts = token.split('.');
    let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return None;
    };
    if token.len() > MAX_TOKEN {
        return None;
    }
    Some(serde_json::from_slice::<Claims>(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?.iss)
}

#[derive(Debug)]
enum Material {
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
    /// The curve's row, and an uncompressed point.
    Ecdsa(usize, Vec<u8>),
}

/// A published set of keys.
#[derive(Debug, Default)]
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
                    let Some(row) = ECDSA.iter().position(|(curve, ..)| *curve == key.crv) else { continue };
                    let (x, y) = (number(&key.x)?, number(&key.y)?);
                    let length = ECDSA[row].3;
                    if x.len() != length || y.len() != length {
                        return Err(format!("key {:?} has coordinates of a wrong length", key.kid));
                    }
                    Material::Ecdsa(row, [&[4][..], &x, &y].concat())
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
            Self::Ecdsa(row, point) => {
                let (_, name, algorithm, _) = ECDSA[*row];
                let key = UnparsedPublicKey::new(algorithm, point);
                name == token.algorithm && key.verify(token.message, &token.signature).is_ok()
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

    #[test]
    fn elliptic_curves() {
        for (kind, curve, algorithm, width) in
            [(&PKCS_ECDSA_P256_SHA256, "P-256", "ES256", 32), (&PKCS_ECDSA_P384_SHA384, "P-384", "ES384", 48)]
        {
            let pair = KeyPair::generate_for(kind).unwrap();
            let point = pair.der_bytes();
            let (x, y) = (encode(&point[1..=width]), encode(&point[1 + width..]));
            let key = json!({"kty": "EC", "kid": "k", "crv": curve, "x": x, "y": y});
            let set = KeySet::parse(json!({"keys": [{"kty": "oct", "k": "x"}, key]}).to_string().as_bytes()).unwrap();
            let sign = |message: String| {
                format!("{message}.{}", encode(fixed(&pair.sign(message.as_bytes()).unwrap(), width)))
            };
            let verifies = |token: &str| set.verifies(&Signed::parse(token).unwrap());
            let good = sign(message(algorithm, "k"));
            assert_eq!(unverified_issuer(&good).as_deref(), Some("https://a"));
            assert!(verifies(&good) && verifies(&sign(message(algorithm, ""))));
            assert!(!verifies(&sign(message(algorithm, "other"))), "another key is named");
            assert!(!verifies(&sign(message("RS256", "k"))) && !verifies(&sign(message("none", "k"))));
            let (_, signature) = good.rsplit_once('.').unwrap();
            assert!(!verifies(&format!("{}.{signature}", message(algorithm, ""))), "another message");
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
            bytes[9] ^= 1;
            let token = format!("{message}.{}", encode(&bytes));
            assert!(!set.verifies(&Signed::parse(&token).unwrap()), "{algorithm}");
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
