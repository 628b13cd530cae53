//! What operators read about queues when clients complain: tables at /debug/api_priority_and_fairness (upstream's
//! `apf_controller_debug.go`).
//!
//! Who finds a seat at once is in no queue here, and queues take turns without a virtual time.

use std::fmt::Write;
use std::time::SystemTime;

use auth::UserInfo;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Flow;
use super::level::Level;
use crate::http::request_info::{Query, RequestInfo};

/// The first part of the paths.
const FOLDER: &str = "/debug/api_priority_and_fairness/";
/// No time and no work, as upstream writes it.
const NO_WORK: &str = "0.00000000ss";

/// Who is being served, or waits.
#[derive(Clone, Debug, Default)]
pub struct Who {
    pub schema: Box<str>,
    pub distinguisher: Box<str>,
    /// What the request is about, a column a line.
    details: Box<str>,
}

impl Who {
    #[must_use]
    pub fn new(flow: (&str, &str), user: &UserInfo, info: &RequestInfo) -> Self {
        let slash = if info.group.is_empty() { "" } else { "/" };
        let version = [info.group.as_str(), slash, info.version.as_str()];
        let columns = [&user.username, info.verb, &info.path, &info.namespace, &info.name];
        let length = columns.iter().chain(&version).map(|text| text.len() + 1).sum::<usize>();
        let mut details = String::with_capacity(length + info.resource.len() + info.subresource.len() + 2);
        columns.iter().for_each(|text| {
            details.push_str(text);
            details.push('\n');
        });
        version.iter().for_each(|text| details.push_str(text));
        for text in [&info.resource, &info.subresource] {
            details.push('\n');
            details.push_str(text);
        }
        Self { schema: flow.0.into(), distinguisher: flow.1.into(), details: details.into() }
    }
}

/// A request in a level.
#[derive(Clone, Debug)]
pub struct Entry {
    pub who: Who,
    pub arrived: SystemTime,
    /// When its turn came.
    pub started: Option<SystemTime>,
    pub seats: u64,
    /// Where it waited.
    pub queue: Option<usize>,
}

/// What became of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub dispatched: u64,
    pub rejected: u64,
    pub timed_out: u64,
    pub cancelled: u64,
}

/// What a level has to say.
pub struct Digest {
    pub queues: usize,
    pub requests: Vec<Entry>,
    pub counts: Counts,
}

impl Digest {
    fn executing(&self) -> usize {
        self.requests.iter().filter(|request| request.started.is_some()).count()
    }

    /// The requests of a queue, or of none, that wait or are being served.
    fn of(&self, queue: Option<usize>, executing: bool) -> impl Iterator<Item = &Entry> {
        let these = move |request: &&Entry| request.queue == queue && request.started.is_some() == executing;
        self.requests.iter().filter(these)
    }
}

/// The table at a path; `None`: there is none.
#[must_use]
pub fn page(flow: &Flow, path: &str, query: &Query) -> Option<String> {
    let plan = flow.plan.load_full();
    let levels = plan.levels.iter().map(|(name, level)| (name.as_str(), Level::digest(level)));
    match path.strip_prefix(FOLDER)? {
        "dump_priority_levels" => Some(priority_levels(levels)),
        "dump_queues" => Some(queues(levels)),
        "dump_requests" => Some(requests(levels, query.text("includeRequestDetails").is_some())),
        _ => None,
    }
}

type Row = Vec<String>;

fn header(columns: &[&str]) -> Row {
    columns.iter().map(|&column| column.to_owned()).collect()
}

fn priority_levels<'a>(levels: impl Iterator<Item = (&'a str, Digest)>) -> String {
    let mut rows = vec![header(&[
        "PriorityLevelName",
        "ActiveQueues",
        "IsIdle",
        "IsQuiescing",
        "WaitingRequests",
        "ExecutingRequests",
        "DispatchedRequests",
        "RejectedRequests",
        "TimedoutRequests",
        "CancelledRequests",
    ])];
    rows.extend(levels.map(|(name, digest)| {
        let active = (0..digest.queues).filter(|queue| digest.of(Some(*queue), false).next().is_some()).count();
        let executing = digest.executing();
        let Counts { dispatched, rejected, timed_out, cancelled } = digest.counts;
        vec![
            name.to_owned(),
            active.to_string(),
            digest.requests.is_empty().to_string(),
            // A level that is gone is not in the plan any more.
            false.to_string(),
            (digest.requests.len() - executing).to_string(),
            executing.to_string(),
            dispatched.to_string(),
            rejected.to_string(),
            timed_out.to_string(),
            cancelled.to_string(),
        ]
    }));
    table(&rows)
}

fn queues<'a>(levels: impl Iterator<Item = (&'a str, Digest)>) -> String {
    let mut rows = vec![header(&[
        "PriorityLevelName",
        "Index",
        "PendingRequests",
        "ExecutingRequests",
        "SeatsInUse",
        "NextDispatchR",
        "InitialSeatsSum",
        "MaxSeatsSum",
        "TotalWorkSum",
    ])];
    for (name, digest) in levels {
        rows.extend((0..digest.queues).map(|queue| {
            let seats = |executing| digest.of(Some(queue), executing).map(|request| request.seats).sum::<u64>();
            let count = |executing| digest.of(Some(queue), executing).count();
            vec![
                name.to_owned(),
                queue.to_string(),
                count(false).to_string(),
                count(true).to_string(),
                seats(true).to_string(),
                NO_WORK.to_owned(),
                seats(false).to_string(),
                seats(false).to_string(),
                NO_WORK.to_owned(),
            ]
        }));
    }
    table(&rows)
}

fn requests<'a>(levels: impl Iterator<Item = (&'a str, Digest)>, details: bool) -> String {
    let mut columns = header(&[
        "PriorityLevelName",
        "FlowSchemaName",
        "QueueIndex",
        "RequestIndexInQueue",
        "FlowDistingsher",
        "ArriveTime",
        "InitialSeats",
        "FinalSeats",
        "AdditionalLatency",
        "StartTime",
    ]);
    if details {
        columns.extend(header(&[
            "UserName",
            "Verb",
            "APIPath",
            "Namespace",
            "Name",
            "APIVersion",
            "Resource",
            "SubResource",
        ]));
    }
    let mut rows = vec![columns];
    let index = |at: Option<usize>| at.map_or("-1".to_owned(), |at| at.to_string());
    for (name, digest) in levels {
        for queue in (0..digest.queues).map(Some).chain([None]) {
            let waiting = digest.of(queue, false).enumerate().map(|(at, request)| (Some(at), request));
            for (at, request) in waiting.chain(digest.of(queue, true).map(|request| (None, request))) {
                let mut row = vec![
                    name.to_owned(),
                    request.who.schema.to_string(),
                    index(queue),
                    index(at),
                    request.who.distinguisher.to_string(),
                    time(Some(request.arrived)),
                    request.seats.to_string(),
                    "0".to_owned(),
                    "0s".to_owned(),
                    time(request.started),
                ];
                if details {
                    row.extend(request.who.details.split('\n').map(str::to_owned));
                }
                rows.push(row);
            }
        }
    }
    table(&rows)
}

/// Go's RFC3339Nano; what has not happened was in the year 1.
fn time(at: Option<SystemTime>) -> String {
    let Some(at) = at.and_then(|at| Timestamp::try_from(at).ok()) else { return "0001-01-01T00:00:00Z".to_owned() };
    at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%S%.fZ").to_string()
}

/// So many characters a column has at least.
const NARROWEST: usize = 8;

/// Columns one below the other, as Go's `tabwriter` sets them: all but the last end with a comma, and blanks fill them up.
fn table(rows: &[Row]) -> String {
    let count = rows.first().map_or(0, Vec::len);
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count() + 2).max().unwrap_or(0).max(NARROWEST);
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (at, cell) in row.iter().enumerate() {
            if at + 1 == count {
                text.push_str(cell);
            } else {
                // Writing into a String cannot fail.
                let _ = write!(text, "{:<width$}", format!("{cell},"), width = widths[at]);
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn digest() -> Digest {
        let at = |nanos: u64| SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos);
        let info =
            RequestInfo::parse(&http::Method::GET, "/apis/apps/v1/namespaces/ns/deployments/web/scale", false, None);
        let who = Who::new(("schema", "jane"), &UserInfo::new("jane", [""; 0]), &info);
        let entry = |queue, started| Entry { who: who.clone(), arrived: at(1_500_000_000), started, seats: 3, queue };
        let requests = vec![entry(None, Some(at(2_000_000_000))), entry(Some(1), None), entry(Some(1), Some(at(1)))];
        let counts = Counts { dispatched: 12, rejected: 3, timed_out: 2, cancelled: 1 };
        Digest { queues: 2, requests, counts }
    }

    #[test]
    fn pages() {
        let one = || std::iter::once(("a-level", digest()));
        let expected = "\
PriorityLevelName, ActiveQueues, IsIdle, IsQuiescing, WaitingRequests, ExecutingRequests, DispatchedRequests, RejectedRequests, TimedoutRequests, CancelledRequests
a-level,           1,            false,  false,       1,               2,                 12,                 3,                2,                1
";
        assert_eq!(priority_levels(one()), expected);
        let expected = "\
PriorityLevelName, Index,  PendingRequests, ExecutingRequests, SeatsInUse, NextDispatchR, InitialSeatsSum, MaxSeatsSum, TotalWorkSum
a-level,           0,      0,               0,                 0,          0.00000000ss,  0,               0,           0.00000000ss
a-level,           1,      1,               1,                 3,          0.00000000ss,  3,               3,           0.00000000ss
";
        assert_eq!(queues(one()), expected);
        let expected = "\
PriorityLevelName, FlowSchemaName, QueueIndex, RequestIndexInQueue, FlowDistingsher, ArriveTime,             InitialSeats, FinalSeats, AdditionalLatency, StartTime
a-level,           schema,         1,          0,                   jane,            1970-01-01T00:00:01.5Z, 3,            0,          0s,                0001-01-01T00:00:00Z
a-level,           schema,         1,          -1,                  jane,            1970-01-01T00:00:01.5Z, 3,            0,          0s,                1970-01-01T00:00:00.000000001Z
a-level,           schema,         -1,         -1,                  jane,            1970-01-01T00:00:01.5Z, 3,            0,          0s,                1970-01-01T00:00:02Z
";
        assert_eq!(requests(one(), false), expected);
        let detailed = requests(one(), true);
        let last: Vec<&str> = detailed.lines().last().unwrap().split(',').map(str::trim).skip(10).collect();
        let path = "/apis/apps/v1/namespaces/ns/deployments/web/scale";
        assert_eq!(last, ["jane", "get", path, "ns", "web", "apps/v1", "deployments", "scale"]);
    }
}
