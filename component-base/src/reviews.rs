//! Whose a token is, and what somebody may: the API server says so, and for a while its answers hold
//! (`apiserver/pkg/authentication/authenticatorfactory` and its like for authorization).

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use auth::user::UserInfo;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::Client;
use kube::api::{Api, PostParams};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

/// So many answers of each kind are kept; when there is no room the oldest go.
const KEPT: usize = 256;

/// How long answers hold.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Whose a token is.
    pub token: Duration,
    pub yes: Duration,
    pub no: Duration,
}

/// Answers that hold for a while.
struct Cache<K, V>(Mutex<HashMap<K, (Instant, V)>>);

impl<K: Eq + Hash + Clone, V: Clone> Cache<K, V> {
    fn get(&self, key: &K, now: Instant) -> Option<V> {
        self.0.lock().get(key).filter(|(until, _)| *until > now).map(|(_, value)| value.clone())
    }

    fn put(&self, key: K, value: V, until: Instant, now: Instant) {
        let mut kept = self.0.lock();
        if kept.len() >= KEPT {
            kept.retain(|_, (until, _)| *until > now);
        }
        if kept.len() >= KEPT {
            let first = kept.iter().min_by_key(|(_, (until, _))| *until).map(|(key, _)| key.clone());
            first.and_then(|key| kept.remove(&key));
        }
        kept.insert(key, (until, value));
    }
}

/// What somebody wants to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Wish {
    /// With a part of a node.
    Node { verb: &'static str, name: String, part: &'static str },
    /// With a path of this component.
    Path { verb: String, path: String },
}

impl Wish {
    fn spec(&self) -> SubjectAccessReviewSpec {
        let text = |text: &str| Some(text.to_owned());
        let mut spec = SubjectAccessReviewSpec::default();
        match self {
            Self::Node { verb, name, part } => {
                spec.resource_attributes = Some(ResourceAttributes {
                    verb: text(verb),
                    version: text("v1"),
                    resource: text("nodes"),
                    subresource: text(part),
                    name: text(name),
                    ..ResourceAttributes::default()
                });
            }
            Self::Path { verb, path } => {
                spec.non_resource_attributes = Some(NonResourceAttributes { verb: text(verb), path: text(path) });
            }
        }
        spec
    }
}

/// Asks the API server.
pub struct Reviews {
    client: Client,
    times: Times,
    tokens: Cache<[u8; 32], UserInfo>,
    answers: Cache<(String, Wish), bool>,
}

impl Reviews {
    #[must_use]
    pub fn new(client: Client, times: Times) -> Self {
        Self { client, times, tokens: Cache(Mutex::default()), answers: Cache(Mutex::default()) }
    }

    /// Whose `token` is; `None`: nobody's.
    ///
    /// # Errors
    /// The API server cannot be asked.
    pub async fn user(&self, token: &str) -> Result<Option<UserInfo>, String> {
        let (key, now): ([u8; 32], _) = (Sha256::digest(token.as_bytes()).into(), Instant::now());
        if let Some(user) = self.tokens.get(&key, now) {
            return Ok(Some(user));
        }
        let spec = TokenReviewSpec { token: Some(token.to_owned()), ..TokenReviewSpec::default() };
        let review = TokenReview { spec, ..TokenReview::default() };
        let reviewed = Api::<TokenReview>::all(self.client.clone()).create(&PostParams::default(), &review).await;
        let status = reviewed.map_err(|error| error.to_string())?.status.unwrap_or_default();
        let user = status.user.filter(|_| status.authenticated == Some(true)).map(|user| UserInfo {
            username: user.username.unwrap_or_default(),
            uid: user.uid.unwrap_or_default(),
            groups: user.groups.unwrap_or_default(),
            extra: user.extra.unwrap_or_default(),
        });
        if let Some(user) = &user {
            self.tokens.put(key, user.clone(), now + self.times.token, now);
        }
        Ok(user)
    }

    /// Whether `user` may.
    ///
    /// # Errors
    /// The API server cannot be asked.
    pub async fn may(&self, user: &UserInfo, wish: Wish) -> Result<bool, String> {
        let now = Instant::now();
        let question = (serde_json::to_string(user).unwrap_or_default(), wish);
        if let Some(answer) = self.answers.get(&question, now) {
            return Ok(answer);
        }
        let UserInfo { username, uid, groups, extra } = user.clone();
        let spec = SubjectAccessReviewSpec {
            user: Some(username),
            uid: Some(uid).filter(|uid| !uid.is_empty()),
            groups: Some(groups),
            extra: Some(extra).filter(|extra| !extra.is_empty()),
            ..question.1.spec()
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let api = Api::<SubjectAccessReview>::all(self.client.clone());
        let reviewed = api.create(&PostParams::default(), &review).await.map_err(|error| error.to_string())?;
        let allowed = reviewed.status.is_some_and(|status| status.allowed);
        self.answers.put(question, allowed, now + if allowed { self.times.yes } else { self.times.no }, now);
        Ok(allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked() {
        let node = Wish::Node { verb: "get", name: "n".to_owned(), part: "metrics" }.spec();
        let node = serde_json::to_value(node).unwrap();
        let expected = serde_json::json!({ "resourceAttributes": {
            "verb": "get", "version": "v1", "resource": "nodes", "subresource": "metrics", "name": "n" } });
        assert_eq!(node, expected);
        let path = Wish::Path { verb: "post".to_owned(), path: "/metrics".to_owned() }.spec();
        let expected = serde_json::json!({ "nonResourceAttributes": { "verb": "post", "path": "/metrics" } });
        assert_eq!(serde_json::to_value(path).unwrap(), expected);
    }

    #[test]
    fn the_cache_is_bounded() {
        let (cache, now) = (Cache(Mutex::default()), Instant::now());
        for key in 0..KEPT * 2 {
            cache.put(key, (), now + Duration::from_secs(key as u64 + 1), now);
        }
        assert_eq!(cache.0.lock().len(), KEPT);
        assert!(cache.get(&0, now).is_none() && cache.get(&(KEPT * 2 - 1), now).is_some());
        assert!(cache.get(&(KEPT * 2 - 1), now + Duration::from_secs(10_000)).is_none());
    }
}
