//! What a pod shares with its host, and what it is called there (`validateHostUsers`, `validatePodHostNetworkDeps`,
//! `validatePodHostName`, `validateSysctls`).

use std::collections::BTreeSet;

use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::Value;

use super::super::json::Json;
use super::named;
use super::pod_annotations::CONTAINERS;

/// The containers of all kinds, with where they are.
pub fn each_container<'a>(path: &Path, spec: &'a Value) -> Vec<(Path, &'a Value)> {
    let of = |list: &str| {
        let at = path.child(list);
        spec.list(list).iter().enumerate().map(|(i, container)| (at.index(i), container)).collect::<Vec<_>>()
    };
    CONTAINERS.into_iter().flat_map(of).collect()
}

/// In the host's network a port is the host's, too; in a template it may be left to the pods' defaults.
pub fn ports(errors: &mut ErrorList, path: &Path, spec: &Value, in_pod: bool) {
    if !spec.yes("hostNetwork") {
        return;
    }
    for (i, container) in spec.list("containers").iter().enumerate() {
        for (j, port) in container.list("ports").iter().enumerate() {
            let host = port.int("hostPort");
            if (in_pod || host != 0) && host != port.int("containerPort") {
                let at = path.child("containers").index(i).child("ports").index(j).child("hostPort");
                errors.push(Error::invalid(&at, host, "must match `containerPort` when `hostNetwork` is true"));
            }
        }
    }
}

/// With users of its own a pod shares nothing else of the host; upstream's spelling.
pub fn users(errors: &mut ErrorList, path: &Path, spec: &Value) {
    const DETAIL: &str = "when `hostUsers` is false";
    if spec.at("hostUsers") != false {
        return;
    }
    for (field, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if spec.yes(field) {
            errors.push(Error::forbidden(&path.child(shown), DETAIL));
        }
    }
    for (at, container) in each_container(path, spec) {
        if !container.list("volumeDevices").is_empty() {
            errors.push(Error::forbidden(&at.child("volumeDevices"), DETAIL));
        }
    }
}

/// What the pod is called inside, whatever it is called outside.
pub fn name(errors: &mut ErrorList, path: &Path, spec: &Value) {
    /// The kernel takes no more.
    const LENGTH: usize = 64;
    let Some(name) = spec.at("hostnameOverride").as_str() else { return };
    let at = path.child("hostnameOverride");
    for field in ["setHostnameAsFQDN", "hostNetwork"].into_iter().filter(|field| spec.yes(field)) {
        errors.push(Error::forbidden(&at, format!("may not be specified when {field} is true")));
    }
    if name.len() > LENGTH {
        errors.push(Error::too_long(&at, LENGTH));
    }
    named(errors, &at, name, names::dns1123_subdomain);
}

/// Kernel parameters: well named, each once, none of the host's.
pub fn sysctls(errors: &mut ErrorList, path: &Path, spec: &Value) {
    const FORMAT: &str = "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
    const LENGTH: usize = 253;
    let mut seen = BTreeSet::new();
    for (i, sysctl) in spec.list("securityContext.sysctls").iter().enumerate() {
        let at = path.index(i).child("name");
        let name = sysctl.text("name");
        let new = seen.insert(name);
        if name.is_empty() {
            errors.push(Error::required(&at, ""));
        } else if name.len() > LENGTH || !name.split(['.', '/']).all(is_word) {
            let detail = format!("must have at most {LENGTH} characters and match regex {FORMAT}");
            errors.push(Error::invalid(&at, name, detail));
        } else if !new {
            errors.push(Error::duplicate(&at, name));
        }
        if let Some(field) = namespace(name).filter(|field| spec.yes(field)) {
            errors.push(Error::invalid(&at, name, format!("may not be specified when '{field}' is true")));
        }
    }
}

fn is_word(word: &str) -> bool {
    let ends = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = word.as_bytes();
    let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    ends(bytes.first()) && ends(bytes.last()) && bytes.iter().all(inner)
}

/// Parameters of a kernel namespace, by name; besides there are those whose names begin so.
const OF_IPC: [&str; 10] = [
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
    "kernel.shm",
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.msg",
];

/// The field by which a pod would share the parameter with its host. Where the first separator is a slash, slashes and dots
/// change places.
fn namespace(name: &str) -> Option<&'static str> {
    let swap = |c: char| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    let slashed = name.find(['.', '/']).is_some_and(|at| name[at..].starts_with('/'));
    let name: String = if slashed { name.chars().map(swap).collect() } else { name.to_owned() };
    let name = name.split('*').next().unwrap_or_default();
    if name.starts_with("net.") {
        Some("hostNetwork")
    } else if OF_IPC.contains(&name) || name.starts_with("fs.mqueue.") {
        Some("hostIPC")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::texts;
    use super::*;

    #[test]
    fn kernel_parameters_are_well_named() {
        let spec = |names: &[&str]| {
            let list: Vec<Value> = names.iter().map(|name| json!({ "name": name, "value": "1" })).collect();
            json!({ "hostNetwork": true, "securityContext": { "sysctls": list } })
        };
        let check = |names: &[&str]| {
            let mut errors = ErrorList::new();
            sysctls(&mut errors, &Path::new("sysctls"), &spec(names));
            errors.len()
        };
        assert_eq!(check(&["kernel.shmmax", "safe-and-unsafe", "kernel/shm_rmid_forced"]), 0);
        assert_eq!(check(&["foo-", "bar..", "", "A.b", "kernel.x", "kernel.x", "net.a"]), 6);
    }

    fn told(rule: fn(&mut ErrorList, &Path, &Value), spec: &Value) -> Vec<String> {
        let mut errors = ErrorList::new();
        rule(&mut errors, &Path::new("spec"), spec);
        texts(&errors)
    }

    #[test]
    fn parameters_of_namespaces_that_are_shared() {
        for (name, field) in [
            ("net.core.somaxconn", Some("hostNetwork")),
            ("net/core/somaxconn", Some("hostNetwork")),
            ("kernel.shmmax", Some("hostIPC")),
            ("kernel.sem", Some("hostIPC")),
            ("fs.mqueue.msg_max", Some("hostIPC")),
            ("kernel.shm_other", None),
            ("vm.swappiness", None),
        ] {
            assert_eq!(namespace(name), field, "{name}");
        }
    }

    #[test]
    fn users_of_its_own_share_nothing_else() {
        let mut spec = json!({"hostUsers": false, "hostNetwork": true, "hostPID": true, "hostIPC": true,
            "containers": [{"volumeDevices": [{}]}]});
        let fields = ["hostNetwork", "HostPID", "HostIPC", "containers[0].volumeDevices"];
        assert_eq!(told(users, &spec), fields.map(|f| format!("spec.{f}: Forbidden: when `hostUsers` is false")));
        spec["hostUsers"] = json!(true);
        assert!(told(users, &spec).is_empty());
    }

    #[test]
    fn a_name_instead_of_the_hostname() {
        let long = format!("{}.b", "a".repeat(63));
        for (spec, wrong) in [
            (json!({"hostnameOverride": "a.b"}), vec![]),
            (
                json!({"hostnameOverride": "a", "setHostnameAsFQDN": true, "hostNetwork": true}),
                vec![
                    "Forbidden: may not be specified when setHostnameAsFQDN is true",
                    "Forbidden: may not be specified when hostNetwork is true",
                ],
            ),
            (json!({"hostnameOverride": long}), vec!["Too long: may not be more than 64 bytes"]),
        ] {
            let expected: Vec<String> =
                wrong.into_iter().map(|wrong| format!("spec.hostnameOverride: {wrong}")).collect();
            assert_eq!(told(name, &spec), expected);
        }
    }

    #[test]
    fn ports_of_the_host_are_the_containers() {
        let spec = json!({"hostNetwork": true, "containers": [{"ports": [{"containerPort": 80},
            {"containerPort": 80, "hostPort": 81}, {"containerPort": 80, "hostPort": 80}]}]});
        let wrong = |in_pod| {
            let mut errors = ErrorList::new();
            ports(&mut errors, &Path::new("spec"), &spec, in_pod);
            errors.len()
        };
        assert_eq!((wrong(true), wrong(false)), (2, 1));
    }
}
