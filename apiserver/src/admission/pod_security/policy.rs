//! Which level a namespace's labels ask for (`pod-security-admission/api/helpers.go`).

use std::fmt;

use schema::field::{Error, ErrorList, Path};
use serde_json::Value;

const PREFIX: &str = "pod-security.kubernetes.io/";
const LEVELS: &str = "must be one of privileged, baseline, restricted";
const VERSIONS: &str = "must be \"latest\" or \"v1.x\"";

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

impl Default for Standard {
    fn default() -> Self {
        Self::PRIVILEGED
    }
}

/// What a namespace wants of its pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    pub enforce: Standard,
    pub audit: Standard,
    pub warn: Standard,
}

impl Policy {
    /// Whether every pod may be as it is, and so may its template; templates are not held to what is enforced.
    #[must_use]
    pub fn asks_nothing(&self, enforced: bool) -> bool {
        let free = |standard: Standard| standard.level == Level::Privileged;
        free(self.warn) && free(self.audit) && (!enforced || free(self.enforce))
    }

    /// The defaults of a configuration, and what is wrong with them.
    #[must_use]
    pub fn configured(defaults: &Value) -> (Self, ErrorList) {
        let (mut policy, mut errors) = (Self::default(), ErrorList::new());
        let path = Path::new("defaults");
        for mode in ["enforce", "warn", "audit"] {
            let standard = match mode {
                "enforce" => &mut policy.enforce,
                "audit" => &mut policy.audit,
                _ => &mut policy.warn,
            };
            let field = |name: &str| defaults[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
            if let Some(text) = field(mode) {
                match Level::parse(&text) {
                    Some(level) => standard.level = level,
                    None => errors.push(Error::invalid(&path.child(mode), text, LEVELS)),
                }
            }
            let version = format!("{mode}-version");
            if let Some(text) = field(&version) {
                match Version::parse(&text) {
                    Some(parsed) => standard.version = parsed,
                    None => errors.push(Error::invalid(&path.child(&version), text, VERSIONS)),
                }
            }
        }
        (policy, errors)
    }

    fn is_privileged(&self) -> bool {
        [self.enforce, self.audit, self.warn].iter().all(|standard| standard.level == Level::Privileged)
    }

    /// What is said of a namespace that is exempt, and asks for something by its labels all the same.
    #[must_use]
    pub fn ignored(&self, namespace: &str, labels: &Value, defaults: &Self) -> Option<String> {
        if self.is_privileged() || self == defaults {
            return None;
        }
        let modes = [("enforce", self.enforce), ("audit", self.audit), ("warn", self.warn)];
        let said = modes.into_iter().filter(|(mode, standard)| {
            let label = format!("{PREFIX}{mode}");
            let labelled = !labels[&label].is_null() || !labels[format!("{label}-version")].is_null();
            standard.level != Level::Privileged && labelled
        });
        let said: Vec<String> = said.map(|(mode, standard)| format!("{mode}={standard}")).collect();
        let said = said.join(", ");
        Some(format!("namespace {namespace:?} is exempt from Pod Security, and the policy ({said}) will be ignored"))
    }

    /// The policy of a namespace's labels, and what is wrong with them. A level that cannot be read is enforced as the
    /// strictest, but neither audited nor warned of.
    #[must_use]
    pub fn of(labels: &Value, defaults: Self) -> (Self, ErrorList) {
        let mut policy = defaults;
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
                    wrong(&label, text, LEVELS);
                }
            }
            let label = format!("{PREFIX}{mode}-version");
            if let Some(text) = labels[&label].as_str() {
                let parsed = Version::parse(text);
                standard.version = parsed.unwrap_or(Version(None));
                warn_version |= mode == "warn";
                if parsed.is_none() {
                    wrong(&label, text, VERSIONS);
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
            let (policy, errors) = Policy::of(&Value::Object(labels), Policy::default());
            assert_eq!(format!("{} {} {}", policy.enforce, policy.audit, policy.warn), expected, "{short}");
            assert_eq!(errors.len(), wrong, "{short}");
        }
        let (_, errors) = Policy::of(&json!({ "pod-security.kubernetes.io/enforce": "strict" }), Policy::default());
        assert_eq!(
            errors[0].to_string(),
            "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strict\": must be one of privileged, baseline, restricted"
        );
    }
    #[test]
    fn defaults_hold_where_labels_say_nothing() {
        let (defaults, errors) = Policy::configured(&json!({ "enforce": "baseline", "audit": "restricted" }));
        assert!(errors.is_empty());
        let text = |labels: Value| {
            let policy = Policy::of(&labels, defaults).0;
            format!("{} {} {}", policy.enforce, policy.audit, policy.warn)
        };
        assert_eq!(text(json!({})), "baseline:latest restricted:latest privileged:latest");
        let labels = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
        assert_eq!(text(labels.clone()), "restricted:latest restricted:latest restricted:latest");
        let policy = Policy::of(&labels, defaults).0;
        assert_eq!(
            policy.ignored("n", &labels, &defaults).as_deref(),
            Some(
                "namespace \"n\" is exempt from Pod Security, and the policy (enforce=restricted:latest) will be ignored"
            )
        );
        assert_eq!(defaults.ignored("n", &json!({}), &defaults), None);
    }
}
