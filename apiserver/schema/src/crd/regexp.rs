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

/// How often Go lets something be repeated.
const MOST_REPEATS: u32 = 1000;

/// What Go refuses and Rust's engine does not: repetitions of repetitions, and counts beyond [`MOST_REPEATS`].
#[must_use]
pub fn refused(pattern: &str) -> Option<String> {
    let mut rest = pattern;
    let mut in_class = false;
    // Where the repetition begins that ended right here.
    let mut repeated: Option<&str> = None;
    while let Some(c) = rest.chars().next() {
        let before = rest;
        rest = &rest[c.len_utf8()..];
        let operator = match c {
            '\\' => {
                rest = rest.chars().next().map_or("", |c| &rest[c.len_utf8()..]);
                false
            }
            '[' => {
                in_class = true;
                false
            }
            ']' => {
                in_class = false;
                false
            }
            '*' | '+' | '?' => !in_class,
            '{' if !in_class => match counts(rest) {
                Some((counts, after)) => {
                    rest = after;
                    if counts.into_iter().any(|count| count > MOST_REPEATS) {
                        let shown = &before[..before.len() - after.len()];
                        return Some(format!("error parsing regexp: invalid repeat count: `{shown}`"));
                    }
                    true
                }
                None => false,
            },
            _ => false,
        };
        if !operator {
            repeated = None;
            continue;
        }
        // It may be a lazy one.
        rest = rest.strip_prefix('?').unwrap_or(rest);
        if let Some(first) = repeated {
            let shown = &first[..first.len() - rest.len()];
            return Some(format!("error parsing regexp: invalid nested repetition operator: `{shown}`"));
        }
        // At the very beginning, and behind a bracket or a bar, there is nothing to repeat, which Rust's engine sees, too.
        let behind = pattern[..pattern.len() - before.len()].chars().next_back();
        repeated = behind.filter(|c| !matches!(c, '(' | '|' | '^')).map(|_| before);
    }
    None
}

/// The counts of `{n}`, `{n,}` or `{n,m}`, and what comes behind; the rest begins after the brace.
fn counts(rest: &str) -> Option<(Vec<u32>, &str)> {
    let (inside, after) = rest.split_once('}')?;
    let (least, most) = inside.split_once(',').map_or((inside, None), |(least, most)| (least, Some(most)));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let fits = digits(least) && most.is_none_or(|most| most.is_empty() || digits(most));
    let read = |text: &str| text.parse().unwrap_or(u32::MAX);
    fits.then(|| ([Some(least), most].into_iter().flatten().filter(|text| !text.is_empty()).map(read).collect(), after))
}

#[cfg(test)]
mod tests {
    use super::super::validator::compile_pattern;

    #[test]
    fn what_go_takes() {
        for pattern in ["a*?b+", "[*+]*", "\\**", "(a*)*", "a{1000}", "a{x}", "[{2000}]", "^*", "a{2}?"] {
            assert_eq!(super::refused(pattern), None, "{pattern}");
        }
    }

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
            ("a**", "invalid nested repetition operator: `**`"),
            ("xa*?+", "invalid nested repetition operator: `*?+`"),
            ("a{2000}b", "invalid repeat count: `{2000}`"),
            ("a{1,1001}", "invalid repeat count: `{1,1001}`"),
        ] {
            assert_eq!(compile_pattern(pattern).unwrap_err(), format!("error parsing regexp: {expected}"), "{pattern}");
        }
    }
}
