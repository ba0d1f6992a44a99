use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use observer_core::{ErrorKind, SinkConfig};

mod limits;
mod log;

use super::*;
use crate::config::Limits;
use crate::testing::{envelope, expect, oks, plain, samples, text};

const EVENTS: &str = r#"observer_events_total{source="bot",event_kind="ok",ok="true"}"#;

fn context(folder: &Path) -> SinkContext {
    SinkContext::new("metrics", folder.join("not/yet/there"))
}

fn sink(folder: &Path) -> PrometheusSink {
    PrometheusSink::new(PrometheusConfig::new(), &context(folder)).unwrap()
}

fn events(sink: &PrometheusSink) -> Option<f64> {
    samples(&sink.registry().gather()).get(EVENTS).copied()
}

fn at(epoch: u64, seq: u64) -> Option<Position> {
    Some(Position { epoch, seq })
}

#[tokio::test]
async fn restart_continues_at_the_last_flush() {
    let folder = tempfile::tempdir().unwrap();
    let first = sink(folder.path());
    assert_eq!(first.position().await.unwrap(), None);
    first.deliver(&oks(1, 1..=10)).await.unwrap();
    first.flush().await.unwrap();
    assert_eq!(first.position().await.unwrap(), at(1, 10));
    let before = text(first.registry());
    first.close().await.unwrap();

    let second = sink(folder.path());
    assert_eq!(second.position().await.unwrap(), at(1, 10));
    assert_eq!(text(second.registry()), before);
    second.deliver(&oks(1, 11..=12)).await.unwrap();
    second.flush().await.unwrap();
    assert_eq!(events(&second), Some(12.0));
}

#[tokio::test]
async fn events_delivered_but_not_flushed_before_a_kill_are_counted_once() {
    let folder = tempfile::tempdir().unwrap();
    let killed = sink(folder.path());
    killed.deliver(&oks(1, 1..=10)).await.unwrap();
    killed.flush().await.unwrap();
    killed.deliver(&oks(1, 11..=20)).await.unwrap();
    let shown = events(&killed);
    drop(killed);

    let next = sink(folder.path());
    assert_eq!(next.position().await.unwrap(), at(1, 10));
    assert_eq!(events(&next), shown, "a counter decreased after a kill");
    next.deliver(&oks(1, 6..=20)).await.unwrap();
    next.flush().await.unwrap();
    assert_eq!(events(&next), Some(20.0));
}

#[tokio::test]
async fn scrape_shows_batches_once_they_are_durable() {
    let folder = tempfile::tempdir().unwrap();
    let sink = sink(folder.path());
    sink.deliver(&oks(1, 1..=3)).await.unwrap();
    assert_eq!(events(&sink), None);
    assert_eq!(sink.position().await.unwrap(), None);
    sink.flush().await.unwrap();
    assert_eq!(events(&sink), Some(3.0));
}

#[tokio::test]
async fn repeated_batch_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let sink = sink(folder.path());
    let batch = oks(1, [1, 2, 5]);
    for batch in [&batch, &batch, &oks(1, [2]), &oks(1, [1, 2])] {
        sink.deliver(batch).await.unwrap();
    }
    sink.flush().await.unwrap();
    assert_eq!(events(&sink), Some(3.0));
    assert_eq!(sink.position().await.unwrap(), at(1, 5));
    let before = text(sink.registry());
    sink.deliver(&batch).await.unwrap();
    sink.flush().await.unwrap();
    assert_eq!(text(sink.registry()), before);
}

#[tokio::test]
async fn partly_counted_batch_adds_the_remaining_events() {
    let folder = tempfile::tempdir().unwrap();
    let sink = sink(folder.path());
    let (left, _) = oks(1, 1..=9).halves().unwrap();
    sink.deliver(&left).await.unwrap();
    sink.deliver(&oks(1, 1..=9)).await.unwrap();
    sink.flush().await.unwrap();
    assert_eq!(events(&sink), Some(9.0));
}

#[test]
fn cancelled_delivery_counts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let sink = sink(folder.path());
    let batch = oks(1, 1..=5);
    let runtime =
        tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        // The only blocking thread is busy, so the delivery has to wait.
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || wait.recv());
        let mut cancelled = sink.deliver(&batch);
        let poll = std::future::poll_fn(|context| {
            std::task::Poll::Ready(cancelled.as_mut().poll(context))
        })
        .await;
        assert!(poll.is_pending());
        drop(cancelled);
        release.send(()).unwrap();
        busy.await.unwrap().unwrap();

        sink.flush().await.unwrap();
        assert_eq!(events(&sink), None);
        sink.deliver(&batch).await.unwrap();
        sink.flush().await.unwrap();
        assert_eq!(events(&sink), Some(5.0));
    });
}

#[tokio::test]
async fn each_epoch_is_counted_from_its_own_start() {
    let folder = tempfile::tempdir().unwrap();
    let sink = sink(folder.path());
    sink.deliver(&oks(1, 1..=10)).await.unwrap();
    sink.deliver(&oks(2, 3..=4)).await.unwrap();
    sink.deliver(&oks(2, 4..=5)).await.unwrap();
    sink.flush().await.unwrap();
    assert_eq!(events(&sink), Some(13.0));
    assert_eq!(sink.position().await.unwrap(), at(2, 5));
    // The operator restored an old copy of the journal.
    sink.deliver(&oks(1, 2..=3)).await.unwrap();
    sink.flush().await.unwrap();
    assert_eq!(events(&sink), Some(15.0));
    assert_eq!(sink.position().await.unwrap(), at(1, 3));
}

#[tokio::test]
async fn flush_writes_only_a_changed_state() {
    let folder = tempfile::tempdir().unwrap();
    let sink = sink(folder.path());
    let snapshot = context(folder.path()).state_dir.join("metrics.snapshot");
    sink.flush().await.unwrap();
    assert_eq!(sink.position().await.unwrap(), None);
    sink.flush().await.unwrap();
    assert!(!snapshot.exists());
    sink.deliver(&oks(1, 1..=2)).await.unwrap();
    sink.flush().await.unwrap();
    std::fs::remove_file(&snapshot).unwrap();
    sink.flush().await.unwrap();
    sink.deliver(&oks(1, 1..=2)).await.unwrap();
    sink.flush().await.unwrap();
    assert!(!snapshot.exists());
    sink.deliver(&oks(1, 3..=3)).await.unwrap();
    sink.flush().await.unwrap();
    assert!(snapshot.exists());
    assert_eq!(
        std::fs::read_dir(snapshot.parent().unwrap()).unwrap().count(),
        1,
        "a temporary file is left"
    );
}

#[tokio::test]
async fn unreadable_snapshot_is_moved_aside_and_counting_starts_from_zero() {
    for contents in ["observer-prometheus 1 00000000\n{}", "observer-prometheus 2 00000000\n{}", ""]
    {
        let folder = tempfile::tempdir().unwrap();
        let state_dir = context(folder.path()).state_dir;
        std::fs::create_dir_all(&state_dir).unwrap();
        std::fs::write(state_dir.join("metrics.snapshot"), contents).unwrap();

        let sink = sink(folder.path());
        assert_eq!(sink.position().await.unwrap(), None);
        assert_eq!(
            std::fs::read_to_string(state_dir.join("metrics.snapshot.corrupt")).unwrap(),
            contents
        );
        sink.deliver(&oks(1, 5..=6)).await.unwrap();
        sink.flush().await.unwrap();
        assert_eq!(events(&sink), Some(2.0));
        assert!(
            std::fs::read(state_dir.join("metrics.snapshot"))
                .unwrap()
                .starts_with(b"observer-prometheus 2 ")
        );
    }
}

#[tokio::test]
async fn interrupted_write_keeps_the_last_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let first = sink(folder.path());
    first.deliver(&oks(1, 1..=4)).await.unwrap();
    first.flush().await.unwrap();
    std::fs::write(context(folder.path()).state_dir.join("metrics.snapshot.spare"), "observer-pro")
        .unwrap();
    drop(first);
    let second = sink(folder.path());
    assert_eq!(second.position().await.unwrap(), at(1, 4));
    second.deliver(&oks(1, 5..=5)).await.unwrap();
    second.flush().await.unwrap();
    assert_eq!(events(&second), Some(5.0));
}

#[tokio::test]
async fn unusable_state_folder_blocks_the_sink_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("not"), "a file where a folder should be").unwrap();
    let sink = sink(folder.path());
    let state_dir = context(folder.path()).state_dir;
    let error = sink.check().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Blocked);
    assert!(
        error.report().starts_with(&format!("can't create the folder {}: ", state_dir.display())),
        "{error:?}"
    );

    // While the state can't be read, no series are exported rather than zeros.
    let error = sink.deliver(&oks(1, 1..=1)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Blocked);
    assert!(
        error.report().starts_with(&format!("can't read {}", state_dir.display())),
        "{error:?}"
    );
    assert!(sink.registry().gather().is_empty());

    std::fs::remove_file(folder.path().join("not")).unwrap();
    sink.check().await.unwrap();
    assert_eq!(std::fs::read_dir(&state_dir).unwrap().count(), 0, "the probe left a file");
    sink.deliver(&oks(1, 1..=1)).await.unwrap();
    sink.flush().await.unwrap();
    assert_eq!(events(&sink), Some(1.0));
}

#[tokio::test]
async fn flush_after_a_failed_one_saves_all_counts() {
    let folder = tempfile::tempdir().unwrap();
    let sink = sink(folder.path());
    sink.deliver(&oks(1, 1..=2)).await.unwrap();
    let obstacle = context(folder.path()).state_dir.join("metrics.snapshot.spare");
    std::fs::remove_file(&obstacle).unwrap();
    std::fs::create_dir(&obstacle).unwrap();
    let error = sink.flush().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Blocked, "{}", error.report());
    assert_eq!(events(&sink), None);
    std::fs::remove_dir(&obstacle).unwrap();
    sink.flush().await.unwrap();
    assert_eq!(events(&sink), Some(2.0));
}

#[tokio::test]
async fn second_sink_on_a_registry_is_rejected_until_the_first_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::new();
    let build = || PrometheusConfig::new().build_with(&context(folder.path()), &registry);
    let first = build().unwrap().remove(0);
    assert_eq!(first.batch.max_events.unwrap().get(), 8192);
    assert_eq!(
        build().unwrap_err().to_string(),
        "`type` allows one sink of type prometheus per registry, since two would export the same \
         series; remove one"
    );
    first.sink.deliver(&oks(1, 1..=3)).await.unwrap();
    first.sink.flush().await.unwrap();
    assert!(text(&registry).contains(EVENTS));
    first.sink.close().await.unwrap();
    assert_eq!(text(&registry), "");

    let second = build().unwrap();
    assert!(text(&registry).contains(&format!("{EVENTS} 3\n")));
    drop(first);
    assert!(text(&registry).contains(EVENTS), "the first sink removed metrics of the second");
    drop(second);
    assert_eq!(text(&registry), "");
}

#[tokio::test]
async fn configuration_builds_one_sink_and_touches_no_file() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(PrometheusConfig::TYPE, "prometheus");
    let parts = PrometheusConfig::new().build(&context(folder.path())).unwrap();
    assert_eq!(parts.len(), 1);
    assert_eq!(parts[0].name, None);
    let limits = Limits { label_bytes: 0, ..Limits::default() };
    assert_eq!(
        PrometheusConfig::new().with_limits(limits).build(&context(folder.path())).unwrap_err().key,
        "limits.label_bytes"
    );
    assert!(!context(folder.path()).state_dir.exists(), "building created the state folder");
}

#[tokio::test]
async fn known_series_are_zero_before_the_first_event() {
    let folder = tempfile::tempdir().unwrap();
    let config = PrometheusConfig::new().with_known_sources(["bot"]).with_known_event_kinds(["ok"]);
    let sink = PrometheusSink::new(config, &context(folder.path())).unwrap();
    let samples = samples(&sink.registry().gather());
    expect(&samples, &[(EVENTS, 0.0), (r#"observer_label_overflow_total{label="source"}"#, 0.0)]);
}

/// Parses the text format. Returns the names, label values and values of all samples.
fn parse(text: &str) -> Vec<(String, Vec<String>, f64)> {
    let mut samples = Vec::new();
    // Only a line feed ends a line.
    for line in text.split('\n').filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let name: String =
            line.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
        let mut rest = &line[name.len()..];
        let mut values = Vec::new();
        if let Some(labels) = rest.strip_prefix('{') {
            rest = labels;
            loop {
                let (label, quoted) = rest.split_once("=\"").unwrap();
                assert!(
                    label.chars().all(|c| c.is_ascii_lowercase() || c == '_'),
                    "{label} in {line}"
                );
                let mut value = String::new();
                let mut characters = quoted.chars();
                loop {
                    match characters.next().expect("the value ends on its line") {
                        '"' => break,
                        '\\' => value.push(match characters.next() {
                            Some('n') => '\n',
                            Some(c @ ('"' | '\\')) => c,
                            other => panic!("{other:?} is escaped in {line}"),
                        }),
                        c => value.push(c),
                    }
                }
                values.push(value);
                match characters.next() {
                    Some(',') => rest = characters.as_str(),
                    Some('}') => break rest = characters.as_str(),
                    other => panic!("{other:?} after a label of {line}"),
                }
            }
        }
        samples.push((name, values, rest.trim().parse().unwrap()));
    }
    samples
}

#[tokio::test]
async fn hostile_label_values_are_escaped_and_preserved() {
    let folder = tempfile::tempdir().unwrap();
    let sink = sink(folder.path());
    let hostile = [
        "line\nfeed",
        "\"} 1\nobserver_events_total{source=\"forged",
        "back\\slash\\",
        "\\n",
        "nul\0",
        "carriage\rreturn",
        "🦀\u{202e}\u{2028}",
        " ",
        "{}=,",
    ];
    let envelopes =
        (1..).zip(hostile).map(|(seq, value)| envelope(seq, plain(value, value, false)));
    sink.deliver(&Batch::new(1, envelopes.collect())).await.unwrap();
    sink.flush().await.unwrap();

    let mut found: Vec<_> = parse(&text(sink.registry()))
        .into_iter()
        .filter(|(name, labels, _)| name == "observer_events_total" && labels[2] == "false")
        .inspect(|(_, labels, value)| assert_eq!((&labels[0], *value), (&labels[1], 1.0)))
        .map(|(_, mut labels, _)| labels.remove(0))
        .collect();
    found.sort_unstable();
    let mut expected = hostile;
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_gather_never_shows_a_part_of_a_batch() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Arc::new(sink(folder.path()));
    let registry = sink.registry().clone();
    let done = Arc::new(AtomicBool::new(false));
    let all_delivered = Arc::clone(&done);
    let gathering = tokio::task::spawn_blocking(move || {
        let mut last = 0.0;
        while !all_delivered.load(Ordering::Acquire) {
            let count = samples(&registry.gather()).get(EVENTS).copied().unwrap_or(0.0);
            assert!(count >= last && count % 10.0 == 0.0, "{count} after {last}");
            last = count;
        }
    });
    for first in (1..500).step_by(10) {
        sink.deliver(&oks(1, first..first + 10)).await.unwrap();
        sink.flush().await.unwrap();
    }
    done.store(true, Ordering::Release);
    gathering.await.unwrap();
    assert_eq!(events(&sink), Some(500.0));
}
