//! Resource quantities (`apimachinery/pkg/api/resource`): `500m`, `1.5Gi`, `2e3`.
//!
//! The value is exact to a nano, rounded up below that as upstream does, and capped at ±(2^63-1).

use std::{cmp::Ordering, fmt};

const NANO: i128 = 1_000_000_000;
const MAX: i128 = i64::MAX as i128 * NANO;

/// A quantity, compared by its value; Display is the canonical form upstream prints.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: i128,
    format: Format,
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
    pub const ZERO: Self = Self { nanos: 0, format: Format::DecimalSi };
    pub const ONE: Self = Self { nanos: NANO, format: Format::DecimalSi };

    /// A whole number of units.
    #[must_use]
    pub fn units(number: i64) -> Self {
        Self { nanos: i128::from(number) * NANO, format: Format::DecimalSi }
    }

    /// A number of thousandths.
    #[must_use]
    pub fn milli(number: i64) -> Self {
        Self { nanos: i128::from(number) * (NANO / 1000), format: Format::DecimalSi }
    }

    /// The same amount, shown in powers of two (`64Mi`).
    #[must_use]
    pub fn binary(&self) -> Self {
        Self { nanos: self.nanos, format: Format::BinarySi }
    }

    /// Rounded up to whole units.
    #[must_use]
    pub fn whole(&self) -> Self {
        let units = round_up(self.nanos.abs(), NANO) * NANO;
        Self { nanos: if self.nanos < 0 { -units } else { units }, format: self.format }
    }

    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        if text.is_empty() {
            return Err(QuantityError::Format);
        }
        let (negative, rest) = match text.as_bytes()[0] {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() + fraction.len() == 0 || fraction.contains('.') {
            return Err(QuantityError::Format);
        }
        let (scale, format) = Self::suffix(suffix)?;
        let nanos = scaled(whole, fraction, scale);
        Ok(Self { nanos: if negative { -nanos } else { nanos }, format })
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

    /// The value if it is whole.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        if self.nanos % NANO == 0 { i64::try_from(self.nanos / NANO).ok() } else { None }
    }

    fn rounded(&self, unit: i128) -> i64 {
        let magnitude = round_up(self.nanos.abs(), unit);
        let capped = i64::try_from(magnitude).unwrap_or(i64::MAX);
        if self.nanos < 0 { -capped } else { capped }
    }

    /// The sum; the format is the left one's unless that is zero, as upstream's `Add`.
    #[must_use]
    pub fn add(&self, other: &Self) -> Self {
        let format = if self.nanos == 0 { other.format } else { self.format };
        Self { nanos: (self.nanos + other.nanos).clamp(-MAX, MAX), format }
    }

    #[must_use]
    pub fn sub(&self, other: &Self) -> Self {
        self.add(&Self { nanos: -other.nanos, format: other.format })
    }
}

#[derive(Clone, Copy)]
enum Scale {
    Ten(i32),
    Two(u32),
}

fn wrong_suffix(suffix: &str) -> QuantityError {
    let allowed = suffix.chars().all(|c| "eEinumkKMGTP+-".contains(c) || c.is_ascii_digit());
    if allowed { QuantityError::Suffix } else { QuantityError::Format }
}

fn round_up(value: i128, unit: i128) -> i128 {
    (value + unit - 1) / unit
}

/// `whole.fraction` times the scale in nanos, rounded up, capped.
fn scaled(whole: &str, fraction: &str, scale: Scale) -> i128 {
    // 38 digits fit; a fraction finer than that only matters for rounding up, a longer whole part is capped.
    let whole = whole.trim_start_matches('0');
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
        if self.format == Format::BinarySi && nanos >= 1024 * NANO {
            let (mut mantissa, mut step) = (round_up(nanos, NANO), 0);
            while mantissa % 1024 == 0 && step < 6 {
                mantissa /= 1024;
                step += 1;
            }
            return write!(f, "{sign}{mantissa}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][step]);
        }
        let (mut mantissa, mut step) = (nanos, 0);
        while mantissa % 1000 == 0 && step < 9 {
            mantissa /= 1000;
            step += 1;
        }
        if self.format == Format::DecimalExponent {
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
            ("100E", "9223372036854775807"),
            ("+2", "2"),
            (".5", "500m"),
            ("1.", "1"),
            ("128974848", "128974848"),
            ("129M", "129M"),
            ("123Mi", "123Mi"),
        ] {
            assert_eq!(Quantity::parse(text).map(|quantity| quantity.to_string()).as_deref(), Ok(canonical), "{text}");
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
    fn errors() {
        assert_eq!(Quantity::parse(""), Err(QuantityError::Format));
        assert_eq!(Quantity::parse("x"), Err(QuantityError::Format));
        assert_eq!(Quantity::parse("1.2.3"), Err(QuantityError::Format));
        assert_eq!(Quantity::parse("1mm"), Err(QuantityError::Suffix));
        assert_eq!(Quantity::parse("1GB"), Err(QuantityError::Format));
    }
}
