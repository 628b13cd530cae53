//! NetworkPolicies, IPAddresses and ServiceCIDRs.

use serde_json::{Value, json};

use super::super::json::Json;
use super::super::validate;
use super::super::{NameRule, Strategy};
use super::{METADATA, WITH_STATUS};

pub const NETWORK_POLICY: Strategy = Strategy {
    has_generation: true,
    generation_counts_empty: true,
    default: Some(default),
    validate: Some(validate::network::network_policy),
    warnings: Some(validate::network::policy_warnings),
    ..Strategy::PLAIN
};

pub const IP_ADDRESS: Strategy = Strategy {
    // IPv6 addresses have colons; what is no address at all, `validate` says.
    name: NameRule::PathSegment,
    validate: Some(validate::network::ip_address),
    validate_update: Some(validate::network::ip_address_update),
    ..Strategy::PLAIN
};

pub const SERVICE_CIDR: Strategy = Strategy {
    status_keeps: METADATA,
    validate: Some(validate::network::service_cidr),
    validate_update: Some(validate::network::service_cidr_update),
    ..WITH_STATUS
};

/// Ingress always counts; egress only where rules for it are given.
fn default(policy: &mut Value) {
    if policy.list("spec.policyTypes").is_empty() {
        let types =
            if policy.list("spec.egress").is_empty() { json!(["Ingress"]) } else { json!(["Ingress", "Egress"]) };
        policy.put("spec.policyTypes", types);
    }
    for rules in ["spec.ingress", "spec.egress"] {
        for rule in policy.list_mut(rules) {
            for port in rule.list_mut("ports") {
                port.default_pointer("protocol", "TCP");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_follow_from_rules() {
        let mut p = json!({"spec": {"podSelector": {}, "egress": [{"ports": [{"port": 53}]}]}});
        default(&mut p);
        assert_eq!(p["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
        assert_eq!(p["spec"]["egress"][0]["ports"][0]["protocol"], "TCP");
        let mut p = json!({"spec": {"podSelector": {}}});
        default(&mut p);
        assert_eq!(p["spec"]["policyTypes"], json!(["Ingress"]));
    }
}
