"""The ordinary life of objects, as a user of the official Python client writes it.

Ends with 0 when everything was as upstream has it; otherwise an assertion tells what was not.
"""

import json
import time
from kubernetes import client, config, dynamic, utils, watch
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.configmaplock import ConfigMapLock
from kubernetes.stream import stream

NAMESPACE = "python"
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": NAMESPACE},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [
                    {
                        "name": "web",
                        "image": "busybox",
                        "command": ["sh", "-c", "trap 'exit 0' TERM; echo hello from $HOSTNAME; while :; do sleep 1; done"],
                    }
                ],
            },
        },
    },
}


def refused(call, status, reason):
    """`call` must fail as upstream does; the Status it answers with."""
    try:
        call()
    except client.ApiException as error:
        body = json.loads(error.body)
        assert (error.status, body["reason"]) == (status, reason), (error.status, body)
        assert body["kind"] == "Status" and body["code"] == status, body
        return body
    raise AssertionError(f"was not refused with {status} {reason}")


def objects(core, apps):
    made = utils.create_from_dict(client.ApiClient(), DEPLOYMENT)
    assert made[0].metadata.generation == 1 and made[0].spec.strategy.type == "RollingUpdate", made
    refused(lambda: apps.create_namespaced_deployment(NAMESPACE, DEPLOYMENT), 409, "AlreadyExists")
    body = refused(lambda: core.read_namespaced_pod("nobody", NAMESPACE), 404, "NotFound")
    assert body["message"] == 'pods "nobody" not found' and body["details"]["kind"] == "pods", body
    wrong = client.V1Service(metadata=client.V1ObjectMeta(name="Web_"), spec=client.V1ServiceSpec(ports=[client.V1ServicePort(port=0)]))
    body = refused(lambda: core.create_namespaced_service(NAMESPACE, wrong), 422, "Invalid")
    assert {"metadata.name", "spec.ports[0].port"} <= {cause["field"] for cause in body["details"]["causes"]}, body

    watcher = watch.Watch()
    for event in watcher.stream(apps.list_namespaced_deployment, NAMESPACE, timeout_seconds=60):
        if (event["object"].status.available_replicas or 0) == 2:
            watcher.stop()
    scale = apps.read_namespaced_deployment_scale("web", NAMESPACE)
    assert (scale.spec.replicas, scale.status.selector) == (2, "app=web"), scale


def patches(apps):
    def annotations(body, content_type):
        patched = apps.patch_namespaced_deployment("web", NAMESPACE, body, _content_type=content_type)
        return patched.metadata.annotations

    merge = {"metadata": {"annotations": {"a": "1", "b": "2"}}}
    assert annotations(merge, "application/merge-patch+json").items() >= {("a", "1"), ("b", "2")}
    strategic = {"metadata": {"annotations": {"b": None}}, "spec": {"template": {"spec": {"containers": [{"name": "web", "env": [{"name": "X", "value": "y"}]}]}}}}
    assert "b" not in annotations(strategic, "application/strategic-merge-patch+json")
    rfc6902 = [{"op": "test", "path": "/metadata/annotations/a", "value": "1"}, {"op": "replace", "path": "/metadata/annotations/a", "value": "3"}]
    assert annotations(rfc6902, "application/json-patch+json")["a"] == "3"
    refused(lambda: annotations(rfc6902, "application/json-patch+json"), 422, "Invalid")
    web = apps.read_namespaced_deployment("web", NAMESPACE)
    container = web.spec.template.spec.containers[0]
    assert container.image == "busybox" and container.env[0].name == "X", container
    web.metadata.resource_version = "1"
    refused(lambda: apps.replace_namespaced_deployment("web", NAMESPACE, web), 409, "Conflict")


def applied():
    """Server-side apply by the dynamic client; two managers of one field."""
    resources = dynamic.DynamicClient(client.ApiClient()).resources
    maps = resources.get(api_version="v1", kind="ConfigMap")

    def apply(manager, data, force=False):
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shared", "namespace": NAMESPACE}, "data": data}
        return maps.server_side_apply(body=body, namespace=NAMESPACE, name="shared", field_manager=manager, force_conflicts=force)

    apply("one", {"x": "1", "y": "1"})
    apply("two", {"z": "2"})
    try:
        apply("two", {"x": "2"})
        raise AssertionError("the conflict was not seen")
    except dynamic.exceptions.ConflictError as error:
        cause = json.loads(error.body)["details"]["causes"][0]
        assert (cause["field"], cause["message"]) == (".data.x", 'conflict with "one"'), error.body
    # What a manager no longer applies, and nobody else has, is gone.
    assert apply("two", {"x": "2"}, force=True).data.to_dict() == {"x": "2", "y": "1"}
    seen = maps.get(namespace=NAMESPACE, label_selector="app!=web", limit=1)
    assert len(seen.items) == 1


def pods(core):
    running = core.list_namespaced_pod(NAMESPACE, label_selector="app in (web)", field_selector="status.phase=Running").items
    pod = next(pod for pod in running if pod.metadata.deletion_timestamp is None)
    name = pod.metadata.name
    for _ in range(600):
        # The container may have been started this instant.
        if core.read_namespaced_pod_log(name, NAMESPACE) == f"hello from {name}\n":
            break
        time.sleep(0.05)
    else:
        raise AssertionError("the log lacks what the container prints")
    said = stream(core.connect_get_namespaced_pod_exec, name, NAMESPACE, command=["sh", "-c", "echo out; echo err >&2; exit 3"],
                  stderr=True, stdout=True, stdin=False, tty=False, _preload_content=False)
    said.run_forever(timeout=20)
    assert (said.read_stdout(), said.read_stderr(), said.returncode) == ("out\n", "err\n", 3)
    core.delete_namespaced_pod(name, NAMESPACE, grace_period_seconds=1)


def leader():
    """The library's own leader election, on a ConfigMap as its lock."""
    led = []

    class Done(Exception):
        pass

    def start():
        led.append(True)

    def stop():
        raise Done

    lock = ConfigMapLock("leader", NAMESPACE, "me")
    settings = electionconfig.Config(lock, lease_duration=3, renew_deadline=2, retry_period=1, onstarted_leading=start, onstopped_leading=stop)
    election = leaderelection.LeaderElection(settings)
    assert election.try_acquire_or_renew() and election.try_acquire_or_renew()
    status, record = lock.get("leader", NAMESPACE)
    assert status and record.holder_identity == "me", record


def main():
    config.load_kube_config()
    core, apps = client.CoreV1Api(), client.AppsV1Api()
    assert client.VersionApi().get_code().minor == "35"
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=NAMESPACE)))
    objects(core, apps)
    patches(apps)
    applied()
    pods(core)
    leader()
    core.delete_namespace(NAMESPACE)
    watcher = watch.Watch()
    for event in watcher.stream(core.list_namespace, field_selector=f"metadata.name={NAMESPACE}", timeout_seconds=60):
        if event["type"] == "DELETED":
            watcher.stop()
            print("ok")
            return
    raise AssertionError("the namespace was not deleted")


if __name__ == "__main__":
    main()
