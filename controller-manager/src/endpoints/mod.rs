//! Which pods answer for a Service: EndpointSlices, and the older Endpoints (upstream `pkg/controller/endpointslice`,
//! `pkg/controller/endpoint` and `pkg/controller/endpointslicemirroring`).
//!
//! ```text
//!  Service + its pods ──► addresses() ──► slices::plan()    ──► EndpointSlices
//!                                    └──► legacy::desired() ──► Endpoints
//!  Endpoints without a selector ──► mirror::ports_and_endpoints() ──► slices::plan()
//! ```
//!
//! A pod being deleted turns not ready and terminating with the very event that says so: no request is sent to it any more
//! while it drains.

mod addresses;
mod legacy;
mod mirror;
mod slices;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::context::Context;
use crate::framework::meta::{contains_all, is_deleting, key_of, label, split_key};
use crate::framework::{ApiError, Controller, Kind, Outcome, Queue, drive};
use slices::{Action, Group};

pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const SLICE_MANAGER: &str = "endpointslice-controller.k8s.io";
const MIRROR_MANAGER: &str = "endpointslicemirroring-controller.k8s.io";

/// Wires slices, legacy Endpoints and mirroring to their informers.
pub fn start(context: &Arc<Context>) {
    let queue = Arc::new(Queue::default());
    let kinds = &context.kinds;
    let on_service = queue.clone();
    kinds.services.on_change(move |change| on_service.add(key_of(&change.object().metadata)));
    let (on_pod, services) = (queue.clone(), kinds.services.clone());
    kinds.pods.on_change(move |change| {
        if let (Some(old), Some(new)) = (change.old, change.new)
            && addresses::is_same_to_services(old, new)
        {
            return;
        }
        for pod in [change.old, change.new].into_iter().flatten() {
            services_of(&services, pod).iter().for_each(|service| on_pod.add(key_of(&service.metadata)));
        }
    });
    let on_slice = queue.clone();
    kinds.slices.on_change(move |change| {
        let meta = &change.object().metadata;
        if let Some(service) = label(meta, SERVICE_NAME) {
            on_slice.add(format!("{}/{service}", meta.namespace.as_deref().unwrap_or_default()));
        }
    });
    let on_endpoints = queue.clone();
    kinds.endpoints.on_change(move |change| on_endpoints.add(key_of(&change.object().metadata)));
    let (on_node, services) = (queue.clone(), kinds.services.clone());
    // A node brings its zone with it; that rarely changes, so all Services may be looked at then.
    kinds.nodes.on_change(move |change| {
        let zone = |node: &k8s_openapi::api::core::v1::Node| label(&node.metadata, addresses::ZONE).map(str::to_owned);
        if change.old.and_then(|node| zone(node)) != change.new.and_then(|node| zone(node)) {
            services.all().iter().for_each(|service| on_node.add(key_of(&service.metadata)));
        }
    });
    drive(&context.gate(), &Arc::new(EndpointsController { context: context.clone() }), &queue, 5);
}

fn services_of(services: &Kind<Service>, pod: &Pod) -> Vec<Arc<Service>> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    services.filter_in(namespace, |service| {
        selector(service).is_some_and(|selector| contains_all(selector, pod.metadata.labels.as_ref()))
    })
}

fn selector(service: &Service) -> Option<&std::collections::BTreeMap<String, String>> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return None;
    }
    spec.selector.as_ref().filter(|selector| !selector.is_empty())
}

struct EndpointsController {
    context: Arc<Context>,
}

impl Controller for EndpointsController {
    const NAME: &'static str = "endpoint-slice-controller";

    async fn sync(&self, key: &str) -> Outcome {
        let kinds = &self.context.kinds;
        let (namespace, name) = split_key(key);
        let service = kinds.services.get(key).filter(|service| !is_deleting(&service.metadata));
        let endpoints = kinds.endpoints.get(key);
        let mine = |manager: &'static str| {
            kinds.slices.filter_in(namespace, |slice| {
                label(&slice.metadata, SERVICE_NAME) == Some(name)
                    && label(&slice.metadata, MANAGED_BY) == Some(manager)
            })
        };
        let Some(service) = service else {
            // The slices go with the Service through the garbage collector; the Endpoints have no owner reference.
            if let Some(endpoints) = endpoints.filter(|endpoints| legacy::is_ours(endpoints)) {
                kinds.endpoints.delete(&endpoints.metadata, None).await?;
            }
            return self.carry_out(slices::removal(&mine(MIRROR_MANAGER))).await;
        };
        let Some(selector) = selector(&service) else {
            let groups = endpoints.as_deref().filter(|e| mirror::is_wanted(e)).map(mirror::groups).unwrap_or_default();
            let owner = endpoints.as_deref().map(|endpoints| mirror::frame(&service, endpoints));
            self.carry_out(slices::removal(&mine(SLICE_MANAGER))).await?;
            let Some(frame) = owner else { return self.carry_out(slices::removal(&mine(MIRROR_MANAGER))).await };
            return self.carry_out(slices::plan(&frame, groups, &mine(MIRROR_MANAGER))).await;
        };
        let pods = kinds.pods.filter_in(namespace, |pod| contains_all(selector, pod.metadata.labels.as_ref()));
        let zone_of = |node: &str| {
            kinds.nodes.get(node).and_then(|node| label(&node.metadata, addresses::ZONE).map(str::to_owned))
        };
        let groups: Vec<Group> = addresses::groups(&service, &pods, &zone_of);
        self.carry_out(slices::removal(&mine(MIRROR_MANAGER))).await?;
        self.carry_out(slices::plan(&slices::frame(&service), groups, &mine(SLICE_MANAGER))).await?;
        self.write_legacy(&service, &pods, endpoints).await?;
        Ok(None)
    }
}

impl EndpointsController {
    async fn carry_out(&self, actions: Vec<Action>) -> Outcome {
        let slices: &Kind<EndpointSlice> = &self.context.kinds.slices;
        for action in actions {
            match action {
                Action::Create(slice) => match slices.create(&slice).await {
                    Err(error) if error.namespace_terminating() => {}
                    other => drop(other?),
                },
                Action::Update { old, new } => drop(slices.update(&old, &new).await?),
                Action::Delete(slice) => slices.delete(&slice.metadata, None).await?,
            }
        }
        Ok(None)
    }

    async fn write_legacy(
        &self,
        service: &Service,
        pods: &[Arc<Pod>],
        known: Option<Arc<Endpoints>>,
    ) -> Result<(), kube::Error> {
        let endpoints = &self.context.kinds.endpoints;
        let result = match known {
            Some(known) => {
                let wanted = legacy::desired(service, pods, Some(&known), self.context.now());
                endpoints.update(&known, &wanted).await
            }
            None => endpoints.create(&legacy::desired(service, pods, None, self.context.now())).await,
        };
        match result {
            Err(error) if error.namespace_terminating() => Ok(()),
            other => other.map(drop),
        }
    }
}
