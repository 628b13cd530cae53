//! ClusterIPs: each one taken is an IPAddress object of that name, which only one can create (KEP-1880).

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde_json::{Value, json};
use store::WriteOutcome;

use super::{Holdings, Refusal};
use crate::app::{App, text};
use crate::http::answer::to_json;
use crate::http::status::{ApiError, ApiResult};
use crate::registry::object;
use crate::registry::write::{ATTEMPTS, live};

pub const GROUP: &str = "networking.k8s.io";
pub const PLURAL: &str = "ipaddresses";
pub const MANAGED_BY: &str = "ipallocator.k8s.io";

/// The addresses there are, and where the lower part of the range ends that is left to those who ask for a certain one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: u32,
    /// The first of the upper part (KEP-3070).
    upper: u32,
    last: u32,
}

impl Range {
    fn of(range: IpNet) -> Result<Self, ApiError> {
        let IpNet::V4(range) = range else { return Err(ApiError::internal("only IPv4 service ranges are served")) };
        let (first, last) = (u32::from(range.network()) + 1, u32::from(range.broadcast()).saturating_sub(1));
        let size = u64::from(last.saturating_sub(first)) + 1;
        // Upstream: at least 16, at most 256, in between a sixteenth; none where the range is small.
        let lower = if size < 16 { 0 } else { u32::try_from((size / 16).clamp(16, 256)).unwrap_or(256) };
        let lower = if u64::from(lower) >= size { 0 } else { lower };
        Ok(Self { first, upper: first + lower, last })
    }

    /// All of it, the upper part first, each part from a random place on.
    fn candidates(self, random: u32) -> impl Iterator<Item = Ipv4Addr> {
        let turned = move |from: u32, to: u32| {
            let start = from + random % (to - from).max(1);
            (start..to).chain(from..start)
        };
        turned(self.upper, self.last + 1).chain(turned(self.first, self.upper)).map(Ipv4Addr::from)
    }
}

/// The object that stands for a taken address.
pub fn object(address: Ipv4Addr, namespace: &str, name: &str) -> Value {
    json!({
        "kind": "IPAddress",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {
            "name": address.to_string(),
            "uid": uuid::Uuid::new_v4().to_string(),
            "creationTimestamp": object::now(),
            "labels": { "ipaddress.kubernetes.io/ip-family": "IPv4", "ipaddress.kubernetes.io/managed-by": MANAGED_BY },
        },
        "spec": { "parentRef": { "group": "", "resource": "services", "namespace": namespace, "name": name } },
    })
}

/// Writes the object; false: the address is taken.
pub async fn write(app: &App, address: Ipv4Addr, namespace: &str, name: &str) -> ApiResult<bool> {
    let key = app.resource(GROUP, PLURAL)?.key("", &address.to_string());
    let outcome = app.store.put(&key, to_json(&object(address, namespace, name)), 0).await?;
    Ok(matches!(outcome, WriteOutcome::Done(_)))
}

async fn write_for(app: &App, address: Ipv4Addr, service: &Value) -> ApiResult<bool> {
    write(app, address, text(service, "/metadata/namespace"), text(service, "/metadata/name")).await
}

/// Takes a certain address.
pub async fn take(
    app: &App,
    address: Ipv4Addr,
    service: &Value,
    dry_run: bool,
) -> Result<Result<Ipv4Addr, String>, Refusal> {
    let range = Range::of(app.options.service_cluster_ip_range)?;
    let asked = text(service, "/spec/clusterIP");
    let refused = |why: &str| Ok(Err(format!("failed to allocate IP {asked}: {why}")));
    if !(range.first..=range.last).contains(&u32::from(address)) {
        // Upstream looks for the range first, and where it only tries takes another way.
        return match dry_run {
            true => refused(&format!(
                "the provided IP ({address}) is not in the valid range. The range of valid IPs is {}",
                app.options.service_cluster_ip_range
            )),
            false => refused("the provided network does not match the current range"),
        };
    }
    // Another server may be writing the same Service: at the first start they all write `kubernetes`. Then they take turns.
    for _ in 0..ATTEMPTS {
        if dry_run || write_for(app, address, service).await? {
            return Ok(Ok(address));
        }
        match adopt(app, address, service).await? {
            Adopted::Yes => return Ok(Ok(address)),
            Adopted::No => return refused("provided IP is already allocated"),
            Adopted::Changed => {}
        }
    }
    refused("provided IP is already allocated")
}

/// Takes a free address.
pub async fn next(app: &App, service: &Value, dry_run: bool) -> Result<Result<Ipv4Addr, String>, Refusal> {
    if dry_run {
        // As upstream: which one it would be is anybody's guess, so it is the range's own.
        return Ok(match app.options.service_cluster_ip_range.network() {
            IpAddr::V4(address) => Ok(address),
            IpAddr::V6(_) => Err("only IPv4 service ranges are served".to_owned()),
        });
    }
    let resource = app.resource(GROUP, PLURAL)?;
    let random = u32::from_le_bytes(uuid::Uuid::new_v4().as_bytes()[..4].try_into().expect("four of sixteen bytes"));
    for address in Range::of(app.options.service_cluster_ip_range)?.candidates(random) {
        // The cache spares a full range from being asked for one by one; the store decides.
        if app.caches.peek(&resource, "", &address.to_string()).await?.is_none()
            && write_for(app, address, service).await?
        {
            return Ok(Ok(address));
        }
    }
    Ok(Err("failed to allocate a serviceIP: range is full".to_owned()))
}

enum Adopted {
    Yes,
    /// It is another Service's.
    No,
    /// Somebody else was faster; it may be free by now.
    Changed,
}

/// Takes over what an earlier try to write the same Service left behind when its server was killed.
async fn adopt(app: &App, address: Ipv4Addr, service: &Value) -> ApiResult<Adopted> {
    let key = app.resource(GROUP, PLURAL)?.key("", &address.to_string());
    let (Some(found), _) = app.store.get(&key, None).await? else { return Ok(Adopted::Changed) };
    let (namespace, name) = (text(service, "/metadata/namespace"), text(service, "/metadata/name"));
    if parent(&found.value)? != (namespace.to_owned(), name.to_owned()) {
        return Ok(Adopted::No);
    }
    // It has it rightly: there is such a Service.
    if live(app, "services", namespace, name)
        .await?
        .is_some_and(|there| Holdings::of(&there).addresses.contains(&address))
    {
        return Ok(Adopted::No);
    }
    // Written anew, so that whoever is about to release it finds that it has changed.
    let outcome = app.store.put(&key, to_json(&object(address, namespace, name)), found.mod_revision).await?;
    Ok(if let WriteOutcome::Done(_) = outcome { Adopted::Yes } else { Adopted::Changed })
}

/// The namespace and name of the Service that an address belongs to.
fn parent(stored: &[u8]) -> ApiResult<(String, String)> {
    let object: Value = serde_json::from_slice(stored).map_err(ApiError::internal)?;
    let of = |field| text(&object, field).to_owned();
    Ok((of("/spec/parentRef/namespace"), of("/spec/parentRef/name")))
}

/// Removes an address's object unless its Service has the address (again).
pub async fn release(app: &App, address: Ipv4Addr) -> ApiResult<()> {
    let key = app.resource(GROUP, PLURAL)?.key("", &address.to_string());
    let (Some(found), _) = app.store.get(&key, None).await? else { return Ok(()) };
    let (namespace, name) = parent(&found.value)?;
    let service = live(app, "services", &namespace, &name).await?;
    if service.is_some_and(|service| Holdings::of(&service).addresses.contains(&address)) {
        return Ok(());
    }
    // Whoever was faster has released it, or holds it now.
    app.store.delete(&key, found.mod_revision).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn range(text: &str) -> Range {
        Range::of(text.parse().unwrap()).unwrap()
    }

    #[test]
    fn the_upper_part_comes_first_and_nothing_twice() {
        let small = range("10.0.0.0/24");
        assert_eq!(small.upper - small.first, 16);
        assert_eq!(range("10.96.0.0/12").upper - range("10.96.0.0/12").first, 256);
        assert_eq!(range("10.0.0.0/29").upper, range("10.0.0.0/29").first);
        for random in [0, 7, 237, u32::MAX] {
            let all: Vec<Ipv4Addr> = small.candidates(random).collect();
            assert_eq!(all.len(), 254);
            assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 254);
            assert!(all[..238].iter().all(|address| u32::from(*address) >= small.upper));
            assert!(all.iter().all(|address| !matches!(address.octets()[3], 0 | 255)));
        }
    }
}
