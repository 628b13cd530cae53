//! One webhook of a configuration, read once and used for every request.

use std::time::Duration;

use cel::admission::{Input, MatchConditions, MatchResult};
use serde_json::Value;

use super::annotate::Turn;
use super::metrics;
use super::review::Failure;
use super::versioned;
use crate::admission::Attributes;
use crate::admission::matching::{Rule, Seen, Selectors, seen};
use crate::admission::request::{Authorizer, request};
use crate::app::text;
use crate::http::status::{ApiError, ApiResult};
use crate::outbound::ClientConfig;

/// `timeoutSeconds` where a stored configuration has none.
const TIMEOUT: u64 = 10;

/// The versions of AdmissionReview this server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Review {
    V1,
    V1Beta1,
}

impl Review {
    #[must_use]
    pub fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "admission.k8s.io/v1",
            Self::V1Beta1 => "admission.k8s.io/v1beta1",
        }
    }
}

/// A `MutatingWebhook` or `ValidatingWebhook`.
pub struct Hook {
    /// Configuration, name and number among those of the same name.
    pub uid: String,
    pub configuration: String,
    pub name: String,
    pub review: Option<Review>,
    pub client: Result<ClientConfig, String>,
    pub timeout: Duration,
    pub reinvoke: bool,
    /// What a dry run must not do, this hook may.
    pub side_effects: bool,
    ignore_failures: bool,
    rules: Vec<Rule>,
    equivalent: bool,
    selectors: Selectors,
    conditions: MatchConditions,
}

impl Hook {
    /// All webhooks of a configuration, in its order.
    #[must_use]
    pub fn parse_all(configuration: &Value) -> Vec<Self> {
        let own = text(configuration, "/metadata/name");
        let list = configuration["webhooks"].as_array().map(Vec::as_slice).unwrap_or_default();
        let number = |at: usize| list[..at].iter().filter(|other| other["name"] == list[at]["name"]).count();
        let parse = |(at, hook): (usize, &Value)| {
            let uid = format!("{own}/{}/{}", text(hook, "/name"), number(at));
            Self::parse(hook, own, uid)
        };
        list.iter().enumerate().map(parse).collect()
    }

    fn parse(hook: &Value, configuration: &str, uid: String) -> Self {
        let versions = hook["admissionReviewVersions"].as_array().into_iter().flatten();
        let review = versions.filter_map(Value::as_str).find_map(|version| match version {
            "v1" => Some(Review::V1),
            "v1beta1" => Some(Review::V1Beta1),
            _ => None,
        });
        Self {
            uid,
            configuration: configuration.to_owned(),
            name: text(hook, "/name").to_owned(),
            review,
            client: ClientConfig::parse(&hook["clientConfig"]),
            timeout: Duration::from_secs(hook["timeoutSeconds"].as_u64().unwrap_or(TIMEOUT)),
            reinvoke: hook["reinvocationPolicy"] == "IfNeeded",
            side_effects: !matches!(text(hook, "/sideEffects"), "None" | "NoneOnDryRun"),
            ignore_failures: hook["failurePolicy"] == "Ignore",
            rules: Rule::parse_all(&hook["rules"]),
            equivalent: hook["matchPolicy"] == "Equivalent",
            selectors: Selectors::parse(hook),
            conditions: MatchConditions::new(
                hook["matchConditions"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|condition| (text(condition, "/name"), text(condition, "/expression"))),
            ),
        }
    }

    /// Whether to ask the hook, and how it wants to see the request.
    ///
    /// # Errors
    /// The namespace of a request its rules are about does not exist.
    pub async fn choose(&self, a: &Attributes<'_>, object: &Value) -> ApiResult<Option<Seen>> {
        let Some(seen) = seen(a, &self.rules, self.equivalent) else { return Ok(None) };
        if !self.selectors.choose(a, object).await? {
            return Ok(None);
        }
        if !self.conditions.is_empty() {
            let (object, old) = versioned(a, &seen, object).await?;
            if !self.holds(a, &seen, &object, &old)? {
                return Ok(None);
            }
        }
        Ok(Some(seen))
    }

    /// Whether the match conditions hold; one that cannot be evaluated is the failure policy's affair.
    fn holds(&self, a: &Attributes<'_>, seen: &Seen, object: &Value, old: &Value) -> ApiResult<bool> {
        fn given(value: &Value) -> Option<&Value> {
            Some(value).filter(|value| !value.is_null())
        }
        let input = Input {
            object: given(object),
            old_object: given(old),
            request: &request(a, seen),
            params: None,
            namespace_object: None,
            authorizer: Some(&Authorizer { app: a.app(), user: a.user() }),
        };
        match self.conditions.evaluate(&input) {
            MatchResult::Matches => Ok(true),
            MatchResult::No { .. } => Ok(false),
            MatchResult::Errors(_) if self.ignore_failures => Ok(false),
            MatchResult::Errors(errors) => {
                let why =
                    if let [only] = errors.as_slice() { only.clone() } else { format!("[{}]", errors.join(", ")) };
                Err(a.call.forbidden(&a.name, &why))
            }
        }
    }

    /// Counts a call and what came of it.
    pub fn observe(&self, a: &Attributes<'_>, mutating: bool, took: Duration, failure: Option<&Failure>) {
        let ignored = self.ignore_failures && matches!(failure, Some(Failure::Calling(_)));
        metrics::observe(&a.app().metrics, &self.name, mutating, a.operation, took, failure, ignored);
    }

    /// A failure as the hook's policy sees it.
    ///
    /// # Errors
    /// The request is to be refused.
    pub fn judge(&self, a: &Attributes<'_>, turn: Turn, mutating: bool, failure: Failure) -> ApiResult<()> {
        match failure {
            Failure::Refused(error) => Err(error),
            Failure::Calling(why) => {
                let text = format!("failed calling webhook {:?}: {why}", self.name);
                if self.ignore_failures {
                    tracing::warn!(error = text, "a webhook failed, and the request goes on without it");
                    turn.failed_open(a, self, mutating);
                    return Ok(());
                }
                Err(ApiError::internal(text))
            }
        }
    }
}
