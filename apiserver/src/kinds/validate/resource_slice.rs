//! What drivers publish of their devices.

use std::sync::LazyLock;

use regex::Regex;
use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::Value;

use super::super::internal;
use super::super::json::Json;
use super::resource::{by_name, pool_name, qualified_name, set};
use super::volume_source::driver_name;
use super::{affinity, immutable, named, spec};

const MAX_DEVICES: usize = 128;
/// Attributes and capacities of a device together.
const MAX_ENTRIES: usize = 32;
const MAX_VALUE: usize = 64;
/// The longest name of an attribute: its domain, a slash, and its own.
const MAX_KEY: usize = 63 + 1 + 32;

/// What is wrong with a slice whose nodes are said never, or more than once.
const NODES: &str = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";

#[must_use]
pub fn slice(object: &Value) -> ErrorList {
    check(object, None)
}

#[must_use]
pub fn slice_update(new: &Value, old: &Value) -> ErrorList {
    check(new, Some(old))
}

fn check(object: &Value, old: Option<&Value>) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, body) = (spec(), object.at("spec"));
    driver_name(&mut errors, &path.child("driver"), body.text("driver"));
    let (at, pool) = (path.child("pool"), body.at("pool"));
    pool_name(&mut errors, &at.child("name"), pool.text("name"));
    let (count, generation) = (pool.int("resourceSliceCount"), pool.int("generation"));
    if count <= 0 {
        errors.push(Error::invalid(&at.child("resourceSliceCount"), count, "must be greater than zero"));
    }
    if generation < 0 {
        let detail = "must be greater than or equal to zero";
        errors.push(Error::invalid(&at.child("generation"), generation, detail));
    }
    if let Some(old) = old {
        let driver = path.child("driver");
        for (path, field) in [(at.child("name"), "pool.name"), (driver, "driver"), (path.child("nodeName"), "nodeName")]
        {
            immutable(&mut errors, &path, body.at(field), old.at("spec").at(field));
        }
    }
    nodes(&mut errors, &path, body);
    set(&mut errors, &path.child("devices"), body.list("devices"), MAX_DEVICES, by_name, device);
    errors
}

/// Which nodes the devices can be reached from.
fn nodes(errors: &mut ErrorList, path: &Path, body: &Value) {
    let mut given = Vec::new();
    if body.has("nodeName") {
        let (at, name) = (path.child("nodeName"), body.text("nodeName"));
        if name.is_empty() {
            errors.push(Error::invalid(&at, name, "must be either unset or set to a non-empty string"));
        } else {
            given.push("`nodeName`");
            named(errors, &at, name, names::dns1123_subdomain);
        }
    }
    if body.has("nodeSelector") {
        given.push("`nodeSelector`");
        let (at, selector) = (path.child("nodeSelector"), body.at("nodeSelector"));
        affinity::node_selector(errors, &at, selector);
        if selector.list("nodeSelectorTerms").len() != 1 {
            let shown = internal::compact(selector.at("nodeSelectorTerms"), "[]api.core.v1.NodeSelectorTerm");
            let detail = "must have exactly one node selector term";
            errors.push(Error::invalid_as(&at.child("nodeSelectorTerms"), shown, detail));
        }
    }
    if body.has("allNodes") {
        if body.yes("allNodes") {
            given.push("`allNodes`");
        } else {
            errors.push(Error::invalid(&path.child("allNodes"), false, "must be either unset or set to true"));
        }
    }
    match given[..] {
        [] => errors.push(Error::required(path, NODES)),
        [_] => {}
        _ => {
            let detail = format!("{NODES}, but multiple fields are set");
            errors.push(Error::invalid(path, format!("{{{}}}", given.join(", ")), detail));
        }
    }
}

fn device(errors: &mut ErrorList, path: &Path, device: &Value) {
    named(errors, &path.child("name"), device.text("name"), names::dns1123_label);
    let (attributes, capacity) = (device.entries("attributes"), device.entries("capacity"));
    let entries = attributes.len() + capacity.len();
    if entries > MAX_ENTRIES {
        let detail = format!("the total number of attributes and capacities must not exceed {MAX_ENTRIES}");
        errors.push(Error::invalid(path, entries, detail));
    }
    for (name, value) in attributes {
        let at = path.child("attributes").key(&shortened(name));
        qualified_name(errors, &at, name);
        attribute(errors, &at, value);
    }
    // Any quantity is a capacity.
    for name in capacity.keys() {
        qualified_name(errors, &path.child("capacity").key(&shortened(name)), name);
    }
}

/// A key that is much too long, without its middle.
fn shortened(key: &str) -> String {
    const DOTS: &str = "...";
    if key.len() <= MAX_KEY {
        return key.to_owned();
    }
    let left = MAX_KEY - DOTS.len();
    let (head, tail) = (&key.as_bytes()[..left.div_ceil(2)], &key.as_bytes()[key.len() - left / 2..]);
    format!("{}{DOTS}{}", String::from_utf8_lossy(head), String::from_utf8_lossy(tail))
}

fn attribute(errors: &mut ErrorList, path: &Path, attribute: &Value) {
    // As upstream's type has them.
    let fields = [("IntValue", "int"), ("BoolValue", "bool"), ("StringValue", "string"), ("VersionValue", "version")];
    let given = fields.iter().filter(|(_, field)| attribute.has(field)).count();
    for field in ["string", "version"] {
        let (at, value) = (path.child(field), attribute.text(field));
        if field == "version" && attribute.has(field) && !is_version(value) {
            errors.push(Error::invalid(&at, value, "must be a string compatible with semver.org spec 2.0.0"));
        }
        if value.len() > MAX_VALUE {
            errors.push(Error::too_long(&at, MAX_VALUE));
        }
    }
    let detail = "exactly one value must be specified";
    match given {
        0 => errors.push(Error::invalid(path, "", detail)),
        1 => {}
        _ => {
            let shown = fields.map(|(name, field)| format!("{name:?}:{}", attribute.at(field))).join(",");
            errors.push(Error::invalid_as(path, format!("{{{shown}}}"), detail));
        }
    }
}

fn is_version(text: &str) -> bool {
    static VERSION: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let number = "(0|[1-9][0-9]*)";
        let pre = "(0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)";
        let build = "[0-9a-zA-Z-]+";
        let pattern = format!(r"^{number}\.{number}\.{number}(-{pre}(\.{pre})*)?(\+{build}(\.{build})*)?$");
        Regex::new(&pattern).ok()
    });
    VERSION.as_ref().is_some_and(|version| version.is_match(text))
}

/// Drivers are told apart by every letter, though names of the kind are not.
#[must_use]
pub fn warnings(object: &Value) -> Vec<String> {
    let driver = object.text("spec.driver");
    let shown = schema::go::quote(driver);
    let upper = driver != driver.to_lowercase();
    let warning = format!("spec.driver: driver names should be lowercase; {shown} contains uppercase characters");
    upper.then_some(warning).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::texts;
    use super::*;

    fn with(more: &Value) -> Value {
        let mut spec = json!({"driver": "d.io", "pool": {"name": "p/q", "generation": 0, "resourceSliceCount": 1}});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "spec": spec })
    }

    #[test]
    fn slices() {
        let device = |more: Value| {
            let mut device = json!({"name": "a"});
            device.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"allNodes": true, "devices": [device]})
        };
        let many: serde_json::Map<String, Value> = (0..33).map(|i| (format!("a{i}"), json!({"int": i}))).collect();
        let term = json!({"matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}]});
        let rows = [
            (json!({"nodeName": "n"}), vec![]),
            (device(json!({"attributes": {"a.b/c": {"version": "1.2.3-a.1+b"}}, "capacity": {"m": {"value": "1"}}})), vec![]),
            (json!({}), vec![format!("spec: Required value: {NODES}")]),
            (
                json!({"nodeName": "n", "allNodes": true}),
                vec![format!("spec: Invalid value: \"{{`nodeName`, `allNodes`}}\": {NODES}, but multiple fields are set")],
            ),
            (
                json!({"nodeName": "", "allNodes": false}),
                vec![
                    "spec.nodeName: Invalid value: \"\": must be either unset or set to a non-empty string".to_owned(),
                    "spec.allNodes: Invalid value: false: must be either unset or set to true".to_owned(),
                    format!("spec: Required value: {NODES}"),
                ],
            ),
            (
                json!({"nodeSelector": {"nodeSelectorTerms": [term, {}]}}),
                vec!["spec.nodeSelector.nodeSelectorTerms: Invalid value: [{\"MatchExpressions\":[{\"Key\":\"k\",\"Operator\":\"In\",\
                      \"Values\":[\"v\"]}],\"MatchFields\":null},{\"MatchExpressions\":null,\"MatchFields\":null}]: must have exactly \
                      one node selector term".to_owned()],
            ),
            (
                json!({"allNodes": true, "driver": "", "pool": {"name": "", "generation": -1}}),
                vec![
                    "spec.driver: Required value".to_owned(),
                    "spec.pool.name: Required value".to_owned(),
                    "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero".to_owned(),
                    "spec.pool.generation: Invalid value: -1: must be greater than or equal to zero".to_owned(),
                ],
            ),
            (
                json!({"allNodes": true, "devices": [{"name": "a"}, {"name": "a"}]}),
                vec!["spec.devices[1]: Duplicate value: \"a\"".to_owned()],
            ),
            (
                json!({"allNodes": true, "devices": vec![json!({}); 129]}),
                vec!["spec.devices: Too many: 129: must have at most 128 items".to_owned()],
            ),
            (
                device(json!({"attributes": many})),
                vec!["spec.devices[0]: Invalid value: 33: the total number of attributes and capacities must not exceed 32".to_owned()],
            ),
            (
                device(json!({"attributes": {"/": {}, "a": {"int": 1, "version": "v1"}, "b": {"string": "x".repeat(65)}}})),
                vec![
                    "spec.devices[0].attributes[/]: Invalid value: \"\": the domain must not be empty".to_owned(),
                    "spec.devices[0].attributes[/]: Invalid value: \"\": the name must not be empty".to_owned(),
                    "spec.devices[0].attributes[/]: Invalid value: \"\": exactly one value must be specified".to_owned(),
                    "spec.devices[0].attributes[a].version: Invalid value: \"v1\": must be a string compatible with semver.org \
                     spec 2.0.0".to_owned(),
                    "spec.devices[0].attributes[a]: Invalid value: {\"IntValue\":1,\"BoolValue\":null,\"StringValue\":null,\
                     \"VersionValue\":\"v1\"}: exactly one value must be specified".to_owned(),
                    "spec.devices[0].attributes[b].string: Too long: may not be more than 64 bytes".to_owned(),
                ],
            ),
            (
                device(json!({"capacity": {"x".repeat(33): {"value": "1"}}})),
                vec![format!("spec.devices[0].capacity[{}]: Too long: may not be more than 32 bytes", "x".repeat(33))],
            ),
        ];
        for (more, expected) in rows {
            assert_eq!(texts(&slice(&with(&more))), expected, "{more}");
        }
        assert_eq!(shortened(&"ab".repeat(100)), format!("{}a...{}", "ab".repeat(23), "ab".repeat(23)));
    }

    #[test]
    fn a_slice_stays_where_it_is() {
        let (old, new) = (with(&json!({"nodeName": "n"})), with(&json!({"allNodes": true, "driver": "e.io"})));
        let expected = [
            "spec.driver: Invalid value: \"e.io\": field is immutable",
            "spec.nodeName: Invalid value: null: field is immutable",
        ];
        assert_eq!(texts(&slice_update(&new, &old)), expected);
    }

    #[test]
    fn drivers_in_upper_case_are_odd() {
        assert_eq!(warnings(&with(&json!({}))), Vec::<String>::new());
        let expected = "spec.driver: driver names should be lowercase; \"D.io\" contains uppercase characters";
        assert_eq!(warnings(&with(&json!({"driver": "D.io"}))), [expected]);
    }
}
