//! API priority and fairness.

use serde_json::json;

use crate::operations::{self, Operations};
use crate::spec::Test;
use crate::specs;

specs! { Api;
    "[sig-api-machinery] API priority and fairness should support FlowSchema API operations [Conformance]" => flow_schemas,
    "[sig-api-machinery] API priority and fairness should support PriorityLevelConfiguration API operations [Conformance]" => priority_levels,
}

async fn flow_schemas(t: Test) -> anyhow::Result<()> {
    let rule = json!({
        "subjects": [{ "kind": "User", "user": { "name": "example-e2e-flow-schema" } }],
        "nonResourceRules": [{ "verbs": ["*"], "nonResourceURLs": ["*"] }],
    });
    let operations = Operations {
        api_version: "flowcontrol.apiserver.k8s.io/v1",
        kind: "FlowSchema",
        plural: "flowschemas",
        namespaced: false,
        object: json!({ "spec": {
            "matchingPrecedence": 10000, "priorityLevelConfiguration": { "name": "global-default" },
            "distinguisherMethod": { "type": "ByUser" }, "rules": [rule],
        } }),
        change: json!({ "spec": { "matchingPrecedence": 9999 } }),
        status: Some(json!({ "conditions": [{
            "type": "PatchStatusFailed", "status": "True", "reason": "Patched", "message": "by the spec",
            "lastTransitionTime": "2024-01-02T03:04:05Z",
        }] })),
    };
    operations::run(&t, &operations).await
}

async fn priority_levels(t: Test) -> anyhow::Result<()> {
    let operations = Operations {
        api_version: "flowcontrol.apiserver.k8s.io/v1",
        kind: "PriorityLevelConfiguration",
        plural: "prioritylevelconfigurations",
        namespaced: false,
        object: json!({ "spec": {
            "type": "Limited", "limited": { "nominalConcurrencyShares": 2, "limitResponse": { "type": "Reject" } },
        } }),
        change: json!({ "spec": { "limited": { "nominalConcurrencyShares": 4 } } }),
        status: Some(json!({ "conditions": [{
            "type": "PatchStatusFailed", "status": "True", "reason": "Patched", "message": "by the spec",
            "lastTransitionTime": "2024-01-02T03:04:05Z",
        }] })),
    };
    operations::run(&t, &operations).await
}
