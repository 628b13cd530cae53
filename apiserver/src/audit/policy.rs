//! Which requests are logged, and how much of them: audit.k8s.io/v1 Policy
//! (`apiserver/pkg/audit/policy/checker.go`).

use anyhow::Context;
use auth::UserInfo;
use schema::FieldValidation;
use schema::decode::{self, Decoded};
use serde::Deserialize;
use serde_json::Value;

use super::check;
use crate::access::file::aggregate;
use crate::access::typed::{self, Struct, Type};
use crate::http::request_info::RequestInfo;

/// Where upstream makes the scheme that policies are of.
const SCHEME: &str = "k8s.io/apiserver/pkg/audit/scheme.go:30";

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum Level {
    #[default]
    None,
    /// Who did what and when.
    Metadata,
    /// And the request's object.
    Request,
    /// And the answer's.
    RequestResponse,
}

impl Level {
    pub const ALL: [Self; 4] = [Self::None, Self::Metadata, Self::Request, Self::RequestResponse];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }
}

/// When a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Stage {
    RequestReceived,
    /// The head of an answer that goes on for long has been sent.
    ResponseStarted,
    ResponseComplete,
    Panic,
}

impl Stage {
    pub const ALL: [Self; 4] = [Self::RequestReceived, Self::ResponseStarted, Self::ResponseComplete, Self::Panic];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RequestReceived => "RequestReceived",
            Self::ResponseStarted => "ResponseStarted",
            Self::ResponseComplete => "ResponseComplete",
            Self::Panic => "Panic",
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Resources {
    group: String,
    resources: Vec<String>,
    resource_names: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Rule {
    level: Level,
    users: Vec<String>,
    user_groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<Resources>,
    namespaces: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    omit_stages: Vec<Stage>,
    omit_managed_fields: Option<bool>,
}

/// The rules; the first that matches a request decides.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Policy {
    omit_stages: Vec<Stage>,
    omit_managed_fields: bool,
    rules: Vec<Rule>,
}

const TEXTS: Type = Type::List(&Type::Text);
const STAGES: Type = Type::List(&Type::Named("v1.Stage"));
const RESOURCES: Struct =
    Struct { name: "GroupResources", fields: &[("group", Type::Text), ("resources", TEXTS), ("resourceNames", TEXTS)] };
const RULE: Struct = Struct {
    name: "PolicyRule",
    fields: &[
        ("level", Type::Named("v1.Level")),
        ("users", TEXTS),
        ("userGroups", TEXTS),
        ("verbs", TEXTS),
        ("resources", Type::List(&Type::Struct(&RESOURCES))),
        ("namespaces", TEXTS),
        ("nonResourceURLs", TEXTS),
        ("omitStages", STAGES),
        ("omitManagedFields", Type::Bool),
    ],
};
const POLICY: Struct = Struct {
    name: "Policy",
    fields: &[
        ("metadata", Type::Struct(&typed::OBJECT_META)),
        ("rules", Type::List(&Type::Struct(&RULE))),
        ("omitStages", STAGES),
        ("omitManagedFields", Type::Bool),
    ],
};

/// What a policy says about a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub level: Level,
    pub omit_stages: Vec<Stage>,
    pub omit_managed_fields: bool,
}

impl Policy {
    /// Reads a policy file.
    ///
    /// # Errors
    /// It is no policy, or has no rules.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let read = decode::yaml(text.as_bytes(), None, FieldValidation::Warn);
        let read = read.map_err(|error| match error.to_string().strip_prefix("error converting YAML to JSON: ") {
            Some(why) => anyhow::anyhow!("{why}"),
            None => anyhow::anyhow!("couldn't get version/kind; json parse error: {error}"),
        });
        let Decoded { mut value, warnings } = read.context("failed decoding")?;
        if !warnings.is_empty() {
            tracing::warn!(warnings = warnings.join(", "), "the audit policy contains errors");
        }
        let (version, kind) = decode::interpret(&value).map_err(anyhow::Error::msg).context("failed decoding")?;
        anyhow::ensure!(
            !(kind.is_empty() || version.is_empty()),
            "unknown group version field audit.k8s.io/__internal, Kind=Policy in policy"
        );
        anyhow::ensure!(
            (version, kind) == ("audit.k8s.io/v1", "Policy"),
            "failed decoding: no kind {kind:?} is registered for version {version:?} in scheme {SCHEME:?}"
        );
        // Fields that are not known have been warned of.
        typed::check(&value, &POLICY).map_err(anyhow::Error::msg).context("failed decoding")?;
        let errors = check::policy(&value);
        anyhow::ensure!(errors.is_empty(), "{}", aggregate(&errors));
        drop_nulls(&mut value);
        let policy: Self = serde_json::from_value(value).context("failed decoding")?;
        anyhow::ensure!(!policy.rules.is_empty(), "loaded illegal policy with 0 rules");
        Ok(policy)
    }

    /// Judges a request.
    #[must_use]
    pub fn judge(&self, user: &UserInfo, info: &RequestInfo) -> Verdict {
        let Some(rule) = self.rules.iter().find(|rule| rule.matches(user, info)) else {
            return Verdict { omit_stages: self.omit_stages.clone(), ..Verdict::default() };
        };
        Verdict {
            level: rule.level,
            omit_stages: self.omit_stages.iter().chain(&rule.omit_stages).copied().collect(),
            omit_managed_fields: rule.omit_managed_fields.unwrap_or(self.omit_managed_fields),
        }
    }
}

/// A null says nothing.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|have| have == wanted)
}

impl Rule {
    fn matches(&self, user: &UserInfo, info: &RequestInfo) -> bool {
        let any = |list: &[String], wanted: &str| list.is_empty() || has(list, wanted);
        if !any(&self.users, &user.username) || !any(&self.verbs, info.verb) {
            return false;
        }
        if !self.user_groups.is_empty() && !user.groups.iter().any(|group| has(&self.user_groups, group)) {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return info.is_resource
                && any(&self.namespaces, &info.namespace)
                && (self.resources.is_empty() || self.resources.iter().any(|resources| resources.match_one(info)));
        }
        if !self.non_resource_urls.is_empty() {
            return !info.is_resource && self.non_resource_urls.iter().any(|spec| path_matches(&info.path, spec));
        }
        true
    }
}

impl Resources {
    fn match_one(&self, info: &RequestInfo) -> bool {
        if self.group != info.group {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        if !self.resource_names.is_empty() && !has(&self.resource_names, &info.name) {
            return false;
        }
        self.resources.iter().any(|spec| match spec.split_once('/') {
            None => spec == "*" || (info.subresource.is_empty() && *spec == info.resource),
            Some(("*", sub)) => sub == info.subresource,
            Some((resource, "*")) => resource == info.resource,
            Some((resource, sub)) => resource == info.resource && sub == info.subresource,
        })
    }
}

fn path_matches(path: &str, spec: &str) -> bool {
    match spec.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix.trim_end_matches('*')),
        None => path == spec,
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- level: None
  users: ["system:kube-proxy"]
  verbs: [watch]
- level: None
  userGroups: ["system:authenticated"]
  nonResourceURLs: ["/api*", "/version"]
- level: Request
  resources: [{group: "", resources: [configmaps], resourceNames: [special]}]
  namespaces: [kube-system]
  omitManagedFields: false
- level: Metadata
  resources: [{group: "", resources: [secrets, "pods/log"]}, {group: apps}]
  omitStages: [ResponseStarted]
- level: RequestResponse
  resources: [{group: "", resources: ["*/status"]}]
"#;

    #[test]
    fn the_first_rule_that_matches_decides() {
        let policy = Policy::parse(POLICY).unwrap();
        let judge = |user: &str, method: Method, path: &str, watch: bool| {
            let user = UserInfo::new(user, ["system:authenticated"]);
            policy.judge(&user, &RequestInfo::parse(&method, path, watch, None))
        };
        let rows = [
            ("system:kube-proxy", Method::GET, "/api/v1/services", true, Level::None),
            ("a", Method::GET, "/version", false, Level::None),
            ("a", Method::GET, "/api/v1/namespaces/x/secrets/s", false, Level::Metadata),
            ("a", Method::GET, "/api/v1/namespaces/x/pods/p/log", false, Level::Metadata),
            ("a", Method::GET, "/api/v1/namespaces/x/pods/p", false, Level::None),
            ("a", Method::POST, "/apis/apps/v1/namespaces/x/deployments", false, Level::Metadata),
            ("a", Method::PUT, "/api/v1/namespaces/kube-system/configmaps/special", false, Level::Request),
            ("a", Method::PUT, "/api/v1/namespaces/kube-system/configmaps/other", false, Level::None),
            ("a", Method::PUT, "/api/v1/namespaces/x/configmaps/special", false, Level::None),
            ("a", Method::PATCH, "/api/v1/namespaces/x/pods/p/status", false, Level::RequestResponse),
        ];
        for (user, method, path, watch, expected) in rows {
            assert_eq!(judge(user, method, path, watch).level, expected, "{path}");
        }
        let verdict = judge("a", Method::GET, "/api/v1/namespaces/x/secrets/s", false);
        assert_eq!(verdict.omit_stages, [Stage::RequestReceived, Stage::ResponseStarted]);
        assert!(verdict.omit_managed_fields);
        assert!(
            !judge("a", Method::PUT, "/api/v1/namespaces/kube-system/configmaps/special", false).omit_managed_fields
        );
        assert!(Policy::parse("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: []").is_err());
        let refused = |text: &str| format!("{:#}", Policy::parse(text).unwrap_err());
        let unknown = |kind: &str, version: &str| {
            format!("failed decoding: no kind {kind:?} is registered for version {version:?} in scheme {SCHEME:?}")
        };
        assert_eq!(refused("apiVersion: v1\nkind: Policy\nrules: [{level: None}]"), unknown("Policy", "v1"));
        for (rest, why) in [
            ("rules: [{}]", "rules[0].level: Required value"),
            (
                "rules: [{level: 1}]",
                "failed decoding: json: cannot unmarshal number into Go struct field PolicyRule.rules.level of type v1.Level",
            ),
            (
                "omitStages: [1]",
                "failed decoding: json: cannot unmarshal number into Go struct field Policy.omitStages of type v1.Stage",
            ),
            (
                "rules: [{resources: [x]}]",
                "failed decoding: json: cannot unmarshal string into Go struct field PolicyRule.rules.resources of type v1.GroupResources",
            ),
            (
                "metadata: 3",
                "failed decoding: json: cannot unmarshal number into Go struct field Policy.metadata of type v1.ObjectMeta",
            ),
        ] {
            assert_eq!(refused(&format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{rest}")), why);
        }
        let lenient = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: None, foo: 1, users: null}]";
        assert!(Policy::parse(lenient).is_ok());
    }
}
