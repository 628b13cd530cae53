//! `knetsim agnhost`: the catalogue's test server, with the commands of upstream's agnhost that tutorials use, and
//! `whoami` (traefik/whoami) and `http-echo` (hashicorp/http-echo).

mod answers;
mod connect;
mod guestbook;
mod health;
mod issuer;
mod webhook;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::{Parser, Subcommand};
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, UdpSocket};

use answers::Answers;

#[derive(Debug, Parser)]
#[command(name = "agnhost")]
struct Flags {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Args)]
struct Tls {
    #[arg(long)]
    tls_cert_file: PathBuf,
    #[arg(long)]
    tls_private_key_file: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// HTTP and UDP servers that tell who and where they are.
    Netexec {
        #[arg(long, default_value_t = 8080)]
        http_port: u16,
        #[arg(long, default_value_t = 8081)]
        udp_port: u16,
    },
    /// Answers every request with the host name.
    ServeHostname {
        #[arg(long, default_value_t = 9376)]
        port: u16,
    },
    /// Tells the caller about its own request.
    Whoami {
        #[arg(long, env = "WHOAMI_PORT_NUMBER", default_value_t = 80)]
        port: u16,
        #[arg(long, env = "WHOAMI_NAME", default_value = "")]
        name: String,
    },
    /// Answers every request with one text.
    HttpEcho {
        #[arg(long, env = "ECHO_TEXT", default_value = "hello-world")]
        text: String,
        #[arg(long, default_value = ":5678")]
        listen: String,
    },
    /// Tries a TCP connection; says TIMEOUT, REFUSED, DNS or OTHER when there is none.
    Connect {
        address: String,
        #[arg(long, default_value = "0s")]
        timeout: String,
    },
    /// Admission webhooks as upstream's tests want them.
    Webhook {
        #[command(flatten)]
        tls: Tls,
        #[arg(long, default_value_t = 443)]
        port: u16,
        /// Taken for the sake of manifests; there is nothing more to log.
        #[arg(long)]
        v: Option<u32>,
    },
    /// A conversion webhook for `stable.example.com`, v1 and v2.
    CrdConversionWebhook {
        #[command(flatten)]
        tls: Tls,
        #[arg(long, default_value_t = 443)]
        port: u16,
        /// Taken for the sake of manifests; there is nothing more to log.
        #[arg(long)]
        v: Option<u32>,
    },
    /// Prints files that are mounted, each after a line's beginning that tests look for.
    Mounttest {
        #[arg(long = "file_content", value_delimiter = ',')]
        file_content: Vec<PathBuf>,
    },
    /// Judges a mounted token by what its issuer publishes.
    TestServiceAccountIssuerDiscovery {
        #[arg(long)]
        token_path: PathBuf,
        #[arg(long)]
        audience: String,
    },
    /// The guestbook of tutorials: a frontend, or with `--replicaof` a replica of the server of that name.
    Guestbook {
        #[arg(long, default_value_t = 80)]
        http_port: u16,
        #[arg(long, default_value_t = 6379)]
        backend_port: u16,
        #[arg(long, default_value = "")]
        replicaof: String,
    },
    /// The gRPC health check, and a page each for changing its answer.
    GrpcHealthChecking {
        #[arg(long, default_value_t = 5000)]
        port: u16,
        #[arg(long, default_value_t = 8080)]
        http_port: u16,
        /// Healthy for so many seconds; negative is for ever.
        #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
        delay_unhealthy_sec: i64,
        #[arg(long, default_value = "")]
        service: String,
    },
    /// Waits for a signal.
    Pause,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When a port is taken, or with `connect` when there is no connection.
pub fn run(args: Vec<OsString>) -> anyhow::Result<()> {
    // http-echo writes its flags the Go way, with one dash.
    let args = args.into_iter().map(|arg| match arg.to_str() {
        Some(text) if text.starts_with('-') && !text.starts_with("--") && text.len() > 2 => format!("-{text}").into(),
        _ => arg,
    });
    let flags = Flags::parse_from(args);
    runtime::log::init("agnhost");
    runtime::block_on(async move {
        match flags.command {
            Command::Netexec { http_port, udp_port } => {
                let udp = udp(udp_port);
                tokio::try_join!(http(any(http_port), None, Answers::Netexec), udp).map(drop)
            }
            Command::ServeHostname { port } => http(any(port), None, Answers::Hostname).await,
            Command::Whoami { port, name } => http(any(port), None, Answers::Whoami { name }).await,
            Command::HttpEcho { text, listen } => http(address(&listen)?, None, Answers::Echo { text }).await,
            Command::Webhook { tls, port, .. } => http(any(port), Some(tls), Answers::Admission).await,
            Command::CrdConversionWebhook { tls, port, .. } => http(any(port), Some(tls), Answers::Conversion).await,
            Command::Connect { address, timeout } => connect::run(&address, &timeout).await,
            Command::Mounttest { file_content } => contents(&file_content),
            Command::TestServiceAccountIssuerDiscovery { token_path, audience } => {
                issuer::run(&token_path, &audience).await
            }
            Command::Guestbook { http_port, backend_port, replicaof } => {
                let book = Arc::new(guestbook::Guestbook::new(backend_port));
                let registered = {
                    let book = book.clone();
                    async move { book.register(&replicaof).await }
                };
                tokio::try_join!(http(any(http_port), None, Answers::Guestbook(book)), registered).map(drop)
            }
            Command::GrpcHealthChecking { port, http_port, delay_unhealthy_sec, service } => {
                let health = Arc::new(health::Health::new(service, delay_unhealthy_sec));
                let listener = bind(any(port)).await.with_context(|| format!("listening on port {port}"))?;
                tokio::select! {
                    served = http(any(http_port), None, Answers::Health(health.clone())) => served,
                    never = health::serve(listener, health) => match never {},
                }
            }
            Command::Pause => Ok(runtime::shutdown::signal().await?),
        }
    })
}

/// `content of file "/a/b": …`, as upstream's mounttest.
fn contents(files: &[PathBuf]) -> anyhow::Result<()> {
    for path in files {
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        println!("content of file {:?}: {text}", path.display().to_string());
    }
    Ok(())
}

fn any(port: u16) -> SocketAddr {
    SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port))
}

/// `:5678`, `5678` or `127.0.0.1:5678`.
fn address(text: &str) -> anyhow::Result<SocketAddr> {
    match text.trim_start_matches(':').parse::<u16>() {
        Ok(port) => Ok(any(port)),
        Err(_) => text.parse().with_context(|| format!("\"{text}\" is no address to listen on")),
    }
}

async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        // A kernel without IPv6.
        Err(_) if address.ip().is_unspecified() => TcpListener::bind(("0.0.0.0", address.port())).await,
        other => other,
    }
}

async fn http(address: SocketAddr, tls: Option<Tls>, answers: Answers) -> anyhow::Result<()> {
    let tls = match &tls {
        Some(tls) => {
            let config = crate::tls::plain_server(&tls.tls_cert_file, &tls.tls_private_key_file)?;
            Some(tokio_rustls::TlsAcceptor::from(Arc::new(config)))
        }
        None => None,
    };
    let listener = bind(address).await.with_context(|| format!("listening on port {}", address.port()))?;
    tracing::info!(port = address.port(), "listening");
    let answers = Arc::new(answers);
    let accept = runtime::listen::connections(listener, None, |stream, peer| {
        let (answers, tls) = (answers.clone(), tls.clone());
        async move {
            let service = service_fn(move |request| respond(answers.clone(), peer, request));
            let http = hyper::server::conn::http1::Builder::new();
            // A client that goes away is its own business.
            let _ = match tls {
                None => http.serve_connection(TokioIo::new(stream), service).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => http.serve_connection(TokioIo::new(stream), service).await,
                    Err(error) => return tracing::debug!(%error, %peer, "no TLS handshake"),
                },
            };
        }
    });
    tokio::select! {
        never = accept => match never {},
        signal = runtime::shutdown::signal() => Ok(signal?),
    }
}

async fn respond(
    answers: Arc<Answers>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Full<bytes::Bytes>>, std::convert::Infallible> {
    /// No test sends more.
    const LARGEST: usize = 4 * 1024 * 1024;
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, LARGEST).collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    Ok(answers.answer(peer, &parts, &body).await)
}

/// netexec's UDP side: the same questions, one datagram each.
async fn udp(port: u16) -> anyhow::Result<()> {
    let socket = match UdpSocket::bind(any(port)).await {
        Ok(socket) => socket,
        Err(_) => UdpSocket::bind(("0.0.0.0", port)).await.with_context(|| format!("listening on UDP port {port}"))?,
    };
    let mut buffer = [0; 2048];
    let serve = async {
        loop {
            let Ok((count, peer)) = socket.recv_from(&mut buffer).await else { continue };
            let question = String::from_utf8_lossy(&buffer[..count]).trim().to_ascii_lowercase();
            let reply = match question.split_once(' ') {
                _ if question == "hostname" => answers::hostname(),
                _ if question == "clientip" => answers::plain(peer),
                Some(("echo", text)) => text.to_owned(),
                _ => String::new(),
            };
            if !reply.is_empty() {
                let _ = socket.send_to(reply.as_bytes(), peer).await;
            }
        }
    };
    tokio::select! {
        () = serve => Ok(()),
        signal = runtime::shutdown::signal() => Ok(signal?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_gos_manner() {
        assert_eq!(address(":5678").expect("an address").port(), 5678);
        assert_eq!(address("127.0.0.1:80").expect("an address"), SocketAddr::from(([127, 0, 0, 1], 80)));
        assert!(address("nowhere").is_err());
    }
}
