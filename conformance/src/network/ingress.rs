//! Ingress API and IngressClass API.

use serde_json::{Value, json};

use crate::operations::{self, Operations};
use crate::spec::Test;
use crate::specs;

specs! { Api;
    "[sig-network] Ingress API should support creating Ingress API operations [Conformance]" => ingresses,
    "[sig-network] IngressClass API should support creating IngressClass API operations [Conformance]" => classes,
}

async fn ingresses(t: Test) -> anyhow::Result<()> {
    let backend = |name: &str, port: u16| json!({ "service": { "name": name, "port": { "number": port } } });
    let path = json!({ "path": "/", "pathType": "Prefix", "backend": backend("test-backend", 8080) });
    let operations = Operations {
        api_version: "networking.k8s.io/v1",
        kind: "Ingress",
        plural: "ingresses",
        namespaced: true,
        object: json!({ "spec": {
            "defaultBackend": backend("default-backend", 80),
            "rules": [{ "host": "e2e.example.com", "http": { "paths": [path] } }],
        } }),
        change: json!({ "spec": { "defaultBackend": backend("other-backend", 81) } }),
        status: Some(json!({ "loadBalancer": { "ingress": [{ "ip": "169.1.1.1" }] } })),
    };
    operations::run(&t, &operations).await
}

async fn classes(t: Test) -> anyhow::Result<()> {
    let operations = Operations {
        api_version: "networking.k8s.io/v1",
        kind: "IngressClass",
        plural: "ingressclasses",
        namespaced: false,
        object: json!({ "spec": { "controller": "example.com/controller" } }),
        change: Value::Null,
        status: None,
    };
    operations::run(&t, &operations).await
}
