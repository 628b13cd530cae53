//! Expression text, places in it, and errors shown the way cel-go shows them (`common/error.go`).

use std::fmt::Write as _;

/// The text of an expression. Offsets count characters, not bytes.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    text: String,
    /// The offset at which each line begins.
    lines: Vec<u32>,
}

/// Where in the source an AST node stands: an offset in characters, or nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Offset(pub u32);

/// An error and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// From 1; 0 where there is no place, as cel-go's `NoLocation` (-1) comes out.
    pub line: i64,
    /// From 0, in characters.
    pub column: i64,
    pub message: String,
}

impl Source {
    pub(crate) fn new(text: &str) -> Self {
        let newlines = text.chars().enumerate().filter(|(_, c)| *c == '\n');
        let starts = newlines.map(|(at, _)| u32::try_from(at + 1).unwrap_or(u32::MAX));
        Self { text: text.to_owned(), lines: std::iter::once(0).chain(starts).collect() }
    }

    pub(crate) fn issue(&self, at: Offset, message: impl Into<String>) -> Issue {
        let line = self.lines.partition_point(|start| *start <= at.0).max(1);
        Issue {
            line: i64::try_from(line).unwrap_or(i64::MAX),
            // There is no place in nothing.
            column: if self.text.is_empty() { -1 } else { i64::from(at.0 - self.lines[line - 1]) },
            message: message.into(),
        }
    }

    /// All issues in the order of their places, each with its line of source and a caret.
    pub(crate) fn show(&self, issues: &[Issue]) -> String {
        let mut sorted: Vec<&Issue> = issues.iter().collect();
        sorted.sort_by_key(|issue| (issue.line, issue.column));
        sorted.iter().map(|issue| self.show_one(issue)).collect::<Vec<_>>().join("\n")
    }

    fn show_one(&self, issue: &Issue) -> String {
        const MAX_SNIPPET: usize = 16384;
        let mut out = format!("ERROR: <input>:{}:{}: {}", issue.line, issue.column + 1, issue.message);
        let index = usize::try_from(issue.line - 1).ok();
        let line = index.filter(|_| !self.text.is_empty()).and_then(|line| self.text.split('\n').nth(line));
        let snippet = line.filter(|line| line.len() <= MAX_SNIPPET);
        if let Some(snippet) = snippet {
            let snippet = snippet.replace('\t', " ");
            let _ = write!(out, "\n | {snippet}\n | ");
            let column = usize::try_from(issue.column).unwrap_or(0);
            let mut chars = snippet.chars();
            out.extend(chars.by_ref().take(column).map(|c| if c.len_utf8() > 1 { '\u{ff0e}' } else { '.' }));
            out.push(if chars.next().is_some_and(|c| c.len_utf8() > 1) { '\u{ff3e}' } else { '^' });
        }
        out
    }
}
