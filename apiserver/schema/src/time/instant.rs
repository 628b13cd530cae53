//! Points in time as Go's `time.Time` knows them: any year, to the nanosecond, with the offset they were written with.

use std::cmp::Ordering;
use std::fmt;

const DAY: i64 = 24 * 60 * 60;
/// Days between year 0 (March, so that leap days come last) and 1970.
const EPOCH: i64 = 719_468;

/// An instant. Two are equal that are at the same time, whatever their offsets.
#[derive(Clone, Copy, Debug)]
pub struct Instant {
    /// Since 1970, in UTC.
    pub second: i64,
    pub nanosecond: u32,
    /// Of the clock it is read from, in seconds east of Greenwich.
    pub offset: i32,
}

/// What a calendar and a clock show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    pub year: i64,
    /// 1 to 12.
    pub month: u8,
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
    pub nanosecond: u32,
}

impl Instant {
    /// In UTC.
    #[must_use]
    pub fn new(second: i64, nanosecond: u32) -> Self {
        Self { second, nanosecond, offset: 0 }
    }

    /// The time at which a clock with this offset shows this.
    #[must_use]
    pub fn at(civil: &Civil, offset: i32) -> Self {
        let of_day = i64::from(civil.hour) * 3600 + i64::from(civil.minute) * 60 + i64::from(civil.second);
        let second = days(civil.year, civil.month, civil.day) * DAY + of_day - i64::from(offset);
        Self { second, nanosecond: civil.nanosecond, offset }
    }

    /// The same time on another clock.
    #[must_use]
    pub fn to_offset(self, offset: i32) -> Self {
        Self { offset, ..self }
    }

    #[must_use]
    pub fn nanoseconds(self) -> i128 {
        i128::from(self.second) * 1_000_000_000 + i128::from(self.nanosecond)
    }

    #[must_use]
    pub fn civil(self) -> Civil {
        let local = self.local();
        let (year, month, day) = date(local.div_euclid(DAY));
        let of_day = u32::try_from(local.rem_euclid(DAY)).unwrap_or_default();
        let clock = |unit: u32, base: u32| u8::try_from(of_day / unit % base).unwrap_or_default();
        let (hour, minute, second) = (clock(3600, 24), clock(60, 60), clock(1, 60));
        Civil { year, month, day, hour, minute, second, nanosecond: self.nanosecond }
    }

    fn local(self) -> i64 {
        self.second.saturating_add(i64::from(self.offset))
    }

    /// 0 is Sunday.
    #[must_use]
    pub fn weekday(self) -> u8 {
        // 1970 began on a Thursday.
        u8::try_from((self.local().div_euclid(DAY) + 4).rem_euclid(7)).unwrap_or_default()
    }

    /// 0 is the first of January.
    #[must_use]
    pub fn year_day(self) -> i64 {
        let Civil { year, month, day, .. } = self.civil();
        days(year, month, day) - days(year, 1, 1)
    }

    /// Go's `time.RFC3339`, in UTC.
    #[must_use]
    pub fn rfc3339(self) -> String {
        self.to_offset(0).written("")
    }

    /// Go's `metav1.RFC3339Micro`, in UTC.
    #[must_use]
    pub fn rfc3339_micro(self) -> String {
        self.to_offset(0).written(&format!(".{:06}", self.nanosecond / 1000))
    }

    fn written(self, fraction: &str) -> String {
        let Civil { year, month, day, hour, minute, second, .. } = self.civil();
        let zone = match self.offset / 60 {
            0 => "Z".to_owned(),
            east => format!("{}{:02}:{:02}", if east < 0 { '-' } else { '+' }, east.abs() / 60, east.abs() % 60),
        };
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}{zone}")
    }
}

/// Go's `time.RFC3339Nano`: on its own clock, with as many digits of the second as are needed.
impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!(".{:09}", self.nanosecond);
        f.write_str(&self.written(digits.trim_end_matches('0').trim_end_matches('.')))
    }
}

impl PartialEq for Instant {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Instant {}

impl PartialOrd for Instant {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Instant {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.second, self.nanosecond).cmp(&(other.second, other.nanosecond))
    }
}

/// Days since 1970 of a date of the Gregorian calendar.
fn days(year: i64, month: u8, day: u8) -> i64 {
    let (month, year) = if month > 2 { (i64::from(month) - 3, year) } else { (i64::from(month) + 9, year - 1) };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * month + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - EPOCH
}

/// The date of a day since 1970.
fn date(day: i64) -> (i64, u8, u8) {
    let day = day + EPOCH;
    let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let narrow = |number: i64| u8::try_from(number).unwrap_or_default();
    let day = narrow(of_year - (153 * month + 2) / 5 + 1);
    let month = narrow(if month < 10 { month + 3 } else { month - 9 });
    (era * 400 + year + i64::from(month <= 2), month, day)
}

/// How many days a month has.
pub(super) fn days_in(year: i64, month: u8) -> u8 {
    let (next_year, next) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    u8::try_from(days(next_year, next, 1) - days(year, month, 1)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calendars_go_both_ways() {
        assert_eq!(days(1970, 1, 1), 0);
        let start = days(-1, 12, 31);
        for day in start..start + 3 * 146_097 {
            let (year, month, of_month) = date(day);
            assert_eq!(days(year, month, of_month), day, "{year}-{month}-{of_month}");
        }
        let lengths = [(2023, 2), (2024, 2), (1900, 2), (2000, 2), (2024, 12)].map(|(y, m)| days_in(y, m));
        assert_eq!(lengths, [28, 29, 28, 29, 31]);
    }

    #[test]
    fn instants_are_shown_where_they_are() {
        let at = Instant { second: 1_709_210_096, nanosecond: 500_000_000, offset: 7200 };
        assert_eq!(at.to_string(), "2024-02-29T14:34:56.5+02:00");
        assert_eq!((at.weekday(), at.year_day(), at.civil().hour), (4, 59, 14));
        assert_eq!(at.rfc3339(), "2024-02-29T12:34:56Z");
        assert_eq!(at.rfc3339_micro(), "2024-02-29T12:34:56.500000Z");
        assert_eq!(at.to_offset(-9000).to_string(), "2024-02-29T10:04:56.5-02:30");
        assert_eq!(Instant::new(253_402_300_799, 999_999_999).to_string(), "9999-12-31T23:59:59.999999999Z");
        assert_eq!(Instant::new(-62_135_596_800, 0).to_string(), "0001-01-01T00:00:00Z");
        assert_eq!(Instant::at(&at.civil(), 7200), at);
    }
}
