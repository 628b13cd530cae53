//! Kinds and controllers of one's own.

use std::process::Stdio;

use anyhow::{Context, ensure};

use super::{Scene, Seen, seen};
use crate::emulator::Emulator;

/// A CustomResourceDefinition, an object of it, and what kubectl says of both.
pub fn custom_kind(scene: &Scene) -> anyhow::Result<Seen> {
    // kubectl looks the new kind up before the server has it, when both are applied at once: twice, as people do.
    let file = scene.demo("30-crd.yaml");
    if scene.try_kubectl("c0", &["apply", "-f", &file])?.code != 0 {
        scene.kubectl(
            "c0",
            &["wait", "--for=condition=Established", "crd/srosconfigs.nwi.enc.nokia.com", "--timeout=10s"],
        )?;
        scene.kubectl("c0", &["apply", "-f", &file])?;
    }
    let get = scene.kubectl("c0", &["-n", "demo", "get", "srosconfig"])?;
    ensure!(get.stdout.contains("DEVICE") && get.stdout.contains("leaf1.example"), "{}", get.stdout);
    let explain = scene.kubectl("c0", &["explain", "srosconfig.spec"])?;
    ensure!(explain.stdout.contains("The router that is configured."), "{}", explain.stdout);
    let mtu = scene.kubectl("c0", &["-n", "demo", "get", "sros", "leaf1", "-o", "jsonpath={.spec.mtu}"])?;
    ensure!(mtu.stdout == "1500", "the default of mtu is {:?}", mtu.stdout);
    let wrong = scene
        .try_kubectl("c0", &["-n", "demo", "patch", "sros", "leaf1", "--type=merge", "-p", r#"{"spec":{"mtu":9}}"#])?;
    ensure!(
        wrong.stderr.contains("spec.mtu: Invalid value: 9: spec.mtu in body should be greater than or equal to 576"),
        "an mtu of 9: {}",
        wrong.stderr
    );
    seen(get.command, "leaf1.example; explained, defaulted, validated")
}

fn greeting(emulator: &Emulator, name: &str) -> anyhow::Result<String> {
    let object = serde_json::json!({
        "apiVersion": "greetings.example.knetsim.dev/v1", "kind": "Greeting",
        "metadata": { "name": name, "namespace": "demo" }, "spec": { "name": name },
    });
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("greeting.json");
    std::fs::write(&file, object.to_string())?;
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))?;
    emulator.kubectl("c0", &["apply", "-f", &file.to_string_lossy()])?;
    let greeting = format!("greeting/{name}");
    let (there, message) = ("--for=jsonpath={.status.message}", "-o=jsonpath={.status.message}");
    let said = emulator.kubectl("c0", &["-n", "demo", "wait", there, message, &greeting, "--timeout=60s"])?.stdout;
    ensure!(said.contains(name), "the status says {said:?}");
    Ok(said)
}

fn example(emulator: &Emulator, file: &str) -> String {
    emulator.manifests.join("../examples/greeting-controller/manifests").join(file).to_string_lossy().into_owned()
}

/// A controller written with kube-rs, run beside kubectl with the same kubeconfig.
pub fn controller_outside(scene: &Scene) -> anyhow::Result<Seen> {
    let kind = scene.kubectl("c0", &["apply", "-f", &example(scene, "crd.yaml")])?;
    scene.kubectl(
        "c0",
        &["wait", "--for=condition=Established", "crd/greetings.greetings.example.knetsim.dev", "--timeout=10s"],
    )?;
    if !kind.stdout.contains("created") {
        // Of an earlier walk.
        let controller = ["-n", "greetings", "delete", "deployment/greeting-controller", "--ignore-not-found"];
        let _ = scene.try_kubectl("c0", &controller)?;
        let _ = scene.try_kubectl("c0", &["-n", "demo", "delete", "greeting", "--all"])?;
    }
    let binary = scene.binary.with_file_name("greeting-controller");
    ensure!(binary.is_file(), "{} is not built", binary.display());
    let mut command = scene.command(&binary, &[]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting the controller")?;
    let said = greeting(scene, "outside");
    child.kill()?;
    child.wait()?;
    seen("examples/greeting-controller (with the kubeconfig)", said?)
}

/// The same program as a pod, with its ServiceAccount.
pub fn controller_inside(scene: &Scene) -> anyhow::Result<Seen> {
    let binary = scene.binary.with_file_name("greeting-controller");
    let archive = crate::image::of_program(&binary, "example.knetsim.dev/greeting-controller:v1")?;
    scene.knetsim(&["image", "load", &archive.path().to_string_lossy()])?;
    let apply = scene.kubectl("c0", &["apply", "-f", &example(scene, "controller.yaml")])?;
    let said = greeting(scene, "inside")?;
    seen(apply.command.replace(&example(scene, ""), "examples/greeting-controller/manifests/"), said)
}
