//! What pods and containers may be and do on their node (`ValidatePodSecurityContext`, `ValidateSecurityContext`).

use schema::field::{Error, ErrorList, Path};
use serde_json::Value;

use super::super::internal;
use super::super::json::Json;
use super::volume_source::descending_path;
use super::{one_of, pod_host, windows};

const PROFILES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];

pub fn id(errors: &mut ErrorList, path: &Path, id: i64) {
    if !(0..=i64::from(i32::MAX)).contains(&id) {
        errors.push(Error::invalid(path, id, "must be between 0 and 2147483647, inclusive"));
    }
}

fn ids(errors: &mut ErrorList, path: &Path, context: &Value, fields: &[&str]) {
    for field in fields.iter().filter(|field| context.has(field)) {
        id(errors, &path.child(field), context.int(field));
    }
}

/// A field that is one of `supported` where it is given, be it "".
fn given_one_of(errors: &mut ErrorList, path: &Path, object: &Value, field: &str, supported: &[&str]) {
    if object.has(field) {
        one_of(errors, &path.child(field), object.text(field), supported);
    }
}

/// The whole pod's.
pub fn of_pod(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let context = spec.at("securityContext");
    ids(errors, path, context, &["fsGroup", "runAsUser", "runAsGroup"]);
    let groups = path.child("supplementalGroups");
    for (i, group) in context.list("supplementalGroups").iter().enumerate() {
        id(errors, &groups.index(i), group.as_i64().unwrap_or_default());
    }
    if spec.yes("shareProcessNamespace") && spec.yes("hostPID") {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(Error::invalid(&path.child("shareProcessNamespace"), true, detail));
    }
    pod_host::sysctls(errors, &path.child("sysctls"), spec);
    given_one_of(errors, path, context, "fsGroupChangePolicy", &["Always", "OnRootMismatch"]);
    seccomp(errors, &path.child("seccompProfile"), context.at("seccompProfile"));
    windows::options(errors, &path.child("windowsOptions"), context.at("windowsOptions"));
    app_armor(errors, &path.child("appArmorProfile"), context.at("appArmorProfile"));
    given_one_of(errors, path, context, "supplementalGroupsPolicy", &["Merge", "Strict"]);
    given_one_of(errors, path, context, "seLinuxChangePolicy", &["Recursive"]);
}

/// A container's.
pub fn of_container(errors: &mut ErrorList, path: &Path, context: &Value, host_users: bool) {
    ids(errors, path, context, &["runAsUser", "runAsGroup"]);
    given_one_of(errors, path, context, "procMount", &["Default", "Unmasked"]);
    if context.text("procMount") == "Unmasked" && host_users {
        let detail = "`hostUsers` must be false to use `Unmasked`";
        errors.push(Error::invalid(&path.child("procMount"), "Unmasked", detail));
    }
    seccomp(errors, &path.child("seccompProfile"), context.at("seccompProfile"));
    if context.at("allowPrivilegeEscalation") == false {
        let admin = context.texts("capabilities.add").into_iter().filter(|name| *name == "CAP_SYS_ADMIN").count();
        for (granted, by) in [
            (usize::from(context.yes("privileged")), "privileged` to true"),
            (admin, "capabilities.Add` CAP_SYS_ADMIN"),
        ] {
            for _ in 0..granted {
                let detail = format!("cannot set `allowPrivilegeEscalation` to false and `{by}");
                let shown = internal::compact(context, "api.core.v1.SecurityContext");
                errors.push(Error::invalid_as(path, shown, detail));
            }
        }
    }
    windows::options(errors, &path.child("windowsOptions"), context.at("windowsOptions"));
    app_armor(errors, &path.child("appArmorProfile"), context.at("appArmorProfile"));
}

fn seccomp(errors: &mut ErrorList, path: &Path, profile: &Value) {
    if profile.is_null() {
        return;
    }
    let kind = profile.text("type");
    if kind.is_empty() {
        errors.push(Error::required(&path.child("type"), "type is required when seccompProfile is set"));
    } else {
        one_of(errors, &path.child("type"), kind, &PROFILES);
    }
    let at = path.child("localhostProfile");
    if kind == "Localhost" {
        if profile.has("localhostProfile") {
            descending_path(errors, &at, profile.text("localhostProfile"));
        } else {
            errors.push(Error::required(&at, "must be set when seccomp type is Localhost"));
        }
    } else if profile.has("localhostProfile") {
        let shown = format!("{{\"Type\":{kind:?},\"LocalhostProfile\":{}}}", profile.at("localhostProfile"));
        errors.push(Error::invalid_as(&at, shown, "can only be set when seccomp type is Localhost"));
    }
}

pub(super) fn app_armor(errors: &mut ErrorList, path: &Path, profile: &Value) {
    /// Paths are no longer than a page on the machines this is for.
    const LENGTH: usize = 4095;
    if profile.is_null() {
        return;
    }
    let (kind, name) = (profile.text("type"), profile.text("localhostProfile"));
    let at = path.child("localhostProfile");
    match kind {
        "Localhost" if !profile.has("localhostProfile") => {
            errors.push(Error::required(&at, "must be set when AppArmor type is Localhost"));
        }
        "Localhost" => {
            let trimmed = name.trim();
            if trimmed.len() != name.len() {
                errors.push(Error::invalid(&at, name, "must not be padded with whitespace"));
            } else if trimmed.is_empty() {
                errors.push(Error::required(&at, "must be set when AppArmor type is Localhost"));
            }
            if name.len() > LENGTH {
                errors.push(Error::too_long(&at, LENGTH));
            }
        }
        "RuntimeDefault" | "Unconfined" if profile.has("localhostProfile") => {
            errors.push(Error::invalid(&at, name, "can only be set when AppArmor type is Localhost"));
        }
        "RuntimeDefault" | "Unconfined" => {}
        "" => errors.push(Error::required(&path.child("type"), "type is required when appArmorProfile is set")),
        other => errors.push(Error::not_supported(&path.child("type"), other, &PROFILES)),
    }
}
