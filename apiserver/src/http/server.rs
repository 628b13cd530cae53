//! Listeners, TLS and connections. HTTP/2 and HTTP/1.1 by ALPN on every socket; upgrades (exec, port-forward) on HTTP/1.1.

use std::convert::Infallible;
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::pki_types::UnixTime;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::corked::{Corked, Valve};
use super::drive::{Drive, Requests};
use super::idle::Uses;
use super::linger::{Pace, Turns};
use super::route::Routes;
use super::witness::Witnessed;
use crate::access::Clients;

/// How long a client may take for the TLS handshake.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection may be idle, as upstream. hyper counts an HTTP/1.1 connection's wait for the next request as
/// reading its head, so the time for that is the same.
const IDLE: Duration = Duration::from_secs(90);

/// Listens on the address and takes over the inherited sockets.
///
/// # Errors
/// The address is taken, or a descriptor is no listening socket.
pub async fn listeners(options: &crate::options::Options) -> anyhow::Result<Vec<TcpListener>> {
    let address = (options.bind_address, options.secure_port);
    let own = TcpListener::bind(address).await.with_context(|| format!("listen on {}:{}", address.0, address.1))?;
    let mut all = vec![own];
    for &fd in &options.listen_fd {
        all.push(inherited(fd).with_context(|| format!("use the inherited socket {fd}"))?);
    }
    Ok(all)
}

fn inherited(fd: i32) -> anyhow::Result<TcpListener> {
    let listener = std::net::TcpListener::from(kernel::process::inherited(fd)?);
    listener.set_nonblocking(true)?;
    Ok(TcpListener::from_std(listener)?)
}

/// Serves until `stop`; returns when the connections have ended or their time is up.
pub async fn serve(
    listeners: Vec<TcpListener>,
    tls: Arc<rustls::ServerConfig>,
    clients: Clients,
    routes: Routes,
    stop: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(tls);
    let (connections, turns) = (TaskTracker::new(), Turns::default());
    let mut loops = tokio::task::JoinSet::new();
    for listener in listeners {
        let (acceptor, routes, stop) = (acceptor.clone(), routes.clone(), stop.clone());
        let (clients, connections, turns) = (clients.clone(), connections.clone(), turns.clone());
        loops.spawn(async move {
            loop {
                let stream = tokio::select! {
                    (stream, _) = runtime::listen::accept(&listener) => stream,
                    () = stop.cancelled() => return,
                };
                let pace = turns.connection();
                connections.spawn(connection(
                    stream,
                    acceptor.clone(),
                    clients.clone(),
                    routes.clone(),
                    pace,
                    stop.clone(),
                ));
            }
        });
    }
    loops.join_all().await;
    connections.close();
    // `run` promises to end within a second of the signal.
    let _ = tokio::time::timeout(Duration::from_millis(800), connections.wait()).await;
}

async fn connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    clients: Clients,
    routes: Routes,
    pace: Pace,
    stop: CancellationToken,
) {
    // Small answers must not wait for more (Nagle); a failure costs only latency.
    let _ = stream.set_nodelay(true);
    let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, acceptor.accept(Valve::from(stream))).await else {
        return routes.no_handshake();
    };
    let socket = stream.get_ref().0.as_raw_fd();
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let address = stream.get_ref().0.stream.peer_addr().ok().map(|address| address.ip());
    let peer = clients.judge(chain, address, UnixTime::now());
    let uses = Uses::new(pace);
    let in_use = uses.clone();
    let streams = routes.streams();
    let enough = CancellationToken::new();
    let sent_away = enough.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (routes, peer, used) = (routes.clone(), peer.clone(), in_use.begin());
        if request.version() == http::Version::HTTP_2 && routes.sends_away() {
            sent_away.cancel();
        }
        async move {
            let response = routes.handle(&peer, request.map(Body::new)).await;
            Ok::<_, Infallible>(response.map(|body| Witnessed::new(body, used)))
        }
    });
    let requests = Requests::of(&uses);
    let mut builder = auto::Builder::new(requests.clone());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(IDLE);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(streams)
        .keep_alive_interval(Some(Duration::from_secs(30)));
    // What speaks HTTP/1.1 may become a stream of its own, which nobody drives.
    let corks = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let stream = Corked::new(stream, corks);
    let connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream.clone()), service));
    let mut connection = Drive::new(connection, &requests, socket, Some(stream));
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = async {
            tokio::select! { () = stop.cancelled() => {}, () = enough.cancelled() => {}, () = uses.idle(IDLE) => {} }
        } => {
            connection.connection().as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended with an error");
    }
}
