//! `x-kubernetes-validations`: rules in the schemas of custom resources (KEP-2876; `apiextensions-apiserver/pkg/apiserver/schema/cel`).
//!
//! [`define`] says what is wrong with the rules of a definition; [`Rules`] are the compiled rules of one version, which
//! [`Rules::validate`] applies to an object, or to an object and the one it replaces.

mod correlate;
mod define;
mod evaluate;
mod field_path;

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value as Json;

pub use self::{
    define::{define, define_defaults},
    evaluate::Outcome,
    field_path::{FieldPath, resolve},
};
use crate::{CompileError, Decl, Env, Program, Schema, Type, escape};

/// The compiled rules of a schema and of all below it.
#[derive(Debug)]
pub struct Rules {
    root: Level,
}

/// A place of the schema: its own rules, and those below.
#[derive(Debug)]
struct Level {
    schema: Schema,
    /// As written in the schema, for messages.
    ty: String,
    rules: Vec<Rule>,
    properties: BTreeMap<String, Level>,
    /// Of items, and of the values of a map.
    elements: Option<Box<Level>>,
    all_of: Vec<Level>,
}

/// One rule, compiled.
#[derive(Debug)]
struct Rule {
    text: String,
    message: String,
    message_expression: String,
    reason: Option<String>,
    /// `fieldPath`, normalised.
    field_path: Option<String>,
    optional_old_self: Option<bool>,
    /// `None` for a rule without text.
    program: Option<Result<Program, String>>,
    message_program: Option<Result<Program, String>>,
}

impl Rule {
    fn uses_old_self(&self) -> bool {
        matches!(&self.program, Some(Ok(program)) if program.uses("oldSelf"))
    }

    /// What a failure says of the rule: its message, or else itself.
    fn shown(&self) -> &str {
        if self.message.is_empty() { self.text.trim() } else { self.message.trim() }
    }
}

fn text(value: &Json, name: &str) -> String {
    value.get(name).and_then(Json::as_str).unwrap_or_default().to_owned()
}

fn written(schema: &Json) -> &[Json] {
    schema.get("x-kubernetes-validations").and_then(Json::as_array).map_or(&[], Vec::as_slice)
}

/// Compiles the rules at one place. `decl` describes the values there.
fn compile(validations: &[Json], schema: &Json, decl: &Arc<Decl>) -> Vec<Rule> {
    let ty = decl.to_type("selfType");
    let env = |old: Type| {
        let env = Env::new().sized_variable("self", ty.clone(), decl.clone());
        env.sized_variable("oldSelf", old, decl.clone())
    };
    let plain = env(ty.clone());
    let optional = env(Type::optional(ty.clone()));
    let build = |rule: &Json| {
        let mut rule = Rule {
            text: text(rule, "rule"),
            message: text(rule, "message"),
            message_expression: text(rule, "messageExpression"),
            reason: rule.get("reason").and_then(Json::as_str).map(ToOwned::to_owned),
            field_path: Some(text(rule, "fieldPath")).filter(|path| !path.is_empty()),
            optional_old_self: rule.get("optionalOldSelf").and_then(Json::as_bool),
            program: None,
            message_program: None,
        };
        rule.field_path = rule.field_path.as_deref().and_then(|path| field_path::parse(path, schema).ok());
        if rule.text.trim().is_empty() {
            return rule;
        }
        let env = if rule.optional_old_self == Some(true) { &optional } else { &plain };
        let program = program(env, &rule.text, &Type::Bool, "", "cel expression must evaluate to a bool");
        if program.is_ok() && !rule.message_expression.is_empty() {
            let wrong = "messageExpression must evaluate to a string";
            rule.message_program =
                Some(self::program(env, &rule.message_expression, &Type::String, "messageExpression ", wrong));
        }
        rule.program = Some(program);
        rule
    };
    validations.iter().map(build).collect()
}

fn program(env: &Env, text: &str, output: &Type, what: &str, wrong: &str) -> Result<Program, String> {
    let program = env.compile(text).map_err(|error| match error {
        CompileError::Issues { shown, .. } => format!("{what}compilation failed: {shown}"),
        CompileError::Instantiation(why) if what.is_empty() => format!("program instantiation failed: {why}"),
        CompileError::Instantiation(why) => format!("{what}instantiation failed: {why}"),
    })?;
    if program.output() == output { Ok(program) } else { Err(wrong.to_owned()) }
}

impl Rules {
    /// Compiles the rules of an `openAPIV3Schema`; `None` if there are none.
    #[must_use]
    pub fn new(open_api_v3_schema: &Json) -> Option<Self> {
        Self::below(open_api_v3_schema, true)
    }

    /// The same for a schema that stands somewhere: `resource` if its values have apiVersion, kind and metadata.
    fn below(schema: &Json, resource: bool) -> Option<Self> {
        Level::new(schema, schema, &Schema::new(schema, resource)).map(|root| Self { root })
    }
}

impl Level {
    /// `validations` is `skeleton` itself, or a branch of its `allOf`.
    fn new(validations: &Json, skeleton: &Json, schema: &Schema) -> Option<Self> {
        let rules = match schema.decl() {
            Some(decl) => compile(written(validations), skeleton, decl),
            None => Vec::new(),
        };
        let mut properties = BTreeMap::new();
        for (name, below) in validations.get("properties").and_then(Json::as_object).into_iter().flatten() {
            let Some(bones) = skeleton.get("properties").and_then(|all| all.get(name)) else { continue };
            let Some(schema) = schema.property(name) else { continue };
            // Values CEL cannot see have no rules below them, unless it is only their name that it cannot say.
            if schema.decl().is_none() && escape(name).is_some() {
                continue;
            }
            if let Some(level) = Self::new(below, bones, schema) {
                properties.insert(name.clone(), level);
            }
        }
        let element = |name: &str| -> Option<Self> {
            let (below, bones) = (validations.get(name)?, skeleton.get(name)?);
            Self::new(below, bones, schema.element()?)
        };
        let elements = element("items").or_else(|| element("additionalProperties")).map(Box::new);
        let branches = validations.get("allOf").and_then(Json::as_array).into_iter().flatten();
        let all_of: Vec<Self> = branches.filter_map(|branch| Self::new(branch, skeleton, schema)).collect();
        if rules.is_empty() && properties.is_empty() && elements.is_none() && all_of.is_empty() {
            return None;
        }
        Some(Self { schema: schema.clone(), ty: text(skeleton, "type"), rules, properties, elements, all_of })
    }
}

#[cfg(test)]
mod tests;
