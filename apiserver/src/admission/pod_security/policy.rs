//! Which level a namespace's labels ask for (`pod-security-admission/api/helpers.go`).

use std::fmt;

use schema::field::{Error, ErrorList, Path};
use serde_json::Value;

const PREFIX: &str = "pod-security.kubernetes.io/";

/// How strict: the order is that of strictness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "privileged" => Some(Self::Privileged),
            "baseline" => Some(Self::Baseline),
            "restricted" => Some(Self::Restricted),
            _ => None,
        }
    }
}

/// The minor version of Kubernetes whose rules hold; `None` is the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version(pub Option<u32>);

impl Version {
    fn parse(text: &str) -> Option<Self> {
        if text == "latest" {
            return Some(Self(None));
        }
        let digits = text.strip_prefix("v1.")?;
        let canonical = !digits.is_empty()
            && digits.bytes().all(|digit| digit.is_ascii_digit())
            && (digits == "0" || !digits.starts_with('0'));
        canonical.then(|| digits.parse().ok()).flatten().map(|minor| Self(Some(minor)))
    }
}

/// `restricted:latest`, `baseline:v1.25`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standard {
    pub level: Level,
    pub version: Version,
}

impl Standard {
    const PRIVILEGED: Self = Self { level: Level::Privileged, version: Version(None) };
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        match self.version.0 {
            Some(minor) => write!(f, "{level}:v1.{minor}"),
            None => write!(f, "{level}:latest"),
        }
    }
}

/// What a namespace wants of its pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    pub enforce: Standard,
    pub audit: Standard,
    pub warn: Standard,
}

impl Policy {
    /// The policy of a namespace's labels, and what is wrong with them. A level that cannot be read is enforced as the
    /// strictest, but neither audited nor warned of.
    #[must_use]
    pub fn of(labels: &Value) -> (Self, ErrorList) {
        let mut policy =
            Self { enforce: Standard::PRIVILEGED, audit: Standard::PRIVILEGED, warn: Standard::PRIVILEGED };
        let mut errors = ErrorList::new();
        let mut enforced = false;
        let (mut warn_level, mut warn_version) = (false, false);
        for mode in ["enforce", "audit", "warn"] {
            let standard = match mode {
                "enforce" => &mut policy.enforce,
                "audit" => &mut policy.audit,
                _ => &mut policy.warn,
            };
            let mut wrong = |label: &str, value: &str, why: &str| {
                errors.push(Error::invalid(&Path::new("metadata").child("labels").key(label), value, why));
            };
            let label = format!("{PREFIX}{mode}");
            if let Some(text) = labels[&label].as_str() {
                let parsed = Level::parse(text);
                let otherwise = if mode == "enforce" { Level::Restricted } else { Level::Privileged };
                standard.level = parsed.unwrap_or(otherwise);
                enforced |= mode == "enforce" && parsed.is_some();
                warn_level |= mode == "warn";
                if parsed.is_none() {
                    wrong(&label, text, "must be one of privileged, baseline, restricted");
                }
            }
            let label = format!("{PREFIX}{mode}-version");
            if let Some(text) = labels[&label].as_str() {
                let parsed = Version::parse(text);
                standard.version = parsed.unwrap_or(Version(None));
                warn_version |= mode == "warn";
                if parsed.is_none() {
                    wrong(&label, text, "must be \"latest\" or \"v1.x\"");
                }
            }
        }
        // What is enforced is warned of, too, for the sake of workloads whose pods will be refused later.
        if !warn_level && enforced && policy.enforce.level > policy.warn.level {
            policy.warn.level = policy.enforce.level;
            if !warn_version {
                policy.warn.version = policy.enforce.version;
            }
        }
        (policy, errors)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels() {
        let rows = [
            (json!({}), "privileged:latest privileged:latest privileged:latest", 0),
            (json!({ "enforce": "baseline" }), "baseline:latest privileged:latest baseline:latest", 0),
            (
                json!({ "enforce": "restricted", "enforce-version": "v1.20" }),
                "restricted:v1.20 privileged:latest restricted:v1.20",
                0,
            ),
            (
                json!({ "enforce": "restricted", "warn": "baseline" }),
                "restricted:latest privileged:latest baseline:latest",
                0,
            ),
            (json!({ "enforce": "strict" }), "restricted:latest privileged:latest privileged:latest", 1),
            (
                json!({ "audit": "strict", "audit-version": "1.20" }),
                "privileged:latest privileged:latest privileged:latest",
                2,
            ),
            (json!({ "audit-version": "v1.05" }), "privileged:latest privileged:latest privileged:latest", 1),
        ];
        for (short, expected, wrong) in rows {
            let labels: serde_json::Map<String, Value> =
                short.as_object().unwrap().iter().map(|(k, v)| (format!("{PREFIX}{k}"), v.clone())).collect();
            let (policy, errors) = Policy::of(&Value::Object(labels));
            assert_eq!(format!("{} {} {}", policy.enforce, policy.audit, policy.warn), expected, "{short}");
            assert_eq!(errors.len(), wrong, "{short}");
        }
        let (_, errors) = Policy::of(&json!({ "pod-security.kubernetes.io/enforce": "strict" }));
        assert_eq!(
            errors[0].to_string(),
            "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strict\": must be one of privileged, baseline, restricted"
        );
    }
}
