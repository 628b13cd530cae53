//! Levels of priority lend each other seats, through a real server: a webhook holds requests, and with them their seats.

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::Server;
use support::hook::{Hook, admitted};
use support::raw::{Raw, Reply};

const FLOW: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PATIENCE: Duration = Duration::from_secs(30);

struct World {
    server: Server,
    admin: Raw,
}

impl World {
    fn new() -> Self {
        let server = Server::start("flow");
        let read = |name: &str| std::fs::read_to_string(server.dir.join("pki").join(name)).unwrap();
        let (certificate, key) = (read("admin.crt"), read("admin.key"));
        let admin = Raw::new(&server.dir.join("pki/ca.crt"), server.port, Some((&certificate, &key)));
        Self { server, admin }
    }

    /// The administrator's requests are exempt from all levels.
    fn make(&self, path: &str, object: &Value) {
        let reply = self.admin.send("POST", path, &[], &object.to_string());
        assert_eq!(reply.code, 201, "{}", reply.text);
    }

    /// Merges into a level's `limited`.
    fn set(&self, level: &str, limited: &Value) {
        let body = json!({ "spec": { "limited": limited } }).to_string();
        let path = format!("{FLOW}/prioritylevelconfigurations/{level}");
        let reply = self.admin.patch(&path, &body);
        assert_eq!(reply.code, 200, "{}", reply.text);
    }

    /// One of the gauges of the level `tight`, of all its schemas together.
    fn gauge(&self, name: &str) -> usize {
        let text = self.admin.send("GET", "/metrics", &[], "").text;
        let start = format!("apiserver_flowcontrol_{name}{{");
        let tight = |line: &&str| line.starts_with(&start) && line.contains("priority_level=\"tight\"");
        text.lines().filter(tight).map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).sum()
    }

    /// What a schema's condition says of its level.
    fn dangling(&self, schema: &str) -> [String; 2] {
        let reply = self.admin.send("GET", &format!("{FLOW}/flowschemas/{schema}"), &[], "");
        let object: Value = serde_json::from_str(reply.text.split_once("\r\n\r\n").unwrap().1).unwrap();
        let condition = &object["status"]["conditions"][0];
        let whose = |manager: &Value| manager["manager"] == "api-priority-and-fairness-config-consumer-v1";
        let managers = object["metadata"]["managedFields"].as_array().unwrap();
        assert_eq!(condition["type"] == "Dangling", managers.iter().any(whose), "{object}");
        ["status", "reason"].map(|field| condition[field].as_str().unwrap_or_default().to_owned())
    }

    fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let begun = Instant::now();
        while !holds() {
            assert!(begun.elapsed() < PATIENCE, "never: {what}");
        }
    }
}

/// A request of whom the level `tight` is for.
fn jane(raw: &Raw, method: &str, path: &str, body: &str) -> Reply {
    raw.send(method, path, &["Impersonate-User: jane"], body)
}

#[test]
fn a_full_level_borrows_what_another_lends() {
    let world = World::new();
    // Nobody else lends or borrows, so that it is known where seats come from.
    let defaults =
        ["catch-all", "global-default", "leader-election", "node-high", "system", "workload-high", "workload-low"];
    for level in defaults {
        world.set(level, &json!({ "lendablePercent": 0, "borrowingLimitPercent": 0 }));
    }
    let level = |name: &str, limited: Value| {
        let mut spec = json!({ "type": "Limited", "limited": limited });
        spec["limited"]["limitResponse"] = json!({ "type": "Reject" });
        world.make(
            &format!("{FLOW}/prioritylevelconfigurations"),
            &json!({ "metadata": { "name": name }, "spec": spec }),
        );
    };
    level("lender", json!({ "nominalConcurrencyShares": 10, "lendablePercent": 0, "borrowingLimitPercent": 0 }));
    let everything = json!({ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"] });
    let subject = json!({ "kind": "User", "user": { "name": "jane" } });
    let schema = json!({ "metadata": { "name": "tight" }, "spec": {
        "priorityLevelConfiguration": { "name": "tight" }, "matchingPrecedence": 50,
        "rules": [{ "subjects": [subject], "resourceRules": [everything] }],
    } });
    world.make(&format!("{FLOW}/flowschemas"), &schema);
    world.until("its level is missed", || world.dangling("tight") == ["True", "NotFound"]);
    level("tight", json!({ "nominalConcurrencyShares": 1 }));
    world.until("its level is there", || world.dangling("tight") == ["False", "Found"]);
    world.until("so are those of the others", || world.dangling("probes") == ["False", "Found"]);
    let binding = json!({ "metadata": { "name": "jane" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane" }] });
    world.make("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding);
    let hook = Hook::start(|path, review| admitted(review, json!({ "allowed": path == "/held" })));
    let webhook = |name: &str| {
        json!({
            "name": format!("{name}.example.com"), "clientConfig": hook.url(&format!("/{name}")), "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "timeoutSeconds": 30,
            "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"] }],
            "objectSelector": { "matchLabels": { "hook": name } },
        })
    };
    let configuration = json!({ "metadata": { "name": "hold" }, "webhooks": [webhook("held"), webhook("marker")] });
    world.make("/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations", &configuration);
    let map = |name: &str, hook: &str| json!({ "metadata": { "name": name, "labels": { "hook": hook } } }).to_string();
    world.until("the webhooks are known", || {
        world.admin.send("POST", &format!("{MAPS}?dryRun=All"), &[], &map("x", "marker")).code == 400
    });
    world.until("jane is served in the level", || {
        let reply = jane(&world.admin, "GET", MAPS, "");
        let level = world.admin.send("GET", &format!("{FLOW}/prioritylevelconfigurations/tight"), &[], "");
        let uid = level.text.split("\"uid\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned();
        let stamped = format!("x-kubernetes-pf-prioritylevel-uid: {uid}");
        reply.code == 200 && reply.text.to_lowercase().contains(&stamped)
    });

    let mut held = Vec::new();
    let mut hold = |count: usize| {
        while held.len() < count {
            let raw = world.admin.clone();
            let map = map(&format!("m{}", held.len()), "held");
            held.push(std::thread::spawn(move || jane(&raw, "POST", MAPS, &map)));
        }
        hook.holds(count);
    };
    let get = || jane(&world.admin, "GET", MAPS, "").code;
    let nominal = world.gauge("nominal_limit_seats");
    assert_eq!((nominal, world.gauge("current_limit_seats")), (3, 3), "nobody lends");
    hold(nominal);
    assert_eq!(world.gauge("current_executing_seats"), nominal);
    assert_eq!(get(), 429, "all its own seats are taken, and nobody lends");

    world.set("lender", &json!({ "lendablePercent": 100 }));
    world.until("seats are lent", || world.gauge("current_limit_seats") > nominal + 1);
    assert_eq!(get(), 200);
    hold(nominal + 1);
    assert_eq!(world.gauge("current_executing_seats"), nominal + 1, "more than its own");
    assert_eq!(get(), 200);

    // What was lent is given back as it is left; nobody new is served meanwhile.
    world.set("lender", &json!({ "lendablePercent": 0 }));
    world.until("nothing is lent any more", || world.gauge("current_limit_seats") == nominal);
    assert_eq!(get(), 429);
    assert_eq!(world.gauge("current_executing_seats"), nominal + 1);
    hook.release();
    for thread in held {
        let reply = thread.join().unwrap();
        assert_eq!(reply.code, 201, "{}", reply.text);
    }
    assert_eq!(get(), 200);
    drop(world.server);
}
