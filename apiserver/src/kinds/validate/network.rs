//! Endpoints, EndpointSlices, NetworkPolicies, IPAddresses, ServiceCIDRs.

use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::Value;

use super::super::internal;
use super::super::json::Json;
use super::address::{self, cidr, ip};
use super::{
    immutable, label_selector, named, one_of, port_number, port_or_name, required_name, required_one_of, spec,
};

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
/// The same, as policies name them.
const POLICY_PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

#[must_use]
pub fn endpoints(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    for (i, subset) in object.list("subsets").iter().enumerate() {
        let path = Path::new("subsets").index(i);
        if subset.list("addresses").is_empty() && subset.list("notReadyAddresses").is_empty() {
            errors.push(Error::required(&path, "must specify `addresses` or `notReadyAddresses`"));
        }
        for list in ["addresses", "notReadyAddresses"] {
            for (j, address) in subset.list(list).iter().enumerate() {
                let at = path.child(list).index(j);
                ip(&mut errors, &at.child("ip"), address.text("ip"));
                if !address.text("hostname").is_empty() {
                    named(&mut errors, &at.child("hostname"), address.text("hostname"), names::dns1123_label);
                }
                if let Some(node) = address.at("nodeName").as_str() {
                    named(&mut errors, &at.child("nodeName"), node, names::dns1123_subdomain);
                }
                special_ip(&mut errors, &at.child("ip"), address.text("ip"));
            }
        }
        let ports = subset.list("ports");
        for (j, port) in ports.iter().enumerate() {
            let at = path.child("ports").index(j);
            if ports.len() > 1 || !port.text("name").is_empty() {
                required_name(&mut errors, &at.child("name"), port.text("name"), names::dns1123_label);
            }
            port_number(&mut errors, &at.child("port"), port.int("port"));
            required_one_of(&mut errors, &at.child("protocol"), port.text("protocol"), &PROTOCOLS);
            app_protocol(&mut errors, &at, port);
        }
    }
    errors
}

/// What is spoken behind a port.
pub fn app_protocol(errors: &mut ErrorList, path: &Path, port: &Value) {
    if let Some(protocol) = port.at("appProtocol").as_str() {
        named(errors, &path.child("appProtocol"), protocol, names::qualified_name);
    }
}

/// An address of another machine: not this one, not many, not a neighbour by accident (`ValidateNonSpecialIP`).
pub fn special_ip(errors: &mut ErrorList, path: &Path, address: &str) {
    let Some(parsed) = runtime::address::ip(address) else {
        errors.push(Error::invalid(path, address, "must be a valid IP address"));
        return;
    };
    let parsed = parsed.to_canonical();
    let (link_local, link_local_multicast) = match parsed {
        std::net::IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        std::net::IpAddr::V6(v6) => (v6.is_unicast_link_local(), v6.segments()[0] & 0xff0f == 0xff02),
    };
    if parsed.is_unspecified() {
        errors.push(Error::invalid(path, address, format!("may not be unspecified ({address})")));
    }
    for (special, range) in [
        (parsed.is_loopback(), "loopback range (127.0.0.0/8, ::1/128)"),
        (link_local, "link-local range (169.254.0.0/16, fe80::/10)"),
        (link_local_multicast, "link-local multicast range (224.0.0.0/24, ff02::/10)"),
    ] {
        if special {
            errors.push(Error::invalid(path, address, format!("may not be in the {range}")));
        }
    }
}

/// Oddly written addresses, but for those of the controller, which writes them well.
#[must_use]
pub fn endpoints_warnings(object: &Value) -> Vec<String> {
    let manager = object.entries("metadata.labels").get("endpoints.kubernetes.io/managed-by");
    if manager.is_some_and(|manager| manager == "endpoint-controller") {
        return Vec::new();
    }
    let mut warnings = Vec::new();
    for (i, subset) in object.list("subsets").iter().enumerate() {
        for list in ["addresses", "notReadyAddresses"] {
            for (j, address) in subset.list(list).iter().enumerate() {
                let at = format!("subsets[{i}].{list}[{j}].ip");
                warnings.extend(address::ip_warning(at, address.text("ip")));
            }
        }
    }
    warnings
}

/// Names are no addresses, nobody serves them; and as [`endpoints_warnings`].
#[must_use]
pub fn slice_warnings(slice: &Value) -> Vec<String> {
    const CONTROLLERS: [&str; 2] = ["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];
    let mut warnings = Vec::new();
    if slice.text("addressType") == "FQDN" {
        warnings.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
    }
    let manager = slice.entries("metadata.labels").get("endpointslice.kubernetes.io/managed-by");
    if manager.and_then(Value::as_str).is_some_and(|manager| CONTROLLERS.contains(&manager)) {
        return warnings;
    }
    for (i, endpoint) in slice.list("endpoints").iter().enumerate() {
        for (j, text) in endpoint.texts("addresses").into_iter().enumerate() {
            warnings.extend(address::ip_warning(format_args!("endpoints[{i}].addresses[{j}]"), text));
        }
    }
    warnings
}

/// Oddly written blocks.
#[must_use]
pub fn policy_warnings(policy: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    for (way, peers) in [("ingress", "from"), ("egress", "to")] {
        for (i, rule) in policy.at("spec").list(way).iter().enumerate() {
            for (j, peer) in rule.list(peers).iter().enumerate() {
                let (at, block) = (format!("spec.{way}[{i}].{peers}[{j}].ipBlock"), peer.at("ipBlock"));
                warnings.extend(address::cidr_warnings(format_args!("{at}.cidr"), block.text("cidr")));
                for (k, except) in block.texts("except").into_iter().enumerate() {
                    warnings.extend(address::cidr_warnings(format_args!("{at}.except[{k}]"), except));
                }
            }
        }
    }
    warnings
}

#[must_use]
pub fn endpoint_slice(object: &Value) -> ErrorList {
    /// Limits of one slice.
    const ENDPOINTS: usize = 1000;
    const ADDRESSES: usize = 100;
    let mut errors = ErrorList::new();
    let kind = object.text("addressType");
    required_one_of(&mut errors, &Path::new("addressType"), kind, &["FQDN", "IPv4", "IPv6"]);
    slice_ports(&mut errors, &Path::new("ports"), object.list("ports"));
    let all = object.list("endpoints");
    if all.len() > ENDPOINTS {
        errors.push(Error::too_many(&Path::new("endpoints"), all.len(), ENDPOINTS));
        return errors;
    }
    for (i, endpoint) in all.iter().enumerate() {
        let path = Path::new("endpoints").index(i);
        let addresses = endpoint.texts("addresses");
        let at = path.child("addresses");
        if addresses.is_empty() {
            errors.push(Error::required(&at, "must contain at least 1 address"));
        }
        if addresses.len() > ADDRESSES {
            errors.push(Error::too_many(&at, addresses.len(), ADDRESSES));
        }
        for (j, address) in addresses.into_iter().enumerate() {
            match kind {
                "IPv4" | "IPv6" => {
                    let before = errors.len();
                    if kind == "IPv4" {
                        ip(&mut errors, &at.index(j), address);
                    } else {
                        let wrong = address::strict_ip(address);
                        errors.extend(wrong.into_iter().map(|why| Error::invalid(&at.index(j), address, why)));
                    }
                    if errors.len() > before {
                        continue;
                    }
                    let four = runtime::address::v4(address).is_some();
                    if four != (kind == "IPv4") {
                        errors.push(Error::invalid(&at, address, format!("must be an {kind} address")));
                    }
                    special_ip(&mut errors, &at.index(j), address);
                }
                "FQDN" => full_name(&mut errors, &at.index(j), address),
                _ => {}
            }
        }
        for (field, check) in
            [("nodeName", names::dns1123_subdomain as super::Check), ("hostname", names::dns1123_label)]
        {
            if let Some(name) = endpoint.at(field).as_str() {
                named(&mut errors, &path.child(field), name, check);
            }
        }
        for (list, check) in [("forZones", names::label_value as super::Check), ("forNodes", names::dns1123_subdomain)]
        {
            hints(&mut errors, &path.child("hints").child(list), endpoint.at("hints").list(list), check);
        }
    }
    errors
}

fn slice_ports(errors: &mut ErrorList, path: &Path, ports: &[Value]) {
    /// Limit of one slice.
    const PORTS: usize = 20_000;
    if ports.len() > PORTS {
        errors.push(Error::too_many(path, ports.len(), PORTS));
        return;
    }
    let mut seen = std::collections::BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let (path, name) = (path.index(i), port.text("name"));
        if !name.is_empty() {
            named(errors, &path.child("name"), name, names::dns1123_label);
        }
        if !seen.insert(name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        if port.has("protocol") {
            one_of(errors, &path.child("protocol"), port.text("protocol"), &PROTOCOLS);
        } else {
            errors.push(Error::required(&path.child("protocol"), ""));
        }
        app_protocol(errors, &path, port);
    }
}

/// Whom an endpoint is for, each once.
fn hints(errors: &mut ErrorList, path: &Path, hints: &[Value], check: super::Check) {
    /// Limit of one endpoint.
    const HINTS: usize = 8;
    if hints.len() > HINTS {
        errors.push(Error::too_many(path, hints.len(), HINTS));
        return;
    }
    let mut seen = std::collections::BTreeSet::new();
    for (i, hint) in hints.iter().enumerate() {
        let (at, name) = (path.index(i).child("name"), hint.text("name"));
        if !seen.insert(name) {
            errors.push(Error::duplicate(&at, name));
        } else {
            named(errors, &at, name, check);
        }
    }
}

/// A name with a domain.
fn full_name(errors: &mut ErrorList, path: &Path, name: &str) {
    if name.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let wrong = names::dns1123_subdomain(name);
    if wrong.is_empty() && !name.contains('.') {
        let detail = "should be a domain with at least two segments separated by dots";
        errors.push(Error::invalid(path, name, detail));
    }
    errors.extend(wrong.into_iter().map(|message| Error::invalid(path, name, message)));
}

#[must_use]
pub fn endpoint_slice_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    immutable(&mut errors, &Path::new("addressType"), new.at("addressType"), old.at("addressType"));
    errors
}

#[must_use]
pub fn network_policy(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, body) = (spec(), object.at("spec"));
    label_selector(&mut errors, &path.child("podSelector"), body.at("podSelector"));
    for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
        for (i, rule) in body.list(rules).iter().enumerate() {
            let path = path.child(rules).index(i);
            for (j, port) in rule.list("ports").iter().enumerate() {
                policy_port(&mut errors, &path.child("ports").index(j), port);
            }
            for (j, peer) in rule.list(peers).iter().enumerate() {
                policy_peer(&mut errors, &path.child(peers).index(j), peer);
            }
        }
    }
    let types = body.texts("policyTypes");
    let at = path.child("policyTypes");
    if types.len() > 2 {
        errors.push(Error::invalid(&at, body.at("policyTypes").clone(), "may not specify more than two policyTypes"));
        return errors;
    }
    for (i, kind) in types.into_iter().enumerate() {
        one_of(&mut errors, &at.index(i), kind, &["Ingress", "Egress"]);
    }
    errors
}

fn policy_port(errors: &mut ErrorList, path: &Path, port: &Value) {
    if port.has("protocol") {
        one_of(errors, &path.child("protocol"), port.text("protocol"), &POLICY_PROTOCOLS);
    }
    let (end, at, first) = (port.at("endPort").as_i64(), path.child("endPort"), port.at("port"));
    let misplaced = match first {
        Value::Null => Some("may not be specified when `port` is not specified"),
        Value::String(_) => Some("may not be specified when `port` is non-numeric"),
        _ => None,
    };
    if let (Some(end), Some(detail)) = (end, misplaced) {
        errors.push(Error::invalid(&at, end, detail));
    }
    if !first.is_null() {
        port_or_name(errors, &path.child("port"), first);
    }
    if let (Some(end), Some(first)) = (end, first.as_i64()) {
        if end < first {
            // It is the port that is shown.
            errors.push(Error::invalid(&at, first, "must be greater than or equal to `port`"));
        }
        port_number(errors, &at, end);
    }
}

fn policy_peer(errors: &mut ErrorList, path: &Path, peer: &Value) {
    let selectors = ["podSelector", "namespaceSelector"].into_iter().filter(|s| peer.has(s)).count();
    for selector in ["podSelector", "namespaceSelector"] {
        if peer.has(selector) {
            label_selector(errors, &path.child(selector), peer.at(selector));
        }
    }
    let block = peer.at("ipBlock");
    if block.is_null() {
        if selectors == 0 {
            errors.push(Error::required(path, "must specify a peer"));
        }
        return;
    }
    let at = path.child("ipBlock");
    if block.text("cidr").is_empty() {
        errors.push(Error::required(&at.child("cidr"), ""));
    } else if let Some(outer) = cidr(errors, &at.child("cidr"), block.text("cidr")) {
        for (i, except) in block.texts("except").into_iter().enumerate() {
            let at = at.child("except").index(i);
            let Some(inner) = cidr(errors, &at, except) else { continue };
            // Lengths are compared as they are written.
            let length = |text: &str| runtime::address::cidr(text).map(|(_, length)| length);
            if !outer.contains(&inner.addr()) || length(block.text("cidr")) >= length(except) {
                errors.push(Error::invalid(&at, except, "must be a strict subset of `cidr`"));
            }
        }
    }
    if selectors > 0 {
        errors.push(Error::forbidden(path, "may not specify both ipBlock and another peer"));
    }
}

#[must_use]
pub fn ip_address(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let name = object.text("metadata.name");
    for detail in address::strict_ip(name) {
        errors.push(Error::invalid(&Path::new("metadata").child("name"), name, detail));
    }
    let path = spec().child("parentRef");
    if object.at("spec.parentRef").is_null() {
        errors.push(Error::required(&path, ""));
        return errors;
    }
    let parent = object.at("spec.parentRef");
    if !parent.text("group").is_empty() {
        named(&mut errors, &path.child("group"), parent.text("group"), names::dns1123_subdomain);
    }
    for field in ["resource", "name"] {
        required_name(&mut errors, &path.child(field), parent.text(field), names::path_segment);
    }
    named(&mut errors, &path.child("namespace"), parent.text("namespace"), names::path_segment);
    errors
}

#[must_use]
pub fn ip_address_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    immutable(&mut errors, &spec(), new.at("spec"), old.at("spec"));
    errors
}

#[must_use]
pub fn service_cidr(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = spec().child("cidrs");
    let ranges = object.texts("spec.cidrs");
    if ranges.is_empty() {
        errors.push(Error::required(&path, "at least one CIDR required"));
        return errors;
    }
    if ranges.len() > 2 {
        let shown = internal::compact(object.at("spec"), "api.networking.v1.ServiceCIDRSpec");
        errors.push(Error::invalid_as(&path, shown, "may only hold up to 2 values"));
        return errors;
    }
    for (i, range) in ranges.iter().enumerate() {
        address::strict_cidr(&mut errors, &path.index(i), range);
    }
    let family = |range: &&str| range.parse::<ipnet::IpNet>().ok().map(|range| range.addr().is_ipv6());
    if let [one, other] = ranges.as_slice()
        && family(one).is_some()
        && family(one) == family(other)
    {
        let detail = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        errors.push(Error::invalid(&path, object.at("spec.cidrs").clone(), detail));
    }
    errors
}

#[must_use]
pub fn service_cidr_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    immutable(&mut errors, &spec().child("cidrs"), new.at("spec.cidrs"), old.at("spec.cidrs"));
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::texts;
    use super::*;

    #[test]
    fn policies() {
        let policy =
            |ingress: Value| json!({"spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [ingress]}});
        for (rule, expected) in [
            (json!({"from": [{"ipBlock": {"cidr": "172.17.0.0/16", "except": ["172.17.1.0/24"]}}]}), vec![]),
            (
                json!({"from": [{"ipBlock": {"cidr": "172.17.0.0/16", "except": ["10.0.0.0/8"]}}]}),
                vec![
                    "spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: \"10.0.0.0/8\": must be a strict subset of \
                     `cidr`",
                ],
            ),
            (json!({"from": [{}]}), vec!["spec.ingress[0].from[0]: Required value: must specify a peer"]),
            (
                json!({"ports": [{"port": 80, "endPort": 70}]}),
                vec!["spec.ingress[0].ports[0].endPort: Invalid value: 80: must be greater than or equal to `port`"],
            ),
        ] {
            assert_eq!(texts(&network_policy(&policy(rule))), expected);
        }
    }

    #[test]
    fn whose_an_address_is() {
        let address = |parent: Value| {
            texts(&ip_address(&json!({"metadata": {"name": "10.0.0.1"}, "spec": {"parentRef": parent}})))
        };
        assert!(address(json!({"group": "a.b", "resource": "services", "namespace": "n", "name": "s"})).is_empty());
        let found = address(json!({"group": "A b", "resource": "services", "namespace": "a/b", "name": ""}));
        assert!(
            found[0].starts_with("spec.parentRef.group: Invalid value: \"A b\": a lowercase RFC 1123 subdomain must")
        );
        assert_eq!(
            found[1..],
            [
                "spec.parentRef.name: Required value",
                "spec.parentRef.namespace: Invalid value: \"a/b\": may not contain '/'"
            ]
        );
    }

    #[test]
    fn ranges_of_addresses() {
        let wrong = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
        for (ranges, expected) in [
            (json!(["10.0.0.0/16", "fd00::/64"]), vec![]),
            (json!([]), vec!["spec.cidrs: Required value: at least one CIDR required".to_owned()]),
            (
                json!(["10.0.0.0/16", "10.1.0.0/16"]),
                vec![
                    "spec.cidrs: Invalid value: [\"10.0.0.0/16\",\"10.1.0.0/16\"]: may specify no more than one IP for each \
                     IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
                        .to_owned(),
                ],
            ),
            (
                json!(["a", "b"]),
                vec![
                    format!("spec.cidrs[0]: Invalid value: \"a\": {wrong}"),
                    format!("spec.cidrs[1]: Invalid value: \"b\": {wrong}"),
                ],
            ),
            (
                json!(["a", "b", "c"]),
                vec!["spec.cidrs: Invalid value: {\"CIDRs\":[\"a\",\"b\",\"c\"]}: may only hold up to 2 values".to_owned()],
            ),
        ] {
            assert_eq!(texts(&service_cidr(&json!({"spec": {"cidrs": ranges}}))), expected, "{ranges}");
        }
    }

    #[test]
    fn slices() {
        let slice = json!({"addressType": "IPv4", "endpoints": [{"addresses": ["127.0.0.1"]}, {"addresses": []}],
            "ports": [{"name": "", "protocol": "TCP", "port": 80}]});
        assert_eq!(
            texts(&endpoint_slice(&slice)),
            [
                "endpoints[0].addresses[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, \
                 ::1/128)",
                "endpoints[1].addresses: Required value: must contain at least 1 address"
            ]
        );
    }
}
