//! How many seats a request takes (`apiserver/pkg/util/flowcontrol/request/list_work_estimator.go`): a list as many as what
//! it reads is large, everything else one.

use crate::app::App;
use crate::http::request_info::{Query, RequestInfo};

/// A seat's worth of a list, in bytes.
const SEAT: usize = 100_000;
/// Lists are sent in pieces: of a longer one no more than this is counted.
const AT_ONCE: usize = 1_000_000;

/// The seats of a request; its level may let it take fewer.
#[must_use]
pub fn width(app: &App, info: &RequestInfo, query: &Query) -> u64 {
    if info.verb != "list" || !info.subresource.is_empty() {
        return 1;
    }
    let Ok(resource) = app.resource(&info.group, &info.resource) else { return 1 };
    let limit =
        query.number("limit").ok().flatten().and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0);
    // Of what has never been read nothing is known; it is read now.
    app.caches.size(&resource.prefix).map_or(1, |(objects, bytes)| of(objects, bytes, limit, !info.name.is_empty()))
}

fn of(objects: usize, bytes: usize, limit: Option<usize>, single: bool) -> u64 {
    let read = if single { 1 } else { limit.unwrap_or(objects).min(objects) };
    let average = bytes.checked_div(objects).unwrap_or(0);
    let seats = read.saturating_mul(average).min(AT_ONCE).div_ceil(SEAT).max(1);
    seats.try_into().unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_for_each_hundred_thousand_bytes() {
        for (objects, bytes, limit, single, seats) in [
            (0, 0, None, false, 1),
            (10, 10_000, None, false, 1),
            (100, 300_000, None, false, 3),
            (100, 300_001, None, false, 3),
            (100, 310_000, None, false, 4),
            (100, 300_000, Some(50), false, 2),
            (100, 300_000, Some(500), false, 3),
            (100, 300_000, None, true, 1),
            (100_000, 300_000_000, None, false, 10),
            (100_000, 300_000_000, Some(500), false, 10),
            (1, usize::MAX, None, false, 10),
        ] {
            assert_eq!(of(objects, bytes, limit, single), seats, "{objects} {bytes} {limit:?} {single}");
        }
    }
}
