//! Resources within custom resources (`x-kubernetes-embedded-resource`): what they say they are, and their metadata, is typed
//! though the rest is not (`apiextensions-apiserver/pkg/apiserver/schema/objectmeta`).

use serde_json::Value;

use super::walk;
use crate::{
    field::{Error, Path},
    model::{Node, Shape},
};

/// Reads the metadata of all that is embedded below a custom object, in order of names.
///
/// # Errors
/// The first value of another type than its field, in upstream's words.
pub(super) fn coerce(value: &mut Value, root: &Node) -> Result<(), Error> {
    below(value, root, &Path::default())
}

fn at(value: &mut Value, node: &Node, path: &Path) -> Result<(), Error> {
    if let (Shape::Struct { of, .. }, Value::Object(map)) = (&node.shape, &*value)
        && of.embedded
    {
        for name in ["apiVersion", "kind"] {
            if let Some(wrong) = map.get(name).filter(|said| !said.is_string()) {
                return Err(Error::invalid(&path.child(name), wrong.clone(), "must be a string"));
            }
        }
        let before = map.get("metadata").cloned().unwrap_or_default();
        if let Some(wrong) = walk::metadata(value).error(|_| None) {
            return Err(Error::invalid(&path.child("metadata"), before, wrong.text(None)));
        }
    }
    below(value, node, path)
}

fn below(value: &mut Value, node: &Node, path: &Path) -> Result<(), Error> {
    match (&node.shape, value) {
        (Shape::List { items, .. }, Value::Array(list)) => {
            list.iter_mut().enumerate().try_for_each(|(index, item)| at(item, items, &path.index(index)))
        }
        (Shape::Map { values, .. }, Value::Object(map)) => {
            map.iter_mut().try_for_each(|(key, item)| at(item, values, &path.key(key)))
        }
        (Shape::Struct { of, .. }, Value::Object(map)) => map.iter_mut().try_for_each(|(key, item)| {
            let Some(field) = of.field(key).filter(|_| key != "metadata") else { return Ok(()) };
            at(item, &field.node, &path.child(key))
        }),
        _ => Ok(()),
    }
}
