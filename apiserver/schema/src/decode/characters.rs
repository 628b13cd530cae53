//! JSON whose strings are no Unicode: Go reads U+FFFD for each byte that is no UTF-8 and for each half of a surrogate pair.

/// The text with what is no character replaced, `None` where all are.
pub(super) fn mended(bytes: &[u8]) -> Option<Vec<u8>> {
    let text = utf8(bytes);
    let whole = pairs(&text);
    (whole != bytes).then_some(whole)
}

fn utf8(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Err(error) = std::str::from_utf8(rest) {
        let (valid, wrong) = rest.split_at(error.valid_up_to());
        out.extend_from_slice(valid);
        out.extend_from_slice("\u{fffd}".as_bytes());
        rest = &wrong[1..];
    }
    out.extend_from_slice(rest);
    out
}

/// Escapes of halves of pairs become that of U+FFFD.
fn pairs(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let (escape, length) = match (unit(rest), rest.get(6..).and_then(unit)) {
            (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => (&rest[..12], 12),
            (Some(0xd800..0xe000), _) => (&b"\\ufffd"[..], 6),
            (Some(_), _) => (&rest[..6], 6),
            (None, _) => (&rest[..rest.len().min(2)], rest.len().min(2)),
        };
        out.extend_from_slice(escape);
        rest = &rest[length..];
    }
    out.extend_from_slice(rest);
    out
}

/// The number of `\uXXXX` at the beginning.
fn unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::mended;

    #[test]
    fn what_is_no_character_is_replaced() {
        for (text, expected) in [
            (&br#"{"a":"\ud83d\ude00\\ud800"}"#[..], None),
            (br#"["\ud800"]"#, Some(r#"["\ufffd"]"#)),
            (br#"["\ud800\ud83d\ude00\udc00x"]"#, Some(r#"["\ufffd\ud83d\ude00\ufffdx"]"#)),
            (b"[\"\xff\xe2\x82\"]", Some("[\"\u{fffd}\u{fffd}\u{fffd}\"]")),
        ] {
            assert_eq!(mended(text), expected.map(|text| text.as_bytes().to_vec()));
        }
    }
}
