//! What an API server says to a kubelet, and makes of its answers: the words of its own API
//! (upstream `pkg/registry/core/pod/strategy.go`, `k8s.io/apiserver/pkg/registry/generic/rest/response_checker.go`).

use axum::body::Body;
use http::{Response, StatusCode};

use super::status::ApiError;

/// No more of a kubelet's error is read, bytes.
const MOST_OF_AN_ERROR: usize = 50_000;

/// Options of a log that the kubelet knows by the same name.
const LOG: &[&str] =
    &["follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes", "stream"];
/// Streams by our name and the kubelet's.
const STREAMS: &[(&str, &str)] = &[("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")];

/// The kubelet's query for a call to `subresource` of a pod, made of the call's own.
pub fn query<'a>(subresource: &str, own: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> String {
    let mut words: Vec<(&str, String)> = Vec::new();
    match subresource {
        "log" => {
            words.extend(own.filter(|(name, _)| LOG.contains(name)).map(|(name, value)| (name, value.to_owned())));
        }
        "portforward" => {
            let ports: Vec<&str> = own.filter(|(name, _)| *name == "ports").map(|(_, port)| port).collect();
            if !ports.is_empty() {
                words.push(("port", ports.join(",")));
            }
        }
        _ => {
            for (ours, theirs) in STREAMS {
                // A flag may be given without a value.
                if own.clone().any(|(name, value)| name == *ours && !matches!(value, "false" | "0")) {
                    words.push((theirs, "1".to_owned()));
                }
            }
            words.extend(own.filter(|(name, _)| *name == "command").map(|(name, value)| (name, value.to_owned())));
        }
    }
    words.iter().map(|(name, value)| format!("{name}={}", escape(value))).collect::<Vec<_>>().join("&")
}

fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// The error a client gets when a kubelet has no log for it.
pub async fn refusal(response: Response<Body>, pod: &str) -> ApiError {
    let code = response.status();
    let Ok(text) = axum::body::to_bytes(response.into_body(), MOST_OF_AN_ERROR).await else {
        return ApiError::internal("a kubelet's error could not be read");
    };
    said(code, &String::from_utf8_lossy(&text), pod)
}

fn said(code: StatusCode, text: &str, pod: &str) -> ApiError {
    match code {
        StatusCode::BAD_REQUEST => ApiError::bad_request(text),
        StatusCode::INTERNAL_SERVER_ERROR => ApiError::internal(text),
        code => {
            let (reason, message) = match code.as_u16() {
                404 => ("NotFound", "the server could not find the requested resource"),
                401 => ("Unauthorized", "the server has asked for the client to provide credentials"),
                403 => ("Forbidden", text),
                503 => ("ServiceUnavailable", "the server is currently unable to handle the request"),
                _ => ("Unknown", "the server responded with an error"),
            };
            ApiError::new(code.as_u16(), reason, format!("{message} ( pods/log {pod})"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubelets_are_asked_in_their_own_words() {
        for (subresource, own, expected) in [
            (
                "exec",
                &[("command", "sh"), ("command", "-c"), ("command", "echo a&b"), ("stdout", "true")][..],
                "output=1&command=sh&command=-c&command=echo%20a%26b",
            ),
            (
                "exec",
                &[("stdin", "1"), ("stdout", ""), ("stderr", "false"), ("tty", "true"), ("container", "c")],
                "input=1&output=1&tty=1",
            ),
            ("attach", &[("stderr", "true")], "error=1"),
            ("portforward", &[("ports", "80"), ("ports", "81")], "port=80%2C81"),
            ("portforward", &[], ""),
            (
                "log",
                &[("container", "c"), ("follow", "true"), ("sinceTime", "2026-01-01T00:00:00Z")],
                "follow=true&sinceTime=2026-01-01T00%3A00%3A00Z",
            ),
        ] {
            assert_eq!(query(subresource, own.iter().copied()), expected, "{subresource} {own:?}");
        }
    }

    #[test]
    fn a_kubelets_error_becomes_a_status() {
        let waiting = "container \"c\" in pod \"p\" is waiting to start: ContainerCreating";
        for (code, text, expected) in [
            (400, waiting, (400, "BadRequest", waiting)),
            (404, "gone", (404, "NotFound", "the server could not find the requested resource ( pods/log p)")),
        ] {
            let error = said(StatusCode::from_u16(code).expect("a code"), text, "p").status();
            let found = (error["code"].as_u64(), error["reason"].as_str(), error["message"].as_str());
            assert_eq!(found, (Some(expected.0), Some(expected.1), Some(expected.2)));
        }
    }
}
