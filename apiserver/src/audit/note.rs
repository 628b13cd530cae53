//! JSON in annotations, as Go's encoder writes it.

use serde::Serialize;

/// One line, with the characters escaped that mean something to HTML and JavaScript. They only ever stand in strings.
#[must_use]
pub fn json(value: &impl Serialize) -> String {
    escaped(serde_json::to_string(value).expect("what is noted has only string keys"))
}

/// The same of what is JSON already.
#[must_use]
pub fn escaped(mut out: String) -> String {
    for (character, escaped) in
        [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026"), ('\u{2028}', "\\u2028"), ('\u{2029}', "\\u2029")]
    {
        if out.contains(character) {
            out = out.replace(character, escaped);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_as_go_escapes_them() {
        assert_eq!(json(&["a < b && c > \"d\"", "\u{2028}"]), r#"["a \u003c b \u0026\u0026 c \u003e \"d\"","\u2028"]"#);
    }
}
