//! Policy rules: what they match, and which rules cover which others.

use crate::request::{Attributes, Target};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A rule of a Role or ClusterRole.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyRule {
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub api_groups: Vec<String>,
    #[serde(rename = "nonResourceURLs", skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub non_resource_urls: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub resource_names: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub resources: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub verbs: Vec<String>,
}

/// A `null` list is an empty one.
fn or_default<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

const ALL: &str = "*";

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|have| have == wanted)
}

fn has_or_all(list: &[String], wanted: &str) -> bool {
    list.iter().any(|have| have == ALL || have == wanted)
}

impl PolicyRule {
    /// The rule permits the request.
    pub fn allows(&self, request: &Attributes<'_>) -> bool {
        if !has_or_all(&self.verbs, request.verb) {
            return false;
        }
        match request.target {
            Target::Path(path) => self.matches_path(path),
            Target::Resource(resource) => {
                has_or_all(&self.api_groups, resource.group)
                    && self.matches_resource(resource.resource, resource.subresource)
                    && (self.resource_names.is_empty() || has(&self.resource_names, resource.name))
            }
        }
    }

    /// `*` is everything, `pods` only the resource itself, `*/scale` the subresource of all. Who asks for `pods/log` as a resource
    /// is understood, too.
    fn matches_resource(&self, resource: &str, subresource: &str) -> bool {
        self.resources.iter().any(|rule| match subresource {
            _ if rule == ALL => true,
            "" => rule == resource,
            sub => rule.split_once('/').is_some_and(|(of, rule)| (of == ALL || of == resource) && rule == sub),
        })
    }

    fn matches_path(&self, path: &str) -> bool {
        self.non_resource_urls.iter().any(|rule| match rule.strip_suffix(ALL) {
            _ if rule == ALL => true,
            Some(prefix) => path.starts_with(prefix.trim_end_matches(ALL)),
            None => rule == path,
        })
    }

    /// This rule permits all that the single-valued `other` does; see [`breakdown`].
    fn covers_one(&self, other: &PolicyRule) -> bool {
        let all_or_every =
            |have: &[String], wanted: &[String]| has(have, ALL) || wanted.iter().all(|one| has(have, one));
        let names = self.resource_names.is_empty()
            || (!other.resource_names.is_empty()
                && other.resource_names.iter().all(|name| has(&self.resource_names, name)));
        let resources = has(&self.resources, ALL)
            || other.resources.iter().all(|wanted| {
                has(&self.resources, wanted)
                    || wanted.split_once('/').is_some_and(|(_, sub)| has(&self.resources, &format!("*/{sub}")))
            });
        let paths = other.non_resource_urls.iter().all(|wanted| {
            self.non_resource_urls
                .iter()
                .any(|have| have == wanted || have.strip_suffix(ALL).is_some_and(|prefix| wanted.starts_with(prefix)))
        });
        all_or_every(&self.verbs, &other.verbs)
            && all_or_every(&self.api_groups, &other.api_groups)
            && resources
            && paths
            && names
    }

    /// As upstream prints a rule: `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`.
    pub fn compact(&self) -> String {
        let parts = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.non_resource_urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        let parts: Vec<_> = parts
            .iter()
            .filter(|(_, values)| !values.is_empty())
            .map(|(name, values)| format!("{name}:{}", quoted(values)))
            .collect();
        format!("{{{}}}", parts.join(", "))
    }
}

/// `["a" "b"]`, as Go prints lists of quoted strings.
pub(super) fn quoted(values: &[String]) -> String {
    let values: Vec<_> = values.iter().map(|value| format!("{value:?}")).collect();
    format!("[{}]", values.join(" "))
}

/// The rules of `wanted` that `have` does not permit, broken down to single values. Empty: all are covered.
pub fn uncovered(have: &[PolicyRule], wanted: &[PolicyRule]) -> Vec<PolicyRule> {
    let missing: BTreeSet<_> =
        wanted.iter().flat_map(breakdown).filter(|one| !have.iter().any(|rule| rule.covers_one(one))).collect();
    missing.into_iter().collect()
}

/// A rule as rules of one group, resource, name and verb each.
fn breakdown(rule: &PolicyRule) -> Vec<PolicyRule> {
    let one = |value: &String| vec![value.clone()];
    let mut broken = Vec::new();
    for verb in &rule.verbs {
        for group in &rule.api_groups {
            for resource in &rule.resources {
                let single = PolicyRule {
                    api_groups: one(group),
                    resources: one(resource),
                    verbs: one(verb),
                    ..PolicyRule::default()
                };
                if rule.resource_names.is_empty() {
                    broken.push(single);
                } else {
                    let named = |name| PolicyRule { resource_names: one(name), ..single.clone() };
                    broken.extend(rule.resource_names.iter().map(named));
                }
            }
        }
        let path = |path| PolicyRule { non_resource_urls: one(path), verbs: one(verb), ..PolicyRule::default() };
        broken.extend(rule.non_resource_urls.iter().map(path));
    }
    broken
}

/// Joins rules that differ only in their verbs, for messages.
pub fn join_verbs(rules: Vec<PolicyRule>) -> Vec<PolicyRule> {
    let mut joined: Vec<PolicyRule> = Vec::new();
    for rule in rules {
        let same = |have: &&mut PolicyRule| {
            PolicyRule { verbs: Vec::new(), ..(**have).clone() } == PolicyRule { verbs: Vec::new(), ..rule.clone() }
        };
        match joined.iter_mut().find(same) {
            Some(have) => have.verbs.extend(rule.verbs),
            None => joined.push(rule),
        }
    }
    joined
}
