//! What a claim for devices says of itself once it has some: what was allocated, to whom, and how the devices are
//! (`ValidateResourceClaimStatusUpdate`).

use std::collections::BTreeSet;

use schema::field::{Error, ErrorList, Path};
use schema::go::quote;
use schema::names;
use serde_json::Value;

use super::super::json::Json;
use super::resource::{
    MAX_CONFIG, MAX_REQUESTS, Requests, configuration, each, pool_name, raw, reference, references, requests, set,
};
use super::volume_source::driver_name;
use super::{affinity, immutable_of, named, one_of, required, required_name, required_one_of, same};

const MAX_CONSUMERS: usize = 256;
const MAX_CONDITIONS: usize = 8;
const MAX_ADDRESSES: usize = 16;

/// A claim's status: what was allocated, to whom, and how the devices are.
#[must_use]
pub fn claim_status(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, status, before) = (Path::new("status"), new.at("status"), old.at("status"));
    // It was good before.
    if same(status, before) {
        return errors;
    }
    let consumers = path.child("reservedFor");
    let by_uid = |consumer: &Value| quote(consumer.text("uid"));
    set(&mut errors, &consumers, status.list("reservedFor"), MAX_CONSUMERS, by_uid, |errors, path, consumer| {
        for field in ["resource", "name", "uid"] {
            required(errors, consumer, field, path);
        }
    });
    let allocated: BTreeSet<String> = status.list("allocation.devices.results").iter().map(device_id).collect();
    set(&mut errors, &path.child("devices"), status.list("devices"), usize::MAX, device_id, |errors, path, device| {
        device_status(errors, path, device, &allocated);
    });
    if !status.list("reservedFor").is_empty() {
        let fields = ["apiGroup", "resource", "name", "uid"];
        let is = |a: &Value, b: &Value| fields.iter().all(|field| a.text(field) == b.text(field));
        let known = |consumer: &Value| before.list("reservedFor").iter().any(|other| is(consumer, other));
        if !status.has("allocation") {
            errors.push(Error::forbidden(&consumers, "may not be specified when `allocated` is not set"));
        } else if new.has("metadata.deletionTimestamp") && !status.list("reservedFor").iter().all(known) {
            let detail = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
            errors.push(Error::forbidden(&consumers, detail));
        }
    }
    let at = path.child("allocation");
    if status.has("allocation") && before.has("allocation") {
        let of = "api.resource.v1.AllocationResult";
        immutable_of(&mut errors, &at, status.at("allocation"), before.at("allocation"), of);
    } else if status.has("allocation") {
        allocation(&mut errors, &at, status.at("allocation"), &requests(new.at("spec.devices")));
    }
    errors
}

/// What tells devices apart, as Go shows it.
pub fn device_id(device: &Value) -> String {
    let [driver, pool, name] = ["driver", "pool", "device"].map(|field| Value::from(device.text(field)));
    format!("{{\"Driver\":{driver},\"Pool\":{pool},\"Device\":{name},\"ShareID\":\"\"}}")
}

fn allocation(errors: &mut ErrorList, path: &Path, body: &Value, known: &Requests<'_>) {
    let (devices, at) = (body.at("devices"), path.child("devices"));
    each(errors, &at.child("results"), devices.list("results"), MAX_REQUESTS, |errors, path, result| {
        reference(errors, &path.child("request"), result.text("request"), known);
        device_names(errors, path, result);
    });
    // Those of the class, and those of the claim.
    each(errors, &at.child("config"), devices.list("config"), 2 * MAX_CONFIG, |errors, path, config| {
        required_one_of(errors, &path.child("source"), config.text("source"), &["FromClaim", "FromClass"]);
        references(errors, path, config, known);
        configuration(errors, path, config);
    });
    if body.has("nodeSelector") {
        affinity::node_selector(errors, &path.child("nodeSelector"), body.at("nodeSelector"));
    }
}

fn device_names(errors: &mut ErrorList, path: &Path, device: &Value) {
    driver_name(errors, &path.child("driver"), device.text("driver"));
    pool_name(errors, &path.child("pool"), device.text("pool"));
    named(errors, &path.child("device"), device.text("device"), names::dns1123_label);
}

fn device_status(errors: &mut ErrorList, path: &Path, device: &Value, allocated: &BTreeSet<String>) {
    device_names(errors, path, device);
    let id = device_id(device);
    if !allocated.contains(&id) {
        errors.push(Error::invalid_as(path, id, "must be an allocated device in the claim"));
    }
    let (at, list) = (path.child("conditions"), device.list("conditions"));
    if list.len() > MAX_CONDITIONS {
        errors.push(Error::too_many(&at, list.len(), MAX_CONDITIONS));
    }
    conditions(errors, &at, list);
    if device.has("data") {
        raw(errors, &path.child("data"), device.at("data"));
    }
    let (path, network) = (path.child("networkData"), device.at("networkData"));
    for (field, most) in [("interfaceName", 256), ("hardwareAddress", 128)] {
        if network.text(field).len() > most {
            errors.push(Error::too_long(&path.child(field), most));
        }
    }
    let key = |address: &Value| quote(address.text(""));
    set(errors, &path.child("ips"), network.list("ips"), MAX_ADDRESSES, key, |errors, path, address| {
        interface_address(errors, path, address.text(""));
    });
}

/// Conditions of the common type (`metav1validation.ValidateConditions`).
fn conditions(errors: &mut ErrorList, path: &Path, list: &[Value]) {
    const MAX_REASON: usize = 1024;
    const MAX_MESSAGE: usize = 32 * 1024;
    for (i, condition) in list.iter().enumerate() {
        let path = path.index(i);
        let kind = condition.text("type");
        if list[..i].iter().any(|other| other.text("type") == kind) {
            errors.push(Error::duplicate(&path.child("type"), kind));
        }
        named(errors, &path.child("type"), kind, names::qualified_name);
        one_of(errors, &path.child("status"), condition.text("status"), &["False", "True", "Unknown"]);
        let generation = condition.int("observedGeneration");
        if generation < 0 {
            let detail = "must be greater than or equal to zero";
            errors.push(Error::invalid(&path.child("observedGeneration"), generation, detail));
        }
        if !condition.has("lastTransitionTime") {
            errors.push(Error::required(&path.child("lastTransitionTime"), ""));
        }
        let (at, reason) = (path.child("reason"), condition.text("reason"));
        required_name(errors, &at, reason, condition_reason);
        if reason.len() > MAX_REASON {
            errors.push(Error::too_long(&at, MAX_REASON));
        }
        if condition.text("message").len() > MAX_MESSAGE {
            errors.push(Error::too_long(&path.child("message"), MAX_MESSAGE));
        }
    }
}

fn condition_reason(reason: &str) -> Vec<String> {
    let inner = |c: char| c.is_ascii_alphanumeric() || "_,:".contains(c);
    let good = reason.starts_with(|c: char| c.is_ascii_alphabetic())
        && reason.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && reason.chars().all(inner);
    if good {
        return Vec::new();
    }
    vec![
        "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric \
         characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or \
         'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is \
         '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')"
            .to_owned(),
    ]
}

/// An address and the length of its network's prefix.
fn interface_address(errors: &mut ErrorList, path: &Path, text: &str) {
    let Some(canonical) = canonical_address(text) else {
        let detail = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)";
        errors.push(Error::invalid(path, text, detail));
        return;
    };
    if canonical != text {
        errors.push(Error::invalid(path, text, format!("must be in canonical form ({})", quote(&canonical))));
    }
}

fn canonical_address(text: &str) -> Option<String> {
    let (address, length) = runtime::address::cidr(text)?;
    // An IPv4 address in the clothes of an IPv6 one is shown as what it is.
    let shown = address.to_canonical();
    let length = if shown.is_ipv4() && length > 32 { length.saturating_sub(96) } else { length };
    Some(format!("{shown}/{length}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::texts;
    use super::*;

    #[test]
    fn statuses_of_claims() {
        let allocation = |name: &str| json!({"devices": {"results": [{"request": "r", "driver": "d.io", "pool": "p", "device": name}]}});
        let consumer = json!({"resource": "pods", "name": "p", "uid": "u"});
        let rows = [
            (json!({"allocation": allocation("a"), "reservedFor": [consumer]}), json!({}), vec![]),
            (
                json!({"allocation": allocation("b")}),
                json!({"allocation": allocation("b"), "reservedFor": [consumer]}),
                vec![],
            ),
            (
                json!({"reservedFor": [consumer, consumer]}),
                json!({}),
                vec![
                    "status.reservedFor[1]: Duplicate value: \"u\"",
                    "status.reservedFor: Forbidden: may not be specified when `allocated` is not set",
                ],
            ),
            (
                json!({"allocation": {"devices": {"config": [{"source": "x", "opaque": {"driver": "d", "parameters": {}}}],
                    "results": [{"request": "x", "driver": "d", "pool": "", "device": "a"}]}, "nodeSelector": {}}}),
                json!({}),
                vec![
                    "status.allocation.devices.results[0].request: Invalid value: \"x\": must be the name of a request in the \
                     claim or the name of a request and a subrequest separated by '/'",
                    "status.allocation.devices.results[0].pool: Required value",
                    "status.allocation.devices.config[0].source: Unsupported value: \"x\": supported values: \"FromClaim\", \
                     \"FromClass\"",
                    "status.allocation.nodeSelector.nodeSelectorTerms: Required value: must have at least one node selector \
                     term",
                ],
            ),
            (
                json!({"allocation": allocation("a"), "devices": [{"driver": "d.io", "pool": "p", "device": "b",
                    "networkData": {"ips": ["10.0.0.1", "010.0.0.1/24", "2001:db8::1/64"]},
                    "conditions": [{"type": "Ready", "status": "Yes", "reason": "1"}]}]}),
                json!({"allocation": allocation("a")}),
                vec![
                    "status.devices[0]: Invalid value: {\"Driver\":\"d.io\",\"Pool\":\"p\",\"Device\":\"b\",\"ShareID\":\"\"}: must be an \
                     allocated device in the claim",
                    "status.devices[0].conditions[0].status: Unsupported value: \"Yes\": supported values: \"False\", \"True\", \
                     \"Unknown\"",
                    "status.devices[0].conditions[0].lastTransitionTime: Required value",
                    "status.devices[0].conditions[0].reason: Invalid value: \"1\": a condition reason must start with alphabetic \
                     character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an \
                     alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or \
                     'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')",
                    "status.devices[0].networkData.ips[0]: Invalid value: \"10.0.0.1\": must be a valid address in CIDR form, \
                     (e.g. 10.9.8.7/24 or 2001:db8::1/64)",
                    "status.devices[0].networkData.ips[1]: Invalid value: \"010.0.0.1/24\": must be in canonical form \
                     (\"10.0.0.1/24\")",
                ],
            ),
        ];
        for (new, old, expected) in rows {
            let spec = json!({"devices": {"requests": [{"name": "r", "exactly":
                {"deviceClassName": "c", "allocationMode": "ExactCount", "count": 1}}]}});
            let object = |status: &Value| json!({"spec": spec, "status": status});
            assert_eq!(texts(&claim_status(&object(&new), &object(&old))), expected, "{new}");
        }
        let going = |status: Value| json!({"metadata": {"deletionTimestamp": "t"}, "status": status});
        let held = going(json!({"allocation": allocation("a"), "reservedFor": [consumer]}));
        let free = going(json!({"allocation": allocation("a")}));
        assert_eq!(claim_status(&free, &held), vec![]);
        let added = "status.reservedFor: Forbidden: new entries may not be added while `deallocationRequested` or \
                     `deletionTimestamp` are set";
        assert_eq!(texts(&claim_status(&held, &free)), [added]);
        let other = going(json!({"allocation": allocation("b")}));
        let moved = texts(&claim_status(&other, &free));
        assert!(moved.len() == 1 && moved[0].ends_with(": field is immutable"), "{moved:?}");
    }

    #[test]
    fn mapped_addresses_are_of_ipv4() {
        for (text, canonical) in [
            ("10.0.0.1/24", Some("10.0.0.1/24")),
            ("10.0.0.1/024", Some("10.0.0.1/24")),
            ("2001:DB8::1/64", Some("2001:db8::1/64")),
            ("::ffff:10.0.0.1/120", Some("10.0.0.1/24")),
            ("10.0.0.1/33", None),
            ("10.0.0/8", None),
            ("10.0.0.1/+8", None),
        ] {
            assert_eq!(canonical_address(text).as_deref(), canonical, "{text}");
        }
    }
}
