//! FlowSchemas: whose requests about what they match (`apiserver/pkg/util/flowcontrol/rule.go`).

use auth::UserInfo;
use serde_json::Value;

use crate::app::text;
use crate::http::request_info::RequestInfo;

pub struct Schema {
    pub name: String,
    pub uid: String,
    pub level: String,
    pub precedence: i64,
    distinguisher: Distinguisher,
    rules: Vec<Rules>,
}

enum Distinguisher {
    None,
    ByUser,
    ByNamespace,
}

struct Rules {
    subjects: Vec<Subject>,
    resources: Vec<ResourceRule>,
    paths: Vec<PathRule>,
}

enum Subject {
    User(String),
    Group(String),
    Account { namespace: String, name: String },
}

struct ResourceRule {
    verbs: Vec<String>,
    groups: Vec<String>,
    resources: Vec<String>,
    namespaces: Vec<String>,
    cluster: bool,
}

struct PathRule {
    verbs: Vec<String>,
    paths: Vec<String>,
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|word| word.as_str().map(str::to_owned)).collect()
}

/// Listed, or `*` is.
fn lists(words: &[String], word: &str) -> bool {
    words.iter().any(|have| have == "*" || have == word)
}

impl Schema {
    pub fn parse(object: &Value) -> Option<Self> {
        let spec = &object["spec"];
        let rules = spec["rules"].as_array()?.iter().map(Rules::parse).collect();
        Some(Self {
            name: text(object, "/metadata/name").to_owned(),
            uid: text(object, "/metadata/uid").to_owned(),
            level: text(spec, "/priorityLevelConfiguration/name").to_owned(),
            precedence: spec["matchingPrecedence"].as_i64().unwrap_or(1000),
            distinguisher: match text(spec, "/distinguisherMethod/type") {
                "ByUser" => Distinguisher::ByUser,
                "ByNamespace" => Distinguisher::ByNamespace,
                _ => Distinguisher::None,
            },
            rules,
        })
    }

    pub fn matches(&self, user: &UserInfo, info: &RequestInfo) -> bool {
        self.rules.iter().any(|rules| {
            rules.subjects.iter().any(|subject| subject.matches(user))
                && if info.is_resource {
                    rules.resources.iter().any(|rule| rule.matches(info))
                } else {
                    rules.paths.iter().any(|rule| rule.matches(info))
                }
        })
    }

    /// What takes turns: requests of one flow do not push aside those of another.
    pub fn flow<'a>(&'a self, user: &'a UserInfo, info: &'a RequestInfo) -> (&'a str, &'a str) {
        let which = match self.distinguisher {
            Distinguisher::None => "",
            Distinguisher::ByUser => &user.username,
            Distinguisher::ByNamespace => &info.namespace,
        };
        (&self.name, which)
    }
}

impl Rules {
    fn parse(value: &Value) -> Self {
        let list = |field: &str| value[field].as_array().into_iter().flatten();
        Self {
            subjects: list("subjects").filter_map(Subject::parse).collect(),
            resources: list("resourceRules")
                .map(|rule| ResourceRule {
                    verbs: strings(&rule["verbs"]),
                    groups: strings(&rule["apiGroups"]),
                    resources: strings(&rule["resources"]),
                    namespaces: strings(&rule["namespaces"]),
                    cluster: rule["clusterScope"] == true,
                })
                .collect(),
            paths: list("nonResourceRules")
                .map(|rule| PathRule { verbs: strings(&rule["verbs"]), paths: strings(&rule["nonResourceURLs"]) })
                .collect(),
        }
    }
}

impl Subject {
    fn parse(value: &Value) -> Option<Self> {
        let of = |field: &str| text(value, field).to_owned();
        match text(value, "/kind") {
            "User" => Some(Self::User(of("/user/name"))),
            "Group" => Some(Self::Group(of("/group/name"))),
            "ServiceAccount" => {
                Some(Self::Account { namespace: of("/serviceAccount/namespace"), name: of("/serviceAccount/name") })
            }
            _ => None,
        }
    }

    fn matches(&self, user: &UserInfo) -> bool {
        match self {
            Self::User(name) => name == "*" || *name == user.username,
            Self::Group(name) => name == "*" || user.in_group(name),
            Self::Account { namespace, name } => {
                let account =
                    user.username.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
                account.is_some_and(|(of, is)| of == namespace && (name == "*" || is == name))
            }
        }
    }
}

impl ResourceRule {
    fn matches(&self, info: &RequestInfo) -> bool {
        let resource = || match info.subresource.as_str() {
            "" => lists(&self.resources, &info.resource),
            sub => lists(&self.resources, &format!("{}/{sub}", info.resource)),
        };
        lists(&self.verbs, info.verb)
            && lists(&self.groups, &info.group)
            && resource()
            && if info.namespace.is_empty() { self.cluster } else { lists(&self.namespaces, &info.namespace) }
    }
}

impl PathRule {
    fn matches(&self, info: &RequestInfo) -> bool {
        let covers = |path: &String| match path.strip_suffix("/*") {
            Some(prefix) => info.path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/')),
            None => path == "*" || *path == info.path,
        };
        lists(&self.verbs, info.verb) && self.paths.iter().any(covers)
    }
}
