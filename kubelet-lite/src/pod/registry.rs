//! What the server on port 10250 may know of the pods: written by actors, read by requests.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use parking_lot::RwLock;

use super::state::Tracked;

/// A pod as it is now.
#[derive(Clone, Debug)]
pub struct View {
    pub pod: Arc<Pod>,
    pub containers: BTreeMap<String, Tracked>,
    /// The first process of each container that runs.
    pub pids: HashMap<String, i32>,
    /// `None` on the node's own network.
    pub netns: Option<PathBuf>,
    /// Where pause listens.
    pub sandbox_dir: PathBuf,
}

/// All pods of the node by (namespace, name).
#[derive(Clone, Debug, Default)]
pub struct Registry(Arc<RwLock<HashMap<(String, String), View>>>);

impl Registry {
    pub fn put(&self, namespace: &str, name: &str, view: View) {
        self.0.write().insert((namespace.to_owned(), name.to_owned()), view);
    }

    /// Forgets a pod, unless another one has taken its name.
    pub fn remove(&self, namespace: &str, name: &str, uid: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        let mut pods = self.0.write();
        if pods.get(&key).is_some_and(|view| view.pod.metadata.uid.as_deref() == Some(uid)) {
            pods.remove(&key);
        }
    }

    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<View> {
        self.0.read().get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    #[must_use]
    pub fn all(&self) -> Vec<View> {
        self.0.read().values().cloned().collect()
    }
}
