//! Go's `time.Parse`, for the layouts the API is written in: what it takes, and what it says of what it does not.

use std::fmt::Write;
use std::ops::RangeInclusive;

use super::instant::{Civil, Instant, days_in};

pub const RFC3339: &str = "2006-01-02T15:04:05Z07:00";
pub const RFC3339_MILLI: &str = "2006-01-02T15:04:05.000Z07:00";
pub const RFC3339_MICRO: &str = "2006-01-02T15:04:05.000000Z07:00";
/// Without a zone.
pub const LOCAL: &str = "2006-01-02T15:04:05";
pub const DATE: &str = "2006-01-02";

/// What stands for something in these layouts.
const PARTS: [&str; 7] = ["2006", "01", "02", "15", "04", "05", "Z07:00"];

/// Why a part does not fit.
enum Wrong {
    Bad,
    Range(&'static str),
}

/// What has been read so far.
struct Reading<'t> {
    civil: Civil,
    offset: i32,
    rest: &'t str,
}

/// An instant, or what Go says.
///
/// # Errors
/// `parsing time "…" as "…": cannot parse "…" as "…"`, or what is out of range.
pub fn parse(text: &str, layout: &str) -> Result<Instant, String> {
    let civil = Civil { year: 1, month: 1, day: 1, hour: 0, minute: 0, second: 0, nanosecond: 0 };
    let mut reading = Reading { civil, offset: 0, rest: text };
    let said = |what: &str| Err(format!("parsing time {}{what}", quote(text)));
    let mut left = layout;
    while !left.is_empty() {
        let part = next(left);
        left = &left[part.len()..];
        let rest = reading.rest;
        match reading.read(part, left.starts_with('.')) {
            Ok(()) => {}
            Err(Wrong::Bad) => {
                return said(&format!(" as {}: cannot parse {} as {}", quote(layout), quote(rest), quote(part)));
            }
            Err(Wrong::Range(what)) => return said(&format!(": {what} out of range")),
        }
    }
    if !reading.rest.is_empty() {
        return said(&format!(": extra text: {}", quote(reading.rest)));
    }
    let Civil { year, month, day, .. } = reading.civil;
    if day < 1 || day > days_in(year, month) {
        return said(": day out of range");
    }
    Ok(Instant::at(&reading.civil, reading.offset))
}

/// The next part of a layout: one of [`PARTS`], a fraction, or a character that stands for itself.
fn next(layout: &str) -> &str {
    if let Some(part) = PARTS.iter().find(|part| layout.starts_with(**part)) {
        return part;
    }
    let zeros = layout[1..].bytes().take_while(|byte| *byte == b'0').count();
    if layout.starts_with('.') { &layout[..=zeros] } else { &layout[..1] }
}

impl<'t> Reading<'t> {
    fn read(&mut self, part: &str, fraction_follows: bool) -> Result<(), Wrong> {
        match part {
            "2006" => {
                let year = self.take(4).filter(|digits| are_digits(digits));
                self.civil.year = year.and_then(|digits| digits.parse().ok()).ok_or(Wrong::Bad)?;
            }
            "01" => self.civil.month = self.number(true, 1..=12, "month")?,
            // How long the month is, is looked at in the end.
            "02" => self.civil.day = self.number(true, 0..=99, "day")?,
            "15" => self.civil.hour = self.number(false, 0..=23, "hour")?,
            "04" => self.civil.minute = self.number(true, 0..=59, "minute")?,
            "05" => {
                self.civil.second = self.number(true, 0..=59, "second")?;
                // Go takes a fraction that the layout has not.
                let digits = self.rest.bytes().skip(1).take_while(u8::is_ascii_digit).count();
                if !fraction_follows && self.rest.starts_with(['.', ',']) && digits > 0 {
                    self.fraction(digits)?;
                }
            }
            "Z07:00" => self.zone()?,
            _ if part.len() > 1 => self.fraction(part.len() - 1)?,
            _ => self.rest = self.rest.strip_prefix(part).ok_or(Wrong::Bad)?,
        }
        Ok(())
    }

    fn take(&mut self, bytes: usize) -> Option<&'t str> {
        let (taken, rest) = self.rest.split_at_checked(bytes)?;
        self.rest = rest;
        Some(taken)
    }

    /// Two digits; one will do where the width is not fixed.
    fn number(&mut self, fixed: bool, range: RangeInclusive<u8>, what: &'static str) -> Result<u8, Wrong> {
        let digits = self.rest.bytes().take(2).take_while(u8::is_ascii_digit).count();
        if digits == 0 || (fixed && digits < 2) {
            return Err(Wrong::Bad);
        }
        let number = self.take(digits).and_then(|digits| digits.parse().ok()).ok_or(Wrong::Bad)?;
        if range.contains(&number) { Ok(number) } else { Err(Wrong::Range(what)) }
    }

    /// A point or comma and so many digits, of which nine count.
    fn fraction(&mut self, digits: usize) -> Result<(), Wrong> {
        let taken = self.take(digits + 1).ok_or(Wrong::Bad)?;
        let number = taken.strip_prefix(['.', ',']).filter(|number| are_digits(number)).ok_or(Wrong::Bad)?;
        let nine: String = number.chars().chain("000000000".chars()).take(9).collect();
        self.civil.nanosecond = nine.parse().map_err(|_| Wrong::Bad)?;
        Ok(())
    }

    fn zone(&mut self) -> Result<(), Wrong> {
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok(());
        }
        let zone = self.take(6).filter(|zone| zone.as_bytes()[3] == b':').ok_or(Wrong::Bad)?;
        let two = |at: usize| -> Result<i32, Wrong> {
            let digits = zone.get(at..at + 2).filter(|digits| are_digits(digits));
            digits.and_then(|digits| digits.parse().ok()).ok_or(Wrong::Bad)
        };
        let (hours, minutes) = (two(1)?, two(4)?);
        // As some people write them: 24 hours, 60 minutes.
        if hours > 24 {
            return Err(Wrong::Range("time zone offset hour"));
        }
        if minutes > 60 {
            return Err(Wrong::Range("time zone offset minute"));
        }
        let east = hours * 3600 + minutes * 60;
        self.offset = match zone.as_bytes()[0] {
            b'+' => east,
            b'-' => -east,
            _ => return Err(Wrong::Bad),
        };
        Ok(())
    }
}

fn are_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The `time` package's own quotes: what is not plain ASCII is shown by its bytes.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(byte)]),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => write!(out, "\\x{byte:02x}").expect("a String takes all"),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_go_reads_them() {
        for (text, shown) in [
            ("2024-02-29T12:34:56Z", "2024-02-29T12:34:56Z"),
            ("2024-02-29T12:34:56.5+02:00", "2024-02-29T12:34:56.5+02:00"),
            ("2024-02-29T12:34:56,123456789123Z", "2024-02-29T12:34:56.123456789Z"),
            ("2024-02-29T2:34:56-00:30", "2024-02-29T02:34:56-00:30"),
            ("0000-01-01T00:00:00+24:60", "0000-01-01T00:00:00+25:00"),
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
            ("2024-01-02T03:04:05+00:00", "2024-01-02T03:04:05Z"),
        ] {
            assert_eq!(parse(text, RFC3339).map(|at| at.to_string()).as_deref(), Ok(shown), "{text}");
        }
        assert_eq!(parse("2024-01-02", DATE).map(|at| at.second), Ok(1_704_153_600));
        assert_eq!(parse("2024-01-02T03:04:05.123456Z", RFC3339_MICRO).map(|at| at.nanosecond), Ok(123_456_000));
    }

    #[test]
    fn what_is_wrong_is_said_as_go_says_it() {
        let of = |text: &str, layout: &str| parse(text, layout).unwrap_err();
        for (text, rest, part) in [
            ("", "", "2006"),
            ("now", "now", "2006"),
            ("2024", "", "-"),
            ("2024-1-1", "1-1", "01"),
            ("2024-01-02", "", "T"),
            ("2024-01-02 03:04:05Z", " 03:04:05Z", "T"),
            ("2024-01-02t03:04:05Z", "t03:04:05Z", "T"),
            ("2024-01-02T03:04:5Z", "5Z", "05"),
            ("2024-01-02T03:04:05", "", "Z07:00"),
            ("2024-01-02T03:04:05z", "z", "Z07:00"),
            ("2024-01-02T03:04:05+0200", "+0200", "Z07:00"),
        ] {
            let said = format!("parsing time \"{text}\" as \"{RFC3339}\": cannot parse \"{rest}\" as \"{part}\"");
            assert_eq!(of(text, RFC3339), said);
        }
        for (text, what) in [
            ("2024-13-01T00:00:00Z", "month out of range"),
            ("2023-02-29T00:00:00Z", "day out of range"),
            ("2024-01-01T24:00:00Z", "hour out of range"),
            ("2024-01-01T00:00:60Z", "second out of range"),
            ("2024-01-01T00:00:00+25:00", "time zone offset hour out of range"),
            ("2024-01-01T00:00:00Zx", "extra text: \"x\""),
        ] {
            assert_eq!(of(text, RFC3339), format!("parsing time {text:?}: {what}"));
        }
        let said =
            format!("parsing time \"2024-01-02T03:04:05Z\" as \"{RFC3339_MICRO}\": cannot parse \"Z\" as \".000000\"");
        assert_eq!(of("2024-01-02T03:04:05Z", RFC3339_MICRO), said);
        let said = "parsing time \"\\xc3\\xbc\\\"\" as \"2006-01-02\": cannot parse \"\\xc3\\xbc\\\"\" as \"2006\"";
        assert_eq!(of("ü\"", DATE), said);
    }
}
