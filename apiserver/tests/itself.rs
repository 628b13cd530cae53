//! What the server says about itself: how it is, what there is to ask it, what it counts, and what of it is logged.

mod support;

use std::path::Path;

use serde_json::{Value, json};
use support::Server;
use support::raw::{Raw, Reply};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

const POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: RequestResponse
  omitManagedFields: true
  resources: [{group: \"\", resources: [configmaps, pods, pods/exec]}]
";

fn admin(server: &Server) -> Raw {
    let read = |name: &str| std::fs::read_to_string(server.dir.join("pki").join(name)).unwrap();
    Raw::new(&server.dir.join("pki/ca.crt"), server.port, Some((&read("admin.crt"), &read("admin.key"))))
}

fn body(reply: &Reply) -> &str {
    reply.text.split_once("\r\n\r\n").unwrap().1
}

#[test]
fn the_server_tells_how_it_is() {
    let server = Server::start_with("itself", None, |dir| {
        std::fs::write(dir.join("policy.yaml"), POLICY).unwrap();
        let file = |name: &str| dir.join(name).display().to_string();
        vec![
            format!("--audit-policy-file={}", file("policy.yaml")),
            format!("--audit-log-path={}", file("audit.log")),
            "--audit-log-mode=blocking".to_owned(),
        ]
    });
    let admin = admin(&server);
    let get = |path: &str| admin.send("GET", path, &[], "");
    health(&get);
    documents(&get, &admin);
    log(&admin, &server.dir);
    series(&get, &admin);
}

fn health(get: &impl Fn(&str) -> Reply) {
    for (path, code, begins, ends) in [
        ("/readyz", 200, "ok", "ok"),
        (
            "/readyz?verbose",
            200,
            "[+]ping ok\n[+]log ok\n[+]etcd ok\n[+]etcd-readiness ok\n",
            "[+]shutdown ok\nreadyz check passed\n",
        ),
        ("/livez?verbose=0", 200, "[+]ping ok\n[+]log ok\n[+]etcd ok\n[+]poststarthook/", "ok\nlivez check passed\n"),
        ("/readyz?verbose&exclude=ping", 200, "[+]ping excluded: ok\n[+]log ok\n", "readyz check passed\n"),
        (
            "/healthz?verbose&exclude=b&exclude=a",
            200,
            "[+]ping ok\n",
            "warn: some health checks cannot be excluded: no matches for \"a\",\"b\"\nhealthz check passed\n",
        ),
        ("/livez/poststarthook/rbac/bootstrap-roles", 200, "ok", "ok"),
        ("/livez/etcd-readiness", 404, "404 page not found", "\n"),
        ("/readyz/", 404, "404 page not found", "\n"),
        ("/debug/pprof/", 404, "404 page not found", "\n"),
    ] {
        let reply = get(path);
        let text = body(&reply);
        assert_eq!(reply.code, code, "{path}");
        assert!(text.starts_with(begins) && text.ends_with(ends), "{path}: {text}");
    }
    let index = get("/");
    for path in ["/readyz/shutdown", "/livez/ping", "/healthz/autoregister-completion", "/metrics/slis", "/version"] {
        assert!(index.text.contains(&format!("\"{path}\"")), "{path}: {}", index.text);
    }
    assert_eq!(body(&get("/index.html")), body(&index));
    let indicators = get("/metrics/slis").text;
    for line in [
        "# HELP kubernetes_healthcheck [STABLE] This metric records the result of a single healthcheck.",
        r#"kubernetes_healthcheck{name="ping",type="livez"} 1"#,
        r#"kubernetes_healthchecks_total{name="log",status="success",type="livez"} 1"#,
    ] {
        assert!(indicators.lines().any(|known| known == line), "{line}: {indicators}");
    }
}

fn documents(get: &impl Fn(&str) -> Reply, admin: &Raw) {
    let index: Value = serde_json::from_str(body(&get("/openapi/v3"))).unwrap();
    for name in ["api", "api/v1", "apis", "apis/apps", "apis/apps/v1", "version", "openid/v1/jwks"] {
        let address = index["paths"][name]["serverRelativeURL"].as_str().unwrap_or_else(|| panic!("{name}: {index}"));
        let reply = get(address);
        assert!(reply.code == 200 && reply.text.contains("public, immutable"), "{name}: {}", reply.text);
        let elsewhere = get(&format!("/openapi/v3/{name}?hash=0"));
        assert!(elsewhere.code == 301 && elsewhere.text.contains(address), "{name}: {}", elsewhere.text);
        assert!(get(&format!("/openapi/v3/{name}")).text.contains("no-cache, private"), "{name}");
    }
    assert_eq!(get("/openapi/v3/apis/nowhere.example.com/v1").code, 404);
    for path in ["/openapi/v2", "/openapi/v3/api/v1"] {
        assert_eq!(admin.send("GET", path, &["Accept: application/yaml"], "").code, 406, "{path}");
    }
    // As Go's encoder ends what it writes; what is written for people ends without.
    for (path, end) in [("/api/v1/namespaces", "]}\n"), ("/api/v1/namespaces/default", "}\n"), ("/api", "]}\n")] {
        assert!(body(&get(path)).ends_with(end), "{path}");
        assert!(body(&get(&format!("{path}?pretty=1"))).ends_with("\n}"), "{path}");
    }
}

fn log(admin: &Raw, dir: &Path) {
    let own = |name: &str| vec![format!("Audit-ID: {name}")];
    let send = |id: &str, method: &str, path: &str, more: &[&str], body: &str| {
        let mut headers = own(id);
        headers.extend(more.iter().map(|header| (*header).to_owned()));
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        admin.send(method, path, &headers, body).code
    };
    let pod = json!({ "metadata": { "name": "p" }, "spec": { "automountServiceAccountToken": false,
        "containers": [{ "name": "c", "image": "i" }] } });
    let patch = [json!({ "op": "add", "path": "/data", "value": { "a": "b" } })];
    let sources = ["X-Forwarded-For: 1.2.3.4, nonsense", "X-Real-Ip: 9.9.9.9"];
    let json_patch = ["Content-Type: application/json-patch+json"];
    let account = json!({ "metadata": { "name": "default" } }).to_string();
    admin.send("POST", "/api/v1/namespaces/default/serviceaccounts", &[], &account);
    assert_eq!(send("map", "POST", MAPS, &sources, &json!({ "metadata": { "name": "a" } }).to_string()), 201);
    // The header of the test's client counts second.
    let _ = send("patch", "PATCH", &format!("{MAPS}/a"), &json_patch, &json!(patch).to_string());
    assert_eq!(send("pod", "POST", PODS, &[], &pod.to_string()), 201);
    assert_eq!(
        send("table", "GET", &format!("{MAPS}/a"), &["Accept: application/json;as=Table;v=v1;g=meta.k8s.io"], ""),
        200
    );
    assert_eq!(send("exec", "POST", &format!("{PODS}/p/exec?command=a&stdout=1"), &[], ""), 400);
    assert_eq!(send("early", "GET", &format!("{MAPS}/a?timeout=x"), &[], ""), 400);
    assert_eq!(send("form", "GET", &format!("{MAPS}/a"), &["Accept: text/html"], ""), 406);
    // Nobody has written a log where no container has been.
    assert_eq!(send("log", "GET", &format!("{PODS}/p/log"), &[], ""), 204);
    let text = std::fs::read_to_string(dir.join("audit.log")).unwrap();
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |id: &str| -> Vec<&Value> { events.iter().filter(|event| event["auditID"] == id).collect() };
    let one = |id: &str| of(id)[0];
    assert_eq!(one("map")["sourceIPs"], json!(["1.2.3.4", "9.9.9.9", "127.0.0.1"]));
    assert_eq!(one("map")["objectRef"]["name"], "a", "the object's, for the path names none");
    assert_eq!(one("map")["objectRef"]["uid"], Value::Null, "the client did not give it one");
    assert_ne!(one("patch")["stage"], "Panic");
    assert_eq!(one("pod")["requestObject"]["spec"]["restartPolicy"], "Always", "with its defaults");
    assert_eq!(one("table")["responseObject"]["rows"][0]["object"]["metadata"].get("managedFields"), None);
    let stages = |id: &str| of(id).iter().map(|event| event["stage"].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(stages("exec"), ["ResponseStarted", "ResponseComplete"]);
    assert_eq!(one("exec")["responseStatus"]["message"], "pod p does not have a host assigned");
    assert_eq!(stages("early"), ["ResponseStarted"]);
    assert_eq!(one("form")["responseStatus"], json!({ "metadata": {}, "code": 406 }));
}

fn series(get: &impl Fn(&str) -> Reply, admin: &Raw) {
    let page = get("/metrics").text;
    let request = |code: u16, more: &str| {
        format!(
            "apiserver_request_total{{code=\"{code}\",component=\"apiserver\",dry_run=\"\",group=\"\",{more},version=\"v1\"}}"
        )
    };
    for line in [
        "# HELP apiserver_request_total [STABLE] Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.".to_owned(),
        "# TYPE apiserver_request_duration_seconds histogram".to_owned(),
        format!("{} 1", request(201, "resource=\"pods\",scope=\"resource\",subresource=\"\",verb=\"POST\"")),
        format!("{} 1", request(400, "resource=\"pods\",scope=\"resource\",subresource=\"exec\",verb=\"CONNECT\"")),
        format!("{} 1", request(204, "resource=\"pods\",scope=\"resource\",subresource=\"log\",verb=\"CONNECT\"")),
        "apiserver_storage_objects{resource=\"pods\"} 1".to_owned(),
        "apiserver_resource_objects{group=\"apps\",resource=\"deployments\"} 0".to_owned(),
        "apiserver_admission_step_admission_duration_seconds_count{operation=\"CREATE\",rejected=\"false\",type=\"admit\"}".to_owned(),
        "etcd_requests_total{group=\"\",operation=\"create\",resource=\"pods\"} 1".to_owned(),
        "apiserver_flowcontrol_dispatched_requests_total{flow_schema=\"exempt\",priority_level=\"exempt\"}".to_owned(),
        "apiserver_longrunning_requests{".to_owned(),
        "authentication_attempts{result=\"success\"} ".to_owned(),
        "process_resident_memory_bytes ".to_owned(),
    ] {
        assert!(page.lines().any(|known| known.starts_with(&line)), "{line}");
    }
    assert!(!page.contains("code=\"406\""), "it has not reached any handler");
    assert_eq!(body(&admin.send("DELETE", "/metrics", &[], "")), "metrics reset\n");
    assert!(!get("/metrics").text.contains("resource=\"pods\",scope=\"resource\",subresource=\"exec\""));
}
