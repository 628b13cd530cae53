//! Asking the host for an image of a registry: a line of JSON there, a line back when it is in the store.
//!
//! The kubelet asks ([`ask`]); outside of the emulator's namespaces somebody answers ([`serve`]) until the emulator ends.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::reference::Reference;
use super::registry;

/// Pulls under way at once; whoever comes then waits for a turn.
const AT_ONCE: usize = 4;
/// The longest request, credentials and all.
const MAX_REQUEST: u64 = 1 << 20;
/// A client that says nothing for so long is let go.
const SILENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Deserialize, Serialize)]
pub struct Request {
    pub image: String,
    /// A containers-auth.json(5), or `None` for the user's own.
    pub auths: Option<Value>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    Stored,
    Failed(String),
}

/// Has an image brought into the store; blocking, as long as that takes.
///
/// # Errors
/// Why it is not there, in words.
pub fn ask(socket: &Path, request: &Request) -> Result<(), String> {
    let exchange = || -> std::io::Result<Answer> {
        let mut stream = UnixStream::connect(socket)?;
        stream.write_all(format!("{}\n", serde_json::to_string(request)?).as_bytes())?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    };
    match exchange() {
        Ok(Answer::Stored) => Ok(()),
        Ok(Answer::Failed(why)) => Err(why),
        Err(error) => Err(format!(
            "nobody pulls images any more ({}: {error}): `knetsim down` and `knetsim up --pull` mend that",
            socket.display()
        )),
    }
}

/// Answers on threads of its own, for as long as the process lives. Images go into `store`.
///
/// # Errors
/// When the socket cannot be bound.
pub fn serve(socket: &Path, store: PathBuf) -> std::io::Result<()> {
    let _ = std::fs::remove_file(socket);
    // Of a pull that was cut short.
    for entry in std::fs::read_dir(&store).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(".pull-") {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    let listener = Arc::new(UnixListener::bind(socket)?);
    let pulls = Arc::new(Pulls { store, under_way: Mutex::default(), done: Condvar::new() });
    for _ in 0..AT_ONCE {
        let (listener, pulls) = (listener.clone(), pulls.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Whoever went away in between needs no answer.
                let _ = pulls.answer(stream);
            }
        });
    }
    Ok(())
}

struct Pulls {
    store: PathBuf,
    under_way: Mutex<BTreeSet<String>>,
    done: Condvar,
}

impl Pulls {
    fn answer(&self, mut stream: UnixStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(SILENCE))?;
        let mut line = String::new();
        BufReader::new((&stream).take(MAX_REQUEST)).read_line(&mut line)?;
        let request: Request = serde_json::from_str(&line)?;
        let answer = match self.pull(&request) {
            Ok(()) => Answer::Stored,
            Err(why) => Answer::Failed(why),
        };
        stream.write_all(format!("{}\n", serde_json::to_string(&answer)?).as_bytes())
    }

    /// One pull of an image at a time: who comes second finds it there.
    fn pull(&self, request: &Request) -> Result<(), String> {
        let reference = Reference::parse(&request.image).ok_or("invalid reference format")?;
        let name = reference.to_string();
        let under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let mut under_way =
            self.done.wait_while(under_way, |all| all.contains(&name)).unwrap_or_else(PoisonError::into_inner);
        under_way.insert(name.clone());
        drop(under_way);
        let result = registry::fetch(&self.store, &reference, request.auths.as_ref());
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
        self.done.notify_all();
        result.map_err(|error| error.to_string())
    }
}
