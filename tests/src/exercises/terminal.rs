//! A shell that lives for a chapter: lines go in, what they print comes out with their exit code.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::emulator::Emulator;

/// What a line came to.
#[derive(Clone, Debug)]
pub struct Said {
    /// Both streams, as a terminal mixes them.
    pub text: String,
    pub code: i32,
}

/// A bash with knetsim and kubectl on its path.
pub struct Terminal {
    shell: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    count: usize,
    stuck: bool,
    /// With a copy of the kubeconfig: contexts and namespaces are changed in it.
    home: tempfile::TempDir,
}

impl Terminal {
    /// Opens one in `folder`.
    pub fn open(emulator: &Emulator, folder: &Path) -> anyhow::Result<Self> {
        let home = tempfile::tempdir()?;
        let kubeconfig = home.path().join("config");
        std::fs::copy(emulator.kubeconfig(), &kubeconfig).context("copying the kubeconfig")?;
        let bin = emulator.binary.parent().context("the binary lies in a folder")?;
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        let mut command = emulator.command(Path::new("bash"), &["--noprofile", "--norc"]);
        command.env("KUBECONFIG", kubeconfig).env("PATH", path).env("TMP", home.path()).current_dir(folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut shell = command.spawn().context("starting bash")?;
        let mut stdin = shell.stdin.take().context("stdin is piped")?;
        let stdout = shell.stdout.take().context("stdout is piped")?;
        // Lines that start something in the background must not get job control messages mixed in.
        stdin.write_all(b"exec 2>&1; set +m; cd -P .\n")?;
        Ok(Self { shell, stdin, stdout, count: 0, stuck: false, home })
    }

    /// Its folder for whatever it needs.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Whether a line did not end.
    pub fn is_stuck(&self) -> bool {
        self.stuck
    }

    /// Types `line` and waits for its end.
    ///
    /// # Errors
    /// When it takes longer than `patience`.
    pub fn run(&mut self, line: &str, patience: Duration) -> anyhow::Result<Said> {
        self.count += 1;
        let mark = format!("--end-of-line-{}--", self.count);
        // In braces and not in a subshell: variables stay.
        write!(self.stdin, "{{ {line}\n}} </dev/null; printf '%s %d\\n' '{mark}' $?\n")?;
        let deadline = Instant::now() + patience;
        let mut text = String::new();
        let mut buffer = [0; 65536];
        loop {
            if let Some((said, rest)) = text.split_once(&mark)
                && let Some((code, _)) = rest.split_once('\n')
            {
                let code = code.trim().parse().with_context(|| format!("the exit code is {code:?}"))?;
                return Ok(Said { text: said.to_owned(), code });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(self.stdout.as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX))? == 0 {
                self.stuck = true;
                bail!("`{line}` does not end within {} s; so far it says:\n{text}", patience.as_secs());
            }
            let count = self.stdout.read(&mut buffer)?;
            if count == 0 {
                self.stuck = true;
                bail!("`{line}` ended the shell; it says:\n{text}");
            }
            text.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.shell.id()) {
            // The whole group: what a line left running ends with its shell.
            let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
        let _ = self.shell.wait();
    }
}
