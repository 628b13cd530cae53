//! DefaultTolerationSeconds: a pod stays for five minutes on a node that is not ready or not reachable.

use serde_json::{Value, json};

use crate::app::text;

const SECONDS: i64 = 300;
const TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

pub fn admit(pod: &mut Value) {
    let mut list = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
    for taint in TAINTS {
        let covers = |toleration: &Value| {
            let (key, effect) = (text(toleration, "/key"), text(toleration, "/effect"));
            (key == taint || key.is_empty()) && (effect == "NoExecute" || effect.is_empty())
        };
        if !list.iter().any(covers) {
            list.push(json!({ "key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS }));
        }
    }
    pod["spec"]["tolerations"] = Value::Array(list);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_added_unless_covered() {
        let mut pod = json!({ "spec": {} });
        admit(&mut pod);
        assert_eq!(pod["spec"]["tolerations"].as_array().unwrap().len(), 2);
        let all = json!({ "spec": { "tolerations": [{ "operator": "Exists" }] } });
        let mut pod = all.clone();
        admit(&mut pod);
        assert_eq!(pod, all);
    }
}
