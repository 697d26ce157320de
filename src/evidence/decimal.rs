//! A decimal number as people write it, exact to six digits behind the point.
//! Objects carry numbers as texts: a float does not survive every client, and two that look alike must compare alike.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Units of a whole: six digits behind the point.
const UNITS: i64 = 1_000_000;
/// Digits behind the point.
const DIGITS: usize = 6;

/// A number between -999999999.999999 and 999999999.999999, exact to six digits behind the point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Decimal(i64);

/// The text is no number of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a number in quotes such as \"0.05\": digits, and at most six behind the point")]
pub struct DecimalError;

impl Decimal {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// A whole.
    pub const ONE: Self = Self(UNITS);
    /// The largest of all.
    const MAX: Self = Self(1_000_000_000 * UNITS - 1);

    /// The nearest to `value`; none when that is not finite, or out of the range.
    pub fn nearest(value: f64) -> Option<Self> {
        Self::rounded(value, f64::round)
    }

    /// The largest that is not above `value`: what a lower bound is written as.
    pub fn below(value: f64) -> Option<Self> {
        Self::rounded(value, f64::floor)
    }

    /// The smallest that is not below `value`: what an upper bound is written as.
    pub fn above(value: f64) -> Option<Self> {
        Self::rounded(value, f64::ceil)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "units are below 2^50, which a float holds exactly, and the range is looked at before"
    )]
    fn rounded(value: f64, how: fn(f64) -> f64) -> Option<Self> {
        let units = how(value * UNITS as f64);
        (units.abs() <= Self::MAX.0 as f64).then_some(Self(units as i64))
    }

    /// The number as a float.
    #[expect(
        clippy::cast_precision_loss,
        reason = "units are below 2^50, which a float holds exactly"
    )]
    pub fn value(self) -> f64 {
        self.0 as f64 / UNITS as f64
    }
}

impl FromStr for Decimal {
    type Err = DecimalError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (whole, part) = match digits.split_once('.') {
            Some((whole, part)) if !part.is_empty() => (whole, part),
            Some(_) => return Err(DecimalError),
            None => (digits, ""),
        };
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || whole.len() > 9 || part.len() > DIGITS || !plain(whole) || !plain(part) {
            return Err(DecimalError);
        }
        let padded = format!("{part:0<DIGITS$}");
        let units = |text: &str| text.parse::<i64>().map_err(|_| DecimalError);
        let sum = units(whole)? * UNITS + units(&padded)?;
        Ok(Self(if negative { -sum } else { sum }))
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0.abs() / UNITS, self.0.abs() % UNITS);
        let sign = if self.0 < 0 { "-" } else { "" };
        if part == 0 {
            return f.pad(&format!("{sign}{whole}"));
        }
        let part = format!("{part:0DIGITS$}");
        f.pad(&format!("{sign}{whole}.{}", part.trim_end_matches('0')))
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl JsonSchema for Decimal {
    fn schema_name() -> Cow<'static, str> {
        "Decimal".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 17,
            "pattern": r"^-?[0-9]{1,9}(\.[0-9]{1,6})?$",
        })
    }
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    #[test_case("0", "0")]
    #[test_case("-0", "0"; "minus nothing")]
    #[test_case("0.60", "0.6"; "zeros behind it")]
    #[test_case("007.5", "7.5"; "zeros before it")]
    #[test_case("0.000001", "0.000001"; "the smallest")]
    #[test_case("-999999999.999999", "-999999999.999999"; "the least")]
    fn reads(text: &str, shown: &str) {
        let number: Decimal = text.parse().unwrap();
        assert_eq!(number.to_string(), shown);
        assert_eq!(number.to_string().parse(), Ok(number));
        assert_eq!(serde_json::to_value(number).unwrap(), shown);
        assert_eq!(serde_json::from_value::<Decimal>(shown.into()).unwrap(), number);
    }

    #[test_case(""; "nothing")]
    #[test_case("-"; "a sign")]
    #[test_case(".5"; "no digit before the point")]
    #[test_case("5."; "no digit behind the point")]
    #[test_case("0.1234567"; "seven digits")]
    #[test_case("1000000000"; "ten digits")]
    #[test_case("1e3"; "an exponent")]
    #[test_case("+1"; "a plus")]
    #[test_case(" 1"; "a blank")]
    #[test_case("NaN"; "no number")]
    #[test_case("٣"; "other digits")]
    fn refuses(text: &str) {
        assert_eq!(text.parse::<Decimal>(), Err(DecimalError));
    }

    #[test_case(0.123_456_4, ["0.123456", "0.123456", "0.123457"])]
    #[test_case(-0.5, ["-0.5", "-0.5", "-0.5"]; "one that is exact")]
    #[test_case(2.0 / 3.0, ["0.666667", "0.666666", "0.666667"]; "two thirds")]
    fn a_bound_is_never_rounded_in_its_own_favour(value: f64, [nearest, below, above]: [&str; 3]) {
        let shown = |number: Option<Decimal>| number.unwrap().to_string();
        assert_eq!(shown(Decimal::nearest(value)), nearest);
        assert_eq!(shown(Decimal::below(value)), below);
        assert_eq!(shown(Decimal::above(value)), above);
    }

    #[test_case(f64::NAN; "no number")]
    #[test_case(f64::INFINITY; "infinity")]
    #[test_case(1e9; "too large")]
    #[test_case(-1e300; "far too small")]
    fn what_is_out_of_range_is_no_number(value: f64) {
        for rounded in [Decimal::nearest, Decimal::below, Decimal::above] {
            assert_eq!(rounded(value), None);
        }
    }
}
