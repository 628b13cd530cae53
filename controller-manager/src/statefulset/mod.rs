//! StatefulSets: pods with a name, an order and storage of their own (upstream `pkg/controller/statefulset`).
//!
//! [`plan`] says what comes next, [`pod`] how a pod looks, [`claims`] who its storage belongs to; this file carries it out.

mod claims;
mod plan;
mod pod;

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use runtime::events::{EventType, Recorder};
use serde_json::json;

use crate::context::{Context, reference, tell};
use crate::framework::history::{self, History};
use crate::framework::meta::{is_deleting, key_of, selects};
use crate::framework::{ApiError, Controller, Outcome, Queue, claim, drive, pods, queue_owners};
use plan::{Plan, Revisions};

/// Carried by revisions, as upstream's are.
const HASH_LABEL: &str = "controller.kubernetes.io/hash";
/// How soon to look again for a claim that is on its way out; its pod cannot be made before.
const CLAIM_RETRY: Duration = Duration::from_secs(1);

struct StatefulSets {
    context: Arc<Context>,
    recorder: Arc<Recorder>,
}

pub fn start(context: &Arc<Context>) {
    let queue = Arc::new(Queue::default());
    let kinds = &context.kinds;
    let on_set = queue.clone();
    kinds.stateful_sets.on_change(move |change| on_set.add(key_of(&change.object().metadata)));
    queue_owners(&kinds.pods, &kinds.stateful_sets, &queue, |set, labels| {
        selects(set.spec.as_ref().map(|spec| &spec.selector), labels)
    });
    let recorder = context.recorder(StatefulSets::NAME);
    drive(&context.gate(), &Arc::new(StatefulSets { context: context.clone(), recorder }), &queue, 5);
}

impl Controller for StatefulSets {
    const NAME: &'static str = "statefulset-controller";

    async fn sync(&self, key: &str) -> Outcome {
        let kinds = &self.context.kinds;
        let Some(set) = kinds.stateful_sets.get(key) else { return Ok(None) };
        let Some(spec) = &set.spec else { return Ok(None) };
        if is_deleting(&set.metadata) {
            return Ok(None);
        }
        let history = match self.history(&set).await {
            Err(error) if error.namespace_terminating() => return Ok(None),
            other => other?,
        };
        let owned = claim(&kinds.pods, &*set, &spec.selector).await?;
        let revisions = self.revisions(&set, &history);
        let now = self.context.now();
        let plan = plan::plan(&set, &owned, &revisions, now);
        let outcome = self.carry_out(&set, &plan, &owned, &revisions).await;
        let mut wanted = (*set).clone();
        wanted.status = Some(plan.status);
        kinds.stateful_sets.update_status(&set, &wanted).await?;
        let again = outcome?;
        let limit = spec.revision_history_limit.unwrap_or(10);
        history::truncate(&kinds.revisions, &history, limit, |revision| {
            revision.metadata.uid == revisions.current.metadata.uid
                || owned.iter().any(|pod| Some(pod::revision_of(pod)) == revision.metadata.name.as_deref())
        })
        .await?;
        let wait = spec.min_ready_seconds.unwrap_or(0);
        Ok(owned.iter().filter_map(|pod| pods::available_in(pod, wait, now)).chain(again).min())
    }
}

impl StatefulSets {
    async fn history(&self, set: &Arc<StatefulSet>) -> Result<History, kube::Error> {
        let kinds = &self.context.kinds;
        let spec = set.spec.clone().unwrap_or_default();
        let collisions = set.status.as_ref().and_then(|status| status.collision_count).filter(|count| *count > 0);
        let found =
            history::sync(&kinds.revisions, &**set, &spec.selector, &spec.template, HASH_LABEL, collisions).await;
        if let Err(error) = &found
            && error.already_exists()
        {
            let mut wanted = (**set).clone();
            wanted.status.get_or_insert_default().collision_count = Some(collisions.unwrap_or(0) + 1);
            kinds.stateful_sets.update_status(set, &wanted).await?;
        }
        found
    }

    /// Without a known current revision (a new set, or one forgotten) there is nothing to update from.
    fn revisions(&self, set: &StatefulSet, history: &History) -> Revisions {
        let name = set.status.as_ref().and_then(|status| status.current_revision.as_deref());
        let known = |revision: &&Arc<ControllerRevision>| name.is_some() && revision.metadata.name.as_deref() == name;
        let current = history.all.iter().find(known).unwrap_or(&history.current).clone();
        Revisions { current, update: history.current.clone() }
    }

    async fn carry_out(
        &self,
        set: &StatefulSet,
        plan: &Plan,
        owned: &[Arc<Pod>],
        revisions: &Revisions,
    ) -> Result<Option<Duration>, kube::Error> {
        for pod in &plan.recreate {
            let (reason, how) = match pods::phase(pod) {
                "Failed" => ("RecreatingFailedPod", "failed"),
                _ => ("RecreatingTerminatedPod", "terminated"),
            };
            let set_name = key_of(&set.metadata);
            let message = format!("StatefulSet {set_name} is recreating {how} Pod {}", pod.name_any());
            tell(&self.recorder, reference(set), EventType::Warning, reason, message);
        }
        self.keep_claims(set, owned).await?;
        let doomed = plan.recreate.iter().chain(&plan.delete);
        let deletions = join_all(doomed.map(|pod| self.delete(set, pod))).await;
        let creations = join_all(plan.create.iter().map(|(ordinal, current)| {
            self.create(set, *ordinal, if *current { &revisions.current } else { &revisions.update })
        }))
        .await;
        deletions.into_iter().collect::<Result<(), _>>()?;
        let made = creations.into_iter().collect::<Result<Vec<bool>, _>>()?;
        Ok(made.contains(&false).then_some(CLAIM_RETRY))
    }

    /// Makes the claims, then the pod. Says whether it did: a claim being deleted has to be gone first.
    async fn create(
        &self,
        set: &StatefulSet,
        ordinal: i32,
        revision: &Arc<ControllerRevision>,
    ) -> Result<bool, kube::Error> {
        let pod = pod::pod_for(set, ordinal, revision);
        for (_, wanted) in pod::claims_for(set, ordinal) {
            let known = self.context.kinds.claims.get(&key_of(&wanted.metadata));
            match known {
                Some(claim) if is_deleting(&claim.metadata) => return Ok(false),
                Some(_) => {}
                None => self.create_claim(set, ordinal, wanted, &pod).await?,
            }
        }
        let result = self.context.kinds.pods.create(&pod).await;
        self.report(set, "create", &pod, result.as_ref().err());
        match result {
            Err(error) if error.namespace_terminating() => Ok(true),
            other => other.map(|_| true),
        }
    }

    async fn create_claim(
        &self,
        set: &StatefulSet,
        ordinal: i32,
        mut wanted: PersistentVolumeClaim,
        pod: &Pod,
    ) -> Result<(), kube::Error> {
        wanted.metadata.owner_references =
            claims::owners(set, ordinal, None, &wanted).filter(|owners| !owners.is_empty());
        let result = self.context.kinds.claims.create(&wanted).await;
        let (claim, pod, set_name) = (wanted.name_any(), pod.name_any(), set.name_any());
        match result {
            Ok(_) => {
                let message = format!("create Claim {claim} Pod {pod} in StatefulSet {set_name} success");
                tell(&self.recorder, reference(set), EventType::Normal, "SuccessfulCreate", message);
                Ok(())
            }
            Err(error) if error.already_exists() => Ok(()),
            Err(error) => {
                let message =
                    format!("create Claim {claim} for Pod {pod} in StatefulSet {set_name} failed error: {error}");
                tell(&self.recorder, reference(set), EventType::Warning, "FailedCreate", message);
                Err(error)
            }
        }
    }

    /// Brings the owners of all claims in line with the retention policy, before any pod is deleted.
    async fn keep_claims(&self, set: &StatefulSet, owned: &[Arc<Pod>]) -> Result<(), kube::Error> {
        let kind = &self.context.kinds.claims;
        for pod in owned {
            let Some(ordinal) = pod::ordinal_of(set, pod) else { continue };
            for (_, wanted) in pod::claims_for(set, ordinal) {
                let Some(claim) = kind.get(&key_of(&wanted.metadata)) else { continue };
                let Some(owners) = claims::owners(set, ordinal, Some(pod), &claim) else { continue };
                if owners != claim.owner_references() {
                    let version = &claim.metadata.resource_version;
                    let patch = json!({ "metadata": { "ownerReferences": owners, "resourceVersion": version } });
                    kind.merge(&claim.metadata, None, &patch).await?;
                }
            }
        }
        Ok(())
    }

    async fn delete(&self, set: &StatefulSet, pod: &Pod) -> Result<(), kube::Error> {
        let result = self.context.kinds.pods.delete(&pod.metadata, None).await;
        self.report(set, "delete", pod, result.as_ref().err());
        result
    }

    fn report(&self, set: &StatefulSet, verb: &str, pod: &Pod, error: Option<&kube::Error>) {
        let what = format!("{verb} Pod {} in StatefulSet {}", pod.name_any(), set.name_any());
        let (kind, reason, message) = match (verb, error) {
            ("delete", None) => (EventType::Normal, "SuccessfulDelete", format!("{what} successful")),
            (_, None) => (EventType::Normal, "SuccessfulCreate", format!("{what} successful")),
            ("delete", Some(error)) => (EventType::Warning, "FailedDelete", format!("{what} failed error: {error}")),
            (_, Some(error)) => (EventType::Warning, "FailedCreate", format!("{what} failed error: {error}")),
        };
        tell(&self.recorder, reference(set), kind, reason, message);
    }
}
