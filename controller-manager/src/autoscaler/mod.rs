//! HorizontalPodAutoscalers (upstream `pkg/controller/podautoscaler`): how many replicas a target shall have, by what its
//! pods use.
//!
//! ```text
//!  every sync period, for each object:
//!   scale (api) ─► each metric: measured (measure) ─► proposal (calculator) ─► the highest ─► history, rates, bounds
//!                                                                              ─► scale, status, events
//! ```
//!
//! Nothing is hurried: a change of an object is looked at when its period is over, as upstream does.

mod api;
mod calculator;
mod history;
mod measure;
mod proposal;
mod status;
mod words;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscaler, HorizontalPodAutoscalerStatus, MetricStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use runtime::events::{EventType, Recorder};
use schema::quantity::Quantity;
use schema::selector::LabelSelector;
use serde_json::Value;

use self::api::{Api, Mapping};
use self::calculator::{Calculator, Tolerances};
use self::history::{History, Request};
use self::measure::Metrics;
use self::proposal::{Target, propose};
use self::status::{ABLE, ACTIVE, LIMITED};
use crate::context::{Context, reference, tell};
use crate::framework::meta::{key_of, split_key, to_seconds};
use crate::framework::{ApiError, Controller, Outcome, Queue, drive};

/// The flags of upstream's controller.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How often each object is looked at.
    pub sync_period: Duration,
    /// For this long no lower recommendation is followed than the highest there was.
    pub downscale_stabilization: SignedDuration,
    /// How far a usage may be from its target, as a share of it.
    pub tolerance: f64,
    /// For this long after its start, a pod's CPU counts only once it is ready.
    pub cpu_initialization: SignedDuration,
    /// Within this time after its start, a pod that turns unready has never been ready.
    pub initial_readiness: SignedDuration,
    pub workers: usize,
}

/// What is remembered of one object; forgotten with it.
#[derive(Default)]
struct Memory {
    history: History,
    /// Of its target, as last seen: two objects must not rule the same pods.
    selector: Option<LabelSelector>,
}

struct Autoscaler {
    context: Arc<Context>,
    recorder: Arc<Recorder>,
    settings: Settings,
    api: Arc<Api>,
    metrics: Metrics,
    memory: Mutex<HashMap<String, Memory>>,
}

pub fn start(context: &Arc<Context>, settings: &Settings) {
    let queue = Arc::new(Queue::default());
    let (on_change, period) = (queue.clone(), settings.sync_period);
    context.kinds.autoscalers.on_change(move |change| on_change.add_after(&key_of(&change.object().metadata), period));
    let api = Arc::new(Api { client: context.client.clone() });
    let controller = Autoscaler {
        context: context.clone(),
        recorder: context.recorder("horizontal-pod-autoscaler"),
        settings: settings.clone(),
        metrics: Metrics { api: api.clone() },
        api,
        memory: Mutex::default(),
    };
    drive(&context.gate(), &Arc::new(controller), &queue, settings.workers);
}

impl Controller for Autoscaler {
    const NAME: &'static str = "horizontal-pod-autoscaler-controller";

    async fn sync(&self, key: &str) -> Outcome {
        let Some(object) = self.context.kinds.autoscalers.get(key) else {
            self.memory.lock().remove(key);
            return Ok(None);
        };
        let mut wanted = (*object).clone();
        let mut pass = Pass::new(self, key, &object, wanted.status.take().unwrap_or_default());
        if let Err(error) = pass.run().await {
            tracing::warn!(key, error, "horizontal pod autoscaler");
        }
        wanted.status = Some(pass.status);
        if let Err(error) = self.context.kinds.autoscalers.update_status(&object, &wanted).await {
            self.warn(&object, "FailedUpdateStatus", error.words());
        }
        // A failure is no reason to come earlier: the next look is a fresh one anyway.
        Ok(Some(self.settings.sync_period))
    }
}

impl Autoscaler {
    fn warn(&self, object: &HorizontalPodAutoscaler, reason: &'static str, message: String) {
        tell(&self.recorder, reference(object), EventType::Warning, reason, message);
    }

    fn selected(&self, namespace: &str, selector: &LabelSelector) -> Vec<Arc<Pod>> {
        self.context.kinds.pods.filter_in(namespace, |pod| selects(selector, pod))
    }

    /// All the objects whose target selects one of `pods`, by key.
    fn ruling(&self, namespace: &str, pods: &[Arc<Pod>]) -> BTreeSet<String> {
        let memory = self.memory.lock();
        let selecting = memory.iter().filter(|(key, known)| {
            let selector = known.selector.as_ref().filter(|_| split_key(key).0 == namespace);
            selector.is_some_and(|selector| pods.iter().any(|pod| selects(selector, pod)))
        });
        selecting.map(|(key, _)| key.clone()).collect()
    }
}

fn selects(selector: &LabelSelector, pod: &Pod) -> bool {
    selector.matches_by(|name| pod.metadata.labels.as_ref()?.get(name).map(String::as_str))
}

/// One look at one object.
struct Pass<'a> {
    all: &'a Autoscaler,
    key: &'a str,
    object: &'a HorizontalPodAutoscaler,
    namespace: &'a str,
    status: HorizontalPodAutoscalerStatus,
    now: Timestamp,
    second: Time,
}

/// What the metrics together ask for.
struct Recommendation {
    replicas: i32,
    metric: String,
    statuses: Vec<MetricStatus>,
}

impl<'a> Pass<'a> {
    fn new(
        all: &'a Autoscaler,
        key: &'a str,
        object: &'a HorizontalPodAutoscaler,
        status: HorizontalPodAutoscalerStatus,
    ) -> Self {
        let now = all.context.now();
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        Self { all, key, object, namespace, status, now, second: to_seconds(now) }
    }

    fn set(&mut self, kind: &str, holds: bool, reason: &str, message: impl Into<String>) {
        status::set(&mut self.status, kind, holds, reason, message, &self.second);
    }

    fn no_scale(&mut self, cause: &str) {
        self.all.warn(self.object, "FailedGetScale", cause.to_owned());
        let message = format!("the HPA controller was unable to get the target's current scale: {cause}");
        self.set(ABLE, false, "FailedGetScale", message);
    }

    /// The target's scale, and where it is.
    async fn scale(&mut self) -> Result<(Value, Mapping), String> {
        let Some(spec) = &self.object.spec else { return Err("no spec".to_owned()) };
        let target = &spec.scale_target_ref;
        let group = match group_of(target.api_version.as_deref().unwrap_or_default()) {
            Ok(group) => group,
            Err(cause) => {
                self.no_scale(&cause);
                return Err(format!("invalid API version in scale target reference: {cause}"));
            }
        };
        let mappings = match self.all.api.mappings(group, &target.kind).await {
            Ok(mappings) => mappings,
            Err(cause) => {
                self.no_scale(&cause);
                return Err(format!("unable to determine resource for scale target reference: {cause}"));
            }
        };
        match self.all.api.scale(&mappings, self.namespace, &target.name).await {
            Ok(found) => Ok(found),
            Err(cause) => {
                self.no_scale(&cause);
                let reference = format!("{}/{}/{}", target.kind, self.namespace, target.name);
                Err(format!("failed to query scale subresource for {reference}: {cause}"))
            }
        }
    }

    async fn run(&mut self) -> Result<(), String> {
        let (scale, mapping) = self.scale().await?;
        self.set(ABLE, true, "SucceededGetScale", "the HPA controller was able to get the target's current scale");
        let Some(spec) = &self.object.spec else { return Ok(()) };
        let current = number(&scale, "/spec/replicas");
        self.all.memory.lock().entry(self.key.to_owned()).or_default().history.begin(current, self.now);
        let least = spec.min_replicas.unwrap_or(1);
        let mut statuses = Vec::new();
        let (mut desired, mut why) = (current, String::new());
        if current == 0 {
            let message = "scaling is disabled since the replica count of the target is zero";
            self.set(ACTIVE, false, "ScalingDisabled", message);
        } else if current > spec.max_replicas {
            (desired, why) = (spec.max_replicas, "Current number of replicas above Spec.MaxReplicas".to_owned());
        } else if current < least {
            (desired, why) = (least, "Current number of replicas below Spec.MinReplicas".to_owned());
        } else {
            let asked = match self.recommend(&scale).await {
                Ok(asked) => asked,
                Err((cause, statuses)) => {
                    let before = self.status.desired_replicas;
                    status::count(&mut self.status, current, before, statuses);
                    self.all.warn(self.object, "FailedComputeMetricsReplicas", cause.clone());
                    return Err(format!(
                        "failed to compute desired number of replicas based on listed metrics: {cause}"
                    ));
                }
            };
            if asked.replicas > current {
                why = format!("{} above target", asked.metric);
            } else if asked.replicas < current {
                "All metrics below target".clone_into(&mut why);
            }
            desired = self.normalize(current, asked.replicas, least);
            statuses = asked.statuses;
        }
        if desired != current {
            self.rescale(&mapping, scale, current, desired, &why, &mut statuses).await?;
        }
        status::count(&mut self.status, current, desired, statuses);
        if desired != current {
            self.status.last_scale_time = Some(self.second.clone());
        }
        Ok(())
    }

    fn normalize(&mut self, current: i32, wanted: i32, least: i32) -> i32 {
        let spec = self.object.spec.clone().unwrap_or_default();
        let request = Request {
            behavior: spec.behavior.as_ref(),
            least,
            most: spec.max_replicas,
            current,
            wanted,
            down_window: self.all.settings.downscale_stabilization,
            now: self.now,
        };
        let found = self.all.memory.lock().entry(self.key.to_owned()).or_default().history.normalize(request);
        self.set(ABLE, true, found.able.0, found.able.1);
        self.set(LIMITED, found.limited, found.limit.0, found.limit.1);
        found.replicas
    }

    async fn rescale(
        &mut self,
        mapping: &Mapping,
        scale: Value,
        current: i32,
        desired: i32,
        why: &str,
        statuses: &mut Vec<MetricStatus>,
    ) -> Result<(), String> {
        if let Err(cause) = self.all.api.rescale(mapping, scale, desired).await {
            let message = format!("New size: {desired}; reason: {why}; error: {cause}");
            self.all.warn(self.object, "FailedRescale", message);
            let message = format!("the HPA controller was unable to update the target scale: {cause}");
            self.set(ABLE, false, "FailedUpdateScale", message);
            let before = self.status.desired_replicas;
            status::count(&mut self.status, current, before, std::mem::take(statuses));
            return Err(format!("failed to rescale: {cause}"));
        }
        let message = format!("the HPA controller was able to update the target scale to {desired}");
        self.set(ABLE, true, "SucceededRescale", message);
        let message = format!("New size: {desired}; reason: {why}");
        tell(&self.all.recorder, reference(self.object), EventType::Normal, "SuccessfulRescale", message);
        let behavior = self.object.spec.as_ref().and_then(|spec| spec.behavior.as_ref());
        let mut memory = self.all.memory.lock();
        memory.entry(self.key.to_owned()).or_default().history.scaled(behavior, current, desired, self.now);
        Ok(())
    }

    /// The target's selector and pods, which no other object must rule.
    fn pods(&mut self, text: &str) -> Result<Vec<Arc<Pod>>, String> {
        if text.is_empty() {
            let cause = "selector is required";
            self.all.warn(self.object, "SelectorRequired", cause.to_owned());
            self.set(ACTIVE, false, "InvalidSelector", "the HPA target's scale is missing a selector");
            return Err(cause.to_owned());
        }
        let refuse = |pass: &mut Self, reason: &'static str, cause: String| {
            pass.all.warn(pass.object, reason, cause.clone());
            pass.set(ACTIVE, false, reason, cause.clone());
            cause
        };
        let selector = LabelSelector::parse(text).map_err(|error| {
            let cause = format!("couldn't convert selector into a corresponding internal selector object: {error}");
            refuse(self, "InvalidSelector", cause)
        })?;
        let pods = self.all.selected(self.namespace, &selector);
        self.all.memory.lock().entry(self.key.to_owned()).or_default().selector = Some(selector);
        let ruling = self.all.ruling(self.namespace, &pods);
        if ruling.len() > 1 {
            let keys: Vec<String> = ruling
                .iter()
                .map(|key| split_key(key))
                .map(|(namespace, name)| format!("{{{name} {namespace}}}"))
                .collect();
            let cause = format!("pods by selector {text} are controlled by multiple HPAs: [{}]", keys.join(" "));
            return Err(refuse(self, "AmbiguousSelector", cause));
        }
        Ok(pods)
    }

    /// The highest number any metric asks for. Where some fail, the others may still raise the number, but not lower it.
    async fn recommend(&mut self, scale: &Value) -> Result<Recommendation, (String, Vec<MetricStatus>)> {
        let selector = scale.pointer("/status/selector").and_then(Value::as_str).unwrap_or_default();
        let pods = self.pods(selector).map_err(|cause| (cause, Vec::new()))?;
        let spec = self.object.spec.clone().unwrap_or_default();
        let specs = spec.metrics.unwrap_or_default();
        let target = Target {
            namespace: self.namespace,
            wanted: number(scale, "/spec/replicas"),
            present: number(scale, "/status/replicas"),
        };
        let behavior = spec.behavior.unwrap_or_default();
        let calculator = Calculator {
            pods: &pods,
            tolerances: Tolerances {
                down: self.tolerance(behavior.scale_down.as_ref().and_then(|rules| rules.tolerance.as_ref())),
                up: self.tolerance(behavior.scale_up.as_ref().and_then(|rules| rules.tolerance.as_ref())),
            },
            settings: &self.all.settings,
            now: self.now,
        };
        let mut found = Recommendation { replicas: 0, metric: String::new(), statuses: Vec::new() };
        let mut failed = Vec::new();
        for spec in &specs {
            let measured = self.all.metrics.measure(spec, self.namespace, selector).await;
            match propose(spec, measured, target, &calculator) {
                Ok(proposal) => {
                    if found.replicas == 0 || proposal.replicas > found.replicas {
                        (found.replicas, found.metric) = (proposal.replicas, proposal.metric);
                    }
                    found.statuses.push(proposal.status);
                }
                Err(unable) => {
                    self.all.warn(self.object, unable.reason, unable.cause.clone());
                    found.statuses.push(MetricStatus::default());
                    failed.push(unable);
                }
            }
        }
        if let Some(first) = failed.first() {
            let (bad, all) = (failed.len(), specs.len());
            let cause = format!("invalid metrics ({bad} invalid out of {all}), first error is: {}", first.error);
            if bad >= all || found.replicas < target.wanted {
                let message = format!("the HPA was unable to compute the replica count: {}", first.cause);
                self.set(ACTIVE, false, first.reason, message);
                return Err((cause, found.statuses));
            }
            tracing::warn!(key = self.key, cause, "horizontal pod autoscaler");
        }
        let message = format!("the HPA was able to successfully calculate a replica count from {}", found.metric);
        self.set(ACTIVE, true, "ValidMetricFound", message);
        Ok(found)
    }

    fn tolerance(&self, own: Option<&k8s_openapi::apimachinery::pkg::api::resource::Quantity>) -> f64 {
        let own = own.and_then(|own| Quantity::parse(&own.0).ok());
        own.map_or(self.all.settings.tolerance, |own| own.as_f64())
    }
}

fn number(scale: &Value, pointer: &str) -> i32 {
    scale.pointer(pointer).and_then(Value::as_i64).and_then(|number| i32::try_from(number).ok()).unwrap_or(0)
}

/// The group of an `apiVersion` (`schema.ParseGroupVersion`).
fn group_of(api_version: &str) -> Result<&str, String> {
    match api_version.matches('/').count() {
        0 => Ok(""),
        1 => Ok(api_version.split_once('/').map_or("", |(group, _)| group)),
        _ => Err(format!("unexpected GroupVersion string: {api_version}")),
    }
}

#[cfg(test)]
mod tests;
