//! The static cost of an expression, from the sizes its schema allows (cel-go `checker/cost.go`, `library/cost.go`
//! `EstimateCallCost`). Which rules a CustomResourceDefinition may hold depends on it, so it follows upstream to the unit.

mod call;

use std::{collections::HashMap, sync::Arc};

use crate::{
    ast::{ACCUMULATOR, Comprehension, Element, Entry, Expr, Id, Kind, Literal},
    checker::Checked,
    env::Env,
    price::LIST,
    schema::Decl,
    types::Type,
};

/// The least and the most an evaluation costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CostEstimate {
    pub min: u64,
    pub max: u64,
}

/// The least and the most elements, characters or bytes of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SizeEstimate {
    pub min: u64,
    pub max: u64,
}

fn scaled(value: u64, factor: f64) -> u64 {
    let product = (value as f64 * factor).ceil();
    if product >= u64::MAX as f64 { u64::MAX } else { product as u64 }
}

impl CostEstimate {
    pub(crate) const fn fixed(cost: u64) -> Self {
        Self { min: cost, max: cost }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    pub(crate) fn times(self, other: Self) -> Self {
        Self { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    pub(crate) fn scaled(self, factor: f64) -> Self {
        Self { min: scaled(self.min, factor), max: scaled(self.max, factor) }
    }

    pub(crate) fn union(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

impl SizeEstimate {
    pub(crate) const UNKNOWN: Self = Self { min: 0, max: u64::MAX };

    pub(crate) const fn fixed(size: u64) -> Self {
        Self { min: size, max: size }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    pub(crate) fn times(self, other: Self) -> Self {
        Self { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    pub(crate) fn cost(self, factor: f64) -> CostEstimate {
        CostEstimate { min: scaled(self.min, factor), max: scaled(self.max, factor) }
    }

    pub(crate) fn times_cost(self, cost: CostEstimate) -> CostEstimate {
        CostEstimate { min: self.min.saturating_mul(cost.min), max: self.max.saturating_mul(cost.max) }
    }

    pub(crate) fn union(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

/// Sizes of the keys and values of a container made by the expression.
#[derive(Clone, Copy, Debug)]
struct EntrySize {
    list: bool,
    key: SizeEstimate,
    value: SizeEstimate,
}

impl EntrySize {
    fn union(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        let (one, other) = (one?, other?);
        Some(Self { list: one.list, key: one.key.union(other.key), value: one.value.union(other.value) })
    }
}

type Path = Option<Vec<Arc<str>>>;

#[derive(Clone, Debug)]
struct Local {
    path: Path,
    size: Option<SizeEstimate>,
    entries: Option<EntrySize>,
}

/// What the estimate of a call looks at.
struct Operand<'x> {
    path: Path,
    ty: Type,
    expr: Option<&'x Expr>,
    size: Option<SizeEstimate>,
}

struct Coster<'c> {
    checked: &'c Checked,
    root: Option<&'c Arc<Decl>>,
    paths: HashMap<Id, Path>,
    locals: HashMap<Arc<str>, Vec<Local>>,
    sizes: HashMap<Id, SizeEstimate>,
    entries: HashMap<Id, EntrySize>,
}

pub(crate) fn estimate(checked: &Checked, env: &Env) -> CostEstimate {
    let mut coster = Coster {
        checked,
        root: env.sized(),
        paths: HashMap::new(),
        locals: HashMap::new(),
        sizes: HashMap::new(),
        entries: HashMap::new(),
    };
    coster.cost(&checked.root)
}

/// A path one step longer; the path of what has none begins with the step.
fn step(path: Path, name: &str) -> Path {
    let mut path = path.unwrap_or_default();
    path.push(name.into());
    Some(path)
}

impl Coster<'_> {
    fn cost(&mut self, expr: &Expr) -> CostEstimate {
        match &expr.kind {
            Kind::Literal(_) => CostEstimate::fixed(0),
            Kind::Ident(name) => {
                let path = match self.local(name) {
                    Some(local) => local.path.clone(),
                    None => Some(vec![name.clone()]),
                };
                self.paths.insert(expr.id, path);
                CostEstimate::fixed(1)
            }
            Kind::Select { operand, field, test } => {
                let below = self.cost(operand);
                if *test {
                    return below;
                }
                let charged = matches!(self.checked.ty(operand), Type::Map(..) | Type::Object(_) | Type::Opaque(_));
                let path = step(self.path(operand), field);
                self.paths.insert(expr.id, path);
                below.plus(CostEstimate::fixed(u64::from(charged)))
            }
            Kind::Call { function, target, args } => self.call(expr, function, target.as_deref(), args),
            Kind::List(elements) => self.list(expr, elements),
            Kind::Map(entries) => self.map(expr, entries),
            Kind::Struct { fields, .. } => {
                let below = fields.iter().fold(CostEstimate::default(), |sum, field| sum.plus(self.cost(&field.value)));
                below.plus(CostEstimate::fixed(40))
            }
            Kind::Comprehension(fold) if is_bind(fold) => self.bind(expr, fold),
            Kind::Comprehension(fold) => self.fold(expr, fold),
        }
    }

    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.get(name).and_then(|stack| stack.last())
    }

    fn push(&mut self, name: &Arc<str>, local: Local) {
        self.locals.entry(name.clone()).or_default().push(local);
    }

    fn pop(&mut self, name: &str) {
        if let Some(stack) = self.locals.get_mut(name) {
            stack.pop();
        }
    }

    fn path(&self, expr: &Expr) -> Path {
        if let Kind::Ident(name) = &expr.kind
            && let Some(local) = self.local(name)
        {
            return local.path.clone();
        }
        self.paths.get(&expr.id).cloned().flatten()
    }

    /// What the schema says of a path; its first step is the variable, of which there is one.
    fn declared(&self, path: &Path) -> Option<SizeEstimate> {
        let (_, rest) = path.as_ref()?.split_first()?;
        let size = self.root?.at(rest)?;
        Some(SizeEstimate { min: 0, max: u64::try_from(size.0).unwrap_or(0) })
    }

    fn size(&mut self, expr: &Expr) -> Option<SizeEstimate> {
        if let Some(size) = self.sizes.get(&expr.id) {
            return Some(*size);
        }
        if let Some(size) = literal_size(expr) {
            return Some(size);
        }
        let path = self.path(expr);
        if let Some(size) = self.declared(&path) {
            self.sizes.insert(expr.id, size);
            return Some(size);
        }
        if is_scalar(self.checked.ty(expr)) {
            return Some(SizeEstimate::fixed(1));
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name).and_then(|local| local.size),
            _ => None,
        }
    }

    fn size_or_unknown(&mut self, expr: &Expr) -> SizeEstimate {
        self.size(expr).unwrap_or(SizeEstimate::UNKNOWN)
    }

    fn entry_size(&self, expr: &Expr) -> Option<EntrySize> {
        if let Some(size) = self.entries.get(&expr.id) {
            return Some(*size);
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name).and_then(|local| local.entries),
            _ => None,
        }
    }

    fn copy_sizes(&mut self, to: &Expr, from: &Expr) {
        if let Some(size) = self.size(from) {
            self.sizes.insert(to.id, size);
        }
        if let Some(entries) = self.entry_size(from) {
            self.entries.insert(to.id, entries);
        }
    }

    fn operand<'x>(&mut self, expr: &'x Expr) -> Operand<'x> {
        let path = self.path(expr).filter(|path| path.first().is_none_or(|first| !is_accumulator(first)));
        Operand { path, ty: self.checked.ty(expr).clone(), expr: Some(expr), size: self.size(expr) }
    }

    fn call(&mut self, expr: &Expr, function: &str, target: Option<&Expr>, args: &[Expr]) -> CostEstimate {
        if function == "dyn"
            && let [arg] = args
        {
            let cost = self.cost(arg);
            self.copy_sizes(expr, arg);
            return cost.plus(CostEstimate::fixed(1));
        }
        let mut costs = Vec::with_capacity(args.len());
        let mut operands = Vec::with_capacity(args.len());
        for arg in args {
            costs.push(self.cost(arg));
            operands.push(self.operand(arg));
        }
        // Optional selection is typed by the checker without an overload of its own.
        let overloads: Vec<&'static str> = match self.checked.overloads.get(&expr.id) {
            Some(overloads) => overloads.iter().map(|overload| overload.id).collect(),
            None if function == "_?._" => vec!["select_optional_field"],
            None => return CostEstimate::default(),
        };
        let mut sum = CostEstimate::default();
        let target = target.map(|target| {
            sum = self.cost(target);
            self.operand(target)
        });
        let mut own = CostEstimate { min: u64::MAX, max: 0 };
        let mut result: Option<SizeEstimate> = None;
        for overload in overloads {
            let of = self.function(expr, function, overload, target.as_ref(), &operands, &costs);
            own = own.union(of.cost);
            result = match (result, of.size) {
                (Some(before), Some(size)) => Some(before.union(size)),
                (before, size) => before.or(size),
            };
            if let ("index_list" | "index_map", Some(container)) = (overload, args.first()) {
                result = self.entry_size(container).map(|entries| entries.value);
                let path = step(self.path(container), if overload == "index_list" { "@items" } else { "@values" });
                self.paths.insert(expr.id, path);
            }
            if result.is_none() {
                result = self.size(expr);
            }
        }
        if let Some(size) = result {
            self.sizes.insert(expr.id, size);
        }
        sum.plus(own)
    }

    fn list(&mut self, expr: &Expr, elements: &[Element]) -> CostEstimate {
        let mut sum = CostEstimate::fixed(LIST);
        let mut value = SizeEstimate { min: if elements.is_empty() { 0 } else { u64::MAX }, max: 0 };
        for element in elements {
            sum = sum.plus(self.cost(&element.value));
            value = value.union(self.size_or_unknown(&element.value));
        }
        self.entries.insert(expr.id, EntrySize { list: true, key: SizeEstimate::fixed(1), value });
        sum
    }

    fn map(&mut self, expr: &Expr, entries: &[Entry]) -> CostEstimate {
        let mut sum = CostEstimate::fixed(30);
        let empty = SizeEstimate { min: if entries.is_empty() { 0 } else { u64::MAX }, max: 0 };
        let (mut key, mut value) = (empty, empty);
        for entry in entries {
            sum = sum.plus(self.cost(&entry.key));
            sum = sum.plus(self.cost(&entry.value));
            key = key.union(self.size_or_unknown(&entry.key));
            value = value.union(self.size_or_unknown(&entry.value));
        }
        self.entries.insert(expr.id, EntrySize { list: false, key, value });
        sum
    }

    fn bind(&mut self, expr: &Expr, fold: &Comprehension) -> CostEstimate {
        let mut sum = self.cost(&fold.range).plus(self.cost(&fold.init));
        self.push_value(&fold.accu, &fold.init);
        sum = sum.plus(self.cost(&fold.result));
        self.copy_sizes(expr, &fold.result);
        self.pop(&fold.accu);
        sum
    }

    fn push_value(&mut self, name: &Arc<str>, expr: &Expr) {
        let local = Local { path: self.path(expr), size: self.size(expr), entries: self.entry_size(expr) };
        self.push(name, local);
    }

    fn fold(&mut self, expr: &Expr, fold: &Comprehension) -> CostEstimate {
        let mut sum = self.cost(&fold.range).plus(self.cost(&fold.init));
        self.push_value(&fold.accu, &fold.init);
        let entries = self.entry_size(&fold.range);
        let path = self.path(&fold.range);
        let list =
            entries.map_or_else(|| matches!(self.checked.ty(&fold.range), Type::List(_)), |entries| entries.list);
        let (key, value) = (entries.map(|entries| entries.key), entries.map(|entries| entries.value));
        let mut local = |name: &Arc<str>, below: &str, size: Option<SizeEstimate>| {
            let local = Local { path: step(path.clone(), below), size, entries: None };
            self.push(name, local);
        };
        match &fold.iter2 {
            Some(iter2) => {
                local(&fold.iter, if list { "@indices" } else { "@keys" }, key);
                local(iter2, if list { "@items" } else { "@values" }, value);
            }
            None if list => local(&fold.iter, "@items", value),
            None => local(&fold.iter, "@keys", key),
        }
        let turn = self.cost(&fold.condition).plus(self.cost(&fold.step));
        self.pop(&fold.iter);
        if let Some(iter2) = &fold.iter2 {
            self.pop(iter2);
        }
        sum = sum.plus(self.cost(&fold.result));
        self.pop(&fold.accu);
        let count = self.size_or_unknown(&fold.range);
        sum = sum.plus(count.times_cost(turn));
        match &fold.init.kind {
            Kind::Literal(_) => {
                if let Some(size) = self.size(&fold.init) {
                    self.sizes.insert(expr.id, size);
                }
            }
            Kind::List(_) | Kind::Map(_) => {
                self.sizes.insert(expr.id, count);
                if let Some(entries) = self.entry_size(&fold.step) {
                    self.entries.insert(expr.id, entries);
                }
            }
            _ => {}
        }
        sum
    }
}

fn is_accumulator(name: &str) -> bool {
    name == ACCUMULATOR || name == "__result__"
}

fn is_bind(fold: &Comprehension) -> bool {
    matches!(&fold.range.kind, Kind::List(elements) if elements.is_empty())
        && matches!(fold.condition.kind, Kind::Literal(Literal::Bool(false)))
        && &*fold.accu != "__result__"
}

fn literal_size(expr: &Expr) -> Option<SizeEstimate> {
    let size = match &expr.kind {
        Kind::Literal(Literal::String(text)) => text.chars().count(),
        Kind::Literal(Literal::Bytes(bytes)) => bytes.len(),
        Kind::Literal(_) => 1,
        Kind::List(elements) => elements.len(),
        Kind::Map(entries) => entries.len(),
        _ => return None,
    };
    Some(SizeEstimate::fixed(size as u64))
}

fn is_scalar(ty: &Type) -> bool {
    match ty {
        Type::Bool | Type::Double | Type::Duration | Type::Int | Type::Timestamp | Type::Uint => true,
        Type::Optional(of) => is_scalar(of),
        _ => false,
    }
}
