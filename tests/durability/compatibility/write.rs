//! Writer of a fixture, which runs the current program.

use std::fs;
use std::path::Path;
use std::process::Command;

use observer_testing::http::Reply;
use reqwest::Method;

use super::fixture::{
    Acknowledged, DATA, Destinations, Expected, Head, METRICS, lasting, send, wait_for_sinks,
};
use crate::support::{OBSERVER, Observer, agent_runs, event_of, wait_until};

/// Event that differs from the agent runs.
struct Unusual {
    body: &'static str,
    key: Option<&'static str>,
    has_identity: bool,
}

const fn unusual(body: &'static str, has_identity: bool) -> Unusual {
    Unusual { body, key: None, has_identity }
}

const UNUSUAL: [Unusual; 9] = [
    // An unknown field, and a number that no type can represent.
    unusual(
        r#"{"source":"job","event_kind":"ok","ok":true,"zone":"eu","extra":{"n":[1.50,1e999]}}"#,
        false,
    ),
    // An id that is a UUID, one that is not, and one of an envelope.
    unusual(
        concat!(
            r#"{"source":"job","event_kind":"ok","ok":true,"#,
            r#""id":"01890a5d-ac96-774b-bcce-b302099a8057"}"#
        ),
        true,
    ),
    unusual(r#"{"source":"job","event_kind":"ok","ok":true,"id":"nightly/17"}"#, true),
    unusual(
        concat!(
            r#"{"id":"6f1f4f0c-5a0e-5b7e-9d5d-0f6f0a4a9a11","seq":7,"#,
            r#""received_at":"2026-01-01T00:00:00Z","#,
            r#""event":{"source":"edge","event_kind":"ok","ok":true}}"#,
        ),
        true,
    ),
    Unusual {
        body: r#"{"source":"job","event_kind":"timeout","ok":false,"duration_ms":0.25}"#,
        key: Some("retry-of-17"),
        has_identity: true,
    },
    // Characters beyond ASCII, escaped or not, also in a source, which becomes a file name.
    unusual(
        concat!(
            r#"{"source":"bücher/β \u00fc","event_kind":"geprüft ✓","ok":true,"cycle_id":"日本","#,
            r#""extra":{"😀":"\ud83d\ude00"}}"#,
        ),
        true,
    ),
    // White space, which is preserved.
    unusual(r#"{ "source" : "job", "event_kind":"late", "ok": false , "sig_hash":null }"#, false),
    unusual(
        concat!(
            r#"{"source":"job","event_kind":"ok","ok":true,"cycle_id":"c-1","#,
            r#""timestamp":"2026-01-01T01:00:00+01:00","#,
            r#""traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}"#,
        ),
        true,
    ),
    unusual(
        concat!(
            r#"{"source":"bot","event_kind":"ok","ok":true,"cycle_id":"c-2","sig_hash":"","#,
            r#""staffer_id":"gpt-oss:120b","turns":2,"#,
            r#""usage":{"prompt_tokens":10,"completion_tokens":3}}"#,
        ),
        true,
    ),
];

/// Part of the events that the destination of the sink `rejecting` rejects.
const REJECTED: &str = r#""repo":"psf/requests""#;

/// Writes a data folder with its expected contents to `dir`.
pub(super) async fn write(dir: &Path, config: &Path) {
    let config = fs::read_to_string(config).unwrap();
    fs::create_dir_all(dir).unwrap();
    let _ = fs::remove_dir_all(dir.join(DATA));
    let destinations = Destinations::start();
    let reason = "field \"repo\": unknown repository – größer als \u{1F980}";
    destinations.rejecting.set_default_reply(Reply::reject_items_containing(REJECTED, reason));
    let environment = destinations.environment();
    let environment: Vec<_> = environment.iter().map(|(name, url)| (*name, &**url)).collect();

    // A sink that is removed from the configuration leaves its position behind.
    let before = config.replace("[sinks.replaying]", "[sinks.retired]");
    assert_ne!(before, config);
    let observer = Observer::start_with(dir, &before, &[], &environment);
    let runs = agent_runs();
    let (singles, rest) = runs.split_at(50);
    let (batch, rest) = rest.split_at(20);
    let mut events = Vec::new();
    for run in singles {
        events.push(post(&observer, run, None, true).await);
    }
    for event in &UNUSUAL {
        events.push(post(&observer, event.body, event.key, event.has_identity).await);
    }
    // Events with an identity are posted again, and are duplicates.
    for event in events.iter().filter(|event| event.has_identity).take(60) {
        let response = send(&observer, event.body(), event.key.as_deref()).await;
        assert_eq!(
            (&response["status"], &response["id"]),
            (&"duplicate".into(), &event.id.clone().into())
        );
    }
    let url = format!("{}/v1/events", observer.url);
    let response = observer.send(observer.client().post(url).body(batch.join("\n"))).await;
    assert_eq!((response.status, &response.json()["accepted"]), (200, &batch.len().into()));
    events.extend(batch.iter().map(|run| acknowledged(run, None, true, "")));
    observer.wait_until_caught_up().await;
    let retired = destinations.replaying.accepted_items().len();

    destinations.behind.stop().await;
    observer.write_config(&config);
    let reloaded = observer.reload().await;
    assert_eq!(reloaded.status, 200, "{}", reloaded.text);
    for run in rest {
        events.push(post(&observer, run, None, true).await);
    }
    let last = u64::try_from(events.len()).unwrap();
    let accepted = wait_for_sinks(&observer, |sink| match sink["name"].as_str().unwrap() {
        "behind" => sink["pending"] == rest.len(),
        "retired" => true,
        _ => sink["pending"] == 0,
    });
    accepted.await;
    let live = destinations.replaying.accepted_items().len();

    // The destination fails after the first batches of the replay.
    for _ in 0..3 {
        destinations.replaying.enqueue(Reply::accept());
    }
    destinations.replaying.set_default_reply(Reply::status(503));
    let replay = r#"{"since":"2026-01-01T00:00:00Z","filter":{"ok":true}}"#;
    let begun = observer.administer(Method::POST, "/v1/sinks/replaying/replay", replay).await;
    assert_eq!(begun.status, 202, "{}", begun.text);
    wait_for_sinks(&observer, |sink| {
        sink["name"] != "replaying" || sink["replay"]["delivered"] == 15
    })
    .await;

    // Metrics of events count what the sink has saved, which happens once a second.
    wait_until("the metrics show every event", async || {
        let text = observer.get("/metrics").await.text;
        let counts = text.lines().filter(|line| line.starts_with("observer_events_total{"));
        let sum: u64 =
            counts.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum();
        sum == last
    })
    .await;
    let metrics = observer.get("/metrics").await.text;
    let status = observer.get("/v1/sinks").await.json();
    let dead_letters = observer.get("/v1/sinks/rejecting/dead-letters").await.json();
    let (exit_status, log) = observer.terminate();
    assert!(exit_status.success(), "{log:#?}");

    let output =
        Command::new(OBSERVER).args(["journal", "export"]).current_dir(dir).output().unwrap();
    let exported = String::from_utf8(output.stdout).unwrap();
    assert_eq!(exported.lines().count(), events.len());
    for (event, line) in events.iter_mut().zip(exported.lines()) {
        assert_eq!(event_of(line), event.event);
        let Head { id, seq, received_at } = Head::of(line);
        assert!(event.id.is_empty() || event.id == id, "{line}");
        (event.id, event.seq, event.received_at) = (id, seq, received_at);
    }
    let Destinations { rejecting, behind, replaying } = &destinations;
    let seqs = |items: &[String]| items.iter().map(|item| Head::of(item).seq).collect::<Vec<_>>();
    let replaying = replaying.accepted_items();
    let accepted = [
        ("rejecting", seqs(&rejecting.accepted_items())),
        ("behind", seqs(&behind.accepted_items())),
        ("retired", seqs(&replaying[..retired])),
        ("replaying", seqs(&replaying[retired..live])),
        ("replaying, replay", seqs(&replaying[live..])),
    ];
    let accepted = accepted.map(|(name, seqs)| (name.to_owned(), seqs)).into();
    let expected = Expected {
        head: status["head"].as_str().unwrap().to_owned(),
        sinks: status["sinks"].as_array().unwrap().iter().map(lasting).collect(),
        accepted,
        dead_letters: dead_letters["dead_letters"].as_array().unwrap().clone(),
        events,
    };
    expected.write(dir);
    fs::write(dir.join(METRICS), without_process_metrics(&metrics)).unwrap();
}

/// Returns metrics without those of the process, which depend on the machine.
fn without_process_metrics(metrics: &str) -> String {
    let is_kept = |line: &&str| !line.trim_start_matches(['#', ' ']).contains("process_");
    metrics.lines().filter(is_kept).map(|line| format!("{line}\n")).collect()
}

async fn post(
    observer: &Observer,
    body: &str,
    key: Option<&str>,
    has_identity: bool,
) -> Acknowledged {
    let response = send(observer, body, key).await;
    assert_eq!(response["status"], "accepted", "{body}");
    acknowledged(body, key, has_identity, response["id"].as_str().unwrap())
}

/// Returns an acknowledged event without its sequence number and time, which are set later.
fn acknowledged(body: &str, key: Option<&str>, has_identity: bool, id: &str) -> Acknowledged {
    let envelope = body.starts_with(r#"{"id":"#).then(|| body.to_owned());
    Acknowledged {
        seq: 0,
        id: id.to_owned(),
        received_at: String::new(),
        event: if envelope.is_some() { event_of(body) } else { body }.to_owned(),
        envelope,
        key: key.map(str::to_owned),
        has_identity,
    }
}
