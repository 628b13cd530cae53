//! An OCI bundle's `config.json` (runtime-spec 1.0), as a pure function of what is known about a container.

use std::path::PathBuf;

use serde_json::{Value, json};

/// How /sys is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sysfs {
    /// A sysfs of the pod's own network namespace.
    #[default]
    Own,
    /// The node's, where the kernel refuses a new one.
    Bind,
}

/// One bind mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bind {
    pub source: PathBuf,
    pub target: String,
    pub read_only: bool,
    /// What is mounted below it is as read-only as itself.
    pub recursive: bool,
    /// No program in it can be run.
    pub no_exec: bool,
    /// `None`, `HostToContainer`, `Bidirectional`, as in a volumeMount.
    pub propagation: Propagation,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    #[default]
    Private,
    HostToContainer,
    Bidirectional,
}

/// Paths of namespaces to join; `None` is the one pause is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// Pause, whose network, IPC and UTS namespaces are the pod's.
    pub pause: i32,
    /// The pod's shared PID namespace, by its first process.
    pub shared_pid: Option<i32>,
    pub host_pid: bool,
}

/// Limits for the container's cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub cgroup: String,
    pub memory: Option<i64>,
    /// Whether the kernel counts swap, too.
    pub swap: bool,
    /// In thousandths of a CPU.
    pub cpu: Option<i64>,
    pub cpu_request: Option<i64>,
    pub pids: Option<i64>,
}

#[derive(Clone, Debug, Default)]
pub struct Container {
    pub args: Vec<String>,
    pub env: Vec<String>,
    pub cwd: String,
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub capabilities: Vec<String>,
    pub privileged: bool,
    pub no_new_privileges: bool,
    pub read_only_root: bool,
    pub tty: bool,
    pub rootfs: PathBuf,
    /// Options of the overlay on /usr, for images made of the host's.
    pub usr: Option<String>,
    pub binds: Vec<Bind>,
    pub namespaces: Namespaces,
    pub sysfs: Sysfs,
    pub oom_score_adj: i32,
    pub limits: Option<Limits>,
    pub annotations: Vec<(String, String)>,
}

const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];

const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The whole `config.json`.
#[must_use]
pub fn spec(c: &Container) -> Value {
    let user = if c.groups.is_empty() {
        json!({ "uid": c.uid, "gid": c.gid })
    } else {
        json!({ "uid": c.uid, "gid": c.gid, "additionalGids": c.groups })
    };
    // A user other than root starts with no effective capabilities, as execve would leave it.
    let effective: &[String] = if c.uid == 0 { &c.capabilities } else { &[] };
    let mut spec = json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": c.tty,
            "user": user,
            "args": c.args,
            "env": c.env,
            "cwd": if c.cwd.is_empty() { "/" } else { &c.cwd },
            "capabilities": {
                "bounding": c.capabilities, "effective": effective, "permitted": effective, "inheritable": [], "ambient": [],
            },
            "noNewPrivileges": c.no_new_privileges,
        },
        "root": { "path": c.rootfs, "readonly": c.read_only_root },
        "mounts": mounts(c),
        "linux": { "namespaces": namespaces(&c.namespaces), "rootfsPropagation": propagation(c) },
        "annotations": c.annotations.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
    });
    if c.privileged {
        return with_limits(spec, c);
    }
    spec["linux"]["maskedPaths"] = json!(MASKED);
    spec["linux"]["readonlyPaths"] = json!(READ_ONLY);
    with_limits(spec, c)
}

fn propagation(c: &Container) -> &'static str {
    match c.binds.iter().map(|bind| bind.propagation).max_by_key(|propagation| *propagation as u8) {
        Some(Propagation::Bidirectional) => "rshared",
        _ => "rslave",
    }
}

fn with_limits(mut spec: Value, c: &Container) -> Value {
    let Some(limits) = &c.limits else { return spec };
    spec["linux"]["cgroupsPath"] = json!(limits.cgroup);
    spec["linux"]["resources"] = resources(limits);
    spec
}

/// Limits as the specification's `linux.resources`.
#[must_use]
pub fn resources(limits: &Limits) -> Value {
    // The period the kernel and upstream use by default.
    const PERIOD: i64 = 100_000;
    let mut resources = json!({});
    if let Some(bytes) = limits.memory {
        resources["memory"] = json!({ "limit": bytes });
        if limits.swap {
            // Memory and swap together: the limit is not evaded by swapping.
            resources["memory"]["swap"] = json!(bytes);
        }
    }
    let mut cpu = json!({});
    if let Some(milli) = limits.cpu {
        // The kernel takes no quota below a millisecond.
        cpu["quota"] = json!((milli * PERIOD / 1000).max(1000));
        cpu["period"] = json!(PERIOD);
    }
    if let Some(milli) = limits.cpu_request {
        // Upstream's MilliCPUToShares: 1024 shares a CPU, at least 2.
        cpu["shares"] = json!((milli * 1024 / 1000).clamp(2, 262_144));
    }
    if cpu != json!({}) {
        resources["cpu"] = cpu;
    }
    if let Some(pids) = limits.pids {
        resources["pids"] = json!({ "limit": pids });
    }
    resources
}

fn namespaces(ns: &Namespaces) -> Vec<Value> {
    let of_pause = |kind: &str, file: &str| json!({ "type": kind, "path": format!("/proc/{}/ns/{file}", ns.pause) });
    let mut list =
        vec![json!({ "type": "mount" }), of_pause("network", "net"), of_pause("ipc", "ipc"), of_pause("uts", "uts")];
    match ns.shared_pid {
        _ if ns.host_pid => {}
        Some(pid) => list.push(json!({ "type": "pid", "path": format!("/proc/{pid}/ns/pid") })),
        None => list.push(json!({ "type": "pid" })),
    }
    list
}

fn mounts(c: &Container) -> Vec<Value> {
    let mount = |kind: &str, source: &str, target: &str, options: &[&str]| json!({ "destination": target, "type": kind, "source": source, "options": options });
    let mut list = Vec::new();
    if let Some(usr) = &c.usr {
        let options: Vec<&str> = usr.split(',').collect();
        list.push(mount("overlay", "overlay", "/usr", &options));
    }
    list.push(if c.namespaces.host_pid {
        mount("bind", "/proc", "/proc", &["rbind", "nosuid", "noexec", "nodev"])
    } else {
        mount("proc", "proc", "/proc", &["nosuid", "noexec", "nodev"])
    });
    list.push(mount("tmpfs", "tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]));
    list.push(mount(
        "devpts",
        "devpts",
        "/dev/pts",
        &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
    ));
    list.push(mount("mqueue", "mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"]));
    list.push(mount("tmpfs", "shm", "/dev/shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]));
    let writable = if c.privileged { "rw" } else { "ro" };
    list.push(match c.sysfs {
        Sysfs::Own => mount("sysfs", "sysfs", "/sys", &["nosuid", "noexec", "nodev", writable]),
        Sysfs::Bind => mount("bind", "/sys", "/sys", &["rbind", "nosuid", "noexec", "nodev", writable]),
    });
    if c.limits.is_some() {
        // A container sees its own group, as with containerd.
        list.push(mount("cgroup", "cgroup", "/sys/fs/cgroup", &["nosuid", "noexec", "nodev", "relatime", writable]));
    }
    if c.privileged {
        for device in ["/dev/net/tun", "/dev/fuse"] {
            if std::path::Path::new(device).exists() {
                list.push(mount("bind", device, device, &["bind", "nosuid", "noexec"]));
            }
        }
    }
    // Shorter targets first, so that nothing mounted inside another's target is hidden by it.
    let mut binds: Vec<&Bind> = c.binds.iter().collect();
    binds.sort_by_key(|bind| bind.target.matches('/').count());
    for bind in binds {
        let access = match (bind.read_only, bind.recursive) {
            (true, true) => "rro",
            (true, false) => "ro",
            (false, _) => "rw",
        };
        let mut options = vec!["rbind", access];
        options.push(match bind.propagation {
            Propagation::Private => "rprivate",
            Propagation::HostToContainer => "rslave",
            Propagation::Bidirectional => "rshared",
        });
        // A data folder may lie on a file system that is mounted so: an engine's volume, a partition for homes.
        let given = kernel::mount_flags::restrictions(&bind.source);
        options.extend(bind.no_exec.then_some("noexec").filter(|name| !given.contains(name)));
        options.extend(given);
        list.push(json!({ "destination": bind.target, "type": "bind", "source": bind.source, "options": options }));
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container() -> Container {
        Container {
            args: vec!["sh".into()],
            env: vec!["A=b".into()],
            capabilities: vec!["CAP_KILL".into()],
            rootfs: "/r".into(),
            usr: Some("lowerdir=/a:/usr,upperdir=/u,workdir=/w,userxattr".into()),
            namespaces: Namespaces { pause: 7, ..Default::default() },
            binds: vec![
                Bind {
                    source: "/b".into(),
                    target: "/data/inner".into(),
                    read_only: true,
                    no_exec: true,
                    ..Default::default()
                },
                Bind { source: "/a".into(), target: "/data".into(), ..Default::default() },
                Bind {
                    source: "/c".into(),
                    target: "/tree".into(),
                    read_only: true,
                    recursive: true,
                    ..Default::default()
                },
            ],
            ..Default::default()
        }
    }

    #[test]
    fn an_ordinary_container() {
        insta::assert_json_snapshot!(spec(&container()));
    }

    #[test]
    fn a_privileged_one_sees_all_of_proc_and_writes_sys() {
        let spec = spec(&Container { privileged: true, ..container() });
        assert!(spec["linux"].get("maskedPaths").is_none());
        let sys = spec["mounts"].as_array().expect("a list").iter().find(|mount| mount["destination"] == "/sys");
        assert!(sys.expect("there")["options"].as_array().expect("a list").contains(&json!("rw")));
    }

    #[test]
    fn limits_are_the_cgroups_numbers() {
        let limits = Limits {
            cgroup: "k/x".into(),
            memory: Some(1 << 20),
            swap: true,
            cpu: Some(250),
            cpu_request: Some(100),
            pids: None,
        };
        let spec = spec(&Container { limits: Some(limits), ..container() });
        assert_eq!(spec["linux"]["resources"]["memory"], json!({ "limit": 1_048_576, "swap": 1_048_576 }));
        assert_eq!(spec["linux"]["resources"]["cpu"], json!({ "quota": 25_000, "period": 100_000, "shares": 102 }));
        assert_eq!(spec["linux"]["cgroupsPath"], "k/x");
    }

    #[test]
    fn shared_and_host_process_namespaces() {
        let with = |shared_pid, host_pid| {
            let namespaces = Namespaces { pause: 7, shared_pid, host_pid };
            let spec = spec(&Container { namespaces, ..container() });
            let list = spec["linux"]["namespaces"].as_array().expect("a list").clone();
            list.into_iter().find(|entry| entry["type"] == "pid")
        };
        assert_eq!(with(None, false), Some(json!({ "type": "pid" })));
        assert_eq!(with(Some(9), false), Some(json!({ "type": "pid", "path": "/proc/9/ns/pid" })));
        assert_eq!(with(None, true), None);
    }
}
