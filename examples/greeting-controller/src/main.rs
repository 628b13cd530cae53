//! A small, complete controller: for each `Greeting` it keeps a ConfigMap with the greeting's text and says so in the
//! Greeting's status.
//!
//! ```text
//!  Greeting (spec.name) ──reconcile──> ConfigMap greeting-NAME (data.text), owned by the Greeting
//!                          └─────────> status.message, status.observedGeneration
//! ```
//!
//! It shows the four things every controller does: it is told of changes by watches (never by asking again and again),
//! computes what should be by a pure function ([`greeting`]), applies that (so doing it twice is harmless), and leaves
//! deletion to the garbage collector by an owner reference.
//!
//! From outside: `greeting-controller` uses `$KUBECONFIG` and its current context (or `--context`). In a pod it uses the
//! pod's ServiceAccount; see `manifests/`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams};
use kube::config::KubeConfigOptions;
use kube::runtime::controller::Action;
use kube::runtime::{Controller, watcher};
use kube::{Api, Client, Config, CustomResource, Resource, ResourceExt};
use serde::{Deserialize, Serialize};

/// Who we are to the API server: it remembers which fields are ours.
const MANAGER: &str = "greeting-controller";

/// Whom to greet. The schema is written by hand in `manifests/crd.yaml`, where users can read it.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(group = "greetings.example.knetsim.dev", version = "v1", kind = "Greeting", namespaced)]
#[kube(status = "GreetingStatus", schema = "disabled")]
#[serde(rename_all = "camelCase")]
pub struct GreetingSpec {
    pub name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GreetingStatus {
    pub message: String,
    /// The version of the spec this status speaks of.
    pub observed_generation: i64,
}

#[derive(Parser)]
struct Flags {
    /// The kubeconfig's context to use, when run outside of a cluster.
    #[arg(long)]
    context: Option<String>,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the Greeting has no uid yet")]
    NotStored,
    #[error("the API refuses: {0}")]
    Api(#[from] kube::Error),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let client = connect(Flags::parse().context).await?;
    let greetings: Api<Greeting> = Api::all(client.clone());
    let maps: Api<ConfigMap> = Api::all(client.clone());
    tracing::info!("greeting");
    Controller::new(greetings, watcher::Config::default())
        // A ConfigMap that somebody changes or deletes brings its Greeting back to us.
        .owns(maps, watcher::Config::default())
        .shutdown_on_signal()
        .run(reconcile, on_error, Arc::new(client))
        .for_each(|result| {
            match result {
                Ok((greeting, _)) => tracing::info!(%greeting, "reconciled"),
                Err(error) => tracing::warn!(%error, "not reconciled"),
            }
            std::future::ready(())
        })
        .await;
    Ok(())
}

async fn connect(context: Option<String>) -> anyhow::Result<Client> {
    let config = match context {
        Some(context) => {
            let options = KubeConfigOptions { context: Some(context), ..KubeConfigOptions::default() };
            Config::from_kubeconfig(&options).await.context("reading the kubeconfig")?
        }
        None => Config::infer().await.context("neither a kubeconfig nor a pod's ServiceAccount was found")?,
    };
    Ok(Client::try_from(config)?)
}

/// What should be, for one Greeting. Pure: this is where the controller's own idea is, and what the tests test.
fn greeting(greeting: &Greeting) -> Result<(ConfigMap, GreetingStatus), Error> {
    let owner = greeting.controller_owner_ref(&()).ok_or(Error::NotStored)?;
    let text = format!("Hello, {}!", greeting.spec.name);
    let map = ConfigMap {
        metadata: ObjectMeta {
            name: Some(format!("greeting-{}", greeting.name_any())),
            namespace: greeting.namespace(),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([("text".to_owned(), text.clone())])),
        ..ConfigMap::default()
    };
    let observed_generation = greeting.metadata.generation.unwrap_or_default();
    Ok((map, GreetingStatus { message: text, observed_generation }))
}

async fn reconcile(object: Arc<Greeting>, client: Arc<Client>) -> Result<Action, Error> {
    // The garbage collector removes what belongs to a Greeting that is on its way out.
    if object.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let namespace = object.namespace().unwrap_or_default();
    let (map, status) = greeting(&object)?;
    let maps: Api<ConfigMap> = Api::namespaced((*client).clone(), &namespace);
    maps.patch(&map.name_any(), &PatchParams::apply(MANAGER).force(), &Patch::Apply(&map)).await?;
    // A status that is right already is not written: our own write would wake us again.
    if object.status.as_ref() != Some(&status) {
        let greetings: Api<Greeting> = Api::namespaced((*client).clone(), &namespace);
        let patch = serde_json::json!({ "status": status });
        greetings.patch_status(&object.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await?;
    }
    Ok(Action::await_change())
}

fn on_error(_: Arc<Greeting>, _: &Error, _: Arc<Client>) -> Action {
    Action::requeue(Duration::from_secs(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_becomes_a_config_map_that_it_owns() {
        let mut object = Greeting::new("world", GreetingSpec { name: "World".to_owned() });
        object.metadata.namespace = Some("demo".to_owned());
        assert!(matches!(greeting(&object), Err(Error::NotStored)), "without a uid nothing can be owned");
        object.metadata.uid = Some("u-1".to_owned());
        object.metadata.generation = Some(3);
        let (map, status) = greeting(&object).expect("it is stored");
        assert_eq!(map.name_any(), "greeting-world");
        assert_eq!(map.data.as_ref().map(|data| data["text"].as_str()), Some("Hello, World!"));
        let owner = &map.metadata.owner_references.as_ref().expect("it is owned")[0];
        assert_eq!((owner.uid.as_str(), owner.controller), ("u-1", Some(true)));
        assert_eq!(status, GreetingStatus { message: "Hello, World!".to_owned(), observed_generation: 3 });
    }
}
