//! Crafted names: sources that look like paths, labels that look like others, and very many labels.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::monitored::MonitoredObserver;
use super::raw::post;
use crate::support::{DEFAULTS, Observer, assert_promtool_accepts, wait_until};

fn event(source: &str, kind: &str) -> String {
    format!(r#"{{"source":{},"event_kind":{},"ok":true}}"#, Value::from(source), Value::from(kind))
}

/// Returns every file and every empty folder.
fn leaves(dir: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let inside = if path.is_dir() { leaves(&path) } else { BTreeSet::new() };
        if inside.is_empty() {
            found.insert(path);
        }
        found.extend(inside);
    }
    found
}

#[tokio::test]
async fn source_that_looks_like_a_path_stays_inside_the_folder_of_its_sink() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("a/b/c");
    std::fs::create_dir_all(&dir).unwrap();
    let config = format!(
        "{DEFAULTS}[sinks.archive]\ntype = \"file\"\n\
         path = \"observer-data/events/{{date}}.jsonl\"\n\
         [sinks.sources]\ntype = \"file\"\npath = \"observer-data/sources/{{source}}.jsonl\"\n\
         max_open_files = 4\n"
    );
    let mut observer = MonitoredObserver::start(&dir, &config).await;
    let long = "../".repeat(100_000);
    let longer = format!("{long}x");
    let sources = [
        "../../etc/passwd",
        "../../../x",
        "/etc/passwd",
        "..",
        ".",
        "./x",
        "a/../../b",
        "..\\..\\x",
        "C:\\x",
        "%2e%2e%2fx",
        "~root",
        "-rf",
        "\0",
        "x\0.jsonl",
        "a\nb",
        "bot.000001",
        "x.jsonl.gz",
        "{date}",
        "${HOME}",
        "\u{202e}lnosj",
        "BOT",
        &long,
        &longer,
    ];
    for source in sources {
        observer.assert_kept(&event(source, "ok")).await;
    }
    observer.process.wait_until_caught_up().await;

    let data = dir.join("observer-data");
    let (inside, outside): (BTreeSet<_>, BTreeSet<_>) = leaves(root.path())
        .into_iter()
        .partition(|path| path.parent() == Some(&data.join("sources")));
    // One file for each source, and one for `bot`.
    assert_eq!(inside.len(), sources.len() + 1, "{inside:#?}");
    let mut archived = BTreeMap::new();
    for path in &inside {
        for line in std::fs::read_to_string(path).unwrap().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            *archived.entry(line["event"]["source"].as_str().unwrap().to_owned()).or_insert(0) += 1;
        }
    }
    assert!(sources.iter().all(|source| archived[*source] == 1), "{archived:#?}");
    let known =
        ["journal", "events", "sinks", "dead-letters", "admin.sock"].map(|name| data.join(name));
    let is_unexpected = |path: &&PathBuf| {
        **path != dir.join("observer.toml") && !known.iter().any(|known| path.starts_with(known))
    };
    assert_eq!(outside.iter().filter(is_unexpected).collect::<Vec<_>>(), [] as [&PathBuf; 0]);
    observer.finish().await;
}

/// Returns a label value as the text format escapes it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[tokio::test]
async fn crafted_labels_neither_collide_nor_break_the_exposition() {
    let dir = tempfile::tempdir().unwrap();
    let mut observer = MonitoredObserver::start(dir.path(), DEFAULTS).await;
    let pairs = [
        ("ab", "c"),
        ("a", "bc"),
        ("abc", "\0"),
        ("ab\0", "c"),
        ("ab", "\0c"),
        ("a\"", "c"),
        ("a\\\"", "c"),
        ("a\\", "\"c"),
        ("a\n", "c"),
        ("a\\n", "c"),
        ("a\r", "c"),
        ("a\u{85}", "\u{2028}c"),
        (r#"a",event_kind="c",ok="true"} 1000000 #"#, "c"),
        ("a\"} 1\nobserver_events_total{source=\"forged", "c"),
        ("{", "}"),
        ("le", "+Inf"),
        ("__name__", "observer_events_total"),
        (" ", "\t"),
        ("é", "e\u{301}"),
        ("\u{e9}", "\u{fffd}"),
        ("other", "other"),
        ("other", "c"),
        ("ab", "other"),
    ];
    let mut expected = BTreeMap::new();
    for (index, (source, kind)) in pairs.into_iter().enumerate() {
        // A different count for each pair, so that a mix-up shows.
        for _ in 0..=index {
            let event = event(source, kind);
            assert_eq!(observer.post(&event).await.status, 200);
            observer.expect_in_archive(event);
        }
        observer.assert_healthy(source).await;
        let name = format!(
            r#"observer_events_total{{source="{}",event_kind="{}",ok="true"}}"#,
            escaped(source),
            escaped(kind)
        );
        expected.insert(name, index + 1);
    }
    observer.process.wait_until_caught_up().await;
    let mut metrics = String::new();
    let valid = observer.accepted_count() - expected.values().sum::<usize>();
    expected.insert(
        r#"observer_events_total{source="bot",event_kind="ok",ok="true"}"#.to_owned(),
        valid,
    );
    wait_until("every event is counted in its own series", async || {
        metrics = observer.process.get("/metrics").await.text;
        let series: BTreeSet<_> = metrics.split('\n').collect();
        expected.iter().all(|(name, count)| series.contains(format!("{name} {count}").as_str()))
    })
    .await;
    let counted = metrics
        .split('\n')
        .filter(|line| line.starts_with("observer_events_total{") && !line.ends_with(" 0"));
    assert_eq!(counted.count(), expected.len(), "no other series exists: {metrics}");
    assert_promtool_accepts(&metrics);
    observer.finish().await;
}

/// Returns the number of sources, which `OBSERVER_TEST_SOURCES` overrides.
fn source_count() -> usize {
    std::env::var("OBSERVER_TEST_SOURCES").map_or(1_000_000, |text| text.parse().unwrap())
}

#[tokio::test]
async fn million_sources_are_archived_and_make_fifty_series() {
    const BATCH: usize = 10_000;
    let (sources, dir) = (source_count(), tempfile::tempdir().unwrap());
    let config = format!(
        "{DEFAULTS}[sinks.archive]\ntype = \"file\"\n\
         path = \"observer-data/events/{{date}}.jsonl\"\n\
         [sinks.prometheus]\ntype = \"prometheus\"\n"
    );
    let mut observer = MonitoredObserver::start(dir.path(), &config).await;
    for first in (0..sources).step_by(BATCH) {
        let numbers = first..sources.min(first + BATCH);
        let lines: Vec<_> =
            numbers.clone().map(|number| event(&format!("source-{number}"), "ok")).collect();
        let mut connection = observer.connect().await;
        connection.send(post("/v1/events", "", lines.join("\n"))).await;
        let response = connection.response().await;
        assert_eq!(
            (response.status, &response.json()["accepted"]),
            (200, &numbers.len().into()),
            "{}",
            response.text
        );
        lines.into_iter().for_each(|line| observer.expect_in_archive(line));
        if first / BATCH % 10 == 9 {
            observer.assert_healthy(&format!("{} sources", numbers.end)).await;
        }
    }
    observer.process.wait_until_caught_up().await;
    let accepted = observer.accepted_count() as f64;
    let counted = |metrics: &BTreeMap<String, f64>, start: &str| {
        metrics
            .iter()
            .filter(|(name, _)| name.starts_with(start))
            .map(|(_, count)| count)
            .sum::<f64>()
    };
    let metrics = observer
        .process
        .wait_for_metrics(|metrics| counted(metrics, "observer_events_total{") >= accepted)
        .await;
    assert_eq!(counted(&metrics, "observer_events_total{"), accepted);
    // Half of the hundred series are for the first sources. `bot`, the source of the health checks,
    // was the first one.
    let others = sources as f64 - 49.0;
    assert_eq!(
        metrics[r#"observer_events_total{source="other",event_kind="ok",ok="true"}"#],
        others
    );
    assert_eq!(metrics[r#"observer_label_overflow_total{label="source"}"#], others);
    let text = observer.process.get("/metrics").await.text;
    assert!(text.len() < 1 << 20, "{} bytes", text.len());
    assert_promtool_accepts(&text);
    observer.finish().await;
}

#[tokio::test]
async fn burst_of_junk_names_hides_no_name_and_is_logged_once_for_each_label() {
    const JUNK: usize = 10_000;
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    let named = |name: &str| {
        format!(
            r#"{{"source":"{name}","event_kind":"{name}","ok":true,"staffer_id":"{name}","turns":1}}"#
        )
    };
    let post_all = async |names: Vec<String>| {
        let lines: Vec<_> = names.iter().map(|name| named(name)).collect();
        let request = observer.client().post(format!("{}/v1/events", observer.url));
        let request = request.header("content-type", "application/x-ndjson").body(lines.join("\n"));
        let response = observer.send(request).await;
        assert_eq!(response.json()["accepted"], names.len(), "{}", response.text);
    };
    let real = || (0..20).map(|n| format!("real-{n}")).collect::<Vec<_>>();
    post_all(real()).await;
    post_all((0..JUNK).map(|n| format!("junk-{n}")).collect()).await;
    post_all(real()).await;

    let of = |name: &str| {
        [
            format!(r#"observer_events_total{{source="{name}",event_kind="{name}",ok="true"}}"#),
            format!(r#"observer_model_calls_total{{source="{name}",model="{name}"}}"#),
        ]
    };
    let last = &of("real-19")[1];
    let metrics = observer.wait_for_metrics(|metrics| metrics.get(last) == Some(&2.0)).await;
    for series in real().iter().flat_map(|name| of(name)) {
        assert_eq!(metrics[&series], 2.0, "{series}");
    }
    let junk =
        metrics.keys().filter(|name| name.starts_with("observer_events_total{source=\"junk"));
    assert_eq!(junk.count(), 2 * 30, "half of the hundred names, for each value of ok");
    for label in ["source", "event_kind", "model"] {
        let overflow = metrics[&format!(r#"observer_label_overflow_total{{label="{label}"}}"#)];
        assert_eq!(overflow, JUNK as f64 - 30.0, "{label}");
    }
    let text = observer.get("/metrics").await.text;
    assert!(text.len() < 1 << 20, "{} bytes", text.len());
    assert_promtool_accepts(&text);

    let (status, log) = observer.terminate();
    assert!(status.success());
    let warnings = log.iter().filter_map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        (line["level"] == "WARN").then(|| line["label"].as_str().unwrap_or_default().to_owned())
    });
    let mut warnings: Vec<_> = warnings.collect();
    warnings.sort_unstable();
    assert_eq!(warnings, ["event_kind", "model", "source"]);
}
