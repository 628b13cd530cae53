//! Runs one of the two controllers' processes against any API server, without the launcher:
//! `cargo run -p knetsim-controller-manager --example controllers -- scheduler --kubeconfig …`

use std::ffi::OsString;

fn main() -> anyhow::Result<()> {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    match args.first().and_then(|name| name.to_str()) {
        Some("controller-manager") => knetsim_controller_manager::run(args),
        Some("scheduler") => scheduler::run(args),
        _ => anyhow::bail!("which one: controller-manager or scheduler?"),
    }
}
