//! Events by filter and by id.

use observer_core::Uuid;
use observer_core::query::{
    EventRequest, EventStore, EventsRequest, MAX_PAGE_BYTES, QueryError, Scope,
};

use super::support::{Kb, START, events_request, outcome, time, with};

const SECOND: i64 = 1_000_000;

/// Condition on the number of an event.
type Selects = Box<dyn Fn(i64) -> bool>;

/// Sends events one second apart, whose fields follow from their numbers.
async fn numbered(count: i64) -> Kb {
    let mut kb = Kb::new();
    let mut envelopes = Vec::new();
    for number in 0..count {
        kb.at(START + number * SECOND);
        let fields = format!(
            r#""id":"run-{number}","labels":{{"shard":"{}","run":"{number}"}}"#,
            number % 10
        );
        let model = format!("m{}", number % 3);
        let event = with(&outcome(&format!("p{}", number % 100), &model, number % 7 == 0), &fields)
            .replace("\"cycle_id\":\"c\"", &format!("\"cycle_id\":\"cycle-{number}\""));
        envelopes.push(kb.envelope(&event));
        if envelopes.len() == 1_000 {
            kb.deliver(std::mem::take(&mut envelopes)).await;
        }
    }
    if !envelopes.is_empty() {
        kb.deliver(envelopes).await;
    }
    kb
}

async fn numbers(kb: &Kb, request: EventsRequest) -> Vec<i64> {
    let page = kb.store.events(request).await.unwrap();
    let number = |id: &str| id.strip_prefix("run-").unwrap().parse().unwrap();
    page.events.iter().map(|stored| number(stored.envelope.event.id().unwrap())).collect()
}

#[tokio::test]
async fn every_filter_selects_in_blocks_and_in_the_head() {
    const COUNT: i64 = 9_001;
    let kb = numbered(COUNT).await;
    let text = |value: &str| vec![value.to_owned()];
    let cases: Vec<(EventsRequest, Selects)> = vec![
        (events_request(50), Box::new(|_| true)),
        (EventsRequest { ok: Some(true), ..events_request(50) }, Box::new(|n| n % 7 == 0)),
        (
            EventsRequest { event_kind: text("tests_failed"), ..events_request(50) },
            Box::new(|n| n % 7 != 0),
        ),
        (
            EventsRequest { staffer_id: vec!["m1".into(), "m2".into()], ..events_request(50) },
            Box::new(|n| n % 3 != 0),
        ),
        (
            EventsRequest { sig_hash: text("p42"), ..events_request(90) },
            Box::new(|n| n % 100 == 42),
        ),
        (EventsRequest { cycle_id: text("cycle-17"), ..events_request(9) }, Box::new(|n| n == 17)),
        (
            EventsRequest {
                labels: vec![("shard".into(), "4".into())],
                ok: Some(true),
                ..events_request(200)
            },
            Box::new(|n| n % 10 == 4 && n % 7 == 0),
        ),
        (
            EventsRequest {
                labels: [("shard", "4"), ("run", "14"), ("shard", "7"), ("run", "8997")]
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .to_vec(),
                ..events_request(9)
            },
            Box::new(|n| n == 14 || n == 8_997),
        ),
        (
            EventsRequest { labels: vec![("run".into(), "5".into())], ..events_request(9) },
            Box::new(|n| n == 5),
        ),
        (
            EventsRequest {
                since: Some(time(START + 100 * SECOND)),
                until: Some(time(START + 200 * SECOND)),
                ..events_request(1_000)
            },
            Box::new(|n| (100..200).contains(&n)),
        ),
        (EventsRequest { source: text("ci"), ..events_request(9) }, Box::new(|_| false)),
    ];
    for (request, selects) in cases {
        let expected: Vec<i64> =
            (0..COUNT).rev().filter(|n| selects(*n)).take(request.limit).collect();
        assert_eq!(numbers(&kb, request.clone()).await, expected, "{request:?}");
    }
}

#[tokio::test]
async fn pages_follow_each_other_without_gaps() {
    let kb = numbered(5_000).await;
    let mut request = EventsRequest { ok: Some(true), ..events_request(100) };
    let mut found = Vec::new();
    loop {
        let page = kb.store.events(request.clone()).await.unwrap();
        found.extend(page.events.iter().map(|stored| stored.position.seq));
        request.cursor = page.cursor;
        if request.cursor.is_none() {
            break;
        }
    }
    let expected: Vec<u64> = (0..5_000).rev().filter(|n| n % 7 == 0).map(|n| n + 1).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn event_is_found_by_its_id_and_by_that_of_the_producer() {
    let kb = numbered(5_000).await;
    let request = |id: &str| EventRequest { scope: Scope::all(), id: id.to_owned(), source: None };
    for number in [0_u64, 4_095, 4_096, 4_999] {
        let by_producer = kb.store.event(request(&format!("run-{number}"))).await.unwrap();
        assert_eq!(by_producer.position.seq, number + 1);
        let id = by_producer.envelope.id.to_string();
        assert_eq!(kb.store.event(request(&id)).await.unwrap(), by_producer);
    }
    for id in ["run-5000".to_owned(), Uuid::nil().to_string(), String::new()] {
        let error = kb.store.event(request(&id)).await.unwrap_err();
        assert_eq!(error.to_string(), format!("no event with the id {id:?}"));
    }
}

#[tokio::test]
async fn invalid_parameters_are_named() {
    let kb = numbered(1).await;
    let cases = [
        (events_request(0), "`limit` must be from 1 to 1000"),
        (events_request(1_001), "`limit` must be from 1 to 1000"),
        (EventsRequest { cursor: Some("x".into()), ..events_request(1) }, "`cursor` is not one"),
        (
            EventsRequest { since: Some(time(2)), until: Some(time(1)), ..events_request(1) },
            "`until` must not be before `since`",
        ),
    ];
    for (request, expected) in cases {
        let error = kb.store.events(request).await.unwrap_err();
        assert!(matches!(error, QueryError::BadRequest { .. }));
        assert!(error.to_string().starts_with(expected), "{error}");
    }
}

#[tokio::test]
async fn store_without_a_file_is_unavailable() {
    let kb = Kb::new();
    let error = kb.store.events(events_request(1)).await.unwrap_err();
    assert!(matches!(error, QueryError::Unavailable { .. }), "{error:?}");
    assert!(!kb.path().exists());
}

#[tokio::test]
async fn page_ends_when_its_events_are_large() {
    let mut kb = Kb::new();
    let large = |number: usize| {
        let log = "x".repeat(MAX_PAGE_BYTES / 3);
        with(&outcome("p", "m", true), &format!(r#""id":"run-{number}","extra":{{"log":"{log}"}}"#))
    };
    for number in 0..6 {
        kb.send(&[large(number)]).await;
    }
    let mut sizes = Vec::new();
    let mut request = events_request(100);
    loop {
        let page = kb.store.events(request.clone()).await.unwrap();
        sizes.push(page.events.len());
        match page.cursor {
            Some(cursor) => request.cursor = Some(cursor),
            None => break,
        }
    }
    assert_eq!(sizes, [3, 3]);
    let few = kb.store.events(events_request(2)).await.unwrap();
    assert_eq!(few.events.len(), 2);
    assert!(few.cursor.is_some());
}
