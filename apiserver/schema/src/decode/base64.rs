//! Base64 as Go reads it: line ends between the characters do not count, nor do bits left over at the end.

use base64::{
    Engine as _, alphabet,
    engine::{GeneralPurpose, GeneralPurposeConfig},
};

const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// The same bytes in canonical form.
///
/// # Errors
/// In Go's words, with the place where it stops.
pub(super) fn canonical(text: &str) -> Result<String, String> {
    let at = |at: usize| format!("illegal base64 data at input byte {at}");
    if let Some(wrong) = wrong(text.as_bytes()) {
        return Err(at(wrong));
    }
    let dense: Vec<u8> = text.bytes().filter(|byte| !line_end(*byte)).collect();
    LENIENT.decode(dense).map(|bytes| encode(&bytes)).map_err(|_| at(text.len()))
}

pub(super) fn encode(bytes: &[u8]) -> String {
    LENIENT.encode(bytes)
}

fn line_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

/// The byte that Go complains of.
fn wrong(text: &[u8]) -> Option<usize> {
    let mut rest = text.iter().enumerate().filter(|(_, byte)| !line_end(**byte));
    loop {
        for digit in 0..4 {
            let Some((at, byte)) = rest.next() else {
                // What is missing is told at the beginning of the group, as far as it has any.
                return (digit > 0).then(|| text.len() - digit);
            };
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' => {}
                b'=' if digit >= 2 => {
                    if digit == 2 {
                        match rest.next() {
                            None => return Some(text.len()),
                            Some((_, b'=')) => {}
                            Some((next, _)) => return Some(next - 1),
                        }
                    }
                    return rest.next().map(|(next, _)| next);
                }
                _ => return Some(at),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn texts_are_read_as_in_go() {
        for (text, expected) in [
            ("", Ok("")),
            ("YWJj", Ok("YWJj")),
            ("YW\nJj\r\n", Ok("YWJj")),
            ("YR==", Ok("YQ==")),
            ("YQ=\n=", Ok("YQ==")),
            ("YQ", Err(0)),
            ("YWJjYQ", Err(4)),
            ("YQ=", Err(3)),
            ("YQ=x", Err(2)),
            ("YQ==x", Err(4)),
            ("=", Err(0)),
            ("Y=", Err(1)),
            ("YW J", Err(2)),
            ("%", Err(0)),
        ] {
            let expected =
                expected.map(ToOwned::to_owned).map_err(|at| format!("illegal base64 data at input byte {at}"));
            assert_eq!(canonical(text), expected, "{text:?}");
        }
    }
}
