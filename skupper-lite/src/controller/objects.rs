//! The objects a Site needs, as desired: ServiceAccount, Role, ConfigMap, Deployment, Services, RouterAccess.

use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use kube::api::ApiResource;
use serde_json::{Value, json};

use super::desired::{self, CONTROLLED, HTTP_PORT, INTER_ROUTER_PORT, PROFILES, ROUTER, SITE_SERVER};
use super::index::Index;
use crate::api::{RouterAccess, Site};
use crate::router::adaptor::CONFIG_KEY;

/// One object to create, or to bring to this state.
#[derive(Clone, Debug)]
pub struct Object {
    pub resource: ApiResource,
    pub name: String,
    pub body: Value,
}

/// Everything for `site`, in the order in which it is needed.
pub fn objects(site: &Site, image: &str, index: &Index) -> Vec<Object> {
    let namespace = site.namespace().unwrap_or_default();
    let account = if site.spec.service_account.is_empty() { ROUTER } else { &site.spec.service_account };
    let mut all = vec![
        object(site, "", "v1", "ServiceAccount", account, json!({})),
        object(site, "rbac.authorization.k8s.io", "v1", "Role", ROUTER, role()),
        object(site, "rbac.authorization.k8s.io", "v1", "RoleBinding", ROUTER, binding(account, &namespace)),
    ];
    if desired::accepts_links(site) {
        all.push(object(site, "skupper.io", "v2alpha1", "RouterAccess", ROUTER, router_access(site)));
    }
    let config = desired::router_config(site, index).to_json();
    all.push(object(site, "", "v1", "ConfigMap", ROUTER, json!({ "data": { CONFIG_KEY: config } })));
    all.push(object(site, "apps", "v1", "Deployment", ROUTER, deployment(site, account, image)));
    for access in index.accesses.of(&namespace) {
        all.push(object(site, "", "v1", "Service", &access.name_any(), access_service(access, index)));
    }
    all.extend(listener_services(site, index));
    all
}

/// The Services of Listeners that are gone.
pub fn obsolete_services(namespace: &str, index: &Index) -> Vec<String> {
    let wanted = |name: &str| {
        index.site(namespace).is_some()
            && desired::listener_ports(namespace, index).iter().any(|(listener, _)| listener.spec.host == name)
    };
    let ours = index.services.of(namespace).filter(|service| desired::is_controlled(service));
    ours.map(|service| service.name_any()).filter(|name| !wanted(name)).collect()
}

fn object(site: &Site, group: &str, version: &str, kind: &str, name: &str, mut body: Value) -> Object {
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let plural = match kind {
        "RouterAccess" => "routeraccesses".to_owned(),
        kind => format!("{}s", kind.to_lowercase()),
    };
    body["apiVersion"] = json!(api_version);
    body["kind"] = json!(kind);
    body["metadata"]["name"] = json!(name);
    body["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "skupper.io/v2alpha1", "kind": "Site", "name": site.name_any(), "uid": site.uid(),
    }]);
    let resource = ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version,
        kind: kind.to_owned(),
        plural,
    };
    Object { resource, name: name.to_owned(), body }
}

fn role() -> Value {
    json!({ "rules": [
        { "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch", "create", "update", "patch"] },
        { "apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch"] },
    ]})
}

fn binding(account: &str, namespace: &str) -> Value {
    json!({
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": ROUTER },
        "subjects": [{ "kind": "ServiceAccount", "name": account, "namespace": namespace }],
    })
}

fn router_access(site: &Site) -> Value {
    json!({ "spec": {
        "accessType": site.spec.link_access,
        "roles": [{ "name": "inter-router", "port": INTER_ROUTER_PORT }],
        "tlsCredentials": SITE_SERVER,
        "generateTlsCredentials": true,
        "issuer": desired::issuer(site),
    }})
}

fn selector() -> Value {
    json!({ "skupper.io/component": "router" })
}

fn labels() -> Value {
    json!({
        "app.kubernetes.io/name": ROUTER,
        "app.kubernetes.io/part-of": "skupper",
        "application": ROUTER,
        "skupper.io/component": "router",
        "skupper.io/type": "site",
    })
}

fn deployment(site: &Site, account: &str, image: &str) -> Value {
    let probe = json!({ "httpGet": { "path": "/healthz", "port": HTTP_PORT }, "periodSeconds": 1 });
    json!({
        "metadata": { "labels": labels() },
        "spec": {
            "replicas": 1,
            "selector": { "matchLabels": selector() },
            "template": {
                "metadata": { "labels": labels() },
                "spec": {
                    "serviceAccountName": account,
                    "terminationGracePeriodSeconds": 5,
                    "containers": [{
                        "name": "router",
                        "image": image,
                        "imagePullPolicy": "IfNotPresent",
                        "command": ["knetsim", "skupper-router"],
                        "env": [
                            { "name": "QDROUTERD_CONF", "value": format!("{PROFILES}/{CONFIG_KEY}") },
                            { "name": "SKUPPER_ROUTER_CONFIG", "value": ROUTER },
                            { "name": "SKUPPER_SITE_ID", "value": site.uid() },
                            { "name": "SKUPPER_NAMESPACE",
                              "valueFrom": { "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.namespace" } } },
                        ],
                        "ports": [
                            { "name": "http", "containerPort": HTTP_PORT, "protocol": "TCP" },
                            { "name": "inter-router", "containerPort": INTER_ROUTER_PORT, "protocol": "TCP" },
                        ],
                        "readinessProbe": probe,
                        "volumeMounts": [{ "name": "skupper-router-certs", "mountPath": PROFILES }],
                    }],
                    "volumes": [{ "name": "skupper-router-certs", "emptyDir": {} }],
                },
            },
        },
    })
}

/// There is no cloud here: what upstream leaves to the platform (`default`) is a NodePort.
fn access_service(access: &RouterAccess, index: &Index) -> Value {
    let kind = match access.spec.access_type.as_str() {
        "loadbalancer" => "LoadBalancer",
        "local" => "ClusterIP",
        _ => "NodePort",
    };
    let known = index.services.get(&access.namespace().unwrap_or_default(), &access.name_any());
    let ports: Vec<_> = access
        .spec
        .roles
        .iter()
        .filter(|role| role.name == "inter-router")
        .map(|role| {
            let port = if role.port == 0 { INTER_ROUTER_PORT } else { role.port };
            let mut value = json!({ "name": role.name, "port": port, "targetPort": port, "protocol": "TCP" });
            // A patch replaces the list: the node port it was given must be in it.
            if let Some(given) = known.and_then(|service| node_port(service, &role.name)) {
                value["nodePort"] = json!(given);
            }
            value
        })
        .collect();
    json!({ "metadata": { "labels": labels() }, "spec": { "type": kind, "selector": selector(), "ports": ports } })
}

fn node_port(service: &Service, name: &str) -> Option<i32> {
    service.spec.as_ref()?.ports.as_ref()?.iter().find(|port| port.name.as_deref() == Some(name))?.node_port
}

/// One Service a host; Listeners that share a host share it.
fn listener_services(site: &Site, index: &Index) -> Vec<Object> {
    let namespace = site.namespace().unwrap_or_default();
    let mut by_host: std::collections::BTreeMap<&str, Vec<Value>> = std::collections::BTreeMap::new();
    let ports = desired::listener_ports(&namespace, index);
    for (listener, port) in &ports {
        by_host.entry(&listener.spec.host).or_default().push(json!({
            "name": listener.name_any(), "port": listener.spec.port, "targetPort": port, "protocol": "TCP",
        }));
    }
    let service = |ports: Vec<Value>| {
        json!({
            "metadata": {
                "annotations": { CONTROLLED: "true" },
                "labels": { "internal.skupper.io/listener": "true" },
            },
            "spec": { "type": "ClusterIP", "selector": selector(), "ports": ports },
        })
    };
    by_host.into_iter().map(|(host, ports)| object(site, "", "v1", "Service", host, service(ports))).collect()
}
