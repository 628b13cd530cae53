//! Where an answer sends its reader on to, as Go's client follows it.

use http::header::LOCATION;
use http::{HeaderMap, StatusCode};

/// Where an answer leads; `None` where it is an answer itself.
pub fn location(status: StatusCode, headers: &HeaderMap) -> Option<&str> {
    let leads = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
    headers.get(LOCATION).filter(|_| leads)?.to_str().ok().filter(|to| !to.is_empty())
}

/// Whether what was sent is sent again; elsewhere one only asks.
pub fn keeps_body(status: StatusCode) -> bool {
    matches!(status.as_u16(), 307 | 308)
}

/// The URL that a location, absolute or relative, means at `base`.
///
/// # Errors
/// It is no URL.
pub fn follow(base: &str, to: &str) -> Result<String, String> {
    if let Some(why) = cel::unreadable_url(to) {
        return Err(format!("failed to parse Location header {to:?}: {why}"));
    }
    let to = to.split('#').next().unwrap_or_default();
    let origin = base.len() - path(base).len();
    let before_query = base.split('?').next().unwrap_or_default();
    Ok(if to.contains("://") {
        to.to_owned()
    } else if to.starts_with("//") {
        format!("https:{to}")
    } else if to.starts_with('/') {
        format!("{}{to}", &base[..origin])
    } else {
        let folder = before_query.rfind('/').filter(|at| *at >= origin).unwrap_or(before_query.len());
        format!("{}/{to}", &before_query[..folder])
    })
}

/// Host and port as a URL has them.
pub fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or_default()
}

/// What a URL has behind its authority.
pub fn path(url: &str) -> &str {
    let authority = authority(url);
    &url[url.find("://").map_or(0, |at| at + 3) + authority.len()..]
}

/// Host and port of an https URL.
pub fn address(url: &str) -> String {
    let authority = authority(url);
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
    if has_port { authority.to_owned() } else { format!("{authority}:443") }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn locations_are_followed() {
        for (to, at) in [
            ("https://b/c?d#e", "https://b/c?d"),
            ("//b:1/c", "https://b:1/c"),
            ("/c", "https://a:8443/c"),
            ("c", "https://a:8443/x/c"),
            ("ftp://b", "ftp://b"),
        ] {
            assert_eq!(follow("https://a:8443/x/y?timeout=3s", to).as_deref(), Ok(at), "{to}");
        }
        assert_eq!(
            follow("https://a/", "::%").unwrap_err(),
            "failed to parse Location header \"::%\": parse \"::%\": missing protocol scheme"
        );
        assert_eq!(["https://a/b", "https://[::1]/", "https://a:1"].map(address), ["a:443", "[::1]:443", "a:1"]);
        assert_eq!(["https://a/b?c", "https://a", "https://s:1?c"].map(path), ["/b?c", "", "?c"]);
        let mut headers = HeaderMap::new();
        assert_eq!(location(StatusCode::FOUND, &headers), None);
        headers.insert(LOCATION, HeaderValue::from_static("/a"));
        let led = [301, 302, 303, 307, 308, 300, 304, 200].map(|code| {
            let status = StatusCode::from_u16(code).expect("it is one");
            location(status, &headers).map(|_| keeps_body(status))
        });
        assert_eq!(led, [Some(false), Some(false), Some(false), Some(true), Some(true), None, None, None]);
    }
}
