//! Servers with support for Table transformation.

use http::Method;
use serde_json::json;

use crate::client::Refusal;
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-api-machinery] Servers with support for Table transformation should return a 406 for a backend which does not implement metadata [Conformance]" => no_metadata,
}

/// Reviews have no list and no metadata: a Table of one is not acceptable.
async fn no_metadata(t: Test) -> anyhow::Result<()> {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": { "resourceAttributes": { "namespace": t.namespace, "verb": "get", "resource": "services", "version": "v1" } },
    });
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let headers = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io"), ("content-type", "application/json")];
    let reply = t.api().raw(Method::POST, path, &headers, review.to_string().into_bytes()).await?;
    let refused = reply.ok().refused_with(406)?;
    expect::same("the reason", &refused.reason(), &"NotAcceptable")
}
