//! How much of a mount is read-only (KEP-3857): the mount itself, or with `recursiveReadOnly` all that is mounted below it too.

use std::sync::LazyLock;

use k8s_openapi::api::core::v1::{Container, VolumeMount, VolumeMountStatus};

/// Whether the kernel changes whole trees of mounts (mount_setattr(2), Linux 5.12).
static SUPPORTED: LazyLock<bool> = LazyLock::new(|| {
    let kernel = nix::sys::utsname::uname().map(|names| names.release().to_string_lossy().into_owned());
    is_since(&kernel.unwrap_or_default(), (5, 12))
});

fn is_since(release: &str, wanted: (u32, u32)) -> bool {
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    numbers.next().zip(numbers.next()).is_some_and(|version| version >= wanted)
}

#[must_use]
pub fn supported() -> bool {
    *SUPPORTED
}

/// Whether all below the mount is to be read-only, too.
///
/// # Errors
/// When it cannot be, in upstream's words (`resolveRecursiveReadOnly`).
pub fn is_recursive(mount: &VolumeMount, supported: bool) -> Result<bool, String> {
    let requested = || format!("volume {:?} requested recursive read-only mode, but it is", mount.name);
    let mode = mount.recursive_read_only.as_deref().unwrap_or("Disabled");
    if mode == "Disabled" {
        return Ok(false);
    }
    if mount.read_only != Some(true) {
        return Err(format!("{} not read-only", requested()));
    }
    if let Some(propagation) = mount.mount_propagation.as_deref().filter(|propagation| *propagation != "None") {
        return Err(format!("{} not compatible with propagation {propagation:?}", requested()));
    }
    match mode {
        "IfPossible" => Ok(supported),
        "Enabled" if !supported => Err(format!("{} not supported by the runtime", requested())),
        "Enabled" => Ok(true),
        other => Err(format!("unknown recursive read-only mode {other:?}")),
    }
}

/// What a container's status says of its mounts.
#[must_use]
pub fn statuses(container: &Container, supported: bool) -> Option<Vec<VolumeMountStatus>> {
    let mounts = container.volume_mounts.as_ref()?;
    let of = |mount: &VolumeMount| VolumeMountStatus {
        name: mount.name.clone(),
        mount_path: mount.mount_path.clone(),
        read_only: mount.read_only.filter(|read_only| *read_only),
        recursive_read_only: (mount.read_only == Some(true)).then(|| {
            let recursive = is_recursive(mount, supported) == Ok(true);
            if recursive { "Enabled" } else { "Disabled" }.to_owned()
        }),
    };
    Some(mounts.iter().map(of).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn versions() {
        for (release, is) in [("5.12.0", true), ("6.1-rc1", true), ("5.11.9", false), ("4.19", false), ("x", false)] {
            assert_eq!(is_since(release, (5, 12)), is, "{release}");
        }
    }

    #[test]
    fn modes() {
        let refused = |why: &str| Err(format!("volume \"v\" requested recursive read-only mode, but it is {why}"));
        let cases = [
            (json!({}), true, Ok(false)),
            (json!({ "recursiveReadOnly": "Disabled" }), true, Ok(false)),
            (json!({ "readOnly": true, "recursiveReadOnly": "Enabled" }), true, Ok(true)),
            (json!({ "readOnly": true, "recursiveReadOnly": "IfPossible" }), true, Ok(true)),
            (json!({ "readOnly": true, "recursiveReadOnly": "IfPossible" }), false, Ok(false)),
            (
                json!({ "readOnly": true, "recursiveReadOnly": "Enabled" }),
                false,
                refused("not supported by the runtime"),
            ),
            (json!({ "recursiveReadOnly": "Enabled" }), true, refused("not read-only")),
            (
                json!({ "readOnly": true, "recursiveReadOnly": "Enabled", "mountPropagation": "HostToContainer" }),
                true,
                refused("not compatible with propagation \"HostToContainer\""),
            ),
        ];
        for (mut mount, supported, wanted) in cases {
            mount["name"] = "v".into();
            mount["mountPath"] = "/v".into();
            let mount: VolumeMount = serde_json::from_value(mount).expect("a mount");
            assert_eq!(is_recursive(&mount, supported), wanted, "{mount:?}");
        }
    }

    #[test]
    fn what_the_status_says() {
        let mounts = json!([
            { "name": "a", "mountPath": "/a" },
            { "name": "b", "mountPath": "/b", "readOnly": true },
            { "name": "c", "mountPath": "/c", "readOnly": true, "recursiveReadOnly": "IfPossible" },
        ]);
        let container: Container =
            serde_json::from_value(json!({ "name": "c", "volumeMounts": mounts })).expect("a container");
        let said = serde_json::to_value(statuses(&container, true)).expect("plain data");
        let wanted = json!([
            { "name": "a", "mountPath": "/a" },
            { "name": "b", "mountPath": "/b", "readOnly": true, "recursiveReadOnly": "Disabled" },
            { "name": "c", "mountPath": "/c", "readOnly": true, "recursiveReadOnly": "Enabled" },
        ]);
        assert_eq!(said, wanted);
        assert_eq!(statuses(&Container::default(), true), None);
    }
}
