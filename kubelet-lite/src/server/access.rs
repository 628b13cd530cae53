//! Who may call the kubelet's server. Holders of a certificate of the cluster's authority may; anyone else shows a token,
//! and the API server says whose it is and what they may (`pkg/kubelet/server/auth.go`, `--authentication-token-webhook`,
//! `--authorization-mode=Webhook`). Nobody is let in unnamed.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, StatusCode};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Client;
use kube::api::{Api, PostParams};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

/// How long an answer holds: whose a token is, a yes, a no (the defaults of KubeletConfiguration).
const TOKEN: Duration = Duration::from_secs(120);
const YES: Duration = Duration::from_secs(300);
const NO: Duration = Duration::from_secs(30);
/// So many answers of each kind are kept; when there is no room the oldest go.
const KEPT: usize = 256;

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

/// What is asked of the API server: who, verb, subresource of the node.
type Question = (String, &'static str, &'static str);

pub struct Access {
    client: Client,
    node: String,
    tokens: Cache<[u8; 32], UserInfo>,
    answers: Cache<Question, bool>,
}

/// The parts of a node that a path is about, the most particular first; holding any of them is enough.
fn subresources(path: &str) -> &'static [&'static str] {
    let below = |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if below("/stats") {
        &["stats"]
    } else if below("/metrics") {
        &["metrics"]
    } else if below("/logs") {
        &["log"]
    } else if below("/pods") {
        &["pods", "proxy"]
    } else if below("/healthz") {
        &["healthz", "proxy"]
    } else {
        &["proxy"]
    }
}

fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    }
}

impl Access {
    #[must_use]
    pub fn new(client: Client, node: String) -> Self {
        Self { client, node, tokens: Cache(Mutex::default()), answers: Cache(Mutex::default()) }
    }

    /// Whether a request without a certificate may go on; else the code and the text to answer it with.
    ///
    /// # Errors
    /// 401, 403, or 500 when the API server cannot be asked.
    pub async fn check(&self, method: &Method, path: &str, headers: &HeaderMap) -> Result<(), (StatusCode, String)> {
        let unauthorized = || (StatusCode::UNAUTHORIZED, "Unauthorized".to_owned());
        let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let token = token.map(str::trim).filter(|token| !token.is_empty()).ok_or_else(unauthorized)?;
        let user = self.user(token).await.map_err(|error| {
            tracing::warn!(error, "a token could not be reviewed");
            unauthorized()
        })?;
        let user = user.ok_or_else(unauthorized)?;
        let name = user.username.clone().unwrap_or_default();
        let (verb, parts) = (verb(method), subresources(path));
        for part in parts {
            if self.may(&user, verb, part).await.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error))? {
                return Ok(());
            }
        }
        let why = format!("Forbidden (user={name}, verb={verb}, resource=nodes, subresource(s)=[{}])", parts.join(" "));
        Err((StatusCode::FORBIDDEN, why))
    }

    async fn user(&self, token: &str) -> Result<Option<UserInfo>, String> {
        let (key, now): ([u8; 32], _) = (Sha256::digest(token.as_bytes()).into(), Instant::now());
        if let Some(user) = self.tokens.get(&key, now) {
            return Ok(Some(user));
        }
        let spec = TokenReviewSpec { token: Some(token.to_owned()), ..TokenReviewSpec::default() };
        let review = TokenReview { spec, ..TokenReview::default() };
        let reviewed = Api::<TokenReview>::all(self.client.clone()).create(&PostParams::default(), &review).await;
        let status = reviewed.map_err(|error| error.to_string())?.status.unwrap_or_default();
        let user = status.user.filter(|_| status.authenticated == Some(true));
        if let Some(user) = &user {
            self.tokens.put(key, user.clone(), now + TOKEN, now);
        }
        Ok(user)
    }

    async fn may(&self, user: &UserInfo, verb: &'static str, part: &'static str) -> Result<bool, String> {
        let now = Instant::now();
        let question = (serde_json::to_string(user).unwrap_or_default(), verb, part);
        if let Some(answer) = self.answers.get(&question, now) {
            return Ok(answer);
        }
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: user.username.clone(),
                uid: user.uid.clone(),
                groups: user.groups.clone(),
                extra: user.extra.clone(),
                resource_attributes: Some(ResourceAttributes {
                    verb: Some(verb.to_owned()),
                    version: Some("v1".to_owned()),
                    resource: Some("nodes".to_owned()),
                    subresource: Some(part.to_owned()),
                    name: Some(self.node.clone()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let api = Api::<SubjectAccessReview>::all(self.client.clone());
        let reviewed = api.create(&PostParams::default(), &review).await.map_err(|error| error.to_string())?;
        let allowed = reviewed.status.is_some_and(|status| status.allowed);
        self.answers.put(question, allowed, now + if allowed { YES } else { NO }, now);
        Ok(allowed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::{Request, Response};
    use http_body_util::BodyExt;
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    /// An API server that knows the token `good`, and lets its holder read metrics.
    fn access() -> (Access, Arc<Mutex<usize>>) {
        let asked = Arc::new(Mutex::new(0));
        let count = asked.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            *count.lock() += 1;
            async move {
                let body = request.into_body().collect().await.expect("a body").to_bytes();
                let mut review: Value = serde_json::from_slice(&body).expect("JSON");
                review["status"] = if review["kind"] == "TokenReview" {
                    json!({ "authenticated": review["spec"]["token"] == "good", "user": { "username": "top" } })
                } else {
                    let asked = &review["spec"]["resourceAttributes"];
                    assert_eq!((&asked["name"], &asked["resource"]), (&json!("n"), &json!("nodes")));
                    json!({ "allowed": asked["subresource"] == "metrics" && review["spec"]["user"] == "top" })
                };
                Ok::<_, std::convert::Infallible>(Response::new(Body::from(review.to_string().into_bytes())))
            }
        });
        (Access::new(Client::new(service, "default"), "n".to_owned()), asked)
    }

    fn with(token: &str) -> HeaderMap {
        let value = format!("Bearer {token}").parse().expect("a header");
        HeaderMap::from_iter([(AUTHORIZATION, value)])
    }

    #[tokio::test]
    async fn tokens_are_reviewed_and_answers_kept() {
        let (access, asked) = access();
        let code = |result: Result<(), (StatusCode, String)>| result.map_err(|(code, _)| code.as_u16());
        assert_eq!(code(access.check(&Method::GET, "/metrics", &HeaderMap::new()).await), Err(401));
        assert_eq!(*asked.lock(), 0, "nobody is asked about no token");
        assert_eq!(code(access.check(&Method::GET, "/metrics", &with("bad")).await), Err(401));
        assert_eq!(code(access.check(&Method::GET, "/metrics/resource", &with("good")).await), Ok(()));
        let before = *asked.lock();
        assert_eq!(code(access.check(&Method::GET, "/metrics/resource", &with("good")).await), Ok(()));
        assert_eq!(*asked.lock(), before, "both answers were kept");
        let refused = access.check(&Method::POST, "/run/ns/pod/c", &with("good")).await.expect_err("refused");
        let why = "Forbidden (user=top, verb=create, resource=nodes, subresource(s)=[proxy])";
        assert_eq!(refused, (StatusCode::FORBIDDEN, why.to_owned()));
    }

    #[test]
    fn paths_are_parts_of_the_node() {
        for (path, parts) in [
            ("/metrics/resource", &["metrics"][..]),
            ("/stats/summary", &["stats"]),
            ("/pods", &["pods", "proxy"]),
            ("/logs/pods", &["log"]),
            ("/metricsx", &["proxy"]),
            ("/exec/a/b/c", &["proxy"]),
        ] {
            assert_eq!(subresources(path), parts, "{path}");
        }
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
