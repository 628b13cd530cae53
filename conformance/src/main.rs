//! `knetsim-conformance [--focus TEXT]… [--skip TEXT]…`: runs specs and prints what came of each.
//!
//! Started with a component's name as first argument, it is that component (see [`conformance::fixture`]).

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use conformance::fixture::{self, Cluster};
use conformance::{Needs, report, runner, table};

/// Runs our tests for upstream's conformance specs against a cluster made for the occasion.
#[derive(Parser)]
struct Flags {
    /// Only specs whose name contains one of these texts
    #[arg(long)]
    focus: Vec<String>,
    /// No specs whose name contains one of these texts
    #[arg(long)]
    skip: Vec<String>,
    /// Run those that need running pods as well, in an emulator of the knetsim binary beside this program
    #[arg(long)]
    full: bool,
    /// Name upstream's specs that have no row here, and run nothing
    #[arg(long)]
    missing: bool,
}

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    let result = fixture::component(&args).map(|result| result.map(|()| true));
    match result.unwrap_or_else(|| people(&Flags::parse())) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn people(flags: &Flags) -> anyhow::Result<bool> {
    let contains = |name: &str, texts: &[String]| texts.iter().any(|text| name.contains(text.as_str()));
    let wanted = |name: &str| (flags.focus.is_empty() || contains(name, &flags.focus)) && !contains(name, &flags.skip);
    if flags.missing {
        for name in table::names().filter(|name| wanted(name) && table::all().all(|spec| spec.name != *name)) {
            println!("{name}");
        }
        return Ok(true);
    }
    let specs =
        |needs: Needs| -> Vec<_> { table::all().filter(|spec| spec.needs == needs && wanted(spec.name)).collect() };
    let (api, pods) = (specs(Needs::Api), specs(Needs::Pods));
    let binary = std::env::current_exe()?;
    let outcomes = runtime::block_on(async move {
        let mut outcomes = Vec::new();
        let tell = |outcome: &runner::Outcome| println!("{}", report::line(outcome));
        if !api.is_empty() {
            let cluster = Arc::new(Cluster::api_only(&binary).await?);
            outcomes.extend(runner::run(&cluster, api, tell).await);
        }
        if flags.full && !pods.is_empty() {
            let cluster = Arc::new(Cluster::full(&binary.with_file_name("knetsim")).await?);
            outcomes.extend(runner::run(&cluster, pods, tell).await);
        }
        anyhow::Ok(outcomes)
    })?;
    println!("\n{}", report::summary(&outcomes));
    Ok(outcomes.iter().all(|outcome| outcome.error.is_none()))
}
