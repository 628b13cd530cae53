//! DefaultTolerationSeconds: a pod stays for five minutes on a node that is not ready or not reachable.

use serde_json::{Value, json};

use crate::app::text;

const SECONDS: i64 = 300;
const TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/// Adds what is missing; whether anything was.
pub fn admit(pod: &mut Value) -> bool {
    let list = pod["spec"]["tolerations"].as_array().map(Vec::as_slice).unwrap_or_default();
    let covered = |taint: &str| {
        list.iter().any(|toleration| {
            let (key, effect) = (text(toleration, "/key"), text(toleration, "/effect"));
            (key == taint || key.is_empty()) && (effect == "NoExecute" || effect.is_empty())
        })
    };
    let missing: Vec<Value> = TAINTS
        .into_iter()
        .filter(|taint| !covered(taint))
        .map(|taint| json!({ "key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS }))
        .collect();
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
        let mut pod = json!({ "spec": {} });
        assert!(admit(&mut pod));
        assert_eq!(pod["spec"]["tolerations"].as_array().unwrap().len(), 2);
        assert!(!admit(&mut pod));
        let all = json!({ "spec": { "tolerations": [{ "operator": "Exists" }] } });
        let mut pod = all.clone();
        assert!(!admit(&mut pod));
        assert_eq!(pod, all);
    }
}
