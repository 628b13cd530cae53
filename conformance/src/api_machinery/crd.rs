//! Custom kinds for specs: a definition with names of its own, and its objects.

use serde_json::{Value, json};

use crate::client::{Objects, Refused};
use crate::spec::Test;

/// A kind that was defined for a spec.
pub struct Custom {
    pub group: String,
    pub plural: String,
    pub kind: String,
    namespaced: bool,
    test: Test,
}

/// One version of a definition.
pub fn version(name: &str, storage: bool, schema: &Value) -> Value {
    json!({ "name": name, "served": true, "storage": storage, "schema": { "openAPIV3Schema": schema } })
}

/// A schema that takes anything.
pub fn anything() -> Value {
    json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

/// A definition that nobody has created yet.
pub fn definition(t: &Test, group: &str, namespaced: bool, versions: &[Value]) -> Value {
    let stem = t.name("foo").replace('-', "");
    let plural = format!("{stem}s");
    json!({
        "metadata": { "name": format!("{plural}.{group}") },
        "spec": {
            "group": group, "scope": if namespaced { "Namespaced" } else { "Cluster" }, "versions": versions,
            "names": { "plural": plural, "singular": stem, "kind": kind(&stem), "listKind": format!("{}List", kind(&stem)) },
        },
    })
}

fn kind(stem: &str) -> String {
    let mut letters = stem.chars();
    letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
}

/// Where definitions are.
pub fn definitions(t: &Test) -> Objects {
    t.everywhere("apiextensions.k8s.io/v1", "customresourcedefinitions")
}

/// Creates a definition and waits until its objects are served.
pub async fn create(t: &Test, definition: &Value) -> anyhow::Result<Custom> {
    let definitions = definitions(t);
    definitions.create(definition).await?;
    let name = definition["metadata"]["name"].as_str().unwrap_or_default();
    definitions.wait(name, "condition Established", established).await?;
    let text = |pointer: &str| definition.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let custom = Custom {
        group: text("/spec/group"),
        plural: text("/spec/names/plural"),
        kind: text("/spec/names/kind"),
        namespaced: definition["spec"]["scope"] == "Namespaced",
        test: t.clone(),
    };
    let version = text("/spec/versions/0/name");
    custom.served(&version).await?;
    Ok(custom)
}

pub fn established(definition: &Value) -> bool {
    let conditions = definition["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| c["type"] == "Established" && c["status"] == "True")
}

impl Custom {
    pub fn name(&self) -> String {
        format!("{}.{}", self.plural, self.group)
    }

    pub fn api_version(&self, version: &str) -> String {
        format!("{}/{version}", self.group)
    }

    /// The objects in one version, in the spec's namespace where the kind has any.
    pub fn objects(&self, version: &str) -> Objects {
        let api_version = self.api_version(version);
        if self.namespaced {
            self.test.objects(&api_version, &self.plural)
        } else {
            self.test.everywhere(&api_version, &self.plural)
        }
    }

    /// An object of the kind.
    pub fn object(&self, version: &str, name: &str, fields: &Value) -> Value {
        let mut object =
            json!({ "apiVersion": self.api_version(version), "kind": self.kind, "metadata": { "name": name } });
        if let (Some(object), Some(fields)) = (object.as_object_mut(), fields.as_object()) {
            object.extend(fields.clone());
        }
        object
    }

    /// Established means that it is served a moment later.
    async fn served(&self, version: &str) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + crate::client::PATIENCE;
        loop {
            match self.objects(version).list("limit=1").await {
                Err(error)
                    if tokio::time::Instant::now() < deadline
                        && error.downcast_ref::<Refused>().is_some_and(|refused| refused.code == 404) =>
                {
                    tokio::task::yield_now().await;
                }
                other => return other.map(|_| ()),
            }
        }
    }

    pub async fn remove(&self) -> anyhow::Result<()> {
        definitions(&self.test).delete(&self.name()).await.map(|_| ())
    }
}
