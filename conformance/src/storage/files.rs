//! ConfigMaps, Secrets and the downward API as files: the same specs for each, as a volume of its own and projected.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::pods::{self, container, pod, with_volumes};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Pods;
    "[sig-storage] ConfigMap should be consumable from pods in volume [NodeConformance] [Conformance]" => |t| read(t, CONFIG_MAP, PLAIN),
    "[sig-storage] ConfigMap should be consumable from pods in volume as non-root [NodeConformance] [Conformance]" => |t| read(t, CONFIG_MAP, NON_ROOT),
    "[sig-storage] ConfigMap should be consumable from pods in volume with defaultMode set [LinuxOnly] [NodeConformance] [Conformance]" => |t| read(t, CONFIG_MAP, MODE),
    "[sig-storage] ConfigMap should be consumable from pods in volume with mappings [NodeConformance] [Conformance]" => |t| read(t, CONFIG_MAP, MAPPED),
    "[sig-storage] ConfigMap should be consumable from pods in volume with mappings and Item mode set [LinuxOnly] [NodeConformance] [Conformance]" => |t| read(t, CONFIG_MAP, MAPPED_MODE),
    "[sig-storage] ConfigMap should be consumable from pods in volume with mappings as non-root [NodeConformance] [Conformance]" => |t| read(t, CONFIG_MAP, MAPPED_NON_ROOT),
    "[sig-storage] ConfigMap should be consumable in multiple volumes in the same pod [NodeConformance] [Conformance]" => |t| twice(t, CONFIG_MAP),
    "[sig-storage] ConfigMap updates should be reflected in volume [NodeConformance] [Conformance]" => |t| updated(t, CONFIG_MAP),
    "[sig-storage] ConfigMap optional updates should be reflected in volume [NodeConformance] [Conformance]" => |t| optional(t, CONFIG_MAP),
    "[sig-storage] ConfigMap binary data should be reflected in volume [NodeConformance] [Conformance]" => binary,
    "[sig-storage] Projected configMap should be consumable from pods in volume [NodeConformance] [Conformance]" => |t| read(t, PROJECTED_MAP, PLAIN),
    "[sig-storage] Projected configMap should be consumable from pods in volume as non-root [NodeConformance] [Conformance]" => |t| read(t, PROJECTED_MAP, NON_ROOT),
    "[sig-storage] Projected configMap should be consumable from pods in volume with defaultMode set [LinuxOnly] [NodeConformance] [Conformance]" => |t| read(t, PROJECTED_MAP, MODE),
    "[sig-storage] Projected configMap should be consumable from pods in volume with mappings [NodeConformance] [Conformance]" => |t| read(t, PROJECTED_MAP, MAPPED),
    "[sig-storage] Projected configMap should be consumable from pods in volume with mappings and Item mode set [LinuxOnly] [NodeConformance] [Conformance]" => |t| read(t, PROJECTED_MAP, MAPPED_MODE),
    "[sig-storage] Projected configMap should be consumable from pods in volume with mappings as non-root [NodeConformance] [Conformance]" => |t| read(t, PROJECTED_MAP, MAPPED_NON_ROOT),
    "[sig-storage] Projected configMap should be consumable in multiple volumes in the same pod [NodeConformance] [Conformance]" => |t| twice(t, PROJECTED_MAP),
    "[sig-storage] Projected configMap updates should be reflected in volume [NodeConformance] [Conformance]" => |t| updated(t, PROJECTED_MAP),
    "[sig-storage] Projected configMap optional updates should be reflected in volume [NodeConformance] [Conformance]" => |t| optional(t, PROJECTED_MAP),
    "[sig-storage] Secrets should be consumable from pods in volume [NodeConformance] [Conformance]" => |t| read(t, SECRET, PLAIN),
    "[sig-storage] Secrets should be consumable from pods in volume with defaultMode set [LinuxOnly] [NodeConformance] [Conformance]" => |t| read(t, SECRET, MODE),
    "[sig-storage] Secrets should be consumable from pods in volume as non-root with defaultMode and fsGroup set [LinuxOnly] [NodeConformance] [Conformance]" => |t| read(t, SECRET, GROUP),
    "[sig-storage] Secrets should be consumable from pods in volume with mappings [NodeConformance] [Conformance]" => |t| read(t, SECRET, MAPPED),
    "[sig-storage] Secrets should be consumable from pods in volume with mappings and Item Mode set [LinuxOnly] [NodeConformance] [Conformance]" => |t| read(t, SECRET, MAPPED_MODE),
    "[sig-storage] Secrets should be consumable in multiple volumes in a pod [NodeConformance] [Conformance]" => |t| twice(t, SECRET),
    "[sig-storage] Secrets should be able to mount in a volume regardless of a different secret existing with same name in different namespace [NodeConformance] [Conformance]" => same_name_elsewhere,
    "[sig-storage] Secrets optional updates should be reflected in volume [NodeConformance] [Conformance]" => |t| optional(t, SECRET),
    "[sig-storage] Projected secret should be consumable from pods in volume [NodeConformance] [Conformance]" => |t| read(t, PROJECTED_SECRET, PLAIN),
    "[sig-storage] Projected secret should be consumable from pods in volume with defaultMode set [LinuxOnly] [NodeConformance] [Conformance]" => |t| read(t, PROJECTED_SECRET, MODE),
    "[sig-storage] Projected secret should be consumable from pods in volume as non-root with defaultMode and fsGroup set [LinuxOnly] [NodeConformance] [Conformance]" => |t| read(t, PROJECTED_SECRET, GROUP),
    "[sig-storage] Projected secret should be consumable from pods in volume with mappings [NodeConformance] [Conformance]" => |t| read(t, PROJECTED_SECRET, MAPPED),
    "[sig-storage] Projected secret should be consumable from pods in volume with mappings and Item Mode set [LinuxOnly] [NodeConformance] [Conformance]" => |t| read(t, PROJECTED_SECRET, MAPPED_MODE),
    "[sig-storage] Projected secret should be consumable in multiple volumes in a pod [NodeConformance] [Conformance]" => |t| twice(t, PROJECTED_SECRET),
    "[sig-storage] Projected secret optional updates should be reflected in volume [NodeConformance] [Conformance]" => |t| optional(t, PROJECTED_SECRET),
    "[sig-storage] Projected combined should project all components that make up the projection API [Projection] [NodeConformance] [Conformance]" => combined,
}

/// What the files come from.
#[derive(Clone, Copy)]
struct Source {
    plural: &'static str,
    /// The name of the volume source, and of the reference's name field in it.
    volume: (&'static str, &'static str),
    projected: bool,
}

const CONFIG_MAP: Source = Source { plural: "configmaps", volume: ("configMap", "name"), projected: false };
const PROJECTED_MAP: Source = Source { projected: true, ..CONFIG_MAP };
const SECRET: Source = Source { plural: "secrets", volume: ("secret", "secretName"), projected: false };
const PROJECTED_SECRET: Source = Source { projected: true, volume: ("secret", "name"), ..SECRET };

/// How it is mounted and read.
#[derive(Clone, Copy)]
struct Way {
    /// Key data-2 as path/to/data-2 instead of all keys under their names.
    mapped: bool,
    default_mode: Option<u32>,
    item_mode: Option<u32>,
    user: Option<u32>,
    group: Option<u32>,
    /// The file's mode as it must be seen.
    seen: &'static str,
}

const PLAIN: Way = Way { mapped: false, default_mode: None, item_mode: None, user: None, group: None, seen: "644" };
const NON_ROOT: Way = Way { user: Some(1000), ..PLAIN };
const MODE: Way = Way { default_mode: Some(0o400), seen: "400", ..PLAIN };
const GROUP: Way = Way { default_mode: Some(0o440), user: Some(1000), group: Some(1001), seen: "440", ..PLAIN };
const MAPPED: Way = Way { mapped: true, ..PLAIN };
const MAPPED_MODE: Way = Way { mapped: true, item_mode: Some(0o400), seen: "400", ..PLAIN };
const MAPPED_NON_ROOT: Way = Way { mapped: true, user: Some(1000), ..PLAIN };

impl Source {
    /// An object of three keys.
    async fn create(self, t: &Test, name: &str, values: [&str; 3]) -> anyhow::Result<()> {
        t.objects("v1", self.plural).create(&self.object(name, values)).await?;
        Ok(())
    }

    fn object(self, name: &str, values: [&str; 3]) -> Value {
        let value = |text: &str| if self.plural == "secrets" { BASE64_STANDARD.encode(text) } else { text.to_owned() };
        let [one, two, three] = values.map(value);
        json!({ "metadata": { "name": name }, "data": { "data-1": one, "data-2": two, "data-3": three } })
    }

    fn volume(self, volume: &str, name: &str, way: Way, optional: bool) -> Value {
        let (kind, field) = self.volume;
        let mut source = json!({ field: name });
        if optional {
            source["optional"] = true.into();
        }
        if way.mapped {
            source["items"] = json!([{ "key": "data-2", "path": "path/to/data-2" }]);
            if let Some(mode) = way.item_mode {
                source["items"][0]["mode"] = mode.into();
            }
        }
        let (mut whole, at) =
            if self.projected { (json!({ "sources": [{ kind: source }] }), "projected") } else { (source, kind) };
        if let Some(mode) = way.default_mode {
            whole["defaultMode"] = mode.into();
        }
        json!({ "name": volume, at: whole })
    }
}

async fn read(t: Test, source: Source, way: Way) -> anyhow::Result<()> {
    source.create(&t, "files", ["value-1", "value-2", "value-3"]).await?;
    let (file, value) = if way.mapped { ("path/to/data-2", "value-2") } else { ("data-1", "value-1") };
    let script = format!("cat /mnt/{file} && echo && stat -L -c %a /mnt/{file}");
    let mut pod = pod("reader", &[container("reader", &script)]);
    if let Some(user) = way.user {
        pod["spec"]["securityContext"]["runAsUser"] = user.into();
    }
    if let Some(group) = way.group {
        pod["spec"]["securityContext"]["fsGroup"] = group.into();
    }
    let pod = with_volumes(pod, &[(source.volume("files", "files", way, false), "/mnt")]);
    let text = pods::output(&t, &pod).await?;
    expect::same("the file and its mode", &text.lines().collect(), &vec![value, way.seen])
}

async fn twice(t: Test, source: Source) -> anyhow::Result<()> {
    source.create(&t, "files", ["value-1", "value-2", "value-3"]).await?;
    let volumes = [
        (source.volume("one", "files", PLAIN, false), "/mnt/1"),
        (source.volume("two", "files", PLAIN, false), "/mnt/2"),
    ];
    let pod = pod("reader", &[container("reader", "cat /mnt/1/data-1 && echo && cat /mnt/2/data-1")]);
    let text = pods::output(&t, &with_volumes(pod, &volumes)).await?;
    expect::same("both files", &text.lines().collect(), &vec!["value-1", "value-1"])
}

/// The loop shows what the kubelet has mounted by now.
const STAY: &str = "trap 'exit 0' TERM; while true; do sleep 1; done";

async fn updated(t: Test, source: Source) -> anyhow::Result<()> {
    source.create(&t, "files", ["value-1", "value-2", "value-3"]).await?;
    let pod = with_volumes(
        pod("reader", &[container("reader", STAY)]),
        &[(source.volume("files", "files", PLAIN, false), "/mnt")],
    );
    pods::start(&t, &pod).await?;
    pods::until(&t, "reader", "reader", "cat /mnt/data-1", "value-1").await?;
    t.objects("v1", source.plural).update(&source.object("files", ["value-9", "value-2", "value-3"])).await?;
    pods::until(&t, "reader", "reader", "cat /mnt/data-1", "value-9").await
}

/// One is deleted, one updated, one comes only later.
async fn optional(t: Test, source: Source) -> anyhow::Result<()> {
    source.create(&t, "deleted", ["value-1", "value-2", "value-3"]).await?;
    source.create(&t, "updated", ["value-1", "value-2", "value-3"]).await?;
    let volume = |name: &str| source.volume(name, name, PLAIN, true);
    let volumes =
        [(volume("deleted"), "/mnt/deleted"), (volume("updated"), "/mnt/updated"), (volume("created"), "/mnt/created")];
    pods::start(&t, &with_volumes(pod("reader", &[container("reader", STAY)]), &volumes)).await?;
    let see = "cat /mnt/deleted/data-1 2>/dev/null || echo none; cat /mnt/updated/data-3; echo; cat /mnt/created/data-1 2>/dev/null || echo none";
    pods::until(&t, "reader", "reader", see, "value-1value-3\nnone").await?;
    let objects = t.objects("v1", source.plural);
    objects.delete("deleted").await?;
    objects.update(&source.object("updated", ["value-1", "value-2", "value-4"])).await?;
    source.create(&t, "created", ["value-5", "value-2", "value-3"]).await?;
    pods::until(&t, "reader", "reader", see, "none\nvalue-4\nvalue-5").await
}

async fn binary(t: Test) -> anyhow::Result<()> {
    let bytes = [0xde, 0xca, 0xfe, 0xba, 0xd0, 0xfe, 0xff];
    let object = json!({
        "metadata": { "name": "files" }, "data": { "data-1": "value-1" },
        "binaryData": { "dump.bin": BASE64_STANDARD.encode(bytes) },
    });
    t.objects("v1", "configmaps").create(&object).await?;
    let volume = CONFIG_MAP.volume("files", "files", PLAIN, false);
    let pod = pod("reader", &[container("reader", "cat /mnt/data-1; echo; od -An -tx1 /mnt/dump.bin")]);
    let text = pods::output(&t, &with_volumes(pod, &[(volume, "/mnt")])).await?;
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    expect::same("the files", &lines, &vec!["value-1", "de ca fe ba d0 fe ff"])
}

async fn same_name_elsewhere(t: Test) -> anyhow::Result<()> {
    let other = t.another_namespace("secret-namespace").await?;
    t.objects_in(&other, "v1", "secrets").create(&SECRET.object("files", ["other", "other", "other"])).await?;
    read(t, SECRET, PLAIN).await
}

async fn combined(t: Test) -> anyhow::Result<()> {
    t.objects("v1", "configmaps")
        .create(&json!({ "metadata": { "name": "map" }, "data": { "configmap-data": "configmap-value-1" } }))
        .await?;
    t.objects("v1", "secrets").create(&json!({ "metadata": { "name": "secret" }, "data": { "secret-data": BASE64_STANDARD.encode("secret-value-1") } })).await?;
    let volume = json!({ "name": "all", "projected": { "sources": [
        { "downwardAPI": { "items": [{ "path": "podname", "fieldRef": { "fieldPath": "metadata.name" } }] } },
        { "secret": { "name": "secret", "items": [{ "key": "secret-data", "path": "secret-data" }] } },
        { "configMap": { "name": "map", "items": [{ "key": "configmap-data", "path": "configmap-data" }] } },
    ] } });
    let script = "cat /all/podname; echo; cat /all/secret-data; echo; cat /all/configmap-data";
    let text =
        pods::output(&t, &with_volumes(pod("projected", &[container("c", script)]), &[(volume, "/all")])).await?;
    expect::same("the files", &text.lines().collect(), &vec!["projected", "secret-value-1", "configmap-value-1"])
}
