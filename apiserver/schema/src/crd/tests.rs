use serde_json::json;

use super::*;
use crate::{FieldValidation, apply_defaults, decode, drop_nulls, prune};

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
                "<nil>: Invalid value: \"\": \"spec.either\" must validate one and only one schema (oneOf). Found none valid",
                "spec.either.a: Required value",
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
    let mut odd = json!({"spec":{"tags":["a",{"b:c":1,"d":{"e":1}}],"mode":[{"f":1}]}});
    assert_eq!(prune(&widget(), &mut odd), ["spec.mode[0].f", "spec.tags[1].b:c", "spec.tags[1].d"]);
    assert_eq!(odd, json!({"spec":{"tags":["a",{}],"mode":[{}]}}), "what is of another type has no known fields");
}

#[test]
fn nulls_stay_where_they_may_be_or_have_a_default() {
    let schema = json!({"type":"object","properties":{
        "a":{"type":"string"},"may":{"type":"string","nullable":true},"default":{"type":"string","default":"x"},
        "map":{"type":"object","additionalProperties":{"type":"string"}},
        "list":{"type":"array","items":{"type":"object","properties":{"a":{"type":"string"}}}},
        "free":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}});
    let schema = structural(&Path::default(), &schema, false).unwrap();
    let sent =
        json!({"a":null,"may":null,"default":null,"map":{"a":null,"b":"c"},"list":[null,{"a":null}],"free":{"a":null}});
    let mut value = sent.clone();
    apply_defaults(&schema, &mut value);
    assert_eq!(value["default"], "x");
    assert_eq!(value["a"], Value::Null, "it is there, and refused");
    assert!(value.get("a").is_some() && value["map"].get("a").is_some());
    let mut value = sent;
    drop_nulls(&schema, &mut value);
    assert_eq!(value, json!({"may":null,"default":null,"map":{"b":"c"},"list":[null,{}],"free":{"a":null}}));
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
            "schema.properties[a].default: Invalid value: \"integer\":  in body must be of type string: \"integer\"",
        ),
        (json!({"type":"object","properties":{"a":{"type":"text"}}}), "Unsupported value: \"text\""),
    ] {
        let errors = structural(&Path::new("schema"), &schema, false).unwrap_err();
        assert!(errors.iter().any(|error| error.to_string().contains(expected)), "{schema}: {errors:?}");
    }
}

/// What is wrong with a schema for `spec.f`, without the way there.
fn defined(field: Value) -> Vec<String> {
    let schema = json!({"type":"object","properties":{"spec":{"type":"object","properties":{"f":field}}}});
    let errors = define(&Path::new("schema"), &schema).errors;
    errors.iter().map(|error| error.to_string().replace("schema.properties[spec].properties[f]", "f")).collect()
}

#[test]
fn definitions_are_judged_in_upstreams_words() {
    let nested = "must be empty to be structural";
    for (field, expected) in [
        (json!({"type":"string"}), vec![]),
        (json!({}), vec!["f.type: Required value: must not be empty for specified object fields".to_owned()]),
        (
            json!({"type":"null"}),
            vec![
                "f.type: Unsupported value: \"null\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \
                 \"object\", \"string\""
                    .to_owned(),
                "f.type: Forbidden: type cannot be set to null, use nullable as an alternative".to_owned(),
            ],
        ),
        (json!({"$ref":"#/x"}), vec!["f.$ref: Forbidden: $ref is not supported".to_owned()]),
        (json!({"type":"object","additionalProperties":false}), vec![]),
        (json!({"type":"string","maxLength":-1}), vec![]),
        (
            json!({"type":"array","items":{"type":"object","properties":{"a":{"type":"object"}},"required":["a"]},
                "x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["a","b","a"]}),
            vec![
                "f.items.properties[a].type: Invalid value: \"object\": must be a scalar type if parent array's \
                 x-kubernetes-list-type is map"
                    .to_owned(),
                "f.x-kubernetes-list-map-keys: Invalid value: [\"a\",\"b\",\"a\"]: entries must all be names of item properties"
                    .to_owned(),
                "f.items.properties[a].type: Invalid value: \"object\": must be a scalar type if parent array's \
                 x-kubernetes-list-type is map"
                    .to_owned(),
                "f.x-kubernetes-list-map-keys: Invalid value: [\"a\",\"b\",\"a\"]: must not contain duplicate entries".to_owned(),
            ],
        ),
        (
            json!({"type":"array","items":{"type":"string","nullable":true},"x-kubernetes-list-type":"set"}),
            vec!["f.items.nullable: Forbidden: cannot be nullable when x-kubernetes-list-type is set".to_owned()],
        ),
        (
            json!({"type":"object","allOf":[{"title":"t","type":"object","x-kubernetes-map-type":"atomic"}]}),
            vec![
                format!("f.allOf[0].title: Forbidden: {nested}"),
                format!("f.allOf[0].type: Forbidden: {nested}"),
                "f.allOf[0].x-kubernetes-map-type: Forbidden: must be undefined to be structural".to_owned(),
            ],
        ),
        (
            json!({"type":"object","x-kubernetes-embedded-resource":true,"additionalProperties":{"type":"string"}}),
            vec![
                "f.additionalProperties: Forbidden: must not be used if x-kubernetes-embedded-resource is set".to_owned(),
                "f.properties: Required value: must not be empty if x-kubernetes-embedded-resource is true without \
                 x-kubernetes-preserve-unknown-fields"
                    .to_owned(),
            ],
        ),
        (
            json!({"type":"string","default":1}),
            vec!["f.default: Invalid value: \"integer\":  in body must be of type string: \"integer\"".to_owned()],
        ),
        (
            json!({"type":"array","items":{"type":"string"},"default":["a",1]}),
            vec!["f.default.[1]: Invalid value: \"integer\": [1] in body must be of type string: \"integer\"".to_owned()],
        ),
        (
            json!({"type":"object","properties":{"a":{"type":"string"}},"default":{"b":1}}),
            vec!["f.default: Invalid value: {\"b\":1}: must not have unknown fields".to_owned()],
        ),
        (
            json!({"type":"object","x-kubernetes-embedded-resource":true,"x-kubernetes-preserve-unknown-fields":true,
                "default":{"kind":"A"}}),
            vec!["f.default.apiVersion: Required value".to_owned()],
        ),
    ] {
        assert_eq!(defined(field.clone()), expected, "{field}");
    }
}

#[test]
fn roots_are_resources() {
    for (schema, expected) in [
        (
            json!({"type":"object","additionalProperties":{"type":"string"}}),
            "schema.additionalProperties: Forbidden: must not be used at the root",
        ),
        (
            json!({"type":"object","properties":{"metadata":{"type":"object","properties":{"labels":{"type":"object"}}}}}),
            "schema.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is \
             implicitly specified",
        ),
        (
            json!({"type":"object","properties":{"kind":{"type":"integer"}}}),
            "schema.properties[kind].type: Invalid value: \"integer\": must be string",
        ),
        (
            json!({"type":"object","properties":{"metadata":{"type":"object","default":{}}}}),
            "schema.properties[metadata].default: Forbidden: must not be set in top-level metadata",
        ),
        (
            json!({"type":"object","anyOf":[{"properties":{"x":{"minLength":1}}}]}),
            "schema.properties[x]: Required value: because it is defined in schema.anyOf[0].properties[x]",
        ),
        (
            json!({"type":"object","$schema":"x"}),
            "schema: Invalid value: \"\": OpenAPIV3Schema 'schema' is not supported",
        ),
    ] {
        let errors: Vec<String> =
            define(&Path::new("schema"), &schema).errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors, [expected], "{schema}");
    }
}

/// A value against a schema for it, as `f`.
fn judged(schema: Value, value: Value) -> Vec<String> {
    let schema = json!({"type":"object","properties":{"f":schema}});
    let schema = structural(&Path::new("schema"), &schema, false).unwrap();
    validate(&schema, &json!({ "f": value })).iter().map(ToString::to_string).collect()
}

#[test]
fn validators_run_one_after_the_other() {
    let checked = |what: &str| format!("<nil>: Invalid value: \"\": Checked value must be of type {what} in f");
    let typed =
        |value: &str, ty: &str| format!("f: Invalid value: \"{value}\": f in body must be of type {ty}: \"{value}\"");
    let short = "f in body should be at least 3 chars long";
    for (schema, value, expected) in [
        (json!({"type":"integer"}), json!(1.0), vec![]),
        (json!({"type":"integer"}), json!(1.5), vec![typed("number", "integer"), checked("integer (default format)")]),
        (
            json!({"type":"integer","format":"int32"}),
            json!(2_147_483_648_i64),
            vec![checked("integer with format int32")],
        ),
        (
            json!({"type":"integer","format":"int32"}),
            json!(1.5),
            vec![typed("float64", "int32"), checked("integer with format int32")],
        ),
        (json!({"type":"string"}), json!(1.0), vec![typed("number", "string")]),
        (
            json!({"type":"number","maximum":2.5}),
            json!(3),
            vec!["f: Invalid value: 3: f in body should be less than or equal to 2".to_owned()],
        ),
        (
            json!({"type":"number","maximum":2.5}),
            json!(2.6),
            vec!["f: Invalid value: 2.6: f in body should be less than or equal to 2.5".to_owned()],
        ),
        (
            json!({"type":"number","multipleOf":0.1}),
            json!(1),
            vec!["f: Invalid value: 0: factor MultipleOf declared for f must be positive: 0".to_owned()],
        ),
        (
            json!({"type":"string","minLength":2,"pattern":"^a"}),
            json!("b"),
            vec!["f: Invalid value: \"b\": f in body should be at least 2 chars long".to_owned()],
        ),
        (
            json!({"type":"string","enum":["a"]}),
            json!(1),
            vec![typed("integer", "string"), "f: Unsupported value: 1: supported values: \"a\"".to_owned()],
        ),
        (json!({"type":"integer","enum":[1]}), json!(1.0), vec![]),
        (
            json!({"type":"string","anyOf":[{"minLength":3},{"pattern":"^x"}]}),
            json!("a"),
            vec![
                "<nil>: Invalid value: \"\": \"f\" must validate at least one schema (anyOf)".to_owned(),
                format!("f: Invalid value: \"a\": {short}"),
            ],
        ),
        (
            json!({"type":"string","allOf":[{"minLength":3},{"pattern":"^x"}]}),
            json!("a"),
            vec![
                format!("f: Invalid value: \"a\": {short}"),
                "f: Invalid value: \"a\": f in body should match '^x'".to_owned(),
                "<nil>: Invalid value: \"\": \"f\" must validate all the schemas (allOf). None validated".to_owned(),
            ],
        ),
        (
            json!({"type":"object","minProperties":2,"required":["b"],"properties":{"a":{"type":"string"}}}),
            json!({"a":1}),
            vec![
                "f: Invalid value: 1: f in body should have at least 2 properties".to_owned(),
                "f.a: Invalid value: \"integer\": f.a in body must be of type string: \"integer\"".to_owned(),
                "f.b: Required value".to_owned(),
            ],
        ),
        (
            json!({"type":"array","items":{"type":"object","required":["k"],"properties":{"k":{"type":"string"}}},
                "x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["k"]}),
            json!(["a"]),
            vec![
                "f[0]: Invalid value: \"string\": f[0] in body must be of type object: \"string\"".to_owned(),
                "f[0]: Invalid value: \"a\": must be an object for an array of list-type map".to_owned(),
            ],
        ),
    ] {
        assert_eq!(judged(schema.clone(), value.clone()), expected, "{schema} {value}");
    }
}

/// Where nothing is ever pruned, a schema says what it can, whatever its form.
#[test]
fn schemas_that_are_not_structural() {
    let opaque = json!({"patternProperties": {"^a": {"type": "string"}}, "properties": {"n": {"type": "integer"}}});
    let typeless = json!({"properties": {"o": {"properties": {"n": {"type": "integer"}}}, "l": {"type": "array"}}});
    let typed = json!({"type": "object", "properties": {
        "o": {"type": "object", "properties": {"n": {"type": "integer"}}}, "l": {"type": "array", "items": {"type": "object"}}}});
    let value = json!({"n": 1, "o": {"n": 1, "x": {"y": 1}}, "l": [{"x": 1}], "x": 1});
    for schema in [&opaque, &typeless, &typed] {
        let structural = structural(&Path::default(), schema, true).unwrap();
        let mut pruned = value.clone();
        crate::prune(&structural, &mut pruned);
        assert_eq!(pruned, value, "{schema}");
        let wrong = json!({"n": "1", "o": {"n": "1"}});
        assert_eq!(validate(&structural, &wrong).len(), 1, "{schema}");
    }
    assert!(structural(&Path::default(), &typeless, false).is_err());
    assert_eq!(violations(&Path::default(), &typed), Ok(ErrorList::new()));
    assert_eq!(
        violations(&Path::default(), &opaque),
        Err("OpenAPIV3Schema 'patternProperties' is not supported".to_owned())
    );
    let told: Vec<String> = violations(&Path::new("s"), &typeless).unwrap().iter().map(ToString::to_string).collect();
    let (field, root) = ("must not be empty for specified object fields", "must not be empty at the root");
    assert_eq!(
        told,
        [
            "s.properties[l].items: Required value: must be specified".to_owned(),
            format!("s.properties[o].type: Required value: {field}"),
            format!("s.type: Required value: {root}"),
        ]
    );
}
