//! Whether an expression reads a field of a variable: `claims.email`, `claims.?email`, anywhere in it.

use crate::{
    ast::{Expr, Kind, Literal},
    parser,
    source::Source,
};

/// Whether `text` selects `field` of the variable `operand`; `false` where it cannot be parsed.
#[must_use]
pub fn selects(text: &str, operand: &str, field: &str) -> bool {
    let source = Source::new(text);
    parser::parse(text, &source, false).is_ok_and(|ast| found(&ast.root, operand, field))
}

fn found(expr: &Expr, operand: &str, field: &str) -> bool {
    let is_operand = |expr: &Expr| matches!(&expr.kind, Kind::Ident(name) if **name == *operand);
    let inside = |expr: &Expr| found(expr, operand, field);
    match &expr.kind {
        Kind::Literal(_) | Kind::Ident(_) => false,
        Kind::Select { operand, field: selected, .. } => is_operand(operand) && **selected == *field || inside(operand),
        Kind::Call { function, target, args } => {
            let named = |expr: &Expr| matches!(&expr.kind, Kind::Literal(Literal::String(name)) if **name == *field);
            let optional = &**function == "_?._" && matches!(&args[..], [of, name] if is_operand(of) && named(name));
            optional || args.iter().any(inside) || target.as_deref().is_some_and(inside)
        }
        Kind::List(elements) => elements.iter().any(|element| inside(&element.value)),
        Kind::Map(entries) => entries.iter().any(|entry| inside(&entry.key) || inside(&entry.value)),
        Kind::Struct { fields, .. } => fields.iter().any(|init| inside(&init.value)),
        Kind::Comprehension(fold) => {
            [&fold.range, &fold.init, &fold.condition, &fold.step, &fold.result].into_iter().any(inside)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_wherever_they_are() {
        for (text, expected) in [
            ("claims.email", true),
            ("claims.?email.orValue('x')", true),
            ("'a' + claims.email", true),
            ("[1].exists(i, claims.email == 'x')", true),
            ("{'a': claims.email}.a", true),
            ("has(claims.email) ? 'a' : 'b'", true),
            ("claims.email.domain", true),
            ("claims.email_verified", false),
            ("user.email", false),
            ("claims['email']", false),
            ("claims.", false),
        ] {
            assert_eq!(selects(text, "claims", "email"), expected, "{text}");
        }
    }
}
