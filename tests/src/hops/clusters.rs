//! Two clusters as one network: Skupper's resources, a link by token, and the WAN between them.

use anyhow::{Context, ensure};

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
    let (first, second) = both(|context| {
        Ok(scene.kubectl(context, &["get", "nodes", "-o", "jsonpath={.items[*].spec.podCIDR}"])?.stdout)
    })?;
    let sorted = |text: &str| {
        let mut all: Vec<_> = text.split(' ').map(str::to_owned).collect();
        all.sort();
        all
    };
    ensure!(sorted(&first) == sorted(&second), "the pod ranges differ: {first} and {second}");
    let answer = scene.in_client("c1", &format!("curl -sS -m10 http://{NAME}/hostname"))?;
    ensure!(answer.stdout.starts_with("web-"), "{NAME} answered {:?}", answer.stdout);
    seen(format!("kubectl --context c1 -n demo exec client -- curl http://{NAME}/hostname"), answer.stdout.trim())
}

/// Without the WAN the request fails, and the conditions say why.
pub fn cut(scene: &Scene) -> anyhow::Result<Seen> {
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
    // Pods may come and go meanwhile, but none is restarted.
    let restarts = |context: &str| -> anyhow::Result<u32> {
        let path = "jsonpath={.items[*].status.containerStatuses[*].restartCount}";
        let counts = scene.kubectl(context, &["-n", "demo", "get", "pods", "-o", path])?.stdout;
        counts.split_whitespace().map(|count| Ok(count.parse::<u32>()?)).sum()
    };
    let before = both(restarts)?;
    let mend = scene.knetsim(&["net", "mend", "c0", "wan"])?;
    let ready = ["-n", "demo", "wait", "--for=condition=Ready", "link/c0", "listener/web", "--timeout=60s"];
    scene.kubectl("c1", &ready)?;
    let answer = scene.in_client("c1", &format!("curl -sS -m10 http://{NAME}/hostname"))?;
    ensure!(answer.stdout.starts_with("web-"), "{NAME} answered {:?}", answer.stdout);
    ensure!(before == both(restarts)?, "something was restarted");
    seen(mend.command, format!("works again, nothing restarted: {}", answer.stdout.trim()))
}

/// Asks both clusters at once.
fn both<T: Send>(ask: impl Fn(&str) -> anyhow::Result<T> + Sync) -> anyhow::Result<(T, T)> {
    std::thread::scope(|scope| {
        let other = scope.spawn(|| ask("c1"));
        Ok((ask("c0")?, other.join().expect("it does not panic")?))
    })
}
