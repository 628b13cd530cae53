//! String formats that are enforced (`apiextensions` supports these; any other word means nothing).

use std::net::IpAddr;

use base64::{Engine as _, prelude::BASE64_STANDARD};

use crate::{names, time};

/// The formats of texts that mean something.
const OF_STRINGS: &[&str] = &[
    "bsonobjectid",
    "byte",
    "cidr",
    "creditcard",
    "date",
    "date-time",
    "datetime",
    "duration",
    "email",
    "hexcolor",
    "hostname",
    "ipv4",
    "ipv6",
    "isbn",
    "isbn10",
    "isbn13",
    "k8s-long-name",
    "k8s-short-name",
    "mac",
    "password",
    "rgbcolor",
    "ssn",
    "uri",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
];

/// Whether a format means something for a type.
#[must_use]
pub fn is_known(ty: &str, format: &str) -> bool {
    match ty {
        "integer" => matches!(format, "int32" | "int64"),
        "number" => matches!(format, "float" | "double"),
        _ => OF_STRINGS.contains(&format),
    }
}

/// Whether a text has a format (`kube-openapi/pkg/validation/strfmt`); words that are no format of apiextensions' mean nothing.
#[must_use]
pub fn matches(format: &str, text: &str) -> bool {
    match format {
        "date-time" | "datetime" => date_time(text),
        "date" => date(text),
        "duration" => parse_duration(text).is_ok(),
        "ipv4" => text.contains('.') && ip_sloppy(text),
        "ipv6" => text.contains(':') && ip_sloppy(text),
        "cidr" => text.parse::<ipnet::IpNet>().is_ok(),
        "mac" => mac(text),
        "byte" => !text.is_empty() && BASE64_STANDARD.decode(text).is_ok(),
        "hostname" => hostname(text),
        "email" => email(text),
        "uri" => uri(text),
        "uuid" | "uuid3" | "uuid4" | "uuid5" => uuid(text, format.strip_prefix("uuid").unwrap_or_default()),
        "hexcolor" => {
            let digits = text.strip_prefix('#').unwrap_or(text);
            matches!(digits.len(), 3 | 6) && digits.chars().all(|c| c.is_ascii_hexdigit())
        }
        "rgbcolor" => rgb(text).is_some(),
        "isbn" => isbn10(text) || isbn13(text),
        "isbn10" => isbn10(text),
        "isbn13" => isbn13(text),
        "creditcard" => credit_card(text),
        "ssn" => shaped(text, "000-00-0000") || shaped(text, "000 00 0000"),
        "bsonobjectid" => text.len() == 24 && text.chars().all(|c| c.is_ascii_hexdigit()),
        "k8s-short-name" => names::dns1123_label(text).is_empty(),
        "k8s-long-name" => names::dns1123_subdomain(text).is_empty(),
        _ => true,
    }
}

fn date(text: &str) -> bool {
    text.len() == 10 && jiff::civil::Date::strptime("%Y-%m-%d", text).is_ok()
}

/// Letters in either case, and no day but those there are; what follows the time is a zone.
fn date_time(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let Some((day, clock)) = text.split_once('t') else { return false };
    let (Some(time), Some(rest)) = (clock.get(..8), clock.get(8..)) else { return false };
    let zone = rest.strip_prefix('.').map_or(rest, |rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    let fraction = rest.len() - zone.len();
    date(day)
        && shaped(time, "00:00:00")
        && time[..2] <= *"23"
        && time[3..5] <= *"59"
        && time[6..] <= *"59"
        && fraction != 1
        && (zone == "z" || zone.strip_prefix(['+', '-']).is_some_and(|zone| shaped(zone, "00:00")))
}

/// Digits where `shape` has zeros, and its other characters.
fn shaped(text: &str, shape: &str) -> bool {
    text.len() == shape.len()
        && text
            .bytes()
            .zip(shape.bytes())
            .all(|(c, wanted)| if wanted == b'0' { c.is_ascii_digit() } else { c == wanted })
}

/// A duration as Go writes it, or else whatever numbers with units of time there are, put together; of units the long ones are
/// known by their beginning (`strfmt.ParseDuration`).
///
/// # Errors
/// Upstream's text.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    const UNITS: &[(&[&str], &str, i64)] = &[
        (&["ns"], "nano", 1),
        (&["us", "µs"], "micro", 1_000),
        (&["ms"], "milli", 1_000_000),
        (&["s"], "sec", 1_000_000_000),
        (&["m"], "min", 60_000_000_000),
        (&["h", "hr"], "hour", 3_600_000_000_000),
        (&["d"], "day", 86_400_000_000_000),
        (&["w", "wk"], "week", 604_800_000_000_000),
    ];
    if let Ok(nanos) = time::parse_duration(text) {
        return Ok(nanos);
    }
    let (mut total, mut rest) = (None, text);
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let digits = rest[at..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - at);
        let number = &rest[at..at + digits];
        rest = &rest[at + digits..];
        let word = rest.trim_start();
        let end = word.find(|c: char| !c.is_ascii_alphabetic() && c != 'µ').unwrap_or(word.len());
        if end == 0 {
            continue;
        }
        let number: i64 =
            number.parse().map_err(|_| format!("strconv.Atoi: parsing {number:?}: value out of range"))?;
        let unit = word[..end].to_lowercase();
        let fits = |short: &[&str], long: &str| short.contains(&unit.as_str()) || unit.starts_with(long);
        for (.., nanos) in UNITS.iter().filter(|(short, long, _)| fits(short, long)) {
            total = Some(total.unwrap_or(0i64).wrapping_add(number.wrapping_mul(*nanos)));
        }
    }
    total.ok_or_else(|| format!("unable to parse {text} as duration"))
}

/// Zeros may lead the numbers of an address, as Go once had it.
fn ip_sloppy(text: &str) -> bool {
    let (front, last) = text.rsplit_once(':').map_or(("", text), |(front, last)| (&text[..=front.len()], last));
    let plain = |number: &str| number.trim_start_matches('0').to_owned();
    let numbers: Vec<String> =
        last.split('.')
            .map(|number| if number.len() > 1 && plain(number).is_empty() { "0".to_owned() } else { number.to_owned() })
            .map(|number| {
                if number.len() > 1 && number.starts_with('0') && last.contains('.') { plain(&number) } else { number }
            })
            .collect();
    format!("{front}{}", numbers.join(".")).parse::<IpAddr>().is_ok()
}

/// Pairs of digits by colons or hyphens, or fours by dots.
fn mac(text: &str) -> bool {
    let hex = |part: &str, digits| part.len() == digits && part.chars().all(|c| c.is_ascii_hexdigit());
    let by = |separator: char, digits: usize| {
        let parts: Vec<&str> = text.split(separator).collect();
        matches!(parts.len() * digits / 2, 6 | 8 | 20) && parts.iter().all(|part| hex(part, digits))
    };
    by(':', 2) || by('-', 2) || by('.', 4)
}

/// Labels below a top-level domain of letters; or one word, in which a hyphen may stand second.
fn hostname(text: &str) -> bool {
    let symbol = |c: char| "$+<=>^`|~".contains(c) || (!c.is_ascii() && !c.is_alphanumeric() && !c.is_whitespace());
    let word = |c: char| c.is_ascii_alphanumeric() || c.is_alphabetic() || symbol(c);
    let one = || {
        let mut chars = text.chars();
        let first = chars.next().is_some_and(word);
        let rest = chars.as_str();
        let rest = rest.strip_prefix('-').unwrap_or(rest);
        first && rest.chars().count() <= 62 && rest.chars().all(word)
    };
    let several = || {
        let (labels, top) = text.rsplit_once('.')?;
        let label = |label: &str| {
            label.starts_with(word) && label.ends_with(word) && label.chars().all(|c| word(c) || c == '-')
        };
        let fits = (2..=63).contains(&top.chars().count()) && top.chars().all(char::is_alphabetic);
        (fits && labels.split('.').all(label)).then_some(())
    };
    text.len() <= 255 && text.split('.').all(|label| label.len() <= 63) && (one() || several().is_some())
}

/// An address, or a name with an address in angle brackets (RFC 5322).
fn email(text: &str) -> bool {
    let address = match text.strip_suffix('>').and_then(|text| text.rsplit_once('<')) {
        Some((_, address)) => address,
        None => text.trim(),
    };
    let atom = |text: &str| {
        let of_atom = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || !c.is_ascii();
        text.split('.').all(|part| !part.is_empty() && part.chars().all(of_atom))
    };
    let quoted = |text: &str| text.len() > 2 && text.starts_with('"') && text.ends_with('"');
    address.rsplit_once('@').is_some_and(|(user, host)| (atom(user) || quoted(user)) && atom(host))
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
    let variant = |c: char| "89ab".contains(c.to_ascii_lowercase());
    digits
        && (version.is_empty() || plain[12..].starts_with(version))
        && (!matches!(version, "4" | "5") || plain[16..].starts_with(variant))
}

fn rgb(text: &str) -> Option<()> {
    let inside = text.strip_prefix("rgb(")?.strip_suffix(')')?;
    let parts: Vec<&str> = inside.split(',').map(str::trim).collect();
    let fits = |part: &&str| part.parse::<u8>().is_ok_and(|number| number.to_string() == **part);
    (parts.len() == 3 && parts.iter().all(fits)).then_some(())
}

fn bare(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && *c != '-').collect()
}

/// The tenth digit may be an X, for ten; the weighted sum is a multiple of eleven.
fn isbn10(text: &str) -> bool {
    let text = bare(text);
    let digits = text.char_indices().map(|(at, c)| if at == 9 && c == 'X' { Some(10) } else { c.to_digit(10) });
    let digits: Option<Vec<u32>> = digits.collect();
    digits
        .is_some_and(|digits| digits.len() == 10 && digits.iter().zip(1..).map(|(d, at)| d * at).sum::<u32>() % 11 == 0)
}

fn isbn13(text: &str) -> bool {
    let digits: Option<Vec<u32>> = bare(text).chars().map(|c| c.to_digit(10)).collect();
    let weigh = |(at, digit): (usize, &u32)| if at % 2 == 0 { *digit } else { digit * 3 };
    digits.is_some_and(|digits| digits.len() == 13 && digits.iter().enumerate().map(weigh).sum::<u32>() % 10 == 0)
}

/// Of an issuer that is known, with Luhn's check digit.
fn credit_card(text: &str) -> bool {
    const ISSUERS: &[(std::ops::RangeInclusive<u32>, usize, &[usize])] = &[
        (4..=4, 1, &[13, 16]),
        (51..=55, 2, &[16]),
        (2221..=2720, 4, &[16]),
        (6011..=6011, 4, &[16]),
        (65..=65, 2, &[16]),
        (34..=34, 2, &[15]),
        (37..=37, 2, &[15]),
        (300..=305, 3, &[14]),
        (36..=36, 2, &[14]),
        (38..=38, 2, &[14]),
        (2131..=2131, 4, &[15]),
        (1800..=1800, 4, &[15]),
        (35..=35, 2, &[16]),
        (62..=62, 2, &[16]),
        (67..=67, 2, &[16]),
    ];
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    let begins =
        |count: usize| digits.get(..count).map(|front| front.iter().fold(0, |number, digit| number * 10 + digit));
    let known = ISSUERS.iter().any(|(range, count, lengths)| {
        lengths.contains(&digits.len()) && begins(*count).is_some_and(|front| range.contains(&front))
    });
    let doubled = |digit: u32| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let luhn = digits.iter().rev().enumerate().map(|(at, digit)| if at % 2 == 1 { doubled(*digit) } else { *digit });
    known && luhn.sum::<u32>() % 10 == 0
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
            ("hostname", "a.bc", "a_b"),
            ("hostname", "localhost", "a.b"),
            ("hostname", "a-bc", "abc-def"),
            ("date-time", "2020-01-01t00:00:00.5z", "2020-01-01T25:00:00Z"),
            ("date-time", "2020-01-01T00:00:00+01:00", "2020-01-01 00:00:00Z"),
            ("duration", "2 weeks", "90"),
            ("duration", "1d", "-"),
            ("ipv4", "01.2.3.4", "::1"),
            ("ipv6", "::ffff:1.2.3.4", "fe80::1%eth0"),
            ("mac", "0011.2233.4455", "0011.2233"),
            ("byte", "YQ==", ""),
            ("email", "Joe <a@b.c>", "mailto:a@b"),
            ("email", "\"x y\"@b.c", "a@b c"),
            ("uuid4", "8c2b1b6c-3b7a-4f65-8a0e-0d3c2f1e9b77", "8c2b1b6c-3b7a-4f65-0a0e-0d3c2f1e9b77"),
            ("rgbcolor", "rgb( 1, 2, 3 )", "rgb(256,1,1)"),
            ("isbn", "0321751043", "0321751044"),
            ("isbn13", "978 0321751041", "0321751043"),
            ("isbn10", "0321751043", "9780321751041"),
            ("creditcard", "4111-1111-1111-1111", "4111111111111112"),
            ("ssn", "111-11-1111", "111111111"),
            ("bsonobjectid", "507f1f77bcf86cd799439011", "x"),
            ("k8s-short-name", "a-b", "a.b"),
            ("k8s-long-name", "a.b", "A.B"),
        ] {
            assert!(matches(format, good), "{format} {good}");
            assert!(!matches(format, bad), "{format} {bad}");
        }
        assert!(matches("whatever", "x"));
    }
}
