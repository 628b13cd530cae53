//! Services, Endpoints and EndpointSlices.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::Column;
use super::super::json::Json;
use super::{AGE, first_three, labels, or, text, wide};

pub const SERVICES: &[Column] = &[
    text("Type", |object, _| object.text("spec.type").into()),
    text("Cluster-IP", |object, _| {
        let first = object.texts("spec.clusterIPs").first().copied().unwrap_or_default();
        or(or(first, object.text("spec.clusterIP")), "<none>").into()
    }),
    text("External-IP", |object, _| external_ip(object).into()),
    text("Port(s)", |object, _| ports(object.list("spec.ports")).into()),
    AGE,
    wide("Selector", |object, _| labels(object.entries("spec.selector")).into()),
];

pub const ENDPOINTS: &[Column] = &[text("Endpoints", |object, _| endpoints(object).into()), AGE];

pub const ENDPOINT_SLICES: &[Column] = &[
    text("AddressType", |object, _| object.text("addressType").into()),
    text("Ports", |object, _| {
        let ports: Vec<String> = object
            .list("ports")
            .iter()
            .map(|p| p.at("port").as_i64().map_or_else(|| "*".to_owned(), |n| n.to_string()))
            .collect();
        first_three(&ports, "<unset>").into()
    }),
    text("Endpoints", |object, _| {
        let addresses: Vec<String> =
            object.list("endpoints").iter().flat_map(|e| e.texts("addresses").into_iter().map(String::from)).collect();
        first_three(&addresses, "<unset>").into()
    }),
    AGE,
];

/// The addresses of a load balancer, each once, in order.
pub fn load_balancer(object: &Value) -> String {
    let all: BTreeSet<&str> = object
        .list("status.loadBalancer.ingress")
        .iter()
        .map(|i| or(i.text("ip"), i.text("hostname")))
        .filter(|a| !a.is_empty())
        .collect();
    all.into_iter().collect::<Vec<_>>().join(",")
}

fn external_ip(service: &Value) -> String {
    let external = service.texts("spec.externalIPs").join(",");
    match service.text("spec.type") {
        "LoadBalancer" => match (load_balancer(service), external) {
            (lb, e) if !e.is_empty() => {
                if lb.is_empty() {
                    e
                } else {
                    format!("{lb},{e}")
                }
            }
            (lb, _) if lb.is_empty() => "<pending>".to_owned(),
            (lb, _) => lb,
        },
        "ExternalName" => service.text("spec.externalName").to_owned(),
        "" => "<unknown>".to_owned(),
        _ if external.is_empty() => "<none>".to_owned(),
        _ => external,
    }
}

fn ports(ports: &[Value]) -> String {
    let texts: Vec<String> = ports
        .iter()
        .map(|p| match p.int("nodePort") {
            0 => format!("{}/{}", p.int("port"), p.text("protocol")),
            node => format!("{}:{node}/{}", p.int("port"), p.text("protocol")),
        })
        .collect();
    if texts.is_empty() { "<none>".to_owned() } else { texts.join(",") }
}

fn endpoints(object: &Value) -> String {
    let mut all = Vec::new();
    for subset in object.list("subsets") {
        let addresses = || subset.list("addresses").iter().map(|a| a.text("ip"));
        let ports = subset.list("ports");
        if ports.is_empty() {
            all.extend(addresses().map(String::from));
        }
        for port in ports {
            all.extend(addresses().map(|ip| host_port(ip, port.int("port"))));
        }
    }
    first_three(&all, "<none>")
}

fn host_port(host: &str, port: i64) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn external_addresses_by_type() {
        for (service, text) in [
            (json!({"spec": {"type": "ClusterIP"}}), "<none>"),
            (json!({"spec": {"type": "NodePort", "externalIPs": ["1.2.3.4", "5.6.7.8"]}}), "1.2.3.4,5.6.7.8"),
            (json!({"spec": {"type": "LoadBalancer"}}), "<pending>"),
            (json!({"spec": {"type": "ExternalName", "externalName": "x.y"}}), "x.y"),
            (
                json!({"spec": {"type": "LoadBalancer"}, "status": {"loadBalancer": {"ingress": [{"ip": "9.9.9.9"}]}}}),
                "9.9.9.9",
            ),
        ] {
            assert_eq!(external_ip(&service), text);
        }
    }

    #[test]
    fn ports_and_endpoints() {
        let p = json!([{"port": 80, "protocol": "TCP"}, {"port": 53, "nodePort": 30053, "protocol": "UDP"}]);
        assert_eq!(ports(p.as_array().unwrap()), "80/TCP,53:30053/UDP");
        let e = json!({"subsets": [{"addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "ports": [{"port": 80}]}]});
        assert_eq!(endpoints(&e), "10.0.0.1:80,[fd00::1]:80");
        assert_eq!(endpoints(&json!({})), "<none>");
    }
}
