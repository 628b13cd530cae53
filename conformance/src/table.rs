//! All specs there are, and all upstream has.

use crate::spec::Spec;
use crate::{api_machinery, apps, architecture, auth, cli, instrumentation, network, node, scheduling, storage};

/// The rows of every file.
pub const AREAS: &[&[Spec]] = &[
    api_machinery::admission_policy::SPECS,
    api_machinery::aggregated_discovery::SPECS,
    api_machinery::aggregator::SPECS,
    api_machinery::chunking::SPECS,
    api_machinery::crd_field_selectors::SPECS,
    api_machinery::crd_openapi::SPECS,
    api_machinery::crd_resources::SPECS,
    api_machinery::crd_watch::SPECS,
    api_machinery::discovery::SPECS,
    api_machinery::field_validation::SPECS,
    api_machinery::flow_control::SPECS,
    api_machinery::garbage_collector::SPECS,
    api_machinery::namespace_pods::SPECS,
    api_machinery::namespaces::SPECS,
    api_machinery::resource_quota::SPECS,
    api_machinery::server_version::SPECS,
    api_machinery::table::SPECS,
    api_machinery::watch::SPECS,
    api_machinery::webhook::configuration::SPECS,
    api_machinery::webhook::conversion::SPECS,
    api_machinery::webhook::mutating::SPECS,
    api_machinery::webhook::validating::SPECS,
    apps::cron_job::SPECS,
    apps::daemon_set::SPECS,
    apps::deployment::SPECS,
    apps::disruption::SPECS,
    apps::job::SPECS,
    apps::replica_set::SPECS,
    apps::replication_controller::SPECS,
    apps::stateful_set::SPECS,
    architecture::SPECS,
    auth::certificates::SPECS,
    auth::mounted_tokens::SPECS,
    auth::service_accounts::SPECS,
    auth::subject_review::SPECS,
    cli::basic::SPECS,
    cli::guestbook::SPECS,
    cli::proxy::SPECS,
    cli::workloads::SPECS,
    instrumentation::core_events::SPECS,
    instrumentation::events::SPECS,
    network::api_server::SPECS,
    network::dns::SPECS,
    network::endpoint_slices::SPECS,
    network::endpoints::SPECS,
    network::ingress::SPECS,
    network::proxy::SPECS,
    network::service_cidr::SPECS,
    network::services::SPECS,
    network::traffic::SPECS,
    node::config_maps::SPECS,
    node::containers::SPECS,
    node::dra::SPECS,
    node::environment::SPECS,
    node::image_volumes::SPECS,
    node::leases::SPECS,
    node::nodes::SPECS,
    node::pod_lifecycle::SPECS,
    node::pod_templates::SPECS,
    node::pods::SPECS,
    node::resize::SPECS,
    node::runtime_classes::SPECS,
    node::secrets::SPECS,
    node::taints::SPECS,
    node::websockets::SPECS,
    scheduling::limit_range::SPECS,
    node::probes::SPECS,
    scheduling::predicates::SPECS,
    scheduling::preemption::SPECS,
    storage::attachments::SPECS,
    storage::classes::SPECS,
    storage::csi::SPECS,
    storage::downward::SPECS,
    storage::empty_dir::SPECS,
    storage::files::SPECS,
    storage::persistent_volumes::SPECS,
    storage::subpath::SPECS,
];

/// The names of upstream's specs, one a line (facts, from its conformance test list).
const NAMES: &str = include_str!("../specs.txt");

/// All rows.
pub fn all() -> impl Iterator<Item = &'static Spec> {
    AREAS.iter().flat_map(|rows| rows.iter())
}

/// Upstream's names.
pub fn names() -> impl Iterator<Item = &'static str> {
    NAMES.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    #[test]
    fn every_row_has_a_name_of_upstreams_and_no_other_row_has_it() {
        let names: HashSet<&str> = super::names().collect();
        let mut seen = HashSet::new();
        for spec in super::all() {
            assert!(names.contains(spec.name), "upstream has no spec {:?}", spec.name);
            assert!(seen.insert(spec.name), "two rows are named {:?}", spec.name);
        }
    }
}
