//! Who counts what: one evaluator a resource, a counting one for every resource that has none of its own.

use jiff::Timestamp;
use schema::quantity::Quantity;
use serde_json::Value;

use crate::check::{Operation, Request};
use crate::claims::{device, volume};
use crate::scope::Selector;
use crate::{Amounts, pods, services};

/// Resources that were countable under their bare name before `count/` came.
const ALIASES: [&str; 4] = ["configmaps", "resourcequotas", "replicationcontrollers", "secrets"];

/// How the objects of one resource are charged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evaluator {
    Pods,
    Services,
    VolumeClaims,
    DeviceClaims,
    /// One for each object.
    Count {
        group: String,
        plural: String,
    },
}

impl Evaluator {
    /// The evaluator of a resource.
    #[must_use]
    pub fn of(group: &str, plural: &str) -> Self {
        match (group, plural) {
            ("", "pods") => Self::Pods,
            ("", "services") => Self::Services,
            ("", "persistentvolumeclaims") => Self::VolumeClaims,
            ("resource.k8s.io", "resourceclaims") => Self::DeviceClaims,
            _ => Self::Count { group: group.to_owned(), plural: plural.to_owned() },
        }
    }

    /// The evaluator of a name in `spec.hard`; `None` for a name nobody counts.
    #[must_use]
    pub fn tracking(name: &str) -> Option<Self> {
        if let Some(counted) = name.strip_prefix("count/") {
            let (plural, group) = counted.split_once('.').unwrap_or((counted, ""));
            return Some(Self::of(group, plural));
        }
        if ALIASES.contains(&name) {
            return Some(Self::of("", name));
        }
        [Self::Services, Self::VolumeClaims, Self::DeviceClaims, Self::Pods].into_iter().find(|e| e.tracks(name))
    }

    /// Whether a quota on `name` concerns this resource.
    #[must_use]
    pub fn tracks(&self, name: &str) -> bool {
        match self {
            Self::Pods => pods::tracks(name),
            Self::Services => services::tracks(name),
            Self::VolumeClaims => volume::tracks(name),
            Self::DeviceClaims => device::tracks(name),
            Self::Count { .. } => self.count_names().iter().any(|counted| counted == name),
        }
    }

    fn count_names(&self) -> Vec<String> {
        let Self::Count { group, plural } = self else { return Vec::new() };
        let dot = if group.is_empty() { "" } else { "." };
        let mut names = vec![format!("count/{plural}{dot}{group}")];
        if group.is_empty() && ALIASES.contains(&plural.as_str()) {
            names.push(plural.clone());
        }
        names
    }

    /// Whether the request can change what is charged.
    #[must_use]
    pub fn handles(&self, request: &Request<'_>) -> bool {
        let create = request.operation == Operation::Create;
        match (self, request.subresource) {
            // A deadline moves a pod from one scope to the other.
            (Self::Pods, "") => {
                create
                    || request.old.is_some_and(|old| pods::is_terminating(old) != pods::is_terminating(request.object))
            }
            (Self::Count { .. }, "") => create,
            (Self::Pods, "resize") => !create,
            (Self::Services, _) | (Self::VolumeClaims | Self::DeviceClaims, "") => true,
            (Self::VolumeClaims, "status") => {
                request.old.is_some_and(|old| volume::status_matters(request.object, old))
            }
            _ => false,
        }
    }

    /// What one object is charged.
    #[must_use]
    pub fn usage(&self, object: &Value, now: Timestamp) -> Amounts {
        match self {
            Self::Pods => pods::usage(object, now),
            Self::Services => services::usage(object),
            Self::VolumeClaims => volume::usage(object),
            Self::DeviceClaims => device::usage(object),
            Self::Count { .. } => self.count_names().into_iter().map(|name| (name, Quantity::ONE)).collect(),
        }
    }

    /// Whether the object is in all of the scopes.
    #[must_use]
    pub fn in_scopes(&self, object: &Value, scopes: &[Selector]) -> bool {
        scopes.iter().all(|selector| match self {
            Self::Pods => pods::in_scope(object, selector),
            Self::VolumeClaims => volume::in_scope(object, selector),
            _ => false,
        })
    }

    /// What the object must say because a quota counts it.
    pub(crate) fn missing<'a>(&self, object: &Value, required: impl Iterator<Item = &'a str>) -> Option<String> {
        if *self == Self::Pods { pods::missing(object, required) } else { None }
    }
}

/// What `objects`, all of one resource, use of what `hard` names.
pub fn total<'a>(
    evaluator: &Evaluator,
    hard: &Amounts,
    scopes: &[Selector],
    objects: impl Iterator<Item = &'a Value>,
    now: Timestamp,
) -> Amounts {
    let names: Vec<&str> = hard.names().filter(|name| evaluator.tracks(name)).collect();
    let mut used: Amounts = names.iter().map(|&name| (name.to_owned(), Quantity::ZERO)).collect();
    for object in objects.filter(|object| evaluator.in_scopes(object, scopes)) {
        used.add(&evaluator.usage(object, now).only(|name| names.contains(&name)));
    }
    used
}
