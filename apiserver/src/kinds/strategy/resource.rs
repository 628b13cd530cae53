//! Claims for devices, their templates, classes of devices, and what drivers publish.

use serde_json::Value;

use super::super::Strategy;
use super::super::json::Json;
use super::super::validate::{self, resource, resource_status};
use super::{METADATA, WITH_STATUS};

pub const CLASS: Strategy = Strategy {
    has_generation: true,
    prepare_create: Some(|class| drop_off(class, &Value::Null, OF_CLASSES)),
    prepare_update: Some(|class, old| drop_off(class, old, OF_CLASSES)),
    validate: Some(resource::class),
    ..Strategy::PLAIN
};

pub const CLAIM: Strategy = Strategy {
    status_keeps: METADATA,
    default: Some(|claim| default_requests(claim, "spec.devices.requests")),
    prepare_create: Some(|claim| drop_below(claim, &Value::Null, "spec.devices", OF_REQUESTS)),
    prepare_update: Some(|claim, old| drop_below(claim, old, "spec.devices", OF_REQUESTS)),
    prepare_path: &[("status", |claim, old| {
        drop_off(claim, old, OF_STATUSES);
        forget_devices(claim, old);
    })],
    validate_create: Some(resource::claim),
    validate_update: Some(resource::claim_update),
    validate_path: &[("status", resource_status::claim_status)],
    ..WITH_STATUS
};

pub const TEMPLATE: Strategy = Strategy {
    default: Some(|template| default_requests(template, "spec.spec.devices.requests")),
    prepare_create: Some(|template| drop_below(template, &Value::Null, "spec.spec.devices", OF_REQUESTS)),
    prepare_update: Some(|template, old| drop_below(template, old, "spec.spec.devices", OF_REQUESTS)),
    validate: Some(resource::template),
    validate_update: Some(resource::template_update),
    ..Strategy::PLAIN
};

pub const SLICE: Strategy = Strategy {
    has_generation: true,
    default: Some(|slice| {
        let now = crate::registry::object::now();
        for device in slice.list_mut("spec.devices") {
            for taint in device.list_mut("taints") {
                taint.default_to("timeAdded", now.clone());
            }
        }
    }),
    prepare_create: Some(|slice| drop_off(slice, &Value::Null, OF_SLICES)),
    prepare_update: Some(|slice, old| drop_off(slice, old, OF_SLICES)),
    validate_create: Some(validate::resource_slice::slice),
    validate_update: Some(validate::resource_slice::slice_update),
    warnings: Some(validate::resource_slice::warnings),
    ..Strategy::PLAIN
};

/// The fields of a feature that is off in v1.35. `name[]` is each item of a list, or value of a map.
type Feature = &'static [&'static str];

/// DRAExtendedResource.
const OF_CLASSES: &[Feature] = &[&["spec.extendedResourceName"]];

/// DRADeviceTaints, DRAConsumableCapacity; of a claim's `devices`.
const OF_REQUESTS: &[Feature] = &[
    &["requests[].exactly.tolerations", "requests[].firstAvailable[].tolerations"],
    &["constraints[].distinctAttribute", "requests[].exactly.capacity", "requests[].firstAvailable[].capacity"],
];

/// DRAConsumableCapacity, DRADeviceBindingConditions.
const OF_STATUSES: &[Feature] = &[
    &[
        "status.allocation.devices.results[].shareID",
        "status.allocation.devices.results[].consumedCapacity",
        "status.devices[].shareID",
    ],
    &[
        "status.allocation.devices.results[].bindingConditions",
        "status.allocation.devices.results[].bindingFailureConditions",
    ],
];

/// DRADeviceTaints, DRAPartitionableDevices, DRADeviceBindingConditions, DRAConsumableCapacity.
const OF_SLICES: &[Feature] = &[
    &["spec.devices[].taints"],
    &[
        "spec.sharedCounters",
        "spec.perDeviceNodeSelection",
        "spec.devices[].consumesCounters",
        "spec.devices[].nodeName",
        "spec.devices[].nodeSelector",
        "spec.devices[].allNodes",
    ],
    &["spec.devices[].bindingConditions", "spec.devices[].bindingFailureConditions", "spec.devices[].bindsToNode"],
    &["spec.devices[].allowMultipleAllocations", "spec.devices[].capacity[].requestPolicy"],
];

/// Drops the fields of features that are off, save of those that the object made use of already.
fn drop_off(new: &mut Value, old: &Value, features: &[Feature]) {
    for fields in features {
        if !fields.iter().any(|field| given(old, field)) {
            fields.iter().for_each(|field| forget(new, field));
        }
    }
}

fn drop_below(new: &mut Value, old: &Value, path: &str, features: &[Feature]) {
    if let Some(body) = new.at_mut(path) {
        drop_off(body, old.at(path), features);
    }
}

fn given(value: &Value, path: &str) -> bool {
    let Some((every, rest)) = path.split_once("[].") else { return value.has(path) };
    match value.at(every) {
        Value::Array(items) => items.iter().any(|item| given(item, rest)),
        Value::Object(entries) => entries.values().any(|entry| given(entry, rest)),
        _ => false,
    }
}

fn forget(value: &mut Value, path: &str) {
    let Some((every, rest)) = path.split_once("[].") else { return value.remove(path) };
    match value.at_mut(every) {
        Some(Value::Array(items)) => items.iter_mut().for_each(|item| forget(item, rest)),
        Some(Value::Object(entries)) => entries.values_mut().for_each(|entry| forget(entry, rest)),
        _ => {}
    }
}

/// What is said of a device goes when the claim gives the device back.
fn forget_devices(new: &mut Value, old: &Value) {
    const RESULTS: &str = "status.allocation.devices.results";
    let ids = |claim: &Value| -> Vec<String> { claim.list(RESULTS).iter().map(resource_status::device_id).collect() };
    let (before, now) = (ids(old), ids(new));
    let Some(Value::Array(devices)) = new.at_mut("status.devices") else { return };
    devices.retain(|device| {
        let id = resource_status::device_id(device);
        !before.contains(&id) || now.contains(&id)
    });
    if devices.is_empty() {
        new.remove("status.devices");
    }
}

fn default_requests(claim: &mut Value, path: &str) {
    for request in claim.list_mut(path) {
        let fill = |request: &mut Value| {
            request.default_to("allocationMode", "ExactCount");
            if request.text("allocationMode") == "ExactCount" && request.int("count") == 0 {
                request.put("count", 1);
            }
        };
        if let Some(exactly) = request.at_mut("exactly").filter(|e| e.is_object()) {
            fill(exactly);
        }
        for sub in request.list_mut("firstAvailable") {
            fill(sub);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_of_features_that_are_off_are_dropped() {
        let slice = json!({"spec": {"sharedCounters": [], "devices": [{"name": "a", "taints": [{}], "allNodes": true,
            "capacity": {"m": {"value": "1", "requestPolicy": {}}}}]}});
        let mut new = slice.clone();
        drop_off(&mut new, &Value::Null, OF_SLICES);
        assert_eq!(new, json!({"spec": {"devices": [{"name": "a", "capacity": {"m": {"value": "1"}}}]}}));
        let mut kept = slice.clone();
        drop_off(&mut kept, &slice, OF_SLICES);
        assert_eq!(kept, slice, "they were in use");
        let mut claim = json!({"spec": {"devices": {"constraints": [{"distinctAttribute": "a"}],
            "requests": [{"exactly": {"tolerations": [{}], "count": 1}}, {"firstAvailable": [{"capacity": {}}]}]}}});
        drop_below(&mut claim, &Value::Null, "spec.devices", OF_REQUESTS);
        let expected = json!({"spec": {"devices": {"constraints": [{}],
            "requests": [{"exactly": {"count": 1}}, {"firstAvailable": [{}]}]}}});
        assert_eq!(claim, expected);
    }

    #[test]
    fn a_device_given_back_is_forgotten() {
        let device = |name: &str| json!({"driver": "d.io", "pool": "p", "device": name});
        let claim = |results: Value| json!({"status": {"allocation": {"devices": {"results": results}}, "devices": [device("a"), device("b")]}});
        let old = claim(json!([device("a"), device("b")]));
        for (results, left) in [
            (json!([device("a"), device("b")]), json!([device("a"), device("b")])),
            (json!([device("b")]), json!([device("b")])),
            (json!([]), Value::Null),
        ] {
            let mut new = claim(results);
            forget_devices(&mut new, &old);
            assert_eq!(*new.at("status.devices"), left);
        }
    }
}
