//! Types of expressions, and which overloads their calls mean (cel-go `checker/checker.go`).

use std::{collections::HashMap, sync::Arc};

use crate::{
    ast::{Ast, Comprehension, Element, Entry, Expr, FieldInit, Id, Kind, Literal},
    decl::{self, Function, Overload},
    env::Env,
    source::{Issue, Source},
    types::Type,
    unify::{Bindings, most_general},
};

const MAX_ISSUES: usize = 100;

/// A checked expression.
pub(crate) struct Checked {
    pub root: Expr,
    pub types: Vec<Type>,
    /// The overloads of each call.
    pub overloads: HashMap<Id, Vec<&'static Overload>>,
}

impl Checked {
    pub(crate) fn ty(&self, expr: &Expr) -> &Type {
        self.types.get(expr.id as usize).unwrap_or(&Type::Dyn)
    }
}

struct Checker<'e> {
    env: &'e Env,
    source: &'e Source,
    ast: Ast,
    types: Vec<Option<Type>>,
    overloads: HashMap<Id, Vec<&'static Overload>>,
    bindings: Bindings,
    /// Variables of comprehensions, innermost last.
    scopes: Vec<(Arc<str>, Type)>,
    issues: Vec<Issue>,
    /// Within what `format` is called with, literals may be of several types.
    mixed: usize,
}

pub(crate) fn check(mut ast: Ast, source: &Source, env: &Env) -> Result<(Checked, Ast), Vec<Issue>> {
    let mut root = std::mem::replace(&mut ast.root, Expr { id: 0, kind: Kind::Literal(Literal::Null) });
    let nodes = ast.places.len();
    let mut checker = Checker {
        env,
        source,
        ast,
        types: vec![None; nodes],
        overloads: HashMap::new(),
        bindings: Bindings::default(),
        scopes: Vec::new(),
        issues: Vec::new(),
        mixed: 0,
    };
    checker.expr(&mut root);
    if !checker.issues.is_empty() {
        return Err(checker.issues);
    }
    let bindings = &checker.bindings;
    let types =
        checker.types.iter().map(|ty| ty.as_ref().map_or(Type::Dyn, |ty| bindings.substitute(ty, true))).collect();
    Ok((Checked { root, types, overloads: checker.overloads }, checker.ast))
}

impl Checker<'_> {
    fn issue(&mut self, id: Id, message: String) {
        if self.issues.len() < MAX_ISSUES {
            let issue = self.source.issue(self.ast.place(id), message);
            self.issues.push(issue);
        }
    }

    fn undeclared(&mut self, id: Id, name: &str) -> Type {
        self.issue(id, format!("undeclared reference to '{name}' (in container '')"));
        Type::Error
    }

    fn mismatch(&mut self, id: Id, expected: &Type, found: &Type) {
        self.issue(id, format!("expected type '{expected}' but found '{found}'"));
    }

    fn known(&self, expr: &Expr) -> Type {
        self.types.get(expr.id as usize).cloned().flatten().unwrap_or(Type::Error)
    }

    fn lookup(&self, name: &str) -> Option<Type> {
        let plain = name.strip_prefix('.').unwrap_or(name);
        let local = self.scopes.iter().rev().find(|(local, _)| **local == *plain && plain == name);
        local.map(|(_, ty)| ty.clone()).or_else(|| self.env.identifier(plain))
    }

    fn expr(&mut self, expr: &mut Expr) -> Type {
        let ty = self.of(expr);
        if let Some(slot) = self.types.get_mut(expr.id as usize) {
            *slot = Some(ty.clone());
        }
        ty
    }

    fn of(&mut self, expr: &mut Expr) -> Type {
        let id = expr.id;
        match &mut expr.kind {
            Kind::Literal(literal) => match literal {
                Literal::Null => Type::Null,
                Literal::Bool(_) => Type::Bool,
                Literal::Int(_) => Type::Int,
                Literal::Uint(_) => Type::Uint,
                Literal::Double(_) => Type::Double,
                Literal::String(_) => Type::String,
                Literal::Bytes(_) => Type::Bytes,
            },
            Kind::Ident(name) => match self.lookup(name) {
                Some(ty) => {
                    if let Some(plain) = name.strip_prefix('.') {
                        *name = plain.into();
                    }
                    ty
                }
                None => {
                    let name = name.clone();
                    self.undeclared(id, &name)
                }
            },
            Kind::Select { .. } => self.select(expr),
            Kind::Call { .. } => self.call(expr),
            Kind::List(elements) => self.list(elements),
            Kind::Map(entries) => self.map(entries),
            Kind::Struct { name, fields } => self.message(id, name, fields),
            Kind::Comprehension(fold) => self.fold(fold),
        }
    }

    fn select(&mut self, expr: &mut Expr) -> Type {
        if let Some(name) = expr.qualified_name()
            && let Some(ty) = self.lookup(&name)
        {
            let plain = name.strip_prefix('.').unwrap_or(&name);
            expr.kind = Kind::Ident(plain.into());
            return ty;
        }
        let id = expr.id;
        let Kind::Select { operand, field, test } = &mut expr.kind else { return Type::Error };
        let field = field.clone();
        let ty = self.field(id, operand, &field, false);
        if *test { Type::Bool } else { self.bindings.substitute(&ty, false) }
    }

    /// The type of `operand.field`; `optional`: of `operand.?field`.
    fn field(&mut self, id: Id, operand: &mut Expr, field: &str, optional: bool) -> Type {
        let ty = self.expr(operand);
        let ty = self.bindings.substitute(&ty, false);
        let (target, wrapped) = match &ty {
            Type::Optional(of) => ((**of).clone(), true),
            other => (other.clone(), false),
        };
        let found = match &target {
            Type::Map(_, value) => (**value).clone(),
            Type::Object(object) => match object.field(field) {
                Some(ty) => ty.clone(),
                None if self.env.open(&object.name) => self.env.open_field(&object.name, field),
                None => {
                    self.issue(id, format!("undefined field '{field}'"));
                    Type::Error
                }
            },
            Type::Param(_) => {
                self.bindings.assignable(&Type::Dyn, &target);
                Type::Dyn
            }
            Type::Dyn | Type::Error => Type::Dyn,
            Type::Opaque(name) if name.starts_with("kubernetes.") => {
                self.issue(id, format!("unexpected failed resolution of '{name}'"));
                Type::Error
            }
            other => {
                self.issue(id, format!("type '{other}' does not support field selection"));
                Type::Dyn
            }
        };
        if wrapped || optional { Type::optional(found) } else { found }
    }

    fn call(&mut self, expr: &mut Expr) -> Type {
        let id = expr.id;
        let Kind::Call { function, target, args } = &mut expr.kind else { return Type::Error };
        if &**function == "_?._" {
            let [operand, name] = &mut args[..] else { return Type::Error };
            let Kind::Literal(Literal::String(field)) = &name.kind else { return Type::Error };
            let field = field.clone();
            if let Some(slot) = self.types.get_mut(name.id as usize) {
                *slot = Some(Type::String);
            }
            let ty = self.field(id, operand, &field, true);
            return self.bindings.substitute(&ty, false);
        }
        let mixed = usize::from(&**function == "format");
        self.mixed += mixed;
        for arg in args.iter_mut() {
            self.expr(arg);
        }
        self.mixed -= mixed;
        let Some(receiver) = target else {
            let name = function.strip_prefix('.').unwrap_or(function).to_owned();
            return match self.env.function(&name) {
                None => self.undeclared(id, &name),
                Some(found) => {
                    *function = name.into();
                    let types: Vec<Type> = args.iter().map(|arg| self.known(arg)).collect();
                    let ids: Vec<Id> = args.iter().map(|arg| arg.id).collect();
                    self.resolve(id, found, false, &types, &ids)
                }
            };
        };
        if let Some(prefix) = receiver.qualified_name() {
            let full = format!("{}.{function}", prefix.strip_prefix('.').unwrap_or(&prefix));
            if let Some(found) = self.env.function(&full) {
                *target = None;
                *function = full.into();
                let types: Vec<Type> = args.iter().map(|arg| self.known(arg)).collect();
                let ids: Vec<Id> = args.iter().map(|arg| arg.id).collect();
                return self.resolve(id, found, false, &types, &ids);
            }
        }
        let receiver_type = self.expr(receiver);
        let name = function.clone();
        match self.env.function(&name) {
            None => self.undeclared(id, &name),
            Some(found) => {
                let types: Vec<Type> =
                    std::iter::once(receiver_type).chain(args.iter().map(|arg| self.known(arg))).collect();
                self.resolve(id, found, true, &types, &[])
            }
        }
    }

    fn resolve(&mut self, id: Id, function: &'static Function, member: bool, args: &[Type], ids: &[Id]) -> Type {
        if matches!(function.name, "_&&_" | "_||_") {
            let mut wrong = false;
            for (arg, id) in args.iter().zip(ids) {
                if !self.bindings.assignable(arg, &Type::Bool) {
                    let arg = self.bindings.substitute(arg, true);
                    self.mismatch(*id, &Type::Bool, &arg);
                    wrong = true;
                }
            }
            self.overloads.insert(id, function.overloads.iter().collect());
            return if wrong { Type::Error } else { Type::Bool };
        }
        let mut result: Option<Type> = None;
        let mut matching = Vec::new();
        for overload in function.overloads.iter().filter(|overload| overload.member == member) {
            if overload.args.len() != args.len() {
                continue;
            }
            let mut fresh: Vec<(char, Type)> = Vec::new();
            let bindings = &mut self.bindings;
            let mut instance = |name: char| match fresh.iter().find(|(known, _)| *known == name) {
                Some((_, ty)) => ty.clone(),
                None => {
                    let ty = bindings.fresh();
                    fresh.push((name, ty.clone()));
                    ty
                }
            };
            let wanted: Vec<Type> = overload.args.iter().map(|ty| ty.instantiate(&mut instance)).collect();
            let given = overload.result.instantiate(&mut instance);
            if !self.bindings.assignable_all(args.iter().zip(&wanted)) {
                continue;
            }
            matching.push(overload);
            let given = self.bindings.substitute(&given, false);
            result = Some(match result {
                None => given,
                Some(before) if before == Type::Dyn || before == given => before,
                Some(_) => Type::Dyn,
            });
        }
        if let Some(result) = result {
            self.overloads.insert(id, matching);
            return result;
        }
        let shown: Vec<String> = args.iter().map(|arg| self.bindings.substitute(arg, true).to_string()).collect();
        let signature = match shown.split_first() {
            Some((receiver, rest)) if member => format!("{receiver}.({})", rest.join(", ")),
            _ => format!("({})", shown.join(", ")),
        };
        self.issue(id, format!("found no matching overload for '{}' applied to '{signature}'", function.name));
        Type::Error
    }

    /// The type of an element of a literal, unwrapped if the element is optional.
    fn unwrapped(&mut self, value: &Expr, ty: Type, optional: bool) -> Type {
        if !optional {
            return ty;
        }
        match self.bindings.substitute(&ty, false) {
            Type::Optional(of) => (*of).clone(),
            Type::Dyn => Type::Dyn,
            other => {
                self.mismatch(value.id, &Type::optional(other.clone()), &other);
                other
            }
        }
    }

    fn join(&mut self, id: Id, before: Option<Type>, now: Type) -> Type {
        let Some(before) = before else { return now };
        if self.bindings.assignable(&before, &now) {
            return most_general(&before, &now);
        }
        if self.mixed > 0 {
            return Type::Dyn;
        }
        let (shown_before, shown_now) = (self.bindings.substitute(&before, true), self.bindings.substitute(&now, true));
        self.mismatch(id, &shown_before, &shown_now);
        Type::Error
    }

    fn list(&mut self, elements: &mut [Element]) -> Type {
        let mut of = None;
        for element in elements {
            let ty = self.expr(&mut element.value);
            let ty = self.unwrapped(&element.value, ty, element.optional);
            of = Some(self.join(element.value.id, of, ty));
        }
        Type::list(of.unwrap_or_else(|| self.bindings.fresh()))
    }

    fn map(&mut self, entries: &mut [Entry]) -> Type {
        let (mut keys, mut values) = (None, None);
        for entry in entries {
            let key = self.expr(&mut entry.key);
            keys = Some(self.join(entry.key.id, keys, key));
            let value = self.expr(&mut entry.value);
            let value = self.unwrapped(&entry.value, value, entry.optional);
            values = Some(self.join(entry.value.id, values, value));
        }
        let key = keys.unwrap_or_else(|| self.bindings.fresh());
        let value = values.unwrap_or_else(|| self.bindings.fresh());
        Type::map(key, value)
    }

    fn message(&mut self, id: Id, name: &mut Arc<str>, fields: &mut [FieldInit]) -> Type {
        let plain: Arc<str> = name.strip_prefix('.').unwrap_or(name).into();
        let Some(ty) = self.env.object(&plain) else {
            let known = self.env.identifier(&plain);
            for field in fields {
                self.expr(&mut field.value);
            }
            return match known {
                None => self.undeclared(id, &plain),
                Some(Type::Type(of)) => {
                    let of = of.map_or_else(|| "type".to_owned(), |of| of.to_string());
                    self.issue(id, format!("'{of}' is not a message type"));
                    Type::Error
                }
                Some(other) => {
                    self.issue(id, format!("'{other}' is not a type"));
                    Type::Error
                }
            };
        };
        *name = plain;
        for field in fields {
            let value = self.expr(&mut field.value);
            let value = self.unwrapped(&field.value, value, field.optional);
            let declared = match &ty {
                Type::Object(object) => match object.fields.get(&*field.name) {
                    Some(declared) => declared.clone(),
                    None if self.env.open(&object.name) => self.env.open_field(&object.name, &field.name),
                    None => {
                        self.issue(field.id, format!("undefined field '{}'", field.name));
                        continue;
                    }
                },
                _ => Type::Dyn,
            };
            if !self.bindings.assignable(&declared, &value) {
                let value = self.bindings.substitute(&value, true);
                self.issue(
                    field.id,
                    format!("expected type of field '{}' is '{declared}' but provided type is '{value}'", field.name),
                );
            }
        }
        ty
    }

    fn fold(&mut self, fold: &mut Comprehension) -> Type {
        let range = self.expr(&mut fold.range);
        let accu = self.expr(&mut fold.init);
        let range = self.bindings.substitute(&range, false);
        let (first, second) = match &range {
            Type::List(of) if fold.iter2.is_some() => (Type::Int, (**of).clone()),
            Type::List(of) => ((**of).clone(), Type::Dyn),
            Type::Map(key, value) => ((**key).clone(), (**value).clone()),
            Type::Dyn | Type::Error | Type::Param(_) => {
                self.bindings.assignable(&Type::Dyn, &range);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                self.issue(
                    fold.range.id,
                    format!("expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"),
                );
                (Type::Error, Type::Error)
            }
        };
        let outer = self.scopes.len();
        self.scopes.push((fold.accu.clone(), accu.clone()));
        let inner = self.scopes.len();
        self.scopes.push((fold.iter.clone(), first));
        if let Some(iter2) = &fold.iter2 {
            self.scopes.push((iter2.clone(), second));
        }
        let condition = self.expr(&mut fold.condition);
        self.require(&fold.condition, &Type::Bool, &condition);
        let step = self.expr(&mut fold.step);
        self.require(&fold.step, &accu, &step);
        self.scopes.truncate(inner);
        let result = self.expr(&mut fold.result);
        self.scopes.truncate(outer);
        self.bindings.substitute(&result, false)
    }

    fn require(&mut self, expr: &Expr, wanted: &Type, found: &Type) {
        if !self.bindings.assignable(wanted, found) {
            let (wanted, found) = (self.bindings.substitute(wanted, true), self.bindings.substitute(found, true));
            self.mismatch(expr.id, &wanted, &found);
        }
    }
}

/// Functions every environment has.
pub(crate) fn standard(name: &str) -> Option<&'static Function> {
    decl::function(name)
}
