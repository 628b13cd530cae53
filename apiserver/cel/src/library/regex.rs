//! `matches`, `find` and `findAll`. Rust's engine and Go's are both RE2's kin.

use regex::{Regex, RegexBuilder};

use crate::{
    decl::{Call, Row},
    operators::{int, text},
    value::{EvalError, EvalResult, Value, failed},
};

pub(crate) const ROWS: &[Row] = &[
    ("matches", matches, &["matches (string, string) bool", "matches_string string.(string) bool"]),
    ("find", find, &["string_find_string string.(string) string"]),
    (
        "findAll",
        find_all,
        &[
            "string_find_all_string string.(string) list<string>",
            "string_find_all_string_int string.(string, int) list<string>",
        ],
    ),
];

/// Compiles a pattern. The bound on its program is what a pattern of the longest expression could need within reason.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    let build = |text: &str| RegexBuilder::new(text).size_limit(1 << 20).dfa_size_limit(1 << 20).build();
    // Unicode classes that this build has no tables for mean their ASCII part.
    if let Some(why) = schema::crd::regexp::refused(pattern) {
        return Err(why);
    }
    build(pattern)
        .or_else(|error| build(&format!("(?-u:{pattern})")).map_err(|_| error))
        .map_err(|error| schema::crd::regexp::error(pattern, &error.to_string()))
}

fn with<'a, T>(
    call: &Call<'_>,
    args: &[Value<'a>],
    illegal: &str,
    run: impl FnOnce(&Regex, &str) -> T,
) -> Result<T, EvalError> {
    let subject = text(&args[0])?;
    if let Some(regex) = call.regex {
        return Ok(run(regex, subject));
    }
    match compile(text(&args[1])?) {
        Ok(regex) => Ok(run(&regex, subject)),
        Err(error) => failed(format!("{illegal}{error}")),
    }
}

fn matches<'a>(call: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    with(call, args, "", |regex, subject| Value::Bool(regex.is_match(subject)))
}

fn find<'a>(call: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    with(call, args, "Illegal regex: ", |regex, subject| {
        Value::string(regex.find(subject).map(|found| found.as_str()).unwrap_or_default())
    })
}

fn find_all<'a>(call: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    let limit = args.get(2).map_or(Ok(-1), int)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    with(call, args, "Illegal regex: ", |regex, subject| {
        Value::list(regex.find_iter(subject).take(limit).map(|found| Value::string(found.as_str())).collect())
    })
}
