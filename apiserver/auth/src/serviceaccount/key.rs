//! Keys of ServiceAccount tokens: RSA and P-256, from PEM.

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, KeyPair, RsaKeyPair, UnparsedPublicKey};
use rustls::pki_types::pem::{PemObject, SectionKind};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo};
use x509_parser::public_key::PublicKey as ParsedKey;

/// The DER of `SubjectPublicKeyInfo` before the point of a P-256 key: both lengths are fixed.
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// `AlgorithmIdentifier` of RSA: the object identifier rsaEncryption, and NULL.
const RSA_ALGORITHM: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
/// An uncompressed point: tag, x, y.
const P256_POINT: usize = 1 + 32 + 32;

/// The algorithms: RS256 and ES256.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Material {
    /// PKCS#1 `RSAPublicKey`.
    Rsa(Vec<u8>),
    /// An uncompressed point.
    P256(Vec<u8>),
}

/// A key that verifies tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    material: Material,
    id: String,
}

impl PublicKey {
    /// All keys of a file: public ones, and the public halves of private ones.
    ///
    /// # Errors
    /// A key cannot be read or is of another kind, or there is none.
    pub fn all_from_pem(pem: &[u8]) -> anyhow::Result<Vec<Self>> {
        let mut keys = Vec::new();
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
            match section.context("read a PEM file")? {
                (SectionKind::PublicKey, der) => keys.push(Self::from_spki(&der)?),
                (SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey, _) => {
                    keys.push(SigningKey::from_pem(pem)?.public_key());
                }
                _ => {}
            }
        }
        ensure!(!keys.is_empty(), "there is no key in the file");
        Ok(keys)
    }

    fn from_spki(der: &[u8]) -> anyhow::Result<Self> {
        let (_, info) = SubjectPublicKeyInfo::from_der(der).context("read a public key")?;
        let bits = info.subject_public_key.data.to_vec();
        match info.parsed().context("read a public key")? {
            ParsedKey::RSA(_) => Ok(Self::new(Material::Rsa(bits))),
            ParsedKey::EC(_) if bits.len() == P256_POINT => Ok(Self::new(Material::P256(bits))),
            _ => bail!("a public key is neither RSA nor P-256"),
        }
    }

    fn new(material: Material) -> Self {
        let spki = match &material {
            Material::P256(point) => [&P256_PREFIX, &**point].concat(),
            Material::Rsa(key) => {
                let bits = der(0x03, &[&[0][..], key].concat());
                der(0x30, &[&RSA_ALGORITHM[..], &bits].concat())
            }
        };
        // Upstream's key id, so that tokens made by either side name the same key.
        let id = URL_SAFE_NO_PAD.encode(Sha256::digest(spki));
        Self { material, id }
    }

    /// The hash of the key that tokens name it by (`kid`).
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The JWT algorithm.
    pub fn algorithm(&self) -> &'static str {
        match self.material {
            Material::Rsa(_) => "RS256",
            Material::P256(_) => "ES256",
        }
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let result = match &self.material {
            Material::Rsa(key) => {
                UnparsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, key).verify(message, signature)
            }
            Material::P256(key) => {
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, key).verify(message, signature)
            }
        };
        result.is_ok()
    }

    /// The key as JSON web key.
    pub(super) fn jwk(&self) -> anyhow::Result<serde_json::Value> {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = match &self.material {
            Material::P256(point) => serde_json::json!({
                "kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..]),
            }),
            Material::Rsa(key) => {
                let (_, key) = x509_parser::der_parser::parse_der(key).context("read an RSA key")?;
                let numbers = key.as_sequence().context("read an RSA key")?;
                let number = |at: usize| -> anyhow::Result<String> {
                    let bytes =
                        numbers.get(at).context("an RSA key is cut off")?.as_slice().context("read an RSA key")?;
                    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
                    Ok(encode(&bytes[zeros..]))
                };
                serde_json::json!({"kty": "RSA", "n": number(0)?, "e": number(1)?})
            }
        };
        jwk["use"] = "sig".into();
        jwk["kid"] = self.id.clone().into();
        jwk["alg"] = self.algorithm().into();
        Ok(jwk)
    }
}

/// One DER element.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    let mut out = vec![tag];
    if content.len() >= 0x80 {
        out.push(0x80 | length.len() as u8);
    }
    out.extend_from_slice(if content.is_empty() { &[0] } else { length });
    out.extend_from_slice(content);
    out
}

/// A P-256 key of the older form (SEC 1 `ECPrivateKey`, as `openssl ecparam -genkey` writes it) as PKCS#8. One of another curve
/// is none after that.
fn pkcs8(sec1: &[u8]) -> Vec<u8> {
    /// The version, and the `AlgorithmIdentifier` that [`P256_PREFIX`] has behind its first two bytes.
    const VERSION: [u8; 3] = [0x02, 0x01, 0x00];
    der(0x30, &[&VERSION[..], &P256_PREFIX[2..23], &der(0x04, sec1)].concat())
}

/// A key that signs tokens.
pub struct SigningKey {
    pair: Pair,
    public: PublicKey,
    random: SystemRandom,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    P256(Box<EcdsaKeyPair>),
}

impl SigningKey {
    /// The first private key of a file: PKCS#8, PKCS#1 for RSA, or SEC 1 for P-256.
    ///
    /// # Errors
    /// There is none, or it is of another kind.
    pub fn from_pem(pem: &[u8]) -> anyhow::Result<Self> {
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
            match section.context("read a PEM file")? {
                (SectionKind::PrivateKey, der) => return Self::from_pkcs8(&der),
                (SectionKind::RsaPrivateKey, der) => return Self::rsa(RsaKeyPair::from_der(&der)),
                (SectionKind::EcPrivateKey, der) => return Self::from_pkcs8(&pkcs8(&der)),
                _ => {}
            }
        }
        bail!("there is no private key in the file")
    }

    fn from_pkcs8(der: &[u8]) -> anyhow::Result<Self> {
        let random = SystemRandom::new();
        let Ok(pair) = EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, der, &random) else {
            return Self::rsa(RsaKeyPair::from_pkcs8(der));
        };
        let public = PublicKey::new(Material::P256(pair.public_key().as_ref().to_vec()));
        Ok(Self { pair: Pair::P256(Box::new(pair)), public, random })
    }

    fn rsa(pair: Result<RsaKeyPair, ring::error::KeyRejected>) -> anyhow::Result<Self> {
        let pair = pair.map_err(|error| anyhow::anyhow!("the key is neither P-256 nor a usable RSA key: {error}"))?;
        let public = PublicKey::new(Material::Rsa(pair.public_key().as_ref().to_vec()));
        Ok(Self { pair: Pair::Rsa(Box::new(pair)), public, random: SystemRandom::new() })
    }

    pub fn public_key(&self) -> PublicKey {
        self.public.clone()
    }

    pub(super) fn sign(&self, message: &[u8]) -> anyhow::Result<Vec<u8>> {
        let failed = |_| anyhow::anyhow!("signing failed");
        match &self.pair {
            Pair::P256(pair) => Ok(pair.sign(&self.random, message).map_err(failed)?.as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &self.random, message, &mut signature).map_err(failed)?;
                Ok(signature)
            }
        }
    }
}
