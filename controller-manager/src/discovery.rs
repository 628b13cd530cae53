//! What kinds of objects the API server has, so that namespaces are emptied and owners followed whatever the kind.

use std::collections::HashMap;

use kube::api::{Api, DynamicObject};
use kube::core::{ApiResource, GroupVersion};
use kube::{Client, Error};

/// One kind in its preferred version.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Served {
    pub resource: ApiResource,
    pub namespaced: bool,
    pub verbs: Vec<String>,
}

impl Served {
    #[must_use]
    pub fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| known == verb)
    }

    /// `pods`, `deployments.apps`.
    #[must_use]
    pub fn group_resource(&self) -> String {
        if self.resource.group.is_empty() {
            self.resource.plural.clone()
        } else {
            format!("{}.{}", self.resource.plural, self.resource.group)
        }
    }

    /// The objects of this kind in `namespace`; everywhere, or of a cluster-scoped kind, without one.
    #[must_use]
    pub fn api(&self, client: &Client, namespace: Option<&str>) -> Api<DynamicObject> {
        match namespace.filter(|name| self.namespaced && !name.is_empty()) {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &self.resource),
            None => Api::all_with(client.clone(), &self.resource),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Discovery {
    /// By (group, kind).
    pub kinds: HashMap<(String, String), Served>,
    /// Group versions that could not be asked, and why.
    pub failed: Vec<(String, String)>,
}

impl Discovery {
    /// Asks the API server for all groups; one that fails is noted and does not hide the others.
    ///
    /// # Errors
    /// When the groups themselves cannot be listed.
    pub async fn fetch(client: &Client) -> Result<Self, Error> {
        let mut found = Self::default();
        for version in client.list_core_api_versions().await?.versions {
            let list = client.list_core_api_resources(&version).await;
            found.take("", &version, list);
        }
        for group in client.list_api_groups().await?.groups {
            let Some(preferred) = group.preferred_version.as_ref().or(group.versions.first()) else { continue };
            // Kinds may exist in other versions of their group only, so all are asked, the preferred one first.
            let others = group.versions.iter().filter(|version| version.version != preferred.version);
            for version in std::iter::once(preferred).chain(others) {
                let list = client.list_api_group_resources(&version.group_version).await;
                found.take(&group.name, &version.version, list);
            }
        }
        Ok(found)
    }

    fn take(
        &mut self,
        group: &str,
        version: &str,
        list: Result<k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList, Error>,
    ) {
        let list = match list {
            Ok(list) => list,
            Err(error) => {
                let name = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
                self.failed.push((name, error.to_string()));
                return;
            }
        };
        for resource in list.resources.into_iter().filter(|resource| !resource.name.contains('/')) {
            let served = Served {
                resource: ApiResource {
                    group: group.to_owned(),
                    version: version.to_owned(),
                    api_version: GroupVersion::gv(group, version).api_version(),
                    kind: resource.kind.clone(),
                    plural: resource.name,
                },
                namespaced: resource.namespaced,
                verbs: resource.verbs,
            };
            self.kinds.entry((group.to_owned(), resource.kind)).or_insert(served);
        }
    }

    /// The kind an owner reference names.
    #[must_use]
    pub fn find(&self, api_version: &str, kind: &str) -> Option<&Served> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        self.kinds.get(&(group.to_owned(), kind.to_owned()))
    }
}
