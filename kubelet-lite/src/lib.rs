//! The node agent: pod lifecycle, CNI caller, OCI runtime driver, probes, volumes, and the exec/logs/port-forward server.
//!
//! ```text
//! kubelet ─┬─ node/       registration, status, Lease, network readiness
//!          ├─ pod/        an actor a pod: state → plan → work; state → status → API
//!          │   ├─ volumes/, container/   what its containers are made of
//!          │   ├─ (cni::libcni)          its network
//!          │   └─ oci_runtime/ ── pause/ (another process: parent of the pod's containers, survives the kubelet)
//!          ├─ static_pods/ pods of files, and their mirrors in the API
//!          ├─ images/     store and catalogue
//!          ├─ usage/      what containers use: control groups, /proc
//!          └─ server/     port 10250
//! agnhost/                the catalogue's test server
//! ```

pub mod agnhost;
pub mod container;
pub mod files;
pub mod flags;
pub mod grpc_health;
pub mod images;
pub mod kubelet;
pub mod node;
pub mod objects;
pub mod oci_runtime;
pub mod pause;
pub mod pod;
pub mod probes;
pub mod server;
pub mod sources;
pub mod static_pods;
pub mod streaming;
pub mod tls;
pub mod usage;
pub mod volumes;

use std::ffi::OsString;

/// Runs `kubelet`, `pause` or `agnhost`, by the first argument.
///
/// # Errors
/// Whatever ends the component before its time.
pub fn run(args: Vec<OsString>) -> anyhow::Result<()> {
    match args.first().and_then(|name| name.to_str()) {
        Some("pause") => pause::run(args),
        Some("agnhost") => agnhost::run(args),
        _ => kubelet::run(args),
    }
}
