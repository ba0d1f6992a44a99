//! What the sink logs, and what it does with snapshots of other versions.

use super::*;

const VERSION_0_1: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../tests/fixtures/v0.1/observer-data/sinks/prometheus/metrics.snapshot"
);

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Runs work on this thread. Returns the lines that it logs.
fn logged(work: impl FnOnce()) -> Vec<String> {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, work);
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    log.lines().map(str::to_owned).collect()
}

#[track_caller]
fn assert_parts(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "{part} in {line}");
    }
}

fn write_snapshot(folder: &Path, contents: impl AsRef<[u8]>) -> std::path::PathBuf {
    let state_dir = context(folder).state_dir;
    std::fs::create_dir_all(&state_dir).unwrap();
    let path = state_dir.join("metrics.snapshot");
    std::fs::write(&path, contents).unwrap();
    path
}

#[test]
fn unreadable_snapshot_is_logged_once_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = write_snapshot(folder.path(), "observer-prometheus 2 00000000\n{}");
    let sink = sink(folder.path());
    // `gather` reads the snapshot on this thread, which has the subscriber.
    let log = logged(|| {
        sink.registry().gather();
        sink.registry().gather();
    });
    let [line] = &*log else { panic!("{log:?}") };
    assert_parts(
        line,
        &[
            " WARN ",
            "moved aside",
            "metrics.snapshot.corrupt",
            "sink=\"metrics\"",
            "the checksum does not match",
            &path.display().to_string(),
        ],
    );
}

#[test]
fn upgrade_of_a_snapshot_is_logged_once_even_without_an_event() {
    let folder = tempfile::tempdir().unwrap();
    let path = write_snapshot(folder.path(), std::fs::read(VERSION_0_1).unwrap());
    let log = logged(|| {
        let gathered = [0; 2].map(|_| text(sink(folder.path()).registry()));
        assert_eq!(gathered[0], gathered[1]);
        let ok = r#"observer_events_total{source="bot",event_kind="ok",ok="true"}"#;
        assert!(gathered[0].contains(ok), "{}", gathered[0]);
    });
    let [line] = &*log else { panic!("{log:?}") };
    assert_parts(line, &[" INFO ", "restart at zero", "sink=\"metrics\"", "version=1"]);
    assert!(std::fs::read(path).unwrap().starts_with(b"observer-prometheus 2 "));
}

#[tokio::test]
async fn newer_snapshot_blocks_the_sink_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let contents = "observer-prometheus 3 00000000\n{}";
    let path = write_snapshot(folder.path(), contents);
    let sink = sink(folder.path());
    let errors = [
        sink.check().await.unwrap_err(),
        sink.position().await.unwrap_err(),
        sink.deliver(&oks(1, 1..=2)).await.unwrap_err(),
    ];
    let expected = format!(
        "{} has version 3 of its format, and this program reads and writes versions up to 2; \
         start a newer program, or move the file away to count from zero",
        path.display()
    );
    for error in errors {
        assert_eq!((error.kind, error.report()), (ErrorKind::Blocked, expected.clone()));
    }
    sink.flush().await.unwrap();
    assert!(sink.registry().gather().is_empty());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), contents);

    std::fs::remove_file(path).unwrap();
    sink.check().await.unwrap();
    sink.deliver(&oks(1, 1..=2)).await.unwrap();
    sink.flush().await.unwrap();
    assert_eq!(events(&sink), Some(2.0));
}

#[test]
fn overflow_of_each_label_is_logged_once() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { sources: 1, event_kinds: 1, ..Limits::default() };
    let config = PrometheusConfig::new().with_limits(limits);
    let sink = PrometheusSink::new(config, &context(folder.path())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let deliver = |seq, source, kind| {
        let batch = Batch::new(1, vec![envelope(seq, plain(source, kind, true))]);
        runtime.block_on(sink.deliver(&batch)).unwrap();
    };
    assert_eq!(logged(|| deliver(1, "a", "x")), [] as [&str; 0]);
    let log = logged(|| {
        deliver(2, "b", "x");
        deliver(3, "c", "y");
        deliver(4, "d", "z");
    });
    let [source, kind] = &*log else { panic!("{log:?}") };
    assert_parts(source, &[" WARN ", "sink=\"metrics\"", "label=\"source\"", "other"]);
    assert_parts(kind, &["label=\"event_kind\""]);
}
