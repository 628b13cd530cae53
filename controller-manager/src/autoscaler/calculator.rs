//! How many replicas a measurement asks for (upstream `pkg/controller/podautoscaler/replica_calculator.go`). Pure: the pods
//! and what was measured go in, a number comes out. Values are in thousandths.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use schema::quantity::Quantity;

use super::Settings;
use crate::framework::meta::is_deleting;
use crate::framework::pods::{condition, is_ready, phase};

/// What one pod was measured to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    pub value: i64,
    /// The end of the stretch of time the value is the mean of …
    pub timestamp: Timestamp,
    /// … and its length.
    pub window: SignedDuration,
}

/// By pod name.
pub type Samples = BTreeMap<String, Sample>;

/// How far from its target a usage may be before anything is done, as shares of the target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerances {
    pub down: f64,
    pub up: f64,
}

impl Tolerances {
    fn contain(self, ratio: f64) -> bool {
        1.0 - self.down <= ratio && ratio <= 1.0 + self.up
    }
}

/// A usage beside its target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    /// Of the usage to the target.
    pub ratio: f64,
    /// In percent of what the pods request; 0 where that is not the question.
    pub percent: i32,
    /// The mean over the pods.
    pub average: i64,
}

/// Who is counted how.
#[derive(Debug, Default, PartialEq, Eq)]
struct Groups {
    ready: usize,
    unready: BTreeSet<String>,
    missing: BTreeSet<String>,
    ignored: BTreeSet<String>,
}

pub struct Calculator<'a> {
    /// Those the target's selector selects.
    pub pods: &'a [Arc<Pod>],
    pub tolerances: Tolerances,
    pub settings: &'a Settings,
    pub now: Timestamp,
}

const NO_PODS: &str = "no pods returned by selector while calculating replica count";

impl Calculator<'_> {
    /// For a share of what the pods request of `resource`, in percent.
    ///
    /// # Errors
    /// In upstream's words, when the pods or their requests do not allow an answer.
    pub fn utilization(
        &self,
        current: i32,
        target: i32,
        samples: Samples,
        resource: &str,
        container: Option<&str>,
    ) -> Result<(i32, Usage), String> {
        let (samples, groups) = self.split(samples, Some(resource))?;
        let requests = requests(self.pods, container, resource)?;
        let fallback = |pod: &str| requests.get(pod).copied().unwrap_or(0) * i64::from(target.max(100)) / 100;
        let usage = |samples: &Samples| {
            let known = || samples.iter().filter_map(|(pod, sample)| Some((sample.value, *requests.get(pod)?)));
            let (used, requested) = known().fold((0, 0), |sum, (value, request)| (sum.0 + value, sum.1 + request));
            if requested == 0 {
                return Err("no metrics returned matched known pods".to_owned());
            }
            let percent = i32::try_from(used * 100 / requested).unwrap_or(i32::MAX);
            let average = used / known().count() as i64;
            Ok(Usage { ratio: f64::from(percent) / f64::from(target), percent, average })
        };
        self.settle(current, samples, &groups, usage, fallback)
    }

    /// For a mean usage a pod; `resource` is set where it is one that pods have from their start.
    ///
    /// # Errors
    /// As [`utilization`](Self::utilization).
    pub fn average(
        &self,
        current: i32,
        target: i64,
        samples: Samples,
        resource: Option<&str>,
    ) -> Result<(i32, Usage), String> {
        let (samples, groups) = self.split(samples, resource)?;
        let usage = |samples: &Samples| {
            let average = samples.values().map(|sample| sample.value).sum::<i64>() / samples.len() as i64;
            Ok(Usage { ratio: average as f64 / target as f64, percent: 0, average })
        };
        self.settle(current, samples, &groups, usage, |_| target)
    }

    /// For one value that all the ready pods share.
    ///
    /// # Errors
    /// There is no pod.
    pub fn value(&self, current: i32, target: i64, value: i64) -> Result<i32, String> {
        let ratio = value as f64 / target as f64;
        if current == 0 {
            return Ok(ratio.ceil() as i32);
        }
        if self.tolerances.contain(ratio) {
            return Ok(current);
        }
        if self.pods.is_empty() {
            return Err(format!("unable to calculate ready pods: {NO_PODS}"));
        }
        let ready = self.pods.iter().filter(|pod| phase(pod) == "Running" && is_ready(pod)).count();
        // A conversion from a double ends at the bounds of its type.
        Ok((ratio * ready as f64).ceil() as i32)
    }

    /// For one value that is divided among the pods there are; also what each has of it.
    pub fn per_pod(&self, replicas: i32, target: i64, value: i64) -> (i32, i64) {
        let each = (value as f64 / f64::from(replicas)).ceil() as i64;
        let ratio = value as f64 / (target as f64 * f64::from(replicas));
        let wanted =
            if self.tolerances.contain(ratio) { replicas } else { (value as f64 / target as f64).ceil() as i32 };
        (wanted, each)
    }

    /// The samples that count at once, and everyone else.
    fn split(&self, mut samples: Samples, resource: Option<&str>) -> Result<(Samples, Groups), String> {
        if self.pods.is_empty() {
            return Err(NO_PODS.to_owned());
        }
        let groups = self.group(&samples, resource);
        samples.retain(|pod, _| !groups.ignored.contains(pod) && !groups.unready.contains(pod));
        if samples.is_empty() {
            return Err("did not receive metrics for targeted pods (pods might be unready)".to_owned());
        }
        Ok((samples, groups))
    }

    fn group(&self, samples: &Samples, resource: Option<&str>) -> Groups {
        let mut groups = Groups::default();
        for pod in self.pods {
            let name = pod.metadata.name.clone().unwrap_or_default();
            if is_deleting(&pod.metadata) || phase(pod) == "Failed" {
                groups.ignored.insert(name);
            } else if phase(pod) == "Pending" {
                groups.unready.insert(name);
            } else {
                match samples.get(&name) {
                    None => _ = groups.missing.insert(name),
                    Some(sample) if resource == Some("cpu") && self.is_warming_up(pod, sample) => {
                        groups.unready.insert(name);
                    }
                    Some(_) => groups.ready += 1,
                }
            }
        }
        groups
    }

    /// What a pod uses of the CPU while it starts says nothing of its load.
    fn is_warming_up(&self, pod: &Pod, sample: &Sample) -> bool {
        let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
        let (Some(ready), Some(started)) = (condition(pod, "Ready"), started) else { return true };
        let changed = ready.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
        let unready = ready.status == "False";
        if started.0 + self.settings.cpu_initialization > self.now {
            unready || sample.timestamp < changed + sample.window
        } else {
            unready && started.0 + self.settings.initial_readiness > changed
        }
    }

    /// Those that were not measured are assumed to be such that the answer becomes the cautious one.
    fn settle(
        &self,
        current: i32,
        mut samples: Samples,
        groups: &Groups,
        usage: impl Fn(&Samples) -> Result<Usage, String>,
        fallback: impl Fn(&str) -> i64,
    ) -> Result<(i32, Usage), String> {
        let first = usage(&samples)?;
        let up_with_unready = !groups.unready.is_empty() && first.ratio > 1.0;
        if !up_with_unready && groups.missing.is_empty() {
            let same = self.tolerances.contain(first.ratio);
            let wanted = if same { current } else { (first.ratio * groups.ready as f64).ceil() as i32 };
            return Ok((wanted, first));
        }
        let assumed = |value| Sample { value, timestamp: self.now, window: SignedDuration::ZERO };
        if first.ratio < 1.0 {
            samples.extend(groups.missing.iter().map(|pod| (pod.clone(), assumed(fallback(pod)))));
        } else if first.ratio > 1.0 {
            samples.extend(groups.missing.iter().map(|pod| (pod.clone(), assumed(0))));
        }
        if up_with_unready {
            samples.extend(groups.unready.iter().map(|pod| (pod.clone(), assumed(0))));
        }
        let second = usage(&samples)?.ratio;
        let turned = (first.ratio < 1.0 && second > 1.0) || (first.ratio > 1.0 && second < 1.0);
        if self.tolerances.contain(second) || turned {
            return Ok((current, first));
        }
        let wanted = (second * samples.len() as f64).ceil() as i32;
        let turned = (second < 1.0 && wanted > current) || (second > 1.0 && wanted < current);
        Ok((if turned { current } else { wanted }, first))
    }
}

fn always_restarts(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

fn request_of(
    requests: &BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>,
    name: &str,
) -> Option<i64> {
    Some(milli(requests.get(name)?))
}

/// In thousandths; what is no quantity, which the API server does not let pass, is none.
pub fn milli(quantity: &k8s_openapi::apimachinery::pkg::api::resource::Quantity) -> i64 {
    Quantity::parse(&quantity.0).map_or(0, |quantity| quantity.milli_value())
}

/// What each pod requests of `resource`: one container, the pod as a whole where it says so, or all its containers.
fn requests(pods: &[Arc<Pod>], container: Option<&str>, resource: &str) -> Result<BTreeMap<String, i64>, String> {
    let none = PodSpec::default();
    pods.iter()
        .map(|pod| {
            let name = pod.metadata.name.clone().unwrap_or_default();
            let spec = pod.spec.as_ref().unwrap_or(&none);
            let whole = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
            let request = match (container, whole.filter(|requests| !requests.is_empty())) {
                (None, Some(requests)) => request_of(requests, resource)
                    .or_else(|| of_containers(spec, &name, None, resource).ok())
                    .ok_or_else(|| format!("missing pod-level request for {resource} in Pod {name}"))?,
                _ => of_containers(spec, &name, container, resource)?,
            };
            Ok((name, request))
        })
        .collect()
}

fn of_containers(spec: &PodSpec, pod: &str, only: Option<&str>, resource: &str) -> Result<i64, String> {
    let sidecars = spec.init_containers.iter().flatten().filter(|container| always_restarts(container));
    let mut wanted = spec
        .containers
        .iter()
        .chain(sidecars)
        .filter(|container| only.is_none_or(|name| name == container.name))
        .peekable();
    if let (Some(name), None) = (only, wanted.peek()) {
        return Err(format!("container {name} not found in Pod {pod}"));
    }
    wanted
        .map(|container| {
            let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
            requests
                .and_then(|requests| request_of(requests, resource))
                .ok_or_else(|| format!("missing request for {resource} in container {} of Pod {pod}", container.name))
        })
        .sum()
}

#[cfg(test)]
#[path = "calculator/tests.rs"]
mod tests;
