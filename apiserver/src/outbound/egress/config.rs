//! EgressSelectorConfiguration (`apiserver.k8s.io`), and whether it makes sense (upstream's `config.go`).

use std::path::Path as File;

use schema::field::{Error, ErrorList, Path};
use serde::Deserialize;
use serde_json::json;

use super::Network;
use crate::access::file::{Shape, decode};

const GROUP: &str = "apiserver.k8s.io";

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Configuration {
    egress_selections: Option<Vec<Selection>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Selection {
    pub name: String,
    pub connection: Connection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Connection {
    pub proxy_protocol: String,
    pub transport: Option<Transport>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Transport {
    pub tcp: Option<Tcp>,
    pub uds: Option<Uds>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Tcp {
    pub url: String,
    pub tls_config: Option<Tls>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Uds {
    pub uds_name: String,
}

/// Names of files, and whom to expect.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Tls {
    pub ca_bundle: String,
    pub client_key: String,
    pub client_cert: String,
    pub tls_server_name: String,
}

const TLS: Shape = Shape::Object(&[
    ("caBundle", Shape::Leaf),
    ("clientKey", Shape::Leaf),
    ("clientCert", Shape::Leaf),
    ("tlsServerName", Shape::Leaf),
]);
const TRANSPORT: Shape = Shape::Object(&[
    ("tcp", Shape::Object(&[("url", Shape::Leaf), ("tlsConfig", TLS)])),
    ("uds", Shape::Object(&[("udsName", Shape::Leaf)])),
]);
const SELECTION: Shape = Shape::Object(&[
    ("name", Shape::Leaf),
    ("connection", Shape::Object(&[("proxyProtocol", Shape::Leaf), ("transport", TRANSPORT)])),
]);
const CONFIGURATION: Shape = Shape::Object(&[("egressSelections", Shape::List(&SELECTION))]);

/// Reads a file's text.
///
/// # Errors
/// It is no such configuration, or has unknown fields.
pub fn parse(text: &str) -> anyhow::Result<Vec<Selection>> {
    let versions = ["v1beta1", "v1alpha1"];
    let read: Configuration = decode(text, (GROUP, "EgressSelectorConfiguration"), &versions, &CONFIGURATION)?;
    let mut selections = read.egress_selections.unwrap_or_default();
    // What it was called once.
    selections.iter_mut().filter(|one| one.name == "master").for_each(|one| one.name = "controlplane".to_owned());
    Ok(selections)
}

/// All that is wrong, in upstream's words and with its paths.
#[must_use]
pub fn validate(selections: &[Selection]) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("service").child("connection");
    for Selection { connection, .. } in selections {
        let transport = connection.transport.as_ref();
        match connection.proxy_protocol.as_str() {
            "Direct" => {
                if transport.is_some() {
                    let why = "config must be absent for direct connect";
                    errors.push(Error::invalid(&path.child("transport"), "direct", why));
                }
            }
            "HTTPConnect" => http_connect(transport, &path, &mut errors),
            "GRPC" => match transport {
                None => errors.push(Error::required(&path.child("transport"), "transport must be set for GRPC")),
                Some(Transport { uds: Some(uds), .. }) => socket(uds, &path, &mut errors),
                Some(_) => errors.push(Error::required(&path.child("uds"), "UDS must be set with GRPC")),
            },
            other => {
                let known = ["Direct", "HTTPConnect", "GRPC"];
                errors.push(Error::not_supported(&path.child("protocol"), other, &known));
            }
        }
    }
    let mut seen = Vec::new();
    for (index, Selection { name, .. }) in selections.iter().enumerate() {
        let name = name.to_lowercase();
        if seen.contains(&name) {
            errors.push(Error::duplicate(&path.index(index), name));
            continue;
        }
        if Network::parse(&name).is_none() {
            errors.push(Error::not_supported(&path, name.clone(), &["cluster", "controlplane", "etcd"]));
        }
        seen.push(name);
    }
    errors
}

fn http_connect(transport: Option<&Transport>, path: &Path, errors: &mut ErrorList) {
    match transport {
        None => errors.push(Error::required(&path.child("transport"), "transport must be set for HTTPConnect")),
        Some(Transport { tcp: Some(tcp), uds: Some(_) }) => {
            errors.push(Error::invalid_as(&path.child("tcp"), shown(tcp), "TCP and UDS cannot both be set"));
        }
        Some(Transport { tcp: None, uds: None }) => {
            errors.push(Error::required(&path.child("tcp"), "One of TCP or UDS must be set"));
        }
        Some(Transport { tcp: Some(tcp), uds: None }) => http(tcp, path, errors),
        Some(Transport { tcp: None, uds: Some(uds) }) => socket(uds, path, errors),
    }
}

/// As Go's JSON has a struct whose fields are not named.
fn shown(tcp: &Tcp) -> String {
    let tls = tcp.tls_config.as_ref().map_or("null".to_owned(), |tls| {
        let [bundle, key, certificate, name] =
            [&tls.ca_bundle, &tls.client_key, &tls.client_cert, &tls.tls_server_name].map(|text| json!(text));
        format!(r#"{{"CABundle":{bundle},"ClientKey":{key},"ClientCert":{certificate},"TLSServerName":{name}}}"#)
    });
    format!(r#"{{"URL":{},"TLSConfig":{tls}}}"#, json!(tcp.url))
}

fn socket(uds: &Uds, path: &Path, errors: &mut ErrorList) {
    if uds.uds_name.is_empty() {
        errors.push(Error::invalid(&path.child("udsName"), "nil", "must be present for UDS connections"));
    }
}

fn http(tcp: &Tcp, path: &Path, errors: &mut ErrorList) {
    let at = path.child("tlsConfig");
    if tcp.url.starts_with("http://") {
        if tcp.tls_config.is_some() {
            errors.push(Error::invalid(&at, "nil", "config must not be present when using HTTP"));
        }
    } else if tcp.url.starts_with("https://") {
        match &tcp.tls_config {
            None => errors.push(Error::required(&at, "TLSConfig must be present when using HTTPS")),
            Some(tls) => files(tls, &at, errors),
        }
    } else {
        let why = "supported connection protocols are http:// and https://";
        errors.push(Error::invalid(&path.child("url"), tcp.url.as_str(), why));
    }
}

fn files(tls: &Tls, path: &Path, errors: &mut ErrorList) {
    // The last is upstream's own slip.
    for (field, file, needed, missing) in [
        ("caBundle", &tls.ca_bundle, "", "TLS config ca bundle does not exist"),
        ("clientCert", &tls.client_cert, "Using TLS requires clientCert", "TLS client cert does not exist"),
        ("clientKey", &tls.client_key, "Using TLS requires requires clientKey", "TLS client key does not exist"),
    ] {
        let at = path.child(field);
        if !file.is_empty() && !File::new(file).exists() {
            errors.push(Error::invalid(&at, file.as_str(), missing));
        } else if file.is_empty() && !needed.is_empty() {
            errors.push(Error::invalid(&at, "nil", needed));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::access::file::aggregate;

    fn read(version: &str, selections: &Value) -> anyhow::Result<Vec<Selection>> {
        let kind = "EgressSelectorConfiguration";
        parse(&json!({ "apiVersion": version, "kind": kind, "egressSelections": selections }).to_string())
    }

    fn errors(selections: &Value) -> String {
        let errors = validate(&read("apiserver.k8s.io/v1beta1", selections).unwrap());
        if errors.is_empty() { String::new() } else { aggregate(&errors) }
    }

    #[test]
    fn validation() {
        let here = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let tls = |ca: &str, certificate: &str, key: &str| json!({ "url": "https://p:1", "tlsConfig": { "caBundle": ca, "clientCert": certificate, "clientKey": key } });
        let of = |protocol: &str, transport: Value| {
            let mut connection = json!({ "proxyProtocol": protocol });
            if !transport.is_null() {
                connection["transport"] = transport;
            }
            connection
        };
        let tcp = |tcp: Value| of("HTTPConnect", json!({ "tcp": tcp }));
        for (connection, expected) in [
            (of("Direct", Value::Null), ""),
            (tcp(json!({ "url": "http://p:1" })), ""),
            (tcp(tls("", here, here)), ""),
            (of("HTTPConnect", json!({ "uds": { "udsName": "/s" } })), ""),
            (of("GRPC", json!({ "uds": { "udsName": "/s" } })), ""),
            (
                of("SOCKS", Value::Null),
                r#"service.connection.protocol: Unsupported value: "SOCKS": supported values: "Direct", "HTTPConnect", "GRPC""#,
            ),
            (
                of("Direct", json!({})),
                r#"service.connection.transport: Invalid value: "direct": config must be absent for direct connect"#,
            ),
            (
                of("HTTPConnect", Value::Null),
                "service.connection.transport: Required value: transport must be set for HTTPConnect",
            ),
            (of("HTTPConnect", json!({})), "service.connection.tcp: Required value: One of TCP or UDS must be set"),
            (
                of("HTTPConnect", json!({ "tcp": { "url": "http://p:1" }, "uds": { "udsName": "/s" } })),
                r#"service.connection.tcp: Invalid value: {"URL":"http://p:1","TLSConfig":null}: TCP and UDS cannot both be set"#,
            ),
            (
                of("HTTPConnect", json!({ "uds": {} })),
                r#"service.connection.udsName: Invalid value: "nil": must be present for UDS connections"#,
            ),
            (of("GRPC", Value::Null), "service.connection.transport: Required value: transport must be set for GRPC"),
            (
                of("GRPC", json!({ "tcp": { "url": "http://p:1" } })),
                "service.connection.uds: Required value: UDS must be set with GRPC",
            ),
            (
                tcp(json!({ "url": "p:1" })),
                r#"service.connection.url: Invalid value: "p:1": supported connection protocols are http:// and https://"#,
            ),
            (
                tcp(json!({ "url": "http://p:1", "tlsConfig": {} })),
                r#"service.connection.tlsConfig: Invalid value: "nil": config must not be present when using HTTP"#,
            ),
            (
                tcp(json!({ "url": "https://p:1" })),
                "service.connection.tlsConfig: Required value: TLSConfig must be present when using HTTPS",
            ),
            (
                tcp(tls("/none", "", "/none")),
                "[service.connection.tlsConfig.caBundle: Invalid value: \"/none\": TLS config ca bundle does not exist, \
                 service.connection.tlsConfig.clientCert: Invalid value: \"nil\": Using TLS requires clientCert, \
                 service.connection.tlsConfig.clientKey: Invalid value: \"/none\": TLS client key does not exist]",
            ),
            (
                tcp(tls("", "/none", "")),
                "[service.connection.tlsConfig.clientCert: Invalid value: \"/none\": TLS client cert does not exist, \
                 service.connection.tlsConfig.clientKey: Invalid value: \"nil\": Using TLS requires requires clientKey]",
            ),
        ] {
            assert_eq!(errors(&json!([{ "name": "cluster", "connection": connection }])), expected, "{connection}");
        }
        let named = |names: &[&str]| -> Value {
            names.iter().map(|name| json!({ "name": name, "connection": of("Direct", Value::Null) })).collect()
        };
        for (names, expected) in [
            (&["cluster", "etcd", "ControlPlane"][..], ""),
            (&["cluster", "Cluster"], "service.connection[1]: Duplicate value: \"cluster\""),
            (
                &["master", "Master"],
                r#"service.connection: Unsupported value: "master": supported values: "cluster", "controlplane", "etcd""#,
            ),
        ] {
            assert_eq!(errors(&named(names)), expected, "{names:?}");
        }
        for version in ["v1alpha1", "v1beta1"] {
            let old = read(&format!("apiserver.k8s.io/{version}"), &named(&["master"])).unwrap();
            assert!(validate(&old).is_empty() && old[0].name == "controlplane");
        }
        let why = |version: &str, selections: &Value| read(version, selections).unwrap_err().to_string();
        assert_eq!(
            why("apiserver.config.k8s.io/v1", &json!([])),
            "no kind \"EgressSelectorConfiguration\" is registered for version \"apiserver.config.k8s.io/v1\""
        );
        assert_eq!(
            why("apiserver.k8s.io/v1beta1", &json!([{ "name": "etcd", "connection": { "type": "x" } }])),
            "strict decoding error: unknown field \"egressSelections[0].connection.type\""
        );
        assert!(read("apiserver.k8s.io/v1beta1", &Value::Null).unwrap().is_empty());
    }
}
