//! What the test servers answer.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};
use http_body_util::Full;

use super::guestbook::Guestbook;
use super::health::Health;
use super::webhook::{self, Wait};

/// Which server this is.
#[derive(Debug)]
pub enum Answers {
    Netexec,
    Hostname,
    Whoami { name: String },
    Echo { text: String },
    Admission,
    Conversion,
    Guestbook(Arc<Guestbook>),
    Health(Arc<Health>),
}

/// The pod's name, in most pods.
pub fn hostname() -> String {
    nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// An address without the wrapping that IPv4 has on an IPv6 socket.
pub fn plain(peer: SocketAddr) -> String {
    SocketAddr::new(peer.ip().to_canonical(), peer.port()).to_string()
}

impl Answers {
    pub async fn answer(&self, peer: SocketAddr, parts: &Parts, body: &[u8]) -> Response<Full<Bytes>> {
        match self {
            Self::Hostname => ok(hostname()),
            Self::Echo { text } => ok(format!("{text}\n")),
            Self::Whoami { name } => ok(whoami(name, peer, parts)),
            Self::Netexec => netexec(peer, parts, body).await,
            Self::Admission | Self::Conversion if parts.uri.path() == "/readyz" => ok("ok"),
            Self::Admission => admission(parts.uri.path(), body).await,
            Self::Conversion => conversion(parts.uri.path(), body),
            Self::Guestbook(book) => {
                let (code, text) = book.answer(&parts.uri).await;
                with(code, text)
            }
            Self::Health(health) => match health.turn(parts.uri.path()) {
                Some(text) => ok(text),
                None => with(StatusCode::NOT_FOUND, format!("{}: no such page\n", parts.uri.path())),
            },
        }
    }
}

fn ok(text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn with(code: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = ok(text);
    *response.status_mut() = code;
    response
}

/// A review's answer, in its own time.
async fn admission(path: &str, body: &[u8]) -> Response<Full<Bytes>> {
    let Ok(review) = serde_json::from_slice(body) else {
        return with(StatusCode::BAD_REQUEST, "Request could not be decoded".to_owned());
    };
    let Some((answer, wait)) = webhook::admit(path, &review) else {
        return with(StatusCode::NOT_FOUND, format!("{path}: no such page\n"));
    };
    match wait {
        Wait::No => {}
        Wait::For(time) => tokio::time::sleep(time).await,
        // The caller gives up first, and the connection ends with it.
        Wait::Forever => std::future::pending().await,
    }
    json(&answer)
}

fn conversion(path: &str, body: &[u8]) -> Response<Full<Bytes>> {
    match (path, serde_json::from_slice(body)) {
        ("/crdconvert", Ok(review)) => json(&webhook::convert(&review)),
        ("/crdconvert", Err(error)) => with(StatusCode::BAD_REQUEST, format!("failed to deserialize body: {error}")),
        _ => with(StatusCode::NOT_FOUND, format!("{path}: no such page\n")),
    }
}

fn json(value: &serde_json::Value) -> Response<Full<Bytes>> {
    let mut response = ok(value.to_string());
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    response
}

async fn netexec(peer: SocketAddr, parts: &Parts, body: &[u8]) -> Response<Full<Bytes>> {
    let query = component_base::query::Query::parse(parts.uri.query().unwrap_or_default());
    match parts.uri.path() {
        "/" => ok(format!("NOW: {}", k8s_openapi::jiff::Timestamp::now())),
        "/hostname" => ok(hostname()),
        "/clientip" => ok(plain(peer)),
        "/healthz" => ok(""),
        "/header" => {
            let name = query.get("key").unwrap_or_default();
            ok(parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned())
        }
        "/echo" => {
            let code = query.number("code").and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or(StatusCode::OK);
            let text = query.get("msg").map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned);
            with(code, text)
        }
        "/shell" => shell(query.get("cmd").or(query.get("shellCommand")).unwrap_or_default()).await,
        path => with(StatusCode::NOT_FOUND, format!("{path}: no such page\n")),
    }
}

/// Runs a command in the container, as upstream's test server does: this is what the page is for.
async fn shell(command: &str) -> Response<Full<Bytes>> {
    let output = tokio::process::Command::new("/bin/sh").arg("-c").arg(command).output().await;
    let reply = match output {
        Ok(output) => {
            let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.push_str(&String::from_utf8_lossy(&output.stderr));
            let mut reply = serde_json::json!({ "output": text });
            if !output.status.success() {
                reply["error"] = serde_json::json!(format!("exit status {}", output.status.code().unwrap_or(-1)));
            }
            reply
        }
        Err(error) => serde_json::json!({ "error": error.to_string() }),
    };
    ok(reply.to_string())
}

fn whoami(name: &str, peer: SocketAddr, parts: &Parts) -> String {
    let mut text = String::new();
    if !name.is_empty() {
        text.push_str(&format!("Name: {name}\n"));
    }
    text.push_str(&format!("Hostname: {}\n", hostname()));
    for ip in own_addresses() {
        text.push_str(&format!("IP: {ip}\n"));
    }
    text.push_str(&format!("RemoteAddr: {}\n", plain(peer)));
    let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    text.push_str(&format!("{} {path} HTTP/1.1\n", parts.method));
    let mut headers: Vec<String> = parts
        .headers
        .iter()
        .map(|(name, value)| format!("{}: {}\n", capital(name.as_str()), String::from_utf8_lossy(value.as_bytes())))
        .collect();
    // Go's net/http, which the original is written in, shows Host first and the others sorted.
    headers.sort_by_key(|line| (!line.starts_with("Host: "), line.clone()));
    text.extend(headers);
    text
}

/// `user-agent` as `User-Agent`.
fn capital(name: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
    };
    name.split('-').map(word).collect::<Vec<_>>().join("-")
}

fn own_addresses() -> Vec<IpAddr> {
    let addresses = nix::ifaddrs::getifaddrs().into_iter().flatten().filter_map(|entry| entry.address);
    addresses
        .filter_map(|address| {
            let v4 = address.as_sockaddr_in().map(|socket| IpAddr::V4(socket.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|socket| IpAddr::V6(socket.ip())))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_names_are_shown_as_the_original_does() {
        assert_eq!(capital("user-agent"), "User-Agent");
        assert_eq!(capital("x"), "X");
    }

    #[test]
    fn an_ipv4_client_is_shown_as_one() {
        let mapped: SocketAddr = "[::ffff:11.0.0.2]:4000".parse().expect("an address");
        assert_eq!(plain(mapped), "11.0.0.2:4000");
    }
}
