//! Which bytes of something a client wants, and whether it has them already (RFC 9110, 13 and 14; as Go's `http.ServeContent`).

use http::header::{HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE};
use http::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// From where, and how many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub start: u64,
    pub length: u64,
}

impl Piece {
    /// As `Content-Range` tells it, of a file of this size.
    #[must_use]
    pub fn of(self, size: u64) -> String {
        let last = (self.start + self.length).saturating_sub(1);
        format!("bytes {}-{last}/{size}", self.start)
    }
}

/// What the client is to get.
#[derive(Debug, PartialEq, Eq)]
pub enum Wanted {
    Whole,
    Pieces(Vec<Piece>),
    /// No bytes: it has them, or its condition does not hold.
    Nothing(StatusCode),
    /// There are no such bytes; `true`: the size is told, so that the client may ask anew.
    Wrong(&'static str, bool),
}

/// What there is.
#[derive(Clone, Copy, Debug)]
pub struct State<'a> {
    /// In bytes.
    pub size: u64,
    /// When it was changed last, in seconds since the epoch.
    pub modified: i64,
    /// Its entity tag with the quotes, where it has one.
    pub tag: Option<&'a str>,
}

/// What a request asks of something.
#[must_use]
pub fn wanted(method: &Method, headers: &HeaderMap, state: State<'_>) -> Wanted {
    let State { size, modified, tag } = state;
    let text =
        |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty());
    let time = |name| text(name).and_then(parse);
    let fails = match text(IF_MATCH) {
        Some(tags) => !names(tags, tag, true),
        None => time(IF_UNMODIFIED_SINCE).is_some_and(|since| modified > since),
    };
    if fails {
        return Wanted::Nothing(StatusCode::PRECONDITION_FAILED);
    }
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let (known, refusal) = match text(IF_NONE_MATCH) {
        Some(tags) if reads => (names(tags, tag, false), StatusCode::NOT_MODIFIED),
        Some(tags) => (names(tags, tag, false), StatusCode::PRECONDITION_FAILED),
        None => (reads && time(IF_MODIFIED_SINCE).is_some_and(|since| modified <= since), StatusCode::NOT_MODIFIED),
    };
    if known {
        return Wanted::Nothing(refusal);
    }
    // The pieces are wanted of the very thing that the client has others of.
    let changed = reads
        && text(IF_RANGE).is_some_and(|condition| match first_tag(condition) {
            Some((given, _)) => given.starts_with("W/") || Some(given) != tag,
            None => parse(condition) != Some(modified),
        });
    let Some(range) = text(RANGE).filter(|_| !changed) else { return Wanted::Whole };
    match pieces(range, size) {
        Ok(pieces) if pieces.is_empty() => Wanted::Whole,
        // More than there is: nobody means that.
        Ok(pieces) if pieces.iter().map(|piece| piece.length).fold(0, u64::saturating_add) > size => Wanted::Whole,
        Ok(pieces) => Wanted::Pieces(pieces),
        Err(true) if size == 0 => Wanted::Whole,
        Err(true) => Wanted::Wrong("invalid range: failed to overlap", true),
        Err(false) => Wanted::Wrong("invalid range", false),
    }
}

/// Whether a list of tags names one. Strongly, weak tags (`W/"…"`) are nobody's.
fn names(mut tags: &str, tag: Option<&str>, strongly: bool) -> bool {
    loop {
        tags = tags.trim_start_matches([' ', '\t', ',']);
        if tags.starts_with('*') {
            return true;
        }
        let Some((given, rest)) = first_tag(tags) else { return false };
        let strong = given.strip_prefix("W/");
        let same = if strongly { strong.is_none() && Some(given) == tag } else { Some(strong.unwrap_or(given)) == tag };
        if same {
            return true;
        }
        tags = rest;
    }
}

/// The tag that a text begins with, and what follows.
fn first_tag(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let quoted = text.strip_prefix("W/").unwrap_or(text).strip_prefix('"')?;
    let end = quoted.find(|c: char| !matches!(c, '!' | '#'..='~' | '\u{80}'..))?;
    let length = text.len() - quoted.len() + end + 1;
    quoted[end..].starts_with('"').then(|| text.split_at(length))
}

/// What is written between several pieces, each of which has a head of its own, and after them (RFC 9110, 14.6).
#[must_use]
pub fn between(pieces: &[Piece], size: u64, kind: &str, boundary: &str) -> Vec<String> {
    let head = |(at, piece): (usize, &Piece)| {
        let (before, range) = (if at == 0 { "" } else { "\r\n" }, piece.of(size));
        format!("{before}--{boundary}\r\nContent-Range: {range}\r\nContent-Type: {kind}\r\n\r\n")
    };
    pieces.iter().enumerate().map(head).chain([format!("\r\n--{boundary}--\r\n")]).collect()
}

/// The pieces there are.
///
/// # Errors
/// `true`: none of them; `false`: that is no range.
fn pieces(range: &str, size: u64) -> Result<Vec<Piece>, bool> {
    let number = |text: &str| text.parse::<u64>().map_err(|_| false);
    let (mut found, mut beyond) = (Vec::new(), false);
    for part in range.strip_prefix("bytes=").ok_or(false)?.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').ok_or(false)?;
        match (first.trim(), last.trim()) {
            ("", last) => {
                let length = number(last)?.min(size);
                found.push(Piece { start: size - length, length });
            }
            (first, last) => {
                let start = number(first)?;
                if start >= size {
                    beyond = true;
                    continue;
                }
                let last = if last.is_empty() { size - 1 } else { number(last)? };
                if start > last {
                    return Err(false);
                }
                found.push(Piece { start, length: last.min(size - 1) - start + 1 });
            }
        }
    }
    if beyond && found.is_empty() { Err(true) } else { Ok(found) }
}

/// A time as HTTP writes it.
#[must_use]
pub fn date(seconds: i64) -> String {
    let time = Timestamp::from_second(seconds).unwrap_or_default().to_zoned(TimeZone::UTC);
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// The day of the week is not looked at, as Go does not, either.
fn parse(text: &str) -> Option<i64> {
    let time = jiff::fmt::rfc2822::DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text).ok()?;
    Some(time.as_second())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn ask(headers: &[(HeaderName, &str)], size: u64) -> Wanted {
        ask_by(&Method::GET, headers, State { size, modified: 1_767_225_600, tag: None })
    }

    fn ask_by(method: &Method, headers: &[(HeaderName, &str)], state: State<'_>) -> Wanted {
        let headers = headers.iter().map(|(name, text)| (name.clone(), HeaderValue::from_str(text).unwrap()));
        wanted(method, &headers.collect(), state)
    }

    #[test]
    fn tags() {
        let (now, before) = ("Thu, 01 Jan 2026 00:00:00 GMT", "Wed, 31 Dec 2025 23:59:59 GMT");
        let state = State { size: 10, modified: 1_767_225_600, tag: Some("\"a\"") };
        let some = || Wanted::Pieces(vec![Piece { start: 0, length: 1 }]);
        let failed = || Wanted::Nothing(StatusCode::PRECONDITION_FAILED);
        let known = || Wanted::Nothing(StatusCode::NOT_MODIFIED);
        for (method, headers, expected) in [
            (Method::GET, &[(IF_NONE_MATCH, "\"a\"")][..], known()),
            (Method::HEAD, &[(IF_NONE_MATCH, "\"b\" , W/\"a\"")], known()),
            (Method::GET, &[(IF_NONE_MATCH, "*")], known()),
            (Method::POST, &[(IF_NONE_MATCH, "*")], failed()),
            (Method::POST, &[(IF_MODIFIED_SINCE, now)], Wanted::Whole),
            (Method::GET, &[(IF_NONE_MATCH, "a")], Wanted::Whole),
            (Method::GET, &[(IF_NONE_MATCH, "\"b\""), (IF_MODIFIED_SINCE, now)], Wanted::Whole),
            (Method::GET, &[(IF_MATCH, "\"a\"")], Wanted::Whole),
            (Method::GET, &[(IF_MATCH, "*")], Wanted::Whole),
            (Method::GET, &[(IF_MATCH, "W/\"a\"")], failed()),
            (Method::GET, &[(IF_MATCH, "\"b\"")], failed()),
            (Method::GET, &[(IF_MATCH, "\"a\""), (IF_UNMODIFIED_SINCE, before)], Wanted::Whole),
            (Method::GET, &[(RANGE, "bytes=0-0"), (IF_RANGE, "\"a\"")], some()),
            (Method::GET, &[(RANGE, "bytes=0-0"), (IF_RANGE, "W/\"a\"")], Wanted::Whole),
            (Method::GET, &[(RANGE, "bytes=0-0"), (IF_RANGE, "\"b\"")], Wanted::Whole),
        ] {
            assert_eq!(ask_by(&method, headers, state), expected, "{method} {headers:?}");
        }
    }

    #[test]
    fn ranges() {
        let piece = |start, length| Piece { start, length };
        for (range, expected) in [
            ("bytes=0-4", Wanted::Pieces(vec![piece(0, 5)])),
            ("bytes=2-", Wanted::Pieces(vec![piece(2, 8)])),
            ("bytes=-3", Wanted::Pieces(vec![piece(7, 3)])),
            ("bytes=-30", Wanted::Pieces(vec![piece(0, 10)])),
            ("bytes=9-99", Wanted::Pieces(vec![piece(9, 1)])),
            ("bytes= 1 - 1 ,, 3-4", Wanted::Pieces(vec![piece(1, 1), piece(3, 2)])),
            ("bytes=3-4,20-", Wanted::Pieces(vec![piece(3, 2)])),
            ("bytes=0-9,0-0", Wanted::Whole),
            ("bytes=", Wanted::Whole),
            ("bytes=10-", Wanted::Wrong("invalid range: failed to overlap", true)),
            ("bytes=4-3", Wanted::Wrong("invalid range", false)),
            ("bytes=a-", Wanted::Wrong("invalid range", false)),
            ("bytes=--1", Wanted::Wrong("invalid range", false)),
            ("bytes=5", Wanted::Wrong("invalid range", false)),
            ("lines=0-1", Wanted::Wrong("invalid range", false)),
            ("bytes=99999999999999999999-", Wanted::Wrong("invalid range", false)),
        ] {
            assert_eq!(ask(&[(RANGE, range)], 10), expected, "{range}");
        }
        assert_eq!(ask(&[(RANGE, "bytes=0-")], 0), Wanted::Whole);
        assert_eq!(piece(2, 3).of(10), "bytes 2-4/10");
    }

    #[test]
    fn conditions() {
        let (now, before) = ("Thu, 01 Jan 2026 00:00:00 GMT", "Wed, 31 Dec 2025 23:59:59 GMT");
        assert_eq!((date(1_767_225_600), date(1_767_225_599)), (now.to_owned(), before.to_owned()));
        let some = || Wanted::Pieces(vec![Piece { start: 0, length: 1 }]);
        for (headers, expected) in [
            (&[(IF_MODIFIED_SINCE, now)][..], Wanted::Nothing(StatusCode::NOT_MODIFIED)),
            (&[(IF_MODIFIED_SINCE, before)], Wanted::Whole),
            (&[(IF_MODIFIED_SINCE, "soon")], Wanted::Whole),
            (&[(IF_MODIFIED_SINCE, &now.replace("Thu", "Mon"))], Wanted::Nothing(StatusCode::NOT_MODIFIED)),
            (&[(IF_UNMODIFIED_SINCE, before)], Wanted::Nothing(StatusCode::PRECONDITION_FAILED)),
            (&[(IF_UNMODIFIED_SINCE, now)], Wanted::Whole),
            (&[(RANGE, "bytes=0-0"), (IF_RANGE, now)], some()),
            (&[(RANGE, "bytes=0-0"), (IF_RANGE, before)], Wanted::Whole),
            (&[(RANGE, "bytes=0-0"), (IF_RANGE, "\"tag\"")], Wanted::Whole),
        ] {
            assert_eq!(ask(headers, 10), expected, "{headers:?}");
        }
    }
}
