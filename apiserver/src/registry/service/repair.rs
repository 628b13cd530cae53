//! What a server that was killed between two writes left behind: addresses and ports that no Service has, and Services
//! whose address or port is not marked as taken (upstream's repair controllers of IPs and ports).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::{Holdings, Refusal, addresses, change_ports};
use crate::app::{App, text};
use crate::http::status::{ApiError, ApiResult};

/// As upstream.
const EVERY: Duration = Duration::from_secs(180);
/// So long the Service of a fresh address may still be on its way.
const YOUNG: i64 = 60;
/// So often in a row a port must be found without a Service before it is given back.
const LEAKS: u32 = 3;

/// Repairs now and from then on.
///
/// # Errors
/// The first repair fails.
pub async fn follow(app: &Arc<App>) -> ApiResult<()> {
    let mut leaked = BTreeMap::new();
    once(app, &mut leaked).await?;
    let app = app.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = app.stop.cancelled() => return,
            }
            if let Err(error) = once(&app, &mut leaked).await {
                tracing::warn!(%error, "the addresses and ports of Services could not be checked");
            }
        }
    });
    Ok(())
}

async fn values(app: &App, group: &str, plural: &str) -> ApiResult<Vec<(Value, i64)>> {
    let resource = app.resource(group, plural)?;
    let found = app.store.range(&resource.prefix, None, 0, None).await?.items;
    let parse = |kv: &store::KeyValue| serde_json::from_slice(&kv.value).map(|value| (value, kv.mod_revision));
    found.iter().map(parse).collect::<Result<_, _>>().map_err(ApiError::internal)
}

/// Addresses are read before Services: one whose Service was being written then is seen with it.
async fn once(app: &Arc<App>, leaked: &mut BTreeMap<u16, u32>) -> ApiResult<()> {
    let taken = values(app, addresses::GROUP, addresses::PLURAL).await?;
    let services = values(app, "", "services").await?;
    let mut owners: BTreeMap<Ipv4Addr, &Value> = BTreeMap::new();
    let mut ports = Vec::new();
    for (service, _) in &services {
        let held = Holdings::of(service);
        owners.extend(held.addresses.into_iter().map(|address| (address, service)));
        ports.extend(held.ports);
    }

    let resource = app.resource(addresses::GROUP, addresses::PLURAL)?;
    for (object, revision) in &taken {
        let address = text(object, "/metadata/name").parse::<Ipv4Addr>();
        let Some(owner) = address.ok().and_then(|address| owners.remove(&address)) else {
            let ours = object["metadata"]["labels"]["ipaddress.kubernetes.io/managed-by"] == addresses::MANAGED_BY;
            let since = text(object, "/metadata/creationTimestamp").parse::<Timestamp>();
            let old = since.is_ok_and(|since| Timestamp::now().as_second() - since.as_second() > YOUNG);
            if ours && old {
                tracing::warn!(
                    address = text(object, "/metadata/name"),
                    "an address that no Service has is given back"
                );
                app.store.delete(&resource.key("", text(object, "/metadata/name")), *revision).await?;
            }
            continue;
        };
        let parent = &object["spec"]["parentRef"];
        if (text(parent, "/namespace"), text(parent, "/name"))
            != (text(owner, "/metadata/namespace"), text(owner, "/metadata/name"))
        {
            tracing::warn!(address = text(object, "/metadata/name"), "an address is used by two Services");
        }
    }
    for (address, service) in owners {
        addresses::write(app, address, text(service, "/metadata/namespace"), text(service, "/metadata/name")).await?;
    }

    let counts = std::mem::take(leaked);
    let repaired = change_ports(app, false, |all| {
        let unowned: Vec<u16> = all.taken().filter(|port| !ports.contains(port)).collect();
        ports.iter().for_each(|port| all.mark(*port));
        let count = |port: &u16| counts.get(port).copied().unwrap_or(0) + 1;
        unowned.iter().filter(|port| count(port) >= LEAKS).for_each(|port| all.free(*port));
        Ok(unowned.iter().map(|port| (*port, count(port))).filter(|(_, count)| *count < LEAKS).collect())
    });
    *leaked = repaired.await.map_err(|refusal| match refusal {
        Refusal::Failed(error) => error,
        Refusal::Fields(errors) => ApiError::internal(errors.iter().map(ToString::to_string).collect::<String>()),
    })?;
    Ok(())
}
