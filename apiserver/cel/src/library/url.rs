//! URLs as Go's `net/url` takes them apart.

use std::{collections::BTreeMap, sync::Arc};

use schema::go::quote;

use super::Extension;
use crate::{
    decl::{Call, Row},
    operators::text,
    value::{EvalResult, Key, Map, Str, Value, failed, no_overload},
};

pub(crate) const ROWS: &[Row] = &[
    ("url", url, &["string_to_url (string) kubernetes.URL"]),
    ("isURL", is_url, &["is_url_string (string) bool"]),
    ("getScheme", scheme, &["url_get_scheme kubernetes.URL.() string"]),
    ("getHost", host, &["url_get_host kubernetes.URL.() string"]),
    ("getHostname", hostname, &["url_get_hostname kubernetes.URL.() string"]),
    ("getPort", port, &["url_get_port kubernetes.URL.() string"]),
    ("getEscapedPath", escaped_path, &["url_get_escaped_path kubernetes.URL.() string"]),
    ("getQuery", query, &["url_get_query kubernetes.URL.() map<string, list<string>>"]),
];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Url {
    pub text: String,
    scheme: String,
    host: String,
    path: String,
    query: String,
}

/// `url.ParseRequestURI` and then `url.Parse`: absolute, or an absolute path. The first knows no fragments.
pub(crate) fn parse(raw: &str) -> Result<Url, String> {
    let wrong = |why: &str| format!("parse {}: {why}", quote(raw));
    if raw.is_empty() {
        return Err(wrong("empty url"));
    }
    if raw.chars().any(|c| (c as u32) < 0x20 || c == '\x7f') {
        return Err(wrong("net/url: invalid control character in URL"));
    }
    let (scheme, rest) = split_scheme(raw).map_err(wrong)?;
    // An opaque URI such as mailto:x is no request URI.
    if !rest.starts_with('/') {
        return Err(wrong("invalid URI for request"));
    }
    hierarchy(scheme, rest, true).map_err(|why| wrong(&why))?;
    if let Some(why) = unreadable(raw) {
        return Err(why);
    }
    let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
    let (host, path, query) = hierarchy(scheme, rest, false).map_err(|why| wrong(&why))?;
    Ok(Url {
        text: raw.to_owned(),
        scheme: scheme.to_ascii_lowercase(),
        host: unescape(host, false).unwrap_or_else(|| host.to_owned()),
        path: path.to_owned(),
        query: query.to_owned(),
    })
}

/// Host, path and query behind a scheme, where there is a slash. `request`: without a scheme there is no host.
fn hierarchy<'a>(scheme: &str, rest: &'a str, request: bool) -> Result<(&'a str, &'a str, &'a str), String> {
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let hosted = !scheme.is_empty() || !request && !rest.starts_with("///");
    let authority = rest.strip_prefix("//").filter(|_| hosted);
    let Some(rest) = authority else { return check_escapes(rest).map(|()| ("", rest, query)) };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = check_authority(authority)?;
    check_escapes(path)?;
    Ok((host, path, query))
}

/// What Go's `url.Parse` says of a text that is no URL, be it a relative one.
#[must_use]
pub fn unreadable(raw: &str) -> Option<String> {
    let (url, fragment) = raw.split_once('#').unwrap_or((raw, ""));
    let told = |raw: &str, read: Result<(), String>| read.err().map(|why| format!("parse {}: {why}", quote(raw)));
    told(url, check_reference(url)).or_else(|| told(raw, check_escapes(fragment)))
}

/// A URL without its fragment, as far as Go looks at one.
fn check_reference(url: &str) -> Result<(), String> {
    if url.chars().any(|c| (c as u32) < 0x20 || c == '\x7f') {
        return Err("net/url: invalid control character in URL".to_owned());
    }
    let (scheme, rest) = split_scheme(url)?;
    let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest);
    if !rest.starts_with('/') {
        let first = rest.split('/').next().unwrap_or_default();
        return match (scheme, first.contains(':')) {
            ("", true) => Err("first path segment in URL cannot contain colon".to_owned()),
            ("", false) => check_escapes(rest),
            // Of what is opaque nothing is looked at.
            _ => Ok(()),
        };
    }
    let authority = rest.strip_prefix("//").filter(|_| !scheme.is_empty() || !rest.starts_with("///"));
    let Some(rest) = authority else { return check_escapes(rest) };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    check_authority(host)?;
    check_escapes(path)
}

fn split_scheme(raw: &str) -> Result<(&str, &str), &'static str> {
    for (at, c) in raw.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at > 0 => {}
            ':' if at > 0 => return Ok((&raw[..at], &raw[at + 1..])),
            ':' => return Err("missing protocol scheme"),
            _ => return Ok(("", raw)),
        }
    }
    Ok(("", raw))
}

/// The host of an authority, behind who asks there.
fn check_authority(authority: &str) -> Result<&str, String> {
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    check_host(host)?;
    if !user.chars().all(|c| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c)) {
        return Err("net/url: invalid userinfo".to_owned());
    }
    check_escapes(user)?;
    Ok(host)
}

fn check_host(host: &str) -> Result<(), String> {
    let port = match host.strip_prefix('[') {
        Some(rest) => {
            let Some((_, after)) = rest.split_once(']') else { return Err("missing ']' in host".to_owned()) };
            after
        }
        None => host.rfind(':').map_or("", |at| &host[at..]),
    };
    let numbered = port.strip_prefix(':').is_some_and(|digits| digits.bytes().all(|c| c.is_ascii_digit()));
    if !port.is_empty() && !numbered {
        return Err(format!("invalid port {} after host", quote(port)));
    }
    for (at, c) in host.char_indices() {
        if " #\\^`{|}".contains(c) {
            return Err(format!("invalid character {} in host name", quote(&c.to_string())));
        }
        // What is escaped is no ASCII, but for the percent sign of an address' zone.
        if c == '%'
            && !host[at..].starts_with("%25")
            && !host[at + 1..].starts_with(|c| matches!(c, '8' | '9' | 'a'..='f' | 'A'..='F'))
        {
            return Err(escape(&host[at..]));
        }
    }
    check_escapes(host)
}

fn escape(at: &str) -> String {
    let shown: String = at.chars().take(3).collect();
    format!("invalid URL escape {}", quote(&shown))
}

fn check_escapes(text: &str) -> Result<(), String> {
    for (at, _) in text.match_indices('%') {
        let digits = text.get(at + 1..at + 3).is_some_and(|digits| digits.bytes().all(|c| c.is_ascii_hexdigit()));
        if !digits {
            return Err(escape(&text[at..]));
        }
    }
    Ok(())
}

fn unescape(text: &str, plus: bool) -> Option<String> {
    check_escapes(text).ok()?;
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(c) = bytes.next() {
        match c {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                out.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
            }
            b'+' if plus => out.push(b' '),
            c => out.push(c),
        }
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

impl Url {
    fn port_at(&self) -> Option<usize> {
        let after = self.host.rfind(']').map_or(0, |at| at + 1);
        self.host[after..].rfind(':').map(|at| after + at)
    }

    fn hostname(&self) -> &str {
        let host = self.port_at().map_or(&*self.host, |at| &self.host[..at]);
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    fn port(&self) -> &str {
        self.port_at().map_or("", |at| &self.host[at + 1..])
    }

    /// The path as written where that is a valid encoding, else encoded.
    fn escaped_path(&self) -> String {
        let valid = |c: u8| c.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:@/[]%".contains(&c);
        if self.path.bytes().all(valid) {
            return self.path.clone();
        }
        let plain = unescape(&self.path, false).unwrap_or_else(|| self.path.clone());
        let kept = |c: u8| c.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&c);
        plain.bytes().map(|c| if kept(c) { (c as char).to_string() } else { format!("%{c:02X}") }).collect()
    }

    fn query(&self) -> BTreeMap<String, Vec<String>> {
        let mut out: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for pair in self.query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if let (Some(key), Some(value)) = (unescape(key, true), unescape(value, true)) {
                out.entry(key).or_default().push(value);
            }
        }
        out
    }
}

fn url<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    match parse(text(&args[0])?) {
        Ok(url) => Ok(Value::Extension(Extension::Url(Arc::new(url)))),
        Err(error) => failed(format!("URL parse error during conversion from string: {error}")),
    }
}

fn is_url<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    Ok(Value::Bool(parse(text(&args[0])?).is_ok()))
}

fn part<'a>(args: &[Value<'a>], pick: impl FnOnce(&Url) -> String) -> EvalResult<'a> {
    match &args[0] {
        Value::Extension(Extension::Url(url)) => Ok(Value::string(pick(url))),
        _ => no_overload(),
    }
}

fn scheme<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    part(args, |url| url.scheme.clone())
}

fn host<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    part(args, |url| url.host.clone())
}

fn hostname<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    part(args, |url| url.hostname().to_owned())
}

fn port<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    part(args, |url| url.port().to_owned())
}

fn escaped_path<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    part(args, Url::escaped_path)
}

fn query<'a>(_: &Call<'_>, args: &mut [Value<'a>]) -> EvalResult<'a> {
    let Value::Extension(Extension::Url(url)) = &args[0] else { return no_overload() };
    let entries = url.query().into_iter().map(|(key, values)| {
        let values = values.into_iter().map(Value::string).collect();
        (Key::String(Str::Owned(key.into())), Value::list(values))
    });
    Ok(Value::Map(Map::Owned(Arc::new(entries.collect()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_in_go() {
        for (raw, expected) in [
            ("http://a:1/b?c=d#e", Ok(("http", "a:1", "/b", "c=d"))),
            ("http://u:p@a", Ok(("http", "a", "", ""))),
            ("//a/b", Ok(("", "a", "/b", ""))),
            ("/a#b", Ok(("", "", "/a", ""))),
            ("http://a#b", Err("invalid character \"#\" in host name")),
            ("http://#%blah$#@", Err("net/url: invalid userinfo")),
            ("http://a%41", Err("invalid URL escape \"%41\"")),
            ("http://a/#%b", Err("invalid URL escape \"%b\"")),
            ("a/b", Err("invalid URI for request")),
            ("mailto:x", Err("invalid URI for request")),
            ("", Err("empty url")),
        ] {
            let read = parse(raw);
            let read = read.as_ref().map(|u| (u.scheme.as_str(), u.host.as_str(), u.path.as_str(), u.query.as_str()));
            let expected = expected.map_err(|why| format!("parse {}: {why}", quote(raw)));
            assert_eq!(read.map_err(Clone::clone), expected);
        }
        let told = "parse \"a\\b\": net/url: invalid control character in URL";
        assert_eq!(parse("a\u{8}").err().as_deref(), Some(told));
    }
}
