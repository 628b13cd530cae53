//! Certificates: from kubernetes.io/tls Secrets, and the self-made default.
//!
//! A pair is checked before nginx sees it, for one unreadable file would make nginx refuse the whole configuration.

use base64::Engine;
use k8s_openapi::api::core::v1::Secret;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};

use super::model::Certificate;

/// The pair in `secret`, checked.
///
/// # Errors
/// A message for the Ingress's owner that says what is missing or wrong.
pub fn from_secret(secret: &Secret) -> Result<Certificate, String> {
    let read = |name: &str| {
        let data = secret.data.as_ref().and_then(|data| data.get(name));
        let bytes = data.ok_or_else(|| format!("it has no {name}"))?;
        String::from_utf8(bytes.0.clone()).map_err(|_| format!("its {name} is not PEM"))
    };
    let certificate = Certificate { chain: read("tls.crt")?, key: read("tls.key")? };
    check(&certificate)?;
    Ok(certificate)
}

fn check(certificate: &Certificate) -> Result<(), String> {
    let chain = CertificateDer::pem_slice_iter(certificate.chain.as_bytes()).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| format!("its tls.crt cannot be read: {error}"))?;
    if chain.is_empty() {
        return Err("its tls.crt holds no certificate".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes())
        .map_err(|error| format!("its tls.key cannot be read: {error}"))?;
    let key = rustls::crypto::ring::sign::any_supported_type(&key)
        .map_err(|error| format!("its tls.key cannot be used: {error}"))?;
    CertifiedKey::new(chain, key).keys_match().map_err(|_| "its tls.crt and tls.key do not belong together".to_owned())
}

/// The file stem for a certificate: readable, and different for different content.
pub fn stem(name: &str, certificate: &Certificate) -> String {
    let digest = Sha256::new().chain_update(&certificate.chain).chain_update(&certificate.key).finalize();
    let hash = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&digest[..9]);
    format!("{name}-{hash}")
}

/// A new self-signed certificate for hosts without a Secret.
///
/// # Errors
/// When no key can be made.
pub fn self_made() -> Result<Certificate, rcgen::Error> {
    let key = rcgen::KeyPair::generate()?;
    let mut params = rcgen::CertificateParams::new(vec!["ingress.local".to_owned()])?;
    // ingress-nginx's own subject, so that `openssl s_client` reads the same.
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "Acme Co");
    params.distinguished_name.push(rcgen::DnType::CommonName, "Kubernetes Ingress Controller Fake Certificate");
    let chain = params.self_signed(&key)?.pem();
    Ok(Certificate { chain, key: key.serialize_pem() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;

    fn secret(chain: &str, key: &str) -> Secret {
        let entry = |name: &str, text: &str| (name.to_owned(), ByteString(text.as_bytes().to_vec()));
        Secret { data: Some([entry("tls.crt", chain), entry("tls.key", key)].into()), ..Secret::default() }
    }

    #[test]
    fn a_pair_must_be_there_be_readable_and_belong_together() {
        let (one, two) = (self_made().unwrap(), self_made().unwrap());
        assert!(from_secret(&secret(&one.chain, &one.key)).is_ok());
        assert!(from_secret(&secret(&one.chain, &two.key)).unwrap_err().contains("belong together"));
        assert!(from_secret(&secret("nonsense", &one.key)).unwrap_err().contains("tls.crt"));
        assert!(from_secret(&secret(&one.chain, "nonsense")).unwrap_err().contains("tls.key"));
        assert!(from_secret(&Secret::default()).unwrap_err().contains("no tls.crt"));
    }
}
