//! The group apps.

use super::row::{ONLY_STATUS, SCALE, STATUS};
use super::{Kind, columns, strategy};

const fn kind(kind: &'static str, plural: &'static str, singular: &'static str) -> Kind {
    Kind::new("apps", &["v1"], kind, plural, singular)
}

pub const KINDS: &[Kind] = &[
    Kind {
        columns: columns::apps::CONTROLLER_REVISIONS,
        strategy: strategy::stateful_set::CONTROLLER_REVISION,
        ..kind("ControllerRevision", "controllerrevisions", "controllerrevision")
    },
    Kind {
        short_names: &["ds"],
        categories: &["all"],
        subresources: ONLY_STATUS,
        columns: columns::apps::DAEMON_SETS,
        strategy: strategy::daemon_set::DAEMON_SET,
        ..kind("DaemonSet", "daemonsets", "daemonset")
    },
    Kind {
        short_names: &["deploy"],
        categories: &["all"],
        subresources: &[SCALE, STATUS],
        columns: columns::apps::DEPLOYMENTS,
        strategy: strategy::deployment::DEPLOYMENT,
        ..kind("Deployment", "deployments", "deployment")
    },
    Kind {
        short_names: &["rs"],
        categories: &["all"],
        subresources: &[SCALE, STATUS],
        columns: columns::apps::REPLICA_SETS,
        strategy: strategy::replica_set::REPLICA_SET,
        ..kind("ReplicaSet", "replicasets", "replicaset")
    },
    Kind {
        short_names: &["sts"],
        categories: &["all"],
        subresources: &[SCALE, STATUS],
        columns: columns::apps::STATEFUL_SETS,
        strategy: strategy::stateful_set::STATEFUL_SET,
        ..kind("StatefulSet", "statefulsets", "statefulset")
    },
];
