//! Rollouts played through: the plan is carried out on plain values until nothing changes.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetStatus};
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use super::plan::{Action, Plan, plan};
use super::revision::{DESIRED, REVISION};
use super::rolling::{Limits, Size, new_size, old_sizes};
use super::scale::{Part, proportional};
use crate::framework::meta::annotation;

fn deployment(replicas: i32, image: &str) -> Deployment {
    serde_json::from_value(json!({
        "metadata": { "name": "web", "namespace": "default", "uid": "d", "generation": 1 },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": "web" } },
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": "25%", "maxUnavailable": "25%" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "web", "image": image }] },
            },
        },
    }))
    .unwrap()
}

/// A Deployment and its ReplicaSets, in a world where pods become available as told.
struct World {
    deployment: Deployment,
    sets: Vec<Arc<ReplicaSet>>,
    now: i64,
}

impl World {
    fn new(deployment: Deployment) -> Self {
        Self { deployment, sets: Vec::new(), now: 1000 }
    }

    fn step(&mut self) -> Plan {
        let plan = plan(&self.deployment, &self.sets, false, Timestamp::from_second(self.now).unwrap());
        for action in &plan.actions {
            match action {
                Action::Create(set) => {
                    let mut set = (**set).clone();
                    set.metadata.uid = set.metadata.name.clone();
                    set.metadata.creation_timestamp =
                        Some(crate::framework::meta::to_seconds(Timestamp::from_second(self.now).unwrap()));
                    self.sets.push(Arc::new(set));
                }
                Action::Update { new, .. } => {
                    let at = self.sets.iter().position(|set| set.metadata.uid == new.metadata.uid).unwrap();
                    self.sets[at] = Arc::new((**new).clone());
                }
                Action::Delete(set) => self.sets.retain(|known| known.metadata.uid != set.metadata.uid),
                Action::Annotate(deployment) => self.deployment = (**deployment).clone(),
            }
        }
        self.deployment.status = Some(plan.status.clone());
        plan
    }

    /// All wanted pods of all sets exist and are available.
    fn pods_follow(&mut self) {
        for set in &mut self.sets {
            let wanted = Size::of(set).wanted;
            Arc::make_mut(set).status = Some(ReplicaSetStatus {
                replicas: wanted,
                ready_replicas: Some(wanted),
                available_replicas: Some(wanted),
                ..Default::default()
            });
        }
    }

    fn sizes(&self) -> Vec<i32> {
        self.sets.iter().map(|set| Size::of(set).wanted).collect()
    }

    /// Steps until the plan is empty, checking the limits at each one.
    fn settle(&mut self) {
        for _ in 0..50 {
            self.now += 1;
            let before = self.deployment.status.clone();
            let done = self.step().actions.is_empty() && self.deployment.status == before;
            let limits = Limits::of(&self.deployment);
            assert!(self.sizes().iter().sum::<i32>() <= limits.maximum(), "{:?}", self.sizes());
            let available: i32 = self.sets.iter().map(|set| Size::of(set).available.min(Size::of(set).wanted)).sum();
            if self.sets.len() > 1 {
                assert!(available >= limits.minimum_available(), "{available} available");
            }
            self.pods_follow();
            if done {
                return;
            }
        }
        panic!("the rollout never ends: {:?}", self.sizes());
    }

    fn reason(&self) -> String {
        let conditions = self.deployment.status.clone().unwrap().conditions.unwrap();
        conditions.iter().find(|c| c.type_ == "Progressing").unwrap().reason.clone().unwrap()
    }
}

#[test]
fn a_new_deployment_makes_one_set_of_full_size() {
    let mut world = World::new(deployment(3, "nginx:1"));
    let plan = world.step();
    assert!(matches!(plan.actions[..], [Action::Create(_), Action::Annotate(_)]), "{:?}", plan.actions);
    assert_eq!(world.sizes(), [3]);
    assert_eq!(world.reason(), "NewReplicaSetCreated");
    assert_eq!(annotation(&world.deployment.metadata, REVISION), Some("1"));
    assert_eq!(annotation(&world.sets[0].metadata, DESIRED), Some("3"));
    world.settle();
    assert_eq!(world.reason(), "NewReplicaSetAvailable");
    assert!(world.step().actions.is_empty());
}

#[test]
fn a_rollout_replaces_all_pods_within_its_limits_and_can_be_undone() {
    let mut world = World::new(deployment(4, "nginx:1"));
    world.settle();
    world.deployment.spec = deployment(4, "nginx:2").spec;
    world.settle();
    assert_eq!(world.sizes(), [0, 4]);
    assert_eq!(annotation(&world.deployment.metadata, REVISION), Some("2"));
    world.deployment.spec = deployment(4, "nginx:1").spec;
    world.settle();
    assert_eq!(world.sizes(), [4, 0], "the old set is used again");
    assert_eq!(annotation(&world.deployment.metadata, REVISION), Some("3"));
    assert_eq!(annotation(&world.sets[0].metadata, "deployment.kubernetes.io/revision-history"), Some("1"));
}

#[test]
fn recreate_stops_all_before_it_starts_any() {
    let recreate = |image| {
        let mut deployment = deployment(2, image);
        deployment.spec.as_mut().unwrap().strategy = serde_json::from_value(json!({ "type": "Recreate" })).unwrap();
        deployment
    };
    let mut world = World::new(recreate("nginx:1"));
    world.step();
    world.pods_follow();
    world.deployment.spec = recreate("nginx:2").spec;
    world.step();
    assert_eq!(world.sizes(), [0]);
    world.pods_follow();
    assert!(plan(&world.deployment, &world.sets, true, Timestamp::UNIX_EPOCH).actions.is_empty(), "old pods still run");
    world.step();
    assert_eq!(world.sizes(), [0, 2]);
}

#[test]
fn scaling_and_pausing() {
    let mut world = World::new(deployment(3, "nginx:1"));
    world.settle();
    world.deployment.spec.as_mut().unwrap().replicas = Some(5);
    world.settle();
    assert_eq!(world.sizes(), [5]);
    world.deployment.spec = deployment(5, "nginx:2").spec;
    world.deployment.spec.as_mut().unwrap().paused = Some(true);
    world.settle();
    assert_eq!(world.sizes(), [5], "nothing is rolled out while paused");
    assert_eq!(world.reason(), "DeploymentPaused");
    world.deployment.spec.as_mut().unwrap().paused = Some(false);
    world.settle();
    assert_eq!(world.sizes(), [0, 5]);
}

#[test]
fn scaling_to_zero_and_back() {
    let mut world = World::new(deployment(3, "nginx:1"));
    world.settle();
    for size in [0, 2, 0, 1] {
        world.deployment.spec.as_mut().unwrap().replicas = Some(size);
        world.settle();
        assert_eq!(world.sizes(), [size]);
    }
}

#[test]
fn history_is_kept_to_its_limit() {
    let mut world = World::new(deployment(1, "nginx:0"));
    for version in 0..5 {
        world.deployment.spec = deployment(1, &format!("nginx:{version}")).spec;
        world.deployment.spec.as_mut().unwrap().revision_history_limit = Some(2);
        world.settle();
    }
    assert_eq!(world.sizes(), [0, 0, 1]);
}

#[test]
fn a_rollout_that_does_not_move_times_out() {
    let mut world = World::new(deployment(1, "nginx:1"));
    world.step();
    let plan = world.step();
    assert!(plan.deadline_in.is_some());
    world.now += 601;
    let plan = world.step();
    assert_eq!(world.reason(), "ProgressDeadlineExceeded");
    assert_eq!(plan.deadline_in, None);
}

#[test]
fn limits_hold_when_pods_are_not_available() {
    let limits = Limits { desired: 10, max_surge: 3, max_unavailable: 2 };
    // New pods that never become available must not cost old ones.
    let (new, old) = (Size { wanted: 3, available: 0 }, [Size { wanted: 10, available: 10 }]);
    assert_eq!(old_sizes(limits, new, &old), [8]);
    assert_eq!(old_sizes(limits, Size { wanted: 5, available: 0 }, &[Size { wanted: 8, available: 8 }]), [8]);
    // Unavailable old ones go first.
    let old = [Size { wanted: 5, available: 0 }, Size { wanted: 5, available: 5 }];
    assert_eq!(old_sizes(limits, Size { wanted: 0, available: 0 }, &old), [3, 5]);
    assert_eq!(new_size(limits, 0, 10), 3);
    assert_eq!(new_size(limits, 12, 12), 10);
}

#[test]
fn scaling_a_rollout_is_shared_in_proportion() {
    let limits = Limits { desired: 15, max_surge: 3, max_unavailable: 2 };
    // The example of the Deployment documentation: 8 and 5 of 10+3, scaled to 15+3.
    let parts = [Part { size: 8, whole_then: Some(13) }, Part { size: 5, whole_then: Some(13) }];
    assert_eq!(proportional(limits, 13, &parts), [11, 7]);
    let none = Limits { desired: 0, max_surge: 0, max_unavailable: 0 };
    assert_eq!(proportional(none, 13, &parts), [0, 0]);
}
