//! Where a proxied request goes.

use std::net::IpAddr;

use crate::app::{Call, text};
use crate::http::backend::{Backend, Scheme};
use crate::http::kubelet;
use crate::http::status::{ApiError, ApiResult};
use crate::outbound::resolve;
use crate::registry::write;

/// What is said of addresses that are nowhere to go.
const NOT_ALLOWED: &str = "address not allowed";

/// `name`, `name:port` or `scheme:name:port` (`apimachinery/pkg/util/net.SplitSchemeNamePort`).
struct Id<'a> {
    scheme: Scheme,
    name: &'a str,
    /// A number or a name; empty when there is none.
    port: &'a str,
}

impl<'a> Id<'a> {
    fn parse(kind: &str, text: &'a str) -> ApiResult<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let (scheme, name, port) = match parts.as_slice() {
            [name] => ("", *name, ""),
            [name, port] => ("", *name, *port),
            [scheme, name, port] => (*scheme, *name, *port),
            _ => ("?", "", ""),
        };
        let scheme = match scheme {
            "" | "http" => Some(Scheme::Http),
            "https" => Some(Scheme::Https),
            _ => None,
        };
        match scheme {
            Some(scheme) if !name.is_empty() => Ok(Self { scheme, name, port }),
            _ => Err(ApiError::bad_request(format!("invalid {kind} request {text:?}"))),
        }
    }

    fn backend(&self, host: &str, port: u16) -> Backend {
        Backend { host: host.to_owned(), port, scheme: self.scheme, path: String::new() }
    }

    /// The port's number, `otherwise` when there is none.
    fn number(&self, otherwise: impl FnOnce() -> Option<u64>) -> ApiResult<u16> {
        let number = if self.port.is_empty() { otherwise() } else { self.port.parse().ok() };
        let usual = if self.scheme == Scheme::Https { 443 } else { 80 };
        let number = if self.port.is_empty() { number.or(Some(usual)) } else { number };
        let port = number.and_then(|number| u16::try_from(number).ok());
        port.ok_or_else(|| ApiError::unavailable(format!("error trying to reach service: unknown port {}", self.port)))
    }
}

/// The first port that a container of the pod names, unless the request does.
pub async fn pod(call: &Call) -> ApiResult<Backend> {
    let id = Id::parse("pod", &call.info.name)?;
    let key = call.resource.key(&call.info.namespace, id.name);
    let pod = write::load(call, &key).await?.ok_or_else(|| call.not_found(id.name))?.value;
    let host = text(&pod, "/status/podIP");
    if !host.parse().is_ok_and(|address| is_global_unicast(&address)) {
        return Err(ApiError::bad_request(NOT_ALLOWED));
    }
    let containers = pod["spec"]["containers"].as_array();
    let first = || containers.into_iter().flatten().find_map(|c| c.pointer("/ports/0/containerPort")?.as_u64());
    Ok(id.backend(host, id.number(first)?))
}

/// Go's `net.IP.IsGlobalUnicast`.
fn is_global_unicast(address: &IpAddr) -> bool {
    let address = &address.to_canonical();
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !address.is_unspecified() && !address.is_loopback() && !address.is_multicast() && !link_local
}

/// A pod behind the Service, from its EndpointSlices. Addresses that are no pods' are nowhere to go: whoever may write slices
/// would else reach what only this server can.
pub async fn service(call: &Call) -> ApiResult<Backend> {
    let namespace = &call.info.namespace;
    let id = Id::parse("service", &call.info.name)?;
    let mut wanted = id.port.to_owned();
    if let Ok(number) = id.port.parse::<u64>() {
        let key = call.resource.key(namespace, id.name);
        let service = write::load(call, &key).await?.ok_or_else(|| call.not_found(id.name))?.value;
        let port = service["spec"]["ports"].as_array().into_iter().flatten().find(|p| p["port"] == number);
        let missing = || format!("no service port {number} found for service {:?}", id.name);
        wanted = text(port.ok_or_else(|| ApiError::unavailable(missing()))?, "/name").to_owned();
    } else {
        let key = call.resource.key(namespace, id.name);
        write::load(call, &key).await?.ok_or_else(|| call.not_found(id.name))?;
    }
    let slices = resolve::slices(&call.app, namespace, id.name).await?;
    let mut candidates: Vec<(&str, &str, u16)> = Vec::new();
    for (endpoint, port) in slices.iter().flat_map(|slice| resolve::ready(slice, &wanted)) {
        let target = &endpoint["targetRef"];
        if target["kind"] != "Pod" || target["namespace"] != namespace.as_str() {
            continue;
        }
        if let (Some(address), Some(pod)) = (endpoint["addresses"][0].as_str(), target["name"].as_str()) {
            candidates.push((pod, address, port));
        }
    }
    // Any of them, so that clients spread over all.
    let start = usize::try_from(uuid::Uuid::new_v4().as_u128() % candidates.len().max(1) as u128).unwrap_or(0);
    let (before, after) = candidates.split_at(start.min(candidates.len()));
    for (pod, address, port) in after.iter().chain(before) {
        let Some(pod) = write::live(&call.app, "pods", namespace, pod).await? else { continue };
        let own = pod["status"]["podIPs"].as_array().into_iter().flatten().any(|ip| ip["ip"] == *address);
        if own {
            return Ok(id.backend(address, *port));
        }
    }
    let name = if slices.is_empty() { id.name } else { &call.info.name };
    Err(ApiError::unavailable(format!("no endpoints available for service {name:?}")))
}

/// The kubelet, unless another port of the node is named.
pub async fn node(call: &Call) -> ApiResult<Backend> {
    let id = Id::parse("node", &call.info.name)?;
    let kubelet = kubelet::node(&call.app, id.name).await?;
    proxyable(&kubelet.host).await.map_err(ApiError::bad_request)?;
    if id.port.is_empty() || id.port.parse() == Ok(kubelet.port) {
        return Ok(kubelet);
    }
    Ok(id.backend(&kubelet.host, id.number(|| None)?))
}

/// That no address of a host leads to this machine itself or to its link: whoever may write a node's status would else reach
/// what only this server can.
async fn proxyable(host: &str) -> Result<(), String> {
    let addresses: Vec<IpAddr> = match host.parse() {
        Ok(address) => vec![address],
        Err(_) => {
            let found = tokio::net::lookup_host((host, 0)).await;
            found.map_err(|error| format!("lookup {host}: {error}"))?.map(|socket| socket.ip()).collect()
        }
    };
    match &addresses[..] {
        [] => Err("no addresses for hostname".to_owned()),
        all if all.iter().all(is_global_unicast) => Ok(()),
        _ => Err(NOT_ALLOWED.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_upstream_reads_them() {
        for (text, expected) in [
            ("a", Some((Scheme::Http, "a", ""))),
            ("a:80", Some((Scheme::Http, "a", "80"))),
            ("a:web", Some((Scheme::Http, "a", "web"))),
            ("https:a:", Some((Scheme::Https, "a", ""))),
            ("http:a:80", Some((Scheme::Http, "a", "80"))),
            (":a:80", Some((Scheme::Http, "a", "80"))),
            ("ftp:a:80", None),
            (":80", None),
            ("http:a:80:1", None),
        ] {
            let parsed = Id::parse("pod", text);
            assert_eq!(parsed.as_ref().ok().map(|id| (id.scheme, id.name, id.port)), expected, "{text}");
            if let Err(error) = parsed {
                assert_eq!(error.message, format!("invalid pod request {text:?}"));
            }
        }
    }

    #[test]
    fn only_addresses_that_pods_can_have() {
        for (address, good) in [
            ("11.0.1.2", true),
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("0.0.0.0", false),
            ("224.0.0.1", false),
            ("fd00::1", true),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:11.0.1.2", true),
            ("fe80::1", false),
        ] {
            assert_eq!(is_global_unicast(&address.parse().expect("an address")), good, "{address}");
        }
    }

    #[tokio::test]
    async fn nodes_are_elsewhere() {
        assert_eq!(proxyable("10.0.0.10").await, Ok(()));
        for host in ["127.0.0.1", "169.254.169.254", "localhost"] {
            assert_eq!(proxyable(host).await, Err(NOT_ALLOWED.to_owned()), "{host}");
        }
    }
}
