//! Expressions about requests: match conditions of webhooks, and admission policies (`apiserver/pkg/admission/plugin/cel`).
//!
//! `object`, `oldObject` and `params` are untyped; `request` and `namespaceObject` have types; `authorizer` asks what the request's
//! user may do; `variables.x` is what a policy's variable `x` came to.

use std::sync::LazyLock;

use serde_json::Value as Json;

use crate::{
    Activation, Authorizer, Check, CompileError, Env, EvalError, Extension, MATCH_CONDITIONS_COST_BUDGET, Program,
    Subject, Type, Value, untyped,
};

/// What an expression may mention besides `object`, `oldObject`, `request` and `namespaceObject`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub params: bool,
    pub authorizer: bool,
    /// `Object{…}` and `JSONPatch{…}`.
    pub patches: bool,
}

fn fields(fields: &[(&str, Type)]) -> Vec<(String, Type)> {
    fields.iter().map(|(name, ty)| ((*name).to_owned(), ty.clone())).collect()
}

static REQUEST: LazyLock<Type> = LazyLock::new(|| {
    let string = || Type::String;
    let kind = Type::object(
        "kubernetes.GroupVersionKind",
        fields(&[("group", string()), ("version", string()), ("kind", string())]),
    );
    let resource = Type::object(
        "kubernetes.GroupVersionResource",
        fields(&[("group", string()), ("version", string()), ("resource", string())]),
    );
    let user = Type::object(
        "kubernetes.UserInfo",
        fields(&[
            ("username", string()),
            ("uid", string()),
            ("groups", Type::list(string())),
            ("extra", Type::map(string(), Type::list(string()))),
        ]),
    );
    Type::object(
        "kubernetes.AdmissionRequest",
        fields(&[
            ("kind", kind.clone()),
            ("resource", resource.clone()),
            ("subResource", string()),
            ("requestKind", kind),
            ("requestResource", resource),
            ("requestSubResource", string()),
            ("name", string()),
            ("namespace", string()),
            ("operation", string()),
            ("userInfo", user),
            ("dryRun", Type::Bool),
            ("options", Type::Dyn),
        ]),
    )
});

static NAMESPACE: LazyLock<Type> = LazyLock::new(|| {
    let string = || Type::String;
    let spec = Type::object("kubernetes.NamespaceSpec", fields(&[("finalizers", Type::list(string()))]));
    let condition = Type::object(
        "kubernetes.NamespaceCondition",
        fields(&[
            ("status", string()),
            ("type", string()),
            ("lastTransitionTime", Type::Timestamp),
            ("message", string()),
            ("reason", string()),
        ]),
    );
    let status = Type::object(
        "kubernetes.NamespaceStatus",
        fields(&[("conditions", Type::list(condition)), ("phase", string())]),
    );
    let metadata = Type::object(
        "kubernetes.NamespaceMetadata",
        fields(&[
            ("name", string()),
            ("generateName", string()),
            ("namespace", string()),
            ("labels", Type::map(string(), string())),
            ("annotations", Type::map(string(), string())),
            ("UID", string()),
            ("creationTimestamp", Type::Timestamp),
            ("deletionGracePeriodSeconds", Type::Int),
            ("deletionTimestamp", Type::Timestamp),
            ("generation", Type::Int),
            ("resourceVersion", string()),
            ("finalizers", Type::list(string())),
        ]),
    );
    Type::object("kubernetes.Namespace", fields(&[("metadata", metadata), ("spec", spec), ("status", status)]))
});

/// The environment of expressions about requests.
#[must_use]
pub fn env(options: Options) -> Env {
    let mut env = Env::new()
        .variable("object", Type::Dyn)
        .variable("oldObject", Type::Dyn)
        .variable("namespaceObject", NAMESPACE.clone())
        .variable("request", REQUEST.clone());
    if options.params {
        env = env.variable("params", Type::Dyn);
    }
    if options.authorizer {
        env = env.authorizer();
    }
    if options.patches {
        env = env.patches();
    }
    env
}

/// How the error of an expression begins that is well formed but comes to nothing.
pub const INSTANTIATION: &str = "program instantiation failed: ";

/// Compiles an expression that must be of one of some types. The error is upstream's text.
pub fn compile(env: &Env, text: &str, returns: &[Type]) -> Result<Program, String> {
    let program = env.compile(text).map_err(|error| match error {
        CompileError::Issues { shown, .. } => format!("compilation failed: {shown}"),
        CompileError::Instantiation(why) => format!("{INSTANTIATION}{why}"),
    })?;
    if returns.contains(program.output()) {
        return Ok(program);
    }
    // As a result, nothing goes by the name of its type.
    let name = |ty: &Type| match ty {
        Type::Null => Type::Null.runtime_name().to_owned(),
        other => other.to_string(),
    };
    let got = name(program.output());
    Err(match returns {
        [one] => format!("must evaluate to {one} but got {got}"),
        several => {
            let names: Vec<String> = several.iter().map(name).collect();
            format!("must evaluate to one of [{}] but got {got}", names.join(" "))
        }
    })
}

/// What expressions see of a request.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// `None` on DELETE.
    pub object: Option<&'a Json>,
    /// `None` on CREATE and CONNECT.
    pub old_object: Option<&'a Json>,
    /// An `admission.k8s.io/v1` AdmissionRequest without `object` and `oldObject`.
    pub request: &'a Json,
    pub params: Option<&'a Json>,
    pub namespace_object: Option<&'a Json>,
    pub authorizer: Option<&'a dyn Authorizer>,
}

impl<'a> Input<'a> {
    /// The variables of an evaluation.
    #[must_use]
    pub fn activation(&self) -> Activation<'a> {
        let json = |json: Option<&'a Json>| json.map_or(Value::Null, untyped);
        let mut activation = Activation::new()
            .with("object", json(self.object))
            .with("oldObject", json(self.old_object))
            .with("request", untyped(self.request))
            .with("params", json(self.params))
            .with("namespaceObject", json(self.namespace_object));
        if let Some(authorizer) = self.authorizer {
            let whole = Extension::Authorizer(Subject::new(authorizer, Check::default()));
            let resource = Extension::ResourceCheck(Subject::new(authorizer, self.request_resource()));
            activation = activation
                .with("authorizer", Value::Extension(whole))
                .with("authorizer.requestResource", Value::Extension(resource));
        }
        activation
    }

    fn request_resource(&self) -> Check {
        let text = |pointer: &str| self.request.pointer(pointer).and_then(Json::as_str).unwrap_or_default().to_owned();
        Check {
            group: text("/requestResource/group"),
            resource: text("/requestResource/resource"),
            subresource: text("/requestSubResource"),
            namespace: text("/namespace"),
            name: text("/name"),
            ..Check::default()
        }
    }
}

/// Why an expression of a policy came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error("expression '{expression}' resulted in error: {error}")]
    Evaluation { expression: String, error: EvalError },
    #[error("compilation error: {0}")]
    Compilation(String),
    /// No further expression is evaluated.
    #[error("validation failed due to running out of cost budget, no further validation rules will be run")]
    OutOfBudget,
}

/// Evaluates a program and takes its cost off a budget.
pub fn evaluate<'a>(
    program: &Program,
    text: &str,
    activation: &Activation<'a>,
    budget: &mut i64,
) -> Result<Value<'a>, PolicyError> {
    let evaluated = program.evaluate(activation);
    let cost = i64::try_from(evaluated.cost).unwrap_or(i64::MAX);
    if cost > *budget {
        *budget = -1;
        return Err(PolicyError::OutOfBudget);
    }
    *budget -= cost;
    evaluated.result.map_err(|error| PolicyError::Evaluation { expression: text.to_owned(), error })
}

/// `matchConditions`, compiled. A condition that does not compile is an error whenever it is evaluated.
#[derive(Debug)]
pub struct MatchConditions {
    conditions: Vec<(String, String, Result<Program, String>)>,
}

/// What match conditions say of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MatchResult {
    /// All hold, or there are none.
    Matches,
    /// This one does not hold.
    No { condition: String },
    /// None is false, but these failed; the failure policy decides.
    Errors(Vec<String>),
}

impl MatchConditions {
    /// Compiles (name, expression) pairs for webhooks: no `params`, and an `authorizer`.
    #[must_use]
    pub fn new<'c>(conditions: impl IntoIterator<Item = (&'c str, &'c str)>) -> Self {
        Self::with_env(&env(Options { authorizer: true, ..Options::default() }), conditions)
    }

    /// The same in a given environment.
    #[must_use]
    pub fn with_env<'c>(env: &Env, conditions: impl IntoIterator<Item = (&'c str, &'c str)>) -> Self {
        let compiled = conditions.into_iter().map(|(name, expression)| {
            (name.to_owned(), expression.to_owned(), compile(env, expression, &[Type::Bool]))
        });
        Self { conditions: compiled.collect() }
    }

    /// The positions of conditions that do not compile, with upstream's text: for validation.
    pub fn errors(&self) -> impl Iterator<Item = (usize, &str)> {
        self.conditions
            .iter()
            .enumerate()
            .filter_map(|(at, (.., program))| Some((at, program.as_ref().err()?.as_str())))
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    /// Any that is false decides; otherwise any error does.
    #[must_use]
    pub fn evaluate(&self, input: &Input<'_>) -> MatchResult {
        if self.conditions.is_empty() {
            return MatchResult::Matches;
        }
        let activation = input.activation();
        let mut budget = MATCH_CONDITIONS_COST_BUDGET;
        let mut errors = Vec::new();
        for (name, text, program) in &self.conditions {
            let result = match program {
                Ok(program) => evaluate(program, text, &activation, &mut budget),
                Err(error) => Err(PolicyError::Compilation(error.clone())),
            };
            match result {
                Ok(Value::Bool(false)) => return MatchResult::No { condition: name.clone() },
                Ok(_) => {}
                Err(PolicyError::OutOfBudget) => {
                    return MatchResult::Errors(vec![PolicyError::OutOfBudget.to_string()]);
                }
                Err(error) => errors.push(error.to_string()),
            }
        }
        if errors.is_empty() { MatchResult::Matches } else { MatchResult::Errors(errors) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Decision;

    struct OnlyGet;

    impl Authorizer for OnlyGet {
        fn authorize(&self, check: &Check) -> Decision {
            let allowed = check.verb == "get" && check.resource == "pods" && check.service_account.is_none();
            Decision { allowed, reason: format!("{}/{}", check.namespace, check.name), error: None }
        }
    }

    #[test]
    fn match_conditions() {
        let object = json!({"metadata": {"name": "web", "labels": {"app": "x"}}, "spec": {"replicas": 3}});
        let request = json!({
            "operation": "CREATE", "name": "web", "namespace": "ns", "userInfo": {"username": "jane", "groups": ["dev"]},
            "requestResource": {"group": "", "version": "v1", "resource": "pods"}, "dryRun": false,
        });
        let input = Input {
            object: Some(&object),
            old_object: None,
            request: &request,
            params: None,
            namespace_object: None,
            authorizer: Some(&OnlyGet),
        };
        let result = |expressions: &[&str]| {
            let names = ["a", "b", "c"];
            MatchConditions::new(names.iter().copied().zip(expressions.iter().copied())).evaluate(&input)
        };
        assert_eq!(result(&[]), MatchResult::Matches);
        for holds in [
            "object.spec.replicas == 3 && oldObject == null",
            "request.operation == 'CREATE' && 'dev' in request.userInfo.groups",
            "authorizer.group('').resource('pods').namespace('ns').check('get').allowed()",
            "authorizer.requestResource.check('get').reason() == 'ns/web'",
            "!authorizer.serviceAccount('ns', 'sa').group('').resource('pods').check('get').allowed()",
            "!authorizer.path('/healthz').check('get').allowed()",
        ] {
            assert_eq!(result(&[holds]), MatchResult::Matches, "{holds}");
        }
        assert_eq!(result(&["true", "object.spec.replicas > 5"]), MatchResult::No { condition: "b".into() });
        assert_eq!(result(&["object.nope == 1", "false"]), MatchResult::No { condition: "b".into() });
        assert_eq!(
            result(&["object.nope == 1"]),
            MatchResult::Errors(vec!["expression 'object.nope == 1' resulted in error: no such key: nope".into()])
        );
        let conditions = MatchConditions::new([("a", "object.spec"), ("b", "nope")]);
        let errors: Vec<_> = conditions.errors().collect();
        assert_eq!(errors[0], (0, "must evaluate to bool but got dyn"));
        let nothing = compile(&env(Options::default()), "null", &[Type::Bool]).unwrap_err();
        assert_eq!(nothing, "must evaluate to bool but got null_type");
        let neither = compile(&env(Options::default()), "1", &[Type::String, Type::Null]).unwrap_err();
        assert_eq!(neither, "must evaluate to one of [string null_type] but got int");
        assert_eq!(
            errors[1],
            (
                1,
                "compilation failed: ERROR: <input>:1:1: undeclared reference to 'nope' (in container '')\n | nope\n | ^"
            )
        );
    }
}
