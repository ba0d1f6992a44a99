//! Log of refused requests, limited for each peer and reason.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use super::limits::peer::Peer;

/// Lines of a peer and reason within [`PERIOD`].
const MAX_LINES: u32 = 5;
/// Time after which the lines of a peer and reason count anew.
const PERIOD: Duration = Duration::from_secs(60);
/// Number of peers and reasons that are counted apart. Further ones are counted together.
const MAX_ENTRIES: usize = 1_024;
/// Limit of a detail in the log, in characters.
const MAX_DETAIL: usize = 300;

/// Reason for which a request was refused. It is an extension of the response.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    /// Reason under which the event is counted, if it is.
    pub(crate) reason: Option<&'static str>,
    /// Explanation; of a batch, that of its first rejected item.
    pub(crate) detail: Arc<str>,
    /// Source of the event, if it is known.
    pub(crate) source: Option<Arc<str>>,
    /// Number of rejected items, if the request is a batch.
    pub(crate) items: Option<usize>,
}

/// Request that was refused.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RefusedRequest<'a> {
    pub(crate) peer: Peer,
    /// Label of the principal, if the caller is known.
    pub(crate) principal: Option<&'a str>,
    /// Template of the route's path, if the request reached one.
    pub(crate) route: Option<&'a str>,
    pub(crate) status: u16,
}

/// Log of refused requests, at the level `warn`.
#[derive(Debug, Default)]
pub(crate) struct RefusalLog {
    entries: Mutex<HashMap<(Peer, &'static str), Entry>>,
}

#[derive(Debug)]
struct Entry {
    since: Instant,
    lines: u32,
    /// Refusals without a line since the last one that has a line.
    omitted: u64,
}

impl Refusal {
    pub(crate) fn new(reason: Option<&'static str>, detail: &str) -> Self {
        let detail = match detail.char_indices().nth(MAX_DETAIL) {
            Some((end, _)) => format!("{}…", &detail[..end]).into(),
            None => detail.into(),
        };
        Self { reason, detail, source: None, items: None }
    }
}

impl RefusalLog {
    /// Logs a refusal, unless its peer had many for the same reason in the last minute.
    pub(crate) fn log(&self, request: RefusedRequest<'_>, refusal: &Refusal) {
        let reason = refusal.reason.unwrap_or("other");
        let Some(omitted) = self.admit(request.peer, reason, Instant::now()) else { return };
        tracing::warn!(
            peer = %request.peer,
            principal = request.principal,
            source = refusal.source.as_deref(),
            route = request.route,
            status = request.status,
            reason,
            items = refusal.items,
            error = &*refusal.detail,
            omitted = (omitted > 0).then_some(omitted),
            "a request was refused"
        );
    }

    /// Returns the number of refusals that were omitted before this one, or `None` if it is omitted
    /// too.
    fn admit(&self, peer: Peer, reason: &'static str, now: Instant) -> Option<u64> {
        let mut entries = self.entries();
        let mut key = (peer.limited(), reason);
        if entries.len() >= MAX_ENTRIES && !entries.contains_key(&key) {
            entries.retain(|_, entry| now.duration_since(entry.since) < PERIOD);
            if entries.len() >= MAX_ENTRIES {
                key.0 = Peer::Unknown;
            }
        }
        let entry = entries.entry(key).or_insert(Entry { since: now, lines: 0, omitted: 0 });
        if now.duration_since(entry.since) >= PERIOD {
            (entry.since, entry.lines) = (now, 0);
        }
        if entry.lines == MAX_LINES {
            entry.omitted += 1;
            return None;
        }
        entry.lines += 1;
        Some(std::mem::take(&mut entry.omitted))
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<(Peer, &'static str), Entry>> {
        self.entries.lock().expect("no thread panics while it holds the lock")
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn peer(number: u32) -> Peer {
        Peer::Address(Ipv4Addr::from_bits(number).into())
    }

    #[test]
    fn lines_of_a_peer_and_reason_are_limited() {
        let (log, start) = (RefusalLog::default(), Instant::now());
        let admitted = |peer, reason, seconds| {
            let now = start + Duration::from_secs(seconds);
            (0..10).filter_map(|_| log.admit(peer, reason, now)).collect::<Vec<_>>()
        };
        assert_eq!(admitted(peer(1), "malformed", 0), [0; 5]);
        assert_eq!(admitted(peer(1), "invalid", 0), [0; 5]);
        assert_eq!(admitted(peer(2), "malformed", 0), [0; 5]);
        assert!(admitted(peer(1), "malformed", 59).is_empty());
        assert_eq!(admitted(peer(1), "malformed", 60), [15, 0, 0, 0, 0]);
    }

    #[test]
    fn many_peers_share_their_lines_in_bounded_memory() {
        let (log, start) = (RefusalLog::default(), Instant::now());
        let lines = (0..100_000).filter_map(|number| log.admit(peer(number), "invalid", start));
        assert_eq!(lines.count(), MAX_ENTRIES + MAX_LINES as usize);
        assert_eq!(log.entries().len(), MAX_ENTRIES + 1);
        let later = start + PERIOD;
        assert_eq!(log.admit(peer(200_000), "invalid", later), Some(0));
        assert_eq!(log.entries().len(), 1, "former entries are forgotten");
    }

    #[test]
    fn long_detail_is_truncated() {
        assert_eq!(Refusal::new(None, &"ä".repeat(1_000)).detail.chars().count(), MAX_DETAIL + 1);
    }
}
