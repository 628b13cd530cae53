//! JSON for people: indented for those who ask for it, and for browsers and tools that are used by hand (upstream's
//! `isPrettyPrint`).

use axum::body::Body;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, USER_AGENT};
use http::{HeaderValue, Response};
use http_body_util::BodyExt;

use super::request_info::Query;

/// How the programs that people type or click introduce themselves.
const HUMAN: [&str; 3] = ["curl", "Wget", "Mozilla/5.0"];

/// Whether the answer shall be indented.
#[must_use]
pub fn is_wanted(query: &Query, headers: &HeaderMap) -> bool {
    if let Some(word) = query.text("pretty") {
        return matches!(word, "1" | "t" | "T" | "TRUE" | "true" | "True");
    }
    let text = |value: Option<&HeaderValue>| value.and_then(|value| value.to_str().ok().map(str::to_owned));
    let agent = text(headers.get(USER_AGENT)).unwrap_or_default();
    let accept = text(headers.get(ACCEPT)).unwrap_or_default();
    HUMAN.iter().any(|name| agent.starts_with(name)) || accept.split([';', ',']).any(|part| part.trim() == "pretty=1")
}

/// The answer, indented if it is JSON that is not compressed; its end must be near.
pub async fn print(response: Response<Body>) -> Response<Body> {
    let json = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if !json || response.headers().contains_key(CONTENT_ENCODING) {
        return response;
    }
    let (head, body) = response.into_parts();
    // Our own answers are whole already, or lists made from the cache: reading them cannot fail.
    let bytes = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    Response::from_parts(head, Body::from(indent(&bytes)))
}

/// Compact JSON as Go's `json.Indent` lays it out, by two spaces.
#[must_use]
pub fn indent(json: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(json.len() * 2);
    let (mut depth, mut quoted, mut escaped, mut opened) = (0usize, false, false, false);
    let line = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.resize(out.len() + 2 * depth, b' ');
    };
    for &byte in json {
        if quoted {
            out.push(byte);
            quoted = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        if byte.is_ascii_whitespace() {
            continue;
        }
        // What has nothing in it stays on its line.
        if opened && !matches!(byte, b'}' | b']') {
            depth += 1;
            line(&mut out, depth);
        }
        match byte {
            b'}' | b']' => {
                if !opened {
                    depth = depth.saturating_sub(1);
                    line(&mut out, depth);
                }
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                line(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            _ => out.push(byte),
        }
        quoted = byte == b'"';
        opened = matches!(byte, b'{' | b'[');
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_gos() {
        let value = serde_json::json!({"a": [1, {"b": "x,{\"}\\"}], "c": {}, "d": [], "e": [[]]});
        let compact = serde_json::to_vec(&value).unwrap();
        assert_eq!(indent(&compact), serde_json::to_vec_pretty(&value).unwrap());
        assert_eq!(indent(b" {\"a\" : 1}\n"), "{\n  \"a\": 1\n}");
    }

    #[test]
    fn who_gets_it() {
        let wanted = |query: &str, agent: &'static str, accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(USER_AGENT, HeaderValue::from_static(agent));
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            is_wanted(&Query::parse(Some(query)), &headers)
        };
        assert!(wanted("pretty=true", "kubectl", "*/*") && wanted("", "curl/8.5", "*/*"));
        assert!(wanted("", "Mozilla/5.0 (X11)", "*/*") && wanted("", "", "application/json;pretty=1"));
        assert!(!wanted("", "kubectl", "*/*") && !wanted("pretty=0", "curl/8.5", "*/*") && !wanted("pretty=", "", ""));
    }
}
