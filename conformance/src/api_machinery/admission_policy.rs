//! ValidatingAdmissionPolicy and MutatingAdmissionPolicy.

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::client::{Objects, PATIENCE, Patch, Refusal, Refused};
use crate::operations::{self, Operations};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] should validate against a Deployment [Conformance]" => deployment,
    "[sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] should allow expressions to refer variables. [Conformance]" => variables,
    "[sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] should support ValidatingAdmissionPolicy API operations [Conformance]" => policies,
    "[sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] should support ValidatingAdmissionPolicyBinding API operations [Conformance]" => bindings,
    "[sig-api-machinery] MutatingAdmissionPolicy [Privileged:ClusterAdmin] should mutate a Deployment [Conformance]" => mutate,
    "[sig-api-machinery] MutatingAdmissionPolicy [Privileged:ClusterAdmin] should mutate a Deployment with annotations [Conformance]" => annotate,
    "[sig-api-machinery] MutatingAdmissionPolicy [Privileged:ClusterAdmin] should support MutatingAdmissionPolicy API operations [Conformance]" => mutating_policies,
    "[sig-api-machinery] MutatingAdmissionPolicy [Privileged:ClusterAdmin] should support MutatingAdmissionPolicyBinding API operations [Conformance]" => mutating_bindings,
}

const VALIDATING: (&str, &str) = ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy");
/// v1 came with v1.36; the specs' names are from there.
const MUTATING: (&str, &str) = ("admissionregistration.k8s.io/v1beta1", "MutatingAdmissionPolicy");

/// A policy on Deployments in the spec's namespace, and its binding.
struct Pair<'a> {
    t: &'a Test,
    kind: (&'static str, &'static str),
    name: String,
    /// The label by which both find the namespace.
    label: String,
}

impl<'a> Pair<'a> {
    async fn create(t: &'a Test, kind: (&'static str, &'static str), spec: Value) -> anyhow::Result<Self> {
        let pair = Self { t, kind, name: t.name("policy"), label: t.name("label") };
        let labels = json!({ "metadata": { "labels": { &pair.label: "true" } } });
        t.everywhere("v1", "namespaces").patch(&t.namespace, Patch::Merge, &labels).await?;
        let here = json!({ "matchLabels": { &pair.label: "true" } });
        let mut spec = spec;
        spec["matchConstraints"] = json!({ "namespaceSelector": here, "resourceRules": [{
            "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["deployments"],
        }] });
        let mut binding = json!({ "policyName": pair.name, "matchResources": { "namespaceSelector": here } });
        if kind == VALIDATING {
            binding["validationActions"] = json!(["Deny"]);
        }
        pair.policies().create(&pair.object("", &pair.name, spec)).await?;
        pair.bindings().create(&pair.object("Binding", &pair.name, binding)).await?;
        Ok(pair)
    }

    fn object(&self, suffix: &str, name: &str, spec: Value) -> Value {
        let kind = format!("{}{suffix}", self.kind.1);
        json!({ "apiVersion": self.kind.0, "kind": kind, "metadata": { "name": name }, "spec": spec })
    }

    fn policies(&self) -> Objects {
        let plural = self.kind.1.to_lowercase().replace("policy", "policies");
        self.t.everywhere(self.kind.0, &plural)
    }

    fn bindings(&self) -> Objects {
        self.t.everywhere(self.kind.0, &format!("{}bindings", self.kind.1.to_lowercase()))
    }

    async fn remove(&self) -> anyhow::Result<()> {
        self.bindings().delete(&self.name).await?;
        self.policies().delete(&self.name).await?;
        Ok(())
    }
}

fn workload(kind: &str, name: &str, replicas: u32) -> Value {
    json!({ "apiVersion": "apps/v1", "kind": kind, "metadata": { "name": name }, "spec": {
        "replicas": replicas, "selector": { "matchLabels": { "app": name } },
        "template": {
            "metadata": { "labels": { "app": name } }, "spec": { "containers": [{ "name": "c", "image": "pause" }] },
        },
    } })
}

/// Creates it until it is refused: a policy holds from a moment after its creation.
async fn until_refused(objects: &Objects, object: &Value) -> anyhow::Result<Refused> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let created = objects.create_with("dryRun=All", object).await;
        if created.is_err() || Instant::now() > deadline {
            return created.refused_with(422);
        }
        tokio::task::yield_now().await;
    }
}

async fn deployment(t: Test) -> anyhow::Result<()> {
    let spec = json!({ "validations": [{
        "expression": "object.spec.replicas > 1",
        "messageExpression": "'wants replicas > 1, got ' + string(object.spec.replicas)",
    }] });
    let pair = Pair::create(&t, VALIDATING, spec).await?;
    let deployments = t.objects("apps/v1", "deployments");
    let refused = until_refused(&deployments, &workload("Deployment", "one", 1)).await?;
    expect::same("the reason", &refused.reason(), &"Invalid")?;
    expect::has_text(refused.message(), "wants replicas > 1, got 1")?;
    expect::has_text(refused.message(), &format!("ValidatingAdmissionPolicy '{0}' with binding '{0}'", pair.name))?;
    deployments.create(&workload("Deployment", "two", 2)).await?;
    let scaled = deployments.patch("two", Patch::Merge, &json!({ "spec": { "replicas": 1 } })).await;
    scaled.refused_with(422)?;
    t.objects("apps/v1", "replicasets").create(&workload("ReplicaSet", "one", 1)).await?;
    pair.remove().await
}

async fn variables(t: Test) -> anyhow::Result<()> {
    let spec = json!({
        "variables": [
            { "name": "replicas", "expression": "object.spec.replicas" },
            { "name": "oddReplicas", "expression": "variables.replicas % 2 == 1" },
        ],
        "validations": [
            { "expression": "variables.replicas > 1" },
            { "expression": "variables.oddReplicas" },
        ],
    });
    let pair = Pair::create(&t, VALIDATING, spec).await?;
    let deployments = t.objects("apps/v1", "deployments");
    let refused = until_refused(&deployments, &workload("Deployment", "one", 1)).await?;
    expect::has_text(refused.message(), "failed expression: variables.replicas > 1")?;
    let refused = deployments.create(&workload("Deployment", "two", 2)).await.refused_with(422)?;
    expect::has_text(refused.message(), "failed expression: variables.oddReplicas")?;
    deployments.create(&workload("Deployment", "three", 3)).await?;
    t.objects("apps/v1", "replicasets").create(&workload("ReplicaSet", "one", 1)).await?;
    pair.remove().await
}

/// Creates Deployments until one was changed by a policy.
async fn until_mutated(t: &Test, wanted: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
    let deployments = t.objects("apps/v1", "deployments");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let created = deployments.create_with("dryRun=All", &workload("Deployment", "one", 1)).await?;
        if wanted(&created) {
            return deployments.create(&workload("Deployment", "one", 1)).await;
        }
        expect::that(Instant::now() < deadline, || format!("no policy changed {created}"))?;
        tokio::task::yield_now().await;
    }
}

async fn mutate(t: Test) -> anyhow::Result<()> {
    let spec = json!({
        "reinvocationPolicy": "Never",
        "mutations": [{ "patchType": "ApplyConfiguration", "applyConfiguration": {
            "expression": "Object{spec: Object.spec{replicas: object.spec.replicas + 1}}",
        } }],
    });
    let pair = Pair::create(&t, MUTATING, spec).await?;
    let created = until_mutated(&t, |deployment| deployment["spec"]["replicas"] == 2).await?;
    expect::at(&created, "/spec/replicas", 2)?;
    let replica_set = t.objects("apps/v1", "replicasets").create(&workload("ReplicaSet", "one", 1)).await?;
    expect::at(&replica_set, "/spec/replicas", 1)?;
    pair.remove().await
}

async fn annotate(t: Test) -> anyhow::Result<()> {
    let spec = json!({
        "reinvocationPolicy": "Never",
        "variables": [{ "name": "annotation", "expression": "'by the policy'" }],
        "mutations": [
            { "patchType": "ApplyConfiguration", "applyConfiguration": { "expression":
                "Object{metadata: Object.metadata{annotations: {'example.com/applied': variables.annotation}}}" } },
            { "patchType": "JSONPatch", "jsonPatch": { "expression":
                "[JSONPatch{op: 'add', path: '/metadata/annotations/' + jsonpatch.escapeKey('example.com/patched'), value: object.metadata.name}]" } },
        ],
    });
    let pair = Pair::create(&t, MUTATING, spec).await?;
    let created = until_mutated(&t, |deployment| !deployment["metadata"]["annotations"].is_null()).await?;
    let annotations = json!({ "example.com/applied": "by the policy", "example.com/patched": "one" });
    expect::at(&created, "/metadata/annotations", annotations)?;
    pair.remove().await
}

/// A policy that matches nothing there is.
fn idle(kind: (&'static str, &'static str), plural: &'static str, mut spec: Value, status: bool) -> Operations {
    spec["matchConstraints"] = json!({ "resourceRules": [{
        "apiGroups": ["none.example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["nothings"],
    }] });
    let condition = json!({
        "type": "StatusUpdated", "status": "True", "reason": "E2E", "message": "by the spec",
        "lastTransitionTime": "2024-01-02T03:04:05Z",
    });
    Operations {
        api_version: kind.0,
        kind: kind.1,
        plural,
        namespaced: false,
        object: json!({ "spec": spec }),
        change: json!({ "spec": { "failurePolicy": "Ignore" } }),
        status: status.then(|| json!({ "conditions": [condition] })),
    }
}

fn idle_binding(api_version: &'static str, kind: &'static str, plural: &'static str, spec: Value) -> Operations {
    Operations {
        api_version,
        kind,
        plural,
        namespaced: false,
        object: json!({ "spec": spec }),
        change: json!({ "spec": { "matchResources": { "matchPolicy": "Exact" } } }),
        status: None,
    }
}

async fn policies(t: Test) -> anyhow::Result<()> {
    let spec = json!({ "validations": [{ "expression": "object.spec.replicas <= 100" }] });
    operations::run(&t, &idle(VALIDATING, "validatingadmissionpolicies", spec, true)).await
}

async fn bindings(t: Test) -> anyhow::Result<()> {
    let spec = json!({ "policyName": "missing.example.com", "validationActions": ["Deny"] });
    let plural = "validatingadmissionpolicybindings";
    operations::run(&t, &idle_binding(VALIDATING.0, "ValidatingAdmissionPolicyBinding", plural, spec)).await
}

async fn mutating_policies(t: Test) -> anyhow::Result<()> {
    let spec = json!({
        "reinvocationPolicy": "Never",
        "mutations": [{ "patchType": "ApplyConfiguration", "applyConfiguration": { "expression": "Object{}" } }],
    });
    operations::run(&t, &idle(MUTATING, "mutatingadmissionpolicies", spec, false)).await
}

async fn mutating_bindings(t: Test) -> anyhow::Result<()> {
    let spec = json!({ "policyName": "missing.example.com" });
    let plural = "mutatingadmissionpolicybindings";
    operations::run(&t, &idle_binding(MUTATING.0, "MutatingAdmissionPolicyBinding", plural, spec)).await
}
