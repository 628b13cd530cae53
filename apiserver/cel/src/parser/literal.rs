//! Constants, and what is said where none stands.

use super::{OPERANDS, Parsed, Parser, Stop, Sub};
use crate::{
    ast::{Kind, Literal},
    lexer::{self, Token},
    source::Offset,
};

impl Parser<'_> {
    pub(super) fn literal(&mut self, at: Offset) -> Parsed<Sub> {
        let token = self.peek().clone();
        match token {
            Token::Sign("-") => self.number_after_minus(),
            Token::Sign(word @ ("true" | "false")) => {
                self.next += 1;
                Ok(self.make(at, Kind::Literal(Literal::Bool(word == "true")), 0))
            }
            Token::Sign("null") => {
                self.next += 1;
                Ok(self.make(at, Kind::Literal(Literal::Null), 0))
            }
            Token::Int(text) => {
                self.next += 1;
                Ok(self.int(at, &text, ""))
            }
            Token::Float(text) => {
                self.next += 1;
                Ok(self.float(at, &text))
            }
            Token::Uint(text) => {
                self.next += 1;
                let parsed = match text.strip_prefix("0x") {
                    Some(hex) => u64::from_str_radix(hex, 16),
                    None => text.parse(),
                };
                Ok(match parsed {
                    Ok(value) => self.make(at, Kind::Literal(Literal::Uint(value)), 0),
                    Err(_) => self.wrong(at, "invalid uint literal"),
                })
            }
            Token::String(text) => {
                self.next += 1;
                Ok(match lexer::unescape(&text, false).map(String::from_utf8) {
                    Ok(Ok(value)) => self.make(at, Kind::Literal(Literal::String(value.into())), 0),
                    Ok(Err(_)) => self.wrong(at, "unable to unescape string"),
                    Err(message) => self.wrong(at, message),
                })
            }
            Token::Bytes(text) => {
                self.next += 1;
                Ok(match lexer::unescape(&text, true) {
                    Ok(value) => self.make(at, Kind::Literal(Literal::Bytes(value.into())), 0),
                    Err(message) => self.wrong(at, message),
                })
            }
            Token::Sign(_) | Token::Ident(_) | Token::Escaped(_) | Token::Eof => {
                self.no_operand("{'[', '{', '(', '.', ")
            }
        }
    }

    /// What stands here begins no expression: skipped if the next does.
    pub(super) fn no_operand(&mut self, begin: &str) -> Parsed<Sub> {
        let begins = match self.peek_at(1) {
            Token::Sign(sign) => matches!(*sign, "[" | "{" | "(" | "." | "-" | "!" | "true" | "false" | "null"),
            Token::Eof | Token::Escaped(_) => false,
            _ => true,
        };
        let expected = format!("{begin}{OPERANDS}");
        if begins && self.peek() != &Token::Eof {
            self.unexpected("extraneous", &expected);
            self.next += 1;
            return self.unary();
        }
        self.unexpected("mismatched", &expected);
        Err(Stop)
    }

    pub(super) fn number_after_minus(&mut self) -> Parsed<Sub> {
        let at = self.at();
        match self.peek_at(1).clone() {
            Token::Int(text) => {
                self.next += 2;
                Ok(self.int(at, &text, "-"))
            }
            Token::Float(text) => {
                self.next += 2;
                Ok(self.float(at, &format!("-{text}")))
            }
            _ => {
                self.issue(at, "Syntax error: no viable alternative at input '-'");
                Err(Stop)
            }
        }
    }

    fn int(&mut self, at: Offset, text: &str, sign: &str) -> Sub {
        let parsed = match text.strip_prefix("0x") {
            Some(hex) => i64::from_str_radix(&format!("{sign}{hex}"), 16),
            None => format!("{sign}{text}").parse(),
        };
        match parsed {
            Ok(value) => self.make(at, Kind::Literal(Literal::Int(value)), 0),
            Err(_) => self.wrong(at, "invalid int literal"),
        }
    }

    fn float(&mut self, at: Offset, text: &str) -> Sub {
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => self.make(at, Kind::Literal(Literal::Double(value)), 0),
            _ => self.wrong(at, "invalid double literal"),
        }
    }
}
