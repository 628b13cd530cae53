//! What all controllers share: the kinds, the event recorder, the clock.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Namespace, Node, ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod,
    ReplicationController, ResourceQuota, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::api::storage::v1::{StorageClass, VolumeAttributesClass};
use k8s_openapi::jiff::Timestamp;
use kube::runtime::watcher;
use kube::{Client, Resource};
use parking_lot::RwLock;
use runtime::events::{EventType, Recorder};
use tokio::sync::watch;

use crate::framework::{Gate, Kind, Queues};

/// The ConfigMaps this process reads or writes: the cluster's authority, in every namespace …
pub const ROOT_CA_CONFIG_MAP: &str = "kube-root-ca.crt";
/// … and what machines that are to join read, in kube-public.
pub const CLUSTER_INFO: &str = "cluster-info";

macro_rules! kinds {
    ($($field:ident: $kind:ty),+ $(,)?) => {
        /// One reflector a kind, shared by all controllers.
        pub struct Kinds { $(pub $field: Arc<Kind<$kind>>),+ }

        impl Kinds {
            fn new(client: &Client) -> Self {
                Self { $($field: Kind::new(client.clone())),+ }
            }

            /// Resolves when every kind has been listed once. Before that, nothing may be concluded from absence.
            pub async fn synced(&self) {
                $(self.$field.synced().await;)+
            }
        }
    };
}

kinds! {
    pods: Pod,
    nodes: Node,
    namespaces: Namespace,
    services: Service,
    endpoints: Endpoints,
    slices: EndpointSlice,
    service_accounts: ServiceAccount,
    config_maps: ConfigMap,
    claims: PersistentVolumeClaim,
    leases: Lease,
    deployments: Deployment,
    replica_sets: ReplicaSet,
    replication_controllers: ReplicationController,
    daemon_sets: DaemonSet,
    stateful_sets: StatefulSet,
    revisions: ControllerRevision,
    jobs: Job,
    cron_jobs: CronJob,
    budgets: PodDisruptionBudget,
    cluster_roles: ClusterRole,
    signing_requests: CertificateSigningRequest,
    quotas: ResourceQuota,
    volumes: PersistentVolume,
    attributes_classes: VolumeAttributesClass,
    storage_classes: StorageClass,
    cluster_info: ConfigMap,
    bootstrap_tokens: Secret,
    account_tokens: Secret,
    service_cidrs: ServiceCIDR,
    ip_addresses: IPAddress,
    autoscalers: HorizontalPodAutoscaler,
}

/// An object of any kind that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    pub group: String,
    pub plural: String,
    pub namespace: String,
}

type OnRemoved = Box<dyn Fn(&Removed) + Send + Sync>;

pub struct Context {
    pub client: Client,
    pub kinds: Kinds,
    removals: RwLock<Vec<OnRemoved>>,
    clock: fn() -> Timestamp,
    listed: watch::Sender<bool>,
    pub queues: Queues,
}

impl Context {
    pub fn new(client: Client, clock: fn() -> Timestamp) -> Arc<Self> {
        Arc::new(Self {
            kinds: Kinds::new(&client),
            client,
            removals: RwLock::default(),
            clock,
            listed: watch::Sender::new(false),
            queues: Queues::default(),
        })
    }

    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Calls `handler` when an object of any kind is gone. The garbage collector, who watches them all, tells.
    pub fn on_removed(&self, handler: impl Fn(&Removed) + Send + Sync + 'static) {
        self.removals.write().push(Box::new(handler));
    }

    /// Tells that an object is gone.
    pub fn removed(&self, removed: &Removed) {
        self.removals.read().iter().for_each(|handler| handler(removed));
    }

    /// An event recorder that speaks as `component`, for upstream's controllers each have a name of their own.
    pub fn recorder(&self, component: &str) -> Arc<Recorder> {
        Arc::new(Recorder::new(self.client.clone(), component, None))
    }

    /// What [`drive`](crate::framework::drive) waits for.
    pub fn gate(&self) -> Gate {
        Gate { listed: self.listed.subscribe(), queues: self.queues.clone() }
    }

    /// Starts all watches. Handlers must be registered before.
    pub fn watch(self: &Arc<Self>) {
        let all = watcher::Config::default;
        let kinds = &self.kinds;
        kinds.pods.watch(all());
        kinds.nodes.watch(all());
        kinds.namespaces.watch(all());
        kinds.services.watch(all());
        kinds.endpoints.watch(all());
        kinds.slices.watch(all());
        kinds.service_accounts.watch(all());
        kinds.config_maps.watch(all().fields(&format!("metadata.name={ROOT_CA_CONFIG_MAP}")));
        kinds.claims.watch(all());
        kinds.leases.watch(all());
        kinds.deployments.watch(all());
        kinds.replica_sets.watch(all());
        kinds.replication_controllers.watch(all());
        kinds.daemon_sets.watch(all());
        kinds.stateful_sets.watch(all());
        kinds.revisions.watch(all());
        kinds.jobs.watch(all());
        kinds.cron_jobs.watch(all());
        kinds.budgets.watch(all());
        kinds.cluster_roles.watch(all());
        kinds.signing_requests.watch(all());
        kinds.quotas.watch(all());
        kinds.volumes.watch(all());
        kinds.attributes_classes.watch(all());
        kinds.storage_classes.watch(all());
        let info = format!("metadata.name={CLUSTER_INFO},metadata.namespace=kube-public");
        kinds.cluster_info.watch(all().fields(&info));
        let tokens = format!("type={}", crate::bootstrap::SECRET_TYPE);
        kinds.bootstrap_tokens.watch(all().fields(&tokens));
        let tokens = format!("type={}", auth::serviceaccount::SECRET_TYPE);
        kinds.account_tokens.watch(all().fields(&tokens));
        kinds.service_cidrs.watch(all());
        kinds.ip_addresses.watch(all());
        kinds.autoscalers.watch(all());
        let this = self.clone();
        tokio::spawn(async move {
            this.kinds.synced().await;
            this.listed.send_replace(true);
            tracing::info!("all kinds listed, controllers start");
        });
    }
}

/// Writes an Event without making its cause wait for it.
pub fn tell(recorder: &Arc<Recorder>, object: ObjectReference, kind: EventType, reason: &'static str, message: String) {
    let recorder = recorder.clone();
    tokio::spawn(async move { recorder.record(&object, kind, reason, &message).await });
}

/// Shorthand for [`Recorder::reference`].
pub fn reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    Recorder::reference(object)
}
