//! The JSONPath of printer columns and of scale subresources (`client-go/util/jsonpath`, the part that
//! `additionalPrinterColumns` uses): `.a.b`, `['a']`, `[0]`, `[-1]`, `[*]`, `.*` and `[?(@.a=="b")]`.

use serde_json::Value;

/// All values at `path` in `object`; none for a path that is missing or not understood.
#[must_use]
pub fn find<'a>(object: &'a Value, path: &str) -> Vec<&'a Value> {
    Path::parse(path).map_or_else(Vec::new, |path| path.find(object))
}

/// A path that was understood.
pub struct Path(Vec<Step>);

impl Path {
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        parse(path).map(Self)
    }

    /// All values there.
    #[must_use]
    pub fn find<'a>(&self, object: &'a Value) -> Vec<&'a Value> {
        self.0
            .iter()
            .fold(vec![object], |values, step| values.into_iter().flat_map(|value| step.apply(value)).collect())
    }

    /// The names it begins with; nothing outside of them is looked at.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map_while(|step| if let Step::Field(name) = step { Some(name.as_str()) } else { None })
    }
}

enum Step {
    Field(String),
    Index(i64),
    All,
    Filter { path: Path, equal: bool, value: Value },
}

impl Step {
    fn apply<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match (self, value) {
            (Self::Field(name), Value::Object(map)) => map.get(name).into_iter().collect(),
            (Self::Index(at), Value::Array(list)) => {
                let at = if *at < 0 { list.len() as i64 + at } else { *at };
                usize::try_from(at).ok().and_then(|at| list.get(at)).into_iter().collect()
            }
            (Self::All, Value::Array(list)) => list.iter().collect(),
            (Self::All, Value::Object(map)) => map.values().collect(),
            (Self::Filter { path, equal, value }, Value::Array(list)) => {
                let holds = |item: &&Value| path.find(item).first().is_some_and(|found| (*found == value) == *equal);
                list.iter().filter(holds).collect()
            }
            _ => Vec::new(),
        }
    }
}

fn parse(path: &str) -> Option<Vec<Step>> {
    let path = path.trim().trim_start_matches('{').trim_end_matches('}').trim_start_matches('$');
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let end = closing(inner)?;
            steps.push(bracket(&inner[..end])?);
            rest = &inner[end + 1..];
        } else {
            rest = rest.strip_prefix('.').unwrap_or(rest);
            // `\.` stands for a dot inside a name.
            let mut name = String::new();
            let mut chars = rest.char_indices();
            let mut end = rest.len();
            while let Some((at, c)) = chars.next() {
                match c {
                    '\\' => name.extend(chars.next().map(|(_, c)| c)),
                    '.' | '[' => {
                        end = at;
                        break;
                    }
                    c => name.push(c),
                }
            }
            rest = &rest[end..];
            match name.as_str() {
                "" => {}
                "*" => steps.push(Step::All),
                _ => steps.push(Step::Field(name)),
            }
        }
    }
    Some(steps)
}

/// Where the bracket closes, quotes and nested brackets minded.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(at),
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    None
}

fn bracket(inner: &str) -> Option<Step> {
    if inner == "*" {
        return Some(Step::All);
    }
    if let Some(name) = unquote(inner) {
        return Some(Step::Field(name));
    }
    if let Ok(index) = inner.parse() {
        return Some(Step::Index(index));
    }
    let filter = inner.strip_prefix("?(")?.strip_suffix(')')?;
    let (path, value, equal) = match filter.split_once("==") {
        Some((path, value)) => (path, value, true),
        None => filter.split_once("!=").map(|(path, value)| (path, value, false))?,
    };
    let value = value.trim();
    let value = match unquote(value) {
        Some(text) => Value::String(text),
        None => serde_json::from_str(value).ok()?,
    };
    Some(Step::Filter { path: Path::parse(path.trim().strip_prefix('@')?)?, equal, value })
}

fn unquote(text: &str) -> Option<String> {
    let quote = text.chars().next().filter(|c| *c == '"' || *c == '\'')?;
    Some(text.strip_prefix(quote)?.strip_suffix(quote)?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_usual_column_paths() {
        let object = json!({ "spec": { "a": 1, "list": [{ "n": "x" }, { "n": "y" }] }, "metadata": { "labels": { "a.b/c": "v" } },
            "status": { "conditions": [{ "type": "Ready", "status": "True" }] } });
        let check = |path: &str, expected: Value| {
            assert_eq!(json!(find(&object, path)), expected, "{path}");
        };
        check(".spec.a", json!([1]));
        check(".spec.list[*].n", json!(["x", "y"]));
        check(".spec.list[1].n", json!(["y"]));
        check(".status.conditions[?(@.type==\"Ready\")].status", json!(["True"]));
        check(".status.conditions[?(@.type=='Other')].status", json!([]));
        check(".metadata.labels['a.b/c']", json!(["v"]));
        check(".metadata.labels.a\\.b/c", json!(["v"]));
        check(".nope", json!([]));
    }
}
