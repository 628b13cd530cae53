//! Who may call the kubelet's server. Holders of a certificate of the cluster's authority may; anyone else shows a token,
//! and the API server says whose it is and what they may (`pkg/kubelet/server/auth.go`, `--authentication-token-webhook`,
//! `--authorization-mode=Webhook`). Nobody is let in unnamed.

use std::time::Duration;

use component_base::reviews::{Reviews, Times, Wish};
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, StatusCode};
use kube::Client;

/// How long answers hold (the defaults of KubeletConfiguration).
const TIMES: Times =
    Times { token: Duration::from_secs(120), yes: Duration::from_secs(300), no: Duration::from_secs(30) };

pub struct Access {
    node: String,
    reviews: Reviews,
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
        Self { node, reviews: Reviews::new(client, TIMES) }
    }

    /// Whether a request without a certificate may go on; else the code and the text to answer it with.
    ///
    /// # Errors
    /// 401, 403, or 500 when the API server cannot be asked.
    pub async fn check(&self, method: &Method, path: &str, headers: &HeaderMap) -> Result<(), (StatusCode, String)> {
        let unauthorized = || (StatusCode::UNAUTHORIZED, "Unauthorized".to_owned());
        let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let token = token.map(str::trim).filter(|token| !token.is_empty()).ok_or_else(unauthorized)?;
        let user = self.reviews.user(token).await.map_err(|error| {
            tracing::warn!(error, "a token could not be reviewed");
            unauthorized()
        })?;
        let user = user.ok_or_else(unauthorized)?;
        let (verb, parts) = (verb(method), subresources(path));
        for part in parts {
            let wish = Wish::Node { verb, name: self.node.clone(), part };
            if self.reviews.may(&user, wish).await.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error))? {
                return Ok(());
            }
        }
        let (name, parts) = (&user.username, parts.join(" "));
        let why = format!("Forbidden (user={name}, verb={verb}, resource=nodes, subresource(s)=[{parts}])");
        Err((StatusCode::FORBIDDEN, why))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::{Request, Response};
    use http_body_util::BodyExt;
    use kube::client::Body;
    use parking_lot::Mutex;
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
}
