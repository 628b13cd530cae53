//! PodSecurity: namespaces say by labels how much their pods may do (`pod-security-admission`). Pods are refused, workloads
//! only warned about, and a namespace that becomes stricter is told of the pods it has already.

mod checks;
mod policy;
mod standards;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

pub use self::policy::Policy;
use self::policy::{Level, Standard};
use self::standards::{detail, reasons, violations};
use super::{Attributes, Operation};
use crate::app::text;
use crate::http::status::ApiResult;
use crate::registry::write;

/// What notes in the audit log begin with.
const ANNOTATION: &str = "pod-security.kubernetes.io/";
/// So many pods of a namespace are looked at when its level changes.
const MOST_PODS: usize = 3000;

/// Who is not judged at all.
#[derive(Debug, Default)]
pub struct Exemptions {
    pub namespaces: Vec<String>,
    pub runtime_classes: Vec<String>,
    pub users: Vec<String>,
}

fn listed(list: &[String], name: &str) -> bool {
    !name.is_empty() && list.iter().any(|known| known == name)
}

impl Exemptions {
    /// Why pods like this are not judged, whatever they are, in the word the audit log has for it.
    fn of(&self, namespace: &str, user: &str) -> Option<&'static str> {
        if listed(&self.namespaces, namespace) {
            Some("namespace")
        } else if listed(&self.users, user) {
            Some("user")
        } else {
            None
        }
    }
}

pub async fn admit(a: &Attributes<'_>, object: &Value) -> ApiResult<()> {
    if !matches!(a.operation, Operation::Create | Operation::Update) {
        return Ok(());
    }
    let subresource = a.subresource();
    match (a.resource().group.as_str(), a.resource().plural.as_str()) {
        ("", "namespaces") if subresource.is_empty() => namespace(a, object).await,
        ("", "pods") if matches!(subresource, "" | "ephemeralcontainers" | "resize") => {
            pod(a, &object["metadata"], &object["spec"], Some(object)).await
        }
        (group, plural) if subresource.is_empty() => match template(group, plural) {
            Some(pointer) => match object.pointer(pointer) {
                Some(template) => pod(a, &template["metadata"], &template["spec"], None).await,
                None => Ok(()),
            },
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Where a workload keeps the template of its pods.
fn template(group: &str, plural: &str) -> Option<&'static str> {
    match (group, plural) {
        ("", "podtemplates") => Some("/template"),
        ("", "replicationcontrollers")
        | ("apps", "replicasets" | "deployments" | "statefulsets" | "daemonsets")
        | ("batch", "jobs") => Some("/spec/template"),
        ("batch", "cronjobs") => Some("/spec/jobTemplate/spec/template"),
        _ => None,
    }
}

/// Of what may change in a pod, images and new ephemeral containers matter.
fn matters(new: &Value, old: &Value) -> bool {
    let images = |pod: &Value, field: &str| -> Vec<(String, String)> {
        let list = pod["spec"][field].as_array().into_iter().flatten();
        list.map(|c| (text(c, "/name").to_owned(), text(c, "/image").to_owned())).collect()
    };
    ["containers", "initContainers", "ephemeralContainers"].iter().any(|field| images(new, field) != images(old, field))
}

/// `enforced`: the pod itself, which is refused; a template is only warned of.
async fn pod(a: &Attributes<'_>, metadata: &Value, spec: &Value, enforced: Option<&Value>) -> ApiResult<()> {
    let configuration = &a.app().admission;
    let exempt = |why: &str| a.annotate(&format!("{ANNOTATION}exempt"), why);
    if let Some(why) = configuration.exemptions.of(a.namespace(), &a.call.user.username) {
        exempt(why);
        return Ok(());
    }
    let Some(namespace) = write::namespace(a.app(), a.namespace()).await? else { return Ok(()) };
    let (policy, wrong) = Policy::of(&namespace["metadata"]["labels"], configuration.defaults);
    if wrong.is_empty() && policy.asks_nothing(enforced.is_some()) {
        if enforced.is_some() {
            a.annotate(&format!("{ANNOTATION}enforce-policy"), "privileged:latest");
        }
        return Ok(());
    }
    if enforced.is_some_and(|pod| a.old.is_some_and(|old| !matters(pod, old))) {
        return Ok(());
    }
    if listed(&configuration.exemptions.runtime_classes, text(spec, "/runtimeClassName")) {
        exempt("runtimeClass");
        return Ok(());
    }
    if !wrong.is_empty() {
        let text = wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        a.annotate(&format!("{ANNOTATION}error"), &format!("Failed to parse policy: {text}"));
    }
    let audited = violations(policy.audit, metadata, spec);
    if !audited.is_empty() {
        let text = format!("would violate PodSecurity \"{}\": {}", policy.audit, detail(&audited));
        a.annotate(&format!("{ANNOTATION}audit-violations"), &text);
    }
    if let Some(pod) = enforced {
        a.annotate(&format!("{ANNOTATION}enforce-policy"), &policy.enforce.to_string());
        let found = violations(policy.enforce, metadata, spec);
        if !found.is_empty() {
            let why = format!("violates PodSecurity \"{}\": {}", policy.enforce, detail(&found));
            return Err(a.forbidden(pod, &why));
        }
    }
    let found = violations(policy.warn, metadata, spec);
    if !found.is_empty() {
        a.call.warn(format!("would violate PodSecurity \"{}\": {}", policy.warn, detail(&found)));
    }
    Ok(())
}

async fn namespace(a: &Attributes<'_>, new: &Value) -> ApiResult<()> {
    let configuration = &a.app().admission;
    let (labels, name) = (&new["metadata"]["labels"], text(new, "/metadata/name"));
    let (policy, errors) = Policy::of(labels, configuration.defaults);
    let before = a.old.map(|old| Policy::of(&old["metadata"]["labels"], configuration.defaults));
    // Labels that were wrong before may stay so.
    if !errors.is_empty() && before.as_ref().is_none_or(|(_, old)| *old != errors) {
        return Err(a.call.invalid(text(new, "/metadata/name"), &errors));
    }
    let exempt = listed(&configuration.exemptions.namespaces, name);
    let ignored = || policy.ignored(name, labels, &configuration.defaults).filter(|_| exempt);
    let Some((before, _)) = before else {
        ignored().into_iter().for_each(|warning| a.call.warn(warning));
        return Ok(());
    };
    let (now, was) = (policy.enforce, before.enforce);
    let relaxed = now.version == was.version && now.level <= was.level;
    if now != was && now.level != Level::Privileged && !relaxed {
        let warnings = if exempt { ignored().into_iter().collect() } else { existing(a, name, now).await? };
        warnings.into_iter().for_each(|warning| a.call.warn(warning));
    }
    Ok(())
}

/// What to tell about the pods that a namespace has already.
async fn existing(a: &Attributes<'_>, namespace: &str, standard: Standard) -> ApiResult<Vec<String>> {
    let mut pods = a.list("", "pods", namespace).await?;
    pods.retain(|pod| !listed(&a.app().admission.exemptions.runtime_classes, text(pod, "/spec/runtimeClassName")));
    Ok(warnings(&pods, namespace, standard))
}

fn warnings(pods: &[Value], namespace: &str, standard: Standard) -> Vec<String> {
    // One pod of each workload first: its siblings will most likely do the same.
    let mut seen = BTreeSet::new();
    let controller = |pod: &Value| {
        let owners = pod["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        owners.into_iter().find(|owner| owner["controller"] == true).map(|owner| text(owner, "/uid").to_owned())
    };
    let first = |pod: &&Value| controller(pod).is_none_or(|uid| seen.insert(uid));
    let (firsts, siblings): (Vec<&Value>, Vec<&Value>) = pods.iter().partition(first);
    let checked = firsts.into_iter().chain(siblings).take(MOST_PODS);
    let mut by_reason: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for pod in checked {
        let found = violations(standard, &pod["metadata"], &pod["spec"]);
        if !found.is_empty() {
            by_reason.entry(reasons(&found)).or_default().push(text(pod, "/metadata/name"));
        }
    }
    let mut out = Vec::new();
    if pods.len() > MOST_PODS {
        let total = pods.len();
        out.push(format!(
            "new PodSecurity enforce level only checked against the first {MOST_PODS} of {total} existing pods"
        ));
    }
    if !by_reason.is_empty() {
        out.push(format!(
            "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{standard}\""
        ));
    }
    let mut lines: Vec<String> = by_reason
        .into_iter()
        .map(|(reasons, names)| {
            let name = names.iter().min().copied().unwrap_or_default();
            match names.len() {
                1 => format!("{name}: {reasons}"),
                2 => format!("{name} (and 1 other pod): {reasons}"),
                many => format!("{name} (and {} other pods): {reasons}", many - 1),
            }
        })
        .collect();
    lines.sort();
    out.extend(lines);
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn existing_pods_are_told_of_by_what_they_do() {
        let pod = |name: &str, host: bool| json!({ "metadata": { "name": name }, "spec": { "hostNetwork": host, "containers": [] } });
        let standard = Standard { level: Level::Baseline, version: policy::Version(None) };
        assert!(warnings(&[pod("a", false)], "n", standard).is_empty());
        let pods = [pod("c", true), pod("b", true), pod("a", false), pod("d", true)];
        assert_eq!(
            warnings(&pods, "n", standard),
            [
                "existing pods in namespace \"n\" violate the new PodSecurity enforce level \"baseline:latest\"",
                "b (and 2 other pods): host namespaces"
            ]
        );
    }

    #[test]
    fn only_images_matter_in_updates() {
        let pod = |image: &str| json!({ "metadata": {}, "spec": { "containers": [{ "name": "a", "image": image }] } });
        assert!(matters(&pod("a"), &pod("b")));
        let mut labelled = pod("a");
        labelled["metadata"]["labels"] = json!({ "x": "y" });
        assert!(!matters(&labelled, &pod("a")));
    }
}
