//! `sample-apiserver`: what upstream's sample API server is to those who try aggregation. It is this very server with
//! flunders and fischers as custom resources, to be run in a pod behind an APIService: whom to believe it learns from the
//! cluster it runs in, and who may do what the server in front has decided.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use serde_json::{Value, json};

use crate::app::{App, text};
use crate::bootstrap::ensure;
use crate::crd;
use crate::http::status::ApiResult;
use crate::options::Options;

const GROUP: &str = "wardle.example.com";
const TRUST: &str = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";

#[derive(Debug, Parser)]
#[command(name = "sample-apiserver")]
struct Flags {
    #[arg(long)]
    tls_cert_file: PathBuf,
    #[arg(long)]
    tls_private_key_file: PathBuf,
    #[arg(long, default_value_t = 443)]
    secure_port: u16,
    /// Taken for the sake of manifests: objects live as long as the container, in a store of its own.
    #[arg(long)]
    etcd_servers: Option<String>,
    /// Taken for the sake of manifests, like the two after it: there is no audit log.
    #[arg(long)]
    audit_log_path: Option<String>,
    #[arg(long)]
    audit_log_maxage: Option<u32>,
    #[arg(long)]
    audit_log_maxbackup: Option<u32>,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// The cluster around does not say whom to believe, or the server cannot start.
pub fn run(args: Vec<OsString>) -> anyhow::Result<()> {
    let flags = Flags::parse_from(args);
    runtime::log::init("sample-apiserver");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async move {
        let client = runtime::client::connect(None).await?;
        let request = http::Request::get(TRUST).body(Vec::new())?;
        let map: Value = client.request(request).await.context("read extension-apiserver-authentication")?;
        let dir = std::env::temp_dir().join(format!("sample-apiserver-{}", std::process::id()));
        std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        let options = options(&flags, &map["data"], &dir)?;
        crate::serve_with(options, runtime::shutdown::token()?, |app| async move { Ok(resources(&app).await?) }).await
    })
}

/// The server's flags, by what the cluster's ConfigMap says.
fn options(flags: &Flags, trust: &Value, dir: &Path) -> anyhow::Result<Options> {
    let file = |name: &str, content: &str| -> anyhow::Result<String> {
        let path = dir.join(name);
        std::fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
        Ok(path.display().to_string())
    };
    let names: Vec<String> = serde_json::from_str(text(trust, "/requestheader-allowed-names")).unwrap_or_default();
    Ok(Options::parse_from([
        "apiserver".to_owned(),
        "--foreign-namespaces".to_owned(),
        format!("--secure-port={}", flags.secure_port),
        format!("--store-dir={}", dir.join("store").display()),
        format!("--tls-cert-file={}", flags.tls_cert_file.display()),
        format!("--tls-private-key-file={}", flags.tls_private_key_file.display()),
        format!("--client-ca-file={}", file("ca.crt", text(trust, "/client-ca-file"))?),
        format!("--requestheader-client-ca-file={}", file("front.crt", text(trust, "/requestheader-client-ca-file"))?),
        format!("--requestheader-allowed-names={}", names.join(",")),
        format!("--service-account-signing-key-file={}", file("sa.key", &rcgen::KeyPair::generate()?.serialize_pem())?),
    ]))
}

/// Flunders, fischers, and that everyone who got here may use them.
async fn resources(app: &Arc<App>) -> ApiResult<()> {
    let anything = json!({ "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } });
    let version =
        |name: &str, storage: bool| json!({ "name": name, "served": true, "storage": storage, "schema": anything });
    for (plural, kind, scope, versions) in [
        ("flunders", "Flunder", "Namespaced", vec![version("v1alpha1", true), version("v1beta1", false)]),
        ("fischers", "Fischer", "Cluster", vec![version("v1alpha1", true)]),
    ] {
        let definition = json!({ "metadata": { "name": format!("{plural}.{GROUP}") }, "spec": {
            "group": GROUP, "scope": scope, "versions": versions, "names": { "plural": plural, "kind": kind } } });
        ensure(app, crd::GROUP, crd::PLURAL, definition).await?;
    }
    let rbac = "rbac.authorization.k8s.io";
    let rules = json!([{ "apiGroups": [GROUP], "resources": ["*"], "verbs": ["*"] }]);
    ensure(app, rbac, "clusterroles", json!({ "metadata": { "name": "wardle" }, "rules": rules })).await?;
    let binding = json!({
        "metadata": { "name": "wardle" },
        "roleRef": { "apiGroup": rbac, "kind": "ClusterRole", "name": "wardle" },
        "subjects": [{ "apiGroup": rbac, "kind": "Group", "name": auth::user::AUTHENTICATED }],
    });
    ensure(app, rbac, "clusterrolebindings", binding).await.map(|_| ())
}
