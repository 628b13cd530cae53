//! The one binary: `knetsim COMMAND` for people, `knetsim <component>` for the processes of the emulator, and CNI plugins
//! by the name of the file (busybox style).

mod cli;
mod launcher;
mod layout;
mod pki;
mod preflight;
mod progress;
mod topology;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

#[global_allocator]
static HEAP: kernel::memory::Heap = kernel::memory::Heap;

/// A component's entry point; the first argument is the component's name.
type Run = fn(Vec<OsString>) -> anyhow::Result<()>;

/// Every process of the emulator by the name it is started with.
const COMPONENTS: [(&str, Run); 20] = [
    ("launcher", launcher::run),
    ("guardian", launcher::guardian::run),
    ("apiserver", apiserver::run),
    ("sample-apiserver", apiserver::sample::run),
    ("controller-manager", controller_manager::run),
    ("scheduler", scheduler::run),
    ("kubelet", kubelet_lite::run),
    ("pause", kubelet_lite::run),
    ("agnhost", kubelet_lite::run),
    ("metrics-server", metrics_server::run),
    ("flanneld", cni::run),
    ("flannel", cni::run),
    ("multus", cni::run),
    ("multus-entrypoint", cni::run),
    ("kube-proxy", kube_proxy_lite::run),
    ("network-policy", network_policy::run),
    ("cluster-dns", cluster_dns::run),
    ("ingress-controller", ingress_controller::run),
    ("skupper-controller", skupper_lite::run),
    ("skupper-router", skupper_lite::run),
];

/// Components that are CNI plugins, installed under their own names in /opt/cni/bin.
pub const CNI_PLUGINS: [&str; 2] = ["flannel", "multus"];

fn main() -> ExitCode {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    let called = args.first().map(name_of).unwrap_or_default();
    let by_name = |name: &str| COMPONENTS.iter().find(|(component, _)| *component == name).map(|(_, run)| *run);
    if let Some(run) = by_name(&called) {
        return report(run(args));
    }
    let first = args.get(1).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match by_name(&first) {
        Some(run) => {
            args.remove(0);
            report(run(args))
        }
        None => cli::main(args),
    }
}

fn name_of(path: &OsString) -> String {
    Path::new(path).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn report(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
