//! From Ingress paths to nginx locations with the precedence the Ingress API wants: the longest path wins, and Exact
//! beats Prefix.
//!
//! nginx tries `=` first, then remembers the longest prefix, then lets the first matching regular expression win. So on
//! a host without regular expressions an element-wise `/foo` becomes `= /foo` and `/foo/`, and nginx's own rules give
//! the right answer. On a host where any Ingress asks for regular expressions, all prefixes become expressions too,
//! longest first (as ingress-nginx does), because otherwise a short expression would beat a long prefix.

use super::model::Match;

/// `pathType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Exact,
    Prefix,
    ImplementationSpecific,
}

impl Kind {
    pub fn parse(text: &str) -> Self {
        match text {
            "Exact" => Self::Exact,
            "Prefix" => Self::Prefix,
            _ => Self::ImplementationSpecific,
        }
    }
}

/// The locations for `path`. `regex`: its Ingress writes regular expressions; `regex_host`: some Ingress of its host does.
pub fn matches(path: &str, kind: Kind, regex: bool, regex_host: bool) -> Vec<Match> {
    if kind == Kind::Exact {
        return vec![Match::Exact(path.to_owned())];
    }
    if regex && has_syntax(path) {
        return vec![Match::Regex { pattern: format!("^{path}"), ignore_case: true }];
    }
    let element_wise = kind == Kind::Prefix;
    let trimmed = if element_wise { path.trim_end_matches('/') } else { path };
    match (trimmed, regex_host) {
        ("" | "/", _) => vec![Match::Prefix("/".to_owned())],
        (trimmed, true) => {
            let end = if element_wise { "(?:/|$)" } else { "" };
            vec![Match::Regex { pattern: format!("^{}{end}", escape(trimmed)), ignore_case: regex }]
        }
        (trimmed, false) if element_wise => {
            vec![Match::Exact(trimmed.to_owned()), Match::Prefix(format!("{trimmed}/"))]
        }
        (trimmed, false) => vec![Match::Prefix(trimmed.to_owned())],
    }
}

/// The pattern of the `rewrite` that goes with `path`: what the location matched, so that groups count the same.
pub fn rewrite_pattern(path: &str, kind: Kind) -> String {
    match kind {
        Kind::Exact => format!("^{}$", escape(path)),
        _ if has_syntax(path) => format!("(?i)^{path}"),
        _ => format!("(?i)^{}", escape(path)),
    }
}

/// Why `path` cannot be used, if it cannot.
pub fn check(path: &str) -> Result<(), String> {
    if !path.starts_with('/') {
        return Err(format!("path {path:?} must be absolute"));
    }
    if path.len() > 1024 || path.chars().any(char::is_control) {
        return Err(format!("path {path:?} is too long or holds control characters"));
    }
    Ok(())
}

fn has_syntax(path: &str) -> bool {
    path.contains(['(', ')', '[', ']', '{', '}', '*', '+', '?', '|', '^', '$', '\\'])
}

fn escape(literal: &str) -> String {
    let mut escaped = String::with_capacity(literal.len() + 8);
    for c in literal.chars() {
        if ".()[]{}*+?|^$\\".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_element_wise() {
        let expected = vec![Match::Exact("/foo".into()), Match::Prefix("/foo/".into())];
        assert_eq!(matches("/foo", Kind::Prefix, false, false), expected);
        assert_eq!(matches("/foo/", Kind::Prefix, false, false), expected);
        assert_eq!(matches("/", Kind::Prefix, false, false), vec![Match::Prefix("/".into())]);
    }

    #[test]
    fn on_a_regex_host_everything_but_exact_and_root_is_a_regex() {
        let regex = |pattern: &str, ignore_case| vec![Match::Regex { pattern: pattern.into(), ignore_case }];
        assert_eq!(matches("/v1.0", Kind::Prefix, false, true), regex("^/v1\\.0(?:/|$)", false));
        assert_eq!(matches("/a(/|$)(.*)", Kind::ImplementationSpecific, true, true), regex("^/a(/|$)(.*)", true));
        assert_eq!(matches("/a", Kind::Exact, true, true), vec![Match::Exact("/a".into())]);
        assert_eq!(matches("/", Kind::Prefix, true, true), vec![Match::Prefix("/".into())]);
    }
}
