//! Whether a configuration of authorizers makes sense (`apiserver/pkg/apis/apiserver/validation/validation.go`,
//! `ValidateAuthorizationConfiguration`).

use std::collections::HashSet;
use std::sync::LazyLock;
use std::time::Duration;

use cel::{Env, Program, Type, admission};
use schema::field::{Error, ErrorList, Path};
use schema::names;

use super::config::{Configuration, MatchCondition, Webhook};

/// The kinds there are.
pub const KINDS: [&str; 6] = ["ABAC", "AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook"];
const LONGEST: Duration = Duration::from_secs(30);
const MAX_CONDITIONS: usize = 64;

static ENV: LazyLock<Env> = LazyLock::new(|| {
    let string = || Type::String;
    let object = |name: &str, fields: Vec<(&str, Type)>| {
        Type::object(name, fields.into_iter().map(|(name, ty)| (name.to_owned(), ty)))
    };
    let requirement = || {
        object(
            "kubernetes.SelectorRequirement",
            vec![("key", string()), ("operator", string()), ("values", Type::list(string()))],
        )
    };
    let selector =
        |name: &str| object(name, vec![("rawSelector", string()), ("requirements", Type::list(requirement()))]);
    let mut resource: Vec<_> = ["namespace", "verb", "group", "version", "resource", "subresource", "name"]
        .into_iter()
        .map(|name| (name, string()))
        .collect();
    resource.push(("fieldSelector", selector("kubernetes.FieldSelectorAttributes")));
    resource.push(("labelSelector", selector("kubernetes.LabelSelectorAttributes")));
    let path = vec![("path", string()), ("verb", string())];
    let request = vec![
        ("resourceAttributes", object("kubernetes.ResourceAttributes", resource)),
        ("nonResourceAttributes", object("kubernetes.NonResourceAttributes", path)),
        ("user", string()),
        ("groups", Type::list(string())),
        ("extra", Type::map(string(), Type::list(string()))),
        ("uid", string()),
    ];
    Env::new().variable("request", object("kubernetes.SubjectAccessReviewSpec", request))
});

/// A match condition, ready to be evaluated.
#[derive(Debug)]
pub struct Condition {
    pub text: String,
    pub program: Program,
}

/// All that is wrong.
#[must_use]
pub fn check(configuration: &Configuration) -> ErrorList {
    let mut errors = ErrorList::new();
    let root = Path::new("authorizers");
    if configuration.authorizers.is_empty() {
        errors.push(Error::required(&root, "at least one authorization mode must be defined"));
    }
    let (mut kinds, mut seen) = (HashSet::new(), HashSet::new());
    for (index, authorizer) in configuration.authorizers.iter().enumerate() {
        let path = root.index(index);
        let (kind, name) = (authorizer.kind.as_str(), authorizer.name.as_str());
        let at = path.child("type");
        if kind.is_empty() {
            errors.push(Error::required(&at, ""));
            continue;
        }
        if !KINDS.contains(&kind) {
            errors.push(Error::not_supported(&at, kind, &KINDS));
            continue;
        }
        if !kinds.insert(kind) && kind != "Webhook" {
            errors.push(Error::duplicate(&at, kind));
            continue;
        }
        let at = path.child("name");
        let wrong = names::dns1123_subdomain(name);
        if name.is_empty() {
            errors.push(Error::required(&at, ""));
        } else if !seen.insert(name) {
            errors.push(Error::duplicate(&at, name));
        } else if !wrong.is_empty() {
            errors.push(Error::invalid(&at, name, format!("authorizer name is invalid: {}", wrong.join(", "))));
        }
        match (&authorizer.webhook, kind) {
            (Some(webhook), "Webhook") => check_webhook(webhook, &path, &mut errors),
            (None, "Webhook") => errors.push(Error::required(&path.child("webhook"), "required when type=Webhook")),
            (Some(_), _) => {
                errors.push(Error::invalid(
                    &path.child("webhook"),
                    "non-null",
                    "may only be specified when type=Webhook",
                ));
            }
            (None, _) => {}
        }
    }
    errors
}

/// Upstream names the fields of a webhook as if they were the authorizer's own.
fn check_webhook(webhook: &Webhook, path: &Path, errors: &mut ErrorList) {
    let at = path.child("timeout");
    if webhook.timeout.is_zero() {
        errors.push(Error::required(&at, ""));
    } else if webhook.timeout > LONGEST {
        let seconds = webhook.timeout.as_secs();
        let shown = if seconds < 60 { format!("{seconds}s") } else { format!("{}m{}s", seconds / 60, seconds % 60) };
        errors.push(Error::invalid(&at, shown, "must be > 0s and <= 30s"));
    }
    let at = path.child("subjectAccessReviewVersion");
    match webhook.subject_access_review_version.as_str() {
        "" => errors.push(Error::required(&at, "")),
        "v1" | "v1beta1" => {}
        other => errors.push(Error::not_supported(&at, other, &["v1", "v1beta1"])),
    }
    let at = path.child("matchConditionSubjectAccessReviewVersion");
    match webhook.match_condition_subject_access_review_version.as_str() {
        "" if !webhook.match_conditions.is_empty() => {
            errors.push(Error::required(&at, "required if match conditions are specified"));
        }
        "" | "v1" => {}
        other => errors.push(Error::not_supported(&at, other, &["v1"])),
    }
    let at = path.child("failurePolicy");
    match webhook.failure_policy.as_str() {
        "" => errors.push(Error::required(&at, "")),
        "NoOpinion" | "Deny" => {}
        other => errors.push(Error::not_supported(&at, other, &["NoOpinion", "Deny"])),
    }
    check_connection(webhook, &path.child("connectionInfo"), errors);
    if let Err(mut wrong) = compile(&webhook.match_conditions, path) {
        errors.append(&mut wrong);
    }
}

fn check_connection(webhook: &Webhook, path: &Path, errors: &mut ErrorList) {
    let at = path.child("kubeConfigFile");
    let file = webhook.connection_info.kube_config_file.as_deref().filter(|file| !file.as_os_str().is_empty());
    match (webhook.connection_info.kind.as_str(), file) {
        ("", _) => errors.push(Error::required(&path.child("type"), "")),
        ("InClusterConfig", Some(file)) => {
            let why = "can only be set when type=KubeConfigFile";
            errors.push(Error::invalid(&at, file.display().to_string(), why));
        }
        ("InClusterConfig", None) => {}
        ("KubeConfigFile", None) => errors.push(Error::required(&at, "")),
        ("KubeConfigFile", Some(file)) => {
            let shown = file.display().to_string();
            if !file.is_absolute() {
                errors.push(Error::invalid(&at, shown, "must be an absolute path"));
                return;
            }
            match std::fs::metadata(file) {
                Ok(found) if found.is_file() => {}
                Ok(_) => errors.push(Error::invalid(&at, shown, "must be a regular file")),
                Err(error) => errors.push(Error::invalid(&at, shown, format!("error loading file: {error}"))),
            }
        }
        (other, _) => {
            errors.push(Error::not_supported(&path.child("type"), other, &["InClusterConfig", "KubeConfigFile"]));
        }
    }
}

/// Compiles match conditions; `path` is the authorizer's.
///
/// # Errors
/// All that is wrong with them.
pub fn compile(conditions: &[MatchCondition], path: &Path) -> Result<Vec<Condition>, ErrorList> {
    let root = path.child("matchConditions");
    if conditions.len() > MAX_CONDITIONS {
        return Err(vec![Error::too_many(&root, conditions.len(), MAX_CONDITIONS)]);
    }
    let (mut compiled, mut errors, mut seen) = (Vec::new(), ErrorList::new(), HashSet::new());
    for (index, condition) in conditions.iter().enumerate() {
        let at = root.index(index).child("expression");
        let text = condition.expression.as_str();
        if text.trim().is_empty() {
            errors.push(Error::required(&at, ""));
        } else if !seen.insert(text) {
            errors.push(Error::duplicate(&at, text));
        } else {
            match admission::compile(&ENV, text, &[Type::Bool]) {
                Ok(program) => compiled.push(Condition { text: text.to_owned(), program }),
                Err(why) => errors.push(Error::invalid(&at, text, why)),
            }
        }
    }
    if errors.is_empty() { Ok(compiled) } else { Err(errors) }
}
