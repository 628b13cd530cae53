//! Where in a JSON text its values are: for complaints, which Go makes in the order of the text and with its numbers as they were
//! written. Only for texts that were read before.

use std::ops::Range;

/// Calls `visit` with the path and the place of every field and item, each before those below it; keys given twice too. Of lists
/// and objects the place is empty.
pub(super) fn walk(bytes: &[u8], visit: &mut dyn FnMut(&str, Range<usize>)) {
    Spans { bytes, at: 0, visit }.value(&mut String::new());
}

struct Spans<'a> {
    bytes: &'a [u8],
    at: usize,
    visit: &'a mut dyn FnMut(&str, Range<usize>),
}

impl Spans<'_> {
    fn value(&mut self, path: &mut String) {
        self.space();
        let close = match self.peek() {
            Some(b'{') => b'}',
            Some(b'[') => b']',
            _ => {
                self.at = end(self.bytes, self.at);
                return;
            }
        };
        self.at += 1;
        let mut index = 0;
        loop {
            self.space();
            match self.peek() {
                None => return,
                Some(b',') => self.at += 1,
                Some(byte) if byte == close => {
                    self.at += 1;
                    return;
                }
                Some(_) => {
                    let length = path.len();
                    if close == b']' {
                        path.push_str(&format!("[{index}]"));
                    } else {
                        if length > 0 {
                            path.push('.');
                        }
                        path.push_str(&self.key());
                    }
                    self.space();
                    (self.visit)(path, self.at..end(self.bytes, self.at));
                    self.value(path);
                    path.truncate(length);
                    index += 1;
                }
            }
        }
    }

    /// `"key":`
    fn key(&mut self) -> String {
        let start = self.at;
        self.at = end(self.bytes, self.at);
        let key = serde_json::from_slice(&self.bytes[start..self.at]).unwrap_or_default();
        self.space();
        self.at += 1;
        key
    }

    fn space(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }
}

/// Where a string, a number or a word ends; of a list or an object, where it begins.
fn end(bytes: &[u8], start: usize) -> usize {
    let rest = bytes.get(start..).unwrap_or_default();
    let length = match rest.first() {
        Some(b'"') => {
            let mut escaped = false;
            let closing = rest.iter().skip(1).position(|byte| {
                let closing = *byte == b'"' && !escaped;
                escaped = *byte == b'\\' && !escaped;
                closing
            });
            closing.map_or(rest.len(), |at| at + 2)
        }
        _ => {
            let delimiter = |byte: &u8| byte.is_ascii_whitespace() || b",:{}[]".contains(byte);
            rest.iter().position(delimiter).unwrap_or(rest.len())
        }
    };
    start + length
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_value_is_visited_in_order() {
        let text = br#" {"b": 1e3, "a": [ -0.5 ,{"x":"}\"],"}], "b" : null, "c":{}} "#;
        let mut seen = Vec::new();
        super::walk(text, &mut |path, place| {
            seen.push(format!("{path}={}", String::from_utf8_lossy(&text[place])));
        });
        let expected = ["b=1e3", "a=", "a[0]=-0.5", "a[1]=", r#"a[1].x="}\"],""#, "b=null", "c="];
        assert_eq!(seen, expected);
    }
}
