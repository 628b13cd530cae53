//! What browsers are told, before anybody knows who is asking: whose pages may use this server, and that it is to be spoken to
//! over TLS alone (`apiserver/pkg/server/filters`: `cors.go`, `hsts.go`).

use axum::body::Body;
use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, CONTENT_TYPE, HeaderName, HeaderValue, ORIGIN,
    STRICT_TRANSPORT_SECURITY,
};
use http::{HeaderMap, Method, Response};

use super::answer;
use crate::options::Serving;

const ALLOWED: [(HeaderName, HeaderValue); 4] = [
    (ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE, PATCH")),
    (
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static(
            "Content-Type, Content-Length, Accept-Encoding, X-CSRF-Token, Authorization, X-Requested-With, If-Modified-Since",
        ),
    ),
    (ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Date")),
    (ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true")),
];

/// The page that a request comes from, where it may use this server.
#[must_use]
pub fn origin(serving: &Serving, headers: &HeaderMap) -> Option<HeaderValue> {
    if serving.cors_allowed_origins.is_empty() {
        return None;
    }
    let origin = headers.get(ORIGIN).filter(|origin| !origin.is_empty())?;
    let text = origin.to_str().ok()?;
    serving.cors_allowed_origins.iter().any(|pattern| pattern.is_match(text)).then(|| origin.clone())
}

/// The answer to a browser that asks first.
#[must_use]
pub fn preflight(method: &Method, origin: Option<&HeaderValue>) -> Option<Response<Body>> {
    origin.filter(|_| *method == Method::OPTIONS)?;
    let mut response = answer::bytes(204, "", Bytes::new(), false);
    response.headers_mut().remove(CONTENT_TYPE);
    Some(response)
}

/// Adds what every answer says.
pub fn add(serving: &Serving, origin: Option<HeaderValue>, headers: &mut HeaderMap) {
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.extend(ALLOWED);
    }
    let directives = &serving.strict_transport_security_directives;
    if !directives.is_empty()
        && let Ok(value) = HeaderValue::from_str(&directives.join("; "))
    {
        headers.insert(STRICT_TRANSPORT_SECURITY, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct All {
        #[command(flatten)]
        serving: Serving,
    }

    #[test]
    fn pages_of_others() {
        let flags = [
            "s",
            r"--cors-allowed-origins=^https://a\.io$,//b\.io(:|$)",
            "--strict-transport-security-directives=max-age=1,preload",
        ];
        let some = <All as clap::Parser>::parse_from(flags).serving;
        let none = <All as clap::Parser>::parse_from(["s"]).serving;
        for (serving, origin_of, allowed) in [
            (&some, "https://a.io", true),
            (&some, "https://a.io.evil", false),
            (&some, "http://b.io:80", true),
            (&some, "", false),
            (&none, "https://a.io", false),
        ] {
            let asked = HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static(origin_of))]);
            let found = origin(serving, &asked);
            assert_eq!(found.is_some(), allowed, "{origin_of}");
            assert_eq!(preflight(&Method::OPTIONS, found.as_ref()).is_some(), allowed);
            assert!(preflight(&Method::GET, found.as_ref()).is_none());
            let mut headers = HeaderMap::new();
            add(serving, found, &mut headers);
            assert_eq!(headers.contains_key(ACCESS_CONTROL_ALLOW_CREDENTIALS), allowed);
            assert_eq!(headers.get(ACCESS_CONTROL_ALLOW_ORIGIN).is_some_and(|value| value == origin_of), allowed);
            let told = headers.get(STRICT_TRANSPORT_SECURITY).map(|value| value.to_str().unwrap());
            assert_eq!(told, std::ptr::eq(serving, &some).then_some("max-age=1; preload"));
        }
    }
}
