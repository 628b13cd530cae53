//! Tokens of a label selector.

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Identifier(String),
    Not,
    Equals,
    NotEquals,
    Greater,
    Less,
    Open,
    Close,
    Comma,
    End,
    Error(String),
}

impl Token {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Identifier(text) | Self::Error(text) => text,
            Self::Not => "!",
            Self::Equals => "=",
            Self::NotEquals => "!=",
            Self::Greater => ">",
            Self::Less => "<",
            Self::Open => "(",
            Self::Close => ")",
            Self::Comma => ",",
            Self::End => "",
        }
    }
}

pub(super) struct Lexer<'a> {
    rest: &'a str,
    ahead: Token,
}

fn special(c: char) -> bool {
    "=!(),<>".contains(c)
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let mut lexer = Self { rest: text, ahead: Token::End };
        lexer.ahead = lexer.scan();
        lexer
    }

    pub(super) fn peek(&self) -> &Token {
        &self.ahead
    }

    pub(super) fn next(&mut self) -> Token {
        let following = self.scan();
        std::mem::replace(&mut self.ahead, following)
    }

    fn scan(&mut self) -> Token {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let Some(first) = self.rest.chars().next() else { return Token::End };
        let end = if special(first) {
            // Runs of operator characters stay together only where that makes an operator.
            match self.rest.get(..2) {
                Some("==" | "!=") => 2,
                _ => 1,
            }
        } else {
            self.rest.find(|c: char| special(c) || c.is_ascii_whitespace()).unwrap_or(self.rest.len())
        };
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        match text {
            "!" => Token::Not,
            "=" | "==" => Token::Equals,
            "!=" => Token::NotEquals,
            ">" => Token::Greater,
            "<" => Token::Less,
            "(" => Token::Open,
            ")" => Token::Close,
            "," => Token::Comma,
            text if text.chars().any(char::is_control) => Token::Error(text.to_owned()),
            text => Token::Identifier(text.to_owned()),
        }
    }
}
