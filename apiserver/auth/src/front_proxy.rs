//! Requests that an aggregator passes on: it has authenticated the user, proves itself by a certificate of its own authority,
//! and says in headers who the user is (upstream `authentication/request/headerrequest`).
//!
//! From anybody else these headers mean nothing.

use crate::user::UserInfo;
use http::HeaderMap;

/// The headers, in lower case; of several the first one that is there.
#[derive(Clone, Debug)]
pub struct Headers {
    pub username: Vec<String>,
    pub uid: Vec<String>,
    pub group: Vec<String>,
    pub extra_prefix: Vec<String>,
}

impl Default for Headers {
    /// The names that kubeadm sets up.
    fn default() -> Self {
        let one = |name: &str| vec![name.to_owned()];
        Self {
            username: one("x-remote-user"),
            uid: one("x-remote-uid"),
            group: one("x-remote-group"),
            extra_prefix: one("x-remote-extra-"),
        }
    }
}

impl Headers {
    /// The user that the headers name; `None`: they name nobody.
    #[must_use]
    pub fn user(&self, headers: &HeaderMap) -> Option<UserInfo> {
        let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().trim().to_owned();
        let first = |names: &[String]| {
            names.iter().filter_map(|name| headers.get(name.as_str())).map(text).find(|value| !value.is_empty())
        };
        let mut user = UserInfo { username: first(&self.username)?, ..UserInfo::default() };
        user.uid = first(&self.uid).unwrap_or_default();
        for name in &self.group {
            user.groups.extend(headers.get_all(name.as_str()).iter().map(text));
        }
        for (name, value) in headers {
            for prefix in &self.extra_prefix {
                if let Some(key) = name.as_str().strip_prefix(prefix.as_str()) {
                    user.extra.entry(crate::impersonation::unescape(key)).or_default().push(text(value));
                }
            }
        }
        Some(user.authenticated())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_name_a_user() {
        let mut map = HeaderMap::new();
        assert_eq!(Headers::default().user(&map), None);
        for (name, value) in [
            ("x-remote-user", "jane"),
            ("x-remote-uid", "7"),
            ("x-remote-group", "dev"),
            ("x-remote-group", "ops"),
            ("x-remote-extra-example.com%2fscope", "a"),
        ] {
            map.append(name, value.parse().unwrap());
        }
        let user = Headers::default().user(&map).unwrap();
        assert_eq!((user.username.as_str(), user.uid.as_str()), ("jane", "7"));
        assert_eq!(user.groups, ["dev", "ops", "system:authenticated"]);
        assert_eq!(user.extra["example.com/scope"], ["a"]);
    }
}
