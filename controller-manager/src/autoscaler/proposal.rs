//! From one metric of the object and what was measured of it to a number of replicas, and to what the status says of it
//! (upstream's `computeStatusFor…Metric`). Pure.

use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricStatus, ExternalMetricStatus, MetricSpec, MetricStatus, MetricTarget, MetricValueStatus,
    ObjectMetricStatus, PodsMetricStatus, ResourceMetricStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource;
use schema::quantity::Quantity;

use super::calculator::{Calculator, Samples, milli};
use super::measure::Measured;
use super::words::dump;

#[derive(Debug, PartialEq)]
pub struct Proposal {
    pub replicas: i32,
    /// What the number comes from, in words.
    pub metric: String,
    pub status: MetricStatus,
}

/// Why a metric proposes nothing.
#[derive(Debug, PartialEq, Eq)]
pub struct Unable {
    /// Of the event and of the condition.
    pub reason: &'static str,
    /// What the event says, and the condition after its introduction.
    pub cause: String,
    /// What is said of it where all the metrics are summed up.
    pub error: String,
}

/// The sizes the target has by its specification and by its status, and the object's namespace.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    pub namespace: &'a str,
    pub wanted: i32,
    pub present: i32,
}

/// What `spec` asks for.
///
/// # Errors
/// It could not be measured, or the pods do not allow an answer.
pub fn propose(
    spec: &MetricSpec,
    measured: Result<Measured, String>,
    target: Target<'_>,
    calculator: &Calculator<'_>,
) -> Result<Proposal, Unable> {
    let status = MetricStatus { type_: spec.type_.clone(), ..MetricStatus::default() };
    if let Some(source) = &spec.resource {
        let (replicas, metric, current) = of_resource(&source.name, None, &source.target, measured, target, calculator)
            .map_err(|cause| Unable {
                reason: "FailedGetResourceMetric",
                error: format!("failed to get {} resource metric value: {cause}", source.name),
                cause,
            })?;
        let resource = Some(ResourceMetricStatus { name: source.name.clone(), current });
        return Ok(Proposal { replicas, metric, status: MetricStatus { resource, ..status } });
    }
    if let Some(source) = &spec.container_resource {
        let container = Some(source.container.as_str());
        let (replicas, metric, current) =
            of_resource(&source.name, container, &source.target, measured, target, calculator).map_err(|cause| {
                Unable {
                    reason: "FailedGetContainerResourceMetric",
                    error: format!("failed to get {} container metric value: {cause}", source.container),
                    cause,
                }
            })?;
        let container_resource = Some(ContainerResourceMetricStatus {
            container: source.container.clone(),
            name: source.name.clone(),
            current,
        });
        return Ok(Proposal { replicas, metric, status: MetricStatus { container_resource, ..status } });
    }
    if let Some(source) = &spec.pods {
        let name = &source.metric.name;
        let found = samples(measured)
            .map_err(|error| format!("unable to get metric {name}: {error}"))
            .and_then(|samples| calculator.average(target.wanted, of(&source.target.average_value), samples, None));
        let (replicas, usage) = found.map_err(|cause| Unable {
            reason: "FailedGetPodsMetric",
            error: format!("failed to get pods metric value: {cause}"),
            cause,
        })?;
        let pods = Some(PodsMetricStatus { metric: source.metric.clone(), current: average(usage.average) });
        return Ok(Proposal {
            replicas,
            metric: format!("pods metric {name}"),
            status: MetricStatus { pods, ..status },
        });
    }
    if spec.object.is_some() {
        return of_object(spec, status, measured, target, calculator);
    }
    if spec.external.is_some() {
        return of_external(spec, status, measured, target, calculator);
    }
    let cause = format!("unknown metric source type {:?}", spec.type_);
    Err(Unable { reason: "InvalidMetricSourceType", error: cause.clone(), cause })
}

fn of(quantity: &Option<resource::Quantity>) -> i64 {
    quantity.as_ref().map_or(0, milli)
}

fn samples(measured: Result<Measured, String>) -> Result<Samples, String> {
    match measured? {
        Measured::Pods(samples) => Ok(samples),
        Measured::Value(_) | Measured::Values(_) => Ok(Samples::new()),
    }
}

fn plain(value: i64) -> Option<resource::Quantity> {
    Some(resource::Quantity(Quantity::milli(value).to_string()))
}

fn average(value: i64) -> MetricValueStatus {
    MetricValueStatus { average_value: plain(value), ..MetricValueStatus::default() }
}

fn whole(value: i64) -> MetricValueStatus {
    MetricValueStatus { value: plain(value), ..MetricValueStatus::default() }
}

/// Memory is shown as the metrics server shows it, in powers of two.
fn amount(resource: &str, value: i64) -> Option<resource::Quantity> {
    let quantity = if resource == "memory" { Quantity::milli(value).binary() } else { Quantity::milli(value) };
    Some(resource::Quantity(quantity.to_string()))
}

fn of_resource(
    name: &str,
    container: Option<&str>,
    aim: &MetricTarget,
    measured: Result<Measured, String>,
    target: Target<'_>,
    calculator: &Calculator<'_>,
) -> Result<(i32, String, MetricValueStatus), String> {
    let samples = samples(measured).map_err(|error| format!("unable to get metrics for resource {name}: {error}"));
    if let Some(wanted) = &aim.average_value {
        let found = samples.and_then(|samples| calculator.average(target.wanted, milli(wanted), samples, Some(name)));
        let (replicas, usage) = found.map_err(|error| format!("failed to get {name} usage: {error}"))?;
        let current = MetricValueStatus { average_value: amount(name, usage.average), ..MetricValueStatus::default() };
        return Ok((replicas, format!("{name} resource"), current));
    }
    let Some(wanted) = aim.average_utilization else {
        return Err(
            "invalid resource metric source: neither an average utilization target nor an average value (usage) target was set"
                .to_owned(),
        );
    };
    let found = samples.and_then(|samples| calculator.utilization(target.wanted, wanted, samples, name, container));
    let (replicas, usage) = found.map_err(|error| format!("failed to get {name} utilization: {error}"))?;
    let current = MetricValueStatus {
        average_utilization: Some(usage.percent),
        average_value: amount(name, usage.average),
        value: None,
    };
    let of_container = if container.is_some() { "container " } else { "" };
    Ok((replicas, format!("{name} {of_container}resource utilization (percentage of request)"), current))
}

fn of_object(
    spec: &MetricSpec,
    status: MetricStatus,
    measured: Result<Measured, String>,
    target: Target<'_>,
    calculator: &Calculator<'_>,
) -> Result<Proposal, Unable> {
    let source = spec.object.as_ref().expect("the caller looked");
    let (object, name) = (&source.described_object, &source.metric.name);
    let unable = |prefix: &str, cause: String| Unable {
        reason: "FailedGetObjectMetric",
        error: format!("failed to get object metric value: {prefix}{cause}"),
        cause,
    };
    let value = match measured {
        Ok(Measured::Value(value)) => Ok(value),
        Ok(_) => Ok(0),
        Err(error) => {
            let (kind, namespace) = (&object.kind, target.namespace);
            Err(format!("unable to get metric {name}: {error} on {kind} {namespace}/{}", object.name))
        }
    };
    let (replicas, metric, current) =
        match (source.target.type_.as_str(), &source.target.value, &source.target.average_value) {
            ("Value", Some(aim), _) => {
                let value = value.map_err(|cause| unable("", cause))?;
                let replicas = calculator.value(target.wanted, milli(aim), value).map_err(|cause| unable("", cause))?;
                (replicas, format!("{} metric {name}", object.kind), whole(value))
            }
            ("AverageValue", _, Some(aim)) => {
                let prefix = format!("failed to get {name} object metric: ");
                let value = value.map_err(|cause| unable(&prefix, cause))?;
                let (replicas, each) = calculator.per_pod(target.present, milli(aim), value);
                (replicas, format!("external metric {name}({})", dump(source.metric.selector.as_ref())), average(each))
            }
            _ => {
                let cause = "invalid object metric source: neither a value target nor an average value target was set";
                return Err(unable("", cause.to_owned()));
            }
        };
    let object = Some(ObjectMetricStatus { current, described_object: object.clone(), metric: source.metric.clone() });
    Ok(Proposal { replicas, metric, status: MetricStatus { object, ..status } })
}

fn of_external(
    spec: &MetricSpec,
    status: MetricStatus,
    measured: Result<Measured, String>,
    target: Target<'_>,
    calculator: &Calculator<'_>,
) -> Result<Proposal, Unable> {
    let source = spec.external.as_ref().expect("the caller looked");
    let name = &source.metric.name;
    let selector = dump(source.metric.selector.as_ref());
    let unable = |prefix: &str, cause: String| Unable {
        reason: "FailedGetExternalMetric",
        error: format!("failed to get {name} external metric value: {prefix}{cause}"),
        cause,
    };
    let value = match measured {
        Ok(Measured::Values(values)) => Ok(values.into_iter().fold(0, i64::saturating_add)),
        Ok(_) => Ok(0),
        Err(error) => Err(format!("unable to get external metric {}/{name}/{selector}: {error}", target.namespace)),
    };
    let (replicas, current) = match (&source.target.average_value, &source.target.value) {
        (Some(aim), _) => {
            let prefix = format!("failed to get {name} external metric: ");
            let value = value.map_err(|cause| unable(&prefix, cause))?;
            let (replicas, each) = calculator.per_pod(target.present, milli(aim), value);
            (replicas, average(each))
        }
        (None, Some(aim)) => {
            let prefix = format!("failed to get external metric {name}: ");
            let value = value.map_err(|cause| unable(&prefix, cause))?;
            let replicas =
                calculator.value(target.wanted, milli(aim), value).map_err(|cause| unable(&prefix, cause))?;
            (replicas, whole(value))
        }
        (None, None) => {
            let cause = "invalid external metric source: neither a value target nor an average value target was set";
            return Err(unable("", cause.to_owned()));
        }
    };
    let external = Some(ExternalMetricStatus { current, metric: source.metric.clone() });
    Ok(Proposal {
        replicas,
        metric: format!("external metric {name}({selector})"),
        status: MetricStatus { external, ..status },
    })
}

#[cfg(test)]
#[path = "proposal/tests.rs"]
mod tests;
