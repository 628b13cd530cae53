//! Subpath: a single file of a volume, mounted.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::pods::{self, container, pod};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Pods;
    "[sig-storage] Subpath Atomic writer volumes should support subpaths with configmap pod [Conformance]" => |t| file(t, "configMap", "/test/file"),
    "[sig-storage] Subpath Atomic writer volumes should support subpaths with configmap pod with mountPath of existing file [Conformance]" => |t| file(t, "configMap", "/etc/resolv.conf"),
    "[sig-storage] Subpath Atomic writer volumes should support subpaths with downward pod [Conformance]" => |t| file(t, "downwardAPI", "/test/file"),
    "[sig-storage] Subpath Atomic writer volumes should support subpaths with projected pod [Conformance]" => |t| file(t, "projected", "/test/file"),
    "[sig-storage] Subpath Atomic writer volumes should support subpaths with secret pod [Conformance]" => |t| file(t, "secret", "/test/file"),
}

async fn file(t: Test, kind: &str, path: &str) -> anyhow::Result<()> {
    t.objects("v1", "configmaps")
        .create(&json!({ "metadata": { "name": "files" }, "data": { "key": "value" } }))
        .await?;
    t.objects("v1", "secrets")
        .create(&json!({ "metadata": { "name": "files" }, "data": { "key": BASE64_STANDARD.encode("value") } }))
        .await?;
    let name = json!({ "items": [{ "path": "key", "fieldRef": { "fieldPath": "metadata.labels['name']" } }] });
    let source: Value = match kind {
        "configMap" => json!({ "name": "files" }),
        "secret" => json!({ "secretName": "files" }),
        "downwardAPI" => name,
        _ => json!({ "sources": [{ "configMap": { "name": "files" } }] }),
    };
    let mut test = container("test", &format!("test -f {path} && cat {path}"));
    test["volumeMounts"] = json!([{ "name": "volume", "mountPath": path, "subPath": "key" }]);
    let mut pod = pod("value", &[test]);
    pod["spec"]["volumes"] = json!([{ "name": "volume", kind: source }]);
    let text = pods::output(&t, &pod).await?;
    expect::same("the file", &text.as_str(), &"value")
}
