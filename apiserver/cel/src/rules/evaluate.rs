//! Rules applied to objects (`schema/cel/validation.go`).

use schema::field::{Error, ErrorList, Path};
use serde_json::Value as Json;

use super::{
    Level, Rule, Rules,
    correlate::{Correlated, counterpart},
};
use crate::{Activation, EvalError, EvalResult, RUNTIME_COST_BUDGET, Value, typed};

/// The longest message a `messageExpression` may give, in bytes.
const MAX_MESSAGE: usize = 5 * 1024;
const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// What the rules say of an object.
#[derive(Debug, Default)]
pub struct Outcome {
    pub errors: ErrorList,
    /// Failures of what was as invalid before.
    pub warnings: Vec<String>,
}

/// The budget is spent, or something failed after which upstream evaluates no more; the error is recorded.
struct Stop;

struct Evaluation {
    outcome: Outcome,
    budget: i64,
}

/// Whether failures may be tolerated: what a value was, and what the nearest value above that has an identity was.
#[derive(Clone, Copy, Default)]
struct Ratchet<'a> {
    current: Option<Correlated<'a>>,
    above: Option<Correlated<'a>>,
}

impl<'a> Ratchet<'a> {
    fn tolerates(self) -> bool {
        self.current.or(self.above).is_some_and(Correlated::unchanged)
    }

    fn key(self, name: &str) -> Self {
        match self.current {
            None => self,
            // Both versions are converted to the same type before they come here.
            Some(_) if self.above.is_none() && matches!(name, "apiVersion" | "kind") => Self::default(),
            Some(current) => Self { current: current.key(name), above: self.current },
        }
    }

    fn index(self, index: usize) -> Self {
        match self.current {
            None => self,
            Some(current) => Self { current: current.index(index), above: self.current },
        }
    }
}

impl Rules {
    /// Evaluates all rules on an object; on an update, `old` is what it replaces.
    #[must_use]
    pub fn validate(&self, new: &Json, old: Option<&Json>) -> Outcome {
        let current = old.map(|old| Correlated { schema: &self.root.schema, new, old: Some(old) });
        self.evaluate(&Path::default(), new, old, current)
    }

    /// The same of a value that stands at `path`; nothing is tolerated for having been so before.
    pub(super) fn validate_at(&self, path: &Path, new: &Json, old: Option<&Json>) -> Outcome {
        self.evaluate(path, new, old, None)
    }

    fn evaluate<'a>(
        &'a self,
        path: &Path,
        new: &'a Json,
        old: Option<&'a Json>,
        current: Option<Correlated<'a>>,
    ) -> Outcome {
        let mut evaluation = Evaluation { outcome: Outcome::default(), budget: RUNTIME_COST_BUDGET };
        // Stopping early is no failure of its own: what there is to say stands in the errors.
        let _ = evaluation.level(&self.root, path, new, old, Ratchet { current, above: None });
        evaluation.outcome
    }
}

impl Evaluation {
    fn level<'a>(
        &mut self,
        level: &'a Level,
        path: &Path,
        new: &'a Json,
        old: Option<&'a Json>,
        ratchet: Ratchet<'a>,
    ) -> Result<(), Stop> {
        if new.is_null() {
            return Ok(());
        }
        self.rules(level, path, new, old.filter(|old| !old.is_null()), ratchet)?;
        for branch in &level.all_of {
            self.level(branch, path, new, old, Ratchet { current: None, above: ratchet.above })?;
        }
        match new {
            Json::Array(items) => {
                let Some(below) = &level.elements else { return Ok(()) };
                for (index, item) in items.iter().enumerate() {
                    let old = old.and_then(|old| counterpart(&level.schema, old, item));
                    self.level(below, &path.index(index), item, old, ratchet.index(index))?;
                }
            }
            Json::Object(fields) => {
                for (name, value) in fields {
                    let old = old.and_then(|old| old.get(name));
                    if let Some(below) = level.properties.get(name) {
                        self.level(below, &path.child(name), value, old, ratchet.key(name))?;
                    } else if let Some(below) = &level.elements {
                        self.level(below, &path.key(name), value, old, ratchet.key(name))?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn fail<T>(&mut self, error: Error) -> Result<T, Stop> {
        self.outcome.errors.push(error);
        Err(Stop)
    }

    fn rules<'a>(
        &mut self,
        level: &'a Level,
        path: &Path,
        new: &'a Json,
        old: Option<&'a Json>,
        ratchet: Ratchet<'a>,
    ) -> Result<(), Stop> {
        if level.rules.is_empty() {
            return Ok(());
        }
        if self.budget <= 0 {
            return self.fail(Error::invalid(path, level.ty.as_str(), OUT_OF_BUDGET));
        }
        let own = typed(new, &level.schema);
        let before: Option<EvalResult<'a>> = old.map(|old| typed(old, &level.schema));
        let activation = Activation::new().with_result("self", own);
        let optional = activation.clone().with_result(
            "oldSelf",
            before.clone().transpose().map(|before| Value::Optional(before.map(std::sync::Arc::new))),
        );
        let plain = match before {
            Some(before) => activation.with_result("oldSelf", before),
            None => activation,
        };
        for rule in &level.rules {
            let is_optional = rule.optional_old_self == Some(true);
            // Transition rules are about values that were there before.
            if rule.uses_old_self() && old.is_none() && !is_optional {
                continue;
            }
            self.rule(level, rule, path, new, if is_optional { &optional } else { &plain }, ratchet)?;
        }
        Ok(())
    }

    fn rule(
        &mut self,
        level: &Level,
        rule: &Rule,
        path: &Path,
        new: &Json,
        activation: &Activation<'_>,
        ratchet: Ratchet<'_>,
    ) -> Result<(), Stop> {
        let invalid = |detail: String| Error::invalid(path, level.ty.as_str(), detail);
        let program = match &rule.program {
            None => return Ok(()),
            Some(Ok(program)) => program,
            Some(Err(error)) => {
                self.outcome.errors.push(invalid(format!("rule compile error: {error}")));
                return Ok(());
            }
        };
        let evaluated = program.evaluate(activation);
        let cost = i64::try_from(evaluated.cost).unwrap_or(i64::MAX);
        if cost > self.budget {
            return self.fail(invalid(OUT_OF_BUDGET.to_owned()));
        }
        self.budget -= cost;
        match evaluated.result {
            Ok(Value::Bool(true)) => return Ok(()),
            Ok(_) => {}
            Err(error @ EvalError::CostExceeded) => {
                let why = "no further validation rules will be run due to call cost exceeds limit for rule";
                return self.fail(invalid(format!("'{error}': {why}: {}", rule.shown())));
            }
            Err(error) => {
                let text = error.to_string();
                self.outcome.errors.push(invalid(if text.starts_with("no such overload") {
                    let why = "call arguments did not match a supported operator, function or macro signature for rule";
                    format!("'{text}': {why}: {}", rule.shown())
                } else {
                    format!("{text} evaluating rule: {}", rule.shown())
                }));
                return Ok(());
            }
        }
        let at = rule.field_path.as_ref().map_or_else(|| path.clone(), |below| path.child(below));
        let tolerated = !rule.uses_old_self() && ratchet.tolerates();
        let detail = match self.message(rule, activation) {
            Ok(Some(message)) => message,
            Ok(None) if rule.message.is_empty() => format!("failed rule: {}", rule.shown()),
            Ok(None) => rule.message.trim().to_owned(),
            Err(why) => {
                self.report(Error::invalid(&at, level.ty.as_str(), why), tolerated);
                return Err(Stop);
            }
        };
        let composite = matches!(level.ty.as_str(), "object" | "array");
        let error = match rule.reason.as_deref() {
            Some("FieldValueForbidden") => Error::forbidden(&at, detail),
            Some("FieldValueRequired") => Error::required(&at, detail),
            // Upstream's error of this kind has no room for a message.
            Some("FieldValueDuplicate") => Error::duplicate(&at, new.clone()).value_omitted_if(composite),
            _ => Error::invalid(&at, new.clone(), detail).value_omitted_if(composite),
        };
        self.report(error, tolerated);
        Ok(())
    }

    fn report(&mut self, error: Error, tolerated: bool) {
        if tolerated {
            self.outcome.warnings.push(error.to_string());
        } else {
            self.outcome.errors.push(error);
        }
    }

    /// What `messageExpression` gives; `None` if there is none, or it does not come to a usable line. An error ends evaluation.
    fn message(&mut self, rule: &Rule, activation: &Activation<'_>) -> Result<Option<String>, String> {
        let Some(Ok(program)) = &rule.message_program else { return Ok(None) };
        let evaluated = program.evaluate(activation);
        let cost = i64::try_from(evaluated.cost).unwrap_or(i64::MAX);
        if cost > self.budget {
            return Err(
                "messageExpression evaluation failed due to running out of cost budget, no further validation \
                        rules will be run"
                    .to_owned(),
            );
        }
        match evaluated.result {
            Err(EvalError::CostExceeded) => Err(format!(
                "no further validation rules will be run due to call cost exceeds limit for messageExpression: {:?}",
                rule.message_expression
            )),
            Ok(Value::String(text)) => {
                self.budget -= cost;
                let text = text.trim();
                let usable = !text.is_empty() && text.len() <= MAX_MESSAGE && !text.contains('\n');
                Ok(usable.then(|| text.to_owned()))
            }
            _ => {
                self.budget -= cost;
                Ok(None)
            }
        }
    }
}
