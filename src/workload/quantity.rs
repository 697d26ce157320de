//! Kubernetes quantities, as far as it takes to refuse what is none and to compare a request with its limit.
//! It only reads; what a quantity is of is the caller's.

/// A quantity in billionths, so that every suffix there is stays exact. What is larger than that holds is the largest.
///
/// Nothing for what is not a quantity, a negative one included: nothing can be asked for or limited by that.
pub fn billionths(text: &str) -> Option<i128> {
    const ONE: i128 = 1_000_000_000;
    let number = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(number);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || number.len() > 32 {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let (times, over): (i128, i128) = match suffix {
        "" => (1, 1),
        "n" => (1, ONE),
        "u" => (1, 1_000_000),
        "m" => (1, 1000),
        "k" => (1000, 1),
        "M" => (1_000_000, 1),
        "G" => (ONE, 1),
        "T" => (1000 * ONE, 1),
        "P" => (1_000_000 * ONE, 1),
        "E" => (ONE * ONE, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        exponent => {
            let exponent: i8 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10_i128
                .checked_pow(u32::from(exponent.unsigned_abs()))
                .unwrap_or(i128::MAX);
            if exponent < 0 { (1, power) } else { (power, 1) }
        }
    };
    let places = 10_i128
        .checked_pow(u32::try_from(fraction.len()).ok()?)
        .unwrap_or(i128::MAX);
    Some(digits.saturating_mul(ONE).saturating_mul(times) / over.saturating_mul(places))
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    #[test_case("0" => Some(0))]
    #[test_case("1" => Some(1_000_000_000); "one")]
    #[test_case("1000m" => Some(1_000_000_000); "one in thousandths")]
    #[test_case("1.5" => Some(1_500_000_000); "a fraction")]
    #[test_case(".5" => Some(500_000_000); "no whole part")]
    #[test_case("5." => Some(5_000_000_000); "no fraction")]
    #[test_case("1Ki" => Some(1_024_000_000_000); "two to the ten")]
    #[test_case("1e3" => Some(1_000_000_000_000); "exponent")]
    #[test_case("1E-3" => Some(1_000_000); "negative exponent")]
    #[test_case("99999999999999E" => Some(i128::MAX); "larger than it holds")]
    #[test_case("1e127" => Some(i128::MAX); "a power larger than it holds")]
    #[test_case("" => None; "empty")]
    #[test_case("." => None; "a dot")]
    #[test_case("1.2.3" => None; "two dots")]
    #[test_case("lots" => None; "a word")]
    #[test_case("-1Gi" => None; "negative")]
    #[test_case("1GiB" => None; "a suffix there is not")]
    #[test_case("1 Gi" => None; "a blank")]
    fn reads(text: &str) -> Option<i128> {
        billionths(text)
    }
}
