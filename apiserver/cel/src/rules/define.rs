//! Rules at definition: well formed, well typed, and cheap enough (`apiextensions/validation/validation.go`, `cel_validation.go`).

use schema::field::{Error, ErrorList, Path};
use serde_json::Value as Json;

use super::{Rule, Rules, compile, field_path, written};
use crate::{ListType, Schema};

/// The most one rule may be estimated to cost.
const RULE_LIMIT: u64 = 10_000_000;
/// The most all rules of a version may.
const DEFINITION_LIMIT: u64 = 100_000_000;
/// So many of the most expensive rules are named.
const NAMED: usize = 4;
const REASONS: [&str; 4] = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

/// What is wrong with the rules of a structural schema, which stands at `path` of the definition.
#[must_use]
pub fn define(path: &Path, open_api_v3_schema: &Json) -> ErrorList {
    let schema = Schema::new(open_api_v3_schema, true);
    let mut definition = Definition::default();
    let place = Place { path: path.clone(), cardinality: Some(1), uncorrelatable: None };
    definition.level(&place, open_api_v3_schema, open_api_v3_schema, &schema);
    let Definition { malformed, mut errors, total, mut expensive } = definition;
    if total > DEFINITION_LIMIT {
        expensive.sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
        for (path, _) in expensive.iter().take(NAMED) {
            let detail = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            errors.push(Error::forbidden(path, detail));
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.push(Error::forbidden(path, exceeds(what, total, DEFINITION_LIMIT)));
    }
    malformed.into_iter().chain(errors).collect()
}

/// What the rules of a structural schema say of the defaults in it; a default is no change to a rule of transitions.
#[must_use]
pub fn define_defaults(path: &Path, open_api_v3_schema: &Json) -> ErrorList {
    let mut errors = ErrorList::new();
    schema::crd::each_default(path, open_api_v3_schema, &mut |at, schema, default| {
        if let Some(rules) = Rules::below(schema, false) {
            errors.extend(rules.validate_at(at, default, Some(default)).errors);
        }
    });
    errors
}

#[derive(Default)]
struct Definition {
    malformed: ErrorList,
    errors: ErrorList,
    total: u64,
    expensive: Vec<(Path, u64)>,
}

/// Where in the definition a schema stands.
#[derive(Clone)]
struct Place {
    path: Path,
    /// How often its values may occur; `None` if nothing bounds that.
    cardinality: Option<u64>,
    /// The list above whose items have no identity.
    uncorrelatable: Option<Path>,
}

fn exceeds(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and \
         maxLength where arrays, maps, and strings are declared)"
    )
}

fn has_newlines(text: &str) -> bool {
    text.contains(['\n', '\r'])
}

/// Upstream shows the whole rule as its internal type's JSON.
fn shown(rule: &Rule) -> String {
    let json = |value: &str| schema::field::go_json(&Json::from(value));
    let reason = rule.reason.as_deref().map_or_else(|| "null".to_owned(), json);
    let optional = rule.optional_old_self.map_or_else(|| "null".to_owned(), |yes| yes.to_string());
    format!(
        "{{\"Rule\":{},\"Message\":{},\"MessageExpression\":{},\"Reason\":{reason},\"FieldPath\":{},\"OptionalOldSelf\":{optional}}}",
        json(&rule.text),
        json(&rule.message),
        json(&rule.message_expression),
        json(rule.field_path.as_deref().unwrap_or_default()),
    )
}

impl Definition {
    /// Everything below, then the place's own rules. `validations` is `skeleton` itself, or a branch of its `allOf`.
    fn level(&mut self, place: &Place, validations: &Json, skeleton: &Json, schema: &Schema) {
        let malformed = self.malformed.len();
        let factor = |max: &str| skeleton.get(max).and_then(Json::as_i64).map(|max| u64::try_from(max).unwrap_or(0));
        let below = |path: Path, factor: Option<u64>, uncorrelatable: Option<Path>| Place {
            path,
            cardinality: place.cardinality.zip(factor).map(|(here, factor)| here.saturating_mul(factor)),
            uncorrelatable,
        };
        let bones = |name: &str| skeleton.get(name).filter(|schema| schema.is_object());
        let says = |name: &str| validations.get(name).filter(|schema| schema.is_object());
        if let (Some(says), Some(bones), Some(schema)) =
            (says("additionalProperties"), bones("additionalProperties"), schema.element())
        {
            let path = place.path.child("additionalProperties");
            let place = below(path, factor("maxProperties"), place.uncorrelatable.clone());
            self.level(&place, says, bones, schema);
        }
        for (name, says) in validations.get("properties").and_then(Json::as_object).into_iter().flatten() {
            let bones = skeleton.get("properties").and_then(|all| all.get(name));
            if let (Some(bones), Some(schema)) = (bones, schema.property(name)) {
                let path = place.path.child("properties").key(name);
                let place = below(path, Some(1), place.uncorrelatable.clone());
                self.level(&place, says, bones, schema);
            }
        }
        if let (Some(says), Some(bones), Some(below_schema)) = (says("items"), bones("items"), schema.element()) {
            let keyed = matches!(schema.list_type(), Some(ListType::Map(_)));
            let uncorrelatable = place.uncorrelatable.clone().or_else(|| (!keyed).then(|| place.path.clone()));
            let place = below(place.path.child("items"), factor("maxItems"), uncorrelatable);
            self.level(&place, says, bones, below_schema);
        }
        for (at, branch) in validations.get("allOf").and_then(Json::as_array).into_iter().flatten().enumerate() {
            let place = Place { path: place.path.child("allOf").index(at), ..place.clone() };
            self.level(&place, branch, skeleton, schema);
        }
        let rules = written(validations);
        if rules.is_empty() {
            return;
        }
        let path = place.path.child("x-kubernetes-validations");
        for (at, rule) in rules.iter().enumerate() {
            self.form(&path.index(at), rule, skeleton);
        }
        // Types of a malformed schema would only bring errors that go away with the malformation.
        if self.malformed.len() > malformed {
            return;
        }
        let Some(decl) = schema.decl() else {
            let detail = "internal error: failed to construct type information for x-kubernetes-validations rules: unable to \
                          convert structural schema to CEL declarations";
            self.errors.push(Error::internal(&path, detail));
            return;
        };
        let cardinality = place.cardinality.unwrap_or_else(|| decl.max_cardinality());
        for (at, rule) in compile(rules, skeleton, decl).iter().enumerate() {
            self.rule(&path.index(at), rule, cardinality, place.uncorrelatable.as_ref());
        }
    }

    fn form(&mut self, path: &Path, rule: &Json, schema: &Json) {
        let field = |name: &str| rule.get(name).and_then(Json::as_str).unwrap_or_default();
        let (text, message) = (field("rule"), field("message"));
        let errors = &mut self.malformed;
        if text.trim().is_empty() {
            errors.push(Error::required(&path.child("rule"), "rule is not specified"));
        } else if !message.is_empty() && message.trim().is_empty() {
            errors.push(Error::invalid(&path.child("message"), message, "must be non-empty if specified"));
        } else if has_newlines(message.trim()) {
            errors.push(Error::invalid(&path.child("message"), message, "must not contain line breaks"));
        } else if has_newlines(text.trim()) && message.trim().is_empty() {
            let detail = "message must be specified if rule contains line breaks";
            errors.push(Error::required(&path.child("message"), detail));
        }
        let expression = field("messageExpression");
        if !expression.is_empty() && expression.trim().is_empty() {
            let detail = "messageExpression must be non-empty if specified";
            errors.push(Error::required(&path.child("messageExpression"), detail));
        }
        if let Some(reason) = rule.get("reason").and_then(Json::as_str)
            && !REASONS.contains(&reason)
        {
            errors.push(Error::not_supported(&path.child("reason"), reason, &REASONS));
        }
        let at = path.child("fieldPath");
        let field_path = field("fieldPath");
        if !field_path.is_empty() && field_path.trim().is_empty() {
            errors.push(Error::invalid(&at, field_path, "must be non-empty if specified"));
        }
        if has_newlines(field_path) {
            errors.push(Error::invalid(&at, field_path, "must not contain line breaks"));
        }
        if !field_path.is_empty() && field_path::parse(field_path, schema).is_err() {
            errors.push(Error::invalid(&at, field_path, "must be a valid path"));
        }
    }

    fn rule(&mut self, path: &Path, rule: &Rule, cardinality: u64, uncorrelatable: Option<&Path>) {
        let at = path.child("rule");
        let cost = match &rule.program {
            Some(Ok(program)) => program.estimated_cost().max.saturating_mul(cardinality),
            _ => 0,
        };
        self.observe(&at, cost, "estimated rule cost");
        if let Some(Err(detail)) = &rule.program {
            self.errors.push(Error::invalid_as(&at, shown(rule), detail));
        }
        let at = path.child("messageExpression");
        match &rule.message_program {
            Some(Err(detail)) => self.errors.push(Error::invalid_as(&at, shown(rule), detail)),
            Some(Ok(program)) => {
                self.observe(&at, program.estimated_cost().max, "estimated messageExpression cost");
            }
            None => {}
        }
        if rule.uses_old_self() {
            if let Some(list) = uncorrelatable {
                let detail =
                    format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {list}");
                self.errors.push(Error::invalid(&path.child("rule"), rule.text.as_str(), detail));
            }
        } else if let Some(optional) = rule.optional_old_self {
            let detail = "may not be set if oldSelf is not used in rule";
            self.errors.push(Error::invalid(&path.child("optionalOldSelf"), optional, detail));
        }
    }

    fn observe(&mut self, path: &Path, cost: u64, what: &str) {
        if cost > RULE_LIMIT {
            self.errors.push(Error::forbidden(path, exceeds(what, cost, RULE_LIMIT)));
        }
        self.total = self.total.saturating_add(cost);
        if cost >= DEFINITION_LIMIT / 100 {
            self.expensive.push((path.clone(), cost));
        }
    }
}
