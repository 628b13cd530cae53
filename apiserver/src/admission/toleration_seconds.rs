//! DefaultTolerationSeconds: a pod stays for five minutes on a node that is not ready or not reachable.

use serde_json::{Value, json};

use crate::app::text;

/// For how many seconds a pod stays that does not say so itself.
#[derive(Clone, Debug, clap::Args)]
pub struct TolerationSeconds {
    /// For how many seconds a pod stays on a node that is not ready, where it does not say so itself.
    #[arg(long, default_value_t = 300)]
    pub default_not_ready_toleration_seconds: i64,
    /// The same where the node is not reachable.
    #[arg(long, default_value_t = 300)]
    pub default_unreachable_toleration_seconds: i64,
}

/// Adds what is missing; whether anything was.
pub fn admit(pod: &mut Value, flags: &TolerationSeconds) -> bool {
    let taints = [
        ("node.kubernetes.io/not-ready", flags.default_not_ready_toleration_seconds),
        ("node.kubernetes.io/unreachable", flags.default_unreachable_toleration_seconds),
    ];
    let list = pod["spec"]["tolerations"].as_array().map(Vec::as_slice).unwrap_or_default();
    let covered = |taint: &str| {
        list.iter().any(|toleration| {
            let (key, effect) = (text(toleration, "/key"), text(toleration, "/effect"));
            (key == taint || key.is_empty()) && (effect == "NoExecute" || effect.is_empty())
        })
    };
    let toleration = |(taint, seconds)| json!({ "key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds });
    let missing: Vec<Value> = taints.into_iter().filter(|(taint, _)| !covered(taint)).map(toleration).collect();
    if missing.is_empty() {
        return false;
    }
    match &mut pod["spec"]["tolerations"] {
        Value::Array(list) => list.extend(missing),
        none => *none = Value::Array(missing),
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_added_unless_covered() {
        let flags =
            TolerationSeconds { default_not_ready_toleration_seconds: 300, default_unreachable_toleration_seconds: 7 };
        let admit = |pod: &mut Value| admit(pod, &flags);
        let mut pod = json!({ "spec": {} });
        assert!(admit(&mut pod));
        let seconds: Vec<_> =
            pod["spec"]["tolerations"].as_array().unwrap().iter().map(|t| &t["tolerationSeconds"]).collect();
        assert_eq!(seconds, [300, 7]);
        assert!(!admit(&mut pod));
        let all = json!({ "spec": { "tolerations": [{ "operator": "Exists" }] } });
        let mut pod = all.clone();
        assert!(!admit(&mut pod));
        assert_eq!(pod, all);
    }
}
