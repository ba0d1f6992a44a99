//! Back-off between attempts.

use std::time::Duration;

use observer_core::RetrySettings;

/// Exponential back-off with full jitter: each pause is drawn uniformly from zero to a bound, which
/// doubles with each attempt.
///
/// See "Exponential Backoff And Jitter", Marc Brooker, AWS Architecture Blog, 2015.
#[derive(Debug)]
pub(crate) struct Backoff {
    settings: RetrySettings,
    attempts: u32,
    random: fastrand::Rng,
}

impl Backoff {
    pub(crate) fn new(settings: RetrySettings, random: fastrand::Rng) -> Self {
        Self { settings, attempts: 0, random }
    }

    /// Returns the next pause, which is not shorter than the destination's `retry_after` within the
    /// operator's limit.
    pub(crate) fn pause(&mut self, retry_after: Option<Duration>) -> Duration {
        let bound = self.bound();
        self.attempts = self.attempts.saturating_add(1);
        // Timers have a resolution of 1 ms; rounding here makes pauses the same in every runtime.
        let jittered = Duration::from_millis(bound.mul_f64(self.random.f64()).as_millis() as u64);
        jittered.max(retry_after.unwrap_or_default().min(self.settings.max_retry_after))
    }

    /// Returns the next pause without jitter, for checks on a timer.
    pub(crate) fn interval(&mut self) -> Duration {
        let bound = self.bound();
        self.attempts = self.attempts.saturating_add(1);
        bound
    }

    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }

    fn bound(&self) -> Duration {
        let factor = 2_u32.checked_pow(self.attempts).unwrap_or(u32::MAX);
        self.settings.initial.saturating_mul(factor).min(self.settings.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_respect_retry_after() {
        let settings = RetrySettings {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(10),
            ..RetrySettings::default()
        };
        let mut backoff = Backoff::new(settings, fastrand::Rng::with_seed(1));
        let bounds = [1, 2, 4, 8, 10, 10];
        for bound in bounds {
            assert_eq!(backoff.bound(), Duration::from_secs(bound));
            assert!(backoff.pause(None) <= Duration::from_secs(bound));
        }
        assert_eq!(backoff.pause(Some(Duration::from_secs(60))), Duration::from_secs(60));
        let ten_years = Duration::from_secs(10 * 365 * 86_400);
        assert_eq!(backoff.pause(Some(ten_years)), Duration::from_secs(86_400));
        backoff.reset();
        assert_eq!(backoff.interval(), Duration::from_secs(1));
        let pauses: Vec<_> = (0..200)
            .map(|_| {
                backoff.reset();
                backoff.pause(None).as_millis()
            })
            .collect();
        assert!(
            pauses.iter().any(|pause| *pause < 100) && pauses.iter().any(|pause| *pause > 900),
            "pauses are spread evenly: {pauses:?}"
        );
    }
}
