//! The text forms of Go's `metav1.Time`, `MicroTime` and `Duration`.

mod instant;
pub mod layout;

pub use instant::{Civil, Instant};

/// RFC 3339, whole seconds, UTC.
pub fn canonical(text: &str) -> Result<String, String> {
    layout::parse(text, layout::RFC3339).map(Instant::rfc3339)
}

/// RFC 3339 with six digits, UTC.
pub(crate) fn canonical_micro(text: &str) -> Result<String, String> {
    layout::parse(text, layout::RFC3339_MICRO).map(Instant::rfc3339_micro)
}

/// Go's `time.ParseDuration`, in nanoseconds.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0f64;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(|| format!("time: missing unit in duration {text:?}"))?;
        let number: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            unit => return Err(format!("time: unknown unit {unit:?} in duration {text:?}")),
        };
        total += number * unit;
        rest = &rest[end..];
    }
    if total >= i64::MAX as f64 {
        return Err(invalid());
    }
    let nanos = total.round() as i64;
    Ok(if negative { -nanos } else { nanos })
}

/// Go's `Duration.String`: `1h30m0s`, `1.5s`, `150ms`.
#[must_use]
pub fn format_duration(nanos: i64) -> String {
    if nanos == 0 {
        return "0s".to_owned();
    }
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let fraction = |unit: u64| {
        let (whole, part) = (nanos / unit, nanos % unit);
        let digits = unit.ilog10() as usize;
        let text = format!("{whole}.{part:0digits$}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    if nanos < 1_000 {
        return format!("{sign}{nanos}ns");
    }
    if nanos < 1_000_000 {
        return format!("{sign}{}µs", fraction(1_000));
    }
    if nanos < 1_000_000_000 {
        return format!("{sign}{}ms", fraction(1_000_000));
    }
    let seconds_total = nanos / 1_000_000_000;
    let (hours, minutes) = (seconds_total / 3600, seconds_total / 60 % 60);
    let rest = nanos - (seconds_total / 60) * 60_000_000_000;
    let text = format!("{}.{:09}", rest / 1_000_000_000, rest % 1_000_000_000);
    let seconds = text.trim_end_matches('0').trim_end_matches('.');
    match (hours, minutes) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, _) => format!("{sign}{minutes}m{seconds}s"),
        _ => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_go_both_ways() {
        for (text, shown) in [
            ("90m", "1h30m0s"),
            ("1.5s", "1.5s"),
            ("150ms", "150ms"),
            ("0", "0s"),
            ("-1m", "-1m0s"),
            ("300us", "300µs"),
            ("24h", "24h0m0s"),
        ] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), shown);
        }
        assert!(parse_duration("5").is_err());
        assert!(parse_duration("5x").is_err());
    }

    #[test]
    fn times_become_utc() {
        assert_eq!(canonical("2024-01-02T03:04:05+01:00").unwrap(), "2024-01-02T02:04:05Z");
        assert_eq!(canonical("2024-01-02T03:04:05.9Z").unwrap(), "2024-01-02T03:04:05Z");
        assert_eq!(canonical("9999-12-31T23:59:59Z").unwrap(), "9999-12-31T23:59:59Z");
        assert_eq!(canonical_micro("2024-01-02T03:04:05.123456+01:00").unwrap(), "2024-01-02T02:04:05.123456Z");
        assert!(canonical("yesterday").unwrap_err().contains("cannot parse"));
    }
}
