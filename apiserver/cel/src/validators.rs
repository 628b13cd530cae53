//! Checks of literals after type checking (cel-go `cel/validator.go`): durations, timestamps and patterns that cannot be read;
//! lists and maps of several types.

use schema::time::layout;

use crate::{
    ast::{Ast, Expr, Id, Kind, Literal},
    checker::Checked,
    library,
    source::{Issue, Source},
    time,
    types::Type,
};

pub(crate) fn validate(checked: &Checked, ast: &Ast, source: &Source) -> Vec<Issue> {
    let mut mixed = Vec::new();
    homogeneous(checked, &checked.root, &mut mixed);
    let told = |(id, [expected, found]): (Id, [&Type; 2])| {
        source.issue(ast.place(id), format!("expected type '{expected}' but found '{found}'"))
    };
    let mut issues: Vec<Issue> = mixed.into_iter().map(told).collect();
    walk(&checked.root, &mut |expr| {
        let Kind::Call { function, target, args } = &expr.kind else { return };
        if let ("format", Some(target), [list]) = (&**function, target, &args[..]) {
            let wrong = format_call(checked, expr.id, target, list);
            issues.extend(wrong.map(|(id, why)| source.issue(ast.place(id), why)));
            return;
        }
        let literal = |at: usize| match args.get(at).map(|arg| &arg.kind) {
            Some(Kind::Literal(Literal::String(text))) => Some((&**text, args[at].id)),
            _ => None,
        };
        let last = args.len().wrapping_sub(1);
        let (wrong, name) = match &**function {
            "duration" => (literal(0).filter(|(text, _)| time::parse_duration(text).is_err()), "duration"),
            "timestamp" => {
                let unreadable = |text: &str| !layout::parse(text, layout::RFC3339).is_ok_and(time::in_range);
                (literal(0).filter(|(text, _)| unreadable(text)), "timestamp")
            }
            "matches" => (literal(last).filter(|(text, _)| library::compile_regex(text).is_err()), "matches"),
            _ => return,
        };
        if let Some((_, id)) = wrong {
            issues.push(source.issue(ast.place(id), format!("invalid {name} argument")));
        }
    });
    issues
}

/// A part of a literal whose type is not that of the first, with both types.
type Mixed<'c> = (Id, [&'c Type; 2]);

/// Lists and maps that are written out hold one type: to this check `dyn` is another one than what it may stand for. What is
/// formatted may be mixed.
fn homogeneous<'c>(checked: &'c Checked, expr: &Expr, found: &mut Vec<Mixed<'c>>) {
    let ty = |expr: &Expr, optional: bool| match checked.types.get(expr.id as usize)? {
        Type::Optional(of) if optional => Some(&**of),
        ty => Some(ty),
    };
    match &expr.kind {
        Kind::Call { function, .. } if &**function == "format" => return,
        Kind::List(elements) => {
            let types = elements.iter().map(|element| (element.value.id, ty(&element.value, element.optional)));
            // Of a list only the first one that differs is told.
            found.extend(mixed(types).next());
        }
        Kind::Map(entries) => {
            found.extend(mixed(entries.iter().map(|entry| (entry.key.id, ty(&entry.key, false)))));
            found.extend(mixed(entries.iter().map(|entry| (entry.value.id, ty(&entry.value, entry.optional)))));
        }
        _ => {}
    }
    for part in parts(expr) {
        homogeneous(checked, part, found);
    }
}

/// Those whose type is another one than the first's.
fn mixed<'c>(types: impl Iterator<Item = (Id, Option<&'c Type>)>) -> impl Iterator<Item = Mixed<'c>> {
    let mut types = types.filter_map(|(id, ty)| Some((id, ty?)));
    let first = types.next().map(|(_, ty)| ty);
    types.filter_map(move |(id, ty)| first.filter(|first| *first != ty).map(|first| (id, [first, ty])))
}

/// A literal format string against a literal list of arguments: their number, and their types as far as they are known.
fn format_call(checked: &Checked, call: Id, target: &Expr, list: &Expr) -> Option<(Id, String)> {
    let Kind::Literal(Literal::String(text)) = &target.kind else { return None };
    let Kind::List(args) = &list.kind else { return None };
    let mut given = 0;
    for clause in crate::format::clauses(text) {
        if clause.as_ref().is_err_and(|why| why == crate::format::CUT_SHORT) {
            return Some((call, crate::format::CUT_SHORT.to_owned()));
        }
        let Some(arg) = args.get(given) else { return Some((call, format!("index {given} out of range"))) };
        let clause = match clause {
            Ok(clause) => clause,
            Err(why) => return Some((call, why)),
        };
        if let Some((id, why)) = unfit(checked, clause, &arg.value) {
            return Some((id, format!("error during formatting: {why}")));
        }
        given += 1;
    }
    (given < args.len()).then(|| {
        let why = format!("too many arguments supplied to string.format (expected {given}, got {})", args.len());
        (call, why)
    })
}

/// The argument of a clause, or a part of it that is written out, whose type does not fit, and why.
fn unfit(checked: &Checked, clause: char, arg: &Expr) -> Option<(Id, String)> {
    if let Some(why) = crate::format::unfit(clause, checked.types.get(arg.id as usize)?) {
        return Some((arg.id, why));
    }
    let part = |part: &Expr| unfit(checked, clause, part);
    match &arg.kind {
        Kind::List(elements) if clause == 's' => elements.iter().find_map(|element| part(&element.value)),
        Kind::Map(entries) if clause == 's' => {
            entries.iter().find_map(|entry| part(&entry.key).or_else(|| part(&entry.value)))
        }
        _ => None,
    }
}

/// Visits a node and all below it.
pub(crate) fn walk(expr: &Expr, visit: &mut impl FnMut(&Expr)) {
    visit(expr);
    for part in parts(expr) {
        walk(part, visit);
    }
}

/// The nodes right below one.
fn parts(expr: &Expr) -> Vec<&Expr> {
    match &expr.kind {
        Kind::Literal(_) | Kind::Ident(_) => Vec::new(),
        Kind::Select { operand, .. } => vec![operand],
        Kind::Call { target, args, .. } => target.as_deref().into_iter().chain(args).collect(),
        Kind::List(elements) => elements.iter().map(|element| &element.value).collect(),
        Kind::Map(entries) => entries.iter().flat_map(|entry| [&entry.key, &entry.value]).collect(),
        Kind::Struct { fields, .. } => fields.iter().map(|field| &field.value).collect(),
        Kind::Comprehension(fold) => vec![&fold.range, &fold.init, &fold.condition, &fold.step, &fold.result],
    }
}
