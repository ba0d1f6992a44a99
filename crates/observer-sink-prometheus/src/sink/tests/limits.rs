//! Limits on the number of series, through restarts.

use observer_core::Envelope;

use super::*;

const HOUR: u64 = 3600;

fn event(n: u64, name: &str) -> Arc<Envelope> {
    envelope(
        n,
        format!(
            r#"{{"source":"s-{name}","event_kind":"k-{name}","ok":true,"staffer_id":"m-{name}"}}"#
        ),
    )
}

/// Returns the number of events of a name; `None` if it has no series.
fn counted(sink: &PrometheusSink, name: &str) -> Option<f64> {
    let samples = samples(&sink.registry().gather());
    let series =
        format!(r#"observer_events_total{{source="s-{name}",event_kind="k-{name}",ok="true"}}"#);
    let cycles =
        format!(r#"observer_model_cycles_total{{source="s-{name}",model="m-{name}",ok="true"}}"#);
    assert_eq!(samples.get(&series), samples.get(&cycles), "{name}");
    samples.get(&series).copied()
}

async fn deliver(sink: &PrometheusSink, events: Vec<Arc<Envelope>>) {
    for events in events.chunks(8192) {
        sink.deliver(&Batch::new(1, events.to_vec())).await.unwrap();
    }
}

#[tokio::test]
async fn burst_of_junk_hides_nothing_and_is_remembered_through_a_restart_and_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let first = sink(folder.path());
    let real = |from: u64| (0..20).map(move |n| event(from + n, &n.to_string()));
    deliver(&first, real(1).chain([event(30, "before")]).collect()).await;
    deliver(&first, (0..10_000).map(|n| event(100 + n, &format!("junk-{n}"))).collect()).await;
    deliver(&first, vec![event(11_000, "during")]).await;
    first.flush().await.unwrap();
    assert_eq!((counted(&first, "before"), counted(&first, "during")), (Some(1.0), None));
    let series = samples(&first.registry().gather()).len();
    first.close().await.unwrap();

    // After a restart, a name that recurs has a series. The process is killed before its flush.
    let again: Vec<_> = real(4 * HOUR).chain([event(5 * HOUR, "during")]).collect();
    let second = sink(folder.path());
    deliver(&second, again.clone()).await;
    drop(second);
    let third = sink(folder.path());
    assert_eq!(counted(&third, "during"), None, "it was not durable");
    deliver(&third, again.clone()).await;
    deliver(&third, again).await;
    third.flush().await.unwrap();
    assert_eq!(counted(&third, "during"), Some(1.0));
    for n in 0..20 {
        assert_eq!(counted(&third, &n.to_string()), Some(2.0), "{n}");
    }
    assert!(samples(&third.registry().gather()).len() < series + 30);
}

#[tokio::test]
async fn numbers_beyond_their_bounds_freeze_no_counter() {
    let folder = tempfile::tempdir().unwrap();
    let sink = sink(folder.path());
    let huge = |seq: u64, number: &str| {
        let raw = format!(
            r#"{{"source":"bot","event_kind":"ok","ok":true,"staffer_id":"m","turns":{number},
                "duration_ms":{number},"usage":{{"input_tokens":{number},"output_tokens":{number},
                "cost_usd":{number}}}}}"#
        );
        envelope(seq, raw)
    };
    let (mut batch, mut seq) = (Vec::new(), 1..);
    for number in ["18446744073709551615", "1.7e308", "1e999", "-1", "3"] {
        batch.push(huge(seq.next().unwrap(), number));
    }
    deliver(&sink, batch).await;
    sink.flush().await.unwrap();
    let samples = samples(&sink.registry().gather());
    let of = |name: &str, more: &str| {
        samples[&format!(r#"observer_{name}{{source="bot",model="m"{more}}}"#)]
    };
    let ok = r#",ok="true""#;
    assert_eq!(of("model_cycles_total", ok), 5.0);
    assert_eq!(of("model_calls_total", ""), 3.0);
    assert_eq!(of("cycle_duration_seconds_sum", ""), 0.003);
    assert_eq!((of("input_tokens_total", ok), of("output_tokens_total", ok)), (3.0, 3.0));
    assert_eq!(of("cost_usd_total", r#",ok="true",basis="reported""#), 3.0);
}
