//! APIServices (`kube-aggregator/pkg/apis/apiregistration/validation`).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::Value;

use super::super::json::Json;
use super::{PORT_RANGE, named, one_of, required, spec};

/// The bounds of what orders groups and versions.
const PRIORITIES: [(&str, i64); 2] = [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)];

#[must_use]
pub fn api_service(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, body) = (spec(), object.at("spec"));
    let (group, version, name) = (body.text("group"), body.text("version"), object.text("metadata.name"));
    // What is no name at all is told with the rest of the metadata.
    if names::path_segment(name).is_empty() && name != format!("{version}.{group}") {
        let detail = format!("must be `spec.version+\".\"+spec.group`: {:?}", format!("{version}.{group}"));
        errors.push(Error::invalid(&Path::new("metadata").child("name"), name, detail));
    }
    if !group.is_empty() {
        named(&mut errors, &path.child("group"), group, names::dns1123_subdomain);
    } else if version != "v1" {
        let detail = "only v1 may have an empty group and it better be legacy kube";
        errors.push(Error::required(&path.child("group"), detail));
    }
    named(&mut errors, &path.child("version"), version, names::dns1035_label);
    for (field, max) in PRIORITIES {
        let value = body.int(field);
        if !(1..=max).contains(&value) {
            let detail = format!("must be positive and less than {max}");
            errors.push(Error::invalid(&path.child(field), value, detail));
        }
    }
    let (service, bundle, insecure) = (body.at("service"), body.text("caBundle"), body.yes("insecureSkipTLSVerify"));
    let insecurely = path.child("insecureSkipTLSVerify");
    if service.is_null() {
        if !bundle.is_empty() {
            let size = BASE64_STANDARD.decode(bundle).map_or(0, |bytes| bytes.len());
            let detail = "local APIServices may not have a caBundle";
            errors.push(Error::invalid(&path.child("caBundle"), format!("{size} bytes"), detail));
        }
        if insecure {
            errors.push(Error::invalid(&insecurely, true, "local APIServices may not have insecureSkipTLSVerify"));
        }
        return errors;
    }
    let path = path.child("service");
    for field in ["namespace", "name"] {
        required(&mut errors, service, field, &path);
    }
    let port = service.int("port");
    if !(1..=65535).contains(&port) {
        errors.push(Error::invalid(&path.child("port"), port, format!("port is not valid: {PORT_RANGE}")));
    }
    if insecure && !bundle.is_empty() {
        errors.push(Error::invalid(&insecurely, true, "may not be true if caBundle is present"));
    }
    errors
}

#[must_use]
pub fn api_service_status(new: &Value, _: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("status").child("conditions");
    for (i, condition) in new.list("status.conditions").iter().enumerate() {
        one_of(&mut errors, &path.index(i).child("status"), condition.text("status"), &["True", "False", "Unknown"]);
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::super::texts;
    use super::*;
    use serde_json::json;

    #[test]
    fn api_services() {
        let good = json!({"group": "g.io", "version": "v1", "groupPriorityMinimum": 20000, "versionPriority": 1,
            "service": {"namespace": "n", "name": "s", "port": 443}});
        for (name, change, expected) in [
            ("v1.g.io", json!({}), vec![]),
            ("a/b", json!({}), vec![]),
            (
                "v1",
                json!({}),
                vec!["metadata.name: Invalid value: \"v1\": must be `spec.version+\".\"+spec.group`: \"v1.g.io\""],
            ),
            (
                "v2.",
                json!({"group": "", "version": "v2", "groupPriorityMinimum": 20001}),
                vec![
                    "spec.group: Required value: only v1 may have an empty group and it better be legacy kube",
                    "spec.groupPriorityMinimum: Invalid value: 20001: must be positive and less than 20000",
                ],
            ),
            (
                "v1.g.io",
                json!({"service": null, "caBundle": "YWJjZA==", "insecureSkipTLSVerify": true}),
                vec![
                    "spec.caBundle: Invalid value: \"4 bytes\": local APIServices may not have a caBundle",
                    "spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify",
                ],
            ),
            (
                "v1.g.io",
                json!({"service": {"name": null, "port": 0}, "caBundle": "YQ==", "insecureSkipTLSVerify": true}),
                vec![
                    "spec.service.name: Required value",
                    "spec.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive",
                    "spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present",
                ],
            ),
        ] {
            let spec = schema::patch::merge_patch(&good, &change, true).unwrap();
            assert_eq!(texts(&api_service(&json!({"metadata": {"name": name}, "spec": spec}))), expected, "{change}");
        }
        let status = json!({"status": {"conditions": [{"status": "True"}, {"status": "x"}]}});
        assert_eq!(
            texts(&api_service_status(&status, &Value::Null)),
            [
                "status.conditions[1].status: Unsupported value: \"x\": supported values: \"True\", \"False\", \"Unknown\""
            ]
        );
    }
}
