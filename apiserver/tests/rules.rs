//! `x-kubernetes-validations` from kubectl's side: what a definition may say, and what becomes of objects.

mod support;

use support::{APPLY, Server, kubectl_is_missing};

fn definition(rules: &str) -> String {
    format!(
        r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: gates.example.dev}}
spec:
  group: example.dev
  scope: Namespaced
  names: {{plural: gates, singular: gate, kind: Gate, listKind: GateList}}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {{}}
      scale: {{specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            x-kubernetes-validations: {rules}
            properties:
              replicas: {{type: integer}}
              max: {{type: integer}}
              owner:
                type: string
                maxLength: 20
                x-kubernetes-validations:
                - {{rule: self == oldSelf, message: owner is immutable}}
              tags:
                type: array
                maxItems: 10
                items:
                  type: string
                  maxLength: 10
          status:
            type: object
            x-kubernetes-validations:
            - {{rule: "self.replicas >= 0", reason: FieldValueForbidden, fieldPath: .replicas}}
            properties:
              replicas: {{type: integer}}
"#
    )
}

fn gate(spec: &str) -> String {
    format!("apiVersion: example.dev/v1\nkind: Gate\nmetadata: {{name: g, namespace: default}}\nspec: {spec}\n")
}

#[test]
fn rules_hold_on_every_way_in() {
    if kubectl_is_missing() {
        return;
    }
    let server = Server::start("rules");
    server.fails(
        APPLY,
        &definition("[{rule: self.nope > 1}]"),
        "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule: Invalid value: ",
    );
    server.fails(
        APPLY,
        &definition("[{rule: self.nope > 1}]"),
        "compilation failed: ERROR: <input>:1:5: undefined field 'nope'",
    );
    let nested = ["a", "b", "c", "d", "e", "f", "g"].map(|v| format!("self.tags.all({v}, ")).concat();
    server.fails(
        APPLY,
        &definition(&format!("[{{rule: '{nested}a != b{}'}}]", ")".repeat(7))),
        "estimated rule cost exceeds budget by factor of",
    );
    let rules = "[{rule: self.replicas <= self.max, messageExpression: \"'%d replicas are more than %d'.format([self.replicas, self.max])\"}, \
                 {rule: 'self.tags.all(t, t.size() > 1)'}]";
    server.ok(APPLY, &definition(rules));
    server.ok(&["wait", "--for=condition=Established", "crd/gates.example.dev"], "");
    server.fails(
        APPLY,
        &gate("{replicas: 3, max: 2, tags: [a]}"),
        "The Gate \"g\" is invalid: \n* spec: Invalid value: 3 replicas are more than 2\n* spec: Invalid value: failed rule: self.tags.all(t, t.size() > 1)",
    );
    server.fails(
        APPLY,
        &gate("{replicas: many, max: 2, tags: [a]}"),
        "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid",
    );
    server.ok(APPLY, &gate("{replicas: 1, max: 2, owner: jane, tags: [ab]}"));
    server.fails(
        APPLY,
        &gate("{replicas: 1, max: 2, owner: joe, tags: [ab]}"),
        "spec.owner: Invalid value: \"joe\": owner is immutable",
    );
    server.fails(&["scale", "gates/g", "--replicas=5"], "", "5 replicas are more than 2");
    server.ok(&["scale", "gates/g", "--replicas=2"], "");
    let status = |replicas: i64| format!("{{\"status\":{{\"replicas\":{replicas}}}}}");
    let patch = ["patch", "gates/g", "--subresource=status", "--type=merge", "-p"];
    let refused = server.kubectl(&[&patch[..], &[&status(-1)]].concat(), "");
    assert!(
        !refused.0 && refused.1.contains("status.replicas: Forbidden: failed rule: self.replicas >= 0"),
        "{}",
        refused.1
    );
    server.ok(&[&patch[..], &[&status(1)]].concat(), "");
    // A rule that comes later tolerates what was there, and says so; a change has to obey it.
    server.ok(APPLY, &definition("[{rule: self.max > 100, message: max is too small}]"));
    let text = server.ok(&["patch", "gates/g", "--type=merge", "-p", "{\"metadata\":{\"labels\":{\"a\":\"b\"}}}"], "");
    assert!(text.contains("Warning: spec: Invalid value: max is too small"), "{text}");
    server.fails(&["patch", "gates/g", "--type=merge", "-p", "{\"spec\":{\"max\":3}}"], "", "max is too small");
    server.ok(&["patch", "gates/g", "--type=merge", "-p", "{\"spec\":{\"max\":300}}"], "");
}

#[test]
fn a_status_that_a_create_does_not_take_is_nobodys() {
    if kubectl_is_missing() {
        return;
    }
    let server = Server::start("nobodys");
    let with_default =
        definition("[]").replace("          status:\n", "          status:\n            default: {replicas: 3}\n");
    server.ok(&["create", "-f", "-"], &with_default);
    server.ok(&["wait", "--for=condition=established", "crd/gates.example.dev"], "");
    server.ok(&["create", "-f", "-"], &(gate("{replicas: 1}") + "status: {replicas: 5}\n"));
    let object = server.ok(&["get", "gate", "g", "--show-managed-fields", "-o", "json"], "");
    let object: serde_json::Value = serde_json::from_str(&object).unwrap();
    assert_eq!(object["status"], serde_json::json!({"replicas": 3}));
    let fields = serde_json::json!({"f:spec": {".": {}, "f:replicas": {}}});
    assert_eq!(object["metadata"]["managedFields"][0]["fieldsV1"], fields);
}
