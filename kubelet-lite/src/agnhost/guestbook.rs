//! `agnhost guestbook`: the three servers of a guestbook in one. The frontend passes `set` on to `agnhost-primary` and `get`
//! to `agnhost-replica`; a replica registers with its primary, which hands it all it has and every change that follows.
//!
//! ```text
//! /guestbook?cmd=set&key=&value= ──▶ frontend ──▶ /set   primary ──▶ /set   replicas
//! /guestbook?cmd=get&key=        ──▶ frontend ──▶ /get   replica ──▶ /register?host=  primary, once
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http::{StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::{TcpStream, UdpSocket};

use component_base::query::Query;

/// Entries, and replicas, that are remembered at most.
const MOST: usize = 1024;
/// Upstream's times: for one request, for registering, and between two tries of that.
const PATIENCE: Duration = Duration::from_secs(5);
const REGISTERING: Duration = Duration::from_secs(15);
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Guestbook {
    backend_port: u16,
    store: Mutex<BTreeMap<String, String>>,
    replicas: Mutex<Vec<String>>,
}

impl Guestbook {
    pub fn new(backend_port: u16) -> Self {
        Self { backend_port, store: Mutex::default(), replicas: Mutex::default() }
    }

    /// Becomes a replica of `primary`; of nobody when that is empty.
    ///
    /// # Errors
    /// When the primary does not answer in time.
    pub async fn register(&self, primary: &str) -> anyhow::Result<()> {
        if primary.is_empty() {
            return Ok(());
        }
        let tries = async {
            let mut turns = tokio::time::interval(AGAIN);
            loop {
                turns.tick().await;
                match self.try_register(primary).await {
                    Ok(()) => return tracing::info!(primary, "registered"),
                    Err(error) => tracing::info!(primary, "registering: {error:#}"),
                }
            }
        };
        tokio::time::timeout(REGISTERING, tries).await.context("Timed out while registering to primary.")
    }

    async fn try_register(&self, primary: &str) -> anyhow::Result<()> {
        // Our address, as it is seen from there.
        let socket = UdpSocket::bind("0.0.0.0:0").await?;
        socket.connect((primary, self.backend_port)).await?;
        let own: IpAddr = socket.local_addr()?.ip();
        let text = get(primary, self.backend_port, &format!("/register?host={own}")).await?;
        let all: Value = serde_json::from_str(&text).context("read the primary's answer")?;
        *self.store.lock() = serde_json::from_value(all["data"].clone()).context("read the primary's entries")?;
        Ok(())
    }

    /// A page's status and text.
    pub async fn answer(&self, uri: &Uri) -> (StatusCode, String) {
        let query = Query::parse(uri.query().unwrap_or_default());
        let text = |name: &str| query.get(name).unwrap_or_default().to_owned();
        let (key, value) = (text("key"), text("value"));
        let done = match uri.path() {
            "/register" => self.take_replica(text("host")),
            "/get" => Ok(self.data(&key)),
            "/set" => self.set(&key, &value).await,
            "/guestbook" => self.pass_on(&text("cmd").to_lowercase(), &key, &value).await,
            path => Err((StatusCode::NOT_FOUND, format!("{path}: no such page"))),
        };
        match done {
            Ok(text) => (StatusCode::OK, text),
            Err((code, text)) => (code, format!("{text}\n")),
        }
    }

    fn take_replica(&self, host: String) -> Result<String, (StatusCode, String)> {
        let mut replicas = self.replicas.lock();
        if !replicas.contains(&host) {
            if replicas.len() >= MOST {
                return Err((StatusCode::INSUFFICIENT_STORAGE, "too many replicas".to_owned()));
            }
            replicas.push(host);
        }
        Ok(json!({ "data": *self.store.lock() }).to_string())
    }

    fn data(&self, key: &str) -> String {
        let store = self.store.lock();
        let data = if key.is_empty() { json!(*store) } else { json!(store.get(key).cloned().unwrap_or_default()) };
        json!({ "data": data }).to_string()
    }

    async fn set(&self, key: &str, value: &str) -> Result<String, (StatusCode, String)> {
        if key.is_empty() {
            return Err((StatusCode::BAD_REQUEST, "cannot set with empty key.".to_owned()));
        }
        {
            let mut store = self.store.lock();
            if store.len() >= MOST && !store.contains_key(key) {
                return Err((StatusCode::INSUFFICIENT_STORAGE, "the guestbook is full".to_owned()));
            }
            store.insert(key.to_owned(), value.to_owned());
        }
        let replicas = self.replicas.lock().clone();
        for replica in replicas {
            get(&replica, self.backend_port, &asked("set", key, value)).await.map_err(|error| {
                let text = format!("encountered error while propagating to replica '{replica}': {error:#}");
                (StatusCode::EXPECTATION_FAILED, text)
            })?;
        }
        Ok(json!({ "message": "Updated" }).to_string())
    }

    async fn pass_on(&self, command: &str, key: &str, value: &str) -> Result<String, (StatusCode, String)> {
        let host = match command {
            "get" => "agnhost-replica",
            "set" if key.is_empty() => {
                return Err((StatusCode::BAD_REQUEST, "cannot set with empty key.".to_owned()));
            }
            "set" => "agnhost-primary",
            other => return Err((StatusCode::BAD_REQUEST, format!("unsupported cmd: '{other}'"))),
        };
        let answer = get(host, self.backend_port, &asked(command, key, value)).await;
        answer.map_err(|error| (StatusCode::EXPECTATION_FAILED, format!("encountered error: {error:#}")))
    }
}

fn asked(command: &str, key: &str, value: &str) -> String {
    let escaped = |text: &str| -> String {
        let one = |byte: u8| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => (byte as char).to_string(),
            byte => format!("%{byte:02X}"),
        };
        text.bytes().map(one).collect()
    };
    format!("/{command}?key={}&value={}", escaped(key), escaped(value))
}

async fn get(host: &str, port: u16, page: &str) -> anyhow::Result<String> {
    let work = async {
        let stream = TcpStream::connect((host, port)).await.with_context(|| format!("connect to {host}:{port}"))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection);
        let request = http::Request::get(page).header("host", format!("{host}:{port}")).body(Empty::<Bytes>::new())?;
        let answer = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), 4 * 1024 * 1024).collect().await;
            let Ok(body) = body else { bail!("the answer of {host}:{port} ends too soon") };
            let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
            ensure!(status.is_success(), "{host}:{port} says {status}: {}", text.trim());
            Ok(text)
        }
        .await;
        driver.abort();
        answer
    };
    tokio::time::timeout(PATIENCE, work).await.with_context(|| format!("{host}:{port} does not answer"))?
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn said(book: &Guestbook, page: &str) -> (u16, String) {
        let (code, text) = book.answer(&page.parse().expect("a page")).await;
        (code.as_u16(), text)
    }

    #[tokio::test]
    async fn entries_are_kept_and_questions_checked() {
        let book = Guestbook::new(1);
        let cases = [
            ("/get", 200, r#"{"data":{}}"#),
            ("/get?key=messages", 200, r#"{"data":""}"#),
            ("/set?key=messages&value=a%20b", 200, r#"{"message":"Updated"}"#),
            ("/get?key=messages", 200, r#"{"data":"a b"}"#),
            ("/get", 200, r#"{"data":{"messages":"a b"}}"#),
            ("/set?value=x", 400, "cannot set with empty key.\n"),
            ("/guestbook?cmd=set", 400, "cannot set with empty key.\n"),
            ("/guestbook?cmd=drop", 400, "unsupported cmd: 'drop'\n"),
            ("/register?host=127.0.0.1", 200, r#"{"data":{"messages":"a b"}}"#),
            ("/other", 404, "/other: no such page\n"),
        ];
        for (page, code, text) in cases {
            assert_eq!(said(&book, page).await, (code, text.to_owned()), "{page}");
        }
        // Nobody listens on that port, so the replica cannot be told.
        let (code, text) = said(&book, "/set?key=k&value=v").await;
        assert_eq!(code, 417);
        assert!(text.starts_with("encountered error while propagating to replica '127.0.0.1'"), "{text}");
    }

    #[test]
    fn what_is_asked_for_is_escaped() {
        assert_eq!(asked("set", "a b", "1&2=ä"), "/set?key=a%20b&value=1%262%3D%C3%A4");
    }
}
