//! ConfigMaps, Secrets, ServiceAccounts, quotas and limit ranges.

use base64::Engine;
use serde_json::Value;

use super::super::json::Json;
use super::super::validate;
use super::super::{Strategy, WarnedAgain};
use super::WITH_STATUS;

pub const CONFIG_MAP: Strategy = Strategy {
    validate: Some(validate::config::config_map),
    validate_update: Some(validate::config::config_map_update),
    ..Strategy::PLAIN
};

pub const SECRET: Strategy = Strategy {
    default: Some(default_secret),
    validate: Some(validate::config::secret),
    warnings: Some(validate::config::secret_warnings),
    validate_update: Some(validate::config::secret_update),
    ..Strategy::PLAIN
};

pub const SERVICE_ACCOUNT: Strategy = Strategy {
    prepare_create: Some(only_names),
    prepare_update: Some(|object, _| only_names(object)),
    warned_of_new: Some(mountable_secrets),
    ..Strategy::PLAIN
};

pub const RESOURCE_QUOTA: Strategy = Strategy {
    validate: Some(validate::quota::resource_quota),
    validate_update: Some(validate::quota::update),
    validate_path: &[("status", validate::quota::status)],
    warnings: Some(validate::quota::warnings),
    warned_again: WarnedAgain::Never,
    ..WITH_STATUS
};

pub const LIMIT_RANGE: Strategy = Strategy {
    create_on_update: true,
    default: Some(default_limit_range),
    validate: Some(validate::limit_range::limit_range),
    ..Strategy::PLAIN
};

/// Of its Secrets an account knows the names alone.
/// An annotation that is on its way out.
fn mountable_secrets(account: &Value, old: Option<&Value>) -> Vec<String> {
    const ANNOTATION: &str = "kubernetes.io/enforce-mountable-secrets";
    let annotated = |account: &Value| account.entries("metadata.annotations").contains_key(ANNOTATION);
    if !annotated(account) || old.is_some_and(annotated) {
        return Vec::new();
    }
    let why = "deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets";
    vec![format!("metadata.annotations[{ANNOTATION}]: {why}")]
}

fn only_names(account: &mut Value) {
    for secret in account.list_mut("secrets") {
        let name = secret.text("name").to_owned();
        *secret = serde_json::json!({ "name": name });
    }
}

/// `stringData` is write-only: it is folded into `data` and never stored.
fn default_secret(secret: &mut Value) {
    secret.default_to("type", "Opaque");
    let plain = secret.entries("stringData").clone();
    secret.remove("stringData");
    if plain.is_empty() {
        return;
    }
    let mut data = secret.entries("data").clone();
    for (key, value) in plain {
        let text = value.as_str().unwrap_or_default();
        data.insert(key, base64::engine::general_purpose::STANDARD.encode(text).into());
    }
    secret.put("data", data);
}

/// For containers, a maximum is also the default limit, and that the default request; a minimum is a default request too.
fn default_limit_range(object: &mut Value) {
    for item in object.list_mut("spec.limits") {
        if item.text("type") != "Container" {
            continue;
        }
        for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
            let source = item.entries(from).clone();
            if source.is_empty() {
                continue;
            }
            let mut target = item.entries(to).clone();
            for (name, quantity) in source {
                target.entry(name).or_insert(quantity);
            }
            item.put(to, target);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn string_data_becomes_data() {
        let mut s = json!({"data": {"a": "YQ==", "b": "Yg=="}, "stringData": {"b": "x"}});
        default_secret(&mut s);
        assert_eq!(s, json!({"type": "Opaque", "data": {"a": "YQ==", "b": "eA=="}}));
    }

    #[test]
    fn limits_follow_from_each_other() {
        let mut r = json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}}]}});
        default_limit_range(&mut r);
        assert_eq!(
            r["spec"]["limits"][0],
            json!({"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}, "default": {"cpu": "2"},
                "defaultRequest": {"cpu": "2", "memory": "1Mi"}})
        );
    }
}
