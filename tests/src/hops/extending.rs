//! Kinds and controllers of one's own.

use std::process::Stdio;

use anyhow::{Context, ensure};

use super::{Seen, seen};
use crate::emulator::Emulator;

/// A CustomResourceDefinition, an object of it, and what kubectl says of both.
pub fn custom_kind(emulator: &Emulator) -> anyhow::Result<Seen> {
    // kubectl looks the new kind up before the server has it, when both are applied at once: twice, as people do.
    let file = emulator.demo("30-crd.yaml");
    if emulator.try_kubectl("c0", &["apply", "-f", &file])?.code != 0 {
        emulator.kubectl(
            "c0",
            &["wait", "--for=condition=Established", "crd/srosconfigs.nwi.enc.nokia.com", "--timeout=10s"],
        )?;
        emulator.kubectl("c0", &["apply", "-f", &file])?;
    }
    let get = emulator.kubectl("c0", &["-n", "demo", "get", "srosconfig"])?;
    ensure!(get.stdout.contains("DEVICE") && get.stdout.contains("leaf1.example"), "{}", get.stdout);
    let explain = emulator.kubectl("c0", &["explain", "srosconfig.spec"])?;
    ensure!(explain.stdout.contains("The router that is configured."), "{}", explain.stdout);
    let mtu = emulator.kubectl("c0", &["-n", "demo", "get", "sros", "leaf1", "-o", "jsonpath={.spec.mtu}"])?;
    ensure!(mtu.stdout == "1500", "the default of mtu is {:?}", mtu.stdout);
    let wrong = emulator
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
    emulator.kubectl(
        "c0",
        &["-n", "demo", "wait", "--for=jsonpath={.status.message}", &format!("greeting/{name}"), "--timeout=60s"],
    )?;
    let said =
        emulator.kubectl("c0", &["-n", "demo", "get", "greeting", name, "-o", "jsonpath={.status.message}"])?.stdout;
    ensure!(said.contains(name), "the status says {said:?}");
    Ok(said)
}

fn example(emulator: &Emulator, file: &str) -> String {
    emulator.manifests.join("../examples/greeting-controller/manifests").join(file).to_string_lossy().into_owned()
}

/// A controller written with kube-rs, run beside kubectl with the same kubeconfig.
pub fn controller_outside(emulator: &Emulator) -> anyhow::Result<Seen> {
    emulator.kubectl("c0", &["apply", "-f", &example(emulator, "crd.yaml")])?;
    emulator.kubectl(
        "c0",
        &["wait", "--for=condition=Established", "crd/greetings.greetings.example.knetsim.dev", "--timeout=10s"],
    )?;
    let _ = emulator
        .try_kubectl("c0", &["-n", "greetings", "delete", "deployment/greeting-controller", "--ignore-not-found"])?;
    let _ = emulator.try_kubectl("c0", &["-n", "demo", "delete", "greeting", "--all"])?;
    let binary = emulator.binary.with_file_name("greeting-controller");
    ensure!(binary.is_file(), "{} is not built", binary.display());
    let mut command = emulator.command(&binary, &[]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting the controller")?;
    let said = greeting(emulator, "outside");
    child.kill()?;
    child.wait()?;
    seen("examples/greeting-controller (with the kubeconfig)", said?)
}

/// The same program as a pod, with its ServiceAccount.
pub fn controller_inside(emulator: &Emulator) -> anyhow::Result<Seen> {
    let binary = emulator.binary.with_file_name("greeting-controller");
    let archive = crate::image::of_program(&binary, "example.knetsim.dev/greeting-controller:v1")?;
    emulator.knetsim(&["image", "load", &archive.path().to_string_lossy()])?;
    let apply = emulator.kubectl("c0", &["apply", "-f", &example(emulator, "controller.yaml")])?;
    emulator
        .kubectl("c0", &["-n", "greetings", "rollout", "status", "deployment/greeting-controller", "--timeout=60s"])?;
    let said = greeting(emulator, "inside")?;
    seen(apply.command.replace(&example(emulator, ""), "examples/greeting-controller/manifests/"), said)
}
