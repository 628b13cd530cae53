//! CertificateApproval, CertificateSigning and CertificateSubjectRestriction (`plugin/pkg/admission/certificates`).

use auth::{Attributes, Resource, Target};
use serde_json::Value;

use super::Attributes as Request;
use super::Operation;
use crate::access::decide;
use crate::app::text;
use crate::http::status::ApiResult;

const GROUP: &str = "certificates.k8s.io";
/// The signer whose certificates are taken for users of this API.
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

pub async fn admit(a: &Request<'_>, object: &Value) -> ApiResult<()> {
    if !a.resource().is(GROUP, "certificatesigningrequests") {
        return Ok(());
    }
    match (a.operation, a.subresource(), a.old) {
        (Operation::Create, "", _) => match restricted(object) {
            Some(why) => Err(a.forbidden(object, &why)),
            None => Ok(()),
        },
        (Operation::Update, "approval", Some(old)) => permitted(a, "approve", old).await,
        (Operation::Update, "status", Some(old)) => {
            let signed =
                |request: &Value| (request["status"]["certificate"].clone(), request["status"]["conditions"].clone());
            if signed(object) == signed(old) { Ok(()) } else { permitted(a, "sign", old).await }
        }
        _ => Ok(()),
    }
}

/// The right to approve or sign is one on the signer, or on all of its domain.
async fn permitted(a: &Request<'_>, verb: &str, request: &Value) -> ApiResult<()> {
    let signer = text(request, "/spec/signerName");
    let domain = format!("{}/*", signer.split('/').next().unwrap_or_default());
    for name in [signer, domain.as_str()] {
        let resource = Resource { group: GROUP, resource: "signers", namespace: "", name, subresource: "" };
        let attributes = Attributes { user: a.user(), verb, target: Target::Resource(resource) };
        if decide(&a.call.app, &attributes).await.allowed() {
            return Ok(());
        }
    }
    let why = format!("user not permitted to {verb} requests with signerName {signer:?}");
    Err(a.forbidden(request, &why))
}

/// Nobody becomes an administrator by a certificate request.
fn restricted(request: &Value) -> Option<String> {
    if text(request, "/spec/signerName") != CLIENT_SIGNER {
        return None;
    }
    let parsed = auth::csr::Request::parse(text(request, "/spec/request")).ok()?;
    parsed
        .organizations
        .iter()
        .any(|group| group == auth::user::MASTERS)
        .then(|| format!("use of {CLIENT_SIGNER} signer with system:masters group is not allowed"))
}
