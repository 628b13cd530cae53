//! SubjectReview.

use http::Method;
use serde_json::json;

use crate::client::Refusal;
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-auth] SubjectReview should support SubjectReview API operations [Conformance]" => api_operations,
}

/// What the reviews say of a ServiceAccount must be what becomes of its requests, before it has a right and after.
async fn api_operations(t: Test) -> anyhow::Result<()> {
    let namespace = t.namespace.clone();
    t.objects("v1", "serviceaccounts").create(&json!({ "metadata": { "name": "e2e" } })).await?;
    let user = format!("system:serviceaccount:{namespace}:e2e");
    let attributes = json!({ "namespace": namespace, "verb": "list", "resource": "configmaps", "version": "v1" });
    let spec = json!({ "user": user, "resourceAttributes": attributes });
    let reviews = t.everywhere("authorization.k8s.io/v1", "subjectaccessreviews");
    let local = t.objects("authorization.k8s.io/v1", "localsubjectaccessreviews");
    let path = t.objects("v1", "configmaps").path("");
    for allowed in [false, true] {
        if allowed {
            let rule = json!({ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"] });
            let roles = t.objects("rbac.authorization.k8s.io/v1", "roles");
            roles.create(&json!({ "metadata": { "name": "lister" }, "rules": [rule] })).await?;
            let bindings = t.objects("rbac.authorization.k8s.io/v1", "rolebindings");
            bindings
                .create(&json!({
                    "metadata": { "name": "lister" },
                    "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "lister" },
                    "subjects": [{ "kind": "ServiceAccount", "name": "e2e", "namespace": namespace }],
                }))
                .await?;
        }
        // Rights follow their objects a moment later.
        let deadline = tokio::time::Instant::now() + crate::client::PATIENCE;
        let mut review = reviews.create(&json!({ "spec": spec })).await?;
        while review["status"]["allowed"] != allowed && tokio::time::Instant::now() < deadline {
            tokio::task::yield_now().await;
            review = reviews.create(&json!({ "spec": spec })).await?;
        }
        expect::at(&review, "/status/allowed", allowed)?;
        let review = local.create(&json!({ "metadata": { "namespace": namespace }, "spec": spec })).await?;
        expect::at(&review, "/status/allowed", allowed)?;
        let reply = t.api().raw(Method::GET, &path, &[("impersonate-user", &user)], Vec::new()).await?.ok();
        if allowed {
            reply?;
        } else {
            reply.refused_with(403)?;
        }
    }
    Ok(())
}
