//! A range of addresses as network policies write it, in the one spelling it has.
//! Pure; two ranges are disjoint, or one contains the other.

use std::{fmt, net::IpAddr, str::FromStr};

/// A range of IPv4 or IPv6 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    first: IpAddr,
    /// At most 32 or 128.
    prefix: u8,
}

impl Cidr {
    /// Whether every address of `other` is one of this range. Ranges of the other family never are.
    pub fn contains(&self, other: &Self) -> bool {
        self.prefix <= other.prefix
            && self.first.is_ipv4() == other.first.is_ipv4()
            && masked(other.first, self.prefix) == self.first
    }

    /// Its two halves; none of a single address.
    pub fn halves(&self) -> Option<[Self; 2]> {
        let prefix = self.prefix + 1;
        let upper = match self.first {
            IpAddr::V4(v4) => {
                let bit = 1_u32.checked_shl(32_u32.checked_sub(prefix.into())?)?;
                IpAddr::V4((v4.to_bits() | bit).into())
            }
            IpAddr::V6(v6) => {
                let bit = 1_u128.checked_shl(128_u32.checked_sub(prefix.into())?)?;
                IpAddr::V6((v6.to_bits() | bit).into())
            }
        };
        Some([self.first, upper].map(|first| Self { first, prefix }))
    }

    /// Whether the two have an address in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other) || other.contains(self)
    }
}

/// The address with all but its first `prefix` bits cleared.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

impl FromStr for Cidr {
    type Err = &'static str;

    /// Reads `address/prefix`. The error says what to write instead.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const GRAMMAR: &str = "is no range of addresses: write one such as 192.0.2.0/24 or 2001:db8::/64";
        let (address, prefix) = text.split_once('/').ok_or(GRAMMAR)?;
        let first: IpAddr = address.parse().map_err(|_| GRAMMAR)?;
        let longest = if first.is_ipv4() { 32 } else { 128 };
        let prefix: u8 = prefix
            .parse()
            .ok()
            .filter(|length| *length <= longest)
            .ok_or(GRAMMAR)?;
        if matches!(first, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
            return Err("is an IPv4 address in the clothes of IPv6: write the IPv4 range");
        }
        let cidr = Self { first, prefix };
        if masked(first, prefix) != first || cidr.to_string() != text {
            return Err("has another spelling: begin it with its first address, in its shortest form");
        }
        Ok(cidr)
    }
}

impl From<IpAddr> for Cidr {
    /// The range of this address alone.
    fn from(first: IpAddr) -> Self {
        let prefix = if first.is_ipv4() { 32 } else { 128 };
        Self { first, prefix }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    #[test_case("0.0.0.0/0")]
    #[test_case("192.0.2.0/24")]
    #[test_case("192.0.2.1/32")]
    #[test_case("::/0")]
    #[test_case("2001:db8::/64")]
    #[test_case("fd00:ec2::254/128")]
    fn reads(text: &str) {
        assert_eq!(text.parse::<Cidr>().unwrap().to_string(), text);
    }

    #[test_case("192.0.2.0", "no range"; "no prefix")]
    #[test_case("192.0.2.0/33", "no range"; "too long a prefix")]
    #[test_case("192.0.2.0/-1", "no range"; "a negative one")]
    #[test_case("192.0.2.0/024", "another spelling"; "a leading zero")]
    #[test_case("192.0.2.1/24", "another spelling"; "not the first address")]
    #[test_case("2001:DB8::/64", "another spelling"; "in upper case")]
    #[test_case("2001:db8:0::/64", "another spelling"; "not the shortest")]
    #[test_case("::ffff:192.0.2.0/120", "clothes"; "an IPv4 address")]
    #[test_case("192.0.02.0/24", "no range"; "octal")]
    #[test_case("example/24", "no range"; "a name")]
    fn refuses(text: &str, why: &str) {
        let error = text.parse::<Cidr>().unwrap_err();
        assert!(error.contains(why), "{error}");
    }

    #[test_case("0.0.0.0/0", "169.254.0.0/16" => true; "everything")]
    #[test_case("10.0.0.0/8", "10.1.0.0/16" => true; "a part")]
    #[test_case("10.0.0.0/8", "10.0.0.0/8" => true; "itself")]
    #[test_case("10.1.0.0/16", "10.0.0.0/8" => false; "more")]
    #[test_case("10.0.0.0/8", "11.0.0.0/16" => false; "beside")]
    #[test_case("::/0", "10.0.0.0/8" => false; "another family")]
    #[test_case("0.0.0.0/0", "::/0" => false; "the other way round")]
    #[test_case("2001:db8::/32", "2001:db8:1::/48" => true; "a part in IPv6")]
    #[test_case("::/0", "2001:db8::1/128" => true; "everything in IPv6")]
    fn contains(one: &str, other: &str) -> bool {
        one.parse::<Cidr>().unwrap().contains(&other.parse().unwrap())
    }
}
