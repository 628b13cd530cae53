//! One request, one reply.

use std::sync::Arc;

use anyhow::{Context, bail};
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use http::{Method, Request};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;

use super::{Refused, Watch};

/// The API server as a client with one identity sees it.
#[derive(Clone)]
pub struct Api {
    client: kube::Client,
    /// Put before every path; only set where a proxy stands between.
    agent: Arc<str>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub code: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    request: String,
}

impl Reply {
    /// The body as JSON.
    ///
    /// # Errors
    /// It is none.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| {
            format!("{}: the answer is no JSON: {}", self.request, String::from_utf8_lossy(&self.body))
        })
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The texts of the `Warning` headers.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let all = self.headers.get_all("warning").iter();
        all.filter_map(|value| value.to_str().ok()).map(str::to_owned).collect()
    }

    /// The reply where it is a success.
    ///
    /// # Errors
    /// [`Refused`] for any code from 400 on.
    pub fn ok(self) -> anyhow::Result<Self> {
        if self.code < 400 {
            return Ok(self);
        }
        let status = serde_json::from_slice(&self.body).unwrap_or(Value::Null);
        Err(Refused { code: self.code, status, request: self.request }.into())
    }
}

impl Api {
    #[must_use]
    pub fn new(client: kube::Client) -> Self {
        Self { client, agent: "conformance".into() }
    }

    /// The same client under another `User-Agent`.
    #[must_use]
    pub fn with_agent(&self, agent: &str) -> Self {
        Self { client: self.client.clone(), agent: agent.into() }
    }

    /// The kube-rs client below, for upgrades.
    #[must_use]
    pub fn kube(&self) -> &kube::Client {
        &self.client
    }

    /// Sends a request with these headers, whatever comes of it.
    ///
    /// # Errors
    /// The connection fails.
    pub async fn raw(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> anyhow::Result<Reply> {
        let request = format!("{method} {path}");
        let mut builder = Request::builder().method(method).uri(path).header("user-agent", &*self.agent);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        let response = self.client.send(builder.body(Body::from(body))?).await.with_context(|| request.clone())?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.with_context(|| request.clone())?.to_bytes().to_vec();
        Ok(Reply { code: parts.status.as_u16(), headers: parts.headers, body, request })
    }

    /// GET, as JSON.
    ///
    /// # Errors
    /// [`Refused`], or the connection fails.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.raw(Method::GET, path, &[(ACCEPT.as_str(), "application/json")], Vec::new()).await?.ok()?.json()
    }

    /// Sends a JSON body.
    ///
    /// # Errors
    /// [`Refused`], or the connection fails.
    pub async fn send(&self, method: Method, path: &str, media: &str, body: &Value) -> anyhow::Result<Value> {
        let headers = [(CONTENT_TYPE.as_str(), media), (ACCEPT.as_str(), "application/json")];
        self.raw(method, path, &headers, serde_json::to_vec(body)?).await?.ok()?.json()
    }

    /// Opens a watch at a path with its query.
    ///
    /// # Errors
    /// [`Refused`], or the connection fails.
    pub async fn watch(&self, path: &str, accept: &str) -> anyhow::Result<Watch> {
        let request = Request::get(path).header("user-agent", &*self.agent).header(ACCEPT, accept);
        let response = self.client.send(request.body(Body::empty())?).await.with_context(|| path.to_owned())?;
        let (parts, body) = response.into_parts();
        if parts.status.as_u16() >= 400 {
            let body = body.collect().await?.to_bytes().to_vec();
            let (code, headers) = (parts.status.as_u16(), parts.headers);
            let refused = Reply { code, headers, body, request: format!("GET {path}") };
            return refused.ok().and_then(|_| bail!("GET {path}: a code of {code} is no success"));
        }
        Ok(Watch::new(path.to_owned(), body))
    }
}
