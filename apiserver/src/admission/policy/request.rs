//! What expressions see of a request: `request`, `namespaceObject`, `authorizer`, and the objects in the version asked for.

use cel::admission::{Input, PolicyError, evaluate};
use cel::{Activation, RUNTIME_COST_BUDGET, Value as CelValue};
use serde_json::{Map, Value};

use super::definition::{Definition, Expression};
use crate::admission::matching::Seen;
use crate::admission::{Attributes, request, webhook};
use crate::http::status::{ApiError, ApiResult};
use crate::registry::write;

/// A request, ready for expressions.
pub struct Request<'a> {
    pub object: Value,
    pub old: Value,
    request: Value,
    namespace: Value,
    authorizer: request::Authorizer<'a>,
}

impl<'a> Request<'a> {
    /// # Errors
    /// The namespace does not exist; the object cannot be converted.
    pub async fn new(a: &'a Attributes<'a>, seen: &Seen, object: &Value) -> ApiResult<Self> {
        let (object, old) = webhook::versioned(a, seen, object).await?;
        Ok(Self {
            request: request::request(a, seen),
            namespace: namespace(a).await?,
            authorizer: request::Authorizer { app: a.app(), user: a.user() },
            object,
            old,
        })
    }

    /// What expressions see, with a parameter.
    pub fn input<'s>(&'s self, param: Option<&'s Value>) -> Input<'s> {
        let some = |value: &'s Value| (!value.is_null()).then_some(value);
        Input {
            object: some(&self.object),
            old_object: some(&self.old),
            request: &self.request,
            params: param,
            namespace_object: some(&self.namespace),
            authorizer: Some(&self.authorizer),
        }
    }
}

/// The namespace of the request, as much of it as expressions are shown; null for what has none, and for Namespaces.
async fn namespace(a: &Attributes<'_>) -> ApiResult<Value> {
    let name = a.namespace();
    if name.is_empty() || a.resource().is("", "namespaces") {
        return Ok(Value::Null);
    }
    let found = write::namespace(a.app(), name).await?;
    let mut found = found.ok_or_else(|| ApiError::not_found("", "namespaces", name))?;
    const SHOWN: [&str; 11] = [
        "name",
        "generateName",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "labels",
        "annotations",
        "finalizers",
    ];
    if let Some(Value::Object(metadata)) = found.get_mut("metadata") {
        let kept: Map<String, Value> =
            std::mem::take(metadata).into_iter().filter(|(field, _)| SHOWN.contains(&field.as_str())).collect();
        *metadata = kept;
    }
    Ok(found)
}

/// One evaluation of a policy: expressions, the variables they have brought to light, and what is left of the budget.
pub struct Evaluation<'r> {
    definition: &'r Definition,
    activation: Activation<'r>,
    evaluated: Vec<bool>,
    budget: i64,
}

impl<'r> Evaluation<'r> {
    #[must_use]
    pub fn new(definition: &'r Definition, input: &Input<'r>) -> Self {
        Self::within(definition, input, RUNTIME_COST_BUDGET)
    }

    fn within(definition: &'r Definition, input: &Input<'r>, budget: i64) -> Self {
        let evaluated = vec![false; definition.variables.len()];
        Self { definition, activation: input.activation(), evaluated, budget }
    }

    /// The evaluation of what explains the outcome of this one: from the start, with what is left of the budget, and without
    /// anybody to ask for permissions.
    #[must_use]
    pub fn explaining(&self, input: &Input<'r>) -> Self {
        Self::within(self.definition, &Input { authorizer: None, ..*input }, self.budget)
    }

    /// That of audit annotations, which have a budget of their own.
    #[must_use]
    pub fn annotating(definition: &'r Definition, input: &Input<'r>) -> Self {
        Self::new(definition, &Input { authorizer: None, ..*input })
    }

    /// Evaluates an expression, and before it the variables that it mentions and that were not needed so far.
    pub fn run(&mut self, expression: &Expression) -> Result<CelValue<'r>, PolicyError> {
        let program = expression.program.as_ref().map_err(|error| PolicyError::Compilation(error.clone()))?;
        self.need(program)?;
        evaluate(program, &expression.text, &self.activation, &mut self.budget)
    }

    fn need(&mut self, program: &cel::Program) -> Result<(), PolicyError> {
        let definition = self.definition;
        for (at, variable) in definition.variables.iter().enumerate() {
            let name = format!("variables.{}", variable.name);
            if self.evaluated[at] || !program.uses(&name) {
                continue;
            }
            self.evaluated[at] = true;
            let result = match &variable.program {
                Ok(program) => {
                    self.need(program)?;
                    match evaluate(program, &variable.text, &self.activation, &mut self.budget) {
                        Ok(value) => Ok(value),
                        Err(PolicyError::OutOfBudget) => return Err(PolicyError::OutOfBudget),
                        Err(PolicyError::Evaluation { error, .. }) => Err(failed(&variable.name, &error.to_string())),
                        Err(PolicyError::Compilation(error)) => Err(failed(&variable.name, &error)),
                    }
                }
                Err(error) => Err(failed(&variable.name, error)),
            };
            self.activation = std::mem::take(&mut self.activation).with_result(name, result);
        }
        Ok(())
    }
}

fn failed(variable: &str, error: &str) -> cel::EvalError {
    cel::EvalError::Failed(format!("composited variable {variable:?} fails to evaluate: {error}"))
}
