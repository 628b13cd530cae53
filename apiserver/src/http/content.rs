//! Documents of which a client may want a piece, or nothing where it has them already (Go's `http.ServeContent`).

use axum::body::Body;
use bytes::{BufMut, Bytes, BytesMut};
use component_base::ranges::{self, State, Wanted};
use http::header::{
    ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LAST_MODIFIED,
};
use http::{HeaderMap, Method, Response, StatusCode};

use super::answer;

/// A document.
pub struct Content<'a> {
    pub kind: &'static str,
    pub state: State<'a>,
    /// Its bytes.
    pub whole: &'a dyn Fn() -> Bytes,
    /// The same as gzip packs them, for a client that takes that.
    pub packed: Option<Bytes>,
}

/// Answers a request.
pub fn serve(method: &Method, asked: &HeaderMap, content: &Content<'_>) -> Response<Body> {
    let Content { kind, state, whole, packed } = content;
    let part = |kind: &str, bytes: Bytes| {
        let mut response = answer::bytes(StatusCode::PARTIAL_CONTENT.as_u16(), kind, bytes, false);
        response.headers_mut().insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        response
    };
    let mut response = match ranges::wanted(method, asked, *state) {
        Wanted::Whole => {
            let mut response = match packed {
                Some(packed) => {
                    let mut response = part(kind, packed.clone());
                    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                    response
                }
                None => part(kind, whole()),
            };
            *response.status_mut() = StatusCode::OK;
            response
        }
        Wanted::Pieces(pieces) => {
            let whole = whole();
            // Within what is in memory.
            let cut = |piece: &ranges::Piece| whole.slice(piece.start as usize..(piece.start + piece.length) as usize);
            if let [piece] = pieces[..] {
                let mut response = part(kind, cut(&piece));
                set(&mut response, CONTENT_RANGE, &piece.of(state.size));
                response
            } else {
                let boundary = uuid::Uuid::new_v4().simple().to_string();
                let mut bytes = BytesMut::new();
                let mut left = pieces.iter();
                for text in ranges::between(&pieces, state.size, kind, &boundary) {
                    bytes.put_slice(text.as_bytes());
                    left.next().into_iter().for_each(|piece| bytes.put_slice(&cut(piece)));
                }
                part(&format!("multipart/byteranges; boundary={boundary}"), bytes.freeze())
            }
        }
        Wanted::Nothing(code) => {
            let mut response = answer::bytes(code.as_u16(), kind, Bytes::new(), false);
            if code == StatusCode::NOT_MODIFIED {
                response.headers_mut().remove(CONTENT_TYPE);
            }
            response
        }
        Wanted::Wrong(why, told) => {
            let mut response = answer::text(StatusCode::RANGE_NOT_SATISFIABLE.as_u16(), format!("{why}\n"));
            if told {
                set(&mut response, CONTENT_RANGE, &format!("bytes */{}", state.size));
            }
            return response;
        }
    };
    if let Some(tag) = state.tag {
        set(&mut response, ETAG, tag);
    }
    // Who knows it by its tag needs no time.
    if response.status() != StatusCode::NOT_MODIFIED || state.tag.is_none() {
        set(&mut response, LAST_MODIFIED, &ranges::date(state.modified));
    }
    response
}

fn set(response: &mut Response<Body>, name: HeaderName, value: &str) {
    // Numbers, dates and tags of our own.
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use http::header::{CONTENT_LENGTH, IF_NONE_MATCH, IF_UNMODIFIED_SINCE, RANGE};
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn pieces_and_conditions() {
        let (none, before) = (HeaderName::from_static("x-none"), "Wed, 31 Dec 2025 23:59:59 GMT");
        let time = "Thu, 01 Jan 2026 00:00:00 GMT";
        for (tag, name, value, code, kind, told, body) in [
            (Some("\"t\""), none.clone(), "", 200, "text/x", ["", "\"t\"", time, "bytes"], "0123456789"),
            (None, RANGE, "bytes=2-4", 206, "text/x", ["bytes 2-4/10", "", time, "bytes"], "234"),
            (
                Some("\"t\""),
                RANGE,
                "bytes=20-",
                416,
                "text/plain; charset=utf-8",
                ["bytes */10", "", "", ""],
                "invalid range: failed to overlap\n",
            ),
            (Some("\"t\""), RANGE, "bytes=x", 416, "text/plain; charset=utf-8", ["", "", "", ""], "invalid range\n"),
            (Some("\"t\""), IF_NONE_MATCH, "\"t\"", 304, "", ["", "\"t\"", "", ""], ""),
            (None, IF_NONE_MATCH, "*", 304, "", ["", "", time, ""], ""),
            (Some("\"t\""), IF_UNMODIFIED_SINCE, before, 412, "text/x", ["", "\"t\"", time, ""], ""),
        ] {
            let state = State { size: 10, modified: 1_767_225_600, tag };
            let whole = || Bytes::from_static(b"0123456789");
            let content = Content { kind: "text/x", state, whole: &whole, packed: None };
            let asked = HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
            let (head, bytes) = serve(&Method::GET, &asked, &content).into_parts();
            let header = |name| head.headers.get(name).map_or("", |value: &HeaderValue| value.to_str().unwrap());
            let found = [CONTENT_RANGE, ETAG, LAST_MODIFIED, ACCEPT_RANGES].map(&header);
            assert_eq!((head.status.as_u16(), header(CONTENT_TYPE), found), (code, kind, told), "{value}");
            assert_eq!(bytes.collect().await.unwrap().to_bytes(), body, "{value}");
        }
        let state = State { size: 10, modified: 0, tag: None };
        let whole = || Bytes::from_static(b"0123456789");
        let packed = Some(Bytes::from_static(b"packed"));
        let content = Content { kind: "text/x", state, whole: &whole, packed };
        let packed = serve(&Method::GET, &HeaderMap::new(), &content);
        assert_eq!(packed.headers()[CONTENT_ENCODING], "gzip");
        let asked = HeaderMap::from_iter([(RANGE, HeaderValue::from_static("bytes=0-1,-1"))]);
        let several = serve(&Method::GET, &asked, &content);
        let kind = several.headers()[CONTENT_TYPE].to_str().unwrap().to_owned();
        let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap();
        assert!(several.headers().get(CONTENT_LENGTH).is_none() && several.headers().get(CONTENT_ENCODING).is_none());
        let part = |range: &str, bytes: &str| {
            format!("--{boundary}\r\nContent-Range: bytes {range}/10\r\nContent-Type: text/x\r\n\r\n{bytes}\r\n")
        };
        let expected = format!("{}{}--{boundary}--\r\n", part("0-1", "01"), part("9-9", "9"));
        assert_eq!(several.into_body().collect().await.unwrap().to_bytes(), expected);
    }
}
