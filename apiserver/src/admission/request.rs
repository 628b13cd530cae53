//! What webhooks and expressions are told of a request, and what expressions may ask about its user.

use auth::{Attributes as Question, Resource, Target, UserInfo};
use serde_json::{Value, json};

use super::matching::Seen;
use super::{Attributes, Gvk};
use crate::app::App;

/// An `admission.k8s.io/v1` AdmissionRequest, without `uid`, `object` and `oldObject`.
#[must_use]
pub fn request(a: &Attributes<'_>, seen: &Seen) -> Value {
    let (resource, own) = (&seen.resource, a.resource());
    let kind = |kind: &Gvk| json!({ "group": kind.group, "version": kind.version, "kind": kind.kind });
    let mut request = json!({
        "kind": kind(&seen.kind),
        "resource": { "group": resource.group, "version": resource.version, "resource": resource.plural },
        "requestKind": kind(&a.kind),
        "requestResource": { "group": own.group, "version": own.version, "resource": own.plural },
        "operation": a.operation.word(),
        "userInfo": a.user(),
        "dryRun": a.dry_run(),
        "options": a.options,
    });
    let words = [
        ("subResource", a.subresource()),
        ("requestSubResource", a.subresource()),
        ("name", a.name.as_str()),
        ("namespace", a.namespace()),
    ];
    for (field, word) in words.into_iter().filter(|(_, word)| !word.is_empty()) {
        request[field] = word.into();
    }
    request
}

/// The `authorizer` of expressions: what the request's user, or a ServiceAccount, may do.
pub struct Authorizer<'a> {
    pub app: &'a App,
    pub user: &'a UserInfo,
}

impl cel::Authorizer for Authorizer<'_> {
    fn authorize(&self, check: &cel::Check) -> cel::Decision {
        let account = check.service_account.as_ref();
        let account = account.map(|(namespace, name)| auth::serviceaccount::user(namespace, name));
        let target = match &check.path {
            Some(path) => Target::Path(path),
            None => Target::Resource(Resource {
                group: &check.group,
                resource: &check.resource,
                subresource: &check.subresource,
                namespace: &check.namespace,
                name: &check.name,
            }),
        };
        let question = Question { user: account.as_ref().unwrap_or(self.user), verb: &check.verb, target };
        let decision = self.app.access.authorizers.decide_now(self.app, &question);
        cel::Decision { allowed: decision.allowed(), reason: decision.reason().to_owned(), error: None }
    }
}
