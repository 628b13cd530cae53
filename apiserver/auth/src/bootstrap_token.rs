//! Bootstrap tokens: `abcdef.0123456789abcdef`, kept as Secrets in kube-system, for machines that are to join
//! (upstream `plugin/pkg/auth/authenticator/token/bootstrap`).

use crate::user::UserInfo;
use base64::Engine;
use jiff::Timestamp;
use serde_json::Value;

/// The type of the Secrets.
pub const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
/// Where they are.
pub const NAMESPACE: &str = "kube-system";
/// The group every such token is in; further ones begin with it.
const GROUP: &str = "system:bootstrappers";

/// A token's id and secret; `None`: it has another form, and is somebody else's to judge.
#[must_use]
pub fn split(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let plain = |text: &str| text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    (id.len() == 6 && secret.len() == 16 && plain(id) && plain(secret)).then_some((id, secret))
}

/// The name of a token's Secret.
#[must_use]
pub fn secret_name(id: &str) -> String {
    format!("bootstrap-token-{id}")
}

/// The user of a token, judged by its Secret.
///
/// # Errors
/// Why the token is refused; for the log, never for the client.
pub fn user(object: &Value, id: &str, secret: &str, now: Timestamp) -> Result<UserInfo, &'static str> {
    let field = |name: &str| {
        let text = object["data"][name].as_str()?;
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
        String::from_utf8(bytes).ok()
    };
    if !object["metadata"]["deletionTimestamp"].is_null() {
        return Err("the token's secret is being deleted");
    }
    if object["type"] != SECRET_TYPE {
        return Err("the token's secret is of another type");
    }
    // The time this takes must not tell how much of the secret was right.
    if !equal(field("token-secret").unwrap_or_default().as_bytes(), secret.as_bytes()) {
        return Err("the token does not match");
    }
    if field("token-id").as_deref() != Some(id) {
        return Err("the token's secret has another id");
    }
    let ends = field("expiration").filter(|text| !text.is_empty());
    if ends
        .is_some_and(|text| text.parse::<Timestamp>().is_ok_and(|end| end < now) || text.parse::<Timestamp>().is_err())
    {
        return Err("the token has expired");
    }
    if field("usage-bootstrap-authentication").as_deref() != Some("true") {
        return Err("the token is not for authentication");
    }
    let extra = field("auth-extra-groups").unwrap_or_default();
    let mut groups: Vec<String> =
        extra.split(',').map(str::trim).filter(|group| !group.is_empty()).map(str::to_owned).collect();
    if !groups.iter().all(|group| is_group(group)) {
        return Err("the token's groups are not those of bootstrappers");
    }
    groups.sort();
    groups.dedup();
    groups.push(GROUP.to_owned());
    Ok(UserInfo::new(format!("system:bootstrap:{id}"), groups).authenticated())
}

/// `system:bootstrappers:…`
fn is_group(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(GROUP).and_then(|rest| rest.strip_prefix(':')) else { return false };
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, ':' | '-');
    let end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    rest.len() <= 256 && rest.chars().all(inner) && rest.ends_with(end)
}

fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn forms() {
        assert_eq!(split("abcdef.0123456789abcdef"), Some(("abcdef", "0123456789abcdef")));
        for wrong in ["abcdef.0123456789abcde", "ABCDEF.0123456789abcdef", "abcdef", "a.b.c", ""] {
            assert_eq!(split(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn tokens() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let secret = |changes: Value| {
            let mut data = json!({ "token-id": "abcdef", "token-secret": "0123456789abcdef",
                "usage-bootstrap-authentication": "true", "auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token" });
            data.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            let encode =
                |value: &Value| json!(base64::engine::general_purpose::STANDARD.encode(value.as_str().unwrap()));
            let data: serde_json::Map<String, Value> =
                data.as_object().unwrap().iter().map(|(name, value)| (name.clone(), encode(value))).collect();
            json!({ "metadata": {}, "type": SECRET_TYPE, "data": data })
        };
        let judge = |changes| user(&secret(changes), "abcdef", "0123456789abcdef", now);
        let good = judge(json!({})).unwrap();
        assert_eq!(good.username, "system:bootstrap:abcdef");
        assert_eq!(
            good.groups,
            ["system:bootstrappers:kubeadm:default-node-token", "system:bootstrappers", "system:authenticated"]
        );
        assert!(judge(json!({ "expiration": "2027-01-01T00:00:00Z" })).is_ok());
        for bad in [
            json!({ "expiration": "2025-01-01T00:00:00Z" }),
            json!({ "expiration": "soon" }),
            json!({ "token-secret": "0123456789abcdeX" }),
            json!({ "token-id": "aaaaaa" }),
            json!({ "usage-bootstrap-authentication": "false" }),
            json!({ "auth-extra-groups": "system:masters" }),
        ] {
            assert!(judge(bad.clone()).is_err(), "{bad}");
        }
    }
}
