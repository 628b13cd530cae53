//! `Impersonate-*` headers: whom a request wants to act as, and what the real user must be allowed for that.
//!
//! Follows upstream's impersonation filter: every user, group, uid and extra value is a check of its own with the verb
//! `impersonate`; a service account is checked as a `serviceaccounts` resource in its namespace.

use crate::request::Resource;
use crate::serviceaccount;
use crate::user::{ANONYMOUS, UNAUTHENTICATED, UserInfo};
use http::HeaderMap;

/// The verb all checks are about.
pub const VERB: &str = "impersonate";

const USER: &str = "impersonate-user";
const UID: &str = "impersonate-uid";
const GROUP: &str = "impersonate-group";
const EXTRA: &str = "impersonate-extra-";
const AUTHENTICATION_GROUP: &str = "authentication.k8s.io";
const AUTHENTICATION_VERSION: &str = "authentication.k8s.io/v1";

/// Somebody's groups, extras or uid are asked for, but nobody's name; what is asked for is shown as Go shows its references to it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("requested [{0}] without impersonating a user")]
pub struct NoUser(String);

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

    /// An ObjectReference (kind, namespace, name, uid, version, resource version, field path) as Go prints it.
    fn shown(&self) -> String {
        let (kind, version) = match self.resource {
            "serviceaccounts" => ("ServiceAccount", ""),
            "users" => ("User", ""),
            "groups" => ("Group", ""),
            "uids" => ("UID", AUTHENTICATION_VERSION),
            _ => ("UserExtra", AUTHENTICATION_VERSION),
        };
        let Self { namespace, name, subresource, .. } = self;
        format!("{{{kind} {namespace} {name}  {version}  {subresource}}}")
    }

    pub fn resource(&self) -> Resource<'_> {
        let Self { group, resource, subresource, namespace, name } = self;
        Resource { group, resource, subresource, namespace, name }
    }
}

/// Reads the headers; `None` when nobody is to be impersonated.
///
/// # Errors
/// [`NoUser`]: the request is to be refused.
pub fn requested(headers: &HeaderMap) -> Result<Option<Impersonation>, NoUser> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let first = |name: &str| headers.get(name).map(text).unwrap_or_default();
    let groups = headers.get_all(GROUP).iter().map(text).collect();
    let mut user = UserInfo { username: first(USER), uid: first(UID), groups, ..UserInfo::default() };
    for (name, value) in headers {
        if let Some(key) = name.as_str().strip_prefix(EXTRA) {
            user.extra.entry(unescape(key)).or_default().push(text(value));
        }
    }
    let checks = checks(&user);
    match (user.username.is_empty(), checks.is_empty()) {
        (true, true) => Ok(None),
        (true, false) => Err(NoUser(checks.iter().map(Check::shown).collect::<Vec<_>>().join(" "))),
        (false, _) => Ok(Some(Impersonation { user: complete(user), checks })),
    }
}

fn checks(user: &UserInfo) -> Vec<Check> {
    let mut checks = Vec::new();
    match serviceaccount::split_username(&user.username) {
        Some((namespace, name)) => {
            checks.push(Check { namespace: namespace.into(), ..Check::new("", "serviceaccounts", name) });
        }
        None if user.username.is_empty() => {}
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
    if user.username != ANONYMOUS {
        return user.authenticated();
    }
    if !user.in_group(UNAUTHENTICATED) {
        user.groups.push(UNAUTHENTICATED.into());
    }
    user
}

/// Percent-decodes a header name's tail; where something in it is no valid escape, all of it stays as it is.
fn unescape(key: &str) -> String {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = (*first == b'%')
            .then(|| tail.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()))
            .flatten();
        if *first == b'%' && escaped.is_none() {
            return key.to_owned();
        }
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::user::AUTHENTICATED;

    fn of(headers: &[(&'static str, &'static str)]) -> Result<Option<Impersonation>, NoUser> {
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
        let both = of(&[("Impersonate-User", ANONYMOUS), ("Impersonate-Group", AUTHENTICATED)]).unwrap().unwrap();
        assert_eq!(both.user.groups, [AUTHENTICATED, UNAUTHENTICATED]);
        let no_account = of(&[("Impersonate-User", "system:serviceaccount:WEB:bot")]).unwrap().unwrap();
        assert_eq!(no_account.checks, [Check::new("", "users", "system:serviceaccount:WEB:bot")]);
    }

    #[test]
    fn a_user_is_needed() {
        for (header, shown) in [
            (("Impersonate-Group", "dev"), "{Group  dev    }"),
            (("Impersonate-Extra-a", "b"), "{UserExtra  b  authentication.k8s.io/v1  a}"),
            (("Impersonate-Uid", "b"), "{UID  b  authentication.k8s.io/v1  }"),
        ] {
            let error = of(&[header]).unwrap_err().to_string();
            assert_eq!(error, format!("requested [{shown}] without impersonating a user"));
        }
    }

    #[test]
    fn escapes() {
        for (raw, plain) in
            [("a", "a"), ("a%2fb", "a/b"), ("a%", "a%"), ("%2", "%2"), ("%41%zz", "%41%zz"), ("%ff", "%ff")]
        {
            assert_eq!(unescape(raw), plain);
        }
    }
}
