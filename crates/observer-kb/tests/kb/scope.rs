//! Answers to callers that may read some sources.

use observer_core::query::{
    DiffRequest, EventRequest, EventStore, EventsRequest, ModelsRequest, ProblemRequest,
    ProblemsRequest, QueryError, Scope, SummaryRequest, UsageBy, UsageRequest,
};

use super::support::{
    DAY, Kb, START, events_request, outcome, problems_request, time, usage_request, with,
};

fn of(source: &str, event: &str) -> String {
    event.replace("\"source\":\"bot\"", &format!("\"source\":\"{source}\""))
}

/// One problem of both sources, one of each.
async fn shared() -> Kb {
    let mut kb = Kb::new();
    let cost = r#""cost_usd":2"#;
    kb.send(&[
        with(&outcome("both", "a", false), cost),
        of("ci", &with(&outcome("both", "b", true), cost)),
        with(&outcome("mine", "a", true), cost),
        of("ci", &with(&outcome("theirs", "b", false), cost)),
    ])
    .await;
    kb.at(START + DAY);
    kb
}

#[tokio::test]
async fn answers_are_computed_from_allowed_sources_alone() {
    let kb = shared().await;
    let scope = Scope::of(["bot"]);

    let events = kb.store.events(EventsRequest { scope: scope.clone(), ..events_request(9) }).await;
    assert_eq!(events.unwrap().events.len(), 2);

    let request = ProblemsRequest { scope: scope.clone(), ..problems_request(9) };
    let problems = kb.store.problems(request).await.unwrap().problems;
    let listed: Vec<_> = problems.iter().map(|row| (row.sig_hash.as_str(), row.wasted)).collect();
    assert_eq!(listed, [("both", 2.0), ("mine", 0.0)]);

    let request = ProblemRequest {
        scope: scope.clone(),
        sig_hash: "both".into(),
        ..ProblemRequest::default()
    };
    let problem = kb.store.problem(request).await.unwrap();
    assert_eq!((problem.attempts, problem.solved, problem.models.len()), (1, 0, 1));
    assert_eq!(problem.solved_by, None);

    let usage = UsageRequest { scope: scope.clone(), ..usage_request(UsageBy::Source) };
    let usage = kb.store.usage(usage).await.unwrap();
    assert_eq!((usage.rows.len(), usage.total.cost), (1, 4.0));

    let models = ModelsRequest { scope: scope.clone(), ..ModelsRequest::default() };
    let models = kb.store.models(models).await.unwrap().models;
    assert_eq!(models.len(), 1);
    assert_eq!((models[0].problems, models[0].comparable_on), (2, 0));

    let diff = DiffRequest {
        scope: scope.clone(),
        since: time(START + DAY / 2),
        source: None,
        model: None,
        changes: Vec::new(),
        limit: 9,
    };
    let diff = kb.store.diff(diff).await.unwrap();
    let changed: Vec<_> = diff.entries.iter().map(|entry| entry.sig_hash.as_str()).collect();
    assert_eq!(changed, ["both", "mine"]);
    assert!(diff.entries.iter().all(|entry| entry.before.attempts == 1));
}

#[tokio::test]
async fn what_other_sources_sent_does_not_exist() {
    let kb = shared().await;
    let scope = Scope::of(["bot"]);
    let request = ProblemRequest {
        scope: scope.clone(),
        sig_hash: "theirs".into(),
        ..ProblemRequest::default()
    };
    let error = kb.store.problem(request).await.unwrap_err();
    assert!(matches!(error, QueryError::NotFound { .. }), "{error:?}");

    let all = kb.store.events(events_request(9)).await.unwrap().events;
    let theirs = all.iter().find(|stored| stored.envelope.event.source() == "ci").unwrap();
    let request = |scope: &Scope| EventRequest {
        scope: scope.clone(),
        id: theirs.envelope.id.to_string(),
        source: None,
    };
    assert!(kb.store.event(request(&Scope::all())).await.is_ok());
    kb.store.event(request(&scope)).await.unwrap_err();

    let request = SummaryRequest {
        scope: scope.clone(),
        sig_hash: "theirs".into(),
        max_chars: 1_000,
        ..SummaryRequest::default()
    };
    let summary = kb.store.summary(request).await.unwrap();
    assert_eq!(summary.text, "No attempts recorded. First try.");
    let similar = kb.store.similar_signatures(scope, "their".into(), 5).await.unwrap();
    assert_eq!(similar, [""; 0]);
    let similar = kb.store.similar_signatures(Scope::all(), "theirx".into(), 5).await.unwrap();
    assert_eq!(similar, ["theirs"]);
}

#[tokio::test]
async fn scope_without_a_known_source_is_empty() {
    let kb = shared().await;
    let scope = Scope::of(["unknown"]);
    let usage = UsageRequest { scope: scope.clone(), ..usage_request(UsageBy::Day) };
    assert_eq!(kb.store.usage(usage).await.unwrap().total.attempts, 0);
    let request = ProblemsRequest { scope: scope.clone(), ..problems_request(9) };
    assert_eq!(kb.store.problems(request).await.unwrap().problems, []);
    let models = ModelsRequest { scope, ..ModelsRequest::default() };
    assert_eq!(kb.store.models(models).await.unwrap().models, []);
}

/// Returns the bytes of a cursor.
fn bytes_of(cursor: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(cursor).unwrap()
}

#[tokio::test]
async fn pages_of_a_scope_are_complete_and_their_cursors_hide_the_others() {
    let mut kb = Kb::new();
    let mut own = Vec::new();
    for number in 0..6 {
        let signature = format!("p{number}");
        own.extend(kb.send(&[outcome(&signature, "m", false)]).await);
        // Events and problems of others, more each time.
        let others = |n| outcome(&format!("x{number}-{n}"), "m", false).replace("bot", "other");
        kb.send(&(0..=number).map(others).collect::<Vec<_>>()).await;
    }
    own.reverse();
    let scope = Scope::of(["bot"]);
    let mut request = EventsRequest { scope: scope.clone(), ..events_request(2) };
    let (mut found, mut cursors) = (Vec::new(), Vec::new());
    loop {
        let page = kb.store.events(request.clone()).await.unwrap();
        found.extend(page.events.iter().map(|stored| stored.envelope.id));
        let Some(cursor) = page.cursor else { break };
        cursors.push(bytes_of(&cursor));
        request.cursor = Some(cursor);
    }
    assert_eq!(found, own);
    let ids = [own[1], own[3]].map(|id| [&[4][..], &[0; 8], id.as_bytes()].concat());
    assert_eq!(cursors, ids);
    // Neither kind of cursor serves the other callers.
    let all = EventsRequest { scope: Scope::all(), ..request.clone() };
    let error = kb.store.events(all).await.unwrap_err();
    assert!(error.to_string().starts_with("`cursor` is not one"), "{error}");
    let foreign = EventsRequest { scope: Scope::of(["other"]), ..request };
    assert_eq!(kb.store.events(foreign).await.unwrap().events, []);

    let mut request = ProblemsRequest { scope, ..problems_request(2) };
    let mut found = Vec::new();
    loop {
        let page = kb.store.problems(request.clone()).await.unwrap();
        found.extend(page.problems.into_iter().map(|row| row.sig_hash));
        let Some(cursor) = page.cursor else { break };
        let last = found.last().unwrap();
        assert!(bytes_of(&cursor).ends_with(last.as_bytes()), "{cursor}");
        request.cursor = Some(cursor);
    }
    found.sort();
    assert_eq!(found, ["p0", "p1", "p2", "p3", "p4", "p5"]);
}

#[tokio::test]
async fn attempts_of_other_sources_hide_none_of_the_own() {
    let mut kb = Kb::new();
    let own = outcome("both", "m", true);
    let models = (0..300).map(|n| of("ci", &outcome("both", &format!("model-{n}"), false)));
    kb.send(&models.chain([own.clone()]).collect::<Vec<_>>()).await;
    let scope = Scope::of(["bot"]);
    let request = || ProblemRequest {
        scope: scope.clone(),
        sig_hash: "both".into(),
        ..ProblemRequest::default()
    };
    let problem = kb.store.problem(request()).await.unwrap();
    assert_eq!((problem.attempts, problem.solved), (1, 1), "beside 300 models");
    let listed = ProblemsRequest { scope: scope.clone(), ..problems_request(9) };
    assert_eq!(kb.store.problems(listed).await.unwrap().problems.len(), 1);

    let others = (0..2_100).map(|_| of("ci", &outcome("both", "x", false)));
    kb.send(&others.collect::<Vec<_>>()).await;
    let problem = kb.store.problem(request()).await.unwrap();
    assert_eq!((problem.attempts, problem.solved), (1, 1), "beside 2,100 newer attempts");
    assert_eq!(problem.models[0].model.as_deref(), Some("m"));
}

#[tokio::test]
async fn other_sources_hide_none_of_the_own_attempts() {
    let mut kb = Kb::new();
    let others = (0..1_100).map(|n| of(&format!("ci-{n}"), &outcome("both", "x", false)));
    kb.send(&others.chain([outcome("both", "m", true)]).collect::<Vec<_>>()).await;
    let scope = Scope::of(["bot"]);
    let request = ProblemRequest {
        scope: scope.clone(),
        sig_hash: "both".into(),
        ..ProblemRequest::default()
    };
    let problem = kb.store.problem(request).await.unwrap();
    assert_eq!((problem.attempts, problem.solved), (1, 1));
    let listed = ProblemsRequest { scope: scope.clone(), ..problems_request(9) };
    let listed = kb.store.problems(listed).await.unwrap().problems;
    assert_eq!(listed.iter().map(|row| row.attempts).collect::<Vec<_>>(), [1]);
    let models = ModelsRequest { scope, ..ModelsRequest::default() };
    let error = kb.store.models(models).await.unwrap_err().to_string();
    assert!(error.contains("count \"bot\" as \"other\""), "not silently none: {error}");
}

#[tokio::test]
async fn models_that_are_counted_together_are_not_recommended() {
    let mut kb = Kb::new();
    let models = (0..300).map(|n| outcome("p", &format!("model-{n}"), n > 280));
    kb.send(&models.collect::<Vec<_>>()).await;
    let request = ProblemRequest { sig_hash: "p".into(), ..ProblemRequest::default() };
    let problem = kb.store.problem(request).await.unwrap();
    assert_eq!((problem.attempts, problem.solved), (300, 19));
    let together = problem.models.iter().find(|row| row.model.as_deref() == Some("other"));
    assert_eq!(together.map(|row| row.solved), Some(19));
    assert_eq!(problem.next.unwrap().model, None);
}

#[tokio::test]
async fn labels_of_other_sources_can_not_be_told_from_unknown_ones() {
    let mut kb = Kb::new();
    let labelled = |n: usize| {
        let label = format!(r#""labels":{{"label-{n}":"x"}}"#);
        of("ci", &with(&outcome("p", "m", true), &label))
    };
    let ask = async |kb: &Kb, label: &str| {
        let by = UsageBy::Label(label.to_owned());
        let request = UsageRequest { scope: Scope::of(["bot"]), ..usage_request(by) };
        let answer = kb.store.usage(request).await;
        answer.map(|usage| usage.rows).map_err(|error| error.to_string().replace(label, "LABEL"))
    };
    for labels in [1..2, 2..70] {
        kb.send(&labels.map(labelled).chain([outcome("q", "m", true)]).collect::<Vec<_>>()).await;
        assert_eq!(ask(&kb, "label-1").await, ask(&kb, "unknown").await);
    }
    assert!(ask(&kb, "unknown").await.is_err(), "more labels than are counted");
}
