//! Label selectors (`apimachinery/pkg/labels`) and field selectors (`pkg/fields`).
//!
//! ```text
//! a=b,c!=d,e in (x,y),f notin (x),g,!h,i>3,j<4
//! ```

mod fields;
mod lexer;

use serde_json::Value;

pub use self::fields::{FieldRequirement, FieldSelector};
use self::lexer::{Lexer, Token};
use crate::names;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    Equals,
    NotEquals,
    GreaterThan,
    LessThan,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    pub key: String,
    pub op: Op,
    pub values: Vec<String>,
}

/// `labelSelector=`; without requirements it matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    pub requirements: Vec<Requirement>,
}

/// Display is upstream's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub String);

impl LabelSelector {
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut lexer = Lexer::new(text);
        let mut requirements = Vec::new();
        loop {
            match lexer.peek() {
                Token::Identifier(_) | Token::Not => {
                    let read = requirement(&mut lexer);
                    requirements
                        .push(read.map_err(|error| SelectorError(format!("unable to parse requirement: {error}")))?);
                    match lexer.next() {
                        Token::End => break,
                        Token::Comma => match lexer.peek() {
                            Token::Identifier(_) | Token::Not => {}
                            other => return Err(found(other, "identifier after ','")),
                        },
                        other => return Err(found(&other, "',' or 'end of string'")),
                    }
                }
                Token::End => break,
                other => return Err(found(other, "!, identifier, or 'end of string'")),
            }
        }
        // Upstream sorts by key, which decides the order of a canonical text.
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { requirements })
    }

    /// From a `metav1.LabelSelector`; null selects nothing upstream, which callers decide, so it is an error here.
    pub fn from_object(selector: &Value) -> Result<Self, SelectorError> {
        let Value::Object(selector) = selector else {
            return Err(SelectorError("a label selector must be an object".to_owned()));
        };
        let mut requirements = Vec::new();
        if let Some(Value::Object(labels)) = selector.get("matchLabels") {
            for (key, value) in labels {
                let values = vec![value.as_str().unwrap_or_default().to_owned()];
                requirements.push(checked(key.clone(), Op::In, values)?);
            }
        }
        for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let word = expression.get("operator").and_then(Value::as_str).unwrap_or_default();
            let op = match word {
                "In" => Op::In,
                "NotIn" => Op::NotIn,
                "Exists" => Op::Exists,
                "DoesNotExist" => Op::DoesNotExist,
                _ => return Err(SelectorError(format!("{word:?} is not a valid label selector operator"))),
            };
            let key = expression.get("key").and_then(Value::as_str).unwrap_or_default().to_owned();
            let values = expression.get("values").and_then(Value::as_array);
            let values =
                values.into_iter().flatten().filter_map(|value| value.as_str().map(ToOwned::to_owned)).collect();
            requirements.push(checked(key, op, values)?);
        }
        Ok(Self { requirements })
    }

    /// `labels` is `metadata.labels` (or null).
    #[must_use]
    pub fn matches(&self, labels: &Value) -> bool {
        self.requirements
            .iter()
            .all(|requirement| requirement.matches(labels.get(&requirement.key).and_then(Value::as_str)))
    }

    /// As [`matches`](Self::matches), of labels that are found by `label`.
    #[must_use]
    pub fn matches_by<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|requirement| requirement.matches(label(&requirement.key)))
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }
}

impl Requirement {
    fn matches(&self, value: Option<&str>) -> bool {
        let listed = |value: &str| self.values.iter().any(|other| other == value);
        let number = |text: &str| text.parse::<i64>().ok();
        let bound = || self.values.first().and_then(|text| number(text));
        match self.op {
            Op::In | Op::Equals => value.is_some_and(listed),
            Op::NotIn | Op::NotEquals => !value.is_some_and(listed),
            Op::Exists => value.is_some(),
            Op::DoesNotExist => value.is_none(),
            Op::GreaterThan => value.and_then(number).zip(bound()).is_some_and(|(value, bound)| value > bound),
            Op::LessThan => value.and_then(number).zip(bound()).is_some_and(|(value, bound)| value < bound),
        }
    }
}

fn found(token: &Token, expected: &str) -> SelectorError {
    SelectorError(format!("found '{}', expected: {expected}", token.text()))
}

fn requirement(lexer: &mut Lexer<'_>) -> Result<Requirement, SelectorError> {
    let absent = *lexer.peek() == Token::Not;
    if absent {
        lexer.next();
    }
    let key = match lexer.next() {
        Token::Identifier(key) => key,
        other => return Err(found(&other, "identifier")),
    };
    check_key(&key)?;
    if absent {
        return checked(key, Op::DoesNotExist, Vec::new());
    }
    let op = match lexer.peek() {
        Token::End | Token::Comma => return checked(key, Op::Exists, Vec::new()),
        Token::Equals => Op::Equals,
        Token::NotEquals => Op::NotEquals,
        Token::Greater => Op::GreaterThan,
        Token::Less => Op::LessThan,
        Token::Identifier(word) if word == "in" => Op::In,
        Token::Identifier(word) if word == "notin" => Op::NotIn,
        other => return Err(found(other, "in, notin, =, ==, !=, gt, lt")),
    };
    lexer.next();
    let values = if matches!(op, Op::In | Op::NotIn) { set(lexer)? } else { vec![exact(lexer)?] };
    checked(key, op, values)
}

/// A value; none at all is the empty string.
fn exact(lexer: &mut Lexer<'_>) -> Result<String, SelectorError> {
    match lexer.peek() {
        Token::End | Token::Comma => Ok(String::new()),
        _ => match lexer.next() {
            Token::Identifier(value) => Ok(value),
            other => Err(found(&other, "identifier")),
        },
    }
}

fn set(lexer: &mut Lexer<'_>) -> Result<Vec<String>, SelectorError> {
    match lexer.next() {
        Token::Open => {}
        // Without a comma, upstream.
        other => return Err(SelectorError(format!("found '{}' expected: '('", other.text()))),
    }
    let mut values = Vec::new();
    loop {
        match lexer.next() {
            Token::Identifier(value) => {
                values.push(value);
                match lexer.next() {
                    Token::Comma => {
                        if *lexer.peek() == Token::Close {
                            values.push(String::new());
                        }
                    }
                    Token::Close => break,
                    other => return Err(found(&other, "',' or ')'")),
                }
            }
            // `(,a)` and `(a,,b)` hold empty values.
            Token::Comma => values.push(String::new()),
            Token::Close => {
                if values.is_empty() {
                    values.push(String::new());
                }
                break;
            }
            other => return Err(found(&other, "',', ')' or identifier")),
        }
    }
    values.sort();
    values.dedup();
    Ok(values)
}

fn check_key(key: &str) -> Result<(), SelectorError> {
    let wrong = names::qualified_name(key);
    if wrong.is_empty() {
        return Ok(());
    }
    Err(SelectorError(format!("<nil>: Invalid value: {key:?}: {}", wrong.join("; "))))
}

fn checked(key: String, op: Op, values: Vec<String>) -> Result<Requirement, SelectorError> {
    let invalid = |field: &str, shown: String, detail: &str| {
        Err(SelectorError(format!("{field}: Invalid value: {shown}: {detail}")))
    };
    check_key(&key)?;
    match op {
        Op::In | Op::NotIn if values.is_empty() => {
            return invalid("values", "[]".into(), "for 'in', 'notin' operators, values set can't be empty");
        }
        Op::Exists | Op::DoesNotExist if !values.is_empty() => {
            return invalid(
                "values",
                Value::from(values).to_string(),
                "values set must be empty for exists and does not exist",
            );
        }
        Op::GreaterThan | Op::LessThan if values.first().is_none_or(|text| text.parse::<i64>().is_err()) => {
            let text = values.first().map_or("", String::as_str);
            return invalid("values[0]", format!("{text:?}"), "for 'Gt', 'Lt' operators, the value must be an integer");
        }
        _ => {}
    }
    for (at, value) in values.iter().enumerate() {
        let wrong = names::label_value(value);
        if !wrong.is_empty() {
            return invalid(&format!("values[{at}][{key}]"), format!("{value:?}"), &wrong.join("; "));
        }
    }
    Ok(Requirement { key, op, values })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn matching() {
        let labels = json!({"app":"web","tier":"front","n":"5"});
        for (selector, expected) in [
            ("", true),
            ("app=web", true),
            ("app==web,tier!=back", true),
            ("app in (web, db)", true),
            ("app notin (web)", false),
            ("none notin (web)", true),
            ("app", true),
            ("!app", false),
            ("!none", true),
            ("none!=x", true),
            ("n>4,n<6", true),
            ("n>5", false),
            ("app>1", false),
            ("app=", false),
            (" app = web ", true),
        ] {
            assert_eq!(LabelSelector::parse(selector).unwrap().matches(&labels), expected, "{selector}");
        }
        assert!(!LabelSelector::parse("a=b").unwrap().matches(&Value::Null));
    }

    #[test]
    fn errors_name_what_was_found() {
        for (text, message) in [
            ("a=b,", "found '', expected: identifier after ','"),
            ("a=b=c", "found '=', expected: ',' or 'end of string'"),
            ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
            ("a in b", "unable to parse requirement: found 'b' expected: '('"),
            ("=a", "found '=', expected: !, identifier, or 'end of string'"),
            ("!", "unable to parse requirement: found '', expected: identifier"),
        ] {
            assert_eq!(LabelSelector::parse(text).unwrap_err().to_string(), message, "{text}");
        }
        assert!(LabelSelector::parse("a>b").unwrap_err().0.contains("must be an integer"));
        assert!(LabelSelector::parse("-a").unwrap_err().0.contains("name part must consist of"));
    }

    #[test]
    fn objects() {
        let selector = LabelSelector::from_object(&json!({
            "matchLabels":{"a":"1"},
            "matchExpressions":[{"key":"b","operator":"NotIn","values":["2"]},{"key":"c","operator":"DoesNotExist"}]
        }))
        .unwrap();
        assert!(selector.matches(&json!({"a":"1","b":"3"})));
        assert!(!selector.matches(&json!({"a":"1","b":"2"})));
        assert!(!selector.matches(&json!({"a":"1","c":""})));
        let wrong = json!({"matchExpressions":[{"key":"b","operator":"Like"}]});
        assert_eq!(
            LabelSelector::from_object(&wrong).unwrap_err().0,
            "\"Like\" is not a valid label selector operator"
        );
    }
}
