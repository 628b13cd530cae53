//! Mutual TLS from an `sslProfile`: both sides show a certificate of the site's CA, or there is no link.
//!
//! The files are read anew for every connection: a renewed certificate needs no restart, and links are few.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::config::SslProfile;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{file} cannot be read: {source}")]
    File { file: String, source: rustls::pki_types::pem::Error },
    #[error("the certificates cannot be used: {0}")]
    Tls(#[from] rustls::Error),
    #[error("the CA cannot be used: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// For the side that connects.
///
/// # Errors
/// When a file is missing or unusable.
pub fn client(profile: &SslProfile) -> Result<Arc<ClientConfig>, Error> {
    let (chain, key) = identity(profile)?;
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    Ok(Arc::new(builder.with_root_certificates(roots(profile)?).with_client_auth_cert(chain, key)?))
}

/// For the side that listens: a client without a certificate of our CA is turned away.
///
/// # Errors
/// When a file is missing or unusable.
pub fn server(profile: &SslProfile) -> Result<Arc<ServerConfig>, Error> {
    let (chain, key) = identity(profile)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(profile)?.into(), provider()).build()?;
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    Ok(Arc::new(builder.with_client_cert_verifier(verifier).with_single_cert(chain, key)?))
}

/// The one crypto provider we are built with.
pub fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn identity(profile: &SslProfile) -> Result<Identity, Error> {
    let key_error = |source| Error::File { file: profile.private_key_file.clone(), source };
    let key = PrivateKeyDer::from_pem_file(Path::new(&profile.private_key_file)).map_err(key_error)?;
    Ok((certificates(&profile.cert_file)?, key))
}

fn roots(profile: &SslProfile) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&profile.ca_cert_file)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

fn certificates(file: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let error = |source| Error::File { file: file.to_owned(), source };
    CertificateDer::pem_file_iter(Path::new(file)).map_err(error)?.collect::<Result<_, _>>().map_err(error)
}
