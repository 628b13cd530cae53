//! Numbers of JSON that our reader knows nothing of: those that no float is large enough for, whose text Go reads all the same and
//! leaves it to the type of the field; and `-0`, which is a whole number there.

use std::ops::Range;

use serde_json::{Number, Value};

/// What stands for such a number until its field is known.
const LARGEST: &str = "1.7976931348623157e308";

/// Whether a number, as it is written, is too large for a float.
pub(super) fn is_beyond(number: &[u8]) -> bool {
    let float = std::str::from_utf8(number).ok().and_then(|number| number.parse::<f64>().ok());
    float.is_some_and(f64::is_infinite)
}

/// Whether such a number was put in somewhere, and is still there.
pub(super) fn holds_largest(value: &Value) -> bool {
    match value {
        Value::Number(number) => is_largest(number),
        Value::Array(list) => list.iter().any(holds_largest),
        Value::Object(map) => map.values().any(holds_largest),
        _ => false,
    }
}

/// Whether a number may stand for one that is larger.
pub(super) fn is_largest(number: &Number) -> bool {
    number.as_f64().is_some_and(|float| float.abs() == f64::MAX)
}

/// Where in a JSON text such numbers are.
pub(super) fn beyond(text: &[u8]) -> impl Iterator<Item = Range<usize>> {
    all(text).filter(|number| is_beyond(&text[number.clone()]))
}

/// Where in a JSON text numbers are.
fn all(text: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while let Some(byte) = text.get(at) {
            let start = at;
            match byte {
                b'"' => {
                    at += 1;
                    while let Some(byte) = text.get(at).filter(|byte| **byte != b'"') {
                        at += if *byte == b'\\' { 2 } else { 1 };
                    }
                    at += 1;
                }
                b'-' | b'0'..=b'9' => {
                    let part = |byte: &&u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
                    at += text[at..].iter().take_while(part).count();
                    return Some(start..at);
                }
                _ => at += 1,
            }
        }
        None
    })
}

/// The text, as long as before, with `0` in the place of `-0`; `None` where there is none.
pub(super) fn without_negative_zeros(text: &[u8]) -> Option<Vec<u8>> {
    let may_be = |window: &[u8]| matches!(window, [b':' | b',' | b'[' | b' ' | b'\t' | b'\n' | b'\r', b'-', b'0']);
    if !text.starts_with(b"-0") && !text.windows(3).any(may_be) {
        return None;
    }
    let mut out = None;
    for number in all(text).filter(|number| text[number.clone()] == *b"-0") {
        out.get_or_insert_with(|| text.to_vec())[number.start] = b' ';
    }
    out
}

/// The text with the largest float there is in the place of such numbers; `None` where there are none.
pub(super) fn bounded(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut done = 0;
    for place in beyond(text) {
        out.extend_from_slice(&text[done..place.start]);
        if text[place.start] == b'-' {
            out.push(b'-');
        }
        out.extend_from_slice(LARGEST.as_bytes());
        done = place.end;
    }
    (done > 0).then(|| {
        out.extend_from_slice(&text[done..]);
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_have_no_sign() {
        for (text, expected) in [
            (
                r#"{"a":-0,"b":" -0,","c":[-0.0, -0 ,-01],"d":"pod-0"}"#,
                Some(r#"{"a": 0,"b":" -0,","c":[-0.0,  0 ,-01],"d":"pod-0"}"#),
            ),
            (r#"{"a":"pod-0","b":[-1]}"#, None),
            (r#"{"a":" -0"}"#, None),
            ("-0", Some(" 0")),
        ] {
            let found = without_negative_zeros(text.as_bytes()).map(|text| String::from_utf8(text).unwrap());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn only_numbers_without_an_end_are_replaced() {
        for (text, expected) in [
            (r#"{"a":1e308,"1e400":"\"1e400"}"#, None),
            (r#"{"a":[1e400, -2E+999,1]}"#, Some(format!(r#"{{"a":[{LARGEST}, -{LARGEST},1]}}"#))),
            ("1e309", Some(LARGEST.to_owned())),
        ] {
            let found = bounded(text.as_bytes()).map(|text| String::from_utf8(text).unwrap());
            assert_eq!(found, expected, "{text}");
        }
    }
}
