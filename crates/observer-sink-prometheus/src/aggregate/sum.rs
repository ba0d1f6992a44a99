//! Sum of fractions that stays exact over many small additions.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Compensated sum of finite, non-negative values (Neumaier's variant of Kahan summation). It never
/// decreases.
///
/// It stays at the largest finite number, since an infinite sum could not be read from a snapshot.
/// Other values add nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Sum {
    sum: f64,
    correction: f64,
}

impl Sum {
    pub(crate) fn add(&mut self, value: f64) {
        if !value.is_finite() || value < 0.0 {
            return;
        }
        let next = self.sum + value;
        if !next.is_finite() {
            *self = Self { sum: f64::MAX, correction: 0.0 };
            return;
        }
        self.correction +=
            if self.sum >= value { (self.sum - next) + value } else { (value - next) + self.sum };
        self.sum = next;
    }

    pub(crate) fn value(self) -> f64 {
        (self.sum + self.correction).min(f64::MAX)
    }
}

/// Two decimal strings. Rust prints the shortest text that parses to the same number; JSON numbers
/// do not guarantee that.
impl Serialize for Sum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.sum.to_string(), self.correction.to_string()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Sum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (sum, correction) = <(String, String)>::deserialize(deserializer)?;
        let number = |text: String| {
            let number = text.parse().ok().filter(|number: &f64| number.is_finite());
            number.ok_or_else(|| {
                serde::de::Error::custom(format_args!("`{text}` is not a finite number"))
            })
        };
        Ok(Self { sum: number(sum)?, correction: number(correction)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sum_of_a_million_cents_is_exact() {
        let mut sum = Sum::default();
        let mut plain = 0.0;
        for _ in 0..1_000_000 {
            sum.add(0.01);
            plain += 0.01;
        }
        assert_eq!(sum.value(), 10_000.0);
        assert_ne!(plain, 10_000.0, "plain addition is exact as well");
    }

    #[test]
    fn small_values_are_not_lost_in_a_large_sum() {
        let mut sum = Sum::default();
        sum.add(0.5);
        sum.add(1e16);
        sum.add(0.5);
        sum.add(0.5);
        sum.add(0.5);
        assert_eq!(sum.value(), 1e16 + 2.0);
    }

    #[test]
    fn sum_never_decreases_and_stays_finite() {
        let mut sum = Sum::default();
        let mut state = 1_u64;
        let mut before = 0.0;
        for _ in 0..100_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            sum.add((state >> 40) as f64 * 10_f64.powi((state % 24) as i32 - 20));
            assert!(sum.value() >= before);
            before = sum.value();
        }
        for _ in 0..3 {
            sum.add(f64::MAX);
            assert_eq!(sum.value(), f64::MAX);
        }
        for value in [f64::NAN, f64::INFINITY, -1.0] {
            let mut sum = Sum::default();
            sum.add(1.0);
            sum.add(value);
            assert_eq!(sum.value(), 1.0, "{value}");
        }
    }

    #[test]
    fn sum_survives_a_round_trip_exactly() {
        let mut sum = Sum::default();
        for n in 1..1000 {
            sum.add(1.0 / f64::from(n));
        }
        let text = serde_json::to_string(&sum).unwrap();
        assert_eq!(serde_json::from_str::<Sum>(&text).unwrap(), sum);
        assert!(serde_json::from_str::<Sum>(r#"["NaN","0"]"#).is_err());
    }
}
