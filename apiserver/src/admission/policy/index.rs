//! The policies that have bindings, kept by watching both.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde_json::Value;

use super::{Binding, Definition, checking};
use crate::app::App;
use crate::http::status::ApiResult;
use crate::registry::follow::{self, Step};

const GROUP: &str = "admissionregistration.k8s.io";
const VALIDATING: &str = "validatingadmissionpolicies";

/// A policy and its bindings, by name.
pub struct Bound {
    pub definition: Arc<Definition>,
    pub bindings: Vec<Arc<Binding>>,
}

type All = Arc<Vec<Bound>>;

#[derive(Default)]
pub struct Index {
    validating: Half,
    mutating: Half,
}

#[derive(Default)]
struct Half {
    known: Mutex<Known>,
    bound: ArcSwap<Vec<Bound>>,
}

#[derive(Default)]
struct Known {
    definitions: BTreeMap<String, Arc<Definition>>,
    bindings: BTreeMap<String, Arc<Binding>>,
}

impl Index {
    pub fn validating(&self) -> All {
        self.validating.bound.load_full()
    }

    pub fn mutating(&self) -> All {
        self.mutating.bound.load_full()
    }
}

/// Keeps a map of what is watched; whether there is something new to publish.
fn keep<T>(map: &mut BTreeMap<String, Arc<T>>, step: &Step<'_>, parse: impl Fn(&Value) -> T) -> bool {
    match step {
        Step::Restart => map.clear(),
        Step::Gone(object) => {
            map.remove(object.name());
        }
        Step::Now(object) => match serde_json::from_slice(object.bytes()) {
            Ok(value) => {
                map.insert(object.name().to_owned(), Arc::new(parse(&value)));
            }
            Err(error) => tracing::error!(%error, name = object.name(), "an admission policy cannot be read"),
        },
        Step::Settled => return true,
    }
    false
}

impl Half {
    fn definition(&self, step: &Step<'_>, parse: impl Fn(&Value) -> Definition) {
        let mut known = self.known.lock();
        if keep(&mut known.definitions, step, parse) {
            self.publish(&known);
        }
    }

    fn binding(&self, step: &Step<'_>) {
        let mut known = self.known.lock();
        if keep(&mut known.bindings, step, Binding::parse) {
            self.publish(&known);
        }
    }

    fn publish(&self, known: &Known) {
        let bound = known.definitions.iter().filter_map(|(name, definition)| {
            let bindings: Vec<_> = known.bindings.values().filter(|binding| binding.policy == *name).cloned().collect();
            (!bindings.is_empty()).then(|| Bound { definition: definition.clone(), bindings })
        });
        self.bound.store(Arc::new(bound.collect()));
    }
}

/// Has a policy's types checked, if they are not.
fn check(app: &Arc<App>, step: &Step<'_>) {
    let Step::Now(object) = step else { return };
    if !serde_json::from_slice(object.bytes()).is_ok_and(|policy: Value| checking::is_due(&policy)) {
        return;
    }
    let (app, name) = (app.clone(), object.name().to_owned());
    tokio::spawn(async move {
        if let Err(error) = checking::check(&app, GROUP, VALIDATING, &name).await {
            tracing::warn!(%error, name, "the status of an admission policy cannot be written");
        }
    });
}

/// Reads policies and bindings and follows them from then on.
///
/// # Errors
/// They cannot be read.
pub async fn follow(app: &Arc<App>) -> ApiResult<()> {
    follow::follow(app, GROUP, VALIDATING, |app, step| {
        check(app, &step);
        app.policies.validating.definition(&step, Definition::validating);
    })
    .await?;
    follow::follow(app, GROUP, "validatingadmissionpolicybindings", |app, step| app.policies.validating.binding(&step))
        .await?;
    follow::follow(app, GROUP, "mutatingadmissionpolicies", |app, step| {
        app.policies.mutating.definition(&step, Definition::mutating);
    })
    .await?;
    follow::follow(app, GROUP, "mutatingadmissionpolicybindings", |app, step| app.policies.mutating.binding(&step))
        .await
}
