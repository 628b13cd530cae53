//! The core group, and events.k8s.io, which serves the same Events.

use super::columns;
use super::json::Json;
use super::row::{CREATE, CREATE_GET, GET_PATCH_UPDATE, ONLY_STATUS, PROXY, SCALE, STATUS, other, same};
use super::strategy;
use super::{Kind, NameRule, SelectableField, Strategy, Subresource};

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

const POD_FIELDS: &[SelectableField] = &[
    ("spec.nodeName", |o| o.text("spec.nodeName").to_owned()),
    ("spec.restartPolicy", |o| o.text("spec.restartPolicy").to_owned()),
    ("spec.schedulerName", |o| o.text("spec.schedulerName").to_owned()),
    ("spec.serviceAccountName", |o| o.text("spec.serviceAccountName").to_owned()),
    ("spec.hostNetwork", |o| o.yes("spec.hostNetwork").to_string()),
    ("status.phase", |o| o.text("status.phase").to_owned()),
    ("status.podIP", |o| o.list("status.podIPs").first().map_or("", |ip| ip.text("ip")).to_owned()),
    // Known, but empty: a pod's addresses are found by the first.
    ("status.podIPs", |_| String::new()),
    ("status.nominatedNodeName", |o| o.text("status.nominatedNodeName").to_owned()),
];

pub const KINDS: &[Kind] = &[
    Kind { verbs: CREATE, registry: "", ..kind("Binding", "bindings", "binding") },
    Kind {
        short_names: &["cs"],
        namespaced: false,
        verbs: &["get", "list"],
        registry: "",
        columns: columns::system::COMPONENT_STATUSES,
        deprecation: "v1 ComponentStatus is deprecated in v1.19+",
        ..kind("ComponentStatus", "componentstatuses", "componentstatus")
    },
    Kind {
        short_names: &["cm"],
        columns: columns::config::CONFIG_MAPS,
        strategy: strategy::config::CONFIG_MAP,
        ..kind("ConfigMap", "configmaps", "configmap")
    },
    Kind {
        short_names: &["ep"],
        registry: "services/endpoints",
        columns: columns::service::ENDPOINTS,
        strategy: strategy::endpoints::ENDPOINTS,
        deprecation: "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
        ..kind("Endpoints", "endpoints", "endpoints")
    },
    Kind {
        short_names: &["ev"],
        columns: columns::event::EVENTS,
        fields: strategy::event::CORE_FIELDS,
        fields_read: strategy::event::READ,
        // Events of old may be called anything.
        strategy: Strategy { name: NameRule::PathSegment, ..strategy::event::EVENT },
        ..kind("Event", "events", "event")
    },
    Kind {
        short_names: &["limits"],
        columns: columns::ONLY_CREATED_AT,
        strategy: strategy::config::LIMIT_RANGE,
        ..kind("LimitRange", "limitranges", "limitrange")
    },
    Kind {
        short_names: &["ns"],
        namespaced: false,
        verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
        subresources: &[same("finalize", &["update"]), STATUS],
        columns: columns::node::NAMESPACES,
        fields: &[("status.phase", |o| o.text("status.phase").to_owned())],
        strategy: strategy::namespace::NAMESPACE,
        ..kind("Namespace", "namespaces", "namespace")
    },
    Kind {
        short_names: &["no"],
        namespaced: false,
        subresources: &[other("proxy", ("", "v1", "NodeProxyOptions"), PROXY), STATUS],
        registry: "minions",
        columns: columns::node::NODES,
        fields: &[("spec.unschedulable", |o| o.yes("spec.unschedulable").to_string())],
        strategy: strategy::node::NODE,
        ..kind("Node", "nodes", "node")
    },
    Kind {
        short_names: &["pvc"],
        subresources: ONLY_STATUS,
        columns: columns::storage::CLAIMS,
        strategy: strategy::storage::CLAIM,
        ..kind("PersistentVolumeClaim", "persistentvolumeclaims", "persistentvolumeclaim")
    },
    Kind {
        short_names: &["pv"],
        namespaced: false,
        subresources: ONLY_STATUS,
        columns: columns::storage::VOLUMES,
        strategy: strategy::storage::VOLUME,
        ..kind("PersistentVolume", "persistentvolumes", "persistentvolume")
    },
    Kind {
        short_names: &["po"],
        categories: &["all"],
        subresources: POD_PATHS,
        columns: columns::pod::PODS,
        columns_read: columns::pod::READ,
        fields: POD_FIELDS,
        fields_read: &["status.podIPs"],
        strategy: strategy::pod::POD,
        ..kind("Pod", "pods", "pod")
    },
    Kind {
        columns: columns::pod::POD_TEMPLATES,
        strategy: strategy::pod::POD_TEMPLATE,
        ..kind("PodTemplate", "podtemplates", "podtemplate")
    },
    Kind {
        short_names: &["rc"],
        categories: &["all"],
        subresources: &[SCALE, STATUS],
        registry: "controllers",
        columns: columns::apps::REPLICATION_CONTROLLERS,
        fields: &[("status.replicas", |o| o.int("status.replicas").to_string())],
        strategy: strategy::replica_set::REPLICATION_CONTROLLER,
        ..kind("ReplicationController", "replicationcontrollers", "replicationcontroller")
    },
    Kind {
        short_names: &["quota"],
        subresources: ONLY_STATUS,
        columns: columns::config::RESOURCE_QUOTAS,
        strategy: strategy::config::RESOURCE_QUOTA,
        ..kind("ResourceQuota", "resourcequotas", "resourcequota")
    },
    Kind {
        columns: columns::config::SECRETS,
        fields: &[("type", |o| o.text("type").to_owned())],
        strategy: strategy::config::SECRET,
        ..kind("Secret", "secrets", "secret")
    },
    Kind {
        short_names: &["sa"],
        subresources: &[other("token", ("authentication.k8s.io", "v1", "TokenRequest"), CREATE)],
        columns: columns::ONLY_AGE,
        strategy: strategy::config::SERVICE_ACCOUNT,
        ..kind("ServiceAccount", "serviceaccounts", "serviceaccount")
    },
    Kind {
        short_names: &["svc"],
        categories: &["all"],
        subresources: &[other("proxy", ("", "v1", "ServiceProxyOptions"), PROXY), STATUS],
        registry: "services/specs",
        columns: columns::service::SERVICES,
        fields: &[
            ("spec.clusterIP", |o| o.text("spec.clusterIP").to_owned()),
            ("spec.type", |o| o.text("spec.type").to_owned()),
        ],
        strategy: strategy::service::SERVICE,
        ..kind("Service", "services", "service")
    },
];

pub const EVENTS: &[Kind] = &[Kind {
    short_names: &["ev"],
    storage_group: "",
    columns: columns::event::EVENTS,
    fields: strategy::event::NEW_FIELDS,
    fields_read: strategy::event::READ,
    strategy: strategy::event::EVENT,
    ..Kind::new("events.k8s.io", &["v1"], "Event", "events", "event")
}];
