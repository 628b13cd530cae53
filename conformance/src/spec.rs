//! One spec, and what it is given.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use names::Names;

use crate::client::{Api, Objects};
use crate::fixture::Cluster;

/// What a spec needs of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// API server, controllers, scheduler and bare Node objects; no pod ever runs.
    Api,
    /// Kubelets, network and images: a whole emulator.
    Pods,
}

type Running = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// One row of the table.
#[derive(Clone, Copy)]
pub struct Spec {
    /// Upstream's full name, `[Conformance]` included.
    pub name: &'static str,
    pub needs: Needs,
    pub run: fn(Test) -> Running,
}

impl Spec {
    /// Upstream runs it with nothing else beside it.
    #[must_use]
    pub fn is_serial(&self) -> bool {
        self.name.contains("[Serial]")
    }

    /// `sig-api-machinery`
    #[must_use]
    pub fn sig(&self) -> &'static str {
        sig(self.name)
    }
}

/// The SIG in a spec's name.
#[must_use]
pub fn sig(name: &str) -> &str {
    name.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or("", |(sig, _)| sig)
}

/// The rows of one file: `specs! { Api; "name" => function, … }`; a row may be a closure that calls one with parameters.
#[macro_export]
macro_rules! specs {
    ($needs:ident; $($name:literal => $function:expr),* $(,)?) => {
        pub const SPECS: &[$crate::Spec] = &[
            $($crate::Spec { name: $name, needs: $crate::Needs::$needs, run: |test| Box::pin(($function)(test)) }),*
        ];
    };
}

/// What a running spec works with: the cluster, a namespace of its own, and names nobody else has.
#[derive(Clone)]
pub struct Test {
    pub cluster: Arc<Cluster>,
    /// The spec's own namespace; its ServiceAccount is there.
    pub namespace: String,
    names: Arc<Names>,
}

impl Test {
    #[must_use]
    pub fn new(cluster: Arc<Cluster>, namespace: String) -> Self {
        Self { cluster, names: Arc::new(Names::new(&namespace)), namespace }
    }

    #[must_use]
    pub fn api(&self) -> &Api {
        &self.cluster.api
    }

    /// The objects of a kind in the spec's namespace: `objects("apps/v1", "deployments")`.
    #[must_use]
    pub fn objects(&self, api_version: &str, plural: &str) -> Objects {
        self.objects_in(&self.namespace, api_version, plural)
    }

    /// The objects of a kind in some namespace.
    #[must_use]
    pub fn objects_in(&self, namespace: &str, api_version: &str, plural: &str) -> Objects {
        Objects::new(self.api().clone(), Some(namespace), api_version, plural)
    }

    /// The objects of a kind without namespaces, or in all of them.
    #[must_use]
    pub fn everywhere(&self, api_version: &str, plural: &str) -> Objects {
        Objects::new(self.api().clone(), None, api_version, plural)
    }

    /// A name that no other spec uses, for cluster-scoped objects and labels.
    #[must_use]
    pub fn name(&self, base: &str) -> String {
        self.names.make(base)
    }

    /// One more namespace, deleted at the end like the first.
    ///
    /// # Errors
    /// When it cannot be created.
    pub async fn another_namespace(&self, base: &str) -> anyhow::Result<String> {
        let name = self.name(base);
        self.cluster.make_namespace(&name).await?;
        self.names.remember(&name);
        Ok(name)
    }

    /// All namespaces made for the spec.
    #[must_use]
    pub fn namespaces(&self) -> Vec<String> {
        let mut all = self.names.remembered();
        all.push(self.namespace.clone());
        all
    }
}

mod names {
    use std::sync::Mutex;

    use super::{AtomicUsize, Ordering};

    /// Names derived from the spec's own namespace.
    pub struct Names {
        stem: String,
        next: AtomicUsize,
        namespaces: Mutex<Vec<String>>,
    }

    impl Names {
        pub fn new(stem: &str) -> Self {
            Self { stem: stem.to_owned(), next: AtomicUsize::new(0), namespaces: Mutex::default() }
        }

        pub fn make(&self, base: &str) -> String {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            format!("{base}-{}-{number}", self.stem)
        }

        pub fn remember(&self, namespace: &str) {
            self.namespaces.lock().expect("nobody panics holding it").push(namespace.to_owned());
        }

        pub fn remembered(&self) -> Vec<String> {
            self.namespaces.lock().expect("nobody panics holding it").clone()
        }
    }
}
