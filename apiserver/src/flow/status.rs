//! What the FlowSchemas' status says: whether the priority level that a schema names is there (`apf_controller.go`,
//! presyncFlowSchemaStatus).

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{GROUP, SCHEMAS};
use crate::app::{App, Call, text};
use crate::http::status::ApiResult;
use crate::registry::{object, versions, write};

/// Upstream's consumer of the objects, whose the condition is.
const MANAGER: &str = "api-priority-and-fairness-config-consumer-v1";
const DANGLING: &str = "Dangling";

/// The condition a schema is to have, without its time; `None`: it has it.
fn due(schema: &Value, levels: &BTreeSet<String>) -> Option<Value> {
    let level = text(schema, "/spec/priorityLevelConfiguration/name");
    let of =
        format!("This FlowSchema references the PriorityLevelConfiguration object named {}", schema::go::quote(level));
    let [status, reason, message] = match levels.contains(level) {
        true => ["False", "Found", &format!("{of} and it exists")],
        false => ["True", "NotFound", &format!("{of} but there is no such object")],
    };
    let conditions = schema["status"]["conditions"].as_array().into_iter().flatten();
    let holds = conditions.filter(|condition| condition["type"] == DANGLING).any(|condition| {
        condition["status"] == status && condition["reason"] == reason && condition["message"] == message
    });
    (!holds).then(|| json!({ "type": DANGLING, "status": status, "reason": reason, "message": message }))
}

/// Writes what is due to be said of schemas.
///
/// # Errors
/// The store does not answer.
pub async fn tell(app: &Arc<App>, schemas: &[Value], levels: &BTreeSet<String>) -> ApiResult<()> {
    for schema in schemas.iter().filter(|schema| due(schema, levels).is_some()) {
        let name = text(schema, "/metadata/name");
        let call = Call::internal(app, GROUP, SCHEMAS, "", name)?;
        let key = call.resource.key("", name);
        for _ in 0..write::ATTEMPTS {
            let Some(live) = write::load(&call, &key).await? else { break };
            let Some(mut condition) = due(&live.value, levels) else { break };
            condition["lastTransitionTime"] = object::now().into();
            let status = json!({ "conditions": [condition] });
            let new = versions::with_status(&call, &live.value, MANAGER, status).await?;
            if write::commit(&call, &key, new, live.revision).await?.is_some() {
                break;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions() {
        let levels = BTreeSet::from(["a".to_owned()]);
        let schema = |level: &str, condition: Value| {
            let spec = json!({ "priorityLevelConfiguration": { "name": level } });
            json!({ "spec": spec, "status": { "conditions": [condition] } })
        };
        let of =
            |level: &str| format!("This FlowSchema references the PriorityLevelConfiguration object named \"{level}\"");
        let found = json!({ "type": "Dangling", "status": "False", "reason": "Found", "message": format!("{} and it exists", of("a")) });
        let missing = json!({ "type": "Dangling", "status": "True", "reason": "NotFound",
            "message": format!("{} but there is no such object", of("b")) });
        assert_eq!(due(&schema("a", json!({ "type": "Other" })), &levels), Some(found.clone()));
        assert_eq!(due(&schema("a", found.clone()), &levels), None);
        assert_eq!(due(&schema("b", found), &levels), Some(missing.clone()));
        assert_eq!(due(&schema("b", missing), &levels), None);
        assert!(due(&json!({}), &levels).is_some());
    }
}
