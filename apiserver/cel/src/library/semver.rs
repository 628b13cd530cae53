//! Semantic versions, version 2.0.0 of the specification, in the words of blang/semver.

use std::{cmp::Ordering, sync::Arc};

use super::Extension;
use crate::{
    decl::{Call, Row},
    operators::text,
    value::{EvalError, EvalResult, Value, failed, no_overload},
};

pub(crate) const ROWS: &[Row] = &[
    (
        "semver",
        semver,
        &["string_to_semver (string) kubernetes.Semver", "string_bool_to_semver (string, bool) kubernetes.Semver"],
    ),
    ("isSemver", is_semver, &["is_semver_string (string) bool", "is_semver_string_bool (string, bool) bool"]),
    ("isGreaterThan", is_greater, &["semver_is_greater_than kubernetes.Semver.(kubernetes.Semver) bool"]),
    ("isLessThan", is_less, &["semver_is_less_than kubernetes.Semver.(kubernetes.Semver) bool"]),
    ("compareTo", compare_to, &["semver_compare_to kubernetes.Semver.(kubernetes.Semver) int"]),
    ("major", major, &["semver_major kubernetes.Semver.() int"]),
    ("minor", minor, &["semver_minor kubernetes.Semver.() int"]),
    ("patch", patch, &["semver_patch kubernetes.Semver.() int"]),
];

/// A version; build metadata has no part in its order.
#[derive(Clone, Debug)]
pub struct Semver {
    numbers: [u64; 3],
    pre: Vec<Identifier>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Identifier {
    Number(u64),
    Text(String),
}

fn number(part: &str, name: &str) -> Result<u64, String> {
    if part.is_empty() || !part.bytes().all(|c| c.is_ascii_digit()) {
        return Err(format!("Invalid character(s) found in {name} number {part:?}"));
    }
    if part.len() > 1 && part.starts_with('0') {
        return Err(format!("{} number must not contain leading zeroes {part:?}", capitalised(name)));
    }
    part.parse().map_err(|_| format!("strconv.ParseUint: parsing {part:?}: value out of range"))
}

fn capitalised(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(chars).collect()
}

impl Semver {
    fn parse(version: &str) -> Result<Self, String> {
        if version.is_empty() {
            return Err("Version string empty".to_owned());
        }
        let parts: Vec<&str> = version.splitn(3, '.').collect();
        let [major, minor, rest] = parts[..] else { return Err("No Major.Minor.Patch elements found".to_owned()) };
        let (major, minor) = (number(major, "major")?, number(minor, "minor")?);
        let (rest, build) = rest.split_once('+').map_or((rest, None), |(rest, build)| (rest, Some(build)));
        let (patch, pre) = rest.split_once('-').map_or((rest, None), |(patch, pre)| (patch, Some(pre)));
        let patch = number(patch, "patch")?;
        let allowed = |part: &str| part.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
        let mut identifiers = Vec::new();
        for part in pre.into_iter().flat_map(|pre| pre.split('.')) {
            if part.is_empty() {
                return Err("Prerelease is empty".to_owned());
            }
            identifiers.push(if part.bytes().all(|c| c.is_ascii_digit()) {
                if part.len() > 1 && part.starts_with('0') {
                    return Err(format!("Numeric PreRelease version must not contain leading zeroes {part:?}"));
                }
                Identifier::Number(
                    part.parse().map_err(|_| format!("strconv.ParseUint: parsing {part:?}: value out of range"))?,
                )
            } else if allowed(part) {
                Identifier::Text(part.to_owned())
            } else {
                return Err(format!("Invalid character(s) found in prerelease {part:?}"));
            });
        }
        for part in build.into_iter().flat_map(|build| build.split('.')) {
            if part.is_empty() {
                return Err("Build meta data is empty".to_owned());
            }
            if !allowed(part) {
                return Err(format!("Invalid character(s) found in build meta data {part:?}"));
            }
        }
        Ok(Self { numbers: [major, minor, patch], pre: identifiers })
    }

    /// Forgives a leading `v`, missing minor and patch numbers, and leading zeros.
    fn parse_tolerant(version: &str) -> Result<Self, String> {
        let version = version.strip_prefix('v').unwrap_or(version);
        let mut parts: Vec<String> = version.splitn(3, '.').map(ToOwned::to_owned).collect();
        for part in parts.iter_mut().filter(|part| part.len() > 1) {
            let trimmed = part.trim_start_matches('0');
            let digit = trimmed.starts_with(|c: char| c.is_ascii_digit());
            *part = if digit { trimmed.to_owned() } else { format!("0{trimmed}") };
        }
        if parts.len() < 3 {
            if parts.last().is_some_and(|last| last.contains(['+', '-'])) {
                return Err("short version cannot contain PreRelease/Build meta data".to_owned());
            }
            parts.resize(3, "0".to_owned());
        }
        Self::parse(&parts.join("."))
    }

    pub(crate) fn cmp(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                let mut pairs = self.pre.iter().zip(&other.pre);
                let first = pairs.find_map(|(a, b)| {
                    let order = match (a, b) {
                        (Identifier::Number(a), Identifier::Number(b)) => a.cmp(b),
                        (Identifier::Number(_), Identifier::Text(_)) => Ordering::Less,
                        (Identifier::Text(_), Identifier::Number(_)) => Ordering::Greater,
                        (Identifier::Text(a), Identifier::Text(b)) => a.cmp(b),
                    };
                    order.is_ne().then_some(order)
                });
                first.unwrap_or_else(|| self.pre.len().cmp(&other.pre.len()))
            }
        })
    }
}

fn parse(args: &[Value<'_>]) -> Result<Result<Semver, String>, EvalError> {
    let version = text(&args[0])?;
    Ok(match args.get(1) {
        Some(Value::Bool(true)) => Semver::parse_tolerant(version),
        _ => Semver::parse(version),
    })
}

fn of<'v>(value: &'v Value<'_>) -> Result<&'v Semver, EvalError> {
    match value {
        Value::Extension(Extension::Semver(version)) => Ok(version),
        _ => no_overload(),
    }
}

fn semver<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    match parse(args)? {
        Ok(version) => Ok(Value::Extension(Extension::Semver(Arc::new(version)))),
        Err(error) => failed(error),
    }
}

fn is_semver<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    parse(args).map(|parsed| Value::Bool(parsed.is_ok()))
}

fn is_greater<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    Ok(Value::Bool(of(&args[0])?.cmp(of(&args[1])?).is_gt()))
}

fn is_less<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    Ok(Value::Bool(of(&args[0])?.cmp(of(&args[1])?).is_lt()))
}

fn compare_to<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    Ok(Value::Int(of(&args[0])?.cmp(of(&args[1])?) as i64))
}

fn numbered<'a>(args: &[Value<'a>], at: usize) -> EvalResult<'a> {
    Ok(Value::Int(i64::try_from(of(&args[0])?.numbers[at]).unwrap_or(i64::MAX)))
}

fn major<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    numbered(args, 0)
}

fn minor<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    numbered(args, 1)
}

fn patch<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    numbered(args, 2)
}
