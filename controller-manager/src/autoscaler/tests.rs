//! The controller before a small API server of the test's own: what it asks, what it writes, what it says.

use std::convert::Infallible;

use http::{Method, Request as HttpRequest, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::json;

use super::*;

type Answers = HashMap<String, (u16, Value)>;

#[derive(Default)]
struct Said {
    answers: Answers,
    /// `METHOD path` and body of what was written.
    written: Vec<(String, Value)>,
}

/// Answers GETs from a table (the path without its query), and any write with what was written.
#[derive(Clone, Default)]
struct World(Arc<Mutex<Said>>);

impl World {
    fn client(&self) -> Client {
        let said = self.0.clone();
        let service = tower::service_fn(move |request: HttpRequest<Body>| {
            let said = said.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                let path = parts.uri.path().to_owned();
                let mut said = said.lock();
                let (code, answer) = if parts.method == Method::GET {
                    said.answers.get(&path).cloned().unwrap_or((404, json!("404 page not found")))
                } else {
                    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
                    said.written.push((format!("{} {path}", parts.method), body.clone()));
                    let refused = said.answers.get(&format!("{} {path}", parts.method)).cloned();
                    refused.unwrap_or_else(|| (200, if path.ends_with("/status") { object(body) } else { body }))
                };
                let answer = Response::builder().status(code).body(Body::from(answer.to_string().into_bytes()));
                Ok::<_, Infallible>(answer.expect("a valid response"))
            }
        });
        Client::new(service, "default")
    }

    fn answer(&self, path: &str, answer: Value) {
        self.0.lock().answers.insert(path.to_owned(), (200, answer));
    }

    fn refuse(&self, path: &str, code: u16, message: &str) {
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
            "reason": if code == 409 { "Conflict" } else { "NotFound" }, "code": code});
        self.0.lock().answers.insert(path.to_owned(), (code, status));
    }

    fn written(&self, method_path: &str) -> Vec<Value> {
        self.0.lock().written.iter().filter(|(what, _)| what == method_path).map(|(_, body)| body.clone()).collect()
    }

    /// (reason, message) of each Event. They are written by tasks of their own, which have run when this has yielded.
    async fn events(&self) -> Vec<(String, String)> {
        for _ in 0..32 {
            tokio::task::yield_now().await;
        }
        let text = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
        let events = self.written("POST /api/v1/namespaces/ns/events");
        events.iter().map(|event| (text(event, "reason"), text(event, "message"))).collect()
    }
}

/// The patched object: what the tests read of it is its status.
fn object(patch: Value) -> Value {
    let mut object = autoscaler(json!({}));
    object["metadata"]["resourceVersion"] = "2".into();
    object["status"] = patch["status"].clone();
    object["status"]["desiredReplicas"] = patch["status"]["desiredReplicas"].as_i64().unwrap_or(0).into();
    object
}

fn autoscaler(spec: Value) -> Value {
    let cpu = json!({"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}});
    let mut object = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web", "namespace": "ns", "uid": "u", "resourceVersion": "1"},
        "spec": {"minReplicas": 1, "maxReplicas": 10, "metrics": [{"type": "Resource", "resource": cpu}],
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}});
    for (name, value) in spec.as_object().into_iter().flatten() {
        object["spec"][name] = value.clone();
    }
    object
}

const SCALE: &str = "/apis/apps/v1/namespaces/ns/deployments/web/scale";
const METRICS: &str = "/apis/metrics.k8s.io/v1beta1/namespaces/ns/pods";
const STATUS: &str = "PATCH /apis/autoscaling/v2/namespaces/ns/horizontalpodautoscalers/web/status";

fn scale(replicas: i32) -> Value {
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": "web", "namespace": "ns"},
        "spec": {"replicas": replicas}, "status": {"replicas": replicas, "selector": "app=web"}})
}

/// A Deployment of `replicas` ready pods that request 100m each and use `used`.
async fn world(replicas: i32, used: &str, spec: Value) -> (World, Autoscaler) {
    let world = World::default();
    let preferred = json!({"groupVersion": "apps/v1", "version": "v1"});
    world.answer("/apis/apps", json!({"name": "apps", "versions": [preferred], "preferredVersion": preferred}));
    world.answer(
        "/apis/apps/v1",
        json!({"resources": [
        {"name": "deployments", "kind": "Deployment"}, {"name": "deployments/scale", "kind": "Scale"}]}),
    );
    world.answer(SCALE, scale(replicas));
    let name = |at: i32| format!("web-{at}");
    let measured: Vec<Value> = (0..replicas)
        .map(|at| {
            let containers = json!([{"name": "c", "usage": {"cpu": used, "memory": "1Mi"}}]);
            json!({"metadata": {"name": name(at)}, "timestamp": "2026-01-01T01:00:00Z", "window": "15s", "containers": containers})
        })
        .collect();
    world.answer(METRICS, json!({"items": measured}));
    let context = Context::new(world.client(), || "2026-01-01T01:00:00Z".parse().expect("a time"));
    for at in 0..replicas {
        let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:10Z"}]);
        let pod = json!({"metadata": {"name": name(at), "namespace": "ns", "uid": name(at), "resourceVersion": "1",
                "labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "100m"}}}]},
            "status": {"phase": "Running", "startTime": "2026-01-01T00:00:00Z", "conditions": ready}});
        context
            .kinds
            .pods
            .create(&serde_json::from_value(pod).expect("a pod"))
            .await
            .expect("the test's server takes all");
    }
    let object = serde_json::from_value(autoscaler(spec)).expect("an autoscaler");
    context.kinds.autoscalers.create(&object).await.expect("the test's server takes all");
    let api = Arc::new(Api { client: context.client.clone() });
    let settings = Settings {
        sync_period: Duration::from_secs(15),
        downscale_stabilization: SignedDuration::ZERO,
        tolerance: 0.1,
        cpu_initialization: SignedDuration::from_mins(5),
        initial_readiness: SignedDuration::from_secs(30),
        workers: 1,
    };
    let recorder = context.recorder("horizontal-pod-autoscaler");
    let metrics = Metrics { api: api.clone() };
    (world, Autoscaler { context, recorder, settings, api, metrics, memory: Mutex::default() })
}

/// (type, status, reason, message) of the last status written.
fn conditions(world: &World) -> Vec<[String; 4]> {
    let status = world.written(STATUS).pop().expect("a status was written");
    let conditions = status["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let text = |condition: &Value, field: &str| condition[field].as_str().unwrap_or_default().to_owned();
    conditions.iter().map(|one| ["type", "status", "reason", "message"].map(|field| text(one, field))).collect()
}

fn condition(world: &World, kind: &str) -> [String; 3] {
    let found = conditions(world).into_iter().find(|[known, ..]| known == kind).expect("a condition of this type");
    let [_, status, reason, message] = found;
    [status, reason, message]
}

#[tokio::test]
async fn a_busy_deployment_grows() {
    let (world, controller) = world(2, "100m", json!({})).await;
    let again = controller.sync("ns/web").await.expect("a look never fails");
    assert_eq!(again, Some(Duration::from_secs(15)));
    let scales = world.written(&format!("PUT {SCALE}"));
    assert_eq!(scales.iter().map(|scale| scale["spec"]["replicas"].as_i64()).collect::<Vec<_>>(), [Some(4)]);
    let reason = "cpu resource utilization (percentage of request)";
    let event = format!("New size: 4; reason: {reason} above target");
    assert_eq!(world.events().await, [("SuccessfulRescale".to_owned(), event)]);
    assert_eq!(
        condition(&world, ABLE),
        ["True", "SucceededRescale", "the HPA controller was able to update the target scale to 4"]
    );
    let message = format!("the HPA was able to successfully calculate a replica count from {reason}");
    assert_eq!(condition(&world, ACTIVE), ["True", "ValidMetricFound", message.as_str()]);
    assert_eq!(condition(&world, LIMITED)[..2], ["False", "DesiredWithinRange"]);
    let status = &world.written(STATUS)[0]["status"];
    assert_eq!((&status["currentReplicas"], &status["desiredReplicas"]), (&json!(2), &json!(4)));
    assert_eq!(status["lastScaleTime"], "2026-01-01T01:00:00Z");
    let current = json!({"averageUtilization": 100, "averageValue": "100m"});
    assert_eq!(status["currentMetrics"][0]["resource"]["current"], current);
}

#[tokio::test]
async fn a_steady_one_stays_and_is_not_written_twice() {
    let (world, controller) = world(2, "50m", json!({})).await;
    controller.sync("ns/web").await.expect("a look never fails");
    controller.sync("ns/web").await.expect("a look never fails");
    assert!(world.written(&format!("PUT {SCALE}")).is_empty());
    assert_eq!(world.written(STATUS).len(), 1);
    assert_eq!(condition(&world, ABLE)[1], "ReadyForNewScale");
    let status = serde_json::to_value(&controller.context.kinds.autoscalers.get("ns/web").unwrap().status).unwrap();
    assert_eq!(status["desiredReplicas"], 2);
    assert!(status.get("lastScaleTime").is_none_or(Value::is_null));
}

#[tokio::test]
async fn bounds_of_the_object_need_no_metric() {
    for (replicas, spec, wanted, why) in [
        (3, json!({"maxReplicas": 2}), 2, "Current number of replicas above Spec.MaxReplicas"),
        (3, json!({"minReplicas": 5}), 5, "Current number of replicas below Spec.MinReplicas"),
    ] {
        let (world, controller) = world(replicas, "1", spec).await;
        controller.sync("ns/web").await.expect("a look never fails");
        assert_eq!(world.written(&format!("PUT {SCALE}"))[0]["spec"]["replicas"], wanted);
        let event = format!("New size: {wanted}; reason: {why}");
        assert_eq!(world.events().await, [("SuccessfulRescale".to_owned(), event)]);
    }
    let (world, controller) = world(0, "1", json!({})).await;
    controller.sync("ns/web").await.expect("a look never fails");
    let message = "scaling is disabled since the replica count of the target is zero";
    assert_eq!(condition(&world, ACTIVE), ["False", "ScalingDisabled", message]);
    assert!(world.written(&format!("PUT {SCALE}")).is_empty());
}

#[tokio::test]
async fn without_a_metrics_server() {
    let (world, controller) = world(2, "50m", json!({})).await;
    world.0.lock().answers.remove(METRICS);
    controller.sync("ns/web").await.expect("a look never fails");
    let cause = "failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from \
                 resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)";
    let message = format!("the HPA was unable to compute the replica count: {cause}");
    assert_eq!(condition(&world, ACTIVE), ["False", "FailedGetResourceMetric", message.as_str()]);
    let sum = format!(
        "invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: {cause}"
    );
    let mut events = world.events().await;
    events.sort();
    assert_eq!(
        events,
        [("FailedComputeMetricsReplicas".to_owned(), sum), ("FailedGetResourceMetric".to_owned(), cause.to_owned())]
    );
}

#[tokio::test]
async fn targets_that_cannot_be_scaled() {
    let target =
        |version: &str, kind: &str| json!({"scaleTargetRef": {"apiVersion": version, "kind": kind, "name": "web"}});
    for (spec, cause) in [
        (target("a/b/c", "Deployment"), "unexpected GroupVersion string: a/b/c"),
        (target("apps/v1", "Odd"), "no matches for kind \"Odd\" in group \"apps\""),
        (target("apps/v1", "Deployment"), "deployments.apps \"web\" not found"),
    ] {
        let (world, controller) = world(1, "1", spec).await;
        world.refuse(SCALE, 404, "deployments.apps \"web\" not found");
        controller.sync("ns/web").await.expect("a look never fails");
        let message = format!("the HPA controller was unable to get the target's current scale: {cause}");
        assert_eq!(condition(&world, ABLE), ["False", "FailedGetScale", message.as_str()]);
        assert_eq!(world.events().await, [("FailedGetScale".to_owned(), cause.to_owned())]);
    }
}

#[tokio::test]
async fn a_scale_that_others_change_too_is_tried_a_few_times() {
    let (world, controller) = world(2, "100m", json!({})).await;
    world.refuse(&format!("PUT {SCALE}"), 409, "the object has been modified");
    controller.sync("ns/web").await.expect("a look never fails");
    assert_eq!(world.written(&format!("PUT {SCALE}")).len(), 5);
    let message = "the HPA controller was unable to update the target scale: the object has been modified";
    assert_eq!(condition(&world, ABLE), ["False", "FailedUpdateScale", message]);
}

#[tokio::test]
async fn two_objects_must_not_rule_the_same_pods() {
    let (world, controller) = world(2, "100m", json!({})).await;
    let other = Memory { selector: LabelSelector::parse("app").ok(), ..Memory::default() };
    controller.memory.lock().insert("ns/all".to_owned(), other);
    controller.sync("ns/web").await.expect("a look never fails");
    let message = "pods by selector app=web are controlled by multiple HPAs: [{all ns} {web ns}]";
    assert_eq!(condition(&world, ACTIVE), ["False", "AmbiguousSelector", message]);
    assert!(world.written(&format!("PUT {SCALE}")).is_empty());
}

#[tokio::test]
async fn one_metric_may_fail_if_another_asks_for_more() {
    let gone =
        json!({"type": "External", "external": {"metric": {"name": "q"}, "target": {"type": "Value", "value": "1"}}});
    let cpu = |percent: i32| {
        json!({"type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}})
    };
    for (percent, written, active) in [(50, 1, "ValidMetricFound"), (400, 0, "FailedGetExternalMetric")] {
        let (world, controller) = world(2, "100m", json!({"metrics": [gone, cpu(percent)]})).await;
        controller.sync("ns/web").await.expect("a look never fails");
        assert_eq!(world.written(&format!("PUT {SCALE}")).len(), written, "{percent}");
        assert_eq!(condition(&world, ACTIVE)[1], active);
    }
}
