//! ConfigMaps, Secrets and tokens that pods refer to: read when needed, once per preparation; those in volumes are followed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, ServiceAccount};
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};

use crate::objects::{Followed, Watched};

/// The bytes of a ConfigMap or Secret by key.
pub type Data = BTreeMap<String, Vec<u8>>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Upstream's words, quotes and all.
    #[error("{kind} \"{name}\" not found")]
    NotFound { kind: &'static str, name: String },
    #[error(transparent)]
    Api(#[from] kube::Error),
}

/// Reads for one pod and remembers what it read.
pub struct Sources<'a> {
    from: From<'a>,
    namespace: String,
    seen: HashMap<(Kind, String), Option<Arc<Data>>>,
    followed: Vec<Followed>,
}

/// Where it is read from.
enum From<'a> {
    /// The API server, as it is now.
    Api(Client),
    /// The node's watches: what was read is followed.
    Watches(&'a Watched),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    ConfigMap,
    Secret,
}

impl Kind {
    /// The resource's name as upstream's messages have it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmap",
            Self::Secret => "secret",
        }
    }
}

impl<'a> Sources<'a> {
    /// Reads from the API server.
    #[must_use]
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { from: From::Api(client), namespace: namespace.to_owned(), seen: HashMap::new(), followed: Vec::new() }
    }

    /// Reads from the node's watches.
    #[must_use]
    pub fn watched(objects: &'a Watched, namespace: &str) -> Self {
        Self {
            from: From::Watches(objects),
            namespace: namespace.to_owned(),
            seen: HashMap::new(),
            followed: Vec::new(),
        }
    }

    /// What was read, to be followed.
    #[must_use]
    pub fn followed(self) -> Vec<Followed> {
        self.followed
    }

    /// All keys of an object.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none.
    pub async fn get(&mut self, kind: Kind, name: &str) -> Result<Arc<Data>, Error> {
        let key = (kind, name.to_owned());
        if !self.seen.contains_key(&key) {
            let data = match (&self.from, kind) {
                (From::Watches(objects), _) => {
                    let (data, followed) = objects.look((kind, self.namespace.clone(), name.to_owned())).await;
                    self.followed.push(followed);
                    data
                }
                (From::Api(client), Kind::ConfigMap) => {
                    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &self.namespace);
                    api.get_opt(name).await?.map(|map| Arc::new(config_map_data(&map)))
                }
                (From::Api(client), Kind::Secret) => {
                    let api: Api<Secret> = Api::namespaced(client.clone(), &self.namespace);
                    api.get_opt(name).await?.map(|secret| Arc::new(secret_data(&secret)))
                }
            };
            self.seen.insert(key.clone(), data);
        }
        let found = self.seen.get(&key).cloned().flatten();
        found.ok_or_else(|| Error::NotFound { kind: kind.word(), name: name.to_owned() })
    }
}

/// A ConfigMap's bytes.
#[must_use]
pub fn config_map_data(map: &ConfigMap) -> Data {
    let text = map.data.iter().flatten().map(|(key, text)| (key.clone(), text.clone().into_bytes()));
    let binary = map.binary_data.iter().flatten().map(|(key, bytes)| (key.clone(), bytes.0.clone()));
    text.chain(binary).collect()
}

/// A Secret's bytes.
#[must_use]
pub fn secret_data(secret: &Secret) -> Data {
    secret.data.iter().flatten().map(|(key, bytes)| (key.clone(), bytes.0.clone())).collect()
}

/// Asks for a token of the pod's ServiceAccount, bound to the pod.
///
/// # Errors
/// When the API server refuses.
pub async fn token(client: &Client, pod: &Pod, audience: Option<&str>, seconds: i64) -> Result<(String, i64), Error> {
    let namespace = pod.namespace().unwrap_or_default();
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
    let account = account.unwrap_or_else(|| "default".to_owned());
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), &namespace);
    let request = TokenRequest {
        metadata: Default::default(),
        spec: TokenRequestSpec {
            audiences: audience.map(str::to_owned).into_iter().collect(),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Pod".into()),
                name: Some(pod.name_any()),
                uid: pod.uid(),
            }),
            expiration_seconds: Some(seconds),
        },
        status: None,
    };
    let answer = api.create_token_request(&account, &PostParams::default(), &request).await?;
    let status = answer.status.ok_or_else(|| {
        kube::Error::Api(Box::new(kube::core::Status::failure(
            "the API server answered a token request without a token",
            "InternalError",
        )))
    })?;
    let granted = status.expiration_timestamp.0.as_second() - k8s_openapi::jiff::Timestamp::now().as_second();
    Ok((status.token, granted))
}
