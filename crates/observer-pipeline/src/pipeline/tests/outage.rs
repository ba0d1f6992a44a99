//! Outages of a destination under load, and poison events that make a destination fail.

use super::*;

/// Events per second.
const LOAD: u64 = 10;
const HOUR: u64 = 3600;

#[tokio::test(start_paused = true)]
async fn outage_of_an_hour_loses_no_event_and_delays_nothing_else() {
    let memory = Memory::default();
    let is_up = Arc::new(AtomicBool::new(true));
    let away = Scripted::new().responds({
        let is_up = is_up.clone();
        move |_| {
            let is_up = is_up.load(Ordering::SeqCst);
            let unreachable = "http://away:80 can't be reached: Connection refused";
            Some(is_up.then(Receipt::accepted).ok_or_else(|| SinkError::transient(unreachable)))
        }
    });
    let healthy = Scripted::new();
    let pipeline =
        over(&memory).sink(away.spec("away")).sink(healthy.spec("healthy")).start().await.unwrap();
    let second = async |number: u64| {
        let started = Instant::now();
        ingest(&pipeline, number * LOAD + 1..=(number + 1) * LOAD).await;
        assert_eq!(started.elapsed(), Duration::ZERO, "ingest took time in second {number}");
        tokio::time::sleep_until(started + Duration::from_secs(1)).await;
        let behind = sink_status(&pipeline, "healthy").pending;
        assert!(behind <= LOAD, "the healthy sink is {behind} events behind in second {number}");
    };
    for number in 0..60 {
        second(number).await;
    }
    is_up.store(false, Ordering::SeqCst);
    let before = away.now().calls.len();
    for number in 60..60 + HOUR {
        second(number).await;
    }
    let attempts = away.now().calls.len() - before;
    assert!(
        (120..500).contains(&attempts),
        "{attempts} requests in an hour to an unreachable destination"
    );
    let status = sink_status(&pipeline, "away");
    assert!(matches!(&status.state, SinkState::Retrying(_)), "{:?}", status.state);
    assert!(status.pending >= HOUR * LOAD && status.account.dead == 0, "{status:?}");

    is_up.store(true, Ordering::SeqCst);
    let started = Instant::now();
    for number in 60 + HOUR..120 + HOUR {
        second(number).await;
    }
    let all = range(1..=(120 + HOUR) * LOAD);
    assert_eq!(away.until_accepted(all.len()).await, all);
    assert!(
        started.elapsed() <= Duration::from_secs(61),
        "{:?} until the backlog is delivered",
        started.elapsed()
    );
    assert_eq!(healthy.until_accepted(all.len()).await, all);
    for name in ["away", "healthy"] {
        until_status(&pipeline, name, |status| status.pending == 0).await;
        let expected = Account { delivered: all.len() as u64, ..Account::default() };
        assert_eq!(account(&pipeline, name).0, expected);
    }
    assert!(memory.list(&pipeline.dead_letters_dir("away")).unwrap().is_empty());
}

/// Delivers a backlog of ten thousand events, one of which fails with `error`. Returns the number
/// of deliveries.
async fn deliveries_with_poison(poison: u64, error: fn() -> SinkError, settings: &str) -> usize {
    let memory = Memory::default();
    let is_open = Arc::new(AtomicBool::new(false));
    let sink = Scripted::new().responds({
        let is_open = is_open.clone();
        move |batch| {
            let bad = batch.events().iter().any(|envelope| envelope.seq == poison);
            is_open
                .load(Ordering::SeqCst)
                .then(|| if bad { Err(error()) } else { Ok(Receipt::accepted()) })
        }
    });
    let pipeline = over(&memory).sink(sink.spec_with("sink", settings)).start().await.unwrap();
    ingest(&pipeline, 1..=10_000).await;
    // The pending delivery times out, with the whole backlog behind it.
    is_open.store(true, Ordering::SeqCst);
    sink.until_accepted(9_999).await;
    let mut last = 10_000;
    while account(&pipeline, "sink").1 > 0 {
        last += 1;
        ingest(&pipeline, last..=last).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(last < 10_500, "the event is not found: {:?}", sink_status(&pipeline, "sink"));
    }
    let expected: Vec<_> = (1..=last).filter(|seq| *seq != poison).collect();
    assert_eq!(sink.now().accepted, expected, "the others are delivered once, in order");
    assert_eq!(
        account(&pipeline, "sink").0,
        Account { delivered: last - 1, dead: 1, ..Account::default() }
    );
    let dead = dead_letters(&memory, &pipeline, "sink");
    assert_eq!((dead.len(), &dead[0]["envelope"]["seq"]), (1, &poison.into()));
    assert_eq!(dead[0]["reason"], error().report());
    sink.now().calls.len() - usize::try_from(last - 10_000).unwrap()
}

const BATCHES: usize = 10;
/// Number of halvings from a thousand events to one.
const HALVINGS: usize = 10;

#[tokio::test(start_paused = true)]
async fn poison_event_costs_two_requests_per_halving() {
    for poison in [1, 2, 4_321, 9_000, 9_999, 10_000] {
        let rejected = || SinkError::permanent("400 Bad Request: no such field");
        let deliveries =
            deliveries_with_poison(poison, rejected, r#"{"batch":{"max_events":1000}}"#).await;
        assert!(
            deliveries <= BATCHES + 1 + 2 * HALVINGS,
            "{deliveries} deliveries with poison event {poison}"
        );
    }
}

/// Only the acceptance of other events tells such a failure from an outage.
#[tokio::test(start_paused = true)]
async fn poison_event_that_makes_the_destination_fail_is_found() {
    for poison in [1, 2, 4_321, 9_000, 9_001, 9_997] {
        let failed = || SinkError::failed("500 Internal Server Error: index out of bounds");
        let deliveries =
            deliveries_with_poison(poison, failed, r#"{"batch":{"max_events":1000}}"#).await;
        // The batch is tried four times and the event alone sixteen times; then there are eight
        // rounds.
        let most = BATCHES + 1 + 4 + 2 * HALVINGS + 16 + 8 + HALVINGS;
        assert!(deliveries <= most, "{deliveries} deliveries with poison event {poison}");
    }
}

#[tokio::test(start_paused = true)]
async fn unavailability_for_one_event_holds_no_other_event_and_makes_it_no_dead_letter() {
    let sink = Scripted::new().responds(|batch| {
        let bad = batch.events().iter().any(|envelope| envelope.seq == 1);
        Some(if bad {
            Err(SinkError::transient("503 Service Unavailable"))
        } else {
            Ok(Receipt::accepted())
        })
    });
    let pipeline = over(&Memory::default()).sink(sink.spec("sink")).start().await.unwrap();
    for number in 1..=30 {
        ingest(&pipeline, number..=number).await;
        tokio::time::sleep(Duration::from_secs(600)).await;
    }
    assert_eq!(sink.now().accepted, range(2..=30));
    let status = sink_status(&pipeline, "sink");
    assert_eq!((status.position.seq, status.pending, status.undecided), (30, 1, 1));
    assert_eq!(status.state, SinkState::Running);
    assert_eq!(account(&pipeline, "sink").0, Account { delivered: 29, ..Account::default() });
}

#[tokio::test(start_paused = true)]
async fn outage_makes_no_event_poison_and_keeps_the_order() {
    for minutes in [1, 5, 20, 60] {
        let memory = Memory::default();
        let started = Instant::now();
        let end = started + Duration::from_secs(60 * minutes);
        let sink = Scripted::new().responds(move |_| {
            let failed = || SinkError::transient("500 Internal Server Error");
            Some(if Instant::now() < end { Err(failed()) } else { Ok(Receipt::accepted()) })
        });
        let settings = r#"{"batch":{"max_events":64}}"#;
        let pipeline = over(&memory).sink(sink.spec_with("sink", settings)).start().await.unwrap();
        ingest(&pipeline, 1..=200).await;
        assert_eq!(sink.until_accepted(200).await, range(1..=200));
        until_status(&pipeline, "sink", |status| status.pending == 0).await;
        assert_eq!(account(&pipeline, "sink").0, Account { delivered: 200, ..Account::default() });
    }
}

#[tokio::test(start_paused = true)]
async fn consecutive_poison_events_are_all_found() {
    for poison in [1..=2, 4..=7, 10..=12] {
        let memory = Memory::default();
        let bad = poison.clone();
        let sink = Scripted::new().responds(move |batch| {
            let is_bad = batch.events().iter().any(|envelope| bad.contains(&envelope.seq));
            Some(if is_bad {
                Err(SinkError::failed("500 Internal Server Error"))
            } else {
                Ok(Receipt::accepted())
            })
        });
        let pipeline = over(&memory)
            .sink(sink.spec_with("sink", r#"{"batch":{"max_events":8}}"#))
            .start()
            .await
            .unwrap();
        ingest(&pipeline, 1..=30).await;
        let dead = poison.clone().count() as u64;
        sink.until_accepted(30 - poison.clone().count()).await;
        let mut last = 30;
        while account(&pipeline, "sink").1 > 0 {
            last += 1;
            ingest(&pipeline, last..=last).await;
            tokio::time::sleep(Duration::from_secs(10)).await;
            assert!(last < 500, "some are not found: {:?}", sink_status(&pipeline, "sink"));
        }
        assert_eq!(
            account(&pipeline, "sink").0,
            Account { delivered: last - dead, dead, ..Account::default() }
        );
        let mut accepted = sink.now().accepted.clone();
        accepted.sort_unstable();
        assert_eq!(
            accepted,
            (1..=last).filter(|seq| !poison.contains(seq)).collect::<Vec<_>>(),
            "each other event is delivered once"
        );
        assert_eq!(dead_letters(&memory, &pipeline, "sink").len() as u64, dead);
    }
}

#[tokio::test(start_paused = true)]
async fn parked_sink_shows_the_reason_of_the_last_refusal() {
    let mut is_full = true;
    let sink = Scripted::new().responds(move |_| {
        let full = std::mem::take(&mut is_full);
        let (full, failed) = (full.then(|| SinkError::blocked("disk full")), "500: event 1");
        Some(Err(full.unwrap_or_else(|| SinkError::failed(failed))))
    });
    let pipeline = over(&Memory::default()).sink(sink.spec("sink")).start().await.unwrap();
    ingest(&pipeline, 1..=1).await;
    until_status(&pipeline, "sink", |status| parked_reason(status) == Some("disk full")).await;
    until_status(&pipeline, "sink", |status| parked_reason(status) == Some("500: event 1")).await;
}
