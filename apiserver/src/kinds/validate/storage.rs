//! The kinds of storage.k8s.io: classes, drivers, and what drivers attach.

use std::collections::{BTreeMap, BTreeSet};

use schema::field::{Error, ErrorList, Path};
use schema::names;
use schema::quantity::Quantity;
use serde_json::Value;

use super::super::json::Json;
use super::persistent_volume::volume_spec;
use super::volume_source;
use super::{
    LABEL_SELECTOR, immutable, immutable_of, label_selector, named, not_negative, one_of, required, required_name,
    same, spec,
};

#[must_use]
pub fn class(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    required_name(&mut errors, &Path::new("provisioner"), object.text("provisioner"), |name| {
        names::qualified_name(&name.to_lowercase())
    });
    let reclaim = object.text("reclaimPolicy");
    if !reclaim.is_empty() {
        one_of(&mut errors, &Path::new("reclaimPolicy"), reclaim, &["Delete", "Retain"]);
    }
    let binding = object.text("volumeBindingMode");
    super::required_one_of(
        &mut errors,
        &Path::new("volumeBindingMode"),
        binding,
        &["Immediate", "WaitForFirstConsumer"],
    );
    topologies(&mut errors, &Path::new("allowedTopologies"), object.list("allowedTopologies"));
    errors
}

/// Where a class's volumes may be: each term says something else, each of its keys is there once.
fn topologies(errors: &mut ErrorList, path: &Path, terms: &[Value]) {
    let mut known: Vec<BTreeMap<&str, BTreeSet<&str>>> = Vec::new();
    for (i, term) in terms.iter().enumerate() {
        let at = path.index(i).child("matchLabelExpressions");
        let mut requirements = BTreeMap::new();
        for (j, expression) in term.list("matchLabelExpressions").iter().enumerate() {
            let (at, key) = (at.index(j), expression.text("key"));
            let mut values = BTreeSet::new();
            if expression.list("values").is_empty() {
                errors.push(Error::required(&at.child("values"), ""));
            }
            for (k, value) in expression.texts("values").into_iter().enumerate() {
                if !values.insert(value) {
                    errors.push(Error::duplicate(&at.child("values").index(k), value));
                }
            }
            named(errors, &at.child("key"), key, names::qualified_name);
            if requirements.insert(key, values).is_some() {
                errors.push(Error::duplicate(&at.child("key"), key));
            }
        }
        // A term that says nothing is as one that is there already.
        if requirements.is_empty() || known.contains(&requirements) {
            errors.push(Error::duplicate(&at, ""));
        }
        known.push(requirements);
    }
}

#[must_use]
pub fn class_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    if !same(new.at("parameters"), old.at("parameters")) {
        errors.push(Error::forbidden(&Path::new("parameters"), "updates to parameters are forbidden."));
    }
    if !same(new.at("provisioner"), old.at("provisioner")) {
        errors.push(Error::forbidden(&Path::new("provisioner"), "updates to provisioner are forbidden."));
    }
    if !same(new.at("reclaimPolicy"), old.at("reclaimPolicy")) {
        errors.push(Error::forbidden(&Path::new("reclaimPolicy"), "updates to reclaimPolicy are forbidden."));
    }
    let field = "volumeBindingMode";
    immutable(&mut errors, &Path::new(field), new.at(field), old.at(field));
    errors
}

/// A CSIStorageCapacity.
#[must_use]
pub fn capacity_of_class(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let class = "storageClassName";
    label_selector(&mut errors, &Path::new("nodeTopology"), object.at("nodeTopology"));
    named(&mut errors, &Path::new(class), object.text(class), names::dns1123_subdomain);
    // The largest volume may be of any size.
    let text = super::quantity_text(object.at("capacity"));
    if Quantity::parse(&text).is_ok_and(|size| size.is_negative()) {
        errors.push(Error::invalid(&Path::new("capacity"), text, super::NOT_NEGATIVE));
    }
    errors
}

/// A capacity is one of a class at a place for ever.
#[must_use]
pub fn capacity_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let topology = "nodeTopology";
    immutable_of(&mut errors, &Path::new(topology), new.at(topology), old.at(topology), LABEL_SELECTOR);
    let class = "storageClassName";
    immutable(&mut errors, &Path::new(class), new.at(class), old.at(class));
    errors
}

const NODE_DRIVER: &str = "api.storage.v1.CSINodeDriver";

/// The drivers of a node: each once, with the node's name to it and the labels it goes by.
#[must_use]
pub fn csi_node(object: &Value) -> ErrorList {
    const ID: usize = 192;
    let mut errors = ErrorList::new();
    let mut seen = BTreeSet::new();
    for (i, driver) in object.list("spec.drivers").iter().enumerate() {
        let path = spec().child("drivers").index(i);
        let (name, id) = (driver.text("name"), driver.text("nodeID"));
        volume_source::driver_name(&mut errors, &path.child("name"), name);
        required(&mut errors, driver, "nodeID", &path);
        if id.len() > ID {
            errors.push(Error::invalid(&path.child("nodeID"), id, format!("must be {ID} characters or less")));
        }
        not_negative(&mut errors, driver.at("allocatable"), "count", &path.child("allocatable"));
        if !seen.insert(name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        let mut keys = BTreeSet::new();
        for key in driver.texts("topologyKeys") {
            if key.is_empty() {
                errors.push(Error::required(&path, ""));
            }
            if !keys.insert(key) {
                errors.push(Error::duplicate(&path, key));
            }
            named(&mut errors, &path, key, names::qualified_name);
        }
    }
    errors
}

/// How many volumes a driver takes may change, and nothing else of it.
#[must_use]
pub fn csi_node_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let fixed = |driver: &Value| {
        let mut driver = driver.clone();
        driver.remove("allocatable");
        driver
    };
    for before in old.list("spec.drivers") {
        let same_name = |driver: &&Value| driver.text("name") == before.text("name");
        for driver in new.list("spec.drivers").iter().filter(same_name) {
            immutable_of(&mut errors, &spec().child("drivers"), &fixed(driver), &fixed(before), NODE_DRIVER);
        }
    }
    errors
}

#[must_use]
pub fn driver(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, body) = (spec(), object.at("spec"));
    // That there is none is told of all objects.
    let name = object.text("metadata.name");
    if !name.is_empty() {
        volume_source::driver_name(&mut errors, &Path::new("metadata").child("name"), name);
    }
    if body.has("fsGroupPolicy") {
        let policies = ["File", "None", "ReadWriteOnceWithFSType"];
        one_of(&mut errors, &path.child("fsGroupPolicy"), body.text("fsGroupPolicy"), &policies);
    }
    let mut audiences = BTreeSet::new();
    for (i, request) in body.list("tokenRequests").iter().enumerate() {
        let path = path.child("tokenRequests").index(i);
        let audience = request.text("audience");
        if !audiences.insert(audience) {
            errors.push(Error::duplicate(&path.child("audience"), audience));
            continue;
        }
        let (at, seconds) = (path.child("expirationSeconds"), request.int("expirationSeconds"));
        if request.has("expirationSeconds") && seconds < 600 {
            errors.push(Error::invalid(&at, seconds, "may not specify a duration less than 10 minutes"));
        }
        if seconds > 1 << 32 {
            errors.push(Error::invalid(&at, seconds, "may not specify a duration larger than 2^32 seconds"));
        }
    }
    for mode in body.texts("volumeLifecycleModes") {
        one_of(&mut errors, &path.child("volumeLifecycleModes"), mode, &["Persistent", "Ephemeral"]);
    }
    let (field, seconds) = ("nodeAllocatableUpdatePeriodSeconds", body.int("nodeAllocatableUpdatePeriodSeconds"));
    if body.has(field) && seconds < 10 {
        let detail = "must be greater than or equal to 10 seconds";
        errors.push(Error::invalid(&path.child(field), seconds, detail));
    }
    let field = "serviceAccountTokenInSecrets";
    if body.has(field) && body.list("tokenRequests").is_empty() {
        let detail = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
        errors.push(Error::invalid(&path.child(field), body.at(field).clone(), detail));
    }
    errors
}

#[must_use]
pub fn driver_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    for (field, shown) in [("attachRequired", "attachedRequired"), ("volumeLifecycleModes", "volumeLifecycleModes")] {
        immutable(&mut errors, &spec().child(shown), new.at("spec").at(field), old.at("spec").at(field));
    }
    errors
}

#[must_use]
pub fn attachment(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, body) = (spec(), object.at("spec"));
    volume_source::driver_name(&mut errors, &path.child("attacher"), body.text("attacher"));
    let node = (path.child("nodeName"), body.text("nodeName"));
    let (path, source) = (path.child("source"), body.at("source"));
    let detail = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (source.at("persistentVolumeName").as_str(), source.at("inlineVolumeSpec")) {
        (None, Value::Null) => errors.push(Error::required(&path, detail)),
        (Some(_), Value::Object(_)) => errors.push(Error::forbidden(&path, detail)),
        (Some(name), _) => {
            let at = path.child("persistentVolumeName");
            if name.is_empty() {
                errors.push(Error::required(&at, "must specify non empty persistentVolumeName"));
            }
            named(&mut errors, &at, name, names::dns1123_subdomain);
        }
        (None, inline) => volume_spec(&mut errors, &path.child("inlineVolumeSpec"), inline, true),
    }
    named(&mut errors, &node.0, node.1, names::dns1123_subdomain);
    errors
}

#[must_use]
pub fn attachment_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    immutable_of(&mut errors, &spec(), new.at("spec"), old.at("spec"), "api.storage.v1.VolumeAttachmentSpec");
    errors
}

/// What an attacher tells of its work.
#[must_use]
pub fn attachment_status(new: &Value, old: &Value) -> ErrorList {
    let mut errors = attachment_update(new, old);
    for field in ["attachError", "detachError"] {
        let code = new.at("status").at(field).int("errorCode");
        if code < 0 {
            let at = Path::new("status").child(field).child("errorCode");
            errors.push(Error::invalid(&at, code, "must be between 0 and 2147483647, inclusive"));
        }
    }
    errors
}

/// Tokens in the attributes of a volume end in logs.
#[must_use]
pub fn driver_warnings(driver: &Value) -> Vec<String> {
    let asked = !driver.list("spec.tokenRequests").is_empty();
    let warning = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible \
                   logging of tokens in volume attributes";
    (asked && !driver.has("spec.serviceAccountTokenInSecrets")).then(|| warning.to_owned()).into_iter().collect()
}

#[must_use]
pub fn attributes_class(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    required(&mut errors, object, "driverName", &Path::default());
    if !object.text("driverName").is_empty() {
        let lower = object.text("driverName").to_lowercase();
        named(&mut errors, &Path::new("driverName"), &lower, names::qualified_name);
    }
    if object.entries("parameters").is_empty() {
        errors.push(Error::required(&Path::new("parameters"), "must contain at least one key/value pair"));
    }
    errors
}

#[must_use]
pub fn attributes_class_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    for field in ["driverName", "parameters"] {
        if !super::same(new.at(field), old.at(field)) {
            errors.push(Error::forbidden(&Path::new(field), format!("updates to {field} are forbidden.")));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::super::texts;
    use super::*;
    use serde_json::json;

    #[test]
    fn capacities_are_of_a_class() {
        let capacity = json!({"storageClassName": "s", "capacity": "-1", "nodeTopology": {"matchExpressions":
            [{"key": "k", "operator": "X"}]}});
        assert_eq!(
            texts(&capacity_of_class(&capacity)),
            [
                "nodeTopology.matchExpressions[0].operator: Invalid value: \"X\": not a valid selector operator",
                "capacity: Invalid value: \"-1\": must be greater than or equal to 0",
            ]
        );
    }

    #[test]
    fn attachments_say_what_is_attached() {
        let check = |source: Value| {
            texts(&attachment(&json!({"spec": {"attacher": "d.io", "nodeName": "n", "source": source}})))
        };
        assert_eq!(check(json!({"persistentVolumeName": "p"})), Vec::<String>::new());
        let one = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
        assert_eq!(check(json!({})), [format!("spec.source: Required value: {one}")]);
        let inline = json!({"accessModes": ["ReadWriteOnce"], "csi": {"driver": "d.io", "volumeHandle": "h"},
            "capacity": {"storage": "1"}});
        let detail = "may not be specified in the context of inline volumes";
        assert_eq!(
            check(json!({ "inlineVolumeSpec": inline })),
            [format!("spec.source.inlineVolumeSpec.capacity: Forbidden: {detail}")]
        );
    }

    #[test]
    fn drivers_of_classes_are_names() {
        let class = |driver: &str| texts(&attributes_class(&json!({"driverName": driver, "parameters": {"a": "b"}})));
        assert_eq!(class("Ebs.csi.aws.com"), Vec::<String>::new());
        assert!(class("Bad_Name!")[0].starts_with("driverName: Invalid value: \"bad_name!\": name part must consist"));
    }

    #[test]
    fn tokens_are_warned_of_until_it_is_said_where_they_go() {
        let told = |spec: Value| driver_warnings(&json!({ "spec": spec })).len();
        let asked = json!({"tokenRequests": [{"audience": ""}]});
        assert_eq!((told(json!({})), told(asked)), (0, 1));
        assert_eq!(told(json!({"tokenRequests": [{}], "serviceAccountTokenInSecrets": false})), 0);
    }

    #[test]
    fn what_drivers_of_csi_say() {
        let node = |driver: Value| json!({ "spec": { "drivers": [driver] } });
        let good = json!({"name": "a.b", "nodeID": "n", "topologyKeys": ["k"], "allocatable": {"count": 1}});
        assert_eq!(csi_node(&node(good.clone())), vec![]);
        let bad = json!({"name": "", "topologyKeys": ["k", "k"], "allocatable": {"count": -1}});
        assert_eq!(
            texts(&csi_node(&node(bad))),
            [
                "spec.drivers[0].name: Required value",
                "spec.drivers[0].nodeID: Required value",
                "spec.drivers[0].allocatable.count: Invalid value: -1: must be greater than or equal to 0",
                "spec.drivers[0]: Duplicate value: \"k\"",
            ]
        );
        let mut more = good.clone();
        more["allocatable"] = json!({"count": 2});
        assert_eq!(csi_node_update(&node(more), &node(good.clone())), vec![]);
        let mut other = good.clone();
        other["nodeID"] = json!("m");
        let expected = "spec.drivers: Invalid value: {\"Name\":\"a.b\",\"NodeID\":\"m\",\"TopologyKeys\":[\"k\"],\"Allocatable\":null}: \
                        field is immutable";
        assert_eq!(texts(&csi_node_update(&node(other), &node(good))), [expected]);
        let attachment = |code: i64| json!({"spec": {"attacher": "a"}, "status": {"attachError": {"errorCode": code}}});
        let expected = "status.attachError.errorCode: Invalid value: -1: must be between 0 and 2147483647, inclusive";
        assert_eq!(texts(&attachment_status(&attachment(-1), &attachment(1))), [expected]);
    }
}
