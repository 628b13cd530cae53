//! IP addresses and networks, after Go's `net/netip`.

use std::net::IpAddr;

use super::Extension;
use crate::{
    decl::{Call, Row},
    operators::text,
    value::{EvalError, EvalResult, Value, failed, no_overload},
};

pub(crate) const ROWS: &[Row] = &[
    ("ip", ip, &["string_to_ip (string) net.IP", "cidr_ip net.CIDR.() net.IP"]),
    ("isIP", is_ip, &["is_ip (string) bool"]),
    ("ip.isCanonical", is_canonical, &["ip_is_canonical (string) bool"]),
    ("family", family, &["ip_family net.IP.() int"]),
    ("isUnspecified", is_unspecified, &["ip_is_unspecified net.IP.() bool"]),
    ("isLoopback", is_loopback, &["ip_is_loopback net.IP.() bool"]),
    ("isLinkLocalMulticast", is_link_local_multicast, &["ip_is_link_local_multicast net.IP.() bool"]),
    ("isLinkLocalUnicast", is_link_local_unicast, &["ip_is_link_local_unicast net.IP.() bool"]),
    ("isGlobalUnicast", is_global_unicast, &["ip_is_global_unicast net.IP.() bool"]),
    ("cidr", cidr, &["string_to_cidr (string) net.CIDR"]),
    ("isCIDR", is_cidr, &["is_cidr (string) bool"]),
    (
        "containsIP",
        contains_ip,
        &["cidr_contains_ip_string net.CIDR.(string) bool", "cidr_contains_ip_ip net.CIDR.(net.IP) bool"],
    ),
    (
        "containsCIDR",
        contains_cidr,
        &["cidr_contains_cidr_string net.CIDR.(string) bool", "cidr_contains_cidr net.CIDR.(net.CIDR) bool"],
    ),
    ("prefixLength", prefix_length, &["cidr_prefix_length net.CIDR.() int"]),
    ("masked", masked, &["cidr_masked net.CIDR.() net.CIDR"]),
];

/// An address and a prefix length; bits after the prefix are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    pub address: IpAddr,
    pub length: u8,
}

impl Cidr {
    fn parse(raw: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!("network address parse error during conversion from string: netip.ParsePrefix({raw:?}): {why}")
        };
        let (address, length) = raw.rsplit_once('/').ok_or_else(|| wrong("no '/'"))?;
        let address: IpAddr = address.parse().map_err(|_| wrong("unable to parse IP"))?;
        if mapped(&address) {
            return Err(format!("IPv4-mapped IPv6 address {raw:?} is not allowed"));
        }
        let plain = !length.is_empty()
            && length.bytes().all(|c| c.is_ascii_digit())
            && !(length.len() > 1 && length.starts_with('0'));
        let length: u8 = length.parse().ok().filter(|_| plain).ok_or_else(|| wrong("bad bits after slash"))?;
        if length > bits(&address) {
            return Err(wrong("prefix length out of range"));
        }
        Ok(Self { address, length })
    }

    fn masked(self) -> Self {
        let address = match self.address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.length)).unwrap_or(0);
                IpAddr::V4((v4.to_bits() & mask).into())
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.length)).unwrap_or(0);
                IpAddr::V6((v6.to_bits() & mask).into())
            }
        };
        Self { address, length: self.length }
    }

    fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && Self { address, length: self.length }.masked() == self.masked()
    }
}

fn bits(address: &IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn mapped(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

fn parse_ip(raw: &str) -> Result<IpAddr, String> {
    if let Some((address, zone)) = raw.split_once('%')
        && !zone.is_empty()
        && address.parse::<std::net::Ipv6Addr>().is_ok()
    {
        return Err(format!("IP address {raw:?} with zone value is not allowed"));
    }
    let leading_zero = || {
        let parts: Vec<&str> = raw.split('.').collect();
        let numbers = parts.iter().all(|part| !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit()));
        parts.len() == 4 && numbers && parts.iter().any(|part| part.len() > 1 && part.starts_with('0'))
    };
    let parsed = raw.parse().map_err(|_| {
        let why = if leading_zero() { "IPv4 field has octet with leading zero" } else { "unable to parse IP" };
        format!("IP Address {raw:?} parse error during conversion from string: ParseAddr({raw:?}): {why}")
    })?;
    if mapped(&parsed) {
        return Err(format!("IPv4-mapped IPv6 address {raw:?} is not allowed"));
    }
    Ok(parsed)
}

fn address(value: &Value<'_>) -> Result<IpAddr, EvalError> {
    match value {
        Value::Extension(Extension::Ip(address)) => Ok(*address),
        Value::String(raw) => parse_ip(raw).map_err(EvalError::Failed),
        _ => no_overload(),
    }
}

fn network(value: &Value<'_>) -> Result<Cidr, EvalError> {
    match value {
        Value::Extension(Extension::Cidr(cidr)) => Ok(*cidr),
        Value::String(raw) => Cidr::parse(raw).map_err(|error| {
            EvalError::Failed(format!("network address parse error during conversion from string: {error}"))
        }),
        _ => no_overload(),
    }
}

fn ip<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    let address = match &args[0] {
        Value::Extension(Extension::Cidr(cidr)) => cidr.address,
        other => address(other)?,
    };
    Ok(Value::Extension(Extension::Ip(address)))
}

fn is_ip<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    Ok(Value::Bool(parse_ip(text(&args[0])?).is_ok()))
}

fn is_canonical<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    let raw = text(&args[0])?;
    match parse_ip(raw) {
        Ok(address) => Ok(Value::Bool(address.to_string() == raw)),
        Err(error) => failed(error),
    }
}

fn family<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    Ok(Value::Int(if address(&args[0])?.is_ipv4() { 4 } else { 6 }))
}

fn test<'a>(args: &[Value<'a>], holds: impl FnOnce(IpAddr) -> bool) -> EvalResult<'a> {
    address(&args[0]).map(|address| Value::Bool(holds(address)))
}

fn is_unspecified<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    test(args, |address| address.is_unspecified())
}

fn is_loopback<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    test(args, |address| address.is_loopback())
}

fn link_local_multicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
    }
}

fn link_local_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

fn is_link_local_multicast<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    test(args, link_local_multicast)
}

fn is_link_local_unicast<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    test(args, link_local_unicast)
}

fn is_global_unicast<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    test(args, |address| {
        let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
        !broadcast
            && !address.is_unspecified()
            && !address.is_loopback()
            && !address.is_multicast()
            && !link_local_unicast(address)
    })
}

fn cidr<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    network(&args[0]).map(|cidr| Value::Extension(Extension::Cidr(cidr)))
}

fn is_cidr<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    Ok(Value::Bool(Cidr::parse(text(&args[0])?).is_ok()))
}

fn contains_ip<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    let network = network(&args[0])?;
    // A text that is no address is told as if there were no such function.
    address(&args[1]).map_or_else(|_| no_overload(), |address| Ok(Value::Bool(network.contains(address))))
}

fn contains_cidr<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    let (outer, inner) = (network(&args[0])?, network(&args[1])?);
    Ok(Value::Bool(outer.length <= inner.length && outer.contains(inner.address)))
}

fn prefix_length<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    Ok(Value::Int(i64::from(network(&args[0])?.length)))
}

fn masked<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    Ok(Value::Extension(Extension::Cidr(network(&args[0])?.masked())))
}
