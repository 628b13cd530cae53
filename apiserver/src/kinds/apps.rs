//! The group apps.

use super::Kind;
use super::row::{ONLY_STATUS, SCALE, STATUS};

const fn kind(kind: &'static str, plural: &'static str, singular: &'static str) -> Kind {
    Kind::new("apps", &["v1"], kind, plural, singular)
}

pub const KINDS: &[Kind] = &[
    kind("ControllerRevision", "controllerrevisions", "controllerrevision"),
    Kind {
        short_names: &["ds"],
        categories: &["all"],
        subresources: ONLY_STATUS,
        ..kind("DaemonSet", "daemonsets", "daemonset")
    },
    Kind {
        short_names: &["deploy"],
        categories: &["all"],
        subresources: &[SCALE, STATUS],
        ..kind("Deployment", "deployments", "deployment")
    },
    Kind {
        short_names: &["rs"],
        categories: &["all"],
        subresources: &[SCALE, STATUS],
        ..kind("ReplicaSet", "replicasets", "replicaset")
    },
    Kind {
        short_names: &["sts"],
        categories: &["all"],
        subresources: &[SCALE, STATUS],
        ..kind("StatefulSet", "statefulsets", "statefulset")
    },
];
