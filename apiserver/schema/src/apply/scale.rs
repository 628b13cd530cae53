//! Whose the replicas are: the managers of an object's fields as those of its `scale`, and back (`managedfields/scalehandler.go`).
//!
//! ```text
//! object's managers ── those that have its replicas ──> Scale's managers ── apply ──> object's managers: replicas changed hands
//! ```

use serde_json::Value;

use super::Manager;
use super::fields::Fields;
use super::managers::{Managed, read, shown, write};
use super::set::{Set, field};

/// The API version of every Scale.
const VERSION: &str = "autoscaling/v1";

/// Where the replicas are, as steps of a set: in the object's versions, each by its name.
type Paths<'a> = &'a dyn Fn(&str) -> Option<Vec<String>>;

fn replicas() -> Vec<String> {
    vec![field("spec"), field("replicas")]
}

/// A path of field names, with dots between them, as steps of a set.
#[must_use]
pub fn steps(path: &str) -> Vec<String> {
    path.trim_start_matches('.').split('.').map(field).collect()
}

/// The `managedFields` of an object's Scale; `path` tells where the replicas are in an API version of the object.
#[must_use]
pub fn to_scale(object: &Value, path: Paths<'_>) -> Vec<Value> {
    let managed = read(super::entries(Some(object)).cloned());
    let of_scale = managed.into_iter().filter_map(|mut entry| {
        let path = path(&entry.manager.api_version)?;
        entry.fields.set().contains(&path).then(|| Managed {
            manager: Manager { api_version: VERSION.to_owned(), ..entry.manager },
            fields: Fields::Set(Set::of(&replicas())),
        })
    });
    of_scale.map(shown).collect()
}

/// Gives `object` the managers it has after its Scale, which was made by [`to_scale()`], has those of `scale`. Who did not have
/// the replicas before has them in `api_version`.
pub fn to_object(object: &mut Value, scale: &Value, api_version: &str, path: Paths<'_>) {
    let mut of_scale = read(super::entries(Some(scale)).cloned());
    let mut managed = Vec::new();
    for mut entry in read(super::entries(Some(object)).cloned()) {
        // Upstream drops those of versions that it does not know.
        let Some(path) = path(&entry.manager.api_version) else { continue };
        if entry.fields.set().contains(&path) {
            // Updaters are those of a version, so what the Scale knows of them is news to the object.
            match of_scale.iter().position(|own| own.is(&entry.manager)) {
                Some(own) => drop(of_scale.remove(own)),
                None => entry.fields.subtract(&Set::of(&path)),
            }
        }
        managed.push(entry);
    }
    if let Some(path) = path(api_version) {
        let new = of_scale.into_iter().filter_map(|mut own| {
            own.fields.set().contains(&replicas()).then(|| Managed {
                // Of when it came to have them upstream says nothing.
                manager: Manager { api_version: api_version.to_owned(), time: String::new(), ..own.manager },
                fields: Fields::Set(Set::of(&path)),
            })
        });
        managed.extend(new);
    }
    write(object, managed);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn replicas_change_hands() {
        let path = |version: &str| (version == "apps/v1").then(|| steps(".spec.replicas"));
        let entry = |manager: &str, operation: &str, version: &str, subresource: &str, time: &str, fields: Value| {
            let mut entry = json!({ "manager": manager, "operation": operation, "apiVersion": version,
                "fieldsType": "FieldsV1", "fieldsV1": fields });
            for (name, text) in [("subresource", subresource), ("time", time)] {
                if !text.is_empty() {
                    entry[name] = text.into();
                }
            }
            entry
        };
        let replicas = json!({ "f:spec": { "f:replicas": {} } });
        let both = json!({ "f:spec": { "f:paused": {}, "f:replicas": {} } });
        let rest = json!({ "f:spec": { "f:paused": {} } });
        let object = json!({ "metadata": { "managedFields": [
            entry("owner", "Apply", "apps/v1", "", "t", both.clone()),
            entry("other", "Update", "apps/v1", "", "t", both),
            entry("third", "Update", "apps/v1", "", "t", rest.clone()),
            entry("old", "Update", "apps/v0", "", "t", rest.clone()),
        ] } });
        let of_scale = to_scale(&object, &path);
        let owner = entry("owner", "Apply", VERSION, "", "t", replicas.clone());
        assert_eq!(of_scale, [owner.clone(), entry("other", "Update", VERSION, "", "t", replicas.clone())]);
        let scaler = entry("scaler", "Update", VERSION, "scale", "now", replicas.clone());
        let scale = json!({ "metadata": { "managedFields": [owner, scaler] } });
        let mut scaled = object;
        to_object(&mut scaled, &scale, "apps/v1", &path);
        let expected = json!([
            entry("owner", "Apply", "apps/v1", "", "t", json!({ "f:spec": { "f:paused": {}, "f:replicas": {} } })),
            entry("scaler", "Update", "apps/v1", "scale", "", replicas),
            entry("other", "Update", "apps/v1", "", "t", rest.clone()),
            entry("third", "Update", "apps/v1", "", "t", rest),
        ]);
        assert_eq!(scaled["metadata"]["managedFields"], expected);
    }
}
