//! A registry on a loopback port, as far as a pull needs one (the OCI distribution specification's "pull" category): it gives
//! out images made on the spot, those of repositories below `private/` only to who knows the password.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;

use crate::shell;

/// `user:password` in base64, as the header has it.
pub const AUTH: &str = "dXNlcjpwYXNzd29yZA==";

/// The registry; it serves for as long as the test's process lives.
pub struct Registry {
    /// `localhost:PORT`
    pub address: String,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    /// The OCI layout of the image a tag stands for: by `repository:tag`.
    images: BTreeMap<String, tempfile::TempDir>,
    /// Paths that were asked for with success.
    served: Vec<String>,
}

impl Registry {
    /// # Errors
    /// When no port is to be had.
    pub fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = format!("localhost:{}", listener.local_addr()?.port());
        let shared = Arc::new(Mutex::new(Shared::default()));
        let own = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Whoever hangs up early is no concern of the registry's.
                let _ = answer(stream, &own);
            }
        });
        Ok(Self { address, shared })
    }

    /// Puts the image of a docker-archive under `repository:tag`, in place of what was there.
    ///
    /// # Errors
    /// When skopeo is missing, or cannot read the archive.
    pub fn put(&self, name: &str, archive: &Path) -> anyhow::Result<()> {
        let layout = tempfile::tempdir()?;
        let mut command = Command::new("skopeo");
        command.args(["--insecure-policy", "copy", "--quiet"]).arg(format!("docker-archive:{}", archive.display()));
        command.arg(format!("oci:{}", layout.path().display()));
        shell::run(&mut command, Duration::from_secs(60)).context("is the package skopeo installed?")?.ok()?;
        self.lock().images.insert(name.to_owned(), layout);
        Ok(())
    }

    /// How many blobs were given out since the last question.
    pub fn blobs(&self) -> usize {
        std::mem::take(&mut self.lock().served).iter().filter(|path| path.contains("/blobs/")).count()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request a connection.
fn answer(mut stream: TcpStream, shared: &Mutex<Shared>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut lines = BufReader::new(&stream).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    let mut known = false;
    for line in lines {
        let line = line?;
        known |= line.to_ascii_lowercase().starts_with("authorization: basic") && line.ends_with(AUTH);
        if line.is_empty() {
            break;
        }
    }
    let mut words = request.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
    // Clients ask at `/v2/` how to say who they are.
    let found = if (path == "/v2/" || path.starts_with("/v2/private/")) && !known {
        Err("401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"test\"")
    } else if path == "/v2/" {
        Ok(("application/json".to_owned(), b"{}".to_vec()))
    } else {
        shared.find(path).ok_or("404 Not Found")
    };
    match found {
        Ok((kind, body)) => {
            shared.served.push(path.to_owned());
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            )?;
            if method == "GET" { stream.write_all(&body) } else { Ok(()) }
        }
        Err(status) => write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
    }
}

impl Shared {
    /// `/v2/<repository>/manifests/<tag or digest>` or `/v2/<repository>/blobs/<digest>`: the type, and the bytes.
    fn find(&self, path: &str) -> Option<(String, Vec<u8>)> {
        let (rest, reference) = path.strip_prefix("/v2/")?.rsplit_once('/')?;
        let (repository, what) = rest.rsplit_once('/')?;
        let blob = |layout: &tempfile::TempDir, digest: &str| {
            fs::read(layout.path().join("blobs").join(digest.replace(':', "/"))).ok()
        };
        if let Some(layout) = self.images.get(&format!("{repository}:{reference}")) {
            let index: serde_json::Value =
                serde_json::from_slice(&fs::read(layout.path().join("index.json")).ok()?).ok()?;
            let manifest = &index["manifests"][0];
            return Some((manifest["mediaType"].as_str()?.to_owned(), blob(layout, manifest["digest"].as_str()?)?));
        }
        let prefix = format!("{repository}:");
        let mut layouts = self.images.iter().filter(|(name, _)| name.starts_with(&prefix));
        let bytes = layouts.find_map(|(_, layout)| blob(layout, reference))?;
        let manifest = "application/vnd.oci.image.manifest.v1+json";
        Some((if what == "manifests" { manifest } else { "application/octet-stream" }.to_owned(), bytes))
    }
}
