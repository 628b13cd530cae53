//! Checks of literals after type checking (cel-go `cel/validator.go`): durations, timestamps and patterns that cannot be read.

use crate::{
    ast::{Ast, Expr, Kind, Literal},
    checker::Checked,
    library,
    source::{Issue, Source},
    time,
};

pub(crate) fn validate(checked: &Checked, ast: &Ast, source: &Source) -> Vec<Issue> {
    let mut issues = Vec::new();
    walk(&checked.root, &mut |expr| {
        let Kind::Call { function, args, .. } = &expr.kind else { return };
        let literal = |at: usize| match args.get(at).map(|arg| &arg.kind) {
            Some(Kind::Literal(Literal::String(text))) => Some((&**text, args[at].id)),
            _ => None,
        };
        let last = args.len().wrapping_sub(1);
        let (wrong, name) = match &**function {
            "duration" => (literal(0).filter(|(text, _)| time::parse_duration(text).is_err()), "duration"),
            "timestamp" => {
                let unreadable = |text: &str| !time::parse_timestamp(text).is_some_and(time::in_range);
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

/// Visits a node and all below it.
pub(crate) fn walk(expr: &Expr, visit: &mut impl FnMut(&Expr)) {
    visit(expr);
    match &expr.kind {
        Kind::Literal(_) | Kind::Ident(_) => {}
        Kind::Select { operand, .. } => walk(operand, visit),
        Kind::Call { target, args, .. } => target.as_deref().into_iter().chain(args).for_each(|arg| walk(arg, visit)),
        Kind::List(elements) => elements.iter().for_each(|element| walk(&element.value, visit)),
        Kind::Map(entries) => entries.iter().for_each(|entry| {
            walk(&entry.key, visit);
            walk(&entry.value, visit);
        }),
        Kind::Struct { fields, .. } => fields.iter().for_each(|field| walk(&field.value, visit)),
        Kind::Comprehension(fold) => {
            for part in [&fold.range, &fold.init, &fold.condition, &fold.step, &fold.result] {
                walk(part, visit);
            }
        }
    }
}
