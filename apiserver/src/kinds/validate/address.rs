//! Addresses and blocks: what fields of old take (`IsValidIPForLegacyField`), what those of today do (`IsValidIP`), and what
//! whoever writes one oddly is warned of (`GetWarningsForIP`; apimachinery's `pkg/util/validation/ip.go`, KEP-4858).

use std::fmt::Display;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use runtime::address;
use schema::field::{Error, ErrorList, Path};
use schema::go::quote;

const IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// In a field of old: however it is written.
pub fn ip(errors: &mut ErrorList, path: &Path, text: &str) {
    if address::ip(text).is_none() {
        errors.push(Error::invalid(path, text, IP));
    }
}

/// The same of a block; yields the one that is meant.
pub fn cidr(errors: &mut ErrorList, path: &Path, text: &str) -> Option<IpNet> {
    let net = address::net(text);
    if net.is_none() {
        errors.push(Error::invalid(path, text, CIDR));
    }
    net
}

/// What is wrong with an address that must be written in the one right form.
pub fn strict_ip(text: &str) -> Vec<String> {
    let Some(ip) = address::ip(text) else { return vec![IP.to_owned()] };
    let mut wrong = Vec::new();
    if text.parse::<IpAddr>().is_err() {
        wrong.push("must not have leading 0s".to_owned());
    } else if is_mapped(ip) {
        wrong.push("must not be an IPv4-mapped IPv6 address".to_owned());
    } else if ip.to_string() != text {
        wrong.push(canonical(&ip));
    }
    wrong
}

/// The same of a block.
pub fn strict_cidr(errors: &mut ErrorList, path: &Path, text: &str) {
    let (Some((ip, length)), Some(net)) = (address::cidr(text), address::net(text)) else {
        errors.push(Error::invalid(path, text, CIDR));
        return;
    };
    let wrong = if !is_plain_cidr(text) {
        "must not have leading 0s in IP or prefix length".to_owned()
    } else if is_mapped(ip) {
        "must not have an IPv4-mapped IPv6 address".to_owned()
    } else if net.addr() != ip || net.prefix_len() != length {
        "must not have bits set beyond the prefix length".to_owned()
    } else if net.to_string() != text {
        canonical(&net)
    } else {
        return;
    };
    errors.push(Error::invalid(path, text, wrong));
}

/// What is odd about an address that a field of old takes.
pub fn ip_warning(path: impl Display, text: &str) -> Option<String> {
    let ip = address::ip(text)?;
    let shown = quote(text);
    if text.parse::<IpAddr>().is_err() || is_mapped(ip) {
        let meant = quote(&ip.to_canonical().to_string());
        return Some(format!("{path}: non-standard IP address {shown} is invalid: use {meant}"));
    }
    let written = ip.to_string();
    (ip.is_ipv6() && written != text).then(|| {
        let written = quote(&written);
        format!("{path}: IPv6 address {shown} should be in RFC 5952 canonical format ({written})")
    })
}

/// The same of a block.
pub fn cidr_warnings(path: impl Display, text: &str) -> Vec<String> {
    let (Some((ip, _)), Some(net)) = (address::cidr(text), address::net(text)) else { return Vec::new() };
    let shown = quote(text);
    let mut warnings = Vec::new();
    if ip.to_canonical() != net.addr() {
        let one = format!("{}/{}", ip.to_canonical(), if ip.is_ipv4() { 32 } else { 128 });
        let (net, one) = (quote(&net.to_string()), quote(&one));
        warnings.push(format!("{path}: CIDR value {shown} is ambiguous in this context (should be {net} or {one}?)"));
    }
    if !is_plain_cidr(text) || is_mapped(ip) {
        let net = quote(&net.to_string());
        warnings.push(format!("{path}: non-standard CIDR value {shown} is invalid: use {net}"));
    }
    if warnings.is_empty() && ip.is_ipv6() && net.to_string() != text {
        let net = quote(&net.to_string());
        warnings.push(format!("{path}: IPv6 CIDR value {shown} should be in RFC 5952 canonical format ({net})"));
    }
    warnings
}

fn canonical(right: &impl Display) -> String {
    format!("must be in canonical form ({})", quote(&right.to_string()))
}

fn is_mapped(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if Ipv6Addr::to_ipv4_mapped(&v6).is_some())
}

/// No zeros in front of anything.
fn is_plain_cidr(text: &str) -> bool {
    text.split_once('/')
        .is_some_and(|(ip, length)| ip.parse::<IpAddr>().is_ok() && (length == "0" || !length.starts_with('0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_today_have_one_form() {
        for (text, expected) in [
            ("10.0.0.1", ""),
            ("2001:db8::1", ""),
            ("x", IP),
            ("010.0.0.1", "must not have leading 0s"),
            ("::ffff:1.2.3.4", "must not be an IPv4-mapped IPv6 address"),
            ("2001:DB8::1", "must be in canonical form (\"2001:db8::1\")"),
        ] {
            assert_eq!(strict_ip(text).join("; "), expected, "{text}");
        }
        for (text, expected) in [
            ("10.0.0.0/24", ""),
            ("0.0.0.0/0", ""),
            ("10.0.0.1", CIDR),
            ("10.0.0.0/024", "must not have leading 0s in IP or prefix length"),
            ("::ffff:10.0.0.0/120", "must not have an IPv4-mapped IPv6 address"),
            ("10.0.0.1/24", "must not have bits set beyond the prefix length"),
            ("2001:DB8::/64", "must be in canonical form (\"2001:db8::/64\")"),
        ] {
            let mut errors = ErrorList::new();
            strict_cidr(&mut errors, &Path::new("at"), text);
            let expected =
                if expected.is_empty() { String::new() } else { format!("at: Invalid value: \"{text}\": {expected}") };
            assert_eq!(errors.iter().map(ToString::to_string).collect::<String>(), expected, "{text}");
        }
    }

    #[test]
    fn odd_forms_are_warned_of() {
        for (text, expected) in [
            ("10.0.0.1", None),
            ("010.0.0.1", Some("at: non-standard IP address \"010.0.0.1\" is invalid: use \"10.0.0.1\"")),
            ("::ffff:1.2.3.4", Some("at: non-standard IP address \"::ffff:1.2.3.4\" is invalid: use \"1.2.3.4\"")),
            (
                "2001:DB8::1",
                Some("at: IPv6 address \"2001:DB8::1\" should be in RFC 5952 canonical format (\"2001:db8::1\")"),
            ),
            ("x", None),
        ] {
            assert_eq!(ip_warning("at", text).as_deref(), expected, "{text}");
        }
        for (text, expected) in [
            ("10.0.0.0/24", vec![]),
            (
                "10.0.0.1/24",
                vec![
                    "at: CIDR value \"10.0.0.1/24\" is ambiguous in this context (should be \"10.0.0.0/24\" or \"10.0.0.1/32\"?)",
                ],
            ),
            ("10.0.0.0/024", vec!["at: non-standard CIDR value \"10.0.0.0/024\" is invalid: use \"10.0.0.0/24\""]),
            (
                "2001:DB8::/64",
                vec![
                    "at: IPv6 CIDR value \"2001:DB8::/64\" should be in RFC 5952 canonical format (\"2001:db8::/64\")",
                ],
            ),
        ] {
            assert_eq!(cidr_warnings("at", text), expected, "{text}");
        }
    }
}
