//! Text to syntax tree: recursive descent by binding power, in cel-go's grammar, with its words for what is wrong.
//!
//! Bounded as cel-go's parser is: 100,000 characters, 250 levels of nesting. Of several syntax errors only those before the
//! first that cannot be skipped are reported.

mod compound;
mod literal;

use std::sync::Arc;

use crate::{
    ast::{Ast, Expr, Id, Kind, Literal},
    lexer::{self, Spanned, Token, shown},
    macros,
    source::{Issue, Offset, Source},
};

const MAX_CHARS: usize = 100_000;
const MAX_DEPTH: u32 = 250;
/// Macros copy their target; chained, that doubles the tree each time.
const MAX_NODES: usize = 200_000;

/// What may begin an expression, as ANTLR lists it.
const OPERANDS: &str = "'-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";

pub(crate) struct Parser<'a> {
    source: &'a Source,
    tokens: Vec<Spanned>,
    next: usize,
    places: Vec<Offset>,
    issues: Vec<Issue>,
    depth: u32,
    /// Whether `cel.bind` is a macro here.
    pub(crate) bindings: bool,
}

/// A node, and the height of the tree below it by cel-go's count.
struct Sub {
    expr: Expr,
    height: u32,
}

/// Parsing cannot go on; the issue is recorded.
struct Stop;

type Parsed<T> = Result<T, Stop>;

pub(crate) fn parse(text: &str, source: &Source, bindings: bool) -> Result<Ast, Vec<Issue>> {
    let size = text.chars().count();
    if size > MAX_CHARS {
        let message = format!("expression code point size exceeds limit: size: {size}, limit {MAX_CHARS}");
        return Err(vec![Issue { line: -1, column: -1, message }]);
    }
    let (tokens, unread) = lexer::tokens(text);
    let mut parser = Parser { source, tokens, next: 0, places: Vec::new(), issues: Vec::new(), depth: 0, bindings };
    for (at, message) in unread {
        parser.issue(at, format!("Syntax error: {message}"));
    }
    let root = parser.expr();
    if root.is_ok() && parser.peek() != &Token::Eof {
        let lone = parser.peek_at(1) == &Token::Eof;
        parser.unexpected(if lone { "extraneous" } else { "mismatched" }, "<EOF>");
    }
    match root {
        Ok(root) if parser.issues.is_empty() => Ok(Ast { root: root.expr, places: parser.places }),
        _ => Err(parser.issues),
    }
}

/// Binary operators: how tightly they bind and the function they call.
fn binary(token: &Token) -> Option<(u8, &'static str)> {
    let Token::Sign(sign) = token else { return None };
    Some(match *sign {
        "||" => (1, "_||_"),
        "&&" => (2, "_&&_"),
        "<" => (3, "_<_"),
        "<=" => (3, "_<=_"),
        ">" => (3, "_>_"),
        ">=" => (3, "_>=_"),
        "==" => (3, "_==_"),
        "!=" => (3, "_!=_"),
        "in" => (3, "@in"),
        "+" => (4, "_+_"),
        "-" => (4, "_-_"),
        "*" => (5, "_*_"),
        "/" => (5, "_/_"),
        "%" => (5, "_%_"),
        _ => return None,
    })
}

impl Parser<'_> {
    pub(crate) fn node(&mut self, at: Offset) -> Id {
        self.places.push(at);
        Id::try_from(self.places.len() - 1).unwrap_or(Id::MAX)
    }

    pub(crate) fn place(&self, id: Id) -> Offset {
        self.places.get(id as usize).copied().unwrap_or(Offset(0))
    }

    fn make(&mut self, at: Offset, kind: Kind, height: u32) -> Sub {
        Sub { expr: Expr { id: self.node(at), kind }, height }
    }

    fn issue(&mut self, at: Offset, message: impl Into<String>) {
        let issue = self.source.issue(at, message);
        self.issues.push(issue);
    }

    /// A wrong but well-formed part: reported, and something stands in for it.
    fn wrong(&mut self, at: Offset, message: impl Into<String>) -> Sub {
        self.issue(at, message);
        self.make(at, Kind::Literal(Literal::Null), 0)
    }

    fn peek(&self) -> &Token {
        self.peek_at(0)
    }

    fn peek_at(&self, ahead: usize) -> &Token {
        &self.tokens[(self.next + ahead).min(self.tokens.len() - 1)].token
    }

    fn at(&self) -> Offset {
        self.tokens[self.next.min(self.tokens.len() - 1)].at
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.peek(), Token::Sign(found) if *found == sign)
    }

    fn is_at(&self, ahead: usize, sign: &str) -> bool {
        matches!(self.peek_at(ahead), Token::Sign(found) if *found == sign)
    }

    /// Whether a list ends here, perhaps after a last comma.
    fn ends(&self, close: &str) -> bool {
        self.is(close) || self.is(",") && self.is_at(1, close)
    }

    fn take(&mut self, sign: &str) -> Option<Offset> {
        let at = self.at();
        self.is(sign).then(|| {
            self.next += 1;
            at
        })
    }

    fn unexpected(&mut self, how: &str, expected: &str) {
        let found = &self.tokens[self.next.min(self.tokens.len() - 1)];
        let (at, text) = (found.at, shown(&found.text));
        self.issue(at, format!("Syntax error: {how} input '{text}' expecting {expected}"));
    }

    /// Takes a sign that must come here, as ANTLR's `match` recovers.
    fn expect(&mut self, sign: &str) -> Parsed<Offset> {
        if let Some(at) = self.take(sign) {
            return Ok(at);
        }
        if self.is_at(1, sign) {
            self.unexpected("extraneous", &format!("'{sign}'"));
            self.next += 1;
            return self.take(sign).ok_or(Stop);
        }
        let closes = matches!(sign, ")" | "]" | "}");
        let follows = self.peek() == &Token::Eof || binary(self.peek()).is_some() || self.is(".") || self.is("?");
        if closes && follows {
            let found = &self.tokens[self.next.min(self.tokens.len() - 1)];
            let (at, text) = (found.at, shown(&found.text));
            self.issue(at, format!("Syntax error: missing '{sign}' at '{text}'"));
        } else {
            self.unexpected("mismatched", &format!("'{sign}'"));
        }
        Err(Stop)
    }

    fn expr(&mut self) -> Parsed<Sub> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let message = format!("expression recursion limit exceeded: {MAX_DEPTH}");
            self.issues.push(Issue { line: -1, column: -1, message });
            return Err(Stop);
        }
        let condition = self.operators(0)?;
        let result = match self.take("?") {
            None => condition,
            Some(at) => {
                let id = self.node(at);
                let then = self.operators(0)?;
                self.expect(":")?;
                let other = self.expr()?;
                let height = 1 + condition.height.max(then.height).max(other.height);
                self.high(height)?;
                let args = vec![condition.expr, then.expr, other.expr];
                Sub { expr: Expr { id, kind: Kind::Call { function: "_?_:_".into(), target: None, args } }, height }
            }
        };
        self.depth -= 1;
        Ok(result)
    }

    fn high(&mut self, height: u32) -> Parsed<()> {
        if height > MAX_DEPTH {
            let message = "max recursion depth exceeded".to_owned();
            self.issues.push(Issue { line: -1, column: -1, message });
            return Err(Stop);
        }
        Ok(())
    }

    /// Operators that bind tighter than `floor`, left to right.
    fn operators(&mut self, floor: u8) -> Parsed<Sub> {
        let mut left = self.unary()?;
        while let Some((power, function)) = binary(self.peek()).filter(|(power, _)| *power > floor) {
            if power <= 2 {
                left = self.logic(left, power, function)?;
                continue;
            }
            let at = self.at();
            self.next += 1;
            let right = self.operators(power)?;
            let height = 1 + left.height.max(right.height);
            self.high(height)?;
            let args = vec![left.expr, right.expr];
            left = self.make(at, Kind::Call { function: function.into(), target: None, args }, height);
        }
        Ok(left)
    }

    /// A run of `&&` or of `||`, as a balanced tree.
    fn logic(&mut self, first: Sub, power: u8, function: &'static str) -> Parsed<Sub> {
        let (mut terms, mut signs) = (vec![Some(first)], Vec::new());
        while binary(self.peek()).is_some_and(|(next, _)| next == power) {
            let at = self.at();
            self.next += 1;
            let term = self.operators(power)?;
            signs.push(self.node(at));
            terms.push(Some(term));
        }
        Ok(balanced(function, &mut terms, &signs))
    }

    fn unary(&mut self) -> Parsed<Sub> {
        for (sign, function) in [("!", "!_"), ("-", "-_")] {
            if !self.is(sign) {
                continue;
            }
            let at = self.at();
            let number = matches!(self.peek_at(1), Token::Int(_) | Token::Float(_));
            if sign == "-" && number {
                return self.member();
            }
            let mut count = 0;
            // The last of several minus signs belongs to the number.
            while self.is(sign)
                && !(sign == "-" && count > 0 && matches!(self.peek_at(1), Token::Int(_) | Token::Float(_)))
            {
                self.next += 1;
                count += 1;
            }
            let operand = self.member()?;
            if count % 2 == 0 {
                return Ok(operand);
            }
            let height = operand.height;
            let args = vec![operand.expr];
            return Ok(self.make(at, Kind::Call { function: function.into(), target: None, args }, height));
        }
        self.member()
    }

    fn member(&mut self) -> Parsed<Sub> {
        let mut operand = self.primary()?;
        loop {
            operand = if let Some(at) = self.take(".") {
                self.selection(operand, at)?
            } else if let Some(at) = self.take("[") {
                self.index(operand, at)?
            } else {
                return Ok(operand);
            };
            self.high(operand.height)?;
        }
    }

    /// What follows a dot: `field`, `?field` or `method(args)`.
    fn selection(&mut self, operand: Sub, at: Offset) -> Parsed<Sub> {
        let optional = self.take("?").is_some();
        let field_at = self.at();
        let field = self.field_name(optional)?;
        if optional {
            let name = Expr { id: self.node(field_at), kind: Kind::Literal(Literal::String(field)) };
            let height = operand.height + 1;
            let args = vec![operand.expr, name];
            return Ok(self.make(at, Kind::Call { function: "_?._".into(), target: None, args }, height));
        }
        if let Some(open) = self.take("(") {
            let (args, height) = self.args(")")?;
            let height = 1 + height.max(operand.height);
            return self.call(open, &field, Some(operand.expr), args, height);
        }
        let height = operand.height + 1;
        Ok(self.make(at, Kind::Select { operand: Box::new(operand.expr), field, test: false }, height))
    }

    fn field_name(&mut self, optional: bool) -> Parsed<Arc<str>> {
        let at = self.at();
        match self.peek().clone() {
            Token::Ident(name) => {
                self.next += 1;
                return Ok(name);
            }
            Token::Escaped(_) => self.issue(at, "unsupported syntax: '`'"),
            Token::Sign("true" | "false" | "null" | "in") | Token::Eof => {
                self.unexpected("mismatched", if optional { "{IDENTIFIER, ESC_IDENTIFIER}" } else { "IDENTIFIER" });
            }
            _ => {
                let text = shown(&self.tokens[self.next].text);
                self.issue(at, format!("Syntax error: no viable alternative at input '.{text}'"));
            }
        }
        Err(Stop)
    }

    fn index(&mut self, operand: Sub, at: Offset) -> Parsed<Sub> {
        let function = if self.take("?").is_some() { "_[?_]" } else { "_[_]" };
        let id = self.node(at);
        let index = self.expr()?;
        self.expect("]")?;
        let height = 1 + operand.height.max(index.height);
        let args = vec![operand.expr, index.expr];
        Ok(Sub { expr: Expr { id, kind: Kind::Call { function: function.into(), target: None, args } }, height })
    }

    fn call(
        &mut self,
        at: Offset,
        function: &Arc<str>,
        target: Option<Expr>,
        mut args: Vec<Expr>,
        height: u32,
    ) -> Parsed<Sub> {
        let id = self.node(at);
        if self.places.len() > MAX_NODES {
            self.issue(at, "expression too large");
            return Err(Stop);
        }
        let mut target = target;
        match macros::expand(self, id, function, &mut target, &mut args) {
            Ok(Some(expr)) => Ok(Sub { expr, height }),
            Ok(None) => {
                let kind = Kind::Call { function: function.clone(), target: target.map(Box::new), args };
                Ok(Sub { expr: Expr { id, kind }, height })
            }
            Err((about, message)) => {
                let at = about.map_or(at, |id| self.place(id));
                Ok(self.wrong(at, message))
            }
        }
    }

    /// Expressions up to the closing sign, and the height of the highest.
    fn args(&mut self, close: &str) -> Parsed<(Vec<Expr>, u32)> {
        let (mut args, mut height) = (Vec::new(), 0);
        if self.take(close).is_some() {
            return Ok((args, height));
        }
        loop {
            let arg = self.expr()?;
            height = height.max(arg.height);
            args.push(arg.expr);
            if self.take(",").is_none() {
                self.expect(close)?;
                return Ok((args, height));
            }
        }
    }

    /// Kept small, as `expr`, `operators`, `unary` and `member`: all of them stand on the stack for each level of nesting.
    fn primary(&mut self) -> Parsed<Sub> {
        let at = self.at();
        if self.take("(").is_some() {
            let inner = self.expr()?;
            self.expect(")")?;
            return Ok(inner);
        }
        if self.take("[").is_some() {
            return self.list(at);
        }
        if self.take("{").is_some() {
            return self.map(at);
        }
        if self.is(".") || matches!(self.peek(), Token::Ident(_)) {
            return self.name();
        }
        self.literal(at)
    }
}

/// cel-go's balancer: the middle operator is the root.
fn balanced(function: &'static str, terms: &mut [Option<Sub>], signs: &[Id]) -> Sub {
    let mid = signs.len() / 2;
    let (low, high) = terms.split_at_mut(mid + 1);
    let half = |terms: &mut [Option<Sub>], signs: &[Id]| match terms {
        [one] => one.take().expect("each term is used once"),
        _ => balanced(function, terms, signs),
    };
    let left = half(low, &signs[..mid]);
    let right = half(high, &signs[mid + 1..]);
    let height = left.height.max(right.height);
    let args = vec![left.expr, right.expr];
    Sub { expr: Expr { id: signs[mid], kind: Kind::Call { function: function.into(), target: None, args } }, height }
}
