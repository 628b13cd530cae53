//! Who is asked whether a request may be made, in which order (`--authorization-mode`, `--authorization-config`; upstream
//! `pkg/kubeapiserver/authorizer`).
//!
//! ```text
//!  system:masters ──> Node ──> RBAC ──> Webhook …   the first that says yes or no decides; nobody's word is a no
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
use auth::{Attributes, Decision, user};

use super::file::{Changes, aggregate};
use crate::app::App;
use crate::options::Options;
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
    AlwaysAllow,
    AlwaysDeny,
    Webhook(Box<Webhook>),
}

/// The authorizers in their order.
pub struct Authorizers {
    chain: ArcSwap<Vec<Authorizer>>,
    /// The file's text when the server started.
    text: String,
}

fn build(configuration: &Configuration) -> anyhow::Result<Vec<Authorizer>> {
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
        chain.push(match kind {
            "Node" => Authorizer::Node,
            "RBAC" => Authorizer::Rbac,
            "AlwaysAllow" => Authorizer::AlwaysAllow,
            "AlwaysDeny" => Authorizer::AlwaysDeny,
            "Webhook" => Authorizer::Webhook(Box::new(Webhook::new(authorizer)?)),
            kind => {
                anyhow::bail!("authorizer type {kind} is not allowed if it was not enabled at initial server startup")
            }
        });
    }
    Ok(chain)
}

fn parse(text: &str) -> anyhow::Result<Vec<Authorizer>> {
    let configuration = Configuration::parse(text).context("failed to load AuthorizationConfiguration from file")?;
    build(&configuration)
}

impl Authorizers {
    /// What flags or file say.
    ///
    /// # Errors
    /// The file cannot be read, or what they say makes no sense.
    pub fn load(options: &Options) -> anyhow::Result<Self> {
        let Some(path) = &options.authorization_config else {
            let chain = build(&Configuration::of_flags(options)?)?;
            return Ok(Self { chain: ArcSwap::from_pointee(chain), text: String::new() });
        };
        anyhow::ensure!(
            !options.authorization.any(),
            "--authorization-config can not be specified when --authorization-mode or --authorization-webhook-* flags are defined"
        );
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        Ok(Self { chain: ArcSwap::from_pointee(parse(&text)?), text })
    }

    /// Asks one after the other.
    pub async fn decide(&self, app: &Arc<App>, attributes: &Attributes<'_>, asked: &Asked<'_>) -> Outcome {
        // Whatever the others say, and whether or not they can be asked.
        if attributes.user.in_group(user::MASTERS) {
            return Decision::Allow(String::new()).into();
        }
        let policy = &app.access.policy;
        let chain = self.chain.load_full();
        let (mut reasons, mut errors) = (Vec::new(), Vec::new());
        for authorizer in chain.iter() {
            let outcome = match authorizer {
                Authorizer::Node => policy.node(app, attributes, asked.fields).await.into(),
                Authorizer::Rbac => policy.rbac(attributes).into(),
                Authorizer::AlwaysAllow => Decision::Allow(String::new()).into(),
                Authorizer::AlwaysDeny => Decision::NoOpinion("Everything is forbidden.".to_owned()).into(),
                Authorizer::Webhook(webhook) => Box::pin(webhook.decide(attributes, asked)).await,
            };
            errors.extend(outcome.error);
            match outcome.decision {
                Decision::NoOpinion(reason) => reasons.extend(Some(reason).filter(|reason| !reason.is_empty())),
                decided => return Outcome { decision: decided, error: together(&errors) },
            }
        }
        Outcome { decision: Decision::NoOpinion(reasons.join("\n")), error: together(&errors) }
    }

    /// The same without waiting for anybody: of a webhook nothing is known then.
    pub fn decide_now(&self, app: &App, attributes: &Attributes<'_>) -> Decision {
        if attributes.user.in_group(user::MASTERS) {
            return Decision::Allow(String::new());
        }
        let policy = &app.access.policy;
        let mut reasons = Vec::new();
        for authorizer in self.chain.load().iter() {
            let decision = match authorizer {
                Authorizer::Node => policy.node_now(attributes),
                Authorizer::Rbac => policy.rbac(attributes),
                Authorizer::AlwaysAllow => Decision::Allow(String::new()),
                Authorizer::AlwaysDeny | Authorizer::Webhook(_) => Decision::NoOpinion(String::new()),
            };
            match decision {
                Decision::NoOpinion(reason) => reasons.extend(Some(reason).filter(|reason| !reason.is_empty())),
                decided => return decided,
            }
        }
        Decision::NoOpinion(reasons.join("\n"))
    }

    /// Why the rules of a user are not all that they may do.
    #[must_use]
    pub fn incomplete(&self) -> Option<&'static str> {
        let chain = self.chain.load();
        let webhook = chain.iter().any(|authorizer| matches!(authorizer, Authorizer::Webhook(_)));
        webhook.then_some("webhook authorizer does not support user rule resolution")
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
    match parse(&text) {
        Ok(chain) => {
            app.access.authorizers.chain.store(Arc::new(chain));
            tracing::info!("reloaded authorization config");
        }
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the authorization config is not valid; the one before stays")
        }
    }
    *seen = text;
}
