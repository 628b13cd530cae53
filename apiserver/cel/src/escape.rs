//! Property names as CEL identifiers and back (`k8s.io/apiserver/pkg/cel/escaping.go`): `a.b` is `a__dot__b`.

/// Words that are no names: first those of the grammar itself, then those that are only kept for it.
pub const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

const SEQUENCES: [(&str, &str); 4] = [("__", "underscores"), (".", "dot"), ("-", "dash"), ("/", "slash")];

/// The identifier for a property, or `None` if it has none (it begins with a digit, or has a character other than letters,
/// digits, `_`, `-`, `.` and `/`).
#[must_use]
pub fn escape(name: &str) -> Option<String> {
    let wrong = |c: char| !c.is_ascii_alphanumeric() && !"_-./".contains(c);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || name.contains(wrong) {
        return None;
    }
    if RESERVED.contains(&name) {
        return Some(format!("__{name}__"));
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        match SEQUENCES.iter().find(|(plain, _)| rest.starts_with(plain)) {
            Some((plain, word)) => {
                out.push_str("__");
                out.push_str(word);
                out.push_str("__");
                rest = &rest[plain.len()..];
            }
            None => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    Some(out)
}

/// The property an identifier means, or `None` if it holds `__…__` that is no escape.
#[must_use]
pub fn unescape(identifier: &str) -> Option<String> {
    if let Some(word) = identifier.strip_prefix("__").and_then(|rest| rest.strip_suffix("__"))
        && RESERVED.contains(&word)
    {
        return Some(word.to_owned());
    }
    let mut out = String::with_capacity(identifier.len());
    let mut rest = identifier;
    while let Some(at) = rest.find("__") {
        out.push_str(&rest[..at]);
        let after = &rest[at + 2..];
        let word = after.find('_').map(|end| &after[..end]).filter(|word| !word.is_empty());
        match word.filter(|word| after[word.len()..].starts_with("__")) {
            Some(word) => {
                let (plain, _) = SEQUENCES.iter().find(|(_, name)| *name == word)?;
                out.push_str(plain);
                rest = &after[word.len() + 2..];
            }
            None => {
                // Underscores that begin no sequence stand for themselves.
                out.push('_');
                rest = &rest[at + 1..];
            }
        }
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways() {
        for (name, identifier) in [
            ("a", "a"),
            ("a.a", "a__dot__a"),
            ("a-a", "a__dash__a"),
            ("a/a", "a__slash__a"),
            ("a__a", "a__underscores__a"),
            ("a_a", "a_a"),
            ("a___a", "a__underscores___a"),
            ("a____a", "a__underscores____underscores__a"),
            ("namespace", "__namespace__"),
            ("a__dot__a", "a__underscores__dot__underscores__a"),
            ("_if", "_if"),
            ("__if__", "__underscores__if__underscores__"),
        ] {
            assert_eq!(escape(name).as_deref(), Some(identifier), "{name}");
            assert_eq!(unescape(identifier).as_deref(), Some(name), "{identifier}");
        }
        for name in ["", "1a", "a$", "ö"] {
            assert_eq!(escape(name), None, "{name}");
        }
        assert_eq!(unescape("a__illegal__a"), None);
    }
}
