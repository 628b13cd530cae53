//! The store that the flags name: what can be said about them before anything starts, and what is said when etcd and we do
//! not come together.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use auth::trust::{Identity, Trust, client_config};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use store::Store;
use store::embedded::{self, Embedded};
use store::encrypt::{AtRest, Encrypted};
use store::etcd::{self, Etcd, Refusal};
use store::relocated::Relocated;

use crate::options::{Backend, Options};
use crate::outbound::egress::{Dialer, Egress, Network};

/// A store whose flags have been looked at.
pub enum Storage {
    Embedded(PathBuf),
    Etcd { servers: Vec<String>, how: etcd::Options, given: Given },
}

/// Which of the flags about certificates there are.
pub struct Given {
    authorities: bool,
    identity: bool,
}

impl Storage {
    /// # Errors
    /// A flag is missing, or a file that one names cannot be used.
    pub fn load(options: &Options, egress: &Egress) -> anyhow::Result<Self> {
        match options.backend() {
            Backend::Embedded => {
                let dir = options.store_dir.clone().context("--store-dir is needed with the embedded store")?;
                Ok(Self::Embedded(dir))
            }
            Backend::Etcd3 => {
                // Looked at also where nobody is spoken to with TLS: a flag that is given is meant.
                let tls = Arc::new(tls(options)?);
                let (servers, every) = (options.etcd_servers.clone(), options.etcd_compaction_interval);
                let encrypted = servers.iter().any(|server| server.starts_with("https://"));
                let how = etcd::Options {
                    tls: encrypted.then_some(tls),
                    dial: egress.lookup(Network::Etcd).and_then(dial),
                    compact_every: (!every.is_zero()).then_some(every),
                    ..etcd::Options::default()
                };
                let (authorities, identity) = (options.etcd_cafile.is_some(), options.etcd_certfile.is_some());
                Ok(Self::Etcd { servers, how, given: Given { authorities, identity } })
            }
        }
    }

    /// Opens it; `prefix` is where all keys are, and `at_rest` how values are stored there.
    ///
    /// # Errors
    /// It cannot be opened, or etcd does not answer.
    pub async fn open(self, prefix: &str, at_rest: Arc<dyn AtRest>) -> anyhow::Result<Arc<dyn Store>> {
        // Values are bound to the keys that they have in the end.
        let encrypted = Encrypted::new(self.open_usual().await?, at_rest);
        Ok(Relocated::at(prefix, Arc::new(encrypted)))
    }

    async fn open_usual(self) -> anyhow::Result<Arc<dyn Store>> {
        match self {
            Self::Embedded(dir) => Ok(Arc::new(Embedded::open(&dir, embedded::Options::default())?)),
            Self::Etcd { servers, how, given } => match Etcd::connect(&servers, how).await {
                Ok(etcd) => Ok(Arc::new(etcd)),
                Err(error) => Err(match error.chain().find_map(|cause| cause.downcast_ref::<Refusal>()) {
                    Some(refusal) => {
                        let why = given.blame(refusal);
                        error.context(why)
                    }
                    None => error,
                }),
            },
        }
    }
}

impl Given {
    /// Which flag to look at.
    fn blame(&self, refusal: &Refusal) -> &'static str {
        match (refusal, self.authorities, self.identity) {
            (Refusal::Theirs(_), true, _) => "the authorities of --etcd-cafile do not vouch for etcd's certificate",
            (Refusal::Theirs(_), false, _) => {
                "without --etcd-cafile the system's authorities must vouch for etcd's certificate, and they do not"
            }
            (Refusal::Ours(_), _, true) => "etcd does not accept the certificate of --etcd-certfile",
            (Refusal::Ours(_), _, false) => "etcd wants a certificate of its clients: --etcd-certfile, --etcd-keyfile",
        }
    }
}

/// How etcd is reached, if not directly.
fn dial(dialer: &Dialer) -> Option<etcd::Dial> {
    if matches!(dialer, Dialer::Direct) {
        return None;
    }
    let dialer = dialer.clone();
    Some(etcd::Dial::new(move |host: String, port: u16| {
        let dialer = dialer.clone();
        async move {
            let socket = dialer.dial(&host, port).await.map_err(std::io::Error::other)?;
            Ok(Box::new(socket) as Box<dyn etcd::Io>)
        }
    }))
}

/// TLS for etcd, as upstream's flags say.
fn tls(options: &Options) -> anyhow::Result<rustls::ClientConfig> {
    let read = |flag: &str, file: &Option<PathBuf>, check: fn(&[u8]) -> anyhow::Result<()>| {
        let read = |file: &Path| {
            let wrong = || format!("{flag}: {}", file.display());
            let pem = std::fs::read(file).with_context(wrong)?;
            check(&pem).with_context(wrong)?;
            anyhow::Ok(pem)
        };
        file.as_deref().map(read).transpose()
    };
    let authorities = read("--etcd-cafile", &options.etcd_cafile, certificates)?;
    let certificate = read("--etcd-certfile", &options.etcd_certfile, certificates)?;
    let key = read("--etcd-keyfile", &options.etcd_keyfile, private_key)?;
    let identity = certificate.as_deref().zip(key.as_deref()).map(|(certificate, key)| Identity { certificate, key });
    let trust = Trust::of(authorities.as_deref().unwrap_or_default());
    client_config(trust, identity).context("--etcd-cafile, --etcd-certfile, --etcd-keyfile")
}

fn certificates(pem: &[u8]) -> anyhow::Result<()> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>()?;
    anyhow::ensure!(!all.is_empty(), "there is no certificate (PEM) in it");
    Ok(())
}

fn private_key(pem: &[u8]) -> anyhow::Result<()> {
    PrivateKeyDer::from_pem_slice(pem).context("there is no private key (PEM) in it")?;
    Ok(())
}
