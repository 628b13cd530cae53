//! Addresses and ports of Services: which are taken, which comes next, and upstream's words when none can be had
//! (`registry/core/service/{ipallocator,portallocator,storage}`).
//!
//! What is taken is held in memory and rebuilt from the Services in the store at start, so that there is one truth. A
//! [`Reservation`] gives back what it holds unless the write it was made for succeeded.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::IpNet;
use parking_lot::Mutex;
use schema::field::{Error, ErrorList, Path};
use serde_json::{Value, json};

use crate::app::text;
use crate::options::PortRange;

#[derive(Clone)]
pub struct Allocator(Arc<Mutex<Taken>>);

struct Taken {
    range: IpNet,
    ports: PortRange,
    addresses: BTreeSet<u32>,
    node_ports: BTreeSet<u16>,
    /// Where the search begins, so that an address just freed is not handed out at once.
    cursor: u32,
    port_cursor: u16,
}

/// What a write in progress has taken.
pub struct Reservation {
    allocator: Option<Allocator>,
    addresses: Vec<u32>,
    ports: Vec<u16>,
}

impl Reservation {
    #[must_use]
    pub fn none() -> Self {
        Self { allocator: None, addresses: Vec::new(), ports: Vec::new() }
    }

    /// The write succeeded: what was taken stays taken.
    pub fn keep(mut self) {
        self.allocator = None;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(allocator) = &self.allocator {
            let mut taken = allocator.0.lock();
            for address in &self.addresses {
                taken.addresses.remove(address);
            }
            for port in &self.ports {
                taken.node_ports.remove(port);
            }
        }
    }
}

fn v4(text: &str) -> Option<u32> {
    text.parse::<Ipv4Addr>().ok().map(u32::from)
}

/// The ClusterIPs (without `None`) and node ports of a Service.
fn holdings(service: &Value) -> (Vec<u32>, Vec<u16>) {
    let listed = service["spec"]["clusterIPs"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut addresses: Vec<u32> = std::iter::once(text(service, "/spec/clusterIP")).chain(listed).filter_map(v4).collect();
    addresses.dedup();
    let port = |value: &Value| value.as_u64().and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0);
    let mut ports: Vec<u16> =
        service["spec"]["ports"].as_array().into_iter().flatten().filter_map(|p| port(&p["nodePort"])).collect();
    ports.extend(port(&service["spec"]["healthCheckNodePort"]));
    ports.sort_unstable();
    ports.dedup();
    (addresses, ports)
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

impl Allocator {
    #[must_use]
    pub fn new(range: IpNet, ports: PortRange) -> Self {
        let taken = Taken {
            range,
            ports,
            addresses: BTreeSet::new(),
            node_ports: BTreeSet::new(),
            cursor: 0,
            port_cursor: ports.first,
        };
        Self(Arc::new(Mutex::new(taken)))
    }

    /// Takes note of a Service that is in the store.
    pub fn note(&self, service: &Value) {
        let (addresses, ports) = holdings(service);
        let mut taken = self.0.lock();
        taken.addresses.extend(addresses);
        taken.node_ports.extend(ports);
    }

    /// Gives back what a deleted Service held.
    pub fn release(&self, service: &Value) {
        let (addresses, ports) = holdings(service);
        let mut taken = self.0.lock();
        for address in addresses {
            taken.addresses.remove(&address);
        }
        for port in ports {
            taken.node_ports.remove(&port);
        }
    }

    /// Gives back what `old` held and `new` no longer does, after an update.
    pub fn release_difference(&self, old: &Value, new: &Value) {
        let ((had, had_ports), (has, has_ports)) = (holdings(old), holdings(new));
        let mut taken = self.0.lock();
        for address in had.into_iter().filter(|a| !has.contains(a)) {
            taken.addresses.remove(&address);
        }
        for port in had_ports.into_iter().filter(|p| !has_ports.contains(p)) {
            taken.node_ports.remove(&port);
        }
    }

    /// Fills in addresses and ports where the Service wants them, and takes those it names.
    ///
    /// # Errors
    /// The field errors of what cannot be had.
    pub fn assign(&self, service: &mut Value, old: Option<&Value>) -> Result<Reservation, ErrorList> {
        let spec = Path::new("spec");
        let (old_addresses, old_ports) = old.map(holdings).unwrap_or_default();
        let mut held = Reservation { allocator: Some(self.clone()), addresses: Vec::new(), ports: Vec::new() };
        let mut errors = ErrorList::new();
        if wants_address(service) && text(service, "/spec/clusterIP") != "None" {
            let asked = text(service, "/spec/clusterIP").to_owned();
            let result = match v4(&asked) {
                Some(address) if old_addresses.contains(&address) => Ok(None),
                Some(address) => self.take_address(address, &asked).map(Some),
                None if asked.is_empty() => self.next_address().map(Some),
                None => Err("must be a valid IP address".to_owned()),
            };
            match result {
                Ok(address) => {
                    held.addresses.extend(address);
                    if let Some(address) = address {
                        let text = IpAddr::from(Ipv4Addr::from(address)).to_string();
                        service["spec"]["clusterIP"] = text.clone().into();
                        service["spec"]["clusterIPs"] = json!([text]);
                    }
                }
                Err(why) => {
                    let value = if asked.is_empty() { json!([]) } else { json!([asked]) };
                    errors.push(Error::invalid(&spec.child("clusterIPs"), value, why));
                }
            }
        }
        if wants_node_ports(service) {
            self.assign_ports(service, &old_ports, &mut held, &mut errors);
        }
        if wants_health_port(service) {
            let at = spec.child("healthCheckNodePort");
            let asked = service["spec"]["healthCheckNodePort"].as_u64().unwrap_or(0);
            match self.port(asked, &old_ports, &mut held, false) {
                Ok(port) => service["spec"]["healthCheckNodePort"] = port.into(),
                Err(why) => errors.push(Error::invalid(&at, asked, why)),
            }
        }
        if errors.is_empty() { Ok(held) } else { Err(errors) }
    }

    fn assign_ports(&self, service: &mut Value, old: &[u16], held: &mut Reservation, errors: &mut ErrorList) {
        let path = Path::new("spec").child("ports");
        // TCP and UDP of the same number may share a node port.
        let mut shared: Vec<(u64, String, u16)> = Vec::new();
        let ports = service.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
        for (index, port) in ports.into_iter().flatten().enumerate() {
            let asked = port["nodePort"].as_u64().unwrap_or(0);
            let number = port["port"].as_u64().unwrap_or(0);
            let protocol = text(port, "/protocol").to_owned();
            let other = shared.iter().find(|(n, p, node)| {
                *p != protocol && ((asked != 0 && u64::from(*node) == asked) || (asked == 0 && *n == number))
            });
            let result = match other {
                Some((_, _, node)) => Ok(*node),
                None => self.port(asked, old, held, true),
            };
            match result {
                Ok(node) => {
                    port["nodePort"] = node.into();
                    shared.push((number, protocol, node));
                }
                Err(why) => errors.push(Error::invalid(&path.index(index).child("nodePort"), asked, why)),
            }
        }
    }

    /// The asked port, or a free one for 0.
    fn port(&self, asked: u64, old: &[u16], held: &mut Reservation, in_range: bool) -> Result<u16, String> {
        let mut taken = self.0.lock();
        let range = taken.ports;
        if asked == 0 {
            let size = u32::from(range.last - range.first) + 1;
            for step in 0..size {
                let offset = (u32::from(taken.port_cursor - range.first) + step) % size;
                let port = range.first + u16::try_from(offset).expect("smaller than the range of ports");
                if taken.node_ports.insert(port) {
                    taken.port_cursor = if port == range.last { range.first } else { port + 1 };
                    held.ports.push(port);
                    return Ok(port);
                }
            }
            return Err("range is full".to_owned());
        }
        let port = u16::try_from(asked).unwrap_or(0);
        if old.contains(&port) {
            return Ok(port);
        }
        if in_range && !(range.first..=range.last).contains(&port) {
            return Err(format!("provided port is not in the valid range. The range of valid ports is {range}"));
        }
        if !taken.node_ports.insert(port) {
            return Err("provided port is already allocated".to_owned());
        }
        held.ports.push(port);
        Ok(port)
    }

    fn take_address(&self, address: u32, asked: &str) -> Result<u32, String> {
        let mut taken = self.0.lock();
        if !taken.range.contains(&IpAddr::from(Ipv4Addr::from(address))) {
            return Err(format!("failed to allocate IP {asked}: the provided network does not match the current range"));
        }
        if !taken.addresses.insert(address) {
            return Err(format!("failed to allocate IP {asked}: provided IP is already allocated"));
        }
        Ok(address)
    }

    /// The next free address. The lower part of the range (16 to 256 addresses) is left for those who ask for a
    /// certain one, until the rest is used up (KEP-3070).
    fn next_address(&self) -> Result<u32, String> {
        let mut taken = self.0.lock();
        let IpNet::V4(range) = taken.range else { return Err("only IPv4 ranges are served".to_owned()) };
        let (first, last) = (u32::from(range.network()) + 1, u32::from(range.broadcast()).saturating_sub(1));
        let size = u64::from(last.saturating_sub(first)) + 1;
        let reserved = u32::try_from((size / 16).clamp(16, 256).min(size / 2)).unwrap_or(0);
        let start = first + reserved;
        let from = taken.cursor.clamp(start, last.max(start));
        let free = (from..=last).chain(start..from).chain(first..start).find(|address| !taken.addresses.contains(address));
        let address = free.ok_or("failed to allocate a serviceIP: range is full")?;
        taken.addresses.insert(address);
        taken.cursor = address + 1;
        Ok(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allocator() -> Allocator {
        Allocator::new("10.96.0.0/16".parse().unwrap(), "30000-32767".parse().unwrap())
    }

    #[test]
    fn addresses_are_unique_and_given_back() {
        let all = allocator();
        let mut one = json!({ "spec": { "type": "ClusterIP" } });
        all.assign(&mut one, None).unwrap().keep();
        let address = text(&one, "/spec/clusterIP").to_owned();
        let mut two = json!({ "spec": { "type": "ClusterIP", "clusterIP": address } });
        let errors = all.assign(&mut two, None).err().unwrap();
        assert!(errors[0].to_string().contains("provided IP is already allocated"), "{}", errors[0]);
        all.release(&one);
        drop(all.assign(&mut two, None).unwrap());
        all.assign(&mut two, None).unwrap().keep();
    }

    #[test]
    fn a_node_port_out_of_range_is_refused_in_upstreams_words() {
        let mut service = json!({ "spec": { "type": "NodePort", "ports": [{ "port": 80, "nodePort": 29999 }] } });
        let errors = allocator().assign(&mut service, None).err().unwrap();
        assert_eq!(
            errors[0].to_string(),
            "spec.ports[0].nodePort: Invalid value: 29999: provided port is not in the valid range. The range of valid ports is 30000-32767"
        );
    }

    #[test]
    fn tcp_and_udp_share_a_node_port() {
        let mut service = json!({ "spec": { "type": "NodePort", "ports": [
            { "port": 53, "protocol": "TCP" }, { "port": 53, "protocol": "UDP" }, { "port": 80, "protocol": "TCP" }] } });
        allocator().assign(&mut service, None).unwrap().keep();
        let ports = &service["spec"]["ports"];
        assert_eq!(ports[0]["nodePort"], ports[1]["nodePort"]);
        assert_ne!(ports[0]["nodePort"], ports[2]["nodePort"]);
    }
}
