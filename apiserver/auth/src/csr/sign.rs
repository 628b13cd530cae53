//! Certificates for requests (upstream `pkg/controller/certificates/authority`): subject, key and alternative names as they
//! were asked for, everything else as the signer decides. The structure is RFC 5280's; it is written here because rcgen keeps
//! one organisation of several, and organisations are groups.

use jiff::Timestamp;
use rcgen::{KeyPair, PublicKeyData, SigningKey};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::prelude::{FromDer, X509Certificate};
use yasna::models::ObjectIdentifier;
use yasna::{DERWriter, Tag};

use super::{CsrError, Request};

/// A certificate authority's certificate and key.
pub struct Authority {
    key: KeyPair,
    /// The authority's subject, DER.
    name: Vec<u8>,
    key_id: Vec<u8>,
    /// No certificate outlives its authority.
    until: Timestamp,
}

/// What a signer decides about a certificate.
pub struct Terms<'a> {
    pub usages: &'a [&'a str],
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// At most 20 bytes, not all zero.
    pub serial: &'a [u8],
}

fn unreadable(error: impl std::fmt::Display) -> CsrError {
    CsrError::Content(error.to_string())
}

impl Authority {
    /// # Errors
    /// Certificate or key cannot be read.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, CsrError> {
        let key = KeyPair::from_pem(key).map_err(unreadable)?;
        let (_, pem) = x509_parser::pem::parse_x509_pem(certificate.as_bytes()).map_err(unreadable)?;
        let (_, parsed) = X509Certificate::from_der(&pem.contents).map_err(unreadable)?;
        let own = parsed.iter_extensions().find_map(|extension| match extension.parsed_extension() {
            x509_parser::extensions::ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        });
        let hashed =
            || digest(&SHA1_FOR_LEGACY_USE_ONLY, &parsed.public_key().subject_public_key.data).as_ref().to_vec();
        Ok(Self {
            name: parsed.subject().as_raw().to_vec(),
            key_id: own.unwrap_or_else(hashed),
            until: Timestamp::from_second(parsed.validity().not_after.timestamp()).map_err(unreadable)?,
            key,
        })
    }

    /// Signs a request whose own signature holds; PEM.
    ///
    /// # Errors
    /// The request's signature does not fit its key, a usage is unknown, or the authority's key cannot sign.
    pub fn sign(&self, request: &Request, terms: &Terms<'_>) -> Result<String, CsrError> {
        let (_, parsed) = X509CertificationRequest::from_der(&request.der).map_err(unreadable)?;
        parsed.verify_signature().map_err(|_| CsrError::Content("the signature of the request does not fit".into()))?;
        let info = &parsed.certification_request_info;
        let names = info.iter_attributes().find_map(|attribute| match attribute.parsed_attribute() {
            ParsedCriAttribute::ExtensionRequest(asked) => {
                asked.extensions.iter().find(|extension| extension.oid.to_id_string() == "2.5.29.17")
            }
            _ => None,
        });
        let (key_usage, extended) = usages(terms.usages)?;
        let until = terms.not_after.min(self.until);
        let algorithm = self.algorithm()?;
        let body = yasna::construct_der(|writer| {
            writer.write_sequence(|fields| {
                // Version 3.
                fields.next().write_tagged(Tag::context(0), |writer| writer.write_u8(2));
                fields.next().write_bigint_bytes(terms.serial, true);
                fields.next().write_der(&algorithm);
                fields.next().write_der(&self.name);
                fields.next().write_sequence(|times| {
                    time(times.next(), terms.not_before);
                    time(times.next(), until);
                });
                fields.next().write_der(info.subject.as_raw());
                fields.next().write_der(info.subject_pki.raw);
                fields.next().write_tagged(Tag::context(3), |writer| {
                    writer.write_sequence(|list| {
                        if let Some(bits) = &key_usage {
                            extension(list.next(), &[2, 5, 29, 15], true, bits);
                        }
                        if let Some(purposes) = &extended {
                            extension(list.next(), &[2, 5, 29, 37], false, purposes);
                        }
                        let none = yasna::construct_der(|writer| writer.write_sequence(|_| {}));
                        extension(list.next(), &[2, 5, 29, 19], true, &none);
                        let authority = yasna::construct_der(|writer| {
                            writer.write_sequence(|fields| {
                                fields.next().write_tagged_implicit(Tag::context(0), |w| w.write_bytes(&self.key_id));
                            });
                        });
                        extension(list.next(), &[2, 5, 29, 35], false, &authority);
                        if let Some(names) = names {
                            extension(list.next(), &[2, 5, 29, 17], names.critical, names.value);
                        }
                    });
                });
            });
        });
        let signature = self.key.sign(&body).map_err(unreadable)?;
        let der = yasna::construct_der(|writer| {
            writer.write_sequence(|fields| {
                fields.next().write_der(&body);
                fields.next().write_der(&algorithm);
                fields.next().write_bitvec_bytes(&signature, signature.len() * 8);
            });
        });
        Ok(pem("CERTIFICATE", &der))
    }

    /// The AlgorithmIdentifier of the authority's signatures.
    fn algorithm(&self) -> Result<Vec<u8>, CsrError> {
        let known = [
            (&rcgen::PKCS_ECDSA_P256_SHA256, &[1, 2, 840, 10045, 4, 3, 2][..], false),
            (&rcgen::PKCS_ECDSA_P384_SHA384, &[1, 2, 840, 10045, 4, 3, 3], false),
            (&rcgen::PKCS_RSA_SHA256, &[1, 2, 840, 113_549, 1, 1, 11], true),
            (&rcgen::PKCS_ED25519, &[1, 3, 101, 112], false),
        ];
        let own = PublicKeyData::algorithm(&self.key);
        let (_, oid, null) = known
            .iter()
            .find(|(algorithm, ..)| *algorithm == own)
            .ok_or_else(|| CsrError::Content("the authority's key is of an unknown kind".into()))?;
        Ok(yasna::construct_der(|writer| {
            writer.write_sequence(|fields| {
                fields.next().write_oid(&ObjectIdentifier::from_slice(oid));
                if *null {
                    fields.next().write_null();
                }
            });
        }))
    }
}

fn extension(writer: DERWriter<'_>, oid: &[u64], critical: bool, value: &[u8]) {
    writer.write_sequence(|fields| {
        fields.next().write_oid(&ObjectIdentifier::from_slice(oid));
        if critical {
            fields.next().write_bool(true);
        }
        fields.next().write_bytes(value);
    });
}

/// Before 2050 a time has two digits for the year, from then on four (RFC 5280, 4.1.2.5).
fn time(writer: DERWriter<'_>, at: Timestamp) {
    const UTC_TIME: u64 = 23;
    const GENERALIZED_TIME: u64 = 24;
    let zoned = at.to_zoned(jiff::tz::TimeZone::UTC);
    let (tag, text) = if zoned.year() < 2050 {
        (UTC_TIME, zoned.strftime("%y%m%d%H%M%SZ").to_string())
    } else {
        (GENERALIZED_TIME, zoned.strftime("%Y%m%d%H%M%SZ").to_string())
    };
    let tag = Tag { tag_class: yasna::TagClass::Universal, tag_number: tag };
    writer.write_tagged_implicit(tag, |writer| writer.write_bytes(text.as_bytes()));
}

/// The DER of keyUsage and of extKeyUsage.
type Usages = (Option<Vec<u8>>, Option<Vec<u8>>);

/// keyUsage and extKeyUsage of the usages' names (`certificates/v1 KeyUsage`), where there are any.
fn usages(names: &[&str]) -> Result<Usages, CsrError> {
    // The bits of RFC 5280's KeyUsage, the first on the left.
    const BITS: [(&str, u32); 11] = [
        ("signing", 0),
        ("digital signature", 0),
        ("content commitment", 1),
        ("key encipherment", 2),
        ("data encipherment", 3),
        ("key agreement", 4),
        ("cert sign", 5),
        ("crl sign", 6),
        ("encipher only", 7),
        ("decipher only", 8),
        ("non repudiation", 1),
    ];
    const PURPOSES: [(&str, &[u64]); 12] = [
        ("any", &[2, 5, 29, 37, 0]),
        ("server auth", &[1, 3, 6, 1, 5, 5, 7, 3, 1]),
        ("client auth", &[1, 3, 6, 1, 5, 5, 7, 3, 2]),
        ("code signing", &[1, 3, 6, 1, 5, 5, 7, 3, 3]),
        ("email protection", &[1, 3, 6, 1, 5, 5, 7, 3, 4]),
        ("s/mime", &[1, 3, 6, 1, 5, 5, 7, 3, 4]),
        ("ipsec end system", &[1, 3, 6, 1, 5, 5, 7, 3, 5]),
        ("ipsec tunnel", &[1, 3, 6, 1, 5, 5, 7, 3, 6]),
        ("ipsec user", &[1, 3, 6, 1, 5, 5, 7, 3, 7]),
        ("timestamping", &[1, 3, 6, 1, 5, 5, 7, 3, 8]),
        ("ocsp signing", &[1, 3, 6, 1, 5, 5, 7, 3, 9]),
        ("microsoft sgc", &[1, 3, 6, 1, 4, 1, 311, 10, 3, 3]),
    ];
    let (mut bits, mut purposes) = (0u16, Vec::new());
    for name in names {
        if let Some((_, bit)) = BITS.iter().find(|(known, _)| known == name) {
            bits |= 0x8000 >> bit;
        } else if let Some((_, oid)) = PURPOSES.iter().find(|(known, _)| known == name) {
            purposes.push(*oid);
        } else {
            return Err(CsrError::Content(format!("unrecognized usage values: [{name:?}]")));
        }
    }
    purposes.dedup();
    let length = 16 - bits.trailing_zeros() as usize;
    let key_usage = (bits != 0).then(|| {
        yasna::construct_der(|writer| {
            writer.write_bitvec_bytes(&bits.to_be_bytes()[..length.div_ceil(8)], length);
        })
    });
    let extended = (!purposes.is_empty()).then(|| {
        yasna::construct_der(|writer| {
            writer.write_sequence(|list| {
                purposes.iter().for_each(|oid| list.next().write_oid(&ObjectIdentifier::from_slice(oid)));
            });
        })
    });
    Ok((key_usage, extended))
}

/// PEM with lines of 64 characters.
fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa};
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, UnixTime};

    use super::*;
    use crate::x509::ClientAuthority;

    fn authority() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "kubernetes");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn a_signed_request_lets_its_user_in() {
        let (ca, key) = authority();
        let mut params = CertificateParams::new(vec!["a.example.com".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "jane");
        params.distinguished_name.push(DnType::OrganizationName, "dev");
        let csr = params.serialize_request(&KeyPair::generate().unwrap()).unwrap();
        let request = Request::from_der(csr.der().to_vec()).unwrap();
        let now = Timestamp::now();
        let hours = |n: i64| now.checked_add(jiff::SignedDuration::from_hours(n)).unwrap();
        let sign = |not_before, not_after| {
            let terms =
                Terms { usages: &["digital signature", "client auth"], not_before, not_after, serial: &[0x7f, 1] };
            let pem = Authority::from_pem(&ca, &key).unwrap().sign(&request, &terms).unwrap();
            CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
        };
        let clients = ClientAuthority::from_pem(ca.as_bytes()).unwrap();
        let user = clients.authenticate(&[sign(hours(-1), hours(1))], UnixTime::now()).unwrap();
        assert_eq!((user.username.as_str(), user.groups.as_slice()), ("jane", &["dev".to_owned()][..]));
        assert!(clients.authenticate(&[sign(hours(-2), hours(-1))], UnixTime::now()).is_err());
        let certificate = sign(hours(-1), hours(1));
        let (_, parsed) = X509Certificate::from_der(&certificate).unwrap();
        let names = parsed.subject_alternative_name().unwrap().unwrap();
        assert_eq!(names.value.general_names.len(), 1);
        assert!(!parsed.is_ca() && parsed.key_usage().unwrap().unwrap().value.digital_signature());
        assert!(parsed.extended_key_usage().unwrap().unwrap().value.client_auth);
    }

    #[test]
    fn all_organizations_are_kept() {
        // Built by hand, for rcgen writes one only: the subject of `O=a, O=b, CN=jane`.
        let key = KeyPair::generate().unwrap();
        let attribute = |oid: u64, text: &str| {
            yasna::construct_der(|w| {
                w.write_set(|set| {
                    set.next().write_sequence(|f| {
                        f.next().write_oid(&ObjectIdentifier::from_slice(&[2, 5, 4, oid]));
                        f.next().write_utf8_string(text);
                    });
                });
            })
        };
        let info = yasna::construct_der(|w| {
            w.write_sequence(|f| {
                f.next().write_u8(0);
                f.next().write_sequence(|name| {
                    for part in [attribute(10, "a"), attribute(10, "b"), attribute(3, "jane")] {
                        name.next().write_der(&part);
                    }
                });
                f.next().write_der(&rcgen::PublicKeyData::subject_public_key_info(&key));
                f.next().write_tagged_implicit(Tag::context(0), |w| w.write_set(|_| {}));
            });
        });
        let signature = key.sign(&info).unwrap();
        let der = yasna::construct_der(|w| {
            w.write_sequence(|f| {
                f.next().write_der(&info);
                f.next().write_sequence(|a| {
                    a.next().write_oid(&ObjectIdentifier::from_slice(&[1, 2, 840, 10045, 4, 3, 2]))
                });
                f.next().write_bitvec_bytes(&signature, signature.len() * 8);
            });
        });
        let request = Request::from_der(der).unwrap();
        assert_eq!(request.organizations, ["a", "b"]);
        let (ca, ca_key) = authority();
        let now = Timestamp::now();
        let terms = Terms { usages: &["client auth"], not_before: now, not_after: Timestamp::MAX, serial: &[1] };
        let pem = Authority::from_pem(&ca, &ca_key).unwrap().sign(&request, &terms).unwrap();
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        assert_eq!(crate::x509::user_of(&certificate).unwrap().groups, ["a", "b"]);
    }
}
