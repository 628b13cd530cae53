//! Bootstrap tokens (upstream `pkg/controller/bootstrap`): machines that are to join prove themselves by a token that an
//! administrator made as a Secret. Expired ones are removed ([`clean`]), and what joining machines read before they trust
//! anybody, ConfigMap `kube-public/cluster-info`, is signed with them ([`sign`]).

mod clean;
mod sign;

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;

use crate::context::Context;

/// The type of these Secrets, and where they are.
pub const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
const NAMESPACE: &str = "kube-system";
const PREFIX: &str = "bootstrap-token-";

pub fn start_signing(context: &Arc<Context>) {
    sign::start(context);
}

pub fn start_cleaning(context: &Arc<Context>) {
    clean::start(context);
}

/// A field of a token's Secret.
fn field<'a>(secret: &'a Secret, name: &str) -> Option<&'a str> {
    std::str::from_utf8(&secret.data.as_ref()?.get(name)?.0).ok()
}

fn is_token(secret: &Secret) -> bool {
    let meta = &secret.metadata;
    secret.type_.as_deref() == Some(SECRET_TYPE)
        && meta.namespace.as_deref() == Some(NAMESPACE)
        && meta.name.as_deref().is_some_and(|name| name.starts_with(PREFIX))
}

/// When the token ends; `None`: never. What cannot be read has ended.
fn expiration(secret: &Secret) -> Option<Timestamp> {
    field(secret, "expiration").filter(|text| !text.is_empty()).map(|text| text.parse().unwrap_or(Timestamp::MIN))
}
