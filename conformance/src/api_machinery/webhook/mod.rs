//! AdmissionWebhook and CustomResourceConversionWebhook. Upstream deploys its test image's server as a pod; where no pod
//! runs, ours (`agnhost webhook`) is a process on loopback behind a Service of another host's name.

pub mod configuration;
pub mod conversion;
pub mod mutating;
pub mod validating;

use std::net::TcpListener;

use anyhow::Context;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::client::{Objects, PATIENCE, Refused};
use crate::fixture::{self, Process};
use crate::spec::Test;

pub const GROUP: &str = "admissionregistration.k8s.io/v1";
const SERVICE: &str = "e2e-test-webhook";

/// A webhook server and what it takes to call it.
pub struct Hook {
    test: Test,
    port: u16,
    bundle: String,
    _server: Process,
}

/// Which of the two kinds of configurations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Mutating,
    Validating,
}

impl Kind {
    pub fn objects(self, t: &Test) -> Objects {
        let plural = match self {
            Self::Mutating => "mutatingwebhookconfigurations",
            Self::Validating => "validatingwebhookconfigurations",
        };
        t.everywhere(GROUP, plural)
    }
}

impl Hook {
    /// Starts the server (`webhook`, `crd-conversion-webhook`) with a certificate for its Service.
    pub async fn start(t: &Test, command: &str) -> anyhow::Result<Self> {
        let folder = t.cluster.folder().join(t.name("hook"));
        std::fs::create_dir(&folder)?;
        let names = vec![format!("{SERVICE}.{}.svc", t.namespace)];
        let made = rcgen::generate_simple_self_signed(names)?;
        let (certificate, key) = (folder.join("tls.crt"), folder.join("tls.key"));
        std::fs::write(&certificate, made.cert.pem())?;
        std::fs::write(&key, made.signing_key.serialize_pem())?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let args = [
            command.to_owned(),
            format!("--tls-cert-file={}", certificate.display()),
            format!("--tls-private-key-file={}", key.display()),
            format!("--port={port}"),
        ];
        let server = fixture::spawn(&t.cluster.program, &folder, "agnhost", &args, None)?;
        let deadline = Instant::now() + PATIENCE;
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            anyhow::ensure!(Instant::now() < deadline, "the webhook server does not listen");
            tokio::task::yield_now().await;
        }
        let service =
            json!({ "metadata": { "name": SERVICE }, "spec": { "type": "ExternalName", "externalName": "localhost" } });
        t.objects("v1", "services").create(&service).await?;
        Ok(Self { test: t.clone(), port, bundle: BASE64_STANDARD.encode(made.cert.pem()), _server: server })
    }

    /// A `clientConfig` for a page of the server.
    pub fn client(&self, path: &str) -> Value {
        json!({ "caBundle": self.bundle, "service":
            { "namespace": self.test.namespace, "name": SERVICE, "port": self.port, "path": path } })
    }

    /// A webhook that is asked about `operations` on a resource of the spec's namespace.
    pub fn webhook(&self, name: &str, path: &str, operations: &[&str], group: &str, resource: &str) -> Value {
        json!({
            "name": format!("{name}.k8s.io"), "clientConfig": self.client(path), "sideEffects": "None",
            "admissionReviewVersions": ["v1", "v1beta1"], "timeoutSeconds": 10,
            "rules": [{ "operations": operations, "apiGroups": [group], "apiVersions": ["*"], "resources": [resource] }],
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": self.test.namespace } },
        })
    }

    /// One that is asked about a ConfigMap marked with the configuration's name, and denies it.
    fn marker(&self, name: &str) -> Value {
        let mut marker = self.webhook("marker", "/always-deny", &["CREATE"], "", "configmaps");
        marker["objectSelector"] = json!({ "matchLabels": { "marker": name } });
        marker
    }

    /// Creates a configuration and waits until the API server knows of it.
    pub async fn configure(&self, kind: Kind, webhooks: &[Value]) -> anyhow::Result<String> {
        let name = self.test.name("webhook");
        let mut all = webhooks.to_vec();
        all.push(self.marker(&name));
        let labels = json!({ "e2e-list": self.test.namespace });
        kind.objects(&self.test)
            .create(&json!({ "metadata": { "name": name, "labels": labels }, "webhooks": all }))
            .await?;
        self.settled(&name, true).await?;
        Ok(name)
    }

    /// Waits until the configuration is (or is no longer) asked about what it is asked about.
    pub async fn settled(&self, name: &str, there: bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let probe = json!({ "metadata": { "name": format!("marker-{name}"), "labels": { "marker": name } } });
        loop {
            let answer = self.test.objects("v1", "configmaps").create_with("dryRun=All", &probe).await;
            let asked = match answer {
                Ok(_) => false,
                Err(error) => {
                    let refused = error.downcast::<Refused>().context("ask about a marker")?;
                    refused.message().contains("webhook")
                }
            };
            if asked == there {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < deadline, "the webhooks of {name} are asked: {asked}");
            tokio::task::yield_now().await;
        }
    }
}

/// A ConfigMap with one entry.
pub fn config_map(name: &str, key: &str, value: &str) -> Value {
    json!({ "metadata": { "name": name }, "data": { key: value } })
}

/// A pod with one container.
pub fn pod(name: &str, container: &str) -> Value {
    json!({ "metadata": { "name": name },
        "spec": { "containers": [{ "name": container, "image": "registry.k8s.io/pause:3.10" }] } })
}
