//! Whether a request fits into the quotas of its namespace (`admission/plugin/resourcequota/controller.go`, CheckRequest).

use std::collections::BTreeSet;

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

/// What may only be consumed where a quota covers it (`ResourceQuotaConfiguration`, limitedResources).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limited {
    pub group: String,
    pub plural: String,
    /// Names of consumed resources that contain any of these are limited.
    pub contains: Vec<String>,
    /// So are objects in any of these scopes, whatever their kind.
    pub scopes: Vec<Selector>,
}

/// What of a consumption that is limited no quota covers, in upstream's words.
fn uncovered(
    evaluator: &Evaluator,
    quotas: &[Quota],
    covering: &[bool],
    limited: &[Limited],
    object: &Value,
    usage: &Amounts,
) -> Option<String> {
    let own = limited.iter().filter(|limited| Evaluator::of(&limited.group, &limited.plural) == *evaluator);
    let wanted: Vec<&str> = own.flat_map(|limited| limited.contains.iter().map(String::as_str)).collect();
    let consumed = usage.iter().filter(|(_, amount)| !amount.is_negative() && !amount.is_zero()).map(|(name, _)| name);
    let names: BTreeSet<&str> = consumed.filter(|name| wanted.iter().any(|part| name.contains(part))).collect();
    let covered = quotas.iter().zip(covering).filter(|(_, covers)| **covers);
    let covered: BTreeSet<&str> =
        covered.flat_map(|(quota, _)| quota.hard.names().filter(|name| evaluator.tracks(name))).collect();
    let missing: Vec<&str> = names.difference(&covered).copied().collect();
    if !missing.is_empty() {
        return Some(format!("insufficient quota to consume: {}", missing.join(",")));
    }
    let within = |selector: &&Selector| evaluator.in_scopes(object, std::slice::from_ref(*selector));
    let known: Vec<&Selector> = quotas.iter().flat_map(|quota| &quota.scopes).filter(within).collect();
    let scopes = limited.iter().flat_map(|limited| &limited.scopes).filter(within);
    let missing: Vec<String> = scopes
        .filter(|scope| known.iter().all(|known| known.scope != scope.scope))
        .map(|scope| format!("{{{} {} [{}]}}", scope.scope, scope.operator, scope.values.join(" ")))
        .collect();
    (!missing.is_empty()).then(|| format!("insufficient quota to match these scopes: [{}]", missing.join(" ")))
}

/// The new `status.used` of each quota, `None` where the request changes nothing of it; or why the request does not fit.
///
/// # Errors
/// The refusal's text, in upstream's words.
pub fn check(
    evaluator: &Evaluator,
    quotas: &[Quota],
    limited: &[Limited],
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
    if !limited.is_empty() {
        // Who consumes no more than before needs no quota for it.
        let more = before.map_or_else(|| usage.clone(), |old| usage.beyond(&evaluator.usage(old, now)));
        if !more.without_zeros().is_empty()
            && let Some(why) = uncovered(evaluator, quotas, &covering, limited, request.object, &usage)
        {
            return Err(why);
        }
    }
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
