//! The real kubectl against the server.

mod support;

use support::{APPLY, Server, kubectl_is_missing, manifest};

#[test]
fn a_session_with_kubectl() {
    if kubectl_is_missing() {
        return;
    }
    let server = Server::start("session");
    let text = server.ok(APPLY, &manifest("web.yaml"));
    assert!(text.contains("deployment.apps/web created") && text.contains("service/web created"), "{text}");
    let text = server.ok(&["get", "deployment", "web"], "");
    assert!(text.contains("UP-TO-DATE") && text.contains("0/3"), "{text}");

    // Patches, scale, generation, and a change that changes nothing.
    server.ok(&["scale", "deployment", "web", "--replicas=2"], "");
    server.ok(
        &[
            "patch",
            "deployment",
            "web",
            "-p",
            r#"{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"nginx:2"}]}}}}"#,
        ],
        "",
    );
    let path = "jsonpath={.metadata.generation} {.spec.replicas} {.spec.template.spec.containers[0].image} {.spec.template.spec.containers[0].ports[0].containerPort}";
    assert_eq!(server.ok(&["get", "deployment", "web", "-o", path], ""), "3 2 nginx:2 80");
    let version = || server.ok(&["get", "deployment", "web", "-o", "jsonpath={.metadata.resourceVersion}"], "");
    let before = version();
    assert!(server.ok(&["scale", "deployment", "web", "--replicas=2"], "").contains("scaled"));
    assert_eq!(version(), before);

    // Pods: defaults, ServiceAccount, watch, deletion.
    server.ok(APPLY, &manifest("pod.yaml"));
    let mount = server
        .ok(&["get", "pod", "p", "-o", "jsonpath={.spec.containers[0].volumeMounts[0].name} {.spec.priority}"], "");
    assert!(mount.starts_with("kube-api-access-") && mount.ends_with(" 0"), "{mount}");
    server.ok(&["wait", "--for=jsonpath={.status.phase}=Pending", "pod/p", "--timeout=5s"], "");
    server.ok(&["delete", "pod", "p", "--timeout=5s"], "");
    server.fails(&["get", "pod", "p"], "", r#"Error from server (NotFound): pods "p" not found"#);

    assert!(server.ok(&["explain", "deployment.spec.replicas"], "").contains("Number of desired pods"));

    // Typed commands speak protobuf.
    server.ok(&["create", "configmap", "c", "--from-literal=a=b"], "");
    server.fails(&["auth", "can-i", "list", "pods", "--as=nobody"], "", "no");
    let token = server.ok(&["create", "token", "default"], "");
    assert_eq!(token.trim().split('.').count(), 3);

    // What is refused, in upstream's words.
    server.fails(APPLY, &manifest("bad-node-port.yaml"), "spec.ports[0].nodePort: Invalid value: 29999: provided port is not in the valid range. The range of valid ports is 30000-32767");
    server.fails(
        &["get", "pods", "--as=jane"],
        "",
        r#"pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default""#,
    );
    server.fails(&["delete", "namespace", "default"], "", "this namespace may not be deleted");
    server.ok(APPLY, &manifest("jane.yaml"));
    server.ok(&["get", "pods", "--as=jane"], "");
    server.fails(&["get", "secrets", "--as=jane"], "", "cannot list resource \"secrets\"");
}

#[test]
fn custom_resources_come_and_go() {
    if kubectl_is_missing() {
        return;
    }
    let server = Server::start("custom");
    server.ok(APPLY, &manifest("widget-crd.yaml"));
    server.ok(&["wait", "--for=condition=Established", "crd/widgets.example.com", "--timeout=2s"], "");
    server.fails(APPLY, &manifest("widget.yaml"), r#"strict decoding error: unknown field "spec.junk""#);
    server.ok(&["apply", "--validate=ignore", "-f", "-"], &manifest("widget.yaml"));
    assert!(server.ok(&["explain", "widget.spec"], "").contains("size\t<integer> -required-"));
    let text = server.ok(&["get", "wd"], "");
    assert!(text.contains("SIZE") && text.contains('3'), "{text}");
    let spec = server.ok(&["get", "widget", "w", "-o", "jsonpath={.spec.color} {.spec.junk} {.status}"], "");
    assert_eq!(spec.trim(), "red", "defaulted, pruned, and no status on create");
    server.ok(&["scale", "widget", "w", "--replicas=4"], "");
    server.ok(
        &[
            "patch",
            "widget",
            "w",
            "--type=merge",
            "--subresource=status",
            "-p",
            r#"{"status":{"replicas":4},"spec":{"size":9}}"#,
        ],
        "",
    );
    let spec = server.ok(
        &[
            "get",
            "widget",
            "w",
            "-o",
            "jsonpath={.spec.replicas} {.status.replicas} {.spec.size} {.metadata.generation}",
        ],
        "",
    );
    assert_eq!(spec, "4 4 3 2");
    server.fails(&["patch", "widget", "w", "--type=merge", "-p", r#"{"spec":{"size":0}}"#], "", "spec.size");
    server.ok(&["delete", "crd", "widgets.example.com", "--timeout=5s"], "");
    server.fails(&["get", "--raw", "/apis/example.com/v1"], "", "NotFound");
}

#[test]
fn what_is_in_no_namespace_may_say_that_it_is_in_one() {
    if kubectl_is_missing() {
        return;
    }
    let server = Server::start("nowhere");
    let role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: r, namespace: default}\nrules: []\n";
    server.ok(&["create", "-f", "-"], role);
    assert_eq!(server.ok(&["get", "clusterrole", "r", "-o", "jsonpath={.metadata.namespace}"], ""), "");
}
