//! Keeping a Service's EndpointSlices equal to what they shall hold, with the fewest changes
//! (upstream `endpointslice/reconciler.go`).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::{MANAGED_BY, SERVICE_NAME, SLICE_MANAGER};
use crate::framework::meta::controller_reference;

/// Upstream's `--max-endpoints-per-slice`.
const MOST_PER_SLICE: usize = 100;
const HEADLESS: &str = "service.kubernetes.io/headless";

/// Endpoints that share an address family and ports.
#[derive(Clone, Debug)]
pub struct Group {
    pub family: String,
    pub ports: Vec<EndpointPort>,
    pub endpoints: Vec<Endpoint>,
}

impl Group {
    pub fn new(family: &str, ports: Vec<EndpointPort>) -> Self {
        Self { family: family.to_owned(), ports, endpoints: Vec::new() }
    }

    fn is_of(&self, slice: &EndpointSlice) -> bool {
        slice.address_type == self.family && same_ports(slice.ports.as_deref().unwrap_or_default(), &self.ports)
    }
}

fn same_ports(a: &[EndpointPort], b: &[EndpointPort]) -> bool {
    a.len() == b.len() && a.iter().all(|port| b.contains(port))
}

/// What all slices of a Service have in common.
#[derive(Clone, Debug)]
pub struct Frame {
    pub prefix: String,
    pub namespace: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub annotations: Option<BTreeMap<String, String>>,
    pub owner: OwnerReference,
}

/// The frame of a Service with a selector: its labels, ours, and the Service as owner.
pub fn frame(service: &Service) -> Frame {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    let name = service.metadata.name.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    if service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None") {
        labels.insert(HEADLESS.into(), String::new());
    }
    labels.insert(SERVICE_NAME.into(), name.clone());
    labels.insert(MANAGED_BY.into(), SLICE_MANAGER.into());
    Frame {
        prefix: format!("{name}-"),
        namespace: service.metadata.namespace.clone(),
        labels,
        annotations: None,
        owner: controller_reference(service),
    }
}

#[derive(Debug)]
pub enum Action {
    Create(Box<EndpointSlice>),
    Update { old: Arc<EndpointSlice>, new: Box<EndpointSlice> },
    Delete(Arc<EndpointSlice>),
}

pub fn removal(slices: &[Arc<EndpointSlice>]) -> Vec<Action> {
    slices.iter().map(|slice| Action::Delete(slice.clone())).collect()
}

/// Endpoints stay in the slice they are in; new ones fill slices that are changed anyway, then any other with room, then
/// new slices. A slice left empty is deleted, unless it is the last of its group.
pub fn plan(frame: &Frame, groups: Vec<Group>, existing: &[Arc<EndpointSlice>]) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut unclaimed: Vec<&Arc<EndpointSlice>> = existing.iter().collect();
    for group in groups {
        let (mine, others) = unclaimed.into_iter().partition(|slice| group.is_of(slice));
        unclaimed = others;
        plan_group(frame, group, mine, &mut actions);
    }
    // Slices with ports the Service no longer has go last, after those that replace them.
    actions.extend(unclaimed.into_iter().cloned().map(Action::Delete));
    actions
}

fn identity(endpoint: &Endpoint) -> String {
    let uid = endpoint.target_ref.as_ref().and_then(|target| target.uid.as_deref()).unwrap_or_default();
    format!("{uid}/{}", endpoint.addresses.join(","))
}

fn plan_group(frame: &Frame, group: Group, mine: Vec<&Arc<EndpointSlice>>, actions: &mut Vec<Action>) {
    let Group { family, ports, endpoints } = group;
    let mut wanted: HashMap<String, Endpoint> = endpoints.iter().map(|e| (identity(e), e.clone())).collect();
    let mut drafts: Vec<(&Arc<EndpointSlice>, EndpointSlice, bool)> = Vec::new();
    for slice in mine {
        let mut draft = (**slice).clone();
        draft.endpoints = slice.endpoints.iter().filter_map(|endpoint| wanted.remove(&identity(endpoint))).collect();
        let changed = draft.endpoints != slice.endpoints;
        drafts.push((slice, draft, changed));
    }
    // In the given order, not the map's, so that the same input gives the same slices.
    let mut added = endpoints.into_iter().filter(|endpoint| wanted.contains_key(&identity(endpoint))).peekable();
    drafts.sort_by_key(|(_, draft, changed)| (!changed, std::cmp::Reverse(draft.endpoints.len())));
    for (_, draft, _) in &mut drafts {
        while draft.endpoints.len() < MOST_PER_SLICE {
            let Some(endpoint) = added.next() else { break };
            draft.endpoints.push(endpoint);
        }
    }
    let must_exist = drafts.is_empty();
    let mut fresh = Vec::new();
    while added.peek().is_some() || (must_exist && fresh.is_empty()) {
        let endpoints = added.by_ref().take(MOST_PER_SLICE).collect();
        fresh.push(Action::Create(Box::new(make(frame, &family, &ports, endpoints))));
    }
    let mut left = drafts.len();
    for (slice, mut draft, _) in drafts {
        if draft.endpoints.is_empty() && left > 1 {
            left -= 1;
            actions.push(Action::Delete(slice.clone()));
            continue;
        }
        draft.metadata.labels = Some(frame.labels.clone());
        draft.metadata.annotations = frame.annotations.clone().or(draft.metadata.annotations);
        draft.metadata.owner_references = Some(vec![frame.owner.clone()]);
        if draft != **slice {
            actions.push(Action::Update { old: slice.clone(), new: Box::new(draft) });
        }
    }
    actions.append(&mut fresh);
}

fn make(frame: &Frame, family: &str, ports: &[EndpointPort], endpoints: Vec<Endpoint>) -> EndpointSlice {
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(frame.prefix.clone()),
            namespace: frame.namespace.clone(),
            labels: Some(frame.labels.clone()),
            annotations: frame.annotations.clone(),
            owner_references: Some(vec![frame.owner.clone()]),
            ..ObjectMeta::default()
        },
        address_type: family.to_owned(),
        ports: (!ports.is_empty()).then(|| ports.to_vec()),
        endpoints,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::*;
    use crate::endpoints::addresses;

    fn service(target: serde_json::Value) -> Service {
        serde_json::from_value(json!({
            "metadata": { "name": "web", "namespace": "ns", "uid": "s", "labels": { "team": "a" } },
            "spec": { "clusterIP": "10.96.0.7", "selector": { "app": "web" }, "ports": [{ "port": 80, "targetPort": target }] },
        }))
        .unwrap()
    }

    #[test]
    fn hints_follow_the_traffic_distribution_of_ready_endpoints() {
        let hints = |wish: &str, ready: bool| {
            let mut service = service(json!(8080));
            service.spec.as_mut().unwrap().traffic_distribution = Some(wish.to_owned());
            let groups = addresses::groups(&service, &[pod(1, ready, false)], &|_| Some("z1".to_owned()));
            let found = groups[0].endpoints[0].hints.clone()?;
            let nodes: Vec<_> = found.for_nodes.into_iter().flatten().map(|node| node.name).collect();
            let zones: Vec<_> = found.for_zones.into_iter().flatten().map(|zone| zone.name).collect();
            Some((nodes.join(","), zones.join(",")))
        };
        assert_eq!(hints("PreferClose", true), Some((String::new(), "z1".into())));
        assert_eq!(hints("PreferSameZone", true), Some((String::new(), "z1".into())));
        assert_eq!(hints("PreferSameNode", true), Some(("c0w1".into(), "z1".into())));
        assert_eq!(hints("PreferSameNode", false), None);
    }

    fn pod(index: usize, ready: bool, deleting: bool) -> Arc<Pod> {
        let mut pod = json!({
            "metadata": { "name": format!("web-{index}"), "namespace": "ns", "uid": format!("u{index}") },
            "spec": { "nodeName": "c0w1", "containers": [{ "name": "c", "ports": [{ "name": "http", "containerPort": 8080 }] }] },
            "status": {
                "phase": "Running", "podIP": format!("11.0.{}.{}", index / 200, index % 200),
                "conditions": [{ "type": "Ready", "status": if ready { "True" } else { "False" } }],
            },
        });
        if deleting {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn step(service: &Service, pods: &[Arc<Pod>], existing: &[Arc<EndpointSlice>]) -> Vec<Action> {
        let groups = addresses::groups(service, pods, &|_| Some("zone-a".into()));
        plan(&frame(service), groups, existing)
    }

    fn created(actions: &[Action]) -> Vec<Arc<EndpointSlice>> {
        let slices = actions.iter().enumerate().filter_map(|(at, action)| match action {
            Action::Create(slice) => {
                let mut slice = (**slice).clone();
                slice.metadata.name = Some(format!("web-{at}"));
                Some(Arc::new(slice))
            }
            _ => None,
        });
        slices.collect()
    }

    #[test]
    fn a_pod_being_deleted_is_not_ready_at_once() {
        let service = service(json!("http"));
        let slices = created(&step(&service, &[pod(1, true, false)], &[]));
        let endpoint = &slices[0].endpoints[0];
        assert_eq!(slices[0].ports.as_ref().unwrap()[0].port, Some(8080));
        assert_eq!(endpoint.node_name.as_deref(), Some("c0w1"));
        assert_eq!(endpoint.zone.as_deref(), Some("zone-a"));
        let all = |c: &k8s_openapi::api::discovery::v1::EndpointConditions| (c.ready, c.serving, c.terminating);
        assert_eq!(all(endpoint.conditions.as_ref().unwrap()), (Some(true), Some(true), Some(false)));
        let actions = step(&service, &[pod(1, true, true)], &slices);
        let [Action::Update { new, .. }] = &actions[..] else { panic!("{actions:?}") };
        assert_eq!(all(new.endpoints[0].conditions.as_ref().unwrap()), (Some(false), Some(true), Some(true)));
        assert!(step(&service, &[pod(1, true, false)], &slices).is_empty(), "nothing to do when nothing changed");
    }

    #[test]
    fn slices_hold_a_hundred_and_change_one_at_a_time() {
        let service = service(json!(80));
        let mut pods: Vec<_> = (0..150).map(|i| pod(i, true, false)).collect();
        let slices = created(&step(&service, &pods, &[]));
        assert_eq!(slices.iter().map(|slice| slice.endpoints.len()).collect::<Vec<_>>(), [100, 50]);
        pods[120] = pod(120, false, false);
        pods.push(pod(160, true, false));
        let actions = step(&service, &pods, &slices);
        let [Action::Update { new, .. }] = &actions[..] else { panic!("{} actions", actions.len()) };
        assert_eq!(new.endpoints.len(), 51);
        let actions = step(&service, &pods[..100], &slices);
        assert!(matches!(&actions[..], [Action::Delete(_)]), "{}", actions.len());
    }

    #[test]
    fn a_service_without_pods_has_one_empty_slice() {
        let service = service(json!(80));
        let slices = created(&step(&service, &[], &[]));
        assert_eq!(slices.len(), 1);
        assert!(slices[0].ports.is_none() && slices[0].endpoints.is_empty());
        assert!(step(&service, &[], &slices).is_empty());
        let actions = step(&service, &[pod(1, true, false)], &slices);
        assert!(matches!(&actions[..], [Action::Create(_), Action::Delete(_)]), "{actions:?}");
    }
}
