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

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn locations_are_followed() {
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
