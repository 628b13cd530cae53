//! A quota holds whoever comes first, and nobody more, however many come at once.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use support::Server;
use support::raw::Raw;

const PODS: usize = 5;
const CLIENTS: usize = 24;

#[test]
fn of_many_at_once_as_many_get_in_as_there_is_room_for() {
    let server = Server::start("quota");
    let read = |name: &str| std::fs::read_to_string(server.dir.join("pki").join(name)).unwrap();
    let admin = Raw::new(&server.dir.join("pki/ca.crt"), server.port, Some((&read("admin.crt"), &read("admin.key"))));
    let quotas = "/api/v1/namespaces/default/resourcequotas";
    let post = |path: &str, object: &Value| admin.send("POST", path, &[], &object.to_string());
    assert_eq!(
        post("/api/v1/namespaces/default/serviceaccounts", &json!({ "metadata": { "name": "default" } })).code,
        201
    );
    // Two quotas: a request is charged to both or is refused.
    for (name, limit) in [("narrow", PODS), ("wide", CLIENTS)] {
        let hard = json!({ "pods": limit.to_string() });
        let quota = json!({ "metadata": { "name": name }, "spec": { "hard": hard } });
        assert_eq!(post(quotas, &quota).code, 201);
        // No controller runs here: what it would write is written by hand.
        let status = json!({ "metadata": { "name": name }, "spec": quota["spec"],
            "status": { "hard": hard, "used": { "pods": "0" } } });
        let reply = admin.send("PUT", &format!("{quotas}/{name}/status"), &[], &status.to_string());
        assert_eq!(reply.code, 200, "{}", reply.text);
    }
    let (created, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (admin, created, refused) = (admin.clone(), &created, &refused);
            scope.spawn(move || {
                let pod = json!({ "metadata": { "name": format!("p{client}") },
                    "spec": { "containers": [{ "name": "c", "image": "x" }] } });
                let reply = admin.send("POST", "/api/v1/namespaces/default/pods", &[], &pod.to_string());
                match reply.code {
                    201 => created.fetch_add(1, Ordering::Relaxed),
                    403 if reply
                        .text
                        .contains("exceeded quota: narrow, requested: pods=1, used: pods=5, limited: pods=5") =>
                    {
                        refused.fetch_add(1, Ordering::Relaxed)
                    }
                    _ => panic!("{}", reply.text),
                };
            });
        }
    });
    assert_eq!((created.into_inner(), refused.into_inner()), (PODS, CLIENTS - PODS));
    for name in ["narrow", "wide"] {
        let reply = admin.send("GET", &format!("{quotas}/{name}"), &[], "");
        assert!(reply.text.contains("\"used\":{\"pods\":\"5\"}"), "{}", reply.text);
    }
}
