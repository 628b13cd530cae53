//! ClusterIPs: each one taken is an IPAddress object of that name, which only one can create (KEP-1880).

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use serde_json::{Value, json};
use store::WriteOutcome;
use store::cache::{At, ListQuery};

use super::{Holdings, Refusal};
use crate::app::{App, text};
use crate::http::answer::{to_json, value_of};
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
    fn of(range: Ipv4Net) -> Self {
        let (first, last) =
            (u32::from(range.network()).saturating_add(1), u32::from(range.broadcast()).saturating_sub(1));
        let size = u64::from(last.saturating_sub(first)) + 1;
        // Upstream: at least 16, at most 256, in between a sixteenth; none where the range is small.
        let lower = if size < 16 { 0 } else { u32::try_from((size / 16).clamp(16, 256)).unwrap_or(256) };
        let lower = if u64::from(lower) >= size { 0 } else { lower };
        Self { first, upper: first + lower, last }
    }

    /// All of it, the upper part first, each part from a random place on.
    fn candidates(self, random: u32) -> impl Iterator<Item = Ipv4Addr> {
        let turned = move |from: u32, to: u32| {
            let start = from + random % to.saturating_sub(from).max(1);
            (start..to).chain(from..start)
        };
        turned(self.upper, self.last + 1).chain(turned(self.first, self.upper)).map(Ipv4Addr::from)
    }
}

/// What addresses are given out of: the range of the flags, and those of the ServiceCIDRs that are ready (KEP-1880).
async fn ranges(app: &App) -> ApiResult<Vec<Ipv4Net>> {
    let IpNet::V4(own) = app.options.service_cluster_ip_range else {
        return Err(ApiError::internal("only IPv4 service ranges are served"));
    };
    let resource = app.resource(GROUP, "servicecidrs")?;
    let query = ListQuery { at: At::NotOlderThan(0), prefix: &resource.prefix, start: None, limit: 0, filter: None };
    let list = app.caches.of(&resource).list(query).await?;
    let objects: ApiResult<Vec<Value>> = list.items.iter().map(|object| value_of(&resource, object)).collect();
    let mut ranges = vec![own.trunc()];
    ranges
        .extend(objects?.iter().filter(|range| is_ready(range)).flat_map(cidrs).filter(|range| *range != own.trunc()));
    Ok(ranges)
}

fn is_ready(range: &Value) -> bool {
    let mut conditions = range["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn cidrs(range: &Value) -> Vec<Ipv4Net> {
    let all = range["spec"]["cidrs"].as_array().into_iter().flatten();
    all.filter_map(|cidr| Some(cidr.as_str()?.parse::<Ipv4Net>().ok()?.trunc())).collect()
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
    let asked = text(service, "/spec/clusterIP");
    let refused = |why: &str| Ok(Err(format!("failed to allocate IP {asked}: {why}")));
    let outside = |range: &dyn Display| {
        refused(&format!("the provided IP ({address}) is not in the valid range. The range of valid IPs is {range}"))
    };
    let ranges = ranges(app).await?;
    let Some(network) = ranges.iter().find(|range| range.contains(&address)) else {
        // Upstream looks for the range first, and where it only tries takes another way.
        return match dry_run {
            true => outside(&app.options.service_cluster_ip_range),
            false => refused("the provided network does not match the current range"),
        };
    };
    let range = Range::of(*network);
    if !(range.first..=range.last).contains(&u32::from(address)) {
        return outside(network);
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
    let mut ranges = ranges(app).await?;
    // As upstream, none of them comes first.
    let first = random as usize % ranges.len();
    ranges.rotate_left(first);
    for address in ranges.into_iter().flat_map(|range| Range::of(range).candidates(random)) {
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
        Range::of(text.parse().unwrap())
    }

    #[test]
    fn ranges_are_taken_from_what_is_ready() {
        let range = |status: &str| {
            json!({ "spec": { "cidrs": ["203.0.113.7/24", "2001:db8::/64"] },
            "status": { "conditions": [{ "type": "Other", "status": "True" }, { "type": "Ready", "status": status }] } })
        };
        assert!(is_ready(&range("True")) && !is_ready(&range("False")) && !is_ready(&json!({})));
        assert_eq!(cidrs(&range("True")), ["203.0.113.0/24".parse().unwrap()]);
        // Ranges without room for anybody.
        for tiny in ["10.0.0.0/31", "10.0.0.0/32", "255.255.255.255/32", "0.0.0.0/32"] {
            assert_eq!(self::range(tiny).candidates(7).count(), 0, "{tiny}");
        }
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
