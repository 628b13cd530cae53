//! What a request is about, read from its method, path and query: upstream's `RequestInfo`
//! (`apiserver/pkg/endpoints/request/requestinfo.go`).

use std::num::{IntErrorKind, ParseIntError};
use std::str::FromStr;

use http::Method;

use super::status::{ApiError, ApiResult};

/// A parsed request. For non-resource paths only `path` and `verb` are set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    pub is_resource: bool,
    pub path: String,
    /// get list watch create update patch delete deletecollection; the lower-case method for non-resource paths.
    pub verb: &'static str,
    pub group: String,
    pub version: String,
    /// Empty for cluster-scoped requests and for lists over all namespaces.
    pub namespace: String,
    pub resource: String,
    pub subresource: String,
    pub name: String,
    /// What follows the subresource (`pods/x/proxy/a/b`: `a/b`), undecoded.
    pub rest: String,
}

impl RequestInfo {
    /// Parses; `watch` is whether the query asks for a watch, `field_name` the name a `metadata.name=` field selector fixes.
    #[must_use]
    pub fn parse(method: &Method, path: &str, watch: bool, field_name: Option<&str>) -> Self {
        let mut this = Self { path: path.to_owned(), verb: method_verb(method), ..Self::default() };
        let trimmed = path.trim_matches('/');
        let mut parts: Vec<&str> = trimmed.split('/').collect();
        let mut forced_watch = false;
        let skip = match parts.as_slice() {
            ["api", _, _, ..] => {
                this.version = parts[1].to_owned();
                2
            }
            ["apis", _, _, _, ..] => {
                this.group = parts[1].to_owned();
                this.version = parts[2].to_owned();
                3
            }
            _ => return this,
        };
        parts.drain(..skip);
        if parts[0] == "watch" && parts.len() > 1 {
            forced_watch = true;
            parts.remove(0);
        }
        this.is_resource = true;
        let decoded: Vec<String> = parts.iter().take(5).map(|part| decode(part)).collect();
        let mut at = 0;
        if decoded[0] == "namespaces" && decoded.len() > 1 {
            this.namespace = decoded[1].clone();
            // `namespaces/x`, `namespaces/x/status` and `namespaces/x/finalize` are the Namespace object itself.
            if decoded.len() > 2 && decoded[2] != "status" && decoded[2] != "finalize" {
                at = 2;
            }
        }
        this.resource = decoded[at].clone();
        if let Some(name) = decoded.get(at + 1) {
            this.name.clone_from(name);
        }
        if let Some(subresource) = decoded.get(at + 2) {
            this.subresource.clone_from(subresource);
        }
        this.rest = parts.get(at + 3..).unwrap_or_default().join("/");
        this.verb = match *method {
            Method::POST => "create",
            Method::GET | Method::HEAD => "get",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ => "",
        };
        if this.name.is_empty() {
            match this.verb {
                "get" => {
                    this.verb = if watch || forced_watch { "watch" } else { "list" };
                    if let Some(name) = field_name {
                        this.name = name.to_owned();
                    }
                }
                "delete" => this.verb = "deletecollection",
                _ => {}
            }
        } else if forced_watch && this.verb == "get" {
            this.verb = "watch";
        }
        this
    }

    /// The request is for a collection, though a field selector may have fixed the name.
    #[must_use]
    pub fn is_collection(&self) -> bool {
        matches!(self.verb, "list" | "watch" | "deletecollection")
    }
}

/// A number as Go's `strconv` reads it; `function` is what it calls itself when it complains.
///
/// # Errors
/// In Go's words.
pub fn integer<T: FromStr<Err = ParseIntError>>(function: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|error: ParseIntError| {
        let why = match error.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("strconv.{function}: parsing {}: {why}", schema::go::quote(text))
    })
}

fn method_verb(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        _ => "",
    }
}

/// Percent-decoding of one path segment or query word; what is no valid escape stays as it is.
#[must_use]
pub fn decode(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok()))
            .flatten();
        match escape {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The query's parameters in order, decoded.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    #[must_use]
    pub fn parse(query: Option<&str>) -> Self {
        let pair = |part: &str| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (decode(&name.replace('+', " ")), decode(&value.replace('+', " ")))
        };
        // As Go: what a semicolon stands in is no parameter.
        let told = |part: &&str| !part.is_empty() && !part.contains(';');
        Self(query.unwrap_or_default().split('&').filter(told).map(pair).collect())
    }

    /// As Go writes it anew: sorted by name.
    #[must_use]
    pub fn encoded(&self) -> String {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        let escape = |text: &str| {
            let byte = |byte: u8| match byte {
                b' ' => "+".to_owned(),
                byte if plain(byte) => char::from(byte).to_string(),
                byte => format!("%{byte:02X}"),
            };
            text.bytes().map(byte).collect::<String>()
        };
        let mut pairs: Vec<&(String, String)> = self.0.iter().collect();
        pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        pairs.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect::<Vec<_>>().join("&")
    }

    /// The first value, `None` when it is absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The first value that is not empty.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Anything present but `0` and `false` counts as true (upstream's `Convert_Slice_string_To_bool`).
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value != "0" && !value.eq_ignore_ascii_case("false"))
    }

    /// A whole number.
    ///
    /// # Errors
    /// 400 in the words of Go's `strconv.ParseInt`, for an empty text, too.
    pub fn number(&self, name: &str) -> ApiResult<Option<i64>> {
        self.get(name).map(|text| integer("ParseInt", text)).transpose().map_err(ApiError::bad_request)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(method: &Method, path: &str, watch: bool) -> (String, String, String, String, String) {
        let i = RequestInfo::parse(method, path, watch, None);
        (i.verb.to_owned(), i.namespace, i.resource, i.name, i.subresource)
    }

    #[test]
    fn queries_are_written_as_go_writes_them() {
        for (query, wanted) in [
            ("b=%2F&a=1&c", "a=1&b=%2F&c="),
            ("a=x+y&a=b", "a=x+y&a=b"),
            ("labelSelector=x%3Dy;z&limit=1", "limit=1"),
            ("", ""),
        ] {
            assert_eq!(Query::parse(Some(query)).encoded(), wanted, "{query}");
        }
    }

    #[test]
    fn paths_are_read_as_upstream_reads_them() {
        let s = |a: &str, b: &str, c: &str, d: &str, e: &str| {
            (a.to_owned(), b.to_owned(), c.to_owned(), d.to_owned(), e.to_owned())
        };
        assert_eq!(info(&Method::GET, "/api/v1/pods", false), s("list", "", "pods", "", ""));
        assert_eq!(info(&Method::GET, "/api/v1/pods", true), s("watch", "", "pods", "", ""));
        assert_eq!(info(&Method::GET, "/api/v1/namespaces/a/pods/b/log", false), s("get", "a", "pods", "b", "log"));
        assert_eq!(
            info(&Method::PUT, "/api/v1/namespaces/a/status", false),
            s("update", "a", "namespaces", "a", "status")
        );
        assert_eq!(info(&Method::GET, "/api/v1/namespaces/a", false), s("get", "a", "namespaces", "a", ""));
        assert_eq!(info(&Method::GET, "/api/v1/namespaces", false), s("list", "", "namespaces", "", ""));
        assert_eq!(
            info(&Method::DELETE, "/apis/apps/v1/namespaces/a/deployments", false),
            s("deletecollection", "a", "deployments", "", "")
        );
        assert_eq!(info(&Method::GET, "/apis/apps/v1", false), s("get", "", "", "", ""));
        assert_eq!(info(&Method::GET, "/api/v1/watch/pods", false), s("watch", "", "pods", "", ""));
        // Only a collection is watched by a parameter.
        assert_eq!(info(&Method::GET, "/api/v1/nodes/a", true), s("get", "", "nodes", "a", ""));
        assert_eq!(info(&Method::GET, "/api/v1/watch/nodes/a", false), s("watch", "", "nodes", "a", ""));
    }

    #[test]
    fn queries_are_decoded() {
        let q = Query::parse(Some("labelSelector=a%3Db%2Cc&watch=1&x"));
        assert_eq!(q.get("labelSelector"), Some("a=b,c"));
        assert!(q.flag("watch") && q.flag("x") && !q.flag("y"));
        let q = Query::parse(Some("a=FALSE&b=0&c=f&d=7&e=-1"));
        assert!(!q.flag("a") && !q.flag("b") && q.flag("c"));
        assert_eq!((q.number("d").unwrap(), q.number("e").unwrap(), q.number("z").unwrap()), (Some(7), Some(-1), None));
    }
}
