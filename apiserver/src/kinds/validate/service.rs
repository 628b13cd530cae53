//! Services (`ValidateService`, `ValidateServiceUpdate`).

use std::collections::BTreeSet;

use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::Value;

use super::super::json::Json;
use super::{cidr, immutable, ip, meta, named, network, one_of, port_number, port_or_name, required_one_of, spec};

#[must_use]
pub fn service(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, body) = (spec(), object.at("spec"));
    let kind = body.text("type");
    let headless = body.text("clusterIP") == "None";
    match kind {
        "LoadBalancer" if headless => errors.push(Error::invalid(
            &path.child("clusterIPs").index(0),
            "None",
            "may not be set to 'None' for LoadBalancer services",
        )),
        "NodePort" if headless => errors.push(Error::invalid(
            &path.child("clusterIPs").index(0),
            "None",
            "may not be set to 'None' for NodePort services",
        )),
        "ExternalName" => external_name(&mut errors, &path, body),
        _ => {}
    }
    if kind != "ExternalName" && body.list("ports").is_empty() && !headless {
        errors.push(Error::required(&path.child("ports"), ""));
    }
    ports(&mut errors, &path.child("ports"), body);
    meta::labels(&mut errors, &path.child("selector"), body.at("selector"));
    affinity(&mut errors, &path, body);
    cluster_ips(&mut errors, &path, body);
    for (i, address) in body.texts("externalIPs").into_iter().enumerate() {
        ip(&mut errors, &path.child("externalIPs").index(i), address);
    }
    required_one_of(&mut errors, &path.child("type"), kind, &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]);
    if kind != "LoadBalancer" && !body.list("loadBalancerSourceRanges").is_empty() {
        errors.push(Error::forbidden(
            &path.child("LoadBalancerSourceRanges"),
            "may only be used when `type` is 'LoadBalancer'",
        ));
    }
    for (i, range) in body.texts("loadBalancerSourceRanges").into_iter().enumerate() {
        cidr(&mut errors, &path.child("LoadBalancerSourceRanges").index(i), range.trim());
    }
    families(&mut errors, &path, body);
    traffic(&mut errors, &path, body, kind);
    errors
}

fn external_name(errors: &mut ErrorList, path: &Path, body: &Value) {
    for field in ["clusterIP", "clusterIPs"] {
        let given = !body.text(field).is_empty() || !body.list(field).is_empty();
        if given {
            errors.push(Error::forbidden(&path.child(field), "may not be set when `type` is 'ExternalName'"));
        }
    }
    let name = body.text("externalName");
    if name.is_empty() {
        errors.push(Error::required(&path.child("externalName"), ""));
    } else {
        named(errors, &path.child("externalName"), name.trim_end_matches('.'), names::dns1123_subdomain);
    }
}

fn ports(errors: &mut ErrorList, path: &Path, body: &Value) {
    let ports = body.list("ports");
    let kind = body.text("type");
    let mut seen = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let path = path.index(i);
        let name = port.text("name");
        if name.is_empty() && ports.len() > 1 {
            errors.push(Error::required(&path.child("name"), ""));
        } else if !name.is_empty() {
            named(errors, &path.child("name"), name, names::dns1123_label);
            if !seen.insert(name) {
                errors.push(Error::duplicate(&path.child("name"), name));
            }
        }
        port_number(errors, &path.child("port"), port.int("port"));
        let protocol = port.text("protocol");
        required_one_of(errors, &path.child("protocol"), protocol, &["SCTP", "TCP", "UDP"]);
        port_or_name(errors, &path.child("targetPort"), port.at("targetPort"));
        network::app_protocol(errors, &path, port);
        if kind == "ClusterIP" && port.int("nodePort") != 0 {
            errors.push(Error::forbidden(&path.child("nodePort"), "may not be used when `type` is 'ClusterIP'"));
        }
        if kind == "ExternalName" && port.int("nodePort") != 0 {
            errors.push(Error::forbidden(&path.child("nodePort"), "may not be used when `type` is 'ExternalName'"));
        }
    }
    let mut node_ports = BTreeSet::new();
    let mut pairs = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let path = path.index(i);
        let (node, protocol) = (port.int("nodePort"), port.text("protocol"));
        if node != 0 && !node_ports.insert((node, protocol)) {
            errors.push(Error::duplicate(&path.child("nodePort"), node));
        }
        if !pairs.insert((port.int("port"), protocol)) {
            let value = format!(
                "{{\"Name\":\"\",\"Protocol\":{protocol:?},\"AppProtocol\":null,\"Port\":{},\"TargetPort\":0,\"NodePort\":0}}",
                port.int("port")
            );
            errors.push(Error::duplicate(&path, Value::Null).shown_as(value));
        }
    }
}

fn affinity(errors: &mut ErrorList, path: &Path, body: &Value) {
    /// A day.
    const LONGEST: i64 = 86_400;
    let affinity = body.text("sessionAffinity");
    required_one_of(errors, &path.child("sessionAffinity"), affinity, &["ClientIP", "None"]);
    let config = path.child("sessionAffinityConfig");
    match affinity {
        "ClientIP" => {
            let at = config.child("clientIP").child("timeoutSeconds");
            let seconds = body.int("sessionAffinityConfig.clientIP.timeoutSeconds");
            if !(1..=LONGEST).contains(&seconds) {
                let detail = format!("must be greater than 0 and less than {LONGEST}");
                errors.push(Error::invalid(&at, seconds, detail));
            }
        }
        "None" if body.has("sessionAffinityConfig") => {
            errors.push(Error::forbidden(&config, "must not be set when session affinity is None"))
        }
        _ => {}
    }
}

fn cluster_ips(errors: &mut ErrorList, path: &Path, body: &Value) {
    let path = path.child("clusterIPs");
    let all = body.texts("clusterIPs");
    let first = body.text("clusterIP");
    if all.is_empty() {
        return;
    }
    if !first.is_empty() && all[0] != first {
        errors.push(Error::invalid(&path, body.at("clusterIPs").clone(), "first value must match `clusterIP`"));
    }
    if first.is_empty() {
        let detail = "must be empty when `clusterIP` is not specified";
        errors.push(Error::invalid(&path, body.at("clusterIPs").clone(), detail));
    }
    for (i, address) in all.iter().enumerate() {
        let at = path.index(i);
        if *address == "None" {
            if all.len() > 1 {
                errors.push(Error::invalid(&at, *address, "'None' must be the first and only value"));
            }
            continue;
        }
        ip(errors, &at, address);
    }
    if all.len() > 2 {
        errors.push(Error::invalid(&path, body.at("clusterIPs").clone(), "may only hold up to 2 values"));
    } else if all.len() == 2 && all[0].contains(':') == all[1].contains(':') {
        let detail = "may specify no more than one IP for each IP family";
        errors.push(Error::invalid(&path, body.at("clusterIPs").clone(), detail));
    }
}

/// Families of addresses, and what is asked of them.
fn families(errors: &mut ErrorList, path: &Path, body: &Value) {
    let at = path.child("ipFamilies");
    let mut seen = BTreeSet::new();
    for (i, family) in body.texts("ipFamilies").into_iter().enumerate() {
        one_of(errors, &at.index(i), family, &["IPv4", "IPv6"]);
        if !seen.insert(family) {
            errors.push(Error::duplicate(&at.index(i), family));
        }
    }
    if body.has("ipFamilyPolicy") {
        let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
        one_of(errors, &path.child("ipFamilyPolicy"), body.text("ipFamilyPolicy"), &policies);
    }
    if body.has("trafficDistribution") {
        let ways = ["PreferClose", "PreferSameZone", "PreferSameNode"];
        one_of(errors, &path.child("trafficDistribution"), body.text("trafficDistribution"), &ways);
    }
}

fn traffic(errors: &mut ErrorList, path: &Path, body: &Value, kind: &str) {
    let external = body.text("externalTrafficPolicy");
    let exposed =
        matches!(kind, "NodePort" | "LoadBalancer") || (kind == "ClusterIP" && !body.list("externalIPs").is_empty());
    if !external.is_empty() {
        if exposed {
            one_of(errors, &path.child("externalTrafficPolicy"), external, &["Cluster", "Local"]);
        } else {
            errors.push(Error::invalid(
                &path.child("externalTrafficPolicy"),
                external,
                "may only be set for externally-accessible services",
            ));
        }
    }
    if body.int("healthCheckNodePort") != 0 && !(kind == "LoadBalancer" && external == "Local") {
        errors.push(Error::invalid(
            &path.child("healthCheckNodePort"),
            body.int("healthCheckNodePort"),
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        ));
    }
    let internal = body.text("internalTrafficPolicy");
    let at = path.child("internalTrafficPolicy");
    if kind == "ExternalName" {
        if !internal.is_empty() {
            errors.push(Error::forbidden(&at, "may not be set when `type` is 'ExternalName'"));
        }
    } else {
        required_one_of(errors, &at, internal, &["Cluster", "Local"]);
    }
    if kind != "LoadBalancer" {
        for field in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if body.has(field) {
                errors.push(Error::forbidden(&path.child(field), "may only be used when `type` is 'LoadBalancer'"));
            }
        }
    }
    if !body.text("loadBalancerClass").is_empty() {
        named(errors, &path.child("loadBalancerClass"), body.text("loadBalancerClass"), names::qualified_name);
    }
}

#[must_use]
pub fn service_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = spec();
    let needs_ip = |s: &Value| s.text("spec.type") != "ExternalName";
    if needs_ip(new) && needs_ip(old) {
        let (now, then) = (new.text("spec.clusterIP"), old.text("spec.clusterIP"));
        // An unset address may still be chosen; a chosen one stays.
        if !then.is_empty() && now != then {
            errors.push(Error::invalid(
                &path.child("clusterIPs").index(0),
                new.at("spec.clusterIPs").clone(),
                "may not change once set",
            ));
        }
    }
    if new.text("spec.type") == "LoadBalancer" && old.text("spec.type") == "LoadBalancer" {
        let field = "spec.loadBalancerClass";
        immutable(&mut errors, &path.child("loadBalancerClass"), new.at(field), old.at(field));
    }
    errors
}

#[must_use]
pub fn warnings(service: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    if service.text("spec.type") == "ExternalName" && !service.list("spec.externalIPs").is_empty() {
        warnings.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
    }
    if service.text("spec.clusterIP") == "None" && !service.text("spec.loadBalancerIP").is_empty() {
        warnings.push("spec.loadBalancerIP is ignored for headless services".to_owned());
    }
    warnings
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::strategy::service::SERVICE;
    use super::super::texts;
    use super::*;

    fn defaulted(spec: Value) -> Value {
        let mut s = json!({"metadata": {"name": "s"}, "spec": spec});
        SERVICE.default.unwrap()(&mut s);
        SERVICE.prepare_create.unwrap()(&mut s);
        s
    }

    #[test]
    fn services() {
        for (spec, expected) in [
            (json!({"ports": [{"port": 80}]}), vec![]),
            (json!({"clusterIP": "None"}), vec![]),
            (json!({}), vec!["spec.ports: Required value"]),
            (json!({"ports": [{"port": 80}, {"port": 81, "name": "x"}]}), vec!["spec.ports[0].name: Required value"]),
            (
                json!({"ports": [{"port": 0, "targetPort": 1}]}),
                vec!["spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"],
            ),
            (
                json!({"ports": [{"port": 80, "nodePort": 30001}]}),
                vec!["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
            ),
            (json!({"type": "ExternalName"}), vec!["spec.externalName: Required value"]),
            (
                json!({"type": "Wrong", "ports": [{"port": 80}]}),
                vec![
                    "spec.type: Unsupported value: \"Wrong\": supported values: \"ClusterIP\", \"ExternalName\", \
                     \"LoadBalancer\", \"NodePort\"",
                ],
            ),
        ] {
            assert_eq!(texts(&service(&defaulted(spec.clone()))), expected, "{spec}");
        }
    }

    #[test]
    fn cluster_ips_stay() {
        let old = defaulted(json!({"clusterIP": "10.96.0.5", "ports": [{"port": 80}]}));
        let new = defaulted(json!({"clusterIP": "10.96.0.6", "ports": [{"port": 80}]}));
        assert_eq!(
            texts(&service_update(&new, &old)),
            ["spec.clusterIPs[0]: Invalid value: [\"10.96.0.6\"]: may not change once set"]
        );
    }
}
