//! Reviews posted to a webhook that a kubeconfig names (`apiserver/pkg/util/webhook`).

use std::path::Path;
use std::time::Duration;

use http::StatusCode;
use http::header::RETRY_AFTER;
use serde_json::Value;

use super::egress::Dialer;
use super::kubeconfig::Server;

/// Upstream's back-off: five attempts, half a second, half as much again each time.
const ATTEMPTS: u32 = 5;
const FIRST_DELAY: Duration = Duration::from_millis(500);

/// The webhook's server.
pub struct Connection {
    server: Server,
    first_delay: Duration,
}

impl Connection {
    /// Reads the file's current context.
    ///
    /// # Errors
    /// It cannot be read, names nothing usable, or its server is not reached by https.
    pub fn load(path: &Path, through: &Dialer) -> anyhow::Result<Self> {
        Ok(Self { server: Server::load(path, false, through)?, first_delay: FIRST_DELAY })
    }

    /// The same, waiting so long before the second attempt.
    #[must_use]
    pub fn retrying_after(self, first_delay: Duration) -> Self {
        Self { first_delay, ..self }
    }
}

/// What an attempt came to: an answer, or why not and whether another may do better.
type Attempt = Result<Value, (String, bool)>;

impl Connection {
    /// Posts a review and reads the answer to it, trying again where upstream does (`webhook.DefaultShouldRetry`).
    ///
    /// # Errors
    /// Why there is no answer, in Go's words.
    pub async fn review(&self, review: &Value, timeout: Duration) -> Result<Value, String> {
        let mut delay = self.first_delay;
        for _ in 1..ATTEMPTS {
            match self.attempt(review, timeout).await {
                Ok(answer) => return Ok(answer),
                Err((why, false)) => return Err(why),
                Err((_, true)) => tokio::time::sleep(delay).await,
            }
            delay = delay * 3 / 2;
        }
        self.attempt(review, timeout).await.map_err(|(why, _)| why)
    }

    async fn attempt(&self, review: &Value, timeout: Duration) -> Attempt {
        match tokio::time::timeout(timeout, self.exchange(review)).await {
            Ok(answer) => answer,
            Err(_) => Err(self.told("context deadline exceeded (Client.Timeout exceeded while awaiting headers)")),
        }
    }

    fn told(&self, why: &str) -> (String, bool) {
        (format!("Post {:?}: {why}", self.server.url.to_string()), false)
    }

    async fn exchange(&self, review: &Value) -> Attempt {
        let review = crate::http::answer::to_json(review);
        let (head, body) = self.server.post(review).await.map_err(|why| self.told(&why))?;
        if !head.status.is_success() {
            let again = matches!(
                head.status,
                StatusCode::INTERNAL_SERVER_ERROR | StatusCode::GATEWAY_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
            );
            let text = String::from_utf8_lossy(&body[..body.len().min(512)]);
            let why = format!("an error on the server ({:?}) has prevented the request from succeeding", text.trim());
            return Err((why, again || head.headers.contains_key(RETRY_AFTER)));
        }
        serde_json::from_slice(&body)
            .map_err(|error| (format!("couldn't get version/kind; json parse error: {error}"), false))
    }
}
