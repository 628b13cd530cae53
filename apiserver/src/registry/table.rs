//! Tables: what `kubectl get` prints (`meta.k8s.io` `Table`). Columns of built-in kinds are functions of their row in
//! [`crate::kinds`], those of custom resources JSONPaths of the definition.

use jiff::Timestamp;
use serde::de::Error;
use serde_json::{Value, json};
use store::splice;

use super::custom::PrinterColumn;
use super::jsonpath::Path;
use super::pick::Pick;
use super::resource::{Resource, Source};
use crate::kinds::row::NAME;
use crate::kinds::{Column, Kind, UNDEFINED, columns, human_duration};

/// Query parameter `includeObject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Include {
    None,
    Metadata,
    Object,
}

impl Include {
    #[must_use]
    pub fn parse(text: Option<&str>) -> Self {
        match text {
            Some("None") => Self::None,
            Some("Object") => Self::Object,
            _ => Self::Metadata,
        }
    }
}

/// The columns of a resource, and what of an object they look at.
enum Columns {
    BuiltIn(Vec<Column>),
    /// Behind the name; a path that is not understood finds nothing.
    Custom(Vec<(PrinterColumn, Option<Path>)>),
}

/// Writes the Tables of a resource as JSON, row by row, so that a long one is never whole in memory.
pub struct Table {
    columns: Columns,
    include: Include,
    /// The group and version of the Table and of what its rows show of an object.
    view: &'static str,
    /// Upstream has no columns for the kind but those of any object.
    generic: bool,
    reads: Pick,
    now: i64,
}

/// What a row says of the object that nobody wants to see.
const NO_OBJECT: &[u8] = b",\"object\":null";

/// What stands before and behind the rows of a Table.
pub struct Frame {
    pub head: Vec<u8>,
    /// Ends the line, too.
    pub tail: &'static [u8],
}

impl Table {
    /// Ages are those of this moment.
    #[must_use]
    pub fn new(resource: &Resource, include: Include, view: &'static str) -> Self {
        let now = Timestamp::now().as_second();
        let (columns, reads) = match &resource.source {
            Source::BuiltIn(kind) => (Columns::BuiltIn(kind.table_columns().copied().collect()), reads(kind)),
            Source::Custom(custom) => {
                let own = custom.version(&resource.version).into_iter().flat_map(|version| &version.columns);
                let own: Vec<_> = own.map(|column| (column.clone(), Path::parse(&column.json_path))).collect();
                let name = std::iter::once(vec!["metadata", "name"]);
                let paths = own.iter().filter_map(|(_, path)| Some(path.as_ref()?.fields().collect()));
                let reads = Pick::only(name.chain(paths));
                (Columns::Custom(own), reads)
            }
        };
        let generic = matches!(&resource.source, Source::BuiltIn(kind) if columns::are_generic(kind.columns));
        Self { columns, include, view, generic, reads, now }
    }

    /// Of an object's `scale`. Those of built-in kinds have a name that is not told to be one, those of custom resources a date.
    #[must_use]
    pub fn of_scale(custom: bool, include: Include, view: &'static str) -> Self {
        let name = Column { format: if custom { NAME.format } else { "" }, ..NAME };
        let dated = |column: &Column| Column {
            kind: if custom && column.name == "Age" { "date" } else { column.kind },
            ..*column
        };
        let columns = std::iter::once(name).chain(columns::scaling::SCALE.iter().map(dated)).collect();
        let reads = Pick::all_but([["metadata", "managedFields"]]);
        let now = Timestamp::now().as_second();
        Self { columns: Columns::BuiltIn(columns), include, view, generic: false, reads, now }
    }

    /// What the rows stand in; `metadata` is that of the list, or of the single object's version. Where there is `nothing` in a
    /// list, some kinds have no rows at all.
    #[must_use]
    pub fn frame(&self, metadata: &Value, headers: bool, nothing: bool) -> Frame {
        let columns = if headers { self.definitions() } else { Value::Null };
        let (rows, tail): (_, &[u8]) = if nothing && self.generic { ("null", b"}\n") } else { ("[", b"]}\n") };
        let head = format!(
            "{{\"kind\":\"Table\",\"apiVersion\":\"{}\",\"metadata\":{metadata},\"columnDefinitions\":{columns},\"rows\":{rows}",
            self.view
        );
        Frame { head: head.into_bytes(), tail }
    }

    fn definitions(&self) -> Value {
        let column = |name: &str, kind: &str, format: &str, description: &str, priority: i64| json!({ "name": name, "type": kind, "format": format, "description": description, "priority": priority });
        match &self.columns {
            Columns::BuiltIn(columns) => {
                let defined = columns.iter().filter(|column| column.priority != UNDEFINED);
                defined.map(|c| column(c.name, c.kind, c.format, c.description, i64::from(c.priority))).collect()
            }
            Columns::Custom(own) => {
                let name = column("Name", "string", "name", "Name of the resource", 0);
                let own = own.iter().map(|(c, _)| column(&c.name, &c.kind, &c.format, &c.description, c.priority));
                std::iter::once(name).chain(own).collect()
            }
        }
    }

    /// The row of an object given as JSON, of which only what the columns look at is parsed.
    ///
    /// # Errors
    /// It is no JSON object with metadata.
    pub fn row_of_bytes(&self, out: &mut Vec<u8>, object: &[u8]) -> serde_json::Result<()> {
        self.cells(out, &self.reads.read(object)?)?;
        match self.include {
            Include::None => out.extend_from_slice(NO_OBJECT),
            Include::Metadata => {
                out.extend_from_slice(b",\"object\":");
                partial_of_bytes(out, object, self.view)?;
            }
            Include::Object => {
                out.extend_from_slice(b",\"object\":");
                out.extend_from_slice(object);
            }
        }
        out.push(b'}');
        Ok(())
    }

    /// The row of an object.
    ///
    /// # Errors
    /// None, for values have only string keys.
    pub fn row(&self, out: &mut Vec<u8>, object: &Value) -> serde_json::Result<()> {
        self.cells(out, object)?;
        let shown = match self.include {
            Include::None => None,
            Include::Metadata => Some(&partial(object, self.view)),
            Include::Object => Some(object),
        };
        match shown {
            Some(shown) => {
                out.extend_from_slice(b",\"object\":");
                out.extend_from_slice(&schema::json::to_vec(shown));
            }
            None => out.extend_from_slice(NO_OBJECT),
        }
        out.push(b'}');
        Ok(())
    }

    /// `{"cells":[…]`
    fn cells(&self, out: &mut Vec<u8>, object: &Value) -> serde_json::Result<()> {
        out.extend_from_slice(b"{\"cells\":");
        let cells: Vec<Value> = match &self.columns {
            Columns::BuiltIn(columns) => columns.iter().map(|column| (column.cell)(object, self.now)).collect(),
            Columns::Custom(own) => {
                let find = |path: &Option<Path>| path.as_ref().map_or_else(Vec::new, |path| path.find(object));
                let own = own.iter().map(|(column, path)| cell(find(path), &column.kind, self.now));
                let name = object["metadata"]["name"].as_str().unwrap_or_default().into();
                std::iter::once(name).chain(own).collect()
            }
        };
        serde_json::to_writer(out, &cells)
    }
}

/// What the columns of a built-in kind look at.
fn reads(kind: &Kind) -> Pick {
    let names = |path: &&'static str| path.split('.');
    match kind.columns_read {
        // Nobody prints them, and they are as long as the rest.
        [] => Pick::all_but([["metadata", "managedFields"]]),
        paths => Pick::only(paths.iter().map(names)),
    }
}

/// A Table of values, whole; of `nothing`, where the list has no items.
#[must_use]
pub fn of(table: &Table, objects: &[Value], metadata: &Value, headers: bool, nothing: bool) -> Vec<u8> {
    let Frame { head: mut out, tail } = table.frame(metadata, headers, nothing);
    for (at, object) in objects.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        table.row(&mut out, object).expect("a Value has only string keys");
    }
    out.extend_from_slice(tail.trim_ascii_end());
    out
}

/// One cell of a custom column; nothing found is an empty cell, several strings are joined.
fn cell(found: Vec<&Value>, kind: &str, now: i64) -> Value {
    let Some(first) = found.first().filter(|v| !v.is_null()) else { return Value::Null };
    match kind {
        "date" => match first.as_str().and_then(|text| text.parse::<Timestamp>().ok()) {
            Some(then) => human_duration(now - then.as_second()).into(),
            None => "<unknown>".into(),
        },
        "integer" => first.as_i64().map_or(Value::Null, Value::from),
        "number" => {
            if first.is_number() {
                (*first).clone()
            } else {
                Value::Null
            }
        }
        "boolean" => first.as_bool().map_or(Value::Null, Value::from),
        _ => found.iter().map(|value| plain(value)).collect::<Vec<_>>().join(",").into(),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// An object reduced to its metadata (`meta.k8s.io` `PartialObjectMetadata`).
#[must_use]
pub fn partial(object: &Value, view: &str) -> Value {
    json!({ "kind": "PartialObjectMetadata", "apiVersion": view, "metadata": object["metadata"] })
}

/// The same of an object's JSON, whose bytes are taken as they are.
///
/// # Errors
/// It has no metadata.
pub fn partial_of_bytes(out: &mut Vec<u8>, object: &[u8], view: &str) -> serde_json::Result<()> {
    let metadata = splice::metadata(object).ok_or_else(|| serde_json::Error::custom("an object without metadata"))?;
    out.reserve(metadata.len() + 100);
    out.extend_from_slice(b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"");
    out.extend_from_slice(view.as_bytes());
    out.extend_from_slice(b"\",\"metadata\":");
    out.extend_from_slice(metadata);
    out.push(b'}');
    Ok(())
}
