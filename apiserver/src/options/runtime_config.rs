//! `--runtime-config`: which of the built-in groups and versions are served (`apiserver/pkg/server/resourceconfig`).

use std::collections::BTreeMap;
use std::str::FromStr;

/// What is said of groups and versions; the last word on each counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeConfig(BTreeMap<String, bool>);

/// Whether a word is about a version.
type IsAbout = fn(&str) -> bool;

/// Words for many versions at once, in the order they count in.
const MANY: [(&str, IsAbout); 4] = [
    ("api/all", |_| true),
    ("api/ga", |version| !version.contains("alpha") && !version.contains("beta")),
    ("api/beta", |version| version.contains("beta")),
    ("api/alpha", |version| version.contains("alpha")),
];

impl FromStr for RuntimeConfig {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut said = BTreeMap::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, "true"));
            let (key, value) = (key.trim(), if value.is_empty() { "true" } else { value.trim() });
            let on = if MANY.iter().any(|(word, _)| *word == key) {
                matches!(value, "true" | "false").then_some(value == "true")
            } else {
                super::truth(value)
            };
            let on = on.ok_or_else(|| format!("invalid value {key}={value}"))?;
            if !(2..=3).contains(&key.split('/').count()) {
                return Err(format!("runtime-config invalid key {key}"));
            }
            said.insert(key.to_owned(), on);
        }
        if said.len() == 1 && said.get("api/all") == Some(&false) {
            return Err("invalid runtime-config with only api/all=false".to_owned());
        }
        Ok(Self(said))
    }
}

impl RuntimeConfig {
    /// Takes in what another flag says.
    pub fn extend(&mut self, other: &Self) {
        self.0.extend(other.0.iter().map(|(key, on)| (key.clone(), *on)));
    }

    /// Whether a built-in resource is served. All are where nothing is said of them.
    #[must_use]
    pub fn serves(&self, group: &str, version: &str, plural: &str) -> bool {
        let path = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        // The core group is written as the others are, with nothing before the slash, or as its path.
        let names = if group.is_empty() { vec![format!("/{version}"), format!("api/{version}")] } else { vec![path] };
        let said = |suffix: &str| names.iter().find_map(|name| self.0.get(&format!("{name}{suffix}")).copied());
        let many = || MANY.iter().rev().filter(|(_, of)| of(version)).find_map(|(word, _)| self.0.get(*word).copied());
        said(&format!("/{plural}")).or_else(|| said("")).or_else(many).unwrap_or(true)
    }

    /// What is said of groups and versions that there are none of; `known` has those there are.
    ///
    /// # Errors
    /// The first of them that is to be served, in upstream's words where it knows no more of it.
    pub fn check(&self, known: &[(String, String)]) -> Result<(), String> {
        for (key, on) in self.0.iter().filter(|(key, _)| !MANY.iter().any(|(word, _)| word == key)) {
            let (group, rest) = key.split_once('/').unwrap_or(("", key));
            let version = rest.split('/').next().unwrap_or_default();
            let group = if group == "api" { "" } else { group };
            if !known.iter().any(|(of, _)| of == group) {
                return Err(format!("unknown api groups {group}/{version}"));
            }
            if *on && !known.iter().any(|(of, there)| of == group && there == version) {
                return Err(format!("group version {group}/{version} that has not been registered"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_served() {
        let batch = ("batch", "v1", "jobs");
        let beta = ("resource.k8s.io", "v1beta1", "deviceclasses");
        for (text, (group, version, plural), served) in [
            ("", batch, true),
            ("api/all=true", beta, true),
            ("api/beta=false", beta, false),
            ("api/beta=false", batch, true),
            ("api/all=false,api/ga=true", batch, true),
            ("api/all=false,api/ga=true", beta, false),
            ("api/beta=false,resource.k8s.io/v1beta1=true", beta, true),
            ("batch/v1=false", batch, false),
            ("batch/v1/jobs=false", batch, false),
            ("batch/v1=false,batch/v1/jobs", batch, true),
            ("api/v1=false", ("", "v1", "pods"), false),
        ] {
            let config: RuntimeConfig = text.parse().unwrap();
            assert_eq!(config.serves(group, version, plural), served, "{text}");
        }
    }

    #[test]
    fn what_cannot_be() {
        let known = [("batch".to_owned(), "v1".to_owned()), (String::new(), "v1".to_owned())];
        for (text, refusal) in [
            ("api/all=false", "invalid runtime-config with only api/all=false"),
            ("api/all=1", "invalid value api/all=1"),
            ("batch/v1=x", "invalid value batch/v1=x"),
            ("batch=true", "runtime-config invalid key batch"),
            ("nope/v1=true", "unknown api groups nope/v1"),
            ("batch/v2alpha1=true", "group version batch/v2alpha1 that has not been registered"),
            ("batch/v2alpha1=false,api/v1=true,api/alpha=true", ""),
        ] {
            let refused = text.parse::<RuntimeConfig>().and_then(|config| config.check(&known));
            assert_eq!(refused.err().unwrap_or_default(), refusal, "{text}");
        }
    }
}
