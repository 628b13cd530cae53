//! Users named by a proxy in front of this server, in headers that count only from a proxy with the right certificate
//! (`apiserver/pkg/authentication/request/headerrequest`).

use crate::user::UserInfo;
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

/// The headers, as flags name them.
#[derive(Clone, Debug)]
pub struct RequestHeaders {
    /// Common names of proxies; empty: any that the authority vouches for.
    pub allowed_names: Vec<String>,
    pub username: Vec<String>,
    pub uid: Vec<String>,
    pub group: Vec<String>,
    pub extra_prefix: Vec<String>,
}

impl RequestHeaders {
    /// Whether a proxy with this common name is believed.
    #[must_use]
    pub fn believes(&self, name: &str) -> bool {
        self.allowed_names.is_empty() || self.allowed_names.iter().any(|have| have == name)
    }

    /// The user the headers name, if they do.
    #[must_use]
    pub fn user(&self, headers: &HeaderMap) -> Option<UserInfo> {
        let values = |names: &[String]| -> Vec<String> {
            let all = names.iter().flat_map(|name| headers.get_all(name.trim()));
            let all = all.filter_map(|value| value.to_str().ok());
            all.filter(|value| !value.is_empty()).map(str::to_owned).collect()
        };
        let mut user = UserInfo::new(values(&self.username).into_iter().next()?, values(&self.group));
        user.uid = values(&self.uid).into_iter().next().unwrap_or_default();
        for prefix in &self.extra_prefix {
            let prefix = prefix.to_ascii_lowercase();
            for (name, value) in headers {
                let (Some(key), Ok(value)) = (name.as_str().strip_prefix(&prefix), value.to_str()) else { continue };
                user.extra.entry(unescape(key)).or_default().push(value.to_owned());
            }
        }
        Some(user)
    }
}

/// Names `user` to a server behind this one; what a client sent of that kind goes (`transport.SetAuthProxyHeaders`).
pub fn name_user(headers: &mut HeaderMap, user: &UserInfo) {
    let own = |name: &HeaderName| name.as_str().starts_with("x-remote-");
    let sent: Vec<HeaderName> = headers.keys().filter(|name| own(name)).cloned().collect();
    sent.iter().for_each(|name| while headers.remove(name).is_some() {});
    let mut put = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.append(name, value);
        }
    };
    put(HeaderName::from_static("x-remote-user"), &user.username);
    for group in &user.groups {
        put(HeaderName::from_static("x-remote-group"), group);
    }
    for (key, values) in &user.extra {
        let Ok(name) = HeaderName::try_from(format!("x-remote-extra-{}", escape(key))) else { continue };
        values.iter().for_each(|value| put(name.clone(), value));
    }
}

/// What may not stand in a header's name is written as in a URL.
fn escape(key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte);
    key.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn unescape(key: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = key.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = std::str::from_utf8(tail.get(..2).unwrap_or_default()).ok();
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags() -> RequestHeaders {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        RequestHeaders {
            allowed_names: words(&["front"]),
            username: words(&["X-Remote-User"]),
            uid: Vec::new(),
            group: words(&["X-Remote-Group"]),
            extra_prefix: words(&["X-Remote-Extra-"]),
        }
    }

    #[test]
    fn what_is_said_is_heard() {
        let mut user = UserInfo::new("jane", ["a", "b"]);
        user.extra.insert("example.com/scope".to_owned(), vec!["x".to_owned(), "y".to_owned()]);
        let mut headers = HeaderMap::new();
        headers.insert("x-remote-user", HeaderValue::from_static("admin"));
        headers.insert("x-remote-group", HeaderValue::from_static("system:masters"));
        name_user(&mut headers, &user);
        assert_eq!(flags().user(&headers), Some(user));
    }

    #[test]
    fn nobody_is_named_without_a_name() {
        let mut headers = HeaderMap::new();
        headers.insert("x-remote-group", HeaderValue::from_static("system:masters"));
        assert_eq!(flags().user(&headers), None);
        assert!(flags().believes("front") && !flags().believes("other"));
    }
}
