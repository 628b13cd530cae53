//! Claims and volumes, with the real API server, controllers and scheduler; nodes are only said to be there.

use std::path::Path;

use conformance::client::Objects;
use conformance::expect;
use conformance::fixture::Cluster;
use serde_json::{Value, json};

fn claim(name: &str, class: Option<&str>) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": { "accessModes": ["ReadWriteOnce"], "storageClassName": class,
                  "resources": { "requests": { "storage": "1Gi" } } },
    })
}

fn volume(name: &str, class: &str, policy: &str) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": { "capacity": { "storage": "2Gi" }, "accessModes": ["ReadWriteOnce"], "storageClassName": class,
                  "persistentVolumeReclaimPolicy": policy, "hostPath": { "path": "/tmp/data" } },
    })
}

fn class(name: &str, provisioner: &str, mode: &str, default: bool) -> Value {
    let annotations = json!({ "storageclass.kubernetes.io/is-default-class": default.to_string() });
    json!({ "metadata": { "name": name, "annotations": annotations }, "provisioner": provisioner, "volumeBindingMode": mode })
}

fn phase(wanted: &'static str) -> impl Fn(&Value) -> bool {
    move |object| object["status"]["phase"] == wanted
}

struct World {
    cluster: Cluster,
}

impl World {
    fn objects(&self, api_version: &str, plural: &str) -> Objects {
        Objects::new(self.cluster.api.clone(), Some("volumes"), api_version, plural)
    }

    fn everywhere(&self, api_version: &str, plural: &str) -> Objects {
        Objects::new(self.cluster.api.clone(), None, api_version, plural)
    }

    /// Waits for an Event.
    async fn told(&self, name: &str, reason: &str, message: &str) -> anyhow::Result<()> {
        let selector = format!("fieldSelector=involvedObject.name={name},reason={reason}");
        let events = self.objects("v1", "events");
        let has = |events: &[Value]| events.iter().any(|event| event["message"] == message);
        events.wait_list(&selector, message, has).await.map(drop)
    }
}

async fn made_by_hand(world: &World) -> anyhow::Result<()> {
    let (claims, volumes) =
        (world.objects("v1", "persistentvolumeclaims"), world.everywhere("v1", "persistentvolumes"));
    claims.create(&claim("plain", Some(""))).await?;
    let words = "no persistent volumes available for this claim and no storage class is set";
    world.told("plain", "FailedBinding", words).await?;
    claims.create(&claim("unknown", Some("unknown"))).await?;
    world.told("unknown", "ProvisioningFailed", "storageclass.storage.k8s.io \"unknown\" not found").await?;

    volumes.create(&volume("kept", "", "Retain")).await?;
    let bound = claims.wait("plain", "bound", phase("Bound")).await?;
    expect::at(&bound, "/spec/volumeName", "kept")?;
    expect::at(&bound, "/status/capacity/storage", "2Gi")?;
    expect::at(&bound, "/metadata/annotations/pv.kubernetes.io~1bind-completed", "yes")?;
    expect::at(&bound, "/metadata/annotations/pv.kubernetes.io~1bound-by-controller", "yes")?;
    let kept = volumes.wait("kept", "bound", phase("Bound")).await?;
    expect::at(&kept, "/spec/claimRef/name", "plain")?;
    expect::at(&kept, "/spec/claimRef/uid", bound["metadata"]["uid"].clone())?;
    claims.delete("plain").await?;
    volumes.wait("kept", "released", phase("Released")).await?;
    // Released is not free: the data of another is in it.
    claims.create(&claim("plain", Some(""))).await?;
    world.told("plain", "FailedBinding", words).await?;
    volumes.modify("kept", |volume| volume["spec"]["claimRef"] = Value::Null).await?;
    claims.wait("plain", "bound again", phase("Bound")).await?;
    volumes.delete("kept").await?;
    claims.delete("plain").await?;
    volumes.gone("kept").await?;

    volumes.create(&volume("condemned", "", "Delete")).await?;
    claims.create(&claim("brief", Some(""))).await?;
    claims.wait("brief", "bound", phase("Bound")).await?;
    claims.delete("brief").await?;
    let failed = volumes.wait("condemned", "failed", phase("Failed")).await?;
    let words = "error getting deleter volume plugin for volume \"condemned\": no deletable volume plugin matched";
    expect::at(&failed, "/status/message", words)
}

/// What `kubectl apply` of an ordinary StatefulSet has to do.
async fn made_on_demand(world: &World) -> anyhow::Result<()> {
    let (claims, volumes) =
        (world.objects("v1", "persistentvolumeclaims"), world.everywhere("v1", "persistentvolumes"));
    let pods = world.objects("v1", "pods");
    let classes = world.everywhere("storage.k8s.io/v1", "storageclasses");
    claims.create(&claim("early", None)).await?;
    classes.create(&class("standard", "knetsim.dev/local", "WaitForFirstConsumer", true)).await?;
    // A claim from before there was a default gets it, too.
    claims.wait("early", "of a class", |claim| claim["spec"]["storageClassName"] == "standard").await?;
    let words = "waiting for first consumer to be created before binding";
    world.told("early", "WaitForFirstConsumer", words).await?;

    let set = json!({
        "metadata": { "name": "db" },
        "spec": {
            "replicas": 1, "serviceName": "db", "selector": { "matchLabels": { "app": "db" } },
            "template": { "metadata": { "labels": { "app": "db" } }, "spec": { "containers": [{
                "name": "c", "image": "registry.k8s.io/pause:3.10", "volumeMounts": [{ "name": "data", "mountPath": "/data" }] }] } },
            "volumeClaimTemplates": [{ "metadata": { "name": "data" }, "spec": {
                "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } } }],
        },
    });
    world.objects("apps/v1", "statefulsets").create(&set).await?;
    let pod = pods.wait("db-0", "placed", |pod| pod["spec"]["nodeName"].is_string()).await?;
    let node = expect::text(&pod, "/spec/nodeName");
    let bound = claims.wait("data-db-0", "bound", phase("Bound")).await?;
    expect::at(&bound, "/metadata/annotations/volume.kubernetes.io~1selected-node", node)?;
    expect::at(&bound, "/metadata/annotations/volume.kubernetes.io~1storage-provisioner", "knetsim.dev/local")?;
    let name = expect::text(&bound, "/spec/volumeName").to_owned();
    world.told("data-db-0", "ProvisioningSucceeded", &format!("Successfully provisioned volume {name}")).await?;
    let made = volumes.wait(&name, "bound", phase("Bound")).await?;
    let terms = "/spec/nodeAffinity/required/nodeSelectorTerms/0/matchExpressions/0/values";
    expect::at(&made, terms, json!([node]))?;
    expect::at(&made, "/spec/persistentVolumeReclaimPolicy", "Delete")?;

    // Its next pod goes where the volume is, however often.
    pods.delete_with("db-0", &json!({ "gracePeriodSeconds": 0 })).await?;
    let other = |pod: &Value| pod["metadata"]["uid"] != bound["metadata"]["uid"] && pod["spec"]["nodeName"] == node;
    pods.wait("db-0", "back where its volume is", other).await?;

    world.objects("apps/v1", "statefulsets").delete("db").await?;
    pods.delete_with("db-0", &json!({ "gracePeriodSeconds": 0 })).await?;
    claims.delete("data-db-0").await?;
    volumes.wait(&name, "released", phase("Released")).await?;
    // The folder is the node's; nothing runs there, so we say what its kubelet would.
    let removers = Objects::new(world.cluster.api.clone(), Some("kube-system"), "v1", "pods");
    let remover = format!("delete-{name}");
    let pod = removers.wait(&remover, "there", |_| true).await?;
    expect::at(&pod, "/spec/nodeName", node)?;
    removers.modify_sub(&remover, "status", |pod| pod["status"]["phase"] = "Succeeded".into()).await?;
    volumes.gone(&name).await
}

/// A volume that lives as long as its pod; the class is that of the tests before.
async fn made_for_a_pod(world: &World) -> anyhow::Result<()> {
    let claims = world.objects("v1", "persistentvolumeclaims");
    let pods = world.objects("v1", "pods");
    // Somebody has the name already.
    claims.create(&claim("scratch-data", Some("standard"))).await?;
    let template = json!({ "metadata": { "labels": { "of": "scratch" } }, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } } });
    let pod = json!({
        "metadata": { "name": "scratch" },
        "spec": {
            "containers": [{ "name": "c", "image": "registry.k8s.io/pause:3.10" }],
            "volumes": [{ "name": "data", "ephemeral": { "volumeClaimTemplate": template } }],
        },
    });
    let pod = pods.create(&pod).await?;
    let words = "PVC volumes/scratch-data was not created for pod volumes/scratch (pod is not owner)";
    world.told("scratch", "FailedBinding", &format!("ephemeral volume data: {words}")).await?;
    let refused = |pod: &Value| {
        let message = &pod["status"]["conditions"][0]["message"];
        message.as_str().is_some_and(|text| text.contains(words))
    };
    pods.wait("scratch", "refused", refused).await?;

    claims.delete("scratch-data").await?;
    let placed = pods.wait("scratch", "placed", |pod| pod["spec"]["nodeName"].is_string()).await?;
    let bound = claims.wait("scratch-data", "bound", phase("Bound")).await?;
    expect::at(&bound, "/metadata/labels/of", "scratch")?;
    expect::at(&bound, "/metadata/ownerReferences/0/uid", pod["metadata"]["uid"].clone())?;
    let node = expect::text(&placed, "/spec/nodeName");
    expect::at(&bound, "/metadata/annotations/volume.kubernetes.io~1selected-node", node)?;

    pods.delete_with("scratch", &json!({ "gracePeriodSeconds": 0 })).await?;
    claims.gone("scratch-data").await.map(drop)
}

/// A claim asks for more, and gets it where its class allows that and somebody does it.
async fn expanded(world: &World) -> anyhow::Result<()> {
    let (claims, volumes) =
        (world.objects("v1", "persistentvolumeclaims"), world.everywhere("v1", "persistentvolumes"));
    let classes = world.everywhere("storage.k8s.io/v1", "storageclasses");
    for (name, allowed) in [("growing", true), ("fixed", false)] {
        let mut class = class(name, "knetsim.dev/local", "WaitForFirstConsumer", false);
        class["allowVolumeExpansion"] = allowed.into();
        classes.create(&class).await?;
    }
    // Whose volume is made by hand is expanded by nobody, as long as nobody comes who can.
    let ours = json!({ "pv.kubernetes.io/provisioned-by": "knetsim.dev/local" });
    for (name, class, annotations) in
        [("grows", "growing", &ours), ("by-hand", "growing", &Value::Null), ("stays", "fixed", &ours)]
    {
        let mut volume = volume(name, class, "Retain");
        volume["metadata"]["annotations"] = annotations.clone();
        volume["spec"]["claimRef"] = json!({ "namespace": "volumes", "name": name });
        volumes.create(&volume).await?;
        claims.create(&claim(name, Some(class))).await?;
        claims.wait(name, "bound", phase("Bound")).await?;
    }
    let ask = |claim: &mut Value| claim["spec"]["resources"]["requests"]["storage"] = "5Gi".into();
    let refused = claims.modify("stays", ask).await.unwrap_err().to_string();
    let words = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must \
                 support resize";
    anyhow::ensure!(refused.contains(words), "{refused}");

    claims.modify("grows", ask).await?;
    let grown = claims.wait("grows", "larger", |claim| claim["status"]["capacity"]["storage"] == "5Gi").await?;
    expect::at(&grown, "/status/conditions", Value::Null)?;
    expect::at(&grown, "/status/allocatedResourceStatuses", Value::Null)?;
    expect::at(&grown, "/status/allocatedResources/storage", "5Gi")?;
    expect::at(&grown, "/metadata/annotations/volume.kubernetes.io~1storage-resizer", "knetsim.dev/local")?;
    expect::at(&volumes.get("grows").await?, "/spec/capacity/storage", "5Gi")?;
    world.told("grows", "Resizing", "External resizer is resizing volume grows").await?;
    world.told("grows", "VolumeResizeSuccessful", "Resize volume succeeded").await?;

    claims.modify("by-hand", ask).await?;
    let words = "waiting for an external controller to expand this PVC";
    world.told("by-hand", "ExternalExpanding", words).await?;
    expect::at(&claims.get("by-hand").await?, "/status/capacity/storage", "2Gi")?;
    // Nobody has begun: it may be taken back.
    let back = |claim: &mut Value| claim["spec"]["resources"]["requests"]["storage"] = "3Gi".into();
    claims.modify("by-hand", back).await.map(drop)
}

/// Volumes on nodes' disks that somebody has made: the scheduler chooses.
async fn made_by_hand_on_a_node(world: &World) -> anyhow::Result<()> {
    let (claims, volumes) =
        (world.objects("v1", "persistentvolumeclaims"), world.everywhere("v1", "persistentvolumes"));
    let classes = world.everywhere("storage.k8s.io/v1", "storageclasses");
    classes.create(&class("disks", "kubernetes.io/no-provisioner", "WaitForFirstConsumer", false)).await?;
    let node = world.cluster.nodes.last().expect("there are nodes");
    let mut disk = volume("disk", "disks", "Retain");
    disk["spec"]["nodeAffinity"] = json!({ "required": { "nodeSelectorTerms": [
        { "matchExpressions": [{ "key": "kubernetes.io/hostname", "operator": "In", "values": [node] }] }] } });
    volumes.create(&disk).await?;
    volumes.wait("disk", "available", phase("Available")).await?;
    claims.create(&claim("disk", Some("disks"))).await?;
    let words = "waiting for first consumer to be created before binding";
    world.told("disk", "WaitForFirstConsumer", words).await?;
    let pod = |name: &str| {
        json!({
            "metadata": { "name": name },
            "spec": {
                "containers": [{ "name": "c", "image": "registry.k8s.io/pause:3.10" }],
                "volumes": [{ "name": "v", "persistentVolumeClaim": { "claimName": name } }],
            },
        })
    };
    let pods = world.objects("v1", "pods");
    pods.create(&pod("disk")).await?;
    let placed = pods.wait("disk", "placed", |pod| pod["spec"]["nodeName"].is_string()).await?;
    expect::at(&placed, "/spec/nodeName", node.as_str())?;
    expect::at(&claims.get("disk").await?, "/spec/volumeName", "disk")?;

    // There is no second.
    claims.create(&claim("more", Some("disks"))).await?;
    pods.create(&pod("more")).await?;
    let refused = |pod: &Value| {
        let message = &pod["status"]["conditions"][0]["message"];
        message.as_str().is_some_and(|text| text.contains("didn't find available persistent volumes to bind"))
    };
    pods.wait("more", "refused", refused).await.map(drop)
}

async fn check(binary: &Path) -> anyhow::Result<()> {
    let cluster = Cluster::api_only(binary).await?;
    cluster.make_namespace("volumes").await?;
    let world = World { cluster };
    made_by_hand(&world).await?;
    made_on_demand(&world).await?;
    made_for_a_pod(&world).await?;
    expanded(&world).await?;
    made_by_hand_on_a_node(&world).await
}

#[test]
fn claims_are_bound_and_their_pods_placed() {
    let binary = Path::new(env!("CARGO_BIN_EXE_knetsim-conformance"));
    if let Err(error) = runtime::block_on(check(binary)) {
        panic!("{error:#}");
    }
}
