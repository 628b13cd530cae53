//! Field selectors: `metadata.name=x,status.phase!=Running`, with `\`, `,` and `=` escaped by a backslash.

use std::borrow::Cow;

use super::SelectorError;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRequirement {
    pub field: String,
    pub equal: bool,
    pub value: String,
}

/// `fieldSelector=`; which fields a kind can select by is the caller's knowledge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    pub requirements: Vec<FieldRequirement>,
}

impl FieldSelector {
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut requirements = Vec::new();
        for term in terms(text) {
            if term.is_empty() {
                continue;
            }
            let invalid = || SelectorError(format!("invalid selector: '{text}'; can't understand '{term}'"));
            let (field, equal, value) = split(term).ok_or_else(invalid)?;
            let value = unescape(value).map_err(|wrong| SelectorError(format!("invalid field selector: {wrong}")))?;
            requirements.push(FieldRequirement { field: field.to_owned(), equal, value });
        }
        Ok(Self { requirements })
    }

    /// `lookup` gives a field's text ("" when unset).
    #[must_use]
    pub fn matches<'a>(&self, lookup: impl Fn(&str) -> Cow<'a, str>) -> bool {
        self.requirements
            .iter()
            .all(|requirement| (lookup(&requirement.field) == requirement.value) == requirement.equal)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The value a field must have, if one requirement says so (`metadata.name=x` narrows a list to one key).
    #[must_use]
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.requirements
            .iter()
            .find(|requirement| requirement.equal && requirement.field == field)
            .map(|found| found.value.as_str())
    }
}

/// Split at commas that are not escaped.
fn terms(text: &str) -> Vec<&str> {
    let (mut out, mut start, mut escaped) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                out.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    out.push(&text[start..]);
    out
}

fn split(term: &str) -> Option<(&str, bool, &str)> {
    for (at, _) in term.char_indices() {
        let rest = &term[at..];
        for (operator, equal) in [("!=", false), ("==", true), ("=", true)] {
            if let Some(value) = rest.strip_prefix(operator) {
                return Some((&term[..at], equal, value));
            }
        }
    }
    None
}

fn unescape(value: &str) -> Result<String, String> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(next) if "\\,=".contains(next) => out.push(next),
                next => return Err(format!("invalid escape sequence: \\{}", next.map_or(String::new(), String::from))),
            },
            ',' | '=' => return Err(format!("unescaped character in value: {}", u32::from(c))),
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_and_match() {
        let selector = FieldSelector::parse(r"metadata.name=a\,b,status.phase!=Running").unwrap();
        assert_eq!(selector.exact("metadata.name"), Some("a,b"));
        let lookup = |phase: &'static str| {
            move |field: &str| Cow::Borrowed(if field == "metadata.name" { "a,b" } else { phase })
        };
        assert!(selector.matches(lookup("Pending")));
        assert!(!selector.matches(lookup("Running")));
        assert!(FieldSelector::parse("").unwrap().is_empty());
        assert_eq!(FieldSelector::parse("a").unwrap_err().0, "invalid selector: 'a'; can't understand 'a'");
        for (text, wrong) in [
            (r"a=\x", r"invalid escape sequence: \x"),
            (r"a=b\", r"invalid escape sequence: \"),
            ("a=b=c", "unescaped character in value: 61"),
        ] {
            assert_eq!(FieldSelector::parse(text).unwrap_err().0, format!("invalid field selector: {wrong}"));
        }
    }
}
