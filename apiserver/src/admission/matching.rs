//! Which requests a webhook or a policy is about: its rules, its selectors, and the equivalent resources it may have meant
//! (`apiserver/pkg/admission/plugin/webhook/{predicates,generic}`).

use std::sync::Arc;

use schema::selector::LabelSelector;
use serde_json::Value;

use super::{Attributes, Gvk, Operation};
use crate::app::text;
use crate::http::status::ApiError;
use crate::registry::resource::Resource;
use crate::registry::write;

/// A `RuleWithOperations`, or a `NamedRuleWithOperations`.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    /// `Cluster`, `Namespaced`, or `*`.
    scope: String,
    /// Empty: all names.
    names: Vec<String>,
}

impl Rule {
    #[must_use]
    pub fn parse(rule: &Value) -> Self {
        let words = |field: &str| -> Vec<String> {
            rule[field].as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
        };
        Self {
            operations: words("operations"),
            groups: words("apiGroups"),
            versions: words("apiVersions"),
            resources: words("resources"),
            scope: text(rule, "/scope").to_owned(),
            names: words("resourceNames"),
        }
    }

    /// All rules of a list such as `rules` or `resourceRules`.
    #[must_use]
    pub fn parse_all(list: &Value) -> Vec<Self> {
        list.as_array().into_iter().flatten().map(Self::parse).collect()
    }

    /// Whether the rule is about this request, were it for the resource `group`/`version`/`plural`.
    fn matches_as(&self, a: &Attributes<'_>, group: &str, version: &str, plural: &str) -> bool {
        let holds = |words: &[String], word: &str| words.iter().any(|have| have == "*" || have == word);
        let cluster = a.namespace().is_empty() || (group.is_empty() && plural == "namespaces");
        let scope = match self.scope.as_str() {
            "" | "*" => true,
            "Cluster" => cluster,
            "Namespaced" => !cluster,
            _ => false,
        };
        let resource = || {
            self.resources.iter().any(|words| {
                let (resource, sub) = words.split_once('/').unwrap_or((words, ""));
                (resource == "*" || resource == plural) && (sub == "*" || sub == a.subresource())
            })
        };
        scope
            && holds(&self.operations, a.operation.word())
            && holds(&self.groups, group)
            && holds(&self.versions, version)
            && resource()
            && (self.names.is_empty() || self.names.contains(&a.name))
    }

    /// Whether the rule is about this request as it was made.
    #[must_use]
    pub fn matches(&self, a: &Attributes<'_>) -> bool {
        let resource = a.resource();
        self.matches_as(a, &resource.group, &resource.version, &resource.plural)
    }
}

/// As what a webhook or policy wants to see a request.
#[derive(Clone)]
pub struct Seen {
    pub resource: Arc<Resource>,
    /// The kind the object is to be converted to; the request's own where nothing is to be done.
    pub kind: Gvk,
}

/// How the rules see the request: as it is, or (`matchPolicy: Equivalent`) as one for another group or version of the
/// same objects. `None`: they are not about it.
#[must_use]
pub fn seen(a: &Attributes<'_>, rules: &[Rule], equivalent: bool) -> Option<Seen> {
    if rules.iter().any(|rule| rule.matches(a)) {
        return Some(Seen { resource: a.call.resource.clone(), kind: a.kind.clone() });
    }
    if !equivalent {
        return None;
    }
    let others = equivalents(a);
    let found = rules
        .iter()
        .find_map(|rule| others.iter().find(|other| rule.matches_as(a, &other.group, &other.version, &other.plural)))?;
    let kind = match found.sub(a.subresource()) {
        Some(sub) if !sub.version.is_empty() => Gvk::new(&sub.group, &sub.version, &sub.kind),
        _ => Gvk::new(&found.group, &found.version, &found.kind),
    };
    // The options of a connection and the like are of one kind only.
    let same = a.subresource().is_empty() || a.kind.kind == a.resource().kind;
    Some(Seen { resource: found.clone(), kind: if same { kind } else { a.kind.clone() } })
}

/// The other served resources that are stored in the same place and have the subresource.
fn equivalents(a: &Attributes<'_>) -> Vec<Arc<Resource>> {
    let own = a.resource();
    if own.prefix.is_empty() {
        return Vec::new();
    }
    let catalogue = a.app().catalogue.load();
    let same = |other: &&Arc<Resource>| {
        other.prefix == own.prefix
            && (other.group != own.group || other.version != own.version)
            && (a.subresource().is_empty() || other.sub(a.subresource()).is_some())
    };
    let mut found: Vec<Arc<Resource>> = catalogue.all().filter(same).cloned().collect();
    found.sort_by(|a, b| (&a.group, &a.version).cmp(&(&b.group, &b.version)));
    found
}

/// `namespaceSelector` and `objectSelector`.
#[derive(Clone, Debug)]
pub struct Selectors {
    namespace: Result<LabelSelector, String>,
    object: Result<LabelSelector, String>,
}

/// Whether the selectors choose a request. An error of the namespace counts only for requests the rules are about.
pub type Chosen = Result<bool, ApiError>;

impl Selectors {
    /// From what holds both fields: a webhook, or `matchConstraints`/`matchResources` of a policy.
    #[must_use]
    pub fn parse(holder: &Value) -> Self {
        let parse = |field: &str| match &holder[field] {
            Value::Null => LabelSelector::parse("").map_err(|e| e.to_string()),
            selector => LabelSelector::from_object(selector).map_err(|e| e.to_string()),
        };
        Self { namespace: parse("namespaceSelector"), object: parse("objectSelector") }
    }

    /// Whether they choose the request about `object`.
    ///
    /// # Errors
    /// A selector that is none; a namespace that does not exist (404).
    pub async fn choose(&self, a: &Attributes<'_>, object: &Value) -> Chosen {
        let selector = self.object.as_ref().map_err(ApiError::internal)?;
        let labels = |of: &Value| !of.is_null() && selector.matches(&of["metadata"]["labels"]);
        if !selector.is_empty() && !labels(object) && !a.old.is_some_and(labels) {
            return Ok(false);
        }
        let namespaces = a.resource().is("", "namespaces");
        if a.namespace().is_empty() && !namespaces {
            // What belongs to no namespace is never exempted by one.
            return Ok(true);
        }
        let selector = self.namespace.as_ref().map_err(ApiError::internal)?;
        if selector.is_empty() {
            return Ok(true);
        }
        let written = matches!(a.operation, Operation::Create | Operation::Update);
        if namespaces && a.subresource().is_empty() && written {
            return Ok(selector.matches(&object["metadata"]["labels"]));
        }
        let found = write::namespace(a.app(), a.namespace()).await?;
        let found = found.ok_or_else(|| ApiError::not_found("", "namespaces", a.namespace()))?;
        Ok(selector.matches(&found["metadata"]["labels"]))
    }
}

/// Policies, of which no policy judges: they must always be there to be mended.
const POLICIES: [&str; 4] = [
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
];
/// And what webhooks do not judge besides.
const HOOKS: [&str; 2] = ["ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"];
/// Questions that no policy may keep from being asked (`kubeapiserver/admission/exclusion`).
const QUESTIONS: [(&str, &str); 6] = [
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
];

/// What webhooks have no say in.
#[must_use]
pub fn is_exempt(a: &Attributes<'_>) -> bool {
    let kind = a.kind.kind.as_str();
    a.call.internal || (registers(a) && (POLICIES.contains(&kind) || HOOKS.contains(&kind)))
}

/// What policies have no say in.
#[must_use]
pub fn is_exempt_of_policies(a: &Attributes<'_>) -> bool {
    let resource = a.resource();
    let asked = QUESTIONS.contains(&(resource.group.as_str(), resource.plural.as_str()));
    a.call.internal || asked || (registers(a) && POLICIES.contains(&a.kind.kind.as_str()))
}

fn registers(a: &Attributes<'_>) -> bool {
    a.kind.group == "admissionregistration.k8s.io"
}
