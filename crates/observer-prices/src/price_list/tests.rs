use super::*;

const STANDARD: ServiceTier = ServiceTier::Standard;
const BATCH: ServiceTier = ServiceTier::Batch;
const PRIORITY: ServiceTier = ServiceTier::Priority;

/// Returns a list of the stated cells: threshold, tier, kind, rate.
fn list(cells: &[(u64, ServiceTier, Kind, f64)]) -> PriceList {
    let mut rates = StatedRates::default();
    for (above, tier, kind, rate) in cells {
        rates.set(*above, *tier, *kind, *rate);
    }
    rates.complete().unwrap()
}

/// Returns rates in the order of [`Kind::ALL`].
fn row(list: &PriceList, context: u64, tier: ServiceTier) -> [f64; 6] {
    let rates = list.rates(context, tier);
    [
        rates.input,
        rates.output,
        rates.cached_input,
        rates.cache_creation_input,
        rates.cache_creation_1h_input,
        rates.reasoning,
    ]
}

#[test]
fn input_and_output_need_a_rate() {
    let mut rates = StatedRates::default();
    assert_eq!(rates.complete(), None);
    rates.set(0, STANDARD, Kind::Input, 1.0);
    rates.set(0, BATCH, Kind::Output, 1.0);
    rates.set(200_000, STANDARD, Kind::Output, 1.0);
    assert_eq!(rates.complete(), None);
    rates.set(0, STANDARD, Kind::Output, 1.0);
    assert!(rates.complete().is_some());
}

#[test]
fn caches_cost_as_much_as_input_and_reasoning_as_much_as_output() {
    let list = list(&[(0, STANDARD, Kind::Input, 1.0), (0, STANDARD, Kind::Output, 5.0)]);
    for tier in ServiceTier::ALL {
        assert_eq!(row(&list, 0, tier), [1.0, 5.0, 1.0, 1.0, 1.0, 5.0]);
    }
}

#[test]
fn threshold_belongs_to_the_smaller_context() {
    let list = list(&[
        (0, STANDARD, Kind::Input, 1.0),
        (0, STANDARD, Kind::Output, 5.0),
        (200_000, STANDARD, Kind::Input, 2.0),
        (272_000, STANDARD, Kind::Output, 8.0),
    ]);
    for (context, input, output) in [
        (0, 1.0, 5.0),
        (1, 1.0, 5.0),
        (200_000, 1.0, 5.0),
        (200_001, 2.0, 5.0),
        (272_000, 2.0, 5.0),
        (272_001, 2.0, 8.0),
        (u64::MAX, 2.0, 8.0),
    ] {
        let expected = [input, output, input, input, input, output];
        assert_eq!(row(&list, context, STANDARD), expected, "{context}");
    }
}

#[test]
fn stated_rates_of_caches_and_reasoning_hold_for_large_contexts_too() {
    let list = list(&[
        (0, STANDARD, Kind::Input, 1.0),
        (0, STANDARD, Kind::Output, 4.0),
        (0, STANDARD, Kind::CacheRead, 0.1),
        (0, STANDARD, Kind::CacheWrite, 1.25),
        (0, STANDARD, Kind::CacheWrite1h, 2.5),
        (0, STANDARD, Kind::Reasoning, 2.0),
        (200_000, STANDARD, Kind::Input, 2.0),
        (200_000, STANDARD, Kind::Output, 6.0),
        (200_000, STANDARD, Kind::CacheWrite, 2.5),
    ]);
    // Writing for an hour and reasoning keep their ratio to writing and to output.
    assert_eq!(row(&list, 200_001, STANDARD), [2.0, 6.0, 0.1, 2.5, 5.0, 3.0]);
}

#[test]
fn tier_without_a_rate_has_the_standard_one() {
    let list = list(&[
        (0, STANDARD, Kind::Input, 1.0),
        (0, STANDARD, Kind::Output, 4.0),
        (0, STANDARD, Kind::CacheRead, 0.1),
        (0, STANDARD, Kind::CacheWrite, 1.25),
        (0, STANDARD, Kind::CacheWrite1h, 2.0),
        (0, BATCH, Kind::Input, 0.5),
        (0, BATCH, Kind::CacheWrite, 0.625),
        (0, PRIORITY, Kind::Output, 8.0),
    ]);
    assert_eq!(row(&list, 0, BATCH), [0.5, 4.0, 0.1, 0.625, 1.0, 4.0]);
    assert_eq!(row(&list, 0, PRIORITY), [1.0, 8.0, 0.1, 1.25, 2.0, 8.0]);
    assert_eq!(row(&list, 0, ServiceTier::Flex), row(&list, 0, STANDARD));
}

#[test]
fn tier_without_a_rate_for_caches_reads_them_at_its_rate_of_input() {
    let list = list(&[
        (0, STANDARD, Kind::Input, 1.0),
        (0, STANDARD, Kind::Output, 4.0),
        (0, BATCH, Kind::Input, 0.5),
        (0, BATCH, Kind::Output, 2.0),
    ]);
    assert_eq!(row(&list, 0, BATCH), [0.5, 2.0, 0.5, 0.5, 0.5, 2.0]);
}

#[test]
fn discount_of_a_tier_holds_for_large_contexts_unless_they_have_a_rate() {
    let list = list(&[
        (0, STANDARD, Kind::Input, 1.0),
        (0, STANDARD, Kind::Output, 4.0),
        (0, BATCH, Kind::Input, 0.5),
        (0, BATCH, Kind::Output, 2.0),
        (0, PRIORITY, Kind::Input, 3.0),
        (200_000, STANDARD, Kind::Input, 2.0),
        (200_000, STANDARD, Kind::Output, 6.0),
        (200_000, BATCH, Kind::Output, 2.5),
    ]);
    assert_eq!(row(&list, 200_001, BATCH), [1.0, 2.5, 1.0, 1.0, 1.0, 2.5]);
    assert_eq!(row(&list, 200_001, PRIORITY), [3.0, 6.0, 3.0, 3.0, 3.0, 6.0]);
}

#[test]
fn rate_that_is_stated_for_large_contexts_alone_says_nothing_about_small_ones() {
    let list = list(&[
        (0, STANDARD, Kind::Input, 1.0),
        (0, STANDARD, Kind::Output, 4.0),
        (0, BATCH, Kind::Input, 0.5),
        (200_000, STANDARD, Kind::CacheWrite, 2.0),
    ]);
    assert_eq!(row(&list, 0, BATCH), [0.5, 4.0, 0.5, 0.5, 0.5, 4.0]);
    assert_eq!(row(&list, 200_001, BATCH), [0.5, 4.0, 0.5, 2.0, 2.0, 4.0]);
}

#[test]
fn rate_of_zero_is_kept() {
    let list = list(&[
        (0, STANDARD, Kind::Input, 0.0),
        (0, STANDARD, Kind::Output, 0.0),
        (0, STANDARD, Kind::Reasoning, 3.0),
        (0, BATCH, Kind::Input, 0.0),
        (200_000, STANDARD, Kind::Input, 1.0),
    ]);
    assert_eq!(row(&list, 0, STANDARD), [0.0, 0.0, 0.0, 0.0, 0.0, 3.0]);
    assert_eq!(row(&list, 200_001, BATCH)[0], 1.0);
    assert_eq!(row(&PriceList::free(), 300_000, PRIORITY), [0.0; 6]);
}
