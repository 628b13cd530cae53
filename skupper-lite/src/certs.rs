//! The certificates of a site: its own CA, and what that signs.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

/// A certificate and its key, PEM, with the CA's certificate beside them: the three keys of a Skupper Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    pub ca: String,
    pub certificate: String,
    pub key: String,
}

impl Pair {
    /// The `data` of the pair's Secret.
    #[must_use]
    pub fn data(&self) -> serde_json::Value {
        use base64::Engine;
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        serde_json::json!({
            "ca.crt": encode(&self.ca), "tls.crt": encode(&self.certificate), "tls.key": encode(&self.key),
        })
    }
}

/// Five years, as upstream: there is nobody here to renew them.
const DAYS: i64 = 5 * 365;

/// A new self-signed CA called `subject`.
///
/// # Errors
/// When no key can be made.
pub fn authority(subject: &str) -> Result<Pair, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = named(subject, &[])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    let certificate = params.self_signed(&key)?.pem();
    Ok(Pair { ca: certificate.clone(), certificate, key: key.serialize_pem() })
}

/// A new certificate for `subject`, valid for `hosts` (names and addresses), for either end of a connection.
///
/// # Errors
/// When `ca` is not a CA, a host is not a name, or no key can be made.
pub fn signed(ca: &Pair, subject: &str, hosts: &[String]) -> Result<Pair, rcgen::Error> {
    let issuer = Issuer::from_ca_cert_pem(&ca.certificate, KeyPair::from_pem(&ca.key)?)?;
    let key = KeyPair::generate()?;
    let mut params = named(subject, hosts)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &issuer)?.pem();
    Ok(Pair { ca: ca.certificate.clone(), certificate, key: key.serialize_pem() })
}

fn named(subject: &str, hosts: &[String]) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name.push(DnType::CommonName, subject);
    params.distinguished_name.push(DnType::OrganizationName, "skupper");
    let now = std::time::SystemTime::now();
    let hour = std::time::Duration::from_secs(3600);
    // An hour back, for nodes whose clocks differ.
    params.not_before = (now - hour).into();
    params.not_after = (now + hour * 24 * u32::try_from(DAYS).expect("a small constant")).into();
    Ok(params)
}

/// The hosts a certificate is valid for, to see whether it still fits.
#[must_use]
pub fn hosts(certificate: &str) -> Vec<String> {
    use x509_parser::prelude::{GeneralName, parse_x509_pem};
    let Ok((_, pem)) = parse_x509_pem(certificate.as_bytes()) else { return Vec::new() };
    let Ok(parsed) = pem.parse_x509() else { return Vec::new() };
    let Ok(Some(names)) = parsed.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(octets) => {
            let octets: [u8; 4] = (*octets).try_into().ok()?;
            Some(std::net::Ipv4Addr::from(octets).to_string())
        }
        _ => None,
    };
    names.value.general_names.iter().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_says_its_hosts() {
        let ca = authority("ca").unwrap();
        let pair = signed(&ca, "site", &["10.0.0.11".to_owned(), "skupper-router".to_owned()]).unwrap();
        assert_eq!(hosts(&pair.certificate), ["10.0.0.11", "skupper-router"]);
        assert_eq!(pair.ca, ca.certificate);
        assert!(hosts("nonsense").is_empty());
    }
}
