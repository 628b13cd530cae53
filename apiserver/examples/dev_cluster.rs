//! An API server for development and tests, without the launcher: makes keys, certificates and a kubeconfig in a folder, and
//! serves on a loopback port.
//!
//! `cargo run -p knetsim-apiserver --example dev_cluster -- --dir /tmp/x --port 7443`, then `kubectl --kubeconfig /tmp/x/admin.conf`.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::Parser;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};

#[derive(Parser)]
struct Flags {
    /// Where keys, kubeconfigs and the store are put; what is there already is used again.
    #[arg(long)]
    dir: PathBuf,
    #[arg(long, default_value_t = 7443)]
    port: u16,
    /// etcd to use instead of the embedded store.
    #[arg(long)]
    etcd: Option<String>,
    /// Names of nodes to make kubelet certificates and kubeconfigs for.
    #[arg(long, value_delimiter = ',')]
    nodes: Vec<String>,
}

fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    fs::create_dir_all(flags.dir.join("pki"))?;
    if !flags.dir.join("admin.conf").exists() {
        write_pki(&flags.dir, flags.port, &flags.nodes).context("make certificates")?;
    }
    let pki = flags.dir.join("pki");
    let file = |name: &str| pki.join(name).into_os_string();
    let mut args: Vec<OsString> = vec!["apiserver".into()];
    let mut flag = |name: &str, value: OsString| args.extend([OsString::from(name), value]);
    flag("--bind-address", "127.0.0.1".into());
    flag("--secure-port", flags.port.to_string().into());
    flag("--tls-cert-file", file("apiserver.crt"));
    flag("--tls-private-key-file", file("apiserver.key"));
    flag("--client-ca-file", file("ca.crt"));
    flag("--kubelet-client-certificate", file("apiserver-kubelet-client.crt"));
    flag("--kubelet-client-key", file("apiserver-kubelet-client.key"));
    flag("--service-account-key-file", file("sa.pub"));
    flag("--service-account-signing-key-file", file("sa.key"));
    match flags.etcd {
        Some(servers) => {
            flag("--storage-backend", "etcd3".into());
            flag("--etcd-servers", servers.into());
        }
        None => flag("--store-dir", flags.dir.join("store").into_os_string()),
    }
    apiserver::run(args)
}

/// Everything the server and its clients need.
fn write_pki(dir: &Path, port: u16, nodes: &[String]) -> anyhow::Result<()> {
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
        let names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost"];
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
            encode(&certificate), encode(&client), encode(&key)
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
