//! Deployments, ReplicaSets, DaemonSets, StatefulSets and their kin (`pkg/apis/apps/validation`).

use schema::field::{Error, ErrorList, Path};
use schema::names;
use schema::selector::LabelSelector;
use serde_json::{Value, json};

use super::super::internal;
use super::super::json::Json;
use super::{
    at_most_all, immutable, immutable_of, label_selector, meta, not_negative, number_or_percent, one_of,
    persistent_volume, pod, pod_annotations, same, selector_error, spec, volume_warnings,
};

#[must_use]
pub fn deployment(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, body) = (spec(), object.at("spec"));
    not_negative(&mut errors, body, "replicas", &path);
    if selector(&mut errors, &path, body, "deployment") {
        template(&mut errors, &path, body, "ReplicaSet");
    }
    strategy(&mut errors, &path.child("strategy"), body.at("strategy"));
    for field in ["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"] {
        not_negative(&mut errors, body, field, &path);
    }
    if body.has("progressDeadlineSeconds") && body.int("progressDeadlineSeconds") <= body.int("minReadySeconds") {
        errors.push(Error::invalid(
            &path.child("progressDeadlineSeconds"),
            body.int("progressDeadlineSeconds"),
            "must be greater than minReadySeconds",
        ));
    }
    errors
}

#[must_use]
pub fn deployment_update(new: &Value, old: &Value) -> ErrorList {
    selector_kept(new, old)
}

#[must_use]
pub fn replica_set(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, body) = (spec(), object.at("spec"));
    not_negative(&mut errors, body, "replicas", &path);
    not_negative(&mut errors, body, "minReadySeconds", &path);
    if selector(&mut errors, &path, body, "deployment") {
        template(&mut errors, &path, body, "ReplicaSet");
    }
    errors
}

#[must_use]
pub fn replica_set_update(new: &Value, old: &Value) -> ErrorList {
    selector_kept(new, old)
}

#[must_use]
pub fn replication_controller(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, body) = (spec(), object.at("spec"));
    not_negative(&mut errors, body, "minReadySeconds", &path);
    if body.entries("selector").is_empty() {
        errors.push(Error::required(&path.child("selector"), ""));
    }
    not_negative(&mut errors, body, "replicas", &path);
    if body.at("template").is_null() {
        errors.push(Error::required(&path.child("template"), ""));
        return errors;
    }
    let labels = body.entries("template.metadata.labels");
    if !body.entries("selector").iter().all(|(k, v)| labels.get(k) == Some(v)) {
        mismatch(&mut errors, &path, body);
    }
    template_body(&mut errors, &path.child("template"), body.at("template"), "ReplicationController");
    errors
}

#[must_use]
pub fn daemon_set(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, body) = (spec(), object.at("spec"));
    let chosen = body.at("selector");
    label_selector(&mut errors, &path.child("selector"), chosen);
    // No selector matches nothing.
    let read = LabelSelector::from_object(chosen);
    if chosen.is_null() || read.is_ok_and(|selector| !selector.matches(body.at("template.metadata.labels"))) {
        mismatch(&mut errors, &path, body);
    }
    if !chosen.is_null() && is_empty(chosen) {
        let detail = "empty selector is invalid for daemonset";
        errors.push(selector_error(&path.child("selector"), chosen, detail));
    }
    template_body(&mut errors, &path.child("template"), body.at("template"), "DaemonSet");
    not_negative(&mut errors, body, "minReadySeconds", &path);
    let (at, update) = (path.child("updateStrategy"), body.at("updateStrategy"));
    match update.text("type") {
        "OnDelete" => {}
        "RollingUpdate" => {
            let rolling = at.child("rollingUpdate");
            if update.at("rollingUpdate").is_null() {
                errors.push(Error::required(&rolling, ""));
            } else {
                let (away, extra) = bounds(&mut errors, &rolling, update.at("rollingUpdate"));
                for field in ["maxUnavailable", "maxSurge"] {
                    at_most_all(&mut errors, &rolling.child(field), update.at("rollingUpdate").at(field));
                }
                if away == 0 && extra == 0 {
                    let at = rolling.child("maxUnavailable");
                    errors.push(Error::required(&at, "cannot be 0 when maxSurge is 0"));
                } else if away != 0 && extra != 0 {
                    let value = update.at("rollingUpdate.maxSurge").clone();
                    errors.push(Error::invalid(
                        &rolling.child("maxSurge"),
                        value,
                        "may not be set when maxUnavailable is non-zero",
                    ));
                }
            }
        }
        _ => {
            let shown = internal::compact(update, "api.apps.v1.DaemonSetUpdateStrategy");
            errors.push(Error::not_supported(&at, Value::Null, &["RollingUpdate", "OnDelete"]).shown_as(shown));
        }
    }
    not_negative(&mut errors, body, "revisionHistoryLimit", &path);
    errors
}

#[must_use]
pub fn daemon_set_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = selector_kept(new, old);
    errors.extend(daemon_set(new));
    errors
}

/// What no update can change is looked at when it is `new`.
fn stateful_set(object: &Value, new: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, body) = (spec(), object.at("spec"));
    let at = path.child("podManagementPolicy");
    match body.text("podManagementPolicy") {
        "" => errors.push(Error::required(&at, "")),
        "OrderedReady" | "Parallel" => {}
        other => errors.push(Error::invalid(&at, other, "must be 'OrderedReady' or 'Parallel'")),
    }
    let (at, update) = (path.child("updateStrategy"), body.at("updateStrategy"));
    match update.text("type") {
        "" => errors.push(Error::required(&at, "")),
        "OnDelete" if update.has("rollingUpdate") => errors.push(Error::invalid_as(
            &at.child("rollingUpdate"),
            internal::compact(update.at("rollingUpdate"), "api.apps.v1.RollingUpdateStatefulSetStrategy"),
            "only allowed for updateStrategy 'RollingUpdate'",
        )),
        "OnDelete" => {}
        "RollingUpdate" => {
            not_negative(&mut errors, update.at("rollingUpdate"), "partition", &at.child("rollingUpdate"))
        }
        _ => {
            let shown = internal::compact(update, "api.apps.v1.StatefulSetUpdateStrategy");
            errors.push(Error::invalid_as(&at, shown, "must be 'RollingUpdate' or 'OnDelete'"));
        }
    }
    for field in ["whenDeleted", "whenScaled"] {
        one_of(
            &mut errors,
            &path.child("persistentVolumeClaimRetentionPolicy").child(field),
            body.at("persistentVolumeClaimRetentionPolicy").text(field),
            &["Retain", "Delete"],
        );
    }
    for (i, claim) in body.list("volumeClaimTemplates").iter().enumerate().filter(|_| new) {
        let at = path.child("volumeClaimTemplates").index(i).child("spec");
        persistent_volume::claim_spec(&mut errors, &at, claim.at("spec"));
    }
    not_negative(&mut errors, body, "replicas", &path);
    not_negative(&mut errors, body, "minReadySeconds", &path);
    not_negative(&mut errors, body.at("ordinals"), "start", &path.child("ordinals"));
    let service = body.text("serviceName");
    if new && !service.is_empty() {
        super::named(&mut errors, &path.child("serviceName"), service, names::dns1123_label);
    }
    if selector(&mut errors, &path, body, "statefulset") {
        stateful_template(&mut errors, &path, &as_controller_has_it(body));
    }
    always(&mut errors, &path.child("template"), body.at("template"), "StatefulSet");
    errors
}

/// The metadata of its template is looked at once more, where it would be if it were the template's own.
fn stateful_template(errors: &mut ErrorList, path: &Path, body: &Value) {
    matching(errors, path, body);
    let (at, template) = (path.child("template"), body.at("template"));
    pod::template(errors, &at, template);
    meta::labels(errors, &at.child("labels"), template.at("metadata.labels"));
    meta::annotations(errors, &at.child("annotations"), template.at("metadata.annotations"));
    pod_annotations::check(errors, &at.child("annotations"), template);
}

#[must_use]
pub fn new_stateful_set(object: &Value) -> ErrorList {
    stateful_set(object, true)
}

/// A spec whose template is what the controller makes of it: with the volumes of its claims, and without the names it
/// replaces.
fn as_controller_has_it(body: &Value) -> Value {
    let names: std::collections::BTreeSet<&str> =
        body.list("volumeClaimTemplates").iter().map(|claim| claim.text("metadata.name")).collect();
    let claims: Vec<Value> =
        names.into_iter().map(|name| json!({ "name": name, "persistentVolumeClaim": { "claimName": name } })).collect();
    let mut body = body.clone();
    body.remove("template.spec.subdomain");
    body.remove("template.spec.hostname");
    if !claims.is_empty() {
        let own = body.list("template.spec.volumes").iter();
        let others = own.filter(|volume| claims.iter().all(|claim| claim.text("name") != volume.text("name"))).cloned();
        let all: Vec<Value> = claims.iter().cloned().chain(others).collect();
        body.put("template.spec.volumes", json!(all));
    }
    body
}

/// What of a StatefulSet's spec may change.
const CHANGEABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

/// Warnings of a StatefulSet beside its template's.
#[must_use]
pub fn stateful_set_warnings(object: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    for (i, claim) in object.list("spec.volumeClaimTemplates").iter().enumerate() {
        let path = format!("spec.volumeClaimTemplates[{i}].resources");
        volume_warnings::claim_spec(&mut warnings, &path, claim.at("spec"));
    }
    if object.int("spec.revisionHistoryLimit") < 0 {
        warnings.push(
            "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"
                .to_owned(),
        );
    }
    warnings
}

#[must_use]
pub fn stateful_set_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = stateful_set(new, false);
    let mut rest = new.at("spec").clone();
    for field in CHANGEABLE {
        rest.take_from(field, old.at("spec"));
    }
    if !same(&rest, old.at("spec")) {
        let (last, first) = CHANGEABLE.split_last().expect("the list is not empty");
        let list = first.iter().map(|f| format!("'{f}'")).collect::<Vec<_>>().join(", ");
        errors.push(Error::forbidden(
            &spec(),
            format!("updates to statefulset spec for fields other than {list} and '{last}' are forbidden"),
        ));
    }
    errors
}

#[must_use]
pub fn controller_revision(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    not_negative(&mut errors, object, "revision", &Path::default());
    errors
}

/// The data of a new revision: an object, whichever.
#[must_use]
pub fn new_controller_revision(object: &Value) -> ErrorList {
    let detail = match object.at("data") {
        Value::Object(_) => return ErrorList::new(),
        Value::Null => "data is mandatory",
        _ => "data must be a valid JSON object",
    };
    vec![Error::required(&Path::new("data"), detail)]
}

#[must_use]
pub fn controller_revision_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    immutable(&mut errors, &Path::new("data"), new.at("data"), old.at("data"));
    errors
}

fn selector_kept(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    immutable_of(
        &mut errors,
        &spec().child("selector"),
        new.at("spec.selector"),
        old.at("spec.selector"),
        super::LABEL_SELECTOR,
    );
    errors
}

fn is_empty(selector: &Value) -> bool {
    selector.entries("matchLabels").is_empty() && selector.list("matchExpressions").is_empty()
}

/// Whether the selector can be held against anything.
fn selector(errors: &mut ErrorList, path: &Path, body: &Value, kind: &str) -> bool {
    let (path, selector) = (path.child("selector"), body.at("selector"));
    if selector.is_null() {
        errors.push(Error::required(&path, ""));
        return true;
    }
    let before = errors.len();
    label_selector(errors, &path, selector);
    let good = errors.len() == before;
    if is_empty(selector) {
        errors.push(selector_error(&path, selector, &format!("empty selector is invalid for {kind}")));
    }
    if !good {
        let detail = if kind == "statefulset" { "" } else { "invalid label selector" };
        errors.push(selector_error(&path, selector, detail));
    }
    good
}

/// The template matches the selector, restarts always and never ends by itself. No selector matches nothing, an empty one
/// is not asked.
fn template(errors: &mut ErrorList, path: &Path, body: &Value, kind: &str) {
    matching(errors, path, body);
    template_body(errors, &path.child("template"), body.at("template"), kind);
}

fn matching(errors: &mut ErrorList, path: &Path, body: &Value) {
    let (labels, chosen) = (body.at("template.metadata.labels"), body.at("selector"));
    let matches = chosen.is_object()
        && (is_empty(chosen) || LabelSelector::from_object(chosen).is_ok_and(|selector| selector.matches(labels)));
    if !matches {
        mismatch(errors, path, body);
    }
}

fn template_body(errors: &mut ErrorList, path: &Path, template: &Value, kind: &str) {
    pod::template(errors, path, template);
    always(errors, path, template, kind);
}

fn always(errors: &mut ErrorList, path: &Path, template: &Value, kind: &str) {
    let policy = template.text("spec.restartPolicy");
    if !matches!(policy, "Always" | "") {
        let at = path.child("spec").child("restartPolicy");
        errors.push(Error::not_supported(&at, policy, &["Always"]));
    }
    if template.has("spec.activeDeadlineSeconds") {
        let at = path.child("spec").child("activeDeadlineSeconds");
        errors.push(Error::forbidden(&at, format!("activeDeadlineSeconds in {kind} is not Supported")));
    }
}

fn mismatch(errors: &mut ErrorList, path: &Path, body: &Value) {
    errors.push(Error::invalid(
        &path.child("template").child("metadata").child("labels"),
        body.at("template.metadata.labels").clone(),
        "`selector` does not match template `labels`",
    ));
}

fn strategy(errors: &mut ErrorList, path: &Path, strategy: &Value) {
    match strategy.text("type") {
        "" => {}
        "Recreate" if strategy.has("rollingUpdate") => errors.push(Error::forbidden(
            &path.child("rollingUpdate"),
            "may not be specified when strategy `type` is 'Recreate'",
        )),
        "Recreate" => {}
        "RollingUpdate" => {
            let at = path.child("rollingUpdate");
            let rolling = strategy.at("rollingUpdate");
            if rolling.is_null() {
                errors.push(Error::required(&at, "this should be defaulted and never be nil"));
                return;
            }
            let (away, extra) = bounds(errors, &at, rolling);
            let (at, unavailable) = (at.child("maxUnavailable"), rolling.at("maxUnavailable"));
            if away == 0 && extra == 0 {
                errors.push(Error::invalid(&at, unavailable.clone(), "may not be 0 when `maxSurge` is 0"));
            }
            at_most_all(errors, &at, unavailable);
        }
        _ => {
            let shown = internal::compact(strategy, "api.apps.v1.DeploymentStrategy");
            errors.push(Error::not_supported(path, Value::Null, &["Recreate", "RollingUpdate"]).shown_as(shown));
        }
    }
}

/// maxUnavailable and maxSurge, as numbers.
fn bounds(errors: &mut ErrorList, path: &Path, rolling: &Value) -> (i64, i64) {
    let away = number_or_percent(errors, &path.child("maxUnavailable"), rolling.at("maxUnavailable"));
    let extra = number_or_percent(errors, &path.child("maxSurge"), rolling.at("maxSurge"));
    (away, extra)
}

#[cfg(test)]
mod tests {
    use super::super::super::strategy::deployment::DEPLOYMENT;
    use super::super::texts;
    use super::*;

    fn example() -> Value {
        let mut d = json!({"metadata": {"name": "web"}, "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "a", "image": "i"}]}}}});
        DEPLOYMENT.default.unwrap()(&mut d);
        d
    }

    #[test]
    fn the_selector_matches_the_template() {
        let mut d = example();
        assert_eq!(texts(&deployment(&d)), Vec::<String>::new());
        d["spec"]["template"]["metadata"]["labels"]["app"] = json!("other");
        assert_eq!(
            texts(&deployment(&d)),
            [
                "spec.template.metadata.labels: Invalid value: {\"app\":\"other\"}: `selector` does not match template `labels`"
            ]
        );
        d["spec"]["selector"] = json!({});
        assert_eq!(
            texts(&deployment(&d)),
            ["spec.selector: Invalid value: {}: empty selector is invalid for deployment"]
        );
    }

    #[test]
    fn strategies() {
        let mut d = example();
        d["spec"]["strategy"] = json!({"type": "Recreate", "rollingUpdate": {}});
        d["spec"]["replicas"] = json!(-1);
        d["spec"]["template"]["spec"]["restartPolicy"] = json!("Never");
        assert_eq!(
            texts(&deployment(&d)),
            [
                "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
                "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
                "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
            ]
        );
    }

    #[test]
    fn selectors_do_not_change() {
        let old = example();
        let mut new = old.clone();
        new["spec"]["selector"]["matchLabels"]["app"] = json!("x");
        new["spec"]["template"]["metadata"]["labels"]["app"] = json!("x");
        assert_eq!(
            texts(&deployment_update(&new, &old)),
            ["spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"x\"}}: field is immutable"]
        );
        new["spec"]["selector"] = Value::Null;
        assert_eq!(texts(&deployment_update(&new, &old)), ["spec.selector: Invalid value: null: field is immutable"]);
    }

    #[test]
    fn what_no_selector_can_be_made_of_is_said() {
        let mut set = example();
        set["spec"]["selector"] = json!({"matchLabels": {"app": "a b"}});
        let errors = texts(&replica_set(&set));
        assert!(
            errors[0].starts_with("spec.selector.matchLabels: Invalid value: \"a b\": a valid label"),
            "{errors:?}"
        );
        let shown = r#"spec.selector: Invalid value: {"matchLabels":{"app":"a b"}}: invalid label selector"#;
        assert_eq!(errors[1..], [shown]);
        set["spec"].as_object_mut().unwrap().remove("selector");
        let labels = r#"spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`"#;
        assert_eq!(texts(&replica_set(&set)), ["spec.selector: Required value", labels]);
    }

    #[test]
    fn a_strategy_is_shown_as_a_whole() {
        let mut errors = ErrorList::new();
        let wrong = json!({"type": "X", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": 1}});
        strategy(&mut errors, &Path::new("strategy"), &wrong);
        let shown = r#"{"Type":"X","RollingUpdate":{"MaxUnavailable":"25%","MaxSurge":1}}"#;
        let supported = r#"supported values: "Recreate", "RollingUpdate""#;
        assert_eq!(texts(&errors), [format!("strategy: Unsupported value: {shown}: {supported}")]);
    }

    #[test]
    fn a_stateful_set_mounts_its_claims() {
        let mut set = example();
        set["spec"]["podManagementPolicy"] = json!("OrderedReady");
        set["spec"]["updateStrategy"] = json!({"type": "RollingUpdate"});
        set["spec"]["persistentVolumeClaimRetentionPolicy"] = json!({"whenDeleted": "Retain", "whenScaled": "Retain"});
        set["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/d"}]);
        let missing = "spec.template.spec.containers[0].volumeMounts[0].name: Not found: \"data\"";
        assert_eq!(texts(&new_stateful_set(&set)), [missing]);
        set["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}}]);
        assert_eq!(
            texts(&new_stateful_set(&set)),
            [
                "spec.volumeClaimTemplates[0].spec.accessModes: Required value: at least 1 access mode is required",
                "spec.volumeClaimTemplates[0].spec.resources[storage]: Required value",
            ]
        );
        set["spec"]["volumeClaimTemplates"][0]["spec"] =
            json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
        assert_eq!(texts(&new_stateful_set(&set)), Vec::<String>::new());
        set["spec"]["template"]["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
        assert_eq!(texts(&new_stateful_set(&set)), Vec::<String>::new());
    }
}
