//! Numbers and centres of buckets.

/// Buckets of each octave.
const PER_OCTAVE: i32 = 8;

/// Exponent of the lower bound of bucket 1, in milliseconds.
const LOWEST: i32 = -10;

/// Exponent of the upper bound of the last bucket.
const HIGHEST: i32 = 42;

/// All buckets, with bucket 0 for durations below 2⁻¹⁰ ms.
pub(super) const BUCKETS: u16 = ((HIGHEST - LOWEST) * PER_OCTAVE) as u16 + 1;

/// 2^(i/8): lower bounds of the buckets of an octave, relative to it, and its end.
const BOUNDS: [f64; PER_OCTAVE as usize + 1] = [
    1.0,
    1.090_507_732_665_257_7,
    1.189_207_115_002_721,
    1.296_839_554_651_009_6,
    std::f64::consts::SQRT_2,
    1.542_210_825_407_940_7,
    1.681_792_830_507_429,
    1.834_008_086_409_342_4,
    2.0,
];

/// Returns the bucket of a duration. Durations past the last bucket are in the last one.
pub(super) fn of(ms: f64) -> u16 {
    if ms.is_nan() || ms < power(LOWEST) {
        return 0;
    }
    if ms >= power(HIGHEST) {
        return BUCKETS - 1;
    }
    let bits = ms.to_bits();
    let exponent = (bits >> 52) as i32 - 1023;
    let mantissa = f64::from_bits(bits & ((1 << 52) - 1) | 1023 << 52);
    let step = BOUNDS.iter().rposition(|&bound| bound <= mantissa).unwrap_or(0);
    ((exponent - LOWEST) * PER_OCTAVE) as u16 + step as u16 + 1
}

/// Returns the duration that stands for a bucket: the harmonic mean of its bounds, from which both
/// are equally far relative to themselves.
pub(super) fn centre(bucket: u16) -> f64 {
    let Some(index) = bucket.checked_sub(1).map(i32::from) else { return 0.0 };
    let octave = power(LOWEST + index / PER_OCTAVE);
    let step = (index % PER_OCTAVE) as usize;
    let (low, high) = (BOUNDS[step], BOUNDS[step + 1]);
    octave * 2.0 * low * high / (low + high)
}

/// Returns 2^`exponent`.
fn power(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}
