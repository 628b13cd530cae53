"""An operator written with kopf: a Parcel is delivered, tells so in its status, and is cleared away by a finalizer.

Runs as its users run it (`kopf run`), beside a checker in the same process that plays the user. Ends with 0 when everything was
as it should be.
"""

import asyncio
import threading
import time

import kopf
from kubernetes import client, config, watch

GROUP, VERSION, PLURAL, NAMESPACE = "example.knetsim.dev", "v1", "parcels", "kopf"
CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"{PLURAL}.{GROUP}"},
    "spec": {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {"plural": PLURAL, "singular": "parcel", "kind": "Parcel"},
        "versions": [
            {
                "name": VERSION,
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]},
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}
cleared = threading.Event()


@kopf.on.startup()
def quick(settings, **_):
    settings.posting.level = 20
    settings.persistence.finalizer = f"{GROUP}/kopf"


@kopf.on.create(GROUP, VERSION, PLURAL)
def deliver(spec, patch, body, **_):
    patch.status["delivered"] = spec["to"]
    kopf.info(body, reason="Delivered", message=f"to {spec['to']}")


@kopf.on.field(GROUP, VERSION, PLURAL, field="spec.to")
def redirected(old, new, patch, **_):
    if old is not None:
        patch.status["redirected"] = f"{old} -> {new}"


@kopf.timer(GROUP, VERSION, PLURAL, interval=0.5)
def ticking(status, patch, **_):
    if status.get("ticks", 0) < 2:
        patch.status["ticks"] = status.get("ticks", 0) + 1


@kopf.on.delete(GROUP, VERSION, PLURAL)
def clear(**_):
    cleared.set()


def user(parcels, core):
    def until(what):
        for event in watch.Watch().stream(parcels.list_namespaced_custom_object, GROUP, VERSION, NAMESPACE, PLURAL, timeout_seconds=60):
            if what(event["type"], event["object"]):
                return event["object"]
        raise AssertionError("it did not happen within a minute")

    parcel = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "Parcel", "metadata": {"name": "p"}, "spec": {"to": "here"}}
    parcels.create_namespaced_custom_object(GROUP, VERSION, NAMESPACE, PLURAL, parcel)
    seen = until(lambda _, it: it.get("status", {}).get("delivered") == "here" and it["status"].get("ticks") == 2)
    assert seen["metadata"]["finalizers"] == [f"{GROUP}/kopf"], seen
    patch = [{"op": "replace", "path": "/spec/to", "value": "there"}]
    parcels.patch_namespaced_custom_object(
        GROUP, VERSION, NAMESPACE, PLURAL, "p", patch, _content_type="application/json-patch+json"
    )
    until(lambda _, it: it["status"].get("redirected") == "here -> there")
    parcels.delete_namespaced_custom_object(GROUP, VERSION, NAMESPACE, PLURAL, "p")
    until(lambda kind, _: kind == "DELETED")
    assert cleared.is_set(), "deleted without its finalizer"
    for _ in range(600):
        # Events are posted on the side.
        if any(event.reason == "Delivered" for event in core.list_namespaced_event(NAMESPACE).items):
            return
        time.sleep(0.05)
    raise AssertionError("no Event tells of the delivery")


def main():
    config.load_kube_config()
    core, parcels = client.CoreV1Api(), client.CustomObjectsApi()
    definitions = client.ApiextensionsV1Api()
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=NAMESPACE)))
    definitions.create_custom_resource_definition(CRD)
    for event in watch.Watch().stream(definitions.list_custom_resource_definition, field_selector=f"metadata.name={PLURAL}.{GROUP}", timeout_seconds=30):
        if any(c.type == "Established" and c.status == "True" for c in event["object"].status.conditions or []):
            break
    stop, failed = threading.Event(), []

    def play():
        try:
            user(parcels, core)
        except BaseException as error:
            failed.append(error)
        finally:
            stop.set()

    player = threading.Thread(target=play)
    player.start()
    asyncio.run(kopf.operator(namespaces=[NAMESPACE], standalone=True, stop_flag=stop))
    player.join()
    definitions.delete_custom_resource_definition(f"{PLURAL}.{GROUP}")
    core.delete_namespace(NAMESPACE)
    if failed:
        raise failed[0]
    print("ok")


if __name__ == "__main__":
    main()
