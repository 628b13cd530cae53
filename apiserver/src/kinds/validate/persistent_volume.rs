//! Persistent volumes, and claims to them.

use schema::field::{Error, ErrorList, Path};
use schema::names;
use schema::quantity::Quantity;
use serde_json::{Value, json};

use super::super::internal;
use super::super::json::Json;
use super::volume_source::{self, Owner};
use super::{IMMUTABLE, affinity, immutable, label_selector, named, one_of, required, same, spec};

const MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];

/// What describes a volume rather than says where it is.
const NOT_SOURCES: [&str; 9] = [
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
];

#[must_use]
pub fn volume(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    volume_spec(&mut errors, &spec(), object.at("spec"), false);
    errors
}

/// What a volume that is described where it is used, instead of being an object, cannot have.
const NOT_INLINE: [&str; 6] =
    ["claimRef", "capacity", "persistentVolumeReclaimPolicy", "nodeAffinity", "storageClassName", "volumeMode"];

pub(super) fn volume_spec(errors: &mut ErrorList, path: &Path, body: &Value, inline: bool) {
    let inline_field = |errors: &mut ErrorList, field: &str| {
        let given = NOT_INLINE.contains(&field) && body.has(field) && !same(body.at(field), &Value::Null);
        if inline && given {
            let detail = "may not be specified in the context of inline volumes";
            errors.push(Error::forbidden(&path.child(field), detail));
        }
    };
    if inline {
        inline_field(errors, "claimRef");
        inline_field(errors, "capacity");
        if !body.has("csi") {
            let detail = "has to be specified in the context of inline volumes";
            errors.push(Error::required(&path.child("csi"), detail));
        }
    }
    if body.list("accessModes").is_empty() {
        errors.push(Error::required(&path.child("accessModes"), ""));
    }
    access_modes(errors, path, body);
    if !inline {
        capacity(errors, &path.child("capacity"), body);
    }
    let reclaim = body.text("persistentVolumeReclaimPolicy");
    inline_field(errors, "persistentVolumeReclaimPolicy");
    if !reclaim.is_empty() && !inline {
        one_of(errors, &path.child("persistentVolumeReclaimPolicy"), reclaim, &["Delete", "Recycle", "Retain"]);
    }
    inline_field(errors, "nodeAffinity");
    if body.has("nodeAffinity") && !inline {
        let at = path.child("nodeAffinity").child("required");
        if body.has("nodeAffinity.required") {
            affinity::node_selector(errors, &at, body.at("nodeAffinity.required"));
        } else {
            errors.push(Error::required(&at, "must specify required node constraints"));
        }
    }
    volume_source::only_one(errors, path, body, Owner::PersistentVolume, |errors, name, source| {
        volume_source::source(errors, path, name, source, Owner::PersistentVolume);
        if name == "local" && !body.has("nodeAffinity") {
            errors.push(Error::required(&path.child("nodeAffinity"), "Local volume requires node affinity"));
        }
    });
    if reclaim == "Recycle" && body.text("hostPath.path").trim_end_matches('/').is_empty() && body.has("hostPath") {
        let detail = "may not be 'recycle' for a hostPath mount of '/'";
        errors.push(Error::forbidden(&path.child("persistentVolumeReclaimPolicy"), detail));
    }
    inline_field(errors, "storageClassName");
    if !inline && !body.text("storageClassName").is_empty() {
        named(errors, &path.child("storageClassName"), body.text("storageClassName"), names::dns1123_subdomain);
    }
    inline_field(errors, "volumeMode");
    if !inline {
        volume_mode(errors, path, body);
    }
    if !inline && body.has("volumeAttributesClassName") {
        let (at, class) = (path.child("volumeAttributesClassName"), body.text("volumeAttributesClassName"));
        if class.is_empty() {
            errors.push(Error::required(&at, "an empty string is disallowed"));
        } else {
            named(errors, &at, class, names::dns1123_subdomain);
        }
        if !body.has("csi") {
            let detail = "has to be specified when using volumeAttributesClassName";
            errors.push(Error::required(&path.child("csi"), detail));
        }
    }
}

fn capacity(errors: &mut ErrorList, path: &Path, body: &Value) {
    let capacity = body.entries("capacity");
    if capacity.is_empty() {
        errors.push(Error::required(path, ""));
    }
    if !capacity.contains_key("storage") || capacity.len() > 1 {
        errors.push(Error::not_supported(path, body.at("capacity").clone(), &["storage"]));
    }
    for (name, value) in capacity {
        let at = path.key(name);
        let Ok(size) = Quantity::parse(&super::quantity_text(value)) else { continue };
        if size.is_negative() {
            errors.push(Error::invalid(&at, size.value(), "must be a valid resource quantity"));
        }
        if size.is_negative() || size.is_zero() {
            errors.push(Error::invalid(&at, super::quantity_text(value), "must be greater than zero"));
        }
    }
}

#[must_use]
pub fn volume_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let source = |volume: &Value| {
        let mut source = volume.at("spec").clone();
        NOT_SOURCES.iter().for_each(|field| source.remove(field));
        source
    };
    let (mut now, before) = (source(new), source(old));
    if before.has("csi") && !before.has("csi.controllerExpandSecretRef") {
        now.remove("csi.controllerExpandSecretRef");
    }
    if !internal::same(&now, &before, VOLUME) {
        let diff = internal::diff_without(&before, &now, VOLUME, &NOT_SOURCES);
        let detail = format!("spec.persistentvolumesource is immutable after creation\n{diff}");
        errors.push(Error::forbidden(&spec().child("persistentvolumesource"), detail));
    }
    immutable(&mut errors, &Path::new("volumeMode"), new.at("spec.volumeMode"), old.at("spec.volumeMode"));
    let (affinity, before) = (new.at("spec.nodeAffinity"), old.at("spec.nodeAffinity"));
    if !before.is_null() && !internal::same(&promoted(affinity, before), before, AFFINITY) {
        let shown = if affinity.is_null() { "null".to_owned() } else { internal::compact(affinity, AFFINITY) };
        let detail = format!("{IMMUTABLE}, except for updating from beta label to GA");
        errors.push(Error::invalid_as(&Path::new("nodeAffinity"), shown, detail));
    }
    let class = "spec.volumeAttributesClassName";
    if old.has(class) && !new.has(class) {
        let detail = "update from non-nil value to nil is forbidden";
        errors.push(Error::forbidden(&spec().child("volumeAttributesClassName"), detail));
    }
    errors
}

const VOLUME: &str = "api.core.v1.PersistentVolumeSpec";
const CLAIM: &str = "api.core.v1.PersistentVolumeClaimSpec";
const AFFINITY: &str = "api.core.v1.VolumeNodeAffinity";

/// Labels of nodes as they were called in their beta, and as they are called.
const PROMOTED: [(&str, &str); 3] = [
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
];

/// `affinity` as it would be had the labels in it not been promoted since `before`.
fn promoted(affinity: &Value, before: &Value) -> Value {
    let mut affinity = affinity.clone();
    let terms = "required.nodeSelectorTerms";
    for (term, before) in affinity.list_mut(terms).iter_mut().zip(before.list(terms)) {
        for list in ["matchExpressions", "matchFields"] {
            for (now, before) in term.list_mut(list).iter_mut().zip(before.list(list)) {
                if PROMOTED.contains(&(before.text("key"), now.text("key"))) {
                    now.take_from("key", before);
                }
            }
        }
    }
    affinity
}

fn access_modes(errors: &mut ErrorList, path: &Path, body: &Value) {
    let at = path.child("accessModes");
    let modes = body.texts("accessModes");
    for mode in &modes {
        one_of(errors, &at, mode, &MODES);
    }
    let alone = |mode: &&str| *mode == "ReadWriteOncePod";
    if modes.iter().any(alone) && !modes.iter().all(alone) {
        let detail = "may not use ReadWriteOncePod with other access modes";
        errors.push(Error::forbidden(&at, detail));
    }
}

fn volume_mode(errors: &mut ErrorList, path: &Path, body: &Value) {
    if body.has("volumeMode") {
        one_of(errors, &path.child("volumeMode"), body.text("volumeMode"), &VOLUME_MODES);
    }
}

#[must_use]
pub fn claim(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    claim_spec(&mut errors, &spec(), object.at("spec"));
    errors
}

pub fn claim_spec(errors: &mut ErrorList, path: &Path, body: &Value) {
    if body.list("accessModes").is_empty() {
        errors.push(Error::required(&path.child("accessModes"), "at least 1 access mode is required"));
    }
    label_selector(errors, &path.child("selector"), body.at("selector"));
    access_modes(errors, path, body);
    let at = path.child("resources").key("storage");
    match body.at("resources.requests.storage") {
        Value::Null => errors.push(Error::required(&at, "")),
        value => {
            let text = super::quantity_text(value);
            if Quantity::parse(&text).is_ok_and(|size| size.is_zero() || size.is_negative()) {
                errors.push(Error::invalid(&at, text, "must be greater than zero"));
            }
        }
    }
    if !body.text("storageClassName").is_empty() {
        named(errors, &path.child("storageClassName"), body.text("storageClassName"), names::dns1123_subdomain);
    }
    volume_mode(errors, path, body);
    for field in ["dataSource", "dataSourceRef"] {
        data_source(errors, &path.child(field), body.at(field));
    }
    let (source, reference) = (body.at("dataSource"), body.at("dataSourceRef"));
    if !source.is_null() && !reference.is_null() {
        if reference.text("namespace").is_empty() {
            let differs = ["apiGroup", "kind", "name"].iter().any(|field| source.text(field) != reference.text(field));
            if differs {
                // Upstream shows the path of the field, which as JSON is an empty object.
                errors.push(Error::invalid(path, json!({}), "must match dataSourceRef"));
            }
        } else {
            let detail = "may not be specified when dataSourceRef.namespace is specified";
            errors.push(Error::invalid(path, json!({}), detail));
        }
    }
    if !body.text("volumeAttributesClassName").is_empty() {
        let at = path.child("volumeAttributesClassName");
        named(errors, &at, body.text("volumeAttributesClassName"), names::dns1123_subdomain);
    }
}

/// What a claim is filled from.
fn data_source(errors: &mut ErrorList, path: &Path, source: &Value) {
    if source.is_null() {
        return;
    }
    for field in ["name", "kind"] {
        required(errors, source, field, path);
    }
    let group = source.text("apiGroup");
    if group.is_empty() && source.text("kind") != "PersistentVolumeClaim" {
        let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        errors.push(Error::invalid(path, source.text("kind"), detail));
    }
    if !group.is_empty() {
        named(errors, &path.child("apiGroup"), group, names::dns1123_subdomain);
    }
    if !source.text("namespace").is_empty() {
        named(errors, &path.child("namespace"), source.text("namespace"), names::dns1123_label);
    }
}

#[must_use]
pub fn claim_update(new: &Value, old: &Value) -> ErrorList {
    const LEGACY: &str = "volume.beta.kubernetes.io/storage-class";
    const CLASS: &str = "volumeAttributesClassName";
    let mut errors = ErrorList::new();
    let (mut body, mut before) = (new.at("spec").clone(), old.at("spec").clone());
    // Binding fills the volume's name once; a bound claim may ask for more room and another attributes class.
    if before.text("volumeName").is_empty() {
        before.take_from("volumeName", &body);
    }
    // A claim without a class gets one: the one its annotation of old names, or any where there is none.
    let legacy =
        |claim: &Value| claim.at("metadata.annotations").get(LEGACY).and_then(Value::as_str).map(str::to_owned);
    let (now, then) = (legacy(new), legacy(old));
    let named = before.at("storageClassName").is_null().then(|| body.at("storageClassName").as_str()).flatten();
    let upgraded = named.is_some() && named == then.as_deref() && (now.is_none() || now == then);
    if upgraded {
        body.remove("storageClassName");
    } else {
        if now.as_deref().unwrap_or_default() != then.as_deref().unwrap_or_default() {
            let path = Path::new("metadata").child("annotations").child(LEGACY);
            errors.push(Error::invalid(&path, now.unwrap_or_default(), IMMUTABLE));
        }
        if named.is_some() && then.as_deref().is_none_or(|then| Some(then) == named) {
            body.take_from("storageClassName", &before);
        }
    }
    let bound = new.text("status.phase") == "Bound";
    if bound && body.has("resources.requests") {
        body.take_from("resources.requests.storage", &before);
    }
    if bound {
        body.take_from(CLASS, &before);
    }
    if !internal::same(&body, &before, CLAIM) {
        let diff = internal::diff(&before, &body, CLAIM);
        let detail =
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        errors.push(Error::forbidden(&spec(), format!("{detail}\n{diff}")));
    }
    let milli = |claim: &Value, field: &str| {
        let text = super::quantity_text(claim.at(field));
        schema::quantity::Quantity::parse(&text).map(|q| q.milli_value()).unwrap_or_default()
    };
    let asked = |claim: &Value| milli(claim, "spec.resources.requests.storage");
    // What it asked for and did not get may be taken back.
    if asked(new) < asked(old) && asked(new) <= milli(old, "status.capacity.storage") {
        let at = spec().child("resources").child("requests").child("storage");
        errors.push(Error::forbidden(&at, "field can not be less than status.capacity"));
    }
    immutable(&mut errors, &Path::new("volumeMode"), new.at("spec.volumeMode"), old.at("spec.volumeMode"));
    if old.has("status.currentVolumeAttributesClassName") {
        let what = match new.at("spec").at(CLASS).as_str() {
            None => Some("nil"),
            Some("") => Some("empty string"),
            Some(_) => None,
        };
        if let Some(what) = what {
            let detail =
                format!("update to {what} is forbidden when status.currentVolumeAttributesClassName is not nil");
            errors.push(Error::forbidden(&spec().child(CLASS), detail));
        }
    }
    errors
}

/// What a claim's status says of what it has, and of how it gets more (`ValidatePersistentVolumeClaimStatusUpdate`).
#[must_use]
pub fn claim_status(new: &Value, _: &Value) -> ErrorList {
    const RESIZES: [&str; 5] = [
        "ControllerResizeInProgress",
        "ControllerResizeInfeasible",
        "NodeResizeInProgress",
        "NodeResizeInfeasible",
        "NodeResizePending",
    ];
    let mut errors = ErrorList::new();
    let path = Path::new("status");
    for (name, amount) in new.entries("status.capacity") {
        not_less_than_nothing(&mut errors, &path.child("capacity").key(name), amount);
    }
    let at = path.child("allocatedResourceStatuses");
    for (name, state) in new.entries("status.allocatedResourceStatuses") {
        claimed(&mut errors, &at, name);
        if !state.as_str().is_some_and(|state| RESIZES.contains(&state)) {
            errors.push(Error::not_supported(&at, name.as_str(), &RESIZES));
        }
    }
    let at = path.child("allocatedResources");
    for (name, amount) in new.entries("status.allocatedResources") {
        if claimed(&mut errors, &at, name) {
            not_less_than_nothing(&mut errors, &at.key(name), amount);
        }
    }
    errors
}

/// What a claim can be about: storage, and what others than Kubernetes have names for.
fn claimed(errors: &mut ErrorList, path: &Path, name: &str) -> bool {
    let before = errors.len();
    named(errors, path, name, names::qualified_name);
    if errors.len() == before && super::resource_name::is_native(name) && name != "storage" {
        errors.push(Error::not_supported(path, name, &["storage"]));
    }
    errors.len() == before
}

fn not_less_than_nothing(errors: &mut ErrorList, path: &Path, amount: &Value) {
    let amount =
        schema::quantity::Quantity::parse(&super::quantity_text(amount)).map(|q| q.value()).unwrap_or_default();
    if amount < 0 {
        errors.push(Error::invalid(path, amount, "must be a valid resource quantity"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::texts;
    use super::*;

    #[test]
    fn volumes() {
        let check = |more: Value| {
            let mut spec =
                json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"}});
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            texts(&volume(&json!({ "spec": spec })))
        };
        assert_eq!(check(json!({})), Vec::<String>::new());
        assert_eq!(check(json!({"accessModes": []})), ["spec.accessModes: Required value"]);
        assert_eq!(
            check(json!({"capacity": {"storage": "-1"}})),
            [
                "spec.capacity[storage]: Invalid value: -1: must be a valid resource quantity",
                "spec.capacity[storage]: Invalid value: \"-1\": must be greater than zero",
            ]
        );
        assert_eq!(
            check(json!({"nodeAffinity": {}})),
            ["spec.nodeAffinity.required: Required value: must specify required node constraints"]
        );
        assert_eq!(
            check(json!({"volumeAttributesClassName": "x"})),
            ["spec.csi: Required value: has to be specified when using volumeAttributesClassName"]
        );
    }

    #[test]
    fn claims() {
        assert_eq!(
            texts(&claim(&json!({"spec": {}}))),
            [
                "spec.accessModes: Required value: at least 1 access mode is required",
                "spec.resources[storage]: Required value"
            ]
        );
        let old = json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
        let mut new = old.clone();
        new["spec"]["volumeName"] = json!("v");
        assert_eq!(claim_update(&new, &old), vec![]);
        new["spec"]["storageClassName"] = json!("standard");
        assert_eq!(claim_update(&new, &old), vec![], "there was no default class before");
        let mut classed = old.clone();
        classed["spec"]["storageClassName"] = json!("");
        assert_eq!(claim_update(&new, &classed).len(), 1, "it said that it wants none");
        new["spec"]["accessModes"] = json!(["ReadOnlyMany"]);
        assert_eq!(claim_update(&new, &old).len(), 1);
    }
}
