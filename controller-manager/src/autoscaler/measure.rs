//! What the metrics APIs say (upstream `podautoscaler/metrics/client.go` and `k8s.io/metrics/pkg/client`): resources of pods
//! from metrics.k8s.io, anything else from custom.metrics.k8s.io and external.metrics.k8s.io.

use std::sync::Arc;

use k8s_openapi::api::autoscaling::v2::{CrossVersionObjectReference, MetricSpec};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use schema::quantity::Quantity;
use serde_json::Value;

use super::api::Api;
use super::calculator::{Sample, Samples};
use super::words;

/// How long the custom metrics of a pod were measured, where they do not tell.
const CUSTOM_WINDOW: SignedDuration = SignedDuration::from_mins(1);
/// The versions of custom.metrics.k8s.io whose answers are understood; they differ in where a metric's name stands.
const CUSTOM_VERSIONS: [&str; 2] = ["custom.metrics.k8s.io/v1beta2", "custom.metrics.k8s.io/v1beta1"];

/// What a metric was found to be.
#[derive(Debug, PartialEq)]
pub enum Measured {
    Pods(Samples),
    Value(i64),
    Values(Vec<i64>),
}

pub struct Metrics {
    pub api: Arc<Api>,
}

impl Metrics {
    /// What `spec` speaks of. `pods` is the text of the target's selector.
    ///
    /// # Errors
    /// In upstream's words.
    pub async fn measure(&self, spec: &MetricSpec, namespace: &str, pods: &str) -> Result<Measured, String> {
        if let Some(source) = &spec.resource {
            return self.resource(namespace, pods, &source.name, None).await.map(Measured::Pods);
        }
        if let Some(source) = &spec.container_resource {
            return self.resource(namespace, pods, &source.name, Some(&source.container)).await.map(Measured::Pods);
        }
        if let Some(source) = &spec.pods {
            let selector = words::selector(source.metric.selector.as_ref())?;
            return self.custom_of_pods(namespace, pods, &source.metric.name, &selector).await.map(Measured::Pods);
        }
        if let Some(source) = &spec.object {
            let selector = words::selector(source.metric.selector.as_ref())?;
            let object = &source.described_object;
            return self.custom_of_object(namespace, object, &source.metric.name, &selector).await.map(Measured::Value);
        }
        let Some(source) = &spec.external else { return Err(String::new()) };
        let selector = words::selector(source.metric.selector.as_ref())?;
        self.external(namespace, &source.metric.name, &selector).await.map(Measured::Values)
    }

    async fn resource(
        &self,
        namespace: &str,
        pods: &str,
        name: &str,
        container: Option<&str>,
    ) -> Result<Samples, String> {
        let what = "(get pods.metrics.k8s.io)";
        let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods");
        let list = self.api.list(&path, &[("labelSelector", pods)], what).await;
        let list = list.map_err(|error| format!("unable to fetch metrics from resource metrics API: {error}"))?;
        let items = items(&list).ok_or("no metrics returned from resource metrics API")?;
        Ok(items.iter().filter_map(|pod| resource_of(pod, name, container)).collect())
    }

    /// The root of the custom metrics API, in the version to ask.
    async fn custom(&self) -> Result<String, String> {
        let group = self.api.group("custom.metrics.k8s.io").await?;
        let group = group.ok_or("no custom metrics API (custom.metrics.k8s.io) registered")?;
        custom_version(&group).map(|version| format!("/apis/{version}"))
    }

    async fn custom_list(
        &self,
        path: &str,
        namespace: &str,
        query: &[(&str, &str)],
        what: &str,
    ) -> Result<Value, String> {
        let root = self.custom().await?;
        self.api.list(&format!("{root}/namespaces/{namespace}/{path}"), query, what).await
    }

    async fn custom_of_pods(
        &self,
        namespace: &str,
        pods: &str,
        metric: &str,
        selector: &str,
    ) -> Result<Samples, String> {
        let query = [("labelSelector", pods), ("metricLabelSelector", selector)];
        let what = "(get pods.custom.metrics.k8s.io *)";
        let list = self.custom_list(&format!("pods/*/{metric}"), namespace, &query, what).await;
        let list = list.map_err(|error| format!("unable to fetch metrics from custom metrics API: {error}"))?;
        let items = items(&list).ok_or("no metrics returned from custom metrics API")?;
        Ok(items.iter().filter_map(custom_of_pod).collect())
    }

    async fn custom_of_object(
        &self,
        namespace: &str,
        object: &CrossVersionObjectReference,
        metric: &str,
        selector: &str,
    ) -> Result<i64, String> {
        let asked = async {
            let query = [("metricLabelSelector", selector)];
            let group = object
                .api_version
                .as_deref()
                .and_then(|version| version.split_once('/'))
                .map_or("", |(group, _)| group);
            let list = if object.kind == "Namespace" && group.is_empty() {
                let what = format!("(get metrics.custom.metrics.k8s.io {metric})");
                self.custom_list(&format!("metrics/{metric}"), namespace, &query, &what).await?
            } else {
                let mappings = self.api.mappings(group, &object.kind).await.map_err(|error| {
                    let dot = if group.is_empty() { "" } else { "." };
                    format!("unable to map kind {}{dot}{group} to resource: {error}", object.kind)
                })?;
                let resource = mappings[0].group_resource();
                let what = format!("(get {resource}.custom.metrics.k8s.io {})", object.name);
                self.custom_list(&format!("{resource}/{}/{metric}", object.name), namespace, &query, &what).await?
            };
            match list["items"].as_array().map_or(&[][..], Vec::as_slice) {
                [one] => Ok(milli(&one["value"]).unwrap_or(0)),
                many => Err(format!(
                    "the custom metrics API server returned {} results when we asked for exactly one",
                    many.len()
                )),
            }
        };
        asked.await.map_err(|error| format!("unable to fetch metrics from custom metrics API: {error}"))
    }

    async fn external(&self, namespace: &str, metric: &str, selector: &str) -> Result<Vec<i64>, String> {
        let path = format!("/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{metric}");
        let what = format!("(get {metric}.external.metrics.k8s.io)");
        let list = self.api.list(&path, &[("labelSelector", selector)], &what).await;
        let list = list.map_err(|error| format!("unable to fetch metrics from external metrics API: {error}"))?;
        let items = items(&list).ok_or("no metrics returned from external metrics API")?;
        Ok(items.iter().filter_map(|item| milli(&item["value"])).collect())
    }
}

fn items(list: &Value) -> Option<&Vec<Value>> {
    list["items"].as_array().filter(|items| !items.is_empty())
}

fn milli(quantity: &Value) -> Option<i64> {
    Quantity::parse(quantity.as_str()?).ok().map(|quantity| quantity.milli_value())
}

fn custom_version(group: &Value) -> Result<&'static str, String> {
    let known = |version: &Value| CUSTOM_VERSIONS.into_iter().find(|known| version["groupVersion"] == *known);
    known(&group["preferredVersion"])
        .or_else(|| group["versions"].as_array()?.iter().find_map(known))
        .ok_or_else(|| "no known available metric versions found".to_owned())
}

fn sample(object: &Value, value: i64, window: SignedDuration) -> Sample {
    let timestamp = object["timestamp"].as_str().and_then(|text| text.parse().ok()).unwrap_or(Timestamp::UNIX_EPOCH);
    Sample { value, timestamp, window }
}

/// A pod without a measurement of each of its containers (or of the one that is asked for) has none.
fn resource_of(pod: &Value, resource: &str, container: Option<&str>) -> Option<(String, Sample)> {
    let containers = pod["containers"].as_array().filter(|containers| !containers.is_empty())?;
    let usage = |of: &Value| milli(&of["usage"][resource]);
    let value = match container {
        Some(name) => usage(containers.iter().find(|container| container["name"] == name)?)?,
        None => containers.iter().map(usage).sum::<Option<i64>>()?,
    };
    let window = pod["window"].as_str().and_then(|text| runtime::flags::duration(text).ok());
    let window = window.and_then(|window| SignedDuration::try_from(window).ok()).unwrap_or_default();
    Some((pod["metadata"]["name"].as_str()?.to_owned(), sample(pod, value, window)))
}

fn custom_of_pod(metric: &Value) -> Option<(String, Sample)> {
    // v1beta1 says "window", v1beta2 "windowSeconds".
    let seconds = metric["windowSeconds"].as_i64().or_else(|| metric["window"].as_i64());
    let window = seconds.map_or(CUSTOM_WINDOW, SignedDuration::from_secs);
    Some((metric["describedObject"]["name"].as_str()?.to_owned(), sample(metric, milli(&metric["value"])?, window)))
}

#[cfg(test)]
#[path = "measure/tests.rs"]
mod tests;
