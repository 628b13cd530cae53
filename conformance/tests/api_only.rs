//! All specs that need no running pod, against a cluster of their own; what fails must be known to.

use std::path::Path;
use std::sync::Arc;

use conformance::fixture::Cluster;
use conformance::{Needs, report, runner, table};

#[test]
fn what_is_not_known_to_fail_passes() {
    let binary = Path::new(env!("CARGO_BIN_EXE_knetsim-conformance"));
    let specs = table::all().filter(|spec| spec.needs == Needs::Api).collect();
    let result = runtime::block_on(async move {
        let cluster = Arc::new(Cluster::api_only(binary).await?);
        let outcomes = runner::run(&cluster, specs, |outcome| println!("{}", report::line(outcome))).await;
        println!("\n{}", report::summary(&outcomes));
        report::compare(&outcomes)
    });
    if let Err(error) = result {
        panic!("{error:#}");
    }
}
