//! Tokens of CEL, after cel-go's grammar (`parser/gen/CEL.g4`).

use std::sync::Arc;

use crate::source::Offset;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    /// Operators, punctuation and the keywords `in`, `true`, `false`, `null`.
    Sign(&'static str),
    Ident(Arc<str>),
    /// `` `a-b` ``: allowed by the grammar, refused by the parser.
    Escaped(Arc<str>),
    Int(String),
    Uint(String),
    Float(String),
    /// As written, prefix and quotes included.
    String(String),
    Bytes(String),
    Eof,
}

#[derive(Clone, Debug)]
pub(crate) struct Spanned {
    pub token: Token,
    pub at: Offset,
    /// As ANTLR shows it.
    pub text: String,
}

/// Longest first.
const SIGNS: [&str; 25] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "[", "]", "{", "}", "(", ")", ".", ",", "-", "!", "?", ":", "+", "*",
    "/", "%", "in",
];

struct Lexer<'a> {
    chars: &'a [char],
    at: usize,
}

/// The tokens, the last of which is [`Token::Eof`], and what could not be read.
pub(crate) fn tokens(text: &str) -> (Vec<Spanned>, Vec<(Offset, String)>) {
    let chars: Vec<char> = text.chars().collect();
    let mut lexer = Lexer { chars: &chars, at: 0 };
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    loop {
        lexer.skip_blank();
        let start = lexer.at;
        let at = offset(start);
        if start >= chars.len() {
            out.push(Spanned { token: Token::Eof, at, text: "<EOF>".to_owned() });
            return (out, errors);
        }
        match lexer.next() {
            Ok(token) => out.push(Spanned { token, at, text: chars[start..lexer.at].iter().collect() }),
            Err(end) => {
                let end = end.clamp(start + 1, chars.len());
                let seen: String = chars[start..end].iter().collect();
                errors.push((at, format!("token recognition error at: '{}'", shown(&seen))));
                lexer.at = end;
            }
        }
    }
}

fn offset(at: usize) -> Offset {
    Offset(u32::try_from(at).unwrap_or(u32::MAX))
}

/// ANTLR shows line ends escaped.
pub(crate) fn shown(text: &str) -> String {
    text.replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t")
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn skip_blank(&mut self) {
        loop {
            match self.peek(0) {
                '\t' | ' ' | '\r' | '\n' | '\u{c}' => self.at += 1,
                '/' if self.peek(1) == '/' => {
                    while self.at < self.chars.len() && self.peek(0) != '\n' {
                        self.at += 1;
                    }
                }
                _ => return,
            }
        }
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let start = self.at;
        while self.at < self.chars.len() && wanted(self.peek(0)) {
            self.at += 1;
        }
        self.chars[start..self.at].iter().collect()
    }

    /// The next token; where reading failed otherwise.
    fn next(&mut self) -> Result<Token, usize> {
        let c = self.peek(0);
        if let Some(prefix) = self.string_prefix() {
            return self.string(prefix);
        }
        if c.is_ascii_alphabetic() || c == '_' {
            let name = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
            return Ok(match name.as_str() {
                "in" => Token::Sign("in"),
                "true" => Token::Sign("true"),
                "false" => Token::Sign("false"),
                "null" => Token::Sign("null"),
                _ => Token::Ident(name.into()),
            });
        }
        if c.is_ascii_digit() || (c == '.' && self.peek(1).is_ascii_digit()) {
            return Ok(self.number());
        }
        if c == '`' {
            let start = self.at;
            self.at += 1;
            let name = self.take_while(|c| c.is_ascii_alphanumeric() || "_.-/ ".contains(c));
            let end = self.at;
            if name.is_empty() || self.peek(0) != '`' {
                self.at = start;
                return Err(end + 1);
            }
            self.at += 1;
            return Ok(Token::Escaped(name.into()));
        }
        for sign in SIGNS {
            if sign.chars().enumerate().all(|(ahead, wanted)| self.peek(ahead) == wanted) {
                self.at += sign.len();
                return Ok(Token::Sign(sign));
            }
        }
        Err(if matches!(c, '|' | '&' | '=') { self.at + 2 } else { self.at + 1 })
    }

    fn number(&mut self) -> Token {
        if self.peek(0) == '0' && self.peek(1) == 'x' && self.peek(2).is_ascii_hexdigit() {
            self.at += 2;
            let digits = self.take_while(|c| c.is_ascii_hexdigit());
            return self.integer(format!("0x{digits}"));
        }
        let mut text = self.take_while(|c| c.is_ascii_digit());
        let mut float = false;
        if self.peek(0) == '.' && self.peek(1).is_ascii_digit() {
            self.at += 1;
            float = true;
            text.push('.');
            text.push_str(&self.take_while(|c| c.is_ascii_digit()));
        }
        let signed = usize::from(matches!(self.peek(1), '+' | '-'));
        if matches!(self.peek(0), 'e' | 'E') && self.peek(1 + signed).is_ascii_digit() {
            float = true;
            text.extend(&self.chars[self.at..=self.at + signed]);
            self.at += 1 + signed;
            text.push_str(&self.take_while(|c| c.is_ascii_digit()));
        }
        if float { Token::Float(text) } else { self.integer(text) }
    }

    fn integer(&mut self, text: String) -> Token {
        if matches!(self.peek(0), 'u' | 'U') {
            self.at += 1;
            return Token::Uint(text);
        }
        Token::Int(text)
    }

    /// The length of the prefix (`r`, `b`, `br`), if a string begins here.
    fn string_prefix(&self) -> Option<usize> {
        let quote = |ahead| matches!(self.peek(ahead), '"' | '\'');
        let raw = |ahead| matches!(self.peek(ahead), 'r' | 'R');
        match self.peek(0) {
            '"' | '\'' => Some(0),
            'r' | 'R' if quote(1) => Some(1),
            'b' | 'B' if quote(1) => Some(1),
            'b' | 'B' if raw(1) && quote(2) => Some(2),
            _ => None,
        }
    }

    fn string(&mut self, prefix: usize) -> Result<Token, usize> {
        let start = self.at;
        let bytes = matches!(self.peek(0), 'b' | 'B');
        let raw = (0..prefix).any(|ahead| matches!(self.peek(ahead), 'r' | 'R'));
        let quote = self.peek(prefix);
        let triple = self.peek(prefix + 1) == quote && self.peek(prefix + 2) == quote;
        let mut at = start + prefix + if triple { 3 } else { 1 };
        loop {
            let Some(c) = self.chars.get(at).copied() else { return Err(at) };
            let closes = if triple { self.chars[at..].starts_with(&[quote, quote, quote]) } else { c == quote };
            if closes {
                at += if triple { 3 } else { 1 };
                break;
            }
            if !triple && matches!(c, '\n' | '\r') {
                return Err(at + 1);
            }
            if c == '\\' && !raw {
                at += escape_length(&self.chars[at..]).ok_or(at + 2)?;
            } else {
                at += 1;
            }
        }
        self.at = at;
        let text: String = self.chars[start..at].iter().collect();
        Ok(if bytes { Token::Bytes(text) } else { Token::String(text) })
    }
}

fn escape_length(chars: &[char]) -> Option<usize> {
    let hex = |count: usize| {
        let digits = chars.get(2..2 + count)?;
        digits.iter().all(char::is_ascii_hexdigit).then_some(2 + count)
    };
    match chars.get(1)? {
        'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '"' | '\'' | '\\' | '?' | '`' => Some(2),
        'x' | 'X' => hex(2),
        'u' => hex(4),
        'U' => hex(8),
        '0'..='3' => {
            let digits = chars.get(2..4)?;
            digits.iter().all(|c| ('0'..='7').contains(c)).then_some(4)
        }
        _ => None,
    }
}

/// The value of a string or bytes token.
pub(crate) fn unescape(token: &str, bytes: bool) -> Result<Vec<u8>, &'static str> {
    let text = if bytes { &token[1..] } else { token };
    let raw = text.starts_with(['r', 'R']);
    let text = if raw { &text[1..] } else { text };
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let quotes = if text.len() >= 6 && (text.starts_with("'''") || text.starts_with("\"\"\"")) { 3 } else { 1 };
    let body = &text[quotes..text.len() - quotes];
    if raw || !body.contains('\\') {
        return Ok(body.as_bytes().to_vec());
    }
    let mut out = Vec::with_capacity(body.len());
    let mut chars = body.chars();
    let mut utf8 = [0; 4];
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes());
            continue;
        }
        let kind = chars.clone().next();
        let mut code = |digits: usize, radix: u32, first: u32| {
            (0..digits).try_fold(first, |code, _| Some(code * radix + chars.next()?.to_digit(radix)?))
        };
        let escaped = match kind {
            Some('x' | 'X') => {
                code(1, 36, 0);
                code(2, 16, 0)
            }
            Some('u' | 'U') if bytes => return Err("unable to unescape string"),
            Some('u') => {
                code(1, 36, 0);
                code(4, 16, 0)
            }
            Some('U') => {
                code(1, 36, 0);
                code(8, 16, 0)
            }
            Some('0'..='3') => code(3, 8, 0),
            _ => None,
        };
        if let Some(value) = escaped {
            if bytes {
                out.push(u8::try_from(value).map_err(|_| "unable to unescape string")?);
            } else {
                let c = char::from_u32(value).ok_or("invalid unicode code point")?;
                out.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes());
            }
            continue;
        }
        out.push(match chars.next() {
            Some('a') => 7,
            Some('b') => 8,
            Some('f') => 12,
            Some('n') => b'\n',
            Some('r') => b'\r',
            Some('t') => b'\t',
            Some('v') => 11,
            Some(c @ ('\\' | '\'' | '"' | '`' | '?')) => c as u8,
            _ => return Err("unable to unescape string"),
        });
    }
    Ok(out)
}
