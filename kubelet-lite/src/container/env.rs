//! A container's environment: the image's, the services', `envFrom`, then `env`, each over what came before.

use k8s_openapi::api::core::v1::{Container, EnvVar, Pod, Service};
use kube::ResourceExt;

use super::expand::expand;
use super::fields::{self, Known};
use crate::sources::{self, Kind, Sources};

/// Why a container cannot be configured; the text becomes the message of CreateContainerConfigError.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Source(#[from] sources::Error),
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    NoKey { key: String, kind: &'static str, namespace: String, name: String },
    #[error("unsupported fieldPath: {0}")]
    Field(String),
    #[error("invalid container resource: {0}")]
    Resource(String),
}

/// An ordered environment in which a later value replaces an earlier one in its place.
#[derive(Clone, Debug, Default)]
pub struct Environment(Vec<(String, String)>);

impl Environment {
    pub fn set(&mut self, name: &str, value: String) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some(entry) => entry.1 = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }

    /// `NAME=value` lines.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.0.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }
}

/// What the environment is made from.
pub struct Input<'a> {
    pub pod: &'a Pod,
    pub container: &'a Container,
    pub known: &'a Known,
    pub image_env: &'a [String],
    pub services: &'a [std::sync::Arc<Service>],
    pub hostname: &'a str,
    pub tty: bool,
}

/// The variables the pod declares (they alone can be used in `$(NAME)`), and the whole environment.
///
/// # Errors
/// When something referred to is missing and not optional.
pub async fn environment(input: &Input<'_>, sources: &mut Sources<'_>) -> Result<(Environment, Environment), Error> {
    let namespace = input.pod.namespace().unwrap_or_default();
    let mut declared = Environment::default();
    let links = input.pod.spec.as_ref().and_then(|spec| spec.enable_service_links).unwrap_or(true);
    for (name, value) in service_variables(input.services, &namespace, links) {
        declared.set(&name, value);
    }
    for from in input.container.env_from.iter().flatten() {
        let (kind, name, optional) = match (&from.config_map_ref, &from.secret_ref) {
            (Some(map), _) => (Kind::ConfigMap, &map.name, map.optional),
            (_, Some(secret)) => (Kind::Secret, &secret.name, secret.optional),
            _ => continue,
        };
        let Some(data) = optionally(sources.get(kind, name).await, optional)? else { continue };
        for (key, bytes) in data.iter() {
            let name = format!("{}{key}", from.prefix.as_deref().unwrap_or_default());
            declared.set(&name, String::from_utf8_lossy(bytes).into_owned());
        }
    }
    for variable in input.container.env.iter().flatten() {
        if let Some(value) = value(variable, input, sources, &declared, &namespace).await? {
            declared.set(&variable.name, value);
        }
    }
    let mut all = Environment::default();
    for line in input.image_env {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        all.set(name, value.to_owned());
    }
    if all.get("PATH").is_none() {
        all.set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
    }
    all.set("HOSTNAME", input.hostname.to_owned());
    if input.tty {
        all.set("TERM", "xterm".to_owned());
    }
    for (name, value) in &declared.0 {
        all.set(name, value.clone());
    }
    Ok((declared, all))
}

async fn value(
    variable: &EnvVar,
    input: &Input<'_>,
    sources: &mut Sources<'_>,
    declared: &Environment,
    namespace: &str,
) -> Result<Option<String>, Error> {
    let Some(from) = &variable.value_from else {
        let text = variable.value.as_deref().unwrap_or_default();
        return Ok(Some(expand(text, |name| declared.get(name))));
    };
    if let Some(selector) = &from.field_ref {
        let found = fields::field(input.pod, input.known, &selector.field_path);
        return found.map(Some).ok_or_else(|| Error::Field(selector.field_path.clone()));
    }
    if let Some(selector) = &from.resource_field_ref {
        let other = selector.container_name.as_deref().filter(|name| !name.is_empty());
        let spec = input.pod.spec.as_ref();
        let named = |name: &str| {
            let spec = spec?;
            spec.containers.iter().chain(spec.init_containers.iter().flatten()).find(|container| container.name == name)
        };
        let container = other.map_or(Some(input.container), named);
        let found = container.and_then(|container| fields::resource(container, input.known, selector));
        return found.map(Some).ok_or_else(|| Error::Resource(selector.resource.clone()));
    }
    let (kind, name, key, optional) = match (&from.config_map_key_ref, &from.secret_key_ref) {
        (Some(map), _) => (Kind::ConfigMap, &map.name, &map.key, map.optional),
        (_, Some(secret)) => (Kind::Secret, &secret.name, &secret.key, secret.optional),
        _ => return Ok(None),
    };
    let Some(data) = optionally(sources.get(kind, name).await, optional)? else { return Ok(None) };
    match data.get(key) {
        Some(bytes) => Ok(Some(String::from_utf8_lossy(bytes).into_owned())),
        None if optional == Some(true) => Ok(None),
        None => {
            let kind = if kind == Kind::ConfigMap { "ConfigMap" } else { "Secret" };
            Err(Error::NoKey { key: key.clone(), kind, namespace: namespace.to_owned(), name: name.clone() })
        }
    }
}

fn optionally<T>(found: Result<T, sources::Error>, optional: Option<bool>) -> Result<Option<T>, Error> {
    match found {
        Err(sources::Error::NotFound { .. }) if optional == Some(true) => Ok(None),
        other => Ok(other.map(Some)?),
    }
}

/// `WEB_SERVICE_HOST` and its like, for the pod's namespace and for `default/kubernetes`.
fn service_variables(services: &[std::sync::Arc<Service>], namespace: &str, links: bool) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for service in services {
        let name = service.name_any();
        let master = service.namespace().as_deref() == Some("default") && name == "kubernetes";
        let linked = links && service.namespace().as_deref() == Some(namespace);
        if !master && !linked {
            continue;
        }
        let Some(spec) = &service.spec else { continue };
        let Some(ip) = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None") else { continue };
        let Some(first) = spec.ports.iter().flatten().next() else { continue };
        let prefix = name.to_ascii_uppercase().replace('-', "_");
        found.push((format!("{prefix}_SERVICE_HOST"), ip.to_owned()));
        found.push((format!("{prefix}_SERVICE_PORT"), first.port.to_string()));
        for port in spec.ports.iter().flatten() {
            if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
                let name = name.to_ascii_uppercase().replace('-', "_");
                found.push((format!("{prefix}_SERVICE_PORT_{name}"), port.port.to_string()));
            }
        }
        let url = |port: i32, protocol: &str| format!("{}://{ip}:{port}", protocol.to_ascii_lowercase());
        let protocol = first.protocol.as_deref().unwrap_or("TCP");
        found.push((format!("{prefix}_PORT"), url(first.port, protocol)));
        for port in spec.ports.iter().flatten() {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let one = format!("{prefix}_PORT_{}_{protocol}", port.port);
            found.push((one.clone(), url(port.port, protocol)));
            found.push((format!("{one}_PROTO"), protocol.to_ascii_lowercase()));
            found.push((format!("{one}_PORT"), port.port.to_string()));
            found.push((format!("{one}_ADDR"), ip.to_owned()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_services() {
        let service: Service = serde_json::from_value(serde_json::json!({
            "metadata": { "name": "redis-main", "namespace": "shop" },
            "spec": { "clusterIP": "10.96.0.11", "ports": [{ "name": "db", "port": 6379, "protocol": "TCP" }] },
        }))
        .expect("a service");
        let services = [std::sync::Arc::new(service)];
        let found = service_variables(&services, "shop", true);
        let of = |name: &str| found.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        assert_eq!(of("REDIS_MAIN_SERVICE_HOST"), Some("10.96.0.11"));
        assert_eq!(of("REDIS_MAIN_SERVICE_PORT_DB"), Some("6379"));
        assert_eq!(of("REDIS_MAIN_PORT"), Some("tcp://10.96.0.11:6379"));
        assert_eq!(of("REDIS_MAIN_PORT_6379_TCP_ADDR"), Some("10.96.0.11"));
        assert!(service_variables(&services, "shop", false).is_empty());
        assert!(service_variables(&services, "other", true).is_empty());
    }
}
