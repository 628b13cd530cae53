//! Priority: the number behind a pod's priorityClassName, and the two classes that are always there.

use serde_json::Value;

use super::Attributes;
use crate::app::text;
use crate::http::answer::value_of;
use crate::http::status::ApiResult;

/// The classes of the system (`scheduling/v1/helpers.go`); made at start, and known before that.
pub const SYSTEM: [(&str, i64); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

/// Resolves a pod's class.
pub async fn pod(a: &Attributes<'_>, pod: &mut Value) -> ApiResult<()> {
    let name = text(pod, "/spec/priorityClassName").to_owned();
    let (class, value, policy) = if name.is_empty() {
        match default_class(a).await? {
            Some(class) => {
                let policy = text(&class, "/preemptionPolicy").to_owned();
                (text(&class, "/metadata/name").to_owned(), class["value"].as_i64().unwrap_or(0), policy)
            }
            None => (String::new(), 0, String::new()),
        }
    } else {
        match find(a, &name).await? {
            Some((value, policy)) => (name, value, policy),
            None => {
                let why = format!("no PriorityClass with name {name} was found");
                return Err(a.forbidden(pod, &why));
            }
        }
    };
    let policy = if policy.is_empty() { "PreemptLowerPriority".to_owned() } else { policy };
    if let Some(asked) = pod["spec"]["priority"].as_i64()
        && asked != value
    {
        let why = format!(
            "the integer value of priority ({asked}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
        );
        return Err(a.forbidden(pod, &why));
    }
    if !class.is_empty() {
        pod["spec"]["priorityClassName"] = class.into();
    }
    pod["spec"]["priority"] = value.into();
    match pod["spec"]["preemptionPolicy"].as_str() {
        Some(asked) if asked != policy => {
            let why = format!(
                "the string value of PreemptionPolicy ({asked}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
            );
            return Err(a.forbidden(pod, &why));
        }
        _ => pod["spec"]["preemptionPolicy"] = policy.into(),
    }
    Ok(())
}

/// An update that does not name what this plugin has set keeps it; whether that made a difference.
pub fn keep(pod: &mut Value, old: &Value) -> bool {
    let mut changed = false;
    for field in ["priority", "preemptionPolicy"] {
        if let Some(value) = old["spec"].get(field)
            && pod["spec"].get(field).is_none_or(Value::is_null)
        {
            pod["spec"][field] = value.clone();
            changed = true;
        }
    }
    changed
}

async fn find(a: &Attributes<'_>, name: &str) -> ApiResult<Option<(i64, String)>> {
    if let Some((_, value)) = SYSTEM.iter().find(|(system, _)| *system == name) {
        return Ok(Some((*value, String::new())));
    }
    let resource = a.app().resource("scheduling.k8s.io", "priorityclasses")?;
    let Some(object) = a.app().caches.peek(&resource, "", name).await? else { return Ok(None) };
    let class = value_of(&resource, &object)?;
    Ok(Some((class["value"].as_i64().unwrap_or(0), text(&class, "/preemptionPolicy").to_owned())))
}

/// The class marked as the default; of several the one with the lowest value.
async fn default_class(a: &Attributes<'_>) -> ApiResult<Option<Value>> {
    let classes = a.list("scheduling.k8s.io", "priorityclasses", "").await?;
    let classes = classes.into_iter().filter(|class| class["globalDefault"] == true);
    Ok(classes.min_by_key(|class| class["value"].as_i64().unwrap_or(0)))
}

/// A second global default is refused.
pub async fn class(a: &Attributes<'_>, class: &Value) -> ApiResult<()> {
    if class["globalDefault"] != true {
        return Ok(());
    }
    let name = text(class, "/metadata/name");
    match default_class(a).await? {
        Some(other) if text(&other, "/metadata/name") != name => {
            let why = format!(
                "PriorityClass {} is already marked as default. Only one default can exist",
                text(&other, "/metadata/name")
            );
            Err(a.forbidden(class, &why))
        }
        _ => Ok(()),
    }
}
