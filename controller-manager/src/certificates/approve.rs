//! csrapproving: a kubelet's client certificate is approved when whoever asks may have it
//! (`pkg/controller/certificates/approver`).

use std::sync::Arc;
use std::time::Duration;

use auth::csr::{KUBE_APISERVER_CLIENT_KUBELET, kubelet};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::api::{Api, PostParams};

use super::{has, is_issued, parse, usages, with_condition};
use crate::context::Context;
use crate::framework::{Controller, Outcome, Queue, drive};

/// Who may have what approved: the subresource on which `create` is asked for, and what the condition says.
const RECOGNIZED: [(&str, &str); 2] = [
    ("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview."),
    ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview."),
];

/// When a request is looked at again whose author may not have it approved.
const AGAIN: Duration = Duration::from_secs(10);

struct Approver {
    context: Arc<Context>,
}

pub fn start(context: &Arc<Context>, queue: &Arc<Queue>) {
    drive(&context.gate(), &Arc::new(Approver { context: context.clone() }), queue, 1);
}

impl Controller for Approver {
    const NAME: &'static str = "certificatesigningrequest-approving-controller";

    async fn sync(&self, key: &str) -> Outcome {
        let kind = &self.context.kinds.signing_requests;
        let Some(request) = kind.get(key) else { return Ok(None) };
        if is_issued(&request) || has(&request, "Approved") || has(&request, "Denied") {
            return Ok(None);
        }
        let mut known = false;
        for (subresource, message) in RECOGNIZED {
            if !recognized(&request, subresource) {
                continue;
            }
            known = true;
            if !self.may(&request, subresource).await? {
                continue;
            }
            let changed = with_condition(&request, "Approved", "AutoApproved", message);
            kind.update_part(&request, &changed, "approval").await?;
            return Ok(None);
        }
        // The right may be given later.
        Ok(known.then_some(AGAIN))
    }
}

/// Whether the request is one for a kubelet's client certificate: its own renewed, or a new one.
fn recognized(request: &CertificateSigningRequest, subresource: &str) -> bool {
    let signer = request.spec.signer_name.as_str();
    let Some(parsed) = parse(request).filter(|_| signer == KUBE_APISERVER_CLIENT_KUBELET) else { return false };
    let own = request.spec.username.as_deref() == Some(parsed.common_name.as_str());
    (subresource != "selfnodeclient" || own) && kubelet(signer, &parsed, &usages(request)).is_ok()
}

impl Approver {
    async fn may(&self, request: &CertificateSigningRequest, subresource: &str) -> Result<bool, kube::Error> {
        let spec = &request.spec;
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: spec.username.clone(),
                uid: spec.uid.clone(),
                groups: spec.groups.clone(),
                extra: spec.extra.clone(),
                resource_attributes: Some(ResourceAttributes {
                    group: Some("certificates.k8s.io".to_owned()),
                    resource: Some("certificatesigningrequests".to_owned()),
                    verb: Some("create".to_owned()),
                    subresource: Some(subresource.to_owned()),
                    version: Some("*".to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let api: Api<SubjectAccessReview> = Api::all(self.context.client.clone());
        let answer = api.create(&PostParams::default(), &review).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }
}
