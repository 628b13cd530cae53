//! Tokens of others: JSON web tokens of OpenID Connect issuers (`--oidc-*`, `--authentication-config`;
//! upstream `apiserver/plugin/pkg/authenticator/token/oidc`, KEP-3331).
//!
//! ```text
//!  flags or file ── config ── validate (CEL compiled) ──> Issuers, exchanged when the file changes
//!  token ── unverified issuer ──> issuer ── provider (keys, cached) ── claims, distributed ones too ──> user
//! ```

mod claims;
mod config;
mod distributed;
mod issuer;
mod provider;
#[cfg(test)]
mod tests;
mod validate;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use auth::UserInfo;
use futures::future::join_all;
use jiff::Timestamp;
use schema::field;
use tokio_util::sync::CancellationToken;

use super::file::{Changes, aggregate};
use super::reloads;
use crate::app::App;
use crate::options::Options;
use crate::outbound::egress::{Egress, Network};
use config::{Anonymous, Configuration};
use issuer::Issuer;

/// A changed file's issuers must be ready by then, or those there are stay.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// The issuers of one configuration; with `stop` they end.
struct Set {
    issuers: Vec<Arc<Issuer>>,
    stop: CancellationToken,
}

/// Those whose tokens are believed, and who may come without.
pub struct Issuers {
    current: ArcSwap<Set>,
    /// Of the file; fixed when the server starts.
    anonymous: Option<Anonymous>,
    /// The file's text as it is in force, and the algorithms of its tokens.
    text: String,
    disallowed: Vec<String>,
}

fn build(
    configuration: &Configuration,
    algorithms: &[String],
    disallowed: &[String],
    egress: &Egress,
) -> Result<Set, String> {
    let compiled = validate::compile(configuration, disallowed).map_err(|errors| aggregate(&errors))?;
    for kind in compiled.iter().map(|compiled| &compiled.issuer.egress_selector_type).filter(|kind| !kind.is_empty()) {
        if !egress.configured {
            return Err(format!("oidc: egress lookup required with egress selector type {kind:?}"));
        }
        if Network::parse(kind).and_then(|network| egress.lookup(network)).is_none() {
            return Err(format!("oidc: egress lookup for {kind:?} is not configured"));
        }
    }
    let issuers = compiled.into_iter().map(|compiled| Issuer::new(compiled, algorithms.to_vec())).collect();
    Ok(Set { issuers, stop: CancellationToken::new() })
}

fn all_algorithms() -> Vec<String> {
    auth::jose::ALGORITHMS.map(str::to_owned).to_vec()
}

impl Issuers {
    /// What flags and file say; `disallowed` are the issuers of ServiceAccount tokens.
    ///
    /// # Errors
    /// The file cannot be read, or what it says makes no sense.
    pub fn load(options: &Options, disallowed: &[String], egress: &Egress) -> anyhow::Result<Self> {
        let mut configuration = Configuration::of_flags(options)?;
        let mut text = String::new();
        let mut algorithms = options.oidc.oidc_signing_algs.clone();
        if algorithms.is_empty() {
            algorithms.push("RS256".to_owned());
        }
        if let Some(path) = &options.authentication_config {
            let failed =
                || format!("failed to load authentication configuration from file {:?}", path.display().to_string());
            text = std::fs::read_to_string(path).with_context(failed)?;
            configuration = Configuration::parse(&text).with_context(failed)?;
            algorithms = all_algorithms();
        }
        if let Some(unknown) = algorithms.iter().find(|name| !auth::jose::ALGORITHMS.contains(&name.as_str())) {
            anyhow::bail!("oidc: unsupported signing alg: {unknown:?}");
        }
        if configuration.anonymous.is_some() && options.anonymous_auth.is_some() {
            let why = "--anonymous-auth flag cannot be set when anonymous field is configured in authentication configuration file";
            anyhow::bail!("{}", field::Error::forbidden(&field::Path::new("anonymous"), why));
        }
        let set = build(&configuration, &algorithms, disallowed, egress)
            .map_err(|why| anyhow::anyhow!("invalid authentication configuration: {why}"))?;
        let anonymous = configuration.anonymous;
        Ok(Self { current: ArcSwap::from_pointee(set), anonymous, text, disallowed: disallowed.to_vec() })
    }

    /// Whether a request for `path` may come without credentials; `None`: the flag decides.
    #[must_use]
    pub fn anonymous(&self, path: &str) -> Option<bool> {
        let Anonymous { enabled, conditions } = self.anonymous.as_ref()?;
        Some(*enabled && (conditions.is_empty() || conditions.iter().any(|condition| condition.path == path)))
    }

    /// The user of a token; `None`: it is of none of these issuers.
    ///
    /// # Errors
    /// Why it is refused.
    pub async fn user(&self, app: &App, token: &str, now: Timestamp) -> Option<Result<UserInfo, String>> {
        let set = self.current.load_full();
        let named = auth::jose::unverified_issuer(token)?;
        let issuer = set.issuers.iter().find(|issuer| issuer.issues(&named))?;
        Some(issuer.user(app, token, now).await)
    }
}

impl Set {
    fn start(&self, app: &Arc<App>) {
        self.issuers.iter().for_each(|issuer| issuer.start(app, self.stop.clone()));
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Discovers the issuers, and follows the file.
pub fn start(app: &Arc<App>) {
    app.access.issuers.current.load().start(app);
    let Some(path) = app.options.authentication_config.clone() else { return };
    let mut changes = Changes::of(&path);
    let (app, stop) = (app.clone(), app.stop.clone());
    tokio::spawn(stop.run_until_cancelled_owned(async move {
        let mut settled = app.access.issuers.text.clone();
        loop {
            reload(&app, &path, &mut settled).await;
            changes.next().await;
        }
    }));
}

/// Puts a changed file into force. `settled` is the text there is nothing more to do about: it is in force, or never can be.
async fn reload(app: &Arc<App>, path: &Path, settled: &mut String) {
    let text = match tokio::fs::read_to_string(path).await {
        Ok(text) => text,
        Err(error) => return tracing::error!(%error, "failed to read authentication config file"),
    };
    if text == *settled {
        return;
    }
    let issuers = &app.access.issuers;
    let built = Configuration::parse(&text).map_err(|error| format!("{error:#}")).and_then(|configuration| {
        if configuration.anonymous != issuers.anonymous {
            let why = "changed from initial configuration file";
            return Err(field::Error::forbidden(&field::Path::new("anonymous"), why).to_string());
        }
        build(&configuration, &all_algorithms(), &issuers.disallowed, &app.clients.egress)
    });
    let set = match built {
        Ok(set) => set,
        Err(error) => {
            tracing::error!(error, "the authentication config is not valid; the one before stays");
            reloads::note(app, &app.metrics.reloads_authentication, &app.metrics.reloaded_authentication, false);
            *settled = text;
            return;
        }
    };
    set.start(app);
    let ready = join_all(set.issuers.iter().map(|issuer| issuer.ready()));
    if tokio::time::timeout(READY_WITHIN, ready).await.is_err() {
        for trouble in set.issuers.iter().filter_map(|issuer| issuer.trouble()) {
            tracing::error!(trouble, "failed to update authentication config; the one before stays");
        }
        reloads::note(app, &app.metrics.reloads_authentication, &app.metrics.reloaded_authentication, false);
        return;
    }
    issuers.current.store(Arc::new(set));
    // Tokens of issuers that are gone must not live on.
    app.access.tokens.forget();
    *settled = text;
    reloads::note(app, &app.metrics.reloads_authentication, &app.metrics.reloaded_authentication, true);
    tracing::info!("reloaded authentication config");
}
