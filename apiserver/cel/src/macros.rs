//! Macros: `has`, the comprehensions of one and two variables, `optMap`, `optFlatMap` and `cel.bind` (cel-go `parser/macro.go`,
//! `ext/comprehensions.go`, `cel/library.go`).

use std::sync::Arc;

use crate::{
    ast::{ACCUMULATOR, Comprehension, Element, Expr, Id, Kind, Literal},
    parser::Parser,
};

/// The expansion; `Ok(None)` if this is a plain call. An error names the node it is about, or the call itself.
pub(crate) type Expansion = Result<Option<Expr>, (Option<Id>, String)>;

/// Expands the call `function(args)` or `target.function(args)` whose node is `id`. Takes what it needs out of `target` and
/// `args` only if it does expand.
pub(crate) fn expand(
    parser: &mut Parser<'_>,
    id: Id,
    function: &str,
    target: &mut Option<Expr>,
    args: &mut Vec<Expr>,
) -> Expansion {
    let bindings = parser.bindings;
    let make = &mut Maker { parser, call: id };
    if target.is_none() {
        return if function == "has" && args.len() == 1 { has(make, args) } else { Ok(None) };
    }
    let quantifier = |name| match name {
        "all" => Some(Quantifier::All),
        "exists" => Some(Quantifier::Exists),
        "exists_one" | "existsOne" => Some(Quantifier::ExistsOne),
        _ => None,
    };
    match (function, args.len()) {
        // Only the macro of two variables has the name in camel case.
        (name, 2) if name != "existsOne" && quantifier(name).is_some() => {
            let iter = [simple(&args[0], "argument must be a simple name")?];
            overwrites(&args[0], &iter[0])?;
            let predicate = args.remove(1);
            quantify(make, quantifier(name), target, &iter, predicate)
        }
        (name, 3) if quantifier(name).is_some() => {
            let iter = two_names(args)?;
            let predicate = args.remove(2);
            quantify(make, quantifier(name), target, &iter, predicate)
        }
        ("map", 2 | 3) | ("filter", 2) => {
            let iter = simple(&args[0], "argument is not an identifier")?;
            overwrites(&args[0], &iter)?;
            let transform =
                if function == "filter" { args.remove(0) } else { args.pop().ok_or((None, String::new()))? };
            let filter = if function == "filter" || args.len() == 2 { args.pop() } else { None };
            let added = make.list(vec![transform]);
            let accu = make.accu();
            let step = make.call("_+_", vec![accu, added]);
            let init = make.list(Vec::new());
            Ok(Some(make.fold_filtered(target, &[iter], init, step, filter)))
        }
        ("transformList", 3 | 4) => {
            let iter = two_names(args)?;
            let transform = args.pop().ok_or((None, String::new()))?;
            let filter = if args.len() == 3 { args.pop() } else { None };
            let added = make.list(vec![transform]);
            let accu = make.accu();
            let step = make.call("_+_", vec![accu, added]);
            let init = make.list(Vec::new());
            Ok(Some(make.fold_filtered(target, &iter, init, step, filter)))
        }
        ("transformMap" | "transformMapEntry", 3 | 4) => {
            let iter = two_names(args)?;
            let transform = args.pop().ok_or((None, String::new()))?;
            let filter = if args.len() == 3 { args.pop() } else { None };
            let mut inserted = vec![make.accu()];
            if function == "transformMap" {
                inserted.push(make.ident(&iter[0]));
            }
            inserted.push(transform);
            let step = make.call("cel.@mapInsert", inserted);
            let init = make.expr(Kind::Map(Vec::new()));
            Ok(Some(make.fold_filtered(target, &iter, init, step, filter)))
        }
        ("bind", 3) if bindings && matches!(target, Some(Expr { kind: Kind::Ident(name), .. }) if **name == *"cel") => {
            let name = simple(&args[0], "cel.bind() variable names must be simple identifiers")?;
            let result = args.remove(2);
            Ok(Some(make.bound(name, args.remove(1), result)))
        }
        ("sortBy", 2) => sort_by(make, target, args),
        ("optMap" | "optFlatMap", 2) => optional_map(make, function, target, args),
        _ => Ok(None),
    }
}

#[derive(Clone, Copy)]
enum Quantifier {
    All,
    Exists,
    ExistsOne,
}

fn has(make: &mut Maker<'_, '_>, args: &mut Vec<Expr>) -> Expansion {
    let id = args[0].id;
    match args.remove(0).kind {
        Kind::Select { operand, field, test: false } => {
            Ok(Some(make.expr(Kind::Select { operand, field, test: true })))
        }
        _ => Err((Some(id), "invalid argument to has() macro".to_owned())),
    }
}

fn quantify(
    make: &mut Maker<'_, '_>,
    kind: Option<Quantifier>,
    target: &mut Option<Expr>,
    iter: &[Arc<str>],
    predicate: Expr,
) -> Expansion {
    let accu = make.accu();
    let (init, condition, step, result);
    match kind.unwrap_or(Quantifier::All) {
        Quantifier::All => {
            init = make.literal(Literal::Bool(true));
            condition = make.call("@not_strictly_false", vec![accu]);
            let accu = make.accu();
            step = make.call("_&&_", vec![accu, predicate]);
            result = make.accu();
        }
        Quantifier::Exists => {
            init = make.literal(Literal::Bool(false));
            let not = make.call("!_", vec![accu]);
            condition = make.call("@not_strictly_false", vec![not]);
            let accu = make.accu();
            step = make.call("_||_", vec![accu, predicate]);
            result = make.accu();
        }
        Quantifier::ExistsOne => {
            init = make.literal(Literal::Int(0));
            condition = make.literal(Literal::Bool(true));
            let one = make.literal(Literal::Int(1));
            let more = make.call("_+_", vec![accu, one]);
            let same = make.accu();
            step = make.call("_?_:_", vec![predicate, more, same]);
            let (accu, one) = (make.accu(), make.literal(Literal::Int(1)));
            result = make.call("_==_", vec![accu, one]);
        }
    }
    Ok(Some(make.fold(target, iter, init, condition, step, result)))
}

/// `target.hasValue() ? optional.of(bind(name, target.value(), mapped)) : optional.none()`, without the wrapping for `optFlatMap`.
fn optional_map(
    make: &mut Maker<'_, '_>,
    function: &str,
    target: &mut Option<Expr>,
    args: &mut Vec<Expr>,
) -> Expansion {
    let name = simple(&args[0], &format!("{function}() variable name must be a simple identifier"))?;
    let Some(target) = target.take() else { return Ok(None) };
    let mapped = args.remove(1);
    let copy = make.copy(&target);
    let present =
        make.expr(Kind::Call { function: "hasValue".into(), target: Some(Box::new(target)), args: Vec::new() });
    let value = make.expr(Kind::Call { function: "value".into(), target: Some(Box::new(copy)), args: Vec::new() });
    let bound = make.bound(name, value, mapped);
    let some = if function == "optMap" { make.call("optional.of", vec![bound]) } else { bound };
    let none = make.call("optional.none", Vec::new());
    Ok(Some(make.call("_?_:_", vec![present, some, none])))
}

/// `list.sortBy(e, key)`: the list, bound to a name, sorted by the list of its keys.
fn sort_by(make: &mut Maker<'_, '_>, target: &mut Option<Expr>, args: &mut Vec<Expr>) -> Expansion {
    let Some(list) = target.take() else { return Ok(None) };
    if !matches!(
        list.kind,
        Kind::List(_) | Kind::Select { .. } | Kind::Ident(_) | Kind::Comprehension(_) | Kind::Call { .. }
    ) {
        let message = "sortBy can only be applied to a list, identifier, comprehension, call or select expression";
        return Err((Some(list.id), message.to_owned()));
    }
    let input: Arc<str> = "@__sortBy_input__".into();
    let iter = simple(&args[0], "argument is not an identifier")?;
    overwrites(&args[0], &iter)?;
    let added = make.list(args.drain(1..).collect());
    let accu = make.accu();
    let step = make.call("_+_", vec![accu, added]);
    let init = make.list(Vec::new());
    let mut mapped = Some(make.ident(&input));
    let keys = make.fold_filtered(&mut mapped, &[iter], init, step, None);
    let receiver = make.ident(&input);
    let sorted = make.expr(Kind::Call {
        function: "@sortByAssociatedKeys".into(),
        target: Some(Box::new(receiver)),
        args: vec![keys],
    });
    Ok(Some(make.bound(input, list, sorted)))
}

fn simple(expr: &Expr, message: &str) -> Result<Arc<str>, (Option<Id>, String)> {
    match &expr.kind {
        Kind::Ident(name) => Ok(name.clone()),
        _ => Err((Some(expr.id), message.to_owned())),
    }
}

fn overwrites(expr: &Expr, name: &str) -> Result<(), (Option<Id>, String)> {
    if name == ACCUMULATOR || name == "__result__" {
        return Err((Some(expr.id), "iteration variable overwrites accumulator variable".to_owned()));
    }
    Ok(())
}

fn two_names(args: &[Expr]) -> Result<[Arc<str>; 2], (Option<Id>, String)> {
    let first = simple(&args[0], "argument must be a simple name")?;
    let second = simple(&args[1], "argument must be a simple name")?;
    if first == second {
        return Err((Some(args[1].id), format!("duplicate variable name: {first}")));
    }
    overwrites(&args[0], &first)?;
    overwrites(&args[1], &second)?;
    Ok([first, second])
}

/// Makes nodes placed where the macro's call is.
struct Maker<'a, 'p> {
    parser: &'a mut Parser<'p>,
    call: Id,
}

impl Maker<'_, '_> {
    fn expr(&mut self, kind: Kind) -> Expr {
        let at = self.parser.place(self.call);
        Expr { id: self.parser.node(at), kind }
    }

    fn literal(&mut self, literal: Literal) -> Expr {
        self.expr(Kind::Literal(literal))
    }

    fn ident(&mut self, name: &Arc<str>) -> Expr {
        self.expr(Kind::Ident(name.clone()))
    }

    fn accu(&mut self) -> Expr {
        self.ident(&ACCUMULATOR.into())
    }

    fn call(&mut self, function: &str, args: Vec<Expr>) -> Expr {
        self.expr(Kind::Call { function: function.into(), target: None, args })
    }

    fn list(&mut self, values: Vec<Expr>) -> Expr {
        self.expr(Kind::List(values.into_iter().map(|value| Element { value, optional: false }).collect()))
    }

    /// `result` with `value` bound to a name: a fold over nothing.
    fn bound(&mut self, name: Arc<str>, value: Expr, result: Expr) -> Expr {
        let range = self.list(Vec::new());
        let condition = self.literal(Literal::Bool(false));
        let step = self.ident(&name);
        let iter = "#unused".into();
        self.expr(Kind::Comprehension(Box::new(Comprehension {
            range,
            iter,
            iter2: None,
            accu: name,
            init: value,
            condition,
            step,
            result,
        })))
    }

    fn fold(
        &mut self,
        target: &mut Option<Expr>,
        iter: &[Arc<str>],
        init: Expr,
        condition: Expr,
        step: Expr,
        result: Expr,
    ) -> Expr {
        let range = target.take().unwrap_or_else(|| self.list(Vec::new()));
        let (iter, iter2) = (iter[0].clone(), iter.get(1).cloned());
        self.expr(Kind::Comprehension(Box::new(Comprehension {
            range,
            iter,
            iter2,
            accu: ACCUMULATOR.into(),
            init,
            condition,
            step,
            result,
        })))
    }

    /// A fold over everything whose step is taken only where `filter` holds.
    fn fold_filtered(
        &mut self,
        target: &mut Option<Expr>,
        iter: &[Arc<str>],
        init: Expr,
        step: Expr,
        filter: Option<Expr>,
    ) -> Expr {
        let condition = self.literal(Literal::Bool(true));
        let step = match filter {
            Some(filter) => {
                let same = self.accu();
                self.call("_?_:_", vec![filter, step, same])
            }
            None => step,
        };
        let result = self.accu();
        self.fold(target, iter, init, condition, step, result)
    }

    /// The same tree with new ids, each at the place of the one it copies.
    fn copy(&mut self, expr: &Expr) -> Expr {
        let mut copy = expr.clone();
        renumber(self.parser, &mut copy);
        copy
    }
}

fn renumber(parser: &mut Parser<'_>, expr: &mut Expr) {
    let at = parser.place(expr.id);
    expr.id = parser.node(at);
    match &mut expr.kind {
        Kind::Literal(_) | Kind::Ident(_) => {}
        Kind::Select { operand, .. } => renumber(parser, operand),
        Kind::Call { target, args, .. } => {
            target.iter_mut().for_each(|target| renumber(parser, target));
            args.iter_mut().for_each(|arg| renumber(parser, arg));
        }
        Kind::List(elements) => elements.iter_mut().for_each(|element| renumber(parser, &mut element.value)),
        Kind::Map(entries) => entries.iter_mut().for_each(|entry| {
            renumber(parser, &mut entry.key);
            renumber(parser, &mut entry.value);
        }),
        Kind::Struct { fields, .. } => fields.iter_mut().for_each(|field| {
            let at = parser.place(field.id);
            field.id = parser.node(at);
            renumber(parser, &mut field.value);
        }),
        Kind::Comprehension(fold) => {
            for part in [&mut fold.range, &mut fold.init, &mut fold.condition, &mut fold.step, &mut fold.result] {
                renumber(parser, part);
            }
        }
    }
}
