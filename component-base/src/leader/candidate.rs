//! What a candidate makes of the Lease it sees (`tryAcquireOrRenew`): no clock and no network of its own.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

/// One of those that want to hold a Lease.
#[derive(Debug)]
pub struct Candidate {
    identity: String,
    /// How long the others shall wait after a renewal, in seconds.
    seconds: i32,
    /// The Lease as it was last seen or written, and when it was first seen so.
    seen: Option<(Lease, Instant)>,
}

impl Candidate {
    #[must_use]
    pub fn new(identity: String, duration: Duration) -> Self {
        Self { identity, seconds: duration.as_secs().try_into().unwrap_or(i32::MAX), seen: None }
    }

    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The Lease as it was last seen or written.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        self.seen.as_ref().map(|(lease, _)| lease)
    }

    /// Whether the Lease was this candidate's when it was last seen.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.lease().is_some_and(|lease| holder(lease) == self.identity)
    }

    /// Takes in the Lease as it is. As long as nobody writes it, it is as old as when it was first seen.
    pub fn sees(&mut self, lease: Lease, now: Instant) {
        let since = self.seen.take().filter(|(before, _)| before.spec == lease.spec).map_or(now, |(_, since)| since);
        self.seen = Some((lease, since));
    }

    /// Takes in the Lease as this candidate has written it.
    pub fn wrote(&mut self, lease: Lease, now: Instant) {
        self.seen = Some((lease, now));
    }

    /// What a leader writes without looking first, as long as nobody may have taken its place.
    #[must_use]
    pub fn renewal(&self, now: Instant, time: Timestamp) -> Option<Lease> {
        let (lease, since) = self.seen.as_ref().filter(|_| self.leads())?;
        holds(lease, *since, now).then(|| self.held(lease, time))
    }

    /// What a candidate creates where there is no Lease.
    #[must_use]
    pub fn founds(&self, name: &str, time: Timestamp) -> Lease {
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        self.held(&Lease { metadata, ..Lease::default() }, time)
    }

    /// What a candidate writes to lead, or to go on leading.
    ///
    /// # Errors
    /// The Lease is another's, and not over: who holds it.
    pub fn claim(&self, now: Instant, time: Timestamp) -> Result<Lease, &str> {
        let Some((lease, since)) = &self.seen else { return Err("") };
        let by = holder(lease);
        let is_free = by.is_empty() || by == self.identity || !holds(lease, *since, now);
        if is_free { Ok(self.held(lease, time)) } else { Err(by) }
    }

    /// What a leader writes when it ends: others need not wait.
    #[must_use]
    pub fn release(&self, time: Timestamp) -> Option<Lease> {
        let lease = self.lease().filter(|_| self.leads())?;
        let mut released = lease.clone();
        let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions);
        released.spec = Some(LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            acquire_time: Some(MicroTime(time)),
            renew_time: Some(MicroTime(time)),
            lease_transitions: transitions,
            ..LeaseSpec::default()
        });
        Some(released)
    }

    /// The Lease in the hands of this candidate, who may have had it before.
    fn held(&self, lease: &Lease, time: Timestamp) -> Lease {
        let before = lease.spec.clone().unwrap_or_default();
        let (again, is_new) = (holder(lease) == self.identity, lease.spec.is_none());
        let transitions = before.lease_transitions.unwrap_or_default();
        let mut held = lease.clone();
        held.spec = Some(LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(self.seconds),
            acquire_time: before.acquire_time.filter(|_| again).or(Some(MicroTime(time))),
            renew_time: Some(MicroTime(time)),
            lease_transitions: Some(if again || is_new { transitions } else { transitions.saturating_add(1) }),
            preferred_holder: None,
            strategy: before.strategy.filter(|_| again),
        });
        held
    }
}

fn holder(lease: &Lease) -> &str {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
}

/// Whether a Lease that has not changed for so long is not over yet.
fn holds(lease: &Lease, since: Instant, now: Instant) -> bool {
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
    since + Duration::from_secs(seconds.try_into().unwrap_or_default()) > now
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(15);

    fn spec(lease: &Lease) -> &LeaseSpec {
        lease.spec.as_ref().unwrap()
    }

    #[test]
    fn whoever_comes_second_waits_by_its_own_clock() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        // What the clock on the wall says is of no importance.
        let wall = Timestamp::UNIX_EPOCH;
        let (mut a, mut b) = (Candidate::new("a".to_owned(), LEASE), Candidate::new("b".to_owned(), LEASE));
        assert_eq!(a.claim(start, wall), Err(""), "nothing has been seen");
        let lease = a.founds("x", wall);
        assert_eq!((spec(&lease).lease_transitions, spec(&lease).lease_duration_seconds), (Some(0), Some(15)));
        a.wrote(lease.clone(), start);
        assert!(a.leads() && !b.leads());
        b.sees(lease.clone(), at(5));
        assert_eq!(b.claim(at(19), wall), Err("a"));
        assert!(b.renewal(at(6), wall).is_none());
        // Seen again, it is as old as before.
        b.sees(lease.clone(), at(19));
        let taken = b.claim(at(20), wall).unwrap();
        assert_eq!((holder(&taken), spec(&taken).lease_transitions), ("b", Some(1)));
        // The leader is careful once it may be another's.
        assert!(a.renewal(at(14), wall).is_some());
        assert!(a.renewal(at(15), wall).is_none());
        a.sees(taken.clone(), at(21));
        assert_eq!((a.leads(), a.claim(at(21), wall)), (false, Err("b")));
        // What has been given up is free at once.
        b.wrote(taken, at(20));
        a.sees(b.release(wall).unwrap(), at(22));
        let again = a.claim(at(22), wall).unwrap();
        assert_eq!((holder(&again), spec(&again).lease_transitions), ("a", Some(2)));
    }

    #[test]
    fn a_leader_keeps_the_time_it_became_one() {
        let (now, first) = (Instant::now(), Timestamp::UNIX_EPOCH);
        let later = first + k8s_openapi::jiff::SignedDuration::from_secs(2);
        let mut a = Candidate::new("a".to_owned(), LEASE);
        a.wrote(a.founds("x", first), now);
        for lease in [a.renewal(now, later).unwrap(), a.claim(now + 2 * LEASE, later).unwrap()] {
            let spec = spec(&lease);
            assert_eq!((&spec.acquire_time, &spec.renew_time), (&Some(MicroTime(first)), &Some(MicroTime(later))));
            assert_eq!(spec.lease_transitions, Some(0));
        }
    }
}
