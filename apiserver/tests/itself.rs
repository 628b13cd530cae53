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

/// What is asked for by flags that upstream has, on a command line as others write it.
#[test]
fn command_lines_of_others_are_taken() {
    let server = Server::start_with("flags", None, |_| {
        let flags = "--allow-privileged=true --advertise-address=127.0.0.1 --authorization-mode=Node,RBAC --etcd-prefix=/clusters/a \
            --feature-gates=WatchList=true --runtime-config=batch/v1=false --runtime-config=api/all=true --storage-media-type=application/json \
            --enable-admission-plugins=NodeRestriction --disable-admission-plugins=ServiceAccount --tls-min-version=VersionTLS13 \
            --cors-allowed-origins=^https://a\\.io$ --strict-transport-security-directives=max-age=60 --goaway-chance=0.001 \
            --service-account-max-token-expiration=20m --external-hostname=api.io --vmodule=a=2 --watch-cache-sizes=pods#9 -v=1 --v=2 --profiling=false --profiling";
        flags.split_whitespace().map(str::to_owned).collect()
    });
    let admin = admin(&server);
    let get = |path: &str| admin.send("GET", path, &[], "");
    // The group is gone from everywhere, and its neighbours are not.
    assert_eq!(
        [get("/apis/batch/v1").code, get("/apis/apps/v1").code, get("/openapi/v3/apis/batch/v1").code],
        [404, 200, 404]
    );
    assert!(!get("/apis").text.contains("\"batch\""));
    // Nobody has made the account that pods would need.
    let pod = json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "c", "image": "i" }] } });
    let pod = admin.send("POST", PODS, &[], &pod.to_string());
    assert!(pod.code == 201 && !pod.text.contains("serviceAccountToken"), "{}", pod.text);
    let account = json!({ "metadata": { "name": "a" } }).to_string();
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    assert_eq!(admin.send("POST", accounts, &[], &account).code, 201);
    let request = json!({ "spec": { "audiences": [], "expirationSeconds": 7200 } }).to_string();
    let token = admin.send("POST", &format!("{accounts}/a/token"), &[], &request);
    let warning = "299 - \"requested expiration of 7200 seconds shortened to 1200 seconds\"";
    assert!(token.text.contains(warning) && token.text.contains("\"expirationSeconds\":1200"), "{}", token.text);
    let keys = "https://api.io:";
    assert!(get("/.well-known/openid-configuration").text.contains(keys));
    // Browsers.
    let page = "Origin: https://a.io";
    let asked = admin.send("OPTIONS", PODS, &[page], "");
    let allowed = "access-control-allow-origin: https://a.io";
    assert!(asked.code == 204 && asked.text.contains(allowed) && asked.text.contains("audit-id: "), "{}", asked.text);
    let read = admin.send("GET", PODS, &[page], "");
    assert!(
        read.text.contains(allowed) && read.text.contains("strict-transport-security: max-age=60"),
        "{}",
        read.text
    );
    assert!(!admin.send("GET", PODS, &["Origin: https://b.io"], "").text.contains("access-control"));
    pieces(&admin);
    operators(&admin);
}

fn pieces(admin: &Raw) {
    for (path, headers, code, told, begins) in [
        ("/openapi/v3/api/v1", &["Range: bytes=0-9"][..], 206, "content-range: bytes 0-9/", "{\""),
        ("/openapi/v2", &["Range: bytes=0-0"], 206, "accept-ranges: bytes", "{"),
        ("/openapi/v2", &["If-None-Match: *"], 304, "vary: Accept-Encoding", ""),
        ("/openapi/v3", &["If-Unmodified-Since: Mon, 01 Jan 2001 00:00:00 GMT"], 412, "last-modified: ", ""),
        (
            "/openapi/v3/version",
            &["Accept: application/com.github.proto-openapi.spec.v3@v1.0+protobuf"],
            200,
            "content-type: application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
            "\n\u{5}3.0.0",
        ),
    ] {
        let reply = admin.send("GET", path, headers, "");
        let found = (reply.code, reply.text.contains(told), body(&reply).starts_with(begins));
        assert_eq!(found, (code, true, true), "{path} {headers:?}: {:.400}", reply.text);
    }
}

fn operators(admin: &Raw) {
    let dumps = "/debug/api_priority_and_fairness";
    for (path, row) in [
        ("dump_priority_levels", "exempt,            0,            false,  false,       0,               1,"),
        ("dump_queues", "workload-low,      127,"),
        ("dump_requests?includeRequestDetails=1", "admin,"),
    ] {
        let reply = admin.send("GET", &format!("{dumps}/{path}"), &[], "");
        assert!(reply.code == 200 && reply.text.contains(row), "{path}: {}", reply.text);
    }
    assert_eq!(admin.send("GET", &format!("{dumps}/x"), &[], "").code, 404);
    for (method, value, code, answer) in [
        ("PUT", "0", 200, "successfully set klog.logging.verbosity to 0\n"),
        ("PUT", "x", 400, "strconv.ParseUint: parsing \"x\": invalid syntax\n"),
        ("POST", "1", 406, "unsupported http method\n"),
    ] {
        let reply = admin.send(method, "/debug/flags/v", &[], value);
        assert_eq!((reply.code, body(&reply)), (code, answer), "{method} {value}");
    }
    assert!(admin.send("GET", "/debug/flags", &[], "").text.contains("/debug/flags/<br>"));
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
