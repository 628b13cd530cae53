//! `$(NAME)` in commands, arguments and variables, by upstream's rules: `$$` is a dollar sign, an unknown name stays.

/// Expands `text` with what `lookup` knows.
pub fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match lookup(name) {
                Some(value) => out.push_str(&value),
                None => out.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_rules() {
        let lookup = |name: &str| (name == "A").then(|| "1".to_owned());
        for (given, expected) in [
            ("$(A)", "1"), ("x$(A)y$(A)", "x1y1"), ("$$(A)", "$(A)"), ("$(B)", "$(B)"), ("$A", "$A"), ("$", "$"),
            ("$(A", "$(A"), ("$$$(A)", "$1"),
        ] {
            assert_eq!(expand(given, lookup), expected, "{given}");
        }
    }
}
