//! Admission webhooks: a server of the test's own, asked by the API server over TLS.

mod support;

use serde_json::{Value, json};
use support::hook::{Hook, admitted, patched};
use support::{APPLY, Server, kubectl_is_missing, manifest};

/// What the hooks of these tests do, by path.
fn answer(path: &str, review: &Value) -> Value {
    let request = &review["request"];
    let object = &request["object"];
    let response = match path {
        // Counts its visits in a label, so that every visit changes the object.
        "/mutate" | "/again" => {
            let label = path.trim_start_matches('/');
            let visits: u32 = object["metadata"]["labels"][label].as_str().map_or(0, |n| n.parse().unwrap());
            if object["metadata"]["labels"].is_object() {
                patched(
                    &json!([{ "op": "add", "path": format!("/metadata/labels/{label}"), "value": (visits + 1).to_string() }]),
                )
            } else {
                patched(&json!([{ "op": "add", "path": "/metadata/labels", "value": { label: "1" } }]))
            }
        }
        // A pod gets a container without the fields that have defaults.
        "/container" => patched(
            &json!([{ "op": "add", "path": "/spec/initContainers", "value": [{ "name": "added", "image": "x" }] }]),
        ),
        "/junk" => patched(&json!([
            { "op": "add", "path": "/spec/color", "value": "blue" }, { "op": "add", "path": "/spec/nobody", "value": 1 },
        ])),
        "/deny" => {
            json!({ "allowed": false, "status": { "message": "not while I watch", "code": 403, "reason": "Forbidden" } })
        }
        "/seven" => patched(&json!([{ "op": "replace", "path": "/spec/replicas", "value": 7 }])),
        "/mute" => json!({ "allowed": false }),
        "/warn" => json!({ "allowed": true, "warnings": ["mind the gap"] }),
        "/wrong" => {
            return json!({ "kind": "AdmissionReview", "apiVersion": "v1", "response": { "uid": request["uid"], "allowed": true } });
        }
        _ => json!({ "allowed": true }),
    };
    admitted(review, response)
}

struct World {
    server: Server,
    hook: Hook,
}

impl World {
    fn new(name: &str) -> Self {
        Self { server: Server::start(name), hook: Hook::start(answer) }
    }

    /// Makes a configuration of `kind` (`mutating`, `validating`) with one webhook, and waits until it works: as upstream's
    /// own tests do, with a marker that tells when.
    fn configure(&self, kind: &str, name: &str, client: Value, more: Value) {
        let mut hook = json!({
            "name": format!("{name}.example.com"), "clientConfig": client, "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "timeoutSeconds": 2, "failurePolicy": "Fail",
            "rules": [{ "operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"] }],
        });
        for (field, value) in more.as_object().unwrap() {
            hook[field] = value.clone();
        }
        let kind = if kind == "mutating" { "MutatingWebhookConfiguration" } else { "ValidatingWebhookConfiguration" };
        let marker = json!({
            "name": "marker.example.com", "clientConfig": self.hook.url("/deny"), "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "objectSelector": { "matchLabels": { "marker": name } },
            "rules": [{ "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"] }],
        });
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": { "name": name },
            "webhooks": [hook, marker],
        });
        self.server.ok(APPLY, &configuration.to_string());
        let probe = json!({ "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": format!("marker-{name}"), "labels": { "marker": name } } });
        for _ in 0..100 {
            let (_, text) = self.server.kubectl(&["create", "--dry-run=server", "-f", "-"], &probe.to_string());
            let signs = ["marker.example.com", &format!("{name}.example.com"), "is forbidden"];
            if signs.iter().any(|sign| text.contains(sign)) {
                self.hook.seen("/deny");
                return;
            }
        }
        panic!("the webhook is not asked");
    }

    fn remove(&self, kind: &str, name: &str) {
        self.server.ok(&["delete", &format!("{kind}webhookconfiguration"), name], "");
        let probe = json!({ "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": format!("marker-{name}"), "labels": { "marker": name } } });
        for _ in 0..100 {
            if self.server.kubectl(&["create", "--dry-run=server", "-f", "-"], &probe.to_string()).0 {
                return;
            }
        }
        panic!("the webhook is still asked");
    }

    fn get(&self, what: &str, name: &str, path: &str) -> String {
        self.server.ok(&["get", what, name, "-o", &format!("jsonpath={path}")], "")
    }
}

#[test]
fn objects_are_changed_and_refused() {
    if kubectl_is_missing() {
        return;
    }
    let world = World::new("webhooks");
    let (server, hook) = (&world.server, &world.hook);

    // A Service by name: here of another host's name, as no kube-proxy leads a ClusterIP anywhere.
    server.ok(&["create", "service", "externalname", "hook", "--external-name=localhost"], "");
    world.configure("mutating", "m", hook.service("/mutate"), json!({}));
    server.ok(&["create", "configmap", "a", "--from-literal=k=v"], "");
    assert_eq!(world.get("configmap", "a", "{.metadata.labels.mutate}"), "1");
    server.ok(&["label", "configmap", "a", "x=y"], "");
    assert_eq!(world.get("configmap", "a", "{.metadata.labels}"), r#"{"mutate":"2","x":"y"}"#);
    // Nobody owns what a webhook added.
    let fields = server.ok(&["get", "configmap", "a", "-o", "json", "--show-managed-fields"], "");
    assert!(fields.contains("f:x") && !fields.contains("f:mutate"), "{fields}");

    let reviews = hook.seen("/mutate");
    let request = &reviews
        .iter()
        .find(|r| r["request"]["operation"] == "CREATE" && r["request"]["name"] == "a")
        .unwrap()["request"];
    assert_eq!(request["kind"], json!({ "group": "", "version": "v1", "kind": "ConfigMap" }));
    assert_eq!(request["requestResource"], json!({ "group": "", "version": "v1", "resource": "configmaps" }));
    assert_eq!((&request["namespace"], &request["dryRun"]), (&json!("default"), &json!(false)));
    assert_eq!(request["options"]["kind"], "CreateOptions");
    assert_eq!(request["userInfo"]["username"], "kubernetes-admin");
    assert_eq!((&request["oldObject"], &request["object"]["data"]["k"]), (&Value::Null, &json!("v")));
    assert!(request["object"]["metadata"]["uid"].is_null(), "not set before the mutating plugins have been");
    let update = &reviews.iter().find(|r| r["request"]["operation"] == "UPDATE").unwrap()["request"];
    assert_eq!(
        (&update["oldObject"]["metadata"]["labels"]["mutate"], &update["options"]["kind"]),
        (&json!("1"), &json!("UpdateOptions"))
    );
    // An object that is put is shown as it was sent, and a conflict is none before it was.
    let sent = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" }, "data": { "k": "w" } });
    let put = |object: &Value| {
        server.kubectl(&["replace", "--raw", "/api/v1/namespaces/default/configmaps/a", "-f", "-"], &object.to_string())
    };
    assert!(put(&sent).0);
    let shown = hook.seen("/mutate").pop().unwrap()["request"]["object"]["metadata"].clone();
    assert_eq!((&shown["uid"], &shown["creationTimestamp"]), (&Value::Null, &Value::Null), "{shown}");
    let mut old = sent.clone();
    old["metadata"]["resourceVersion"] = "1".into();
    assert!(put(&old).1.contains("the object has been modified"));
    assert_eq!(hook.seen("/mutate").len(), 1);
    server.fails(&["delete", "configmap", "a"], "", r#"admission webhook "m.example.com" attempted to modify the object, which is not supported for this operation"#);
    world.remove("mutating", "m");

    world.configure("validating", "v", hook.url("/deny"), json!({}));
    server.fails(
        &["delete", "configmap", "a"],
        "",
        r#"admission webhook "v.example.com" denied the request: not while I watch"#,
    );
    let delete = hook.seen("/deny").pop().unwrap();
    assert_eq!(delete["request"]["oldObject"]["metadata"]["name"], "a");
    assert_eq!(
        (&delete["request"]["object"], &delete["request"]["options"]["kind"]),
        (&Value::Null, &json!("DeleteOptions"))
    );
    server.fails(&["delete", "configmap", "--all"], "", "denied the request: not while I watch");
    // The configurations themselves are nobody's to refuse.
    world.remove("validating", "v");

    world.configure("validating", "mute", hook.url("/mute"), json!({}));
    server.fails(
        &["create", "configmap", "b"],
        "",
        r#"admission webhook "mute.example.com" denied the request without explanation"#,
    );
    world.remove("validating", "mute");
    world.configure("validating", "warn", hook.url("/warn"), json!({}));
    assert!(server.ok(&["create", "configmap", "b"], "").contains("Warning: mind the gap"));
    // A generated name is known by now; who deletes a collection names nobody.
    hook.seen("/warn");
    let many = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "generateName": "many-", "labels": { "m": "y" } } });
    server.ok(&["create", "-f", "-"], &many.to_string());
    let name = hook.seen("/warn").pop().unwrap()["request"]["name"].clone();
    assert!(name.as_str().is_some_and(|name| name.starts_with("many-")), "{name}");
    server.ok(
        &["delete", "--raw", "/api/v1/namespaces/default/configmaps?labelSelector=m%3Dy&orphanDependents=true"],
        "",
    );
    let request = hook.seen("/warn").pop().unwrap()["request"].clone();
    assert_eq!((&request["name"], &request["oldObject"]["metadata"]["name"]), (&Value::Null, &name));
    assert_eq!(request["options"]["orphanDependents"], true);
    world.remove("validating", "warn");
}

#[test]
fn what_fails_and_whom_it_concerns() {
    if kubectl_is_missing() {
        return;
    }
    let world = World::new("webhook-failures");
    let (server, hook) = (&world.server, &world.hook);
    let create = |name: &str| server.kubectl(&["create", "configmap", name], "");
    let refused = |name: &str, why: &str| server.fails(&["create", "configmap", name], "", why);

    // Slow, unreachable, unknown, wrong: refused, or let through where the policy says so.
    world.configure("validating", "slow", hook.url("/slow"), json!({ "timeoutSeconds": 1 }));
    refused(
        "a",
        &format!(
            r#"failed calling webhook "slow.example.com": failed to call webhook: Post "https://127.0.0.1:{}/slow?timeout=1s": context deadline exceeded"#,
            hook.port
        ),
    );
    world.remove("validating", "slow");
    world.configure("validating", "slow", hook.url("/slow"), json!({ "timeoutSeconds": 1, "failurePolicy": "Ignore" }));
    assert!(create("slow").0);
    world.remove("validating", "slow");
    let nowhere = json!({ "url": "https://127.0.0.1:1/x" });
    world.configure("validating", "gone", nowhere, json!({}));
    refused(
        "a",
        r#"failed to call webhook: Post "https://127.0.0.1:1/x?timeout=2s": dial tcp 127.0.0.1:1: connect: connection refused"#,
    );
    world.remove("validating", "gone");
    let missing = json!({ "service": { "namespace": "default", "name": "nobody" } });
    world.configure("validating", "missing", missing, json!({}));
    refused("a", r#"Post "https://nobody.default.svc:443/?timeout=2s": service "nobody" not found"#);
    world.remove("validating", "missing");
    let stranger = Hook::start(answer);
    let mut client = hook.url("/");
    client["caBundle"] = stranger.url("/")["caBundle"].clone();
    world.configure("validating", "stranger", client, json!({}));
    refused("a", "tls: failed to verify certificate: x509: certificate signed by unknown authority");
    world.remove("validating", "stranger");
    world.configure("validating", "wrong", hook.url("/wrong"), json!({}));
    refused(
        "a",
        r#"failed to call webhook: no kind "AdmissionReview" is registered for version "v1" in scheme "k8s.io/apiserver/pkg/util/webhook/client.go:71""#,
    );
    world.remove("validating", "wrong");

    // Conditions.
    let conditions = |expression: &str| json!({ "matchConditions": [{ "name": "c", "expression": expression }] });
    world.configure(
        "validating",
        "conditions",
        hook.url("/deny"),
        conditions("object == null || object.metadata.name != 'skip-me'"),
    );
    refused("do-not-skip-me", "not while I watch");
    assert!(create("skip-me").0);
    world.remove("validating", "conditions");
    let asks = "authorizer.group('').resource('configmaps').check('create').allowed() && request.userInfo.username == 'kubernetes-admin'";
    world.configure("validating", "asks", hook.url("/deny"), conditions(asks));
    refused("asked", "not while I watch");
    world.remove("validating", "asks");
    world.configure("validating", "broken", hook.url("/deny"), conditions("object.nothing.like.this == 1"));
    refused(
        "broken",
        r#"configmaps "broken" is forbidden: expression 'object.nothing.like.this == 1' resulted in error: no such key: nothing"#,
    );
    world.remove("validating", "broken");
    let mut broken = json!({ "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": "x" }, "webhooks": [{ "name": "x.example.com", "clientConfig": hook.url("/"), "sideEffects": "None",
        "admissionReviewVersions": ["v1"] }] });
    broken["webhooks"][0]["matchConditions"] = json!([{ "name": "c", "expression": "... [] bad expression" }]);
    server.fails(APPLY, &broken.to_string(), "webhooks[0].matchConditions[0].expression: Invalid value: \"... [] bad expression\": compilation failed: ERROR");

    // Selectors, and dry runs.
    world.configure(
        "validating",
        "chosen",
        hook.url("/deny"),
        json!({ "namespaceSelector": { "matchLabels": { "guarded": "yes" } } }),
    );
    assert!(create("free").0);
    server.ok(&["create", "namespace", "guarded"], "");
    server.ok(&["label", "namespace", "guarded", "guarded=yes"], "");
    server.fails(&["create", "configmap", "x", "-n", "guarded"], "", "not while I watch");
    world.remove("validating", "chosen");
    world.configure("validating", "effects", hook.url("/"), json!({ "sideEffects": "NoneOnDryRun" }));
    assert!(create("wet").0);
    server.ok(&["create", "configmap", "dry", "--dry-run=server"], "");
    let seen = hook.seen("/");
    let dry = seen.iter().rfind(|r| r["request"]["name"] == "dry").unwrap();
    assert_eq!(dry["request"]["options"]["dryRun"], json!(["All"]));
    world.remove("validating", "effects");
}

#[test]
fn every_way_to_write_is_judged() {
    if kubectl_is_missing() {
        return;
    }
    let world = World::new("webhook-ways");
    let (server, hook) = (&world.server, &world.hook);
    let rule = |group: &str, version: &str, resource: &str| json!({ "rules": [{ "operations": ["*"], "apiGroups": [group], "apiVersions": [version], "resources": [resource] }] });

    // Defaults come after the change, reinvocation lets the first see what the second did.
    world.configure("mutating", "pods", hook.url("/container"), rule("", "v1", "pods"));
    server.ok(APPLY, &manifest("pod.yaml"));
    assert_eq!(
        world.get(
            "pod",
            "p",
            "{.spec.initContainers[0].imagePullPolicy} {.spec.initContainers[0].terminationMessagePath}"
        ),
        "Always /dev/termination-log"
    );
    world.remove("mutating", "pods");
    world.configure("mutating", "a-first", hook.url("/again"), json!({ "reinvocationPolicy": "IfNeeded" }));
    world.configure("mutating", "b-second", hook.url("/mutate"), json!({}));
    server.ok(&["create", "configmap", "rounds"], "");
    assert_eq!(world.get("configmap", "rounds", "{.metadata.labels}"), r#"{"again":"2","mutate":"1"}"#);
    server.ok(&["delete", "mutatingwebhookconfiguration", "a-first", "b-second"], "");

    // Subresources.
    server.ok(&["create", "deployment", "web", "--image=x"], "");
    world.configure("validating", "scale", hook.url("/deny"), rule("apps", "v1", "deployments/scale"));
    server.fails(&["scale", "deployment", "web", "--replicas=3"], "", "not while I watch");
    let scale = hook.seen("/deny").pop().unwrap();
    assert_eq!(scale["request"]["kind"], json!({ "group": "autoscaling", "version": "v1", "kind": "Scale" }));
    assert_eq!(scale["request"]["resource"], json!({ "group": "apps", "version": "v1", "resource": "deployments" }));
    assert_eq!(
        (&scale["request"]["subResource"], &scale["request"]["object"]["spec"]["replicas"]),
        (&json!("scale"), &json!(3))
    );
    world.remove("validating", "scale");
    // Those that mutate see it as it was sent, and who has the replicas.
    world.configure("mutating", "scale", hook.url("/seven"), rule("apps", "v1", "deployments/scale"));
    server.ok(&["patch", "deployment", "web", "--subresource=scale", "-p", r#"{"spec":{"replicas":3}}"#], "");
    let scale = hook.seen("/seven").pop().unwrap();
    let managers = |object: &str| {
        let entry = &scale["request"][object]["metadata"]["managedFields"][0];
        format!("{} {} {}", entry["manager"], entry["apiVersion"], entry["fieldsV1"])
    };
    let replicas = r#"{"f:spec":{"f:replicas":{}}}"#;
    assert_eq!(managers("oldObject"), format!(r#""kubectl-create" "autoscaling/v1" {replicas}"#));
    assert_eq!(managers("object"), format!(r#""kubectl-patch" "autoscaling/v1" {replicas}"#));
    assert_eq!(world.get("deployment", "web", "{.spec.replicas}"), "7");
    world.remove("mutating", "scale");
    world.configure("validating", "attach", hook.url("/deny"), rule("", "v1", "pods/*"));
    server.fails(&["attach", "p"], "", "not while I watch");
    let connect = hook.seen("/deny").pop().unwrap();
    assert_eq!(
        (&connect["request"]["operation"], &connect["request"]["object"]["kind"]),
        (&json!("CONNECT"), &json!("PodAttachOptions"))
    );
    world.remove("validating", "attach");

    // Equivalent: the rule names one version, the request another, the hook sees what it asked for.
    world.configure("validating", "hpa", hook.url("/deny"), rule("autoscaling", "v2", "horizontalpodautoscalers"));
    let scaler = json!({ "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": { "name": "h" },
        "spec": { "maxReplicas": 3, "targetCPUUtilizationPercentage": 50, "scaleTargetRef": { "kind": "Deployment", "name": "web", "apiVersion": "apps/v1" } } });
    server.fails(&["create", "-f", "-"], &scaler.to_string(), "not while I watch");
    let seen = hook.seen("/deny").pop().unwrap();
    assert_eq!(
        (&seen["request"]["kind"]["version"], &seen["request"]["requestKind"]["version"]),
        (&json!("v2"), &json!("v1"))
    );
    assert_eq!(seen["request"]["object"]["apiVersion"], "autoscaling/v2");
    assert_eq!(seen["request"]["object"]["spec"]["metrics"][0]["resource"]["name"], "cpu");
    world.remove("validating", "hpa");

    // Custom resources: what the schema does not know is pruned from a patch too.
    server.ok(APPLY, &manifest("widget-crd.yaml"));
    server.ok(&["wait", "--for=condition=Established", "crd/widgets.example.com", "--timeout=2s"], "");
    world.configure("mutating", "custom", hook.url("/junk"), rule("example.com", "*", "widgets"));
    server.ok(&["apply", "--validate=ignore", "-f", "-"], &manifest("widget.yaml"));
    assert_eq!(world.get("widget", "w", "{.spec.color} {.spec.nobody}").trim(), "blue");
    world.remove("mutating", "custom");
    world.configure("validating", "custom", hook.url("/deny"), rule("example.com", "*", "widgets"));
    server.fails(&["delete", "widget", "w"], "", "not while I watch");
    world.remove("validating", "custom");
    // The definition takes its objects with it, whatever a webhook says to that.
    server.ok(&["delete", "crd", "widgets.example.com", "--timeout=5s"], "");
}
