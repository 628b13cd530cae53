//! The poll loop: starts containers, reaps them, pumps their streams, and tells the kubelet.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use jiff::Timestamp;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::log::Log;
use super::protocol::{Container, Phase, Reply, Request, SandboxConfig, Start};
use super::streams::{Attached, Streams, nonblocking};

/// How much one output may give before the others get their turn.
const ROUNDS: usize = 4;

struct Supervised {
    container: Container,
    streams: Streams,
    bundle: PathBuf,
    /// The runtime's process while it starts the container.
    starter: Option<i32>,
    began: i64,
}

struct Client {
    reader: BufReader<UnixStream>,
}

pub struct Supervisor {
    listener: UnixListener,
    signals: SignalFd,
    runtime_root: PathBuf,
    shared_pid: Option<i32>,
    containers: Vec<Supervised>,
    clients: Vec<Client>,
    /// Ends of children that came before their PID was known.
    early: HashMap<i32, (i32, Option<i32>)>,
    quit: bool,
}

/// What a descriptor that is ready stands for.
#[derive(Clone, Copy)]
enum Source {
    Listener,
    Signals,
    Client(usize),
    Console(usize),
    Output(usize, usize),
    Input(usize),
    Attached(usize, usize),
    /// An attached client that is no longer there.
    HungUp(usize, usize),
}

fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

impl Supervisor {
    pub fn listen(config: &SandboxConfig, shared_pid: Option<i32>) -> anyhow::Result<Self> {
        let mut set = SigSet::empty();
        set.add(Signal::SIGCHLD);
        set.thread_block()?;
        let signals = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        // The kubelet opened the socket and handed it down as standard input, so that it can connect without waiting.
        let listener = UnixListener::from(std::io::stdin().as_fd().try_clone_to_owned()?);
        Ok(Self {
            listener,
            signals,
            runtime_root: config.runtime_root.clone(),
            shared_pid,
            containers: Vec::new(),
            clients: Vec::new(),
            early: HashMap::new(),
            quit: false,
        })
    }

    pub fn serve(mut self) -> anyhow::Result<()> {
        while !self.quit {
            for source in self.wait()? {
                self.handle(source)?;
            }
            for supervised in &mut self.containers {
                supervised.streams.dismiss();
            }
        }
        Ok(())
    }

    fn wait(&self) -> anyhow::Result<Vec<Source>> {
        let mut watched: Vec<(Source, BorrowedFd<'_>, PollFlags)> = vec![
            (Source::Listener, self.listener.as_fd(), PollFlags::POLLIN),
            (Source::Signals, self.signals.as_fd(), PollFlags::POLLIN),
        ];
        for (index, client) in self.clients.iter().enumerate() {
            watched.push((Source::Client(index), client.reader.get_ref().as_fd(), PollFlags::POLLIN));
        }
        for (index, supervised) in self.containers.iter().enumerate() {
            let streams = &supervised.streams;
            if let Some(console) = &streams.console {
                watched.push((Source::Console(index), console.as_fd(), PollFlags::POLLIN));
            }
            for (number, output) in streams.outputs.iter().enumerate() {
                if let Some(output) = output {
                    watched.push((Source::Output(index, number), output.as_fd(), PollFlags::POLLIN));
                }
            }
            if let (Some(input), false) = (&streams.input, streams.pending_input.is_empty()) {
                watched.push((Source::Input(index), input.as_fd(), PollFlags::POLLOUT));
            }
            for (number, client) in streams.attached.iter().enumerate() {
                let mut flags = PollFlags::empty();
                // Back-pressure: nobody is read while the container has not taken what came before.
                flags.set(PollFlags::POLLIN, streams.pending_input.is_empty() && !client.input_over);
                flags.set(PollFlags::POLLOUT, client.has_backlog());
                watched.push((Source::Attached(index, number), client.socket.as_fd(), flags));
            }
        }
        let mut polled: Vec<PollFd<'_>> = watched.iter().map(|(_, fd, flags)| PollFd::new(*fd, *flags)).collect();
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = |(source, fd): (Source, &PollFd<'_>)| {
            let events = fd.revents().unwrap_or(PollFlags::empty());
            match source {
                Source::Attached(index, number) if events.contains(PollFlags::POLLHUP) => {
                    Some(Source::HungUp(index, number))
                }
                source => (!events.is_empty()).then_some(source),
            }
        };
        // Clients last and from the back, so that the positions of those before them hold while some are removed.
        let mut sources: Vec<Source> =
            watched.iter().map(|(source, ..)| *source).zip(&polled).filter_map(ready).collect();
        sources.reverse();
        Ok(sources)
    }

    fn handle(&mut self, source: Source) -> anyhow::Result<()> {
        match source {
            Source::Listener => self.accept()?,
            Source::Signals => {
                while self.signals.read_signal()?.is_some() {}
                self.reap();
            }
            Source::Client(index) => self.read_request(index),
            Source::Console(index) => self.containers[index].streams.accept_terminal()?,
            Source::Output(index, number) => self.containers[index].streams.pump(number, ROUNDS)?,
            Source::Input(index) => self.containers[index].streams.write_input(),
            Source::Attached(index, number) => {
                let streams = &mut self.containers[index].streams;
                streams.attached[number].flush();
                if !streams.attached[number].input_over {
                    streams.read_client(number);
                }
            }
            Source::HungUp(index, number) => {
                let streams = &mut self.containers[index].streams;
                // What it has said before it went is the container's all the same.
                if streams.attached[number].input_over {
                    streams.attached[number].gone = true;
                } else {
                    streams.read_client(number);
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> anyhow::Result<()> {
        let (mut socket, _) = self.listener.accept()?;
        let containers = self.containers.iter().map(|supervised| supervised.container.clone()).collect();
        let pid = i32::try_from(std::process::id()).expect("a PID fits into pid_t");
        send(&mut socket, &Reply::Sandbox { pid, shared_pid: self.shared_pid, containers });
        self.clients.push(Client { reader: BufReader::new(socket) });
        Ok(())
    }

    fn read_request(&mut self, index: usize) {
        loop {
            let mut line = String::new();
            let request = match self.clients[index].reader.read_line(&mut line) {
                Ok(count) if count > 0 => serde_json::from_str(&line),
                _ => {
                    self.clients.remove(index);
                    return;
                }
            };
            match request {
                Ok(Request::Attach { id }) => return self.attach(index, &id),
                Ok(request) => self.answer(request),
                Err(_) => {
                    self.clients.remove(index);
                    return;
                }
            }
            if self.clients[index].reader.buffer().is_empty() {
                return;
            }
        }
    }

    fn attach(&mut self, index: usize, id: &str) {
        let client = self.clients.remove(index);
        let socket = client.reader.into_inner();
        if let Some(supervised) = self.containers.iter_mut().find(|supervised| supervised.container.id == id)
            && !supervised.container.phase.is_over()
            && nonblocking(&socket).is_ok()
        {
            supervised.streams.attached.push(Attached::new(socket));
        }
    }

    fn answer(&mut self, request: Request) {
        match request {
            Request::Start(start) => {
                let (name, attempt) = (start.name.clone(), start.attempt);
                let (id, image_id) = (start.id.clone(), start.image_id.clone());
                if let Err(error) = self.start(start) {
                    let phase = Phase::Failed { message: format!("{error:#}"), at: now() };
                    self.tell(&Reply::Changed(Container { name, attempt, id, image_id, phase }));
                }
            }
            Request::Signal { id, signal } => {
                let Some(supervised) = self.containers.iter().find(|supervised| supervised.container.id == id) else {
                    return;
                };
                if let (Phase::Running { pid, .. }, Ok(signal)) =
                    (&supervised.container.phase, Signal::try_from(signal))
                {
                    // It cannot be another's PID: nobody but us reaps it.
                    let _ = kill(Pid::from_raw(*pid), signal);
                }
            }
            Request::Forget { id } => self
                .containers
                .retain(|supervised| supervised.container.id != id || !supervised.container.phase.is_over()),
            Request::Resize { id, columns, rows } => {
                if let Some(supervised) = self.containers.iter().find(|supervised| supervised.container.id == id)
                    && let Some(terminal) = &supervised.streams.outputs[0]
                {
                    let _ = kernel::pod::set_terminal_size(terminal.as_fd(), columns, rows);
                }
            }
            // Attaching takes the connection over and is handled where connections are.
            Request::Attach { .. } => {}
            Request::Quit => self.quit = true,
        }
    }

    fn start(&mut self, start: Start) -> anyhow::Result<()> {
        let mut command = Command::new("runc");
        command
            .arg("--root")
            .arg(&self.runtime_root)
            .args(["--log-format", "json", "--log"])
            .arg(start.bundle.join("runc.log"))
            .args(["run", "--detach", "--pid-file"])
            .arg(start.bundle.join("pid"))
            .arg("--bundle")
            .arg(&start.bundle);
        let log = Log::open(&start.log).with_context(|| format!("opening the log {}", start.log.display()))?;
        let mut streams = Streams::make(&mut command, &start.bundle, log, start.tty, start.stdin, start.stdin_once)?;
        let spawned = command.arg(&start.id).spawn();
        // The container's ends of the pipes must not stay open here, or their end would never be seen.
        drop(command);
        let child = spawned.context("cannot run runc (package runc)")?;
        if start.tty {
            streams.outputs[1] = None;
        }
        let container = Container {
            name: start.name,
            attempt: start.attempt,
            id: start.id,
            image_id: start.image_id,
            phase: Phase::Starting,
        };
        self.containers.push(Supervised {
            container,
            streams,
            bundle: start.bundle,
            starter: Some(i32::try_from(child.id()).expect("a PID fits into pid_t")),
            began: now(),
        });
        Ok(())
    }

    fn reap(&mut self) {
        loop {
            let (pid, code, signal) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid.as_raw(), code, None),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid.as_raw(), 128 + signal as i32, Some(signal as i32)),
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => continue,
            };
            if let Some(index) = self.containers.iter().position(|supervised| supervised.starter == Some(pid)) {
                self.started(index, code);
            } else if let Some(index) = self.containers.iter().position(|supervised| {
                matches!(supervised.container.phase, Phase::Running { pid: running, .. } if running == pid)
            }) {
                self.ended(index, code, signal);
            } else if self.containers.iter().any(|supervised| supervised.starter.is_some()) {
                self.early.insert(pid, (code, signal));
            }
        }
    }

    /// The runtime's process is over: the container runs, or never will.
    fn started(&mut self, index: usize, code: i32) {
        let supervised = &mut self.containers[index];
        supervised.starter = None;
        let pid = std::fs::read_to_string(supervised.bundle.join("pid")).ok().and_then(|text| text.trim().parse().ok());
        match pid {
            Some(pid) if code == 0 => {
                supervised.container.phase = Phase::Running { pid, started_at: now() };
                let container = supervised.container.clone();
                self.tell(&Reply::Changed(container));
                if let Some((code, signal)) = self.early.remove(&pid) {
                    self.ended(index, code, signal);
                }
            }
            _ => {
                let message = runtime_message(&supervised.bundle.join("runc.log"))
                    .unwrap_or_else(|| format!("runc ended with {code} and gave no reason"));
                supervised.container.phase = Phase::Failed { message, at: now() };
                let _ = supervised.streams.drain();
                let container = supervised.container.clone();
                self.tell(&Reply::Changed(container));
            }
        }
        if self.containers.iter().all(|supervised| supervised.starter.is_none()) {
            self.early.clear();
        }
    }

    fn ended(&mut self, index: usize, code: i32, signal: Option<i32>) {
        let supervised = &mut self.containers[index];
        // A full disk must not hide the exit.
        let _ = supervised.streams.drain();
        let started_at = match supervised.container.phase {
            Phase::Running { started_at, .. } => started_at,
            _ => supervised.began,
        };
        supervised.container.phase = Phase::Exited { code, signal, started_at, finished_at: now() };
        let container = supervised.container.clone();
        self.tell(&Reply::Changed(container));
    }

    fn tell(&mut self, reply: &Reply) {
        for client in &mut self.clients {
            send(client.reader.get_mut(), reply);
        }
    }
}

/// A kubelet that does not read is found by its closed connection; its loss is not ours.
fn send(socket: &mut UnixStream, reply: &Reply) {
    if let Ok(mut line) = serde_json::to_vec(reply) {
        line.push(b'\n');
        let _ = socket.write_all(&line);
    }
}

/// The last error in runc's JSON log.
fn runtime_message(log: &std::path::Path) -> Option<String> {
    let text = std::fs::read_to_string(log).ok()?;
    text.lines().rev().find_map(|line| {
        let entry: serde_json::Value = serde_json::from_str(line).ok()?;
        (entry["level"] == "error").then(|| entry["msg"].as_str().map(str::to_owned)).flatten()
    })
}
