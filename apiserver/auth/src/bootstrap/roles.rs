//! The table of default ClusterRoles that are not those of controllers.
//!
//! Facts from upstream's bootstrap policy at v1.35. How a line is read: see [`super::rule`].

use super::RoleFacts;

const fn role(name: &'static str, rules: &'static [&'static str]) -> RoleFacts {
    RoleFacts { name, rules, label: None, aggregates: None }
}

const fn part(name: &'static str, label: &'static str, rules: &'static [&'static str]) -> RoleFacts {
    RoleFacts { name, rules, label: Some(label), aggregates: None }
}

const TO_ADMIN: &str = "rbac.authorization.k8s.io/aggregate-to-admin";
const TO_EDIT: &str = "rbac.authorization.k8s.io/aggregate-to-edit";
const TO_VIEW: &str = "rbac.authorization.k8s.io/aggregate-to-view";

pub(super) const CLUSTER_ROLES: &[RoleFacts] = &[
    role("cluster-admin", &["* * *", "* *"]),
    RoleFacts { name: "admin", rules: &[], label: None, aggregates: Some(TO_ADMIN) },
    RoleFacts { name: "edit", rules: &[], label: Some(TO_ADMIN), aggregates: Some(TO_EDIT) },
    RoleFacts { name: "view", rules: &[], label: Some(TO_EDIT), aggregates: Some(TO_VIEW) },
    part(
        "system:aggregate-to-admin",
        TO_ADMIN,
        &[
            "create authorization.k8s.io localsubjectaccessreviews",
            "READ,WRITE rbac.authorization.k8s.io roles,rolebindings",
        ],
    ),
    part(
        "system:aggregate-to-edit",
        TO_EDIT,
        &[
            "READ core pods/attach,pods/exec,pods/portforward,pods/proxy,secrets,services/proxy",
            "impersonate core serviceaccounts",
            "WRITE core pods,pods/attach,pods/exec,pods/portforward,pods/proxy",
            "create core pods/eviction",
            "WRITE core configmaps,events,persistentvolumeclaims,replicationcontrollers,replicationcontrollers/scale,secrets,serviceaccounts,services,services/proxy",
            "create core serviceaccounts/token",
            "WRITE apps daemonsets,deployments,deployments/rollback,deployments/scale,replicasets,replicasets/scale,statefulsets,statefulsets/scale",
            "WRITE autoscaling horizontalpodautoscalers",
            "WRITE batch cronjobs,jobs",
            "WRITE extensions daemonsets,deployments,deployments/rollback,deployments/scale,ingresses,networkpolicies,replicasets,replicasets/scale,replicationcontrollers/scale",
            "WRITE policy poddisruptionbudgets",
            "WRITE networking.k8s.io ingresses,networkpolicies",
            "READ,WRITE coordination.k8s.io leases",
            "WRITE resource.k8s.io resourceclaims,resourceclaimtemplates",
        ],
    ),
    part(
        "system:aggregate-to-view",
        TO_VIEW,
        &[
            "READ core configmaps,endpoints,persistentvolumeclaims,persistentvolumeclaims/status,pods,replicationcontrollers,replicationcontrollers/scale,serviceaccounts,services,services/status",
            "READ core bindings,events,limitranges,namespaces/status,pods/log,pods/status,replicationcontrollers/status,resourcequotas,resourcequotas/status",
            "READ core namespaces",
            "READ discovery.k8s.io endpointslices",
            "READ apps controllerrevisions,daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,replicasets,replicasets/scale,replicasets/status,statefulsets,statefulsets/scale,statefulsets/status",
            "READ autoscaling horizontalpodautoscalers,horizontalpodautoscalers/status",
            "READ batch cronjobs,cronjobs/status,jobs,jobs/status",
            "READ extensions daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,ingresses,ingresses/status,networkpolicies,replicasets,replicasets/scale,replicasets/status,replicationcontrollers/scale",
            "READ policy poddisruptionbudgets,poddisruptionbudgets/status",
            "READ networking.k8s.io ingresses,ingresses/status,networkpolicies",
            "READ resource.k8s.io resourceclaims,resourceclaims/status,resourceclaimtemplates",
        ],
    ),
    role(
        "system:discovery",
        &["get /api,/api/*,/apis,/apis/*,/healthz,/livez,/openapi,/openapi/*,/readyz,/version,/version/"],
    ),
    role(
        "system:basic-user",
        &[
            "create authorization.k8s.io selfsubjectaccessreviews,selfsubjectrulesreviews",
            "create authentication.k8s.io selfsubjectreviews",
        ],
    ),
    role("system:public-info-viewer", &["get /healthz,/livez,/readyz,/version,/version/"]),
    role("system:monitoring", &["get /healthz,/healthz/*,/livez,/livez/*,/metrics,/metrics/slis,/readyz,/readyz/*"]),
    role(
        "system:service-account-issuer-discovery",
        &["get /.well-known/openid-configuration,/.well-known/openid-configuration/,/openid/v1/jwks,/openid/v1/jwks/"],
    ),
    role(
        "system:auth-delegator",
        &["create authentication.k8s.io tokenreviews", "create authorization.k8s.io subjectaccessreviews"],
    ),
    role("system:heapster", &["READ core events,namespaces,nodes,pods", "READ extensions deployments"]),
    role("system:kube-aggregator", &["READ core endpoints,services"]),
    role(
        "system:kube-controller-manager",
        &[
            "EVENTS",
            "create coordination.k8s.io leases",
            "get,update coordination.k8s.io leases kube-controller-manager",
            "create core secrets,serviceaccounts",
            "delete core secrets",
            "get core configmaps,namespaces,secrets,serviceaccounts",
            "update core secrets,serviceaccounts",
            "create authentication.k8s.io tokenreviews",
            "create authorization.k8s.io subjectaccessreviews",
            "list,watch * *",
            "create core serviceaccounts/token",
        ],
    ),
    role("system:kube-dns", &["list,watch core endpoints,services"]),
    role(
        "system:kube-scheduler",
        &[
            "EVENTS",
            "create coordination.k8s.io leases",
            "get,list,update,watch coordination.k8s.io leases kube-scheduler",
            "READ,WRITE coordination.k8s.io leasecandidates",
            "READ core nodes",
            "READ,delete core pods",
            "create core bindings,pods/binding",
            "patch,update core pods/status",
            "READ core replicationcontrollers,services",
            "READ apps,extensions replicasets",
            "READ apps statefulsets",
            "READ policy poddisruptionbudgets",
            "READ core persistentvolumeclaims,persistentvolumes",
            "create authentication.k8s.io tokenreviews",
            "create authorization.k8s.io subjectaccessreviews",
            "READ storage.k8s.io csinodes",
            "READ core namespaces",
            "READ storage.k8s.io csidrivers",
            "READ storage.k8s.io csistoragecapacities",
            "READ storage.k8s.io volumeattachments",
            "READ resource.k8s.io deviceclasses",
            "READ,patch,update resource.k8s.io resourceclaims",
            "READ,patch,update resource.k8s.io resourceclaims/status",
            "update core pods/finalizers",
            "READ resource.k8s.io resourceslices",
        ],
    ),
    role(
        "system:volume-scheduler",
        &[
            "READ,patch,update core persistentvolumes",
            "READ storage.k8s.io storageclasses",
            "READ,patch,update core persistentvolumeclaims",
        ],
    ),
    role(
        "system:kubelet-api-admin",
        &[
            "READ core nodes",
            "proxy core nodes",
            "* core nodes/log,nodes/metrics,nodes/proxy,nodes/stats",
            "* core nodes/configz,nodes/healthz,nodes/pods",
        ],
    ),
    role(
        "system:node",
        &[
            "create authentication.k8s.io tokenreviews",
            "create authorization.k8s.io localsubjectaccessreviews,subjectaccessreviews",
            "READ core services",
            "READ,create core nodes",
            "patch,update core nodes/status",
            "patch,update core nodes",
            "EVENTS",
            "READ core pods",
            "create,delete core pods",
            "patch,update core pods/status",
            "create core pods/eviction",
            "READ core configmaps,secrets",
            "get core persistentvolumeclaims,persistentvolumes",
            "get core endpoints",
            "READ,create certificates.k8s.io certificatesigningrequests",
            "create,delete,get,patch,update coordination.k8s.io leases",
            "get storage.k8s.io volumeattachments",
            "create core serviceaccounts/token",
            "get core serviceaccounts",
            "get,patch,update core persistentvolumeclaims/status",
            "READ storage.k8s.io csidrivers",
            "create,delete,get,patch,update storage.k8s.io csinodes",
            "READ node.k8s.io runtimeclasses",
            "get resource.k8s.io resourceclaims",
            "deletecollection resource.k8s.io resourceslices",
        ],
    ),
    role(
        "system:node-proxier",
        &[
            "list,watch core endpoints,services",
            "READ core nodes",
            "EVENTS",
            "list,watch discovery.k8s.io endpointslices",
            "list,watch networking.k8s.io servicecidrs",
        ],
    ),
    role("system:node-bootstrapper", &["READ,create certificates.k8s.io certificatesigningrequests"]),
    role("system:node-problem-detector", &["get core nodes", "patch core nodes/status", "EVENTS"]),
    role(
        "system:persistent-volume-provisioner",
        &[
            "READ,create,delete core persistentvolumes",
            "READ,update core persistentvolumeclaims",
            "READ storage.k8s.io storageclasses",
            "watch core events",
            "EVENTS",
        ],
    ),
    role(
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        &["create certificates.k8s.io certificatesigningrequests/nodeclient"],
    ),
    role(
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        &["create certificates.k8s.io certificatesigningrequests/selfnodeclient"],
    ),
    role(
        "system:certificates.k8s.io:kube-apiserver-client-approver",
        &["approve certificates.k8s.io signers kubernetes.io/kube-apiserver-client"],
    ),
    role(
        "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver",
        &["approve certificates.k8s.io signers kubernetes.io/kube-apiserver-client-kubelet"],
    ),
    role(
        "system:certificates.k8s.io:kubelet-serving-approver",
        &["approve certificates.k8s.io signers kubernetes.io/kubelet-serving"],
    ),
    role(
        "system:certificates.k8s.io:legacy-unknown-approver",
        &["approve certificates.k8s.io signers kubernetes.io/legacy-unknown"],
    ),
];
