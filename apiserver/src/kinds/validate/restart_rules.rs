//! When a container of its own is started again (`validateContainerRestartPolicy`, KEP-5307).

use schema::field::{Error, ErrorList, Path};
use serde_json::Value;

use super::super::json::Json;
use super::one_of;

const ALWAYS: &str = "Always";

/// The most rules of one container, and the most codes of one rule.
const RULES: usize = 20;
const CODES: usize = 255;

/// Whether an init container is a sidecar.
#[must_use]
pub fn is_sidecar(container: &Value) -> bool {
    container.text("restartPolicy") == ALWAYS
}

pub fn of_container(errors: &mut ErrorList, path: &Path, container: &Value) {
    let rules = container.list("restartPolicyRules");
    if container.has("restartPolicy") {
        let policy = container.text("restartPolicy");
        one_of(errors, &path.child("restartPolicy"), policy, &[ALWAYS, "Never", "OnFailure"]);
    } else if !rules.is_empty() {
        no_policy(errors, path);
    }
    let path = path.child("restartPolicyRules");
    if rules.len() > RULES {
        errors.push(Error::too_many(&path, rules.len(), RULES));
    }
    for (i, rule) in rules.iter().enumerate() {
        self::rule(errors, &path.index(i), rule);
    }
}

/// Sidecars have no rules yet, and one without a policy of its own is told nothing more of them.
pub fn of_init_container(errors: &mut ErrorList, path: &Path, container: &Value) {
    let has_rules = !container.list("restartPolicyRules").is_empty();
    if container.has("restartPolicy") && !is_sidecar(container) {
        of_container(errors, path, container);
    } else if is_sidecar(container) && has_rules {
        let detail = "restartPolicyRules are not allowed for init containers with restart policy Always";
        errors.push(Error::forbidden(&path.child("restartPolicyRules"), detail));
    } else if has_rules {
        no_policy(errors, path);
    }
}

fn no_policy(errors: &mut ErrorList, path: &Path) {
    let detail = "must specify restartPolicy when restart rules are used";
    errors.push(Error::required(&path.child("restartPolicy"), detail));
}

fn rule(errors: &mut ErrorList, path: &Path, rule: &Value) {
    one_of(errors, &path.child("action"), rule.text("action"), &["Restart"]);
    let (path, codes) = (path.child("exitCodes"), rule.at("exitCodes"));
    if codes.is_null() {
        errors.push(Error::required(&path, "must be specified"));
        return;
    }
    one_of(errors, &path.child("operator"), codes.text("operator"), &["In", "NotIn"]);
    let values = codes.list("values").len();
    if values > CODES {
        errors.push(Error::too_many(&path.child("values"), values, CODES));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::texts;
    use super::*;

    #[test]
    fn rules_need_a_policy_and_sidecars_have_none() {
        let good = json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}]);
        let no_policy = "c.restartPolicy: Required value: must specify restartPolicy when restart rules are used";
        let policy = "c.restartPolicy: Unsupported value: \"\": supported values: \"Always\", \"Never\", \"OnFailure\"";
        let sidecar = "c.restartPolicyRules: Forbidden: restartPolicyRules are not allowed for init containers with \
                       restart policy Always";
        for (policy, rules, of_container, of_init) in [
            (json!("Never"), &good, vec![], vec![]),
            (json!("Always"), &good, vec![], vec![sidecar]),
            (json!(null), &good, vec![no_policy], vec![no_policy]),
            (json!(""), &json!([]), vec![policy], vec![policy]),
            (
                json!("Never"),
                &json!([{"action": "x"}, {"action": "Restart", "exitCodes": {"values": vec![1; 256]}}]),
                vec![
                    "c.restartPolicyRules[0].action: Unsupported value: \"x\": supported values: \"Restart\"",
                    "c.restartPolicyRules[0].exitCodes: Required value: must be specified",
                    "c.restartPolicyRules[1].exitCodes.operator: Unsupported value: \"\": supported values: \"In\", \
                     \"NotIn\"",
                    "c.restartPolicyRules[1].exitCodes.values: Too many: 256: must have at most 255 items",
                ],
                vec![],
            ),
        ] {
            let container = json!({"restartPolicy": policy, "restartPolicyRules": rules});
            type Rule = fn(&mut ErrorList, &Path, &Value);
            let told = |rule: Rule| {
                let mut errors = ErrorList::new();
                rule(&mut errors, &Path::new("c"), &container);
                texts(&errors)
            };
            let of_init = if policy == "Never" { of_container.clone() } else { of_init };
            assert_eq!(told(super::of_container), of_container);
            assert_eq!(told(super::of_init_container), of_init);
        }
        let container = json!({"restartPolicy": "Never", "restartPolicyRules": vec![good[0].clone(); 21]});
        let mut errors = ErrorList::new();
        of_container(&mut errors, &Path::new("c"), &container);
        assert_eq!(texts(&errors), ["c.restartPolicyRules: Too many: 21: must have at most 20 items"]);
    }
}
