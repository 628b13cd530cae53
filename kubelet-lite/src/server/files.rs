//! `/logs/`: the files of the node's /var/log, as upstream's file server shows them (`ServeLogs`, Go's
//! `http.FileServer`): a folder is a page of links, a file is its bytes, or those of them that the client wants.

use std::io::SeekFrom;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LAST_MODIFIED, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::{Body, streamed, text};
use component_base::query::decode;
use component_base::ranges::{self, Piece, State, Wanted, date, wanted};

/// How much of a file tells what it is.
const SNIFFED: u64 = 512;

/// Answers a request for `path`, the escaped path below `/logs`, with what is below `root`.
pub async fn serve(root: &Path, path: &str, headers: &HeaderMap) -> Response<Body> {
    let Some(relative) = clean(path) else { return text(StatusCode::BAD_REQUEST, "invalid URL path\n") };
    let at = root.join(&relative);
    match tokio::fs::metadata(&at).await {
        Ok(found) if found.is_dir() && !path.ends_with('/') => {
            // Links in the page are relative to the folder.
            let name = path.rsplit('/').next().unwrap_or_default();
            moved(&format!("{}/", if name.is_empty() { "logs" } else { name }))
        }
        // Reading a folder blocks, and it may be a large one.
        Ok(found) if found.is_dir() => match tokio::task::spawn_blocking(move || listing(&at)).await {
            Ok(Ok(page)) => html(page),
            Ok(Err(_)) | Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "Error reading directory\n"),
        },
        Ok(_) if path.ends_with('/') => {
            let name = relative.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            moved(&format!("../{}", escape(&name)))
        }
        Ok(_) => file(&at, headers).await.unwrap_or_else(|error| refused(&error)),
        Err(error) => refused(&error),
    }
}

fn refused(error: &std::io::Error) -> Response<Body> {
    match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
            text(StatusCode::NOT_FOUND, "404 page not found\n")
        }
        std::io::ErrorKind::PermissionDenied => text(StatusCode::FORBIDDEN, "403 Forbidden\n"),
        _ => text(StatusCode::INTERNAL_SERVER_ERROR, "500 Internal Server Error\n"),
    }
}

/// The path below the root; `None` where it would leave it.
fn clean(path: &str) -> Option<PathBuf> {
    let path = decode(&path.replace('+', "%2B"));
    let mut relative = PathBuf::new();
    for part in Path::new(path.trim_start_matches('/')).components() {
        match part {
            Component::Normal(name) => relative.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (!path.contains('\0')).then_some(relative)
}

fn moved(to: &str) -> Response<Body> {
    let mut response = text(StatusCode::MOVED_PERMANENTLY, "");
    if let Ok(to) = HeaderValue::from_str(to) {
        response.headers_mut().insert(LOCATION, to);
    }
    response
}

fn html(page: String) -> Response<Body> {
    let mut response = text(StatusCode::OK, page);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}

/// A folder's page: a link a line, folders with a slash.
fn listing(folder: &Path) -> std::io::Result<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let slash = if entry.file_type()?.is_dir() { "/" } else { "" };
        names.push(format!("{}{slash}", entry.file_name().to_string_lossy()));
    }
    names.sort_by(|a, b| a.trim_end_matches('/').cmp(b.trim_end_matches('/')));
    let mut page = "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n".to_owned();
    for name in names {
        page.push_str(&format!("<a href=\"{}\">{}</a>\n", escape(&name), plain(&name)));
    }
    page.push_str("</pre>\n");
    Ok(page)
}

/// As a relative URL.
fn escape(name: &str) -> String {
    let mut out = String::new();
    // A colon in its first part would make a scheme of it.
    if name.contains(':') {
        out.push_str("./");
    }
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// As text in a page.
fn plain(name: &str) -> String {
    name.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;").replace('\'', "&#39;")
}

async fn file(path: &Path, asked: &HeaderMap) -> std::io::Result<Response<Body>> {
    use std::os::unix::fs::MetadataExt;
    let mut file = File::open(path).await?;
    let found = file.metadata().await?;
    // A log that grows meanwhile ends where it was said to.
    let (size, modified) = (found.len(), found.mtime());
    let mut head = Vec::new();
    (&mut file).take(SNIFFED).read_to_end(&mut head).await?;
    let kind = if is_text(&head) { "text/plain; charset=utf-8" } else { "application/octet-stream" };
    let (code, kind, range, parts) = match wanted(&Method::GET, asked, State { size, modified, tag: None }) {
        Wanted::Whole => (StatusCode::OK, kind.to_owned(), None, vec![Part::File(Piece { start: 0, length: size })]),
        Wanted::Pieces(pieces) => match pieces[..] {
            [piece] => (StatusCode::PARTIAL_CONTENT, kind.to_owned(), Some(piece.of(size)), vec![Part::File(piece)]),
            _ => {
                let boundary = uuid::Uuid::new_v4().simple().to_string();
                let parts = several(&pieces, size, kind, &boundary);
                (StatusCode::PARTIAL_CONTENT, format!("multipart/byteranges; boundary={boundary}"), None, parts)
            }
        },
        Wanted::Nothing(code) => {
            let mut response = text(code, "");
            response.headers_mut().remove(CONTENT_TYPE);
            set(&mut response, LAST_MODIFIED, &date(modified));
            return Ok(response);
        }
        Wanted::Wrong(why, told) => {
            let mut response = text(StatusCode::RANGE_NOT_SATISFIABLE, format!("{why}\n"));
            if told {
                set(&mut response, CONTENT_RANGE, &format!("bytes */{size}"));
            }
            return Ok(response);
        }
    };
    let length: u64 = parts.iter().map(Part::length).sum();
    let file = Arc::new(file);
    let body = stream::iter(parts).then(move |part| read(file.clone(), part)).try_flatten();
    let mut response = streamed(body);
    *response.status_mut() = code;
    set(&mut response, CONTENT_TYPE, &kind);
    set(&mut response, ACCEPT_RANGES, "bytes");
    set(&mut response, LAST_MODIFIED, &date(modified));
    if let Some(range) = range {
        set(&mut response, CONTENT_RANGE, &range);
    }
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    Ok(response)
}

/// The bytes of a part. They share where the file is read, and are read one after the other.
async fn read(file: Arc<File>, part: Part) -> std::io::Result<BoxStream<'static, std::io::Result<Bytes>>> {
    match part {
        Part::Text(text) => Ok(stream::iter([Ok(text)]).boxed()),
        Part::File(Piece { start, length }) => {
            let mut file = file.try_clone().await?;
            file.seek(SeekFrom::Start(start)).await?;
            Ok(ReaderStream::new(file.take(length)).boxed())
        }
    }
}

fn set(response: &mut Response<Body>, name: HeaderName, value: &str) {
    // Numbers, dates and kinds of our own.
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// What an answer is put together from.
enum Part {
    Text(Bytes),
    File(Piece),
}

impl Part {
    fn length(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::File(piece) => piece.length,
        }
    }
}

/// Several pieces, and what is between them.
fn several(pieces: &[Piece], size: u64, kind: &str, boundary: &str) -> Vec<Part> {
    let mut pieces_left = pieces.iter();
    let between = ranges::between(pieces, size, kind, boundary).into_iter();
    let pair = |text: String| [Some(Part::Text(text.into())), pieces_left.next().map(|piece| Part::File(*piece))];
    between.flat_map(pair).flatten().collect()
}

/// No control characters but those of text: what Go's sniffing calls text where nothing else is known.
fn is_text(head: &[u8]) -> bool {
    !head.iter().any(|byte| matches!(byte, 0..=8 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f))
}

#[cfg(test)]
mod tests {
    use http::header::{IF_MODIFIED_SINCE, RANGE};
    use http_body_util::BodyExt;

    use super::*;

    async fn get(root: &Path, path: &str) -> (u16, String, String) {
        let response = serve(root, path, &HeaderMap::new()).await;
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let told = [header(LOCATION), header(CONTENT_TYPE)].into_iter().find(|text| !text.is_empty());
        let (code, told) = (response.status().as_u16(), told.unwrap_or_default().to_owned());
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (code, told, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn folders_are_pages_and_files_their_bytes() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("pods/a b")).unwrap();
        std::fs::write(root.path().join("kubelet.log"), "one\ntwo\n").unwrap();
        std::fs::write(root.path().join("pods/a<b>.bin"), [0, 1, 2]).unwrap();
        let head = "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n";
        let page = "text/html; charset=utf-8";
        let top = format!("{head}<a href=\"kubelet.log\">kubelet.log</a>\n<a href=\"pods/\">pods/</a>\n</pre>\n");
        let pods = format!("{head}<a href=\"a%20b/\">a b/</a>\n<a href=\"a%3Cb%3E.bin\">a&lt;b&gt;.bin</a>\n</pre>\n");
        let missing = (404, "text/plain; charset=utf-8", "404 page not found\n");
        let cases = [
            ("/", (200, page, top.as_str())),
            ("", (301, "logs/", "")),
            ("/pods", (301, "pods/", "")),
            ("/pods/", (200, page, pods.as_str())),
            ("/pods/a%20b/", (200, page, &format!("{head}</pre>\n"))),
            ("/kubelet.log", (200, "text/plain; charset=utf-8", "one\ntwo\n")),
            ("/kubelet.log/", (301, "../kubelet.log", "")),
            ("/pods/a%3Cb%3E.bin", (200, "application/octet-stream", "\0\u{1}\u{2}")),
            ("/none", missing),
            ("/kubelet.log/none", missing),
            ("/../etc/passwd", (400, "text/plain; charset=utf-8", "invalid URL path\n")),
            ("/%2e%2e/etc/passwd", (400, "text/plain; charset=utf-8", "invalid URL path\n")),
        ];
        for (path, (code, told, body)) in cases {
            assert_eq!(get(root.path(), path).await, (code, told.to_owned(), body.to_owned()), "{path}");
        }
    }
    #[tokio::test]
    async fn a_client_gets_the_bytes_it_wants() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("a.log"), "0123456789").unwrap();
        let ask = async |name: HeaderName, value: &str| {
            let headers = HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())]);
            let (head, body) = serve(root.path(), "/a.log", &headers).await.into_parts();
            let body = body.collect().await.expect("a body").to_bytes();
            let header = |name| head.headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap().to_owned());
            let length = header(CONTENT_LENGTH).map(|length| length.parse::<usize>().unwrap());
            assert!(length.is_none_or(|length| length == body.len()), "{value}: {length:?}");
            let (range, kind) = (header(CONTENT_RANGE).unwrap_or_default(), header(CONTENT_TYPE).unwrap_or_default());
            (head.status.as_u16(), range, kind, String::from_utf8(body.to_vec()).unwrap(), header(LAST_MODIFIED))
        };
        let plain = "text/plain; charset=utf-8";
        for (range, (code, told, body)) in [
            ("bytes=2-4", (206, "bytes 2-4/10", "234")),
            ("bytes=-2", (206, "bytes 8-9/10", "89")),
            ("bytes=7-99", (206, "bytes 7-9/10", "789")),
            ("bytes=10-", (416, "bytes */10", "invalid range: failed to overlap\n")),
            ("bytes=x", (416, "", "invalid range\n")),
        ] {
            let got = ask(RANGE, range).await;
            assert_eq!((got.0, &*got.1, &*got.2, &*got.3), (code, told, plain, body), "{range}");
        }
        let (code, _, kind, body, modified) = ask(RANGE, "bytes=0-1,-1").await;
        let boundary = kind.strip_prefix("multipart/byteranges; boundary=").expect("several parts");
        let part = |range: &str, bytes: &str| {
            format!("--{boundary}\r\nContent-Range: bytes {range}/10\r\nContent-Type: {plain}\r\n\r\n{bytes}\r\n")
        };
        assert_eq!((code, body), (206, format!("{}{}--{boundary}--\r\n", part("0-1", "01"), part("9-9", "9"))));
        let (code, _, kind, body, again) = ask(IF_MODIFIED_SINCE, modified.as_deref().unwrap()).await;
        assert_eq!((code, &*kind, &*body, again), (304, "", "", modified));
    }
}
