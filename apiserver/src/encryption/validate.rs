//! Whether an EncryptionConfiguration makes sense (`pkg/apis/apiserver/validation/validation_encryption.go`).

use std::collections::HashSet;

use schema::field::{Error, ErrorList, Path};
use serde_json::Value;

use super::config::{Configuration, Key, Keys, Kms, Provider};
use super::resource::GroupResource;

/// Bytes of keys.
const AES: &[usize] = &[16, 24, 32];
const SECRETBOX: &[usize] = &[32];

/// Stored without being resources.
const NO_RESOURCES: [&str; 3] = ["apiserveripinfo", "serviceipallocations", "servicenodeportallocations"];

/// All that is wrong, in upstream's words and order. `reload`: the file will be read again when it changes.
#[must_use]
pub fn validate(configuration: &Configuration, reload: bool) -> ErrorList {
    let root = Path::new("resources");
    if configuration.resources.is_empty() {
        return vec![at_least_one(&root)];
    }
    let mut errors = ErrorList::new();
    let mut plugins = HashSet::new();
    for (index, rule) in configuration.resources.iter().enumerate() {
        let (resources, providers) = (root.index(index).child("resources"), root.index(index).child("providers"));
        if rule.resources.is_empty() {
            errors.push(at_least_one(&resources));
        }
        overlap(&rule.resources, &resources, &mut errors);
        names(&rule.resources, &resources, &mut errors);
        if rule.providers.is_empty() {
            errors.push(at_least_one(&providers));
        }
        for (index, provider) in rule.providers.iter().enumerate() {
            one_provider(provider, &providers.index(index), reload, &mut plugins, &mut errors);
        }
    }
    errors
}

fn at_least_one(path: &Path) -> Error {
    Error::required(path, format!("at least one {path} is required"))
}

fn overlap(resources: &[String], path: &Path, errors: &mut ErrorList) {
    let parsed: Vec<_> = resources.iter().map(|resource| GroupResource::parse(resource)).collect();
    let shown = || Value::from(resources);
    let pairs = || {
        let others = |index: usize| parsed.iter().enumerate().filter(move |(other, _)| *other != index);
        parsed.iter().enumerate().flat_map(move |(index, one)| others(index).map(move |(_, other)| (one, other)))
    };
    let duplicates = pairs().filter(|(one, other)| one == other).count();
    if duplicates > 0 {
        errors.push(Error::invalid(path, shown(), "the same resource cannot be specified multiple times"));
    }
    // The first pair of equals is told as such alone.
    let mut first = true;
    let hides = |(one, other): (&GroupResource<'_>, &GroupResource<'_>)| {
        if one == other && std::mem::replace(&mut first, false) {
            return false;
        }
        one.is_everything() || (one.group == other.group && (one.resource == "*" || other.resource == "*"))
    };
    if pairs().any(hides) {
        let why = "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be \
                   masked";
        errors.push(Error::invalid(path, shown(), why));
    }
}

fn names(resources: &[String], path: &Path, errors: &mut ErrorList) {
    for (index, name) in resources.iter().enumerate() {
        let GroupResource { group, resource } = GroupResource::parse(name);
        let why = if name.to_lowercase() != *name {
            "resource name should not contain capital letters"
        } else if name == "*" {
            "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources"
        } else if NO_RESOURCES.contains(&name.as_str()) {
            "resources which do not have REST API/s cannot be encrypted"
        } else if group == "events.k8s.io" {
            "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file"
        } else if group == "extensions" {
            "'extensions' group has been removed and cannot be used for encryption"
        } else if group == "*" && resource != "*" {
            "encrypting the same resource across groups is not supported"
        } else {
            continue;
        };
        errors.push(Error::invalid(&path.index(index), name.as_str(), why));
    }
}

fn one_provider<'a>(
    provider: &'a Provider,
    path: &Path,
    reload: bool,
    plugins: &mut HashSet<&'a str>,
    errors: &mut ErrorList,
) {
    let Provider { aesgcm, aescbc, secretbox, identity, kms } = provider;
    let given = [kms.is_some(), aesgcm.is_some(), aescbc.is_some(), secretbox.is_some(), identity.is_some()];
    let wrong = match given.into_iter().filter(|given| *given).count() {
        0 => Some("provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity"),
        1 => None,
        _ => Some("more than one provider specified in a single element, should split into different list elements"),
    };
    errors.extend(wrong.map(|why| Error::invalid_as(path, provider.shown(), why)));
    if let Some(kms) = kms {
        plugin(kms, &path.child("kms"), reload, plugins, errors);
        plugins.insert(&kms.name);
    } else if let Some((name, given, lengths)) =
        [("aesgcm", aesgcm, AES), ("aescbc", aescbc, AES), ("secretbox", secretbox, SECRETBOX)]
            .into_iter()
            .find_map(|(name, given, lengths)| Some((name, given.as_ref()?, lengths)))
    {
        keys(given, &path.child(name).child("keys"), lengths, errors);
    }
}

fn keys(keys: &Keys, path: &Path, lengths: &[usize], errors: &mut ErrorList) {
    let keys = keys.keys.as_deref().unwrap_or_default();
    if keys.is_empty() {
        errors.push(Error::required(path, "at least one keys is required"));
    }
    for (index, Key { name, secret }) in keys.iter().enumerate() {
        let path = path.index(index);
        if name.is_empty() {
            errors.push(Error::required(&path.child("name"), "name is a mandatory field for a key"));
        }
        let path = path.child("secret");
        let hidden = |why: String| Error::invalid(&path, "REDACTED", why);
        if secret.is_empty() {
            errors.push(Error::required(&path, "secret is a mandatory field for a key"));
        } else {
            match super::secret(secret) {
                Err(_) => errors.push(hidden("secrets must be base64 encoded".to_owned())),
                Ok(bytes) if !lengths.contains(&bytes.len()) => {
                    let expected = lengths.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
                    let got = bytes.len();
                    errors.push(hidden(format!(
                        "secret is not of the expected length, got {got}, expected one of [{expected}]"
                    )));
                }
                Ok(_) => {}
            }
        }
    }
}

fn plugin(kms: &Kms, path: &Path, reload: bool, known: &HashSet<&str>, errors: &mut ErrorList) {
    let Kms { api_version, name, cache_size, endpoint, timeout } = kms;
    let first = api_version == "v1";
    let at = path.child("name");
    if name.is_empty() {
        errors.push(Error::required(&at, "name is a mandatory field for a provider"));
    }
    if !first && name.contains(':') {
        let why = format!("invalid KMS provider name {name}, must not contain ':'");
        errors.push(Error::invalid(&at, name.as_str(), why));
    }
    if (reload || !first) && known.contains(name.as_str()) {
        let why = format!("duplicate KMS provider name {name}, names must be unique");
        errors.push(Error::invalid(&at, name.as_str(), why));
    }
    let timeout = timeout.as_deref().and_then(|text| schema::time::parse_duration(text).ok()).unwrap_or_default();
    if timeout <= 0 {
        let shown = schema::time::format_duration(timeout);
        errors.push(Error::invalid(&path.child("timeout"), shown, "timeout should be a positive value"));
    }
    let at = path.child("endpoint");
    if let Some(why) = unusable(endpoint) {
        errors.push(Error::invalid(&at, endpoint.as_str(), why));
    }
    let at = path.child("cachesize");
    match (first, cache_size) {
        (false, Some(size)) => errors.push(Error::invalid(&at, *size, "cachesize is not supported in v2")),
        (true, Some(0)) => {
            errors.push(Error::invalid(&at, 0, "cachesize should be a positive value, or negative to disable"));
        }
        _ => {}
    }
    if !first && api_version != "v2" {
        let why = "unsupported apiVersion apiVersion for KMS provider, only v1 and v2 are supported";
        errors.push(Error::invalid(&path.child("apiVersion"), api_version.as_str(), why));
    }
}

/// What is wrong with a plugin's address.
fn unusable(endpoint: &str) -> Option<String> {
    if endpoint.is_empty() {
        return Some("endpoint is a mandatory field for a kms".to_owned());
    }
    if let Some(why) = cel::unreadable_url(endpoint) {
        return Some(format!("invalid endpoint for kms provider, error: {why}"));
    }
    let scheme = endpoint.split_once(':').map_or("", |(scheme, _)| scheme).to_lowercase();
    (scheme != "unix").then(|| format!("unsupported scheme {scheme:?} for KMS provider, only unix is supported"))
}
