//! EventRateLimit: Events come in no faster than configured, by server, namespace, user or source
//! (`plugin/pkg/admission/eventratelimit`). Off by default.

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::Instant;

use super::{Attributes, Operation};
use crate::app::text;
use crate::http::status::{ApiError, ApiResult};

/// So many keys of a limit are remembered where it does not say.
const KEYS: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Server,
    Namespace,
    User,
    SourceAndObject,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Server => "Server",
            Self::Namespace => "Namespace",
            Self::User => "User",
            Self::SourceAndObject => "SourceAndObject",
        }
    }
}

/// One limit: so many a second, so many at once, for each of so many keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    kind: Kind,
    qps: f64,
    burst: f64,
    keys: usize,
}

impl Limit {
    /// `None`: there is no such type.
    pub fn parse(kind: &str, qps: i64, burst: i64, keys: i64) -> Option<Self> {
        let kind = [Kind::Server, Kind::Namespace, Kind::User, Kind::SourceAndObject]
            .into_iter()
            .find(|known| known.word() == kind)?;
        let keys = usize::try_from(keys).ok().filter(|keys| *keys > 0).unwrap_or(KEYS);
        Some(Self { kind, qps: qps as f64, burst: burst as f64, keys })
    }
}

struct Bucket {
    tokens: f64,
    at: Instant,
    /// Its place in the order of use.
    used: u64,
}

/// The buckets of a limit; the one used longest ago goes when there is no room.
#[derive(Default)]
struct Buckets {
    by_key: HashMap<String, Bucket>,
    by_use: BTreeMap<u64, String>,
    clock: u64,
}

impl Buckets {
    fn accept(&mut self, limit: &Limit, key: &str, now: Instant) -> bool {
        self.clock += 1;
        if !self.by_key.contains_key(key)
            && self.by_key.len() >= limit.keys
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.by_key.remove(&oldest);
        }
        let clock = self.clock;
        let bucket = self.by_key.entry(key.to_owned()).or_insert(Bucket { tokens: limit.burst, at: now, used: clock });
        self.by_use.remove(&bucket.used);
        self.by_use.insert(clock, key.to_owned());
        let gained = now.duration_since(bucket.at).as_secs_f64() * limit.qps;
        bucket.tokens = (bucket.tokens + gained).min(limit.burst);
        (bucket.at, bucket.used) = (now, clock);
        let accepted = bucket.tokens >= 1.0;
        if accepted {
            bucket.tokens -= 1.0;
        }
        accepted
    }
}

pub struct EventRateLimit(Vec<(Limit, Mutex<Buckets>)>);

impl EventRateLimit {
    pub fn new(limits: Vec<Limit>) -> Self {
        Self(limits.into_iter().map(|limit| (limit, Mutex::default())).collect())
    }

    /// Every limit is asked, so that each counts what came.
    fn accept(&self, namespace: &str, user: &str, event: &Value, now: Instant) -> Result<(), String> {
        let mut reached = Vec::new();
        for (limit, buckets) in &self.0 {
            let key = match limit.kind {
                Kind::Server => String::new(),
                Kind::Namespace => namespace.to_owned(),
                Kind::User => user.to_owned(),
                Kind::SourceAndObject => [
                    "/source/component",
                    "/source/host",
                    "/involvedObject/kind",
                    "/involvedObject/namespace",
                    "/involvedObject/name",
                    "/involvedObject/uid",
                    "/involvedObject/apiVersion",
                ]
                .map(|pointer| text(event, pointer))
                .concat(),
            };
            if !buckets.lock().accept(limit, &key, now) {
                reached.push(format!("limit reached on type {} for key {key}", limit.kind.word()));
            }
        }
        match reached.len() {
            0 => Ok(()),
            1 => Err(reached.remove(0)),
            _ => Err(format!("[{}]", reached.join(", "))),
        }
    }
}

/// Refuses an Event that is one too many.
pub fn admit(a: &Attributes<'_>, object: &Value) -> ApiResult<()> {
    let Some(limits) = &a.app().admission.events else { return Ok(()) };
    let event = a.kind.group.is_empty() && a.kind.kind == "Event";
    if !event || a.call.dry_run() || !matches!(a.operation, Operation::Create | Operation::Update) {
        return Ok(());
    }
    limits
        .accept(a.namespace(), &a.call.user.username, object, Instant::now())
        .map_err(|why| ApiError::new(429, "TooManyRequests", format!("Too many requests: {why}")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    #[test]
    fn limits_by_key() {
        let limit = |kind| Limit::parse(kind, 1, 2, 2).unwrap();
        let limits = EventRateLimit::new(vec![limit("Namespace"), limit("User")]);
        let now = Instant::now();
        let ask = |namespace, user, now| limits.accept(namespace, user, &json!({}), now);
        assert_eq!(ask("a", "x", now), Ok(()));
        assert_eq!(ask("a", "y", now), Ok(()));
        assert_eq!(ask("a", "z", now), Err("limit reached on type Namespace for key a".to_owned()));
        assert_eq!(ask("b", "z", now), Ok(()));
        let both = "[limit reached on type Namespace for key b, limit reached on type User for key z]";
        assert_eq!((ask("b", "w", now), ask("b", "z", now)), (Ok(()), Err(both.to_owned())));
        assert_eq!(ask("b", "z", now + Duration::from_secs(1)), Ok(()));
        assert!(limits.0.iter().all(|(_, buckets)| buckets.lock().by_key.len() <= 2), "keys are bounded");
        assert!(Limit::parse("Odd", 1, 1, 0).is_none());
    }
}
