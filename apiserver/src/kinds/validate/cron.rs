//! The syntax of a CronJob's schedule: five fields or a descriptor, as the library upstream uses (robfig/cron v3) reads them.

/// What is wrong with a schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    #[error("expected exactly 5 fields, found {count}: [{fields}]")]
    Fields { count: usize, fields: String },
    #[error("unrecognized descriptor: {0}")]
    Descriptor(String),
    #[error("failed to parse duration {0}")]
    Every(String),
    #[error("failed to parse int from {0}: strconv.Atoi: parsing \"{0}\": invalid syntax")]
    Number(String),
    #[error("too many hyphens: {0}")]
    Hyphens(String),
    #[error("too many slashes: {0}")]
    Slashes(String),
    #[error("beginning of range ({0}) below minimum ({1}): {2}")]
    Low(u32, u32, String),
    #[error("end of range ({0}) above maximum ({1}): {2}")]
    High(u32, u32, String),
    #[error("beginning of range ({0}) beyond end of range ({1}): {2}")]
    Backwards(u32, u32, String),
    #[error("step of range should be a positive number: {0}")]
    Step(String),
}

/// A schedule that has been understood. The times it names are the CronJob controller's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule;

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// Least, greatest, names (counted from the least).
const BOUNDS: [(u32, u32, &[&str]); 5] = [(0, 59, &[]), (0, 23, &[]), (1, 31, &[]), (1, 12, &MONTHS), (0, 6, &DAYS)];

impl Schedule {
    pub fn parse(text: &str) -> Result<Self, CronError> {
        let text = text
            .strip_prefix("TZ=")
            .or(text.strip_prefix("CRON_TZ="))
            .map_or(text, |rest| rest.split_once(' ').map_or("", |(_, schedule)| schedule.trim()));
        if text.starts_with('@') {
            return descriptor(text);
        }
        let fields: Vec<&str> = text.split_whitespace().collect();
        if fields.len() != BOUNDS.len() {
            return Err(CronError::Fields { count: fields.len(), fields: fields.join(" ") });
        }
        for (field, bounds) in fields.iter().zip(BOUNDS) {
            for part in field.split(',') {
                range(part, bounds)?;
            }
        }
        Ok(Self)
    }
}

fn descriptor(text: &str) -> Result<Schedule, CronError> {
    if let Some(duration) = text.strip_prefix("@every ") {
        let valid = duration.ends_with(['s', 'm', 'h']) && duration.starts_with(|c: char| c.is_ascii_digit());
        return if valid { Ok(Schedule) } else { Err(CronError::Every(text.to_owned())) };
    }
    match text {
        "@yearly" | "@annually" | "@monthly" | "@weekly" | "@daily" | "@midnight" | "@hourly" => Ok(Schedule),
        _ => Err(CronError::Descriptor(text.to_owned())),
    }
}

fn range(text: &str, (min, max, names): (u32, u32, &[&str])) -> Result<(), CronError> {
    let parts: Vec<&str> = text.split('/').collect();
    let ends: Vec<&str> = parts[0].split('-').collect();
    let (start, end) = match ends.as_slice() {
        ["*" | "?"] => (min, max),
        // A single number with a step runs to the end.
        [one] => {
            let n = number(one, min, names)?;
            (n, if parts.len() == 2 { max } else { n })
        }
        [from, to] => (number(from, min, names)?, number(to, min, names)?),
        _ => return Err(CronError::Hyphens(text.to_owned())),
    };
    match parts.as_slice() {
        [_] => {}
        [_, step] if number(step, 0, &[])? == 0 => return Err(CronError::Step(text.to_owned())),
        [_, _] => {}
        _ => return Err(CronError::Slashes(text.to_owned())),
    }
    if start < min {
        return Err(CronError::Low(start, min, text.to_owned()));
    }
    if end > max {
        return Err(CronError::High(end, max, text.to_owned()));
    }
    if start > end {
        return Err(CronError::Backwards(start, end, text.to_owned()));
    }
    Ok(())
}

fn number(text: &str, min: u32, names: &[&str]) -> Result<u32, CronError> {
    let lower = text.to_lowercase();
    if let Some(index) = names.iter().position(|name| *name == lower) {
        return Ok(min + u32::try_from(index).expect("a list of at most twelve names"));
    }
    text.parse().map_err(|_| CronError::Number(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_ones() {
        for text in ["* * * * *", "*/15 * * * ?", "0 0 1 1 0", "5-10/2,30 1-3 * JAN,feb MON", "@daily", "@every 1h30m"]
        {
            assert_eq!(Schedule::parse(text), Ok(Schedule), "{text}");
        }
    }

    #[test]
    fn bad_ones() {
        for (text, message) in [
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax"),
            ("@often", "unrecognized descriptor: @often"),
            ("* * * * * *", "expected exactly 5 fields, found 6: [* * * * * *]"),
        ] {
            assert_eq!(Schedule::parse(text).unwrap_err().to_string(), message);
        }
    }
}
