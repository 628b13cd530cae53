//! Attribute-based access control: a file of policies, one JSON object a line (`pkg/auth/authorizer/abac`).

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use crate::request::{Attributes, Decision, Target};
use crate::user::{AUTHENTICATED, UserInfo};

const GROUP: &str = "abac.authorization.kubernetes.io";

/// What is asked for without a change.
const READING: [&str; 3] = ["get", "list", "watch"];

/// One policy. `*` stands for anything; what is empty matches only what is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Policy {
    user: String,
    group: String,
    readonly: bool,
    api_group: String,
    resource: String,
    namespace: String,
    non_resource_path: String,
}

/// The policies of a file, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies(Vec<Policy>);

/// A line that is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {number}: {text}: {why}")]
pub struct BadLine {
    pub number: usize,
    pub text: String,
    pub why: String,
}

impl Policies {
    /// Reads a file's text, one object a line; empty lines and those that begin with `#` say nothing.
    ///
    /// # Errors
    /// The first line that is no policy.
    pub fn parse(text: &str) -> Result<Self, BadLine> {
        let lines =
            text.lines().enumerate().filter(|(_, line)| !matches!(line.trim().chars().next(), None | Some('#')));
        let read = lines.map(|(at, line)| {
            Policy::parse(line).map_err(|why| BadLine { number: at + 1, text: line.to_owned(), why })
        });
        read.collect::<Result<_, _>>().map(Self)
    }

    pub fn decide(&self, attributes: &Attributes<'_>) -> Decision {
        match self.0.iter().any(|policy| policy.matches(attributes)) {
            true => Decision::Allow(Arc::default()),
            false => Decision::NoOpinion("No policy matched.".to_owned()),
        }
    }

    /// What a user may do in a namespace: verbs, API group and resource of each policy about resources, and verbs and path of
    /// each about paths.
    pub fn rules<'a>(&'a self, user: &'a UserInfo, namespace: &'a str) -> impl Iterator<Item = Rule<'a>> {
        let applies = move |policy: &&Policy| policy.is_of(user) && is(&policy.namespace, namespace);
        self.0.iter().filter(applies).map(|policy| Rule {
            verbs: if policy.readonly { &READING } else { &["*"] },
            api_group: &policy.api_group,
            resource: &policy.resource,
            path: &policy.non_resource_path,
        })
    }
}

/// What a policy allows; `resource` or `path` is empty where it allows none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule<'a> {
    pub verbs: &'a [&'a str],
    pub api_group: &'a str,
    pub resource: &'a str,
    pub path: &'a str,
}

impl Policy {
    fn parse(line: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(line)
            .map_err(|error| format!("couldn't get version/kind; json parse error: {error}"))?;
        let told = |field: &str| value[field].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        // What does not say what it is, is of the time when there was nothing else.
        let version = told("apiVersion").unwrap_or_else(|| format!("{GROUP}/v0"));
        let kind = told("kind").unwrap_or_else(|| "Policy".to_owned());
        let version_of_ours = version.strip_prefix(GROUP).and_then(|rest| rest.strip_prefix('/'));
        let read = |value: Value| serde_json::from_value::<Self>(value).map_err(|error| error.to_string());
        let mut policy = match (version_of_ours, kind.as_str()) {
            (Some("v0"), "Policy") => read(value)?.of_v0(),
            (Some("v1beta1"), "Policy") => match value.get("spec") {
                Some(spec) if !spec.is_null() => read(spec.clone())?,
                _ => Self::default(),
            },
            _ => return Err(format!("no kind {kind:?} is registered for version {version:?}")),
        };
        if policy.user == "*" || policy.group == "*" {
            AUTHENTICATED.clone_into(&mut policy.group);
            policy.user.clear();
        }
        Ok(policy)
    }

    /// In the first version, what is empty is anything.
    fn of_v0(mut self) -> Self {
        let (no_namespace, no_resource) = (self.namespace.is_empty(), self.resource.is_empty());
        "*".clone_into(&mut self.api_group);
        self.non_resource_path = if no_namespace && no_resource { "*" } else { "" }.to_owned();
        if self.user.is_empty() && self.group.is_empty() {
            AUTHENTICATED.clone_into(&mut self.group);
        }
        if no_namespace {
            "*".clone_into(&mut self.namespace);
        }
        if no_resource {
            "*".clone_into(&mut self.resource);
        }
        self
    }

    fn matches(&self, attributes: &Attributes<'_>) -> bool {
        let what = match attributes.target {
            Target::Resource(asked) => {
                is(&self.namespace, asked.namespace)
                    && is(&self.resource, asked.resource)
                    && is(&self.api_group, asked.group)
            }
            Target::Path(path) => {
                let policy = self.non_resource_path.as_str();
                policy == path || policy.ends_with('*') && path.starts_with(policy.trim_end_matches('*'))
            }
        };
        what && self.is_of(attributes.user) && (!self.readonly || READING.contains(&attributes.verb))
    }

    /// A policy may name a user, a group, or both, which must then both be theirs; one that names nobody is nobody's.
    fn is_of(&self, user: &UserInfo) -> bool {
        let named = !self.user.is_empty() || !self.group.is_empty();
        named
            && (self.user.is_empty() || self.user == user.username)
            && (self.group.is_empty() || user.in_group(&self.group))
    }
}

fn is(policy: &str, asked: &str) -> bool {
    policy == "*" || policy == asked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Resource;

    fn v1(spec: &str) -> String {
        format!(r#"{{"apiVersion":"{GROUP}/v1beta1","kind":"Policy","spec":{spec}}}"#)
    }

    /// Asks for `verb group/resource namespace` or `verb /path`.
    fn allows(line: &str, user: &UserInfo, request: &str) -> bool {
        let policies = Policies::parse(line).unwrap();
        let words: Vec<&str> = request.split(' ').collect();
        let target = match words[1].split_once('/') {
            Some((group, resource)) if !words[1].starts_with('/') || words.len() > 2 => {
                Target::Resource(Resource { group, resource, namespace: words[2], ..Resource::default() })
            }
            _ => Target::Path(words[1]),
        };
        policies.decide(&Attributes { user, verb: words[0], target }).allowed()
    }

    #[test]
    fn upstreams_matching() {
        let jane = UserInfo::new("jane", ["dev", AUTHENTICATED]);
        let nobody = UserInfo::new("system:anonymous", ["system:unauthenticated"]);
        let pods = |more: &str| v1(&format!(r#"{{{more}"namespace":"ns","resource":"pods","apiGroup":""}}"#));
        for (line, user, request, allowed) in [
            (pods(r#""user":"jane","#), &jane, "create /pods ns", true),
            (pods(r#""user":"jane","#), &jane, "create apps/pods ns", false),
            (pods(r#""user":"jane","#), &jane, "create /pods other", false),
            (pods(r#""user":"jane","#), &jane, "create /secrets ns", false),
            (pods(r#""user":"jane","#), &jane, "get /pods", false),
            (pods(r#""user":"jane","readonly":true,"#), &jane, "watch /pods ns", true),
            (pods(r#""user":"jane","readonly":true,"#), &jane, "delete /pods ns", false),
            (pods(r#""user":"joe","#), &jane, "get /pods ns", false),
            (pods(r#""group":"dev","#), &jane, "get /pods ns", true),
            (pods(r#""user":"jane","group":"ops","#), &jane, "get /pods ns", false),
            (pods(r#""user":"jane","group":"*","#), &nobody, "get /pods ns", false),
            (pods(r#""user":"*","#), &jane, "get /pods ns", true),
            (pods(r#""user":"*","#), &nobody, "get /pods ns", false),
            (pods(""), &jane, "get /pods ns", false),
            (v1(r#"{"user":"jane","namespace":"*","resource":"*","apiGroup":"*"}"#), &jane, "get apps/x ns", true),
            (v1(r#"{"user":"jane","namespace":"*","resource":"*","apiGroup":"*"}"#), &jane, "get /version", false),
            (v1(r#"{"user":"jane","nonResourcePath":"*"}"#), &jane, "get /version", true),
            (v1(r#"{"user":"jane","nonResourcePath":"/api*"}"#), &jane, "get /apis/x", true),
            (v1(r#"{"user":"jane","nonResourcePath":"/api*"}"#), &jane, "get /version", false),
            (v1(r#"{"user":"jane","nonResourcePath":"/api"}"#), &jane, "get /api/", false),
            (v1(r#"{"user":"jane","nonResourcePath":"*"}"#), &jane, "get /pods ns", false),
            ("{}".to_owned(), &jane, "delete apps/x ns", true),
            ("{}".to_owned(), &jane, "get /version", true),
            ("{}".to_owned(), &nobody, "get /version", false),
            (r#"{"user":"jane","resource":"pods"}"#.to_owned(), &jane, "get any/pods ns", true),
            (r#"{"user":"jane","resource":"pods"}"#.to_owned(), &jane, "get /version", false),
            (r#"{"user":"jane","namespace":"ns","readonly":true}"#.to_owned(), &jane, "list apps/x ns", true),
            (r#"{"user":"jane","namespace":"ns","readonly":true}"#.to_owned(), &jane, "patch apps/x ns", false),
            (format!(r#"{{"apiVersion":"{GROUP}/v0","kind":"Policy","group":"dev"}}"#), &jane, "get /version", true),
        ] {
            assert_eq!(allows(&line, user, request), allowed, "{line} {request}");
        }
    }

    #[test]
    fn lines() {
        let text = format!("# all\n\n  \n{}\n {{\"user\":\"joe\"}} \n", v1(r#"{"user":"jane"}"#));
        assert_eq!(Policies::parse(&text).unwrap().0.len(), 2);
        let why = |text: &str| Policies::parse(text).unwrap_err().to_string();
        assert!(
            why("{}\n{").starts_with("line 2: {: couldn't get version/kind; json parse error: "),
            "{}",
            why("{}\n{")
        );
        let pod = r#"{"apiVersion":"v1","kind":"Pod"}"#;
        assert_eq!(why(pod), format!("line 1: {pod}: no kind \"Pod\" is registered for version \"v1\""));
        assert!(why(r#"{"user":3}"#).starts_with(r#"line 1: {"user":3}: invalid type: integer"#));
    }

    #[test]
    fn rules_of_a_user() {
        let text = [
            v1(r#"{"user":"jane","namespace":"ns","resource":"pods","apiGroup":"a","readonly":true}"#),
            v1(r#"{"user":"jane","namespace":"other","resource":"pods"}"#),
            v1(r#"{"user":"jane","namespace":"*","nonResourcePath":"/x"}"#),
        ];
        let policies = Policies::parse(&text.join("\n")).unwrap();
        let jane = UserInfo::new("jane", ["dev"]);
        let rules: Vec<Rule<'_>> = policies.rules(&jane, "ns").collect();
        let pods = Rule { verbs: &READING, api_group: "a", resource: "pods", path: "" };
        assert_eq!(rules, [pods, Rule { verbs: &["*"], api_group: "", resource: "", path: "/x" }]);
    }
}
