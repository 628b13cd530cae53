//! What is too large is refused in upstream's words, and every answer says which level it was served in.

#[path = "../examples/dev_cluster/pki.rs"]
mod pki;
#[path = "support/process.rs"]
#[allow(dead_code, reason = "etcd is for others")]
mod process;
#[path = "support/serving.rs"]
mod serving;
#[path = "support/wire.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod wire;

use http::Method;
use serde_json::{Value, json};
use wire::{Ask, Connection, Target};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[test]
#[ignore = "the server process of the other test"]
fn child() {
    process::child();
}

async fn ask(target: &Target, connection: &Connection, ask: Ask<'_>) -> (u16, Value) {
    let answer = target.send(&mut connection.clone(), ask).await.unwrap();
    (answer.status, answer.json())
}

#[test]
fn bounds_are_upstreams() {
    serving::with_server(async |server, _dir| {
        let target = &server.target;
        let connection = target.http2().await.unwrap();
        let post = |body: String| ask(target, &connection, Ask::new(Method::POST, MAPS, body));
        let map =
            |metadata: Value| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata }).to_string();
        assert_eq!(post(map(json!({ "name": "a" }))).await.0, 201);

        let (code, status) = post("x".repeat(3 * 1024 * 1024 + 1)).await;
        assert_eq!((code, &status["reason"]), (413, &json!("RequestEntityTooLarge")));
        assert_eq!(status["message"], "Request entity too large: limit is 3145728");

        let deep =
            format!("{{\"metadata\":{{\"name\":\"b\"}},\"data\":{}1{}}}", "[".repeat(50_000), "]".repeat(50_000));
        assert_eq!(post(deep).await.0, 400);

        let (code, status) = post(map(json!({ "name": "n".repeat(254) }))).await;
        assert_eq!((code, &status["details"]["causes"][0]["field"]), (422, &json!("metadata.name")));

        let (code, status) = post(map(json!({ "name": "b", "annotations": { "a": "x".repeat(256 * 1024) } }))).await;
        assert_eq!((code, &status["details"]["causes"][0]["reason"]), (422, &json!("FieldValueTooLong")), "{status}");

        let patch = |operations: Vec<Value>| {
            let path = format!("{MAPS}/a");
            async move {
                let body = Value::from(operations).to_string();
                let patch = Ask { content_type: "application/json-patch+json", ..Ask::new(Method::PATCH, &path, body) };
                ask(target, &connection.clone(), patch).await
            }
        };
        let (code, status) = patch(vec![json!({ "op": "test", "path": "/kind", "value": "ConfigMap" }); 10_001]).await;
        assert_eq!(code, 413);
        assert_eq!(
            status["message"],
            "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001"
        );
    });
}

#[test]
fn answers_say_how_they_were_queued() {
    serving::with_server(async |server, _dir| {
        let target = &server.target;
        let mut connection = target.http2().await.unwrap();
        let flow = "/apis/flowcontrol.apiserver.k8s.io/v1";
        let uid = async |path: &str| -> String {
            let (code, found) = ask(target, &connection, Ask::get(&format!("{flow}/{path}"))).await;
            assert_eq!(code, 200, "{found}");
            found["metadata"]["uid"].as_str().unwrap().to_owned()
        };
        let (schema, level) = (uid("flowschemas/exempt").await, uid("prioritylevelconfigurations/exempt").await);
        let response = target.open(&mut connection, Ask::get(MAPS)).await.unwrap();
        assert_eq!(response.headers()["x-kubernetes-pf-flowschema-uid"], schema.as_str());
        assert_eq!(response.headers()["x-kubernetes-pf-prioritylevel-uid"], level.as_str());
    });
}

/// Levels lend and borrow through the real server: a long list is seen in the demand of its level, and in what it is given.
#[test]
fn seats_are_lent() {
    serving::with_server(async |server, _dir| {
        let target = &server.target;
        let connection = target.http2().await.unwrap();
        let long = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "generateName": "a" }, "data": { "x": "x".repeat(200_000) } });
        for _ in 0..3 {
            assert_eq!(ask(target, &connection, Ask::new(Method::POST, MAPS, long.to_string())).await.0, 201);
        }
        let level = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations/workload-low";
        let begun = std::time::Instant::now();
        // Periods of demand end by themselves, too: then what was wanted in the one before is not seen.
        for round in 0.. {
            // This test's requests are those of the exempt level: three maps are seven seats wide.
            assert_eq!(ask(target, &connection, Ask::get(MAPS)).await.0, 200);
            // A change of any level ends the period.
            let patch = json!({ "spec": { "limited": { "borrowingLimitPercent": round } } }).to_string();
            let patch = Ask { content_type: "application/merge-patch+json", ..Ask::new(Method::PATCH, level, patch) };
            assert_eq!(ask(target, &connection, patch).await.0, 200);
            let (nominal, upper) = (245, 245 + (245 * round + 50) / 100);
            let line = |name: &str, level: &str| format!("apiserver_flowcontrol_{name}{{priority_level=\"{level}\"}} ");
            let changed = format!("{}{upper}\n", line("upper_limit_seats", "workload-low"));
            let metrics = loop {
                let answer = target.send(&mut connection.clone(), Ask::get("/metrics")).await.unwrap();
                let text = String::from_utf8(answer.body.to_vec()).unwrap();
                if text.contains(&changed) {
                    break text;
                }
                assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{text}");
            };
            let value = |name: &str, level: &str| -> u64 {
                let line = line(name, level);
                metrics.lines().find_map(|known| known.strip_prefix(&line)).unwrap().parse().unwrap()
            };
            assert_eq!(value("nominal_limit_seats", "workload-low"), nominal);
            assert_eq!(value("lower_limit_seats", "workload-low"), 24);
            assert!(value("current_limit_seats", "workload-low") <= upper, "{metrics}");
            assert!(value("current_limit_seats", "catch-all") >= 13, "it lends nothing: {metrics}");
            if value("demand_seats_high_watermark", "exempt") >= 7 {
                return;
            }
            assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{metrics}");
        }
    });
}
