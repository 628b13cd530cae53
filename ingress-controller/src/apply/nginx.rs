//! nginx as a child process: files written atomically, checked, loaded by SIGHUP, and known to be loaded.
//!
//! On SIGHUP nginx keeps its listening sockets, starts new workers and lets the old ones finish, so no request is lost.
//! Whether it has done so is read from its own notices ("start worker process"), not guessed by waiting. The old
//! configuration stays in force whenever the new one is refused.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::core::model::{Certificate, Config};
use crate::core::render::{self, Settings};

/// nginx forks its workers within milliseconds; a loaded machine gets this much.
const LOAD_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// nginx read the configuration and refused it.
    #[error("nginx refuses the configuration: {message}")]
    Refused {
        message: String,
        /// The rendered text and the line that nginx named, if it named one.
        text: String,
        line: Option<usize>,
    },
    #[error("cannot write nginx's files below {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot run {program} (package nginx-light)")]
    Run { program: PathBuf, source: io::Error },
    #[error("nginx did not load the configuration within {LOAD_TIMEOUT:?}")]
    Silent,
    #[error("nginx ended")]
    Ended,
    #[error(transparent)]
    Render(#[from] askama::Error),
    #[error("cannot signal nginx")]
    Signal(#[from] nix::Error),
}

/// What nginx's master said on stderr, as counters.
#[derive(Clone, Debug, Default)]
struct Heard {
    workers_started: u64,
    /// The last `[emerg]` of the master and how many there were.
    emergencies: u64,
    emergency: String,
}

/// A running nginx.
pub struct Nginx {
    program: PathBuf,
    settings: Settings,
    child: Child,
    master: Pid,
    heard: watch::Receiver<Heard>,
}

impl Nginx {
    /// Writes the first configuration and starts nginx with it. `default_certificate` is for hosts without a Secret.
    ///
    /// # Errors
    /// When the folder is not writable, nginx is missing or it refuses the configuration.
    pub async fn start(
        program: &Path,
        settings: Settings,
        default_certificate: &Certificate,
        config: &Config,
    ) -> Result<Self, Error> {
        let dir = PathBuf::from(&settings.dir);
        let write_error = |source| Error::Write { path: dir.clone(), source };
        fs::create_dir_all(dir.join("certs")).map_err(write_error)?;
        write_certificate(&dir, &settings.default_certificate, default_certificate).map_err(write_error)?;
        write_files(&dir, config).map_err(write_error)?;
        let text = render::render(config, &settings)?;
        stage(program, &dir, text, true).await?;
        let mut child = command(program, &dir.join("nginx.conf"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| Error::Run { program: program.to_owned(), source })?;
        let master = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw).ok_or(Error::Ended)?;
        let (sender, heard) = watch::channel(Heard::default());
        tokio::spawn(listen(child.stderr.take(), master, sender));
        tokio::spawn(pass_on(child.stdout.take()));
        let mut nginx = Self { program: program.to_owned(), settings, child, master, heard };
        nginx.loaded(Heard::default()).await?;
        Ok(nginx)
    }

    /// Replaces the configuration. Returns when the new workers run. `checked` spends some milliseconds on `nginx -t`
    /// first; without it (only endpoints changed) a refusal is still noticed, by nginx's own words.
    ///
    /// # Errors
    /// Nothing has changed then: the old configuration is in force.
    pub async fn load(&mut self, config: &Config, checked: bool) -> Result<(), Error> {
        let dir = PathBuf::from(&self.settings.dir);
        write_files(&dir, config).map_err(|source| Error::Write { path: dir.clone(), source })?;
        let text = render::render(config, &self.settings)?;
        stage(&self.program, &dir, text, checked).await?;
        let before = self.heard.borrow_and_update().clone();
        kill(self.master, Signal::SIGHUP)?;
        self.loaded(before).await?;
        if let Err(error) = remove_unused(&dir, config, &self.settings.default_certificate) {
            tracing::warn!(%error, "old certificates not removed");
        }
        Ok(())
    }

    async fn loaded(&mut self, before: Heard) -> Result<(), Error> {
        let wanted = before.workers_started + u64::from(self.settings.workers);
        let done = self.heard.wait_for(|now| now.workers_started >= wanted || now.emergencies > before.emergencies);
        let now = match tokio::time::timeout(LOAD_TIMEOUT, done).await {
            Ok(Ok(now)) => now.clone(),
            Ok(Err(_)) => return Err(Error::Ended),
            Err(_) => return Err(Error::Silent),
        };
        if now.emergencies > before.emergencies {
            return Err(Error::Refused { message: now.emergency, text: String::new(), line: None });
        }
        Ok(())
    }

    /// Resolves when nginx has ended by itself.
    pub async fn ended(&mut self) -> io::Result<std::process::ExitStatus> {
        self.child.wait().await
    }

    /// Lets nginx finish its requests for at most `grace`, then ends it.
    pub async fn stop(mut self, grace: Duration) {
        if kill(self.master, Signal::SIGQUIT).is_ok() && tokio::time::timeout(grace, self.child.wait()).await.is_err() {
            tracing::warn!("nginx still has requests; ending it");
            let _ = kill(self.master, Signal::SIGTERM);
            if tokio::time::timeout(Duration::from_secs(1), self.child.wait()).await.is_err() {
                let _ = self.child.kill().await;
            }
        }
    }
}

fn command(program: &Path, conf: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("-e").arg("stderr").arg("-c").arg(conf).stdin(Stdio::null());
    command
}

/// Puts `text` in place of nginx.conf, after nginx has read it when `checked`.
async fn stage(program: &Path, dir: &Path, text: String, checked: bool) -> Result<(), Error> {
    let write_error = |source| Error::Write { path: dir.to_owned(), source };
    let next = dir.join("nginx.conf.next");
    fs::write(&next, &text).map_err(write_error)?;
    if checked {
        let output = command(program, &next).args(["-t", "-q"]).stdout(Stdio::null()).output().await;
        let output = output.map_err(|source| Error::Run { program: program.to_owned(), source })?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let message = said.lines().find(|line| line.contains("[emerg]")).unwrap_or(&said).trim().to_owned();
            let line = line_number(&message);
            return Err(Error::Refused { message: without_path(&message), text, line });
        }
    }
    fs::rename(&next, dir.join("nginx.conf")).map_err(write_error)
}

/// The number at the end of `… in /dir/nginx.conf.next:123`.
fn line_number(message: &str) -> Option<usize> {
    message.rsplit_once(':')?.1.trim().parse().ok()
}

/// The message as its Ingress's owner should read it: without our file names.
fn without_path(message: &str) -> String {
    let text = message.split_once("[emerg] ").map_or(message, |(_, text)| text);
    text.rsplit_once(" in /").map_or(text, |(text, _)| text).to_owned()
}

fn write_files(dir: &Path, config: &Config) -> io::Result<()> {
    config.certificates.iter().try_for_each(|(stem, certificate)| write_certificate(dir, stem, certificate))
}

/// The stem names the content, so a file that exists is right.
fn write_certificate(dir: &Path, stem: &str, certificate: &Certificate) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let path = dir.join("certs").join(format!("{stem}.pem"));
    if path.exists() {
        return Ok(());
    }
    let next = path.with_extension("next");
    let _ = fs::remove_file(&next);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&next)?;
    io::Write::write_all(&mut file, format!("{}\n{}\n", certificate.chain.trim_end(), certificate.key).as_bytes())?;
    fs::rename(next, path)
}

fn remove_unused(dir: &Path, config: &Config, default_certificate: &str) -> io::Result<()> {
    for entry in fs::read_dir(dir.join("certs"))? {
        let path = entry?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if stem != default_certificate && !config.certificates.contains_key(stem) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Reads nginx's stderr for as long as it lives: counts what matters and passes all on to our own log.
async fn listen(stderr: Option<impl AsyncRead + Unpin>, master: Pid, heard: watch::Sender<Heard>) {
    let Some(stderr) = stderr else { return };
    let mut lines = BufReader::new(stderr).lines();
    let by_master = format!(" {master}#");
    while let Ok(Some(line)) = lines.next_line().await {
        if line.contains("[notice]") {
            tracing::debug!("{line}");
        } else {
            eprintln!("{line}");
        }
        if line.contains(": start worker process ") {
            heard.send_modify(|heard| heard.workers_started += 1);
        } else if line.contains("[emerg]") && (line.contains(&by_master) || line.starts_with("nginx:")) {
            // A worker's own [emerg] (initgroups in a user namespace) is no refusal.
            heard.send_modify(|heard| {
                heard.emergencies += 1;
                heard.emergency = without_path(&line);
            });
        }
    }
}

/// nginx's access log is ours.
async fn pass_on(stdout: Option<impl AsyncRead + Unpin>) {
    let Some(mut stdout) = stdout else { return };
    if let Err(error) = tokio::io::copy(&mut stdout, &mut tokio::io::stdout()).await {
        tracing::warn!(%error, "access log lost");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_read_for_its_line_and_its_reason() {
        let said = "nginx: [emerg] pcre2_compile() failed: missing closing parenthesis in \"^/(\" at \"\" in /x/nginx.conf.next:77";
        assert_eq!(line_number(said), Some(77));
        assert_eq!(without_path(said), "pcre2_compile() failed: missing closing parenthesis in \"^/(\" at \"\"");
    }
}
