//! The order of a strategically merged list: items of the patch in the patch's order, the server's own items in the
//! server's, interleaved so that no relative order of the server is turned around where both are known.

use serde_json::Value;

/// What tells items apart: the value itself, or the value of its merge key.
pub(super) fn identity<'a>(item: &'a Value, merge_key: Option<&str>) -> &'a Value {
    match merge_key {
        Some(key) => item.get(key).unwrap_or(&Value::Null),
        None => item,
    }
}

pub(super) fn position(list: &[Value], item: &Value, merge_key: Option<&str>) -> Option<usize> {
    let wanted = identity(item, merge_key);
    list.iter().position(|other| identity(other, merge_key) == wanted)
}

/// Those of a list, in its order.
pub(super) fn identities(list: &[Value], merge_key: Option<&str>) -> Vec<Value> {
    list.iter().map(|item| identity(item, merge_key).clone()).collect()
}

/// `patch_order` gives the order of its items (a patch list, or a `$setElementOrder` list), `server_order` the [`identities`]
/// of the server's, in their order.
pub(super) fn arrange(
    merged: Vec<Value>,
    patch_order: &[Value],
    server_order: &[Value],
    merge_key: Option<&str>,
) -> Vec<Value> {
    let (mut mine, mut theirs): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|item| position(patch_order, item, merge_key).is_some());
    mine.sort_by_key(|item| position(patch_order, item, merge_key));
    let of_server = |item: &Value| server_order.iter().position(|known| known == identity(item, merge_key));
    theirs.sort_by_key(of_server);
    let mut out = Vec::with_capacity(mine.len() + theirs.len());
    let (mut mine, mut theirs) = (mine.into_iter().peekable(), theirs.into_iter().peekable());
    loop {
        let server_first = match (theirs.peek(), mine.peek()) {
            (None, None) => return out,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(their), Some(my)) => match (of_server(their), of_server(my)) {
                (Some(their), Some(my)) => their < my,
                _ => false,
            },
        };
        out.extend(if server_first { theirs.next() } else { mine.next() });
    }
}
