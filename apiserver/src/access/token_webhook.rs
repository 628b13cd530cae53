//! A server of somebody's own that knows whose a token is, asked by a TokenReview
//! (`--authentication-token-webhook-config-file`; upstream `apiserver/plugin/pkg/authenticator/token/webhook`).

use std::time::Duration;

use auth::UserInfo;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::options::Options;
use crate::outbound::answers::Answers;
use crate::outbound::egress::{Egress, Network};
use crate::outbound::reviews::Connection;

/// How long an answer is kept, yes or no.
const TTL: Duration = Duration::from_secs(2 * 60);
const TIMEOUT: Duration = Duration::from_secs(30);
/// So many answers are kept.
const KEPT: usize = 4096;

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Status {
    authenticated: bool,
    user: UserInfo,
    audiences: Vec<String>,
    error: String,
}

pub struct TokenWebhook {
    connection: Connection,
    version: String,
    ttl: Duration,
    /// By the hash of token and audiences, so that memory holds no secrets.
    answers: Answers<[u8; 32], Status>,
}

impl TokenWebhook {
    /// `None`: there is no such flag.
    ///
    /// # Errors
    /// The file or the version cannot be used.
    pub fn load(options: &Options, egress: &Egress) -> anyhow::Result<Option<Self>> {
        let flags = &options.token_webhook;
        let Some(path) = &flags.authentication_token_webhook_config_file else { return Ok(None) };
        let version = flags.authentication_token_webhook_version.clone();
        anyhow::ensure!(
            matches!(version.as_str(), "v1" | "v1beta1"),
            "unsupported authentication webhook version {version:?}, supported versions are \"v1\", \"v1beta1\""
        );
        let ttl = flags.authentication_token_webhook_cache_ttl.unwrap_or(TTL);
        let connection = Connection::load(path, &egress.dialer(Some(Network::ControlPlane)))?;
        Ok(Some(Self { connection, version, ttl, answers: Answers::new(KEPT) }))
    }

    /// The token's user and the audiences it is good for; `wanted` empty: the server's own, `own`. `None`: it is not known.
    ///
    /// # Errors
    /// Why it is refused, or why nobody could be asked.
    pub async fn user(
        &self,
        token: &str,
        wanted: &[String],
        own: &[String],
    ) -> Result<Option<(UserInfo, Vec<String>)>, String> {
        let key: [u8; 32] = Sha256::digest(json!([token, wanted]).to_string()).into();
        let status = match self.answers.get(&key) {
            Some(status) => status,
            None => {
                let status = self.ask(token, wanted).await.map_err(|why| {
                    // Whoever answers may repeat what they were asked.
                    let why = why.replace(token, "<omitted>");
                    tracing::error!(why, "failed to make webhook authenticator request");
                    why
                })?;
                self.answers.put(key, status.clone(), self.ttl);
                status
            }
        };
        judge(status, wanted, own)
    }

    async fn ask(&self, token: &str, wanted: &[String]) -> Result<Status, String> {
        #[derive(Deserialize)]
        struct Review {
            #[serde(default)]
            status: Status,
        }
        let mut spec = json!({ "token": token });
        if !wanted.is_empty() {
            spec["audiences"] = json!(wanted);
        }
        let version = format!("authentication.k8s.io/{}", self.version);
        let review = json!({ "kind": "TokenReview", "apiVersion": version, "metadata": {}, "spec": spec });
        let answer = self.connection.review(&review, TIMEOUT).await?;
        let answer: Review = serde_json::from_value(answer).map_err(|error| error.to_string())?;
        Ok(answer.status)
    }
}

fn judge(status: Status, wanted: &[String], own: &[String]) -> Result<Option<(UserInfo, Vec<String>)>, String> {
    let mut audiences = own.to_vec();
    if !wanted.is_empty() {
        let good = if status.audiences.is_empty() { own } else { &status.audiences };
        audiences = wanted.iter().filter(|audience| good.contains(audience)).cloned().collect();
        if audiences.is_empty() {
            return Ok(None);
        }
    }
    match (status.authenticated, status.error) {
        (true, _) => Ok(Some((status.user, audiences))),
        (false, error) if error.is_empty() => Ok(None),
        (false, error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged_by_audience() {
        let words = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let status = |audiences: &[&str]| Status {
            authenticated: true,
            user: UserInfo::new("a", ["g"]),
            audiences: words(audiences),
            error: String::new(),
        };
        let audiences = |status: Status, wanted: &[&str]| {
            judge(status, &words(wanted), &words(&["own"])).unwrap().map(|(_, audiences)| audiences)
        };
        assert_eq!(audiences(status(&[]), &[]), Some(words(&["own"])));
        assert_eq!(audiences(status(&[]), &["own", "x"]), Some(words(&["own"])));
        assert_eq!(audiences(status(&["x"]), &["own", "x"]), Some(words(&["x"])));
        assert_eq!(audiences(status(&["x"]), &["own"]), None);
        assert_eq!(audiences(status(&[]), &["x"]), None);
        assert_eq!(audiences(Status::default(), &[]), None);
        let refused = Status { error: "expired".to_owned(), ..Status::default() };
        assert_eq!(judge(refused, &[], &[]), Err("expired".to_owned()));
    }
}
