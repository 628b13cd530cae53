//! The certificates the server shows, and how it speaks TLS.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use auth::x509::{Asked, Manner, Named, server_config_in};

use crate::options::Options;

/// What the flags ask for.
///
/// # Errors
/// A file cannot be read or made, or holds nothing that can be used.
pub fn tls(options: &Options, clients: Asked<'_>) -> anyhow::Result<Arc<rustls::ServerConfig>> {
    let serving = &options.serving;
    let (certificate, key) = match (&serving.tls_cert_file, &serving.tls_private_key_file) {
        (Some(certificate), Some(key)) => (read(certificate)?, read(key)?),
        _ => own(options)?,
    };
    let named = serving.tls_sni_cert_key.iter().map(|pair| {
        Ok(Named { certificate: read(&pair.certificate)?, key: read(&pair.key)?, names: pair.names.clone() })
    });
    let manner = Manner {
        oldest: serving.tls_min_version.unwrap_or_default(),
        suites: serving.tls_cipher_suites.clone(),
        http1_only: serving.disable_http2_serving,
        named: named.collect::<anyhow::Result<_>>()?,
    };
    server_config_in(&certificate, &key, clients, &manner)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("read {}", path.display()))
}

/// The certificate in `--cert-dir`, made where there is none, as upstream does.
fn own(options: &Options) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
    let dir = &options.serving.cert_dir;
    let (certificate, key) = (dir.join("apiserver.crt"), dir.join("apiserver.key"));
    if !certificate.exists() {
        let mut names =
            ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"].map(str::to_owned).to_vec();
        names.extend([options.advertised(), options.api_service_ip()].map(|address| address.to_string()));
        let made = rcgen::generate_simple_self_signed(names)?;
        std::fs::create_dir_all(dir).with_context(|| format!("make the folder {}", dir.display()))?;
        write(&key, &made.signing_key.serialize_pem(), 0o600)?;
        // Last: that it is there says that both are.
        write(&certificate, &made.cert.pem(), 0o644)?;
    }
    Ok((read(&certificate)?, read(&key)?))
}

fn write(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn a_certificate_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let flags = [
            "apiserver",
            "--store-dir=s",
            "--client-ca-file=c",
            "--service-account-signing-key-file=k",
            &format!("--cert-dir={}", dir.path().join("new").display()),
        ];
        let options = Options::parse_from(flags);
        let first = own(&options).unwrap();
        assert_eq!(own(&options).unwrap(), first);
        assert!(tls(&options, Asked::Nobody).is_ok());
        assert!(auth::x509::server_config(&first.0, &first.1, Asked::Nobody).is_ok());
    }
}
