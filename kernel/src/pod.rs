//! Processes the safe standard library cannot make: the first process of a PID namespace, a child with a controlling
//! terminal of its own, and the few device controls they need.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Starts a process that is PID 1 of a new PID namespace, does nothing but reap its children, and dies with its parent.
///
/// Only a process with a single thread may call this: the child is a copy that goes on running Rust code.
///
/// # Errors
/// When the kernel refuses a new PID namespace.
pub fn spawn_pid_one() -> std::io::Result<i32> {
    let flags = libc::CLONE_NEWPID | libc::SIGCHLD;
    // SAFETY: a raw clone without CLONE_VM is fork: the child has its own copy of everything, and since the caller has
    // one thread only, no lock can be held by a thread that does not exist in the child.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match pid {
        -1 => Err(std::io::Error::last_os_error()),
        0 => pid_one(),
        pid => Ok(i32::try_from(pid).expect("a PID fits into pid_t")),
    }
}

/// The life of an idle init: every orphan of the namespace is reaped, nothing else happens.
fn pid_one() -> ! {
    // SAFETY: prctl, signal, sigprocmask, waitpid and pause touch no memory but their own arguments.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &all, std::ptr::null_mut());
        // Ignoring SIGCHLD makes the kernel reap for us.
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
        loop {
            libc::pause();
        }
    }
}

/// Makes `command` run in a session of its own with `terminal` as its controlling terminal and standard streams.
///
/// # Errors
/// When the terminal's descriptor cannot be duplicated.
pub fn on_terminal(command: &mut Command, terminal: OwnedFd) -> std::io::Result<()> {
    command.stdin(terminal.try_clone()?).stdout(terminal.try_clone()?).stderr(terminal);
    // SAFETY: between fork and exec only setsid and ioctl are called, both async-signal-safe, on standard input, which
    // is the terminal by then.
    unsafe {
        command.pre_exec(|| {
            if libc::setsid() == -1 || libc::ioctl(0, libc::TIOCSCTTY, 0) == -1 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    Ok(())
}

/// Sets a terminal's size in characters; its foreground process group gets SIGWINCH.
///
/// # Errors
/// When `terminal` is no terminal.
pub fn set_terminal_size(terminal: BorrowedFd<'_>, columns: u16, rows: u16) -> std::io::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one winsize, which outlives the call.
    match unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) } {
        -1 => Err(std::io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Brings `lo` up in the calling thread's network namespace.
///
/// # Errors
/// When the caller has no CAP_NET_ADMIN there.
pub fn loopback_up() -> std::io::Result<()> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: a zeroed ifreq is a valid one, and both ioctls read and write within it.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) == -1 {
            return Err(std::io::Error::last_os_error());
        }
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) == -1 {
            return Err(std::io::Error::last_os_error());
        }
    }
    Ok(())
}
