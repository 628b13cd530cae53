//! Claims for devices, their templates, and classes of devices (`pkg/apis/resource/validation`). Fields of features that are off
//! are gone by now ([`strategy::resource`](super::super::strategy::resource)).

use std::collections::{BTreeMap, BTreeSet};

use cel::device::{self, SelectorError};
use schema::field::{Error, ErrorList, Path};
use schema::go::quote;
use schema::names;
use serde_json::Value;

use super::super::json::Json;
use super::volume_source::driver_name;
use super::{immutable_of, meta, named, one_of, required_name, spec};

/// Requests of a claim, and results of its allocation.
pub(super) const MAX_REQUESTS: usize = 32;
const MAX_ALTERNATIVES: usize = 8;
const MAX_CONSTRAINTS: usize = 32;
pub(super) const MAX_CONFIG: usize = 32;
const MAX_SELECTORS: usize = 32;
const MAX_EXPRESSION: usize = 10 * 1024;
const MAX_PARAMETERS: usize = 10 * 1024;
const MAX_POOL_NAME: usize = 253;
const MAX_ID: usize = 32;

const REFERENCE: &str =
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";

/// Checks the items of a list that is not too long; what is in a longer one is not looked at.
pub(super) fn each(
    errors: &mut ErrorList,
    path: &Path,
    list: &[Value],
    most: usize,
    mut item: impl FnMut(&mut ErrorList, &Path, &Value),
) -> bool {
    if list.len() > most {
        errors.push(Error::too_many(path, list.len(), most));
        return false;
    }
    for (i, value) in list.iter().enumerate() {
        item(errors, &path.index(i), value);
    }
    true
}

/// The same, of a list without duplicates. `key` is what tells items apart, as it is shown.
pub(super) fn set(
    errors: &mut ErrorList,
    path: &Path,
    list: &[Value],
    most: usize,
    key: impl Fn(&Value) -> String,
    item: impl FnMut(&mut ErrorList, &Path, &Value),
) {
    if !each(errors, path, list, most, item) {
        return;
    }
    let mut seen = BTreeSet::new();
    for (i, value) in list.iter().enumerate() {
        let key = key(value);
        if seen.contains(&key) {
            errors.push(Error::duplicate(&path.index(i), Value::Null).shown_as(key));
        } else {
            seen.insert(key);
        }
    }
}

pub(super) fn by_name(value: &Value) -> String {
    quote(value.text("name"))
}

/// One or several subdomains, with slashes between them.
pub(super) fn pool_name(errors: &mut ErrorList, path: &Path, name: &str) {
    if name.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    if name.len() > MAX_POOL_NAME {
        errors.push(Error::too_long(path, MAX_POOL_NAME));
    }
    for part in name.split('/') {
        for message in names::dns1123_subdomain(part) {
            errors.push(Error::invalid(path, part, message));
        }
    }
}

/// What attributes and capacities are called: a C identifier, of a domain or of none. More slashes are not looked at.
pub(super) fn qualified_name(errors: &mut ErrorList, path: &Path, name: &str) {
    let identifier = |errors: &mut ErrorList, id: &str| {
        if id.len() > MAX_ID {
            errors.push(Error::too_long(path, MAX_ID));
        }
        named(errors, path, id, names::c_identifier);
    };
    match name.split('/').collect::<Vec<_>>()[..] {
        [id] => identifier(errors, id),
        [domain, id] => {
            if domain.is_empty() {
                errors.push(Error::invalid(path, "", "the domain must not be empty"));
            } else {
                driver_name(errors, path, domain);
            }
            if id.is_empty() {
                errors.push(Error::invalid(path, "", "the name must not be empty"));
            } else {
                identifier(errors, id);
            }
        }
        _ => {}
    }
}

/// Names of a claim's requests, each with those of its alternatives.
pub(super) type Requests<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

fn alternatives(request: &Value) -> BTreeSet<&str> {
    request.list("firstAvailable").iter().map(|sub| sub.text("name")).collect()
}

pub(super) fn requests(devices: &Value) -> Requests<'_> {
    devices.list("requests").iter().map(|request| (request.text("name"), alternatives(request))).collect()
}

pub(super) fn reference(errors: &mut ErrorList, path: &Path, name: &str, known: &Requests<'_>) {
    let parts: Vec<&str> = name.split('/').collect();
    if parts.len() <= 2 {
        for part in &parts {
            named(errors, path, part, names::dns1123_label);
        }
    }
    let found = match parts[..] {
        [request] => known.contains_key(request),
        [request, sub] => known.get(request).is_some_and(|subs| subs.contains(sub)),
        _ => false,
    };
    if !found {
        errors.push(Error::invalid(path, name, REFERENCE));
    }
}

/// The requests that a constraint or some parameters are about.
pub(super) fn references(errors: &mut ErrorList, path: &Path, body: &Value, known: &Requests<'_>) {
    let key = |name: &Value| quote(name.text(""));
    set(errors, &path.child("requests"), body.list("requests"), MAX_REQUESTS, key, |errors, path, name| {
        reference(errors, path, name.text(""), known);
    });
}

/// Marks the namespaces in which devices may be had for administration.
pub const ADMIN_NAMESPACE: &str = "resource.kubernetes.io/admin-access";

/// Where a claim or a template asks for such a device, or a claim's status newly grants one.
#[must_use]
pub fn admin_access(plural: &str, new: &Value, old: Option<&Value>) -> Option<Path> {
    const GRANTED: &str = "status.allocation.devices.results";
    let asking = match (plural, old) {
        ("resourceclaims", None) => "spec.devices.requests",
        ("resourceclaimtemplates", None) => "spec.spec.devices.requests",
        ("resourceclaims", Some(old)) => {
            let granted = |claim: &Value| claim.list(GRANTED).iter().position(|result| result.yes("adminAccess"));
            let at = granted(new).filter(|_| granted(old).is_none())?;
            let path = Path::new("status").child("allocation").child("devices").child("results");
            return Some(path.index(at).child("adminAccess"));
        }
        _ => return None,
    };
    let at = new.list(asking).iter().position(|request| request.yes("exactly.adminAccess"))?;
    // Of a template, too, it is told as of a claim.
    Some(spec().child("devices").child("requests").index(at).child("adminAccess"))
}

#[must_use]
pub fn claim(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    claim_spec(&mut errors, &spec(), object.at("spec"));
    errors
}

#[must_use]
pub fn template(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    meta::embedded(&mut errors, &spec().child("metadata"), object.at("spec.metadata"));
    claim_spec(&mut errors, &spec().child("spec"), object.at("spec.spec"));
    errors
}

/// Claims and their templates are as they were made.
#[must_use]
pub fn claim_update(new: &Value, old: &Value) -> ErrorList {
    immutable_spec(new, old, "api.resource.v1.ResourceClaimSpec")
}

#[must_use]
pub fn template_update(new: &Value, old: &Value) -> ErrorList {
    immutable_spec(new, old, "api.resource.v1.ResourceClaimTemplateSpec")
}

fn immutable_spec(new: &Value, old: &Value, of: &str) -> ErrorList {
    let mut errors = ErrorList::new();
    immutable_of(&mut errors, &spec(), new.at("spec"), old.at("spec"), of);
    errors
}

fn claim_spec(errors: &mut ErrorList, path: &Path, body: &Value) {
    let (path, devices) = (path.child("devices"), body.at("devices"));
    let known = requests(devices);
    set(errors, &path.child("requests"), devices.list("requests"), MAX_REQUESTS, by_name, request);
    let constraints = devices.list("constraints");
    each(errors, &path.child("constraints"), constraints, MAX_CONSTRAINTS, |errors, path, constraint| {
        references(errors, path, constraint, &known);
        let at = path.child("matchAttribute");
        if constraint.has("matchAttribute") {
            let name = constraint.text("matchAttribute");
            qualified_name(errors, &at, name);
            if !name.contains('/') {
                let detail = "a fully qualified name must be a domain and a name separated by a slash";
                errors.push(Error::invalid(&at, name, detail));
            }
        } else {
            errors.push(Error::required(&at, ""));
        }
    });
    each(errors, &path.child("config"), devices.list("config"), MAX_CONFIG, |errors, path, config| {
        references(errors, path, config, &known);
        configuration(errors, path, config);
    });
}

fn request(errors: &mut ErrorList, path: &Path, request: &Value) {
    named(errors, &path.child("name"), request.text("name"), names::dns1123_label);
    let alternatives = request.list("firstAvailable");
    match (request.has("exactly"), alternatives.is_empty()) {
        (false, true) => {
            errors.push(Error::required(path, "exactly one of `exactly` or `firstAvailable` is required"));
        }
        (true, false) => {
            let detail = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
            errors.push(Error::invalid(path, Value::Null, detail));
        }
        (true, true) => wanted(errors, &path.child("exactly"), request.at("exactly")),
        (false, false) => {
            let at = path.child("firstAvailable");
            set(errors, &at, alternatives, MAX_ALTERNATIVES, by_name, |errors, path, alternative| {
                named(errors, &path.child("name"), alternative.text("name"), names::dns1123_label);
                wanted(errors, path, alternative);
            });
        }
    }
}

/// Which devices are asked for, and how many.
fn wanted(errors: &mut ErrorList, path: &Path, body: &Value) {
    let class = body.text("deviceClassName");
    required_name(errors, &path.child("deviceClassName"), class, names::dns1123_subdomain);
    selectors(errors, &path.child("selectors"), body.list("selectors"));
    let (at, count) = (path.child("count"), body.int("count"));
    match body.text("allocationMode") {
        "All" if count != 0 => {
            errors.push(Error::invalid(&at, count, "must not be specified when allocationMode is 'All'"));
        }
        "ExactCount" if count <= 0 => errors.push(Error::invalid(&at, count, "must be greater than zero")),
        mode => one_of(errors, &path.child("allocationMode"), mode, &["All", "ExactCount"]),
    }
}

fn selectors(errors: &mut ErrorList, path: &Path, list: &[Value]) {
    each(errors, path, list, MAX_SELECTORS, |errors, path, selector| {
        let path = path.child("cel");
        if !selector.has("cel") {
            errors.push(Error::required(&path, ""));
            return;
        }
        let (at, text) = (path.child("expression"), selector.text("cel.expression"));
        if text.len() > MAX_EXPRESSION {
            errors.push(Error::too_long(&at, MAX_EXPRESSION));
            return;
        }
        errors.extend(device::compile(text).err().map(|error| match error {
            SelectorError::Invalid(why) => Error::invalid(&at, text, why),
            SelectorError::Internal(why) => Error::internal(&at, why),
            SelectorError::TooComplex => Error::forbidden(&at, "too complex, exceeds cost limit"),
        }));
    });
}

/// Parameters for a driver.
pub(super) fn configuration(errors: &mut ErrorList, path: &Path, config: &Value) {
    let path = path.child("opaque");
    if !config.has("opaque") {
        errors.push(Error::required(&path, ""));
        return;
    }
    driver_name(errors, &path.child("driver"), config.text("opaque.driver"));
    raw(errors, &path.child("parameters"), config.at("opaque.parameters"));
}

/// An object of any shape.
pub(super) fn raw(errors: &mut ErrorList, path: &Path, value: &Value) {
    if value.is_null() {
        errors.push(Error::required(path, ""));
    } else if value.to_string().len() > MAX_PARAMETERS {
        errors.push(Error::too_long(path, MAX_PARAMETERS));
    } else if !value.is_object() {
        errors.push(Error::invalid(path, "<value omitted>", "must be a valid JSON object"));
    }
}

#[must_use]
pub fn class(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, body) = (spec(), object.at("spec"));
    selectors(&mut errors, &path.child("selectors"), body.list("selectors"));
    each(&mut errors, &path.child("config"), body.list("config"), MAX_CONFIG, configuration);
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::texts;
    use super::*;

    fn exactly() -> Value {
        json!({"deviceClassName": "c", "allocationMode": "ExactCount", "count": 1})
    }

    #[test]
    fn claims() {
        let request = |more: Value| {
            let mut exactly = exactly();
            exactly.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"requests": [{"name": "r", "exactly": exactly}]})
        };
        let with = |more: Value| {
            let mut devices = json!({"requests": [{"name": "r", "firstAvailable": [
                {"name": "s", "deviceClassName": "c", "allocationMode": "All"}]}]});
            devices.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            devices
        };
        let exact = "spec.devices.requests[0].exactly";
        let rows = [
            (request(json!({})), vec![]),
            (with(json!({"constraints": [{"requests": ["r", "r/s"], "matchAttribute": "a.b/c"}]})), vec![]),
            (
                json!({"requests": [{"name": "r"}]}),
                vec!["spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required".to_owned()],
            ),
            (
                with(json!({"requests": [{"name": "r", "exactly": exactly(), "firstAvailable": [{}]}]})),
                vec!["spec.devices.requests[0]: Invalid value: null: exactly one of `exactly` or `firstAvailable` is required, \
                      but multiple fields are set".to_owned()],
            ),
            (
                json!({"requests": [{"name": "r", "exactly": exactly()}, {"name": "r", "exactly": exactly()}]}),
                vec!["spec.devices.requests[1]: Duplicate value: \"r\"".to_owned()],
            ),
            (
                json!({"requests": vec![json!({}); 33]}),
                vec!["spec.devices.requests: Too many: 33: must have at most 32 items".to_owned()],
            ),
            (
                request(json!({"deviceClassName": "", "count": -1})),
                vec![
                    format!("{exact}.deviceClassName: Required value"),
                    format!("{exact}.count: Invalid value: -1: must be greater than zero"),
                ],
            ),
            (
                request(json!({"allocationMode": "All"})),
                vec![format!("{exact}.count: Invalid value: 1: must not be specified when allocationMode is 'All'")],
            ),
            (
                request(json!({"allocationMode": "Some"})),
                vec![format!(
                    "{exact}.allocationMode: Unsupported value: \"Some\": supported values: \"All\", \"ExactCount\""
                )],
            ),
            (
                request(json!({"selectors": [{}, {"cel": {"expression": "1"}}]})),
                vec![
                    format!("{exact}.selectors[0].cel: Required value"),
                    format!(
                        "{exact}.selectors[1].cel.expression: Invalid value: \"1\": must evaluate to bool or the unknown type, \
                         not int"
                    ),
                ],
            ),
            (
                request(json!({"selectors": [{"cel": {"expression": " ".repeat(10241)}}]})),
                vec![format!("{exact}.selectors[0].cel.expression: Too long: may not be more than 10240 bytes")],
            ),
            (
                with(json!({"constraints": [{"requests": ["x", "r/s/t"]}]})),
                vec![
                    format!("spec.devices.constraints[0].requests[0]: Invalid value: \"x\": {REFERENCE}"),
                    format!("spec.devices.constraints[0].requests[1]: Invalid value: \"r/s/t\": {REFERENCE}"),
                    "spec.devices.constraints[0].matchAttribute: Required value".to_owned(),
                ],
            ),
            (
                with(json!({"constraints": [{"matchAttribute": "c"}]})),
                vec!["spec.devices.constraints[0].matchAttribute: Invalid value: \"c\": a fully qualified name must be a domain \
                      and a name separated by a slash".to_owned()],
            ),
            (
                with(json!({"config": [{"requests": ["r", "r"]}, {"opaque": {"driver": "", "parameters": 1}}]})),
                vec![
                    "spec.devices.config[0].requests[1]: Duplicate value: \"r\"",
                    "spec.devices.config[0].opaque: Required value",
                    "spec.devices.config[1].opaque.driver: Required value",
                    "spec.devices.config[1].opaque.parameters: Invalid value: \"<value omitted>\": must be a valid JSON object",
                ]
                .into_iter()
                .map(str::to_owned)
                .collect(),
            ),
        ];
        for (devices, expected) in rows {
            let found = texts(&claim(&json!({"spec": {"devices": devices}})));
            assert_eq!(found, expected, "{devices}");
            let template = texts(&template(&json!({"spec": {"spec": {"devices": devices}}})));
            assert_eq!(template.len(), expected.len(), "{template:?}");
            assert!(template.iter().all(|text| text.starts_with("spec.spec.devices.")));
        }
    }

    #[test]
    fn classes() {
        let check = |spec: Value| texts(&class(&json!({ "spec": spec })));
        let parameters = json!({"opaque": {"driver": "d.io", "parameters": {"a": 1}}});
        let selector = json!({"cel": {"expression": "device.driver == \"d.io\""}});
        assert_eq!(check(json!({"selectors": [selector], "config": [parameters]})), Vec::<String>::new());
        let large = json!({"opaque": {"driver": "d.io", "parameters": {"a": "x".repeat(10240)}}});
        assert_eq!(
            check(json!({"selectors": vec![selector; 33], "config": [large]})),
            [
                "spec.selectors: Too many: 33: must have at most 32 items",
                "spec.config[0].opaque.parameters: Too long: may not be more than 10240 bytes",
            ]
        );
    }
}
