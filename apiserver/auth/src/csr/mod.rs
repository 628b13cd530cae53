//! PKCS#10 certificate requests, as the Certificates API carries them: base64 of PEM.

mod sign;

pub use sign::{Authority, Terms};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

/// Why a request cannot be read; upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    #[error("PEM block type must be CERTIFICATE REQUEST")]
    Pem,
    #[error("{0}")]
    Content(String),
}

/// What a request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    pub common_name: String,
    pub organizations: Vec<String>,
    pub dns_names: Vec<String>,
    pub emails: Vec<String>,
    pub addresses: usize,
    pub uris: usize,
    /// The request itself, DER.
    pub der: Vec<u8>,
}

impl Request {
    /// Reads `spec.request` of a CertificateSigningRequest.
    ///
    /// # Errors
    /// It is no base64, no PEM of the right type, or no PKCS#10.
    pub fn parse(base64: &str) -> Result<Self, CsrError> {
        let pem = STANDARD.decode(base64).map_err(|error| CsrError::Content(error.to_string()))?;
        let (_, block) = x509_parser::pem::parse_x509_pem(&pem).map_err(|_| CsrError::Pem)?;
        if block.label != "CERTIFICATE REQUEST" {
            return Err(CsrError::Pem);
        }
        Self::from_der(block.contents)
    }

    fn from_der(der: Vec<u8>) -> Result<Self, CsrError> {
        let (_, request) =
            X509CertificationRequest::from_der(&der).map_err(|error| CsrError::Content(error.to_string()))?;
        let subject = &request.certification_request_info.subject;
        let text = |value: &x509_parser::x509::AttributeTypeAndValue<'_>| value.as_str().unwrap_or_default().to_owned();
        let mut this = Self {
            common_name: subject.iter_common_name().last().map(text).unwrap_or_default(),
            organizations: subject.iter_organization().map(text).collect(),
            ..Self::default()
        };
        for extension in request.requested_extensions().into_iter().flatten() {
            let ParsedExtension::SubjectAlternativeName(names) = extension else { continue };
            for name in &names.general_names {
                match name {
                    GeneralName::DNSName(name) => this.dns_names.push((*name).to_owned()),
                    GeneralName::RFC822Name(name) => this.emails.push((*name).to_owned()),
                    GeneralName::IPAddress(_) => this.addresses += 1,
                    GeneralName::URI(_) => this.uris += 1,
                    _ => {}
                }
            }
        }
        this.der = der;
        Ok(this)
    }
}

/// Reads the certificates of a PEM text, the way `status.certificate` must be.
///
/// # Errors
/// What is wrong, in upstream's words.
pub fn certificates(pem: &[u8]) -> Result<usize, String> {
    let mut found = 0;
    let text = String::from_utf8_lossy(pem);
    let mut bodies = text.split("-----BEGIN CERTIFICATE-----").skip(1).map(str::trim_start);
    if bodies.any(|body| body.lines().next().is_some_and(|line| line.contains(':'))) {
        return Err("no PEM block headers are permitted".to_owned());
    }
    for block in x509_parser::pem::Pem::iter_from_buffer(pem) {
        let Ok(block) = block else { break };
        if block.label != "CERTIFICATE" {
            return Err(format!("only CERTIFICATE PEM blocks are allowed, found {:?}", block.label));
        }
        block.parse_x509().map_err(|_| "x509: malformed certificate".to_owned())?;
        found += 1;
    }
    if found == 0 { Err("must contain at least one CERTIFICATE PEM block".to_owned()) } else { Ok(found) }
}

/// The signers that come with Kubernetes (`pkg/apis/certificates`).
pub const KUBE_APISERVER_CLIENT: &str = "kubernetes.io/kube-apiserver-client";
pub const KUBE_APISERVER_CLIENT_KUBELET: &str = "kubernetes.io/kube-apiserver-client-kubelet";
pub const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
pub const LEGACY_UNKNOWN: &str = "kubernetes.io/legacy-unknown";

const NODES: &str = "system:nodes";
const NODE: &str = "system:node:";

/// Why a request is none of a kubelet's client or serving certificate; `Ok` where it is
/// (`apis/certificates/helpers.go`, ValidateKubeletClientCSR and ValidateKubeletServingCSR).
///
/// # Errors
/// The first rule that is broken.
pub fn kubelet(signer: &str, request: &Request, usages: &[&str]) -> Result<(), String> {
    if request.organizations != [NODES] {
        return Err("subject organization is not system:nodes".to_owned());
    }
    let serving = signer == KUBELET_SERVING;
    if serving {
        if request.dns_names.is_empty() && request.addresses == 0 {
            return Err("DNS or IP subjectAltName is required".to_owned());
        }
    } else if !request.dns_names.is_empty() {
        return Err("DNS subjectAltNames are not allowed".to_owned());
    }
    if !request.emails.is_empty() {
        return Err("Email subjectAltNames are not allowed".to_owned());
    }
    if !serving && request.addresses > 0 {
        return Err("IP subjectAltNames are not allowed".to_owned());
    }
    if request.uris > 0 {
        return Err("URI subjectAltNames are not allowed".to_owned());
    }
    if !request.common_name.starts_with(NODE) {
        return Err("subject common name does not begin with system:node:".to_owned());
    }
    let purpose = if serving { "server auth" } else { "client auth" };
    let mut usages = usages.to_vec();
    usages.sort_unstable();
    usages.dedup();
    usages.retain(|usage| *usage != "key encipherment");
    if usages == [purpose, "digital signature"] || usages == ["digital signature", purpose] {
        Ok(())
    } else {
        Err(format!("usages did not match [\"key encipherment\", \"digital signature\", \"{purpose}\"]"))
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn request(name: &str, groups: &[&str], dns: &[&str]) -> Request {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        for group in groups {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        params.subject_alt_names =
            dns.iter().map(|name| SanType::DnsName((*name).to_owned().try_into().unwrap())).collect();
        let pem = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
        Request::parse(&STANDARD.encode(pem)).unwrap()
    }

    #[test]
    fn requests_are_read() {
        let read = request("jane", &["dev"], &["example.com"]);
        assert_eq!((read.common_name.as_str(), read.organizations.as_slice()), ("jane", &["dev".to_owned()][..]));
        assert_eq!(read.dns_names, ["example.com"]);
        assert_eq!(Request::parse(&STANDARD.encode("-----BEGIN X-----\n-----END X-----\n")), Err(CsrError::Pem));
        assert!(Request::parse("!").is_err());
    }

    #[test]
    fn certificates_are_pem_without_headers() {
        let block = |label: &str, body: &str| format!("-----BEGIN {label}-----\n{body}-----END {label}-----\n");
        for (pem, said) in [
            (String::new(), "must contain at least one CERTIFICATE PEM block"),
            (block("X", "AAAA\n"), "only CERTIFICATE PEM blocks are allowed, found \"X\""),
            (block("CERTIFICATE", "A: b\n\nAAAA\n"), "no PEM block headers are permitted"),
            (block("CERTIFICATE", "AAAA\n"), "x509: malformed certificate"),
        ] {
            assert_eq!(certificates(pem.as_bytes()), Err(said.to_owned()));
        }
    }

    #[test]
    fn kubelets_ask_in_their_own_name() {
        use crate::node::{Operation, Write, restrict};
        let resource = crate::Resource {
            group: "certificates.k8s.io",
            resource: "certificatesigningrequests",
            ..crate::Resource::default()
        };
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "system:node:a");
        let pem = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
        let object = serde_json::json!({"spec": {"signerName": KUBELET_SERVING, "request": STANDARD.encode(pem)}});
        let write =
            Write { operation: Operation::Create, resource, object: Some(&object), old: None, pod: None, node: None };
        assert_eq!(restrict("a", &write), Ok(()));
        let refused = "can only create a node CSR with CN=system:node:b".to_owned();
        assert_eq!(restrict("b", &write), Err(refused.into()));
    }

    #[test]
    fn kubelets() {
        let client = ["digital signature", "client auth"];
        let rows = [
            (KUBE_APISERVER_CLIENT_KUBELET, request("system:node:a", &[NODES], &[]), &client[..], ""),
            (
                KUBE_APISERVER_CLIENT_KUBELET,
                request("system:node:a", &[NODES], &[]),
                &["client auth", "digital signature", "key encipherment"],
                "",
            ),
            (
                KUBE_APISERVER_CLIENT_KUBELET,
                request("a", &[NODES], &[]),
                &client,
                "subject common name does not begin with system:node:",
            ),
            (
                KUBE_APISERVER_CLIENT_KUBELET,
                request("system:node:a", &["x"], &[]),
                &client,
                "subject organization is not system:nodes",
            ),
            (
                KUBE_APISERVER_CLIENT_KUBELET,
                request("system:node:a", &[NODES], &["b"]),
                &client,
                "DNS subjectAltNames are not allowed",
            ),
            (KUBELET_SERVING, request("system:node:a", &[NODES], &["b"]), &["digital signature", "server auth"], ""),
            (KUBELET_SERVING, request("system:node:a", &[NODES], &[]), &client, "DNS or IP subjectAltName is required"),
            (
                KUBELET_SERVING,
                request("system:node:a", &[NODES], &["b"]),
                &client,
                "usages did not match [\"key encipherment\", \"digital signature\", \"server auth\"]",
            ),
        ];
        for (signer, request, usages, expected) in rows {
            assert_eq!(kubelet(signer, &request, usages).err().unwrap_or_default(), expected, "{request:?}");
        }
    }
}
