use serde_json::json;

use super::super::policy::Version;
use super::*;

fn at(level: Level, minor: Option<u32>, spec: &Value) -> String {
    detail(&violations(Standard { level, version: Version(minor) }, &Value::Null, spec))
}

fn good() -> Value {
    json!({
        "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
        "containers": [{ "name": "a", "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"], "add": ["NET_BIND_SERVICE"] } } }],
        "volumes": [{ "name": "v", "emptyDir": {} }],
    })
}

#[test]
fn a_plain_pod_breaks_what_restricted_asks_for() {
    let spec = json!({ "containers": [{ "name": "x" }] });
    assert_eq!(
        at(Level::Restricted, None, &spec),
        "allowPrivilegeEscalation != false (container \"x\" must set securityContext.allowPrivilegeEscalation=false), \
         unrestricted capabilities (container \"x\" must set securityContext.capabilities.drop=[\"ALL\"]), \
         runAsNonRoot != true (pod or container \"x\" must set securityContext.runAsNonRoot=true), \
         seccompProfile (pod or container \"x\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
    );
    assert_eq!(at(Level::Baseline, None, &spec), "");
    assert_eq!(at(Level::Restricted, None, &good()), "");
    assert_eq!(at(Level::Privileged, None, &json!({ "hostNetwork": true })), "");
}

/// Each row: a change to a good pod, and what baseline and restricted say to it at the latest version.
#[test]
fn each_rule() {
    let rows = [
        ("/hostNetwork", json!(true), "host namespaces (hostNetwork=true)", "host namespaces (hostNetwork=true)"),
        (
            "/volumes",
            json!([{ "name": "h", "hostPath": { "path": "/" } }, { "name": "n", "nfs": {} }]),
            "hostPath volumes (volume \"h\")",
            "restricted volume types (volumes \"h\", \"n\" use restricted volume types \"hostPath\", \"nfs\")",
        ),
        (
            "/containers/0/ports",
            json!([{ "hostPort": 80 }, { "hostPort": 443 }]),
            "hostPort (container \"a\" uses hostPorts 443, 80)",
            "hostPort (container \"a\" uses hostPorts 443, 80)",
        ),
        (
            "/containers/0/livenessProbe",
            json!({ "httpGet": { "host": "example.com" } }),
            "probe or lifecycle host (container \"a\" uses probe or lifecycle host \"example.com\")",
            "probe or lifecycle host (container \"a\" uses probe or lifecycle host \"example.com\")",
        ),
        (
            "/containers/0/securityContext/privileged",
            json!(true),
            "privileged (container \"a\" must not set securityContext.privileged=true)",
            "privileged (container \"a\" must not set securityContext.privileged=true)",
        ),
        (
            "/containers/0/securityContext/capabilities/add",
            json!(["NET_ADMIN", "CHOWN"]),
            "non-default capabilities (container \"a\" must not include \"NET_ADMIN\" in securityContext.capabilities.add)",
            "unrestricted capabilities (container \"a\" must not include \"CHOWN\", \"NET_ADMIN\" in securityContext.capabilities.add)",
        ),
        (
            "/containers/0/securityContext/procMount",
            json!("Unmasked"),
            "procMount (container \"a\" must not set securityContext.procMount to \"Unmasked\")",
            "procMount (container \"a\" must not set securityContext.procMount to \"Unmasked\")",
        ),
        (
            "/securityContext/seLinuxOptions",
            json!({ "type": "evil_t", "user": "u" }),
            "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type \"evil_t\"; user may not be set)",
            "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type \"evil_t\"; user may not be set)",
        ),
        (
            "/securityContext/seccompProfile/type",
            json!("Unconfined"),
            "seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")",
            "seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ),
        (
            "/securityContext/sysctls",
            json!([{ "name": "kernel.msgmax" }, { "name": "net.ipv4.tcp_rmem" }]),
            "forbidden sysctls (kernel.msgmax)",
            "forbidden sysctls (kernel.msgmax)",
        ),
        (
            "/securityContext/windowsOptions",
            json!({ "hostProcess": true }),
            "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
            "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
        ),
        (
            "/securityContext/appArmorProfile",
            json!({ "type": "Unconfined" }),
            "forbidden AppArmor profile (pod must not set AppArmor profile type to \"Unconfined\")",
            "forbidden AppArmor profile (pod must not set AppArmor profile type to \"Unconfined\")",
        ),
        ("/securityContext/runAsUser", json!(0), "", "runAsUser=0 (pod must not set runAsUser=0)"),
        (
            "/containers/0/securityContext/runAsNonRoot",
            json!(false),
            "",
            "runAsNonRoot != true (container \"a\" must not set securityContext.runAsNonRoot=false)",
        ),
    ];
    for (pointer, value, baseline, restricted) in rows {
        let mut spec = good();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        spec.pointer_mut(parent).unwrap()[field] = value;
        assert_eq!(at(Level::Baseline, None, &spec), baseline, "{pointer}");
        assert_eq!(at(Level::Restricted, None, &spec), restricted, "{pointer}");
    }
}

#[test]
fn rules_come_with_versions() {
    let bare = json!({ "containers": [{ "name": "x" }], "os": { "name": "windows" }, "securityContext": { "runAsNonRoot": true } });
    assert!(at(Level::Restricted, Some(24), &bare).contains("allowPrivilegeEscalation"));
    assert_eq!(at(Level::Restricted, Some(25), &bare), "");
    let root = json!({ "containers": [], "hostUsers": false, "securityContext": { "runAsUser": 0 } });
    assert_eq!(at(Level::Restricted, Some(22), &root), "");
    assert!(at(Level::Restricted, Some(23), &root).contains("runAsUser=0"));
    assert_eq!(at(Level::Restricted, None, &root), "");
    let sysctl = json!({ "containers": [], "securityContext": { "sysctls": [{ "name": "net.ipv4.tcp_rmem" }] } });
    assert!(!at(Level::Baseline, Some(31), &sysctl).is_empty());
    assert_eq!(at(Level::Baseline, Some(32), &sysctl), "");
    // A version that is still to come has today's rules.
    assert_eq!(at(Level::Baseline, Some(99), &sysctl), "");
}
