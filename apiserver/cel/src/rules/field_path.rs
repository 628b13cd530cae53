//! Paths to fields in definitions, as rules and selectable fields give them: `.spec.names['a-b']`, through properties and maps, not lists (`ValidFieldPath`).

use schema::field::Path;
use serde_json::Value as Json;

/// A path through a schema.
#[derive(Debug)]
pub struct FieldPath<'a> {
    /// As field errors write it.
    pub text: String,
    /// What the path leads to.
    pub schema: &'a Json,
}

/// The `fieldPath` of a rule as field errors write it, or what is wrong with it.
pub(super) fn parse(path: &str, schema: &Json) -> Result<String, String> {
    resolve(path, schema, true).map(|found| found.text)
}

/// Follows a path; `brackets` if `['name']` may stand for `.name`.
///
/// # Errors
/// What is wrong with the path, in upstream's words.
pub fn resolve<'a>(path: &str, schema: &'a Json, brackets: bool) -> Result<FieldPath<'a>, String> {
    let mut out: Option<Path> = None;
    let mut schema = schema;
    let mut rest = path;
    while !rest.is_empty() {
        if !brackets && rest.starts_with('[') {
            return Err("array notation is not allowed".to_owned());
        }
        let name;
        (name, rest) = step(rest)?;
        let here = out.take().unwrap_or_default();
        let properties = schema.get("properties").and_then(Json::as_object);
        let values = schema.get("additionalProperties").filter(|values| values.is_object());
        (out, schema) = match (properties, values) {
            (Some(properties), _) => {
                (Some(here.child(&name)), properties.get(&name).ok_or("does not refer to a valid field")?)
            }
            (None, Some(values)) => (Some(here.key(&name)), values),
            (None, None) => return Err("does not refer to a valid field".to_owned()),
        };
    }
    Ok(FieldPath { text: out.map(|path| path.to_string()).unwrap_or_default(), schema })
}

/// The name at the front of a path, and what follows it.
fn step(path: &str) -> Result<(String, &str), String> {
    if let Some(rest) = path.strip_prefix('.') {
        if rest.is_empty() {
            return Err("unexpected end of JSON path".to_owned());
        }
        let end = rest.find(['.', '[', ']']).unwrap_or(rest.len());
        return Ok((rest[..end].to_owned(), &rest[end..]));
    }
    let Some(rest) = path.strip_prefix('[') else {
        let end = path.find(['.', '[', ']']).unwrap_or(path.len());
        return Err(format!("expected [ or . but got: {}", &path[..end]));
    };
    let Some(quoted) = rest.strip_prefix('\'') else {
        return Err(format!("expected single quoted string but got {rest}"));
    };
    let mut name = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\'' => {
                let after = &quoted[at + 1..];
                let after = after.strip_prefix(']').ok_or_else(|| format!("expected ] but got {after}"))?;
                return Ok((name, after));
            }
            '\\' => name.push(match chars.next().map(|(_, c)| c) {
                Some('a') => '\x07',
                Some('b') => '\x08',
                Some('f') => '\x0c',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some('v') => '\x0b',
                Some(c @ ('\'' | '\\')) => c,
                _ => return Err("invalid string literal".to_owned()),
            }),
            c => name.push(c),
        }
    }
    Err("unexpected end of JSON path".to_owned())
}
