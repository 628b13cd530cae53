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
    Partial,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accept {
    pub media: Media,
    pub shape: Shape,
    pub gzip: bool,
}

impl Accept {
    pub const JSON: Self = Self { media: Media::Json, shape: Shape::Object, gzip: false };

    /// The first of the client's wishes that can be granted. `protobuf` is whether the kind has that form, `views` whether
    /// Table and PartialObjectMetadata make sense for the answer.
    ///
    /// # Errors
    /// 406 when none can.
    pub fn parse(headers: &HeaderMap, protobuf: bool, views: bool) -> ApiResult<Self> {
        let gzip = headers.get(ACCEPT_ENCODING).and_then(|v| v.to_str().ok()).is_some_and(|v| v.contains("gzip"));
        let text = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("*/*");
        for range in text.split(',') {
            if let Some((media, shape)) = wish(range, protobuf, views) {
                return Ok(Self { media, shape, gzip });
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

fn wish(range: &str, protobuf: bool, views: bool) -> Option<(Media, Shape)> {
    let mut parts = range.split(';').map(str::trim);
    let media = match parts.next()? {
        "application/json" | "*/*" | "application/*" | "" => Media::Json,
        "application/yaml" => Media::Yaml,
        "application/vnd.kubernetes.protobuf" if protobuf => Media::Protobuf,
        _ => return None,
    };
    let (mut kind, mut group, mut version) = ("", "meta.k8s.io", "v1");
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        match name.trim() {
            "as" => kind = value.trim(),
            "g" => group = value.trim(),
            "v" => version = value.trim(),
            _ => {}
        }
    }
    let known = views && group == "meta.k8s.io" && (version == "v1" || version == "v1beta1");
    match kind {
        "" => Some((media, Shape::Object)),
        "Table" if known && media != Media::Protobuf => Some((media, Shape::Table)),
        "PartialObjectMetadata" | "PartialObjectMetadataList" if known => Some((media, Shape::Partial)),
        _ => None,
    }
}

/// How a body came. `subtype` keeps what a patch needs to know: `application/merge-patch+json` …
#[must_use]
pub fn content_type(headers: &HeaderMap) -> String {
    let text = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(text: &str, protobuf: bool) -> Option<(Media, Shape)> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, text.parse().unwrap());
        Accept::parse(&headers, protobuf, true).ok().map(|a| (a.media, a.shape))
    }

    #[test]
    fn the_first_possible_wish_is_granted() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(accept(kubectl, true), Some((Media::Json, Shape::Table)));
        let go = "application/vnd.kubernetes.protobuf,application/json";
        assert_eq!(accept(go, true), Some((Media::Protobuf, Shape::Object)));
        assert_eq!(accept(go, false), Some((Media::Json, Shape::Object)));
        assert_eq!(accept("text/html", true), None);
        assert_eq!(accept("*/*", true), Some((Media::Json, Shape::Object)));
    }
}
