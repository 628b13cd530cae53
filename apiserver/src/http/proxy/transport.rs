//! What changes on the way through a proxy (`apimachinery/pkg/util/proxy/transport.go`): the backend hears under which path it
//! is shown; absolute links to itself, in `Location` and in HTML, are led through this server again.

use axum::body::Body;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use http::{Response, header};

use super::From;
use super::html;
use crate::http::status::{ApiError, ApiResult};

const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// A backend does not say who may use this server's answers.
const CORS: [HeaderName; 4] = [
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
];

/// Tells the backend on whose behalf it is asked: whoever is named already, and then the client.
pub fn forwarded_for(headers: &mut HeaderMap, from: Option<From>) {
    let Some(From(address)) = from else { return };
    let before = headers.get_all(&FORWARDED_FOR).into_iter().filter_map(|value| value.to_str().ok());
    let all: Vec<String> = before.map(str::to_owned).chain([address.to_string()]).collect();
    if let Ok(all) = HeaderValue::from_str(&all.join(", ")) {
        headers.insert(FORWARDED_FOR, all);
    }
}

/// A path as Go writes it anew: what was written otherwise than it had to be is lost.
#[must_use]
pub fn rewritten(path: &str) -> String {
    unescape(path).map_or_else(|_| path.to_owned(), |path| escape(&path))
}

/// The view of one request.
#[derive(Clone, Debug)]
pub struct Transport {
    /// The path under which the backend is shown, decoded and without the end slash: `/api/v1/…/proxy`.
    pub prefix: String,
    /// `host:port` of the backend.
    pub backend: String,
    /// The host that the client spoke to.
    pub asked: String,
}

impl Transport {
    /// Tells the backend where it is shown, and to whom.
    pub fn announce(&self, headers: &mut HeaderMap, path: &str, from: Option<From>) {
        let mut uri = join(self.prefix.as_bytes(), path.as_bytes());
        if path.ends_with('/') {
            uri.push(b'/');
        }
        if let Ok(uri) = HeaderValue::from_bytes(&uri) {
            headers.insert(FORWARDED_URI, uri);
        }
        forwarded_for(headers, from);
    }

    /// Leads the answer's links through this server.
    ///
    /// # Errors
    /// Its `Location` is no URL.
    pub fn rewrite(self, mut response: Response<Body>) -> ApiResult<Response<Body>> {
        for name in CORS {
            response.headers_mut().remove(name);
        }
        let text = |name: &HeaderName| response.headers().get(name).map(|v| String::from_utf8_lossy(v.as_bytes()));
        if let Some(location) = text(&LOCATION).filter(|location| !location.is_empty()) {
            let url = Url::parse(&location).map_err(|why| {
                ApiError::internal(format!("error trying to parse Location header: parse {location:?}: {why}"))
            })?;
            let location = HeaderValue::from_str(&self.lead(url)).map_err(ApiError::internal)?;
            response.headers_mut().insert(LOCATION, location);
            return Ok(response);
        }
        let kind = text(&CONTENT_TYPE).unwrap_or_default();
        if kind.split(';').next().unwrap_or_default().trim() != "text/html" {
            return Ok(response);
        }
        let Some(encoding) = html::Encoding::of(&text(&CONTENT_ENCODING).unwrap_or_default()) else {
            return Ok(response);
        };
        let (mut parts, body) = response.into_parts();
        parts.headers.remove(CONTENT_LENGTH);
        let rewriter = move |value: &str| Url::parse(value).ok().map(|url| self.lead(url));
        Ok(Response::from_parts(parts, html::rewritten(body, encoding, rewriter)))
    }

    /// The URL as a client of this server must see it: changed when it is absolute and the backend's own.
    fn lead(&self, mut url: Url) -> String {
        let elsewhere = |host: &String| !host.is_empty() && *host != self.backend && *host != self.asked;
        if url.authority.as_ref().is_some_and(elsewhere) || !url.path.starts_with(b"/") {
            return url.to_string();
        }
        if url.authority.as_ref() != Some(&self.asked) {
            url.scheme = None;
            url.authority = None;
        }
        if !url.path.starts_with(self.prefix.as_bytes()) {
            let slash = url.path.ends_with(b"/");
            url.path = join(self.prefix.as_bytes(), &url.path);
            if slash {
                url.path.push(b'/');
            }
        }
        url.to_string()
    }
}

/// Both paths as one, without empty parts, `.` and `..` (Go's `path.Join`).
fn join(first: &[u8], second: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in first.split(|byte| *byte == b'/').chain(second.split(|byte| *byte == b'/')) {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let mut joined = Vec::new();
    for part in parts {
        joined.push(b'/');
        joined.extend_from_slice(part);
    }
    if joined.is_empty() { vec![b'/'] } else { joined }
}

/// A URL as Go's `net/url` sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Url {
    scheme: Option<String>,
    /// Host and port, and whoever stands before an `@`.
    authority: Option<String>,
    /// Decoded.
    path: Vec<u8>,
    /// As it was written.
    written: String,
    /// From `?` or `#` on, as it was written.
    rest: String,
}

impl Url {
    fn parse(text: &str) -> Result<Self, String> {
        if text.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
            return Err("net/url: invalid control character in URL".to_owned());
        }
        let end = text.find(['?', '#']).unwrap_or(text.len());
        let (before, rest) = text.split_at(end);
        let is_scheme = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_alphabetic())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
        };
        let (scheme, before) = match before.split_once(':') {
            Some((name, after)) if is_scheme(name) => (Some(name.to_ascii_lowercase()), after),
            Some(("", _)) => return Err("missing protocol scheme".to_owned()),
            Some((name, _)) if !name.contains('/') => {
                return Err("first path segment in URL cannot contain colon".to_owned());
            }
            _ => (None, before),
        };
        let (authority, path) = match before.strip_prefix("//") {
            Some(after) => {
                let (host, path) = after.split_at(after.find('/').unwrap_or(after.len()));
                if let Some(bad) =
                    host.chars().find(|c| matches!(c, ' ' | '<' | '>' | '"' | '\\' | '^' | '`' | '{' | '}'))
                {
                    return Err(format!("invalid character {:?} in host name", bad.to_string()));
                }
                (Some(host.to_owned()), path)
            }
            None => (None, before),
        };
        Ok(Self { scheme, authority, path: unescape(path)?, written: path.to_owned(), rest: rest.to_owned() })
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(scheme) = &self.scheme {
            write!(f, "{scheme}:")?;
        }
        if let Some(authority) = &self.authority {
            write!(f, "//{authority}")?;
        }
        // What was written well and is still meant is kept.
        let kept = self.written.bytes().all(is_valid) && unescape(&self.written).as_ref() == Ok(&self.path);
        if kept {
            f.write_str(&self.written)?
        } else {
            f.write_str(&escape(&self.path))?
        }
        f.write_str(&escape_rest(&self.rest))
    }
}

fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'%' {
            out.push(bytes[at]);
            at += 1;
            continue;
        }
        let digit = |index: usize| bytes.get(index).and_then(|byte| char::from(*byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(at + 1), digit(at + 2)) else {
            let shown = String::from_utf8_lossy(&bytes[at..bytes.len().min(at + 3)]).into_owned();
            return Err(format!("invalid URL escape {shown:?}"));
        };
        out.push(u8::try_from(high * 16 + low).expect("two hexadecimal digits are a byte"));
        at += 3;
    }
    Ok(out)
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&byte)
}

/// What may stand in a path that somebody else has written.
fn is_valid(byte: u8) -> bool {
    is_plain(byte) || b"!'()*[]%".contains(&byte)
}

fn escape(path: &[u8]) -> String {
    path.iter().map(|b| if is_plain(*b) { char::from(*b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Query and fragment stay as they are, but for what could end an attribute or a header.
fn escape_rest(rest: &str) -> String {
    let keep = |byte: &u8| byte.is_ascii_graphic() && !b"\"<>`".contains(byte);
    rest.bytes().map(|b| if keep(&b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transport() -> Transport {
        Transport {
            prefix: "/api/v1/nodes/n1:10250/proxy".into(),
            backend: "10.0.0.11:10250".into(),
            asked: "localhost:8001".into(),
        }
    }

    #[test]
    fn links_of_the_backend_lead_through_the_server() {
        let here = "/api/v1/nodes/n1:10250/proxy";
        for (link, expected) in [
            ("kubelet.log", "kubelet.log".to_owned()),
            ("../a?b=c#d", "../a?b=c#d".to_owned()),
            ("", String::new()),
            ("#top", "#top".to_owned()),
            ("/google.log", format!("{here}/google.log")),
            ("/google.log/", format!("{here}/google.log/")),
            ("/a?x=1&y=/b#c", format!("{here}/a?x=1&y=/b#c")),
            ("/", format!("{here}/")),
            ("http://10.0.0.11:10250/a/", format!("{here}/a/")),
            ("https://10.0.0.11:10250/a", format!("{here}/a")),
            ("//10.0.0.11:10250/a", format!("{here}/a")),
            ("http://localhost:8001/a/", format!("http://localhost:8001{here}/a/")),
            ("http://google.com/a", "http://google.com/a".to_owned()),
            ("//google.com/a", "//google.com/a".to_owned()),
            ("mailto:me@example.com", "mailto:me@example.com".to_owned()),
            ("/api/v1/nodes/n1:10250/proxy/a", format!("{here}/a")),
            ("/a/../b//c", format!("{here}/b/c")),
            ("/a%20b/c(1)", format!("{here}/a%20b/c%281%29")),
            ("/t/%00<script>alert(1)</script>/", format!("{here}/t/%00%3Cscript%3Ealert%281%29%3C/script%3E/")),
            ("http://e.com/%00<b>", "http://e.com/%00%3Cb%3E".to_owned()),
            ("c(1)/d%2Fe", "c(1)/d%2Fe".to_owned()),
        ] {
            let url = Url::parse(link).expect("a URL");
            assert_eq!(transport().lead(url), expected, "{link}");
        }
    }

    #[test]
    fn what_is_no_url_says_why() {
        for (text, why) in [
            ("/a\nb", "net/url: invalid control character in URL"),
            ("/a%zzb", "invalid URL escape \"%zz\""),
            ("/a%4", "invalid URL escape \"%4\""),
            (":a", "missing protocol scheme"),
            ("1:a", "first path segment in URL cannot contain colon"),
            ("http://a b/", "invalid character \" \" in host name"),
        ] {
            assert_eq!(Url::parse(text), Err(why.to_owned()), "{text}");
        }
    }

    #[test]
    fn the_backend_hears_where_it_is_shown() {
        for (path, expected) in [("/", "/"), ("/a", "/a"), ("/a/", "/a/"), ("/a/../b%3C", "/b%3C"), ("", "")] {
            let mut headers = HeaderMap::new();
            headers.insert(FORWARDED_FOR, HeaderValue::from_static("10.1.1.1"));
            let from = From("127.0.0.1".parse().expect("an address"));
            transport().announce(&mut headers, path, Some(from));
            assert_eq!(headers[FORWARDED_URI], format!("/api/v1/nodes/n1:10250/proxy{expected}"), "{path}");
            assert_eq!(headers[FORWARDED_FOR], "10.1.1.1, 127.0.0.1");
        }
    }
}
