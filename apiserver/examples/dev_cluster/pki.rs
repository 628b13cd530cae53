//! Keys, certificates and kubeconfigs of a cluster for development and tests.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};

/// The authority of front proxies and the certificate of one.
fn front_proxy(pki: &Path) -> anyhow::Result<()> {
    let key = KeyPair::generate()?;
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.distinguished_name.push(DnType::CommonName, "front-proxy-ca");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    fs::write(pki.join("front-proxy-ca.crt"), authority.self_signed(&key)?.pem())?;
    let issuer = Issuer::new(authority, key);
    let key = KeyPair::generate()?;
    let mut client = CertificateParams::new(Vec::new())?;
    client.distinguished_name.push(DnType::CommonName, "front-proxy-client");
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    fs::write(pki.join("front-proxy-client.crt"), client.signed_by(&key, &issuer)?.pem())?;
    Ok(fs::write(pki.join("front-proxy-client.key"), key.serialize_pem())?)
}

/// Everything the server and its clients need.
pub fn write(dir: &Path, port: u16, nodes: &[String]) -> anyhow::Result<()> {
    let pki = dir.join("pki");
    let authority_key = KeyPair::generate()?;
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.distinguished_name.push(DnType::CommonName, "kubernetes");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let certificate = authority.self_signed(&authority_key)?.pem();
    fs::write(pki.join("ca.crt"), &certificate)?;
    fs::write(pki.join("ca.key"), authority_key.serialize_pem())?;
    let issuer = Issuer::new(authority, authority_key);

    let issue = |name: &str, common: &str, organisation: &str, server: bool| -> anyhow::Result<(String, String)> {
        let key = KeyPair::generate()?;
        let names = [
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "localhost",
            // What another server may call this one, when it stands behind it.
            "sample-api.default.svc",
        ];
        let mut params = CertificateParams::new(if server { names.map(str::to_owned).to_vec() } else { Vec::new() })?;
        params.distinguished_name.push(DnType::CommonName, common);
        if !organisation.is_empty() {
            params.distinguished_name.push(DnType::OrganizationName, organisation);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if server {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
            params.subject_alt_names.push(SanType::IpAddress([10, 96, 0, 1].into()));
        }
        let pem = params.signed_by(&key, &issuer)?.pem();
        fs::write(pki.join(format!("{name}.crt")), &pem)?;
        fs::write(pki.join(format!("{name}.key")), key.serialize_pem())?;
        Ok((pem, key.serialize_pem()))
    };
    front_proxy(&pki)?;
    issue("apiserver", "kube-apiserver", "", true)?;
    issue("apiserver-kubelet-client", "kube-apiserver-kubelet-client", "system:masters", false)?;
    let signing = KeyPair::generate()?;
    fs::write(pki.join("sa.key"), signing.serialize_pem())?;
    fs::write(pki.join("sa.pub"), signing.public_key_pem())?;

    let config = |file: &str, user: &str, (client, key): (String, String)| -> anyhow::Result<()> {
        let encode = |text: &str| BASE64_STANDARD.encode(text);
        let text = format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: dev\n  cluster:\n    server: https://127.0.0.1:{port}\n    \
             certificate-authority-data: {}\nusers:\n- name: {user}\n  user:\n    client-certificate-data: {}\n    \
             client-key-data: {}\ncontexts:\n- name: dev\n  context: {{cluster: dev, user: \"{user}\"}}\ncurrent-context: dev\n",
            encode(&certificate),
            encode(&client),
            encode(&key)
        );
        Ok(fs::write(dir.join(file), text)?)
    };
    let manager = "system:kube-controller-manager";
    config("controller-manager.conf", manager, issue("controller-manager", manager, "", false)?)?;
    config("scheduler.conf", "system:kube-scheduler", issue("scheduler", "system:kube-scheduler", "", false)?)?;
    for node in nodes {
        let user = format!("system:node:{node}");
        config(&format!("{node}.conf"), &user, issue(node, &user, "system:nodes", false)?)?;
    }
    config("admin.conf", "kubernetes-admin", issue("admin", "kubernetes-admin", "system:masters", false)?)
}
