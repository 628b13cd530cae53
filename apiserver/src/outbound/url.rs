//! Absolute URLs taken apart, once, and what a reference means where one of them stands.

use std::fmt;

/// `scheme://authority`, then a path that may be empty, then a query with its question mark. Fragments stay with who asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Url {
    scheme: String,
    authority: String,
    path: String,
    query: String,
}

impl Url {
    /// # Errors
    /// It is no URL, in Go's words, or names no host.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(why) = cel::unreadable_url(text) {
            return Err(why);
        }
        let text = text.split('#').next().unwrap_or_default();
        let (scheme, rest) = text.split_once("://").ok_or_else(|| format!("{text:?} is not absolute"))?;
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(at);
        let (path, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
        let own = str::to_owned;
        Ok(Self { scheme: own(scheme), authority: own(authority), path: own(path), query: own(query) })
    }

    /// An https URL.
    #[must_use]
    pub fn https(authority: &str, path: &str, query: String) -> Self {
        Self { scheme: "https".to_owned(), authority: authority.to_owned(), path: path.to_owned(), query }
    }

    #[must_use]
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// Host and port as they are written.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Host and port, be it the one that https has.
    #[must_use]
    pub fn address(&self) -> String {
        let port = self.authority.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.contains(']'));
        if port.is_some() { self.authority.clone() } else { format!("{}:443", self.authority) }
    }

    /// The same at another address.
    #[must_use]
    pub fn at(&self, authority: &str) -> Self {
        Self { authority: authority.to_owned(), ..self.clone() }
    }

    /// What a reference that stands there means, absolute or relative.
    ///
    /// # Errors
    /// It is no URL, in Go's words.
    pub fn join(&self, reference: &str) -> Result<Self, String> {
        if let Some(why) = cel::unreadable_url(reference) {
            return Err(why);
        }
        let Self { scheme, authority, path, .. } = self;
        Self::parse(&if reference.contains("://") {
            reference.to_owned()
        } else if reference.starts_with("//") {
            format!("{scheme}:{reference}")
        } else if reference.starts_with('/') {
            format!("{scheme}://{authority}{reference}")
        } else {
            let folder = path.rfind('/').map_or("", |at| &path[..at]);
            format!("{scheme}://{authority}{folder}/{reference}")
        })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, authority, path, query } = self;
        write!(f, "{scheme}://{authority}{path}{query}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (text, address, path) in [
            ("https://a/b?c", "a:443", "/b"),
            ("https://a", "a:443", ""),
            ("https://s:1?c", "s:1", ""),
            ("https://[::1]/", "[::1]:443", "/"),
            ("https://[::1]:8443/x", "[::1]:8443", "/x"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.address().as_str(), url.path()), (address, path), "{text}");
            assert_eq!(url.to_string(), text);
        }
        assert_eq!(Url::parse("https://a/b?c#d").unwrap().at("b:1").to_string(), "https://b:1/b?c");
        assert!(Url::parse("a/b").is_err());
        assert!(Url::parse("https://a:x").is_err());
    }

    #[test]
    fn references_are_followed() {
        let base = Url::parse("https://a:8443/x/y?timeout=3s").unwrap();
        for (to, at) in [
            ("https://b/c?d#e", "https://b/c?d"),
            ("//b:1/c", "https://b:1/c"),
            ("/c", "https://a:8443/c"),
            ("c", "https://a:8443/x/c"),
            ("ftp://b", "ftp://b"),
        ] {
            assert_eq!(base.join(to).map(|url| url.to_string()).as_deref(), Ok(at), "{to}");
        }
        assert_eq!(base.join("::%").unwrap_err(), "parse \"::%\": missing protocol scheme");
    }
}
