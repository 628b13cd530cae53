//! The plugins' own configuration (`--admission-control-config-file`, AdmissionConfiguration of apiserver.config.k8s.io/v1;
//! `apiserver/pkg/admission/config.go`): of PodSecurity, ResourceQuota,
//! EventRateLimit and ImagePolicyWebhook. It is read once, at the start.

use std::path::Path as File;

use anyhow::{Context, bail};
use quota::{Limited, Selector};
use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::Value;

use super::event_rate_limit::{EventRateLimit, Limit};
use super::image_policy::ImagePolicy;
use super::pod_security::{Exemptions, Policy};
use crate::app::text;
use crate::options::Options;

/// What the plugins are configured to do; by default nothing beyond what they always do.
#[derive(Default)]
pub struct Configuration {
    /// What namespaces that say nothing want.
    pub defaults: Policy,
    pub exemptions: Exemptions,
    /// What may only be consumed under a quota.
    pub limited: Vec<Limited>,
    /// Where the plugin is enabled.
    pub events: Option<EventRateLimit>,
    /// Where the plugin is enabled.
    pub images: Option<ImagePolicy>,
}

/// The versions and kinds that configurations come in.
const ADMISSION: &[(&str, &str)] = &[
    ("apiserver.config.k8s.io/v1", "AdmissionConfiguration"),
    ("apiserver.k8s.io/v1alpha1", "AdmissionConfiguration"),
];
const POD_SECURITY: &[(&str, &str)] = &[
    ("pod-security.admission.config.k8s.io/v1", "PodSecurityConfiguration"),
    ("pod-security.admission.config.k8s.io/v1beta1", "PodSecurityConfiguration"),
    ("pod-security.admission.config.k8s.io/v1alpha1", "PodSecurityConfiguration"),
];
const RESOURCE_QUOTA: &[(&str, &str)] = &[
    ("apiserver.config.k8s.io/v1", "ResourceQuotaConfiguration"),
    ("resourcequota.admission.k8s.io/v1beta1", "Configuration"),
    ("resourcequota.admission.k8s.io/v1alpha1", "Configuration"),
];
const EVENT_RATE_LIMIT: &[(&str, &str)] = &[("eventratelimit.admission.k8s.io/v1alpha1", "Configuration")];

impl Configuration {
    /// # Errors
    /// The file, or one that it names, cannot be read or says something wrong.
    pub fn load(options: &Options) -> anyhow::Result<Self> {
        let mut plugins = Vec::new();
        if let Some(path) = &options.admission_control_config_file {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("unable to read admission control configuration from {path:?}"))?;
            let file = parse(&text, ADMISSION).context("failed to read plugin config")?;
            plugins = entries(&file, path.parent().unwrap_or(File::new(".")))?;
        }
        let of = |name: &str| plugins.iter().find(|(known, _)| known == name).map_or("", |(_, text)| text.as_str());
        let mut this = Self::default();
        let failed = |name: &str| format!("couldn't init admission plugin {name:?}");
        this.pod_security(of("PodSecurity")).with_context(|| failed("PodSecurity"))?;
        this.limited = limited(of("ResourceQuota")).with_context(|| failed("ResourceQuota"))?;
        if options.plugin("EventRateLimit", false) {
            let limits = limits(of("EventRateLimit")).with_context(|| failed("EventRateLimit"))?;
            this.events = Some(EventRateLimit::new(limits));
        }
        if options.plugin("ImagePolicyWebhook", false) {
            let policy = ImagePolicy::configured(of("ImagePolicyWebhook"));
            this.images = Some(policy.with_context(|| failed("ImagePolicyWebhook"))?);
        }
        Ok(this)
    }

    fn pod_security(&mut self, text: &str) -> anyhow::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let value = parse(text, POD_SECURITY)?;
        only(&value, "", &["apiVersion", "kind", "defaults", "exemptions"])?;
        let modes = ["enforce", "enforce-version", "audit", "audit-version", "warn", "warn-version"];
        only(&value["defaults"], "defaults.", &modes)?;
        only(&value["exemptions"], "exemptions.", &["namespaces", "runtimeClasses", "usernames"])?;
        let (defaults, mut errors) = Policy::configured(&value["defaults"]);
        let exempt = |errors: &mut ErrorList, field: &str, check: &dyn Fn(&str) -> Vec<String>| {
            let at = Path::new("exemptions").child(field);
            let mut valid: Vec<String> = Vec::new();
            for (i, name) in strings(&value["exemptions"][field]).into_iter().enumerate() {
                let wrong = check(&name);
                if !wrong.is_empty() {
                    errors.push(Error::invalid(&at.index(i), name, wrong.join(", ")));
                } else if valid.contains(&name) {
                    errors.push(Error::duplicate(&at.index(i), name));
                } else {
                    valid.push(name);
                }
            }
            valid
        };
        self.defaults = defaults;
        self.exemptions = Exemptions {
            namespaces: exempt(&mut errors, "namespaces", &names::dns1123_label),
            runtime_classes: exempt(&mut errors, "runtimeClasses", &names::dns1123_subdomain),
            users: exempt(&mut errors, "usernames", &|name| {
                if name.is_empty() { vec!["username must not be empty".to_owned()] } else { Vec::new() }
            }),
        };
        aggregate(&errors)
    }
}

/// The plugins of the file, by name; a file that one names is relative to this one.
fn entries(file: &Value, folder: &File) -> anyhow::Result<Vec<(String, String)>> {
    only(file, "", &["apiVersion", "kind", "plugins"])?;
    let mut out = Vec::new();
    for (i, plugin) in file["plugins"].as_array().into_iter().flatten().enumerate() {
        only(plugin, &format!("plugins[{i}]."), &["name", "path", "configuration"])?;
        let (name, path) = (text(plugin, "/name").to_owned(), text(plugin, "/path"));
        let content = if !plugin["configuration"].is_null() {
            plugin["configuration"].to_string()
        } else if path.is_empty() {
            String::new()
        } else {
            let path = folder.join(path);
            std::fs::read_to_string(&path)
                .with_context(|| format!("couldn't open admission plugin configuration {}", path.display()))?
        };
        out.push((name, content));
    }
    Ok(out)
}

/// YAML or JSON of one of these kinds.
fn parse(text: &str, kinds: &[(&str, &str)]) -> anyhow::Result<Value> {
    let value: Value = serde_saphyr::from_str(text)?;
    let (version, kind) = (crate::app::text(&value, "/apiVersion"), crate::app::text(&value, "/kind"));
    if kind.is_empty() {
        bail!("Object 'Kind' is missing in '{value}'");
    }
    if version.is_empty() {
        bail!("Object 'apiVersion' is missing in '{value}'");
    }
    if !kinds.contains(&(version, kind)) {
        bail!("no kind {kind:?} is registered for version {version:?}");
    }
    Ok(value)
}

/// Nothing else is said than these fields.
fn only(value: &Value, prefix: &str, fields: &[&str]) -> anyhow::Result<()> {
    let unknown: Vec<String> = value
        .as_object()
        .into_iter()
        .flat_map(|object| object.keys())
        .filter(|name| !fields.contains(&name.as_str()))
        .map(|name| format!("unknown field {:?}", format!("{prefix}{name}")))
        .collect();
    anyhow::ensure!(unknown.is_empty(), "strict decoding error: {}", unknown.join(", "));
    Ok(())
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned)).collect()
}

/// Errors as upstream's aggregates print them.
fn aggregate(errors: &ErrorList) -> anyhow::Result<()> {
    let mut texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    match texts.len() {
        0 => Ok(()),
        1 => bail!(texts.remove(0)),
        _ => bail!("[{}]", texts.join(", ")),
    }
}

fn limited(text: &str) -> anyhow::Result<Vec<Limited>> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let value = parse(text, RESOURCE_QUOTA)?;
    only(&value, "", &["apiVersion", "kind", "limitedResources"])?;
    let (mut out, mut errors) = (Vec::new(), ErrorList::new());
    for (i, entry) in value["limitedResources"].as_array().into_iter().flatten().enumerate() {
        let prefix = format!("limitedResources[{i}].");
        only(entry, &prefix, &["apiGroup", "resource", "matchContains", "matchScopes"])?;
        let word = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
        if word("resource").is_empty() {
            errors.push(Error::required(&Path::new("limitedResources").index(i).child("resource"), ""));
        }
        let scopes = entry["matchScopes"].as_array().into_iter().flatten();
        out.push(Limited {
            group: word("apiGroup"),
            plural: word("resource"),
            contains: strings(&entry["matchContains"]),
            scopes: scopes.map(Selector::read).collect(),
        });
    }
    aggregate(&errors)?;
    Ok(out)
}

fn limits(text: &str) -> anyhow::Result<Vec<Limit>> {
    let value = if text.is_empty() { Value::Null } else { parse(text, EVENT_RATE_LIMIT)? };
    only(&value, "", &["apiVersion", "kind", "limits"])?;
    let (at, mut errors) = (Path::new("limits"), ErrorList::new());
    let list = value["limits"].as_array().cloned().unwrap_or_default();
    if list.is_empty() {
        errors.push(Error::invalid(&at, value["limits"].clone(), "must not be empty"));
    }
    let mut out = Vec::new();
    for (i, entry) in list.iter().enumerate() {
        only(entry, &format!("limits[{i}]."), &["type", "qps", "burst", "cacheSize"])?;
        let at = at.index(i);
        let number = |field: &str| entry[field].as_i64().unwrap_or(0);
        let limit = Limit::parse(crate::app::text(entry, "/type"), number("qps"), number("burst"), number("cacheSize"));
        if limit.is_none() {
            let kinds = ["Server", "Namespace", "User", "SourceAndObject"];
            errors.push(Error::not_supported(&at.child("type"), entry["type"].clone(), &kinds));
        }
        for field in ["burst", "qps"].into_iter().filter(|field| number(field) <= 0) {
            errors.push(Error::invalid(&at.child(field), number(field), "must be positive"));
        }
        if number("cacheSize") < 0 && entry["type"] != "Server" {
            errors.push(Error::invalid(&at.child("cacheSize"), number("cacheSize"), "must not be negative"));
        }
        out.extend(limit);
    }
    aggregate(&errors)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why<T>(result: anyhow::Result<T>) -> String {
        format!("{:#}", result.err().expect("it is wrong"))
    }

    #[test]
    fn what_is_wrong_with_pod_security() {
        let text = |rest: &str| {
            format!("apiVersion: pod-security.admission.config.k8s.io/v1\nkind: PodSecurityConfiguration\n{rest}")
        };
        let load = |rest: &str| Configuration::default().pod_security(&text(rest));
        assert!(load("defaults: {enforce: baseline, audit-version: v1.30}\nexemptions: {usernames: [a]}").is_ok());
        assert_eq!(
            why(load("defaults: {enforce: strict, warn-version: '1.2'}")),
            "[defaults.enforce: Invalid value: \"strict\": must be one of privileged, baseline, restricted, \
             defaults.warn-version: Invalid value: \"1.2\": must be \"latest\" or \"v1.x\"]"
        );
        assert_eq!(
            why(load("exemptions: {namespaces: [a, a], usernames: ['']}")),
            "[exemptions.namespaces[1]: Duplicate value: \"a\", \
             exemptions.usernames[0]: Invalid value: \"\": username must not be empty]"
        );
        assert_eq!(why(load("default: {}")), "strict decoding error: unknown field \"default\"");
        let other = Configuration::default().pod_security("apiVersion: v1\nkind: Pod");
        assert_eq!(why(other), "no kind \"Pod\" is registered for version \"v1\"");
    }

    #[test]
    fn what_is_wrong_with_quotas_and_limits() {
        let quota = "apiVersion: apiserver.config.k8s.io/v1\nkind: ResourceQuotaConfiguration\nlimitedResources: [{matchContains: [a]}]";
        assert_eq!(why(limited(quota)), "limitedResources[0].resource: Required value");
        assert_eq!(why(limits("")), "limits: Invalid value: null: must not be empty");
        let text = "apiVersion: eventratelimit.admission.k8s.io/v1alpha1\nkind: Configuration\nlimits: [{type: Odd, qps: 1, burst: 0}]";
        assert_eq!(
            why(limits(text)),
            "[limits[0].type: Unsupported value: \"Odd\": supported values: \"Server\", \"Namespace\", \"User\", \
             \"SourceAndObject\", limits[0].burst: Invalid value: 0: must be positive]"
        );
    }
}
