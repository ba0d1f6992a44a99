//! Identities by principal, through the pipeline.

use observer_core::Uuid;

use super::*;
use crate::{DedupWindow, IngestOptions, JournalOptions, Principal};

fn parse(line: &str) -> Submission {
    Submission::parse(line.to_owned()).unwrap()
}

fn with_max_keys(max_keys: usize) -> IngestOptions {
    let dedup = DedupWindow::new(Duration::from_secs(3600), max_keys);
    IngestOptions { dedup, ..IngestOptions::default() }
}

/// Ingests events of a principal, and returns their statuses.
async fn send(pipeline: &Pipeline, principal: &Principal, lines: &[String]) -> Vec<AckStatus> {
    let mut statuses = Vec::new();
    for batch in lines.chunks(500) {
        let batch = batch.iter().map(|line| parse(line)).collect();
        let results = pipeline.ingest_batch_as(principal, batch).await;
        statuses.extend(results.into_iter().map(|result| result.unwrap().status));
    }
    statuses
}

#[tokio::test(start_paused = true)]
async fn every_attempt_in_a_cycle_is_delivered() {
    let sink = Scripted::new();
    let pipeline = over(&Memory::default()).sink(sink.spec("sink")).start().await.unwrap();
    let attempts = [
        concat!(
            r#"{"source":"bot","cycle_id":"c3","sig_hash":"s3","event_kind":"tests_failed","#,
            r#""ok":false,"staffer_id":"m1","turns":5}"#,
        ),
        concat!(
            r#"{"source":"bot","cycle_id":"c3","sig_hash":"s3","event_kind":"tests_failed","#,
            r#""ok":false,"staffer_id":"m2","turns":40,"usage":{"cost_usd":3.2}}"#,
        ),
        // Two models solve the problem in the same cycle, and a report of usage follows the other.
        concat!(
            r#"{"source":"bot","cycle_id":"c3","sig_hash":"s3","event_kind":"ok","ok":true,"#,
            r#""staffer_id":"m3","usage":{"prompt_tokens":10}}"#,
        ),
        concat!(
            r#"{"source":"bot","cycle_id":"c3","sig_hash":"s3","event_kind":"ok","ok":true,"#,
            r#""staffer_id":"m3","usage":{"prompt_tokens":10,"completion_tokens":4}}"#,
        ),
    ];
    let lines = attempts.map(str::to_owned);
    let principal = Principal::anonymous();
    assert_eq!(send(&pipeline, &principal, &lines).await, [AckStatus::Accepted; 4]);
    assert_eq!(send(&pipeline, &principal, &lines).await, [AckStatus::Duplicate; 4]);
    assert_eq!(sink.until_accepted(4).await, range(1..=4));
}

#[tokio::test(start_paused = true)]
async fn principal_hides_no_event_of_another() {
    let pipeline = over(&Memory::default()).start().await.unwrap();
    pipeline.add_principals(["a", "b"]);
    let [a, b] = ["a", "b"].map(Principal::token);
    let event = r#"{"source":"s","event_kind":"ok","ok":true,"cycle_id":"c"}"#;
    let with_id = |id: &str| event.replace(r#""cycle_id""#, &format!(r#""id":"{id}","cycle_id""#));
    let uuid = "01890a5d-ac96-774b-bcce-b302099a8057";

    // The ids that the events of `b` get, from an observer that only `b` uses.
    let alone = over(&Memory::default()).start().await.unwrap();
    let mut of_b = Vec::new();
    for line in [event.to_owned(), with_id("7"), with_id(uuid)] {
        of_b.push(alone.ingest_as(&b, parse(&line), None).await.unwrap().id);
    }
    of_b.push(alone.ingest_as(&b, parse(event), Some("k")).await.unwrap().id);

    let other = event.replace("\"c\"", "\"other\"");
    pipeline.ingest_as(&a, parse(&other), Some("k")).await.unwrap();
    for line in [event.to_owned(), with_id("7"), with_id(uuid)] {
        pipeline.ingest_as(&a, parse(&line), None).await.unwrap();
    }
    for id in of_b {
        let taken = pipeline.ingest_as(&a, parse(&with_id(&id.to_string())), None).await.unwrap();
        assert_ne!(taken.id, id);
        let envelope = format!(r#"{{"id":"{id}","event":{other}}}"#);
        let taken = pipeline.ingest_as(&a, parse(&envelope), None).await.unwrap();
        let fields: Vec<_> = taken.warnings.iter().map(|warning| warning.field).collect();
        assert!(taken.id != id && fields.contains(&"id"), "{taken:?}");
    }
    for (line, key) in
        [(event.to_owned(), None), (with_id("7"), None), (with_id(uuid), None), (other, Some("k"))]
    {
        let ack = pipeline.ingest_as(&b, parse(&line), key).await.unwrap();
        assert_eq!((ack.status, &*ack.warnings), (AckStatus::Accepted, &[][..]), "{line}");
        let ack = pipeline.ingest_as(&b, parse(&line), key).await.unwrap();
        assert_eq!((ack.status, &*ack.warnings), (AckStatus::Duplicate, &[][..]), "{line}");
    }
    let counts = pipeline.status().ingest.principals;
    let of = |label: &str| (counts[label].duplicates, counts[label].changed);
    // For each id of `b`, `a` sent it first in the event and then in an envelope.
    assert_eq!((of("a"), of("b"), of("anonymous")), ((4, 4), (4, 0), (0, 0)));
}

#[tokio::test(start_paused = true)]
async fn envelope_is_adopted_from_a_caller_that_may_relay() {
    let pipeline = over(&Memory::default()).start().await.unwrap();
    let id = Uuid::from_u128(7);
    let line = format!(r#"{{"id":"{id}","event":{{"source":"s","event_kind":"ok","ok":true}}}}"#);
    let relay = Principal::token("edge").with_relay(true);
    let ack = pipeline.ingest_as(&relay, parse(&line), None).await.unwrap();
    assert_eq!((ack.id, ack.status, &*ack.warnings), (id, AckStatus::Accepted, &[][..]));
    let ack = pipeline.ingest(parse(&line)).await.unwrap();
    assert_eq!((ack.id, ack.status), (id, AckStatus::Duplicate));
    let observer = r#"{"source":"observer","event_kind":"ok","ok":true}"#;
    pipeline.ingest_as(&relay, parse(observer), None).await.unwrap();
    let error = pipeline.ingest_as(&Principal::token("ci"), parse(observer), None).await;
    assert!(matches!(error, Err(IngestError::ReservedSource)), "{error:?}");
    assert_eq!(pipeline.status().ingest.rejected[&RejectReason::Invalid], 1);
}

#[tokio::test(start_paused = true)]
async fn phases_of_a_cycle_are_events_of_their_own() {
    let pipeline = over(&Memory::default()).start().await.unwrap();
    let phase = |kind: &str, turns: u32, id: &str| {
        format!(r#"{{"source":"s","event_kind":"{kind}","ok":true,"turns":{turns}{id}}}"#)
    };
    let id = r#","id":"7""#;
    let lines = [
        phase("started", 0, id),
        phase("heartbeat", 0, id),
        phase("heartbeat", 1, id),
        phase("ok", 1, id),
    ];
    let ci = Principal::token("ci");
    assert_eq!(send(&pipeline, &ci, &lines).await, [AckStatus::Accepted; 4]);
    assert_eq!(send(&pipeline, &ci, &lines).await, [AckStatus::Duplicate; 4]);
    let anonymous = [phase("heartbeat", 1, ""), phase("heartbeat", 1, r#","cycle_id":"c""#)];
    for _ in 0..2 {
        assert_eq!(send(&pipeline, &ci, &anonymous).await, [AckStatus::Accepted; 2]);
    }
}

/// Posts events of `b`, and many more of `a`. Returns the statuses of the events of `b` afterwards,
/// and once more after a restart.
async fn flood(b_sends: u64, a_sends: u64) -> [Vec<AckStatus>; 2] {
    let lines = |source: &str, count: u64| -> Vec<String> {
        let line = |number| {
            format!(r#"{{"source":"{source}","cycle_id":"{number}","event_kind":"ok","ok":true}}"#)
        };
        (0..count).map(line).collect()
    };
    let memory = Memory::default();
    let [a, b] = ["a", "b"].map(Principal::token);
    let start = || {
        let journal = JournalOptions::new("journal").file_system(memory.clone());
        Pipeline::builder().journal(journal).ingest(with_max_keys(1000)).start()
    };
    let pipeline = start().await.unwrap();
    send(&pipeline, &b, &lines("b", b_sends)).await;
    send(&pipeline, &a, &lines("a", a_sends)).await;
    assert_eq!(pipeline.status().ingest.remembered, 1000);
    let before = send(&pipeline, &b, &lines("b", b_sends)).await;
    pipeline.shutdown(DEADLINE).await;
    drop(pipeline);
    let pipeline = start().await.unwrap();
    assert_eq!(pipeline.status().ingest.remembered, 1000);
    [before, send(&pipeline, &b, &lines("b", b_sends)).await]
}

#[tokio::test]
async fn flood_of_one_principal_does_not_hide_the_retries_of_another() {
    for statuses in flood(500, 3000).await {
        assert_eq!(statuses, [AckStatus::Duplicate; 500]);
    }
    // Ten times as many as are read at the start.
    let [before, _] = flood(100, 40_000).await;
    assert_eq!(before, [AckStatus::Duplicate; 100]);
}

#[tokio::test(start_paused = true)]
async fn retry_that_spans_the_upgrade_is_a_duplicate() {
    let memory = Memory::default();
    let pipeline = over(&memory).start().await.unwrap();
    let event = r#"{"source":"s","event_kind":"ok","ok":true,"cycle_id":"c"}"#;
    let with_id = |id: &str| event.replace(r#""cycle_id""#, &format!(r#""id":"{id}","cycle_id""#));
    let uuid = "01890a5d-ac96-774b-bcce-b302099a8057";
    let envelope = format!(r#"{{"id":"{}","event":{event}}}"#, Uuid::from_u128(7));
    let sent =
        [(with_id("7"), None), (with_id(uuid), None), (envelope, None), (event.into(), Some("k"))];
    let mut ids = Vec::new();
    for (line, key) in &sent {
        let relay = Principal::anonymous().with_relay(true);
        ids.push(pipeline.ingest_as(&relay, parse(line), *key).await.unwrap().id);
    }
    pipeline.shutdown(DEADLINE).await;
    drop(pipeline);
    // The journal of a program without the file, which stored the same identities.
    memory.remove(std::path::Path::new("j/identities")).unwrap();
    let pipeline = over(&memory).start().await.unwrap();
    for ((line, key), id) in sent.iter().zip(&ids) {
        for principal in [Principal::token("ci"), Principal::anonymous().with_relay(true)] {
            let ack = pipeline.ingest_as(&principal, parse(line), *key).await.unwrap();
            assert_eq!((ack.id, ack.status), (*id, AckStatus::Duplicate), "{line} {principal:?}");
        }
    }
    let ci = Principal::token("ci");
    let reused = pipeline.ingest_as(&ci, parse(&sent[0].0), Some("k")).await;
    assert!(matches!(reused, Err(IngestError::KeyReused)), "{reused:?}");
    let ack = pipeline.ingest_as(&ci, parse(event), None).await.unwrap();
    assert_eq!(ack.status, AckStatus::Accepted);
    // Events from after the upgrade are found by their present identities alone.
    let anonymous = Principal::anonymous();
    pipeline.ingest_as(&anonymous, parse(&with_id("8")), None).await.unwrap();
    let ack = pipeline.ingest_as(&ci, parse(&with_id("8")), None).await.unwrap();
    assert_eq!(ack.status, AckStatus::Accepted);
}

#[tokio::test(start_paused = true)]
async fn trimmed_event_has_the_identity_of_the_whole_one() {
    let sink = Scripted::new();
    let pipeline = over(&Memory::default()).sink(sink.spec("sink")).start().await.unwrap();
    let trimmed = |text: &str, max: usize| {
        let text = text.repeat(1000);
        let event = format!(
            r#"{{"source":"s","event_kind":"ok","ok":true,"cycle_id":"c","extra":{{"log":"{text}"}}}}"#
        );
        let mut submission = parse(&event);
        assert!(submission.trim(max));
        submission
    };
    let first = pipeline.ingest(trimmed("a", 300)).await.unwrap();
    assert_eq!((first.warnings.len(), first.warnings[0].field), (1, "extra"));
    let again = pipeline.ingest(trimmed("a", 300)).await.unwrap();
    assert_eq!((again.status, again.id), (AckStatus::Duplicate, first.id));
    assert_eq!(again.warnings, first.warnings);
    let whole = pipeline.ingest(trimmed("a", 3_000)).await.unwrap();
    assert_eq!((whole.status, whole.id), (AckStatus::Duplicate, first.id));
    let other = pipeline.ingest(trimmed("b", 300)).await.unwrap();
    assert_eq!(other.status, AckStatus::Accepted);
    assert_eq!(sink.until_accepted(2).await, [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn configured_phases_are_phases_when_they_are_read_again() {
    use observer_core::{ParseOptions, Phases};

    let memory = Memory::default();
    let options = ParseOptions { phases: Phases::new(["queued"]), ..ParseOptions::default() };
    let send = async |pipeline: &Pipeline, kind: &str| {
        let line = format!(r#"{{"source":"s","event_kind":"{kind}","ok":false}}"#);
        pipeline.ingest(Submission::parse_with(line, &options).unwrap()).await.unwrap();
    };
    let start = async |sinks: &[&Arc<Scripted>]| {
        let spec = r#"{"filter":{"ok":false},"start":"earliest"}"#;
        let specs = sinks.iter().enumerate();
        let specs = specs.map(|(at, sink)| sink.spec_with(&format!("sink{at}"), spec));
        over(&memory).sinks(specs.collect::<Vec<_>>()).start().await.unwrap()
    };
    // From the tail cache, and from the journal after a restart.
    let [first, second, third] = [Scripted::new(), Scripted::new(), Scripted::new()];
    let pipeline = start(&[&first]).await;
    for kind in ["queued", "failed", "started"] {
        send(&pipeline, kind).await;
    }
    assert_eq!(first.until_accepted(2).await, [2, 3]);
    pipeline.shutdown(DEADLINE).await;
    drop(pipeline);
    let pipeline = start(&[&first, &second]).await;
    assert_eq!(second.until_accepted(2).await, [2, 3]);
    pipeline.shutdown(DEADLINE).await;
    drop(pipeline);

    // In a journal from before tags, the default phases decide.
    memory.remove(std::path::Path::new("j/identities")).unwrap();
    let pipeline = start(&[&first, &second, &third]).await;
    assert_eq!(third.until_accepted(2).await, [1, 2]);
    pipeline.shutdown(DEADLINE).await;
}

/// Event of the data folder of version 0.1, as its producer sent it.
#[derive(serde::Deserialize)]
struct Fixture {
    id: String,
    event: String,
    envelope: Option<String>,
    key: Option<String>,
    has_identity: bool,
}

#[tokio::test]
async fn keys_and_ids_in_the_journal_of_version_0_1_are_known_to_every_principal() {
    let fixture =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/v0.1");
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixture.join("observer-data/journal")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
        }
    }
    let events = std::fs::read_to_string(fixture.join("events.ndjson")).unwrap();
    let events: Vec<Fixture> =
        events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let dedup = DedupWindow::new(Duration::from_secs(100 * 365 * 24 * 3600), 10_000);
    let start = || {
        let ingest = IngestOptions { dedup, ..IngestOptions::default() };
        Pipeline::builder().journal(JournalOptions::new(dir.path())).ingest(ingest).start()
    };
    let relay = |principal: Principal| principal.with_relay(true);
    let principals = [
        Principal::token("ci"),
        relay(Principal::token("edge")),
        Principal::anonymous(),
        relay(Principal::anonymous()),
    ];
    // At the first start and at the next one.
    for _ in 0..2 {
        let pipeline = start().await.unwrap();
        let mut known = 0;
        for Fixture { id, event, envelope, key, has_identity } in &events {
            let sent = envelope.as_ref().unwrap_or(event);
            let has_id = parse(sent).id.is_some() || parse(sent).event.id().is_some();
            if !has_identity || !(key.is_some() || has_id) {
                continue;
            }
            known += 1;
            for principal in &principals {
                let ack = pipeline.ingest_as(principal, parse(sent), key.as_deref()).await.unwrap();
                assert_eq!(
                    (ack.id.to_string(), ack.status),
                    (id.clone(), AckStatus::Duplicate),
                    "{sent}"
                );
            }
        }
        assert_eq!((known, pipeline.status().ingest.accepted), (4, 0));
        pipeline.shutdown(DEADLINE).await;
    }
    let pipeline = start().await.unwrap();
    let with_cycle = events.iter().find(|event| event.event.contains("cycle_id")).unwrap();
    for status in [AckStatus::Accepted, AckStatus::Duplicate] {
        let ack = pipeline.ingest(parse(&with_cycle.event)).await.unwrap();
        assert!(ack.status == status && ack.id.to_string() != with_cycle.id);
    }
    pipeline.shutdown(DEADLINE).await;
}
