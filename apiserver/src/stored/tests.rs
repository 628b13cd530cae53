use serde_json::json;

use super::*;

/// What is made of an object that upstream has stored; `None`: nothing.
fn read(object: &Value) -> Option<Value> {
    let text = |field: &str| object[field].as_str().unwrap();
    let stored = schema::protobuf::encode(text("apiVersion"), text("kind"), object).unwrap();
    message::read(&stored).ok()
}

#[test]
fn only_what_is_in_another_form_is_touched() {
    let map = json!({ "kind": "ConfigMap", "apiVersion": "v1", "metadata": { "name": "a" }, "data": { "a": "b" } });
    let message = Bytes::from(schema::protobuf::encode("v1", "ConfigMap", &map).unwrap());
    let unknown = Bytes::from(schema::protobuf::envelope("apps/v1beta1", "Deployment", b""));
    let definition = |version: &str| {
        let spec = json!({ "preserveUnknownFields": true, "scope": "Cluster", "versions": [{ "name": "v1", "storage": true }] });
        to_json(&json!({ "apiVersion": format!("apiextensions.k8s.io/{version}"), "kind": "CustomResourceDefinition",
            "metadata": { "name": "a" }, "spec": spec }))
    };
    let definitions = "apiextensions.k8s.io/customresourcedefinitions/a";
    for prefix in ["/registry", "clusters/a/"] {
        let stored = Stored::new(prefix, Arc::new(Encryption::none()));
        for (key, value, stale, begins) in [
            ("configmaps/default/a", to_json(&map), false, "{\"kind\":\"ConfigMap\""),
            ("configmaps/default/a", message.clone(), true, "{\"kind\":\"ConfigMap\""),
            ("deployments/default/a", unknown.clone(), false, "k8s\0"),
            ("pods/default/a", Bytes::from_static(b"k8s\0\x0a\xff"), false, "k8s\0"),
            ("pods/default/a", Bytes::from_static(b"k8s"), false, "k8s"),
            ("pods/default/a", Bytes::new(), false, ""),
            (definitions, definition("v1"), false, "{\"kind\":\"CustomResourceDefinition\""),
            (
                definitions,
                definition("v1beta1"),
                true,
                "{\"kind\":\"CustomResourceDefinition\",\"apiVersion\":\"apiextensions.k8s.io/v1\",",
            ),
            (definitions, Bytes::from_static(b"{"), false, "{"),
            // It says so, but is none.
            ("example.com/customresourcedefinitions/a", definition("v1beta1"), false, "{\"apiVersion\":"),
        ] {
            let key = format!("/{}/{key}", prefix.trim_matches('/'));
            let plain = stored.read(&key, value.clone()).unwrap();
            let text = String::from_utf8_lossy(&plain.value).into_owned();
            assert_eq!(plain.stale, stale, "{key}: {text}");
            assert!(text.starts_with(begins), "{key}: {text}");
            if !stale {
                assert_eq!(plain.value.as_ptr(), value.as_ptr(), "{key} is copied");
            }
            // What comes of it is in today's form.
            assert_eq!(stored.read(&key, plain.value.clone()).unwrap(), Plain { value: plain.value, stale: false });
        }
        let key = format!("/{}/configmaps/default/a", prefix.trim_matches('/'));
        assert_eq!(stored.read(&key, message.clone()).unwrap().value, to_json(&map));
    }
}

#[test]
fn messages_become_what_is_stored_today() {
    // Defaults of today are filled in, and what is not stored is gone.
    let pod = read(&json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "p", "selfLink": "/api", "resourceVersion": "7", "creationTimestamp": "2020-01-01T00:00:00Z" },
        "spec": { "containers": [{ "name": "c", "image": "i", "resources": { "requests": { "cpu": "1" } } }] },
        "status": { "phase": "Pending" } }))
    .unwrap();
    assert_eq!(pod["metadata"], json!({ "name": "p", "creationTimestamp": "2020-01-01T00:00:00Z" }));
    assert_eq!(pod["spec"]["containers"][0]["terminationMessagePath"], "/dev/termination-log");
    assert_eq!((&pod["spec"]["restartPolicy"], &pod["status"]["phase"]), (&json!("Always"), &json!("Pending")));
    for (object, expected) in [
        (
            json!({ "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": { "name": "a" },
                "spec": { "scaleTargetRef": { "kind": "D", "name": "d" }, "maxReplicas": 3, "targetCPUUtilizationPercentage": 50 } }),
            Some(("autoscaling/v2", "/spec/metrics/0/resource/target/averageUtilization", json!(50))),
        ),
        // The same events are those of two groups.
        (
            json!({ "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": { "name": "e", "namespace": "n" },
                "eventTime": "2020-01-01T00:00:00.000001Z", "regarding": { "name": "p" }, "note": "x" }),
            Some(("v1", "/involvedObject/name", json!("p"))),
        ),
        // A version that is no longer served, but has nothing that the one of today has not.
        (
            json!({ "apiVersion": "networking.k8s.io/v1beta1", "kind": "ServiceCIDR", "metadata": { "name": "c" },
                "spec": { "cidrs": ["10.0.0.0/24"] } }),
            Some(("networking.k8s.io/v1", "/spec/cidrs/0", json!("10.0.0.0/24"))),
        ),
        // One that has.
        (
            json!({ "apiVersion": "resource.k8s.io/v1beta1", "kind": "ResourceClaim", "metadata": { "name": "c", "namespace": "n" },
                "spec": { "devices": { "requests": [{ "name": "r", "deviceClassName": "d" }] } } }),
            None,
        ),
        // No resource, but for the allocator.
        (
            json!({ "apiVersion": "v1", "kind": "RangeAllocation", "range": "30000-32767", "data": "AQ==" }),
            Some(("v1", "/range", json!("30000-32767"))),
        ),
    ] {
        let found = read(&object);
        let expected = expected.map(|(version, pointer, value)| (json!(version), pointer, value));
        let found = found.zip(expected.as_ref()).map(|(found, (_, pointer, _))| {
            (found["apiVersion"].clone(), *pointer, found.pointer(pointer).cloned().unwrap_or_default())
        });
        assert_eq!(found, expected, "{object}");
    }
}

/// What is in the store has come through the same defaults, so that nothing is written anew for their sake.
#[test]
fn every_kind_is_read_as_it_is_stored() {
    for kind in crate::kinds::all().iter().filter(|kind| kind.is_stored()) {
        let version = kind.storage_api_version();
        let object = json!({ "kind": kind.kind, "apiVersion": version, "metadata": { "name": "a" } });
        let today = settle(kind, object);
        assert_eq!(read(&today), Some(today), "{version} {}", kind.kind);
    }
}

#[test]
fn definitions_of_v1beta1() {
    let v1 = |spec: Value| {
        let old =
            json!({ "apiVersion": "apiextensions.k8s.io/v1beta1", "kind": "CustomResourceDefinition", "spec": spec });
        definition::to_v1(old)["spec"].take()
    };
    let schema = json!({ "openAPIV3Schema": { "properties": { "a": {} } } });
    let other = json!({ "openAPIV3Schema": { "type": "object" } });
    let client = json!({ "service": { "name": "s", "namespace": "n" } });
    let version = |name: &str| json!({ "name": name, "served": true, "storage": name == "v1" });
    let with = |mut fields: Value, more: Value| {
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fields
    };
    let shared = |name: &str| {
        let column = json!({ "name": "A", "type": "date", "jsonPath": ".a" });
        let fields = json!({ "schema": schema, "subresources": { "status": {} },
            "selectableFields": [{ "jsonPath": ".a" }], "additionalPrinterColumns": [column] });
        with(version(name), fields)
    };
    for (why, spec, expected) in [
        (
            "the one version is the list",
            json!({ "version": "v1" }),
            json!({ "scope": "Namespaced", "preserveUnknownFields": true, "versions": [version("v1")] }),
        ),
        (
            "and not where there is a list",
            json!({ "version": "v1", "versions": [version("v1"), version("v2")], "scope": "Cluster" }),
            json!({ "scope": "Cluster", "preserveUnknownFields": true, "versions": [version("v1"), version("v2")] }),
        ),
        (
            "what is said otherwise stays",
            json!({ "scope": "Cluster", "preserveUnknownFields": false, "names": { "plural": "as" }, "group": "g" }),
            json!({ "scope": "Cluster", "preserveUnknownFields": false, "names": { "plural": "as" }, "group": "g" }),
        ),
        (
            "what is said of all versions",
            json!({ "scope": "Cluster", "preserveUnknownFields": false, "version": "v1",
                "versions": [version("v1"), with(version("v2"), json!({ "schema": other }))],
                "validation": schema, "subresources": { "status": {} }, "selectableFields": [{ "jsonPath": ".a" }],
                "additionalPrinterColumns": [{ "name": "A", "type": "date", "JSONPath": ".a" }] }),
            json!({ "scope": "Cluster", "preserveUnknownFields": false, "versions": [shared("v1"), shared("v2")] }),
        ),
        (
            "what each version says",
            json!({ "scope": "Cluster", "preserveUnknownFields": false, "validation": null, "versions": [
                with(version("v1"), json!({ "schema": schema, "additionalPrinterColumns": [{ "JSONPath": ".b" }] })),
                with(version("v2"), json!({ "schema": other, "subresources": { "scale": {} } }))] }),
            json!({ "scope": "Cluster", "preserveUnknownFields": false, "versions": [
                with(version("v1"), json!({ "schema": schema, "additionalPrinterColumns": [{ "jsonPath": ".b" }] })),
                with(version("v2"), json!({ "schema": other, "subresources": { "scale": {} } }))] }),
        ),
        (
            "a webhook, of reviews of its time",
            json!({ "scope": "Cluster", "preserveUnknownFields": false,
                "conversion": { "strategy": "Webhook", "webhookClientConfig": client } }),
            json!({ "scope": "Cluster", "preserveUnknownFields": false, "conversion": { "strategy": "Webhook",
                "webhook": { "clientConfig": client, "conversionReviewVersions": ["v1beta1"] } } }),
        ),
        (
            "of others",
            json!({ "scope": "Cluster", "preserveUnknownFields": false, "conversion": { "strategy": "Webhook",
                "webhookClientConfig": client, "conversionReviewVersions": ["v1", "v1beta1"] } }),
            json!({ "scope": "Cluster", "preserveUnknownFields": false, "conversion": { "strategy": "Webhook",
                "webhook": { "clientConfig": client, "conversionReviewVersions": ["v1", "v1beta1"] } } }),
        ),
        (
            "none",
            json!({ "scope": "Cluster", "preserveUnknownFields": false, "conversion": { "strategy": "None" } }),
            json!({ "scope": "Cluster", "preserveUnknownFields": false, "conversion": { "strategy": "None" } }),
        ),
        ("nonsense", json!(3), json!(3)),
    ] {
        assert_eq!(v1(spec), expected, "{why}");
    }
}

#[test]
fn definitions_have_the_defaults_of_both_versions() {
    let old = json!({ "kind": "CustomResourceDefinition", "apiVersion": "apiextensions.k8s.io/v1beta1",
        "metadata": { "name": "as.g.io", "creationTimestamp": null },
        "spec": { "group": "g.io", "version": "v1", "names": { "plural": "as", "kind": "Aa" } },
        "status": { "conditions": null, "acceptedNames": { "plural": "", "kind": "" }, "storedVersions": null } });
    let spec = json!({ "group": "g.io", "scope": "Namespaced", "preserveUnknownFields": true, "conversion": { "strategy": "None" },
        "names": { "plural": "as", "kind": "Aa", "singular": "aa", "listKind": "AaList" },
        "versions": [{ "name": "v1", "served": true, "storage": true }] });
    let status = json!({ "conditions": null, "acceptedNames": { "plural": "", "kind": "" }, "storedVersions": ["v1"] });
    let expected = json!({ "kind": "CustomResourceDefinition", "apiVersion": "apiextensions.k8s.io/v1",
        "metadata": { "name": "as.g.io" }, "spec": spec, "status": status });
    assert_eq!(
        definition::read(old.to_string().as_bytes()).map(|mut found| {
            crate::registry::object::metadata(&mut found).retain(|_, value| !value.is_null());
            found
        }),
        Ok(expected)
    );
}
