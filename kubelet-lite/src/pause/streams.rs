//! A container's standard streams as pause holds them: pipes, or the master of a pseudo-terminal.

use std::io::{IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use super::log::Log;
use super::protocol::output_frame;

/// One read from a stream.
const CHUNK: usize = 16 * 1024;
/// An attached client that leaves more than this unread is let go.
const MAX_BACKLOG: usize = 1024 * 1024;

/// A client that sees a container's output and may write its input.
pub struct Attached {
    pub socket: UnixStream,
    backlog: Vec<u8>,
    /// It has closed its half: no more input will come from it.
    pub input_over: bool,
    /// It is let go when the container has its input, and it has what came until then.
    leaving: bool,
    pub gone: bool,
}

impl Attached {
    pub fn new(socket: UnixStream) -> Self {
        Self { socket, backlog: Vec::new(), input_over: false, leaving: false, gone: false }
    }

    pub fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    fn send(&mut self, frame: &[u8]) {
        self.backlog.extend_from_slice(frame);
        self.flush();
        self.gone |= self.backlog.len() > MAX_BACKLOG;
    }

    pub fn flush(&mut self) {
        while !self.backlog.is_empty() {
            match self.socket.write(&self.backlog) {
                Ok(0) => break,
                Ok(count) => drop(self.backlog.drain(..count)),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.gone = true;
                    break;
                }
            }
        }
    }
}

pub struct Streams {
    /// stdout and stderr, or the terminal alone; `None` once at its end.
    pub outputs: [Option<OwnedFd>; 2],
    pub input: Option<OwnedFd>,
    /// Where the runtime will hand over the terminal.
    pub console: Option<UnixListener>,
    pub terminal: bool,
    pub attached: Vec<Attached>,
    pub pending_input: Vec<u8>,
    close_input: bool,
    once: bool,
    /// Closed when the container is over, which is how those who follow it learn of that.
    log: Option<Log>,
}

impl Streams {
    /// Makes the streams and gives the container's ends to `command` (the runtime hands its own on).
    pub fn make(
        command: &mut Command,
        bundle: &Path,
        log: Log,
        tty: bool,
        stdin: bool,
        once: bool,
    ) -> std::io::Result<Self> {
        let mut streams = Self {
            outputs: [None, None],
            input: None,
            console: None,
            terminal: tty,
            attached: Vec::new(),
            pending_input: Vec::new(),
            close_input: false,
            once,
            log: Some(log),
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if tty {
            let path = console_path(bundle);
            // A name left by a pause that was killed in between is nobody's.
            let _ = std::fs::remove_file(&path);
            streams.console = Some(UnixListener::bind(&path)?);
            command.arg("--console-socket").arg(path);
            return Ok(streams);
        }
        if stdin {
            let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
            nonblocking(&write)?;
            command.stdin(read);
            streams.input = Some(write);
        }
        for index in 0..2 {
            let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
            nonblocking(&read)?;
            if index == 0 {
                command.stdout(write)
            } else {
                command.stderr(write)
            };
            streams.outputs[index] = Some(read);
        }
        Ok(streams)
    }

    /// Takes the terminal that the runtime sends over the console socket.
    pub fn accept_terminal(&mut self) -> std::io::Result<()> {
        let Some(console) = self.console.take() else { return Ok(()) };
        let (socket, _) = console.accept()?;
        if let Some(path) = console.local_addr()?.as_pathname() {
            std::fs::remove_file(path)?;
        }
        let master = receive_descriptor(&socket)?;
        nonblocking(&master)?;
        self.input = Some(master.try_clone()?);
        self.outputs[0] = Some(master);
        Ok(())
    }

    /// Reads what an output has, at most `rounds` chunks; logs it and hands it to whoever is attached.
    pub fn pump(&mut self, index: usize, rounds: usize) -> std::io::Result<()> {
        let number = u8::try_from(index + 1).expect("two outputs");
        let mut buffer = [0; CHUNK];
        for _ in 0..rounds {
            let Some(output) = &self.outputs[index] else { return Ok(()) };
            match nix::unistd::read(output, &mut buffer) {
                Ok(count) if count > 0 => {
                    if let Some(log) = &mut self.log {
                        log.write(number, &buffer[..count])?;
                    }
                    let frame = output_frame(number, &buffer[..count]);
                    self.attached.iter_mut().for_each(|client| client.send(&frame));
                }
                Err(nix::errno::Errno::EAGAIN) => return Ok(()),
                Err(nix::errno::Errno::EINTR) => {}
                // The end of a pipe, or EIO: the last process has left the terminal.
                Ok(_) | Err(_) => {
                    self.outputs[index] = None;
                    return self.log.as_mut().map_or(Ok(()), |log| log.finish(number));
                }
            }
        }
        Ok(())
    }

    /// The container is over: what is still in the pipes goes into the log, then everyone attached is let go.
    pub fn drain(&mut self) -> std::io::Result<()> {
        // A pipe holds 64 KiB: this many chunks empty it, whatever a process that outlived the container still writes.
        const FULL_PIPE: usize = 8;
        for index in 0..2 {
            self.pump(index, FULL_PIPE)?;
            self.outputs[index] = None;
            if let Some(log) = &mut self.log {
                log.finish(u8::try_from(index + 1).expect("two outputs"))?;
            }
        }
        self.log = None;
        self.attached.clear();
        self.input = None;
        Ok(())
    }

    /// Reads one client's input; it waits in `pending_input` until the container takes it.
    pub fn read_client(&mut self, index: usize) {
        let mut buffer = [0; CHUNK];
        let client = &mut self.attached[index];
        match client.socket.read(&mut buffer) {
            Ok(0) => {
                client.input_over = true;
                // As containerd: `stdinOnce` ends the input with the first client's, who waits for what comes of it. Where
                // input stays open, and at a terminal, who has nothing more to say does not stay to listen either.
                let closes = self.once && !self.terminal;
                self.close_input |= closes;
                client.leaving = !closes;
            }
            Ok(count) => self.pending_input.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => client.gone = true,
        }
        self.write_input();
    }

    /// Lets go who is gone, or has nothing to wait for.
    pub fn dismiss(&mut self) {
        let written = self.pending_input.is_empty();
        self.attached.retain(|client| !(client.gone || (client.leaving && written && !client.has_backlog())));
    }

    pub fn write_input(&mut self) {
        while let (Some(input), false) = (&self.input, self.pending_input.is_empty()) {
            match nix::unistd::write(input, &self.pending_input) {
                Ok(count) => drop(self.pending_input.drain(..count)),
                Err(nix::errno::Errno::EAGAIN) => return,
                Err(_) => self.input = None,
            }
        }
        if self.input.is_none() {
            self.pending_input.clear();
        }
        if self.close_input && self.pending_input.is_empty() {
            self.input = None;
        }
    }
}

pub fn nonblocking(fd: &impl AsFd) -> std::io::Result<()> {
    let flags = OFlag::from_bits_truncate(fcntl(fd.as_fd(), FcntlArg::F_GETFL)?);
    fcntl(fd.as_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Where the runtime hands over a terminal: in the pod's folder, since a bundle's own path, two IDs long, is longer than the
/// 107 bytes that a socket's name may have.
fn console_path(bundle: &Path) -> PathBuf {
    let id = bundle.file_name().unwrap_or_default().to_string_lossy();
    let short: String = id.chars().take(16).collect();
    bundle.ancestors().nth(2).unwrap_or(bundle).join(format!("{short}.tty"))
}

/// Receives one descriptor (SCM_RIGHTS), as runc's console socket sends it.
pub fn receive_descriptor(socket: &UnixStream) -> std::io::Result<OwnedFd> {
    let mut name = [0; 4096];
    let mut parts = [IoSliceMut::new(&mut name)];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = part
            && let Some(descriptor) = descriptors.first()
        {
            return kernel::process::inherited(*descriptor);
        }
    }
    Err(std::io::Error::other("the runtime sent no terminal"))
}

#[cfg(test)]
mod tests {
    use std::net::Shutdown;

    use super::*;

    /// `cat` with a client that says `hello` and that this was all; what the client hears, and whether it is let go.
    fn cat(once: bool) -> (String, bool) {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(&dir.path().join("log")).unwrap();
        let mut command = Command::new("cat");
        let mut streams = Streams::make(&mut command, dir.path(), log, false, true, once).unwrap();
        let mut child = command.spawn().unwrap();
        drop(command);
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        streams.attached.push(Attached::new(ours));
        theirs.write_all(b"hello").unwrap();
        theirs.shutdown(Shutdown::Write).unwrap();
        streams.read_client(0);
        assert!(!streams.attached[0].input_over, "there is something to read first");
        // What cat answers is there before the client's end is.
        let output = streams.outputs[0].as_ref().unwrap().try_clone().unwrap();
        let mut wait = [nix::poll::PollFd::new(output.as_fd(), nix::poll::PollFlags::POLLIN)];
        nix::poll::poll(&mut wait, nix::poll::PollTimeout::NONE).unwrap();
        streams.pump(0, 1).unwrap();
        streams.read_client(0);
        assert!(streams.attached[0].input_over);
        streams.dismiss();
        let stays = !streams.attached.is_empty();
        assert_eq!(streams.input.is_none(), once, "the container's input is over");
        if !once {
            child.kill().unwrap();
        }
        child.wait().unwrap();
        streams.drain().unwrap();
        let mut heard = String::new();
        theirs.read_to_string(&mut heard).unwrap();
        (heard, stays)
    }

    #[test]
    fn whoever_has_nothing_more_to_say_stays_only_to_see_what_comes_of_it() {
        let frame = String::from_utf8(output_frame(1, b"hello")).unwrap();
        assert_eq!(cat(true), (frame.clone(), true));
        assert_eq!(cat(false), (frame, false));
    }
}
