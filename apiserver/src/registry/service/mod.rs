//! Addresses and ports of Services: what a Service wants, holds and gives back, and upstream's words when it cannot be had
//! (`registry/core/service/{ipallocator,portallocator,storage}`).
//!
//! What is taken is written in the store, addresses as IPAddress objects ([`addresses`]), node ports as one bit each
//! ([`ports`]), and every taking is a compare-and-swap. So any number of API servers over one store never hand out the same
//! twice, and whatever a killed one left behind is found by [`repair`].

mod addresses;
mod ports;
pub mod repair;

use std::net::Ipv4Addr;
use std::sync::Arc;

use runtime::address;
use schema::field::{Error, ErrorList, Path};
use serde_json::{Value, json};
use store::StoreError;

use crate::app::{App, text};
use crate::http::status::ApiError;
use ports::Ports;

/// One local write to the ports' bits at a time; what another server writes in between is found by the comparison.
#[derive(Default)]
pub struct Allocator {
    ports: tokio::sync::Mutex<()>,
}

/// Why a Service does not get what it wants.
pub enum Refusal {
    Fields(ErrorList),
    Failed(ApiError),
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Failed(error)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

/// What a write in progress has taken; given back unless the write succeeds.
#[derive(Default)]
pub struct Reservation {
    app: Option<Arc<App>>,
    held: Holdings,
}

impl Reservation {
    /// The write succeeded: what was taken stays taken.
    pub fn keep(mut self) {
        self.held = Holdings::default();
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let held = std::mem::take(&mut self.held);
        if let Some(app) = self.app.take().filter(|_| !held.is_empty()) {
            tokio::spawn(async move { give_back(&app, &held).await });
        }
    }
}

/// The ClusterIPs (without `None`) and node ports of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Holdings {
    addresses: Vec<Ipv4Addr>,
    ports: Vec<u16>,
}

impl Holdings {
    fn of(service: &Value) -> Self {
        let listed = service["spec"]["clusterIPs"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let all = std::iter::once(text(service, "/spec/clusterIP")).chain(listed);
        let mut addresses: Vec<Ipv4Addr> = all.filter_map(address::v4).collect();
        addresses.dedup();
        let port = |value: &Value| value.as_u64().and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0);
        let mut ports: Vec<u16> =
            service["spec"]["ports"].as_array().into_iter().flatten().filter_map(|p| port(&p["nodePort"])).collect();
        ports.extend(port(&service["spec"]["healthCheckNodePort"]));
        ports.sort_unstable();
        ports.dedup();
        Self { addresses, ports }
    }

    fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.ports.is_empty()
    }

    fn without(mut self, other: &Self) -> Self {
        self.addresses.retain(|address| !other.addresses.contains(address));
        self.ports.retain(|port| !other.ports.contains(port));
        self
    }
}

fn wants_address(service: &Value) -> bool {
    text(service, "/spec/type") != "ExternalName"
}

fn wants_node_ports(service: &Value) -> bool {
    match text(service, "/spec/type") {
        "NodePort" => true,
        "LoadBalancer" => service["spec"]["allocateLoadBalancerNodePorts"].as_bool().unwrap_or(true),
        _ => false,
    }
}

fn wants_health_port(service: &Value) -> bool {
    text(service, "/spec/type") == "LoadBalancer" && text(service, "/spec/externalTrafficPolicy") == "Local"
}

/// Fills in addresses and ports where the Service wants them, and takes those it names. A dry run takes nothing.
///
/// # Errors
/// The field errors of what cannot be had, or the store's.
pub async fn assign(
    app: &Arc<App>,
    service: &mut Value,
    old: Option<&Value>,
    dry_run: bool,
) -> Result<Reservation, Refusal> {
    let had = old.map(Holdings::of).unwrap_or_default();
    let mut held = Reservation { app: Some(app.clone()), held: Holdings::default() };
    let mut errors = ErrorList::new();
    if wants_address(service) && text(service, "/spec/clusterIP") != "None" {
        let asked = text(service, "/spec/clusterIP").to_owned();
        let taken = match address::v4(&asked) {
            Some(address) if had.addresses.contains(&address) => Ok(None),
            Some(address) => addresses::take(app, address, service, dry_run).await?.map(Some),
            None if asked.is_empty() => addresses::next(app, service, dry_run).await?.map(Some),
            None => {
                let why = "IPv6 is not configured on this cluster";
                let at = Path::new("spec").child("clusterIPs").index(0);
                return Err(Refusal::Fields(vec![Error::invalid(&at, json!([asked]), why)]));
            }
        };
        match taken {
            Ok(Some(address)) => {
                held.held.addresses.extend((!dry_run).then_some(address));
                // Who asked keeps the form it was asked in.
                let written = if asked.is_empty() { address.to_string() } else { asked };
                service["spec"]["clusterIP"] = written.as_str().into();
                service["spec"]["clusterIPs"] = json!([written]);
            }
            Ok(None) => {}
            Err(why) => {
                let value = if asked.is_empty() { json!([]) } else { json!([asked]) };
                errors.push(Error::invalid(&Path::new("spec").child("clusterIPs"), value, why));
            }
        }
    }
    if errors.is_empty() && (wants_node_ports(service) || wants_health_port(service)) {
        // Computed anew when another server was faster, so from the Service as it came.
        let asked = service.clone();
        let result = change_ports(app, dry_run, |ports| {
            let mut service = asked.clone();
            assign_ports(ports, &mut service, &had.ports).map(|taken| (service, taken))
        });
        let (assigned, taken) = result.await?;
        *service = assigned;
        if !dry_run {
            held.held.ports = taken;
        }
    }
    if errors.is_empty() { Ok(held) } else { Err(Refusal::Fields(errors)) }
}

/// Takes the node ports of a Service from `ports`.
fn assign_ports(ports: &mut Ports, service: &mut Value, had: &[u16]) -> Result<Vec<u16>, Refusal> {
    let spec = Path::new("spec");
    let mut taken = Vec::new();
    let mut take = |asked: u64| -> Result<u16, String> {
        match u16::try_from(asked).unwrap_or(0) {
            port if had.contains(&port) => Ok(port),
            _ => ports.take(asked).inspect(|port| taken.push(*port)),
        }
    };
    if wants_node_ports(service) {
        // TCP and UDP of the same number may share a node port.
        let mut shared: Vec<(u64, String, u16)> = Vec::new();
        let list = service.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
        for (index, port) in list.into_iter().flatten().enumerate() {
            let asked = port["nodePort"].as_u64().unwrap_or(0);
            let number = port["port"].as_u64().unwrap_or(0);
            let protocol = text(port, "/protocol").to_owned();
            let other = shared.iter().find(|(n, p, node)| {
                *p != protocol && ((asked != 0 && u64::from(*node) == asked) || (asked == 0 && *n == number))
            });
            let result = match other {
                Some((_, _, node)) => Ok(*node),
                None => take(asked),
            };
            match result {
                Ok(node) => {
                    port["nodePort"] = node.into();
                    shared.push((number, protocol, node));
                }
                Err(why) => {
                    let at = spec.child("ports").index(index).child("nodePort");
                    return Err(Refusal::Fields(vec![Error::invalid(&at, asked, why)]));
                }
            }
        }
    }
    if wants_health_port(service) {
        let asked = service["spec"]["healthCheckNodePort"].as_u64().unwrap_or(0);
        match take(asked) {
            Ok(port) => service["spec"]["healthCheckNodePort"] = port.into(),
            // Upstream has no field for that.
            Err(why) => {
                let why = format!("failed to allocate requested HealthCheck NodePort {asked}: {why}");
                return Err(ApiError::internal(why).into());
            }
        }
    }
    Ok(taken)
}

/// Changes the bits of the node ports in the store.
async fn change_ports<T>(
    app: &App,
    dry_run: bool,
    mut change: impl FnMut(&mut Ports) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let _one = app.allocator.ports.lock().await;
    for _ in 0..super::write::ATTEMPTS {
        let (found, _) = app.store.get(ports::KEY, None).await?;
        let before = Ports::read(app.options.service_node_port_range, found.as_ref().map(|kv| &*kv.value))?;
        let mut after = before.clone();
        let done = change(&mut after)?;
        let revision = found.map_or(0, |kv| kv.mod_revision);
        if dry_run || after == before {
            return Ok(done);
        }
        if let store::WriteOutcome::Done(_) = app.store.put(ports::KEY, after.write(), revision).await? {
            return Ok(done);
        }
    }
    Err(ApiError::internal("the node ports are being changed by too many others").into())
}

/// Gives back what a deleted Service held.
pub async fn release(app: &App, service: &Value) {
    give_back(app, &Holdings::of(service)).await;
}

/// Gives back what `old` held and `new` no longer does, after an update.
pub async fn release_difference(app: &App, old: &Value, new: &Value) {
    give_back(app, &Holdings::of(old).without(&Holdings::of(new))).await;
}

/// A failure leaves the rest to [`repair`], as upstream.
async fn give_back(app: &App, held: &Holdings) {
    for address in &held.addresses {
        if let Err(error) = addresses::release(app, *address).await {
            tracing::warn!(%error, %address, "an address could not be given back yet");
        }
    }
    if !held.ports.is_empty() {
        let freed = change_ports(app, false, |ports| {
            held.ports.iter().for_each(|port| ports.free(*port));
            Ok(())
        });
        if let Err(Refusal::Failed(error)) = freed.await {
            tracing::warn!(%error, "node ports could not be given back yet");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcp_and_udp_share_a_node_port() {
        let mut service = json!({ "spec": { "type": "NodePort", "ports": [
            { "port": 53, "protocol": "TCP" }, { "port": 53, "protocol": "UDP" }, { "port": 80, "protocol": "TCP" }] } });
        let mut all = Ports::read("30000-32767".parse().unwrap(), None).unwrap();
        let taken = assign_ports(&mut all, &mut service, &[]).ok().unwrap();
        assert_eq!(taken.len(), 2);
        let ports = &service["spec"]["ports"];
        assert_eq!(ports[0]["nodePort"], ports[1]["nodePort"]);
        assert_ne!(ports[0]["nodePort"], ports[2]["nodePort"]);
        // What the Service has already is not taken again.
        assert!(assign_ports(&mut all, &mut service, &taken).is_ok_and(|more| more.is_empty()));
    }

    #[test]
    fn a_node_port_out_of_range_is_refused_in_upstreams_words() {
        let mut service = json!({ "spec": { "type": "NodePort", "ports": [{ "port": 80, "nodePort": 29999 }] } });
        let mut all = Ports::read("30000-32767".parse().unwrap(), None).unwrap();
        let Err(Refusal::Fields(errors)) = assign_ports(&mut all, &mut service, &[]) else { panic!("it is refused") };
        assert_eq!(
            errors[0].to_string(),
            "spec.ports[0].nodePort: Invalid value: 29999: provided port is not in the valid range. The range of valid ports is 30000-32767"
        );
    }
}
