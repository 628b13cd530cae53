//! A small cluster to build configurations from, written as YAML the way a user would.

use knetsim_ingress_controller::index::{Index, Watched};
use kube::runtime::watcher::Event;
use serde::de::DeserializeOwned;

pub fn yaml<T: DeserializeOwned>(text: &str) -> T {
    serde_saphyr::from_str(text).expect("the test's YAML is right")
}

/// An index that holds the IngressClass `nginx` and is synced.
pub fn index() -> Index {
    let mut index = Index::default();
    let done = [
        Watched::Ingress(Event::InitDone),
        Watched::Class(Event::InitDone),
        Watched::Service(Event::InitDone),
        Watched::Slice(Event::InitDone),
        Watched::Secret(Event::InitDone),
    ];
    for event in done {
        index.on(event);
    }
    let class = "{metadata: {name: nginx}, spec: {controller: k8s.io/ingress-nginx}}";
    index.on(Watched::Class(Event::Apply(yaml(class))));
    assert!(index.synced());
    index
}

/// A Service `name` with port 80 (named `http`) and these ready endpoints.
pub fn service(index: &mut Index, name: &str, endpoints: &[(&str, u16)]) {
    let service =
        format!("{{metadata: {{name: {name}, namespace: default}}, spec: {{ports: [{{name: http, port: 80}}]}}}}");
    index.on(Watched::Service(Event::Apply(yaml(&service))));
    for (number, (address, port)) in endpoints.iter().enumerate() {
        let slice = format!(
            "metadata: {{name: {name}-{number}, namespace: default, labels: {{kubernetes.io/service-name: {name}}}}}\n\
             addressType: IPv4\n\
             ports: [{{name: http, port: {port}}}]\n\
             endpoints: [{{addresses: [\"{address}\"], conditions: {{ready: true}}}}]\n"
        );
        index.on(Watched::Slice(Event::Apply(yaml(&slice))));
    }
}

pub fn ingress(index: &mut Index, text: &str) {
    index.on(Watched::Ingress(Event::Apply(yaml(text))));
}
