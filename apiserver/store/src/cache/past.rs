//! Lists of a past that only the store remembers. Nothing of it is kept: a page is read, filtered and given away.

use super::{List, ListQuery, Shared, feed};
use crate::{Revision, StoreError};

/// How many keys are read at once where a filter may leave most of them out.
const PAGE: usize = 500;

/// A page as of `revision`.
pub(super) async fn list(shared: &Shared, query: &ListQuery<'_>, revision: Revision) -> Result<List, StoreError> {
    let mut list = List { items: Vec::new(), revision, next: None, remaining: 0 };
    let mut start = query.start.filter(|start| *start > query.prefix).map(str::to_owned);
    loop {
        // Without a filter, one more than wanted tells where the next page begins.
        let wanted = if query.limit > 0 && query.filter.is_none() { query.limit - list.items.len() + 1 } else { PAGE };
        let page = shared.store.range(query.prefix, start.as_deref(), wanted.min(PAGE), Some(revision)).await?;
        let mut left = page.count;
        for kv in &page.items {
            let object = feed::object(shared, kv).filter(|object| query.filter.is_none_or(|filter| filter(object)));
            if let Some(object) = object {
                if query.limit > 0 && list.items.len() == query.limit {
                    list.next = Some(kv.key.clone());
                    list.remaining = left;
                    return Ok(list);
                }
                list.items.push(object);
            }
            left = left.saturating_sub(1);
        }
        match page.items.last() {
            // The first key behind the last one in byte order.
            Some(last) if page.more => start = Some(format!("{}\0", last.key)),
            _ => return Ok(list),
        }
        tokio::task::consume_budget().await;
    }
}
