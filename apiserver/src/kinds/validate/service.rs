//! Services (`ValidateService`, `ValidateServiceUpdate`).

use std::collections::BTreeSet;

use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::Value;

use super::super::json::Json;
use super::address::{self, cidr, ip};
use super::{meta, named, network, one_of, port_number, port_or_name, required_one_of, same, spec};

#[must_use]
pub fn service(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, body) = (spec(), object.at("spec"));
    let kind = body.text("type");
    if kind == "ExternalName" {
        let addressed = ["clusterIP", "clusterIPs"].iter().any(|field| !same(body.at(field), &Value::Null));
        for (field, set) in [
            ("clusterIPs", addressed),
            ("ipFamilies", !body.list("ipFamilies").is_empty()),
            ("ipFamilyPolicy", body.has("ipFamilyPolicy")),
        ] {
            if set {
                errors.push(Error::forbidden(&path.child(field), "may not be set for ExternalName services"));
            }
        }
    }
    let headless = body.text("clusterIP") == "None";
    if kind != "ExternalName" && body.list("ports").is_empty() && !headless {
        errors.push(Error::required(&path.child("ports"), ""));
    }
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
    ports(&mut errors, &path.child("ports"), body);
    meta::labels(&mut errors, &path.child("selector"), body.at("selector"));
    affinity(&mut errors, &path, body);
    for (i, address) in body.texts("externalIPs").into_iter().enumerate() {
        let at = path.child("externalIPs").index(i);
        let before = errors.len();
        ip(&mut errors, &at, address);
        if errors.len() == before {
            network::special_ip(&mut errors, &at, address);
        }
    }
    required_one_of(&mut errors, &path.child("type"), kind, &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]);
    distinct_ports(&mut errors, &path.child("ports"), body);
    if kind != "LoadBalancer" && !body.list("loadBalancerSourceRanges").is_empty() {
        errors.push(Error::forbidden(&path.child("LoadBalancerSourceRanges"), FOR_LOAD_BALANCERS));
    }
    for (i, range) in body.texts("loadBalancerSourceRanges").into_iter().enumerate() {
        cidr(&mut errors, &path.child("LoadBalancerSourceRanges").index(i), range.trim());
    }
    if kind != "LoadBalancer" && body.has("allocateLoadBalancerNodePorts") {
        errors.push(Error::forbidden(&path.child("allocateLoadBalancerNodePorts"), FOR_LOAD_BALANCERS));
    }
    load_balancer_class(&mut errors, &path, body);
    traffic(&mut errors, &path, body, kind);
    if body.has("trafficDistribution") {
        let ways = ["PreferClose", "PreferSameZone", "PreferSameNode"];
        one_of(&mut errors, &path.child("trafficDistribution"), body.text("trafficDistribution"), &ways);
    }
    errors
}

const FOR_LOAD_BALANCERS: &str = "may only be used when `type` is 'LoadBalancer'";

/// Whose load balancer it is; of an update it is asked twice.
fn load_balancer_class(errors: &mut ErrorList, path: &Path, body: &Value) {
    let (at, class) = (path.child("loadBalancerClass"), body.at("loadBalancerClass"));
    match class.as_str() {
        None => {}
        Some(class) if body.text("type") == "LoadBalancer" => named(errors, &at, class, names::qualified_name),
        Some(_) => errors.push(Error::forbidden(&at, FOR_LOAD_BALANCERS)),
    }
}

fn external_name(errors: &mut ErrorList, path: &Path, body: &Value) {
    let name = body.text("externalName");
    if name.is_empty() {
        errors.push(Error::required(&path.child("externalName"), ""));
    } else {
        named(errors, &path.child("externalName"), name.trim_end_matches('.'), names::dns1123_subdomain);
    }
}

fn ports(errors: &mut ErrorList, path: &Path, body: &Value) {
    let ports = body.list("ports");
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
    }
}

/// Node ports are for types that have some, and no two are the same; nor are two ports.
fn distinct_ports(errors: &mut ErrorList, path: &Path, body: &Value) {
    let (ports, kind) = (body.list("ports"), body.text("type"));
    for (i, _) in ports.iter().enumerate().filter(|(_, port)| kind == "ClusterIP" && port.int("nodePort") != 0) {
        let at = path.index(i).child("nodePort");
        errors.push(Error::forbidden(&at, "may not be used when `type` is 'ClusterIP'"));
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

/// What is wrong with a Service's addresses and their families: upstream asks when it gives out addresses, before it looks at
/// anything else (`ValidateServiceClusterIPsRelatedFields`, then `initIPFamilyFields` of the allocators).
#[must_use]
pub fn addressing(service: &Value) -> ErrorList {
    let (path, body) = (spec(), service.at("spec"));
    if body.text("type") == "ExternalName" {
        return ErrorList::new();
    }
    let mut errors = ErrorList::new();
    families(&mut errors, &path, body);
    if errors.is_empty() {
        stacks(&mut errors, &path, body);
    }
    errors
}

fn families(errors: &mut ErrorList, path: &Path, body: &Value) {
    let at = path.child("clusterIPs");
    let (first, addresses, families) = (body.text("clusterIP"), body.texts("clusterIPs"), body.texts("ipFamilies"));
    let whole = |detail: &str| Error::invalid(&at, body.at("clusterIPs").clone(), detail);
    match addresses.first() {
        None if !first.is_empty() => errors.push(Error::required(&at, "")),
        Some(_) if first.is_empty() => errors.push(whole("must be empty when `clusterIP` is not specified")),
        Some(same) if *same != first => errors.push(whole("first value must match `clusterIP`")),
        _ => {}
    }
    let mut seen = BTreeSet::new();
    for (i, family) in families.iter().enumerate() {
        let at = path.child("ipFamilies").index(i);
        one_of(errors, &at, family, &["IPv4", "IPv6"]);
        if !seen.insert(family) {
            errors.push(Error::duplicate(&at, *family));
        }
    }
    if body.has("ipFamilyPolicy") {
        let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
        one_of(errors, &path.child("ipFamilyPolicy"), body.text("ipFamilyPolicy"), &policies);
    }
    let mut well_formed = ErrorList::new();
    for (i, address) in addresses.iter().enumerate() {
        match (i, *address) {
            (0, "None") if addresses.len() > 1 => {
                well_formed.push(whole("'None' must be the first and only value"));
            }
            (0, "None") => {}
            _ => ip(&mut well_formed, &at.index(i), address),
        }
    }
    let broken = !well_formed.is_empty();
    errors.extend(well_formed);
    if addresses.len() > 2 {
        errors.push(whole("may only hold up to 2 values"));
    }
    if broken {
        return;
    }
    if addresses.len() > 1 && addresses.iter().all(|address| address.contains(':') == addresses[0].contains(':')) {
        errors.push(whole("may specify no more than one IP for each IP family"));
    }
    for (i, (address, family)) in addresses.iter().zip(&families).enumerate() {
        let Some(parsed) = runtime::address::ip(address).map(|ip| ip.to_canonical()) else { continue };
        if parsed.is_ipv6() != (*family == "IPv6") && matches!(*family, "IPv4" | "IPv6") {
            let detail = format!("expected an {family} value as indicated by `ipFamilies[{i}]`");
            errors.push(Error::invalid(&at.index(i), *address, detail));
        }
    }
}

/// Addresses are of the cluster's one family.
fn stacks(errors: &mut ErrorList, path: &Path, body: &Value) {
    let (policy, at) = (body.text("ipFamilyPolicy"), path.child("ipFamilyPolicy"));
    let (families, addresses) = (body.texts("ipFamilies"), body.texts("clusterIPs"));
    for (what, count) in [("cluster IPs", addresses.len()), ("IP families", families.len())] {
        if policy == "SingleStack" && count > 1 {
            let detail = format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified");
            errors.push(Error::invalid(&at, policy, detail));
        }
    }
    // Of these the family follows from the address.
    for (i, address) in addresses.iter().enumerate().skip(families.len()) {
        if address.contains(':') {
            let value = body.at("clusterIPs").clone();
            let detail = "IPv6 is not configured on this cluster";
            errors.push(Error::invalid(&path.child("clusterIPs").index(i), value, detail));
        }
    }
    let free = addresses.first() == Some(&"None") && body.entries("selector").is_empty();
    if !errors.is_empty() || free {
        return;
    }
    if policy == "RequireDualStack" {
        errors.push(Error::invalid(&at, policy, "this cluster is not configured for dual-stack services"));
    }
    for (i, family) in families.iter().enumerate().filter(|(_, family)| **family != "IPv4") {
        errors.push(Error::invalid(&path.child("ipFamilies").index(i), *family, "not configured on this cluster"));
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
    if kind != "ExternalName" || body.has("internalTrafficPolicy") {
        required_one_of(errors, &at, internal, &["Cluster", "Local"]);
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
        let (now, then) = (new.at("spec.loadBalancerClass"), old.at("spec.loadBalancerClass"));
        if now != then {
            errors.push(Error::invalid(&path.child("loadBalancerClass"), now.clone(), "may not change once set"));
        }
    }
    load_balancer_class(&mut errors, &path, new.at("spec"));
    let (now, then) = (new.int("spec.healthCheckNodePort"), old.int("spec.healthCheckNodePort"));
    let local = |s: &Value| s.text("spec.type") == "LoadBalancer" && s.text("spec.externalTrafficPolicy") == "Local";
    if local(new) && local(old) && now != then {
        errors.push(Error::forbidden(&path.child("healthCheckNodePort"), "field is immutable"));
    }
    errors
}

/// What a load balancer's controller may say (`ValidateLoadBalancerStatus`).
#[must_use]
pub fn status(new: &Value, _: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("status").child("loadBalancer").child("ingress");
    let ingress = new.list("status.loadBalancer.ingress");
    if new.text("spec.type") != "LoadBalancer" && !ingress.is_empty() {
        errors.push(Error::forbidden(&path, "may only be used when `spec.type` is 'LoadBalancer'"));
        return errors;
    }
    for (i, one) in ingress.iter().enumerate() {
        let path = path.index(i);
        let (address, host) = (one.text("ip"), one.text("hostname"));
        if !address.is_empty() {
            ip(&mut errors, &path.child("ip"), address);
        }
        let mode = path.child("ipMode");
        match one.at("ipMode").as_str() {
            Some(_) if address.is_empty() => {
                errors.push(Error::forbidden(&mode, "may not be specified when `ip` is not set"));
            }
            Some(text) => one_of(&mut errors, &mode, text, &["Proxy", "VIP"]),
            None if !address.is_empty() => errors.push(Error::required(&mode, "must be specified when `ip` is set")),
            None => {}
        }
        if !host.is_empty() {
            named(&mut errors, &path.child("hostname"), host, names::dns1123_subdomain);
            if runtime::address::ip(host).is_some() {
                errors.push(Error::invalid(&path.child("hostname"), host, "must be a DNS name, not an IP address"));
            }
        }
    }
    errors
}

fn ip_warnings(list: &str, addresses: Vec<&str>) -> Vec<String> {
    let all = addresses.into_iter().enumerate();
    all.filter_map(|(i, text)| address::ip_warning(format_args!("{list}[{i}]"), text)).collect()
}

/// Oddly written addresses of load balancers: a Service's, and an Ingress'.
#[must_use]
pub fn status_warnings(object: &Value) -> Vec<String> {
    let ingress = object.list("status.loadBalancer.ingress").iter();
    ip_warnings("status.loadBalancer.ingress", ingress.map(|one| one.text("ip")).collect())
}

#[must_use]
pub fn warnings(service: &Value) -> Vec<String> {
    const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
    let mut warnings = Vec::new();
    if service.entries("metadata.annotations").contains_key(HINTS) {
        let instead = "service.kubernetes.io/topology-mode";
        warnings.push(format!("annotation {HINTS} is deprecated, please use {instead} instead"));
    }
    if service.text("spec.clusterIP") != "None" && service.text("spec.type") != "ExternalName" {
        warnings.extend(ip_warnings("spec.clusterIPs", service.texts("spec.clusterIPs")));
    }
    if service.text("spec.clusterIP") == "None" && service.text("spec.type") == "ClusterIP" {
        let headless = "is ignored for headless services";
        for (field, set) in [
            ("loadBalancerIP", !service.text("spec.loadBalancerIP").is_empty()),
            ("externalIPs", !service.list("spec.externalIPs").is_empty()),
            ("SessionAffinity", service.text("spec.sessionAffinity") != "None"),
        ] {
            if set {
                warnings.push(format!("spec.{field} {headless}"));
            }
        }
    }
    warnings.extend(ip_warnings("spec.externalIPs", service.texts("spec.externalIPs")));
    warnings.extend(address::ip_warning("spec.loadBalancerIP", service.text("spec.loadBalancerIP")));
    for (i, range) in service.texts("spec.loadBalancerSourceRanges").into_iter().enumerate() {
        warnings.extend(address::cidr_warnings(format_args!("spec.loadBalancerSourceRanges[{i}]"), range));
    }
    if service.text("spec.type") == "ExternalName" && !service.list("spec.externalIPs").is_empty() {
        warnings.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
    }
    if service.text("spec.type") != "ExternalName" && !service.text("spec.externalName").is_empty() {
        warnings.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if service.text("spec.trafficDistribution") == "PreferClose" {
        let instead = "is deprecated; use \"PreferSameZone\"";
        warnings.push(format!("spec.trafficDistribution: \"PreferClose\" {instead}"));
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
    fn families_are_those_of_the_cluster() {
        let multiple = |what: &str| {
            format!(
                "ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"
            )
        };
        let no_ipv6 = "Invalid value: [\"10.0.0.1\",\"fd00::1\"]: IPv6 is not configured on this cluster";
        for (spec, expected) in [
            (json!({"clusterIP": "10.0.0.1", "ipFamilies": ["IPv4"]}), vec![]),
            (json!({"clusterIP": "None", "ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "RequireDualStack"}), vec![]),
            (
                json!({"clusterIP": "10.0.0.1", "ipFamilies": ["IPv6"]}),
                vec!["clusterIPs[0]: Invalid value: \"10.0.0.1\": expected an IPv6 value as indicated by `ipFamilies[0]`".to_owned()],
            ),
            (json!({"clusterIP": "10.0.0.1", "ipFamilies": ["IPv4", "IPv6"]}), vec![multiple("IP families")]),
            (
                json!({"clusterIP": "10.0.0.1", "ipFamilyPolicy": "RequireDualStack"}),
                vec!["ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services".to_owned()],
            ),
            (
                json!({"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "PreferDualStack"}),
                vec!["ipFamilies[1]: Invalid value: \"IPv6\": not configured on this cluster".to_owned()],
            ),
            (
                json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"]}),
                vec![multiple("cluster IPs"), format!("clusterIPs[1]: {no_ipv6}")],
            ),
            (
                json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"], "ipFamilyPolicy": "PreferDualStack"}),
                vec![format!("clusterIPs[1]: {no_ipv6}")],
            ),
            (
                json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "10.0.0.2"]}),
                vec!["clusterIPs: Invalid value: [\"10.0.0.1\",\"10.0.0.2\"]: may specify no more than one IP for each IP family".to_owned()],
            ),
            (
                json!({"clusterIPs": ["10.0.0.1"]}),
                vec!["clusterIPs: Invalid value: [\"10.0.0.1\"]: must be empty when `clusterIP` is not specified".to_owned()],
            ),
            (
                json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.2"]}),
                vec!["clusterIPs: Invalid value: [\"10.0.0.2\"]: first value must match `clusterIP`".to_owned()],
            ),
            (json!({"ipFamilies": ["IPv4", "IPv4"]}), vec!["ipFamilies[1]: Duplicate value: \"IPv4\"".to_owned()]),
            (
                json!({"clusterIP": "None", "clusterIPs": ["None", "None"]}),
                vec![
                    "clusterIPs: Invalid value: [\"None\",\"None\"]: 'None' must be the first and only value".to_owned(),
                    "clusterIPs[1]: Invalid value: \"None\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned(),
                ],
            ),
        ] {
            let expected: Vec<String> = expected.into_iter().map(|text| format!("spec.{text}")).collect();
            assert_eq!(texts(&addressing(&defaulted(spec.clone()))), expected, "{spec}");
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

    #[test]
    fn what_a_balancer_says() {
        let service = |kind: &str, ingress: Value| json!({"spec": {"type": kind}, "status": {"loadBalancer": {"ingress": [ingress]}}});
        for (kind, ingress, expected) in [
            ("LoadBalancer", json!({"ip": "1.2.3.4", "ipMode": "VIP"}), None),
            ("ClusterIP", json!({}), Some(": Forbidden: may only be used when `spec.type` is 'LoadBalancer'")),
            (
                "LoadBalancer",
                json!({"ip": "1.2.3.4"}),
                Some("[0].ipMode: Required value: must be specified when `ip` is set"),
            ),
            (
                "LoadBalancer",
                json!({"ipMode": "VIP"}),
                Some("[0].ipMode: Forbidden: may not be specified when `ip` is not set"),
            ),
            (
                "LoadBalancer",
                json!({"hostname": "1.2.3.4"}),
                Some("[0].hostname: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address"),
            ),
        ] {
            let expected: Vec<String> =
                expected.into_iter().map(|text| format!("status.loadBalancer.ingress{text}")).collect();
            assert_eq!(texts(&status(&service(kind, ingress), &Value::Null)), expected);
        }
    }

    #[test]
    fn what_is_set_once() {
        let old =
            defaulted(json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30001,
            "ports": [{"port": 80}]}));
        let mut new = old.clone();
        new["spec"]["healthCheckNodePort"] = json!(30002);
        new["spec"]["loadBalancerClass"] = json!("a/b");
        assert_eq!(
            texts(&service_update(&new, &old)),
            [
                "spec.loadBalancerClass: Invalid value: \"a/b\": may not change once set",
                "spec.healthCheckNodePort: Forbidden: field is immutable",
            ]
        );
    }
}
