//! exec, attach and port-forward: what is behind the protocols of [`crate::streaming`].

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use component_base::query::Query;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Child;

use super::{Body, text};
use crate::node::Node;
use crate::oci_runtime::exec::{Runc, exit_code, resize};
use crate::oci_runtime::sandbox;
use crate::pause::protocol::Request as PauseRequest;
use crate::pod::registry::View;
use crate::streaming::{self, Channel, Ended, Output, Session, Wanted};

const CHUNK: usize = 16 * 1024;

fn wanted(query: &Query) -> Wanted {
    let any = |names: [&str; 2]| names.iter().any(|name| query.flag(name));
    Wanted {
        stdin: any(["input", "stdin"]),
        stdout: any(["output", "stdout"]),
        stderr: any(["error", "stderr"]),
        tty: query.flag("tty"),
    }
}

fn boxed(response: Response<streaming::Body>) -> Response<Body> {
    response.map(|body| body.map_err(|never| match never {}).boxed_unsync())
}

/// The ID of a container that runs.
fn running(view: &View, container: &str) -> Result<String, Box<Response<Body>>> {
    let tracked = view.containers.get(container).filter(|tracked| tracked.is_running());
    tracked
        .and_then(|tracked| tracked.id())
        .map(str::to_owned)
        .ok_or_else(|| Box::new(text(StatusCode::NOT_FOUND, format!("container not found (\"{container}\")"))))
}

pub fn exec(
    node: &Arc<Node>,
    view: &View,
    container: &str,
    query: &Query,
    request: Request<Incoming>,
) -> Response<Body> {
    let id = match running(view, container) {
        Ok(id) => id,
        Err(response) => return *response,
    };
    let command = query.all("command").map(str::to_owned).collect::<Vec<_>>();
    if command.is_empty() {
        return text(StatusCode::BAD_REQUEST, "you must specify at least 1 command");
    }
    let (runc, wanted) = (node.runc.clone(), wanted(query));
    boxed(streaming::exec(request, wanted, move |session| async move {
        if wanted.tty {
            on_terminal(&runc, &id, &command, session).await
        } else {
            on_pipes(&runc, &id, &command, session).await
        }
    }))
}

async fn on_pipes(runc: &Runc, id: &str, command: &[String], session: Session) -> Ended {
    let mut child = match runc.exec(id, command, session.stdin.is_some()) {
        Ok(child) => child,
        Err(error) => return Ended::Failed(error.to_string()),
    };
    if let (Some(mut input), Some(mut stdin)) = (session.stdin, child.stdin.take()) {
        tokio::spawn(async move {
            while let Some(data) = input.recv().await {
                if stdin.write_all(&data).await.is_err() {
                    return;
                }
            }
        });
    }
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let both = async {
        tokio::join!(copy(stdout, Channel::Stdout, &session.output), copy(stderr, Channel::Stderr, &session.output))
    };
    tokio::select! {
        _ = both => ended(&mut child).await,
        // Dropping the child kills it: nobody listens any more.
        () = session.output.closed() => Ended::Failed("the client is gone".to_owned()),
    }
}

async fn ended(child: &mut Child) -> Ended {
    match child.wait().await {
        Ok(status) => Ended::Exited(exit_code(status)),
        Err(error) => Ended::Failed(error.to_string()),
    }
}

async fn copy(stream: Option<impl AsyncReadExt + Unpin>, channel: Channel, output: &Output) {
    let Some(mut stream) = stream else { return };
    let mut buffer = vec![0; CHUNK];
    while let Ok(count) = stream.read(&mut buffer).await {
        if count == 0 || output.write(channel, Bytes::copy_from_slice(&buffer[..count])).await.is_err() {
            return;
        }
    }
}

async fn on_terminal(runc: &Runc, id: &str, command: &[String], mut session: Session) -> Ended {
    let (mut child, master) = match runc.exec_tty(id, command) {
        Ok(started) => started,
        Err(error) => return Ended::Failed(error.to_string()),
    };
    // A terminal's master is read and written in threads: it is no pipe that tokio could poll portably.
    let (Ok(read_end), Ok(write_end)) = (master.try_clone(), master.try_clone()) else {
        return Ended::Failed("no more descriptors".to_owned());
    };
    let (sender, mut outputs) = tokio::sync::mpsc::channel::<Bytes>(16);
    tokio::task::spawn_blocking(move || read_terminal(&read_end, &sender));
    if let Some(mut input) = session.stdin.take() {
        tokio::task::spawn_blocking(move || {
            while let Some(data) = input.blocking_recv() {
                let mut rest: &[u8] = &data;
                while let (false, Ok(count)) = (rest.is_empty(), nix::unistd::write(&write_end, rest)) {
                    rest = &rest[count..];
                }
            }
        });
    }
    let mut status = None;
    loop {
        tokio::select! {
            biased;
            data = outputs.recv() => match data {
                Some(data) => if session.output.write(Channel::Stdout, data).await.is_err() {
                    return Ended::Failed("the client is gone".to_owned());
                },
                None => return match status { Some(status) => status, None => ended(&mut child).await },
            },
            Some((columns, rows)) = session.resize.recv() => resize(&master.as_fd(), columns, rows),
            () = session.output.closed() => return Ended::Failed("the client is gone".to_owned()),
            result = ended(&mut child), if status.is_none() => status = Some(result),
        }
    }
}

/// Reads until the last program has closed the terminal, which the kernel tells by EIO.
fn read_terminal(master: &OwnedFd, sender: &tokio::sync::mpsc::Sender<Bytes>) {
    let mut buffer = vec![0; CHUNK];
    loop {
        match nix::unistd::read(master, &mut buffer) {
            Ok(count) if count > 0 => {
                if sender.blocking_send(Bytes::copy_from_slice(&buffer[..count])).is_err() {
                    return;
                }
            }
            Err(nix::errno::Errno::EINTR) => {}
            Ok(_) | Err(_) => return,
        }
    }
}

pub fn attach(view: &View, container: &str, query: &Query, request: Request<Incoming>) -> Response<Body> {
    let id = match running(view, container) {
        Ok(id) => id,
        Err(response) => return *response,
    };
    let dir = view.sandbox_dir.clone();
    boxed(streaming::exec(request, wanted(query), move |session| attached(dir, id, session)))
}

async fn attached(dir: PathBuf, id: String, mut session: Session) -> Ended {
    let stream = match sandbox::attach(&dir, &id).await {
        Ok(stream) => stream,
        Err(error) => return Ended::Failed(error.to_string()),
    };
    let (mut reader, mut writer) = stream.into_split();
    // Held to the end otherwise: closing our half would end the container's input.
    let mut _held = None;
    if let Some(mut input) = session.stdin.take() {
        tokio::spawn(async move {
            while let Some(data) = input.recv().await {
                if writer.write_all(&data).await.is_err() {
                    return;
                }
            }
            let _ = writer.shutdown().await;
        });
    } else {
        _held = Some(writer);
    }
    let mut resizes = session.resize;
    let (resize_dir, resize_id) = (dir, id);
    let sizes = tokio::spawn(async move {
        while let Some((columns, rows)) = resizes.recv().await {
            let _ = resize_container(&resize_dir, &resize_id, columns, rows).await;
        }
    });
    let frames = async {
        while let Ok(stream) = reader.read_u8().await {
            let Ok(length) = reader.read_u32().await else { return };
            let mut data = vec![0; (length as usize).min(CHUNK)];
            if reader.read_exact(&mut data).await.is_err() {
                return;
            }
            let channel = if stream == 2 { Channel::Stderr } else { Channel::Stdout };
            if session.output.write(channel, data.into()).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = frames => {}
        () = session.output.closed() => {}
    }
    sizes.abort();
    Ended::Exited(0)
}

async fn resize_container(dir: &Path, id: &str, columns: u16, rows: u16) -> Result<(), sandbox::Error> {
    let (notices, _) = tokio::sync::mpsc::unbounded_channel();
    let mut connection = sandbox::Sandbox::connect(dir, notices).await?;
    connection.send(&PauseRequest::Resize { id: id.to_owned(), columns, rows }).await
}

pub fn port_forward(view: &View, query: &Query, request: Request<Incoming>) -> Response<Body> {
    let ports = query
        .all("port")
        .chain(query.all("ports"))
        .flat_map(|list| list.split(',').map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|port| port.parse().ok())
        .collect();
    let netns = view.netns.clone();
    boxed(streaming::port_forward(request, ports, move |port| dial(netns.clone(), port)))
}

/// Connects to a port on the pod's loopback.
async fn dial(netns: Option<PathBuf>, port: u16) -> std::io::Result<TcpStream> {
    let Some(netns) = netns else { return TcpStream::connect(("127.0.0.1", port)).await };
    let (sender, receiver) = tokio::sync::oneshot::channel();
    // A thread of its own, since a network namespace belongs to a thread and this one must not be used for anything else.
    std::thread::Builder::new().name("port-forward".into()).spawn(move || {
        let connect = || {
            let file = std::fs::File::open(&netns)?;
            nix::sched::setns(file.as_fd(), nix::sched::CloneFlags::CLONE_NEWNET)?;
            let v4 = std::net::SocketAddr::from(([127, 0, 0, 1], port));
            let limit = Duration::from_secs(10);
            std::net::TcpStream::connect_timeout(&v4, limit).or_else(|error| {
                let v6 = std::net::SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port));
                std::net::TcpStream::connect_timeout(&v6, limit).map_err(|_| error)
            })
        };
        let _ = sender.send(connect());
    })?;
    let stream = receiver.await.map_err(std::io::Error::other)??;
    stream.set_nonblocking(true)?;
    TcpStream::from_std(stream)
}

/// `/run`: a command to its end, its output as the body.
pub async fn run(node: &Node, view: &View, container: &str, query: &Query) -> Response<Body> {
    let id = match running(view, container) {
        Ok(id) => id,
        Err(response) => return *response,
    };
    let words: Vec<String> = query.get("cmd").unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    match node.runc.run(&id, &words, Duration::from_secs(60)).await {
        Ok(output) if output.code == 0 => text(StatusCode::OK, output.text),
        Ok(output) => text(StatusCode::INTERNAL_SERVER_ERROR, output.text),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}
