//! String formats that are enforced (`apiextensions` supports these; any other word means nothing).

use std::net::{Ipv4Addr, Ipv6Addr};

use base64::{Engine as _, prelude::BASE64_STANDARD};

use crate::{names, time};

/// Whether a text has a format; words that are no format of apiextensions' mean nothing.
#[must_use]
pub fn matches(format: &str, text: &str) -> bool {
    match format {
        "date-time" | "datetime" => time::parse(text, "").is_ok(),
        "date" => text.len() == 10 && jiff::civil::Date::strptime("%Y-%m-%d", text).is_ok(),
        "duration" => time::parse_duration(text).is_ok(),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => text.parse::<ipnet::IpNet>().is_ok(),
        "mac" => mac(text),
        "byte" => BASE64_STANDARD.decode(text).is_ok(),
        "hostname" => text.len() <= 253 && names::dns1123_subdomain(&text.to_ascii_lowercase()).is_empty(),
        "email" => {
            text.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty() && !text.contains(' '))
        }
        "uri" => uri(text),
        "uuid" | "uuid3" | "uuid4" | "uuid5" => uuid(text, format.strip_prefix("uuid").unwrap_or_default()),
        "hexcolor" => {
            let digits = text.strip_prefix('#').unwrap_or(text);
            matches!(digits.len(), 3 | 6) && digits.chars().all(|c| c.is_ascii_hexdigit())
        }
        _ => true,
    }
}

fn mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split([':', '-']).collect();
    matches!(parts.len(), 6 | 8 | 20)
        && parts.iter().all(|part| part.len() == 2 && part.chars().all(|c| c.is_ascii_hexdigit()))
}

/// Go's `url.ParseRequestURI`: absolute, or an absolute path.
fn uri(text: &str) -> bool {
    let scheme = text.split_once(':').is_some_and(|(scheme, rest)| {
        !rest.is_empty()
            && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    });
    (scheme || text.starts_with('/')) && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

fn uuid(text: &str, version: &str) -> bool {
    let plain: String = text.chars().filter(|c| *c != '-').collect();
    let digits = plain.len() == 32 && plain.chars().all(|c| c.is_ascii_hexdigit());
    digits && (version.is_empty() || plain[12..].starts_with(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables() {
        for (format, good, bad) in [
            ("date-time", "2024-01-02T03:04:05Z", "2024-01-02"),
            ("date", "2024-02-29", "2023-02-29"),
            ("duration", "1h30m", "1x"),
            ("ipv4", "10.0.0.1", "10.0.0"),
            ("ipv6", "::1", "10.0.0.1"),
            ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
            ("mac", "00:11:22:33:44:55", "00:11"),
            ("byte", "YQ==", "?"),
            ("uri", "https://example.com/x", "no scheme"),
            ("uuid4", "8c2b1b6c-3b7a-4f65-8a0e-0d3c2f1e9b77", "8c2b1b6c-3b7a-1f65-8a0e-0d3c2f1e9b77"),
            ("email", "a@b.c", "a"),
            ("hostname", "a.b", "a_b"),
        ] {
            assert!(matches(format, good), "{format} {good}");
            assert!(!matches(format, bad), "{format} {bad}");
        }
        assert!(matches("whatever", "x"));
    }
}
