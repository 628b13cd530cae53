//! What a body without a content type is taken for: the WHATWG's MIME sniffing, as far as Go's server goes with it
//! (`http.DetectContentType`).

/// So much of a body is looked at.
const LOOKED_AT: usize = 512;

const HTML: &str = "text/html; charset=utf-8";
const XML: &str = "text/xml; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const BYTES: &str = "application/octet-stream";

/// Tags by which a document is HTML, in any case, each with an end behind it.
const TAGS: [&str; 17] = [
    "<!DOCTYPE HTML",
    "<HTML",
    "<HEAD",
    "<SCRIPT",
    "<IFRAME",
    "<H1",
    "<DIV",
    "<FONT",
    "<TABLE",
    "<A",
    "<STYLE",
    "<TITLE",
    "<B",
    "<BODY",
    "<BR",
    "<P",
    "<!--",
];

/// What stands at which places of what type, and how long a body of it is at least.
type Signature = (&'static [(usize, &'static [u8])], usize, &'static str);

const SIGNATURES: [Signature; 31] = [
    (&[(0, b"%PDF-")], 5, "application/pdf"),
    (&[(0, b"%!PS-Adobe-")], 11, "application/postscript"),
    (&[(0, b"\xfe\xff")], 4, "text/plain; charset=utf-16be"),
    (&[(0, b"\xff\xfe")], 4, "text/plain; charset=utf-16le"),
    (&[(0, b"\xef\xbb\xbf")], 4, TEXT),
    (&[(0, b"\x00\x00\x01\x00")], 4, "image/x-icon"),
    (&[(0, b"\x00\x00\x02\x00")], 4, "image/x-icon"),
    (&[(0, b"BM")], 2, "image/bmp"),
    (&[(0, b"GIF87a")], 6, "image/gif"),
    (&[(0, b"GIF89a")], 6, "image/gif"),
    (&[(0, b"RIFF"), (8, b"WEBPVP")], 14, "image/webp"),
    (&[(0, b"\x89PNG\r\n\x1a\n")], 8, "image/png"),
    (&[(0, b"\xff\xd8\xff")], 3, "image/jpeg"),
    (&[(0, b"FORM"), (8, b"AIFF")], 12, "audio/aiff"),
    (&[(0, b"ID3")], 3, "audio/mpeg"),
    (&[(0, b"OggS\x00")], 5, "application/ogg"),
    (&[(0, b"MThd\x00\x00\x00\x06")], 8, "audio/midi"),
    (&[(0, b"RIFF"), (8, b"AVI ")], 12, "video/avi"),
    (&[(0, b"RIFF"), (8, b"WAVE")], 12, "audio/wave"),
    (&[(0, b"\x1a\x45\xdf\xa3")], 4, "video/webm"),
    (&[(34, b"LP")], 36, "application/vnd.ms-fontobject"),
    (&[(0, b"\x00\x01\x00\x00")], 4, "font/ttf"),
    (&[(0, b"OTTO")], 4, "font/otf"),
    (&[(0, b"ttcf")], 4, "font/collection"),
    (&[(0, b"wOFF")], 4, "font/woff"),
    (&[(0, b"wOF2")], 4, "font/woff2"),
    (&[(0, b"\x1f\x8b\x08")], 3, "application/x-gzip"),
    (&[(0, b"PK\x03\x04")], 4, "application/zip"),
    (&[(0, b"Rar!\x1a\x07\x00")], 7, "application/x-rar-compressed"),
    (&[(0, b"Rar!\x1a\x07\x01\x00")], 8, "application/x-rar-compressed"),
    (&[(0, b"\x00asm")], 4, "application/wasm"),
];

/// The type of a body that begins so.
#[must_use]
pub fn content_type(body: &[u8]) -> &'static str {
    let body = &body[..body.len().min(LOOKED_AT)];
    let blank = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\x0c' | b'\r' | b' ');
    let first = body.iter().position(|byte| !blank(byte)).unwrap_or(body.len());
    let document = &body[first..];
    let begins = |tag: &&str| {
        let (begin, rest) = document.split_at(tag.len().min(document.len()));
        begin.eq_ignore_ascii_case(tag.as_bytes()) && matches!(rest.first(), Some(b' ' | b'>'))
    };
    if TAGS.iter().any(begins) {
        return HTML;
    }
    if document.starts_with(b"<?xml") {
        return XML;
    }
    let known = SIGNATURES
        .iter()
        .find(|(parts, least, _)| body.len() >= *least && parts.iter().all(|(at, part)| body[*at..].starts_with(part)));
    match known {
        Some((_, _, found)) => found,
        None if is_mp4(body) => "video/mp4",
        None if body.iter().any(is_binary) => BYTES,
        None => TEXT,
    }
}

/// A first box that names brands, one of which is MP4; the second word is a version.
fn is_mp4(body: &[u8]) -> bool {
    let Some(size) = body.first_chunk().and_then(|size| usize::try_from(u32::from_be_bytes(*size)).ok()) else {
        return false;
    };
    let Some(brands) = body.get(8..size).filter(|_| size % 4 == 0 && body[4..].starts_with(b"ftyp")) else {
        return false;
    };
    brands.chunks(4).enumerate().any(|(at, brand)| at != 1 && brand.starts_with(b"mp4"))
}

fn is_binary(byte: &u8) -> bool {
    matches!(byte, 0x00..=0x08 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_taken_for_what_they_begin_with() {
        for (body, found) in [
            (&b"{\"a\":1}"[..], TEXT),
            (b"", TEXT),
            (b"<html><body>", HTML),
            (b"  \n<!doctype html>", HTML),
            (b"<htmlx>", TEXT),
            (b"<html", TEXT),
            (b"<?xml version", XML),
            (b"\x89PNG\r\n\x1a\nxx", "image/png"),
            (b"\xfe\xffab", "text/plain; charset=utf-16be"),
            (b"\xfe\xffa", TEXT),
            (b"\x1f\x8b\x08xx", "application/x-gzip"),
            (b"RIFF1234WAVEx", "audio/wave"),
            (b"\x00\x00\x00\x14ftypisom\x00\x00\x00\x00mp42", "video/mp4"),
            (b"\x00\x00\x00\x14ftypisom", BYTES),
            (b"\x00\x01\x02", BYTES),
        ] {
            assert_eq!(content_type(body), found, "{body:?}");
        }
    }
}
