//! Pauses between tries.

use std::time::Duration;

use observer_core::RetrySettings;

/// Full jitter: each pause is drawn evenly from nothing to a bound that doubles with each try.
///
/// See "Exponential Backoff And Jitter", Marc Brooker, AWS Architecture Blog, 2015.
#[derive(Debug)]
pub(crate) struct Backoff {
    settings: RetrySettings,
    tries: u32,
    random: fastrand::Rng,
}

impl Backoff {
    pub(crate) fn new(settings: RetrySettings, random: fastrand::Rng) -> Self {
        Self { settings, tries: 0, random }
    }

    /// The next pause; never shorter than what the far side asked for.
    pub(crate) fn pause(&mut self, retry_after: Option<Duration>) -> Duration {
        let bound = self.bound();
        self.tries = self.tries.saturating_add(1);
        // Timers are no finer than that, and where they round up is not the same in every runtime.
        let jittered = Duration::from_millis(bound.mul_f64(self.random.f64()).as_millis() as u64);
        jittered.max(retry_after.unwrap_or_default())
    }

    /// The next pause without jitter, for what is asked on a timer.
    pub(crate) fn interval(&mut self) -> Duration {
        let bound = self.bound();
        self.tries = self.tries.saturating_add(1);
        bound
    }

    pub(crate) fn reset(&mut self) {
        self.tries = 0;
    }

    fn bound(&self) -> Duration {
        let factor = 2_u32.checked_pow(self.tries).unwrap_or(u32::MAX);
        self.settings.initial.saturating_mul(factor).min(self.settings.max)
    }
}

/// When a parked sink is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wake {
    OnTimer,
    /// Also when more events come, one of which may show that it was the others' fault.
    OnMore,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_honour_the_far_side() {
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
        backoff.reset();
        assert_eq!(backoff.interval(), Duration::from_secs(1));
        let many: Vec<_> = (0..200)
            .map(|_| {
                backoff.reset();
                backoff.pause(None).as_millis()
            })
            .collect();
        assert!(
            many.iter().any(|pause| *pause < 100) && many.iter().any(|pause| *pause > 900),
            "evenly spread"
        );
    }
}
