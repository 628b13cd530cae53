//! Whether a certificate and a key, both PEM, belong together: Go's `tls.X509KeyPair`, whose words Secrets of type
//! `kubernetes.io/tls` are warned in.

use rcgen::{KeyPair, PublicKeyData};
use rustls::pki_types::PrivateKeyDer;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What is wrong with the pair. Of a key that only Go reads (P-521, short RSA keys) nothing is said.
#[must_use]
pub fn complaint(certificate: &[u8], key: &[u8]) -> Option<String> {
    check(certificate, key).err()
}

fn check(certificate: &[u8], key: &[u8]) -> Result<(), String> {
    let mut skipped = Vec::new();
    let certificate = find(certificate, |label| label == "CERTIFICATE", &mut skipped).ok_or_else(|| match &skipped[..] {
        [] => "tls: failed to find any PEM data in certificate input".to_owned(),
        [one] if one.ends_with("PRIVATE KEY") => "tls: failed to find certificate PEM data in certificate input, but did \
                                                  find a private key; PEM inputs may have been switched"
            .to_owned(),
        types => format!(
            "tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the following \
             types: [{}]",
            types.join(" ")
        ),
    })?;
    skipped.clear();
    let is_key = |label: &str| label == "PRIVATE KEY" || label.ends_with(" PRIVATE KEY");
    let key = find(key, is_key, &mut skipped).ok_or_else(|| match &skipped[..] {
        [] => "tls: failed to find any PEM data in key input".to_owned(),
        [one] if one == "CERTIFICATE" => "tls: found a certificate rather than a key in the PEM for the private key".to_owned(),
        types => format!(
            "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks of the \
             following types: [{}]",
            types.join(" ")
        ),
    })?;
    let (_, certificate) =
        X509Certificate::from_der(&certificate).map_err(|_| "x509: malformed certificate".to_owned())?;
    let unreadable = || "tls: failed to parse private key".to_owned();
    let key = PrivateKeyDer::try_from(key).map_err(|_| unreadable())?;
    let Ok(key) = KeyPair::try_from(&key) else {
        // What is no DER at all nobody reads.
        let der = x509_parser::der_parser::parse_der(key.secret_der());
        return if der.is_ok() { Ok(()) } else { Err(unreadable()) };
    };
    let (public, own) = (certificate.public_key(), key.subject_public_key_info());
    if public.raw == own {
        return Ok(());
    }
    let algorithm = |info: &[u8]| {
        let (_, info) = x509_parser::x509::SubjectPublicKeyInfo::from_der(info).ok()?;
        Some(info.algorithm.algorithm.to_id_string())
    };
    Err(if algorithm(public.raw) == algorithm(&own) {
        "tls: private key does not match public key".to_owned()
    } else {
        "tls: private key type does not match public key type".to_owned()
    })
}

/// The contents of the first block that is wanted; the labels of those before it go to `skipped`.
fn find(pem: &[u8], wanted: impl Fn(&str) -> bool, skipped: &mut Vec<String>) -> Option<Vec<u8>> {
    for block in Pem::iter_from_buffer(pem) {
        let block = block.ok()?;
        if wanted(&block.label) {
            return Some(block.contents);
        }
        skipped.push(block.label);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_and_keys_belong_together() {
        let one = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
        let (certificate, key) = (one.cert.pem(), one.signing_key.serialize_pem());
        let other = KeyPair::generate().unwrap().serialize_pem();
        let edwards = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
        let block = |label: &str| format!("-----BEGIN {label}-----\nMAA=\n-----END {label}-----\n");
        let both = format!("{key}{certificate}");
        for (certificate, key, expected) in [
            (&certificate, &key, None),
            (&both, &key, None),
            (&certificate, &other, Some("tls: private key does not match public key")),
            (&certificate, &edwards, Some("tls: private key type does not match public key type")),
            (&"x".to_owned(), &key, Some("tls: failed to find any PEM data in certificate input")),
            (&certificate, &String::new(), Some("tls: failed to find any PEM data in key input")),
            (
                &key,
                &certificate,
                Some(
                    "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs \
                     may have been switched",
                ),
            ),
            (
                &certificate,
                &certificate,
                Some("tls: found a certificate rather than a key in the PEM for the private key"),
            ),
            (
                &block("X"),
                &key,
                Some(
                    "tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the \
                     following types: [X]",
                ),
            ),
            (&block("CERTIFICATE"), &key, Some("x509: malformed certificate")),
        ] {
            assert_eq!(complaint(certificate.as_bytes(), key.as_bytes()).as_deref(), expected, "{certificate} {key}");
        }
    }
}
