//! Images from registries, fetched by skopeo: it knows their ways, and the user's mirrors and credentials
//! (containers-registries.conf(5), containers-auth.json(5)). Nodes have no way out of the emulator, so this runs on the host.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::reference::Reference;
use super::store;

/// A registry that stops answering is given up on.
const PATIENCE: &str = "--command-timeout=10m";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot run skopeo ({0}): install the package skopeo")]
    NoTool(std::io::Error),
    /// In skopeo's words.
    #[error("{0}")]
    Refused(String),
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Store(#[from] store::Error),
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io { path: path.to_owned(), source }
}

/// Brings what a registry has under a name into the store, unless that is there already; blocking. `auths` is a
/// containers-auth.json(5) used instead of the user's own.
///
/// # Errors
/// When the registry does not answer or refuses, or there is no skopeo; the store is as it was.
pub fn fetch(store: &Path, reference: &Reference, auths: Option<&Value>) -> Result<(), Error> {
    std::fs::create_dir_all(store).map_err(io(store))?;
    let dir = tempfile::Builder::new().prefix(".pull-").tempdir_in(store).map_err(io(store))?;
    let skopeo = Skopeo {
        authfile: write_auths(dir.path(), auths)?,
        runtime_dir: needs_runtime_dir(nix::unistd::geteuid().is_root(), std::env::var_os("XDG_RUNTIME_DIR"))
            .then(|| dir.path().to_owned()),
        verified: !is_loopback(&reference.registry),
    };
    let repository = format!("docker://{}/{}", reference.registry, reference.repository);
    let source = match (&reference.digest, &reference.tag) {
        (Some(digest), _) => format!("{repository}@{digest}"),
        (None, tag) => format!("{repository}:{}", tag.as_deref().unwrap_or("latest")),
    };
    // A manifest's digest is that of its bytes.
    let manifest = skopeo.run("--tls-verify", &["inspect", "--raw", &source])?;
    let digest = format!("sha256:{}", store::hex(&Sha256::digest(manifest)));
    if store::digest(store, reference)?.as_deref() == Some(&*digest) {
        return Ok(());
    }
    let layout = dir.path().join("layout");
    // What was looked at, whatever the tag says by now.
    let (from, to) = (format!("{repository}@{digest}"), format!("oci:{}", layout.display()));
    skopeo.run("--src-tls-verify", &["copy", "--quiet", &from, &to])?;
    store::add_layout(store, &layout, reference, &digest)?;
    Ok(())
}

/// Private to us: it holds passwords.
fn write_auths(dir: &Path, auths: Option<&Value>) -> Result<Option<PathBuf>, Error> {
    let Some(auths) = auths else { return Ok(None) };
    let path = dir.join("auth.json");
    let mut file = tempfile::Builder::new().tempfile_in(dir).map_err(io(dir))?;
    file.write_all(auths.to_string().as_bytes()).map_err(io(&path))?;
    file.persist(&path).map_err(|error| io(&path)(error.error))?;
    Ok(Some(path))
}

/// Whether skopeo has to be told of a folder for what lasts a session. Without one it looks for credentials below
/// `/run/containers`, which is root's as soon as root has used such a tool: everybody else's pulls fail there.
fn needs_runtime_dir(root: bool, known: Option<OsString>) -> bool {
    !root && known.is_none_or(|dir| dir.is_empty())
}

struct Skopeo {
    authfile: Option<PathBuf>,
    runtime_dir: Option<PathBuf>,
    /// Whether the registry has to have TLS, and a certificate that can be verified.
    verified: bool,
}

impl Skopeo {
    /// Runs a command; `verify` is its option for [`Self::verified`].
    fn run(&self, verify: &str, args: &[&str]) -> Result<Vec<u8>, Error> {
        // It must not go on when whoever started it has been killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig=KILL", "skopeo", PATIENCE, "--override-os=linux"]).args(args);
        command.arg(format!("{verify}={}", self.verified));
        command.args(self.authfile.iter().map(|path| format!("--authfile={}", path.display())));
        command.envs(self.runtime_dir.iter().map(|path| ("XDG_RUNTIME_DIR", path)));
        let output = command.stdin(Stdio::null()).output().map_err(Error::NoTool)?;
        let said = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => Ok(output.stdout),
            // setpriv's way to say that there is no such program.
            Some(127) => Err(Error::NoTool(std::io::ErrorKind::NotFound.into())),
            _ => Err(Error::Refused(fatal(&said))),
        }
    }
}

/// The message of skopeo's last log line: `time="…" level=fatal msg="…"`.
fn fatal(said: &str) -> String {
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("skopeo failed and said nothing");
    let message = last.split_once(" msg=").and_then(|(_, quoted)| serde_json::from_str(quoted).ok());
    message.unwrap_or_else(|| last.to_owned())
}

/// Whether a registry is on this machine; such a one needs no TLS, as with Docker.
fn is_loopback(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    host == "localhost" || host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_wrong_is_said_in_one_line() {
        let log = "time=\"2026-01-01T00:00:00Z\" level=warning msg=\"x\"\n\
            time=\"2026-01-01T00:00:00Z\" level=fatal msg=\"reading manifest \\\"1\\\": manifest unknown\"\n";
        assert_eq!(fatal(log), "reading manifest \"1\": manifest unknown");
        assert_eq!(fatal("Error: odd\n\n"), "Error: odd");
        assert_eq!(fatal(""), "skopeo failed and said nothing");
    }

    #[test]
    fn a_user_without_a_session_does_not_look_into_roots_folder() {
        assert!(needs_runtime_dir(false, None) && needs_runtime_dir(false, Some(OsString::new())));
        assert!(!needs_runtime_dir(false, Some("/run/user/1000".into())), "there the user's own credentials are");
        assert!(!needs_runtime_dir(true, None), "/run/containers/0 is root's own");
    }

    #[test]
    fn a_registry_of_ones_own_needs_no_tls() {
        let own: Vec<bool> = ["localhost", "localhost:5000", "127.0.0.1:5000", "docker.io", "10.0.0.1:5000", "local"]
            .map(is_loopback)
            .to_vec();
        assert_eq!(own, [true, true, true, false, false, false]);
    }
}
