//! What files and flags tell the server to do: what of requests is audited and where the events go, what admission plugins hold
//! for allowed, how objects are encrypted in the store, and how long their past is kept.

#[path = "support/kms.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod kms;
mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::Server;
use support::hook::Hook;
use support::raw::{Raw, Reply};

/// Config maps are audited, and nothing else.
const POLICY: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [ResponseStarted]\nrules:\n- level: Metadata\n  \
                      resources: [{group: \"\", resources: [configmaps]}]\n";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn write(dir: &Path, name: &str, text: &str) -> String {
    std::fs::write(dir.join(name), text).unwrap();
    dir.join(name).display().to_string()
}

fn kubeconfig(address: &str, ca: &str) -> String {
    json!({ "current-context": "c", "contexts": [{ "name": "c", "context": { "cluster": "k", "user": "u" } }],
        "clusters": [{ "name": "k", "cluster": { "server": address, "certificate-authority-data": ca } }],
        "users": [{ "name": "u", "user": { "token": "secret" } }] })
    .to_string()
}

fn admin(server: &Server) -> Raw {
    let read = |name: &str| std::fs::read_to_string(server.dir.join("pki").join(name)).unwrap();
    Raw::new(&server.dir.join("pki/ca.crt"), server.port, Some((&read("admin.crt"), &read("admin.key"))))
}

fn post(to: &Raw, path: &str, object: Value) -> Reply {
    to.send("POST", path, &[], &object.to_string())
}

fn metric(to: &Raw, line: &str) -> bool {
    to.send("GET", "/metrics", &[], "").text.lines().any(|known| known == line)
}

/// Whether events were not told as they should have been.
fn loses(to: &Raw, plugin: &str) -> bool {
    let series = format!("apiserver_audit_error_total{{plugin=\"{plugin}\"}} ");
    to.send("GET", "/metrics", &[], "").text.contains(&series)
}

#[test]
fn audit_events_go_to_a_webhook_and_to_a_log_of_text() {
    let hook = Hook::start(|_, _| json!({}));
    let config = hook.url("/audit");
    let server = Server::start_with("audit-webhook", None, |dir| {
        let config = kubeconfig(config["url"].as_str().unwrap(), config["caBundle"].as_str().unwrap());
        vec![
            format!("--audit-policy-file={}", write(dir, "policy.yaml", POLICY)),
            format!("--audit-webhook-config-file={}", write(dir, "webhook.yaml", &config)),
            "--audit-webhook-batch-max-size=2".to_owned(),
            "--audit-webhook-batch-max-wait=1h".to_owned(),
            format!("--audit-log-path={}", dir.join("audit.log").display()),
            "--audit-log-format=legacy".to_owned(),
        ]
    });
    let admin = admin(&server);
    assert_eq!(post(&admin, MAPS, json!({ "metadata": { "name": "a" } })).code, 201);
    let begun = Instant::now();
    let lists = loop {
        let seen = hook.seen("/audit");
        if !seen.is_empty() {
            break seen;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "the webhook was told nothing");
    };
    assert_eq!((&lists[0]["kind"], &lists[0]["apiVersion"]), (&json!("EventList"), &json!("audit.k8s.io/v1")));
    let stages: Vec<&Value> = lists[0]["items"].as_array().unwrap().iter().map(|event| &event["stage"]).collect();
    assert_eq!(stages, ["RequestReceived", "ResponseComplete"], "a batch goes when it is full");
    let log = std::fs::read_to_string(server.dir.join("audit.log")).unwrap();
    let last = log.lines().last().unwrap();
    assert!(last.contains(" AUDIT: id=\"") && last.contains("stage=\"ResponseComplete\""), "{last}");
    assert!(
        last.contains("method=\"create\" user=\"kubernetes-admin\"") && last.ends_with("response=\"201\""),
        "{last}"
    );
    assert!(metric(&admin, "apiserver_audit_event_total 2"));
    assert!(!loses(&admin, "webhook"));
}

#[test]
fn the_past_is_kept_for_two_intervals() {
    let server = Server::start_with("past", None, |_| vec!["--etcd-compaction-interval=200ms".to_owned()]);
    let admin = admin(&server);
    let (exact, limit) = (format!("{MAPS}?resourceVersion=1&resourceVersionMatch=Exact"), Duration::from_secs(30));
    let begin = Instant::now();
    let gone = loop {
        let reply = admin.send("GET", &exact, &[], "");
        if reply.code != 200 {
            break reply;
        }
        assert!(reply.text.contains("\"items\":[]"), "{}", reply.text);
        assert!(begin.elapsed() < limit, "it is not forgotten");
    };
    let told = gone.text.contains("The resourceVersion for the provided list is too old.");
    assert!(gone.code == 410 && told, "{}", gone.text);
}

#[test]
fn what_waits_in_the_buffer_is_sent_at_the_end() {
    let hook = Hook::start(|_, _| json!({}));
    let config = hook.url("/audit");
    let server = Server::start_with("audit-end", None, |dir| {
        let config = kubeconfig(config["url"].as_str().unwrap(), config["caBundle"].as_str().unwrap());
        vec![
            format!("--audit-policy-file={}", write(dir, "policy.yaml", POLICY)),
            format!("--audit-webhook-config-file={}", write(dir, "webhook.yaml", &config)),
            "--audit-webhook-batch-max-wait=1h".to_owned(),
        ]
    });
    assert_eq!(post(&admin(&server), MAPS, json!({ "metadata": { "name": "a" } })).code, 201);
    assert!(hook.seen("/audit").is_empty());
    drop(server);
    let lists = hook.seen("/audit");
    assert_eq!(lists.iter().map(|list| list["items"].as_array().unwrap().len()).sum::<usize>(), 2);
}

#[test]
fn a_request_that_must_be_audited_and_cannot_is_refused() {
    for (mode, code) in [("blocking-strict", 500), ("blocking", 201)] {
        let server = Server::start_with(&format!("audit-{mode}"), None, |dir| {
            vec![
                format!("--audit-policy-file={}", write(dir, "policy.yaml", POLICY)),
                // Nobody listens there.
                format!(
                    "--audit-webhook-config-file={}",
                    write(dir, "webhook.yaml", &kubeconfig("http://127.0.0.1:1", ""))
                ),
                format!("--audit-webhook-mode={mode}"),
                "--audit-webhook-initial-backoff=1ms".to_owned(),
            ]
        });
        let admin = admin(&server);
        let reply = post(&admin, MAPS, json!({ "metadata": { "name": "a" } }));
        assert_eq!(reply.code, code, "{}", reply.text);
        let refused = format!("Internal Server Error: {MAPS:?}: failed to store audit event");
        assert_eq!(reply.text.contains(&refused), code == 500, "{}", reply.text);
        let rejected = u8::from(code == 500);
        assert!(metric(&admin, &format!("apiserver_audit_requests_rejected_total {rejected}")), "{mode}");
        assert!(loses(&admin, "webhook"), "{mode}");
    }
}

const ADMISSION: &str = "apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: PodSecurity
  configuration:
    apiVersion: pod-security.admission.config.k8s.io/v1
    kind: PodSecurityConfiguration
    defaults: {enforce: baseline}
    exemptions: {namespaces: [exempt], usernames: [jane], runtimeClasses: []}
- name: ResourceQuota
  path: quota.yaml
- name: EventRateLimit
  configuration:
    apiVersion: eventratelimit.admission.k8s.io/v1alpha1
    kind: Configuration
    limits: [{type: Namespace, qps: 1, burst: 1}]
";
const QUOTA: &str = "apiVersion: apiserver.config.k8s.io/v1
kind: ResourceQuotaConfiguration
limitedResources: [{resource: persistentvolumeclaims, matchContains: [gold.storageclass.storage.k8s.io/requests.storage]}]
";

#[test]
fn admission_plugins_do_as_they_are_configured() {
    let server = Server::start_with("admission-config", None, |dir| {
        write(dir, "quota.yaml", QUOTA);
        vec![
            format!("--admission-control-config-file={}", write(dir, "admission.yaml", ADMISSION)),
            "--enable-admission-plugins=EventRateLimit".to_owned(),
        ]
    });
    let admin = admin(&server);
    let message = |reply: &Reply| {
        let body = reply.text.split("\r\n\r\n").nth(1).unwrap_or_default();
        let start = body.find('{').unwrap_or(0);
        let end = body.rfind('}').map_or(body.len(), |end| end + 1);
        let status: Value = serde_json::from_str(&body[start..end]).unwrap_or_default();
        status["message"].as_str().unwrap_or_default().to_owned()
    };
    let labels = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
    let exempt = post(&admin, "/api/v1/namespaces", json!({ "metadata": { "name": "exempt", "labels": labels } }));
    assert_eq!(exempt.code, 201);
    let warning = "namespace \\\"exempt\\\" is exempt from Pod Security, and the policy (enforce=restricted:latest, \
                   warn=restricted:latest) will be ignored";
    assert!(!exempt.text.contains(warning), "warn was not asked for by a label");
    assert!(exempt.text.contains("the policy (enforce=restricted:latest) will be ignored"), "{}", exempt.text);
    for namespace in ["default", "exempt"] {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        assert_eq!(post(&admin, &path, json!({ "metadata": { "name": "default" } })).code, 201);
    }
    let pod = |name: &str| {
        json!({ "metadata": { "name": name },
            "spec": { "hostNetwork": true, "containers": [{ "name": "c", "image": "busybox" }] } })
    };
    let refused = post(&admin, "/api/v1/namespaces/default/pods", pod("a"));
    assert!(
        message(&refused).contains("violates PodSecurity \"baseline:latest\": host namespaces"),
        "{}",
        refused.text
    );
    assert_eq!(post(&admin, "/api/v1/namespaces/exempt/pods", pod("a")).code, 201);
    let jane = ["Impersonate-User: jane", "Impersonate-Group: system:masters"];
    let by_jane = admin.send("POST", "/api/v1/namespaces/default/pods", &jane, &pod("b").to_string());
    assert_eq!(by_jane.code, 201, "{}", by_jane.text);

    let claim = json!({ "metadata": { "name": "a" }, "spec": { "accessModes": ["ReadWriteOnce"], "storageClassName": "gold",
        "resources": { "requests": { "storage": "1Gi" } } } });
    let refused = post(&admin, "/api/v1/namespaces/default/persistentvolumeclaims", claim);
    assert_eq!(refused.code, 403);
    let why = "insufficient quota to consume: gold.storageclass.storage.k8s.io/requests.storage";
    assert!(message(&refused).contains(why), "{}", refused.text);

    let event = |name: &str| {
        let about = json!({ "kind": "Pod", "namespace": "default", "name": "a" });
        post(
            &admin,
            "/api/v1/namespaces/default/events",
            json!({ "metadata": { "name": name }, "involvedObject": about }),
        )
    };
    assert_eq!(event("first").code, 201);
    // Tokens come back with time: however slow the machine, of many Events in a row one is too many.
    let mut more = (0..1000).map(|at| event(&format!("e{at}")));
    let refused = more.find(|reply| reply.code != 201).expect("a limit is reached");
    let why = "Too many requests: limit reached on type Namespace for key default";
    assert_eq!((refused.code, message(&refused).as_str()), (429, why));
}

#[test]
fn events_that_are_too_large_are_cut_or_dropped() {
    let server = Server::start_with("audit-truncate", None, |dir| {
        vec![
            format!("--audit-policy-file={}", write(dir, "policy.yaml", &POLICY.replace("Metadata", "Request"))),
            format!("--audit-log-path={}", dir.join("audit.log").display()),
            "--audit-log-truncate-enabled".to_owned(),
            "--audit-log-truncate-max-event-size=3000".to_owned(),
            "--audit-log-truncate-max-batch-size=3000".to_owned(),
        ]
    });
    let admin = admin(&server);
    let map = |name: &str, size: usize| json!({ "metadata": { "name": name }, "data": { "x": "x".repeat(size) } });
    assert_eq!(post(&admin, MAPS, map("small", 1)).code, 201);
    assert_eq!(post(&admin, MAPS, map("large", 5000)).code, 201);
    let path = format!("{MAPS}?fieldManager=m&pretty={}", "x".repeat(5000));
    assert_eq!(post(&admin, &path, map("dropped", 1)).code, 201);
    let log = std::fs::read_to_string(server.dir.join("audit.log")).unwrap();
    let told: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ends: Vec<(bool, &Value)> = told
        .iter()
        .filter(|event| event["stage"] == "ResponseComplete")
        .map(|event| (event["requestObject"].is_object(), &event["annotations"]["audit.k8s.io/truncated"]))
        .collect();
    assert_eq!(ends, [(true, &Value::Null), (false, &json!("true"))]);
    assert!(log.lines().all(|line| line.len() < 3000), "{log}");
    // Its arrival, and its end.
    assert!(metric(&admin, "apiserver_audit_error_total{plugin=\"truncate\"} 2"));
}

/// What an image is called decides.
fn judge(_: &str, review: &Value) -> Value {
    let images = review["spec"]["containers"].to_string();
    let status = match () {
        () if images.contains("silent") => json!({ "allowed": false }),
        () if images.contains("bad") => json!({ "allowed": false, "reason": "it is bad" }),
        () if images.contains("odd") => return json!({ "kind": "Odd", "apiVersion": "v1" }),
        () => json!({ "allowed": true, "auditAnnotations": { "by": "judge" } }),
    };
    json!({ "kind": "ImageReview", "apiVersion": "imagepolicy.k8s.io/v1alpha1", "status": status })
}

#[test]
fn a_webhook_decides_on_images() {
    for default_allow in [false, true] {
        let hook = Hook::start(judge);
        let config = hook.url("/images");
        let server = Server::start_with(&format!("images-{default_allow}"), None, |dir| {
            let config = kubeconfig(config["url"].as_str().unwrap(), config["caBundle"].as_str().unwrap());
            let policy = json!({ "kubeConfigFile": write(dir, "images.yaml", &config), "retryBackoff": 1, "defaultAllow": default_allow });
            let plugin = json!({ "name": "ImagePolicyWebhook", "configuration": { "imagePolicy": policy } });
            let file = json!({ "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": [plugin] });
            vec![
                format!("--admission-control-config-file={}", write(dir, "admission.yaml", &file.to_string())),
                "--enable-admission-plugins=ImagePolicyWebhook".to_owned(),
                format!("--audit-policy-file={}", write(dir, "policy.yaml", &POLICY.replace("configmaps", "pods"))),
                format!("--audit-log-path={}", dir.join("audit.log").display()),
            ]
        });
        let admin = admin(&server);
        let account = json!({ "metadata": { "name": "default" } });
        assert_eq!(post(&admin, "/api/v1/namespaces/default/serviceaccounts", account).code, 201);
        let pod = |name: &str, image: &str| {
            let annotations = json!({ "mine.image-policy.k8s.io/ticket": "7", "other": "x" });
            let object = json!({ "metadata": { "name": name, "annotations": annotations },
                "spec": { "containers": [{ "name": "c", "image": image }] } });
            post(&admin, "/api/v1/namespaces/default/pods", object)
        };
        assert_eq!(pod("good", "fine").code, 201);
        let reviews = hook.seen("/images");
        assert_eq!(reviews.len(), 1);
        assert_eq!(
            (&reviews[0]["kind"], &reviews[0]["apiVersion"]),
            (&json!("ImageReview"), &json!("imagepolicy.k8s.io/v1alpha1"))
        );
        let spec = json!({ "containers": [{ "image": "fine" }], "namespace": "default",
            "annotations": { "mine.image-policy.k8s.io/ticket": "7" } });
        assert_eq!(reviews[0]["spec"], spec);
        assert_eq!((pod("again", "fine").code, hook.seen("/images").len()), (201, 0), "the answer is kept");
        let log = std::fs::read_to_string(server.dir.join("audit.log")).unwrap();
        assert!(log.contains("\"imagepolicywebhook.image-policy.k8s.io/by\":\"judge\""), "{log}");

        let refused = |name: &str, image: &str, why: &str| {
            let reply = pod(name, image);
            assert!(reply.code == 403 && reply.text.contains(why), "{}", reply.text);
        };
        let why = "pods \\\"bad\\\" is forbidden: image policy webhook backend denied one or more images: it is bad";
        refused("bad", "bad", why);
        refused("silent", "silent", "pods \\\"silent\\\" is forbidden: one or more images rejected by webhook backend");
        // A change is judged, too.
        let (changed, told) = server.kubectl(&["set", "image", "pod/good", "c=bad"], "");
        assert!(!changed && told.contains("denied one or more images: it is bad"), "{told}");

        // No answer that could be understood.
        if default_allow {
            assert_eq!(pod("odd", "odd").code, 201);
            let log = std::fs::read_to_string(server.dir.join("audit.log")).unwrap();
            assert!(log.contains("\"imagepolicywebhook.image-policy.k8s.io/failed-open\":\"true\""), "{log}");
        } else {
            refused("odd", "odd", "no kind \\\"Odd\\\" is registered for version \\\"v1\\\"");
        }
    }
}

/// Secrets only that they were asked for, ConfigMaps as they were sent, and everything else.
const LEVELS: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Request\n  resources: [{group: \"\", resources: \
                      [configmaps]}]\n- level: RequestResponse\n";

#[test]
fn events_say_what_upstreams_say() {
    let server = Server::start_with("audit-events", None, |dir| {
        vec![
            format!("--audit-policy-file={}", write(dir, "policy.yaml", LEVELS)),
            format!("--audit-log-path={}", dir.join("audit.log").display()),
        ]
    });
    let admin = admin(&server);
    let nobody = Raw::new(&server.dir.join("pki/ca.crt"), server.port, None);
    let send = |to: &Raw, id: &str, method: &str, path: &str, header: &str, body: Value| {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let id = format!("Audit-ID: {id}");
        let headers: Vec<&str> = [id.as_str(), header].into_iter().filter(|header| !header.is_empty()).collect();
        to.send(method, path, &headers, &body).code
    };
    let told = |id: &str| -> Vec<Value> {
        let log = std::fs::read_to_string(server.dir.join("audit.log")).unwrap();
        let events = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        events.filter(|event| event["auditID"] == id).collect()
    };
    let account = "/api/v1/namespaces/default/serviceaccounts";
    let pod = json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "c", "image": "i" }] } });
    let token = format!("{account}/default/token");
    let scale = "/apis/apps/v1/namespaces/default/deployments/d/scale";
    let (name, agent) = (json!({ "metadata": { "name": "default" } }), format!("User-Agent: {}", "é".repeat(600)));
    let deployment = json!({ "metadata": { "name": "d" }, "spec": { "selector": { "matchLabels": { "a": "b" } }, "template": {
        "metadata": { "labels": { "a": "b" } }, "spec": { "containers": [{ "name": "c", "image": "i" }] } } } });
    post(&admin, account, name);
    post(&admin, "/apis/apps/v1/namespaces/default/deployments", deployment);
    post(&admin, "/api/v1/namespaces/default/pods", pod);
    post(&admin, MAPS, json!({ "metadata": { "name": "a" } }));
    for (id, method, path, header, body, code, pointer, expected) in [
        (
            "namespace",
            "POST",
            "/api/v1/namespaces",
            "",
            json!({ "metadata": { "name": "n" } }),
            201,
            "/requestObject/status",
            json!({ "phase": "Active" }),
        ),
        (
            "namespace-status",
            "PUT",
            "/api/v1/namespaces/n/status",
            "",
            json!({ "metadata": { "name": "n" } }),
            200,
            "/responseObject/status",
            json!({ "phase": "Active" }),
        ),
        (
            "token",
            "POST",
            &token,
            "",
            json!({ "spec": {} }),
            201,
            "/requestObject",
            json!({
                "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": {},
                "spec": { "audiences": null, "expirationSeconds": 3600, "boundObjectRef": null },
                "status": { "token": "", "expirationTimestamp": null },
            }),
        ),
        (
            "scale",
            "PUT",
            scale,
            "",
            json!({ "metadata": { "name": "d" }, "spec": { "replicas": 2 } }),
            200,
            "/requestObject",
            json!({
                "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": { "name": "d" }, "spec": { "replicas": 2 },
                "status": { "replicas": 0 },
            }),
        ),
        (
            "options",
            "DELETE",
            "/api/v1/namespaces/default/pods/none",
            "",
            json!({ "gracePeriodSeconds": 0 }),
            404,
            "/requestObject",
            json!({ "kind": "DeleteOptions", "apiVersion": "meta.k8s.io/__internal", "gracePeriodSeconds": 0 }),
        ),
        ("status", "DELETE", &format!("{MAPS}/a"), "", Value::Null, 200, "/responseStatus/status", "Success".into()),
        ("no-object", "GET", "/version", "", Value::Null, 200, "/responseObject", Value::Null),
        ("an-object", "GET", "/api", "", Value::Null, 200, "/responseObject/kind", "APIVersions".into()),
        (
            "agent",
            "GET",
            "/version",
            &agent,
            Value::Null,
            200,
            "/userAgent",
            format!("{}...TRUNCATED", "é".repeat(512)).into(),
        ),
        (
            "slight",
            "PATCH",
            "/api/v1/namespaces/default/pods/p",
            "",
            json!({ "metadata": { "labels": { "a": "b" } } }),
            200,
            "/annotations/pod-security.kubernetes.io~1enforce-policy",
            "privileged:latest".into(),
        ),
    ] {
        let sent = match method {
            "PATCH" => {
                let header = format!("Audit-ID: {id}");
                admin.exchange("PATCH", path, &[&header], ("application/merge-patch+json", &body.to_string())).code
            }
            _ => send(&admin, id, method, path, header, body),
        };
        assert_eq!(sent, code, "{id}");
        let events = told(id);
        let stages: Vec<&Value> = events.iter().map(|event| &event["stage"]).collect();
        assert_eq!(stages, ["RequestReceived", "ResponseComplete"], "{id}");
        assert_eq!(events[1].pointer(pointer).unwrap_or(&Value::Null), &expected, "{id}");
    }
    // Of who is not known it is told that he was refused.
    assert_eq!(send(&nobody, "unknown", "GET", "/version", "Authorization: Bearer junk", Value::Null), 401);
    let unknown = told("unknown");
    assert_eq!((unknown.len(), &unknown[0]["stage"]), (1, &json!("ResponseStarted")));
    // That a watched resource is to go is noted at the end.
    let watched = "/api/v1/namespaces/default/endpoints?watch=1&timeoutSeconds=1";
    assert_eq!(send(&admin, "deprecated", "GET", watched, "", Value::Null), 200);
    let noted: Vec<_> = told("deprecated")
        .iter()
        .map(|event| (event["stage"].clone(), event["annotations"]["k8s.io/deprecated"].clone()))
        .collect();
    let expected =
        [("RequestReceived", Value::Null), ("ResponseStarted", Value::Null), ("ResponseComplete", "true".into())];
    assert_eq!(noted, expected.map(|(stage, noted)| (json!(stage), noted)));
    // What takes long is told in its parts.
    assert_eq!(send(&admin, "slow", "GET", &format!("{MAPS}?resourceVersion=99999999"), "", Value::Null), 504);
    let annotations = told("slow")[1]["annotations"].clone();
    for part in ["total", "authentication", "authorization", "etcd", "serialize-response-object"] {
        assert!(annotations[format!("apiserver.latency.k8s.io/{part}")].is_string(), "{annotations}");
    }
}

/// What a Secret says, in base64.
const HIDDEN: &str = "aGlkZGVuIGlzIHdoYXQgaXQgaXM=";

#[test]
fn secrets_are_encrypted_in_the_store() {
    let encrypted = |provider: &str, name: &str| {
        format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n  \
             - {provider}: {{keys: [{{name: {name}, secret: AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=}}]}}\n  - aescbc: {{keys: \
             [{{name: old, secret: AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=}}]}}\n"
        )
    };
    let server = Server::start_with("encryption", None, |dir| {
        vec![
            format!("--encryption-provider-config={}", write(dir, "encryption.yaml", &encrypted("aescbc", "old"))),
            "--encryption-provider-config-automatic-reload".to_owned(),
        ]
    });
    let stored = |wanted: &str| {
        let files = std::fs::read_dir(server.dir.join("store")).unwrap().map(|file| file.unwrap().path());
        files.filter(|file| file.is_file()).any(|file| {
            let bytes = std::fs::read(file).unwrap();
            bytes.windows(wanted.len()).any(|window| window == wanted.as_bytes())
        })
    };
    let admin = admin(&server);
    let secrets = "/api/v1/namespaces/default/secrets";
    let secret = json!({ "metadata": { "name": "s" }, "data": { "a": HIDDEN } });
    assert_eq!(post(&admin, secrets, secret.clone()).code, 201);
    assert!(stored("k8s:enc:aescbc:v1:old:") && !stored(HIDDEN));
    assert!(admin.send("GET", secrets, &[], "").text.contains(HIDDEN));
    // With another file an update that changes nothing writes anew, once.
    write(&server.dir, "encryption.yaml", &encrypted("secretbox", "new"));
    let one = format!("{secrets}/s");
    let update = || admin.send("PUT", &one, &[], &secret.to_string()).code;
    let begun = Instant::now();
    while !stored("k8s:enc:secretbox:v1:new:") {
        assert_eq!(update(), 200);
        assert!(begun.elapsed() < Duration::from_secs(20), "the new file is not in force");
    }
    let all = || admin.send("GET", &one, &[], "").text;
    let before = all();
    assert_eq!(update(), 200);
    let version = |text: &str| text.split("\"resourceVersion\"").nth(1).map(|rest| rest[..12].to_owned());
    assert_eq!(version(&all()), version(&before));
    assert!(before.contains(HIDDEN) && !stored(HIDDEN));
    // Who has not the key is told so.
    write(&server.dir, "encryption.yaml", &encrypted("aescbc", "third"));
    let why = "Internal error occurred: no matching prefix found";
    let begun = Instant::now();
    while !admin.send("PUT", &one, &[], &secret.to_string()).text.contains(why) {
        assert!(begun.elapsed() < Duration::from_secs(20), "the new file is not in force");
    }
    for check in ["kms-providers", "poststarthook/start-encryption-provider-config-automatic-reload"] {
        assert_eq!(admin.send("GET", &format!("/readyz/{check}"), &[], "").code, 200, "{check}");
    }
}

#[test]
fn secrets_are_encrypted_with_a_plugins_key() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut plugin = None;
    let server = Server::start_with("kms", None, |dir| {
        let socket = dir.join("a.sock");
        plugin = Some(runtime.block_on(async { kms::Plugin::start(&socket) }));
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets, configmaps]\n  \
             providers: [{{kms: {{apiVersion: v2, name: a, endpoint: 'unix://{}'}}}}, {{identity: {{}}}}]\n",
            socket.display()
        );
        vec![format!("--encryption-provider-config={}", write(dir, "encryption.yaml", &text))]
    });
    let (admin, plugin) = (admin(&server), plugin.unwrap());
    let get = |path: &str| admin.send("GET", path, &[], "");
    let secrets = "/api/v1/namespaces/default/secrets";
    for (path, name) in [(secrets, "s"), (MAPS, "m")] {
        assert_eq!(post(&admin, path, json!({ "metadata": { "name": name }, "data": { "a": HIDDEN } })).code, 201);
        assert!(get(path).text.contains(HIDDEN));
    }
    let files = std::fs::read_dir(server.dir.join("store")).unwrap().map(|file| std::fs::read(file.unwrap().path()));
    let files: Vec<u8> = files.flat_map(Result::unwrap).collect();
    let stored = |wanted: &str| files.windows(wanted.len()).filter(|window| *window == wanted.as_bytes()).count();
    assert!(stored("k8s:enc:kms:v2:a:") >= 2 && stored(HIDDEN) == 0);
    // Both have one seed, which nobody had to decrypt.
    assert_eq!(plugin.calls.lock().unwrap().as_slice(), ["encrypt"]);
    assert_eq!(["/readyz/kms-providers", "/livez/kms-providers"].map(|path| get(path).code), [200, 404]);
    assert!(metric(&admin, "apiserver_envelope_encryption_dek_source_cache_size{provider_name=\"a\"} 1"));
}

/// As slow as a hook may be without being given up.
#[allow(clippy::disallowed_methods, reason = "the test's hook is slow on purpose; nothing waits for it but the caller")]
fn late(_: &str, review: &Value) -> Value {
    std::thread::sleep(Duration::from_millis(300));
    support::hook::admitted(review, json!({ "allowed": true }))
}

#[test]
fn the_parts_of_slow_requests_are_noted() {
    let hook = Hook::start(late);
    let server = Server::start_with("audit-parts", None, |dir| {
        vec![
            format!("--audit-policy-file={}", write(dir, "policy.yaml", POLICY)),
            format!("--audit-log-path={}", dir.join("audit.log").display()),
        ]
    });
    let admin = admin(&server);
    for (kind, plural) in
        [("Mutating", "mutatingwebhookconfigurations"), ("Validating", "validatingwebhookconfigurations")]
    {
        let rule =
            json!({ "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"] });
        let hook = |name: &str| {
            json!({ "name": name, "clientConfig": hook.url("/late"), "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "rules": [rule] })
        };
        let configuration = json!({ "apiVersion": "admissionregistration.k8s.io/v1", "kind": format!("{kind}WebhookConfiguration"),
            "metadata": { "name": "late" }, "webhooks": [hook("a.late.io"), hook("b.late.io")] });
        let path = format!("/apis/admissionregistration.k8s.io/v1/{plural}");
        assert_eq!(post(&admin, &path, configuration).code, 201);
    }
    let begun = Instant::now();
    for attempt in 0.. {
        assert_eq!(post(&admin, MAPS, json!({ "metadata": { "name": format!("m{attempt}") } })).code, 201);
        let log = std::fs::read_to_string(server.dir.join("audit.log")).unwrap();
        let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
        let took = |part: &str| {
            let text = last["annotations"][format!("apiserver.latency.k8s.io/{part}")].as_str().unwrap_or("0s");
            Duration::from_nanos(schema::time::parse_duration(text).unwrap().unsigned_abs())
        };
        let (mutating, validating) = (took("mutating-webhook"), took("validating-webhook"));
        // The configurations are known a moment after they were made.
        if mutating.is_zero() || validating.is_zero() {
            assert!(begun.elapsed() < Duration::from_secs(20), "the hooks are not asked");
            continue;
        }
        // The ones are asked one after the other, the others at once.
        let late = Duration::from_millis(300);
        assert!(mutating >= 2 * late && validating >= late && took("total") >= mutating + validating, "{last}");
        for part in ["authentication", "authorization", "etcd", "serialize-response-object"] {
            assert!(took(part) > Duration::ZERO && took(part) < late, "{part}: {last}");
        }
        return;
    }
}
