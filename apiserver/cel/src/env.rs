//! The environment an expression is compiled in: its variables, object types and functions.

use std::sync::Arc;

use crate::{
    checker,
    decl::Function,
    deep,
    estimate::{self, CostEstimate},
    parser, plan,
    program::{Activation, Program},
    schema::Decl,
    source::{Issue, Source},
    types::Type,
    validators,
    value::Value,
};

/// What is wrong with an expression. Display: cel-go's `Issues.String()`, one `ERROR: <input>:line:column: …` after the other,
/// each with its line of source and a caret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    #[error("{shown}")]
    Issues { issues: Vec<Issue>, shown: String },
    /// It is well typed, but a constant part of it has no value (upstream: `program instantiation failed`).
    #[error("{0}")]
    Instantiation(String),
}

/// Kubernetes v1.35's base environment, extended by variables and types.
#[derive(Clone, Debug, Default)]
pub struct Env {
    variables: Vec<(Arc<str>, Type, Option<Arc<Decl>>)>,
    objects: Vec<Type>,
    /// `Object{…}` and `JSONPatch{…}`, and `jsonpatch.escapeKey` (MutatingAdmissionPolicy).
    patches: bool,
    /// `cel.bind(name, value, expression)`.
    bindings: bool,
}

/// Type names that are identifiers everywhere.
fn named_type(name: &str) -> Option<Type> {
    Some(match name {
        "bool" => Type::Bool,
        "bytes" => Type::Bytes,
        "double" => Type::Double,
        "google.protobuf.Duration" => Type::Duration,
        "google.protobuf.Timestamp" => Type::Timestamp,
        "int" => Type::Int,
        "list" => Type::list(Type::Dyn),
        "map" => Type::map(Type::Dyn, Type::Dyn),
        "null_type" => Type::Null,
        "string" => Type::String,
        "type" => Type::Type(None),
        "uint" => Type::Uint,
        "optional_type" => Type::optional(Type::Dyn),
        "net.IP" => Type::Opaque("net.IP"),
        "net.CIDR" => Type::Opaque("net.CIDR"),
        _ => return None,
    })
}

impl Env {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares a variable; a dotted name such as `authorizer.requestResource` is one variable.
    #[must_use]
    pub fn variable(mut self, name: &str, ty: Type) -> Self {
        self.variables.push((name.into(), ty, None));
        self
    }

    /// Declares a variable whose sizes the cost estimate knows.
    #[must_use]
    pub fn sized_variable(mut self, name: &str, ty: Type, decl: Arc<Decl>) -> Self {
        self.variables.push((name.into(), ty, Some(decl)));
        self
    }

    /// Declares `authorizer` and `authorizer.requestResource`.
    #[must_use]
    pub fn authorizer(self) -> Self {
        self.variable("authorizer", Type::Opaque("kubernetes.authorization.Authorizer"))
            .variable("authorizer.requestResource", Type::Opaque("kubernetes.authorization.ResourceCheck"))
    }

    /// Allows `Object{…}` and `JSONPatch{…}`.
    #[must_use]
    pub fn patches(mut self) -> Self {
        self.patches = true;
        let patch = [("op", Type::String), ("path", Type::String), ("from", Type::String), ("value", Type::Dyn)];
        self.objects.push(Type::object("JSONPatch", patch.map(|(name, ty)| (name.to_owned(), ty))));
        self
    }

    /// Allows `cel.bind(name, value, expression)`.
    #[must_use]
    pub fn bindings(mut self) -> Self {
        self.bindings = true;
        self
    }

    pub(crate) fn identifier(&self, name: &str) -> Option<Type> {
        let variable = self.variables.iter().rev().find(|(known, ..)| **known == *name).map(|(_, ty, _)| ty.clone());
        variable.or_else(|| named_type(name).map(|ty| Type::Type(Some(Arc::new(ty)))))
    }

    pub(crate) fn is_variable(&self, name: &str) -> bool {
        self.variables.iter().any(|(known, ..)| **known == *name)
    }

    /// The declaration sizes are looked up in.
    pub(crate) fn sized(&self) -> Option<&Arc<Decl>> {
        self.variables.iter().find_map(|(_, _, decl)| decl.as_ref())
    }

    /// The object type of that name, for `Name{…}`.
    pub(crate) fn object(&self, name: &str) -> Option<Type> {
        let declared = self.objects.iter().find(|ty| matches!(ty, Type::Object(object) if object.name == name));
        declared.cloned().or_else(|| self.open(name).then(|| Type::object(name, [])))
    }

    /// Whether any field may be set on objects of this type: `Object`, `Object.spec` …
    pub(crate) fn open(&self, name: &str) -> bool {
        self.patches && (name == "Object" || name.starts_with("Object."))
    }

    /// What may be put into a field of an open type.
    pub(crate) fn open_field(&self, _object: &str, _field: &str) -> Type {
        Type::Dyn
    }

    pub(crate) fn function(&self, name: &str) -> Option<&'static Function> {
        if name == "jsonpatch.escapeKey" && !self.patches {
            return None;
        }
        checker::standard(name)
    }

    /// Parses, checks and plans an expression.
    pub fn compile(&self, text: &str) -> Result<Program, CompileError> {
        deep::run(deep::text(text), || self.compile_here(text, true))
    }

    pub(crate) fn compile_here(&self, text: &str, fold: bool) -> Result<Program, CompileError> {
        let source = Source::new(text);
        let issues = |issues: Vec<Issue>| CompileError::Issues { shown: source.show(&issues), issues };
        let ast = parser::parse(text, &source, self.bindings).map_err(issues)?;
        let (checked, ast) = checker::check(ast, &source, self).map_err(issues)?;
        let wrong = validators::validate(&checked, &ast, &source);
        if !wrong.is_empty() {
            return Err(issues(wrong));
        }
        let cost = estimate::estimate(&checked, self);
        let plan = plan::plan(&checked, self, fold).map_err(CompileError::Instantiation)?;
        let output = checked.ty(&checked.root).clone();
        Ok(Program::new(plan, output, cost))
    }

    /// Compiles and evaluates at once; for constants and tests.
    pub fn evaluate<'a>(&self, text: &str, variables: &Activation<'a>) -> Result<Value<'a>, String> {
        let program = self.compile(text).map_err(|error| error.to_string())?;
        program.evaluate(variables).result.map_err(|error| error.to_string())
    }
}

impl Program {
    /// The least and most an evaluation may cost, from the sizes the schema allows.
    #[must_use]
    pub fn estimated_cost(&self) -> CostEstimate {
        self.cost
    }
}
