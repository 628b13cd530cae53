//! IP addresses and CIDR blocks as fields of old take them: with zeros in front of IPv4's octets and of prefix lengths, with
//! IPv4 in the clothes of IPv6, with bits behind the prefix. Go's parsers once passed all of that over, and objects written
//! then must stay valid (`k8s.io/utils/net`, ParseIPSloppy and ParseCIDRSloppy; KEP-4858). Every reader of such a field comes
//! here, so that none of them sees another address than the API server does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

/// An address, of the family it is written in.
#[must_use]
pub fn ip(text: &str) -> Option<IpAddr> {
    if !text.contains(':') {
        return octets(text).map(IpAddr::V4);
    }
    let (front, end) = text.rsplit_once(':')?;
    let plain: Ipv6Addr = match octets(end) {
        Some(v4) => format!("{front}:{v4}").parse().ok()?,
        None => text.parse().ok()?,
    };
    Some(IpAddr::V6(plain))
}

/// The same where IPv4 is meant, however it is written.
#[must_use]
pub fn v4(text: &str) -> Option<Ipv4Addr> {
    match ip(text)?.to_canonical() {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    }
}

/// An address and the length of its prefix, both as they are written.
#[must_use]
pub fn cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    let (address, length) = (ip(address)?, number(length)?);
    (length <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, length))
}

/// The block that is meant: nothing behind its prefix, IPv4 as IPv4.
#[must_use]
pub fn net(text: &str) -> Option<IpNet> {
    let (address, length) = cidr(text)?;
    let net = IpNet::new(address, length).ok()?.trunc();
    match (net.addr().to_canonical(), length.checked_sub(96)) {
        (v4 @ IpAddr::V4(_), Some(length)) if net.addr().is_ipv6() => IpNet::new(v4, length).ok(),
        _ => Some(net),
    }
}

/// The same where IPv4 is meant.
#[must_use]
pub fn v4_net(text: &str) -> Option<Ipv4Net> {
    match net(text)? {
        IpNet::V4(v4) => Some(v4),
        IpNet::V6(_) => None,
    }
}

fn octets(text: &str) -> Option<Ipv4Addr> {
    let octets: Vec<u8> = text.split('.').map(number).collect::<Option<_>>()?;
    <[u8; 4]>::try_from(octets).ok().map(Ipv4Addr::from)
}

/// Digits alone, which `parse` would not insist on.
fn number(text: &str) -> Option<u8> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_once_were() {
        for (text, expected) in [
            ("10.0.0.1", Some("10.0.0.1")),
            ("010.000.00.01", Some("10.0.0.1")),
            ("::ffff:1.2.3.4", Some("::ffff:1.2.3.4")),
            ("::ffff:01.2.3.4", Some("::ffff:1.2.3.4")),
            ("2001:DB8:0::1", Some("2001:db8::1")),
            ("256.0.0.1", None),
            ("1.2.3", None),
            ("1.2.3.4.5", None),
            ("+1.2.3.4", None),
            ("1.2.3.", None),
            ("fe80::1%eth0", None),
            ("", None),
            (":", None),
        ] {
            assert_eq!(ip(text).map(|ip| ip.to_string()).as_deref(), expected, "{text}");
        }
        assert_eq!(v4("::ffff:1.2.3.4"), Some(Ipv4Addr::new(1, 2, 3, 4)));
        assert_eq!(v4("2001:db8::1"), None);
    }

    #[test]
    fn blocks_are_those_that_are_meant() {
        for (text, expected) in [
            ("10.0.0.0/8", Some("10.0.0.0/8")),
            ("10.1.2.3/08", Some("10.0.0.0/8")),
            ("010.0.0.0/8", Some("10.0.0.0/8")),
            ("::ffff:10.1.2.3/104", Some("10.0.0.0/8")),
            ("::ffff:10.1.2.3/64", Some("::/64")),
            ("2001:DB8::1/64", Some("2001:db8::/64")),
            ("10.0.0.0/33", None),
            ("10.0.0.0/+8", None),
            ("10.0.0.0/", None),
            ("10.0.0.0", None),
            ("/8", None),
        ] {
            assert_eq!(net(text).map(|net| net.to_string()).as_deref(), expected, "{text}");
        }
        assert_eq!(v4_net("2001:db8::/64"), None);
    }
}
