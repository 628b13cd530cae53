//! The custom resources of skupper.io/v2alpha1, as far as we act on them. Field names and meanings are upstream's.

pub mod conditions;

use std::collections::BTreeMap;

use kube::CustomResource;
use serde::{Deserialize, Serialize};

use conditions::Status;

/// Where a router can be reached from other sites; `name` is the role (`inter-router`, `edge`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoint {
    pub name: String,
    pub host: String,
    pub port: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
}

#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[kube(group = "skupper.io", version = "v2alpha1", kind = "Site", namespaced)]
#[kube(schema = "disabled", status = "SiteStatus", derive = "PartialEq")]
#[serde(rename_all = "camelCase", default)]
pub struct SiteSpec {
    pub service_account: String,
    pub link_access: String,
    pub default_issuer: String,
    pub edge: bool,
    #[serde(rename = "ha")]
    pub ha: bool,
    pub settings: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SiteStatus {
    #[serde(flatten)]
    pub status: Status,
    pub endpoints: Vec<Endpoint>,
    pub sites_in_network: usize,
    pub network: Vec<SiteRecord>,
    pub default_issuer: String,
    pub controller: Controller,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Controller {
    pub name: String,
    pub namespace: String,
    pub version: String,
}

/// One site of the network, as every Site shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SiteRecord {
    pub id: String,
    pub name: String,
    pub namespace: String,
    pub platform: String,
    pub version: String,
    pub links: Vec<LinkRecord>,
    pub services: Vec<ServiceRecord>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LinkRecord {
    pub name: String,
    pub remote_site_id: String,
    pub remote_site_name: String,
    pub operational: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceRecord {
    pub routing_key: String,
    pub connectors: Vec<String>,
    pub listeners: Vec<String>,
}

#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[kube(group = "skupper.io", version = "v2alpha1", kind = "Link", namespaced)]
#[kube(schema = "disabled", status = "LinkStatus", derive = "PartialEq")]
#[serde(rename_all = "camelCase", default)]
pub struct LinkSpec {
    pub endpoints: Vec<Endpoint>,
    pub tls_credentials: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LinkStatus {
    #[serde(flatten)]
    pub status: Status,
    pub remote_site_id: String,
    pub remote_site_name: String,
}

#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[kube(group = "skupper.io", version = "v2alpha1", kind = "Listener", namespaced)]
#[kube(schema = "disabled", status = "ListenerStatus", derive = "PartialEq")]
#[serde(rename_all = "camelCase", default)]
pub struct ListenerSpec {
    pub routing_key: String,
    pub host: String,
    pub port: u16,
    #[serde(rename = "type")]
    pub protocol: String,
    pub tls_credentials: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListenerStatus {
    #[serde(flatten)]
    pub status: Status,
    pub has_matching_connector: bool,
}

#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[kube(group = "skupper.io", version = "v2alpha1", kind = "Connector", namespaced)]
#[kube(schema = "disabled", status = "ConnectorStatus", derive = "PartialEq")]
#[serde(rename_all = "camelCase", default)]
pub struct ConnectorSpec {
    pub routing_key: String,
    pub host: String,
    pub selector: String,
    pub port: u16,
    #[serde(rename = "type")]
    pub protocol: String,
    pub tls_credentials: String,
    pub include_not_ready_pods: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConnectorStatus {
    #[serde(flatten)]
    pub status: Status,
    pub has_matching_listener: bool,
    pub selected_pods: Vec<PodDetails>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct PodDetails {
    pub name: String,
    pub ip: String,
    #[serde(skip)]
    pub uid: String,
}

#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[kube(group = "skupper.io", version = "v2alpha1", kind = "AccessGrant", namespaced)]
#[kube(schema = "disabled", status = "AccessGrantStatus", derive = "PartialEq")]
#[serde(rename_all = "camelCase", default)]
pub struct AccessGrantSpec {
    pub redemptions_allowed: u32,
    pub expiration_window: String,
    pub code: String,
    pub issuer: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AccessGrantStatus {
    #[serde(flatten)]
    pub status: Status,
    pub url: String,
    pub code: String,
    pub ca: String,
    pub redemptions: u32,
    pub expiration_time: String,
}

#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[kube(group = "skupper.io", version = "v2alpha1", kind = "AccessToken", namespaced)]
#[kube(schema = "disabled", status = "AccessTokenStatus", derive = "PartialEq")]
#[serde(rename_all = "camelCase", default)]
pub struct AccessTokenSpec {
    pub url: String,
    pub code: String,
    pub ca: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_cost: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AccessTokenStatus {
    #[serde(flatten)]
    pub status: Status,
    pub redeemed: bool,
}

#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[kube(group = "skupper.io", version = "v2alpha1", kind = "RouterAccess", plural = "routeraccesses", namespaced)]
#[kube(schema = "disabled", status = "RouterAccessStatus", derive = "PartialEq")]
#[serde(rename_all = "camelCase", default)]
pub struct RouterAccessSpec {
    pub access_type: String,
    pub roles: Vec<RouterAccessRole>,
    pub tls_credentials: String,
    pub generate_tls_credentials: bool,
    pub issuer: String,
    pub bind_host: String,
    pub subject_alternative_names: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouterAccessRole {
    pub name: String,
    pub port: u16,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouterAccessStatus {
    #[serde(flatten)]
    pub status: Status,
    pub endpoints: Vec<Endpoint>,
}
