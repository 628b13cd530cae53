//! `Warning: 299 - "…"` headers, and how much of them an answer may carry (`apiserver/pkg/endpoints/filters/warning.go`).

use http::header::{HeaderMap, HeaderValue, WARNING};

/// So many characters of warnings are told whole.
const WHOLE: usize = 4 * 1024;
/// So many are left of each where there are more, until it is that many again.
const CUT: usize = 256;

/// Adds the warnings in their order, cut where they are too much. One that no header can hold is left out, as upstream does.
pub fn add(headers: &mut HeaderMap, warnings: &[String]) {
    let sayable: Vec<&str> = warnings.iter().map(String::as_str).filter(|text| is_sayable(text)).collect();
    let whole = sayable.iter().map(|text| text.chars().count()).sum::<usize>() <= WHOLE;
    let mut written = 0;
    for text in sayable {
        if written >= WHOLE {
            break;
        }
        let text: String = text.chars().take(if whole { WHOLE } else { CUT }).collect();
        if let Some(value) = quoted(&text) {
            headers.append(WARNING, value);
        }
        written += text.chars().count();
    }
}

fn is_sayable(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}

/// RFC 7234's warn-value. Beyond ASCII the bytes go as they are.
fn quoted(text: &str) -> Option<HeaderValue> {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    HeaderValue::from_bytes(format!("299 - \"{text}\"").as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_quoted_and_cut() {
        let of = |warnings: &[&str]| -> Vec<String> {
            let mut headers = HeaderMap::new();
            add(&mut headers, &warnings.iter().map(ToString::to_string).collect::<Vec<_>>());
            headers.get_all(WARNING).iter().map(|v| String::from_utf8(v.as_bytes().to_vec()).unwrap()).collect()
        };
        assert_eq!(of(&["a \"b\" \\", "ü", "", "two\nlines"]), [r#"299 - "a \"b\" \\""#, "299 - \"ü\""]);
        let (half, long) = ("h".repeat(WHOLE / 2), "l".repeat(WHOLE + 1));
        let lengths = |warnings: &[&str]| of(warnings).iter().map(|w| w.len() - "299 - \"\"".len()).collect::<Vec<_>>();
        assert_eq!(lengths(&[&half, &half]), [WHOLE / 2, WHOLE / 2]);
        assert_eq!(lengths(&[&half, "short", &half]), [CUT, 5, CUT]);
        assert_eq!(lengths(&[long.as_str(); 20]), [CUT; WHOLE / CUT], "no more than that, cut or not");
    }
}
