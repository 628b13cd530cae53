//! Strings: CEL's own functions and `ext/strings.go` version 2. Positions count characters.

use crate::{
    decl::{Call, Row},
    format,
    operators::{MAX_MADE, int, text, too_large},
    value::{EvalResult, Value, failed, no_overload},
};

pub(crate) const ROWS: &[Row] = &[
    ("contains", contains, &["contains_string string.(string) bool"]),
    ("startsWith", starts_with, &["starts_with_string string.(string) bool"]),
    ("endsWith", ends_with, &["ends_with_string string.(string) bool"]),
    ("charAt", char_at, &["string_char_at_int string.(int) string"]),
    (
        "indexOf",
        index_of,
        &["string_index_of_string string.(string) int", "string_index_of_string_int string.(string, int) int"],
    ),
    (
        "lastIndexOf",
        last_index_of,
        &[
            "string_last_index_of_string string.(string) int",
            "string_last_index_of_string_int string.(string, int) int",
        ],
    ),
    ("lowerAscii", lower_ascii, &["string_lower_ascii string.() string"]),
    ("upperAscii", upper_ascii, &["string_upper_ascii string.() string"]),
    (
        "replace",
        replace,
        &[
            "string_replace_string_string string.(string, string) string",
            "string_replace_string_string_int string.(string, string, int) string",
        ],
    ),
    (
        "split",
        split,
        &[
            "string_split_string string.(string) list<string>",
            "string_split_string_int string.(string, int) list<string>",
        ],
    ),
    (
        "substring",
        substring,
        &["string_substring_int string.(int) string", "string_substring_int_int string.(int, int) string"],
    ),
    ("trim", trim, &["string_trim string.() string"]),
    ("format", format_string, &["string_format string.(list<dyn>) string"]),
    ("strings.quote", quote, &["strings_quote (string) string"]),
    ("join", join, &["list_join list<string>.() string", "list_join_string list<string>.(string) string"]),
    ("jsonpatch.escapeKey", escape_key, &["string_jsonpatch_escapeKey_string (string) string"]),
];

fn contains<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    Ok(Value::Bool(text(&args[0])?.contains(text(&args[1])?)))
}

fn starts_with<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    Ok(Value::Bool(text(&args[0])?.starts_with(text(&args[1])?)))
}

fn ends_with<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    Ok(Value::Bool(text(&args[0])?.ends_with(text(&args[1])?)))
}

fn char_at<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    let (subject, index) = (text(&args[0])?, int(&args[1])?);
    let length = subject.chars().count();
    match usize::try_from(index) {
        Ok(at) if at <= length => Ok(Value::string(subject.chars().skip(at).take(1).collect::<String>())),
        _ => failed(format!("index out of range: {index}")),
    }
}

fn number(at: Option<usize>) -> Value<'static> {
    Value::Int(at.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1))
}

fn index_of<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    let (subject, wanted) = (text(&args[0])?, text(&args[1])?);
    let offset = args.get(2).map_or(Ok(0), int)?;
    if wanted.is_empty() {
        return Ok(Value::Int(offset));
    }
    let Ok(from) = usize::try_from(offset) else { return failed(format!("index out of range: {offset}")) };
    let Some((start, _)) = subject.char_indices().nth(from) else { return Ok(Value::Int(-1)) };
    Ok(number(subject[start..].find(wanted).map(|at| from + subject[start..start + at].chars().count())))
}

fn last_index_of<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    let (subject, wanted) = (text(&args[0])?, text(&args[1])?);
    let length = subject.chars().count();
    let offset = match args.get(2) {
        Some(offset) => int(offset)?,
        None if wanted.is_empty() => return Ok(number(Some(length))),
        None if length == 0 => return Ok(Value::Int(-1)),
        None => i64::try_from(length - 1).unwrap_or(i64::MAX),
    };
    if wanted.is_empty() {
        return Ok(Value::Int(offset));
    }
    let Ok(last) = usize::try_from(offset) else { return failed(format!("index out of range: {offset}")) };
    if last >= length {
        return Ok(Value::Int(-1));
    }
    let starts: Vec<usize> = subject.char_indices().map(|(at, _)| at).collect();
    Ok(number((0..=last).rev().find(|at| subject[starts[*at]..].starts_with(wanted))))
}

fn lower_ascii<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    Ok(Value::string(text(&args[0])?.to_ascii_lowercase()))
}

fn upper_ascii<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    Ok(Value::string(text(&args[0])?.to_ascii_uppercase()))
}

fn replace<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    let (subject, old, new) = (text(&args[0])?, text(&args[1])?, text(&args[2])?);
    let limit = usize::try_from(args.get(3).map_or(Ok(-1), int)?).unwrap_or(usize::MAX);
    let times = if old.is_empty() { subject.chars().count() + 1 } else { subject.matches(old).count() }.min(limit);
    if subject.len().saturating_add(times.saturating_mul(new.len())) > MAX_MADE {
        return too_large();
    }
    Ok(Value::string(subject.replacen(old, new, times)))
}

fn split<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    let (subject, separator) = (text(&args[0])?, text(&args[1])?);
    let limit = args.get(2).map_or(Ok(-1), int)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let parts: Vec<Value<'a>> = if limit == 0 {
        Vec::new()
    } else if separator.is_empty() {
        // Between all characters; the last part takes the rest.
        let mut parts = Vec::new();
        let mut rest = subject;
        while parts.len() + 1 < limit && rest.chars().nth(1).is_some() {
            let end = rest.char_indices().nth(1).map_or(rest.len(), |(at, _)| at);
            parts.push(Value::string(&rest[..end]));
            rest = &rest[end..];
        }
        if !rest.is_empty() {
            parts.push(Value::string(rest));
        }
        parts
    } else {
        subject.splitn(limit, separator).map(Value::string).collect()
    };
    Ok(Value::list(parts))
}

fn substring<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    let (subject, start) = (text(&args[0])?, int(&args[1])?);
    let length = i64::try_from(subject.chars().count()).unwrap_or(i64::MAX);
    let end = args.get(2).map_or(Ok(length), int)?;
    if args.len() > 2 && start > end {
        return failed(format!("invalid substring range. start: {start}, end: {end}"));
    }
    for index in [start, end] {
        if !(0..=length).contains(&index) {
            return failed(format!("index out of range: {index}"));
        }
    }
    let (from, count) = (usize::try_from(start).unwrap_or(0), usize::try_from(end - start).unwrap_or(0));
    Ok(Value::string(subject.chars().skip(from).take(count).collect::<String>()))
}

fn trim<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    Ok(Value::string(text(&args[0])?.trim()))
}

fn format_string<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    let Value::List(list) = &args[1] else { return no_overload() };
    format::format(text(&args[0])?, list).map(Value::string)
}

fn quote<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    let mut out = String::from('"');
    for c in text(&args[0])?.chars() {
        match c {
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out.push('"');
    Ok(Value::string(out))
}

fn join<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    let Value::List(list) = &args[0] else { return no_overload() };
    let separator = args.get(1).map_or(Ok(""), text)?;
    let mut out = String::new();
    for (at, value) in list.iter().enumerate() {
        let value = value?;
        let Value::String(part) = &value else { return failed(format!("join: invalid input: {value}")) };
        if at > 0 {
            out.push_str(separator);
        }
        out.push_str(part);
        if out.len() > MAX_MADE {
            return too_large();
        }
    }
    Ok(Value::string(out))
}

/// A key as a segment of a JSON pointer.
fn escape_key<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    Ok(Value::string(text(&args[0])?.replace('~', "~0").replace('/', "~1")))
}
