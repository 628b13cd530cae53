//! Values of flags, written as upstream's components take them.

use std::time::Duration;

/// A length of time in Go's notation: `40s`, `1m30s`, `500ms`.
///
/// # Errors
/// The text is none, with an example of one.
pub fn duration(text: &str) -> Result<Duration, String> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    let bad = || format!("'{text}' is not a duration such as 40s or 1m30s");
    while !rest.is_empty() {
        let split = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|at| *at > 0).ok_or_else(bad)?;
        let number: f64 = rest[..split].parse().map_err(|_| bad())?;
        let unit_end = rest[split..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| at + split);
        let seconds = match &rest[split..unit_end] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(bad()),
        };
        total += Duration::try_from_secs_f64(number * seconds).map_err(|_| bad())?;
        rest = &rest[unit_end..];
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expected) in [("500ms", 500), ("1m30s", 90_000), ("1h0m0s", 3_600_000), ("1.5s", 1500)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(expected)), "{text}");
        }
        assert!(duration("soon").is_err() && duration("40").is_err());
    }
}
