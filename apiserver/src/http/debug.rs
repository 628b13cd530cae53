//! What is below /debug, for operators: the queues of requests, and how much is logged.

use axum::body::Body;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Response};
use http_body_util::{BodyExt, Limited};

use super::answer;
use super::request_info::{Query, RequestInfo};
use crate::app::App;
use crate::flow::dump;

const FLAGS: &str = "/debug/flags";
/// What says which there are, whatever else is asked for there.
const INDEX: &str = "<html>\n<head>\n<title>/debug/flags/</title>\n</head>\n<body>\n/debug/flags/<br>\n<br>\nflags:<br>\n\
    <table>\n<tr>v<br>\n</table>\n<br>\nfull flags configurable<br>\n</body>\n</html>\n";
/// A number is not longer.
const LONGEST: usize = 1024;

/// The answer; `None`: there is no such path.
pub async fn answer(
    app: &App,
    info: &RequestInfo,
    query: &Query,
    method: &Method,
    body: Body,
) -> Option<Response<Body>> {
    if let Some(page) = dump::page(&app.flow, &info.path, query) {
        return Some(answer::bytes(200, "text/plain; charset=utf-8", page.into(), false));
    }
    let flag = info.path.strip_prefix(FLAGS).filter(|_| app.options.profiling)?;
    match flag.strip_prefix('/') {
        Some("v") => Some(verbosity(method, body).await),
        None if !flag.is_empty() => None,
        _ => Some(answer::bytes(200, "text/html; charset=utf-8", INDEX.into(), false)),
    }
}

async fn verbosity(method: &Method, body: Body) -> Response<Body> {
    let (code, text) =
        if *method == Method::PUT { set(body).await } else { (406, "unsupported http method".to_owned()) };
    let mut response = answer::text(code, format!("{text}\n"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

async fn set(body: Body) -> (u16, String) {
    let Ok(body) = Limited::new(body, LONGEST).collect().await else {
        return (400, "error reading request body".to_owned());
    };
    let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    match level(&text) {
        Ok(level) => {
            runtime::log::set_verbosity(level);
            (200, format!("successfully set klog.logging.verbosity to {text}"))
        }
        Err(why) => (400, format!("strconv.ParseUint: parsing {}: {why}", schema::go::quote(&text))),
    }
}

/// As Go reads a number of 31 bits.
fn level(text: &str) -> Result<u32, &'static str> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("invalid syntax");
    }
    text.parse::<i32>().map(i32::cast_unsigned).map_err(|_| "value out of range")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels() {
        for (text, expected) in [
            ("0", Ok(0)),
            ("12", Ok(12)),
            ("2147483647", Ok(2_147_483_647)),
            ("2147483648", Err("value out of range")),
            ("", Err("invalid syntax")),
            ("-1", Err("invalid syntax")),
            ("+1", Err("invalid syntax")),
            (" 3", Err("invalid syntax")),
        ] {
            assert_eq!(level(text), expected, "{text}");
        }
    }
}
