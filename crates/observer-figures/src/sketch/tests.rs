use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn sketch(values: &[f64]) -> Sketch {
    let mut sketch = Sketch::new();
    values.iter().for_each(|&value| sketch.add(value));
    sketch
}

fn merged(a: &Sketch, b: &Sketch) -> Sketch {
    let mut merged = a.clone();
    merged.merge(b);
    merged
}

/// Durations from a microsecond to a hundred years, evenly by order of magnitude, and zero.
fn durations() -> impl Strategy<Value = Vec<f64>> {
    vec(prop_oneof![20 => (-2.9..12.4_f64).prop_map(|e| 10_f64.powf(e)), 1 => Just(0.0)], 0..200)
}

#[test]
fn bucket_bounds_are_powers_of_two_to_an_eighth() {
    for step in 0..=8 {
        let bucket = bucket::of(2_f64.powf(f64::from(step) / 8.0) * 1.000_001);
        assert_eq!(bucket, 81 + step as u16);
    }
}

#[test]
fn odd_durations_have_a_bucket() {
    for (ms, bucket) in [
        (f64::NAN, 0),
        (-1.0, 0),
        (-0.0, 0),
        (f64::MIN_POSITIVE, 0),
        (f64::INFINITY, BUCKETS - 1),
        (1e300, BUCKETS - 1),
        (1.0, 81),
        (std::f64::consts::SQRT_2, 85),
        (std::f64::consts::SQRT_2.next_down(), 84),
    ] {
        assert_eq!(bucket::of(ms), bucket, "{ms}");
    }
}

#[test]
fn empty_sketch_has_no_quantiles() {
    assert_eq!((Sketch::new().p50(), Sketch::new().p95()), (None, None));
    assert_eq!(Sketch::new().encode(), [VERSION]);
}

#[test]
fn encoding_is_the_documented_one() {
    // Buckets 81 (1 ms) twice and 89 (2 ms) once.
    assert_eq!(sketch(&[1.0, 2.0, 1.0]).encode(), [1, 81, 2, 7, 1]);
}

#[test]
fn foreign_bytes_are_refused() {
    for (bytes, error) in [
        (&[][..], SketchError::Damaged),
        (&[2, 1, 1], SketchError::Version(2)),
        (&[1, 81], SketchError::Damaged),
        (&[1, 81, 0], SketchError::Damaged),
        (&[1, 0xa1, 0x03, 1], SketchError::Damaged),
        (&[1, 81, 0x80, 0x00], SketchError::Damaged),
    ] {
        assert_eq!(Sketch::decode(bytes), Err(error), "{bytes:?}");
    }
    assert!(Sketch::decode(&[1, 0xa0, 0x03, 1]).is_ok());
}

#[test]
fn full_sketch_stays_within_its_bound() {
    let buckets = (0..BUCKETS).map(|bucket| (bucket, u64::MAX)).collect();
    assert!(Sketch { buckets }.encode().len() <= 4_700);
}

#[test]
fn removal_of_an_absent_duration_changes_nothing() {
    let mut sketch = sketch(&[10.0]);
    assert!(!sketch.remove(20.0));
    assert_eq!(sketch.count(), 1);
}

proptest! {
    #[test]
    fn quantiles_are_within_five_percent(mut values in durations(), share in 0.0..=1.0_f64) {
        prop_assume!(!values.is_empty());
        let sketch = sketch(&values);
        values.sort_by(f64::total_cmp);
        for share in [share, 0.5, 0.95] {
            let rank = ((share * values.len() as f64).ceil() as usize).max(1);
            let exact = values[rank - 1];
            let estimate = sketch.quantile(share).unwrap();
            prop_assert!((estimate - exact).abs() <= 0.044 * exact, "{estimate} for {exact}");
        }
    }

    #[test]
    fn merging_is_commutative_and_associative(a in durations(), b in durations(), c in durations()) {
        let all = sketch(&[a.clone(), b.clone(), c.clone()].concat());
        let (a, b, c) = (sketch(&a), sketch(&b), sketch(&c));
        prop_assert_eq!(merged(&a, &b), merged(&b, &a));
        prop_assert_eq!(&merged(&merged(&a, &b), &c), &merged(&a, &merged(&b, &c)));
        prop_assert_eq!(merged(&merged(&a, &b), &c).encode(), all.encode());
    }

    #[test]
    fn removal_undoes_addition(values in durations(), others in durations()) {
        let mut sketch = sketch(&values);
        let before = sketch.clone();
        others.iter().for_each(|&value| sketch.add(value));
        prop_assert!(others.iter().all(|&value| sketch.remove(value)));
        prop_assert_eq!(sketch, before);
    }

    #[test]
    fn subtraction_undoes_merging(values in durations(), others in durations()) {
        let (part, rest) = (sketch(&values), sketch(&others));
        let mut all = merged(&part, &rest);
        all.subtract(&part);
        prop_assert_eq!(&all, &rest);
        // More than there is leaves nothing.
        all.subtract(&merged(&part, &rest));
        prop_assert!(all.is_empty());
    }

    #[test]
    fn sketches_survive_encoding(values in durations()) {
        let sketch = sketch(&values);
        prop_assert_eq!(Sketch::decode(&sketch.encode()), Ok(sketch));
    }

    #[test]
    fn decoded_bytes_are_canonical(bytes in vec(any::<u8>(), 0..40)) {
        if let Ok(sketch) = Sketch::decode(&bytes) {
            prop_assert_eq!(sketch.encode(), bytes);
        }
    }
}
