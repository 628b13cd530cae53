//! `fieldPath` of a rule: `.spec.names['a-b']`, through properties and maps, not lists (`ValidFieldPath`).

use schema::field::Path;
use serde_json::Value as Json;

/// The path as field errors write it, or what is wrong with it.
pub(super) fn parse(path: &str, schema: &Json) -> Result<String, String> {
    let mut out: Option<Path> = None;
    let mut schema = schema;
    let mut rest = path;
    while !rest.is_empty() {
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
    Ok(out.map(|path| path.to_string()).unwrap_or_default())
}

/// The name at the front of a path, and what follows it.
fn step(path: &str) -> Result<(String, &str), String> {
    if let Some(rest) = path.strip_prefix('.') {
        let end = rest.find(['.', '[', ']']).unwrap_or(rest.len());
        if end == 0 {
            return Err("unexpected end of JSON path".to_owned());
        }
        return Ok((rest[..end].to_owned(), &rest[end..]));
    }
    let Some(rest) = path.strip_prefix('[') else { return Err(format!("expected [ or . but got: {path}")) };
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
