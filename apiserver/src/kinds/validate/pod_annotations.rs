//! Annotations that mean something to pods (`ValidatePodSpecificAnnotations`, `ValidatePodSpecificAnnotationUpdates`).

use schema::field::{Error, ErrorList, Path};
use serde_json::{Value, json};

use super::super::json::Json;
use super::{security_context, volume_source};

/// Before its container's name: the AppArmor profile of old.
pub const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
/// Before its container's name: the seccomp profile of old.
pub const SECCOMP: &str = "container.seccomp.security.alpha.kubernetes.io/";
pub const POD_SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/pod";
const MIRROR: &str = "kubernetes.io/config.mirror";
const COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The kinds of containers, as fields of a pod's spec.
pub const CONTAINERS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Where a pod has them.
#[must_use]
pub fn path() -> Path {
    Path::new("metadata").child("annotations")
}

fn given(pod: &Value) -> impl Iterator<Item = (&str, &str)> {
    pod.entries("metadata.annotations").iter().map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()))
}

/// Whether the kubelet made the pod of a file.
#[must_use]
pub fn is_mirror(pod: &Value) -> bool {
    given(pod).any(|(key, _)| key == MIRROR)
}

/// What is wrong with those of one pod, or of a template, which are at `path`.
pub fn check(errors: &mut ErrorList, path: &Path, pod: &Value) {
    if let Some((key, value)) = given(pod).find(|(key, _)| *key == MIRROR)
        && pod.text("spec.nodeName").is_empty()
    {
        let detail = "must set spec.nodeName if mirror pod annotation is set";
        errors.push(Error::invalid(&path.key(key), value, detail));
    }
    if let Some((key, cost)) = given(pod).find(|(key, _)| *key == COST)
        && !is_cost(cost)
    {
        errors.push(Error::invalid(&path.key(key), cost, "must be a 32bit integer"));
    }
    if let Some((key, profile)) = given(pod).find(|(key, _)| *key == POD_SECCOMP) {
        seccomp(errors, &path.child(key), profile);
    }
    for (key, profile) in given(pod).filter(|(key, _)| key.starts_with(SECCOMP)) {
        seccomp(errors, &path.child(key), profile);
    }
    for (key, profile) in given(pod) {
        let Some(container) = key.strip_prefix(APP_ARMOR) else { continue };
        let known = CONTAINERS.iter().flat_map(|list| pod.at("spec").list(list)).any(|c| c.text("name") == container);
        if !known {
            errors.push(Error::invalid(&path.key(key), container, "container not found"));
        }
        if app_armor_profile(profile).is_none() && !profile.is_empty() {
            errors.push(Error::invalid(&path.key(key), profile, format!("invalid AppArmor profile name: {profile:?}")));
        }
    }
}

/// A 32-bit number, without a plus or leading zeros.
fn is_cost(text: &str) -> bool {
    let digits = matches!(text.bytes().next(), Some(b'-' | b'1'..=b'9')) || text == "0";
    digits && text.parse::<i32>().is_ok()
}

/// What an annotation says of AppArmor: the profile's type, and its name where it is one of the node's.
#[must_use]
pub fn app_armor_profile(text: &str) -> Option<(&'static str, &str)> {
    match text {
        "unconfined" => Some(("Unconfined", "")),
        "runtime/default" => Some(("RuntimeDefault", "")),
        other => other.strip_prefix("localhost/").map(|name| ("Localhost", name)),
    }
}

/// The field for what an annotation says of AppArmor, unless that is wrong.
fn app_armor_field(text: &str) -> Option<Value> {
    let profile = app_armor_profile(text).map(|(kind, name)| match name {
        "" => json!({ "type": kind }),
        name => json!({ "type": kind, "localhostProfile": name }),
    });
    profile.filter(|profile| {
        let mut errors = ErrorList::new();
        security_context::app_armor(&mut errors, &Path::default(), profile);
        errors.is_empty()
    })
}

/// Whether an annotation says of AppArmor what the field does.
#[must_use]
pub fn says(text: &str, field: &Value) -> bool {
    app_armor_field(text).as_ref() == Some(field)
}

/// Told of annotations that fields have taken the place of.
pub const APP_ARMOR_WARNING: &str = "deprecated since v1.30; use the \"appArmorProfile\" field instead";

/// Makes fields of a new pod's AppArmor annotations, where its containers have none, and yields what to warn of
/// (`applyAppArmorVersionSkew`).
pub fn app_armor_fields(pod: &mut Value) -> Vec<String> {
    let mut warnings = Vec::new();
    if pod.text("spec.os.name") == "windows" {
        return warnings;
    }
    let annotations = pod.entries("metadata.annotations").clone();
    let whole = pod.at("spec.securityContext.appArmorProfile").clone();
    for list in CONTAINERS {
        for container in pod.list_mut(&format!("spec.{list}")) {
            let key = format!("{APP_ARMOR}{}", container.text("name"));
            let Some(text) = annotations.get(&key) else { continue };
            if container.has("securityContext.appArmorProfile") {
                continue;
            }
            let valid = app_armor_field(text.as_str().unwrap_or_default());
            // What the pod says of all its containers need not be said again.
            if valid.as_ref() == Some(&whole) {
                continue;
            }
            if let Some(profile) = valid {
                container.put("securityContext.appArmorProfile", profile);
            }
            warnings.push(format!("{}: {APP_ARMOR_WARNING}", path().key(&key)));
        }
    }
    warnings
}

fn seccomp(errors: &mut ErrorList, path: &Path, profile: &str) {
    match (profile, profile.strip_prefix("localhost/")) {
        ("runtime/default" | "docker/default" | "unconfined", _) => {}
        (_, Some(file)) => volume_source::descending_path(errors, path, file),
        _ => errors.push(Error::invalid(path, profile, "must be a valid seccomp profile")),
    }
}

/// Fields and annotations of a new pod, or of a template, that say something of the same must say the same. `spec`: where the
/// pod's spec is.
pub fn agree(errors: &mut ErrorList, spec: &Path, pod: &Value) {
    const SECCOMP_TYPES: [(&str, &[&str]); 2] =
        [("Unconfined", &["unconfined"]), ("RuntimeDefault", &["runtime/default", "docker/default"])];
    const APP_ARMOR_TYPES: [(&str, &[&str]); 2] =
        [("Unconfined", &["unconfined"]), ("RuntimeDefault", &["runtime/default"])];
    let annotation = |key: &str| given(pod).find(|(known, _)| *known == key).map(|(_, value)| value);
    let own = |context: &Value, field: &str| context.at("securityContext").at(field).clone();
    let mut compare = |path: &Path, field: &Value, text: Option<&str>, what: &str, types: &[(&str, &[&str])]| {
        let (Some(text), false) = (text, field.is_null()) else { return };
        let refuse = |errors: &mut ErrorList, child: &str, of: &str| {
            errors
                .push(Error::forbidden(&path.child(child), format!("{what} {of} in annotation and field must match")));
        };
        match (field.text("type"), text.strip_prefix("localhost/")) {
            ("Localhost", None) => refuse(errors, "type", "type"),
            ("Localhost", Some(name)) if name != field.text("localhostProfile") => {
                refuse(errors, "localhostProfile", "profile");
            }
            (kind, _) => {
                let fits = types.iter().find(|(ty, _)| *ty == kind).is_none_or(|(_, texts)| texts.contains(&text));
                if !fits {
                    refuse(errors, "type", "type");
                }
            }
        }
    };
    let context = spec.child("securityContext");
    let of_pod = pod.at("spec");
    let seccomp_of_pod = own(of_pod, "seccompProfile");
    compare(&context.child("seccompProfile"), &seccomp_of_pod, annotation(POD_SECCOMP), "seccomp", &SECCOMP_TYPES);
    let all = || {
        CONTAINERS.iter().flat_map(|list| {
            let places = of_pod.list(list).iter().enumerate();
            places.map(|(i, container)| (spec.child(list).index(i).child("securityContext"), container))
        })
    };
    for (path, container) in all() {
        let text = annotation(&format!("{SECCOMP}{}", container.text("name")));
        compare(&path.child("seccompProfile"), &own(container, "seccompProfile"), text, "seccomp", &SECCOMP_TYPES);
    }
    if of_pod.text("os.name") == "windows" {
        return;
    }
    for (path, container) in all() {
        let text = annotation(&format!("{APP_ARMOR}{}", container.text("name")));
        let field = match own(container, "appArmorProfile") {
            Value::Null => own(of_pod, "appArmorProfile"),
            field => field,
        };
        compare(&path.child("appArmorProfile"), &field, text, "apparmor", &APP_ARMOR_TYPES);
    }
}

/// What an update may not do to them; whatever else is wrong with them too.
pub fn update(errors: &mut ErrorList, new: &Value, old: &Value) {
    let changed = |a: &Value, b: &Value| -> Vec<String> {
        let (a, b) = (a.entries("metadata.annotations"), b.entries("metadata.annotations"));
        a.iter().filter(|(key, value)| b.get(*key) != Some(value)).map(|(key, _)| key.clone()).collect()
    };
    let known = |key: &str| old.entries("metadata.annotations").contains_key(key);
    let gone = changed(old, new).into_iter().map(|key| (key, "remove or update"));
    let added = changed(new, old).into_iter().filter(|key| !known(key)).map(|key| (key, "add"));
    for (key, done) in gone.chain(added) {
        let what = if key.starts_with(APP_ARMOR) {
            "AppArmor annotations"
        } else if key == MIRROR {
            "mirror pod annotation"
        } else {
            continue;
        };
        errors.push(Error::forbidden(&path().key(&key), format!("may not {done} {what}")));
    }
    check(errors, &path(), new);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::texts;
    use super::*;

    fn pod(annotations: Value) -> Value {
        json!({"metadata": {"annotations": annotations}, "spec": {"containers": [{"name": "c"}]}})
    }

    #[test]
    fn what_they_may_say() {
        let at = |key: &str, what: &str| vec![format!("metadata.annotations[{key}]: Invalid value: {what}")];
        let apparmor = "container.apparmor.security.beta.kubernetes.io/";
        for (annotations, expected) in [
            (json!({COST: "-5", POD_SECCOMP: "localhost/a/b"}), vec![]),
            (json!({COST: "+5"}), at(COST, "\"+5\": must be a 32bit integer")),
            (json!({MIRROR: "x"}), at(MIRROR, "\"x\": must set spec.nodeName if mirror pod annotation is set")),
            (
                json!({POD_SECCOMP: "bad"}),
                vec![
                    "metadata.annotations.seccomp.security.alpha.kubernetes.io/pod: Invalid value: \"bad\": must be a valid \
                     seccomp profile"
                        .to_owned(),
                ],
            ),
            (json!({format!("{APP_ARMOR}c"): "localhost/x"}), vec![]),
            (json!({format!("{APP_ARMOR}d"): ""}), at(&format!("{apparmor}d"), "\"d\": container not found")),
            (
                json!({format!("{APP_ARMOR}c"): "x"}),
                at(&format!("{apparmor}c"), "\"x\": invalid AppArmor profile name: \"x\""),
            ),
        ] {
            let mut errors = ErrorList::new();
            check(&mut errors, &path(), &pod(annotations));
            assert_eq!(texts(&errors), expected);
        }
    }

    #[test]
    fn what_may_become_of_them() {
        let key = format!("{APP_ARMOR}c");
        let at = format!("metadata.annotations[{key}]: Forbidden: may not");
        for (old, new, expected) in [
            (json!({"a": "b"}), json!({"a": "c", "d": "e"}), vec![]),
            (json!({&key: "unconfined"}), json!({}), vec![format!("{at} remove or update AppArmor annotations")]),
            (json!({}), json!({&key: "unconfined"}), vec![format!("{at} add AppArmor annotations")]),
        ] {
            let mut errors = ErrorList::new();
            update(&mut errors, &pod(new), &pod(old));
            assert_eq!(texts(&errors), expected);
        }
    }

    #[test]
    fn fields_say_the_same() {
        let mut pod = pod(json!({format!("{APP_ARMOR}c"): "localhost/x", POD_SECCOMP: "unconfined"}));
        pod["spec"]["securityContext"] = json!({"appArmorProfile": {"type": "Localhost", "localhostProfile": "x"},
            "seccompProfile": {"type": "RuntimeDefault"}});
        pod["spec"]["containers"][0]["securityContext"] = json!({"appArmorProfile": {"type": "Unconfined"}});
        let mut errors = ErrorList::new();
        agree(&mut errors, &Path::new("spec"), &pod);
        let expected = [
            "spec.securityContext.seccompProfile.type: Forbidden: seccomp type in annotation and field must match",
            "spec.containers[0].securityContext.appArmorProfile.type: Forbidden: apparmor type in annotation and field must match",
        ];
        assert_eq!(texts(&errors), expected);
    }

    #[test]
    fn annotations_become_fields() {
        let key = |name: &str| format!("{APP_ARMOR}{name}");
        let mut pod = json!({
            "metadata": {"annotations": {key("a"): "localhost/x", key("b"): "runtime/default", key("c"): "unconfined",
                key("d"): "localhost/", key("e"): "unconfined"}},
            "spec": {"securityContext": {"appArmorProfile": {"type": "RuntimeDefault"}},
                "initContainers": [{"name": "a"}],
                "containers": [{"name": "b"}, {"name": "c"}, {"name": "d"},
                    {"name": "e", "securityContext": {"appArmorProfile": {"type": "RuntimeDefault"}}}, {"name": "f"}]}});
        let warning = |name: &str| {
            let at = format!("metadata.annotations[container.apparmor.security.beta.kubernetes.io/{name}]");
            format!("{at}: deprecated since v1.30; use the \"appArmorProfile\" field instead")
        };
        assert_eq!(app_armor_fields(&mut pod), ["a", "c", "d"].map(warning));
        let profile = |container: &Value| container.at("securityContext.appArmorProfile").clone();
        assert_eq!(profile(&pod["spec"]["initContainers"][0]), json!({"type": "Localhost", "localhostProfile": "x"}));
        let containers: Vec<Value> = pod.list("spec.containers").iter().map(profile).collect();
        let expected =
            [Value::Null, json!({"type": "Unconfined"}), Value::Null, json!({"type": "RuntimeDefault"}), Value::Null];
        assert_eq!(containers, expected, "what the pod says of all is not said again");
        let mut windows = json!({"metadata": {"annotations": {key("a"): "unconfined"}},
            "spec": {"os": {"name": "windows"}, "containers": [{"name": "a"}]}});
        assert!(app_armor_fields(&mut windows).is_empty());
    }
}
