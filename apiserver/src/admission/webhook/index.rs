//! The webhooks there are, kept by watching their configurations.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::hook::Hook;
use crate::app::App;
use crate::http::status::ApiResult;
use crate::registry::follow::{self, Step};

const GROUP: &str = "admissionregistration.k8s.io";

type Hooks = Arc<Vec<Arc<Hook>>>;

/// All hooks in the order they are asked: by the names of their configurations.
#[derive(Default)]
pub struct Index {
    mutating: Half,
    validating: Half,
}

#[derive(Default)]
struct Half {
    by_configuration: Mutex<BTreeMap<String, Vec<Arc<Hook>>>>,
    all: ArcSwap<Vec<Arc<Hook>>>,
}

impl Index {
    pub fn mutating(&self) -> Hooks {
        self.mutating.all.load_full()
    }

    pub fn validating(&self) -> Hooks {
        self.validating.all.load_full()
    }
}

impl Half {
    fn apply(&self, step: &Step<'_>) {
        let mut configurations = self.by_configuration.lock();
        match step {
            Step::Restart => configurations.clear(),
            Step::Gone(object) => {
                configurations.remove(object.name());
            }
            Step::Now(object) => match serde_json::from_slice(object.bytes()) {
                Ok(value) => {
                    let hooks = Hook::parse_all(&value).into_iter().map(Arc::new).collect();
                    configurations.insert(object.name().to_owned(), hooks);
                }
                Err(error) => tracing::error!(%error, name = object.name(), "a webhook configuration cannot be read"),
            },
            Step::Settled => {
                self.all.store(Arc::new(configurations.values().flatten().cloned().collect()));
            }
        }
    }
}

/// Reads the configurations and follows them from then on.
///
/// # Errors
/// They cannot be read.
pub async fn follow(app: &Arc<App>) -> ApiResult<()> {
    follow::follow(app, GROUP, "mutatingwebhookconfigurations", |app, step| app.webhooks.mutating.apply(&step)).await?;
    follow::follow(app, GROUP, "validatingwebhookconfigurations", |app, step| app.webhooks.validating.apply(&step))
        .await
}
