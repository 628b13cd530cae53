//! Which representation a client wants, and in which one its body came.

use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE};

use super::status::{ApiError, ApiResult};

/// How bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    Json,
    Yaml,
    Protobuf,
}

/// What is written: the object, or a view of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Object,
    Table,
    /// `PartialObjectMetadata`, or a list of them.
    Partial {
        list: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accept {
    pub media: Media,
    pub shape: Shape,
    /// The group and version a view is of.
    pub view: &'static str,
    pub gzip: bool,
}

/// The versions of `meta.k8s.io` that views are known in, all of the same form; the first is the usual one.
const VIEWS: [(&str, &str); 2] = [("v1", "meta.k8s.io/v1"), ("v1beta1", "meta.k8s.io/v1beta1")];

impl Accept {
    pub const JSON: Self = Self { media: Media::Json, shape: Shape::Object, view: VIEWS[0].1, gzip: false };

    /// The first of the client's wishes that can be granted. `protobuf` is whether the kind has that form, `views` whether
    /// Table and PartialObjectMetadata make sense for the answer; metadata has that form whosever it is.
    ///
    /// # Errors
    /// 406 when none can.
    pub fn parse(headers: &HeaderMap, protobuf: bool, views: bool) -> ApiResult<Self> {
        let gzip = takes_gzip(headers);
        let text = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("*/*");
        for range in ranges(text) {
            if let Some((media, shape, view)) = wish(range, protobuf, views) {
                return Ok(Self { media, shape, view, gzip });
            }
        }
        if text.trim().is_empty() { Ok(Self { gzip, ..Self::JSON }) } else { Err(ApiError::not_acceptable()) }
    }

    /// The media type of an answer; a watch's says `stream=watch`.
    #[must_use]
    pub fn content_type(self, watch: bool) -> &'static str {
        match (self.media, watch) {
            (Media::Json, _) => "application/json",
            (Media::Yaml, _) => "application/yaml",
            (Media::Protobuf, false) => "application/vnd.kubernetes.protobuf",
            (Media::Protobuf, true) => "application/vnd.kubernetes.protobuf;stream=watch",
        }
    }
}

/// Whether gzip is asked for; as upstream does: by the bare word, and no weights.
pub fn takes_gzip(headers: &HeaderMap) -> bool {
    let encodings = headers.get(ACCEPT_ENCODING).and_then(|v| v.to_str().ok()).unwrap_or_default();
    encodings.split(',').any(|encoding| encoding.trim() == "gzip")
}

/// The wishes of an `Accept` header, the dearest first; a weight that is no number counts as the highest.
pub fn ranges(text: &str) -> Vec<&str> {
    let weight = |range: &str| {
        let q = range.split(';').skip(1).find_map(|part| part.trim().strip_prefix("q=")?.parse::<f32>().ok());
        q.filter(|q| (0.0..=1.0).contains(q)).unwrap_or(1.0)
    };
    let mut ranges: Vec<&str> = text.split(',').collect();
    ranges.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
    ranges
}

fn wish(range: &str, protobuf: bool, views: bool) -> Option<(Media, Shape, &'static str)> {
    let mut parts = range.split(';').map(str::trim);
    let media = match parts.next()? {
        "application/json" | "*/*" | "application/*" | "" => Media::Json,
        "application/yaml" => Media::Yaml,
        "application/vnd.kubernetes.protobuf" => Media::Protobuf,
        _ => return None,
    };
    // The three make one wish: whoever names one has to name all.
    let (mut kind, mut group, mut version) = (None, None, None);
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        let value = value.trim().trim_matches('"');
        match name.trim() {
            "as" => kind = Some(value),
            "g" => group = Some(value),
            "v" => version = Some(value),
            "stream" if !matches!(value, "" | "watch") => return None,
            _ => {}
        }
    }
    if (kind, group, version) == (None, None, None) {
        return (protobuf || media != Media::Protobuf).then_some((media, Shape::Object, VIEWS[0].1));
    }
    if !views || group != Some("meta.k8s.io") {
        return None;
    }
    let view = VIEWS.iter().find(|(known, _)| Some(*known) == version)?.1;
    match kind? {
        "Table" if media != Media::Protobuf => Some((media, Shape::Table, view)),
        "PartialObjectMetadata" => Some((media, Shape::Partial { list: false }, view)),
        "PartialObjectMetadataList" => Some((media, Shape::Partial { list: true }, view)),
        _ => None,
    }
}

/// How a body came. `subtype` keeps what a patch needs to know: `application/merge-patch+json` …
#[must_use]
pub fn content_type(headers: &HeaderMap) -> String {
    let text = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let mut parts = text.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default().to_ascii_lowercase();
    // Parameters that are none make it no media type.
    if parts.all(|part| part.is_empty() || part.contains('=')) { media } else { text.to_owned() }
}

/// How a patch came: the type alone, and just as it is written.
#[must_use]
pub fn patch_type(headers: &HeaderMap) -> &str {
    let text = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    text.split_once(';').map_or(text, |(media, _)| media).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_say_how_they_came() {
        for (text, media) in [
            ("application/json", "application/json"),
            ("APPLICATION/JSON; charset=utf-8;", "application/json"),
            ("application/json;x", "application/json;x"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, text.parse().unwrap());
            assert_eq!(content_type(&headers), media);
        }
        for (text, media) in [("application/merge-patch+json;x", "application/merge-patch+json"), ("A/b; c=d", "A/b")] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, text.parse().unwrap());
            assert_eq!(patch_type(&headers), media);
        }
    }

    fn accept(text: &str, protobuf: bool) -> Option<(Media, Shape)> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, text.parse().unwrap());
        Accept::parse(&headers, protobuf, true).ok().map(|a| (a.media, a.shape))
    }

    #[test]
    fn gzip_is_asked_for_by_its_name() {
        for (text, expected) in [
            ("gzip", true),
            ("deflate, gzip", true),
            ("gzip;q=0", false),
            ("gzip;q=0.5", false),
            ("x-gzip", false),
            ("*", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, text.parse().unwrap());
            assert_eq!(Accept::parse(&headers, true, true).unwrap().gzip, expected, "{text}");
        }
    }

    #[test]
    fn the_first_possible_wish_is_granted() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(accept(kubectl, true), Some((Media::Json, Shape::Table)));
        let go = "application/vnd.kubernetes.protobuf,application/json";
        assert_eq!(accept(go, true), Some((Media::Protobuf, Shape::Object)));
        assert_eq!(accept(go, false), Some((Media::Json, Shape::Object)));
        let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        assert_eq!(accept(metadata, false), Some((Media::Protobuf, Shape::Partial { list: false })));
        for (version, view) in VIEWS {
            let mut headers = HeaderMap::new();
            let text = format!("application/json;as=Table;v={version};g=meta.k8s.io");
            headers.insert(ACCEPT, text.parse().unwrap());
            assert_eq!(Accept::parse(&headers, true, true).unwrap().view, view);
        }
        assert_eq!(accept("text/html", true), None);
        assert_eq!(accept("*/*", true), Some((Media::Json, Shape::Object)));
        assert_eq!(accept("application/json;q=0.5,application/yaml;q=0.9", true), Some((Media::Yaml, Shape::Object)));
        let list = Shape::Partial { list: true };
        for (text, expected) in [
            ("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", Some((Media::Json, list))),
            ("application/json;as=\"Table\";v=v1;g=meta.k8s.io", Some((Media::Json, Shape::Table))),
            ("application/json;as=Table", None),
            ("application/json;v=v1;g=meta.k8s.io", None),
            ("application/json;as=Table;v=v2;g=meta.k8s.io", None),
            ("application/json;stream=watch", Some((Media::Json, Shape::Object))),
            ("application/json;stream=x", None),
        ] {
            assert_eq!(accept(text, true), expected, "{text}");
        }
    }
}
