//! What has parts: names with their arguments, messages, lists and maps.

use std::sync::Arc;

use super::{Parsed, Parser, Stop, Sub};
use crate::{
    ast::{Element, Entry, Expr, FieldInit, Kind},
    escape::RESERVED,
    lexer::{Token, shown},
    source::Offset,
};

impl Parser<'_> {
    /// An identifier, a call of a global function, or a message literal `a.b.C{…}`.
    pub(super) fn name(&mut self) -> Parsed<Sub> {
        let start = self.at();
        let dot = if self.take(".").is_some() { "." } else { "" };
        let at = self.at();
        let Token::Ident(name) = self.peek().clone() else {
            let text = shown(&self.tokens[self.next].text);
            self.issue(at, format!("Syntax error: no viable alternative at input '.{text}'"));
            return Err(Stop);
        };
        if let Some(full) = self.message_name() {
            return self.message(&format!("{dot}{full}"));
        }
        self.next += 1;
        // The first four are tokens of their own.
        if RESERVED[4..].contains(&&*name) {
            let reserved = self.wrong(start, format!("reserved identifier: {name}"));
            if self.take("(").is_some() {
                self.args(")")?;
            }
            return Ok(reserved);
        }
        let name: Arc<str> = format!("{dot}{name}").into();
        if self.is("(") {
            let open = self.at();
            self.next += 1;
            let (args, height) = self.args(")")?;
            return self.call(open, &name, None, args, height);
        }
        Ok(self.make(at, Kind::Ident(name), 0))
    }

    /// Whether `a.b.C{` stands here: the name.
    fn message_name(&self) -> Option<String> {
        let (mut ahead, mut full) = (0, String::new());
        loop {
            let Token::Ident(name) = self.peek_at(ahead) else { return None };
            full.push_str(name);
            if self.is_at(ahead + 1, "{") {
                return Some(full);
            }
            if !self.is_at(ahead + 1, ".") {
                return None;
            }
            full.push('.');
            ahead += 2;
        }
    }

    fn message(&mut self, name: &str) -> Parsed<Sub> {
        while self.peek() != &Token::Sign("{") {
            self.next += 1;
        }
        let id = {
            let at = self.at();
            self.node(at)
        };
        self.next += 1;
        let (mut fields, mut height) = (Vec::new(), 0);
        while self.take("}").is_none() {
            if self.take(",").is_some() {
                self.expect("}")?;
                break;
            }
            let optional = self.take("?").is_some();
            let field = match self.peek().clone() {
                Token::Ident(name) => name,
                Token::Escaped(_) => {
                    let at = self.at();
                    self.issue(at, "unsupported syntax: '`'");
                    return Err(Stop);
                }
                _ => {
                    self.unexpected("mismatched", "{'}', ',', '?', IDENTIFIER, ESC_IDENTIFIER}");
                    return Err(Stop);
                }
            };
            self.next += 1;
            let colon = self.expect(":")?;
            let init = self.node(colon);
            let value = self.expr()?;
            height = height.max(value.height);
            fields.push(FieldInit { id: init, name: field, value: value.expr, optional });
            if !self.ends("}") {
                self.expect(",")?;
            }
        }
        Ok(Sub { expr: Expr { id, kind: Kind::Struct { name: name.into(), fields } }, height })
    }

    pub(super) fn list(&mut self, at: Offset) -> Parsed<Sub> {
        let id = self.node(at);
        let (mut elements, mut height) = (Vec::new(), 0);
        while self.take("]").is_none() {
            if self.take(",").is_some() {
                self.expect("]")?;
                break;
            }
            if self.peek() == &Token::Eof {
                return self.no_operand("{'[', ']', '{', '(', '.', ',', '?', ");
            }
            let optional = self.take("?").is_some();
            let value = self.expr()?;
            height = height.max(value.height);
            elements.push(Element { value: value.expr, optional });
            if !self.goes_on("]")? {
                break;
            }
        }
        Ok(Sub { expr: Expr { id, kind: Kind::List(elements) }, height })
    }

    pub(super) fn map(&mut self, at: Offset) -> Parsed<Sub> {
        let id = self.node(at);
        let (mut entries, mut height) = (Vec::new(), 0);
        while self.take("}").is_none() {
            if self.take(",").is_some() {
                self.expect("}")?;
                break;
            }
            if self.peek() == &Token::Eof {
                let expected = "{'[', '{', '}', '(', '.', ',', '-', '!', '?', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, \
                                NUM_UINT, STRING, BYTES, IDENTIFIER}";
                self.unexpected("mismatched", expected);
                return Err(Stop);
            }
            let optional = self.take("?").is_some();
            let key = self.expr()?;
            self.expect(":")?;
            let value = self.expr()?;
            height = height.max(key.height).max(value.height);
            entries.push(Entry { key: key.expr, value: value.expr, optional });
            if !self.goes_on("}")? {
                break;
            }
        }
        Ok(Sub { expr: Expr { id, kind: Kind::Map(entries) }, height })
    }

    /// Passes what stands behind an element; whether another one, or the end, may follow.
    fn goes_on(&mut self, close: &'static str) -> Parsed<bool> {
        if self.ends(close) {
            return Ok(true);
        }
        if self.is(",") {
            self.next += 1;
            return Ok(true);
        }
        self.expect(close)?;
        Ok(false)
    }
}
