//! The table of controllers' ClusterRoles: `system:controller:<name>`, bound to the ServiceAccount `<name>` in kube-system.
//!
//! Facts from upstream's bootstrap policy at v1.35. How a line is read: see [`super::rule`].

/// Name of the controller, and its rules.
pub(super) const CONTROLLERS: &[(&str, &[&str])] = &[
    (
        "attachdetach-controller",
        &[
            "list,watch core persistentvolumeclaims,persistentvolumes",
            "READ core nodes",
            "patch,update core nodes/status",
            "list,watch core pods",
            "EVENTS",
            "READ,create,delete storage.k8s.io volumeattachments",
            "READ storage.k8s.io csidrivers",
            "READ storage.k8s.io csinodes",
        ],
    ),
    ("clusterrole-aggregation-controller", &["READ,escalate,patch,update rbac.authorization.k8s.io clusterroles"]),
    (
        "cronjob-controller",
        &[
            "READ,update batch cronjobs",
            "READ,create,delete,patch,update batch jobs",
            "update batch cronjobs/status",
            "update batch cronjobs/finalizers",
            "list,watch,delete core pods",
            "EVENTS",
        ],
    ),
    (
        "daemon-set-controller",
        &[
            "READ apps,extensions daemonsets",
            "update apps,extensions daemonsets/status",
            "update apps,extensions daemonsets/finalizers",
            "list,watch core nodes",
            "list,watch,create,delete,patch core pods",
            "create core pods/binding",
            "READ,create,delete,patch,update apps controllerrevisions",
            "EVENTS",
        ],
    ),
    (
        "deployment-controller",
        &[
            "READ,update apps,extensions deployments",
            "update apps,extensions deployments/status",
            "update apps,extensions deployments/finalizers",
            "READ,create,delete,patch,update apps,extensions replicasets",
            "READ,update core pods",
            "EVENTS",
        ],
    ),
    (
        "disruption-controller",
        &[
            "READ apps,extensions deployments",
            "READ apps,extensions replicasets",
            "READ core replicationcontrollers",
            "READ policy poddisruptionbudgets",
            "READ apps statefulsets",
            "update policy poddisruptionbudgets/status",
            "patch,update core pods/status",
            "get * */scale",
            "EVENTS",
        ],
    ),
    (
        "endpoint-controller",
        &[
            "READ core pods,services",
            "READ,create,delete,update core endpoints",
            "create core endpoints/restricted",
            "EVENTS",
        ],
    ),
    (
        "endpointslice-controller",
        &[
            "READ core nodes,pods,services",
            "update core services/finalizers",
            "READ,create,delete,update discovery.k8s.io endpointslices",
            "EVENTS",
        ],
    ),
    (
        "endpointslicemirroring-controller",
        &[
            "READ core endpoints,services",
            "update core services/finalizers",
            "update core endpoints/finalizers",
            "READ,create,delete,update discovery.k8s.io endpointslices",
            "EVENTS",
        ],
    ),
    (
        "ephemeral-volume-controller",
        &["READ core pods", "update core pods/finalizers", "READ,create core persistentvolumeclaims", "EVENTS"],
    ),
    (
        "expand-controller",
        &[
            "READ,patch,update core persistentvolumes",
            "patch,update core persistentvolumeclaims/status",
            "READ core persistentvolumeclaims",
            "EVENTS",
            "get core services",
        ],
    ),
    ("generic-garbage-collector", &["READ,delete,patch,update * *", "EVENTS"]),
    (
        "horizontal-pod-autoscaler",
        &[
            "READ autoscaling horizontalpodautoscalers",
            "update autoscaling horizontalpodautoscalers/status",
            "get,update * */scale",
            "list,watch core pods",
            "list,watch metrics.k8s.io pods",
            "READ custom.metrics.k8s.io *",
            "READ external.metrics.k8s.io *",
            "EVENTS",
        ],
    ),
    (
        "job-controller",
        &[
            "READ,patch,update batch jobs",
            "update batch jobs/status",
            "update batch jobs/finalizers",
            "list,watch,create,delete,patch core pods",
            "EVENTS",
        ],
    ),
    (
        "namespace-controller",
        &[
            "READ,delete core namespaces",
            "update core namespaces/finalize,namespaces/status",
            "READ,delete,deletecollection * *",
        ],
    ),
    (
        "node-controller",
        &[
            "READ,delete,patch,update core nodes",
            "patch,update core nodes/status",
            "patch,update core pods/status",
            "READ,delete core pods",
            "EVENTS",
        ],
    ),
    (
        "persistent-volume-binder",
        &[
            "READ,create,delete,update core persistentvolumes",
            "update core persistentvolumes/status",
            "READ,update core persistentvolumeclaims",
            "update core persistentvolumeclaims/status",
            "READ,create,delete core pods",
            "READ storage.k8s.io storageclasses",
            "list,watch core nodes",
            "EVENTS",
            "watch core events",
            "get core services",
        ],
    ),
    ("pod-garbage-collector", &["list,watch,delete core pods", "READ core nodes", "patch core pods/status"]),
    ("pv-protection-controller", &["READ,update core persistentvolumes", "EVENTS"]),
    ("pvc-protection-controller", &["READ,update core persistentvolumeclaims", "READ core pods", "EVENTS"]),
    (
        "replicaset-controller",
        &[
            "READ,update apps,extensions replicasets",
            "update apps,extensions replicasets/status",
            "update apps,extensions replicasets/finalizers",
            "list,watch,create,delete,patch core pods",
            "EVENTS",
        ],
    ),
    (
        "replication-controller",
        &[
            "READ,update core replicationcontrollers",
            "update core replicationcontrollers/status",
            "update core replicationcontrollers/finalizers",
            "list,watch,create,delete,patch core pods",
            "EVENTS",
        ],
    ),
    (
        "resource-claim-controller",
        &[
            "READ core pods",
            "update core pods/finalizers",
            "READ,create,delete resource.k8s.io resourceclaims",
            "patch,update resource.k8s.io resourceclaims,resourceclaims/status",
            "patch,update core pods/status",
            "EVENTS",
        ],
    ),
    ("resourcequota-controller", &["list,watch * *", "update core resourcequotas/status", "EVENTS"]),
    ("root-ca-cert-publisher", &["create,update core configmaps", "EVENTS"]),
    ("route-controller", &["list,watch core nodes", "patch core nodes/status", "EVENTS"]),
    (
        "selinux-warning-controller",
        &[
            "EVENTS",
            "READ core persistentvolumes",
            "READ core persistentvolumeclaims",
            "READ core pods",
            "READ storage.k8s.io csidrivers",
        ],
    ),
    ("service-account-controller", &["create core serviceaccounts", "EVENTS"]),
    (
        "service-cidrs-controller",
        &[
            "READ,patch,update networking.k8s.io servicecidrs",
            "patch,update networking.k8s.io servicecidrs/finalizers",
            "patch,update networking.k8s.io servicecidrs/status",
            "READ networking.k8s.io ipaddresses",
            "EVENTS",
        ],
    ),
    (
        "service-controller",
        &["READ core services", "patch,update core services/status", "list,watch core nodes", "EVENTS"],
    ),
    (
        "statefulset-controller",
        &[
            "list,watch core pods",
            "READ apps statefulsets",
            "update apps statefulsets/status",
            "update apps statefulsets/finalizers",
            "create,delete,get,patch,update core pods",
            "READ,create,delete,patch,update apps controllerrevisions",
            "READ,create core persistentvolumeclaims",
            "delete,update core persistentvolumeclaims",
            "update core pods/finalizers",
            "EVENTS",
        ],
    ),
    ("ttl-after-finished-controller", &["READ,delete batch jobs", "EVENTS"]),
    ("ttl-controller", &["list,watch,patch,update core nodes", "EVENTS"]),
    (
        "certificate-controller",
        &[
            "READ,delete certificates.k8s.io certificatesigningrequests",
            "update certificates.k8s.io certificatesigningrequests/approval,certificatesigningrequests/status",
            "approve certificates.k8s.io signers kubernetes.io/kube-apiserver-client-kubelet",
            "sign certificates.k8s.io signers kubernetes.io/kube-apiserver-client,kubernetes.io/kube-apiserver-client-kubelet,kubernetes.io/kubelet-serving,kubernetes.io/legacy-unknown",
            "create authorization.k8s.io subjectaccessreviews",
            "EVENTS",
        ],
    ),
    (
        "validatingadmissionpolicy-status-controller",
        &[
            "READ admissionregistration.k8s.io validatingadmissionpolicies",
            "get,patch,update admissionregistration.k8s.io validatingadmissionpolicies/status",
            "EVENTS",
        ],
    ),
    (
        "volumeattributesclass-protection-controller",
        &[
            "READ core persistentvolumeclaims",
            "READ core persistentvolumes",
            "READ,update storage.k8s.io volumeattributesclasses",
            "EVENTS",
        ],
    ),
    (
        "legacy-service-account-token-cleaner",
        &["get core configmaps kube-apiserver-legacy-service-account-token-tracking", "delete,patch core secrets"],
    ),
];
