//! Cron schedules as upstream's library (`robfig/cron`, standard parser) reads them.
//!
//! Five fields — minute, hour, day of the month, month, day of the week — of lists, ranges, steps and names; `?` is `*`.
//! Or one of `@yearly`, `@annually`, `@monthly`, `@weekly`, `@daily`, `@midnight`, `@hourly`, `@every 1h30m`.
//! When both days are restricted, one of them has to fit. Local times that a change of the clocks skips are skipped;
//! those that it repeats come twice.

use k8s_openapi::jiff::civil::Weekday;
use k8s_openapi::jiff::tz::TimeZone;
use k8s_openapi::jiff::{SignedDuration, Timestamp, ToSpan, Zoned};

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("expected exactly 5 fields, found {found}: [{fields}]")]
    Fields { found: usize, fields: String },
    #[error("unrecognized descriptor: {0}")]
    Descriptor(String),
    #[error("failed to parse duration {0}")]
    Duration(String),
    #[error("failed to parse int from {0}")]
    Number(String),
    #[error("beginning of range ({start}) beyond end of range ({end}): {text}")]
    Backwards { start: u32, end: u32, text: String },
    #[error("value outside of ({lowest}..{highest}): {text}")]
    Outside { lowest: u32, highest: u32, text: String },
    #[error("step of range should be a positive number: {0}")]
    Step(String),
    #[error("too many hyphens or slashes: {0}")]
    Shape(String),
}

/// The values one field allows, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field {
    bits: u64,
    /// Whether it was written as `*`: then it does not restrict.
    star: bool,
}

struct Bounds {
    lowest: u32,
    highest: u32,
    names: &'static [&'static str],
}

const MINUTES: Bounds = Bounds { lowest: 0, highest: 59, names: &[] };
const HOURS: Bounds = Bounds { lowest: 0, highest: 23, names: &[] };
const DAYS: Bounds = Bounds { lowest: 1, highest: 31, names: &[] };
const MONTHS: Bounds = Bounds {
    lowest: 1,
    highest: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAYS: Bounds = Bounds { lowest: 0, highest: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

/// How far ahead a time is looked for: 29 February on a given weekday is at most this far.
const HORIZON_YEARS: i16 = 5;

impl Bounds {
    fn value(&self, text: &str) -> Result<u32, Error> {
        let named = self.names.iter().position(|name| text.eq_ignore_ascii_case(name));
        match named.and_then(|at| u32::try_from(at).ok()) {
            Some(at) => Ok(at + self.lowest),
            None => text.parse().map_err(|_| Error::Number(text.into())),
        }
    }

    fn field(&self, text: &str) -> Result<Field, Error> {
        let mut field = Field { bits: 0, star: false };
        for part in text.split(',') {
            let part = self.part(part)?;
            field.bits |= part.bits;
            field.star |= part.star;
        }
        Ok(field)
    }

    /// `*`, `n`, `n-m`, each perhaps with `/step`; `n/step` goes on to the end.
    fn part(&self, text: &str) -> Result<Field, Error> {
        let (range, step) = match text.split('/').collect::<Vec<_>>()[..] {
            [range] => (range, None),
            [range, step] => (range, Some(step)),
            _ => return Err(Error::Shape(text.into())),
        };
        let step = step.map(|step| step.parse::<u32>().map_err(|_| Error::Number(step.into()))).transpose()?;
        let all = range == "*" || range == "?";
        let (start, end) = match range.split('-').collect::<Vec<_>>()[..] {
            _ if all => (self.lowest, self.highest),
            [one] => {
                let start = self.value(one)?;
                (start, if step.is_some() { self.highest } else { start })
            }
            [start, end] => (self.value(start)?, self.value(end)?),
            _ => return Err(Error::Shape(text.into())),
        };
        if start < self.lowest || end > self.highest {
            return Err(Error::Outside { lowest: self.lowest, highest: self.highest, text: text.into() });
        }
        if start > end {
            return Err(Error::Backwards { start, end, text: text.into() });
        }
        let step = match step {
            Some(0) => return Err(Error::Step(text.into())),
            other => other.unwrap_or(1),
        };
        let bits = (start..=end).step_by(step as usize).fold(0, |bits, value| bits | 1 << value);
        Ok(Field { bits, star: all && step == 1 })
    }
}

impl Field {
    fn has(self, value: i8) -> bool {
        u32::try_from(value).is_ok_and(|value| self.bits & (1 << value) != 0)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    Calendar(Calendar),
    /// So long after the last time, in whole seconds.
    Every(SignedDuration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calendar {
    minute: Field,
    hour: Field,
    day: Field,
    month: Field,
    weekday: Field,
}

impl Schedule {
    /// # Errors
    /// When the text is not a schedule.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if let Some(duration) = text.strip_prefix("@every ") {
            let duration: SignedDuration = duration.trim().parse().map_err(|_| Error::Duration(text.into()))?;
            return Ok(Self::Every(SignedDuration::from_secs(duration.as_secs().max(1))));
        }
        let fields = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other if other.starts_with('@') => return Err(Error::Descriptor(other.into())),
            other => other,
        };
        let fields: Vec<_> = fields.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(Error::Fields { found: fields.len(), fields: fields.join(" ") });
        };
        Ok(Self::Calendar(Calendar {
            minute: MINUTES.field(minute)?,
            hour: HOURS.field(hour)?,
            day: DAYS.field(day)?,
            month: MONTHS.field(month)?,
            weekday: WEEKDAYS.field(weekday)?,
        }))
    }

    /// The first time after `after`; nothing when there is none within five years (30 February).
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::Every(period) => {
                let next = after.checked_add(*period).ok()?;
                Timestamp::from_second(next.as_second()).ok()
            }
            Self::Calendar(calendar) => calendar.next(&after.to_zoned(zone.clone())).map(|time| time.timestamp()),
        }
    }
}

impl Calendar {
    fn fits_day(&self, time: &Zoned) -> bool {
        let day = self.day.has(time.day());
        let weekday = self.weekday.has(Weekday::to_sunday_zero_offset(time.weekday()));
        if self.day.star || self.weekday.star { day && weekday } else { day || weekday }
    }

    /// Goes forward by the largest unit that does not fit.
    fn next(&self, after: &Zoned) -> Option<Zoned> {
        let last_year = after.year() + HORIZON_YEARS;
        let minute = after.with().second(0).subsec_nanosecond(0).build().ok()?;
        let mut time = minute.checked_add(1.minute()).ok()?;
        while time.year() <= last_year {
            time = if !self.month.has(time.month()) {
                time.first_of_month().ok()?.checked_add(1.month()).ok()?.start_of_day().ok()?
            } else if !self.fits_day(&time) {
                time.tomorrow().ok()?.start_of_day().ok()?
            } else if !self.hour.has(time.hour()) {
                // In real time, so that an hour the clocks skip is skipped.
                time.with().minute(0).build().ok()?.checked_add(1.hour()).ok()?
            } else if !self.minute.has(time.minute()) {
                time.checked_add(1.minute()).ok()?
            } else {
                return Some(time);
            };
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(schedule: &str, after: &str) -> Option<String> {
        let schedule = Schedule::parse(schedule).unwrap();
        Some(schedule.next(after.parse().unwrap(), &TimeZone::UTC)?.to_string())
    }

    #[test]
    fn the_next_time() {
        let cases = [
            ("* * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"),
            ("* * * * *", "2026-01-01T00:00:59.5Z", "2026-01-01T00:01:00Z"),
            ("*/15 * * * *", "2026-01-01T00:15:00Z", "2026-01-01T00:30:00Z"),
            ("5/20 * * * *", "2026-01-01T00:05:00Z", "2026-01-01T00:25:00Z"),
            ("0 9-17/4 * * *", "2026-01-01T13:00:00Z", "2026-01-01T17:00:00Z"),
            ("30 2 * * MON-FRI", "2026-01-02T02:30:00Z", "2026-01-05T02:30:00Z"),
            ("0 0 1 jan ?", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            // Both days restricted: either fits. 2026-01-01 is a Thursday.
            ("0 0 13 * 5", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
            ("0 0 13 * 5", "2026-01-09T00:00:00Z", "2026-01-13T00:00:00Z"),
            ("59 23 31 * *", "2026-02-01T00:00:00Z", "2026-03-31T23:59:00Z"),
            ("@hourly", "2026-01-01T23:30:00Z", "2026-01-02T00:00:00Z"),
            ("@weekly", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
            ("@monthly", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("@yearly", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("@every 1h30m", "2026-01-01T00:00:10Z", "2026-01-01T01:30:10Z"),
        ];
        for (schedule, after, expected) in cases {
            assert_eq!(next(schedule, after).as_deref(), Some(expected), "{schedule} after {after}");
        }
        assert_eq!(next("0 0 30 2 *", "2026-01-01T00:00:00Z"), None);
    }

    #[test]
    fn a_time_zone_with_changing_clocks() {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let schedule = Schedule::parse("30 2 * * *").unwrap();
        let next = |after: &str| schedule.next(after.parse().unwrap(), &zone).unwrap().to_string();
        assert_eq!(next("2026-01-01T00:00:00Z"), "2026-01-01T01:30:00Z");
        // On 2026-03-29 there is no 02:30; on 2026-10-25 there are two.
        assert_eq!(next("2026-03-28T01:30:00Z"), "2026-03-30T00:30:00Z");
        assert_eq!(next("2026-10-24T12:00:00Z"), "2026-10-25T00:30:00Z");
        assert_eq!(next("2026-10-25T00:30:00Z"), "2026-10-25T01:30:00Z");
    }

    #[test]
    fn what_is_not_a_schedule() {
        let cases = [
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "value outside of (0..59): 60"),
            ("* * * * 7", "value outside of (0..6): 7"),
            ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("x * * * *", "failed to parse int from x"),
            ("1-2-3 * * * *", "too many hyphens or slashes: 1-2-3"),
            ("@often", "unrecognized descriptor: @often"),
            ("@every soon", "failed to parse duration @every soon"),
        ];
        for (text, message) in cases {
            assert_eq!(Schedule::parse(text).unwrap_err().to_string(), message);
        }
    }
}
