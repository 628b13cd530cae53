//! TLS and client certificates.
//!
//! As upstream, the handshake asks for a client certificate but does not judge it: the certificate is verified when the
//! request is authenticated, so that a bad one (expired, of another authority) is answered with 401 and no certificate at
//! all means an anonymous user. That the client holds the certificate's key is always verified in the handshake.

mod names;
mod suites;

use crate::user::UserInfo;
use anyhow::Context;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};
use x509_parser::x509::AttributeTypeAndValue;

/// A presented certificate is not one of ours.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("verifying certificate failed: {0}")]
    Untrusted(#[from] rustls::Error),
    #[error("the certificate cannot be read: {0}")]
    Unreadable(String),
    #[error("the certificate has no common name")]
    NoName,
}

/// Judges client certificates against the authorities of `--client-ca-file`.
#[derive(Clone, Debug)]
pub struct ClientAuthority(Arc<dyn ClientCertVerifier>);

impl ClientAuthority {
    /// # Errors
    /// No usable certificate in `ca_pem`.
    pub fn from_pem(ca_pem: &[u8]) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca_pem) {
            roots.add(certificate.context("read a certificate authority")?).context("use a certificate authority")?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(provider()))
            .build()
            .context("no certificate authority for clients")?;
        Ok(Self(verifier))
    }

    /// Who presented `chain` (the client's own certificate first): its common name, in the groups of its organisations.
    ///
    /// # Errors
    /// [`CertificateError`]; the request is to be answered with 401.
    pub fn authenticate(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<UserInfo, CertificateError> {
        let (own, intermediates) =
            chain.split_first().ok_or_else(|| CertificateError::Unreadable("it is missing".into()))?;
        self.0.verify_client_cert(own, intermediates, now)?;
        user_of(own)
    }
}

/// The subject of a certificate as a user; the certificate must have been verified.
///
/// # Errors
/// [`CertificateError`] when it cannot be read or has no common name.
pub fn user_of(der: &[u8]) -> Result<UserInfo, CertificateError> {
    let unreadable = |error: &dyn std::fmt::Display| CertificateError::Unreadable(error.to_string());
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| unreadable(&error))?;
    let subject: &X509Name<'_> = certificate.subject();
    let text = |attribute: &AttributeTypeAndValue<'_>| {
        attribute.as_str().map(str::to_owned).map_err(|error| unreadable(&error))
    };
    let name = subject.iter_common_name().last().ok_or(CertificateError::NoName).and_then(text)?;
    if name.is_empty() {
        return Err(CertificateError::NoName);
    }
    let groups = subject.iter_organization().map(text).collect::<Result<Vec<_>, _>>()?;
    let mut user = UserInfo::new(name, groups);
    // KEP-4193: what the audit log tells one credential of a user from another by.
    let id = Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    user.extra.insert("authentication.kubernetes.io/credential-id".to_owned(), vec![format!("X509SHA256={id}")]);
    Ok(user)
}

/// Whom the handshake asks for a certificate.
#[derive(Clone, Copy, Debug)]
pub enum Asked<'a> {
    Nobody,
    /// Everybody, and those of this authority are told that it is them.
    Of(&'a ClientAuthority),
    /// Everybody: whose certificates are believed is found out later.
    Anyone,
}

/// The oldest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    #[default]
    Tls12,
    Tls13,
}

/// A certificate for clients that ask for one of some names.
#[derive(Clone, Debug)]
pub struct Named {
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
    /// Names of hosts, or `*.` and what is below; none: those of the certificate.
    pub names: Vec<String>,
}

/// How a server speaks TLS.
#[derive(Clone, Debug, Default)]
pub struct Manner {
    pub oldest: Version,
    /// What TLS 1.2 may encrypt with, in Go's names; none: what is usual. TLS 1.3 always does as usual, as in Go.
    pub suites: Vec<String>,
    pub http1_only: bool,
    pub named: Vec<Named>,
}

/// A server's TLS: 1.2 and 1.3, HTTP/2 and 1.1.
///
/// # Errors
/// Certificate or key cannot be read, or do not fit.
pub fn server_config(certificate_pem: &[u8], key_pem: &[u8], clients: Asked<'_>) -> anyhow::Result<Arc<ServerConfig>> {
    server_config_in(certificate_pem, key_pem, clients, &Manner::default())
}

/// The same in another manner.
///
/// # Errors
/// Certificate or key cannot be read, or do not fit; or nothing is left to encrypt with.
pub fn server_config_in(
    certificate_pem: &[u8],
    key_pem: &[u8],
    clients: Asked<'_>,
    manner: &Manner,
) -> anyhow::Result<Arc<ServerConfig>> {
    let provider = Arc::new(suites::choose(provider(), &manner.suites)?);
    let algorithms = provider.signature_verification_algorithms;
    let versions: &[_] = match manner.oldest {
        Version::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        Version::Tls13 => &[&rustls::version::TLS13],
    };
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .context("choose TLS versions")?;
    let builder = match clients {
        Asked::Nobody => builder.with_no_client_auth(),
        Asked::Of(authority) => {
            let hints = authority.0.root_hint_subjects().to_vec();
            builder.with_client_cert_verifier(Arc::new(JudgeLater { hints, algorithms }))
        }
        Asked::Anyone => builder.with_client_cert_verifier(Arc::new(JudgeLater { hints: Vec::new(), algorithms })),
    };
    let certificates = names::ByName::new(&provider, (certificate_pem, key_pem), &manner.named)?;
    let mut config = builder.with_cert_resolver(Arc::new(certificates));
    let protocols: &[&[u8]] = if manner.http1_only { &[b"http/1.1"] } else { &[b"h2", b"http/1.1"] };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    config.ignore_client_order = true;
    Ok(Arc::new(config))
}

/// ring's, with AES-128 before AES-256, which is what Go's servers choose too: a list of pods is mostly encryption.
fn provider() -> CryptoProvider {
    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites.sort_by_key(|suite| !format!("{:?}", suite.suite()).contains("AES_128"));
    provider
}

/// Asks for a certificate and takes any, or none; see the module's documentation.
#[derive(Debug)]
struct JudgeLater {
    /// The authorities that clients are told of, so that they can choose.
    hints: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for JudgeLater {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
