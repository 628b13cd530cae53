//! The router's heart: the table, the links that are up, and where a connection goes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::bridge;
use super::config::Config;
use super::frame::{Hello, Open};
use super::link::{self, Events, Handle, Link, PROTOCOL, Stream};
use super::routes::{Destination, Entry, Facts, LinkFacts, LinkId, MAX_HOPS, Table};

/// Shared by all tasks of a router.
pub struct Core {
    table: Mutex<Table>,
    links: Mutex<HashMap<LinkId, (Handle, watch::Sender<Arc<Vec<Entry>>>)>>,
    /// `host:port` of the tcpConnectors, by address.
    targets: Mutex<HashMap<String, Vec<String>>>,
    max_age: Mutex<Duration>,
    next_link: AtomicU64,
    next_target: AtomicUsize,
    /// Rises with every change of the table.
    version: watch::Sender<u64>,
}

impl Core {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            table: Mutex::default(),
            links: Mutex::default(),
            targets: Mutex::default(),
            max_age: Mutex::new(Duration::from_secs(3)),
            next_link: AtomicU64::new(1),
            next_target: AtomicUsize::new(0),
            version: watch::channel(0).0,
        })
    }

    /// Takes over what `config` says of this router itself.
    pub fn configure(&self, config: &Config) {
        let mut targets: HashMap<String, Vec<String>> = HashMap::new();
        for connector in config.tcp_connectors.values() {
            let target = format!("{}:{}", connector.host, connector.port);
            targets.entry(connector.address.clone()).or_default().push(target);
        }
        *self.targets.lock() = targets;
        let age = config.router.hello_max_age_seconds.as_deref().and_then(|age| age.parse().ok()).unwrap_or(3);
        *self.max_age.lock() = Duration::from_secs(age.max(1));
        self.update(|facts| {
            facts.router.clone_from(&config.router.id);
            facts.site_id = config.site_id();
            facts.site = config.site.clone().unwrap_or_default();
            facts.connectors.clear();
            facts.listeners.clear();
            for (endpoints, by_address) in
                [(&config.tcp_connectors, &mut facts.connectors), (&config.tcp_listeners, &mut facts.listeners)]
            {
                for endpoint in endpoints.values() {
                    by_address.entry(endpoint.address.clone()).or_default().insert(endpoint.name.clone());
                }
            }
            facts.links.retain(|name, _| config.connectors.contains_key(name));
            for name in config.connectors.keys() {
                facts.links.entry(name.clone()).or_default();
            }
        });
    }

    fn update(&self, change: impl FnOnce(&mut Facts)) {
        let changed = self.table.lock().set_local(change);
        if changed {
            self.announce();
        }
    }

    /// What happened to a link of ours, for the network status.
    pub fn link_facts(&self, name: &str, change: impl FnOnce(&mut LinkFacts)) {
        self.update(|facts| {
            if let Some(link) = facts.links.get_mut(name) {
                change(link);
            }
        });
    }

    /// Tells every neighbour what it should know now, and everyone here that the table changed.
    fn announce(&self) {
        let table = self.table.lock();
        for (id, (_, advertisement)) in &*self.links.lock() {
            let now = table.advertisement(*id);
            advertisement.send_if_modified(|last| {
                let changed = **last != now;
                if changed {
                    *last = Arc::new(now);
                }
                changed
            });
        }
        drop(table);
        self.version.send_modify(|version| *version += 1);
    }

    /// Changes whenever the network does.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    pub fn network(&self) -> Vec<Facts> {
        self.table.lock().network()
    }

    pub fn reachable(&self, address: &str) -> bool {
        !self.table.lock().destinations(address).is_empty()
    }

    pub fn max_age(&self) -> Duration {
        *self.max_age.lock()
    }

    /// Runs a link over an authenticated connection until it fails; returns why. `name` is the connector's for a link we
    /// made ourselves.
    pub async fn link<C>(self: &Arc<Self>, mut connection: C, name: Option<&str>, cost: u32) -> link::Error
    where
        C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let max_age = self.max_age();
        let hello = {
            let table = self.table.lock();
            let Facts { router, site_id, site, .. } = table.local().clone();
            Hello { protocol: PROTOCOL, router, site_id, site_name: site.name }
        };
        let theirs = match link::greet(&mut connection, hello, max_age).await {
            Ok(hello) => hello,
            Err(error) => return error,
        };
        let id = self.next_link.fetch_add(1, Ordering::Relaxed);
        let (link, handle) = Link::new(name.is_some());
        tracing::info!(
            link = name.unwrap_or("incoming"),
            router = theirs.router,
            site = theirs.site_name,
            "link is up"
        );
        let receiver = {
            let mut table = self.table.lock();
            table.link_up(id, theirs.router.clone(), cost);
            let (sender, receiver) = watch::channel(Arc::new(table.advertisement(id)));
            self.links.lock().insert(id, (handle, sender));
            receiver
        };
        let _up = Up { core: Arc::clone(self), link: id, name: name.map(str::to_owned) };
        if let Some(name) = name {
            self.link_facts(name, |facts| {
                *facts = LinkFacts {
                    operational: true,
                    remote_site_id: theirs.site_id.clone(),
                    remote_site_name: theirs.site_name.clone(),
                    error: String::new(),
                };
            });
        }
        let events = Arc::new(LinkEvents { core: Arc::clone(self), link: id });
        let error = link.run(connection, events, receiver, max_age).await;
        tracing::info!(link = name.unwrap_or("incoming"), router = theirs.router, %error, "link is down");
        error
    }

    /// A client has come in at a tcpListener for `address`.
    pub async fn client(self: &Arc<Self>, connection: TcpStream, address: &str) {
        let _ = connection.set_nodelay(true);
        for destination in self.choices(address) {
            match destination {
                Destination::Here => {
                    if let Some(server) = bridge::connect(&self.targets(address)).await {
                        return bridge::local(connection, server).await;
                    }
                }
                Destination::Remote { router, link } => {
                    let Some(handle) = self.handle(link) else { continue };
                    let open = Open { router, address: address.to_owned(), hops: MAX_HOPS };
                    if let Ok(stream) = handle.open(open).await {
                        return bridge::tcp(connection, stream).await;
                    }
                }
            }
        }
        tracing::debug!(address, "no connector can be reached; the connection is closed");
    }

    /// A stream another router opened.
    async fn incoming(self: Arc<Self>, open: Open, stream: Stream) {
        if open.router == self.table.lock().local().router {
            if let Some(server) = bridge::connect(&self.targets(&open.address)).await {
                bridge::tcp(server, stream).await;
            }
            return;
        }
        let route = self.table.lock().routes().get(open.router.as_str()).map(|route| route.link);
        let handle = route.and_then(|link| self.handle(link));
        if let (Some(handle), Some(hops)) = (handle, open.hops.checked_sub(1))
            && let Ok(onward) = handle.open(Open { hops, ..open }).await
        {
            bridge::relay(stream, onward).await;
        }
    }

    fn handle(&self, link: LinkId) -> Option<Handle> {
        self.links.lock().get(&link).map(|(handle, _)| handle.clone())
    }

    /// This site first, then the other sites, each connection beginning with the next one.
    fn choices(&self, address: &str) -> Vec<Destination> {
        let mut choices = self.table.lock().destinations(address);
        if choices.first() != Some(&Destination::Here) && !choices.is_empty() {
            let turn = self.next_target.fetch_add(1, Ordering::Relaxed) % choices.len();
            choices.rotate_left(turn);
        }
        choices
    }

    fn targets(&self, address: &str) -> Vec<String> {
        let mut targets = self.targets.lock().get(address).cloned().unwrap_or_default();
        if !targets.is_empty() {
            let turn = self.next_target.fetch_add(1, Ordering::Relaxed) % targets.len();
            targets.rotate_left(turn);
        }
        targets
    }
}

/// A link that is up. It goes down with the task that runs it, also when that is ended by a new configuration.
struct Up {
    core: Arc<Core>,
    link: LinkId,
    name: Option<String>,
}

impl Drop for Up {
    fn drop(&mut self) {
        {
            let mut table = self.core.table.lock();
            table.link_down(self.link);
            self.core.links.lock().remove(&self.link);
        }
        if let Some(name) = &self.name {
            self.core.link_facts(name, |facts| facts.operational = false);
        }
        self.core.announce();
    }
}

struct LinkEvents {
    core: Arc<Core>,
    link: LinkId,
}

impl Events for LinkEvents {
    fn routes(&self, entries: Vec<Entry>) {
        self.core.table.lock().learned(self.link, entries);
        self.core.announce();
    }

    fn opened(&self, open: Open, stream: Stream) {
        // As many tasks as streams, which the link bounds.
        tokio::spawn(Arc::clone(&self.core).incoming(open, stream));
    }
}
