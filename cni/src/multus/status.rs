//! The annotation `k8s.v1.cni.cncf.io/network-status`: what a pod's interfaces are (pure).

use serde::Serialize;
use serde_json::{Map, Value, json};

/// Standard section 4.3.1; the order of fields is that of upstream's Go type.
#[derive(Debug, Serialize)]
pub struct NetworkStatus {
    name: String,
    interface: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ips: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    mac: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    default: bool,
    dns: Map<String, Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gateway: Vec<String>,
}

/// What the result of network `name` means for the pod's `interface`.
pub fn of_result(name: &str, interface: &str, default: bool, result: &Value) -> NetworkStatus {
    let list = |key: &str| result[key].as_array().cloned().unwrap_or_default();
    // Only interfaces inside the pod have a sandbox.
    let inside = |link: &&Value| link["sandbox"].as_str().is_some_and(|sandbox| !sandbox.is_empty());
    let links = list("interfaces");
    let link = links.iter().filter(inside).find(|link| link["name"] == interface).cloned().unwrap_or_default();
    let ips = list("ips").iter().filter_map(|ip| Some(ip["address"].as_str()?.split('/').next()?.to_owned())).collect();
    let leads_out = |route: &&Value| matches!(route["dst"].as_str(), Some("0.0.0.0/0" | "::/0"));
    let gateway =
        list("routes").iter().filter(leads_out).filter_map(|route| Some(route["gw"].as_str()?.to_owned())).collect();
    let dns = result["dns"].as_object().cloned().unwrap_or_default();
    NetworkStatus {
        name: name.to_owned(),
        interface: interface.to_owned(),
        ips,
        mac: link["mac"].as_str().unwrap_or_default().to_owned(),
        mtu: link["mtu"].as_u64().filter(|mtu| *mtu > 0),
        default,
        dns,
        gateway,
    }
}

/// The annotation's text: objects indented by four, in brackets, as upstream writes it.
pub fn text(all: &[NetworkStatus]) -> String {
    let one = |status: &NetworkStatus| {
        let mut text = Vec::new();
        let format = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        let mut writer = serde_json::Serializer::with_formatter(&mut text, format);
        status.serialize(&mut writer).expect("plain data becomes JSON");
        String::from_utf8(text).expect("JSON is UTF-8")
    };
    format!("[{}]", all.iter().map(one).collect::<Vec<_>>().join(","))
}

/// The Event that tells of one attachment.
pub fn added(interface: &str, name: &str, result: &Value) -> String {
    let ips: Vec<_> = result["ips"].as_array().into_iter().flatten().filter_map(|ip| ip["address"].as_str()).collect();
    format!("Add {interface} [{}] from {name}", ips.join(" "))
}

/// Turns what came of an ADD into the result the caller gets, in the caller's version of the specification.
pub fn answer(mut result: Value, version: &str) -> Value {
    result["cniVersion"] = json!(version);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_upstream_writes_it() {
        let first = json!({
            "interfaces": [{ "name": "cni0", "mac": "aa:00:00:00:00:01" },
                { "name": "eth0", "mac": "aa:00:00:00:00:02", "sandbox": "/run/netns/x" }],
            "ips": [{ "address": "11.0.1.2/24" }], "routes": [{ "dst": "0.0.0.0/0", "gw": "11.0.1.1" }], "dns": {},
        });
        let second = json!({
            "interfaces": [{ "name": "net1", "mac": "aa:00:00:00:00:03", "sandbox": "/run/netns/x" }],
            "ips": [{ "address": "172.254.1.200/24" }],
        });
        let all = [of_result("cbr0", "eth0", true, &first), of_result("default/m", "net1", false, &second)];
        let wanted = r#"[{
    "name": "cbr0",
    "interface": "eth0",
    "ips": [
        "11.0.1.2"
    ],
    "mac": "aa:00:00:00:00:02",
    "default": true,
    "dns": {},
    "gateway": [
        "11.0.1.1"
    ]
},{
    "name": "default/m",
    "interface": "net1",
    "ips": [
        "172.254.1.200"
    ],
    "mac": "aa:00:00:00:00:03",
    "dns": {}
}]"#;
        assert_eq!(text(&all), wanted);
        assert_eq!(added("net1", "default/m", &second), "Add net1 [172.254.1.200/24] from default/m");
    }
}
