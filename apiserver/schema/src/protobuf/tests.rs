use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;
use crate::{
    builtin,
    model::{Node, Presence, Scalar, Shape},
};

fn round_trip(api_version: &str, kind: &str, value: &Value) -> Value {
    let body = encode(api_version, kind, value).unwrap();
    let (version, name, decoded) = decode(&body).unwrap();
    assert_eq!((version.as_str(), name.as_str()), (api_version, kind));
    decoded
}

#[test]
fn known_bytes() {
    // As Go's generated code writes it: metadata 1, data 2 (map entries), no type meta in the message.
    let message = encode_message("v1", "ConfigMap", &json!({"metadata":{"name":"a"},"data":{"k":"v"}})).unwrap();
    assert_eq!(message, b"\x0a\x03\x0a\x01a\x12\x06\x0a\x01k\x12\x01v");
    assert_eq!(
        &encode("v1", "ConfigMap", &json!({})).unwrap(),
        b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x00\x1a\x00\x22\x00"
    );
    assert_eq!(watch_frame("ADDED", b"x"), b"\0\0\0\x0c\x0a\x05ADDED\x12\x03\x0a\x01x");
}

#[test]
fn special_types() {
    let pod = json!({"apiVersion":"v1","kind":"Pod",
        "metadata":{"name":"a","creationTimestamp":"2024-01-02T03:04:05Z","labels":{"a":"b"},
            "managedFields":[{"manager":"m","operation":"Update","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{}}}]},
        "spec":{"terminationGracePeriodSeconds":0,"volumes":[{"name":"v","configMap":{"name":"c","defaultMode":420}}],
            "containers":[{"name":"c","resources":{"limits":{"cpu":"500m"}},
                "env":[{"name":"E","valueFrom":{"configMapKeyRef":{"name":"c","key":"k"}}}],
                "livenessProbe":{"httpGet":{"path":"/","port":"http"},"periodSeconds":5},
                "readinessProbe":{"tcpSocket":{"port":80}}}]}});
    assert_eq!(round_trip("v1", "Pod", &pod), pod);
    let secret = json!({"apiVersion":"v1","kind":"Secret","data":{"a":"AAEC"},"type":"Opaque"});
    assert_eq!(round_trip("v1", "Secret", &secret), secret);
    let lease = json!({"apiVersion":"coordination.k8s.io/v1","kind":"Lease","spec":{"renewTime":"2024-01-02T03:04:05.123456Z","leaseTransitions":0}});
    assert_eq!(round_trip("coordination.k8s.io/v1", "Lease", &lease), lease);
    let crd = json!({"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","spec":{"group":"a.b","names":{"plural":"x","kind":"X"},
        "scope":"Namespaced","versions":[{"name":"v1","served":true,"storage":false,"schema":{"openAPIV3Schema":{"type":"object","properties":{
            "a":{"type":"array","items":{"type":"string"},"default":["x"]},"b":{"type":"object","additionalProperties":true},
            "c":{"type":"object","additionalProperties":{"type":"integer","minimum":0.5}}}}}}]}});
    assert_eq!(round_trip("apiextensions.k8s.io/v1", "CustomResourceDefinition", &crd), crd);
    let webhooks = json!({"apiVersion":"admissionregistration.k8s.io/v1","kind":"ValidatingWebhookConfiguration","webhooks":[
        {"name":"a","clientConfig":{},"sideEffects":"None","admissionReviewVersions":["v1"],
         "rules":[{"operations":["CREATE"],"apiGroups":[""],"apiVersions":["v1"],"resources":["pods"]}]}]});
    assert_eq!(round_trip("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", &webhooks), webhooks);
    let csr = json!({"apiVersion":"certificates.k8s.io/v1","kind":"CertificateSigningRequest","spec":{"request":"YQ==","signerName":"x/y","extra":{"k":["1","2"]}},"status":{}});
    assert_eq!(round_trip("certificates.k8s.io/v1", "CertificateSigningRequest", &csr), csr);
    let options = json!({"apiVersion":"v1","kind":"DeleteOptions","gracePeriodSeconds":0,"propagationPolicy":"Foreground","preconditions":{"uid":"u"}});
    assert_eq!(round_trip("v1", "DeleteOptions", &options), options);
}

#[test]
fn lists_take_items_as_they_are() {
    let item = encode_message("v1", "ConfigMap", &json!({"metadata":{"name":"a"}})).unwrap();
    let lengths = [item.len(); 2].into_iter();
    let frame = ListFrame::new("v1", "ConfigMapList", &json!({"resourceVersion":"7"}), lengths).unwrap();
    let prefix = frame.prefix(item.len());
    let body = [&frame.head, &prefix, &item, &prefix, &item, frame.tail].concat();
    let (_, _, list) = decode(&body).unwrap();
    assert_eq!(list["metadata"]["resourceVersion"], "7");
    assert_eq!(list["items"], json!([{"metadata":{"name":"a"}},{"metadata":{"name":"a"}}]));
}

#[test]
fn zero_values_of_go_are_left_out() {
    // restartPolicy "" and hostNetwork false as Go writes them; terminationGracePeriodSeconds is a pointer and stays.
    let spec = b"\x1a\x00\x20\x00\x58\x00";
    let mut raw = vec![0x12, spec.len() as u8];
    raw.extend_from_slice(spec);
    let (_, _, pod) = decode(&envelope("v1", "Pod", &raw)).unwrap();
    assert_eq!(pod["spec"], json!({"terminationGracePeriodSeconds":0}));
    // Who sends it need not say what it is, where that is known.
    for (version, kind) in [("", ""), ("v1", ""), ("", "Pod")] {
        let bare = envelope(version, kind, &raw);
        assert!(matches!(decode(&bare), Err(ProtoError::UnknownKind { .. })));
        assert_eq!(decode_as(&bare, ("v1", "Pod")).unwrap(), ("v1".to_owned(), "Pod".to_owned(), pod.clone()));
    }
}

#[test]
fn broken_messages_are_told_in_gos_words() {
    let config_map = |raw: &[u8]| envelope("v1", "ConfigMap", raw);
    let pod = |raw: &[u8]| envelope("v1", "Pod", raw);
    let prefix = "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]";
    for (body, expected) in [
        (b"".to_vec(), "empty data"),
        (b"k8s".to_vec(), prefix),
        (b"k8s\0".to_vec(), "empty body"),
        (b"k8s\0\xff".to_vec(), "unexpected EOF"),
        (b"k8s\0\x08\x01".to_vec(), "proto: wrong wireType = 0 for field TypeMeta"),
        (b"k8s\0\x00".to_vec(), "proto: Unknown: illegal tag 0 (wire type 0)"),
        (
            config_map(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
            "proto: negative length found during unmarshaling",
        ),
        (config_map(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "proto: integer overflow"),
        (config_map(b"\x0a\x05\x0a"), "unexpected EOF"),
        (config_map(b"\x08\x01"), "proto: wrong wireType = 0 for field ObjectMeta"),
        (config_map(b"\x15\0\0\0\0"), "proto: wrong wireType = 5 for field Data"),
        (config_map(b"\x0c"), "proto: ConfigMap: wiretype end group for non-group"),
        (config_map(b"\x0a\x02\x28\x01"), "proto: wrong wireType = 0 for field UID"),
        (pod(b"\x12\x02\x5a\x00"), "proto: wrong wireType = 2 for field HostNetwork"),
        // A field of no number that is known, with a wire type that there is none of, and groups.
        (config_map(b"\xa6\x06"), "proto: illegal wireType 6"),
        (config_map(b"\xa3\x06"), "unexpected EOF"),
        (config_map(b"\xa3\x06\x08\x01\xa4\x06"), "{}"),
        (config_map(b"\xa5\x06\0\0\0\0"), "{}"),
    ] {
        let told = match decode(&body) {
            Ok((_, _, mut value)) => {
                value.as_object_mut().unwrap().retain(|name, _| !matches!(name.as_str(), "apiVersion" | "kind"));
                value.to_string()
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(told, expected, "{body:x?}");
    }
    // What is no UTF-8 is shown as Go's JSON shows it, and what is no version is none.
    let (_, _, odd) = decode(&config_map(b"\x12\x07\x0a\x01a\x12\x02x\xff")).unwrap();
    assert_eq!(odd["data"], json!({"a":"x\u{fffd}"}));
    for version in ["", "/", "apps/", "a/b/c"] {
        assert_eq!(decode_as(&envelope(version, "", b""), ("v1", "Pod")).unwrap().0, "v1", "{version}");
    }
}

#[test]
fn hostile_input() {
    assert!(decode(b"{}").is_err());
    assert!(decode(b"k8s\0\x0a\xff").is_err());
    assert!(matches!(decode(&envelope("x/v1", "Nope", b"")), Err(ProtoError::UnknownKind { .. })));
    assert!(encode("v1", "Pod", &json!({"spec":{"containers":"x"}})).is_err());
    // Schemas in schemas, deeper than allowed: `not` (26) of JSONSchemaProps holds another.
    let mut deep = Vec::new();
    for _ in 0..5000 {
        let mut outer = Writer::default();
        outer.bytes(26, &deep);
        deep = outer.0;
        if deep.len() > 1 << 16 {
            break;
        }
    }
    let mut schema = Writer::default();
    schema.bytes(1, &deep);
    let mut version = Writer::default();
    version.bytes(4, &schema.0);
    let mut spec = Writer::default();
    spec.bytes(7, &version.0);
    let mut raw = Writer::default();
    raw.bytes(2, &spec.0);
    assert!(decode(&envelope("apiextensions.k8s.io/v1", "CustomResourceDefinition", &raw.0)).is_err());
}

/// A value that follows the model, grown from a stream of random numbers.
fn grow(node: &Node, seed: &mut dyn Iterator<Item = u32>, depth: u32) -> Option<Value> {
    let mut next = || seed.next();
    Some(match &node.shape {
        Shape::Any(_) => json!({"x": next()?}),
        Shape::Scalar(scalar) => match scalar {
            Scalar::Bool => true.into(),
            Scalar::Int32 | Scalar::Int64 => (i64::from(next()? % 1000) - 500).into(),
            Scalar::Double => (f64::from(next()? % 100) + 0.5).into(),
            Scalar::String => format!("s{}", next()? % 10).into(),
            Scalar::Bytes => "AAEC".into(),
            Scalar::Quantity => "500m".into(),
            Scalar::IntOrString if next()? % 2 == 0 => 80.into(),
            Scalar::IntOrString => "http".into(),
            Scalar::Time => "2024-01-02T03:04:05Z".into(),
            Scalar::MicroTime => "2024-01-02T03:04:05.000007Z".into(),
            Scalar::Duration => "1m30s".into(),
        },
        _ if depth > 7 => return None,
        Shape::List { items, .. } => Value::Array(vec![grow(items, seed, depth + 1)?]),
        Shape::Map { values, .. } => Value::Object(Map::from_iter([("k".to_owned(), grow(values, seed, depth + 1)?)])),
        Shape::Union(_) => return None,
        Shape::Struct { of, .. } => {
            let mut map = Map::new();
            for field in &of.fields {
                let number = seed.next()?;
                let type_meta = depth > 0
                    && matches!(&*field.name, "apiVersion" | "kind")
                    && crate::facts::index_of(of.name).and_then(crate::facts::kind_of).is_some();
                if number % 3 == 0 || type_meta {
                    continue;
                }
                if let Some(value) = grow(&field.node, seed, depth + 1)
                    && (field.presence == Presence::Pointer || value != 0)
                {
                    map.insert(field.name.to_string(), value);
                }
            }
            if map.is_empty() { return None } else { map.into() }
        }
    })
}

proptest! {
    #[test]
    fn decode_of_encode_is_the_value(
        kind in prop::sample::select(vec![
            ("v1", "Pod"), ("apps/v1", "Deployment"), ("v1", "Service"), ("v1", "Node"), ("networking.k8s.io/v1", "Ingress"),
            ("batch/v1", "CronJob"), ("discovery.k8s.io/v1", "EndpointSlice"), ("rbac.authorization.k8s.io/v1", "Role"),
            ("v1", "PersistentVolume"), ("autoscaling/v2", "HorizontalPodAutoscaler"), ("v1", "Event"), ("v1", "Status"),
        ]),
        seed in prop::collection::vec(any::<u32>(), 600),
    ) {
        let schema = builtin(kind.0, kind.1).unwrap();
        let mut seed = seed.into_iter();
        let mut value = grow(&schema.root, &mut seed, 0).unwrap_or_else(|| json!({}));
        value["apiVersion"] = kind.0.into();
        value["kind"] = kind.1.into();
        let decoded = round_trip(kind.0, kind.1, &value);
        prop_assert_eq!(decoded, value);
    }
}
