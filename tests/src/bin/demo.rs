//! `make demo`: starts the emulator if it does not run, walks every hop, and leaves it running.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use knetsim_tests::emulator::Emulator;
use knetsim_tests::hops::{HOPS, walk};

fn main() -> ExitCode {
    match demo() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn demo() -> anyhow::Result<usize> {
    let emulator = Emulator::beside_us(&data_dir())?;
    let extra: Vec<String> = std::env::args().skip(1).collect();
    if emulator.try_knetsim(&["status"])?.code != 0 {
        // With our own terminal, so that its progress is seen. Hops that began before all add-ons are there would only take
        // time from them.
        let mut up = Command::new(&emulator.binary);
        let status = up.arg("up").args(&extra).env("KNETSIM_DATA_DIR", &emulator.data_dir).status()?;
        anyhow::ensure!(status.success(), "`knetsim up` failed");
    }
    println!();
    let failed = walk(&emulator, HOPS);
    println!("\nThe emulator is still running. Use it:");
    let beside = emulator.binary.parent().unwrap_or(&emulator.binary);
    // Where scripts/tools.sh puts a kubectl when the machine has none that is recent.
    let tools = beside.join("../tools/bin").canonicalize().ok().filter(|tools| tools.join("kubectl").is_file());
    let path = tools.iter().map(PathBuf::as_path).chain([beside]).map(|dir| dir.display().to_string());
    println!(
        "  export KUBECONFIG={} PATH={}:$PATH",
        emulator.kubeconfig().display(),
        path.collect::<Vec<_>>().join(":")
    );
    println!("  kubectl --context c0 get pods -A -o wide     (the other context is c1)");
    println!("  knetsim status; knetsim exec c0w1 -- nft list ruleset; knetsim shell c0w1; knetsim down");
    Ok(failed)
}

/// As the CLI chooses it.
fn data_dir() -> PathBuf {
    let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    var("KNETSIM_DATA_DIR").unwrap_or_else(|| {
        var("XDG_DATA_HOME")
            .unwrap_or_else(|| var("HOME").unwrap_or_else(|| PathBuf::from("/root")).join(".local/share"))
            .join("knetsim")
    })
}
