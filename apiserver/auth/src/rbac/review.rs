//! What a user may do, in the form of `SelfSubjectRulesReview`.

use super::index::Index;
use crate::user::UserInfo;
use serde_json::{Value, json};

/// The `status` of a SelfSubjectRulesReview for `namespace`.
pub fn rules_review(index: &Index, user: &UserInfo, namespace: &str) -> Value {
    let (rules, missing) = index.rules_for(user, namespace);
    let (mut resources, mut paths) = (Vec::new(), Vec::new());
    for rule in rules {
        if !rule.resources.is_empty() {
            let mut listed = json!({"verbs": rule.verbs, "apiGroups": rule.api_groups, "resources": rule.resources});
            if !rule.resource_names.is_empty() {
                listed["resourceNames"] = json!(rule.resource_names);
            }
            resources.push(listed);
        }
        if !rule.non_resource_urls.is_empty() {
            paths.push(json!({"verbs": rule.verbs, "nonResourceURLs": rule.non_resource_urls}));
        }
    }
    let mut status = json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": !missing.is_empty()});
    if !missing.is_empty() {
        status["evaluationError"] = missing.join(", ").into();
    }
    status
}
