//! The core group, and events.k8s.io, which serves the same Events.

use super::row::{ALL_VERBS, CREATE, CREATE_GET, GET_PATCH_UPDATE, ONLY_STATUS, PROXY, SCALE, STATUS, other, same};
use super::{Kind, Subresource};

const fn kind(kind: &'static str, plural: &'static str, singular: &'static str) -> Kind {
    Kind::new("", &["v1"], kind, plural, singular)
}

const POD_PATHS: &[Subresource] = &[
    other("attach", ("", "v1", "PodAttachOptions"), CREATE_GET),
    other("binding", ("", "v1", "Binding"), CREATE),
    same("ephemeralcontainers", GET_PATCH_UPDATE),
    other("eviction", ("policy", "v1", "Eviction"), CREATE),
    other("exec", ("", "v1", "PodExecOptions"), CREATE_GET),
    same("log", &["get"]),
    other("portforward", ("", "v1", "PodPortForwardOptions"), CREATE_GET),
    other("proxy", ("", "v1", "PodProxyOptions"), PROXY),
    same("resize", GET_PATCH_UPDATE),
    STATUS,
];

pub const KINDS: &[Kind] = &[
    Kind { verbs: CREATE, registry: "", ..kind("Binding", "bindings", "binding") },
    Kind {
        short_names: &["cs"],
        namespaced: false,
        verbs: &["get", "list"],
        registry: "",
        ..kind("ComponentStatus", "componentstatuses", "componentstatus")
    },
    Kind { short_names: &["cm"], ..kind("ConfigMap", "configmaps", "configmap") },
    Kind { short_names: &["ep"], registry: "services/endpoints", ..kind("Endpoints", "endpoints", "endpoints") },
    Kind { short_names: &["ev"], ..kind("Event", "events", "event") },
    Kind { short_names: &["limits"], ..kind("LimitRange", "limitranges", "limitrange") },
    Kind {
        short_names: &["ns"],
        namespaced: false,
        verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
        subresources: &[same("finalize", &["update"]), STATUS],
        ..kind("Namespace", "namespaces", "namespace")
    },
    Kind {
        short_names: &["no"],
        namespaced: false,
        subresources: &[other("proxy", ("", "v1", "NodeProxyOptions"), PROXY), STATUS],
        registry: "minions",
        ..kind("Node", "nodes", "node")
    },
    Kind {
        short_names: &["pvc"],
        subresources: ONLY_STATUS,
        ..kind("PersistentVolumeClaim", "persistentvolumeclaims", "persistentvolumeclaim")
    },
    Kind {
        short_names: &["pv"],
        namespaced: false,
        subresources: ONLY_STATUS,
        ..kind("PersistentVolume", "persistentvolumes", "persistentvolume")
    },
    Kind { short_names: &["po"], categories: &["all"], subresources: POD_PATHS, ..kind("Pod", "pods", "pod") },
    kind("PodTemplate", "podtemplates", "podtemplate"),
    Kind {
        short_names: &["rc"],
        categories: &["all"],
        subresources: &[SCALE, STATUS],
        registry: "controllers",
        ..kind("ReplicationController", "replicationcontrollers", "replicationcontroller")
    },
    Kind {
        short_names: &["quota"],
        subresources: ONLY_STATUS,
        ..kind("ResourceQuota", "resourcequotas", "resourcequota")
    },
    kind("Secret", "secrets", "secret"),
    Kind {
        short_names: &["sa"],
        subresources: &[other("token", ("authentication.k8s.io", "v1", "TokenRequest"), CREATE)],
        ..kind("ServiceAccount", "serviceaccounts", "serviceaccount")
    },
    Kind {
        short_names: &["svc"],
        categories: &["all"],
        verbs: ALL_VERBS,
        subresources: &[other("proxy", ("", "v1", "ServiceProxyOptions"), PROXY), STATUS],
        registry: "services/specs",
        ..kind("Service", "services", "service")
    },
];

pub const EVENTS: &[Kind] = &[Kind {
    short_names: &["ev"],
    storage_group: "",
    ..Kind::new("events.k8s.io", &["v1"], "Event", "events", "event")
}];
