//! Running a further program in a container: `runc exec`, with pipes or on a terminal.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// Drives the OCI runtime for everything but starting containers, which [`crate::pause`] does.
#[derive(Clone, Debug)]
pub struct Runc {
    root: PathBuf,
}

/// What an exec without a terminal ended with.
#[derive(Debug, PartialEq, Eq)]
pub struct Output {
    pub code: i32,
    /// stdout and stderr together, cut at [`MAX_OUTPUT`].
    pub text: String,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot run runc (package runc): {0}")]
    Io(#[from] std::io::Error),
    /// The command in one string, and how long it was given.
    #[error("command timed out: {0:?} timed out after {1:?}")]
    TimedOut(String, Duration),
}

/// Upstream keeps 10 KiB of a probe's output.
const MAX_OUTPUT: u64 = 10 * 1024;

impl Runc {
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn command(&self) -> Command {
        let mut command = Command::new("runc");
        command.arg("--root").arg(&self.root);
        command
    }

    /// Forgets a container, killing what is left of it.
    ///
    /// # Errors
    /// When runc cannot be run.
    pub async fn delete(&self, id: &str) -> std::io::Result<()> {
        if !self.root.join(id).exists() {
            return Ok(());
        }
        let mut command = self.command();
        command.args(["delete", "--force", id]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().await.map(drop)
    }

    /// Gives a running container other limits (the specification's `linux.resources`).
    ///
    /// # Errors
    /// With the runtime's words.
    pub async fn update(&self, id: &str, resources: &serde_json::Value) -> Result<(), String> {
        let mut command = self.command();
        command.args(["update", "--resources", "-", id]).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let work = async {
            let mut child = command.spawn()?;
            let mut stdin = child.stdin.take().expect("stdin is piped");
            // A runtime that ends without reading says why; that our write failed does not matter then.
            let _ = stdin.write_all(resources.to_string().as_bytes()).await;
            drop(stdin);
            child.wait_with_output().await
        };
        match work.await {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn exec_command(&self, id: &str, tty: bool, program: &[String]) -> Command {
        let mut command = self.command();
        command.arg("--log").arg("/dev/null").arg("exec");
        if tty {
            command.arg("--tty");
        }
        command.arg(id).args(program).kill_on_drop(true);
        command
    }

    /// Starts `program` with pipes for its streams.
    ///
    /// # Errors
    /// When runc cannot be run. That the program does not exist is told by exit code 255 or 126/127 and on stderr.
    pub fn exec(&self, id: &str, program: &[String], stdin: bool) -> std::io::Result<Child> {
        let mut command = self.exec_command(id, false, program);
        command.stdin(if stdin { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    }

    /// Starts `program` on a terminal of its own; the descriptor is the terminal's master side.
    ///
    /// # Errors
    /// When there is no terminal to be had or runc cannot be run.
    pub fn exec_tty(&self, id: &str, program: &[String]) -> std::io::Result<(Child, OwnedFd)> {
        let pair = nix::pty::openpty(None, None)?;
        let mut command = self.exec_command(id, true, program);
        kernel::pod::on_terminal(command.as_std_mut(), pair.slave)?;
        Ok((command.spawn()?, pair.master))
    }

    /// Runs `program` to its end, for probes and hooks. It is killed when this is dropped before.
    ///
    /// # Errors
    /// [`Error::TimedOut`] after `timeout`; the program is killed then.
    pub async fn run(&self, id: &str, program: &[String], timeout: Duration) -> Result<Output, Error> {
        let folder = self.root.with_extension("exec");
        std::fs::create_dir_all(&folder)?;
        let file = folder.join(uuid::Uuid::new_v4().simple().to_string());
        let mut command = self.command();
        command.args(["--log", "/dev/null", "exec", "--pid-file"]).arg(&file).arg(id).args(program);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Process { runtime: command.spawn()?, file };
        let child = &mut process.runtime;
        let (mut stdout, mut stderr) =
            (child.stdout.take().expect("stdout is piped"), child.stderr.take().expect("stderr is piped"));
        let work = async {
            let (mut text, mut errors) = (Vec::new(), Vec::new());
            let (one, two) = tokio::join!(read_bounded(&mut stdout, &mut text), read_bounded(&mut stderr, &mut errors));
            one?;
            two?;
            let status = child.wait().await?;
            text.extend(errors);
            Ok::<_, Error>(Output { code: exit_code(status), text: String::from_utf8_lossy(&text).into_owned() })
        };
        tokio::time::timeout(timeout, work).await.map_err(|_| Error::TimedOut(program.join(" "), timeout))?
    }
}

/// A program in a container: the runtime that waits for it, and the file with its process ID. Killing the runtime leaves the
/// program alone; so whoever lets go of it before its end kills the program, and the runtime ends with it.
struct Process {
    runtime: Child,
    file: PathBuf,
}

impl Drop for Process {
    fn drop(&mut self) {
        // `id` is gone when the runtime has been waited for: the number may be somebody else's by now.
        if self.runtime.id().is_some() {
            let pid = std::fs::read_to_string(&self.file).ok().and_then(|text| text.trim().parse().ok());
            match pid.filter(|pid| *pid > 1).map(nix::unistd::Pid::from_raw) {
                Some(pid) => drop(nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL)),
                // It has not been started yet.
                None => drop(self.runtime.start_kill()),
            }
        }
        let _ = std::fs::remove_file(&self.file);
    }
}

async fn read_bounded(stream: &mut (impl AsyncReadExt + Unpin), text: &mut Vec<u8>) -> std::io::Result<()> {
    stream.take(MAX_OUTPUT).read_to_end(text).await?;
    // The rest is thrown away, so that the program does not stop at a full pipe.
    tokio::io::copy(stream, &mut tokio::io::sink()).await.map(drop)
}

/// A process's exit code as a shell gives it.
#[must_use]
pub fn exit_code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

/// Sets the size of a terminal from [`Runc::exec_tty`].
pub fn resize(master: &impl AsFd, columns: u16, rows: u16) {
    let _ = kernel::pod::set_terminal_size(master.as_fd(), columns, rows);
}
