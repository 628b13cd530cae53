//! Three API servers over an etcd of three members: they agree on what exists, who there is and what is taken, and any one
//! server and any one member may be killed under load.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};

use crate::load::Shared;
use crate::process::{ApiServer, Etcd};
use crate::wire::{Ask, Target};
use crate::{Run, runtime, seed};

const SERVICES: &str = "/api/v1/namespaces/default/services";

/// Asks anew over a fresh connection while the server or its store is away; a Service must not be made twice.
async fn insist(target: &Target, method: Method, path: &str, body: &Value) -> Value {
    let begin = Instant::now();
    loop {
        assert!(begin.elapsed() < Duration::from_secs(30), "{method} {path} is not answered");
        if let Ok(mut connection) = target.http1().await {
            let body = if body.is_null() { String::new() } else { body.to_string() };
            let ask = Ask::new(method.clone(), path, body);
            if let Ok(Ok(answer)) =
                tokio::time::timeout(Duration::from_secs(12), target.send(&mut connection, ask)).await
                && (answer.status < 429 || answer.json()["reason"] == "Invalid")
            {
                return answer.json();
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Makes and deletes Services with node ports until told to stop.
async fn services(shared: Arc<Shared>, number: usize) {
    for round in 0.. {
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        let target = &shared.targets[(number + round) % shared.targets.len()];
        let name = format!("s{number}-{round}");
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": name },
            "spec": { "type": "NodePort", "ports": [{ "port": 80 }] },
        });
        let made = insist(target, Method::POST, SERVICES, &service).await;
        // Done after all, when an earlier try's answer was lost.
        assert!(made["kind"] == "Service" || made["reason"] == "AlreadyExists", "{made}");
        if round % 3 == 0 {
            let other = &shared.targets[(number + round + 1) % shared.targets.len()];
            insist(other, Method::DELETE, &format!("{SERVICES}/{name}"), &Value::Null).await;
        }
    }
}

/// That no two Services have the same address or port, and that each has both.
async fn everything_is_taken_once(target: &Target) -> usize {
    let list = insist(target, Method::GET, SERVICES, &Value::Null).await;
    let (mut addresses, mut ports) = (BTreeSet::new(), BTreeSet::new());
    let mut count = 0;
    for service in list["items"].as_array().into_iter().flatten().filter(|s| s["spec"]["type"] == "NodePort") {
        let (address, port) = (&service["spec"]["clusterIP"], &service["spec"]["ports"][0]["nodePort"]);
        assert!(address.is_string() && port.is_number(), "{service}");
        assert!(addresses.insert(address.to_string()), "{address} is there twice: {list}");
        assert!(ports.insert(port.to_string()), "{port} is there twice");
        let path = format!("/apis/networking.k8s.io/v1/ipaddresses/{}", address.as_str().unwrap());
        let taken = insist(target, Method::GET, &path, &Value::Null).await;
        assert_eq!(taken["spec"]["parentRef"]["name"], service["metadata"]["name"]);
        count += 1;
    }
    count
}

async fn endpoints(target: &Target) -> Vec<String> {
    let found = insist(target, Method::GET, "/api/v1/namespaces/default/endpoints/kubernetes", &Value::Null).await;
    let list = found["subsets"][0]["addresses"].as_array().cloned().unwrap_or_default();
    list.iter().filter_map(|address| address["ip"].as_str().map(str::to_owned)).collect()
}

/// A definition made through one server is served by all within a second.
async fn definitions_are_served_by_all(targets: &[Target]) {
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "widgets.example.test" },
        "spec": {
            "group": "example.test", "scope": "Namespaced", "names": { "plural": "widgets", "kind": "Widget" },
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true } } }],
        },
    });
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let made = insist(&targets[0], Method::POST, path, &definition).await;
    assert_eq!(made["kind"], "CustomResourceDefinition", "{made}");
    let begin = Instant::now();
    for target in targets {
        while insist(target, Method::GET, "/apis/example.test/v1/widgets", &Value::Null).await["kind"] != "WidgetList" {
            assert!(begin.elapsed() < Duration::from_secs(5), "a definition is not served by all servers");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    println!("a definition is served by all servers after {:?}", begin.elapsed());
}

#[test]
fn several_servers_agree_and_survive() {
    runtime().block_on(async {
        let (dir, seed) = (tempfile::tempdir().unwrap(), seed());
        let Some(mut etcd) = Etcd::start("several_servers_agree_and_survive", dir.path(), 3) else { return };
        let mut servers: Vec<ApiServer> = (1..=3)
            .map(|number| {
                let mut flags = etcd.flags();
                // Nobody goes there: what matters is that each is listed.
                flags.push(format!("--advertise-address=192.0.2.{number}"));
                ApiServer::new(dir.path(), &flags)
            })
            .collect();
        for server in &mut servers {
            server.start();
        }
        for server in &mut servers {
            server.ready().await;
        }
        let targets: Vec<Target> = servers.iter().map(|server| server.target.clone()).collect();
        assert_eq!(endpoints(&targets[0]).await.len(), 3, "every server is listed");
        definitions_are_served_by_all(&targets).await;

        let shared = Shared::new(targets.clone());
        let makers: Vec<_> = (0..3).map(|number| tokio::spawn(services(shared.clone(), number))).collect();
        let run = Run::start(shared.clone(), seed);
        let kills = run
            .disturb(seed, async |turn, random| {
                let which = usize::try_from(random.below(3)).expect("one of three");
                // One of each kind at a time, and back before the next.
                if turn % 2 == 0 {
                    servers[which].kill();
                    servers[which].start();
                    servers[which].ready().await;
                } else {
                    etcd.kill(which);
                    tokio::time::sleep(Duration::from_millis(random.below(300))).await;
                    etcd.run(which);
                    etcd.healthy(which).await;
                }
            })
            .await;
        for server in &mut servers {
            server.ready().await;
        }
        run.finish("three servers", kills, seed).await;
        for maker in makers {
            maker.await.unwrap();
        }
        let made = everything_is_taken_once(&targets[1]).await;
        println!("{made} Services, each with an address and a port of its own");
        assert!(made > 3);
    });
}
