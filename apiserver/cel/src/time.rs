//! Timestamps and durations: text forms, arithmetic, and the accessor functions (cel-go `types/timestamp.go`).

use std::ops::RangeInclusive;

use jiff::{Timestamp, tz::TimeZone};
use schema::time::{Instant, layout};

use crate::{
    decl::{Call, Row},
    value::{EvalError, EvalResult, Value, failed, no_overload},
};

/// From year 1 to year 9999.
const SECONDS: RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

pub(crate) fn in_range(at: Instant) -> bool {
    SECONDS.contains(&at.second)
}

/// So much later, on the same clock.
pub(crate) fn later(at: Instant, nanos: i64) -> Option<Instant> {
    let moved = at.nanoseconds() + i128::from(nanos);
    let second = i64::try_from(moved.div_euclid(1_000_000_000)).ok()?;
    let nanosecond = u32::try_from(moved.rem_euclid(1_000_000_000)).ok()?;
    Some(Instant { second, nanosecond, offset: at.offset }).filter(|at| in_range(*at))
}

/// `1.5s`, as cel-go's `duration` to string.
pub(crate) fn seconds(nanos: i64) -> String {
    // Go's `strconv.FormatFloat(v, 'f', -1, 64)`: never with an exponent.
    format!("{}s", nanos as f64 / 1e9)
}

/// What the library that checks formats takes for `date-time` (`strfmt.ParseDateTime`).
pub(crate) fn parse_date_time(text: &str) -> Result<Instant, String> {
    if text.is_empty() {
        return Ok(Instant::new(0, 0));
    }
    let layouts = [layout::RFC3339_MICRO, layout::RFC3339_MILLI, layout::RFC3339];
    let known = layouts.iter().find_map(|layout| layout::parse(text, layout).ok());
    known.map_or_else(|| layout::parse(text, layout::LOCAL), Ok)
}

/// Go's `time.ParseDuration`, in nanoseconds.
pub(crate) fn parse_duration(text: &str) -> Result<i64, String> {
    schema::time::parse_duration(text)
}

/// The two forms of a timestamp accessor: in UTC, and in a named zone.
macro_rules! accessor {
    ($name:literal, $tz:literal, $run:path) => {
        (
            concat!("get", $name),
            $run,
            &[concat!($tz, " timestamp.() int"), concat!($tz, "_with_tz timestamp.(string) int")],
        )
    };
    ($name:literal, $tz:literal, $zoned:literal, $duration:literal, $run:path) => {
        (
            concat!("get", $name),
            $run,
            &[
                concat!($tz, " timestamp.() int"),
                concat!($zoned, " timestamp.(string) int"),
                concat!($duration, " duration.() int"),
            ],
        )
    };
}

pub(crate) const ROWS: &[Row] = &[
    accessor!("FullYear", "timestamp_to_year", full_year),
    accessor!("Month", "timestamp_to_month", month),
    accessor!("DayOfYear", "timestamp_to_day_of_year", day_of_year),
    accessor!("DayOfMonth", "timestamp_to_day_of_month", day_of_month),
    accessor!("Date", "timestamp_to_day_of_month_1_based", date),
    accessor!("DayOfWeek", "timestamp_to_day_of_week", day_of_week),
    accessor!("Hours", "timestamp_to_hours", "timestamp_to_hours_with_tz", "duration_to_hours", hours),
    accessor!("Minutes", "timestamp_to_minutes", "timestamp_to_minutes_with_tz", "duration_to_minutes", minutes),
    accessor!("Seconds", "timestamp_to_seconds", "timestamp_to_seconds_tz", "duration_to_seconds", seconds_of),
    accessor!(
        "Milliseconds",
        "timestamp_to_milliseconds",
        "timestamp_to_milliseconds_with_tz",
        "duration_to_milliseconds",
        milliseconds
    ),
];

/// The time an accessor is about: on its own clock, or on that of a zone.
fn local(args: &[Value<'_>]) -> Result<Instant, EvalError> {
    let Value::Timestamp(at) = &args[0] else { return no_overload() };
    match args.get(1) {
        None => Ok(*at),
        Some(Value::String(name)) => Ok(at.to_offset(offset(name, *at)?)),
        Some(_) => no_overload(),
    }
}

/// The offset at a time of an IANA zone, or of one such as `-02:30`.
fn offset(name: &str, at: Instant) -> Result<i32, EvalError> {
    if name == "UTC" || name.is_empty() {
        return Ok(0);
    }
    let Some((hours, minutes)) = name.split_once(':') else {
        if name.contains("..") || name.starts_with('/') || name.contains('\\') {
            return failed("time: invalid location name");
        }
        let zone = TimeZone::get(name).or_else(|_| failed(format!("unknown time zone {name}")))?;
        // Zones are known within narrower bounds than times are.
        let second = at.second.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
        let at = Timestamp::from_second(second).map_err(|error| EvalError::Failed(error.to_string()))?;
        return Ok(zone.to_offset(at).seconds());
    };
    let number = |part: &str| -> Result<i32, EvalError> {
        let digits = part.strip_prefix('+').filter(|rest| !rest.starts_with(['+', '-'])).unwrap_or(part);
        let wrong = |_| EvalError::Failed(format!("strconv.Atoi: parsing {part:?}: invalid syntax"));
        digits.parse().map_err(wrong)
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let minutes = if name.starts_with('-') { minutes.saturating_neg() } else { minutes };
    Ok(hours.saturating_mul(60).saturating_add(minutes).saturating_mul(60))
}

fn part<'a>(args: &[Value<'a>], pick: impl Fn(Instant) -> i64) -> EvalResult<'a> {
    local(args).map(|at| Value::Int(pick(at)))
}

fn full_year<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    part(args, |at| at.civil().year)
}

fn month<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    part(args, |at| i64::from(at.civil().month) - 1)
}

fn day_of_year<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    part(args, |at| at.year_day())
}

fn day_of_month<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    part(args, |at| i64::from(at.civil().day) - 1)
}

fn date<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    part(args, |at| i64::from(at.civil().day))
}

fn day_of_week<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    part(args, |at| i64::from(at.weekday()))
}

/// Of a duration, the whole of it in that unit; of a timestamp, that part.
fn unit<'a>(args: &[Value<'a>], nanos: i64, pick: impl Fn(Instant) -> i64) -> EvalResult<'a> {
    match &args[0] {
        Value::Duration(value) => Ok(Value::Int(value / nanos)),
        _ => part(args, pick),
    }
}

fn hours<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    unit(args, 3_600_000_000_000, |at| i64::from(at.civil().hour))
}

fn minutes<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    unit(args, 60_000_000_000, |at| i64::from(at.civil().minute))
}

fn seconds_of<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    unit(args, 1_000_000_000, |at| i64::from(at.civil().second))
}

fn milliseconds<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    unit(args, 1_000_000, |at| i64::from(at.nanosecond / 1_000_000))
}
