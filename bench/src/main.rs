//! `make bench`: medians of several runs, each ratio against something real in the same run. Timing decides no test.
//!
//! The figures are those of issue-sized marks: how long until a cluster is usable, what it weighs, how fast pods start and
//! Services reach the kernel, what the data path costs compared with the same links built by hand, and what the API server
//! costs over each store (`knetsim-bench emulator` and `knetsim-bench api` measure one half alone, `knetsim-bench lists` lists).

mod api;
mod datapath;
mod pods;
mod services;
mod startup;
mod stats;

use knetsim_tests::emulator::Emulator;

fn main() -> anyhow::Result<()> {
    runtime::log::init("bench");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runs: usize = arguments.iter().find_map(|n| n.parse().ok()).unwrap_or(5);
    let named = |half: &str| arguments.iter().any(|word| word == half);
    if named("lists") {
        return api::lists();
    }
    if named("emulator") || !named("api") {
        emulator(runs)?;
    }
    if named("api") || !named("emulator") {
        api::measure(runs)?;
    }
    Ok(())
}

fn emulator(runs: usize) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let emulator = Emulator::beside_us(&dir.path().join("knetsim"))?;
    println!("{runs} runs each; medians; times in ms unless said otherwise\n");
    startup::measure(&emulator, runs)?;
    let result = everything_else(&emulator, runs);
    emulator.knetsim(&["down", "--delete-data"])?;
    result
}

fn everything_else(emulator: &Emulator, runs: usize) -> anyhow::Result<()> {
    startup::weight(emulator)?;
    pods::measure(emulator, runs)?;
    services::measure(emulator)?;
    datapath::measure(emulator, runs)
}
