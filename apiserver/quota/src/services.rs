//! Services: their number, their node ports and load balancers (`evaluator/core/services.go`).

use schema::quantity::Quantity;
use serde_json::Value;

use crate::{Amounts, list, text};

pub fn tracks(name: &str) -> bool {
    matches!(name, "count/services" | "services" | "services.nodeports" | "services.loadbalancers")
}

pub fn usage(service: &Value) -> Amounts {
    let ports = list(service, "/spec/ports");
    // Node ports are not given out yet when a Service is created: what counts is what it asks for.
    let (nodes, balancers) = match text(service, "/spec/type") {
        "NodePort" => (ports.len(), 0),
        "LoadBalancer" if service["spec"]["allocateLoadBalancerNodePorts"] == false => {
            (ports.iter().filter(|port| port["nodePort"].as_i64().is_some_and(|number| number != 0)).count(), 1)
        }
        "LoadBalancer" => (ports.len(), 1),
        _ => (0, 0),
    };
    let count = |number: usize| Quantity::units(i64::try_from(number).unwrap_or(i64::MAX));
    let rows = [
        ("count/services", Quantity::ONE),
        ("services", Quantity::ONE),
        ("services.nodeports", count(nodes)),
        ("services.loadbalancers", count(balancers)),
    ];
    rows.into_iter().map(|(name, amount)| (name.to_owned(), amount)).collect()
}
