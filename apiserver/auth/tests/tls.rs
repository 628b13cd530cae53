//! Client certificates through a real TLS handshake, in memory.

use knetsim_auth::x509::{Asked, CertificateError, ClientAuthority, server_config, user_of};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

struct Issued {
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    key_pem: String,
}

fn issue(
    authority: &Authority,
    name: Option<&str>,
    groups: &[&str],
    valid: (i32, i32),
    usage: ExtendedKeyUsagePurpose,
) -> Issued {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    if let Some(name) = name {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    for (at, group) in groups.iter().enumerate() {
        // The library keeps one value a type, so further organisations are pushed as the type's own identifier.
        let kind = if at == 0 { DnType::OrganizationName } else { DnType::CustomDnType(vec![2, 5, 4, 10]) };
        params.distinguished_name.push(kind, *group);
    }
    params.not_before = rcgen::date_time_ymd(valid.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(valid.1, 1, 1);
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    Issued { certificate: certificate.der().clone(), certificate_pem: certificate.pem(), key_pem: key.serialize_pem() }
}

const VALID: (i32, i32) = (2020, 2099);
const CLIENT: ExtendedKeyUsagePurpose = ExtendedKeyUsagePurpose::ClientAuth;

#[test]
fn certificates_become_users() {
    let (ours, theirs) = (authority("ours"), authority("theirs"));
    let clients = ClientAuthority::from_pem(ours.pem().as_bytes()).unwrap();
    let now = UnixTime::now();
    let admin = issue(&ours, Some("kubernetes-admin"), &["system:masters", "ops"], VALID, CLIENT);
    let user = clients.authenticate(std::slice::from_ref(&admin.certificate), now).unwrap();
    assert_eq!(
        (user.username.as_str(), user.groups),
        ("kubernetes-admin", vec!["system:masters".to_owned(), "ops".to_owned()])
    );

    let bad = [
        ("another authority", issue(&theirs, Some("eve"), &["system:masters"], VALID, CLIENT)),
        ("expired", issue(&ours, Some("eve"), &[], (2020, 2021), CLIENT)),
        ("not valid yet", issue(&ours, Some("eve"), &[], (2090, 2099), CLIENT)),
        ("for servers only", issue(&ours, Some("eve"), &[], VALID, ExtendedKeyUsagePurpose::ServerAuth)),
    ];
    for (why, issued) in bad {
        let refused = clients.authenticate(&[issued.certificate], now);
        assert!(matches!(refused, Err(CertificateError::Untrusted(_))), "{why}: {refused:?}");
    }
    let nameless = issue(&ours, None, &["system:masters"], VALID, CLIENT);
    assert!(matches!(clients.authenticate(&[nameless.certificate], now), Err(CertificateError::NoName)));
    assert!(clients.authenticate(&[], now).is_err());
    assert!(matches!(user_of(b"no certificate"), Err(CertificateError::Unreadable(_))));
    assert!(ClientAuthority::from_pem(b"").is_err());
}

/// Shakes hands; what the server saw of the client.
async fn handshake(
    ours: &Authority,
    client: Option<&Issued>,
) -> anyhow::Result<(Option<Vec<CertificateDer<'static>>>, Vec<u8>)> {
    let server = issue(ours, Some("kube-apiserver"), &[], VALID, ExtendedKeyUsagePurpose::ServerAuth);
    let clients = ClientAuthority::from_pem(ours.pem().as_bytes()).unwrap();
    let config =
        server_config(server.certificate_pem.as_bytes(), server.key_pem.as_bytes(), Asked::Of(&clients)).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(ours.der().clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut settings = match client {
        Some(client) => builder.with_client_auth_cert(
            vec![client.certificate.clone()],
            PrivateKeyDer::from_pem_slice(client.key_pem.as_bytes())?,
        )?,
        None => builder.with_no_client_auth(),
    };
    settings.alpn_protocols = vec![b"h2".to_vec()];
    let (near, far) = tokio::io::duplex(64 * 1024);
    let accept = tokio_rustls::TlsAcceptor::from(config).accept(far);
    let connect =
        tokio_rustls::TlsConnector::from(Arc::new(settings)).connect(ServerName::try_from("localhost")?, near);
    let (mut server, mut client) = tokio::try_join!(accept, connect)?;
    client.write_all(b"hello").await?;
    client.flush().await?;
    let mut heard = [0; 5];
    server.read_exact(&mut heard).await?;
    assert_eq!(&heard, b"hello");
    let (_, connection) = server.get_ref();
    let chain = connection.peer_certificates().map(|chain| chain.iter().map(|c| c.clone().into_owned()).collect());
    Ok((chain, connection.alpn_protocol().unwrap_or_default().to_vec()))
}

#[tokio::test]
async fn handshakes_take_any_certificate_and_none() {
    let (ours, theirs) = (authority("ours"), authority("theirs"));
    let clients = ClientAuthority::from_pem(ours.pem().as_bytes()).unwrap();
    let (chain, protocol) = handshake(&ours, None).await.unwrap();
    assert_eq!((chain, protocol), (None, b"h2".to_vec()));

    let good = issue(&ours, Some("jane"), &["dev"], VALID, CLIENT);
    let (chain, _) = handshake(&ours, Some(&good)).await.unwrap();
    assert_eq!(clients.authenticate(&chain.unwrap(), UnixTime::now()).unwrap().username, "jane");

    // A bad certificate is let in, to be answered with 401.
    let bad = issue(&theirs, Some("eve"), &["system:masters"], VALID, CLIENT);
    let (chain, _) = handshake(&ours, Some(&bad)).await.unwrap();
    assert!(clients.authenticate(&chain.unwrap(), UnixTime::now()).is_err());
}
