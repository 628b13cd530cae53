//! Whether a request fits into the quotas of its namespace (`admission/plugin/resourcequota/controller.go`, CheckRequest).

use jiff::Timestamp;
use serde_json::Value;

use crate::{Amounts, Evaluator, Selector};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
}

/// What is being asked.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub operation: Operation,
    pub subresource: &'a str,
    pub object: &'a Value,
    /// The object as it was, for updates.
    pub old: Option<&'a Value>,
}

/// A quota as admission sees it: its status decides, not its spec.
#[derive(Clone, Debug)]
pub struct Quota {
    pub name: String,
    pub scopes: Vec<Selector>,
    pub hard: Amounts,
    pub used: Amounts,
}

impl Quota {
    #[must_use]
    pub fn read(quota: &Value) -> Self {
        Self {
            name: crate::text(quota, "/metadata/name").to_owned(),
            scopes: Selector::of(quota),
            hard: Amounts::read(&quota["status"]["hard"]),
            used: Amounts::read(&quota["status"]["used"]),
        }
    }

    fn covers(&self, evaluator: &Evaluator, object: &Value) -> bool {
        self.hard.names().any(|name| evaluator.tracks(name)) && evaluator.in_scopes(object, &self.scopes)
    }
}

/// The new `status.used` of each quota, `None` where the request changes nothing of it; or why the request does not fit.
///
/// # Errors
/// The refusal's text, in upstream's words.
pub fn check(
    evaluator: &Evaluator,
    quotas: &[Quota],
    request: &Request<'_>,
    now: Timestamp,
) -> Result<Vec<Option<Amounts>>, String> {
    let unchanged = || vec![None; quotas.len()];
    if !evaluator.handles(request) {
        return Ok(unchanged());
    }
    let covering: Vec<bool> = quotas.iter().map(|quota| quota.covers(evaluator, request.object)).collect();
    for (quota, _) in quotas.iter().zip(&covering).filter(|(_, covers)| **covers) {
        let tracked = || quota.hard.names().filter(|name| evaluator.tracks(name));
        if let Some(missing) = evaluator.missing(request.object, tracked()) {
            return Err(format!("failed quota: {}: must specify {missing}", quota.name));
        }
        if tracked().any(|name| quota.used.get(name).is_none()) {
            let names: Vec<&str> = tracked().collect();
            return Err(format!("status unknown for quota: {}, resources: {}", quota.name, names.join(",")));
        }
    }
    let usage = evaluator.usage(request.object, now);
    let negative: Vec<&str> = usage.iter().filter(|(_, amount)| amount.is_negative()).map(|(name, _)| name).collect();
    if !negative.is_empty() {
        return Err(format!("quota usage is negative for resource(s): {}", negative.join(",")));
    }
    let before = request.old.filter(|_| request.operation == Operation::Update);
    let mut out = unchanged();
    for (at, quota) in quotas.iter().enumerate().filter(|(at, _)| covering[*at]) {
        // An object that was outside of the quota before is charged in full.
        let known = before.filter(|old| quota.covers(evaluator, old));
        let delta = known.map_or_else(|| usage.clone(), |old| usage.beyond(&evaluator.usage(old, now)));
        let requested = delta.without_zeros().only(|name| quota.hard.get(name).is_some());
        if requested.is_empty() {
            continue;
        }
        let mut used = quota.used.clone();
        used.add(&requested);
        let touched = used.only(|name| requested.get(name).is_some());
        let exceeded = touched.exceeding(&quota.hard);
        if request.subresource != "status" && !exceeded.is_empty() {
            let those = |amounts: &Amounts| amounts.only(|name| exceeded.contains(&name)).to_string();
            return Err(format!(
                "exceeded quota: {}, requested: {}, used: {}, limited: {}",
                quota.name,
                those(&requested),
                those(&quota.used),
                those(&quota.hard)
            ));
        }
        out[at] = Some(used);
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
