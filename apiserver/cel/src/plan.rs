//! From the checked tree to what is evaluated: names become slots, constants are folded, patterns compiled.
//!
//! Which parts are folded follows cel-go (`interpreter/decorators.go`), since what is folded costs nothing at run time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use regex::Regex;

use crate::{
    ast::{ACCUMULATOR, Comprehension, Expr, Kind, Literal},
    checker::Checked,
    decl::{self, Call, Overload},
    env::Env,
    library,
    operators::is_conversion,
    types::Type,
    value::{Map, Str, Value},
};

#[derive(Debug)]
pub(crate) struct Plan {
    pub root: Node,
    pub variables: BTreeSet<String>,
}

#[derive(Debug)]
pub(crate) enum Node {
    Const(Value<'static>),
    Attr(Box<Attr>),
    And(Box<[Node; 2]>),
    Or(Box<[Node; 2]>),
    NotStrictlyFalse(Box<Node>),
    Call(Box<CallNode>),
    /// `x in [constants]`.
    InConst(Box<Node>, Value<'static>),
    /// `a.or(b)`, `a.orValue(b)`.
    OptionalOr(Box<[Node; 2]>, bool),
    List(Vec<(Node, bool)>),
    Map(Vec<(Node, Node, bool)>),
    Object(Arc<str>, Vec<(Arc<str>, Node, bool)>),
    Fold(Box<Fold>),
}

/// A variable or value and the path into it: what cel-go calls an attribute. Conditionals are attributes too.
#[derive(Debug)]
pub(crate) struct Attr {
    pub root: Root,
    pub path: Vec<Step>,
    /// The last step asks for presence only.
    pub test: bool,
}

#[derive(Debug)]
pub(crate) enum Root {
    Local(usize),
    Variable(Arc<str>),
    Value(Node),
    Conditional(Box<[Node; 3]>),
}

#[derive(Debug)]
pub(crate) struct Step {
    pub key: StepKey,
    pub optional: bool,
}

#[derive(Debug)]
pub(crate) enum StepKey {
    Const(Value<'static>),
    Node(Node),
}

pub(crate) struct CallNode {
    pub function: &'static str,
    pub overloads: Vec<&'static Overload>,
    pub args: Vec<Node>,
    pub regex: Option<Regex>,
    /// The first argument is the accumulator of the fold this is the step of.
    pub accumulates: Option<usize>,
}

impl std::fmt::Debug for CallNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{:?}", self.function, self.args)
    }
}

#[derive(Debug)]
pub(crate) struct Fold {
    pub range: Node,
    pub init: Node,
    pub condition: Node,
    pub step: Node,
    pub result: Node,
    pub two: bool,
}

struct Planner<'c> {
    checked: &'c Checked,
    env: &'c Env,
    /// Names of the slots, innermost last.
    slots: Vec<Arc<str>>,
    variables: BTreeSet<String>,
    /// Whether constant parts are evaluated now (cel-go's `OptOptimize`).
    fold: bool,
}

pub(crate) fn plan(checked: &Checked, env: &Env, fold: bool) -> Result<Plan, String> {
    let mut planner = Planner { checked, env, slots: Vec::new(), variables: BTreeSet::new(), fold };
    let root = planner.node(&checked.root)?;
    Ok(Plan { root, variables: planner.variables })
}

impl Planner<'_> {
    fn node(&mut self, expr: &Expr) -> Result<Node, String> {
        match &expr.kind {
            Kind::Literal(literal) => Ok(Node::Const(constant(literal))),
            Kind::Ident(name) => Ok(self.ident(name)),
            Kind::Select { operand, field, test } => {
                let operand = self.node(operand)?;
                let key = Value::String(Str::Owned(field.clone()));
                let mut attr = attribute(operand);
                attr.path.push(Step { key: StepKey::Const(key), optional: false });
                attr.test = *test;
                Ok(Node::Attr(Box::new(attr)))
            }
            Kind::Call { function, target, args } => self.call(expr, function, target.as_deref(), args),
            Kind::List(elements) => {
                let mut nodes = Vec::with_capacity(elements.len());
                for element in elements {
                    nodes.push((self.node(&element.value)?, element.optional));
                }
                let constants: Option<Vec<Value<'static>>> =
                    nodes.iter().map(|(node, optional)| node.constant().filter(|_| !optional).cloned()).collect();
                Ok(constants.filter(|_| self.fold).map_or(Node::List(nodes), |values| Node::Const(Value::list(values))))
            }
            Kind::Map(entries) => {
                let mut nodes = Vec::with_capacity(entries.len());
                for entry in entries {
                    nodes.push((self.node(&entry.key)?, self.node(&entry.value)?, entry.optional));
                }
                let constants: Option<BTreeMap<_, _>> = nodes
                    .iter()
                    .map(|(key, value, optional)| {
                        Some((key.constant()?.key()?, value.constant().filter(|_| !optional)?.clone()))
                    })
                    .collect();
                Ok(match constants {
                    Some(entries) if self.fold && entries.len() == nodes.len() => {
                        Node::Const(Value::Map(Map::Owned(Arc::new(entries))))
                    }
                    _ => Node::Map(nodes),
                })
            }
            Kind::Struct { name, fields } => {
                let mut nodes = Vec::with_capacity(fields.len());
                for field in fields {
                    nodes.push((field.name.clone(), self.node(&field.value)?, field.optional));
                }
                Ok(Node::Object(name.clone(), nodes))
            }
            Kind::Comprehension(fold) => self.fold(fold),
        }
    }

    fn ident(&mut self, name: &Arc<str>) -> Node {
        let root = match self.slots.iter().rposition(|slot| slot == name) {
            Some(slot) => Root::Local(slot),
            None => {
                if !self.env.is_variable(name)
                    && let Some(Type::Type(Some(ty))) = self.env.identifier(name)
                {
                    return Node::Attr(Box::new(Attr {
                        root: Root::Value(Node::Const(Value::Type((*ty).clone()))),
                        path: Vec::new(),
                        test: false,
                    }));
                }
                self.variables.insert(name.to_string());
                Root::Variable(name.clone())
            }
        };
        Node::Attr(Box::new(Attr { root, path: Vec::new(), test: false }))
    }

    fn call(&mut self, expr: &Expr, function: &str, target: Option<&Expr>, args: &[Expr]) -> Result<Node, String> {
        let mut nodes = Vec::with_capacity(args.len() + 1);
        for arg in target.into_iter().chain(args) {
            nodes.push(self.node(arg)?);
        }
        let pair =
            |nodes: Vec<Node>| <[Node; 2]>::try_from(nodes).map(Box::new).map_err(|_| "no such overload".to_owned());
        match function {
            "_&&_" => return Ok(Node::And(pair(nodes)?)),
            "_||_" => return Ok(Node::Or(pair(nodes)?)),
            "_?:_" | "_?_:_" => {
                let branches = <[Node; 3]>::try_from(nodes).map_err(|_| "no such overload".to_owned())?;
                let root = Root::Conditional(Box::new(branches));
                return Ok(Node::Attr(Box::new(Attr { root, path: Vec::new(), test: false })));
            }
            "_[_]" | "_[?_]" | "_?._" => {
                let [operand, index] = *pair(nodes)?;
                let key = match index {
                    Node::Const(value) => StepKey::Const(value),
                    other => StepKey::Node(other),
                };
                let mut attr = attribute(operand);
                attr.path.push(Step { key, optional: function != "_[_]" });
                return Ok(Node::Attr(Box::new(attr)));
            }
            _ => {}
        }
        let overloads = self.checked.overloads.get(&expr.id).cloned().unwrap_or_default();
        let name = match self.env.function(function) {
            Some(function) => function.name,
            None => return Err(format!("no such overload: {function}")),
        };
        let only = if let [one] = overloads[..] { one.id } else { "" };
        match (name, only) {
            ("@not_strictly_false", _) => {
                let node = nodes.pop().ok_or_else(|| "no such overload".to_owned())?;
                return Ok(Node::NotStrictlyFalse(Box::new(node)));
            }
            ("or", "optional_or_optional" | "") => return Ok(Node::OptionalOr(pair(nodes)?, false)),
            ("orValue", "optional_orValue_value" | "") => return Ok(Node::OptionalOr(pair(nodes)?, true)),
            (_, "in_list") if self.fold => {
                if let Some(Value::List(list)) = nodes[1].constant()
                    && list.iter().flatten().all(|value| is_set_member(&value))
                {
                    if list.is_empty() {
                        return Ok(Node::Const(Value::Bool(false)));
                    }
                    let list = Value::List(list.clone());
                    return Ok(Node::InConst(Box::new(nodes.swap_remove(0)), list));
                }
            }
            _ => {}
        }
        if self.fold
            && is_conversion(name)
            && let [Node::Const(value)] = &nodes[..]
        {
            let mut args = [value.clone()];
            let folded = match overloads.iter().find(|overload| overload.accepts(&args)) {
                Some(overload) => (overload.run)(&Call { regex: None }, &mut args),
                None => decl::no_overload(name, &args),
            };
            return folded.map(Node::Const).map_err(|error| error.to_string());
        }
        let mut regex = None;
        if matches!(name, "matches" | "find" | "findAll")
            && let Some(Value::String(pattern)) = nodes.get(1).and_then(Node::constant)
        {
            regex = Some(library::compile_regex(pattern)?);
        }
        let accumulates = match args.first().map(|arg| &arg.kind) {
            Some(Kind::Ident(name)) if &**name == ACCUMULATOR => self.slots.iter().rposition(|slot| slot == name),
            _ => None,
        };
        Ok(Node::Call(Box::new(CallNode { function: name, overloads, args: nodes, regex, accumulates })))
    }

    fn fold(&mut self, fold: &Comprehension) -> Result<Node, String> {
        let range = self.node(&fold.range)?;
        let init = self.node(&fold.init)?;
        let depth = self.slots.len();
        self.slots.push(fold.accu.clone());
        self.slots.push(fold.iter.clone());
        self.slots.extend(fold.iter2.clone());
        let condition = self.node(&fold.condition)?;
        let step = self.node(&fold.step)?;
        self.slots.truncate(depth + 1);
        let result = self.node(&fold.result)?;
        self.slots.truncate(depth);
        Ok(Node::Fold(Box::new(Fold { range, init, condition, step, result, two: fold.iter2.is_some() })))
    }
}

impl Node {
    pub(crate) fn constant(&self) -> Option<&Value<'static>> {
        match self {
            Self::Const(value) => Some(value),
            _ => None,
        }
    }
}

/// A node as the beginning of a path.
fn attribute(node: Node) -> Attr {
    match node {
        Node::Attr(attr) if !attr.test => *attr,
        other => Attr { root: Root::Value(other), path: Vec::new(), test: false },
    }
}

fn is_set_member(value: &Value<'_>) -> bool {
    matches!(value, Value::Null | Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Double(_) | Value::String(_))
}

fn constant(literal: &Literal) -> Value<'static> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(value) => Value::Bool(*value),
        Literal::Int(value) => Value::Int(*value),
        Literal::Uint(value) => Value::Uint(*value),
        Literal::Double(value) => Value::Double(*value),
        Literal::String(text) => Value::String(Str::Owned(text.clone())),
        Literal::Bytes(bytes) => Value::Bytes(bytes.clone()),
    }
}
