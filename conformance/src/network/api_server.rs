//! API Server: the `kubernetes` Service and what is behind it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-network] API Server should have Endpoints and EndpointSlices pointing to API Server [Conformance]" => endpoints,
    "[sig-network] API Server should provide secure master service [Conformance]" => service,
}

async fn service(t: Test) -> anyhow::Result<()> {
    let service = t.objects_in("default", "v1", "services").get("kubernetes").await?;
    let ports = service["spec"]["ports"].as_array().cloned().unwrap_or_default();
    expect::same("the number of ports", &ports.len(), &1)?;
    expect::at(&ports[0], "/port", 443)?;
    expect::at(&ports[0], "/name", "https")
}

async fn endpoints(t: Test) -> anyhow::Result<()> {
    let endpoints = t.objects_in("default", "v1", "endpoints").get("kubernetes").await?;
    let subsets = endpoints["subsets"].as_array().cloned().unwrap_or_default();
    expect::same("the number of subsets", &subsets.len(), &1)?;
    let texts = |list: &Value, field: &str| -> BTreeSet<String> {
        list.as_array().into_iter().flatten().map(|a| a[field].as_str().unwrap_or_default().to_owned()).collect()
    };
    let addresses = texts(&subsets[0]["addresses"], "ip");
    expect::that(!addresses.is_empty(), || format!("there is no address in {endpoints}"))?;
    let slices = t.objects_in("default", "discovery.k8s.io/v1", "endpointslices");
    let slices = slices.items("labelSelector=kubernetes.io/service-name=kubernetes").await?;
    expect::that(!slices.is_empty(), || "there is no EndpointSlice of the kubernetes Service".to_owned())?;
    let in_slices: BTreeSet<String> = slices
        .iter()
        .flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten())
        .flat_map(|endpoint| endpoint["addresses"].as_array().into_iter().flatten())
        .filter_map(|address| address.as_str().map(str::to_owned))
        .collect();
    expect::same("the addresses in slices", &in_slices, &addresses)?;
    for slice in &slices {
        expect::at(slice, "/ports/0/port", subsets[0]["ports"][0]["port"].clone())?;
    }
    Ok(())
}
