//! Timestamps and durations: text forms, arithmetic, and the accessor functions (cel-go `types/timestamp.go`).

use jiff::{Timestamp, Zoned, tz::TimeZone};

use crate::{
    decl::{Call, Row},
    value::{EvalError, EvalResult, Value, failed, no_overload},
};

/// From year 1 to year 9999.
pub(crate) fn in_range(at: Timestamp) -> bool {
    (-62_135_596_800..=253_402_300_799).contains(&at.as_second())
}

pub(crate) fn offset(at: Timestamp, nanos: i64) -> Option<Timestamp> {
    let moved = Timestamp::from_nanosecond(at.as_nanosecond() + i128::from(nanos)).ok()?;
    in_range(moved).then_some(moved)
}

/// RFC 3339 in UTC, with as many digits of the second as needed.
pub(crate) fn rfc3339(at: Timestamp) -> String {
    at.to_string()
}

/// `1.5s`, as cel-go's `duration` to string.
pub(crate) fn seconds(nanos: i64) -> String {
    // Go's `strconv.FormatFloat(v, 'f', -1, 64)`: never with an exponent.
    format!("{}s", nanos as f64 / 1e9)
}

pub(crate) fn parse_timestamp(text: &str) -> Option<Timestamp> {
    // jiff takes more forms than RFC 3339; those are told apart by the separator and the zone.
    let shaped = text.len() >= 20 && matches!(text.as_bytes()[10], b'T' | b't');
    let zoned = text.ends_with(['Z', 'z']) || text.len() >= 6 && matches!(text.as_bytes()[text.len() - 6], b'+' | b'-');
    (shaped && zoned).then(|| text.parse().ok()).flatten()
}

pub(crate) fn parse_date(text: &str) -> Option<Timestamp> {
    let date = (text.len() == 10).then(|| jiff::civil::Date::strptime("%Y-%m-%d", text).ok()).flatten()?;
    TimeZone::UTC.to_timestamp(date.to_datetime(jiff::civil::Time::midnight())).ok()
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

/// The local time an accessor is about.
fn local(args: &[Value<'_>]) -> Result<Zoned, EvalError> {
    let Value::Timestamp(at) = &args[0] else { return no_overload() };
    let zone = match args.get(1) {
        None => TimeZone::UTC,
        Some(Value::String(name)) => zone(name)?,
        Some(_) => return no_overload(),
    };
    Ok(at.to_zoned(zone))
}

/// An IANA name, or a fixed offset such as `-02:30`.
fn zone(name: &str) -> Result<TimeZone, EvalError> {
    if name == "UTC" || name.is_empty() {
        return Ok(TimeZone::UTC);
    }
    let Some((hours, minutes)) = name.split_once(':') else {
        return TimeZone::get(name).or_else(|_| failed(format!("unknown time zone {name}")));
    };
    let wrong = |part: &str| EvalError::Failed(format!("strconv.Atoi: parsing {part:?}: invalid syntax"));
    let number: i32 = hours.trim_start_matches('+').parse().map_err(|_| wrong(hours))?;
    let minute: i32 = minutes.parse().map_err(|_| wrong(minutes))?;
    let seconds = number * 3600 + if hours.starts_with('-') { -minute * 60 } else { minute * 60 };
    let offset = jiff::tz::Offset::from_seconds(seconds).map_err(|_| wrong(name))?;
    Ok(TimeZone::fixed(offset))
}

fn part<'a>(args: &[Value<'a>], pick: impl Fn(&Zoned) -> i64) -> EvalResult<'a> {
    local(args).map(|at| Value::Int(pick(&at)))
}

fn full_year<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    part(args, |at| i64::from(at.year()))
}

fn month<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    part(args, |at| i64::from(at.month()) - 1)
}

fn day_of_year<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    part(args, |at| i64::from(at.day_of_year()) - 1)
}

fn day_of_month<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    part(args, |at| i64::from(at.day()) - 1)
}

fn date<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    part(args, |at| i64::from(at.day()))
}

fn day_of_week<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    part(args, |at| i64::from(at.weekday().to_sunday_zero_offset()))
}

/// Of a duration, the whole of it in that unit; of a timestamp, that part.
fn unit<'a>(args: &[Value<'a>], nanos: i64, pick: impl Fn(&Zoned) -> i64) -> EvalResult<'a> {
    match &args[0] {
        Value::Duration(value) => Ok(Value::Int(value / nanos)),
        _ => part(args, pick),
    }
}

fn hours<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    unit(args, 3_600_000_000_000, |at| i64::from(at.hour()))
}

fn minutes<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    unit(args, 60_000_000_000, |at| i64::from(at.minute()))
}

fn seconds_of<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    unit(args, 1_000_000_000, |at| i64::from(at.second()))
}

fn milliseconds<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    unit(args, 1_000_000, |at| i64::from(at.millisecond()))
}
