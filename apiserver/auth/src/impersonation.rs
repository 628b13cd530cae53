//! `Impersonate-*` headers: whom a request wants to act as, and what the real user must be allowed for that.
//!
//! Follows upstream's impersonation filter: every user, group, uid and extra value is a check of its own with the verb
//! `impersonate`; a service account is checked as a `serviceaccounts` resource in its namespace.

use crate::request::Resource;
use crate::serviceaccount;
use crate::user::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, UserInfo};
use http::HeaderMap;

/// The verb all checks are about.
pub const VERB: &str = "impersonate";

const USER: &str = "impersonate-user";
const UID: &str = "impersonate-uid";
const GROUP: &str = "impersonate-group";
const EXTRA: &str = "impersonate-extra-";
const AUTHENTICATION_GROUP: &str = "authentication.k8s.io";

/// The headers make no sense.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ImpersonationError {
    #[error("requested {0} without impersonating a user")]
    NoUser(&'static str),
    #[error("header {0} is no text")]
    NoText(String),
}

/// Whom to act as once all checks have passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Impersonation {
    pub user: UserInfo,
    /// What the real user must be allowed to `impersonate`.
    pub checks: Vec<Check>,
}

/// One resource the real user needs the verb `impersonate` on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub group: &'static str,
    pub resource: &'static str,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
}

impl Check {
    fn new(group: &'static str, resource: &'static str, name: &str) -> Self {
        Self { group, resource, subresource: String::new(), namespace: String::new(), name: name.to_owned() }
    }

    pub fn resource(&self) -> Resource<'_> {
        let Self { group, resource, subresource, namespace, name } = self;
        Resource { group, resource, subresource, namespace, name }
    }
}

/// Reads the headers; `None` when nobody is to be impersonated.
///
/// # Errors
/// [`ImpersonationError`]: the request is to be refused.
pub fn requested(headers: &HeaderMap) -> Result<Option<Impersonation>, ImpersonationError> {
    let text = |name: &str, value: &http::HeaderValue| {
        value.to_str().map(str::to_owned).map_err(|_| ImpersonationError::NoText(name.to_owned()))
    };
    let first = |name: &str| headers.get(name).map(|value| text(name, value)).transpose();
    let username = first(USER)?.unwrap_or_default();
    let uid = first(UID)?.unwrap_or_default();
    let groups = headers.get_all(GROUP).iter().map(|value| text(GROUP, value)).collect::<Result<Vec<_>, _>>()?;
    let mut user = UserInfo { username, uid, groups, ..UserInfo::default() };
    for (name, value) in headers {
        if let Some(key) = name.as_str().strip_prefix(EXTRA) {
            let value = text(name.as_str(), value)?;
            user.extra.entry(unescape(key)).or_default().push(value);
        }
    }
    if user.username.is_empty() {
        return match (user.groups.is_empty(), user.extra.is_empty(), user.uid.is_empty()) {
            (true, true, true) => Ok(None),
            (false, ..) => Err(ImpersonationError::NoUser("groups")),
            (true, false, _) => Err(ImpersonationError::NoUser("extra")),
            (true, true, false) => Err(ImpersonationError::NoUser("uid")),
        };
    }
    let checks = checks(&user);
    Ok(Some(Impersonation { user: complete(user), checks }))
}

fn checks(user: &UserInfo) -> Vec<Check> {
    let mut checks = Vec::new();
    match serviceaccount::split_username(&user.username) {
        Some((namespace, name)) => {
            checks.push(Check { namespace: namespace.into(), ..Check::new("", "serviceaccounts", name) });
        }
        None => checks.push(Check::new("", "users", &user.username)),
    }
    checks.extend(user.groups.iter().map(|group| Check::new("", "groups", group)));
    for (key, values) in &user.extra {
        let check = |value: &String| Check {
            subresource: key.clone(),
            ..Check::new(AUTHENTICATION_GROUP, "userextras", value)
        };
        checks.extend(values.iter().map(check));
    }
    if !user.uid.is_empty() {
        checks.push(Check::new(AUTHENTICATION_GROUP, "uids", &user.uid));
    }
    checks
}

/// Adds the groups the user would have had by logging in.
fn complete(mut user: UserInfo) -> UserInfo {
    if let Some((namespace, _)) = serviceaccount::split_username(&user.username)
        && user.groups.is_empty()
    {
        user.groups = serviceaccount::groups(namespace);
    }
    let group = if user.username == ANONYMOUS { UNAUTHENTICATED } else { AUTHENTICATED };
    if !user.in_group(AUTHENTICATED) && !user.in_group(UNAUTHENTICATED) {
        user.groups.push(group.into());
    }
    user
}

/// Percent-decodes a header name's tail; what is no valid escape stays as it is.
fn unescape(key: &str) -> String {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = (*first == b'%')
            .then(|| tail.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()))
            .flatten();
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(headers: &[(&'static str, &'static str)]) -> Result<Option<Impersonation>, ImpersonationError> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        requested(&map)
    }

    #[test]
    fn users_groups_and_extras() {
        assert_eq!(of(&[("accept", "x")]), Ok(None));
        let found = of(&[
            ("Impersonate-User", "jane"),
            ("Impersonate-Group", "dev"),
            ("Impersonate-Group", "ops"),
            ("Impersonate-Extra-example.com%2Fscope", "view"),
            ("Impersonate-Uid", "7"),
        ])
        .unwrap()
        .unwrap();
        assert_eq!(found.user.groups, ["dev", "ops", AUTHENTICATED]);
        assert_eq!(found.user.extra["example.com/scope"], ["view"]);
        let checks: Vec<_> = found.checks.iter().map(|c| (c.group, c.resource, &*c.subresource, &*c.name)).collect();
        assert_eq!(
            checks,
            [
                ("", "users", "", "jane"),
                ("", "groups", "", "dev"),
                ("", "groups", "", "ops"),
                (AUTHENTICATION_GROUP, "userextras", "example.com/scope", "view"),
                (AUTHENTICATION_GROUP, "uids", "", "7"),
            ]
        );
    }

    #[test]
    fn service_accounts_get_their_groups() {
        let found = of(&[("Impersonate-User", "system:serviceaccount:web:bot")]).unwrap().unwrap();
        assert_eq!(found.user.groups, ["system:serviceaccounts", "system:serviceaccounts:web", AUTHENTICATED]);
        assert_eq!(found.checks, [Check { namespace: "web".into(), ..Check::new("", "serviceaccounts", "bot") }]);
        let anonymous = of(&[("Impersonate-User", ANONYMOUS)]).unwrap().unwrap();
        assert_eq!(anonymous.user.groups, [UNAUTHENTICATED]);
    }

    #[test]
    fn a_user_is_needed() {
        assert_eq!(of(&[("Impersonate-Group", "dev")]), Err(ImpersonationError::NoUser("groups")));
        assert_eq!(of(&[("Impersonate-Extra-a", "b")]), Err(ImpersonationError::NoUser("extra")));
        assert_eq!(of(&[("Impersonate-Uid", "b")]), Err(ImpersonationError::NoUser("uid")));
    }

    #[test]
    fn escapes() {
        for (raw, plain) in [("a", "a"), ("a%2fb", "a/b"), ("a%", "a%"), ("%2", "%2"), ("%zz", "%zz"), ("%ff", "%ff")] {
            assert_eq!(unescape(raw), plain);
        }
    }
}
