//! Services. What needs no allocator is here: which fields belong to which type, and what an update carries over
//! (`pkg/registry/core/service`). Choosing cluster IPs and node ports is the allocators' part, on the REST side.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::super::json::Json;
use super::super::validate;
use super::super::{NameRule, Strategy};
use super::WITH_STATUS;

pub const SERVICE: Strategy = Strategy {
    create_on_update: true,
    name: NameRule::Label1035,
    default: Some(default),
    prepare_create: Some(prepare),
    prepare_update: Some(prepare_update),
    validate: Some(validate::service::service),
    validate_update: Some(validate::service::service_update),
    validate_path: &[("status", validate::service::status)],
    warnings: Some(validate::service::warnings),
    status_warnings: Some(validate::service::status_warnings),
    ..WITH_STATUS
};

/// Three hours, the session affinity of old.
const AFFINITY_SECONDS: i64 = 10_800;

fn default(service: &mut Value) {
    service.default_to("spec.sessionAffinity", "None");
    if service.text("spec.sessionAffinity") == "None" {
        service.remove("spec.sessionAffinityConfig");
    }
    if service.text("spec.sessionAffinity") == "ClientIP" {
        service.default_to("spec.sessionAffinityConfig.clientIP.timeoutSeconds", AFFINITY_SECONDS);
    }
    service.default_to("spec.type", "ClusterIP");
    for port in service.list_mut("spec.ports") {
        port.default_to("protocol", "TCP");
        let target = port.at("targetPort");
        if target.is_null() || *target == json!(0) || *target == json!("") {
            let number = port.at("port").clone();
            port.put("targetPort", number);
        }
    }
    let kind = service.text("spec.type").to_owned();
    if is_exposed(service) {
        service.default_to("spec.externalTrafficPolicy", "Cluster");
    }
    if kind == "ExternalName" {
        // Taken from clients that were once given it, and never shown.
        service.remove("spec.internalTrafficPolicy");
    } else {
        service.default_pointer("spec.internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        service.default_to("spec.allocateLoadBalancerNodePorts", true);
    }
    if service.at("status").is_null() {
        service.put("status", json!({"loadBalancer": {}}));
    }
    if kind == "LoadBalancer" {
        for ingress in service.list_mut("status.loadBalancer.ingress") {
            if ingress.has("ip") {
                ingress.default_pointer("ipMode", "VIP");
            }
        }
    }
}

/// Keeps the singular and the plural form of the cluster IP together, and says the cluster's family where none is said.
fn prepare(service: &mut Value) {
    let kind = service.text("spec.type");
    if kind == "ExternalName" {
        return;
    }
    let (one, many) = (service.text("spec.clusterIP").to_owned(), service.list("spec.clusterIPs").len());
    if !one.is_empty() && many == 0 {
        service.put("spec.clusterIPs", json!([one]));
    }
    if service.text("spec.clusterIP") == "None" && service.entries("spec.selector").is_empty() {
        return any_families(service);
    }
    if service.list("spec.ipFamilies").is_empty() {
        let first = runtime::address::ip(service.text("spec.clusterIP")).map(|ip| ip.to_canonical());
        // A family that the cluster does not have follows from no address.
        if !matches!(first, Some(IpAddr::V6(_))) {
            service.put("spec.ipFamilies", json!(["IPv4"]));
        }
    }
    if service.text("spec.ipFamilyPolicy").is_empty() {
        service.put("spec.ipFamilyPolicy", "SingleStack");
    }
}

/// Nobody but its user knows the endpoints of a headless Service without a selector, nor of which families they are: unless
/// told, it is for all.
fn any_families(service: &mut Value) {
    service.default_pointer("spec.ipFamilyPolicy", "RequireDualStack");
    let mut families = service.list("spec.ipFamilies").to_vec();
    if families.is_empty() {
        families.push("IPv4".into());
    }
    if families.len() == 1 && service.text("spec.ipFamilyPolicy") != "SingleStack" {
        families.push(if families[0] == "IPv4" { "IPv6".into() } else { "IPv4".into() });
    }
    service.put("spec.ipFamilies", families);
}

fn prepare_update(new: &mut Value, old: &Value) {
    new.take_from("status", old);
    // Who changes the one form alone, as clients of old do, means the other, too; who keeps it has not heard of the other.
    let (one, all) = ("spec.clusterIP", "spec.clusterIPs");
    let (same, unsaid) = (new.text(one) == old.text(one), new.list(all).is_empty());
    if same && unsaid {
        new.take_from(all, old);
    } else if !same && !unsaid && new.list(all) == old.list(all) {
        match new.text(one).to_owned() {
            first if first.is_empty() => new.remove(all),
            first => new.put(all, json!([first])),
        }
    }
    patch_allocated(new, old);
    drop_type_dependent(new, old);
    prepare(new);
}

/// What the server chose and the user did not say is carried over, so that `kubectl replace` with the first manifest works.
fn patch_allocated(new: &mut Value, old: &Value) {
    let (new_kind, old_kind) = (new.text("spec.type").to_owned(), old.text("spec.type"));
    let has_cluster_ip = |kind: &str| kind != "ExternalName";
    if has_cluster_ip(old_kind) && has_cluster_ip(&new_kind) {
        if new.text("spec.clusterIP").is_empty() {
            new.take_from("spec.clusterIP", old);
        }
        if new.list("spec.clusterIPs").is_empty() && new.text("spec.clusterIP") == old.text("spec.clusterIP") {
            new.take_from("spec.clusterIPs", old);
        }
        for field in ["spec.ipFamilies", "spec.ipFamilyPolicy"] {
            if !new.has(field) || new.at(field) == &json!([]) {
                new.take_from(field, old);
            }
        }
    }
    if has_node_ports(old) && has_node_ports(new) {
        let key = |port: &Value| (port.text("protocol").to_owned(), port.int("port"));
        let olds: Vec<_> = old.list("spec.ports").iter().map(|p| (key(p), p.int("nodePort"))).collect();
        let taken: Vec<i64> = new.list("spec.ports").iter().map(|p| p.int("nodePort")).collect();
        for port in new.list_mut("spec.ports") {
            if port.int("nodePort") != 0 {
                continue;
            }
            let found = olds.iter().find(|(k, node)| *k == key(port) && *node != 0 && !taken.contains(node));
            if let Some((_, node)) = found {
                port.put("nodePort", *node);
            }
        }
    }
    if needs_health_port(old) && needs_health_port(new) && new.int("spec.healthCheckNodePort") == 0 {
        new.take_from("spec.healthCheckNodePort", old);
    }
}

fn has_node_ports(service: &Value) -> bool {
    match service.text("spec.type") {
        "NodePort" => true,
        "LoadBalancer" => service.at("spec.allocateLoadBalancerNodePorts") != &json!(false),
        _ => false,
    }
}

/// Whether traffic comes from outside the cluster (upstream's `ExternallyAccessible`).
fn is_exposed(service: &Value) -> bool {
    match service.text("spec.type") {
        "NodePort" | "LoadBalancer" => true,
        "ClusterIP" => !service.list("spec.externalIPs").is_empty(),
        _ => false,
    }
}

fn needs_health_port(service: &Value) -> bool {
    service.text("spec.type") == "LoadBalancer" && service.text("spec.externalTrafficPolicy") == "Local"
}

/// Fields that came with the old type and mean nothing to the new one go, unless the user changed them just now.
fn drop_type_dependent(new: &mut Value, old: &Value) {
    let (new_kind, old_kind) = (new.text("spec.type").to_owned(), old.text("spec.type").to_owned());
    let same = |new: &Value, field: &str| validate::same(new.at(field), old.at(field));
    if new_kind == "ExternalName" && old_kind != "ExternalName" {
        if new.list("spec.clusterIPs") == old.list("spec.clusterIPs") {
            new.remove("spec.clusterIP");
            new.remove("spec.clusterIPs");
        }
        for field in ["spec.ipFamilies", "spec.ipFamilyPolicy"] {
            if same(new, field) {
                new.remove(field);
            }
        }
    }
    let has_node_ports = |kind: &str| kind == "NodePort" || kind == "LoadBalancer";
    if has_node_ports(&old_kind) && !has_node_ports(&new_kind) {
        let known: Vec<i64> = old.list("spec.ports").iter().map(|p| p.int("nodePort")).collect();
        let kept = |port: &Value| port.int("nodePort") == 0 || known.contains(&port.int("nodePort"));
        if new.list("spec.ports").iter().all(kept) {
            new.list_mut("spec.ports").iter_mut().for_each(|port| port.remove("nodePort"));
        }
    }
    if is_exposed(old) && !is_exposed(new) && same(new, "spec.externalTrafficPolicy") {
        new.remove("spec.externalTrafficPolicy");
    }
    if needs_health_port(old) && !needs_health_port(new) && same(new, "spec.healthCheckNodePort") {
        new.remove("spec.healthCheckNodePort");
    }
    if old_kind == "LoadBalancer" && new_kind != "LoadBalancer" {
        for field in ["spec.allocateLoadBalancerNodePorts", "spec.loadBalancerClass"] {
            if same(new, field) {
                new.remove(field);
            }
        }
        new.put("status.loadBalancer", json!({}));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_families() {
        let mut s = json!({"spec": {"ports": [{"port": 80}], "clusterIP": "None", "selector": {"a": "b"}}});
        default(&mut s);
        prepare(&mut s);
        assert_eq!(
            s["spec"],
            json!({"ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}], "clusterIP": "None",
                "clusterIPs": ["None"], "type": "ClusterIP", "sessionAffinity": "None", "selector": {"a": "b"},
                "internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"})
        );
    }

    #[test]
    fn an_update_keeps_what_was_allocated() {
        let mut old = json!({"spec": {"type": "NodePort", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"],
            "ports": [{"port": 80, "nodePort": 30001}]}});
        default(&mut old);
        prepare(&mut old);
        let mut new = json!({"spec": {"type": "NodePort", "ports": [{"port": 80}, {"port": 81}]}});
        default(&mut new);
        prepare_update(&mut new, &old);
        assert_eq!(new["spec"]["clusterIP"], "10.96.0.7");
        assert_eq!(new["spec"]["ports"][0]["nodePort"], 30001);
        assert_eq!(new["spec"]["ports"][1].get("nodePort"), None);

        let mut new = old.clone();
        new["spec"]["type"] = json!("ClusterIP");
        prepare_update(&mut new, &old);
        assert_eq!(new["spec"]["ports"][0].get("nodePort"), None);
        assert_eq!(new["spec"].get("externalTrafficPolicy"), None);
    }

    #[test]
    fn what_means_nothing_any_more_goes() {
        let made = |spec: Value| {
            let mut service = json!({ "spec": spec });
            default(&mut service);
            prepare(&mut service);
            service
        };
        let old = made(json!({"clusterIP": "None", "selector": {"a": "b"}, "ports": [{"port": 80}]}));
        // Sent as it was first made, without what it was given.
        let mut new = json!({"spec": {"type": "ExternalName", "externalName": "a.example", "clusterIP": "None", "selector": {"a": "b"}}});
        default(&mut new);
        prepare_update(&mut new, &old);
        assert_eq!((new["spec"].get("clusterIP"), new["spec"].get("clusterIPs")), (None, None));
        let old = made(json!({"clusterIP": "10.0.0.1", "externalIPs": ["1.1.1.1"], "ports": [{"port": 80}]}));
        assert_eq!(old["spec"]["externalTrafficPolicy"], "Cluster");
        let mut new = old.clone();
        new["spec"]["externalIPs"] = json!([]);
        default(&mut new);
        prepare_update(&mut new, &old);
        assert_eq!(new["spec"].get("externalTrafficPolicy"), None);
        let named =
            made(json!({"type": "ExternalName", "externalName": "a.example", "internalTrafficPolicy": "Cluster"}));
        assert_eq!(named["spec"].get("internalTrafficPolicy"), None);
    }

    #[test]
    fn a_headless_service_without_a_selector_is_for_all_families() {
        for (spec, families, policy) in [
            (json!({"clusterIP": "None"}), json!(["IPv4", "IPv6"]), "RequireDualStack"),
            (json!({"clusterIP": "None", "ipFamilies": ["IPv6"]}), json!(["IPv6", "IPv4"]), "RequireDualStack"),
            (json!({"clusterIP": "None", "ipFamilyPolicy": "SingleStack"}), json!(["IPv4"]), "SingleStack"),
            (json!({"clusterIP": "None", "selector": {"a": "b"}}), json!(["IPv4"]), "SingleStack"),
        ] {
            let mut service = json!({ "spec": spec });
            default(&mut service);
            prepare(&mut service);
            assert_eq!(
                (&service["spec"]["ipFamilies"], &service["spec"]["ipFamilyPolicy"]),
                (&families, &json!(policy))
            );
        }
    }

    #[test]
    fn what_an_update_carries_over() {
        let made = |spec: Value| {
            let mut service = json!({ "spec": spec });
            default(&mut service);
            prepare(&mut service);
            service
        };
        let old =
            made(json!({"type": "LoadBalancer", "clusterIP": "10.0.0.1", "ports": [{"port": 80, "nodePort": 30001}]}));
        let update = |spec: Value| {
            let mut new = json!({ "spec": spec });
            default(&mut new);
            prepare_update(&mut new, &old);
            new
        };
        let ports = json!([{"port": 80}]);
        let new = update(json!({"type": "LoadBalancer", "ports": ports}));
        assert_eq!(
            (&new["spec"]["clusterIP"], &new["spec"]["ports"][0]["nodePort"]),
            (&json!("10.0.0.1"), &json!(30001))
        );
        let new = update(json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": ports}));
        assert_eq!(new["spec"]["ports"][0].get("nodePort"), None, "no ports are asked for any more");
        let new = update(
            json!({"type": "LoadBalancer", "clusterIP": "10.0.0.2", "clusterIPs": ["10.0.0.1"], "ports": ports}),
        );
        assert_eq!(new["spec"]["clusterIPs"], json!(["10.0.0.2"]), "one form stands for both");
    }
}
