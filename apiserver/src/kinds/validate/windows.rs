//! What only Windows has, and what it has not (`validateWindowsSecurityContextOptions`, `validateWindowsHostProcessPod`,
//! `validateOS`).

use std::sync::LazyLock;

use regex::Regex;
use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::Value;

use super::super::json::Json;
use super::pod_host::each_container;
use super::{named, one_of};

const HOST_PROCESS: &str = "securityContext.windowsOptions.hostProcess";

/// The size of a credential spec, and the lengths of the parts of a user's name.
const SPEC_KIB: usize = 64;
const DOMAIN: usize = 256;
const USER: usize = 104;

static NET_BIOS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"^[^\\/:*?"<>|.][^\\/:*?"<>|]{0,14}$"#).expect("a NetBIOS domain"));
static DNS: LazyLock<Regex> = LazyLock::new(|| {
    let label = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?";
    Regex::new(&format!(r"^{label}(?:\.{label})*$")).expect("a domain's name")
});

/// Who a container runs as.
pub fn options(errors: &mut ErrorList, path: &Path, options: &Value) {
    if let Some(name) = options.at("gmsaCredentialSpecName").as_str() {
        named(errors, &path.child("gmsaCredentialSpecName"), name, names::dns1123_subdomain);
    }
    if let Some(spec) = options.at("gmsaCredentialSpec").as_str() {
        let at = path.child("gmsaCredentialSpec");
        if spec.is_empty() {
            errors.push(Error::invalid(&at, spec, "gmsaCredentialSpec cannot be an empty string"));
        } else if spec.len() > SPEC_KIB * 1024 {
            errors.push(Error::invalid(&at, spec, format!("gmsaCredentialSpec size must be under {SPEC_KIB} KiB")));
        }
    }
    if let Some(name) = options.at("runAsUserName").as_str() {
        let at = path.child("runAsUserName");
        errors.extend(user_name(name).into_iter().map(|detail| Error::invalid(&at, name, detail)));
    }
}

/// What is wrong with a user's name, before which a domain may stand.
fn user_name(name: &str) -> Vec<String> {
    let parts: Vec<&str> = name.split('\\').collect();
    let (domain, user) = match parts[..] {
        [""] => return vec!["runAsUserName cannot be an empty string".to_owned()],
        _ if name.bytes().any(|b| b.is_ascii_control()) => {
            return vec!["runAsUserName cannot contain control characters".to_owned()];
        }
        [user] => (None, user),
        [domain, user] => (Some(domain), user),
        _ => return vec!["runAsUserName cannot contain more than one backslash".to_owned()],
    };
    let rules = [
        (
            domain.is_some_and(|domain| domain.len() >= DOMAIN),
            format!("runAsUserName's Domain length must be under {DOMAIN} characters"),
        ),
        (
            domain.is_some_and(|domain| !NET_BIOS.is_match(domain) && !DNS.is_match(domain)),
            "runAsUserName's Domain doesn't match the NetBios nor the DNS format".to_owned(),
        ),
        (user.is_empty(), "runAsUserName's User cannot be empty".to_owned()),
        (user.len() > USER, format!("runAsUserName's User length must not be longer than {USER} characters")),
        (
            !user.is_empty() && user.chars().all(|c| matches!(c, '.' | ' ')),
            "runAsUserName's User cannot contain only periods or spaces".to_owned(),
        ),
        (
            user.contains(['"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']']),
            r#"runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]"#.to_owned(),
        ),
    ];
    rules.into_iter().filter(|(broken, _)| *broken).map(|(_, detail)| detail).collect()
}

/// Containers that are processes of the host are alone in their pod, and in the host's network.
pub fn host_process(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let of_pod = spec.at(HOST_PROCESS).as_bool();
    let (mut containers, mut processes) = (0, 0);
    for (at, container) in each_container(path, spec) {
        let own = container.at(HOST_PROCESS).as_bool();
        if let Some((of_pod, own)) = of_pod.zip(own).filter(|(of_pod, own)| of_pod != own) {
            let at = at.child("securityContext").child("windowsOptions").child("hostProcess");
            let detail = format!("pod hostProcess value must be identical if both are specified, was {of_pod}");
            errors.push(Error::invalid(&at, own, detail));
        }
        containers += 1;
        processes += usize::from(own.or(of_pod) == Some(true));
    }
    if processes == 0 {
        return;
    }
    if processes != containers {
        let detail = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.push(Error::invalid(path, "", detail));
    }
    if !spec.yes("hostNetwork") {
        let detail = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.push(Error::invalid(&path.child("hostNetwork"), false, detail));
    }
}

/// What a pod says of the nodes it is for, and cannot say besides.
pub fn operating_system(errors: &mut ErrorList, path: &Path, spec: &Value) {
    if !spec.has("os") {
        return;
    }
    let at = path.child("os");
    match spec.text("os.name") {
        "" => errors.push(Error::required(&at.child("name"), "")),
        "linux" => not_linux(errors, path, spec),
        "windows" => not_windows(errors, path, spec),
        other => one_of(errors, &at, other, &["linux", "windows"]),
    }
}

fn not_linux(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let of_containers = each_container(path, spec);
    for (at, object) in std::iter::once((path.clone(), spec)).chain(of_containers) {
        if object.has("securityContext.windowsOptions") {
            let at = at.child("securityContext").child("windowsOptions");
            errors.push(Error::forbidden(&at, "windows options cannot be set for a linux pod"));
        }
    }
}

/// What Windows knows nothing of: of a pod, and of a container's security context.
const NOT_OF_PODS: [&str; 15] = [
    "securityContext.appArmorProfile",
    "securityContext.seLinuxOptions",
    "hostUsers",
    "hostPID",
    "hostIPC",
    "securityContext.seccompProfile",
    "securityContext.fsGroup",
    "securityContext.fsGroupChangePolicy",
    "securityContext.sysctls",
    "shareProcessNamespace",
    "securityContext.runAsUser",
    "securityContext.runAsGroup",
    "securityContext.supplementalGroups",
    "securityContext.supplementalGroupsPolicy",
    "securityContext.seLinuxChangePolicy",
];
const NOT_OF_CONTAINERS: [&str; 10] = [
    "securityContext.appArmorProfile",
    "securityContext.seLinuxOptions",
    "securityContext.seccompProfile",
    "securityContext.capabilities",
    "securityContext.readOnlyRootFilesystem",
    "securityContext.privileged",
    "securityContext.allowPrivilegeEscalation",
    "securityContext.procMount",
    "securityContext.runAsUser",
    "securityContext.runAsGroup",
];

fn not_windows(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let mut refuse = |path: &Path, object: &Value, fields: &[&str]| {
        for field in fields.iter().filter(|field| is_set(object, field)) {
            let at = field.split('.').fold(path.clone(), |path, name| path.child(name));
            errors.push(Error::forbidden(&at, "cannot be set for a windows pod"));
        }
    };
    refuse(path, spec, &NOT_OF_PODS);
    for (at, container) in each_container(path, spec) {
        refuse(&at, container, &NOT_OF_CONTAINERS);
    }
}

/// Some fields cannot be told from unset when they are false or empty.
fn is_set(object: &Value, field: &str) -> bool {
    match field {
        "hostPID" | "hostIPC" => object.yes(field),
        "securityContext.sysctls" => !object.list(field).is_empty(),
        _ => object.has(field),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::texts;
    use super::*;

    #[test]
    fn names_of_users() {
        let long = "u".repeat(105);
        for (name, wrong) in [
            ("u", vec![]),
            ("DOMAIN\\u", vec![]),
            ("", vec![" cannot be an empty string"]),
            ("a\tb", vec![" cannot contain control characters"]),
            ("a\\b\\c", vec![" cannot contain more than one backslash"]),
            ("D:\\", vec!["'s Domain doesn't match the NetBios nor the DNS format", "'s User cannot be empty"]),
            ("..", vec!["'s User cannot contain only periods or spaces"]),
            ("a@b", vec!["'s User cannot contain the following characters: \"/\\:;|=,+*?<>@[]"]),
            (&long, vec!["'s User length must not be longer than 104 characters"]),
        ] {
            let expected: Vec<String> = wrong.into_iter().map(|wrong| format!("runAsUserName{wrong}")).collect();
            assert_eq!(user_name(name), expected, "{name:?}");
        }
    }

    #[test]
    fn processes_of_the_host_keep_to_themselves() {
        let options = |own: Value| json!({"securityContext": {"windowsOptions": {"hostProcess": own}}});
        let told = |of_pod: Value, containers: Value| {
            let mut spec = options(of_pod);
            spec["containers"] = containers;
            let mut errors = ErrorList::new();
            host_process(&mut errors, &Path::new("spec"), &spec);
            texts(&errors)
        };
        let network = "spec.hostNetwork: Invalid value: false: hostNetwork must be true if pod contains any hostProcess \
                       containers";
        assert!(told(json!(false), json!([{}])).is_empty());
        assert_eq!(told(json!(true), json!([{}])), [network]);
        let mixed = told(json!(true), json!([{}, options(json!(false))]));
        assert_eq!(
            mixed,
            [
                "spec.containers[1].securityContext.windowsOptions.hostProcess: Invalid value: false: pod hostProcess value \
                 must be identical if both are specified, was true",
                "spec: Invalid value: \"\": If pod contains any hostProcess containers then all containers must be \
                 HostProcess containers",
                network,
            ]
        );
    }

    #[test]
    fn what_windows_has_not() {
        let spec = json!({
            "os": {"name": "windows"}, "hostPID": false, "hostIPC": true, "hostUsers": true,
            "securityContext": {"fsGroup": 1, "sysctls": []},
            "containers": [{"securityContext": {"privileged": false}}],
        });
        let mut errors = ErrorList::new();
        operating_system(&mut errors, &Path::new("spec"), &spec);
        let fields: Vec<String> = errors.iter().map(|error| error.field.to_string()).collect();
        let expected = ["hostUsers", "hostIPC", "securityContext.fsGroup", "containers[0].securityContext.privileged"];
        assert_eq!(fields, expected.map(|field| format!("spec.{field}")));
    }
}
