//! Files by the day of the event.

use super::*;

const DAY: i64 = 86_400;

/// Event of a time that is received at another one.
fn event(seq: u64, happened: i64, received: i64) -> Batch {
    let timestamp = Timestamp::from_second(happened).unwrap();
    let text =
        format!(r#"{{"source":"bot","event_kind":"ok","ok":true,"timestamp":"{timestamp}"}}"#);
    let received_at = Timestamp::from_second(received).unwrap();
    let id = Uuid::from_u128(seq.into());
    Batch::new(
        1,
        vec![Arc::new(Envelope { id, seq, received_at, event: Event::parse(text).unwrap() })],
    )
}

#[test]
fn event_lies_in_the_file_of_its_own_day_unless_it_is_skewed() {
    let fixture = Fixture::new("{event_date}.jsonl");
    let mut writer = fixture.open();
    writer.write(&event(1, TEN - DAY, TEN));
    writer.write(&event(2, TEN, TEN));
    writer.write(&event(3, TEN + DAY, TEN));
    writer.write(&event(4, TEN + 9 * DAY, TEN));
    writer.write(&event(5, TEN - 9 * DAY, TEN));
    let expected = [
        ("2026-11-21.jsonl".to_owned(), vec![1]),
        ("2026-11-22.jsonl".to_owned(), vec![2, 4, 5]),
        ("2026-11-23.jsonl".to_owned(), vec![3]),
    ];
    assert_eq!(fixture.seqs(), expected);
    assert_eq!(writer.surroundings.counts.skewed.load(Ordering::Relaxed), 2);
}

#[test]
fn future_event_date_makes_one_file_and_leaves_today_open() {
    for template in ["{event_date}.jsonl", "{date}.jsonl"] {
        let fixture = Fixture::with(template, |config| config.compression(Compression::Gzip));
        let mut writer = fixture.open();
        writer.write(&event(1, TEN, TEN));
        writer.write(&event(2, TEN + 3 * DAY, TEN + 3 * DAY));
        writer.flush_now();
        for seq in 3..9 {
            writer.write(&event(seq, TEN, TEN));
            writer.flush_now();
            writer.janitor().wait();
        }
        let names = fixture.names();
        assert!(names.len() <= 3, "{template}: {names:?}");
        assert!(names.contains(&"2026-11-25.jsonl".to_owned()), "{names:?}");
    }
}

#[test]
fn late_events_of_a_packed_day_begin_one_numbered_file() {
    let fixture =
        Fixture::with("{event_date}.jsonl", |config| config.compression(Compression::Gzip));
    let mut writer = fixture.open();
    writer.write(&event(1, TEN, TEN));
    writer.write(&event(2, TEN + DAY, TEN + DAY));
    writer.flush_now();
    writer.flush(now(TEN + 3600)).unwrap();
    writer.janitor().wait();
    assert!(fixture.names().contains(&"2026-11-22.jsonl.gz".to_owned()));
    for seq in 3..6 {
        writer.write(&event(seq, TEN, TEN + DAY));
        writer.flush(now(TEN + 3600)).unwrap();
        writer.janitor().wait();
    }
    let expected = [
        ("2026-11-22.000001.jsonl".to_owned(), vec![3, 4, 5]),
        ("2026-11-22.jsonl.gz".to_owned(), vec![1]),
        ("2026-11-23.jsonl".to_owned(), vec![2]),
    ];
    assert_eq!(fixture.seqs(), expected);
}

#[test]
fn days_are_those_of_the_time_zone() {
    // 2026-11-22T10:00:00Z is 2026-11-22 in Los Angeles; three hours earlier it was the 21st.
    let fixture = Fixture::with("{date}.jsonl", |config| config.timezone("America/Los_Angeles"));
    let mut writer = fixture.open();
    writer.write(&one(1, "bot", TEN - 3 * 3600));
    writer.write(&one(2, "bot", TEN));
    let names = ["2026-11-21.jsonl", "2026-11-22.jsonl"];
    assert_eq!(fixture.names(), names);
}
