//! Images as volumes.

use serde_json::json;

use crate::pods::{self, container, pod, with_volumes};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Pods;
    "[sig-node] ImageVolume should succeed with pod and pull policy of Always [LinuxOnly] [MinimumKubeletVersion:1.35] [Conformance]" => read,
}

/// Another image's files, which cannot be written to or run.
async fn read(t: Test) -> anyhow::Result<()> {
    let volume = json!({ "name": "volume", "image": { "reference": pods::BUSYBOX, "pullPolicy": "Always" } });
    let stay = "trap 'exit 0' TERM; while true; do sleep 1; done";
    let wanted = with_volumes(pod("test-pod", &[container("test", stay)]), &[(volume, "/volume")]);
    let created = pods::start(&t, &wanted).await?;
    expect::same("the volume", &created["spec"]["volumes"][0]["image"]["pullPolicy"], &"Always".into())?;
    let exec = |script: &'static str| pods::exec(&t, "test-pod", "test", script);
    let hosts = exec("cat /volume/etc/hosts").await?;
    expect::same("a file of the image", &hosts.trim(), &"127.0.0.1 localhost")?;
    let refused = exec("touch /volume/etc/new 2>&1 || echo refused; /volume/usr/bin/env 2>&1 || echo refused").await?;
    expect::same("what is refused", &refused.matches("refused\n").count(), &2)
}
