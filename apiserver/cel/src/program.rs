//! A compiled expression and its evaluation.

use std::{borrow::Cow, collections::BTreeSet};

use crate::{
    deep,
    estimate::CostEstimate,
    eval::Evaluator,
    plan::{Node, Plan},
    types::Type,
    value::{EvalError, EvalResult, Value},
};

/// The most one evaluation may cost (`celconfig.PerCallLimit`).
pub const PER_CALL_LIMIT: u64 = 1_000_000;

/// The most all evaluations for one request may cost together (`celconfig.RuntimeCELCostBudget`).
pub const RUNTIME_COST_BUDGET: i64 = 10_000_000;

/// The same for match conditions (`celconfig.RuntimeCELCostBudgetMatchConditions`).
pub const MATCH_CONDITIONS_COST_BUDGET: i64 = 2_500_000;

/// The values of variables. A variable may be an error, which whoever reads it gets.
#[derive(Clone, Debug, Default)]
pub struct Activation<'a> {
    variables: Vec<(Cow<'static, str>, EvalResult<'a>)>,
}

impl<'a> Activation<'a> {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a variable.
    #[must_use]
    pub fn with(mut self, name: impl Into<Cow<'static, str>>, value: Value<'a>) -> Self {
        self.variables.push((name.into(), Ok(value)));
        self
    }

    /// Sets a variable whose value may be an error.
    #[must_use]
    pub fn with_result(mut self, name: impl Into<Cow<'static, str>>, value: EvalResult<'a>) -> Self {
        self.variables.push((name.into(), value));
        self
    }

    pub(crate) fn get(&self, name: &str) -> EvalResult<'a> {
        match self.variables.iter().rev().find(|(known, _)| *known == name) {
            Some((_, value)) => value.clone(),
            None => Err(EvalError::Failed(format!("no such attribute(s): {name}"))),
        }
    }
}

/// An expression, ready to be evaluated any number of times, by many threads at once.
#[derive(Debug)]
pub struct Program {
    root: Node,
    output: Type,
    variables: BTreeSet<String>,
    /// Too deep for the stack of an ordinary thread.
    deep: bool,
    pub(crate) cost: CostEstimate,
}

/// A value or the lack of one, and what it cost to get there.
#[derive(Debug)]
pub struct Evaluated<'a> {
    pub result: EvalResult<'a>,
    pub cost: u64,
}

impl Program {
    pub(crate) fn new(plan: Plan, output: Type, cost: CostEstimate) -> Self {
        Self { deep: deep::plan(&plan.root), root: plan.root, variables: plan.variables, output, cost }
    }

    /// The type of the value.
    #[must_use]
    pub fn output(&self) -> &Type {
        &self.output
    }

    /// Whether the expression mentions a variable.
    #[must_use]
    pub fn uses(&self, variable: &str) -> bool {
        self.variables.contains(variable)
    }

    /// Evaluates within [`PER_CALL_LIMIT`].
    #[must_use]
    pub fn evaluate<'a>(&self, variables: &Activation<'a>) -> Evaluated<'a> {
        self.evaluate_within(variables, PER_CALL_LIMIT)
    }

    #[must_use]
    pub fn evaluate_within<'a>(&self, variables: &Activation<'a>, limit: u64) -> Evaluated<'a> {
        deep::run(self.deep, || {
            let mut evaluator = Evaluator::new(variables, limit);
            let result = evaluator.node(&self.root);
            Evaluated { result, cost: evaluator.cost() }
        })
    }
}
