//! Admission policies from kubectl's side. A policy holds from the moment its watch event is seen, so each step that needs one
//! tries until it does.

mod support;

use std::time::{Duration, Instant};

use support::{APPLY, Server, kubectl_is_missing};

impl Server {
    /// Runs kubectl until it says what is expected.
    fn soon(&self, args: &[&str], input: &str, success: bool, with: &str) -> String {
        let begun = Instant::now();
        loop {
            let (ok, text) = self.kubectl(args, input);
            if ok == success && text.contains(with) {
                return text;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "kubectl {args:?} should say {with:?}: {text}");
        }
    }
}

const DRY: &[&str] = &["apply", "--dry-run=server", "-f", "-"];

fn policy(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata: {{name: {name}}}\nspec:\n{spec}"
    )
}

fn binding(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\nmetadata: {{name: {name}-binding}}\n\
         spec: {{policyName: {name}, {spec}}}\n"
    )
}

fn deployment(name: &str, replicas: u32) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: default}}\nspec:\n  replicas: {replicas}\n  \
         selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: {name}}}}}\n    spec:\n      \
         containers: [{{name: c, image: pause}}]\n"
    )
}

const DEPLOYMENTS: &str = "  matchConstraints:\n    resourceRules:\n    - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}\n";

#[test]
fn validating_policies() {
    if kubectl_is_missing() {
        return;
    }
    let server = Server::start("policies");
    let wrong = format!("{DEPLOYMENTS}  validations: [{{expression: object.spec.replicas}}]\n");
    server.fails(
        APPLY,
        &policy("wrong", &wrong),
        "spec.validations[0].expression: Invalid value: \"object.spec.replicas\": must evaluate to bool but got dyn",
    );

    let spec = format!(
        "{DEPLOYMENTS}  variables:\n  - {{name: replicas, expression: object.spec.replicas}}\n  - {{name: odd, expression: variables.replicas % 2 == 1}}\n  \
         validations:\n  - expression: variables.replicas > 1\n    messageExpression: \"'wants replicas > 1, got ' + string(variables.replicas)\"\n  \
         - expression: variables.odd\n    message: replicas must be odd\n    reason: Forbidden\n"
    );
    server.ok(APPLY, &policy("replicas", &spec));
    let status = |name: &'static str| ["get", "validatingadmissionpolicy", name, "-o", "jsonpath={.status}"];
    server.soon(&status("replicas"), "", true, "{\"observedGeneration\":1,\"typeChecking\":{}}");
    let misspelt = format!("{DEPLOYMENTS}  validations: [{{expression: object.spec.replicaz > 1}}]\n");
    server.ok(APPLY, &policy("misspelt", &misspelt));
    server.soon(
        &status("misspelt"),
        "",
        true,
        "{\"observedGeneration\":1,\"typeChecking\":{\"expressionWarnings\":[{\"fieldRef\":\"spec.validations[0].expression\",\"warning\":\"apps/v1, Kind=Deployment: ERROR: \\u003cinput\\u003e:1:12: undefined field 'replicaz'",
    );
    // Nothing holds without a binding.
    server.ok(DRY, &deployment("one", 1));
    server.ok(APPLY, &binding("replicas", "validationActions: [Deny]"));
    server.soon(
        DRY,
        &deployment("one", 1),
        false,
        "The deployments \"one\" is invalid: : ValidatingAdmissionPolicy 'replicas' with binding 'replicas-binding' denied request: wants replicas > 1, got 1",
    );
    server.fails(DRY, &deployment("four", 4), "denied request: replicas must be odd");
    server.ok(APPLY, &deployment("three", 3));
    // Scaling writes the Deployment through another resource, which the policy does not name.
    server.ok(&["scale", "deployment/three", "--replicas=2", "--dry-run=server"], "");
    // A warning refuses nothing.
    server.ok(APPLY, &binding("replicas", "validationActions: [Warn]"));
    server.soon(
        DRY,
        &deployment("one", 1),
        true,
        "Warning: Validation failed for ValidatingAdmissionPolicy 'replicas' with binding 'replicas-binding': wants replicas > 1, got 1",
    );
    server.ok(&["delete", "validatingadmissionpolicybinding", "replicas-binding"], "");

    // Parameters, selectors, conditions, failures.
    let spec = format!(
        "{DEPLOYMENTS}  paramKind: {{apiVersion: v1, kind: ConfigMap}}\n  matchConditions:\n  - {{name: not-exempt, expression: \"!object.metadata.name.startsWith('exempt')\"}}\n  \
         validations:\n  - expression: object.spec.replicas <= int(params.data.max)\n    messageExpression: \"'at most ' + params.data.max + ' in ' + namespaceObject.metadata.name\"\n  \
         - expression: authorizer.group('').resource('secrets').namespace('default').check('list').allowed()\n"
    );
    server.ok(APPLY, &policy("limit", &spec));
    let param = "validationActions: [Deny], paramRef: {name: limit, parameterNotFoundAction: Deny}";
    server.ok(APPLY, &binding("limit", param));
    server.soon(
        DRY,
        &deployment("a", 1),
        false,
        "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction",
    );
    server.ok(&["create", "configmap", "limit", "--from-literal=max=3"], "");
    server.soon(DRY, &deployment("a", 1), true, "");
    server.fails(DRY, &deployment("a", 5), "denied request: at most 3 in default");
    server.ok(DRY, &deployment("exempt", 5));
    server.fails(&[DRY, &["--as=jane", "--as-group=system:masters-not"]].concat(), &deployment("a", 1), "forbidden");
    server.ok(&["patch", "configmap", "limit", "--type=merge", "-p", "{\"data\":{\"max\":\"many\"}}"], "");
    server.soon(DRY, &deployment("a", 1), false, "resulted in error: type conversion error from 'string' to 'int'");
    server.ok(
        &[
            "patch",
            "validatingadmissionpolicy",
            "limit",
            "--type=merge",
            "-p",
            "{\"spec\":{\"failurePolicy\":\"Ignore\"}}",
        ],
        "",
    );
    server.soon(DRY, &deployment("a", 1), true, "");
    server.ok(&["delete", "validatingadmissionpolicy", "limit"], "");

    // Deletions have an old object only.
    let spec = "  matchConstraints:\n    resourceRules:\n    - {apiGroups: [\"\"], apiVersions: [v1], operations: [DELETE], resources: [configmaps]}\n    \
                objectSelector: {matchLabels: {keep: \"yes\"}}\n  validations:\n  - expression: object != null || oldObject.metadata.name != 'kept'\n";
    server.ok(APPLY, &policy("keep", spec));
    server.ok(APPLY, &binding("keep", "validationActions: [Deny]"));
    server.ok(
        APPLY,
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kept, namespace: default, labels: {keep: \"yes\"}}\n",
    );
    server.soon(
        &["delete", "configmap", "kept", "--dry-run=server"],
        "",
        false,
        "denied request: failed expression: object != null || oldObject.metadata.name != 'kept'",
    );
}

#[test]
fn mutating_policies() {
    if kubectl_is_missing() {
        return;
    }
    let server = Server::start("mutations");
    let policy = |name: &str, mutations: &str| {
        format!(
            "apiVersion: admissionregistration.k8s.io/v1beta1\nkind: MutatingAdmissionPolicy\nmetadata: {{name: {name}}}\nspec:\n{DEPLOYMENTS}  \
             reinvocationPolicy: Never\n  mutations:\n{mutations}---\napiVersion: admissionregistration.k8s.io/v1beta1\nkind: MutatingAdmissionPolicyBinding\n\
             metadata: {{name: {name}}}\nspec: {{policyName: {name}}}\n"
        )
    };
    let mutations = "  - patchType: ApplyConfiguration\n    applyConfiguration:\n      expression: >\n        Object{metadata: Object.metadata{labels: {'made': 'by-policy'}},\n        \
                     spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{initContainers: [\n        \
                     Object.spec.template.spec.initContainers{name: 'mesh', image: 'mesh:1', restartPolicy: 'Always'}]}}}}\n  \
                     - patchType: JSONPatch\n    jsonPatch:\n      expression: >\n        [JSONPatch{op: 'test', path: '/spec/replicas', value: 3},\n        \
                     JSONPatch{op: 'add', path: '/metadata/annotations', value: {}},\n        \
                     JSONPatch{op: 'add', path: '/metadata/annotations/' + jsonpatch.escapeKey('example.dev/x'), value: object.metadata.labels['made']}]\n";
    server.ok(APPLY, &policy("mesh", mutations));
    server.soon(
        &["create", "--dry-run=server", "-o", "yaml", "-f", "-"],
        &deployment("three", 3),
        true,
        "image: mesh:1",
    );
    let text = server.ok(&["create", "-o", "yaml", "-f", "-"], &deployment("three", 3));
    for expected in
        ["made: by-policy", "example.dev/x: by-policy", "name: mesh", "name: c", "imagePullPolicy: IfNotPresent"]
    {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    // The second mutation's test does not hold: it changes nothing.
    let text = server.ok(&["create", "-o", "yaml", "-f", "-"], &deployment("two", 2));
    assert!(text.contains("made: by-policy") && !text.contains("example.dev/x"), "{text}");
    let wrong = "  - patchType: ApplyConfiguration\n    applyConfiguration: {expression: 'Object{spec: Object.nope{replicas: 1}}'}\n";
    server.ok(APPLY, &policy("mesh", wrong));
    server.soon(
        &["create", "--dry-run=server", "-f", "-"],
        &deployment("four", 4),
        false,
        "policy 'mesh' with binding 'mesh' denied request: type mismatch: unexpected type name \"Object.nope\", expected \"Object.spec\", which matches field name path from root Object type",
    );
    // What a mutation fails to do does not keep the others from being done, where failures do not count.
    let label = |n: u8| {
        format!(
            "  - patchType: JSONPatch\n    jsonPatch: {{expression: \"[JSONPatch{{op: 'add', path: '/metadata/labels', value: Object.metadata.labels{{n{n}: 'x'}}}}]\"}}\n"
        )
    };
    let broken =
        "  - patchType: JSONPatch\n    jsonPatch: {expression: \"[JSONPatch{op: 'remove', path: '/nope'}]\"}\n";
    let three = policy("mesh", &format!("{}{broken}{}", label(1), label(3)));
    server.ok(
        APPLY,
        &three.replacen("reinvocationPolicy: Never", "reinvocationPolicy: Never\n  failurePolicy: Ignore", 1),
    );
    server.soon(&["create", "--dry-run=server", "-o", "yaml", "-f", "-"], &deployment("four", 4), true, "n3: x");
    server.ok(APPLY, &three);
    server.soon(
        &["create", "--dry-run=server", "-f", "-"],
        &deployment("four", 4),
        false,
        "JSON Patch: error in remove for path: '/nope': Unable to remove nonexistent key: nope: missing value",
    );
    // Who is asked again is asked again for its own change, too.
    let longer = "  - patchType: JSONPatch\n    jsonPatch: {expression: \"[JSONPatch{op: 'add', path: '/metadata/annotations', value: {'seen': (has(object.metadata.annotations) ? object.metadata.annotations['seen'] : '') + 'x'}}]\"}\n";
    let again = policy("mesh", longer).replacen("reinvocationPolicy: Never", "reinvocationPolicy: IfNeeded", 1);
    server.ok(APPLY, &again);
    server.soon(&["create", "--dry-run=server", "-o", "yaml", "-f", "-"], &deployment("four", 4), true, "seen: xx\n");
    let atomic = "  - patchType: ApplyConfiguration\n    applyConfiguration: {expression: \"Object{spec: Object.spec{selector: Object.spec.selector{matchLabels: {'a': 'b'}}}}\"}\n";
    server.ok(APPLY, &policy("mesh", atomic));
    server.soon(
        &["create", "--dry-run=server", "-f", "-"],
        &deployment("four", 4),
        false,
        "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.selector",
    );
}

#[test]
fn failures_and_annotations_reach_the_audit_log() {
    if kubectl_is_missing() {
        return;
    }
    let server = Server::start_with("policies-audit", None, |dir| {
        std::fs::write(
            dir.join("policy.yaml"),
            "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n",
        )
        .unwrap();
        vec![
            format!("--audit-policy-file={}", dir.join("policy.yaml").display()),
            format!("--audit-log-path={}", dir.join("audit.log").display()),
        ]
    });
    let spec = format!(
        "{DEPLOYMENTS}  validations:\n  - expression: 'true'\n  - {{expression: object.spec.replicas > 5, message: too few}}\n  \
         auditAnnotations:\n  - {{key: replicas, valueExpression: \"' has ' + string(object.spec.replicas) + ' '\"}}\n  \
         - {{key: nothing, valueExpression: 'null'}}\n"
    );
    server.ok(APPLY, &policy("audited", &spec));
    server.ok(APPLY, &binding("audited", "validationActions: [Audit]"));
    let begun = Instant::now();
    let noted = loop {
        server.ok(DRY, &deployment("d", 1));
        let log = std::fs::read_to_string(server.dir.join("audit.log")).unwrap();
        let mut lines = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        if let Some(line) = lines.find(|line| !line["annotations"]["audited/replicas"].is_null()) {
            break line["annotations"].clone();
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "the audit log was told nothing: {log}");
    };
    assert_eq!(noted["audited/replicas"], "has 1");
    assert_eq!(noted.get("audited/nothing"), None);
    let failure = noted["validation.policy.admission.k8s.io/validation_failure"].as_str().unwrap();
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(failure).unwrap(),
        serde_json::json!([{
            "message": "too few", "policy": "audited", "binding": "audited-binding",
            "expressionIndex": 1, "validationActions": ["Audit"],
        }])
    );
}
