//! The Pod Security Standards as a table: which check holds at which level from which version on, and which weaker check it
//! replaces (`pod-security-admission/policy/registry.go`). Rows are in the order messages name them: baseline, then
//! restricted, each by id.

use serde_json::Value;

use super::checks::{self, Pod, Violation};
use super::policy::{Level, Standard};

type Check = fn(&Pod<'_>) -> Option<Violation>;

struct Row {
    id: &'static str,
    level: Level,
    /// From which minor version on which rule holds.
    versions: &'static [(u32, Check)],
    /// The baseline check that this one includes.
    replaces: &'static str,
}

const fn baseline(id: &'static str, versions: &'static [(u32, Check)]) -> Row {
    Row { id, level: Level::Baseline, versions, replaces: "" }
}

const fn restricted(id: &'static str, versions: &'static [(u32, Check)], replaces: &'static str) -> Row {
    Row { id, level: Level::Restricted, versions, replaces }
}

const ROWS: &[Row] = &[
    baseline("appArmorProfile", &[(0, checks::app_armor)]),
    baseline("capabilities_baseline", &[(0, checks::capabilities_baseline)]),
    baseline("hostNamespaces", &[(0, checks::host_namespaces)]),
    baseline("hostPathVolumes", &[(0, checks::host_path_volumes)]),
    baseline("hostPorts", &[(0, checks::host_ports)]),
    baseline("hostProbesAndHostLifecycle", &[(34, checks::host_probes)]),
    baseline("privileged", &[(0, checks::privileged)]),
    baseline("procMount", &[(0, checks::proc_mount), (35, |pod| pod.unless_user_namespace(checks::proc_mount))]),
    baseline("seLinuxOptions", &[(0, |pod| checks::selinux(pod, 0)), (31, |pod| checks::selinux(pod, 31))]),
    baseline("seccompProfile_baseline", &[(0, checks::seccomp_annotations), (19, checks::seccomp_baseline)]),
    baseline(
        "sysctls",
        &[
            (0, |pod| checks::sysctls(pod, 0)),
            (27, |pod| checks::sysctls(pod, 27)),
            (29, |pod| checks::sysctls(pod, 29)),
            (32, |pod| checks::sysctls(pod, 32)),
        ],
    ),
    baseline("windowsHostProcess", &[(0, checks::windows_host_process)]),
    restricted(
        "allowPrivilegeEscalation",
        &[(8, checks::privilege_escalation), (25, |pod| pod.unless_windows(checks::privilege_escalation))],
        "",
    ),
    restricted(
        "capabilities_restricted",
        &[(22, checks::capabilities_restricted), (25, |pod| pod.unless_windows(checks::capabilities_restricted))],
        "capabilities_baseline",
    ),
    restricted("procMount_restricted", &[(35, checks::proc_mount)], "procMount"),
    restricted("restrictedVolumes", &[(0, checks::restricted_volumes)], "hostPathVolumes"),
    restricted(
        "runAsNonRoot",
        &[(0, checks::run_as_non_root), (35, |pod| pod.unless_user_namespace(checks::run_as_non_root))],
        "",
    ),
    restricted(
        "runAsUser",
        &[(23, checks::run_as_user), (35, |pod| pod.unless_user_namespace(checks::run_as_user))],
        "",
    ),
    restricted(
        "seccompProfile_restricted",
        &[(19, checks::seccomp_restricted), (25, |pod| pod.unless_windows(checks::seccomp_restricted))],
        "seccompProfile_baseline",
    ),
];

impl Row {
    fn at(&self, standard: Standard) -> Option<Check> {
        let holds = |from: u32| standard.version.0.is_none_or(|version| from <= version);
        self.versions.iter().rev().find(|(from, _)| holds(*from)).map(|(_, check)| *check)
    }
}

/// All that a pod (its metadata and spec) does against a standard.
#[must_use]
pub fn violations(standard: Standard, metadata: &Value, spec: &Value) -> Vec<Violation> {
    if standard.level == Level::Privileged {
        return Vec::new();
    }
    let pod = Pod { annotations: &metadata["annotations"], spec };
    let active: Vec<(&Row, Check)> = ROWS
        .iter()
        .filter(|row| row.level <= standard.level)
        .filter_map(|row| Some((row, row.at(standard)?)))
        .collect();
    let replaced = |id: &str| active.iter().any(|(row, _)| row.replaces == id);
    active.iter().filter(|(row, _)| !replaced(row.id)).filter_map(|(_, check)| check(&pod)).collect()
}

/// `privileged (container "a" must not set …), hostPort (…)`
#[must_use]
pub fn detail(violations: &[Violation]) -> String {
    let one = |violation: &Violation| match violation.detail.as_str() {
        "" => violation.reason.clone(),
        detail => format!("{} ({detail})", violation.reason),
    };
    violations.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The reasons without their details.
#[must_use]
pub fn reasons(violations: &[Violation]) -> String {
    violations.iter().map(|violation| violation.reason.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
