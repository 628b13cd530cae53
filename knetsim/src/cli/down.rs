//! `knetsim down`: asks the launcher to end, and sees that it did.

use std::path::Path;
use std::time::Duration;

use kernel::sandbox::{self, IdMap, Role};
use nix::sys::wait::{WaitStatus, waitpid};

use crate::launcher::control::{Request, ask};
use crate::layout::{LauncherInfo, Layout};

/// After this long the launcher is killed; the kernel then ends everything inside.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub struct Args {
    /// Delete the data folder too: all objects, certificates and images
    #[arg(long)]
    delete_data: bool,
}

/// # Errors
/// When the data folder cannot be deleted.
pub fn run(layout: &Layout, args: &Args) -> anyhow::Result<()> {
    if let Some(launcher) = layout.running() {
        stop(layout, launcher)?;
        if args.delete_data {
            println!("Stopped.");
        } else {
            println!("Stopped. Objects are kept in {}", layout.root().display());
        }
    } else {
        println!("Nothing is running with the data folder {}", layout.root().display());
    }
    if args.delete_data && layout.root().exists() {
        delete(layout.root())?;
        println!("Deleted {}", layout.root().display());
    }
    Ok(())
}

/// Deletes the data folder. What pods wrote may belong to ids that only the sandbox's user namespace knows, so where the
/// caller may not delete it, root of such a namespace does.
fn delete(root: &Path) -> anyhow::Result<()> {
    if std::fs::remove_dir_all(root).is_ok() {
        return Ok(());
    }
    match sandbox::enter(&IdMap::widest()?)? {
        Role::Init => {
            let deleted = std::fs::remove_dir_all(root);
            if let Err(error) = &deleted {
                eprintln!("error: deleting {}: {error}", root.display());
            }
            std::process::exit(i32::from(deleted.is_err()))
        }
        Role::Outer { init } => {
            let ended = waitpid(init, None)?;
            anyhow::ensure!(ended == WaitStatus::Exited(init, 0), "{} is not deleted", root.display());
            Ok(())
        }
    }
}

/// Ends the launcher, by asking first.
///
/// # Errors
/// When it is not ours to end.
pub fn stop(layout: &Layout, launcher: LauncherInfo) -> anyhow::Result<()> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    let pid = launcher.pid;
    let guardian = launcher.guardian.and_then(|pid| kernel::process::pidfd(pid).ok());
    let process = kernel::process::pidfd(pid)?;
    if let Err(error) = runtime::block_on(async { ask(layout, &Request::Down).await.map(|_| ()) }) {
        eprintln!("warning: {error:#}; ending it the hard way");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)?;
    }
    let mut wait = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    let patience = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::MAX);
    if poll(&mut wait, patience)? == 0 {
        eprintln!("warning: the launcher does not end; ending it the hard way");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)?;
        poll(&mut wait, patience)?;
    }
    // It has little left to do, but it is not gone before that is done.
    if let Some(guardian) = guardian
        && poll(&mut [PollFd::new(guardian.as_fd(), PollFlags::POLLIN)], patience)? == 0
    {
        eprintln!("warning: the control groups are not removed yet; see {}", layout.launcher_log().display());
    }
    layout.remove_launcher();
    Ok(())
}
