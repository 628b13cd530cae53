//! Links in HTML, rewritten while it passes: a small automaton that knows tags from text, and holds no more than one tag.
//!
//! Which attributes are links is upstream's table. Whatever is no link stays byte for byte.

use std::io::{self, Write};

use axum::body::Body;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::{DeflateDecoder, DeflateEncoder, GzEncoder, MultiGzDecoder};
use futures::{StreamExt, TryStreamExt};

/// Tags and their attributes that hold one URL (HTML 4.01 and 5).
const LINKS: &[(&str, &[&str])] = &[
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];

/// Elements whose content is text up to their own end tag.
const RAW: &[&str] =
    &["iframe", "noembed", "noframes", "noscript", "plaintext", "script", "style", "textarea", "title", "xmp"];

/// A longer tag passes as it is.
const MAX_TAG: usize = 64 * 1024;
/// How much compressed text is unpacked at once: at deflate's best that is a megabyte, which goes on piece by piece.
const SLICE: usize = 1024;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Plain,
    Gzip,
    Deflate,
}

impl Encoding {
    /// `None` for one that is not understood.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "" => Some(Self::Plain),
            "gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            _ => None,
        }
    }
}

/// The body with other links: `lead` gives a link's new form, `None` where it is no URL.
pub fn rewritten(body: Body, encoding: Encoding, lead: impl Fn(&str) -> Option<String> + Send + 'static) -> Body {
    let pipe = Pipe::new(encoding, lead);
    let slices = body.into_data_stream().map_err(io::Error::other).flat_map(|piece| {
        let pieces: Vec<io::Result<Bytes>> = match piece {
            Ok(mut bytes) => {
                std::iter::from_fn(|| (!bytes.is_empty()).then(|| Ok(bytes.split_to(bytes.len().min(SLICE))))).collect()
            }
            Err(error) => vec![Err(error)],
        };
        futures::stream::iter(pieces)
    });
    let steps = slices.map(Some).chain(futures::stream::once(std::future::ready(None)));
    Body::from_stream(steps.scan(Some(pipe), |pipe, step| {
        let result = match step {
            Some(Ok(bytes)) => pipe.as_mut().map(|pipe| pipe.write(&bytes)),
            Some(Err(error)) => Some(Err(error)),
            None => pipe.take().map(Pipe::finish),
        };
        if matches!(result, Some(Err(_))) {
            *pipe = None;
        }
        std::future::ready(result)
    }))
}

/// Unpacking, rewriting, packing.
enum Pipe<F: Fn(&str) -> Option<String>> {
    Plain(Rewriter<F, Vec<u8>>),
    Gzip(MultiGzDecoder<Rewriter<F, GzEncoder<Vec<u8>>>>),
    Deflate(DeflateDecoder<Rewriter<F, DeflateEncoder<Vec<u8>>>>),
}

impl<F: Fn(&str) -> Option<String>> Pipe<F> {
    fn new(encoding: Encoding, lead: F) -> Self {
        let level = Compression::default();
        match encoding {
            Encoding::Plain => Self::Plain(Rewriter::new(lead, Vec::new())),
            Encoding::Gzip => Self::Gzip(MultiGzDecoder::new(Rewriter::new(lead, GzEncoder::new(Vec::new(), level)))),
            Encoding::Deflate => {
                Self::Deflate(DeflateDecoder::new(Rewriter::new(lead, DeflateEncoder::new(Vec::new(), level))))
            }
        }
    }

    /// Takes in what came and gives what is ready.
    fn write(&mut self, bytes: &[u8]) -> io::Result<Bytes> {
        let out = match self {
            Self::Plain(rewriter) => {
                rewriter.write_all(bytes)?;
                &mut rewriter.out
            }
            Self::Gzip(decoder) => {
                decoder.write_all(bytes)?;
                decoder.get_mut().out.get_mut()
            }
            Self::Deflate(decoder) => {
                decoder.write_all(bytes)?;
                decoder.get_mut().out.get_mut()
            }
        };
        Ok(std::mem::take(out).into())
    }

    fn finish(self) -> io::Result<Bytes> {
        let out = match self {
            Self::Plain(rewriter) => rewriter.finish()?,
            Self::Gzip(decoder) => decoder.finish()?.finish()?.finish()?,
            Self::Deflate(decoder) => decoder.finish()?.finish()?.finish()?,
        };
        Ok(out.into())
    }
}

/// Where in the text we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Text,
    /// After `<`, collecting a tag; inside of these quotes.
    Tag(Option<u8>),
    /// A tag too long to be held: passed on up to its `>`.
    Long,
    /// Up to `-->`.
    Comment,
    /// Up to the end tag of `RAW[n]`.
    Raw(usize),
}

/// Writes HTML on with other links.
struct Rewriter<F, W> {
    lead: F,
    out: W,
    state: State,
    /// What is held back: a tag so far, or what may become the end of a comment or of raw text.
    held: Vec<u8>,
}

impl<F: Fn(&str) -> Option<String>, W: Write> Rewriter<F, W> {
    fn new(lead: F, out: W) -> Self {
        Self { lead, out, state: State::Text, held: Vec::new() }
    }

    fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&self.held)?;
        Ok(self.out)
    }

    fn byte(&mut self, byte: u8) -> io::Result<()> {
        match self.state {
            State::Text if byte == b'<' => {
                self.held.push(byte);
                self.state = State::Tag(None);
                Ok(())
            }
            State::Text => self.out.write_all(&[byte]),
            State::Tag(quote) => self.tag(quote, byte),
            State::Long => {
                if byte == b'>' {
                    self.state = State::Text;
                }
                self.out.write_all(&[byte])
            }
            State::Comment => {
                // Only its last two bytes matter.
                self.held.push(byte);
                if self.held.ends_with(b"-->") {
                    self.state = State::Text;
                    return self.release();
                }
                self.shorten(2)
            }
            State::Raw(element) => {
                let end = RAW[element];
                self.held.push(byte);
                let length = end.len() + 3;
                if let Some(tail) = self.held.len().checked_sub(length).map(|at| &self.held[at..])
                    && tail.starts_with(b"</")
                    && tail[2..length - 1].eq_ignore_ascii_case(end.as_bytes())
                    && matches!(tail[length - 1], b'>' | b'/' | b' ' | b'\t' | b'\n' | b'\r' | 0x0c)
                {
                    self.state = if byte == b'>' { State::Text } else { State::Long };
                    return self.release();
                }
                self.shorten(length - 1)
            }
        }
    }

    fn tag(&mut self, quote: Option<u8>, byte: u8) -> io::Result<()> {
        if self.held.len() == 1 && !(byte.is_ascii_alphabetic() || matches!(byte, b'/' | b'!' | b'?')) {
            // A mere sign, as in `a < b`; another one may begin a tag.
            self.release()?;
            self.state = State::Text;
            return self.byte(byte);
        }
        self.held.push(byte);
        if self.held == b"<!--" {
            self.state = State::Comment;
            return self.shorten(2);
        }
        let value = is_value(&self.held);
        self.state = State::Tag(match (quote, byte) {
            (Some(open), _) if open == byte => None,
            (None, b'"' | b'\'') if value => Some(byte),
            (quote, _) => quote,
        });
        if byte == b'>' && quote.is_none() {
            let tag = std::mem::take(&mut self.held);
            return self.close(&tag);
        }
        if self.held.len() > MAX_TAG {
            self.state = State::Long;
            return self.release();
        }
        Ok(())
    }

    /// A whole tag, from `<` to `>`.
    fn close(&mut self, tag: &[u8]) -> io::Result<()> {
        self.state = State::Text;
        let end = tag[1..].iter().position(|b| b.is_ascii_whitespace() || matches!(b, b'/' | b'>')).unwrap_or(0) + 1;
        let name = String::from_utf8_lossy(&tag[1..end]).to_ascii_lowercase();
        if let Some(element) = RAW.iter().position(|raw| **raw == name) {
            self.state = State::Raw(element);
        }
        let attributes = LINKS.iter().find(|(known, _)| *known == name).map(|(_, attributes)| *attributes);
        let Some(attributes) = attributes else { return self.out.write_all(tag) };
        let mut written = 0;
        for (key, value) in values(tag, end) {
            if !attributes.iter().any(|known| tag[key.clone()].eq_ignore_ascii_case(known.as_bytes())) {
                continue;
            }
            let Ok(text) = std::str::from_utf8(&tag[value.clone()]) else { continue };
            let old = unescape(text);
            let Some(new) = (self.lead)(&old).filter(|new| *new != old) else { continue };
            self.out.write_all(&tag[written..value.start])?;
            let bare = !matches!(tag[value.start - 1], b'"' | b'\'');
            let new = escape(&new);
            if bare {
                write!(self.out, "\"{new}\"")?
            } else {
                self.out.write_all(new.as_bytes())?
            }
            written = value.end;
        }
        self.out.write_all(&tag[written..])
    }

    fn release(&mut self) -> io::Result<()> {
        self.out.write_all(&self.held)?;
        self.held.clear();
        Ok(())
    }

    /// Writes what is held but for the last bytes.
    fn shorten(&mut self, keep: usize) -> io::Result<()> {
        let over = self.held.len().saturating_sub(keep);
        self.out.write_all(&self.held[..over])?;
        self.held.drain(..over);
        Ok(())
    }
}

impl<F: Fn(&str) -> Option<String>, W: Write> Write for Rewriter<F, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            self.byte(*byte)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Whether the last byte, a quote, opens an attribute's value: it follows a `=`.
fn is_value(tag: &[u8]) -> bool {
    let before = tag[..tag.len() - 1].iter().rposition(|byte| !byte.is_ascii_whitespace());
    before.is_some_and(|at| tag[at] == b'=')
}

/// Where the names and values of a tag's attributes are; those without a value are left out.
fn values(tag: &[u8], mut at: usize) -> Vec<(std::ops::Range<usize>, std::ops::Range<usize>)> {
    let mut found = Vec::new();
    let last = tag.len() - 1;
    let skip = |mut at: usize, wanted: &dyn Fn(u8) -> bool| {
        while at < last && wanted(tag[at]) {
            at += 1;
        }
        at
    };
    let space = |byte: u8| byte.is_ascii_whitespace();
    while at < last {
        at = skip(at, &|byte| space(byte) || byte == b'/');
        let key = at;
        at = skip(at, &|byte| !space(byte) && !matches!(byte, b'=' | b'/'));
        let key = key..at.max(key);
        let equals = skip(at, &space);
        if tag[equals] != b'=' {
            // A name without a value; a lone sign must not stop us.
            at = equals.max(key.start + 1);
            continue;
        }
        at = skip(equals + 1, &space);
        let value = match tag[at] {
            quote @ (b'"' | b'\'') => {
                let start = at + 1;
                let end = skip(start, &|byte| byte != quote);
                at = end + 1;
                start..end
            }
            _ => {
                let start = at;
                at = skip(at, &|byte| !space(byte));
                start..at
            }
        };
        found.push((key, value));
    }
    found
}

/// The entities that URLs need; all others stay as they are.
const ENTITIES: &[(&str, char)] = &[("amp", '&'), ("lt", '<'), ("gt", '>'), ("quot", '"'), ("apos", '\'')];

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let decoded = after.split_once(';').and_then(|(name, rest)| Some((entity(name)?, rest)));
        match decoded {
            Some((character, after)) => {
                out.push(character);
                rest = after;
            }
            None => {
                out.push('&');
                rest = after;
            }
        }
    }
    out + rest
}

fn entity(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let hex = number.strip_prefix(['x', 'X']);
        let number = hex.map_or_else(|| number.parse().ok(), |hex| u32::from_str_radix(hex, 16).ok());
        return number.and_then(char::from_u32);
    }
    ENTITIES.iter().find(|(known, _)| *known == name).map(|(_, character)| *character)
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '\'' => out.push_str("&#39;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn lead(link: &str) -> Option<String> {
        (link != "/bad").then(|| if link.starts_with('/') { format!("/p{link}") } else { link.to_owned() })
    }

    /// However the text is cut, the outcome is the same.
    fn plain(input: &str) -> String {
        let mut outcomes = Vec::new();
        for size in [1, 7, input.len().max(1)] {
            let mut rewriter = Rewriter::new(lead, Vec::new());
            for piece in input.as_bytes().chunks(size) {
                rewriter.write_all(piece).expect("memory takes everything");
                assert!(rewriter.held.len() <= MAX_TAG + 1);
            }
            outcomes.push(String::from_utf8(rewriter.finish().expect("finished")).expect("text"));
        }
        outcomes.dedup();
        assert_eq!(outcomes.len(), 1, "{input}");
        outcomes.remove(0)
    }

    #[test]
    fn links_and_nothing_else() {
        for (input, expected) in [
            (
                r#"<pre><a href="k.log">k</a><a href="/g.log">g</a></pre>"#,
                r#"<pre><a href="k.log">k</a><a href="/p/g.log">g</a></pre>"#,
            ),
            (r#"<img src="/a.jpg"/><IMG SRC='/b.jpg' />"#, r#"<img src="/p/a.jpg"/><IMG SRC='/p/b.jpg' />"#),
            ("<a href=/x class=b>x</a>", "<a href=\"/p/x\" class=b>x</a>"),
            ("<a class=b href = /x>x</a>", "<a class=b href = \"/p/x\">x</a>"),
            (r#"<a title="/x > y" href="/x">"#, r#"<a title="/x > y" href="/p/x">"#),
            (r#"<a download href="/x?a=1&amp;b=2">"#, r#"<a download href="/p/x?a=1&amp;b=2">"#),
            (r#"<a href="/bad">"#, r#"<a href="/bad">"#),
            (r#"<p title="/x">/x</p></a href="/x">"#, r#"<p title="/x">/x</p></a href="/x">"#),
            (r#"<video poster="/a" src="/b">"#, r#"<video poster="/p/a" src="/p/b">"#),
            (
                r#"<script src="/a.js">if (a < b) s = '<a href="/x">';</script><a href="/y">"#,
                r#"<script src="/p/a.js">if (a < b) s = '<a href="/x">';</script><a href="/p/y">"#,
            ),
            (r#"<title><a href="/x"></TITLE ><a href="/y">"#, r#"<title><a href="/x"></TITLE ><a href="/p/y">"#),
            (r#"<!-- <a href="/x"> --><a href="/y">"#, r#"<!-- <a href="/x"> --><a href="/p/y">"#),
            (r#"<!doctype html><a href="/y">"#, r#"<!doctype html><a href="/p/y">"#),
            (r#"1 < 2 <<a href="/y">"#, r#"1 < 2 <<a href="/p/y">"#),
            (r#"<a href="/y"#, r#"<a href="/y"#),
            (r#"<a ="/y" href="/z" = >"#, r#"<a ="/y" href="/p/z" = >"#),
            ("", ""),
        ] {
            assert_eq!(plain(input), expected);
        }
    }

    #[test]
    fn a_tag_without_end_is_not_held() {
        let input = format!("<a href=\"/{}\"><a href=\"/y\">", "x".repeat(MAX_TAG));
        assert_eq!(plain(&input), input.replace("\"/y\"", "\"/p/y\""));
    }

    #[tokio::test]
    async fn compressed_text_is_unpacked_and_packed_again() {
        let text = r#"<a href="/x">"#.repeat(5000);
        let expected = text.replace("/x", "/p/x");
        let collect = async |encoding, body: Vec<u8>| {
            let body = rewritten(Body::from(body), encoding, lead);
            axum::body::to_bytes(body, usize::MAX).await
        };
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).expect("packed");
        let packed = collect(Encoding::Gzip, encoder.finish().expect("packed")).await.expect("a body");
        let mut out = String::new();
        flate2::read::GzDecoder::new(&*packed).read_to_string(&mut out).expect("gzip");
        assert!(out == expected, "gzip");
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).expect("packed");
        let packed = collect(Encoding::Deflate, encoder.finish().expect("packed")).await.expect("a body");
        let mut out = String::new();
        flate2::read::DeflateDecoder::new(&*packed).read_to_string(&mut out).expect("deflate");
        assert!(out == expected, "deflate");
        assert_eq!(collect(Encoding::Plain, text.into_bytes()).await.expect("a body"), expected);
        assert!(collect(Encoding::Gzip, b"no gzip at all".to_vec()).await.is_err());
        assert_eq!(Encoding::of("br"), None, "what is not understood passes");
    }
}
