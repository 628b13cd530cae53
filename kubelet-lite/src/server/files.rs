//! `/logs/`: the files of the node's /var/log, as upstream's file server shows them (`ServeLogs`, Go's
//! `http.FileServer`): a folder is a page of links, a file is its bytes.

use std::path::{Component, Path, PathBuf};

use futures::StreamExt;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Response, StatusCode};
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

use super::{Body, decode, streamed, text};

/// How much of a file tells what it is.
const SNIFFED: u64 = 512;

/// Answers a request for `path`, the escaped path below `/logs`, with what is below `root`.
pub async fn serve(root: &Path, path: &str) -> Response<Body> {
    let Some(relative) = clean(path) else { return text(StatusCode::BAD_REQUEST, "invalid URL path\n") };
    let at = root.join(&relative);
    match tokio::fs::metadata(&at).await {
        Ok(found) if found.is_dir() && !path.ends_with('/') => {
            // Links in the page are relative to the folder.
            let name = path.rsplit('/').next().unwrap_or_default();
            moved(&format!("{}/", if name.is_empty() { "logs" } else { name }))
        }
        Ok(found) if found.is_dir() => match listing(&at) {
            Ok(page) => html(page),
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "Error reading directory\n"),
        },
        Ok(_) if path.ends_with('/') => {
            let name = relative.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            moved(&format!("../{}", escape(&name)))
        }
        Ok(found) => match file(&at, found.len()).await {
            Ok(response) => response,
            Err(error) => refused(&error),
        },
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

async fn file(path: &Path, length: u64) -> std::io::Result<Response<Body>> {
    let mut head = Vec::new();
    tokio::fs::File::open(path).await?.take(SNIFFED).read_to_end(&mut head).await?;
    // A log that grows meanwhile ends where it was said to.
    let bytes = tokio::fs::File::open(path).await?.take(length);
    let mut response = streamed(ReaderStream::new(bytes).boxed());
    let kind = if is_text(&head) { "text/plain; charset=utf-8" } else { "application/octet-stream" };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CONTENT_LENGTH, length.into());
    Ok(response)
}

/// No control characters but those of text: what Go's sniffing calls text where nothing else is known.
fn is_text(head: &[u8]) -> bool {
    !head.iter().any(|byte| matches!(byte, 0..=8 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn get(root: &Path, path: &str) -> (u16, String, String) {
        let response = serve(root, path).await;
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
}
