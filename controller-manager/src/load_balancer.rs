//! Addresses for Services of type LoadBalancer: a stand-in for a cloud provider (upstream `cloud-provider/controllers/service`).
//!
//! Each such Service gets one address of a pool. That is all a provider does here: kube-proxy answers for the address on
//! every node, and the emulator's router knows the pool. The Event that announces the address says who gave it.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::{LoadBalancerIngress, LoadBalancerStatus, Service};
use runtime::address;
use runtime::events::{EventType, Recorder};

use crate::context::{Context, reference, tell};
use crate::framework::meta::{is_deleting, key_of};
use crate::framework::{Controller, Outcome, Queue, drive};

struct LoadBalancers {
    context: Arc<Context>,
    recorder: Arc<Recorder>,
    pool: Ipv4Net,
}

pub fn start(context: &Arc<Context>, pool: Ipv4Net) {
    let queue = Arc::new(Queue::default());
    let (on_service, all) = (queue.clone(), context.kinds.services.clone());
    context.kinds.services.on_change(move |change| {
        on_service.add(key_of(&change.object().metadata));
        if change.new.is_none() && !addresses(change.object()).is_empty() {
            // An address came free: somebody may be waiting for one.
            let waiting = all.filter(|service| is_ours(service) && addresses(service).is_empty());
            waiting.iter().for_each(|service| on_service.add(key_of(&service.metadata)));
        }
    });
    let recorder = context.recorder("service-controller");
    // One worker: two at a time could choose the same address.
    drive(&context.gate(), &Arc::new(LoadBalancers { context: context.clone(), recorder, pool }), &queue, 1);
}

/// Wants an address, and from us: a class names another provider.
fn is_ours(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.is_some_and(|spec| spec.type_.as_deref() == Some("LoadBalancer") && spec.load_balancer_class.is_none())
        && !is_deleting(&service.metadata)
}

fn addresses(service: &Service) -> Vec<Ipv4Addr> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.and_then(|status| status.ingress.as_deref()).unwrap_or_default();
    ingress.iter().filter_map(|entry| address::v4(entry.ip.as_deref()?)).collect()
}

/// The wanted address if it is in the pool and free, else the first free one; hosts only, as in any network.
fn choose(pool: Ipv4Net, taken: &HashSet<Ipv4Addr>, wanted: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
    match wanted {
        Some(wanted) => (pool.contains(&wanted) && !taken.contains(&wanted)).then_some(wanted),
        None => pool.hosts().find(|address| !taken.contains(address)),
    }
}

impl Controller for LoadBalancers {
    const NAME: &'static str = "service-lb-controller";

    async fn sync(&self, key: &str) -> Outcome {
        let services = &self.context.kinds.services;
        let Some(service) = services.get(key) else { return Ok(None) };
        let has = addresses(&service);
        if !is_ours(&service) {
            let foreign = service.spec.as_ref().is_some_and(|spec| spec.load_balancer_class.is_some());
            if !has.is_empty() && !foreign {
                let mut wanted = (*service).clone();
                wanted.status.get_or_insert_default().load_balancer = Some(LoadBalancerStatus::default());
                services.update_status(&service, &wanted).await?;
            }
            return Ok(None);
        }
        let spec = service.spec.clone().unwrap_or_default();
        let asked: Option<Ipv4Addr> = spec.load_balancer_ip.as_deref().and_then(address::v4);
        if has.first().is_some_and(|address| asked.is_none_or(|asked| asked == *address)) {
            return Ok(None);
        }
        let others = services.filter(|other| other.metadata.uid != service.metadata.uid);
        let taken: HashSet<_> = others.iter().flat_map(|other| addresses(other)).collect();
        let Some(address) = choose(self.pool, &taken, asked) else {
            let message = match asked {
                Some(asked) => format!("Error syncing load balancer: {asked} is not free in the pool {}", self.pool),
                None => format!("Error syncing load balancer: no free address in the pool {}", self.pool),
            };
            tell(&self.recorder, reference(&*service), EventType::Warning, "SyncLoadBalancerFailed", message);
            return Ok(None);
        };
        let mut wanted = (*service).clone();
        let entry = LoadBalancerIngress {
            ip: Some(address.to_string()),
            ip_mode: Some("VIP".into()),
            ..LoadBalancerIngress::default()
        };
        wanted.status.get_or_insert_default().load_balancer = Some(LoadBalancerStatus { ingress: Some(vec![entry]) });
        services.update_status(&service, &wanted).await?;
        let message = format!("Ensured load balancer {address} (knetsim's stand-in for a cloud provider)");
        tell(&self.recorder, reference(&*service), EventType::Normal, "EnsuredLoadBalancer", message);
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_given_once() {
        let pool: Ipv4Net = "10.254.254.0/30".parse().unwrap();
        let ip = |text: &str| text.parse::<Ipv4Addr>().unwrap();
        let taken = |list: &[&str]| list.iter().map(|text| ip(text)).collect::<HashSet<_>>();
        assert_eq!(choose(pool, &taken(&[]), None), Some(ip("10.254.254.1")));
        assert_eq!(choose(pool, &taken(&["10.254.254.1"]), None), Some(ip("10.254.254.2")));
        assert_eq!(choose(pool, &taken(&["10.254.254.1", "10.254.254.2"]), None), None);
        assert_eq!(choose(pool, &taken(&[]), Some(ip("10.254.254.2"))), Some(ip("10.254.254.2")));
        assert_eq!(choose(pool, &taken(&["10.254.254.2"]), Some(ip("10.254.254.2"))), None);
        assert_eq!(choose(pool, &taken(&[]), Some(ip("10.9.9.9"))), None);
    }
}
