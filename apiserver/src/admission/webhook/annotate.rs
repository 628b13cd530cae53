//! What the audit log is told of a webhook's part in a request (`mutating/dispatcher.go` `webhookAnnotator`,
//! `validating/dispatcher.go`): which one was asked, whether it changed the object and how, and whether the request went on
//! although it failed.

use serde::Serialize;
use serde_json::Value;

use super::hook::Hook;
use crate::admission::Attributes;
use crate::audit::Level;
use crate::audit::note::json;

const MUTATION: &str = "mutation.webhook.admission.k8s.io";
const PATCH: &str = "patch.webhook.admission.k8s.io";
const VALIDATING: &str = "validating.webhook.admission.k8s.io";

#[derive(Serialize)]
struct Mutation<'a> {
    configuration: &'a str,
    webhook: &'a str,
    mutated: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Patch<'a> {
    configuration: &'a str,
    webhook: &'a str,
    patch: &'a Value,
    patch_type: &'a str,
}

/// Which call of a request's this is.
#[derive(Clone, Copy)]
pub struct Turn {
    /// 0, or 1 when mutating hooks are asked again.
    pub round: u8,
    /// Of the hook: among all of them where they mutate, else among those that are asked.
    pub index: usize,
}

impl Turn {
    fn key(self, prefix: &str) -> String {
        format!("{prefix}/round_{}_index_{}", self.round, self.index)
    }

    pub fn mutation(self, a: &Attributes<'_>, hook: &Hook, mutated: bool) {
        let told = Mutation { configuration: &hook.configuration, webhook: &hook.name, mutated };
        a.annotate(&self.key(MUTATION), &json(&told));
    }

    /// The patch itself is shown only where the request's object is.
    pub fn patch(self, a: &Attributes<'_>, hook: &Hook, patch: &Value) {
        let told = Patch { configuration: &hook.configuration, webhook: &hook.name, patch, patch_type: "JSONPatch" };
        a.annotate_from(Level::Request, &self.key(PATCH), &json(&told));
    }

    /// The hook could not be asked, and its policy is to go on.
    pub fn failed_open(self, a: &Attributes<'_>, hook: &Hook, mutating: bool) {
        let prefix = if mutating { MUTATION } else { VALIDATING };
        a.annotate(&self.key(&format!("failed-open.{prefix}")), &hook.name);
    }
}
