//! A policy and a binding, read and compiled once.

use cel::admission::{self, MatchConditions, Options};
use cel::{Env, Program, Type};
use serde_json::Value;

use crate::admission::Attributes;
use crate::admission::matching::{Rule, Seen, Selectors, seen};
use crate::app::text;
use crate::http::status::ApiResult;

/// A policy of either kind.
pub struct Definition {
    pub name: String,
    /// `failurePolicy: Ignore`.
    pub ignores_failures: bool,
    pub param_kind: Option<ParamKind>,
    pub conditions: MatchConditions,
    /// In their order; each may use those before it.
    pub variables: Vec<Expression>,
    pub body: Body,
    matches: Option<Matches>,
}

/// The resource parameters are taken from.
#[derive(Clone, Debug)]
pub struct ParamKind {
    pub api_version: String,
    pub kind: String,
}

/// An expression with its name where it has one, and its program or what is wrong with it.
pub struct Expression {
    pub name: String,
    pub text: String,
    pub program: Result<Program, String>,
}

pub enum Body {
    Validating { validations: Vec<Validation>, annotations: Vec<Expression> },
    Mutating { mutations: Vec<Mutation>, reinvoke: bool },
}

pub struct Validation {
    pub expression: Expression,
    pub message: String,
    pub message_expression: Option<Expression>,
    pub reason: String,
}

impl Validation {
    /// What is said where no expression makes a message: the one that is written out, or the expression itself.
    pub fn plain_message(&self) -> String {
        match self.message.trim() {
            "" => format!("failed expression: {}", self.expression.text.trim()),
            message => message.to_owned(),
        }
    }
}

pub enum Mutation {
    /// An `Object{…}` that is applied.
    Apply(Expression),
    /// A list of `JSONPatch{…}`.
    Patch(Expression),
}

/// `matchConstraints` or `matchResources`.
pub struct Matches {
    rules: Vec<Rule>,
    excluded: Vec<Rule>,
    equivalent: bool,
    selectors: Selectors,
}

impl Matches {
    #[must_use]
    pub fn parse(value: &Value) -> Self {
        Self {
            rules: Rule::parse_all(&value["resourceRules"]),
            excluded: Rule::parse_all(&value["excludeResourceRules"]),
            equivalent: value["matchPolicy"] != "Exact",
            selectors: Selectors::parse(value),
        }
    }

    /// Whether the request is meant, and as what.
    ///
    /// # Errors
    /// The namespace of the request does not exist, or a selector is none.
    pub async fn choose(&self, a: &Attributes<'_>, object: &Value) -> ApiResult<Option<Seen>> {
        if seen(a, &self.excluded, self.equivalent).is_some() {
            return Ok(None);
        }
        // Without rules a binding means whatever its policy means.
        let found = if self.rules.is_empty() {
            Some(Seen { resource: a.call.resource.clone(), kind: a.kind.clone() })
        } else {
            seen(a, &self.rules, self.equivalent)
        };
        let Some(found) = found else { return Ok(None) };
        Ok(if self.selectors.choose(a, object).await? { Some(found) } else { None })
    }
}

fn expression(env: &Env, name: &str, text: &str, returns: &[Type]) -> Expression {
    Expression { name: name.to_owned(), text: text.to_owned(), program: admission::compile(env, text, returns) }
}

/// The environment with a policy's variables in it, and the variables.
pub(super) fn variables(mut env: Env, list: &Value) -> (Env, Vec<Expression>) {
    let mut compiled = Vec::new();
    let mut fields = Vec::new();
    if list.as_array().is_some_and(|list| !list.is_empty()) {
        env = env.variable("variables", Type::object("kubernetes.variables", []));
    }
    for variable in list.as_array().into_iter().flatten() {
        let (name, text) = (text(variable, "/name"), text(variable, "/expression"));
        let program = env.compile(text);
        // A variable that does not compile may still be mentioned; the mention fails when it is evaluated.
        let ty = program.as_ref().map_or(Type::Dyn, |program| program.output().of_variable());
        let program = program.map_err(|error| format!("compilation failed: {error}"));
        compiled.push(Expression { name: name.to_owned(), text: text.to_owned(), program });
        fields.push((name.to_owned(), ty.clone()));
        env = env
            .variable(&format!("variables.{name}"), ty)
            .variable("variables", Type::object("kubernetes.variables", fields.clone()));
    }
    (env, compiled)
}

impl Definition {
    /// Reads and compiles a ValidatingAdmissionPolicy.
    #[must_use]
    pub fn validating(policy: &Value) -> Self {
        Self::parse(policy, false)
    }

    /// Reads and compiles a MutatingAdmissionPolicy.
    #[must_use]
    pub fn mutating(policy: &Value) -> Self {
        Self::parse(policy, true)
    }

    fn parse(policy: &Value, patches: bool) -> Self {
        let spec = &policy["spec"];
        let param_kind = spec["paramKind"].is_object().then(|| ParamKind {
            api_version: text(spec, "/paramKind/apiVersion").to_owned(),
            kind: text(spec, "/paramKind/kind").to_owned(),
        });
        let options = Options { params: param_kind.is_some(), authorizer: true, patches };
        // Variables make no patches, the mutations that use them do.
        let (plain, compiled) = variables(admission::env(Options { patches: false, ..options }), &spec["variables"]);
        let env = if patches { variables(admission::env(options), &spec["variables"]).0 } else { plain };
        let quiet = admission::env(Options { authorizer: false, ..options });
        let (quiet, _) = variables(quiet, &spec["variables"]);
        let conditions: Vec<(&str, &str)> = spec["matchConditions"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|condition| (text(condition, "/name"), text(condition, "/expression")))
            .collect();
        let list = |field: &str| spec[field].as_array().into_iter().flatten();
        let body = if patches {
            Body::Mutating {
                mutations: list("mutations").map(|one| mutation(&env, one)).collect(),
                reinvoke: spec["reinvocationPolicy"] == "IfNeeded",
            }
        } else {
            let annotation = |one: &Value| {
                let returns = [Type::String, Type::Null];
                expression(&env, text(one, "/key"), text(one, "/valueExpression"), &returns)
            };
            Body::Validating {
                validations: list("validations").map(|one| validation(&env, &quiet, one)).collect(),
                annotations: list("auditAnnotations").map(annotation).collect(),
            }
        };
        Self {
            name: text(policy, "/metadata/name").to_owned(),
            ignores_failures: spec["failurePolicy"] == "Ignore",
            conditions: MatchConditions::with_env(&admission::env(options), conditions),
            variables: compiled,
            param_kind,
            body,
            matches: spec["matchConstraints"].is_object().then(|| Matches::parse(&spec["matchConstraints"])),
        }
    }

    /// Whether the policy is about a request, and as what it sees it.
    ///
    /// # Errors
    /// Upstream's text of what is wrong with the policy's constraints.
    pub async fn choose(&self, a: &Attributes<'_>, object: &Value) -> Result<Option<Seen>, String> {
        let matches = self.matches.as_ref();
        let matches = matches.ok_or("policy contained no match constraints, a required field")?;
        matches.choose(a, object).await.map_err(|error| error.message)
    }

    #[must_use]
    pub fn is_mutating(&self) -> bool {
        matches!(self.body, Body::Mutating { .. })
    }

    /// Everything that does not compile: the place in the spec and the text, for validation.
    #[must_use]
    pub fn errors(&self) -> Vec<(String, String, String)> {
        let mut found = Vec::new();
        let mut note = |place: String, expression: &Expression| {
            if let Err(error) = &expression.program {
                found.push((place, expression.text.clone(), error.clone()));
            }
        };
        for (at, variable) in self.variables.iter().enumerate() {
            note(format!("variables[{at}].expression"), variable);
        }
        match &self.body {
            Body::Validating { validations, annotations } => {
                for (at, validation) in validations.iter().enumerate() {
                    note(format!("validations[{at}].expression"), &validation.expression);
                    if let Some(message) = &validation.message_expression {
                        note(format!("validations[{at}].messageExpression"), message);
                    }
                }
                for (at, annotation) in annotations.iter().enumerate() {
                    note(format!("auditAnnotations[{at}].valueExpression"), annotation);
                }
            }
            Body::Mutating { mutations, .. } => {
                for (at, mutation) in mutations.iter().enumerate() {
                    match mutation {
                        Mutation::Apply(expression) => {
                            note(format!("mutations[{at}].applyConfiguration.expression"), expression);
                        }
                        Mutation::Patch(expression) => {
                            note(format!("mutations[{at}].jsonPatch.expression"), expression)
                        }
                    }
                }
            }
        }
        found
    }
}

fn validation(env: &Env, quiet: &Env, value: &Value) -> Validation {
    let message = text(value, "/messageExpression");
    Validation {
        expression: expression(env, "", text(value, "/expression"), &[Type::Bool]),
        message: text(value, "/message").to_owned(),
        message_expression: (!message.is_empty()).then(|| expression(quiet, "", message, &[Type::String])),
        reason: text(value, "/reason").to_owned(),
    }
}

fn mutation(env: &Env, value: &Value) -> Mutation {
    if text(value, "/patchType") == "JSONPatch" {
        let patch = Type::object("JSONPatch", []);
        return Mutation::Patch(expression(env, "", text(value, "/jsonPatch/expression"), &[Type::list(patch)]));
    }
    let object = Type::object("Object", []);
    Mutation::Apply(expression(env, "", text(value, "/applyConfiguration/expression"), &[object]))
}

/// A binding: where a policy holds, with which parameters, and what a failure means.
pub struct Binding {
    pub name: String,
    pub policy: String,
    pub param_ref: Option<Value>,
    /// Deny, Warn, Audit.
    pub actions: Vec<String>,
    matches: Option<Matches>,
}

impl Binding {
    #[must_use]
    pub fn parse(binding: &Value) -> Self {
        let spec = &binding["spec"];
        let actions = spec["validationActions"].as_array().into_iter().flatten();
        Self {
            name: text(binding, "/metadata/name").to_owned(),
            policy: text(spec, "/policyName").to_owned(),
            param_ref: spec["paramRef"].is_object().then(|| spec["paramRef"].clone()),
            actions: actions.filter_map(|action| action.as_str().map(str::to_owned)).collect(),
            matches: spec["matchResources"].is_object().then(|| Matches::parse(&spec["matchResources"])),
        }
    }

    /// Whether the binding, too, is about a request that its policy is about.
    ///
    /// # Errors
    /// See [`Matches::choose`].
    pub async fn chooses(&self, a: &Attributes<'_>, object: &Value) -> Result<bool, String> {
        match &self.matches {
            None => Ok(true),
            Some(matches) => matches.choose(a, object).await.map(|seen| seen.is_some()).map_err(|error| error.message),
        }
    }
}
