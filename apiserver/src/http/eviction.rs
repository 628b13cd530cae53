//! `pods/eviction`: a pod is deleted unless a PodDisruptionBudget forbids it (upstream `pkg/registry/core/pod/storage/eviction.go`).
//!
//! ```text
//!  pod ─ over, or not begun ────────────────┐
//!   └─ covered by a budget? ── judge ── Charge it ──┴─> condition DisruptionTarget ─> DELETE
//!                                └─ Refuse: 429, with the reason as a cause
//! ```

use schema::field::{Error, Path};
use serde_json::{Value, json};
use store::cache::{At, ListQuery};

use super::answer::value_of;
use super::status::{ApiError, ApiResult};
use super::subresource::success;
use crate::app::{Call, text};
use crate::registry::{delete, object, write};

/// So many evictions may wait for the disruption controller to notice them.
const MOST_DISRUPTED: usize = 2000;
const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

/// What a budget says of an eviction.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The pod does not count: it goes as it is now, or not at all.
    Free,
    /// The pod goes, and the budget with one disruption less is written.
    Charge(Value),
    /// It stays; whether one may ask again at once, and why not now.
    Refuse {
        later: bool,
        why: String,
    },
    Forbid(&'static str),
}

/// Deletes the call's pod, if it may go.
///
/// # Errors
/// 429 while a budget forbids it; what reading and writing fail with.
pub async fn evict(call: &Call, eviction: &Value) -> ApiResult<Value> {
    let name = &call.info.name;
    if text(eviction, "/metadata/name") != name {
        return Err(ApiError::bad_request("name in URL does not match name in Eviction object"));
    }
    let key = call.resource.key(&call.info.namespace, name);
    let said = &eviction["deleteOptions"];
    refuse(call, said)?;
    let mut options = delete::Options::read(said);
    if options.dry_run {
        call.only_try();
    }
    // A budget is charged once, however often the pod changes meanwhile.
    let mut charged = false;
    for _ in 0..write::ATTEMPTS {
        let live = write::load(call, &key).await?.ok_or_else(|| call.not_found(name))?;
        let mut pod = live.value;
        delete::preconditions(call, name, &options, &pod)?;
        let mut free = None;
        if !charged && counts(&pod) {
            free = disrupt(call, &pod).await?;
            charged = free.is_none();
        }
        if !call.dry_run() {
            target(&mut pod);
            let Some(written) = write::commit(call, &key, pod, live.revision).await? else {
                match free {
                    // It was judged as it was then.
                    Some(budget) => return Err(refusal(true, &pending(&budget))),
                    None => continue,
                }
            };
            if options.revision.is_some() {
                options.revision = Some(text(&written.value, "/metadata/resourceVersion").to_owned());
            }
        }
        // As upstream does it: whether they are valid is the deletion's own question.
        options.check()?;
        delete::delete(call, &options).await?;
        return Ok(success());
    }
    Err(call.modified(name))
}

/// What an eviction may not say of its deletion, whatever the pod.
fn refuse(call: &Call, options: &Value) -> ApiResult<()> {
    const UNREADABLE: &str = "ignoreStoreReadErrorWithClusterBreakingPotential";
    if options[UNREADABLE] == true {
        let at = Path::new("deleteOptions").child(UNREADABLE);
        let detail = "can not be set for pod eviction, try after removing the option";
        let errors = vec![Error::invalid(&at, true, detail)];
        return Err(ApiError::invalid("policy", "Eviction", &call.info.name, &errors));
    }
    let inside: Vec<&str> = options["dryRun"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let outside: Vec<&str> = call.query.all("dryRun").collect();
    if !inside.is_empty() && !outside.is_empty() && inside != outside {
        let (outside, inside) = (outside.join(" "), inside.join(" "));
        let why = format!("Non-matching dry-run options in request and content: [{outside}] and [{inside}]");
        return Err(ApiError::new(500, "", why));
    }
    Ok(())
}

/// Whether the pod's end would be a disruption.
fn counts(pod: &Value) -> bool {
    !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed" | "Pending") && !object::is_deleting(pod)
}

/// The condition that tells controllers not to count the pod's end as its own failure.
fn target(pod: &mut Value) {
    let mut conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let is_it = |condition: &Value| condition["type"] == "DisruptionTarget";
    let before = conditions.iter().find(|c| is_it(c) && c["status"] == "True");
    let since = before.map_or_else(|| object::now().into(), |c| c["lastTransitionTime"].clone());
    conditions.retain(|condition| !is_it(condition));
    conditions.push(json!({
        "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting", "lastProbeTime": null, "lastTransitionTime": since,
    }));
    pod["status"]["conditions"] = Value::Array(conditions);
}

/// Takes one disruption from the budget that covers the pod. The budget's name, where the pod goes without.
async fn disrupt(call: &Call, pod: &Value) -> ApiResult<Option<String>> {
    let budgets = call.app.resource("policy", "poddisruptionbudgets")?;
    let prefix = budgets.range(&call.info.namespace);
    let query = ListQuery { at: At::Latest, prefix: &prefix, start: None, limit: 0, filter: None };
    let list = call.app.caches.of(&budgets).list(query).await?;
    let mut covering = Vec::new();
    for item in &list.items {
        let budget = value_of(&budgets, item)?;
        let selector = schema::selector::LabelSelector::from_object(&budget["spec"]["selector"]);
        if selector.is_ok_and(|selector| selector.matches(&pod["metadata"]["labels"])) {
            covering.push(item.name().to_owned());
        }
    }
    let name = match covering.as_slice() {
        [] => return Ok(None),
        [only] => only,
        _ => {
            let why =
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(ApiError::new(500, "", why));
        }
    };
    let inner = Call::internal(&call.app, "policy", "poddisruptionbudgets", &call.info.namespace, name)?;
    let key = budgets.key(&call.info.namespace, name);
    for _ in 0..write::ATTEMPTS {
        let Some(live) = write::load(&inner, &key).await? else { return Ok(None) };
        match judge(&live.value, pod) {
            Verdict::Free => return Ok(Some(name.clone())),
            Verdict::Forbid(why) => return Err(ApiError::forbidden("policy", "poddisruptionbudget", name, why)),
            Verdict::Refuse { later, why } => return Err(refusal(later, &why)),
            Verdict::Charge(_) if call.dry_run() => return Ok(None),
            Verdict::Charge(budget) => {
                if write::commit(&inner, &key, budget, live.revision).await?.is_some() {
                    return Ok(None);
                }
            }
        }
    }
    Err(inner.modified(name))
}

fn pending(budget: &str) -> String {
    format!("The disruption budget {budget} is still being processed by the server.")
}

fn refusal(later: bool, why: &str) -> ApiError {
    let mut refusal = ApiError::too_many_requests(REFUSED, if later { 10 } else { 0 });
    refusal.details["causes"] = json!([{ "reason": "DisruptionBudget", "message": why }]);
    refusal
}

fn judge(budget: &Value, pod: &Value) -> Verdict {
    let name = text(budget, "/metadata/name");
    let number = |field: &str| budget["status"][field].as_i64().unwrap_or(0);
    let (healthy, desired) = (number("currentHealthy"), number("desiredHealthy"));
    let conditions = pod["status"]["conditions"].as_array();
    let ready = conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True");
    if !ready {
        let always = text(budget, "/spec/unhealthyPodEvictionPolicy") == "AlwaysAllow";
        if always || (healthy >= desired && desired > 0) {
            return Verdict::Free;
        }
    }
    if number("observedGeneration") < budget["metadata"]["generation"].as_i64().unwrap_or(0) {
        return Verdict::Refuse { later: true, why: pending(name) };
    }
    let allowed = number("disruptionsAllowed");
    if allowed < 0 {
        return Verdict::Forbid("pdb disruptions allowed is negative");
    }
    if budget["status"]["disruptedPods"].as_object().is_some_and(|pods| pods.len() > MOST_DISRUPTED) {
        return Verdict::Forbid("DisruptedPods map too big - too many evictions not confirmed by PDB controller");
    }
    if allowed == 0 {
        let conditions = budget["status"]["conditions"].as_array();
        let denied =
            conditions.into_iter().flatten().find(|c| c["type"] == "DisruptionAllowed" && c["status"] == "False");
        let told = denied.map(|c| (text(c, "/reason"), text(c, "/message"))).filter(|(_, message)| !message.is_empty());
        let why = match told {
            Some(("SyncFailed", message)) => format!(
                "The disruption budget {name} does not allow evicting pods currently because it failed sync: {message}"
            ),
            _ if healthy <= desired => {
                format!("The disruption budget {name} needs {desired} healthy pods and has {healthy} currently")
            }
            Some((reason, message)) => {
                format!("The disruption budget {name} does not allow evicting pods currently ({reason}): {message}")
            }
            None => format!("The disruption budget {name} does not allow evicting pods currently"),
        };
        return Verdict::Refuse { later: false, why };
    }
    let mut charged = budget.clone();
    charged["status"]["disruptionsAllowed"] = (allowed - 1).into();
    if !charged["status"]["disruptedPods"].is_object() {
        charged["status"]["disruptedPods"] = json!({});
    }
    charged["status"]["disruptedPods"][text(pod, "/metadata/name")] = object::now().into();
    Verdict::Charge(charged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(spec: Value, status: Value) -> Value {
        json!({ "metadata": { "name": "b", "generation": 2 }, "spec": spec, "status": status })
    }

    #[test]
    fn what_a_budget_says() {
        let pod = |ready: &str| {
            json!({ "metadata": { "name": "p" }, "status": { "phase": "Running",
                "conditions": [{ "type": "Ready", "status": ready }] } })
        };
        let status = |allowed: i64, healthy: i64| json!({ "observedGeneration": 2, "disruptionsAllowed": allowed, "currentHealthy": healthy, "desiredHealthy": 2 });
        let refuse = |later, why: &str| Verdict::Refuse { later, why: why.into() };
        let needs = refuse(false, "The disruption budget b needs 2 healthy pods and has 1 currently");
        for (ready, spec, status, expected) in [
            ("True", json!({}), status(0, 1), needs),
            (
                "True",
                json!({}),
                status(0, 3),
                refuse(false, "The disruption budget b does not allow evicting pods currently"),
            ),
            ("True", json!({}), status(-1, 3), Verdict::Forbid("pdb disruptions allowed is negative")),
            (
                "True",
                json!({}),
                json!({ "observedGeneration": 1, "disruptionsAllowed": 1 }),
                refuse(true, "The disruption budget b is still being processed by the server."),
            ),
            ("False", json!({}), status(0, 2), Verdict::Free),
            ("False", json!({ "unhealthyPodEvictionPolicy": "AlwaysAllow" }), status(0, 0), Verdict::Free),
            (
                "False",
                json!({ "unhealthyPodEvictionPolicy": "IfHealthyBudget" }),
                status(0, 1),
                refuse(false, "The disruption budget b needs 2 healthy pods and has 1 currently"),
            ),
        ] {
            assert_eq!(judge(&budget(spec, status), &pod(ready)), expected);
        }
        let Verdict::Charge(charged) = judge(&budget(json!({}), status(1, 3)), &pod("True")) else {
            panic!("it may go")
        };
        assert_eq!(charged["status"]["disruptionsAllowed"], 0);
        assert!(charged["status"]["disruptedPods"]["p"].is_string());
    }

    #[test]
    fn the_condition_keeps_its_time() {
        let mut pod = json!({ "status": { "conditions": [{ "type": "Ready", "status": "True" }] } });
        target(&mut pod);
        assert_eq!(pod["status"]["conditions"][1]["reason"], "EvictionByEvictionAPI");
        pod["status"]["conditions"][1]["lastTransitionTime"] = "2026-01-01T00:00:00Z".into();
        target(&mut pod);
        assert_eq!(pod["status"]["conditions"][1]["lastTransitionTime"], "2026-01-01T00:00:00Z");
        assert_eq!(pod["status"]["conditions"].as_array().map(Vec::len), Some(2));
    }
}
