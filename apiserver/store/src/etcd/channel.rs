//! The way to etcd: one HTTP/2 connection a member, and each call on the next of those that stand.
//!
//! A linearizable read asks etcd for the newest revision, so that what a call costs is what a GET costs. tonic's own channel
//! hands a request from task to task (its buffer, hyper's dispatcher, the connection, the body's pump), and its head and body
//! leave in two packets, each of which wakes etcd. Here the caller queues both, and the connection's task writes them at once.
//!
//! ```text
//!   call ──> Members ── in turn ──> a member's Line ──> h2 ──> etcd
//!                ^ Up, Down(why)
//!            keeper, one a member: connects, drives the connection, pings, connects anew
//! ```

use super::pong::LatePongs;
use super::{Dial, FIRST_RETRY, Io, Tls};
use anyhow::Context as _;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::task::noop_waker_ref;
use h2::client::{Connection, SendRequest};
use h2::{RecvStream, SendStream};
use http::uri::{Authority, Scheme, Uri};
use http::{Request, Response};
use http_body::{Body as _, Frame};
use parking_lot::Mutex;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, AlertDescription};
use tokio_util::either::Either;
use tonic::Status;
use tonic::body::Body;

/// How long connecting to a member may take, and how long a call waits while no member is connected.
const CONNECT: Duration = Duration::from_secs(2);
/// The longest pause between two attempts to connect.
const LAST_RETRY: Duration = Duration::from_millis(250);
/// A member is pinged so often, and is lost when it does not answer for so long.
const PING: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));
/// What etcd may send ahead of our reading: a stream, a connection. Bounds how much of large ranges is in flight.
const WINDOWS: (u32, u32) = (2 << 20, 8 << 20);

/// Plain for `http`, encrypted for `https`.
type Socket = LatePongs<Either<Base, Box<TlsStream<Base>>>>;
/// Our own, or one that was dialled for us.
type Base = Either<TcpStream, Box<dyn Io>>;

/// How members are connected to.
struct How {
    tls: Option<TlsConnector>,
    dial: Option<Dial>,
}

/// Where a member listens.
#[derive(Clone, Debug)]
struct Address {
    scheme: Scheme,
    authority: Authority,
    port: u16,
}

impl Address {
    /// Reads a URL; without a scheme it is `http`, without a port 2379.
    fn parse(endpoint: &str) -> anyhow::Result<Self> {
        let url = if endpoint.contains("://") { endpoint.to_owned() } else { format!("http://{endpoint}") };
        let parts = url.parse::<Uri>().with_context(|| format!("etcd's address {endpoint:?}"))?.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            anyhow::bail!("etcd's address {endpoint:?} has no host");
        };
        let known = scheme == Scheme::HTTP || scheme == Scheme::HTTPS;
        anyhow::ensure!(known, "etcd's address {endpoint:?} is neither http nor https");
        let port = authority.port_u16().unwrap_or(2379);
        Ok(Self { scheme, authority, port })
    }

    async fn connect(&self, how: &How) -> anyhow::Result<(SendRequest<Bytes>, Connection<Socket>)> {
        // An IPv6 address stands in brackets here.
        let host = self.authority.host().trim_matches(['[', ']']);
        let stream = match &how.dial {
            None => {
                let stream = TcpStream::connect((host, self.port)).await?;
                stream.set_nodelay(true)?;
                Base::Left(stream)
            }
            Some(Dial(dial)) => Base::Right(dial(host.to_owned(), self.port).await?),
        };
        let stream = match how.tls.as_ref().filter(|_| self.scheme == Scheme::HTTPS) {
            Some(tls) => {
                let name = ServerName::try_from(host.to_owned())?;
                Either::Right(Box::new(tls.connect(name, stream).await?))
            }
            None => Either::Left(stream),
        };
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(WINDOWS.0).initial_connection_window_size(WINDOWS.1).enable_push(false);
        Ok(builder.handshake(LatePongs::new(stream)).await?)
    }
}

/// Why etcd and we do not come together however long we wait: a certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody we trust vouches for etcd's.
    #[error("the certificate of etcd is not accepted: {0}")]
    Theirs(String),
    /// Etcd does not accept ours, or that we have none.
    #[error("etcd does not accept this client: {0}")]
    Ours(String),
}

/// What a server tells whose certificate, or whose lack of one, it does not like.
const UNLIKED: [AlertDescription; 9] = [
    AlertDescription::HandshakeFailure,
    AlertDescription::BadCertificate,
    AlertDescription::UnsupportedCertificate,
    AlertDescription::CertificateRevoked,
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateUnknown,
    AlertDescription::UnknownCA,
    AlertDescription::AccessDenied,
    AlertDescription::CertificateRequired,
];

impl Refusal {
    fn of(error: &anyhow::Error) -> Option<Self> {
        let unliked = |text: &str| UNLIKED.iter().any(|alert| rustls::Error::AlertReceived(*alert).to_string() == text);
        error.chain().find_map(|cause| {
            if let Some(io) = cause.downcast_ref::<io::Error>()
                && let Some(tls @ rustls::Error::InvalidCertificate(_)) =
                    io.get_ref().and_then(|tls| tls.downcast_ref())
            {
                return Some(Self::Theirs(tls.to_string()));
            }
            // With TLS 1.3 etcd judges our certificate when h2 has the connection, which keeps of an error its text alone.
            let text = cause.to_string();
            unliked(&text).then_some(Self::Ours(text))
        })
    }
}

/// The state of a member's connection.
enum Line {
    Up(SendRequest<Bytes>),
    /// Why.
    Down(String),
}

struct Member {
    address: Address,
    line: Mutex<Line>,
    /// Why its last connection ended or did not come about, where that was a certificate.
    refusal: Mutex<Option<Refusal>>,
}

/// etcd's members, a connection each.
#[derive(Clone)]
pub(super) struct Members {
    all: Arc<[Member]>,
    next: Arc<AtomicUsize>,
    /// Marked when a line comes up or goes down.
    changed: watch::Sender<()>,
}

/// Connects to all of `endpoints`; the tasks keep the connections, and end them when they are aborted.
///
/// # Errors
/// An endpoint is no URL, or one for TLS without any; or there is none.
pub(super) fn open(
    endpoints: &[String],
    tls: Option<Tls>,
    dial: Option<Dial>,
) -> anyhow::Result<(etcd_client::Channel, Members, Vec<JoinHandle<()>>)> {
    anyhow::ensure!(!endpoints.is_empty(), "no address of etcd is given");
    let tls = tls.map(|mut tls| {
        Arc::make_mut(&mut tls).alpn_protocols = vec![b"h2".to_vec()];
        TlsConnector::from(tls)
    });
    let member = |endpoint: &String| {
        let address = Address::parse(endpoint)?;
        anyhow::ensure!(
            address.scheme == Scheme::HTTP || tls.is_some(),
            "etcd's address {endpoint:?} is https, and no certificate authority is given"
        );
        let line = Mutex::new(Line::Down("is not connected yet".to_owned()));
        Ok(Member { address, line, refusal: Mutex::default() })
    };
    let all: Arc<[Member]> = endpoints.iter().map(member).collect::<anyhow::Result<_>>()?;
    let members = Members { all, next: Arc::default(), changed: watch::Sender::new(()) };
    let how = Arc::new(How { tls, dial });
    let keepers = (0..members.all.len()).map(|index| tokio::spawn(members.clone().keep(index, how.clone()))).collect();
    let callers = members.clone();
    let service = tower::service_fn(move |request| -> BoxFuture<'static, Result<Response<Body>, tower::BoxError>> {
        let members = callers.clone();
        Box::pin(async move { Ok(members.call(request).await?) })
    });
    Ok((etcd_client::Channel::Custom(tower::util::BoxCloneSyncService::new(service)), members, keepers))
}

impl Members {
    /// Keeps a member's connection for ever.
    async fn keep(self, index: usize, how: Arc<How>) {
        let Member { address, line, refusal } = &self.all[index];
        let mut pause = FIRST_RETRY;
        loop {
            let why = match tokio::time::timeout(CONNECT, address.connect(&how)).await {
                Ok(Ok((sender, connection))) => {
                    pause = FIRST_RETRY;
                    *line.lock() = Line::Up(sender);
                    self.changed.send_replace(());
                    let why = drive(connection).await;
                    tracing::warn!("the connection to etcd at {} has ended: {why:#}", address.authority);
                    why
                }
                Ok(Err(error)) => error,
                Err(_) => anyhow::anyhow!("it does not accept connections"),
            };
            *refusal.lock() = Refusal::of(&why);
            *line.lock() = Line::Down(format!("{why:#}"));
            self.changed.send_replace(());
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_RETRY);
        }
    }

    /// Resolves when no member will ever be connected: why.
    pub(super) async fn refused(&self) -> Refusal {
        let mut changes = self.changed.subscribe();
        loop {
            let all: Option<Vec<Refusal>> = self.all.iter().map(|member| member.refusal.lock().clone()).collect();
            match all.and_then(|all| all.into_iter().next()) {
                Some(refusal) => return refusal,
                // The sender is ours, so that this cannot fail.
                None => drop(changes.changed().await),
            }
        }
    }

    /// The next member in turn among those connected.
    fn connected(&self) -> Option<(&Address, SendRequest<Bytes>)> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let (before, after) = self.all.split_at(turn % self.all.len());
        after.iter().chain(before).find_map(|member| match &*member.line.lock() {
            Line::Up(sender) => Some((&member.address, sender.clone())),
            Line::Down(_) => None,
        })
    }

    /// A connection that takes a request; waits a while for one.
    async fn ready(&self) -> Result<(&Address, SendRequest<Bytes>), Status> {
        let mut changes = self.changed.subscribe();
        let found = async {
            loop {
                match self.connected() {
                    // What breaks here has not been sent: another connection may take it.
                    Some((address, sender)) => match sender.ready().await {
                        Ok(sender) => return (address, sender),
                        Err(_) => tokio::task::yield_now().await,
                    },
                    // The sender is ours, so that this cannot fail.
                    None => drop(changes.changed().await),
                }
            }
        };
        tokio::time::timeout(CONNECT, found).await.map_err(|_| Status::unavailable(self.reasons()))
    }

    fn reasons(&self) -> String {
        let reason = |member: &Member| match &*member.line.lock() {
            Line::Up(_) => format!("etcd at {} takes no more requests", member.address.authority),
            Line::Down(why) => format!("etcd at {}: {why}", member.address.authority),
        };
        self.all.iter().map(reason).collect::<Vec<_>>().join("; ")
    }

    async fn call(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let (address, mut sender) = self.ready().await?;
        let (mut parts, body) = request.into_parts();
        let mut uri = std::mem::take(&mut parts.uri).into_parts();
        uri.scheme = Some(address.scheme.clone());
        uri.authority = Some(address.authority.clone());
        parts.uri = Uri::from_parts(uri).map_err(|error| Status::internal(error.to_string()))?;
        let (answer, stream) = sender.send_request(Request::from_parts(parts, ()), false).map_err(lost)?;
        let mut outgoing = Outgoing { body, stream, held: None };
        // A request of one message is whole now, and leaves with its head; the rest of a stream follows as it comes.
        if outgoing.poll(&mut Context::from_waker(noop_waker_ref())).is_pending() {
            tokio::spawn(poll_fn(move |context| outgoing.poll(context)));
        }
        Ok(answer.await.map_err(lost)?.map(|stream| Body::new(Incoming(stream))))
    }
}

/// Until the connection ends: why.
async fn drive(mut connection: Connection<Socket>) -> anyhow::Error {
    let mut pings = connection.ping_pong();
    let silent = async {
        let mut ticks = tokio::time::interval(PING.0);
        // The first tick is now, and the connection has just been made.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let Some(pings) = &mut pings else { std::future::pending().await };
            let pong = tokio::time::timeout(PING.1, pings.ping(h2::Ping::opaque())).await;
            if !matches!(pong, Ok(Ok(_))) {
                return;
            }
        }
    };
    tokio::select! {
        ended = connection => ended.map_or_else(anyhow::Error::from, |()| anyhow::anyhow!("it was closed")),
        () = silent => anyhow::anyhow!("it does not answer"),
    }
}

/// Whether it arrived is not known.
fn lost(error: h2::Error) -> Status {
    Status::unavailable(format!("the connection to etcd broke: {error}"))
}

/// A request's body on its way.
struct Outgoing {
    body: Body,
    stream: SendStream<Bytes>,
    /// The last message is sent when it is known whether another one follows, so that it can say so itself.
    held: Option<Bytes>,
}

impl Outgoing {
    /// Sends what there is. Ready when all has been sent, or when etcd does not want any more.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else { break };
            let last = frame.is_none();
            let data = frame.and_then(Result::ok).and_then(|frame| frame.into_data().ok());
            let sent = match std::mem::replace(&mut self.held, data) {
                None if !last => Ok(()),
                before => self.stream.send_data(before.unwrap_or_default(), last),
            };
            if last || sent.is_err() {
                return Poll::Ready(());
            }
        }
        if let Some(data) = self.held.take()
            && self.stream.send_data(data, false).is_err()
        {
            return Poll::Ready(());
        }
        self.stream.poll_reset(context).map(drop)
    }
}

/// An answer's body: messages, then the trailers that say how the call went.
struct Incoming(RecvStream);

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(data) = ready!(self.0.poll_data(context)) {
            return Poll::Ready(Some(data.map_err(lost).map(|data| {
                // It can fail only when the stream is over, and then nobody needs the room.
                let _ = self.0.flow_control().release_capacity(data.len());
                Frame::data(data)
            })));
        }
        let trailers = ready!(self.0.poll_trailers(context)).map_err(lost);
        Poll::Ready(trailers.transpose().map(|trailers| trailers.map(Frame::trailers)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_members() {
        for (text, authority, port) in [
            ("http://127.0.0.1:12379", "127.0.0.1:12379", 12379),
            ("etcd-0.example:2379", "etcd-0.example:2379", 2379),
            ("http://[::1]:5", "[::1]:5", 5),
            ("https://etcd", "etcd", 2379),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.authority.as_str(), address.port), (authority, port), "{text}");
        }
        for text in ["", "http://", "unix://run:1"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }
}
