//! The objects of one kind, in one namespace or in none.

use anyhow::{Context, bail};
use http::Method;
use http::header::{ACCEPT, CONTENT_TYPE};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Api, PATIENCE, Refusal, Reply, Watch};

const JSON: &str = "application/json";

/// How a patch is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patch {
    Json,
    Merge,
    Strategic,
    /// Server-side apply; the query says by whom.
    Apply,
}

impl Patch {
    #[must_use]
    pub fn media(self) -> &'static str {
        match self {
            Self::Json => "application/json-patch+json",
            Self::Merge => "application/merge-patch+json",
            Self::Strategic => "application/strategic-merge-patch+json",
            Self::Apply => "application/apply-patch+yaml",
        }
    }
}

/// A collection, such as `/apis/apps/v1/namespaces/x/deployments`.
#[derive(Clone)]
pub struct Objects {
    api: Api,
    base: String,
}

impl Objects {
    #[must_use]
    pub fn new(api: Api, namespace: Option<&str>, api_version: &str, plural: &str) -> Self {
        let root = if api_version.contains('/') { "apis" } else { "api" };
        let namespace = namespace.map(|name| format!("namespaces/{name}/")).unwrap_or_default();
        Self { api, base: format!("/{root}/{api_version}/{namespace}{plural}") }
    }

    /// The collection's path, with a query where it is not empty.
    #[must_use]
    pub fn path(&self, query: &str) -> String {
        if query.is_empty() { self.base.clone() } else { format!("{}?{}", self.base, escape(query)) }
    }

    /// An object's path, or that of a subresource of it.
    #[must_use]
    pub fn path_of(&self, name: &str, sub: &str) -> String {
        if sub.is_empty() { format!("{}/{name}", self.base) } else { format!("{}/{name}/{sub}", self.base) }
    }

    pub async fn create(&self, object: &Value) -> anyhow::Result<Value> {
        self.create_with("", object).await
    }

    /// Creates with a query, such as `dryRun=All`.
    pub async fn create_with(&self, query: &str, object: &Value) -> anyhow::Result<Value> {
        self.api.send(Method::POST, &self.path(query), JSON, object).await
    }

    pub async fn get(&self, name: &str) -> anyhow::Result<Value> {
        self.api.get(&self.path_of(name, "")).await
    }

    pub async fn get_sub(&self, name: &str, sub: &str) -> anyhow::Result<Value> {
        self.api.get(&self.path_of(name, sub)).await
    }

    /// The whole list.
    pub async fn list(&self, query: &str) -> anyhow::Result<Value> {
        self.api.get(&self.path(query)).await
    }

    /// The list's items.
    pub async fn items(&self, query: &str) -> anyhow::Result<Vec<Value>> {
        let mut list = self.list(query).await?;
        match list["items"].take() {
            Value::Array(items) => Ok(items),
            other => bail!("GET {}: items is {other}", self.path(query)),
        }
    }

    /// PUT of the object by the name it has.
    pub async fn update(&self, object: &Value) -> anyhow::Result<Value> {
        self.update_sub("", object).await
    }

    pub async fn update_sub(&self, sub: &str, object: &Value) -> anyhow::Result<Value> {
        let name = object["metadata"]["name"].as_str().context("an object to be updated has a name")?;
        self.api.send(Method::PUT, &self.path_of(name, sub), JSON, object).await
    }

    /// Reads, changes and writes until nobody was faster.
    pub async fn modify(&self, name: &str, change: impl Fn(&mut Value)) -> anyhow::Result<Value> {
        self.modify_sub(name, "", change).await
    }

    /// The same for a subresource with the object's own kind.
    pub async fn modify_sub(&self, name: &str, sub: &str, change: impl Fn(&mut Value)) -> anyhow::Result<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut object = self.get_sub(name, sub).await?;
            change(&mut object);
            let result = self.update_sub(sub, &object).await;
            match result {
                Err(error) if Instant::now() < deadline && is(&error, 409) => {}
                other => return other,
            }
        }
    }

    pub async fn patch(&self, name: &str, patch: Patch, body: &Value) -> anyhow::Result<Value> {
        self.patch_sub(name, "", patch, body).await
    }

    pub async fn patch_sub(&self, name: &str, sub: &str, patch: Patch, body: &Value) -> anyhow::Result<Value> {
        self.api.send(Method::PATCH, &self.path_of(name, sub), patch.media(), body).await
    }

    /// Server-side apply, forced; the body is YAML or JSON text.
    pub async fn apply(&self, name: &str, query: &str, body: &str) -> anyhow::Result<Reply> {
        let path = format!("{}?{}", self.path_of(name, ""), escape(query));
        let headers = [(CONTENT_TYPE.as_str(), Patch::Apply.media()), (ACCEPT.as_str(), JSON)];
        self.api.raw(Method::PATCH, &path, &headers, body.as_bytes().to_vec()).await
    }

    /// Deletes in the background.
    pub async fn delete(&self, name: &str) -> anyhow::Result<Value> {
        self.delete_with(name, &json!({ "propagationPolicy": "Background" })).await
    }

    pub async fn delete_with(&self, name: &str, options: &Value) -> anyhow::Result<Value> {
        self.api.send(Method::DELETE, &self.path_of(name, ""), JSON, options).await
    }

    pub async fn delete_collection(&self, query: &str) -> anyhow::Result<Value> {
        self.api.send(Method::DELETE, &self.path(query), JSON, &json!({})).await
    }

    /// A watch with a query (`labelSelector=…&resourceVersion=…`).
    pub async fn watch(&self, query: &str) -> anyhow::Result<Watch> {
        let separator = if query.is_empty() { "" } else { "&" };
        self.api.watch(&self.path(&format!("watch=true{separator}{query}")), JSON).await
    }

    /// Waits until the object is as wanted, by watching it.
    ///
    /// # Errors
    /// It does not become so in time; the message has its last state.
    pub async fn wait(&self, name: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let mut last = Value::Null;
        let waiting = async {
            let mut watch = self.watch(&format!("fieldSelector=metadata.name={name}")).await?;
            while let Some(event) = watch.next().await? {
                if event.kind != "DELETED" && wanted(&event.object) {
                    return Ok(event.object);
                }
                last = event.object;
            }
            bail!("the watch ended")
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(result) => result.with_context(|| format!("waiting for {what} of {}", self.path_of(name, ""))),
            Err(_) => bail!("{} never has {what}; at last it is {last}", self.path_of(name, "")),
        }
    }

    /// Waits until the list that the query chooses is as wanted, by watching it.
    ///
    /// # Errors
    /// It does not become so in time; the message has the names in it.
    pub async fn wait_list(
        &self,
        query: &str,
        what: &str,
        wanted: impl Fn(&[Value]) -> bool,
    ) -> anyhow::Result<Vec<Value>> {
        let mut last = Vec::new();
        let waiting = async {
            loop {
                let list = self.list(query).await?;
                last = list["items"].as_array().cloned().unwrap_or_default();
                if wanted(&last) {
                    return Ok(last.clone());
                }
                let from = list["metadata"]["resourceVersion"].as_str().unwrap_or_default();
                let separator = if query.is_empty() { "" } else { "&" };
                let mut watch = self.watch(&format!("{query}{separator}resourceVersion={from}")).await?;
                watch.next().await?;
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(result) => result,
            Err(_) => {
                let names: Vec<_> = last.iter().map(|object| object["metadata"]["name"].clone()).collect();
                bail!("{} never has {what}; at last it has {names:?}", self.path(query))
            }
        }
    }

    /// Waits until the object does not exist.
    ///
    /// # Errors
    /// It stays.
    pub async fn gone(&self, name: &str) -> anyhow::Result<()> {
        self.wait_list(&format!("fieldSelector=metadata.name={name}"), "gone the object", <[Value]>::is_empty).await?;
        self.get(name).await.refused_with(404)?;
        Ok(())
    }
}

/// Whether the server refused with this code.
fn is(error: &anyhow::Error, code: u16) -> bool {
    error.downcast_ref::<super::Refused>().is_some_and(|refused| refused.code == code)
}

/// A query as people write it, with what a URL cannot have escaped.
fn escape(query: &str) -> String {
    let mut out = String::with_capacity(query.len());
    for byte in query.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'=' | b'&' | b'%' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
