use serde_json::{Value as Json, json};

use super::*;

fn at() -> schema::field::Path {
    schema::field::Path::new("schema")
}

fn spec(property: Json) -> Json {
    json!({"type": "object", "properties": {"spec": property}})
}

fn wrong(schema: &Json) -> Vec<String> {
    define(&at(), schema).iter().map(ToString::to_string).collect()
}

fn validate(schema: &Json, new: Json, old: Option<Json>) -> (Vec<String>, Vec<String>) {
    let outcome = Rules::new(schema).expect("it has rules").validate(&new, old.as_ref());
    (outcome.errors.iter().map(ToString::to_string).collect(), outcome.warnings)
}

#[test]
fn definitions() {
    let rules = |rules: Json| {
        spec(json!({"type": "object", "properties": {"n": {"type": "integer"},
        "items": {"type": "array", "items": {"type": "string"}}}, "x-kubernetes-validations": rules}))
    };
    let path = "schema.properties[spec].x-kubernetes-validations[0]";
    assert_eq!(wrong(&rules(json!([{"rule": "self.n > 0"}]))), Vec::<String>::new());
    for (rule, expected) in [
        (json!({"rule": " "}), vec![format!("{path}.rule: Required value: rule is not specified")]),
        (
            json!({"rule": "self.nope"}),
            vec![format!(
                "{path}.rule: Invalid value: {{\"Rule\":\"self.nope\",\"Message\":\"\",\"MessageExpression\":\"\",\"Reason\":null,\
                 \"FieldPath\":\"\",\"OptionalOldSelf\":null}}: compilation failed: ERROR: <input>:1:5: undefined field 'nope'\n \
                 | self.nope\n | ....^"
            )],
        ),
        (
            json!({"rule": "self.n"}),
            vec![format!(
                "{path}.rule: Invalid value: {{\"Rule\":\"self.n\",\"Message\":\"\",\"MessageExpression\":\"\",\"Reason\":null,\
                 \"FieldPath\":\"\",\"OptionalOldSelf\":null}}: cel expression must evaluate to a bool"
            )],
        ),
        (
            json!({"rule": "true", "reason": "Nope"}),
            vec![format!(
                "{path}.reason: Unsupported value: \"Nope\": supported values: \"FieldValueDuplicate\", \"FieldValueForbidden\", \
                 \"FieldValueInvalid\", \"FieldValueRequired\""
            )],
        ),
        (
            json!({"rule": "true", "fieldPath": ".nope"}),
            vec![format!("{path}.fieldPath: Invalid value: \".nope\": must be a valid path")],
        ),
        (json!({"rule": "true", "fieldPath": ".n"}), vec![]),
        (
            json!({"rule": "true", "message": "a\nb"}),
            vec![format!("{path}.message: Invalid value: \"a\\nb\": must not contain line breaks")],
        ),
        (
            json!({"rule": "true\n&& true"}),
            vec![format!("{path}.message: Required value: message must be specified if rule contains line breaks")],
        ),
        (
            json!({"rule": "true", "optionalOldSelf": true}),
            vec![format!("{path}.optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule")],
        ),
        (
            json!({"rule": "self.items.all(a, self.items.all(b, a != b))"}),
            vec![
                format!(
                    "{path}.rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x (try simplifying the rule, \
                     or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
                ),
                format!(
                    "{path}.rule: Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
                ),
                "schema: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by \
                 factor of more than 100x (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, \
                 maps, and strings are declared)"
                    .to_owned(),
            ],
        ),
    ] {
        assert_eq!(wrong(&rules(json!([rule]))), expected, "{rule}");
    }
    let transition = |list_type: Json| {
        spec(
            json!({"type": "array", "maxItems": 5, "x-kubernetes-list-type": list_type, "x-kubernetes-list-map-keys": ["k"],
        "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string", "maxLength": 5}, "v": {"type": "integer"}},
            "x-kubernetes-validations": [{"rule": "self.v >= oldSelf.v"}]}}),
        )
    };
    assert_eq!(wrong(&transition(json!("map"))), Vec::<String>::new());
    assert_eq!(
        wrong(&transition(json!("atomic"))),
        [
            "schema.properties[spec].items.x-kubernetes-validations[0].rule: Invalid value: \"self.v >= oldSelf.v\": oldSelf cannot be used on the \
             uncorrelatable portion of the schema within schema.properties[spec]"
        ]
    );
}

#[test]
fn failures() {
    let schema = spec(json!({"type": "object", "x-kubernetes-validations": [
            {"rule": "self.min <= self.max", "messageExpression": "'min ' + string(self.min) + ' is above ' + string(self.max)"},
            {"rule": "self.max < 10", "message": "too much", "fieldPath": ".max", "reason": "FieldValueForbidden"},
            {"rule": "self.names.all(n, n.size() > 1)"},
        ], "properties": {
            "min": {"type": "integer", "x-kubernetes-validations": [{"rule": "self >= 0"}]}, "max": {"type": "integer"},
            "names": {"type": "array", "items": {"type": "string"}},
            "by": {"type": "object", "additionalProperties": {"type": "integer", "x-kubernetes-validations": [{"rule": "self > 0"}]}},
            "all": {"type": "string", "allOf": [{"x-kubernetes-validations": [{"rule": "self != 'x'"}]}]},
    }}));
    let (errors, _) = validate(
        &schema,
        json!({"spec": {"min": -1, "max": 5, "names": ["ab"], "by": {"a": 1, "b": 0}, "all": "x"}}),
        None,
    );
    assert_eq!(
        errors,
        [
            "spec.all: Invalid value: \"x\": failed rule: self != 'x'",
            "spec.by[b]: Invalid value: 0: failed rule: self > 0",
            "spec.min: Invalid value: -1: failed rule: self >= 0",
        ]
    );
    let (errors, _) = validate(&schema, json!({"spec": {"min": 20, "max": 11}}), None);
    assert_eq!(
        errors,
        [
            "spec: Invalid value: min 20 is above 11",
            "spec.max: Forbidden: too much",
            "spec: Invalid value: \"object\": no such key: names evaluating rule: self.names.all(n, n.size() > 1)",
        ]
    );
}

#[test]
fn transitions_and_ratcheting() {
    let schema = json!({"type": "object", "properties": {
        "kept": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "is immutable"}]},
        "first": {"type": "integer", "x-kubernetes-validations": [
            {"rule": "!oldSelf.hasValue() || self >= oldSelf.value()", "optionalOldSelf": true, "message": "may not shrink"},
            {"rule": "oldSelf.hasValue() || self == 0", "optionalOldSelf": true, "message": "begins at 0"}]},
        "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": {"type": "object",
            "properties": {"k": {"type": "string"}, "v": {"type": "integer"}}, "x-kubernetes-validations": [{"rule": "self.v < 3"}, {"rule": "self.v >= oldSelf.v"}]}},
        "plain": {"type": "array", "items": {"type": "integer", "x-kubernetes-validations": [{"rule": "self < 3"}]}},
    }});
    assert_eq!(validate(&schema, json!({"kept": "a", "first": 0}), None).0, Vec::<String>::new());
    assert_eq!(validate(&schema, json!({"first": 1}), None).0, ["first: Invalid value: 1: begins at 0"]);
    assert_eq!(
        validate(&schema, json!({"kept": "b", "first": 1}), Some(json!({"kept": "a", "first": 2}))).0,
        ["first: Invalid value: 1: may not shrink", "kept: Invalid value: \"b\": is immutable"]
    );
    // Items of map lists are found by key, in whatever order; unchanged ones stay as they are, with a warning.
    let (errors, warnings) = validate(
        &schema,
        json!({"list": [{"k": "b", "v": 1}, {"k": "a", "v": 9}, {"k": "c", "v": 5}]}),
        Some(json!({"list": [{"k": "a", "v": 9}, {"k": "b", "v": 2}]})),
    );
    assert_eq!(
        errors,
        ["list[0]: Invalid value: failed rule: self.v >= oldSelf.v", "list[2]: Invalid value: failed rule: self.v < 3"]
    );
    assert_eq!(warnings, ["list[1]: Invalid value: failed rule: self.v < 3"]);
    // Items without identity are tolerated only if the whole list is unchanged.
    let (errors, warnings) = validate(&schema, json!({"plain": [5]}), Some(json!({"plain": [5]})));
    assert_eq!((errors.len(), warnings.len()), (0, 1));
    let (errors, warnings) = validate(&schema, json!({"plain": [5, 1]}), Some(json!({"plain": [5]})));
    assert_eq!((errors.len(), warnings.len()), (1, 0));
}

#[test]
fn cost_grows_with_nesting() {
    let nest = |depth: usize| {
        let names = ["a", "b", "c", "d", "e", "f", "g"];
        let rule: String = names[..depth].iter().map(|v| format!("self.tags.all({v}, ")).collect();
        let rule = format!("{rule}a != b{}", ")".repeat(depth));
        wrong(&spec(json!({"type": "object", "x-kubernetes-validations": [{"rule": rule}], "properties": {
            "tags": {"type": "array", "maxItems": 10, "items": {"type": "string", "maxLength": 10}}}})))
    };
    assert_eq!(nest(2), Vec::<String>::new());
    assert!(nest(7)[0].contains("estimated rule cost exceeds budget by factor of"), "{:?}", nest(7));
}
