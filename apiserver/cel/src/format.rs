//! `string.format(list)` (cel-go `ext/formatting.go`, the locale `en_US`), and numbers as Go prints them.

use std::fmt::Write as _;

use crate::{
    library::Extension,
    operators::MAX_MADE,
    types::Type,
    value::{EvalError, List, Value, failed},
};

/// Go's `strconv.FormatFloat(v, 'g', -1, 64)`.
pub(crate) fn go_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// Go's `%.{precision}e`.
fn go_scientific(value: f64, precision: usize) -> String {
    let text = format!("{value:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits = format!("{:02}", exponent.abs());
    let raised: String =
        digits.chars().map(|c| "⁰¹²³⁴⁵⁶⁷⁸⁹".chars().nth(c as usize - '0' as usize).unwrap_or(c)).collect();
    format!("{mantissa}\u{202f}×\u{202f}10{}{raised}", if exponent < 0 { "⁻" } else { "" })
}

/// `%.{precision}f` with the thousands grouped.
fn grouped(value: f64, precision: usize) -> String {
    let text = format!("{:.precision$}", value.abs());
    let (whole, fraction) = text.split_once('.').map_or((&*text, None), |(whole, fraction)| (whole, Some(fraction)));
    let mut out = if value.is_sign_negative() { "-".to_owned() } else { String::new() };
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    if let Some(fraction) = fraction {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

/// The text of a format string with the list's values in it.
pub(crate) fn format(text: &str, args: &List<'_>) -> Result<String, EvalError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut next = 0;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let Some(arg) = args.get(next) else { return failed(format!("index {next} out of range")) };
        let arg = arg?;
        if rest.is_empty() {
            return failed(CUT_SHORT);
        }
        let (clause, precision, after) =
            clause(rest).map_err(|why| EvalError::Failed(format!("could not parse formatting clause: {why}")))?;
        let piece = apply(clause, precision, &arg)
            .map_err(|why| EvalError::Failed(format!("error during formatting: {why}")))?;
        out.push_str(&piece);
        if out.len() > MAX_MADE {
            return failed("formatted string is too long");
        }
        rest = after;
        next += 1;
    }
    out.push_str(rest);
    Ok(out)
}

/// A format string that ends with a `%`; this is seen before arguments are counted.
pub(crate) const CUT_SHORT: &str = "unexpected end of string";

/// The clauses of a format string in their order, up to the first that cannot be read.
pub(crate) fn clauses(text: &str) -> Vec<Result<char, String>> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            rest = after;
            continue;
        }
        if rest.is_empty() {
            out.push(Err(CUT_SHORT.to_owned()));
            break;
        }
        match clause(rest) {
            Ok((clause, _, after)) => {
                out.push(Ok(clause));
                rest = after;
            }
            Err(why) => {
                out.push(Err(format!("could not parse formatting clause: {why}")));
                break;
            }
        }
    }
    out
}

/// Why no value of a type can stand for a clause.
pub(crate) fn unfit(clause: char, ty: &Type) -> Option<String> {
    if matches!(ty, Type::Dyn | Type::Error | Type::Param(_)) {
        return None;
    }
    let fits: &[Type] = match clause {
        's' => {
            let none = matches!(ty, Type::Optional(_) | Type::Object(_) | Type::Opaque(_));
            return none.then(|| not_a_string(ty.runtime_name()));
        }
        'd' => &[Type::Int, Type::Uint],
        'f' | 'e' => &[Type::Double, Type::String],
        'b' => &[Type::Int, Type::Uint, Type::Bool],
        'o' => &[Type::Int, Type::Uint],
        'x' | 'X' => &[Type::Int, Type::Uint, Type::String, Type::Bytes],
        _ => return None,
    };
    (!fits.contains(ty)).then(|| wrong_type(clause, ty.runtime_name()))
}

fn wrong_type(clause: char, given: &str) -> String {
    let what = match clause {
        'd' => "decimal clause can only be used on integers",
        'f' => "fixed-point clause can only be used on doubles",
        'e' => "scientific clause can only be used on doubles",
        'b' => "only integers and bools can be formatted as binary",
        'o' => "octal clause can only be used on integers",
        _ => "only integers, byte buffers, and strings can be formatted as hex",
    };
    format!("{what}, was given {given}")
}

fn clause(text: &str) -> Result<(char, Option<usize>, &str), String> {
    let (precision, rest) = match text.strip_prefix('.') {
        None => (None, text),
        Some(rest) => {
            let end = rest
                .find(|c: char| !c.is_ascii_digit())
                .ok_or("error while parsing precision: could not find end of precision specifier")?;
            let digits = &rest[..end];
            let precision: usize = digits.parse().map_err(|_| {
                format!(
                    "error while parsing precision: error while converting precision to integer: strconv.Atoi: parsing \
                     {digits:?}: invalid syntax"
                )
            })?;
            // More digits than a double has are zeros; the length stays bounded.
            (Some(precision.min(1100)), &rest[end..])
        }
    };
    let clause = rest.chars().next().ok_or("unexpected end of string")?;
    if !"sdfebxXo".contains(clause) {
        return Err(format!("unrecognized formatting clause \"{clause}\""));
    }
    Ok((clause, precision, &rest[clause.len_utf8()..]))
}

fn apply(clause: char, precision: Option<usize>, value: &Value<'_>) -> Result<String, String> {
    let given = || value.type_of().runtime_name().to_owned();
    match clause {
        's' => string(value),
        'd' => match value {
            Value::Int(_) | Value::Uint(_) => Ok(value.to_string()),
            _ => Err(wrong_type(clause, &given())),
        },
        'f' | 'e' => {
            let number = match value {
                Value::Double(value) => *value,
                Value::String(text) if matches!(&**text, "NaN" | "Infinity" | "-Infinity") => {
                    text.parse().unwrap_or(f64::NAN)
                }
                _ => return Err(wrong_type(clause, &given())),
            };
            if number.is_nan() {
                return Ok("NaN".to_owned());
            }
            if number.is_infinite() {
                return Ok(if number > 0.0 { "∞" } else { "-∞" }.to_owned());
            }
            let precision = precision.unwrap_or(6);
            Ok(if clause == 'f' { grouped(number, precision) } else { go_scientific(number, precision) })
        }
        'b' => match value {
            Value::Int(value) if *value < 0 => Ok(format!("-{:b}", value.unsigned_abs())),
            Value::Int(value) => Ok(format!("{value:b}")),
            Value::Uint(value) => Ok(format!("{value:b}")),
            Value::Bool(value) => Ok(u8::from(*value).to_string()),
            _ => Err(wrong_type(clause, &given())),
        },
        'o' => match value {
            Value::Int(value) if *value < 0 => Ok(format!("-{:o}", value.unsigned_abs())),
            Value::Int(value) => Ok(format!("{value:o}")),
            Value::Uint(value) => Ok(format!("{value:o}")),
            _ => Err(wrong_type(clause, &given())),
        },
        _ => {
            let hex = match value {
                Value::Int(value) if *value < 0 => format!("-{:x}", value.unsigned_abs()),
                Value::Int(value) => format!("{value:x}"),
                Value::Uint(value) => format!("{value:x}"),
                Value::String(text) => bytes_hex(text.as_bytes()),
                Value::Bytes(bytes) => bytes_hex(bytes),
                _ => return Err(wrong_type(clause, &given())),
            };
            Ok(if clause == 'X' { hex.to_uppercase() } else { hex })
        }
    }
}

fn bytes_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn string(value: &Value<'_>) -> Result<String, String> {
    Ok(match value {
        Value::Null => "null".to_owned(),
        Value::List(list) => {
            let parts: Result<Vec<String>, String> =
                list.iter().map(|value| nested(&value.map_err(|error| error.to_string())?)).collect();
            format!("[{}]", parts?.join(", "))
        }
        Value::Map(map) => {
            let mut pairs = Vec::new();
            for key in map.keys() {
                let value = map.get(&key).map_err(|error| error.to_string())?.unwrap_or(Value::Null);
                pairs.push((nested(&key)?, nested(&value)?));
            }
            pairs.sort();
            let pairs: Vec<String> = pairs.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
            format!("{{{}}}", pairs.join(", "))
        }
        Value::Optional(_) | Value::Object(_) | Value::Opaque(_) => {
            return Err(not_a_string(value.type_of().runtime_name()));
        }
        Value::Extension(extension) if !matches!(extension, Extension::Ip(_) | Extension::Cidr(_)) => {
            return Err(not_a_string(value.type_of().runtime_name()));
        }
        Value::Bytes(bytes) => std::str::from_utf8(bytes)
            .map_err(|_| "invalid UTF-8 in bytes, cannot convert to string".to_owned())?
            .to_owned(),
        other => other.to_string(),
    })
}

fn not_a_string(given: &str) -> String {
    format!(
        "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and \
         timestamps, was given {given}"
    )
}

/// A value inside a list or map: strings are quoted.
fn nested(value: &Value<'_>) -> Result<String, String> {
    Ok(match value {
        Value::String(text) => format!("{:?}", &**text),
        Value::Bytes(_) => format!("b{:?}", string(value)?),
        Value::Double(number) if !number.is_finite() => format!("{:?}", apply('f', None, value)?),
        Value::Double(_) => apply('f', None, value)?.replace(',', ""),
        Value::Type(ty) => format!("type({})", ty.runtime_name()),
        Value::Duration(_) => format!("duration({:?})", string(value)?),
        Value::Timestamp(_) => format!("timestamp({:?})", string(value)?),
        other => string(other)?,
    })
}
