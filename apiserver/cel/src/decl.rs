//! Functions: what the checker knows of them and what runs. The tables stand in [`crate::library`] and [`crate::operators`].

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use regex::Regex;

use crate::{
    library, operators,
    types::{self, Type},
    value::{self, EvalError, EvalResult, Value, failed},
};

/// What a function knows besides its arguments.
pub(crate) struct Call<'c> {
    /// The pattern argument, if it is a constant: compiled once.
    pub regex: Option<&'c Regex>,
}

pub(crate) type Run = for<'a> fn(&Call<'_>, &mut [Value<'a>]) -> EvalResult<'a>;

/// One row of a function table: a name, what runs, and overloads written as `id (int, int) bool`, or
/// `id string.(int) bool` for members.
pub(crate) type Row = (&'static str, Run, &'static [&'static str]);

#[derive(Clone)]
pub(crate) struct Overload {
    pub id: &'static str,
    pub member: bool,
    /// The receiver first.
    pub args: Arc<[Type]>,
    pub result: Type,
    pub run: Run,
}

pub(crate) struct Function {
    pub name: &'static str,
    pub overloads: Vec<Overload>,
}

static FUNCTIONS: LazyLock<HashMap<&'static str, Function>> = LazyLock::new(|| {
    let mut all: HashMap<&'static str, Function> = HashMap::new();
    for (name, run, overloads) in operators::ROWS.iter().chain(library::tables().flatten()) {
        let function = all.entry(name).or_insert_with(|| Function { name, overloads: Vec::new() });
        function.overloads.extend(overloads.iter().map(|text| overload(text, *run)));
    }
    all
});

/// Looks a function up by its full name.
pub(crate) fn function(name: &str) -> Option<&'static Function> {
    FUNCTIONS.get(name)
}

fn overload(text: &'static str, run: Run) -> Overload {
    let (id, signature) = text.split_once(' ').unwrap_or((text, "()"));
    let (receiver, rest) = signature.split_once('(').unwrap_or(("", signature));
    let (args, result) = rest.rsplit_once(')').unwrap_or((rest, "dyn"));
    let receiver = receiver.strip_suffix('.');
    let args = receiver.into_iter().chain(split(args)).map(types::parse).collect();
    Overload { id, member: receiver.is_some(), args, result: types::parse(result), run }
}

/// Splits at commas outside angle brackets.
fn split(args: &'static str) -> Vec<&'static str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in args.char_indices() {
        match c {
            '<' => depth += 1,
            '>' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&args[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !args[start..].trim().is_empty() {
        parts.push(&args[start..]);
    }
    parts
}

impl Overload {
    /// Whether arguments of these kinds are what the overload takes, as far as can be told at run time.
    pub(crate) fn accepts(&self, args: &[Value<'_>]) -> bool {
        self.args.len() == args.len() && self.args.iter().zip(args).all(|(ty, value)| fits(ty, value))
    }
}

/// Whether one function stands for all overloads of a name (cel-go's singleton bindings): operators and a few more. It finds out
/// by itself that it does not fit, and says so without naming what it was given.
pub(crate) fn judges_itself(function: &str) -> bool {
    function.contains(['_', '@', '!'])
        || matches!(function, "type" | "dyn" | "matches" | "startsWith" | "endsWith" | "contains")
}

/// What is said where no overload takes the arguments.
pub(crate) fn no_overload<T>(function: &str, args: &[Value<'_>]) -> Result<T, EvalError> {
    if judges_itself(function) {
        return value::no_overload();
    }
    if function == "size" {
        // It is asked of the value.
        return failed("no such overload: size");
    }
    let given: Vec<_> = args.iter().map(|arg| arg.type_of().runtime_name().to_owned()).collect();
    failed(format!("no such overload: {function}({})", given.join(", ")))
}

fn fits(ty: &Type, value: &Value<'_>) -> bool {
    match (ty, value) {
        (Type::Dyn | Type::Param(_), _)
        | (Type::Bool, Value::Bool(_))
        | (Type::Int, Value::Int(_))
        | (Type::Uint, Value::Uint(_))
        | (Type::Double, Value::Double(_))
        | (Type::String, Value::String(_))
        | (Type::Bytes, Value::Bytes(_))
        | (Type::Duration, Value::Duration(_))
        | (Type::Timestamp, Value::Timestamp(_))
        | (Type::Map(..), Value::Map(_))
        | (Type::Optional(_), Value::Optional(_))
        | (Type::Type(_), Value::Type(_)) => true,
        (Type::List(of), Value::List(list)) => {
            list.get(0).is_none_or(|first| first.is_ok_and(|first| fits(of, &first)))
        }
        (Type::Opaque(name), Value::Extension(extension)) => extension.type_name() == *name,
        (Type::Opaque(_), Value::Opaque(_)) | (Type::Object(_), Value::Object(_) | Value::Map(_)) => true,
        (Type::Null, Value::Null) => true,
        _ => false,
    }
}
