//! ServiceCIDRs: ready once they are seen, and held back while Services have addresses of theirs
//! (upstream `pkg/controller/servicecidrs`).

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use serde_json::json;

use crate::context::Context;
use crate::framework::meta::{is_deleting, key_of};
use crate::framework::{Controller, Outcome, Queue, drive};

const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
const READY: &str = "Ready";

struct ServiceCidrs {
    context: Arc<Context>,
}

pub fn start(context: &Arc<Context>) {
    let queue = Arc::new(Queue::default());
    let (on_range, ranges) = (queue.clone(), context.kinds.service_cidrs.clone());
    context.kinds.service_cidrs.on_change(move |change| {
        on_range.add(key_of(&change.object().metadata));
        // Another range may go now that this one has its addresses.
        ranges.filter(|range| is_deleting(&range.metadata)).iter().for_each(|r| on_range.add(key_of(&r.metadata)));
    });
    let (on_address, ranges) = (queue.clone(), context.kinds.service_cidrs.clone());
    context.kinds.ip_addresses.on_change(move |change| {
        if change.new.is_none() {
            ranges
                .filter(|range| is_deleting(&range.metadata))
                .iter()
                .for_each(|r| on_address.add(key_of(&r.metadata)));
        }
    });
    drive(&context.gate(), &Arc::new(ServiceCidrs { context: context.clone() }), &queue, 1);
}

fn ranges(cidr: &ServiceCIDR) -> Vec<IpNet> {
    let texts = cidr.spec.as_ref().and_then(|spec| spec.cidrs.as_deref()).unwrap_or_default();
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// Whether an address is in use that no other range has.
fn is_needed(cidr: &ServiceCIDR, others: &[Arc<ServiceCIDR>], addresses: &[Arc<IPAddress>]) -> bool {
    let own = ranges(cidr);
    let elsewhere: Vec<IpNet> = others
        .iter()
        .filter(|other| other.metadata.uid != cidr.metadata.uid && !is_deleting(&other.metadata))
        .flat_map(|other| ranges(other))
        .collect();
    let used = addresses.iter().filter_map(|address| address.metadata.name.as_deref()?.parse::<IpAddr>().ok());
    used.into_iter()
        .any(|ip| own.iter().any(|range| range.contains(&ip)) && !elsewhere.iter().any(|range| range.contains(&ip)))
}

impl Controller for ServiceCidrs {
    const NAME: &'static str = "service-cidr-controller";

    async fn sync(&self, name: &str) -> Outcome {
        let kinds = &self.context.kinds;
        let Some(cidr) = kinds.service_cidrs.get(name) else { return Ok(None) };
        let meta = &cidr.metadata;
        let held = meta.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER);
        if is_deleting(meta) {
            if !held {
                return Ok(None);
            }
            if is_needed(&cidr, &kinds.service_cidrs.all(), &kinds.ip_addresses.all()) {
                let message = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a \
                               new ServiceCIDR";
                self.condition(&cidr, "False", "Terminating", message).await?;
                return Ok(None);
            }
            let kept: Vec<_> = meta.finalizers.iter().flatten().filter(|f| *f != FINALIZER).collect();
            kinds.service_cidrs.merge(meta, None, &json!({ "metadata": { "finalizers": kept } })).await?;
            return Ok(None);
        }
        if !held {
            let all: Vec<_> = meta.finalizers.iter().flatten().map(String::as_str).chain([FINALIZER]).collect();
            kinds.service_cidrs.merge(meta, None, &json!({ "metadata": { "finalizers": all } })).await?;
            return Ok(None);
        }
        self.condition(&cidr, "True", "", "Kubernetes Service CIDR is ready").await?;
        Ok(None)
    }
}

impl ServiceCidrs {
    /// Sets the condition Ready where it is not so already.
    async fn condition(
        &self,
        cidr: &ServiceCIDR,
        status: &str,
        reason: &str,
        message: &str,
    ) -> Result<(), kube::Error> {
        let conditions = cidr.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        if conditions.iter().any(|condition| condition.type_ == READY && condition.status == status) {
            return Ok(());
        }
        let ready = json!({
            "type": READY, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": self.context.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        });
        let others = conditions.iter().filter(|condition| condition.type_ != READY).map(|condition| json!(condition));
        let all: Vec<_> = others.chain([ready]).collect();
        let patch = json!({ "status": { "conditions": all } });
        self.context.kinds.service_cidrs.merge(&cidr.metadata, Some("status"), &patch).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::networking::v1::ServiceCIDRSpec;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    fn cidr(uid: &str, range: &str) -> Arc<ServiceCIDR> {
        Arc::new(ServiceCIDR {
            metadata: ObjectMeta { uid: Some(uid.into()), ..ObjectMeta::default() },
            spec: Some(ServiceCIDRSpec { cidrs: Some(vec![range.into()]) }),
            ..ServiceCIDR::default()
        })
    }

    #[test]
    fn a_range_is_needed_for_addresses_no_other_has() {
        let address = |name: &str| {
            Arc::new(IPAddress {
                metadata: ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() },
                ..IPAddress::default()
            })
        };
        let (small, large) = (cidr("1", "10.0.0.0/24"), cidr("2", "10.0.0.0/16"));
        assert!(is_needed(&small, std::slice::from_ref(&small), &[address("10.0.0.9")]));
        assert!(!is_needed(&small, &[small.clone(), large], &[address("10.0.0.9")]));
        assert!(!is_needed(&small, std::slice::from_ref(&small), &[address("10.0.1.9")]));
    }
}
