//! Two clusters as one network: Skupper's resources, a link by token, and the WAN between them.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use anyhow::{Context, ensure};
use jiff::Timestamp;

use super::{Scene, Seen, seen};

const NAME: &str = "web-of-c0";

/// A site; that of c0 can be linked to.
pub fn site(scene: &Scene, context: &str, manifest: &str) -> anyhow::Result<Seen> {
    scene.apply(context, &scene.demo(manifest))?;
    let site = format!("site/{context}");
    let ready = ["-n", "demo", "wait", "--for=condition=Ready", &site, "--timeout=80s"];
    seen(scene.kubectl(context, &ready)?.command, "Ready")
}

/// The sites are linked by a token that c0 grants and c1 redeems.
pub fn link(scene: &Scene) -> anyhow::Result<Seen> {
    let exists = scene.try_kubectl("c1", &["-n", "demo", "get", "link"])?;
    if !exists.stdout.contains("c0") {
        let ready = ["-n", "demo", "wait", "--for=condition=Ready", "accessgrant/c1", "--timeout=60s", "-o", "json"];
        let grant = scene.kubectl("c0", &ready)?.json()?;
        let status = |field: &str| {
            grant["status"][field]
                .as_str()
                .map(str::to_owned)
                .with_context(|| format!("the grant's status has no {field}"))
        };
        let token = serde_json::json!({
            "apiVersion": "skupper.io/v2alpha1", "kind": "AccessToken",
            "metadata": { "name": "c0", "namespace": "demo" },
            "spec": { "url": status("url")?, "code": status("code")?, "ca": status("ca")? },
        });
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("token.json");
        std::fs::write(&file, token.to_string())?;
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))?;
        scene.kubectl("c1", &["apply", "-f", &file.to_string_lossy()])?;
        // The link is there once the token has been taken.
        let redeemed = ["-n", "demo", "wait", "--for=condition=Redeemed", "accesstoken/c0", "--timeout=60s"];
        scene.kubectl("c1", &redeemed)?;
    }
    let ready = scene.kubectl("c1", &["-n", "demo", "wait", "--for=condition=Ready", "link/c0", "--timeout=60s"])?;
    seen(ready.command, "the link is operational")
}

/// A pod of c1 asks the Deployment of c0 by the Listener's name, though pod ranges are the same on both sides.
pub fn ask(scene: &Scene) -> anyhow::Result<Seen> {
    let ready = ["-n", "demo", "wait", "--for=condition=Ready", "listener/web", "pod/client", "--timeout=60s"];
    scene.kubectl("c1", &ready)?;
    let ranges = |context| anyhow::Ok(scene.pod_ranges(context)?.values().cloned().collect::<BTreeSet<_>>());
    let (first, second) = (ranges("c0")?, ranges("c1")?);
    ensure!(first == second, "the pod ranges differ: {first:?} and {second:?}");
    let answer = scene.in_client("c1", &format!("curl -sS -m10 http://{NAME}/hostname"))?;
    ensure!(answer.stdout.starts_with("web-"), "{NAME} answered {:?}", answer.stdout);
    seen(format!("kubectl --context c1 -n demo exec client -- curl http://{NAME}/hostname"), answer.stdout.trim())
}

/// Without the WAN the request fails, and the conditions say why.
pub fn cut(scene: &Scene) -> anyhow::Result<Seen> {
    *scene.cut.lock().unwrap_or_else(PoisonError::into_inner) = Timestamp::now();
    let cut = scene.knetsim(&["net", "cut", "c0", "wan"])?;
    let answer = scene.try_kubectl(
        "c1",
        &["-n", "demo", "exec", "client", "--", "curl", "-sS", "-m5", &format!("http://{NAME}/hostname")],
    )?;
    ensure!(answer.code != 0, "c0 answers although the WAN is cut: {}", answer.stdout);
    let path = r#"jsonpath={.status.conditions[?(@.type=="Operational")].message}"#;
    let lost = ["-n", "demo", "wait", "--for=condition=Operational=False", "link/c0", "--timeout=60s", "-o", path];
    let condition = scene.kubectl("c1", &lost)?;
    scene.kubectl("c1", &["-n", "demo", "wait", "--for=condition=Ready=False", "listener/web", "--timeout=60s"])?;
    // The router in between says so; nobody has to wait for silence.
    ensure!(condition.stdout.contains("Network is unreachable"), "the link says {:?}", condition.stdout);
    seen(cut.command, format!("the request fails; link: {}", condition.stdout))
}

/// With the WAN back everything works again, and nothing was restarted.
pub fn mend(scene: &Scene) -> anyhow::Result<Seen> {
    let mend = scene.knetsim(&["net", "mend", "c0", "wan"])?;
    let ready = ["-n", "demo", "wait", "--for=condition=Ready", "link/c0", "listener/web", "--timeout=60s"];
    scene.kubectl("c1", &ready)?;
    let answer = scene.in_client("c1", &format!("curl -sS -m10 http://{NAME}/hostname"))?;
    ensure!(answer.stdout.starts_with("web-"), "{NAME} answered {:?}", answer.stdout);
    // Pods may come and go meanwhile, but none is restarted: what its containers were before has ended before the cut.
    let (first, second) = both(|context| {
        let list = scene.kubectl(context, &["-n", "demo", "get", "pods", "-o", "json"])?.json()?;
        let pods = list["items"].as_array().into_iter().flatten();
        let containers = pods.flat_map(|pod| pod["status"]["containerStatuses"].as_array().into_iter().flatten());
        let ended = containers.filter_map(|one| one["lastState"]["terminated"]["finishedAt"].as_str());
        Ok(ended.map(str::parse).collect::<Result<Vec<Timestamp>, _>>()?)
    })?;
    // The API tells whole seconds.
    let cut = scene.cut.lock().unwrap_or_else(PoisonError::into_inner).as_second();
    let after = first.iter().chain(&second).find(|ended| ended.as_second() >= cut);
    ensure!(after.is_none(), "a container was restarted at {after:?}, after the cut");
    seen(mend.command, format!("works again, nothing restarted: {}", answer.stdout.trim()))
}

/// Asks both clusters at once.
fn both<T: Send>(ask: impl Fn(&str) -> anyhow::Result<T> + Sync) -> anyhow::Result<(T, T)> {
    std::thread::scope(|scope| {
        let other = scope.spawn(|| ask("c1"));
        Ok((ask("c0")?, other.join().expect("it does not panic")?))
    })
}
