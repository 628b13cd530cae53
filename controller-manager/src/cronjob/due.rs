//! Which start of a CronJob is due (upstream `pkg/controller/cronjob/utils.go`).

use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::jiff::tz::TimeZone;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::schedule::Schedule;
use crate::framework::meta::created;

/// From so many missed starts on, the user is told: the clock or the deadline is probably wrong.
const MANY: i64 = 100;

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// The latest start that has come since the last one made; earlier ones are lost.
    pub at: Option<Timestamp>,
    pub too_many_missed: bool,
}

pub fn due(cron: &CronJob, schedule: &Schedule, zone: &TimeZone, now: Timestamp) -> Due {
    let last = cron.status.as_ref().and_then(|status| status.last_schedule_time.as_ref()).map(|time| time.0);
    let mut earliest = last.unwrap_or_else(|| created(&cron.metadata));
    if let Some(seconds) = cron.spec.as_ref().and_then(|spec| spec.starting_deadline_seconds) {
        earliest = earliest.max(now - SignedDuration::from_secs(seconds));
    }
    let Some(first) = schedule.next(earliest, zone).filter(|first| *first <= now) else { return Due::default() };
    let Some(second) = schedule.next(first, zone).filter(|second| *second <= now) else {
        return Due { at: Some(first), too_many_missed: false };
    };
    // Jumps close to now instead of walking through years of missed minutes; the last steps are walked, because the
    // distance of two starts need not be regular.
    let period = second.duration_since(first).as_secs().max(1);
    let missed = now.duration_since(first).as_secs() / period + 1;
    let near = first + SignedDuration::from_secs((missed - 2).max(0) * period);
    let mut at = schedule.next(near, zone).filter(|at| *at <= now).unwrap_or(second);
    while let Some(next) = schedule.next(at, zone).filter(|next| *next <= now) {
        at = next;
    }
    Due { at: Some(at), too_many_missed: missed > MANY }
}

/// How a Job of the start `at` is called: a second one for the same start cannot be made.
pub fn job_name(cron: &CronJob, at: Timestamp) -> String {
    format!("{}-{}", cron.metadata.name.as_deref().unwrap_or_default(), at.as_second() / 60)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_latest_missed_start_is_due() {
        // Schedule, last start, deadline, now; then what is due.
        let cases = [
            ("*/5 * * * *", None, None, "10:04:59", None, false),
            ("*/5 * * * *", None, None, "10:05:00", Some("10:05:00"), false),
            ("*/5 * * * *", Some("10:05:00"), None, "10:09:00", None, false),
            ("*/5 * * * *", Some("10:05:00"), None, "10:13:00", Some("10:10:00"), false),
            ("*/5 * * * *", Some("10:05:00"), None, "10:27:00", Some("10:25:00"), false),
            ("0 9,17 * * *", Some("09:00:00"), None, "17:30:00", Some("17:00:00"), false),
            ("* * * * *", None, None, "13:00:30", Some("13:00:00"), true),
            ("*/5 * * * *", None, Some(60), "10:05:59", Some("10:05:00"), false),
            ("*/5 * * * *", None, Some(60), "10:06:30", None, false),
            ("* * * * *", None, Some(200), "13:00:30", Some("13:00:00"), false),
        ];
        for (text, last, deadline, now, expected, too_many_missed) in cases {
            let time = |clock: &str| format!("2026-01-01T{clock}Z");
            let cron: CronJob = serde_json::from_value(json!({
                "metadata": { "name": "c", "creationTimestamp": time("10:00:00") },
                "spec": { "schedule": text, "jobTemplate": {}, "startingDeadlineSeconds": deadline },
                "status": { "lastScheduleTime": last.map(time) },
            }))
            .unwrap();
            let found = due(&cron, &Schedule::parse(text).unwrap(), &TimeZone::UTC, time(now).parse().unwrap());
            let at = expected.map(|clock| time(clock).parse().unwrap());
            assert_eq!(found, Due { at, too_many_missed }, "{text} after {last:?} at {now}");
        }
    }
}
