//! Certificate signing requests (upstream `pkg/controller/certificates`): kubelets' own are approved, what is approved is
//! signed by the cluster's authority, and what is settled is removed after a while.
//!
//! ```text
//!  request ──► approve (asks a SubjectAccessReview) ──► sign (the four kubernetes.io signers) ──► clean
//! ```

mod approve;
mod clean;
mod sign;

use std::sync::Arc;

use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestStatus,
};

use crate::context::Context;
use crate::framework::Queue;
use crate::framework::meta::key_of;

pub use sign::Signer;

/// Approves the client certificates of kubelets that may have one.
pub fn start_approving(context: &Arc<Context>) {
    approve::start(context, &requests(context));
}

/// Signs what is approved.
pub fn start_signing(context: &Arc<Context>, signer: Signer) {
    sign::start(context, &requests(context), signer);
}

/// Removes requests nobody needs any more.
pub fn start_cleaning(context: &Arc<Context>) {
    clean::start(context, &requests(context));
}

/// A queue of all requests that change.
fn requests(context: &Arc<Context>) -> Arc<Queue> {
    let queue = Arc::new(Queue::default());
    let on_request = queue.clone();
    context.kinds.signing_requests.on_change(move |change| {
        if let Some(request) = change.new {
            on_request.add(key_of(&request.metadata));
        }
    });
    queue
}

fn conditions(request: &CertificateSigningRequest) -> &[CertificateSigningRequestCondition] {
    request.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default()
}

fn has(request: &CertificateSigningRequest, kind: &str) -> bool {
    conditions(request).iter().any(|condition| condition.type_ == kind)
}

fn is_issued(request: &CertificateSigningRequest) -> bool {
    request.status.as_ref().and_then(|status| status.certificate.as_ref()).is_some_and(|bytes| !bytes.0.is_empty())
}

/// The request with one more condition, which is true.
fn with_condition(
    request: &CertificateSigningRequest,
    kind: &str,
    reason: &str,
    message: &str,
) -> CertificateSigningRequest {
    let mut changed = request.clone();
    let status = changed.status.get_or_insert_with(CertificateSigningRequestStatus::default);
    status.conditions.get_or_insert_default().push(CertificateSigningRequestCondition {
        type_: kind.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        ..CertificateSigningRequestCondition::default()
    });
    changed
}

/// What the request asks for; `None`: it cannot be read.
fn parse(request: &CertificateSigningRequest) -> Option<auth::csr::Request> {
    use base64::Engine;
    auth::csr::Request::parse(&base64::engine::general_purpose::STANDARD.encode(&request.spec.request.0)).ok()
}

fn usages(request: &CertificateSigningRequest) -> Vec<&str> {
    request.spec.usages.iter().flatten().map(String::as_str).collect()
}
