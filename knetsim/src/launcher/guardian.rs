//! The guardian: what has to be done outside of the sandbox. It pulls images, where that is allowed, for nodes have no way
//! out; and when the emulator has ended, however it did, it removes the control groups.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use clap::Parser;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::cgroups;
use crate::layout::Layout;

/// The guardian, before it knows whom to watch. If it is never told, it does what there is to do at the end at once.
pub struct Guardian(Child);

impl Guardian {
    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(layout: &Layout, groups: &[PathBuf], pull: bool) -> io::Result<Self> {
        let log = fs::File::options().append(true).create(true).open(layout.launcher_log())?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("guardian").args(groups.iter().flat_map(|folder| [Path::new("--group"), folder]));
        command.args(pull.then_some("--pull")).arg("--data-dir").arg(layout.root());
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).current_dir("/");
        // The launcher's sockets must be free when the launcher has gone.
        kernel::process::only_standard_streams(&mut command);
        Ok(Self(command.spawn()?))
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).expect("a PID fits into pid_t")
    }

    /// Tells it whom to watch.
    ///
    /// # Errors
    /// When it has ended.
    pub fn watch(mut self, pid: i32) -> io::Result<()> {
        writeln!(self.0.stdin.take().expect("stdin is piped"), "{pid}")
    }
}

/// Pulls images while a process runs, and removes control groups when it has ended (started by the launcher).
#[derive(Parser, Debug)]
#[command(name = "guardian")]
struct Args {
    /// A group's folder
    #[arg(long = "group")]
    folders: Vec<PathBuf>,
    /// Pull images from registries for whoever asks in the data folder
    #[arg(long)]
    pull: bool,
    /// Whose guardian it is
    #[arg(long)]
    data_dir: PathBuf,
}

/// The guardian's life: whom to watch is a line on standard input.
///
/// # Errors
/// When a group cannot be removed.
pub fn run(args: Vec<OsString>) -> anyhow::Result<()> {
    let args = Args::parse_from(args);
    // It must outlive whatever ends the emulator, a signal to the launcher's process group too.
    nix::unistd::setsid().ok();
    let layout = Layout::new(args.data_dir);
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    if let Ok(process) = line.trim().parse().map_err(io::Error::other).and_then(kernel::process::pidfd) {
        if args.pull
            && let Err(error) = kubelet_lite::images::puller::serve(&layout.pull_socket(), layout.images())
        {
            eprintln!("no images are pulled: {}: {error}", layout.pull_socket().display());
        }
        poll(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE)?;
        let _ = fs::remove_file(layout.pull_socket());
    }
    cgroups::remove_all(&args.folders)
        .with_context(|| format!("removing the control groups of {}", layout.root().display()))
}
