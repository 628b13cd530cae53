//! Reading and writing fields of an object by dotted path, forgiving as Go's zero values are: what is absent reads as "",
//! 0, false, or an empty list, and nothing here panics whatever the shape of the JSON.

use std::sync::LazyLock;

use serde_json::{Map, Value};

pub static NULL: Value = Value::Null;
static EMPTY: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);

pub trait Json {
    /// The field at `path`, or null.
    fn at(&self, path: &str) -> &Value;
    fn at_mut(&mut self, path: &str) -> Option<&mut Value>;
    /// Writes `value`, making the objects on the way; does nothing if something on the way is no object.
    fn put(&mut self, path: &str, value: impl Into<Value>);
    fn remove(&mut self, path: &str);

    fn text(&self, path: &str) -> &str {
        self.at(path).as_str().unwrap_or_default()
    }

    fn int(&self, path: &str) -> i64 {
        self.at(path).as_i64().unwrap_or_default()
    }

    fn yes(&self, path: &str) -> bool {
        self.at(path).as_bool().unwrap_or_default()
    }

    fn list(&self, path: &str) -> &[Value] {
        self.at(path).as_array().map_or(&[], Vec::as_slice)
    }

    fn entries(&self, path: &str) -> &Map<String, Value> {
        self.at(path).as_object().unwrap_or(&EMPTY)
    }

    /// The strings of a list.
    fn texts(&self, path: &str) -> Vec<&str> {
        self.list(path).iter().filter_map(Value::as_str).collect()
    }

    /// Whether the field is there and not null.
    fn has(&self, path: &str) -> bool {
        !self.at(path).is_null()
    }

    fn list_mut(&mut self, path: &str) -> &mut [Value] {
        self.at_mut(path).and_then(Value::as_array_mut).map_or(&mut [], Vec::as_mut_slice)
    }

    /// Writes `value` where the field is absent, null or "", the states Go cannot tell from unset.
    fn default_to(&mut self, path: &str, value: impl Into<Value>) {
        let now = self.at(path);
        if now.is_null() || now.as_str() == Some("") {
            self.put(path, value);
        }
    }

    /// The same for a pointer, which is set as soon as it points to anything, "" included.
    fn default_pointer(&mut self, path: &str, value: impl Into<Value>) {
        if !self.has(path) {
            self.put(path, value);
        }
    }

    /// Copies a field over from `other`, absence included.
    fn take_from(&mut self, path: &str, other: &Value) {
        match other.at(path) {
            Value::Null => self.remove(path),
            // To compare costs less than to copy, and what is taken over is mostly there.
            value if self.at(path) == value => {}
            value => self.put(path, value.clone()),
        }
    }
}

impl Json for Value {
    fn at(&self, path: &str) -> &Value {
        if path.is_empty() {
            return self;
        }
        path.split('.').try_fold(self, |value, name| value.get(name)).unwrap_or(&NULL)
    }

    fn at_mut(&mut self, path: &str) -> Option<&mut Value> {
        if path.is_empty() {
            return Some(self);
        }
        path.split('.').try_fold(self, |value, name| value.get_mut(name))
    }

    fn put(&mut self, path: &str, value: impl Into<Value>) {
        let mut place = self;
        for name in path.split('.') {
            if place.is_null() {
                *place = Value::Object(Map::new());
            }
            let Some(fields) = place.as_object_mut() else { return };
            place = fields.entry(name).or_insert(Value::Null);
        }
        *place = value.into();
    }

    fn remove(&mut self, path: &str) {
        let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
        if let Some(fields) = self.at_mut(parent).and_then(Value::as_object_mut) {
            fields.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn absent_reads_as_zero_and_writes_make_the_way() {
        let mut v = json!({"a": {"b": [1]}, "s": ""});
        assert_eq!(v.int("a.c"), 0);
        assert_eq!(v.list("a.b").len(), 1);
        v.default_to("s", "x");
        v.put("a.d.e", 2);
        v.put("s.t", 3);
        v.remove("a.b");
        v.remove("no.such");
        assert_eq!(v, json!({"a": {"d": {"e": 2}}, "s": "x"}));
    }
}
