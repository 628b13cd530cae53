//! Running commands as a person would, and reading what they print.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;

/// No command of the demo takes longer; one that does has failed.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// What a command came to.
#[derive(Debug, Clone)]
pub struct Output {
    /// As one would type it.
    pub command: String,
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// The output of a command that must have succeeded.
    ///
    /// # Errors
    /// When it did not; the error quotes it and what it said.
    pub fn ok(self) -> anyhow::Result<Self> {
        if self.code == 0 {
            return Ok(self);
        }
        let said = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        bail!("`{}` ended with {}: {}", self.command, self.code, said.trim())
    }

    /// The lines of stdout.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.stdout.lines().map(str::trim_end)
    }

    /// Stdout as JSON.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> anyhow::Result<serde_json::Value> {
        serde_json::from_str(&self.stdout)
            .with_context(|| format!("`{}` printed no JSON: {}", self.command, self.stdout))
    }
}

/// Runs `command` to its end, or kills it after `patience`.
///
/// # Errors
/// When it cannot be started, or took too long.
pub fn run(command: &mut Command, patience: Duration) -> anyhow::Result<Output> {
    let shown = show(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting `{shown}`"))?;
    let (out, err) = (drain(child.stdout.take()), drain(child.stderr.take()));
    let Some(code) = wait(&mut child, patience)? else {
        child.kill()?;
        child.wait()?;
        // Its own children may hold the pipes still; what they printed so far is lost with them.
        bail!("`{shown}` took longer than {} s", patience.as_secs());
    };
    let text = |thread: std::thread::JoinHandle<Vec<u8>>| {
        String::from_utf8_lossy(&thread.join().unwrap_or_default()).into_owned()
    };
    Ok(Output { command: shown, code, stdout: text(out), stderr: text(err) })
}

/// Waits for the end of a child; `None` when `patience` ran out.
///
/// # Errors
/// When the child is not ours.
pub fn wait(child: &mut Child, patience: Duration) -> anyhow::Result<Option<i32>> {
    use std::os::unix::process::ExitStatusExt;
    let deadline = Instant::now() + patience;
    // The pipe of a helper thread wakes the poll at the child's end, so that nothing is asked twice. Children that other
    // threads start meanwhile must not hold it open.
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id())?);
    let waiter = std::thread::spawn(move || {
        use nix::sys::wait::{Id, WaitPidFlag, waitid};
        let _ = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
        drop(writer);
    });
    let left = deadline.saturating_duration_since(Instant::now());
    let mut fds = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
    if poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX))? == 0 {
        return Ok(None);
    }
    let _ = waiter.join();
    let status = child.wait()?;
    Ok(Some(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))))
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut text);
        }
        text
    })
}

/// A command as one would type it.
#[must_use]
pub fn show(command: &Command) -> String {
    let name = std::path::Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(name).chain(command.get_args()).map(|word| {
        let word = word.to_string_lossy();
        let plain = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_=./:@,%+{}[]".contains(c));
        if plain { word.into_owned() } else { format!("'{word}'") }
    });
    words.collect::<Vec<_>>().join(" ")
}
