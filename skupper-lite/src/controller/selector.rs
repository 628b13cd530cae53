//! Label selectors as text (`app=web,tier in (a, b),!old`), the way a Connector writes them.

use std::collections::BTreeSet;

use kube::core::{Expression, Selector};

/// Reads a selector.
///
/// # Errors
/// A message that names the part which is not one.
pub fn parse(text: &str) -> Result<Selector, String> {
    split(text)
        .into_iter()
        .map(|part| requirement(part).ok_or_else(|| format!("{part:?} is no label selector")))
        .collect()
}

/// Splits at the commas outside parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

fn requirement(text: &str) -> Option<Expression> {
    if let Some((key, values)) = text.split_once(" notin ") {
        return Some(Expression::NotIn(label(key)?, set(values)?));
    }
    if let Some((key, values)) = text.split_once(" in ") {
        return Some(Expression::In(label(key)?, set(values)?));
    }
    if let Some((key, value)) = text.split_once("!=") {
        return Some(Expression::NotEqual(label(key)?, value.trim().to_owned()));
    }
    if let Some((key, value)) = text.split_once('=') {
        return Some(Expression::Equal(label(key)?, value.trim_start_matches('=').trim().to_owned()));
    }
    match text.strip_prefix('!') {
        Some(key) => Some(Expression::DoesNotExist(label(key)?)),
        None => Some(Expression::Exists(label(text)?)),
    }
}

fn label(text: &str) -> Option<String> {
    let text = text.trim();
    let valid = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
    valid.then(|| text.to_owned())
}

fn set(text: &str) -> Option<BTreeSet<String>> {
    let inner = text.trim().strip_prefix('(')?.strip_suffix(')')?;
    Some(inner.split(',').map(|value| value.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use kube::core::SelectorExt;

    use super::*;

    #[test]
    fn selectors_match_as_kubectl_has_them() {
        let labels = [("app".to_owned(), "web".to_owned()), ("tier".to_owned(), "a".to_owned())].into();
        for (text, matches) in [
            ("app=web", true),
            ("app==web, tier in (a, b)", true),
            ("app!=web", false),
            ("tier notin (a)", false),
            ("app,!old", true),
            ("old", false),
        ] {
            assert_eq!(parse(text).unwrap().matches(&labels), matches, "{text}");
        }
        assert!(parse("a b=c").is_err());
        assert!(parse("a in b").is_err());
    }
}
