//! Evidence about one event: the refusals that it met, and the acceptances between them.

use std::time::Duration;

use observer_core::{Evidence as Required, RetrySettings};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// Time for which an acceptance before a rejection counts as evidence against the event.
pub(crate) const ACCEPTANCE_WINDOW: Duration = Duration::from_secs(300);
/// Interval at which an event that met the destination's state is tried again at first.
const TRANSIENT_INTERVAL: Duration = Duration::from_secs(30);
/// Longest interval between two attempts of an event that is set aside.
const MAX_INTERVAL: Duration = Duration::from_secs(600);

/// Class of a refusal, by what it says about the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Class {
    /// State of the destination. It says nothing about the event.
    Unavailable,
    /// Fault of the destination, which the event may have caused.
    Failed,
    /// Refusal of the credential.
    Unauthenticated,
    /// Refusal of the request.
    Denied,
    /// Rejection of the event by its content or its size.
    Permanent,
}

/// Numbers of rounds that make an event a dead letter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    failed: Required,
    denied: Required,
    pub(crate) give_up_after: Option<Duration>,
}

/// Refusals of one event, and the acceptances of other events between them.
///
/// A round is a refusal after an acceptance of another event that followed the refusal before. Each
/// class has rounds of its own, so that a token that expires meanwhile neither completes the rounds
/// of another refusal nor becomes the reason of a dead letter.
#[derive(Debug, Clone)]
pub(crate) struct Evidence {
    /// Time of the first refusal.
    pub(crate) since: Instant,
    /// Number of the sink's acceptances at the last refusal.
    seen: u64,
    /// Refusals of the classes that need several rounds, in the order of the constants below.
    spans: [Option<Span>; 3],
    /// Number of refusals without an acceptance in between, since the last one with it.
    repeats: u32,
    /// Time of the next attempt.
    pub(crate) due: Instant,
}

const FAILED: usize = 0;
const DENIED: usize = 1;
const UNAUTHENTICATED: usize = 2;

#[derive(Debug, Clone, Copy)]
struct Span {
    first: Instant,
    rounds: u32,
}

/// Evidence against an undecided event, as it survives a restart.
///
/// Times are durations up to the last refusal, so that neither the time while the observer did not
/// run nor a clock that is set counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredEvidence {
    /// Time since the first refusal, in milliseconds.
    refused_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failed: Option<StoredSpan>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    denied: Option<StoredSpan>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unauthenticated: Option<StoredSpan>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct StoredSpan {
    rounds: u32,
    /// Time since the first refusal of this class, in milliseconds.
    ms: u64,
}

/// Conclusion from a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conclusion {
    /// The event is at fault.
    AtFault,
    /// The event was refused for longer than the operator wants to wait.
    GivenUp,
    /// The destination accepts other events. More rounds are needed.
    Suspicious,
    /// The destination accepted no other event since the last refusal of this one.
    Open,
}

impl Rules {
    pub(crate) fn new(retry: &RetrySettings) -> Self {
        Self { failed: retry.failed, denied: retry.denied, give_up_after: retry.give_up_after }
    }

    /// Returns the time between two attempts, so that the rounds span the required time.
    fn interval(&self, class: Class) -> Duration {
        let spread = |required: Required| required.over / required.rounds.max(1);
        match class {
            Class::Permanent => Duration::ZERO,
            Class::Denied | Class::Unauthenticated => spread(self.denied),
            Class::Failed => spread(self.failed),
            Class::Unavailable => TRANSIENT_INTERVAL,
        }
    }
}

impl Class {
    /// Returns whether one of several backends behind the same address may be at fault.
    pub(super) fn needs_new_connection(self) -> bool {
        matches!(self, Self::Failed | Self::Denied | Self::Unauthenticated)
    }
}

impl Evidence {
    /// Returns the evidence of an event that was not refused yet. `accepted` is the number of the
    /// sink's acceptances so far.
    pub(crate) fn new(now: Instant, accepted: u64) -> Self {
        Self { since: now, seen: accepted, spans: [None; 3], repeats: 0, due: now }
    }

    /// Returns the evidence of an event that was undecided before a restart. Refusals before and
    /// after it make a round only if another event is accepted after it.
    pub(crate) fn restored(stored: StoredEvidence, now: Instant, accepted: u64) -> Self {
        let before = |ms| now.checked_sub(Duration::from_millis(ms)).unwrap_or(now);
        let span = |StoredSpan { rounds, ms }| Span { first: before(ms), rounds };
        let mut evidence = Self::new(now, accepted);
        evidence.since = before(stored.refused_ms);
        evidence.spans[FAILED] = stored.failed.map(span);
        evidence.spans[DENIED] = stored.denied.map(span);
        evidence.spans[UNAUTHENTICATED] = stored.unauthenticated.map(span);
        evidence
    }

    /// Returns what survives a restart, right after a refusal.
    pub(crate) fn stored(&self, now: Instant) -> StoredEvidence {
        let ms = |since: Instant| u64::try_from((now - since).as_millis()).unwrap_or(u64::MAX);
        let span = |span: Span| StoredSpan { rounds: span.rounds, ms: ms(span.first) };
        StoredEvidence {
            refused_ms: ms(self.since),
            failed: self.spans[FAILED].map(span),
            denied: self.spans[DENIED].map(span),
            unauthenticated: self.spans[UNAUTHENTICATED].map(span),
        }
    }

    /// Adds a refusal. `last_accepted` is the time of the sink's last acceptance.
    pub(crate) fn refuse(
        &mut self,
        class: Class,
        accepted: u64,
        last_accepted: Option<Instant>,
        rules: &Rules,
        now: Instant,
    ) -> Conclusion {
        let is_round = accepted > self.seen;
        self.seen = accepted;
        self.repeats = if is_round { 0 } else { self.repeats.saturating_add(1) };
        let interval = rules.interval(class);
        let pause = match class {
            // Tried again at once after the next acceptance; without one at a growing interval.
            Class::Permanent => Duration::from_secs(1),
            // Rules without a time must not lead to attempts without a pause.
            _ => interval.max(Duration::from_secs(1)),
        };
        let factor = 2_u32.saturating_pow(self.repeats.saturating_sub(1).min(16));
        self.due = now + pause.saturating_mul(factor).min(MAX_INTERVAL.max(interval));
        let is_recent = last_accepted.is_some_and(|last| now - last <= ACCEPTANCE_WINDOW);
        let at_fault = match class {
            Class::Permanent => is_round || is_recent,
            Class::Denied => self.complete(DENIED, is_round, rules.denied, now),
            Class::Unauthenticated => self.complete(UNAUTHENTICATED, is_round, rules.denied, now),
            Class::Failed => self.complete(FAILED, is_round, rules.failed, now),
            Class::Unavailable => false,
        };
        if at_fault {
            Conclusion::AtFault
        } else if rules.give_up_after.is_some_and(|limit| now - self.since >= limit) {
            Conclusion::GivenUp
        } else if is_round {
            Conclusion::Suspicious
        } else {
            Conclusion::Open
        }
    }

    /// Returns the number of the sink's acceptances at the last refusal.
    pub(crate) fn seen(&self) -> u64 {
        self.seen
    }

    /// Returns whether another event was accepted since the last refusal of this one.
    pub(crate) fn is_round_possible(&self, accepted: u64) -> bool {
        accepted > self.seen
    }

    /// Counts a refusal of one class, and returns whether it completes the rounds of the class.
    fn complete(&mut self, class: usize, is_round: bool, required: Required, now: Instant) -> bool {
        let span = self.spans[class].get_or_insert(Span { first: now, rounds: 0 });
        span.rounds += u32::from(is_round);
        is_round && span.rounds >= required.rounds && now - span.first >= required.over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Refuses an event at the given seconds; a number after `a` is an acceptance of another event
    /// at that time. Returns the conclusions.
    fn conclusions(class: Class, script: &str, give_up_after: Option<u64>) -> Vec<Conclusion> {
        let start = Instant::now();
        let retry = RetrySettings {
            give_up_after: give_up_after.map(Duration::from_secs),
            ..RetrySettings::default()
        };
        let rules = Rules::new(&retry);
        let (mut accepted, mut last, mut evidence) = (0, None, None);
        let mut conclusions = Vec::new();
        for word in script.split_whitespace() {
            let (is_acceptance, seconds) =
                word.strip_prefix('a').map_or((false, word), |seconds| (true, seconds));
            let now = start + Duration::from_secs(seconds.parse().unwrap());
            if is_acceptance {
                accepted += 1;
                last = Some(now);
            } else {
                let evidence = evidence.get_or_insert_with(|| Evidence::new(now, accepted));
                conclusions.push(evidence.refuse(class, accepted, last, &rules, now));
            }
        }
        conclusions
    }

    #[test]
    fn rounds_of_each_class_lead_to_their_conclusion() {
        use Class::{Denied, Failed, Permanent, Unauthenticated, Unavailable};
        use Conclusion::{AtFault, GivenUp, Open, Suspicious};
        let rounds = |count: u64, every: u64| {
            (0..count).map(|n| format!("{} a{} ", n * every, n * every + 1)).collect::<String>()
        };
        let cases: [(Class, String, Option<u64>, Conclusion); 18] = [
            (Permanent, "0".into(), None, Open),
            (Permanent, "0 100".into(), None, Open),
            (Permanent, "0 a1 2".into(), None, AtFault),
            (Permanent, "a0 300".into(), None, AtFault),
            (Permanent, "a0 301".into(), None, Open),
            (Denied, "a0 1".into(), None, Open),
            (Denied, "0 a1 2".into(), None, Suspicious),
            (Denied, "0 a1 2 a3 4 a5 59".into(), None, Suspicious),
            (Denied, "0 a1 2 a3 4 a5 60".into(), None, AtFault),
            (Denied, "0 a1 30 61".into(), None, Open),
            (Denied, "0 a1 30 a31 61".into(), None, Suspicious),
            (Unauthenticated, "0 a1 2 a3 4 a5 59".into(), None, Suspicious),
            (Unauthenticated, "0 a1 2 a3 4 a5 60".into(), None, AtFault),
            (Failed, rounds(9, 75) + "601", None, AtFault),
            (Failed, rounds(9, 60) + "599", None, Suspicious),
            (Failed, rounds(7, 100) + "1000", None, Suspicious),
            (Unavailable, rounds(100, 100) + "10000", None, Suspicious),
            (Unavailable, "0 a1 30 60".into(), Some(60), GivenUp),
        ];
        for (class, script, give_up_after, expected) in cases {
            let all = conclusions(class, &script, give_up_after);
            assert_eq!(all.last(), Some(&expected), "{class:?} {script}: {all:?}");
        }
    }

    #[test]
    fn rounds_before_a_restart_count_after_it() {
        let rules = Rules::new(&RetrySettings::default());
        let classes =
            [(Class::Failed, 8, 75), (Class::Denied, 3, 20), (Class::Unauthenticated, 3, 20)];
        for (class, rounds, seconds) in classes {
            let start = Instant::now();
            let mut evidence = Evidence::new(start, 0);
            evidence.refuse(class, 0, None, &rules, start);
            let mut now = start;
            for round in 1..=rounds {
                now += Duration::from_secs(seconds);
                let conclusion = evidence.refuse(class, round, Some(now), &rules, now);
                let is_last = round == rounds;
                let expected = if is_last { Conclusion::AtFault } else { Conclusion::Suspicious };
                assert_eq!(conclusion, expected, "{class:?} {round}");
                // The observer stands still for a day, and counts acceptances anew.
                let json = serde_json::to_string(&evidence.stored(now)).unwrap();
                now += Duration::from_secs(86_400);
                let stored = serde_json::from_str(&json).unwrap();
                evidence = Evidence::restored(stored, now, round);
                assert_eq!(evidence.stored(now), stored, "{json}");
            }
        }
    }

    #[test]
    fn round_of_another_class_completes_none() {
        use Class::{Denied, Failed, Unauthenticated};
        // Four rounds are needed, whichever the class.
        let required = Required { rounds: 4, over: Duration::from_secs(60) };
        let retry =
            RetrySettings { denied: required, failed: required, ..RetrySettings::default() };
        let rules = Rules::new(&retry);
        let start = Instant::now();
        for (usual, other) in
            [(Denied, Unauthenticated), (Unauthenticated, Denied), (Denied, Failed)]
        {
            let mut evidence = Evidence::new(start, 0);
            let conclusions = [usual, usual, usual, other, usual].map(|class| {
                let round = evidence.seen() + 1;
                let now = start + Duration::from_secs(round * 30);
                evidence.refuse(class, round, Some(now), &rules, now)
            });
            let [.., before, meanwhile, last] = conclusions;
            assert_eq!((before, meanwhile), (Conclusion::Suspicious, Conclusion::Suspicious));
            assert_eq!(last, Conclusion::AtFault, "{usual:?} {other:?}");
        }
    }

    #[test]
    fn acceptance_before_a_restart_makes_no_round_after_it() {
        let (now, rules) = (Instant::now(), Rules::new(&RetrySettings::default()));
        let mut evidence = Evidence::restored(StoredEvidence::default(), now, 7);
        assert_eq!(evidence.refuse(Class::Failed, 7, None, &rules, now), Conclusion::Open);
        assert_eq!(evidence.refuse(Class::Failed, 8, None, &rules, now), Conclusion::Suspicious);
    }

    #[test]
    fn limit_of_the_operator_counts_the_time_before_a_restart() {
        let give_up_after = Some(Duration::from_secs(60));
        let rules = Rules::new(&RetrySettings { give_up_after, ..RetrySettings::default() });
        let now = Instant::now();
        for (refused_ms, expected) in [(59_999, Conclusion::Open), (60_000, Conclusion::GivenUp)] {
            let stored = StoredEvidence { refused_ms, ..StoredEvidence::default() };
            let mut evidence = Evidence::restored(stored, now, 0);
            let conclusion = evidence.refuse(Class::Unavailable, 0, None, &rules, now);
            assert_eq!(conclusion, expected, "{refused_ms}");
        }
    }

    #[test]
    fn attempts_without_acceptances_become_rare() {
        let (start, rules) = (Instant::now(), Rules::new(&RetrySettings::default()));
        let mut evidence = Evidence::new(start, 0);
        let pauses: Vec<_> = (0..7)
            .map(|_| {
                let now = evidence.due;
                evidence.refuse(Class::Denied, 0, None, &rules, now);
                (evidence.due - now).as_secs()
            })
            .collect();
        assert_eq!(pauses, [20, 40, 80, 160, 320, 600, 600]);
        let now = evidence.due;
        evidence.refuse(Class::Denied, 1, Some(now), &rules, now);
        assert_eq!((evidence.due - now).as_secs(), 20);
    }
}
