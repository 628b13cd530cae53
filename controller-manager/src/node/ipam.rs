//! A range of pod addresses for every node (upstream `pkg/controller/nodeipam`, the range allocator).
//!
//! What is taken is read off the Nodes themselves, so nothing has to be remembered and nothing can drift.

use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use k8s_openapi::api::core::v1::Node;
use runtime::events::{EventType, Recorder};

use crate::context::{Context, reference, tell};
use crate::framework::meta::is_deleting;
use crate::framework::{Controller, Outcome, Queue, drive};

/// The lowest block of `size` bits within `cluster` that overlaps none of `taken`.
///
/// Walks over what is taken in order of address, so it costs one pass however large the cluster range is.
pub fn first_free(cluster: Ipv4Net, size: u8, taken: impl IntoIterator<Item = Ipv4Net>) -> Option<Ipv4Net> {
    let step = 1_u64 << (32 - u32::from(size));
    let end = u64::from(u32::from(cluster.broadcast()));
    let mut taken: Vec<(u64, u64)> = taken
        .into_iter()
        .map(|net| (u64::from(u32::from(net.network())), u64::from(u32::from(net.broadcast()))))
        .collect();
    taken.sort_unstable();
    let mut candidate = u64::from(u32::from(cluster.network()));
    for (from, to) in taken {
        if to < candidate {
            continue;
        }
        if candidate + step <= from {
            break;
        }
        candidate = (to / step + 1) * step;
    }
    if candidate + step - 1 > end {
        return None;
    }
    let address = Ipv4Addr::from(u32::try_from(candidate).ok()?);
    Ipv4Net::new(address, size).ok()
}

struct Ipam {
    context: Arc<Context>,
    recorder: Arc<Recorder>,
    cluster: Ipv4Net,
    size: u8,
}

/// Gives each node a block of `size` bits out of `cluster`.
pub fn start(context: &Arc<Context>, cluster: Ipv4Net, size: u8) {
    let queue = Arc::new(Queue::default());
    let on_node = queue.clone();
    context.kinds.nodes.on_change(move |change| {
        if let Some(node) = change.new
            && pod_cidr(node).is_none()
        {
            on_node.add(node.metadata.name.clone().unwrap_or_default());
        }
    });
    let recorder = context.recorder(Ipam::NAME);
    // One worker: two at a time could choose the same block.
    drive(&context.gate(), &Arc::new(Ipam { context: context.clone(), recorder, cluster, size }), &queue, 1);
}

fn pod_cidr(node: &Node) -> Option<&str> {
    node.spec.as_ref()?.pod_cidr.as_deref().filter(|cidr| !cidr.is_empty())
}

fn cidrs_of(node: &Node) -> Vec<Ipv4Net> {
    let spec = node.spec.as_ref();
    let all = spec.and_then(|spec| spec.pod_cidrs.clone()).unwrap_or_default();
    all.iter()
        .map(String::as_str)
        .chain(pod_cidr(node))
        .filter_map(|text| match text.parse::<IpNet>() {
            Ok(IpNet::V4(net)) => Some(net),
            _ => None,
        })
        .collect()
}

impl Controller for Ipam {
    const NAME: &'static str = "cidrAllocator";

    async fn sync(&self, name: &str) -> Outcome {
        let nodes = &self.context.kinds.nodes;
        let Some(node) = nodes.get(name) else { return Ok(None) };
        if pod_cidr(&node).is_some() || is_deleting(&node.metadata) {
            return Ok(None);
        }
        let taken = nodes.all().iter().flat_map(|node| cidrs_of(node)).collect::<Vec<_>>();
        let Some(block) = first_free(self.cluster, self.size, taken) else {
            let message = format!("Node {name} status is now: CIDRNotAvailable");
            tell(&self.recorder, reference(&*node), EventType::Normal, "CIDRNotAvailable", message);
            return Ok(Some(std::time::Duration::from_secs(30)));
        };
        let mut wanted = (*node).clone();
        let spec = wanted.spec.get_or_insert_default();
        spec.pod_cidr = Some(block.to_string());
        spec.pod_cidrs = Some(vec![block.to_string()]);
        nodes.update(&node, &wanted).await?;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_given_lowest_first_and_never_twice() {
        let cluster: Ipv4Net = "11.0.0.0/8".parse().unwrap();
        let net = |text: &str| text.parse::<Ipv4Net>().unwrap();
        let cases = [
            (vec![], Some("11.0.0.0/24")),
            (vec!["11.0.0.0/24"], Some("11.0.1.0/24")),
            (vec!["11.0.1.0/24"], Some("11.0.0.0/24")),
            (vec!["11.0.0.0/24", "11.0.2.0/24", "11.0.1.0/24"], Some("11.0.3.0/24")),
            (vec!["11.0.0.0/16"], Some("11.1.0.0/24")),
            (vec!["11.0.0.128/25"], Some("11.0.1.0/24")),
            (vec!["10.0.0.0/8"], Some("11.0.0.0/24")),
            (vec!["11.0.0.0/8"], None),
        ];
        for (taken, expected) in cases {
            let found = first_free(cluster, 24, taken.iter().map(|text| net(text)));
            assert_eq!(found, expected.map(net), "{taken:?}");
        }
        assert_eq!(first_free(net("255.255.255.0/24"), 24, [net("255.255.255.0/24")]), None);
    }
}
