//! A cluster's certificates, keys and kubeconfigs, made once and kept in its folder.
//!
//! Names, subjects and key usages are kubeadm's. Everything is made before the sandbox is entered, so that a cluster's
//! identity outlives any one run.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use crate::topology::ClusterPlan;

/// Ten years: a teaching cluster's certificates should not end before the course does.
const VALID_DAYS: i64 = 3650;

/// The folder of one cluster's credentials, and those who sign.
pub struct Pki {
    dir: PathBuf,
    ca: Issuer<'static, KeyPair>,
    ca_pem: String,
}

impl Pki {
    /// Opens the credentials below `cluster_dir`/pki, and makes whatever is not there yet.
    ///
    /// # Errors
    /// When a file cannot be read or written, or does not hold what its name says.
    pub fn ensure(cluster_dir: &Path, plan: &ClusterPlan) -> anyhow::Result<Self> {
        let dir = cluster_dir.join("pki");
        fs::create_dir_all(&dir)?;
        let (ca, ca_pem) = authority(&dir, "ca", "kubernetes")?;
        let (front, _) = authority(&dir, "front-proxy-ca", "front-proxy-ca")?;
        let pki = Self { dir, ca, ca_pem };
        let mut names = vec!["localhost".to_owned(), plan.control_plane().name.clone()];
        names.extend(["", ".default", ".default.svc", ".default.svc.cluster.local"].map(|s| format!("kubernetes{s}")));
        let addresses = [plan.kubernetes_ip.into(), plan.control_plane().address.into(), IpAddr::from([127, 0, 0, 1])];
        pki.server("apiserver", "kube-apiserver", None, &names, &addresses)?;
        pki.client("apiserver-kubelet-client", "kube-apiserver-kubelet-client", Some("system:masters"))?;
        if !pki.dir.join("front-proxy-client.crt").exists() {
            let (key, cert) = issue(&front, params("front-proxy-client", None, ExtendedKeyUsagePurpose::ClientAuth))?;
            pki.save("front-proxy-client", &key, &cert)?;
        }
        if !pki.dir.join("sa.key").exists() {
            let key = KeyPair::generate()?;
            write_private(&pki.dir.join("sa.key"), &key.serialize_pem())?;
            fs::write(pki.dir.join("sa.pub"), key.public_key_pem())?;
        }
        for node in &plan.nodes {
            pki.server(
                &format!("kubelet-{}", node.name),
                &format!("system:node:{}", node.name),
                Some("system:nodes"),
                std::slice::from_ref(&node.name),
                &[node.address.into()],
            )?;
            pki.client(
                &format!("kubelet-client-{}", node.name),
                &format!("system:node:{}", node.name),
                Some("system:nodes"),
            )?;
        }
        pki.client("admin", "kubernetes-admin", Some("system:masters"))?;
        pki.client("controller-manager", "system:kube-controller-manager", None)?;
        pki.client("scheduler", "system:kube-scheduler", None)?;
        Ok(pki)
    }

    /// A kubeconfig of one context with the credentials `name`.crt and `name`.key inlined.
    ///
    /// # Errors
    /// When those cannot be read.
    pub fn kubeconfig(&self, context: &str, server: &str, name: &str, user: &str) -> anyhow::Result<serde_json::Value> {
        let read = |file: String| -> anyhow::Result<String> {
            let path = self.dir.join(file);
            Ok(BASE64.encode(fs::read(&path).with_context(|| format!("reading {}", path.display()))?))
        };
        Ok(serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": context, "cluster": {
                "server": server,
                "certificate-authority-data": BASE64.encode(&self.ca_pem),
            }}],
            "users": [{ "name": user, "user": {
                "client-certificate-data": read(format!("{name}.crt"))?,
                "client-key-data": read(format!("{name}.key"))?,
            }}],
            "contexts": [{ "name": context, "context": { "cluster": context, "user": user } }],
            "current-context": context,
        }))
    }

    fn client(&self, file: &str, user: &str, group: Option<&str>) -> anyhow::Result<()> {
        if self.dir.join(format!("{file}.crt")).exists() {
            return Ok(());
        }
        let (key, cert) = issue(&self.ca, params(user, group, ExtendedKeyUsagePurpose::ClientAuth))?;
        self.save(file, &key, &cert)
    }

    fn server(
        &self,
        file: &str,
        user: &str,
        group: Option<&str>,
        names: &[String],
        addresses: &[IpAddr],
    ) -> anyhow::Result<()> {
        if self.dir.join(format!("{file}.crt")).exists() {
            return Ok(());
        }
        let mut params = params(user, group, ExtendedKeyUsagePurpose::ServerAuth);
        for name in names {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
        }
        params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
        let (key, cert) = issue(&self.ca, params)?;
        self.save(file, &key, &cert)
    }

    fn save(&self, file: &str, key: &KeyPair, cert: &Certificate) -> anyhow::Result<()> {
        write_private(&self.dir.join(format!("{file}.key")), &key.serialize_pem())?;
        // The certificate last: it being there says that the pair is complete.
        fs::write(self.dir.join(format!("{file}.crt")), cert.pem())?;
        Ok(())
    }
}

fn authority(dir: &Path, file: &str, name: &str) -> anyhow::Result<(Issuer<'static, KeyPair>, String)> {
    let (crt, key_file) = (dir.join(format!("{file}.crt")), dir.join(format!("{file}.key")));
    if crt.exists() {
        let pem = fs::read_to_string(&crt)?;
        let key = KeyPair::from_pem(&fs::read_to_string(&key_file)?).with_context(|| key_file.display().to_string())?;
        return Ok((Issuer::from_ca_cert_pem(&pem, key).with_context(|| crt.display().to_string())?, pem));
    }
    let mut params = named(name, None);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate()?;
    let cert = params.self_signed(&key)?;
    write_private(&key_file, &key.serialize_pem())?;
    fs::write(&crt, cert.pem())?;
    Ok((Issuer::new(params, key), cert.pem()))
}

fn issue(ca: &Issuer<'static, KeyPair>, params: CertificateParams) -> anyhow::Result<(KeyPair, Certificate)> {
    let key = KeyPair::generate()?;
    let cert = params.signed_by(&key, ca)?;
    Ok((key, cert))
}

fn params(user: &str, group: Option<&str>, usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = named(user, group);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![usage];
    params
}

fn named(common_name: &str, organization: Option<&str>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    if let Some(organization) = organization {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    let now = std::time::SystemTime::now();
    // A day of grace for clocks that differ.
    params.not_before = (now - std::time::Duration::from_secs(86_400)).into();
    params.not_after = (now + std::time::Duration::from_secs(VALID_DAYS as u64 * 86_400)).into();
    params
}

/// Writes a file that only its owner may read.
///
/// # Errors
/// When it cannot be written.
pub fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes()).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{Store, Topology};

    #[test]
    fn made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let plan = Topology::default().resolve(Store::Embedded).unwrap();
        let first = Pki::ensure(dir.path(), &plan.clusters[0]).unwrap();
        let before = fs::read(first.dir.join("apiserver.crt")).unwrap();
        let again = Pki::ensure(dir.path(), &plan.clusters[0]).unwrap();
        assert_eq!(before, fs::read(again.dir.join("apiserver.crt")).unwrap());
        let config = again.kubeconfig("c0", "https://127.0.0.1:1", "admin", "kubernetes-admin").unwrap();
        assert_eq!(config["contexts"][0]["name"], "c0");
        let key = fs::metadata(again.dir.join("ca.key")).unwrap();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&key.permissions()) & 0o777, 0o600);
    }
}
