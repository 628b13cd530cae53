//! Images of registries: pulled by hand, and by kubelets where that is allowed. The registry is the test's own, on loopback.

use std::fs;

use anyhow::{Context, ensure};
use knetsim_tests::image;
use knetsim_tests::registry::{AUTH, Registry};
use knetsim_tests::session::{Session, check};

#[test]
fn images_are_pulled_by_hand() {
    check(|| {
        let session = Session::new(None)?;
        let emulator = &session.emulator;
        let registry = Registry::start()?;
        let app = format!("{}/public/app:1", registry.address);
        let pull = |name: &str| emulator.try_knetsim(&["image", "pull", name]);
        registry.put("public/app:1", image::of_busybox("app")?.path())?;
        let pulled = pull(&app)?.ok()?;
        ensure!(pulled.stdout == format!("Pulled image: {app}\n"), "{}", pulled.stdout);
        ensure!(registry.blobs() == 2, "a configuration and a layer were to be given out");
        let entry = || -> anyhow::Result<serde_json::Value> {
            let mut names = fs::read_dir(emulator.data_dir.join("images/names"))?;
            Ok(serde_json::from_slice(&fs::read(names.next().context("nothing is stored")??.path())?)?)
        };
        let first = entry()?;
        let root = emulator
            .data_dir
            .join("images/roots")
            .join(first["id"].as_str().and_then(|id| id.strip_prefix("sha256:")).context("an id")?);
        ensure!(root.join("bin/busybox").exists(), "{} has no busybox", root.display());
        pull(&app)?.ok()?;
        ensure!(registry.blobs() == 0, "what is there was pulled again");
        // The tag is given to another image.
        registry.put("public/app:1", image::of_program("/usr/bin/env".as_ref(), "app")?.path())?;
        pull(&app)?.ok()?;
        ensure!(registry.blobs() == 2 && entry()?["id"] != first["id"], "the tag's new image was not pulled");
        for (name, word) in [("public/app:2", "404"), ("private/app:1", "authentication required")] {
            let refused = pull(&format!("{}/{name}", registry.address))?;
            ensure!(refused.code != 0 && refused.stderr.contains(word), "{name}: {}", refused.stderr);
        }
        let nonsense = pull("A b")?;
        ensure!(
            nonsense.stderr.contains("couldn't parse image name \"A b\": invalid reference format"),
            "{}",
            nonsense.stderr
        );
        let left = fs::read_dir(emulator.data_dir.join("images"))?.count();
        ensure!(left == 2, "there is more in the store than names and roots");
        session.nothing_left()
    });
}

#[test]
fn kubelets_have_images_pulled() {
    check(|| {
        let session = Session::new(None)?;
        let registry = Registry::start()?;
        let archive = image::of_busybox("app")?;
        for name in ["public/app:1", "private/app:1"] {
            registry.put(name, archive.path())?;
        }
        session.up(&["--pull", "--wait=nodes"])?;
        let emulator = &session.emulator;
        let run = |name: &str, image: &str, more: serde_json::Value| -> anyhow::Result<()> {
            let mut spec = serde_json::json!({ "restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [
                { "name": "app", "image": format!("{}/{image}", registry.address), "command": ["sleep", "1000"] }] });
            spec.as_object_mut().context("an object")?.extend(more.as_object().cloned().context("an object")?);
            let pod =
                serde_json::json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name }, "spec": spec });
            let file = session.dir.path().join("pod.json");
            fs::write(&file, pod.to_string())?;
            emulator.apply("c0", &file.to_string_lossy()).map(drop)
        };
        let events = |name: &str| -> anyhow::Result<String> {
            let of = format!("--field-selector=involvedObject.name={name}");
            let path = r#"jsonpath={range .items[*]}{.reason}: {.message}{"\n"}{end}"#;
            Ok(emulator.kubectl("c0", &["get", "events", &of, "-o", path])?.stdout)
        };
        let wait = |name: &str, what: &str| -> anyhow::Result<()> {
            let waited = emulator.kubectl("c0", &["wait", what, &format!("pod/{name}"), "--timeout=60s"]);
            waited.map(drop).with_context(|| events(name).unwrap_or_default())
        };
        // Both nodes want it at once; it is pulled once.
        for (name, node) in [("one", "c0w1"), ("two", "c0w2")] {
            run(name, "public/app:1", serde_json::json!({ "nodeName": node }))?;
        }
        wait("one", "--for=condition=Ready")?;
        wait("two", "--for=condition=Ready")?;
        ensure!(registry.blobs() == 2, "two nodes pulled one image twice");
        let told = events("one")?;
        let pulling = format!("Pulling: Pulling image \"{}/public/app:1\"\n", registry.address);
        let pulled = format!("Pulled: Successfully pulled image \"{}/public/app:1\" in ", registry.address);
        ensure!(told.contains(&pulling) && told.contains(&pulled) && told.contains(" bytes.\n"), "{told}");
        // Without the password, and then with it.
        run("private", "private/app:1", serde_json::json!({}))?;
        wait("private", "--for=jsonpath={.status.containerStatuses[0].state.waiting.reason}=ErrImagePull")?;
        let refused = events("private")?;
        ensure!(
            refused.contains("Failed: Failed to pull image") && refused.contains("authentication required"),
            "{refused}"
        );
        let config = serde_json::json!({ "auths": { &registry.address: { "auth": AUTH } } }).to_string();
        let secret = format!("--from-literal=.dockerconfigjson={config}");
        let kind = "--type=kubernetes.io/dockerconfigjson";
        emulator.kubectl("c0", &["create", "secret", "generic", "registry", kind, &secret])?;
        let secrets = serde_json::json!({ "imagePullSecrets": [{ "name": "registry" }, { "name": "none" }] });
        run("allowed", "private/app:1", secrets)?;
        wait("allowed", "--for=condition=Ready")?;
        let told = events("allowed")?;
        let missing =
            "Unable to retrieve some image pull secrets (none); attempting to pull the image may not succeed.";
        ensure!(told.contains(missing), "{told}");
        // What the registry does not have is used from here, if it is here: the emulator works offline.
        let archive = image::of_busybox(&format!("{}/public/own:1", registry.address))?;
        emulator.knetsim(&["image", "load", &archive.path().to_string_lossy()])?;
        let always = serde_json::json!({ "containers": [{ "name": "app", "imagePullPolicy": "Always",
            "image": format!("{}/public/own:1", registry.address), "command": ["sleep", "1000"] }] });
        run("own", "", always)?;
        wait("own", "--for=condition=Ready")?;
        let told = events("own")?;
        ensure!(told.contains("Failed: Failed to pull image") && told.contains("already present on machine"), "{told}");
        run("none", "public/none:1", serde_json::json!({}))?;
        wait("none", "--for=jsonpath={.status.containerStatuses[0].state.waiting.reason}=ErrImagePull")?;
        emulator.knetsim(&["down"])?;
        ensure!(!emulator.data_dir.join("pull.sock").exists(), "the socket for pulls is still there");
        session.nothing_left()
    });
}
