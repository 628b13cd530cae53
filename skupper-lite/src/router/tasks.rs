//! One task for each thing the configuration names: incoming links, outgoing links, tcpListeners, the HTTP port.
//!
//! A changed configuration ends the tasks whose entry is gone or different and starts the new ones; the others, and the
//! connections they carry, are not touched.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use runtime::listen::accept;
use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::task::AbortOnDropHandle;

use super::bridge::CONNECT_TIMEOUT;
use super::config::{Config, Connector, Listener, Role, SslProfile, TcpEndpoint};
use super::core::Core;
use super::{link, manage, tls};

/// A link that failed is tried again after this, doubled up to the maximum. It is short, for a mended WAN should be
/// noticed by the one who mended it.
const RETRY: (Duration, Duration) = (Duration::from_millis(125), Duration::from_millis(500));
/// A router that takes longer to answer a connection's first packet is asked anew: the kernel would repeat that packet
/// after 1, 3 and 7 s, and not notice in between that the way is open again.
const ANSWER: Duration = Duration::from_secs(1);
/// Connections a tcpListener carries at a time; further ones wait in the kernel's queue.
const MAX_CLIENTS: usize = 4096;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Job {
    Incoming(Listener, SslProfile),
    Http(Listener),
    Link(Connector, SslProfile),
    Clients(TcpEndpoint),
}

/// The running tasks.
#[derive(Default)]
pub struct Tasks(HashMap<Job, AbortOnDropHandle<()>>);

impl Tasks {
    /// Makes the running tasks those of `config`.
    pub fn apply(&mut self, core: &Arc<Core>, config: &Config) {
        let wanted = jobs(config);
        self.0.retain(|job, _| wanted.contains(job));
        for job in wanted {
            self.0.entry(job.clone()).or_insert_with(|| {
                let core = Arc::clone(core);
                AbortOnDropHandle::new(tokio::spawn(async move {
                    match job {
                        Job::Incoming(listener, profile) => incoming(core, listener, profile).await,
                        Job::Http(listener) => http(core, listener).await,
                        Job::Link(connector, profile) => outgoing(core, connector, profile).await,
                        Job::Clients(endpoint) => clients(core, endpoint).await,
                    }
                }))
            });
        }
    }
}

fn jobs(config: &Config) -> Vec<Job> {
    let profile = |name: &str| config.ssl_profiles.get(name).cloned().unwrap_or_default();
    let listeners = config.listeners.values().filter_map(|listener| match (listener.role, listener.http) {
        (_, true) => Some(Job::Http(listener.clone())),
        (Role::InterRouter | Role::Edge, false) => {
            Some(Job::Incoming(listener.clone(), profile(&listener.ssl_profile)))
        }
        // AMQP clients have nobody to talk to here.
        (Role::Normal, false) => None,
    });
    let links = config.connectors.values().filter(|it| it.role != Role::Normal);
    let links = links.map(|connector| Job::Link(connector.clone(), profile(&connector.ssl_profile)));
    let clients = config.tcp_listeners.values().map(|endpoint| Job::Clients(endpoint.clone()));
    listeners.chain(links).chain(clients).collect()
}

/// Binds, waiting for a port that somebody else still holds.
async fn bind(host: &str, port: &str) -> TcpListener {
    let address = format!("{}:{port}", if host.is_empty() { "0.0.0.0" } else { host });
    let mut wait = RETRY.0;
    loop {
        match TcpListener::bind(&address).await {
            Ok(listener) => return listener,
            Err(error) => tracing::warn!(%error, address, "cannot listen; trying again"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RETRY.1);
    }
}

async fn incoming(core: Arc<Core>, listener: Listener, profile: SslProfile) {
    let socket = bind(&listener.host, &listener.port.to_string()).await;
    // The links end with the listener that let them in.
    let mut links = tokio::task::JoinSet::new();
    loop {
        let (connection, _) = accept(&socket).await;
        while links.try_join_next().is_some() {}
        let server = match tls::server(&profile) {
            Ok(server) => server,
            Err(error) => {
                tracing::warn!(%error, listener = listener.name, "connection refused");
                continue;
            }
        };
        let core = Arc::clone(&core);
        if let Err(error) = attentive(&connection) {
            tracing::warn!(%error, "a peer was gone before it was heard");
            continue;
        }
        links.spawn(async move {
            match tokio::time::timeout(CONNECT_TIMEOUT, TlsAcceptor::from(server).accept(connection)).await {
                Ok(Ok(connection)) => drop(core.link(connection, None, 1).await),
                Ok(Err(error)) => tracing::warn!(%error, "a peer was turned away"),
                Err(_) => tracing::warn!("a peer did not finish its handshake"),
            }
        });
    }
}

async fn outgoing(core: Arc<Core>, connector: Connector, profile: SslProfile) {
    let mut wait = RETRY.0;
    loop {
        let error = match dial(&connector, &profile).await {
            Ok(connection) => {
                wait = RETRY.0;
                core.link(connection, Some(&connector.name), connector.cost.max(1)).await.to_string()
            }
            Err(error) => error
                .downcast::<io::Error>()
                .map_or_else(|other| other.to_string(), |io| link::Error::Io(io).to_string()),
        };
        tracing::debug!(link = connector.name, error, "not connected; trying again");
        core.link_facts(&connector.name, |facts| {
            facts.operational = false;
            facts.error = error;
        });
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RETRY.1);
    }
}

async fn dial(
    connector: &Connector,
    profile: &SslProfile,
) -> anyhow::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let Connector { host, port, .. } = connector;
    let client = tls::client(profile)?;
    let name = ServerName::try_from(host.clone())?;
    let silent = || anyhow::anyhow!("{host}:{port} does not answer");
    let connection = tokio::time::timeout(ANSWER, TcpStream::connect(format!("{host}:{port}")));
    let connection = connection.await.map_err(|_| silent())??;
    attentive(&connection)?;
    let handshake = tokio::time::timeout(CONNECT_TIMEOUT, TlsConnector::from(client).connect(name, connection));
    Ok(handshake.await.map_err(|_| silent())??)
}

/// Makes a link's connection say at once what it has to say: frames are sent as they are written, and a network on the way
/// that reports the peer unreachable ends the link. TCP alone would try on, and only silence would end it, after
/// `helloMaxAgeSeconds`.
fn attentive(connection: &TcpStream) -> io::Result<()> {
    connection.set_nodelay(true)?;
    Ok(setsockopt(connection, sockopt::Ipv4RecvErr, &true)?)
}

/// Listens only while the address can be reached, so that a client is refused at once when it cannot.
async fn clients(core: Arc<Core>, endpoint: TcpEndpoint) {
    let mut changed = core.watch();
    let places = Arc::new(Semaphore::new(MAX_CLIENTS));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while !core.reachable(&endpoint.address) {
            if changed.changed().await.is_err() {
                return;
            }
        }
        let socket = bind(&endpoint.host, &endpoint.port).await;
        while core.reachable(&endpoint.address) {
            let connection = tokio::select! {
                (connection, _) = accept(&socket) => connection,
                _ = changed.changed() => continue,
            };
            while connections.try_join_next().is_some() {}
            let place = Arc::clone(&places).acquire_owned().await.expect("nobody closes it");
            let (core, address) = (Arc::clone(&core), endpoint.address.clone());
            connections.spawn(async move {
                core.client(connection, &address).await;
                drop(place);
            });
        }
    }
}

async fn http(core: Arc<Core>, listener: Listener) {
    let host: IpAddr = listener.host.parse().unwrap_or(IpAddr::from([0, 0, 0, 0]));
    let socket = bind(&host.to_string(), &listener.port.to_string()).await;
    if let Err(error) = axum::serve(socket, manage::app(core)).await {
        tracing::error!(%error, "the HTTP port is gone");
    }
}
