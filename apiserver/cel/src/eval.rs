//! Evaluation, and the counting of its cost (cel-go `interpreter/interpretable.go`, `interpreter/runtimecost.go`).

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    decl::{self, Call},
    operators::{missing, no_such, qualify},
    plan::{Attr, CallNode, Fold, Node, Root, StepKey},
    price,
    program::Activation,
    value::{EvalError, EvalResult, Map, ObjectValue, Value, failed, no_overload},
};

pub(crate) struct Evaluator<'v, 'a> {
    variables: &'v Activation<'a>,
    /// Accumulators and iteration variables, innermost last.
    locals: Vec<Value<'a>>,
    cost: u64,
    limit: u64,
}

impl<'v, 'a> Evaluator<'v, 'a> {
    pub(crate) fn new(variables: &'v Activation<'a>, limit: u64) -> Self {
        Self { variables, locals: Vec::new(), cost: 0, limit }
    }

    pub(crate) fn cost(&self) -> u64 {
        self.cost
    }

    fn spend(&mut self, cost: u64) -> Result<(), EvalError> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > self.limit { Err(EvalError::CostExceeded) } else { Ok(()) }
    }

    pub(crate) fn node(&mut self, node: &Node) -> EvalResult<'a> {
        match node {
            Node::Const(value) => Ok(value.clone()),
            Node::Attr(attr) => self.attr(attr),
            Node::And(terms) => self.logic(terms, false),
            Node::Or(terms) => self.logic(terms, true),
            Node::NotStrictlyFalse(term) => self.not_strictly_false(term),
            Node::Call(call) => self.call(call),
            Node::InConst(term, list) => self.in_const(term, list),
            Node::OptionalOr(terms, value) => self.optional_or(terms, *value),
            Node::List(elements) => self.list(elements),
            Node::Map(entries) => self.map(entries),
            Node::Object(name, fields) => self.object(name, fields),
            Node::Fold(fold) => self.fold(fold),
        }
    }

    fn attr(&mut self, attr: &Attr) -> EvalResult<'a> {
        let value = self.resolve(attr)?;
        // A presence test and a conditional cost nothing of their own.
        if !attr.test && !matches!(attr.root, Root::Conditional(_)) {
            self.spend(1)?;
        }
        Ok(value)
    }

    /// An attribute's value without the cost of looking it up: as a branch of a conditional, or as an index.
    fn uncharged(&mut self, node: &Node) -> EvalResult<'a> {
        match node {
            Node::Attr(attr) => self.resolve(attr),
            other => self.node(other),
        }
    }

    fn resolve(&mut self, attr: &Attr) -> EvalResult<'a> {
        let mut value = match &attr.root {
            Root::Local(slot) => self.locals.get(*slot).cloned().map_or_else(no_such, Ok)?,
            Root::Variable(name) => {
                // `variables.x` is one variable here, upstream's a variable and a field of it.
                if name.starts_with("variables.") {
                    self.spend(1)?;
                }
                self.variables.get(name)?
            }
            Root::Value(node) => self.node(node)?,
            Root::Conditional(branches) => match self.node(&branches[0])? {
                Value::Bool(true) => self.uncharged(&branches[1])?,
                Value::Bool(false) => self.uncharged(&branches[2])?,
                _ => return no_overload(),
            },
        };
        if attr.path.is_empty() {
            return Ok(value);
        }
        let mut optional = false;
        match value {
            Value::Optional(None) => {
                return Ok(if attr.test { Value::Bool(false) } else { Value::Optional(None) });
            }
            Value::Optional(Some(inner)) => {
                optional = true;
                value = (*inner).clone();
            }
            _ => {}
        }
        for (at, step) in attr.path.iter().enumerate() {
            optional |= step.optional;
            let test = attr.test && at + 1 == attr.path.len();
            let found = match &step.key {
                StepKey::Const(key) => {
                    let key: Value<'a> = key.clone();
                    qualify(&value, &key)?.ok_or_else(|| missing(&value, &key))
                }
                StepKey::Node(node) => {
                    let key = self.uncharged(node)?;
                    qualify(&value, &key)?.ok_or_else(|| missing(&value, &key))
                }
            };
            match found {
                Ok(found) => {
                    self.spend(1)?;
                    value = if test { Value::Bool(true) } else { found };
                }
                Err(_) if test => {
                    self.spend(1)?;
                    return Ok(Value::Bool(false));
                }
                Err(_) if optional => return Ok(Value::Optional(None)),
                Err(error) => {
                    self.spend(1)?;
                    return Err(error);
                }
            }
        }
        Ok(if optional && !attr.test { Value::some(value) } else { value })
    }

    /// `&&` (`decisive` false) and `||` (`decisive` true): either operand decides, and then an error of the other is nothing.
    fn logic(&mut self, terms: &[Node; 2], decisive: bool) -> EvalResult<'a> {
        let mut first_error = None;
        for term in terms {
            match self.node(term) {
                Ok(Value::Bool(value)) if value == decisive => return Ok(Value::Bool(decisive)),
                Ok(Value::Bool(_)) => {}
                Ok(_) => {
                    first_error.get_or_insert_with(|| EvalError::Failed("no such overload".to_owned()));
                }
                Err(EvalError::CostExceeded) => return Err(EvalError::CostExceeded),
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
        first_error.map_or(Ok(Value::Bool(!decisive)), Err)
    }

    /// The condition of quantifiers: anything but `false` goes on.
    fn not_strictly_false(&mut self, term: &Node) -> EvalResult<'a> {
        let value = match self.node(term) {
            Ok(Value::Bool(value)) => value,
            Err(EvalError::CostExceeded) => return Err(EvalError::CostExceeded),
            Ok(_) | Err(_) => true,
        };
        self.spend(1)?;
        Ok(Value::Bool(value))
    }

    fn call(&mut self, call: &CallNode) -> EvalResult<'a> {
        let mut args = Vec::with_capacity(call.args.len());
        if let Some(slot) = call.accumulates
            && matches!(call.function, "_+_" | "cel.@mapInsert")
        {
            // The accumulator is taken, so that adding to it does not copy it. The fold puts the result back.
            self.spend(1)?;
            args.push(Value::Null);
            for arg in &call.args[1..] {
                args.push(self.node(arg)?);
            }
            let Some(local) = self.locals.get_mut(slot) else { return no_such() };
            args[0] = match local {
                Value::List(_) | Value::Map(_) => std::mem::replace(local, Value::Null),
                other => other.clone(),
            };
        } else {
            for arg in &call.args {
                args.push(self.node(arg)?);
            }
        }
        self.apply(call, args)
    }

    fn apply(&mut self, call: &CallNode, mut args: Vec<Value<'a>>) -> EvalResult<'a> {
        let id = if let [one] = call.overloads[..] { one.id } else { "" };
        let price = price::of(call.function, id, &args);
        // What the arguments alone make too dear is not begun.
        if let price::Price::Fixed(cost) = price {
            self.spend(cost)?;
        }
        let run = match call.overloads[..] {
            [one] if decl::judges_itself(call.function) => one.run,
            _ => match call.overloads.iter().find(|overload| overload.accepts(&args)) {
                Some(overload) => overload.run,
                None => return decl::no_overload(call.function, &args),
            },
        };
        let result = run(&Call { regex: call.regex.as_ref() }, &mut args)?;
        if let price::Price::ByResult(factor, base) = price {
            self.spend((result.size_or_one() as f64 * factor).ceil() as u64 + base)?;
        }
        Ok(result)
    }

    fn in_const(&mut self, term: &Node, list: &Value<'static>) -> EvalResult<'a> {
        let value = self.node(term)?;
        match list {
            Value::List(list) => list.contains(&value).map(Value::Bool),
            _ => no_overload(),
        }
    }

    fn optional_or(&mut self, terms: &[Node; 2], unwrap: bool) -> EvalResult<'a> {
        match self.node(&terms[0])? {
            Value::Optional(None) => self.node(&terms[1]),
            Value::Optional(Some(value)) if unwrap => Ok((*value).clone()),
            some @ Value::Optional(_) => Ok(some),
            _ => no_overload(),
        }
    }

    /// The value of an optional element; `None` leaves it out.
    fn present(value: Value<'a>, optional: bool, key: &dyn std::fmt::Display) -> Result<Option<Value<'a>>, EvalError> {
        match value {
            value if !optional => Ok(Some(value)),
            Value::Optional(inner) => Ok(inner.map(|inner| (*inner).clone())),
            other => failed(format!("cannot initialize optional entry '{key}' from non-optional value {other}")),
        }
    }

    fn list(&mut self, elements: &[(Node, bool)]) -> EvalResult<'a> {
        let mut values = Vec::with_capacity(elements.len());
        for (element, optional) in elements {
            let value = self.node(element)?;
            values.extend(Self::present(value, *optional, &"")?);
        }
        self.spend(10)?;
        Ok(Value::list(values))
    }

    fn map(&mut self, entries: &[(Node, Node, bool)]) -> EvalResult<'a> {
        let mut map = BTreeMap::new();
        for (key, value, optional) in entries {
            let key = self.node(key)?;
            let value = self.node(value)?;
            let Some(name) = key.key().filter(|_| !matches!(key, Value::Double(_))) else {
                return failed(format!("unsupported key type: {}", key.type_of().runtime_name()));
            };
            // Of entries with the same key the last one counts.
            if let Some(value) = Self::present(value, *optional, &key)? {
                map.insert(name, value);
            }
        }
        self.spend(30)?;
        Ok(Value::Map(Map::Owned(Arc::new(map))))
    }

    fn object(&mut self, name: &Arc<str>, fields: &[(Arc<str>, Node, bool)]) -> EvalResult<'a> {
        let mut values = BTreeMap::new();
        for (field, value, optional) in fields {
            let value = self.node(value)?;
            if let Some(value) = Self::present(value, *optional, field)? {
                values.insert(field.clone(), value);
            }
        }
        self.spend(40)?;
        Ok(Value::Object(Arc::new(ObjectValue { name: name.clone(), fields: values })))
    }

    fn fold(&mut self, fold: &Fold) -> EvalResult<'a> {
        let range = self.node(&fold.range)?;
        let init = self.node(&fold.init)?;
        let slot = self.locals.len();
        self.locals.push(init);
        let result = self.fold_over(fold, &range, slot);
        self.locals.truncate(slot);
        result
    }

    fn fold_over(&mut self, fold: &Fold, range: &Value<'a>, slot: usize) -> EvalResult<'a> {
        // An error of a step stays in the accumulator: a later step may absorb it.
        let mut pending: Option<EvalError> = None;
        match range {
            Value::List(list) => {
                for index in 0..list.len() {
                    let Some(value) = list.get(index) else { break };
                    let value = value?;
                    let vars = if fold.two {
                        vec![Value::Int(i64::try_from(index).unwrap_or(i64::MAX)), value]
                    } else {
                        vec![value]
                    };
                    if !self.turn(fold, vars, slot, &mut pending)? {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                for key in map.keys() {
                    let mut vars = vec![key];
                    if fold.two {
                        let value = map.get(&vars[0])?.unwrap_or(Value::Null);
                        vars.push(value);
                    }
                    if !self.turn(fold, vars, slot, &mut pending)? {
                        break;
                    }
                }
            }
            other => {
                return failed(format!("got '{}', expected iterable type", go_type(other)));
            }
        }
        match pending {
            Some(error) => Err(error),
            None => self.node(&fold.result),
        }
    }

    /// One turn of a loop; whether it goes on.
    fn turn(
        &mut self,
        fold: &Fold,
        vars: Vec<Value<'a>>,
        slot: usize,
        pending: &mut Option<EvalError>,
    ) -> Result<bool, EvalError> {
        self.locals.extend(vars);
        let goes_on = match pending {
            // The condition of a quantifier holds for an error too; the others' is constant.
            Some(_) => {
                self.spend(2)?;
                true
            }
            None => match self.node(&fold.condition) {
                Ok(Value::Bool(false)) => false,
                Err(EvalError::CostExceeded) => return Err(EvalError::CostExceeded),
                _ => true,
            },
        };
        if goes_on {
            match self.step(fold, pending) {
                Ok(value) => {
                    self.locals[slot] = value;
                    *pending = None;
                }
                Err(EvalError::CostExceeded) => return Err(EvalError::CostExceeded),
                Err(error) => *pending = Some(error),
            }
        }
        self.locals.truncate(slot + 1);
        Ok(goes_on)
    }

    fn step(&mut self, fold: &Fold, pending: &Option<EvalError>) -> EvalResult<'a> {
        let Some(error) = pending else { return self.node(&fold.step) };
        // Only `&&` and `||` look past an erroneous accumulator.
        match &fold.step {
            Node::And(terms) | Node::Or(terms) => {
                let decisive = matches!(fold.step, Node::Or(_));
                match self.node(&terms[1]) {
                    Ok(Value::Bool(value)) if value == decisive => Ok(Value::Bool(value)),
                    Err(EvalError::CostExceeded) => Err(EvalError::CostExceeded),
                    _ => Err(error.clone()),
                }
            }
            _ => Err(error.clone()),
        }
    }
}

/// What Go calls the type of a value that cannot be iterated over.
fn go_type(value: &Value<'_>) -> String {
    match value {
        Value::Null => "types.Null".to_owned(),
        Value::Bool(_) => "types.Bool".to_owned(),
        Value::Int(_) => "types.Int".to_owned(),
        Value::Uint(_) => "types.Uint".to_owned(),
        Value::Double(_) => "types.Double".to_owned(),
        Value::String(_) => "types.String".to_owned(),
        Value::Bytes(_) => "types.Bytes".to_owned(),
        Value::Duration(_) => "types.Duration".to_owned(),
        Value::Timestamp(_) => "types.Timestamp".to_owned(),
        other => other.type_of().runtime_name().to_owned(),
    }
}
