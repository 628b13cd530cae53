//! The sockets: UDP and TCP on port 53.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, Record, RecordType};
use parking_lot::RwLock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::forward::Forwarder;
use crate::message::{Request, Sections};
use crate::records::Records;
use crate::zone::{Answer, Zone};

/// TCP connections at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 256;
/// How long a TCP client may be silent.
const IDLE: Duration = Duration::from_secs(10);

/// Everything the sockets share with the watches.
pub struct Server {
    pub zone: Zone,
    pub records: RwLock<Records>,
    pub forwarder: Forwarder,
    /// Of the SOA record: seconds since 1970 of the last change.
    pub serial: AtomicU64,
    pub requests: AtomicU64,
    /// Rotates address records, so that clients that always take the first are spread.
    turn: AtomicUsize,
}

/// What to do with a request: say this, or ask others first.
enum Reply {
    Now(Option<Vec<u8>>),
    Forward,
    /// Complete these answers with what `name` has elsewhere.
    Complete(Vec<Record>, Name),
}

impl Server {
    #[must_use]
    pub fn new(zone: Zone, forwarder: Forwarder) -> Self {
        Self {
            zone,
            records: RwLock::default(),
            forwarder,
            serial: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            turn: AtomicUsize::new(0),
        }
    }

    /// Serves UDP. What is ours is answered at once, without a task.
    ///
    /// # Errors
    /// When the socket breaks.
    pub async fn serve_udp(self: Arc<Self>, socket: UdpSocket) -> std::io::Result<()> {
        let socket = Arc::new(socket);
        let mut buffer = [0; 4096];
        loop {
            let (bytes, from) = match socket.recv_from(&mut buffer).await {
                Ok((n, from)) => (&buffer[..n], from),
                // The error belongs to an answer sent earlier: its client has closed the port.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => continue,
                Err(error) => return Err(error),
            };
            let request = match Request::read(bytes) {
                Ok(request) => request,
                Err(refusal) => {
                    send(&socket, refusal, from).await;
                    continue;
                }
            };
            match self.reply(&request, true) {
                Reply::Now(response) => send(&socket, response, from).await,
                later => {
                    let (server, socket, bytes) = (self.clone(), socket.clone(), bytes.to_vec());
                    tokio::spawn(async move {
                        let response = server.finish(later, &request, &bytes, true).await;
                        send(&socket, response, from).await;
                    });
                }
            }
        }
    }

    /// Serves TCP.
    pub async fn serve_tcp(self: Arc<Self>, listener: TcpListener) -> Infallible {
        let serve = move |stream, from| {
            let server = self.clone();
            async move {
                if let Err(error) = server.converse(stream).await {
                    tracing::debug!(%error, %from, "TCP client");
                }
            }
        };
        runtime::listen::connections(listener, Some(CONNECTIONS), serve).await
    }

    async fn converse(&self, mut stream: TcpStream) -> std::io::Result<()> {
        loop {
            let read = async {
                let mut bytes = vec![0; usize::from(stream.read_u16().await?)];
                stream.read_exact(&mut bytes).await?;
                Ok::<_, std::io::Error>(bytes)
            };
            let bytes = match timeout(IDLE, read).await {
                Ok(Ok(bytes)) => bytes,
                Ok(Err(error)) if error.kind() != std::io::ErrorKind::UnexpectedEof => return Err(error),
                _ => return Ok(()),
            };
            let response = match Request::read(&bytes) {
                Ok(request) => match self.reply(&request, false) {
                    Reply::Now(response) => response,
                    later => self.finish(later, &request, &bytes, false).await,
                },
                Err(refusal) => refusal,
            };
            let Some(response) = response else { return Ok(()) };
            let length = u16::try_from(response.len()).map_err(std::io::Error::other)?;
            stream.write_all(&[&length.to_be_bytes(), response.as_slice()].concat()).await?;
        }
    }

    fn reply(&self, request: &Request, datagram: bool) -> Reply {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let query = &request.query;
        // A serial number wraps around by definition (RFC 1982).
        let serial = self.serial.load(Ordering::Relaxed) as u32;
        let answer = self.zone.answer(&self.records.read(), query.name(), query.query_type(), serial);
        let denial = |code| {
            let sections =
                Sections { authoritative: true, authorities: vec![self.zone.soa(serial)], ..Sections::default() };
            Reply::Now(request.response(code, sections, datagram))
        };
        match answer {
            Answer::Found { answers, beyond: Some(name), .. }
                if query.query_type() != RecordType::CNAME && self.forwarder.has_upstreams() =>
            {
                Reply::Complete(answers, name)
            }
            Answer::Found { mut answers, additionals, .. } => {
                self.rotate(&mut answers);
                let sections = Sections { authoritative: true, answers, additionals, ..Sections::default() };
                Reply::Now(request.response(ResponseCode::NoError, sections, datagram))
            }
            Answer::NoData => denial(ResponseCode::NoError),
            Answer::NxDomain => denial(ResponseCode::NXDomain),
            Answer::UnknownAddress | Answer::NotOurs if self.forwarder.has_upstreams() => Reply::Forward,
            Answer::UnknownAddress => denial(ResponseCode::NXDomain),
            Answer::NotOurs => Reply::Now(request.response(ResponseCode::Refused, Sections::default(), datagram)),
        }
    }

    async fn finish(&self, reply: Reply, request: &Request, bytes: &[u8], datagram: bool) -> Option<Vec<u8>> {
        match reply {
            Reply::Now(response) => response,
            Reply::Forward => match self.forwarder.ask(bytes, datagram).await {
                Some(answer) => Some(answer),
                None => request.response(ResponseCode::ServFail, Sections::default(), datagram),
            },
            Reply::Complete(mut answers, name) => {
                let mut question = Message::new(rand_id(), MessageType::Query, OpCode::Query);
                question.metadata.recursion_desired = true;
                question.add_query(Query::query(name, request.query.query_type()));
                if let Ok(bytes) = question.to_vec()
                    && let Some(answer) = self.forwarder.ask(&bytes, datagram).await
                    && let Ok(answer) = Message::from_vec(&answer)
                {
                    answers.extend(answer.answers.iter().cloned());
                }
                let sections = Sections { authoritative: true, answers, ..Sections::default() };
                request.response(ResponseCode::NoError, sections, datagram)
            }
        }
    }

    /// Rotates the addresses; a CNAME before them stays first.
    fn rotate(&self, answers: &mut [Record]) {
        let is_address = |record: &Record| matches!(record.record_type(), RecordType::A | RecordType::AAAA);
        let first = answers.iter().position(is_address).unwrap_or(answers.len());
        let addresses = &mut answers[first..];
        if addresses.len() > 1 {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            addresses.rotate_left(turn % addresses.len());
        }
    }
}

/// An identifier for a question of our own. Each goes out from a socket of its own: the port carries the entropy.
fn rand_id() -> u16 {
    use std::hash::{BuildHasher, RandomState};
    // Truncation is the point: any 16 of the hash's bits.
    RandomState::new().hash_one(0) as u16
}

async fn send(socket: &UdpSocket, response: Option<Vec<u8>>, to: SocketAddr) {
    if let Some(bytes) = response
        && let Err(error) = socket.send_to(&bytes, to).await
    {
        tracing::debug!(%error, %to, "an answer could not be sent");
    }
}
