//! What is mounted into containers.

use std::path::Path;

use serde_json::{Value, json};

use crate::world::{World, path, state};

/// An image of one file and a link, in the node's store as `knetsim image load` puts it there.
fn store_image(name: &str) {
    let dir = tempfile::tempdir().expect("a folder");
    let (root, top) = (dir.path().join("root"), dir.path().join("top"));
    std::fs::create_dir_all(root.join("etc/inner")).expect("made");
    std::fs::create_dir_all(&top).expect("made");
    std::fs::write(root.join("etc/inner/data"), "of the image\n").expect("written");
    std::fs::write(root.join("run.sh"), "#!/bin/sh\necho ran\n").expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(root.join("run.sh"), mode).expect("set");
    std::os::unix::fs::symlink("/etc/inner", root.join("link")).expect("linked");
    let pack = |from: &Path, to: &Path| {
        let status = std::process::Command::new("tar").arg("-cf").arg(to).arg("-C").arg(from).arg(".").status();
        assert!(status.expect("tar runs").success());
    };
    pack(&root, &top.join("layer.tar"));
    std::fs::write(top.join("config.json"), r#"{"config":{}}"#).expect("written");
    let manifest = json!([{ "Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"] }]);
    std::fs::write(top.join("manifest.json"), manifest.to_string()).expect("written");
    let archive = dir.path().join("image.tar");
    pack(&top, &archive);
    knetsim_kubelet_lite::images::load(Path::new("/run/test/images"), &archive).expect("loads");
}

/// Image volumes (KEP-4639): read-only, not executable, all of an image or a path in it; of stored images and of the
/// catalogue's. One that cannot be had holds up only who mounts it, in upstream's words.
pub async fn image_volumes_are_folders_that_nobody_changes(world: &World) {
    store_image("example.com/files:1");
    let image = |name: &str, policy: &str| json!({ "reference": name, "pullPolicy": policy });
    let script = "grep -q 'of the image' /whole/etc/inner/data && grep -q 'of the image' /sub/data && \
                  grep -q 'of the image' /one && ! touch /whole/new && ! /whole/run.sh && \
                  grep -q localhost /stand-in/etc/hosts && test -x /stand-in/usr/bin/env && ! /stand-in/usr/bin/env && \
                  ! touch /stand-in/etc/new && test ! -e /never && exit 7";
    let events = world.run(
        "image-volumes",
        json!({
            "terminationGracePeriodSeconds": 0,
            "restartPolicy": "Never",
            "volumes": [{ "name": "stored", "image": image("example.com/files:1", "Always") },
                { "name": "stand-in", "image": image("busybox", "IfNotPresent") },
                { "name": "unused", "image": image("example.com/none:1", "Never") }],
            "containers": [{
                "name": "app", "image": "busybox", "command": ["sh", "-c", script],
                "volumeMounts": [{ "name": "stored", "mountPath": "/whole" },
                    { "name": "stored", "mountPath": "/sub", "subPath": "link" },
                    { "name": "stored", "mountPath": "/one", "subPath": "etc/inner/data" },
                    { "name": "stand-in", "mountPath": "/stand-in" }],
            }],
        }),
    );
    let pod = world.until("image-volumes", "over", |pod| pod["status"]["phase"] == "Failed").await;
    assert_eq!(state(&pod, 0)["terminated"]["exitCode"], 7, "{pod:#}");
    world.delete("image-volumes", 0, &events);
    world.until_gone("image-volumes").await;

    let missing = |name: &str, volume: Value, sub: &str| {
        world.run(
            name,
            json!({
                "terminationGracePeriodSeconds": 0,
                "volumes": [{ "name": "v", "image": volume }],
                "containers": [{ "name": "app", "image": "busybox", "command": ["sleep", "100"],
                    "volumeMounts": [{ "name": "v", "mountPath": "/v", "subPath": sub }] }],
            }),
        )
    };
    let cases = [
        (
            "iv-pull",
            image("example.com/none:1", "Always"),
            "",
            "ImagePullBackOff",
            "Back-off pulling image \"example.com/none:1\": ErrImagePull: failed to pull image \"example.com/none:1\"",
        ),
        (
            "iv-never",
            image("example.com/none:1", "Never"),
            "",
            "ErrImageNeverPull",
            "Container image \"example.com/none:1\" is not present with pull policy of Never",
        ),
        ("iv-name", image("A b", "Always"), "", "InvalidImageName", "Failed to apply default image tag \"A b\""),
        (
            "iv-sub",
            image("example.com/files:1", "Always"),
            "not-existing",
            "CreateContainerError",
            "ImageVolumeMountFailed: image volume \"v\": subPath \"not-existing\": ENOENT",
        ),
    ];
    for (name, volume, sub, reason, words) in cases {
        let events = missing(name, volume, sub);
        let pod = world.until(name, reason, |pod| state(pod, 0)["waiting"]["reason"] == reason).await;
        let message = state(&pod, 0)["waiting"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(message.starts_with(words), "{name}: {message}");
        world.delete(name, 0, &events);
        world.until_gone(name).await;
    }
    // The image is spoken of as the pod's, what comes of it as the container's.
    let said = |pod: &str, path: Option<&str>, reason: &str, message: &str| {
        let found = world.fake.events().iter().any(|event| {
            let about = &event["involvedObject"];
            about["name"] == pod
                && about["fieldPath"].as_str() == path
                && event["reason"] == reason
                && event["message"].as_str().is_some_and(|text| text.starts_with(message))
        });
        assert!(found, "{pod} {path:?} {reason} {message}: {:#?}", world.fake.events());
    };
    let container = Some("spec.containers{app}");
    said(
        "image-volumes",
        None,
        "Pulled",
        "Container image \"example.com/files:1\" already present on machine and can be accessed by the pod",
    );
    said("image-volumes", None, "ErrImageNeverPull", "Container image \"example.com/none:1\" is not present");
    said("iv-pull", None, "Pulling", "Pulling image \"example.com/none:1\"");
    said("iv-pull", None, "Failed", "Failed to pull image \"example.com/none:1\"");
    said("iv-pull", container, "Failed", "Error: ErrImagePull");
    said("iv-never", container, "Failed", "Error: ErrImageNeverPull");
    said("iv-sub", container, "Failed", "Error: ImageVolumeMountFailed");
}

/// What is mounted below a read-only mount can be written to, unless the mount is recursively read-only (KEP-3857).
pub async fn read_only_as_far_as_asked(world: &World) {
    std::fs::create_dir_all("/run/test/tree/inner").expect("made");
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("tmpfs"), "/run/test/tree/inner", Some("tmpfs"), flags, None::<&str>).expect("mounted");
    let script = "! touch /tree/new && touch /tree/inner/new && ! touch /all/new && ! touch /all/inner/new && exit 7";
    let events = world.run(
        "read-only",
        json!({
            "terminationGracePeriodSeconds": 0,
            "restartPolicy": "Never",
            "volumes": [{ "name": "v", "hostPath": { "path": "/run/test/tree" } }],
            "containers": [{ "name": "app", "image": "busybox", "command": ["sh", "-c", script], "volumeMounts": [
                { "name": "v", "mountPath": "/tree", "readOnly": true },
                { "name": "v", "mountPath": "/all", "readOnly": true, "recursiveReadOnly": "Enabled" },
            ] }],
        }),
    );
    let pod = world.until("read-only", "over", |pod| pod["status"]["phase"] == "Failed").await;
    assert_eq!(state(&pod, 0)["terminated"]["exitCode"], 7, "{pod:#}");
    let mounts = json!([
        { "name": "v", "mountPath": "/tree", "readOnly": true, "recursiveReadOnly": "Disabled" },
        { "name": "v", "mountPath": "/all", "readOnly": true, "recursiveReadOnly": "Enabled" },
    ]);
    assert_eq!(pod["status"]["containerStatuses"][0]["volumeMounts"], mounts);
    world.delete("read-only", 0, &events);
    world.until_gone("read-only").await;
    nix::mount::umount("/run/test/tree/inner").expect("unmounted");
}

/// A changed ConfigMap is in the pod's volume as soon as the watch tells of it.
pub async fn volumes_follow_what_they_mirror(world: &World) {
    let map = |text: &str| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "seen", "namespace": "default", "resourceVersion": "1" }, "data": { "key": text } });
    world.fake.put("/api/v1/namespaces/default/configmaps/seen", map("old"));
    let events = world.run(
        "mirror",
        json!({
            "terminationGracePeriodSeconds": 0,
            "volumes": [{ "name": "v", "configMap": { "name": "seen" } }],
            "containers": [{ "name": "app", "image": "busybox", "volumeMounts": [{ "name": "v", "mountPath": "/v" }],
                "command": ["sh", "-c", "until grep -q new /v/key; do :; done; exit 7"] }],
            "restartPolicy": "Never",
        }),
    );
    world.until("mirror", "running", |pod| pod["status"]["phase"] == "Running").await;
    world.fake.put("/api/v1/namespaces/default/configmaps/seen", map("new"));
    let pod = world.until("mirror", "over", |pod| pod["status"]["phase"] == "Failed").await;
    assert_eq!(state(&pod, 0)["terminated"]["exitCode"], 7);
    world.delete("mirror", 0, &events);
    world.fake.until(&path("mirror"), "gone", |pod| pod.is_none()).await;
}

/// What one pod writes to a claim's volume the next one reads, below a sub-path too; a claim that is not bound holds its
/// pod back, in upstream's words.
pub async fn claims_outlive_their_pods(world: &World) {
    let folder = "/run/test/volumes/pvc-1";
    let volume = |name: &str, source: Value, claim: &str| {
        let mut volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": { "name": name, "annotations": { "pv.kubernetes.io/provisioned-by": "knetsim.dev/local" } },
            "spec": { "claimRef": { "name": claim, "namespace": "default", "uid": claim } },
        });
        volume["spec"].as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
        world.fake.put(&format!("/api/v1/persistentvolumes/{name}"), volume);
    };
    let claim = |name: &str, volume: &str, phase: &str| {
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": { "name": name, "namespace": "default", "uid": name },
            "spec": { "volumeName": volume }, "status": { "phase": phase },
        });
        world.fake.put(&format!("/api/v1/namespaces/default/persistentvolumeclaims/{name}"), claim);
    };
    let pod = |claim: &str, read_only: bool, script: &str| {
        json!({
            "terminationGracePeriodSeconds": 0, "restartPolicy": "Never",
            "volumes": [{ "name": "v", "persistentVolumeClaim": { "claimName": claim, "readOnly": read_only } }],
            "containers": [{ "name": "app", "image": "busybox", "command": ["sh", "-c", script], "volumeMounts": [
                { "name": "v", "mountPath": "/v" }, { "name": "v", "mountPath": "/sub", "subPath": "deep/er" }] }],
        })
    };
    let run = async |name: &str, spec: Value| {
        let events = world.run(name, spec);
        let over = |pod: &Value| matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        let pod = world.until(name, "over", over).await;
        world.delete(name, 0, &events);
        world.fake.until(&path(name), "gone", |pod| pod.is_none()).await;
        state(&pod, 0)["terminated"]["exitCode"].as_i64()
    };
    volume("pvc-1", json!({ "hostPath": { "path": folder, "type": "DirectoryOrCreate" } }), "data");
    claim("data", "pvc-1", "Bound");
    assert_eq!(run("writer", pod("data", false, "echo kept > /v/file && echo deep > /sub/file")).await, Some(0));
    let look = "grep -q kept /v/file && grep -q deep /v/deep/er/file && ! touch /v/new 2>/dev/null";
    assert_eq!(run("reader", pod("data", true, look)).await, Some(0));
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(folder).expect("kept").permissions());
    assert_eq!(mode & 0o777, 0o777);

    // A disk is there already, and its files are the group's that the pod asks for.
    let disk = "/run/test/disk";
    volume("disk", json!({ "local": { "path": disk } }), "disk");
    claim("disk", "disk", "Bound");
    volume("far", json!({ "csi": { "driver": "d", "volumeHandle": "h" } }), "far");
    claim("far", "far", "Bound");
    claim("later", "", "Pending");
    let complaints = [
        (
            "disk",
            "MountVolume.NewMounter initialization failed for volume \"disk\" : path \"/run/test/disk\" does not exist",
        ),
        ("far", "MountVolume.SetUp failed for volume \"far\" : volume type csi is not supported by knetsim"),
        (
            "later",
            "Unable to attach or mount volumes: unmounted volumes=[v], unattached volumes=[], failed to process \
             volumes=[v]: error processing PVC default/later: PVC is not bound",
        ),
        (
            "none",
            "Unable to attach or mount volumes: unmounted volumes=[v], unattached volumes=[], failed to process \
             volumes=[v]: error processing PVC default/none: failed to fetch PVC from API server: not found",
        ),
    ];
    let waiting: Vec<_> =
        complaints.iter().map(|(name, _)| (*name, world.run(name, pod(name, false, "exit 7")))).collect();
    for (_, words) in complaints {
        let said = |event: &Value| event["reason"] == "FailedMount" && event["message"] == words;
        world.fake.until("/none", words, |_| world.fake.events().iter().any(said)).await;
    }
    std::fs::create_dir_all(disk).expect("made");
    claim("later", "pvc-1", "Bound");
    volume("pvc-1", json!({ "hostPath": { "path": folder, "type": "DirectoryOrCreate" } }), "later");
    for (name, events) in waiting {
        if matches!(name, "disk" | "later") {
            let pod = world.until(name, "over", |pod| pod["status"]["phase"] == "Failed").await;
            assert_eq!(state(&pod, 0)["terminated"]["exitCode"], 7, "{name}");
        }
        world.delete(name, 0, &events);
        world.fake.until(&path(name), "gone", |pod| pod.is_none()).await;
    }
    assert!(std::fs::read_to_string(format!("{folder}/file")).is_ok_and(|text| text == "kept\n"), "the data stays");

    // A claim that merely has the right name is not the pod's own.
    claim("own-v", "pvc-1", "Bound");
    volume("pvc-1", json!({ "hostPath": { "path": folder, "type": "DirectoryOrCreate" } }), "own-v");
    let mut spec = pod("", false, "grep -q kept /v/file");
    spec["volumes"] = json!([{ "name": "v", "ephemeral": { "volumeClaimTemplate": { "spec": {} } } }]);
    let events = world.run("own", spec);
    let words = "Unable to attach or mount volumes: unmounted volumes=[v], unattached volumes=[], failed to process \
                 volumes=[v]: PVC default/own-v was not created for pod default/own (pod is not owner)";
    let said = |event: &Value| event["reason"] == "FailedMount" && event["message"] == words;
    world.fake.until("/none", words, |_| world.fake.events().iter().any(said)).await;
    let at = "/api/v1/namespaces/default/persistentvolumeclaims/own-v";
    let mut owned = world.fake.get(at).expect("there");
    let owner = json!({ "apiVersion": "v1", "kind": "Pod", "name": "own", "uid": "uid-own", "controller": true });
    owned["metadata"]["ownerReferences"] = json!([owner]);
    world.fake.put(at, owned);
    let over = world.until("own", "over", |pod| pod["status"]["phase"] == "Succeeded").await;
    assert_eq!(state(&over, 0)["terminated"]["exitCode"], 0);
    world.delete("own", 0, &events);
    world.fake.until(&path("own"), "gone", |pod| pod.is_none()).await;
}
