//! Pod InPlace Resize: other resources for containers that run, there and back.

use serde_json::{Value, json};

use crate::client::Patch;
use crate::pods::{self, container, pod};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Pods;
    "[sig-node] Pod InPlace Resize Container burstable pods - extended 6 containers - various operations performed (including adding limits and requests) [MinimumKubeletVersion:1.34] [Conformance]" => |t| there_and_back(t, BURSTABLE),
    "[sig-node] Pod InPlace Resize Container burstable pods - extended resize with equivalents [MinimumKubeletVersion:1.34] [Conformance]" => |t| there_and_back(t, EQUIVALENTS),
    "[sig-node] Pod InPlace Resize Container guaranteed pods with multiple containers 3 containers - increase cpu & mem on c1, c2, decrease cpu & mem on c3 - net increase [MinimumKubeletVersion:1.34] [Conformance]" => |t| there_and_back(t, NET_INCREASE),
    "[sig-node] Pod InPlace Resize Container guaranteed pods with multiple containers 3 containers - increase cpu & mem on c1, decrease cpu & mem on c2, c3 - net decrease [MinimumKubeletVersion:1.34] [Conformance]" => |t| there_and_back(t, NET_DECREASE),
    "[sig-node] Pod InPlace Resize Container guaranteed pods with multiple containers 3 containers - increase: CPU (c1,c3), memory (c2, c3) ; decrease: CPU (c2) [MinimumKubeletVersion:1.34] [Conformance]" => |t| there_and_back(t, MIXED),
    "[sig-node] Pod InPlace Resize Container resize pod via the replace endpoint [MinimumKubeletVersion:1.34] [Conformance]" => replaced,
}

/// Requests and limits of a container, CPU and memory each; empty where there are none.
struct Amounts {
    requests: (&'static str, &'static str),
    limits: (&'static str, &'static str),
}

/// What a container has and what it is to have.
type Change = (Amounts, Amounts);

const fn burstable(requests: (&'static str, &'static str), limits: (&'static str, &'static str)) -> Amounts {
    Amounts { requests, limits }
}

const fn guaranteed(cpu: &'static str, memory: &'static str) -> Amounts {
    Amounts { requests: (cpu, memory), limits: (cpu, memory) }
}

const NET_INCREASE: &[Change] = &[
    (guaranteed("20m", "35Mi"), guaranteed("25m", "40Mi")),
    (guaranteed("22m", "37Mi"), guaranteed("27m", "42Mi")),
    (guaranteed("24m", "39Mi"), guaranteed("19m", "34Mi")),
];
const NET_DECREASE: &[Change] = &[
    (guaranteed("20m", "35Mi"), guaranteed("25m", "40Mi")),
    (guaranteed("22m", "37Mi"), guaranteed("17m", "32Mi")),
    (guaranteed("24m", "39Mi"), guaranteed("19m", "34Mi")),
];
const MIXED: &[Change] = &[
    (guaranteed("20m", "35Mi"), guaranteed("25m", "35Mi")),
    (guaranteed("22m", "37Mi"), guaranteed("17m", "42Mi")),
    (guaranteed("24m", "39Mi"), guaranteed("29m", "44Mi")),
];
/// What is added cannot be taken away: those changes are not undone.
const BURSTABLE: &[Change] = &[
    (burstable(("20m", ""), ("", "")), burstable(("25m", ""), ("35m", ""))),
    (burstable(("", "35Mi"), ("", "")), burstable(("", "30Mi"), ("", "50Mi"))),
    (burstable(("20m", "35Mi"), ("", "")), burstable(("20m", "30Mi"), ("", ""))),
    (burstable(("20m", ""), ("", "")), burstable(("15m", "35Mi"), ("", ""))),
    (burstable(("", "35Mi"), ("", "")), burstable(("20m", "40Mi"), ("", ""))),
    (burstable(("20m", "35Mi"), ("30m", "45Mi")), burstable(("25m", "30Mi"), ("35m", "40Mi"))),
];
/// Below what the kernel tells apart.
const EQUIVALENTS: &[Change] = &[(burstable(("2m", ""), ("5m", "")), burstable(("1m", ""), ("4m", "")))];

fn resources(amounts: &Amounts) -> Value {
    let list = |(cpu, memory): (&str, &str)| {
        let pairs = [("cpu", cpu), ("memory", memory)].into_iter().filter(|(_, amount)| !amount.is_empty());
        pairs.map(|(name, amount)| (name.to_owned(), Value::from(amount))).collect::<serde_json::Map<_, _>>()
    };
    let lists = [("requests", list(amounts.requests)), ("limits", list(amounts.limits))];
    let given = lists.into_iter().filter(|(_, list)| !list.is_empty());
    Value::Object(given.map(|(name, list)| (name.to_owned(), Value::Object(list))).collect())
}

fn containers(changes: &[Change], which: impl Fn(&Change) -> &Amounts) -> Vec<Value> {
    let make = |(index, change): (usize, &Change)| {
        let mut one = container(&format!("c{}", index + 1), "trap 'exit 0' TERM; while true; do sleep 1; done");
        one["resources"] = resources(which(change));
        one
    };
    changes.iter().enumerate().map(make).collect()
}

/// The spec says so, the status says so, and nobody was restarted for it.
async fn settled(t: &Test, wanted: &[Value]) -> anyhow::Result<()> {
    let is = |pod: &Value| {
        let conditions = pod["status"]["conditions"].as_array();
        let resizing = |c: &&Value| matches!(expect::text(c, "/type"), "PodResizePending" | "PodResizeInProgress");
        let have = pod["status"]["containerStatuses"].as_array().map(Vec::as_slice).unwrap_or_default();
        pod["status"]["observedGeneration"] == pod["metadata"]["generation"]
            && conditions.into_iter().flatten().find(resizing).is_none()
            && have.len() == wanted.len()
            && have.iter().zip(wanted).all(|(status, container)| {
                status["resources"] == container["resources"]
                    && status["allocatedResources"] == container["resources"]["requests"]
                    && status["restartCount"] == 0
            })
    };
    let pod = t.objects("v1", "pods").wait("resized", "resources that are true", is).await?;
    for (have, wanted) in pod["spec"]["containers"].as_array().into_iter().flatten().zip(wanted) {
        expect::at(have, "/resources", wanted["resources"].clone())?;
    }
    Ok(())
}

async fn resize(t: &Test, containers: &[Value]) -> anyhow::Result<()> {
    let change: Vec<Value> =
        containers.iter().map(|c| json!({ "name": c["name"], "resources": c["resources"] })).collect();
    let change = json!({ "spec": { "containers": change } });
    let pods = t.objects("v1", "pods");
    let patched = pods.patch_sub("resized", "resize", Patch::Strategic, &change).await?;
    for (have, wanted) in patched["spec"]["containers"].as_array().into_iter().flatten().zip(containers) {
        expect::at(have, "/resources", wanted["resources"].clone())?;
    }
    settled(t, containers).await
}

async fn there_and_back(t: Test, changes: &[Change]) -> anyhow::Result<()> {
    let (before, after) = (containers(changes, |change| &change.0), containers(changes, |change| &change.1));
    pods::start(&t, &pod("resized", &before)).await?;
    settled(&t, &before).await?;
    resize(&t, &after).await?;
    let adds = |(old, new): &Change| {
        resources(old).to_string().matches(':').count() != resources(new).to_string().matches(':').count()
    };
    if changes.iter().any(adds) {
        return Ok(());
    }
    resize(&t, &before).await
}

async fn replaced(t: Test) -> anyhow::Result<()> {
    let before = containers(NET_INCREASE, |change| &change.0);
    let after = containers(NET_INCREASE, |change| &change.1);
    pods::start(&t, &pod("resized", &before)).await?;
    let pods = t.objects("v1", "pods");
    pods.modify_sub("resized", "resize", |pod| {
        for (index, container) in after.iter().enumerate() {
            pod["spec"]["containers"][index]["resources"] = container["resources"].clone();
        }
    })
    .await?;
    settled(&t, &after).await
}
