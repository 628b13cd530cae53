//! ConfigMaps and Secrets.

use base64::Engine;
use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::Value;

use super::super::json::Json;
use super::{immutable, named, same};

/// Data of a ConfigMap or Secret altogether.
const MAX_SIZE: usize = 1024 * 1024;

#[must_use]
pub fn config_map(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut size = 0;
    for (key, value) in object.entries("data") {
        let path = Path::new("data").key(key);
        named(&mut errors, &path, key, names::config_map_key);
        if object.entries("binaryData").contains_key(key) {
            errors.push(Error::invalid(&path, key.as_str(), "duplicate of key present in binaryData"));
        }
        size += value.as_str().map_or(0, str::len);
    }
    for (key, value) in object.entries("binaryData") {
        named(&mut errors, &Path::new("binaryData").key(key), key, names::config_map_key);
        size += decoded_len(value);
    }
    if size > MAX_SIZE {
        errors.push(Error::too_long(&super::unnamed(), MAX_SIZE));
    }
    errors
}

fn decoded_len(value: &Value) -> usize {
    let text = value.as_str().unwrap_or_default();
    base64::engine::general_purpose::STANDARD.decode(text).map_or(text.len(), |bytes| bytes.len())
}

#[must_use]
pub fn config_map_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    frozen(&mut errors, new, old, &["data", "binaryData"]);
    errors
}

/// `immutable: true` is for ever.
fn frozen(errors: &mut ErrorList, new: &Value, old: &Value, fields: &[&str]) {
    const DETAIL: &str = "field is immutable when `immutable` is set";
    if !old.yes("immutable") {
        return;
    }
    if !new.yes("immutable") {
        errors.push(Error::forbidden(&Path::new("immutable"), DETAIL));
    }
    for field in fields {
        if !same(new.at(field), old.at(field)) {
            errors.push(Error::forbidden(&Path::new(field), DETAIL));
        }
    }
}

#[must_use]
pub fn secret(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let data = Path::new("data");
    let mut size = 0;
    for (key, value) in object.entries("data") {
        named(&mut errors, &data.key(key), key, names::config_map_key);
        size += decoded_len(value);
    }
    if size > MAX_SIZE {
        errors.push(Error::too_long(&data, MAX_SIZE));
    }
    let has = |key: &str| object.entries("data").contains_key(key);
    match object.text("type") {
        "kubernetes.io/service-account-token" => {
            let account = object.entries("metadata.annotations").get("kubernetes.io/service-account.name");
            if account.and_then(Value::as_str).unwrap_or_default().is_empty() {
                let path = Path::new("metadata").child("annotations").key("kubernetes.io/service-account.name");
                errors.push(Error::required(&path, ""));
            }
        }
        "kubernetes.io/tls" => {
            for key in ["tls.crt", "tls.key"].into_iter().filter(|key| !has(key)) {
                errors.push(Error::required(&data.key(key), ""));
            }
        }
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
            errors.push(Error::required(&data.key("username"), ""));
            errors.push(Error::required(&data.key("password"), ""));
        }
        "kubernetes.io/ssh-auth" if !has("ssh-privatekey") => {
            errors.push(Error::required(&data.key("ssh-privatekey"), ""));
        }
        "kubernetes.io/dockercfg" => json_key(&mut errors, object, ".dockercfg"),
        "kubernetes.io/dockerconfigjson" => json_key(&mut errors, object, ".dockerconfigjson"),
        _ => {}
    }
    errors
}

fn json_key(errors: &mut ErrorList, secret: &Value, key: &str) {
    let path = Path::new("data").key(key);
    let Some(value) = secret.entries("data").get(key) else {
        errors.push(Error::required(&path, ""));
        return;
    };
    let bytes = base64::engine::general_purpose::STANDARD.decode(value.as_str().unwrap_or_default());
    if let Some(error) = not_a_map(&bytes.unwrap_or_default()) {
        // The content is a secret and stays out of the message.
        errors.push(Error::invalid(&path, "<secret contents redacted>", error));
    }
}

/// Why a text is no JSON object, in the words of Go's decoder.
fn not_a_map(text: &[u8]) -> Option<String> {
    let found = match serde_json::from_slice::<Value>(text) {
        Ok(Value::Object(_) | Value::Null) => return None,
        Ok(other) => schema::decode::go_kind(&other),
        Err(error) if error.is_eof() => return Some("unexpected end of JSON input".to_owned()),
        Err(error) => {
            // Columns count from one, and lie behind what was read.
            let lines = text.split_inclusive(|byte| *byte == b'\n').take(error.line().saturating_sub(1));
            let at = lines.map(<[u8]>::len).sum::<usize>() + error.column().saturating_sub(1);
            let wrong = char::from(text.get(at).copied().unwrap_or_default());
            let first = text.iter().all(|byte| byte.is_ascii_whitespace()) || text[..at].trim_ascii().is_empty();
            let place = if first { "looking for beginning of value" } else { "after top-level value" };
            return Some(format!("invalid character '{wrong}' {place}"));
        }
    };
    Some(format!("json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"))
}

/// A certificate without its key.
#[must_use]
pub fn secret_warnings(secret: &Value) -> Vec<String> {
    if secret.text("type") != "kubernetes.io/tls" {
        return Vec::new();
    }
    let data = |key: &str| {
        let text = secret.entries("data").get(key).and_then(Value::as_str).unwrap_or_default();
        base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default()
    };
    auth::key_pair::complaint(&data("tls.crt"), &data("tls.key")).into_iter().collect()
}

#[must_use]
pub fn secret_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    immutable(&mut errors, &Path::new("type"), new.at("type"), old.at("type"));
    frozen(&mut errors, new, old, &["data"]);
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::texts;
    use super::*;

    #[test]
    fn keys_and_immutability() {
        let old = json!({"data": {"a": "1"}, "immutable": true});
        let new = json!({"data": {"a": "2"}});
        assert_eq!(
            texts(&config_map_update(&new, &old)),
            [
                "immutable: Forbidden: field is immutable when `immutable` is set",
                "data: Forbidden: field is immutable when `immutable` is set"
            ]
        );
        let bad = texts(&config_map(&json!({"data": {"a/b": ""}})));
        assert!(bad[0].starts_with("data[a/b]: Invalid value: \"a/b\": a valid config key"), "{bad:?}");
    }

    #[test]
    fn secrets_by_type() {
        assert_eq!(
            texts(&secret(&json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}))),
            ["data[tls.key]: Required value"]
        );
        assert_eq!(
            texts(&secret_update(&json!({"type": "b"}), &json!({"type": "a"}))),
            ["type: Invalid value: \"b\": field is immutable"]
        );
    }
}
