//! Principals in whose name events are ingested, and the tags of their records.

use std::sync::Arc;

use sha1::{Digest, Sha1};

/// Principal in whose name events are ingested: the name of an access token, or anonymous.
///
/// The name is part of the identities of its events, and it has a share of the deduplication
/// window. A clone shares the name.
///
/// ```
/// use observer_pipeline::Principal;
///
/// let ci = Principal::token("ci");
/// assert_eq!((ci.name(), ci.label(), ci.may_relay()), (Some("ci"), "ci", false));
/// assert!(Principal::anonymous().with_relay(true).may_relay());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    name: Option<Arc<str>>,
    share: u16,
    may_relay: bool,
}

impl Principal {
    /// Returns the anonymous principal, which may not relay.
    #[must_use]
    pub fn anonymous() -> Self {
        Self { name: None, share: ANONYMOUS_SHARE, may_relay: false }
    }

    /// Returns the principal of an access token, which may not relay.
    #[must_use]
    pub fn token(name: impl Into<Arc<str>>) -> Self {
        let name = name.into();
        let share = share_of(&name);
        Self { name: Some(name), share, may_relay: false }
    }

    /// Sets whether the ids of envelopes are adopted, and the source `observer` is accepted.
    #[must_use]
    pub fn with_relay(self, may_relay: bool) -> Self {
        Self { may_relay, ..self }
    }

    /// Returns the name of the token; `None` if the principal is anonymous.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Returns the value of the label `principal` of metrics.
    #[must_use]
    pub fn label(&self) -> &str {
        self.name().unwrap_or(ANONYMOUS)
    }

    /// Returns whether the ids of envelopes are adopted.
    #[must_use]
    pub fn may_relay(&self) -> bool {
        self.may_relay
    }

    /// Returns the tag of a record.
    pub(crate) fn tag(&self, is_phase: bool) -> u16 {
        self.share | if is_phase { PHASE } else { 0 }
    }
}

/// Label of the anonymous principal.
pub(crate) const ANONYMOUS: &str = "anonymous";

/// Share of the anonymous principal, and of all events from before there were shares.
pub(crate) const ANONYMOUS_SHARE: u16 = 0;

/// Bit of a tag that is set if the event is a phase.
const PHASE: u16 = 1 << 9;

/// Number of shares. The lower bits of a tag are the share of the principal.
pub(crate) const SHARES: u16 = PHASE;

/// Returns whether the event with this tag is a phase.
pub(crate) fn is_phase(tag: u16) -> bool {
    tag & PHASE != 0
}

/// Returns the share in a tag.
pub(crate) fn share(tag: u16) -> u16 {
    tag % SHARES
}

/// Returns the share of a token. It is part of stored records, so that it must not change.
fn share_of(name: &str) -> u16 {
    let digest = Sha1::digest(name);
    1 + u16::from_be_bytes([digest[0], digest[1]]) % (SHARES - 1)
}

#[cfg(test)]
mod tests {
    use observer_journal::Record;

    use super::*;

    #[test]
    fn tags_have_the_share_and_the_phase() {
        assert_eq!((Principal::anonymous().tag(false), Principal::anonymous().tag(true)), (0, 512));
        for name in ["", "ci", "edge", "日本"] {
            let principal = Principal::token(name);
            let (outcome, phase) = (principal.tag(false), principal.tag(true));
            assert!((1..512).contains(&outcome) && phase == outcome | 512, "{name}: {outcome}");
            assert_eq!((share(outcome), share(phase)), (outcome, outcome));
            assert!(is_phase(phase) && !is_phase(outcome));
            assert!(phase <= Record::MAX_TAG);
        }
        // The SHA-1 of `ci` begins with 5A4F.
        assert_eq!(share_of("ci"), 1 + 0x5A4F % 511);
    }
}
