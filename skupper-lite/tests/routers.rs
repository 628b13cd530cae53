//! Whole routers on loopback, over real TLS connections.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use knetsim_skupper_lite::certs::{Pair, authority, signed};
use knetsim_skupper_lite::router::Running;
use knetsim_skupper_lite::router::config::{Config, Connector, Listener, Role, SslProfile, TcpEndpoint};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn profile(dir: &Path, name: &str, pair: &Pair) -> SslProfile {
    let write = |file: &str, text: &str| {
        let path = dir.join(format!("{name}-{file}"));
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    SslProfile {
        name: name.to_owned(),
        ca_cert_file: write("ca.crt", &pair.ca),
        cert_file: write("tls.crt", &pair.certificate),
        private_key_file: write("tls.key", &pair.key),
    }
}

/// A router of its own site, with a certificate of `ca` and a heartbeat of a third of a second.
fn site(dir: &Path, name: &str, ca: &Pair) -> Config {
    let mut config = Config::default();
    config.router.id = name.to_owned();
    config.router.metadata = format!("{{\"id\":\"site-{name}\"}}");
    config.router.hello_max_age_seconds = Some("1".to_owned());
    let pair = signed(ca, name, &["127.0.0.1".to_owned()]).unwrap();
    config.ssl_profiles.insert("tls".to_owned(), profile(dir, name, &pair));
    config
}

fn accepts(config: &mut Config) -> u16 {
    let port = free_port();
    let listener = Listener {
        name: "in".to_owned(),
        role: Role::InterRouter,
        host: "127.0.0.1".to_owned(),
        port,
        ssl_profile: "tls".to_owned(),
        ..Listener::default()
    };
    config.listeners.insert("in".to_owned(), listener);
    port
}

fn links_to(config: &mut Config, port: u16) {
    let connector = Connector {
        name: "out".to_owned(),
        role: Role::InterRouter,
        host: "127.0.0.1".to_owned(),
        port: port.to_string(),
        cost: 1,
        ssl_profile: "tls".to_owned(),
    };
    config.connectors.insert("out".to_owned(), connector);
}

fn endpoint(name: &str, port: u16, address: &str) -> TcpEndpoint {
    TcpEndpoint {
        name: name.to_owned(),
        host: "127.0.0.1".to_owned(),
        port: port.to_string(),
        address: address.to_owned(),
        ..TcpEndpoint::default()
    }
}

fn start(config: &Config) -> Running {
    let mut router = Running::new();
    router.apply(config);
    router
}

/// Waits for the network to become so; every change of it wakes us.
async fn until(router: &Running, what: &str, condition: impl Fn(&Running) -> bool) {
    let mut changed = router.core().watch();
    let wait = async {
        while !condition(router) {
            changed.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Connects once the router listens (it does so a moment after the address became reachable).
async fn connect(port: u16) -> TcpStream {
    for _ in 0..500 {
        match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(connection) => return connection,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    panic!("nobody listens on {port}");
}

/// Sends back what it reads, and half-closes after the client has.
async fn echo_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = connection.split();
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
                let _ = writer.shutdown().await;
            });
        }
    });
    port
}

/// A stretch of network that can be cut: bytes pass, or connections stay open and nothing passes.
struct Wan {
    port: u16,
    cut: tokio::sync::watch::Sender<bool>,
    task: AbortHandle,
}

impl Drop for Wan {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn wan(to: u16) -> Wan {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (cut, is_cut) = tokio::sync::watch::channel(false);
    let task = tokio::spawn(async move {
        loop {
            let (one, _) = listener.accept().await.unwrap();
            let Ok(two) = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], to))).await else { continue };
            let ((from_one, to_one), (from_two, to_two)) = (one.into_split(), two.into_split());
            for (mut from, mut to) in [(from_one, to_two), (from_two, to_one)] {
                let mut is_cut = is_cut.clone();
                tokio::spawn(async move {
                    let mut buffer = vec![0; 65536];
                    while let Ok(read @ 1..) = from.read(&mut buffer).await {
                        is_cut.wait_for(|cut| !cut).await.unwrap();
                        if to.write_all(&buffer[..read]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        }
    });
    Wan { port, cut, task: task.abort_handle() }
}

async fn echoes(port: u16, text: &[u8]) {
    let mut connection = connect(port).await;
    connection.write_all(text).await.unwrap();
    connection.shutdown().await.unwrap();
    let mut back = Vec::new();
    connection.read_to_end(&mut back).await.unwrap();
    assert_eq!(back, text);
}

/// Two linked sites: `web` is a listener at the first (its port is returned) and a connector at the second.
async fn two_sites(dir: &Path) -> (Running, Running, Wan, u16) {
    let ca = authority("ca").unwrap();
    let (mut one, mut two) = (site(dir, "one", &ca), site(dir, "two", &ca));
    let wan = wan(accepts(&mut two)).await;
    links_to(&mut one, wan.port);
    let port = free_port();
    one.tcp_listeners.insert("l".to_owned(), endpoint("l", port, "web"));
    two.tcp_connectors.insert("c".to_owned(), endpoint("c", echo_server().await, "web"));
    let (one, two) = (start(&one), start(&two));
    until(&one, "web is reachable", |router| router.core().reachable("web")).await;
    (one, two, wan, port)
}

#[tokio::test]
async fn a_connection_crosses_the_link_and_its_half_close_too() {
    let dir = tempfile::tempdir().unwrap();
    let (one, _two, _wan, port) = two_sites(dir.path()).await;
    echoes(port, b"hello over there").await;
    let network = one.core().network();
    assert_eq!(network.len(), 2);
    assert!(network[0].links["out"].operational);
    assert_eq!(network[0].links["out"].remote_site_id, "site-two");
}

#[tokio::test]
async fn a_cut_is_noticed_and_mended_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two, wan, port) = two_sites(dir.path()).await;
    let mut open = connect(port).await;
    open.write_all(b"x").await.unwrap();
    open.read_u8().await.unwrap();
    wan.cut.send(true).unwrap();
    until(&one, "the cut is noticed", |router| !router.core().reachable("web")).await;
    until(&two, "the other side notices too", |router| router.core().network().len() == 1).await;
    assert!(matches!(open.read(&mut [0]).await, Ok(0) | Err(_)), "an open connection ends");
    // The listener is closed a moment after; from then on clients are refused.
    for _ in 0..500 {
        match TcpStream::connect(("127.0.0.1", port)).await {
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
                break;
            }
            Ok(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    let link = one.core().network()[0].links["out"].clone();
    assert!(!link.operational);
    wan.cut.send(false).unwrap();
    until(&one, "the mend is noticed", |router| router.core().reachable("web")).await;
    echoes(port, b"back again").await;
}

#[tokio::test]
async fn a_stranger_is_turned_away() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, strange) = (authority("ours").unwrap(), authority("strange").unwrap());
    let (mut one, mut two) = (site(dir.path(), "one", &ours), site(dir.path(), "two", &strange));
    let port = accepts(&mut one);
    links_to(&mut two, port);
    // It trusts our CA, so only our refusal of its certificate can stop it.
    let trusting = Pair { ca: ours.certificate.clone(), ..signed(&strange, "two", &[]).unwrap() };
    two.ssl_profiles.insert("tls".to_owned(), profile(dir.path(), "two", &trusting));
    let (one, two) = (start(&one), start(&two));
    until(&two, "the refusal is told", |router| !router.core().network()[0].links["out"].error.is_empty()).await;
    assert_eq!(one.core().network().len(), 1);
    assert_eq!(two.core().network().len(), 1);
    assert!(!two.core().network()[0].links["out"].operational);
}

#[tokio::test]
async fn a_hundred_megabytes_arrive_whole_over_two_hops() {
    const CHUNK: usize = 1 << 20;
    const CHUNKS: usize = 100;
    let dir = tempfile::tempdir().unwrap();
    let ca = authority("ca").unwrap();
    let mut sites = ["one", "two", "three"].map(|name| site(dir.path(), name, &ca));
    let [one, two, three] = &mut sites;
    links_to(one, accepts(two));
    links_to(three, two.listeners["in"].port);
    let port = free_port();
    one.tcp_listeners.insert("l".to_owned(), endpoint("l", port, "web"));
    three.tcp_connectors.insert("c".to_owned(), endpoint("c", echo_server().await, "web"));
    let routers = sites.map(|config| start(&config));
    until(&routers[0], "web is reachable over two hops", |router| router.core().reachable("web")).await;
    let (mut reader, mut writer) = connect(port).await.into_split();
    let chunk = |number: usize| -> Vec<u8> { (0..CHUNK).map(|at| (at * 31 + number * 7 + at / 251) as u8).collect() };
    let sending = async move {
        for number in 0..CHUNKS {
            writer.write_all(&chunk(number)).await.unwrap();
        }
        writer.shutdown().await.unwrap();
    };
    let receiving = async move {
        let mut buffer = vec![0; CHUNK];
        for number in 0..CHUNKS {
            reader.read_exact(&mut buffer).await.unwrap();
            assert!(buffer == chunk(number), "chunk {number} differs");
        }
        assert_eq!(reader.read(&mut buffer).await.unwrap(), 0);
    };
    let started = std::time::Instant::now();
    tokio::join!(sending, receiving);
    eprintln!("{CHUNKS} MiB there and back over two hops in {:?}", started.elapsed());
}

#[tokio::test]
async fn a_changed_configuration_leaves_other_connections_alone() {
    let dir = tempfile::tempdir().unwrap();
    let ca = authority("ca").unwrap();
    let mut config = site(dir.path(), "one", &ca);
    let (port, other) = (free_port(), free_port());
    config.tcp_listeners.insert("l".to_owned(), endpoint("l", port, "web"));
    config.tcp_connectors.insert("c".to_owned(), endpoint("c", echo_server().await, "web"));
    let mut router = start(&config);
    let mut open = connect(port).await;
    config.tcp_listeners.insert("m".to_owned(), endpoint("m", other, "web"));
    router.apply(&config);
    echoes(other, b"the new listener").await;
    open.write_all(b"y").await.unwrap();
    assert_eq!(open.read_u8().await.unwrap(), b'y');
}
