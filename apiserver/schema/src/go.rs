//! How Go writes text that is shown to people (`strconv.Quote`, `unicode.IsPrint`, `%v`).

use serde_json::Value;

/// Whether Go prints the character as it is: all but controls, and no space other than the usual one.
#[must_use]
pub fn is_print(c: char) -> bool {
    // Format characters, private use and what no character is; the rest of Unicode's unprintables are controls and spaces.
    let hidden = matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{10ffff}');
    c == ' ' || !(c.is_control() || c.is_whitespace() || hidden)
}

/// A character as it stands in a quoted text; quotes are the caller's business.
#[must_use]
pub fn escaped(c: char) -> String {
    match c {
        '\x07' => r"\a".to_owned(),
        '\x08' => r"\b".to_owned(),
        '\x0c' => r"\f".to_owned(),
        '\n' => r"\n".to_owned(),
        '\r' => r"\r".to_owned(),
        '\t' => r"\t".to_owned(),
        '\x0b' => r"\v".to_owned(),
        '\\' => r"\\".to_owned(),
        c if is_print(c) => c.to_string(),
        c if u32::from(c) < 0x80 => format!("\\x{:02x}", u32::from(c)),
        c if u32::from(c) < 0x1_0000 => format!("\\u{:04x}", u32::from(c)),
        c => format!("\\U{:08x}", u32::from(c)),
    }
}

/// A text in double quotes (`%q`).
#[must_use]
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            c if c == ' ' || (c.is_ascii_graphic() && c != '\\') => out.push(c),
            c => out.push_str(&escaped(c)),
        }
    }
    out.push('"');
    out
}

/// How Go prints a value, be it one that JSON does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Printed {
    /// `%v`
    pub plain: String,
    /// `%#v`
    pub syntax: String,
    /// `%T`
    pub kind: String,
}

impl From<&Value> for Printed {
    fn from(value: &Value) -> Self {
        Self { plain: plain(value), syntax: syntax(value), kind: type_name(value).to_owned() }
    }
}

/// The type of a decoded JSON value (`%T`).
#[must_use]
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// A decoded JSON value where Go was told to expect a text (`%s`).
#[must_use]
pub fn as_text(value: &Value) -> String {
    match value {
        Value::Null => "%!s(<nil>)".to_owned(),
        Value::Bool(_) | Value::Number(_) => format!("%!s({}={value})", type_name(value)),
        _ => plain(value),
    }
}

/// A decoded JSON value as `%v` shows it: `map[a:1 b:[x y]]`.
#[must_use]
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(plain).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(name, _)| *name);
            let texts = entries.into_iter().map(|(name, value)| format!("{name}:{}", plain(value)));
            format!("map[{}]", texts.collect::<Vec<_>>().join(" "))
        }
        other => other.to_string(),
    }
}

/// A decoded JSON value as `%#v` shows it: `map[string]interface {}{"a":1}`.
#[must_use]
pub fn syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::String(text) => quote(text),
        Value::Array(list) => {
            format!("[]interface {{}}{{{}}}", list.iter().map(syntax).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(name, _)| *name);
            let texts = entries.into_iter().map(|(name, value)| format!("{}:{}", quote(name), syntax(value)));
            format!("map[string]interface {{}}{{{}}}", texts.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_shown_as_in_go() {
        let value = json!({"b": [1, "x", null], "a": {"c": true}});
        assert_eq!(plain(&value), "map[a:map[c:true] b:[1 x <nil>]]");
        assert_eq!(
            syntax(&value),
            r#"map[string]interface {}{"a":map[string]interface {}{"c":true}, "b":[]interface {}{1, "x", interface {}(nil)}}"#
        );
    }

    #[test]
    fn texts_are_quoted_as_in_go() {
        for (text, quoted) in [
            ("a b", r#""a b""#),
            ("a\"b\\", r#""a\"b\\""#),
            ("\0\n\x1b\x7f", r#""\x00\n\x1b\x7f""#),
            ("é☃'", "\"é☃'\""),
            ("\u{a0}\u{200b}", r#""\u00a0\u200b""#),
        ] {
            assert_eq!(quote(text), quoted);
        }
    }
}
