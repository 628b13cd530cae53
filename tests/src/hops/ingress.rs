//! Ingress: real nginx, asked from outside.

use anyhow::ensure;

use super::load::Load;
use super::{Scene, Seen, seen};

/// The ingress controller's node port (manifests/system/ingress-nginx.yaml).
const ADDRESS: &str = "http://10.0.0.11:30080";

/// Two paths on one address lead to two Deployments.
pub fn paths(scene: &Scene) -> anyhow::Result<Seen> {
    scene.kubectl("c0", &["apply", "-f", &scene.demo("20-ingress.yaml")])?;
    // nginx has the routes, and the pods answer.
    for name in ["svc1", "svc2"] {
        let mut load = Load::from_outside(scene, &format!("{ADDRESS}/{name}"))?;
        load.until(|answer, _| answer.contains(&format!("hello from {name}")))?;
    }
    let address = ["-n", "demo", "wait", "--for=jsonpath={.status.loadBalancer.ingress[0].ip}", "ingress/web"];
    scene.kubectl("c0", &address)?;
    let script = format!(
        "curl -sS -m5 -w ' %{{http_code}}\\n' {ADDRESS}/svc1 {ADDRESS}/svc2 && curl -sS -m5 -o /dev/null -w '%{{http_code}}' {ADDRESS}"
    );
    let answers = scene.knetsim(&["exec", "outside", "--", "sh", "-c", &script])?.stdout;
    let words: Vec<&str> = answers.split_whitespace().collect();
    let expected = ["hello", "from", "svc1", "200", "hello", "from", "svc2", "200", "404"];
    ensure!(words == expected, "/svc1, /svc2 and / answered {answers:?}");
    seen(format!("knetsim exec outside -- curl {ADDRESS}/svc1"), "hello from svc1 (and svc2; 404 elsewhere)")
}

/// A path is turned to another Service under load: the new route serves, no request is lost.
pub fn edit(scene: &Scene) -> anyhow::Result<Seen> {
    let mut load = Load::from_outside(scene, &format!("{ADDRESS}/svc1"))?;
    for name in ["svc2", "svc1"] {
        let patch = format!(
            r#"[{{"op":"replace","path":"/spec/rules/0/http/paths/0/backend/service/name","value":"{name}"}}]"#
        );
        scene.kubectl("c0", &["-n", "demo", "patch", "ingress", "web", "--type=json", "-p", &patch])?;
        load.until(|answer, _| answer.contains(&format!("hello from {name}")))?;
        load.until(|_, count| count >= 15)?;
    }
    let asked = load.finish()?;
    seen(
        "kubectl -n demo patch ingress web --type=json -p …",
        format!("the new route serves; {asked} requests, none lost"),
    )
}
