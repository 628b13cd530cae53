//! What Go's `encoding/json` says of a text that is no JSON (its scanner's errors). Only asked once a text has been refused.

use std::borrow::Cow;

/// How deep Go reads.
const MAX_DEPTH: usize = 10_000;

/// The first thing wrong with the text, `None` where it is JSON after all.
#[must_use]
pub fn error(bytes: &[u8]) -> Option<String> {
    let mut scanner = Scanner { bytes, at: 0 };
    scanner.document().err()
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    /// Values within values are kept on a list of our own: a text may be deeper than the stack is.
    fn document(&mut self) -> Result<(), String> {
        let mut open: Vec<u8> = Vec::new();
        loop {
            self.space();
            let first = self.next()?;
            match first {
                b'{' | b'[' => {
                    open.push(first);
                    if open.len() > MAX_DEPTH {
                        return Err(self.invalid("exceeded max depth"));
                    }
                    self.at += 1;
                    self.space();
                    let close = if first == b'{' { b'}' } else { b']' };
                    if self.peek() == Some(close) {
                        self.at += 1;
                        open.pop();
                    } else if first == b'{' {
                        self.key()?;
                        continue;
                    } else {
                        continue;
                    }
                }
                b'"' => self.string()?,
                b't' => self.word("true")?,
                b'f' => self.word("false")?,
                b'n' => self.word("null")?,
                b'-' | b'0'..=b'9' => self.number()?,
                _ => return Err(self.invalid("looking for beginning of value")),
            }
            // A value has ended: what it stands in goes on, or ends, too.
            loop {
                self.space();
                let Some(container) = open.last() else {
                    return if self.at < self.bytes.len() {
                        Err(self.invalid("after top-level value"))
                    } else {
                        Ok(())
                    };
                };
                let (close, context) = match container {
                    b'{' => (b'}', "after object key:value pair"),
                    _ => (b']', "after array element"),
                };
                match self.next()? {
                    b',' => {
                        self.at += 1;
                        self.space();
                        if close == b'}' {
                            self.key()?;
                        }
                        break;
                    }
                    next if next == close => {
                        self.at += 1;
                        open.pop();
                    }
                    _ => return Err(self.invalid(context)),
                }
            }
        }
    }

    /// `"key":`
    fn key(&mut self) -> Result<(), String> {
        const CONTEXT: &str = "looking for beginning of object key string";
        if self.next()? != b'"' {
            return Err(self.invalid(CONTEXT));
        }
        self.string()?;
        self.space();
        if self.next()? != b':' {
            return Err(self.invalid("after object key"));
        }
        self.at += 1;
        Ok(())
    }

    fn string(&mut self) -> Result<(), String> {
        self.at += 1;
        loop {
            match self.next()? {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => {
                    self.at += 1;
                    match self.next()? {
                        b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => self.at += 1,
                        b'u' => {
                            self.at += 1;
                            for _ in 0..4 {
                                if !self.next()?.is_ascii_hexdigit() {
                                    return Err(self.invalid("in \\u hexadecimal character escape"));
                                }
                                self.at += 1;
                            }
                        }
                        _ => return Err(self.invalid("in string escape code")),
                    }
                }
                0..=0x1f => return Err(self.invalid("in string literal")),
                _ => self.at += 1,
            }
        }
    }

    fn word(&mut self, word: &str) -> Result<(), String> {
        for expected in word.bytes() {
            if self.next()? != expected {
                return Err(self.invalid(&format!("in literal {word} (expecting '{}')", expected as char)));
            }
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), String> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.next()? {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.digits(),
            _ => return Err(self.invalid("in numeric literal")),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.some_digits("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.some_digits("in exponent of numeric literal")?;
        }
        Ok(())
    }

    fn some_digits(&mut self, context: &str) -> Result<(), String> {
        if !self.next()?.is_ascii_digit() {
            return Err(self.invalid(context));
        }
        self.digits();
        Ok(())
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&self) -> Result<u8, String> {
        self.peek().ok_or_else(|| "unexpected end of JSON input".to_owned())
    }

    fn invalid(&self, context: &str) -> String {
        // Go looks at bytes, and shows each as the character of that number.
        let shown: Cow<'_, str> = match char::from(self.bytes[self.at]) {
            '\'' => r"'\''".into(),
            '"' => "'\"'".into(),
            other => format!("'{}'", crate::go::escaped(other)).into(),
        };
        format!("invalid character {shown} {context}")
    }
}

#[cfg(test)]
mod tests {
    use super::error;

    #[test]
    fn texts_are_gos() {
        for (text, expected) in [
            ("", "unexpected end of JSON input"),
            ("{", "unexpected end of JSON input"),
            (r#"{"a":"#, "unexpected end of JSON input"),
            (r#"{"a""#, "unexpected end of JSON input"),
            ("x", "invalid character 'x' looking for beginning of value"),
            ("\u{ef}", "invalid character 'Ã' looking for beginning of value"),
            ("{'a':1}", r"invalid character '\'' looking for beginning of object key string"),
            (r#"{"a":"b",}"#, "invalid character '}' looking for beginning of object key string"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            (r#"{"a" 1}"#, "invalid character '1' after object key"),
            (r#"{"a":1 2}"#, "invalid character '2' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("{} x", "invalid character 'x' after top-level value"),
            ("{}{}", "invalid character '{' after top-level value"),
            (r#"{"a":tru}"#, "invalid character '}' in literal true (expecting 'e')"),
            ("\"a\n\"", r"invalid character '\n' in string literal"),
            (r#""\x""#, "invalid character 'x' in string escape code"),
            (r#""\u00g0""#, r"invalid character 'g' in \u hexadecimal character escape"),
            ("-x", "invalid character 'x' in numeric literal"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            ("1ex", "invalid character 'x' in exponent of numeric literal"),
            ("01", "invalid character '1' after top-level value"),
        ] {
            assert_eq!(error(text.as_bytes()).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(error(r#" {"a":[1,-0.5e+3,"\u00e9",null,true,{}],"b":{"c":[]}} "#.as_bytes()), None);
        let deep = "[".repeat(10_001);
        assert_eq!(error(deep.as_bytes()).as_deref(), Some("invalid character '[' exceeded max depth"));
    }
}
