//! Whom this server trusts when it is the client: webhooks and aggregated API servers, each with its `caBundle`.

use anyhow::Context;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, InvalidMessage, RootCertStore, SignatureScheme,
};
use std::sync::Arc;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Which servers are believed to be who they say.
#[derive(Clone, Copy, Debug)]
pub enum Trust<'a> {
    /// Those whose certificates the authorities of the system vouch for.
    System,
    /// Those that these authorities (PEM) vouch for. As with Go, a listed certificate is good for itself too.
    Bundle(&'a [u8]),
    /// All (`insecureSkipTLSVerify`).
    Anyone,
}

impl<'a> Trust<'a> {
    /// A `caBundle`, which may be empty.
    #[must_use]
    pub fn of(bundle: &'a [u8]) -> Self {
        if bundle.is_empty() { Self::System } else { Self::Bundle(bundle) }
    }
}

/// A client certificate with its key, both PEM.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    pub certificate: &'a [u8],
    pub key: &'a [u8],
}

/// The TLS side of a client.
///
/// # Errors
/// A certificate or key cannot be read or used.
pub fn client_config(trust: Trust<'_>, identity: Option<Identity<'_>>) -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut listed = Vec::new();
    let chain = match trust {
        Trust::Anyone => None,
        Trust::System => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            Some(roots)
        }
        Trust::Bundle(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.context("unable to load root certificates")?;
                listed.push(certificate.clone());
                roots.add(certificate).context("unable to load root certificates")?;
            }
            Some(roots)
        }
    };
    let chain = match chain {
        None => None,
        // Without any authority nobody can be believed; the verifier cannot be built then.
        Some(roots) if roots.is_empty() => Some(None),
        Some(roots) => {
            let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
            Some(Some(builder.build().context("use the certificate authorities")?))
        }
    };
    let verifier = Arc::new(Verifier { chain, listed, provider: provider.clone() });
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("choose TLS versions")?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    match identity {
        None => Ok(builder.with_no_client_auth()),
        Some(Identity { certificate, key }) => {
            let chain = CertificateDer::pem_slice_iter(certificate)
                .collect::<Result<Vec<_>, _>>()
                .context("read the client certificate")?;
            let key = PrivateKeyDer::from_pem_slice(key).context("read the client certificate's key")?;
            builder.with_client_auth_cert(chain, key).context("use the client certificate")
        }
    }
}

/// That a `caBundle` holds usable certificates; what is wrong with it otherwise.
///
/// # Errors
/// Upstream's text.
pub fn check_bundle(pem: &[u8]) -> Result<(), String> {
    const WRONG: &str = "unable to load root certificates: unable to parse bytes as PEM block";
    let all: Result<Vec<CertificateDer<'_>>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match all {
        Ok(list) if !list.is_empty() => Ok(()),
        _ => Err(WRONG.to_owned()),
    }
}

#[derive(Debug)]
struct Verifier {
    /// None: everyone is believed. Some(None): nobody is.
    chain: Option<Option<Arc<WebPkiServerVerifier>>>,
    listed: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        // As Go: who it is comes before who vouches for it.
        let self_issued = in_time(own, now)?;
        verify_server_name(&ParsedCertificate::try_from(own)?, name)?;
        // A self-signed certificate in the bundle: no chain is needed, and webpki would refuse it as a server's.
        if self.listed.iter().any(|listed| listed.as_ref() == own.as_ref()) {
            return Ok(ServerCertVerified::assertion());
        }
        let unknown = || CertificateError::UnknownIssuer.into();
        match chain {
            // webpki would say of it that it is an authority's own.
            Some(chain) if self_issued => {
                chain.verify_server_cert(own, intermediates, name, ocsp, now).map_err(|_| unknown())
            }
            Some(chain) => chain.verify_server_cert(own, intermediates, name, ocsp, now),
            None => Err(unknown()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Whether the certificate is its own issuer's, if this is its time.
fn in_time(certificate: &[u8], now: UnixTime) -> Result<bool, Error> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = parsed.validity();
    match now {
        now if now < validity.not_before.timestamp() => Err(CertificateError::NotValidYet.into()),
        now if now > validity.not_after.timestamp() => Err(CertificateError::Expired.into()),
        _ => Ok(parsed.issuer() == parsed.subject()),
    }
}

/// A failed handshake in Go's words, which users know from upstream.
#[must_use]
pub fn explain(error: &Error) -> String {
    let why = match error {
        Error::InvalidCertificate(why) => why,
        // Somebody who speaks plainly there.
        Error::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion) => {
            return "tls: first record does not look like a TLS handshake".to_owned();
        }
        _ => return format!("tls: {error}"),
    };
    let why = match why {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "certificate signed by unknown authority".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "certificate has expired or is not yet valid".to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let address = matches!(expected, ServerName::IpAddress(_));
            let of = if address { "IpAddress(" } else { "DnsName(" };
            let presented = presented.iter().filter_map(|name| name_of(name, of)).collect::<Vec<_>>().join(", ");
            let expected = expected.to_str();
            if presented.is_empty() && address {
                format!("cannot validate certificate for {expected} because it doesn't contain any IP SANs")
            } else if presented.is_empty() {
                format!("certificate is not valid for any names, but wanted to match {expected}")
            } else {
                format!("certificate is valid for {presented}, not {expected}")
            }
        }
        other => other.to_string(),
    };
    format!("tls: failed to verify certificate: x509: {why}")
}

/// `DnsName("a.b")` as `a.b`, which is how rustls tells presented names; none for names of other kinds.
fn name_of<'a>(presented: &'a str, of: &str) -> Option<&'a str> {
    presented.strip_prefix(of)?.strip_suffix(')').map(|name| name.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verify(config: &ClientConfig, own: &[u8], name: &str) -> Result<(), String> {
        // The verifier of a config cannot be asked for: a handshake in memory asks it.
        let (config, name) = (Arc::new(config.clone()), ServerName::try_from(name.to_owned()).unwrap());
        let mut client = rustls::ClientConnection::new(config, name).unwrap();
        let (pem, key) = std::str::from_utf8(own).unwrap().split_once("\n\n").unwrap();
        let server = crate::x509::server_config(pem.as_bytes(), key.as_bytes(), crate::x509::Asked::Nobody).unwrap();
        let mut server = rustls::ServerConnection::new(server).unwrap();
        for _ in 0..4 {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).unwrap();
            server.read_tls(&mut bytes.as_slice()).unwrap();
            let _ = server.process_new_packets();
            let mut bytes = Vec::new();
            server.write_tls(&mut bytes).unwrap();
            client.read_tls(&mut bytes.as_slice()).unwrap();
            client.process_new_packets().map_err(|error| explain(&error))?;
        }
        Ok(())
    }

    #[test]
    fn a_listed_certificate_is_good_for_itself_and_its_name() {
        let made = rcgen::generate_simple_self_signed(vec!["s.n.svc".to_owned()]).unwrap();
        let pem = made.cert.pem();
        let own = format!("{pem}\n\n{}", made.signing_key.serialize_pem());
        let config = client_config(Trust::Bundle(pem.as_bytes()), None).unwrap();
        assert_eq!(verify(&config, own.as_bytes(), "s.n.svc"), Ok(()));
        assert_eq!(
            verify(&config, own.as_bytes(), "other.n.svc").unwrap_err(),
            "tls: failed to verify certificate: x509: certificate is valid for s.n.svc, not other.n.svc"
        );
        assert_eq!(
            verify(&config, own.as_bytes(), "127.0.0.1").unwrap_err(),
            "tls: failed to verify certificate: x509: cannot validate certificate for 127.0.0.1 because it doesn't contain any IP SANs"
        );
        let plain = explain(&Error::InvalidMessage(InvalidMessage::InvalidContentType));
        assert_eq!(plain, "tls: first record does not look like a TLS handshake");
        let stranger = rcgen::generate_simple_self_signed(vec!["s.n.svc".to_owned()]).unwrap().cert.pem();
        let config = client_config(Trust::Bundle(stranger.as_bytes()), None).unwrap();
        assert_eq!(
            verify(&config, own.as_bytes(), "s.n.svc").unwrap_err(),
            "tls: failed to verify certificate: x509: certificate signed by unknown authority"
        );
        assert_eq!(
            verify(&config, own.as_bytes(), "other.n.svc").unwrap_err(),
            "tls: failed to verify certificate: x509: certificate is valid for s.n.svc, not other.n.svc",
            "the name is looked at first"
        );
        let config = client_config(Trust::Anyone, None).unwrap();
        assert_eq!(verify(&config, own.as_bytes(), "whatever"), Ok(()));
    }

    #[test]
    fn an_authority_may_bear_the_name_of_what_it_signs() {
        let named = |names: &[&str]| {
            let mut params =
                rcgen::CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(rcgen::DnType::CommonName, "hook");
            params
        };
        let mut authority = named(&[]);
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer = rcgen::KeyPair::generate().unwrap();
        let bundle = authority.self_signed(&issuer).unwrap().pem();
        let key = rcgen::KeyPair::generate().unwrap();
        let own = named(&["s.n.svc"]).signed_by(&key, &rcgen::Issuer::new(authority, issuer)).unwrap().pem();
        let config = client_config(Trust::Bundle(bundle.as_bytes()), None).unwrap();
        let own = format!("{own}\n{}", key.serialize_pem());
        assert_eq!(verify(&config, own.as_bytes(), "s.n.svc"), Ok(()));
    }

    #[test]
    fn bundles() {
        assert!(check_bundle(b"junk").is_err());
        let pem = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap().cert.pem();
        assert_eq!(check_bundle(pem.as_bytes()), Ok(()));
    }
}
