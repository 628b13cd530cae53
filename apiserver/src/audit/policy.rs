//! Which requests are logged, and how much of them: audit.k8s.io/v1 Policy
//! (`apiserver/pkg/audit/policy/checker.go`).

use serde::Deserialize;

use auth::UserInfo;

use crate::http::request_info::RequestInfo;

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
    api_version: String,
    kind: String,
    omit_stages: Vec<Stage>,
    omit_managed_fields: bool,
    rules: Vec<Rule>,
}

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
        let policy: Self = serde_saphyr::from_str(text)?;
        anyhow::ensure!(
            policy.kind == "Policy" && policy.api_version == "audit.k8s.io/v1",
            "unknown group version field {:?} {:?} in policy file",
            policy.api_version,
            policy.kind
        );
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
        assert!(Policy::parse("apiVersion: v1\nkind: Policy\nrules: [{level: None}]").is_err());
    }
}
