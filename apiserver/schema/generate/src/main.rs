//! Turns the published API definitions of Kubernetes into the fact tables of the schema crate.
//!
//! ```text
//! generate PROTOS GO OUT
//!   PROTOS  the v1_35 folder of the crate k8s-rs-pb (`…/k8s-rs-pb-0.5.0/src/v1_35`)
//!   GO      a folder holding checkouts of k8s.io/{api,apimachinery,apiextensions-apiserver,kube-aggregator} at v0.35.x
//!   OUT     the folder `facts`
//! ```
//! Two sources, because neither is complete: the `.proto` files carry numbers, wire types and list types;
//! only the Go struct tags say what is inlined, what is a pointer, and what is left out when empty, and
//! that decides what a client is shown. Only facts are taken from Go (tags), no code.

mod enums;
mod go;
mod proto;
mod table;

use std::{env, fs, io, path::Path, process::ExitCode};

/// Packages served, or needed by what is served, with their API group; the versions the server dropped stay out.
const PACKAGES: &[(&str, &str)] = &[
    ("api/admission/v1", "admission.k8s.io"),
    ("api/admissionregistration/v1", "admissionregistration.k8s.io"),
    ("api/admissionregistration/v1alpha1", "admissionregistration.k8s.io"),
    ("api/admissionregistration/v1beta1", "admissionregistration.k8s.io"),
    ("api/apidiscovery/v2", "apidiscovery.k8s.io"),
    ("api/apiserverinternal/v1alpha1", "internal.apiserver.k8s.io"),
    ("api/apps/v1", "apps"),
    ("api/authentication/v1", "authentication.k8s.io"),
    ("api/authorization/v1", "authorization.k8s.io"),
    ("api/autoscaling/v1", "autoscaling"),
    ("api/autoscaling/v2", "autoscaling"),
    ("api/batch/v1", "batch"),
    ("api/certificates/v1", "certificates.k8s.io"),
    ("api/certificates/v1alpha1", "certificates.k8s.io"),
    ("api/certificates/v1beta1", "certificates.k8s.io"),
    ("api/coordination/v1", "coordination.k8s.io"),
    ("api/coordination/v1alpha2", "coordination.k8s.io"),
    ("api/coordination/v1beta1", "coordination.k8s.io"),
    ("api/core/v1", ""),
    ("api/discovery/v1", "discovery.k8s.io"),
    ("api/events/v1", "events.k8s.io"),
    ("api/flowcontrol/v1", "flowcontrol.apiserver.k8s.io"),
    ("api/networking/v1", "networking.k8s.io"),
    ("api/networking/v1beta1", "networking.k8s.io"),
    ("api/node/v1", "node.k8s.io"),
    ("api/policy/v1", "policy"),
    ("api/rbac/v1", "rbac.authorization.k8s.io"),
    ("api/resource/v1", "resource.k8s.io"),
    ("api/resource/v1alpha3", "resource.k8s.io"),
    ("api/resource/v1beta1", "resource.k8s.io"),
    ("api/resource/v1beta2", "resource.k8s.io"),
    ("api/scheduling/v1", "scheduling.k8s.io"),
    ("api/scheduling/v1alpha1", "scheduling.k8s.io"),
    ("api/storage/v1", "storage.k8s.io"),
    ("api/storage/v1beta1", "storage.k8s.io"),
    ("api/storagemigration/v1beta1", "storagemigration.k8s.io"),
    ("apiextensions_apiserver/pkg/apis/apiextensions/v1", "apiextensions.k8s.io"),
    ("apimachinery/pkg/api/resource", ""),
    ("apimachinery/pkg/apis/meta/v1", "meta.k8s.io"),
    ("apimachinery/pkg/runtime", ""),
    ("apimachinery/pkg/util/intstr", ""),
    ("kube_aggregator/pkg/apis/apiregistration/v1", "apiregistration.k8s.io"),
];

fn main() -> ExitCode {
    let args: Vec<String> = env::args().collect();
    let [_, protos, go, out] = args.as_slice() else {
        eprintln!("usage: generate PROTOS GO OUT");
        return ExitCode::from(2);
    };
    match run(Path::new(protos), Path::new(go), Path::new(out)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("generate: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(protos: &Path, go: &Path, out: &Path) -> io::Result<()> {
    let mut packages = Vec::new();
    for (path, group) in PACKAGES {
        let text = fs::read_to_string(protos.join(path).join("generated.proto"))?;
        let go = go::read(&go.join(path.replace('_', "-")))?;
        packages.push(table::Package {
            path,
            group,
            messages: proto::parse(&text),
            structs: go.structs,
            enums: go.enums,
        });
    }
    fs::write(out.join("types.txt"), table::types(&packages))?;
    fs::write(out.join("enums.txt"), table::enums(&packages))
}
