//! Who may see a component's pages: the API server says it, but for a few paths that everybody may (upstream's
//! `DelegatingAuthenticationOptions` and `DelegatingAuthorizationOptions`).

use std::sync::Arc;
use std::time::Duration;

use auth::user::{MASTERS, UserInfo};
use auth::x509::ClientAuthority;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method};
use kube::Client;
use rustls::pki_types::{CertificateDer, UnixTime};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::reviews::{Reviews, Times, Wish};
use crate::trust::Trust;

/// How long answers hold (the defaults of both options).
const TIMES: Times =
    Times { token: Duration::from_secs(10), yes: Duration::from_secs(10), no: Duration::from_secs(10) };
/// How long it holds whom the cluster believes.
const BELIEVED: Duration = Duration::from_secs(60);

/// Why a request is not answered.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// It shows something that nobody knows.
    Unknown,
    /// Who makes it may not.
    Forbidden(UserInfo),
    /// The API server cannot be asked.
    Unasked(String),
}

/// Who is asked; where nobody is, nobody but the few is known, or may.
#[derive(Default)]
pub struct Access {
    /// Whose clients' certificates are believed, besides those of the cluster.
    pub own: Option<ClientAuthority>,
    authentication: Option<(Client, Reviews)>,
    authorization: Option<Reviews>,
    /// Paths that everybody may see; with `*` at its end, all that begin so.
    always: Vec<String>,
    published: Mutex<Option<(Instant, Arc<Trust>)>>,
}

impl Access {
    #[must_use]
    pub fn new(authentication: Option<Client>, authorization: Option<Client>, always: &[String]) -> Self {
        Self {
            authentication: authentication.map(|client| (client.clone(), Reviews::new(client, TIMES))),
            authorization: authorization.map(|client| Reviews::new(client, TIMES)),
            always: always.to_vec(),
            ..Self::default()
        }
    }

    /// Whether a request may be answered.
    ///
    /// # Errors
    /// [`Refused`]: it may not.
    pub async fn check(
        &self,
        chain: &[CertificateDer<'_>],
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<(), Refused> {
        let user = self.user(chain, headers).await?;
        let always = |known: &String| known.strip_suffix('*').map_or(path == known, |prefix| path.starts_with(prefix));
        if user.in_group(MASTERS) || self.always.iter().any(always) {
            return Ok(());
        }
        let may = match &self.authorization {
            Some(reviews) => {
                let wish = Wish::Path { verb: method.as_str().to_ascii_lowercase(), path: path.to_owned() };
                reviews.may(&user, wish).await.map_err(Refused::Unasked)?
            }
            None => false,
        };
        if may { Ok(()) } else { Err(Refused::Forbidden(user)) }
    }

    async fn user(&self, chain: &[CertificateDer<'_>], headers: &HeaderMap) -> Result<UserInfo, Refused> {
        let mut shown = false;
        if !chain.is_empty() {
            let trust = self.trust().await;
            if let Some(front) = trust.front.as_ref().filter(|front| front.believes(chain))
                && let Some(user) = front.user(headers)
            {
                return Ok(user.authenticated());
            }
            let authorities: Vec<_> = self.own.iter().chain(&trust.clients).collect();
            // Who believes in nobody does not judge.
            shown = !authorities.is_empty();
            let judged = authorities.iter().find_map(|known| known.authenticate(chain, UnixTime::now()).ok());
            if let Some(user) = judged {
                return Ok(user.authenticated());
            }
        }
        let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        if let (Some(token), Some((_, reviews))) =
            (token.map(str::trim).filter(|t| !t.is_empty()), &self.authentication)
        {
            shown = true;
            match reviews.user(token).await {
                Ok(Some(user)) => return Ok(user.authenticated()),
                Ok(None) => {}
                Err(error) => tracing::warn!(error, "a token could not be reviewed"),
            }
        }
        if shown { Err(Refused::Unknown) } else { Ok(UserInfo::anonymous()) }
    }

    /// Whom the cluster believes; what was known last where it does not say.
    async fn trust(&self) -> Arc<Trust> {
        let Some((client, _)) = &self.authentication else { return Arc::default() };
        let mut published = self.published.lock().await;
        if let Some((_, trust)) = published.as_ref().filter(|(until, _)| *until > Instant::now()) {
            return trust.clone();
        }
        let trust = match Trust::read(client).await {
            Ok(trust) => Arc::new(trust),
            Err(error) => {
                tracing::warn!(%error, "who is believed is not known");
                return published.as_ref().map(|(_, trust)| trust.clone()).unwrap_or_default();
            }
        };
        *published = Some((Instant::now() + BELIEVED, trust.clone()));
        trust
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use http_body_util::BodyExt;
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    /// An API server that knows the token `good`, and lets its holder GET /metrics.
    fn client() -> Client {
        let service = tower::service_fn(|request: Request<Body>| async move {
            let body = request.into_body().collect().await.expect("a body").to_bytes();
            let mut review: Value = serde_json::from_slice(&body).expect("JSON");
            review["status"] = if review["kind"] == "TokenReview" {
                json!({ "authenticated": review["spec"]["token"] == "good", "user": { "username": "top" } })
            } else {
                let path = json!({ "path": "/metrics", "verb": "get" });
                json!({ "allowed": review["spec"]["nonResourceAttributes"] == path && review["spec"]["user"] == "top" })
            };
            Ok::<_, std::convert::Infallible>(Response::new(Body::from(review.to_string().into_bytes())))
        });
        Client::new(service, "default")
    }

    #[tokio::test]
    async fn who_may_see_what() {
        let always = ["/healthz".to_owned(), "/open/*".to_owned()];
        let asked = Access::new(Some(client()), Some(client()), &always);
        let alone = Access::new(None, None, &always);
        let check = async |access: &Access, token: &str, method: Method, path: &str| {
            let mut headers = HeaderMap::new();
            if !token.is_empty() {
                headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().expect("a header"));
            }
            match access.check(&[], &method, path, &headers).await {
                Ok(()) => "yes".to_owned(),
                Err(Refused::Unknown) => "unknown".to_owned(),
                Err(Refused::Forbidden(user)) => user.username,
                Err(Refused::Unasked(why)) => why,
            }
        };
        for (access, token, method, path, expected) in [
            (&asked, "", Method::GET, "/healthz", "yes"),
            (&asked, "", Method::GET, "/open/door", "yes"),
            (&asked, "", Method::GET, "/healthz/ping", "system:anonymous"),
            (&asked, "", Method::GET, "/metrics", "system:anonymous"),
            (&asked, "bad", Method::GET, "/healthz", "unknown"),
            (&asked, "good", Method::GET, "/metrics", "yes"),
            (&asked, "good", Method::DELETE, "/metrics", "top"),
            (&alone, "good", Method::GET, "/metrics", "system:anonymous"),
            (&alone, "", Method::GET, "/healthz", "yes"),
        ] {
            assert_eq!(check(access, token, method, path).await, expected, "{token} {path}");
        }
    }
}
