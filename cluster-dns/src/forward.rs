//! Questions that are not ours: asked of the servers this host uses itself, if they answer at all.
//!
//! An upstream that failed is left alone for a while, so that on a machine with no network only one question in a while
//! waits for a timeout, and all others fail at once.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

/// How long one upstream may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a silent upstream is not asked again.
const PENALTY: Duration = Duration::from_secs(15);
/// Questions under way at once; more are refused.
const CONCURRENT: usize = 512;

struct Upstream {
    address: SocketAddr,
    silent_until: Mutex<Option<Instant>>,
}

/// The upstream servers, in order of preference.
pub struct Forwarder {
    upstreams: Vec<Upstream>,
    slots: Semaphore,
}

impl Forwarder {
    #[must_use]
    pub fn new(servers: Vec<SocketAddr>) -> Self {
        let upstreams =
            servers.into_iter().map(|address| Upstream { address, silent_until: Mutex::new(None) }).collect();
        Self { upstreams, slots: Semaphore::new(CONCURRENT) }
    }

    /// Whether there is anybody to ask.
    #[must_use]
    pub fn has_upstreams(&self) -> bool {
        !self.upstreams.is_empty()
    }

    /// The answer of the first upstream that gives one, as it came; none if nobody does. `datagram`: ask over UDP.
    pub async fn ask(&self, request: &[u8], datagram: bool) -> Option<Vec<u8>> {
        let _slot = self.slots.try_acquire().ok()?;
        for upstream in &self.upstreams {
            if upstream.silent_until.lock().is_some_and(|until| Instant::now() < until) {
                continue;
            }
            let exchange = async {
                if datagram {
                    over_udp(upstream.address, request).await
                } else {
                    over_tcp(upstream.address, request).await
                }
            };
            match timeout(PATIENCE, exchange).await {
                Ok(Ok(answer)) => {
                    *upstream.silent_until.lock() = None;
                    return Some(answer);
                }
                outcome => {
                    let why = outcome.map_or_else(|_| "no answer in time".to_owned(), |r| format!("{:?}", r.err()));
                    tracing::warn!(upstream = %upstream.address, why, "upstream does not answer; leaving it alone for a while");
                    *upstream.silent_until.lock() = Some(Instant::now() + PENALTY);
                }
            }
        }
        None
    }
}

async fn over_udp(to: SocketAddr, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let any: IpAddr = if to.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
    // A socket of its own per question: the kernel picks an unpredictable port, and only takes packets of this peer.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(to).await?;
    socket.send(request).await?;
    let mut answer = vec![0; 4096];
    loop {
        let n = socket.recv(&mut answer).await?;
        if n >= 2 && answer[..2] == request[..2] {
            answer.truncate(n);
            return Ok(answer);
        }
    }
}

async fn over_tcp(to: SocketAddr, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(to).await?;
    let length = u16::try_from(request.len()).map_err(|_| std::io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes(), request].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// The servers named in the text of a resolv.conf, less `own` (asking ourselves would go round in circles).
#[must_use]
pub fn nameservers(resolv_conf: &str, own: &[IpAddr]) -> Vec<SocketAddr> {
    let words = resolv_conf.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    let servers = words.filter_map(|rest| rest.trim().parse::<IpAddr>().ok());
    servers.filter(|ip| !own.contains(ip) && !ip.is_unspecified()).map(|ip| SocketAddr::new(ip, 53)).take(3).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_resolv_conf() {
        let text = "# made by hand\nsearch a.b\nnameserver 192.0.2.1\n nameserver  2001:db8::1\nnameserver 10.96.0.10\noptions ndots:5\n";
        let servers = nameservers(text, &["10.96.0.10".parse().unwrap()]);
        assert_eq!(servers, ["192.0.2.1:53".parse().unwrap(), "[2001:db8::1]:53".parse().unwrap()]);
    }

    #[tokio::test]
    async fn a_dead_upstream_is_asked_once_in_a_while() {
        // A port nobody listens on: refused at once on loopback.
        let closed = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let forwarder = Forwarder::new(vec![closed]);
        assert_eq!(forwarder.ask(&[0, 1, 0, 0], true).await, None);
        assert!(forwarder.upstreams[0].silent_until.lock().is_some());
    }
}
