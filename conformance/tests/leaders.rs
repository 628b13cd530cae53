//! Several schedulers: one works, and when it is gone, another one does.

use std::path::Path;
use std::process::Stdio;

use conformance::client::Objects;
use conformance::expect;
use conformance::fixture::Cluster;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

/// A scheduler of its own name, which competes for a Lease of that name, shorter than the usual one.
fn scheduler(cluster: &Cluster, identity: &str) -> anyhow::Result<Child> {
    let mut command = Command::new(&cluster.program);
    command.arg("scheduler").arg(format!("--kubeconfig={}", cluster.folder().join("admin.conf").display()));
    command.args(["--secure-port=0", "--scheduler-name=second", "--leader-elect-resource-name=second"]);
    command.args(["--leader-elect-lease-duration=2s", "--leader-elect-renew-deadline=1500ms"]);
    command.args(["--leader-elect-retry-period=100ms", &format!("--leader-elect-identity={identity}")]);
    // It ends when its input does.
    Ok(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn()?)
}

async fn check(binary: &Path) -> anyhow::Result<()> {
    let cluster = Cluster::api_only(binary).await?;
    cluster.make_namespace("elected").await?;
    let leases = Objects::new(cluster.api.clone(), Some("kube-system"), "coordination.k8s.io/v1", "leases");
    let pods = Objects::new(cluster.api.clone(), Some("elected"), "v1", "pods");
    let holder = |lease: &Value| lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")?;
    for name in ["kube-controller-manager", "kube-scheduler"] {
        let lease = leases.wait(name, "a leader", |lease| !holder(lease).is_empty()).await?;
        let (who, of) = (holder(&lease), format!("{}_", host.trim()));
        expect::that(who.starts_with(&of) && who.len() == of.len() + 36, || format!("{name} is held by {who}"))?;
        expect::at(&lease, "/spec/leaseDurationSeconds", 15)?;
    }

    let scheduled = async |name: &str| {
        let container = json!({ "name": "c", "image": "i" });
        let pod =
            json!({ "metadata": { "name": name }, "spec": { "schedulerName": "second", "containers": [container] } });
        pods.create(&pod).await?;
        pods.wait(name, "a node", |pod| pod["spec"]["nodeName"].is_string()).await
    };
    let first = scheduler(&cluster, "first")?;
    leases.wait("second", "the first", |lease| holder(lease) == "first").await?;
    let _second = scheduler(&cluster, "other")?;
    scheduled("one").await?;
    expect::same("the leader", &holder(&leases.get("second").await?).as_str(), &"first")?;
    drop(first);
    scheduled("two").await?;
    let lease = leases.get("second").await?;
    expect::same("the next leader", &holder(&lease).as_str(), &"other")?;
    expect::at(&lease, "/spec/leaseTransitions", 1)?;
    let events = Objects::new(cluster.api.clone(), Some("kube-system"), "v1", "events");
    let told = |list: &[Value]| list.iter().any(|event| event["message"] == "other became leader");
    events.wait_list("fieldSelector=reason%3DLeaderElection,involvedObject.name%3Dsecond", "the Event", told).await?;
    Ok(())
}

#[test]
fn one_schedules_and_the_next_goes_on() {
    let binary = Path::new(env!("CARGO_BIN_EXE_knetsim-conformance"));
    if let Err(error) = runtime::block_on(check(binary)) {
        panic!("{error:#}");
    }
}
