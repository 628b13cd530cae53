//! Resource quantities (`apimachinery/pkg/api/resource`): `500m`, `1.5Gi`, `2e3`.
//!
//! The value is exact to a nano, rounded up below that as upstream does. Powers of two are capped at ±(2^63-1), as upstream
//! caps them, all else at ±10^28, which upstream does not cap at all.

use std::{cmp::Ordering, fmt};

const NANO: i128 = 1_000_000_000;
/// The most of a binary quantity.
const MAX_BINARY: i128 = i64::MAX as i128 * NANO;
/// The most that fits, and leaves room for a sum.
const MAX: i128 = NANO * 10_000_000_000_000_000_000_000_000_000;
/// Thousandths are the finest that resource lists know.
const MILLI: i128 = NANO / 1000;

/// A quantity, compared by its value; Display is the canonical form upstream prints.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: i128,
    format: Format,
    /// Upstream holds it as a 64-bit number of a scale that is none below one: what it calls an integer.
    integer: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    DecimalSi,
    BinarySi,
    DecimalExponent,
}

/// Display: upstream's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

impl Quantity {
    pub const ZERO: Self = Self::units(0);
    pub const ONE: Self = Self::units(1);

    /// A whole number of units.
    #[must_use]
    pub const fn units(number: i64) -> Self {
        Self { nanos: number as i128 * NANO, format: Format::DecimalSi, integer: true }
    }

    /// A number of thousandths.
    #[must_use]
    pub fn milli(number: i64) -> Self {
        Self { nanos: i128::from(number) * MILLI, format: Format::DecimalSi, integer: false }
    }

    /// The same amount, shown in powers of two (`64Mi`).
    #[must_use]
    pub fn binary(&self) -> Self {
        Self { format: Format::BinarySi, ..*self }
    }

    /// Rounded up to whole units.
    #[must_use]
    pub fn whole(&self) -> Self {
        self.rounded_up(NANO)
    }

    fn rounded_up(&self, unit: i128) -> Self {
        let nanos = round_up(self.nanos.abs(), unit) * unit;
        Self { nanos: if self.nanos < 0 { -nanos } else { nanos }, ..*self }
    }

    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let written = Written::read(text)?;
        let most = if written.format == Format::BinarySi { MAX_BINARY } else { MAX };
        let nanos = scaled(written.whole, written.fraction, written.scale).min(most);
        Ok(Self {
            nanos: if written.negative { -nanos } else { nanos },
            format: written.format,
            integer: written.places().is_some_and(|places| places >= 0),
        })
    }

    /// In units, rounded up (away from zero for negative values, as upstream).
    #[must_use]
    pub fn value(&self) -> i64 {
        self.rounded(NANO)
    }

    /// In thousandths, rounded up.
    #[must_use]
    pub fn milli_value(&self) -> i64 {
        self.rounded(NANO / 1000)
    }

    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    #[must_use]
    pub fn is_negative(&self) -> bool {
        self.nanos < 0
    }

    /// In units, as near as a double comes.
    #[must_use]
    pub fn as_f64(&self) -> f64 {
        self.nanos as f64 / NANO as f64
    }

    /// Whether it is a number of whole units.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.nanos % NANO == 0
    }

    /// The value if upstream has it as an integer: `1000m` is none, nor is `1.5Gi`.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        i64::try_from(self.nanos / NANO).ok().filter(|_| self.integer)
    }

    fn rounded(&self, unit: i128) -> i64 {
        let magnitude = round_up(self.nanos.abs(), unit);
        let capped = i64::try_from(magnitude).unwrap_or(i64::MAX);
        if self.nanos < 0 { -capped } else { capped }
    }

    /// The sum; the format is the left one's unless that is zero, as upstream's `Add`.
    #[must_use]
    pub fn add(&self, other: &Self) -> Self {
        let nanos = (self.nanos + other.nanos).clamp(-MAX, MAX);
        let format = if self.nanos == 0 { other.format } else { self.format };
        let integer = match () {
            () if other.nanos == 0 => self.integer,
            () if self.nanos == 0 => other.integer,
            () => self.integer && other.integer && nanos.abs() <= MAX_BINARY,
        };
        Self { nanos, format, integer }
    }

    #[must_use]
    pub fn sub(&self, other: &Self) -> Self {
        self.add(&Self { nanos: -other.nanos, ..*other })
    }
}

/// A quantity's canonical form; upstream keeps some texts as they are that it would not write itself (`+1`, `1.250`).
///
/// # Errors
/// The text is no quantity.
pub fn canonical(text: &str) -> Result<String, QuantityError> {
    let written = Written::read(text)?;
    if written.is_kept() { Ok(text.to_owned()) } else { Quantity::parse(text).map(|quantity| quantity.to_string()) }
}

/// The form of an entry in a resource list, which is rounded up to thousandths (`SetDefaults_ResourceList`); `None` where it
/// has that form.
#[must_use]
pub fn in_thousandths(text: &str) -> Option<String> {
    let quantity = Quantity::parse(text).ok().filter(|quantity| quantity.nanos % MILLI != 0)?;
    Some(quantity.rounded_up(MILLI).to_string())
}

#[derive(Clone, Copy)]
enum Scale {
    Ten(i32),
    Two(u32),
}

/// The parts of a text.
struct Written<'a> {
    negative: bool,
    /// Digits before the point, without leading zeros.
    whole: &'a str,
    fraction: &'a str,
    scale: Scale,
    format: Format,
}

impl<'a> Written<'a> {
    fn read(text: &'a str) -> Result<Self, QuantityError> {
        let (negative, rest) = match text.as_bytes().first() {
            None => return Err(QuantityError::Format),
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            Some(_) => (false, text),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        // No digits at all are a zero.
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') {
            return Err(QuantityError::Format);
        }
        let (scale, format) = Self::suffix(suffix)?;
        Ok(Self { negative, whole: whole.trim_start_matches('0'), fraction, scale, format })
    }

    fn suffix(suffix: &str) -> Result<(Scale, Format), QuantityError> {
        let decimal = |power| Ok((Scale::Ten(power), Format::DecimalSi));
        let binary = |power| Ok((Scale::Two(power), Format::BinarySi));
        match suffix {
            "n" => decimal(-9),
            "u" => decimal(-6),
            "m" => decimal(-3),
            "" => decimal(0),
            "k" => decimal(3),
            "M" => decimal(6),
            "G" => decimal(9),
            "T" => decimal(12),
            "P" => decimal(15),
            "E" => decimal(18),
            "Ki" => binary(10),
            "Mi" => binary(20),
            "Gi" => binary(30),
            "Ti" => binary(40),
            "Pi" => binary(50),
            "Ei" => binary(60),
            _ => {
                let exponent = suffix.strip_prefix(['e', 'E']).ok_or_else(|| wrong_suffix(suffix))?;
                let power: i32 = exponent.parse().map_err(|_| wrong_suffix(suffix))?;
                // Beyond these the value is capped or rounded anyway.
                Ok((Scale::Ten(power.clamp(-60, 60)), Format::DecimalExponent))
            }
        }
    }

    /// The power of ten that upstream counts in, where it holds the number in 64 bits, and not in a decimal of any length.
    fn places(&self) -> Option<i32> {
        // Of so many digits upstream is sure.
        const DIGITS: i32 = 18;
        const BINARY_DIGITS: i32 = 14;
        let count = |digits: &str| i32::try_from(digits.len()).unwrap_or(i32::MAX / 4);
        let (whole, fraction) = (count(self.whole).max(1), count(self.fraction));
        let (places, spare) = match self.scale {
            Scale::Ten(power) => (power.saturating_sub(fraction), DIGITS - whole - fraction),
            Scale::Two(_) if fraction > 0 => return None,
            Scale::Two(power) => (0, BINARY_DIGITS - whole - i32::try_from(power * 3 / 10).unwrap_or(i32::MAX / 4)),
        };
        (spare >= 0 && places >= -9).then_some(places)
    }

    /// Whether upstream keeps the text as it is.
    fn is_kept(&self) -> bool {
        let Some(places) = self.places() else { return false };
        match self.scale {
            Scale::Two(_) => self.whole.parse::<u64>().is_ok_and(|number| number % 8 != 0),
            Scale::Ten(_) => {
                let digits = format!("{}{}", self.whole, self.fraction);
                places % 3 == 0 && !self.whole.is_empty() && !digits.ends_with("000")
            }
        }
    }
}

fn wrong_suffix(suffix: &str) -> QuantityError {
    let rest = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let exponent = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    let formed = exponent.bytes().all(|byte| byte.is_ascii_digit());
    if formed { QuantityError::Suffix } else { QuantityError::Format }
}

fn round_up(value: i128, unit: i128) -> i128 {
    (value + unit - 1) / unit
}

/// `whole.fraction` times the scale in nanos, rounded up, capped.
fn scaled(whole: &str, fraction: &str, scale: Scale) -> i128 {
    // 38 digits fit; a fraction finer than that only matters for rounding up, a longer whole part is capped.
    if whole.len() > 30 {
        return MAX;
    }
    let digits = fraction.len().min(30usize.saturating_sub(whole.len()).min(18));
    let lost = fraction[digits..].bytes().any(|c| c != b'0');
    let mantissa: i128 = format!("0{whole}{}", &fraction[..digits]).parse().unwrap_or(MAX);
    let below = i32::try_from(digits).unwrap_or(i32::MAX);
    let value = match scale {
        Scale::Ten(power) => {
            let power = power + 9 - below;
            if power >= 0 {
                10i128
                    .checked_pow(power.unsigned_abs())
                    .and_then(|factor| mantissa.checked_mul(factor))
                    .unwrap_or(if mantissa == 0 { 0 } else { MAX })
            } else {
                10i128
                    .checked_pow(power.unsigned_abs())
                    .map_or(i128::from(mantissa > 0), |unit| round_up(mantissa, unit))
            }
        }
        Scale::Two(power) => {
            let factor = (1i128 << power) * NANO;
            match mantissa.checked_mul(factor) {
                Some(product) => round_up(product, 10i128.pow(below.unsigned_abs())),
                // Split so that the product fits: the fraction weighs less than one unit of the factor.
                None => {
                    let unit = 10i128.pow(below.unsigned_abs());
                    (mantissa / unit).checked_mul(factor).unwrap_or(MAX)
                }
            }
        }
    };
    (value + i128::from(lost && mantissa == 0)).min(MAX)
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let sign = if self.nanos < 0 { "-" } else { "" };
        let nanos = self.nanos.abs();
        // What would lose something, or is small, is shown in powers of ten.
        if self.format == Format::BinarySi && nanos >= 1024 * NANO && self.is_whole() {
            let (mut mantissa, mut step) = (nanos / NANO, 0);
            while mantissa % 1024 == 0 && step < 6 {
                mantissa /= 1024;
                step += 1;
            }
            return write!(f, "{sign}{mantissa}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][step]);
        }
        let exponential = self.format == Format::DecimalExponent;
        let (mut mantissa, mut step) = (nanos, 0);
        while mantissa % 1000 == 0 && (exponential || step < 9) {
            mantissa /= 1000;
            step += 1;
        }
        if exponential {
            let exponent = step as i32 * 3 - 9;
            return if exponent == 0 {
                write!(f, "{sign}{mantissa}")
            } else {
                write!(f, "{sign}{mantissa}e{exponent}")
            };
        }
        write!(f, "{sign}{mantissa}{}", ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"][step])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_forms() {
        for (text, canonical) in [
            ("0.5", "500m"),
            ("1000m", "1"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Ki", "512"),
            ("1500", "1500"),
            ("100000", "100k"),
            ("1e3", "1e3"),
            ("12e2", "1200"),
            ("0", "0"),
            ("0Mi", "0"),
            ("-0.5", "-500m"),
            ("0.0000000001", "1n"),
            ("9223372036854775807", "9223372036854775807"),
            ("100E", "100E"),
            ("100Ei", "9223372036854775807"),
            ("3.3Gi", "3543348019200m"),
            ("1.0001Ki", "1024102400u"),
            ("1e21", "1e21"),
            ("1234567890123456789012345", "1234567890123456789012345"),
            ("n", "0"),
            ("-", "0"),
            // Kept as it is written.
            ("+2", "+2"),
            ("007", "007"),
            ("1E3", "1E3"),
            ("1.250", "1.250"),
            ("1.25", "1250m"),
            ("0.250", "250m"),
            (".5", "500m"),
            ("1.", "1."),
            ("128974848", "128974848"),
            ("129M", "129M"),
            ("123Mi", "123Mi"),
        ] {
            assert_eq!(super::canonical(text).as_deref(), Ok(canonical), "{text}");
        }
    }

    #[test]
    fn values_round_up() {
        assert_eq!(Quantity::parse("1500m").unwrap().value(), 2);
        assert_eq!(Quantity::parse("1500m").unwrap().milli_value(), 1500);
        assert_eq!(Quantity::parse("1u").unwrap().milli_value(), 1);
        assert!(Quantity::parse("1Gi").unwrap() > Quantity::parse("1G").unwrap());
        assert_eq!(Quantity::parse("1Gi").unwrap(), Quantity::parse("1024Mi").unwrap());
    }

    #[test]
    fn resource_lists_count_thousandths() {
        for (text, rounded) in
            [("1u", Some("1m")), ("1.5m", Some("2m")), ("1e-9", Some("1e-3")), ("1m", None), ("1Gi", None)]
        {
            assert_eq!(in_thousandths(text).as_deref(), rounded, "{text}");
        }
    }

    #[test]
    fn integers_are_written_as_such() {
        for (text, integer) in [
            ("1", Some(1)),
            ("5k", Some(5000)),
            ("1Gi", Some(1 << 30)),
            ("1000m", None),
            ("1.0", None),
            ("1.5Gi", None),
            ("1234567890123456789", None),
        ] {
            assert_eq!(Quantity::parse(text).unwrap().as_i64(), integer, "{text}");
        }
        let (whole, odd) = (Quantity::ONE, Quantity::milli(1000));
        assert_eq!(
            (whole.add(&whole).as_i64(), whole.add(&odd).as_i64(), odd.sub(&odd).as_i64()),
            (Some(2), None, None)
        );
    }

    #[test]
    fn errors() {
        assert_eq!(Quantity::parse(""), Err(QuantityError::Format));
        assert_eq!(Quantity::parse("x"), Err(QuantityError::Format));
        assert_eq!(Quantity::parse("1.2.3"), Err(QuantityError::Format));
        assert_eq!(Quantity::parse("1mm"), Err(QuantityError::Suffix));
        assert_eq!(Quantity::parse("1GB"), Err(QuantityError::Format));
        assert_eq!(Quantity::parse("1e19n"), Err(QuantityError::Format));
    }
}
