//! All specs whose pods run, in an emulator of their own; what fails must be known to.

use std::path::Path;
use std::sync::Arc;

use conformance::fixture::Cluster;
use conformance::{Needs, report, runner, table};

#[test]
fn what_is_not_known_to_fail_passes() {
    if std::env::var_os("CONFORMANCE_FULL").is_none() {
        println!("skipped: minutes of an emulator are only spent where CONFORMANCE_FULL is set: make conformance");
        return;
    }
    let knetsim = Path::new(env!("CARGO_BIN_EXE_knetsim-conformance")).with_file_name("knetsim");
    if !knetsim.is_file() {
        println!("skipped: there is no knetsim binary at {}: cargo build -p knetsim", knetsim.display());
        return;
    }
    let specs = table::all().filter(|spec| spec.needs == Needs::Pods).collect();
    let result = runtime::block_on(async move {
        let cluster = Arc::new(Cluster::full(&knetsim).await?);
        let outcomes = runner::run(&cluster, specs, |outcome| println!("{}", report::line(outcome))).await;
        println!("\n{}", report::summary(&outcomes));
        report::compare(&outcomes)
    });
    if let Err(error) = result {
        panic!("{error:#}");
    }
}
