//! What Go says of a pattern that is none (`regexp/syntax`), from what Rust's engine says of it.

/// How Rust's words begin, Go's words, and the part of the pattern Go then shows.
const WORDS: &[(&str, &str, Shown)] = &[
    ("unclosed group", "missing closing )", Shown::All),
    ("unopened group", "unexpected )", Shown::All),
    ("unclosed character class", "missing closing ]", Shown::Rest),
    ("repetition operator missing expression", "missing argument to repetition operator", Shown::Operator),
    ("look-around", "invalid or unsupported Perl syntax", Shown::Look),
    ("backreferences", "invalid escape sequence", Shown::Escape),
    ("unrecognized escape sequence", "invalid escape sequence", Shown::Escape),
    ("incomplete escape sequence", "trailing backslash at end of expression", Shown::Nothing),
    ("invalid character class range", "invalid character class range", Shown::Range),
];

#[derive(Clone, Copy)]
enum Shown {
    All,
    Nothing,
    /// From the place on.
    Rest,
    /// One character.
    Operator,
    /// A backslash and what follows it.
    Escape,
    /// `(?=`
    Look,
    /// `z-a`
    Range,
}

/// `error parsing regexp: …`. Rust's text ends with its reason, below the pattern and marks under the place.
#[must_use]
pub fn error(pattern: &str, rust: &str) -> String {
    let why = rust.lines().last().unwrap_or_default().trim().trim_start_matches("error: ");
    let at = rust.lines().find_map(|line| line.find('^')).map_or(0, |at| at.saturating_sub(4));
    let from = |count: Option<usize>| -> String {
        let rest = pattern.chars().skip(at);
        count.map_or_else(|| rest.clone().collect(), |count| rest.clone().take(count).collect())
    };
    let Some((_, go, shown)) = WORDS.iter().find(|(words, ..)| why.starts_with(words)) else {
        return format!("error parsing regexp: {why}: `{pattern}`");
    };
    let part = match shown {
        Shown::All => pattern.to_owned(),
        Shown::Nothing => String::new(),
        Shown::Rest => from(None),
        Shown::Operator => from(Some(1)),
        Shown::Escape => from(Some(2)),
        Shown::Look | Shown::Range => from(Some(3)),
    };
    format!("error parsing regexp: {go}: `{part}`")
}

#[cfg(test)]
mod tests {
    use super::super::validator::compile_pattern;

    #[test]
    fn reasons_are_gos() {
        for (pattern, expected) in [
            ("(", "missing closing ): `(`"),
            ("a)", "unexpected ): `a)`"),
            ("a[b", "missing closing ]: `[b`"),
            ("*a", "missing argument to repetition operator: `*`"),
            ("a(?=b)", "invalid or unsupported Perl syntax: `(?=`"),
            ("a\\y", "invalid escape sequence: `\\y`"),
            ("[z-a]", "invalid character class range: `z-a`"),
        ] {
            assert_eq!(compile_pattern(pattern).unwrap_err(), format!("error parsing regexp: {expected}"), "{pattern}");
        }
    }
}
