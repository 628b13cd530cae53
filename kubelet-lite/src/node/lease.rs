//! The node's heartbeat: its Lease in `kube-node-lease`, renewed every quarter of its duration (KEP-589).

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node as NodeObject;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};

/// Upstream's `nodeLeaseDurationSeconds`.
const DURATION_SECONDS: i32 = 40;
/// How often it is renewed.
const PERIOD: Duration = Duration::from_secs(10);

/// Renews the Lease for ever; a failure is logged and the next turn tries again.
pub async fn renew(client: Client, node: NodeObject) {
    let api: Api<Lease> = Api::namespaced(client, "kube-node-lease");
    let name = node.name_any();
    let mut turns = tokio::time::interval(PERIOD);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        // A request that hangs (the network is cut) must not keep the next one from being made.
        match tokio::time::timeout(PERIOD, once(&api, &name, &node)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the node's lease is not renewed"),
            Err(_) => tracing::warn!("the node's lease is not renewed: the API server does not answer"),
        }
    }
}

async fn once(api: &Api<Lease>, name: &str, node: &NodeObject) -> kube::Result<()> {
    let now = MicroTime(Timestamp::now());
    let renewal = serde_json::json!({ "spec": { "renewTime": now } });
    match api.patch(name, &PatchParams::default(), &Patch::Merge(renewal)).await {
        Ok(_) => return Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => return Err(error),
    }
    let owner = OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: name.to_owned(),
        uid: node.uid().unwrap_or_default(),
        ..Default::default()
    };
    let lease = Lease {
        metadata: ObjectMeta { name: Some(name.to_owned()), owner_references: Some(vec![owner]), ..Default::default() },
        spec: Some(LeaseSpec {
            holder_identity: Some(name.to_owned()),
            lease_duration_seconds: Some(DURATION_SECONDS),
            renew_time: Some(now),
            ..Default::default()
        }),
    };
    api.create(&PostParams::default(), &lease).await.map(drop)
}
