//! Generated events, and how destinations respond to them.

/// One of this many events has each bad fate.
const ONE_IN: u64 = 100;

/// Response of every destination to an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Accepted,
    /// 403, as by a firewall.
    Denied,
    /// 422.
    Invalid,
    /// 500.
    Failing,
}

impl Fate {
    pub(crate) const BAD: [Self; 3] = [Self::Denied, Self::Invalid, Self::Failing];

    /// Returns the fate of an event, which the seed determines.
    pub(crate) fn of(seed: u64, n: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let draw = random.u64(..ONE_IN);
        let index = usize::try_from(draw).unwrap_or(usize::MAX);
        Self::BAD.get(index).copied().unwrap_or(Self::Accepted)
    }

    /// Returns the text within an event by which destinations recognise it.
    pub(crate) fn marker(self) -> &'static str {
        match self {
            Self::Accepted => "all tests pass",
            Self::Denied => "1 union select password",
            Self::Invalid => "field of the wrong type",
            Self::Failing => "divide by zero",
        }
    }
}

/// Returns the event with this number as JSON.
pub(crate) fn event(n: u64, fate: Fate) -> String {
    let ok = n.is_multiple_of(3);
    let kind = if ok { "ok" } else { "tests_failed" };
    format!(
        r#"{{"source":"bot","cycle_id":"c{n}","sig_hash":"s{}","event_kind":"{kind}","ok":{ok},"turns":{},"duration_ms":{},"staffer_id":"gpt-oss:120b","extra":{{"note":"{}"}}}}"#,
        n % 97,
        n % 11,
        n % 10_007,
        fate.marker(),
    )
}

/// Returns the number of the event with this cycle.
pub(crate) fn number(cycle: &str) -> Option<u64> {
    cycle.strip_prefix('c')?.parse().ok()
}
