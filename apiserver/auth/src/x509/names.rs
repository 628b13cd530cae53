//! Which of several certificates a client gets: that of the name it asks for (SNI), or the usual one.

use std::sync::Arc;

use anyhow::Context;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Named;

#[derive(Debug)]
pub struct ByName {
    usual: Arc<CertifiedKey>,
    /// By names in lower case, in the flags' order.
    named: Vec<(Vec<String>, Arc<CertifiedKey>)>,
}

impl ByName {
    pub fn new(provider: &CryptoProvider, usual: (&[u8], &[u8]), named: &[Named]) -> anyhow::Result<Self> {
        let usual = certified(provider, usual.0, usual.1)?;
        let named = named.iter().map(|pair| {
            let key = certified(provider, &pair.certificate, &pair.key)?;
            let names = if pair.names.is_empty() { names_of(&key)? } else { pair.names.clone() };
            Ok((names.iter().map(|name| name.to_ascii_lowercase()).collect(), key))
        });
        Ok(Self { usual, named: named.collect::<anyhow::Result<_>>()? })
    }

    /// Exact names come before what is below others.
    fn find(&self, asked: &str) -> &Arc<CertifiedKey> {
        let asked = asked.to_ascii_lowercase();
        let below = asked.split_once('.').map(|(_, rest)| format!("*.{rest}"));
        let of = |name: &String| self.named.iter().find(|(names, _)| names.contains(name)).map(|(_, key)| key);
        of(&asked).or_else(|| below.as_ref().and_then(of)).unwrap_or(&self.usual)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.find(hello.server_name().unwrap_or_default()).clone())
    }
}

fn certified(provider: &CryptoProvider, certificate: &[u8], key: &[u8]) -> anyhow::Result<Arc<CertifiedKey>> {
    let chain = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<Vec<_>, _>>()
        .context("read the server's certificate")?;
    let key = PrivateKeyDer::from_pem_slice(key).context("read the server's key")?;
    let pair = CertifiedKey::from_der(chain, key, provider).context("use the server's certificate and key")?;
    Ok(Arc::new(pair))
}

/// The names a certificate is for.
fn names_of(key: &CertifiedKey) -> anyhow::Result<Vec<String>> {
    let own = key.end_entity_cert().context("read the server's certificate")?;
    let (_, certificate) = X509Certificate::from_der(own).context("read the server's certificate")?;
    let alternative = certificate.subject_alternative_name().context("read the server's certificate")?;
    let names = alternative.into_iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    });
    Ok(names.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_found_by_name() {
        let make = |name: &str| {
            let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
            (made.cert.pem().into_bytes(), made.signing_key.serialize_pem().into_bytes())
        };
        let named = |(certificate, key): (Vec<u8>, Vec<u8>), names: &[&str]| Named {
            certificate,
            key,
            names: names.iter().map(|&name| name.to_owned()).collect(),
        };
        let (usual, own, given) = (make("usual.io"), make("own.io"), make("other.io"));
        let provider = rustls::crypto::ring::default_provider();
        let pairs = [named(own, &[]), named(given, &["*.below.io", "Exact.below.io"])];
        let certificates = ByName::new(&provider, (&usual.0, &usual.1), &pairs).unwrap();
        let found = |name: &str| {
            let key = certificates.find(name);
            certificates.named.iter().position(|(_, known)| Arc::ptr_eq(known, key))
        };
        for (name, expected) in [
            ("usual.io", None),
            ("", None),
            ("own.io", Some(0)),
            ("OWN.io", Some(0)),
            ("x.own.io", None),
            ("a.below.io", Some(1)),
            ("exact.below.io", Some(1)),
            ("a.b.below.io", None),
            ("other.io", None),
        ] {
            assert_eq!(found(name), expected, "{name}");
        }
    }
}
