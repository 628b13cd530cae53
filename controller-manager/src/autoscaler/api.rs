//! The API as the autoscaler asks it: lists of metrics, which resource a kind is, its scale. What fails says so in the words
//! of upstream's client, for they become conditions that people search for.

use kube::Client;
use serde_json::Value;

use crate::framework::ApiError;

/// A resource that objects of a kind are found under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub group: String,
    pub version: String,
    pub plural: String,
}

impl Mapping {
    /// `pods`, `deployments.apps`.
    #[must_use]
    pub fn group_resource(&self) -> String {
        let dot = if self.group.is_empty() { "" } else { "." };
        format!("{}{dot}{}", self.plural, self.group)
    }

    fn scale_path(&self, namespace: &str, name: &str) -> String {
        let (version, plural) = (&self.version, &self.plural);
        let root = if self.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", self.group) };
        format!("{root}/{version}/namespaces/{namespace}/{plural}/{name}/scale")
    }
}

pub struct Api {
    pub client: Client,
}

/// What client-go says where a server answered without a Status (`NewGenericServerResponse`).
fn generic(code: u16, text: &str) -> String {
    match code {
        401 => "the server has asked for the client to provide credentials",
        403 if text.is_empty() => "the server does not allow access to the requested resource",
        403 => text,
        404 => "the server could not find the requested resource",
        405 => "the server does not allow this method on the requested resource",
        429 => "the server has received too many requests and has asked us to try again later",
        503 => "the server is currently unable to handle the request",
        504 => {
            "the server was unable to return a response in the time allotted, but may still be processing the request"
        }
        500.. => {
            return format!("an error on the server ({text:?}) has prevented the request from succeeding");
        }
        _ => "the server responded with an unexpected status code",
    }
    .to_owned()
}

/// An answer without a Status, or with one that says no more than its code.
fn says_nothing(status: &kube::core::Status) -> bool {
    status.reason == "Failed to parse error data" || (status.code != 403 && status.message == generic(status.code, ""))
}

/// The words of an error; `what` (`(get pods.metrics.k8s.io)`) is said where the server itself did not say anything.
fn words(error: &kube::Error, what: &str) -> String {
    match error {
        kube::Error::Api(status) if says_nothing(status) => {
            format!("{} {what}", generic(status.code, &status.message))
        }
        other => other.words(),
    }
}

/// A query string: everything but unreserved characters in percent notation.
fn query(pairs: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        text.push(if text.is_empty() { '?' } else { '&' });
        text.push_str(name);
        text.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                text.push(char::from(byte));
            } else {
                text.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    text
}

impl Api {
    async fn get(&self, path: &str) -> Result<Value, kube::Error> {
        let request = http::Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
        self.client.request(request).await
    }

    async fn find(&self, path: &str, what: &str) -> Result<Option<Value>, String> {
        match self.get(path).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(words(&error, what)),
        }
    }

    /// What a GET of a metric says.
    ///
    /// # Errors
    /// In upstream's words.
    pub async fn list(&self, path: &str, pairs: &[(&str, &str)], what: &str) -> Result<Value, String> {
        self.get(&format!("{path}{}", query(pairs))).await.map_err(|error| words(&error, what))
    }

    /// What discovery says of a group.
    ///
    /// # Errors
    /// In upstream's words; that there is no such group is none.
    pub async fn group(&self, group: &str) -> Result<Option<Value>, String> {
        self.find(&format!("/apis/{group}"), "").await
    }

    /// The resources of a kind, in each version of its group, the preferred one first; never empty.
    ///
    /// # Errors
    /// There is none, or the API server cannot be asked.
    pub async fn mappings(&self, group: &str, kind: &str) -> Result<Vec<Mapping>, String> {
        let roots: Vec<(String, String)> = if group.is_empty() {
            vec![("/api/v1".to_owned(), "v1".to_owned())]
        } else {
            let found = self.group(group).await?.unwrap_or_default();
            versions(&found).map(|version| (format!("/apis/{group}/{version}"), version.to_owned())).collect()
        };
        let mut mappings = Vec::new();
        for (root, version) in roots {
            let Some(list) = self.find(&root, "").await? else { continue };
            let resources = list["resources"].as_array().into_iter().flatten();
            let named = resources.filter(|resource| resource["kind"] == kind).filter_map(|one| one["name"].as_str());
            mappings.extend(named.filter(|name| !name.contains('/')).map(|name| Mapping {
                group: group.to_owned(),
                version: version.clone(),
                plural: name.to_owned(),
            }));
        }
        if mappings.is_empty() { Err(format!("no matches for kind {kind:?} in group {group:?}")) } else { Ok(mappings) }
    }

    /// The scale of the first of `mappings` that has one by that name.
    ///
    /// # Errors
    /// The first failure, if all fail.
    pub async fn scale(&self, mappings: &[Mapping], namespace: &str, name: &str) -> Result<(Value, Mapping), String> {
        let mut first = None;
        for mapping in mappings {
            match self.get(&mapping.scale_path(namespace, name)).await {
                Ok(scale) => return Ok((scale, mapping.clone())),
                Err(error) => {
                    let what = format!("(get {} {name})", mapping.plural);
                    first.get_or_insert_with(|| words(&error, &what));
                }
            }
        }
        Err(first.unwrap_or_else(|| "unrecognized resource".to_owned()))
    }

    /// Sets the size; when somebody else changed the object meanwhile, on top of that, a few times.
    ///
    /// # Errors
    /// In upstream's words.
    pub async fn rescale(&self, mapping: &Mapping, mut scale: Value, replicas: i32) -> Result<(), String> {
        /// As `retry.DefaultRetry`.
        const ATTEMPTS: usize = 5;
        let text = |pointer: &str| scale.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
        let path = mapping.scale_path(&namespace, &name);
        let mut attempt = 1;
        loop {
            scale["spec"]["replicas"] = replicas.into();
            let body = serde_json::to_vec(&scale).map_err(|error| error.to_string())?;
            let request = http::Request::put(&path).header("content-type", "application/json").body(body);
            let request = request.map_err(|error| error.to_string())?;
            match self.client.request::<Value>(request).await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_conflict() && attempt < ATTEMPTS => {
                    attempt += 1;
                    if let Ok(latest) = self.get(&path).await {
                        scale = latest;
                    }
                }
                Err(error) => return Err(words(&error, &format!("(put {} {name})", mapping.plural))),
            }
        }
    }
}

/// The versions of a group, the preferred one first.
fn versions(group: &Value) -> impl Iterator<Item = &str> {
    let preferred = group["preferredVersion"]["version"].as_str();
    let listed = group["versions"].as_array().into_iter().flatten().filter_map(|version| version["version"].as_str());
    preferred.into_iter().chain(listed.filter(move |version| Some(*version) != preferred))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        assert_eq!(query(&[("labelSelector", "a=b,c in (d)"), ("x", "")]), "?labelSelector=a%3Db%2Cc%20in%20%28d%29");
        assert_eq!(query(&[]), "");
    }

    #[test]
    fn what_is_said_where_the_server_said_nothing() {
        let failed = |code| {
            let status =
                kube::core::Status::failure("404 page not found", "Failed to parse error data").with_code(code);
            words(&kube::Error::Api(status.boxed()), "(get pods.metrics.k8s.io)")
        };
        assert_eq!(failed(404), "the server could not find the requested resource (get pods.metrics.k8s.io)");
        let plain = kube::core::Status::failure("the server could not find the requested resource", "NotFound");
        let plain = words(&kube::Error::Api(plain.with_code(404).boxed()), "(get pods.metrics.k8s.io)");
        assert_eq!(plain, failed(404), "a Status that says no more than its code");
        assert_eq!(failed(503), "the server is currently unable to handle the request (get pods.metrics.k8s.io)");
        assert_eq!(
            failed(500),
            "an error on the server (\"404 page not found\") has prevented the request from succeeding \
             (get pods.metrics.k8s.io)"
        );
    }
}
