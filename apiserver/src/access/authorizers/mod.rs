//! Who is asked whether a request may be made, in which order (`--authorization-mode`, `--authorization-config`; upstream
//! `pkg/kubeapiserver/authorizer`).
//!
//! ```text
//!  system:masters ──> Node ──> RBAC ──> ABAC, Webhook …   the first that says yes or no decides; nobody's word is a no
//! ```

mod config;
#[cfg(test)]
mod tests;
mod validate;
mod webhook;

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use arc_swap::ArcSwap;
use auth::abac::Policies;
use auth::{Attributes, Decision, UserInfo, user};
use serde_json::{Value, json};

use super::file::{Changes, aggregate};
use super::reloads;
use crate::app::App;
use crate::options::Options;
use crate::outbound::egress::Egress;
use config::Configuration;
use webhook::Webhook;

/// What authorizers may look at besides [`Attributes`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// Of the resource's group; may be empty.
    pub version: &'a str,
    /// The equalities of the request's field selector.
    pub fields: &'a [(&'a str, &'a str)],
}

/// What the authorizers say, and what went wrong meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub decision: Decision,
    pub error: Option<String>,
}

impl From<Decision> for Outcome {
    fn from(decision: Decision) -> Self {
        Self { decision, error: None }
    }
}

enum Authorizer {
    Node,
    Rbac,
    Abac(Arc<Policies>),
    AlwaysAllow,
    AlwaysDeny,
    Webhook(Box<Webhook>),
}

impl Authorizer {
    /// Type and name, as upstream's series have them.
    fn label(&self) -> (&'static str, &str) {
        match self {
            Self::Node => ("Node", "node"),
            Self::Rbac => ("RBAC", "rbac"),
            Self::Abac(_) => ("ABAC", "abac"),
            Self::AlwaysAllow => ("AlwaysAllow", "alwaysallow"),
            Self::AlwaysDeny => ("AlwaysDeny", "alwaysdeny"),
            Self::Webhook(webhook) => ("Webhook", &webhook.name),
        }
    }
}

/// The authorizers in their order.
pub struct Authorizers {
    chain: ArcSwap<Vec<Authorizer>>,
    /// What ABAC goes by, where it was there from the start; as upstream, the file is read once.
    policies: Option<Arc<Policies>>,
    /// The file's text when the server started.
    text: String,
}

fn build(
    configuration: &Configuration,
    policies: Option<&Arc<Policies>>,
    egress: &Egress,
) -> anyhow::Result<Vec<Authorizer>> {
    let errors = validate::check(configuration);
    anyhow::ensure!(errors.is_empty(), "{}", aggregate(&errors));
    let mut chain = Vec::new();
    for authorizer in &configuration.authorizers {
        let (kind, name) = (authorizer.kind.as_str(), &authorizer.name);
        let expected = config::name_of(kind);
        anyhow::ensure!(
            kind == "Webhook" || *name == expected,
            "expected name {expected} for authorizer {kind} instead of {name}"
        );
        chain.push(match (kind, policies) {
            ("Node", _) => Authorizer::Node,
            ("RBAC", _) => Authorizer::Rbac,
            ("ABAC", Some(policies)) => Authorizer::Abac(policies.clone()),
            ("AlwaysAllow", _) => Authorizer::AlwaysAllow,
            ("AlwaysDeny", _) => Authorizer::AlwaysDeny,
            ("Webhook", _) => Authorizer::Webhook(Box::new(Webhook::new(authorizer, egress)?)),
            (kind, _) => {
                anyhow::bail!("authorizer type {kind} is not allowed if it was not enabled at initial server startup")
            }
        });
    }
    Ok(chain)
}

fn parse(text: &str) -> anyhow::Result<Configuration> {
    Configuration::parse(text).context("failed to load AuthorizationConfiguration from file")
}

/// The policies of ABAC.
fn policies(path: &Path) -> anyhow::Result<Policies> {
    let text = std::fs::read_to_string(path).with_context(|| format!("open {}", path.display()))?;
    Policies::parse(&text).map_err(|line| anyhow::anyhow!("error reading policy file {}, {line}", path.display()))
}

impl Authorizers {
    /// What flags or file say.
    ///
    /// # Errors
    /// The file cannot be read, or what they say makes no sense.
    pub fn load(options: &Options, egress: &Egress) -> anyhow::Result<Self> {
        let (configuration, text) = match &options.authorization_config {
            None => (Configuration::of_flags(options)?, String::new()),
            Some(path) => {
                anyhow::ensure!(
                    !options.authorization.any(),
                    "--authorization-config can not be specified when --authorization-mode or --authorization-webhook-* flags are defined"
                );
                let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
                (parse(&text)?, text)
            }
        };
        let abac = configuration.authorizers.iter().any(|authorizer| authorizer.kind == "ABAC");
        let file = options.authorization.authorization_policy_file.as_deref().unwrap_or(Path::new(""));
        let policies = if abac { Some(Arc::new(policies(file)?)) } else { None };
        let chain = build(&configuration, policies.as_ref(), egress)?;
        Ok(Self { chain: ArcSwap::from_pointee(chain), policies, text })
    }

    /// Asks one after the other.
    pub async fn decide(&self, app: &Arc<App>, attributes: &Attributes<'_>, asked: &Asked<'_>) -> Outcome {
        // Whatever the others say, and whether or not they can be asked.
        if attributes.user.in_group(user::MASTERS) {
            return Decision::Allow(Arc::default()).into();
        }
        let policy = &app.access.policy;
        let chain = self.chain.load_full();
        let (mut reasons, mut errors) = (Vec::new(), Vec::new());
        for authorizer in chain.iter() {
            let outcome = match authorizer {
                Authorizer::Node => policy.node(app, attributes, asked.fields).await.into(),
                Authorizer::Rbac => policy.rbac(attributes).into(),
                Authorizer::Abac(policies) => policies.decide(attributes).into(),
                Authorizer::AlwaysAllow => Decision::Allow(Arc::default()).into(),
                Authorizer::AlwaysDeny => Decision::NoOpinion("Everything is forbidden.".to_owned()).into(),
                Authorizer::Webhook(webhook) => Box::pin(webhook.decide(attributes, asked)).await,
            };
            errors.extend(outcome.error);
            match outcome.decision {
                Decision::NoOpinion(reason) => reasons.extend(Some(reason).filter(|reason| !reason.is_empty())),
                decided => {
                    let (kind, name) = authorizer.label();
                    let word = if decided.allowed() { "allowed" } else { "denied" };
                    app.metrics.authorization_decisions.increase(&[word, name, kind]);
                    return Outcome { decision: decided, error: together(&errors) };
                }
            }
        }
        Outcome { decision: Decision::NoOpinion(reasons.join("\n")), error: together(&errors) }
    }

    /// The same without waiting for anybody: of a webhook nothing is known then.
    pub fn decide_now(&self, app: &App, attributes: &Attributes<'_>) -> Decision {
        if attributes.user.in_group(user::MASTERS) {
            return Decision::Allow(Arc::default());
        }
        let policy = &app.access.policy;
        let mut reasons = Vec::new();
        for authorizer in self.chain.load().iter() {
            let decision = match authorizer {
                Authorizer::Node => policy.node_now(attributes),
                Authorizer::Rbac => policy.rbac(attributes),
                Authorizer::Abac(policies) => policies.decide(attributes),
                Authorizer::AlwaysAllow => Decision::Allow(Arc::default()),
                Authorizer::AlwaysDeny | Authorizer::Webhook(_) => Decision::NoOpinion(String::new()),
            };
            match decision {
                Decision::NoOpinion(reason) => reasons.extend(Some(reason).filter(|reason| !reason.is_empty())),
                decided => return decided,
            }
        }
        Decision::NoOpinion(reasons.join("\n"))
    }

    /// The status of a SelfSubjectRulesReview: what RBAC and ABAC allow, and whether somebody else might allow more.
    pub fn rules(&self, app: &App, user: &UserInfo, namespace: &str) -> Value {
        let mut status = app.access.policy.rules(user, namespace);
        for authorizer in self.chain.load().iter() {
            match authorizer {
                Authorizer::Abac(policies) => {
                    for rule in policies.rules(user, namespace) {
                        if !rule.resource.is_empty() {
                            let listed = json!({ "verbs": rule.verbs, "apiGroups": [rule.api_group], "resources": [rule.resource] });
                            push(&mut status["resourceRules"], listed);
                        }
                        if !rule.path.is_empty() {
                            let listed = json!({ "verbs": rule.verbs, "nonResourceURLs": [rule.path] });
                            push(&mut status["nonResourceRules"], listed);
                        }
                    }
                }
                Authorizer::Webhook(_) => unresolved(&mut status, "webhook"),
                Authorizer::Node if user.node().is_some() => unresolved(&mut status, "node"),
                Authorizer::Node | Authorizer::Rbac | Authorizer::AlwaysAllow | Authorizer::AlwaysDeny => {}
            }
        }
        status
    }
}

/// An authorizer cannot say what a user may do.
fn unresolved(status: &mut Value, authorizer: &str) {
    let why = format!("{authorizer} authorizer does not support user rule resolution");
    let all = match status["evaluationError"].as_str() {
        None => why,
        Some(have) => format!("{have}, {why}"),
    };
    status["incomplete"] = true.into();
    status["evaluationError"] = all.into();
}

fn push(list: &mut Value, item: Value) {
    if let Some(list) = list.as_array_mut() {
        list.push(item);
    }
}

fn together(errors: &[String]) -> Option<String> {
    match errors {
        [] => None,
        [only] => Some(only.clone()),
        all => Some(format!("[{}]", all.join(", "))),
    }
}

/// Follows the file.
pub fn start(app: &Arc<App>) {
    let Some(path) = app.options.authorization_config.clone() else { return };
    let mut changes = Changes::of(&path);
    let (app, stop) = (app.clone(), app.stop.clone());
    tokio::spawn(stop.run_until_cancelled_owned(async move {
        let mut seen = app.access.authorizers.text.clone();
        loop {
            reload(&app, &path, &mut seen).await;
            changes.next().await;
        }
    }));
}

async fn reload(app: &App, path: &Path, seen: &mut String) {
    let text = match tokio::fs::read_to_string(path).await {
        Ok(text) => text,
        Err(error) => return tracing::error!(%error, "reloading authorization config"),
    };
    if text == *seen {
        return;
    }
    let authorizers = &app.access.authorizers;
    match parse(&text)
        .and_then(|configuration| build(&configuration, authorizers.policies.as_ref(), &app.clients.egress))
    {
        Ok(chain) => {
            authorizers.chain.store(Arc::new(chain));
            reloads::note(app, &app.metrics.reloads_authorization, &app.metrics.reloaded_authorization, true);
            tracing::info!("reloaded authorization config");
        }
        Err(error) => {
            reloads::note(app, &app.metrics.reloads_authorization, &app.metrics.reloaded_authorization, false);
            tracing::error!(error = format!("{error:#}"), "the authorization config is not valid; the one before stays")
        }
    }
    *seen = text;
}
