use serde_json::json;

use super::*;
use crate::{FieldValidation, apply_defaults, decode, prune};

fn widget() -> Schema {
    let schema = json!({"type":"object","required":["spec"],"properties":{
    "apiVersion":{"type":"string"},"kind":{"type":"string"},"metadata":{"type":"object"},
    "spec":{"type":"object","required":["size"],"properties":{
        "size":{"type":"integer","minimum":1,"maximum":10},
        "mode":{"type":"string","enum":["Fast","Slow"],"default":"Fast"},
        "cron":{"type":"string","pattern":"^(\\d+|\\*)(/\\d+)?$","maxLength":9},
        "port":{"x-kubernetes-int-or-string":true},
        "when":{"type":"string","format":"date-time","nullable":true},
        "free":{"type":"object","x-kubernetes-preserve-unknown-fields":true},
        "tags":{"type":"array","x-kubernetes-list-type":"set","maxItems":3,"items":{"type":"string"}},
        "ports":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["name"],
            "items":{"type":"object","required":["name"],"properties":{
                "name":{"type":"string"},"protocol":{"type":"string","default":"TCP"}}}},
        "labels":{"type":"object","additionalProperties":{"type":"string"}},
        "either":{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"string"}},
            "oneOf":[{"required":["a"]},{"required":["b"]}]},
        "template":{"type":"object","x-kubernetes-embedded-resource":true,"x-kubernetes-preserve-unknown-fields":true}
    }}}});
    structural(&Path::new("schema"), &schema, false).unwrap()
}

fn messages(value: &Value) -> Vec<String> {
    validate(&widget(), value).iter().map(ToString::to_string).collect()
}

#[test]
fn messages_are_upstreams() {
    for (spec, expected) in [
        (json!({"size":1}), vec![]),
        (json!({}), vec!["spec.size: Required value"]),
        (
            json!({"size":11}),
            vec!["spec.size: Invalid value: 11: spec.size in body should be less than or equal to 10"],
        ),
        (
            json!({"size":"x"}),
            vec!["spec.size: Invalid value: \"string\": spec.size in body must be of type integer: \"string\""],
        ),
        (
            json!({"size":null}),
            vec!["spec.size: Invalid value: \"null\": spec.size in body must be of type integer: \"null\""],
        ),
        (
            json!({"size":1,"mode":"Odd"}),
            vec!["spec.mode: Unsupported value: \"Odd\": supported values: \"Fast\", \"Slow\""],
        ),
        (
            json!({"size":1,"cron":"x"}),
            vec!["spec.cron: Invalid value: \"x\": spec.cron in body should match '^(\\d+|\\*)(/\\d+)?$'"],
        ),
        (json!({"size":1,"cron":"1234567890"}), vec!["spec.cron: Too long: may not be more than 9 bytes"]),
        (json!({"size":1,"port":"http","when":null}), vec![]),
        (
            json!({"size":1,"port":true}),
            vec![
                "spec.port: Invalid value: \"boolean\": spec.port in body must be of type integer,string: \"boolean\"",
            ],
        ),
        (
            json!({"size":1,"when":"now"}),
            vec!["spec.when: Invalid value: \"now\": spec.when in body must be of type date-time: \"now\""],
        ),
        (json!({"size":1,"tags":["a","a"]}), vec!["spec.tags[1]: Duplicate value: \"a\""]),
        (json!({"size":1,"tags":["a","b","c","d"]}), vec!["spec.tags: Too many: 4: must have at most 3 items"]),
        (
            json!({"size":1,"ports":[{"name":"a"},{"name":"a"}]}),
            vec!["spec.ports[1]: Duplicate value: {\"name\":\"a\"}"],
        ),
        (
            json!({"size":1,"labels":{"a":1}}),
            vec![
                "spec.labels.a: Invalid value: \"integer\": spec.labels.a in body must be of type string: \"integer\"",
            ],
        ),
        (
            json!({"size":1,"either":{}}),
            vec![
                "spec.either: Invalid value: \"\": \"spec.either\" must validate one and only one schema (oneOf). Found none valid",
            ],
        ),
    ] {
        assert_eq!(messages(&json!({"metadata":{"name":"x"},"spec":spec})), expected);
    }
}

#[test]
fn unknown_fields_and_defaults() {
    let text = r#"{"apiVersion":"x/v1","kind":"W","metadata":{"name":"a","bogus":1},
        "spec":{"size":1,"nope":1,"free":{"any":1},"mode":null,"ports":[{"name":"a","x":1}],
                "template":{"apiVersion":"v1","kind":"X","metadata":{"name":"t","y":1},"other":1}}}"#;
    let strict = decode::json(text.as_bytes(), Some(&widget()), FieldValidation::Strict).unwrap_err().to_string();
    assert_eq!(
        strict,
        "strict decoding error: unknown field \"metadata.bogus\", unknown field \"spec.nope\", \
         unknown field \"spec.ports[0].x\", unknown field \"spec.template.metadata.y\""
    );
    let mut value = decode::json(text.as_bytes(), Some(&widget()), FieldValidation::Ignore).unwrap().value;
    apply_defaults(&widget(), &mut value);
    assert_eq!(
        value["spec"],
        json!({"size":1,"free":{"any":1},"mode":"Fast","ports":[{"name":"a","protocol":"TCP"}],
            "template":{"apiVersion":"v1","kind":"X","metadata":{"name":"t"},"other":1}})
    );
    assert!(prune(&widget(), &mut value).is_empty());
    assert!(prune(&schemaless(), &mut json!({"spec":{"a":1},"x":2})).is_empty());
}

#[test]
fn what_is_not_structural() {
    for (schema, expected) in [
        (json!({}), "schema.type: Required value: must not be empty at the root"),
        (
            json!({"type":"array","items":{"type":"string"}}),
            "schema.type: Invalid value: \"array\": must be object at the root",
        ),
        (
            json!({"type":"object","properties":{"a":{}}}),
            "schema.properties[a].type: Required value: must not be empty for specified object fields",
        ),
        (
            json!({"type":"object","properties":{"a":{"type":"array"}}}),
            "schema.properties[a].items: Required value: must be specified",
        ),
        (
            json!({"type":"object","anyOf":[{"type":"object"}]}),
            "schema.anyOf[0].type: Forbidden: must be empty to be structural",
        ),
        (
            json!({"type":"object","properties":{"a":{"type":"string","pattern":"("}}}),
            "must be a valid regular expression",
        ),
        (
            json!({"type":"object","properties":{"a":{"type":"string","default":1}}}),
            "schema.properties[a].default: Invalid value: \"integer\": schema.properties[a].default in body must be of type string: \"integer\"",
        ),
        (json!({"type":"object","properties":{"a":{"type":"text"}}}), "Unsupported value: \"text\""),
    ] {
        let errors = structural(&Path::new("schema"), &schema, false).unwrap_err();
        assert!(errors.iter().any(|error| error.to_string().contains(expected)), "{schema}: {errors:?}");
    }
}
