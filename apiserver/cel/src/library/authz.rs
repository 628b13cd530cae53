//! `authorizer`: asking what the user of a request, or a service account, may do.

use std::{fmt, sync::Arc};

use super::Extension;
use crate::{
    decl::{Call, Row},
    operators::text,
    value::{EvalResult, Value, failed, no_overload},
};

pub(crate) const ROWS: &[Row] = &[
    (
        "path",
        path,
        &["authorizer_path kubernetes.authorization.Authorizer.(string) kubernetes.authorization.PathCheck"],
    ),
    (
        "group",
        group,
        &["authorizer_group kubernetes.authorization.Authorizer.(string) kubernetes.authorization.GroupCheck"],
    ),
    (
        "serviceAccount",
        service_account,
        &[
            "authorizer_serviceaccount kubernetes.authorization.Authorizer.(string, string) kubernetes.authorization.Authorizer",
        ],
    ),
    (
        "resource",
        resource,
        &["groupcheck_resource kubernetes.authorization.GroupCheck.(string) kubernetes.authorization.ResourceCheck"],
    ),
    (
        "subresource",
        subresource,
        &[
            "resourcecheck_subresource kubernetes.authorization.ResourceCheck.(string) kubernetes.authorization.ResourceCheck",
        ],
    ),
    (
        "namespace",
        namespace,
        &[
            "resourcecheck_namespace kubernetes.authorization.ResourceCheck.(string) kubernetes.authorization.ResourceCheck",
        ],
    ),
    (
        "name",
        name,
        &["resourcecheck_name kubernetes.authorization.ResourceCheck.(string) kubernetes.authorization.ResourceCheck"],
    ),
    (
        "fieldSelector",
        field_selector,
        &[
            "authorizer_fieldselector kubernetes.authorization.ResourceCheck.(string) kubernetes.authorization.ResourceCheck",
        ],
    ),
    (
        "labelSelector",
        label_selector,
        &[
            "authorizer_labelselector kubernetes.authorization.ResourceCheck.(string) kubernetes.authorization.ResourceCheck",
        ],
    ),
    (
        "check",
        check,
        &[
            "pathcheck_check kubernetes.authorization.PathCheck.(string) kubernetes.authorization.Decision",
            "resourcecheck_check kubernetes.authorization.ResourceCheck.(string) kubernetes.authorization.Decision",
        ],
    ),
    ("allowed", allowed, &["decision_allowed kubernetes.authorization.Decision.() bool"]),
    ("reason", reason, &["decision_reason kubernetes.authorization.Decision.() string"]),
    ("errored", errored, &["decision_errored kubernetes.authorization.Decision.() bool"]),
    ("error", error, &["decision_error kubernetes.authorization.Decision.() string"]),
];

/// Decides what expressions ask. It knows the user of the request.
pub trait Authorizer: Sync {
    fn authorize(&self, check: &Check) -> Decision;
}

/// A question to the authorizer: of a path if that is set, else of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Check {
    pub verb: String,
    /// Namespace and name, if the question is about a service account instead of the request's user.
    pub service_account: Option<(String, String)>,
    pub path: Option<String>,
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub field_selector: String,
    pub label_selector: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    pub reason: String,
    pub error: Option<String>,
}

/// An authorizer with what has been said of the question so far.
#[derive(Clone)]
pub struct Subject<'a> {
    authorizer: &'a dyn Authorizer,
    check: Arc<Check>,
}

impl fmt::Debug for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.check.fmt(f)
    }
}

impl<'a> Subject<'a> {
    /// The beginning of a question.
    #[must_use]
    pub fn new(authorizer: &'a dyn Authorizer, check: Check) -> Self {
        Self { authorizer, check: Arc::new(check) }
    }

    fn with(&self, change: impl FnOnce(&mut Check)) -> Self {
        let mut next = self.clone();
        change(Arc::make_mut(&mut next.check));
        next
    }
}

fn path<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    let Value::Extension(Extension::Authorizer(subject)) = &args[0] else { return no_overload() };
    let path = text(&args[1])?;
    if path.trim().is_empty() {
        return failed("path must not be empty");
    }
    Ok(Value::Extension(Extension::PathCheck(subject.with(|check| check.path = Some(path.to_owned())))))
}

fn group<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    let Value::Extension(Extension::Authorizer(subject)) = &args[0] else { return no_overload() };
    let group = text(&args[1])?;
    Ok(Value::Extension(Extension::GroupCheck(subject.with(|check| group.clone_into(&mut check.group)))))
}

fn service_account<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    let Value::Extension(Extension::Authorizer(subject)) = &args[0] else { return no_overload() };
    let (namespace, name) = (text(&args[1])?, text(&args[2])?);
    if !schema::names::dns1123_subdomain(name).is_empty() {
        return failed("Invalid service account name");
    }
    if !schema::names::dns1123_label(namespace).is_empty() {
        return failed("Invalid service account namespace");
    }
    let account = Some((namespace.to_owned(), name.to_owned()));
    Ok(Value::Extension(Extension::Authorizer(subject.with(|check| check.service_account = account))))
}

fn resource<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    let Value::Extension(Extension::GroupCheck(subject)) = &args[0] else { return no_overload() };
    let resource = text(&args[1])?;
    if resource.trim().is_empty() {
        return failed("resource must not be empty");
    }
    Ok(Value::Extension(Extension::ResourceCheck(subject.with(|check| resource.clone_into(&mut check.resource)))))
}

fn narrow<'a>(args: &[Value<'a>], set: impl FnOnce(&mut Check, String)) -> EvalResult<'a> {
    let Value::Extension(Extension::ResourceCheck(subject)) = &args[0] else { return no_overload() };
    let value = text(&args[1])?.to_owned();
    Ok(Value::Extension(Extension::ResourceCheck(subject.with(|check| set(check, value)))))
}

fn subresource<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    narrow(args, |check, value| check.subresource = value)
}

fn namespace<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    narrow(args, |check, value| check.namespace = value)
}

fn name<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    narrow(args, |check, value| check.name = value)
}

fn field_selector<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    narrow(args, |check, value| check.field_selector = value)
}

fn label_selector<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    narrow(args, |check, value| check.label_selector = value)
}

fn check<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    let Value::Extension(Extension::PathCheck(subject) | Extension::ResourceCheck(subject)) = &args[0] else {
        return no_overload();
    };
    let verb = text(&args[1])?.to_owned();
    let asked = subject.with(|check| check.verb = verb);
    let decision = asked.authorizer.authorize(&asked.check);
    Ok(Value::Extension(Extension::Decision(Arc::new(decision))))
}

fn decided<'a>(args: &[Value<'a>], pick: impl FnOnce(&Decision) -> Value<'a>) -> EvalResult<'a> {
    match &args[0] {
        Value::Extension(Extension::Decision(decision)) => Ok(pick(decision)),
        _ => no_overload(),
    }
}

fn allowed<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    decided(args, |decision| Value::Bool(decision.allowed))
}

fn reason<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    decided(args, |decision| Value::string(decision.reason.as_str()))
}

fn errored<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    decided(args, |decision| Value::Bool(decision.error.is_some()))
}

fn error<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    decided(args, |decision| Value::string(decision.error.clone().unwrap_or_default()))
}
