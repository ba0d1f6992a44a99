//! Tables of the commands.

use super::*;

fn view<V: View>(json: Value) -> V {
    serde_json::from_value(json).unwrap()
}

fn event(kind: &str, ok: bool) -> Value {
    json!({
        "id": ID,
        "seq": 1,
        "received_at": "2026-11-27T09:05:00.000000Z",
        "event": {
            "source": "bot",
            "event_kind": kind,
            "ok": ok,
            "staffer_id": "gpt-5",
            "sig_hash": "03f203cc93b17365",
            "turns": 83,
            "duration_ms": 49081.2,
            "extra": {"usage": {"prompt_tokens": 10, "cost_usd": 2.99}},
        },
    })
}

#[test]
fn events_are_listed_with_the_next_page() {
    let page: events::Page = view(json!({
        "events": [event("ok", true), event("bad\u{1b}[31m\nkind", false)],
        "cursor": "1-41",
    }));
    assert_snapshot!(page.to_text(Terminal::default(), &clock()), @"
    received  source  kind      model  sig_hash          turns  time   cost  id
    09:05     bot     ok        gpt-5  03f203cc93b17365     83  49 s  $2.99  00000000-0000-0000-0000-000000000007
    09:05     bot     bad kind  gpt-5  03f203cc93b17365     83  49 s  $2.99  00000000-0000-0000-0000-000000000007

    next page: --cursor 1-41
    ");
    assert_snapshot!(page.to_markdown(&clock()), @"
    | received | source | kind | model | sig_hash | turns | time | cost | id |
    | --- | --- | --- | --- | --- | ---: | ---: | ---: | --- |
    | 09:05 | bot | ok | gpt-5 | 03f203cc93b17365 | 83 | 49 s | $2.99 | 00000000-0000-0000-0000-000000000007 |
    | 09:05 | bot | `bad kind` | gpt-5 | 03f203cc93b17365 | 83 | 49 s | $2.99 | 00000000-0000-0000-0000-000000000007 |
    ");
    let narrow = page.to_text(Terminal { width: Some(60), has_color: false }, &clock());
    assert!(narrow.contains(ID) && narrow.contains("03f203cc93b17365"), "{narrow}");
    let none: events::Page = view(json!({"events": []}));
    assert!(none.is_empty());
    assert_eq!(none.to_text(TERMINAL, &clock()), "no events match\n");
}

#[test]
fn event_is_shown_with_its_standing() {
    let mut details = event("ok", true);
    details["position"] = "1-1".into();
    details["replaced_by"] = ID.into();
    details["sinks"] = json!([
        {"name": "archive", "state": "delivered"},
        {"name": "hook", "state": "unknown", "possible": ["delivered", "refused"]},
    ]);
    let details: events::Details = view(details);
    assert_snapshot!(details.to_text(Terminal::default(), &clock()), @r#"
    id        00000000-0000-0000-0000-000000000007
    received  2026-11-27T09:05:00Z, position 1-1
    corrected by 00000000-0000-0000-0000-000000000007

    sink     state
    archive  delivered
    hook     unknown: delivered or refused

    {"duration_ms":49081.2,"event_kind":"ok","extra":{"usage":{"cost_usd":2.99,"prompt_tokens":10}},"ok":true,"sig_hash":"03f203cc93b17365","source":"bot","staffer_id":"gpt-5","turns":83}
    "#);
}

fn problem() -> Value {
    json!({
        "sig_hash": "03f203cc93b17365",
        "state": "fixed?",
        "since": "2026-11-21T14:02:00Z",
        "first_seen": "2026-11-01T08:00:00Z",
        "last_seen": "2026-11-27T09:05:00Z",
        "attempts": 5,
        "solved": 1,
        "ci": [0.036, 0.624],
        "cost": 7.25,
        "wasted": 0.0,
        "unpriced": 1,
        "cost_per_solved": 7.25,
        "flip_rate": 0.25,
        "models": [
            {"model": "gpt-5", "attempts": 4, "solved": 0, "ci": [0.0, 0.49], "cost": 6.13,
             "p50_ms": 49081.2, "p95_ms": 61000.0, "last": "2026-11-20T10:00:00Z"},
            {"model": null, "attempts": 1, "solved": 1, "ci": [0.2, 1.0], "cost": 1.12,
             "p50_ms": null, "p95_ms": null, "last": "2026-11-21T14:02:00Z"},
        ],
        "failures": [
            {"kind": "tests_failed", "fingerprint": "f", "count": 3,
             "text": "AssertionError: \u{1b}]0;title\u{7}1 != 2", "last": "2026-11-20T10:00:00Z"},
            {"kind": "timeout", "fingerprint": "g", "count": 1, "text": null,
             "last": "2026-11-19T10:00:00Z"},
        ],
        "solved_by": {"model": "claude-sonnet-4-5", "event": ID, "at": "2026-11-21T14:02:00Z",
                      "cost": 1.12},
        "next": {"model": "claude-sonnet-4-5", "why": "solved 1 of 1 here", "comparable_on": 0},
        "hint_id": "h24ae017b4c",
    })
}

#[test]
fn history_shows_models_failures_and_what_to_try_next() {
    let found: Problem = view(problem());
    assert!(!found.is_empty());
    assert_snapshot!(found.to_text(TERMINAL, &clock()), @"
    03f203cc93b17365  fixed? since 21 Nov 14:02
    5 attempts, 1 solved, cost ≥ $7.25, per solved ≥ $7.25
    first 1 Nov 08:00, last 09:05, flip rate 25 %

    Models
    model  solved            ratio   cost   p50        p95  last
    gpt-5  0 of 4      0 % [0, 49]  $6.13  49 s  1 min 1 s  20 Nov 10:00
    –      1 of 1  100 % [20, 100]  $1.12     –          –  21 Nov 14:02

    Failures
    count  kind          last          first line of the error
        3  tests_failed  20 Nov 10:00  AssertionError: 1 != 2
        1  timeout       19 Nov 10:00  –

    solved by claude-sonnet-4-5 on 21 Nov 14:02 for $1.12, event 00000000-0000-0000-0000-000000000007
    next      claude-sonnet-4-5: solved 1 of 1 here
    hint      h24ae017b4c
    ");
    let mut unsolved = problem();
    unsolved["solved"] = 0.into();
    unsolved["wasted"] = 7.25.into();
    unsolved["cost_per_solved"] = Value::Null;
    unsolved["solved_by"] = Value::Null;
    unsolved["next"] = json!({"model": null, "why": "no evidence", "comparable_on": 0});
    unsolved["history"] = json!([{
        "event": ID, "at": "2026-11-20T10:00:00Z", "source": "bot", "kind": "tests_failed",
        "ok": false, "model": "gpt-5", "cost": 1.5, "duration_ms": 300.0,
    }]);
    unsolved["transitions"] = json!([
        {"state": "broken", "at": "2026-11-20T10:00:00Z", "event": ID},
        {"state": "fixed", "at": "2026-11-19T10:00:00Z"},
    ]);
    assert_snapshot!(view::<Problem>(unsolved).to_text(TERMINAL, &clock()), @"
    03f203cc93b17365  fixed? since 21 Nov 14:02
    5 attempts, 0 solved, cost ≥ $7.25, per solved ≥ $7.25
    first 1 Nov 08:00, last 09:05, wasted $7.25, flip rate 25 %

    Models
    model  solved            ratio   cost   p50        p95  last
    gpt-5  0 of 4      0 % [0, 49]  $6.13  49 s  1 min 1 s  20 Nov 10:00
    –      1 of 1  100 % [20, 100]  $1.12     –          –  21 Nov 14:02

    Failures
    count  kind          last          first line of the error
        3  tests_failed  20 Nov 10:00  AssertionError: 1 != 2
        1  timeout       19 Nov 10:00  –

    Attempts
    at            source  kind          model    time   cost  event
    20 Nov 10:00  bot     tests_failed  gpt-5  300 ms  $1.50  00000000-0000-0000-0000-000000000007

    States
    since         state   event
    20 Nov 10:00  broken  00000000-0000-0000-0000-000000000007
    19 Nov 10:00  fixed   –

    next      no evidence
    hint      h24ae017b4c
    ");
}

#[test]
fn problems_are_listed_by_state() {
    let page: ProblemPage = view(json!({
        "problems": [{
            "sig_hash": "03f203cc93b17365", "state": "broken", "since": "2026-11-21T14:02:00Z",
            "first_seen": "2026-11-01T08:00:00Z", "last_seen": "2026-11-24T09:00:00Z",
            "attempts": 1232, "solved": 0, "cost": 6973.2, "wasted": 6973.2, "unpriced": 2,
            "last_kind": "tests_failed", "last_model": "gpt-5",
        }],
        "cursor": "x",
    }));
    assert_snapshot!(page.to_text(Terminal::default(), &clock()), @"
    sig_hash          state   since             solved         cost     wasted  last kind     last model  last seen
    03f203cc93b17365  broken  21 Nov 14:02  0 of 1,232  ≥ $6,973.20  $6,973.20  tests_failed  gpt-5       3 d ago

    next page: --cursor x
    ");
    assert_snapshot!(page.to_markdown(&clock()), @"
    | sig_hash | state | since | solved | cost | wasted | last kind | last model | last seen |
    | --- | --- | --- | ---: | ---: | ---: | --- | --- | --- |
    | 03f203cc93b17365 | broken | 21 Nov 14:02 | 0 of 1,232 | ≥ $6,973.20 | $6,973.20 | `tests_failed` | gpt-5 | 3 d ago |
    ");
    assert_eq!(
        view::<ProblemPage>(json!({"problems": []})).to_text(TERMINAL, &clock()),
        "no problems match\n"
    );
}

#[test]
fn models_are_shown_with_their_comparison() {
    let figures = |model: &str, solved: u64, cost: f64| {
        json!({
            "model": model, "attempts": 616, "solved": solved, "ci": [0.387, 0.465], "cost": cost,
            "reported": cost, "priced": 0.0, "cost_per_solved": cost / solved as f64,
            "tokens": {"input": 3975829, "cached_input": 0, "cache_creation_input": 0,
                       "output": 1478, "reasoning": 0},
            "turns": 83, "p50_ms": 49081.2, "p95_ms": 61000.0, "problems": 616,
            "comparable_on": 616,
        })
    };
    let mut models = json!({
        "models": [figures("gpt-5", 262, 1217.9), figures("claude-sonnet-4-5", 274, 6973.2)],
        "comparison": {
            "a": "gpt-5", "b": "claude-sonnet-4-5", "verdict": "same", "common": 616, "both": 206,
            "only_a": 56, "only_b": 68, "neither": 286, "p": 0.323, "a_cost_per_solved": 4.65,
            "b_cost_per_solved": 25.45,
            "text": "same quality as far as shown; claude-sonnet-4-5 costs 5.5 times as much",
        },
    });
    assert_snapshot!(view::<Models>(models.clone()).to_text(Terminal::default(), &clock()), @"
    model                  solved          ratio       cost  per solved    tokens in / out   p50        p95  problems
    gpt-5              262 of 616  43 % [39, 46]  $1,217.90       $4.65  3,975,829 / 1,478  49 s  1 min 1 s       616
    claude-sonnet-4-5  274 of 616  44 % [39, 46]  $6,973.20      $25.45  3,975,829 / 1,478  49 s  1 min 1 s       616

    same quality as far as shown; claude-sonnet-4-5 costs 5.5 times as much
    common problems 616: both solved 206, only the first 56, only the second 68, neither 286
    ");
    assert_snapshot!(view::<Models>(models.clone()).to_markdown(&clock()), @"
    | model | solved | ratio | cost | per solved | tokens in / out | p50 | p95 | problems |
    | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
    | gpt-5 | 262 of 616 | 43 % [39, 46] | $1,217.90 | $4.65 | 3,975,829 / 1,478 | 49 s | 1 min 1 s | 616 |
    | claude-sonnet-4-5 | 274 of 616 | 44 % [39, 46] | $6,973.20 | $25.45 | 3,975,829 / 1,478 | 49 s | 1 min 1 s | 616 |

    `same quality as far as shown; claude-sonnet-4-5 costs 5.5 times as much`
    ");
    models["models"][0]["source"] = "bot".into();
    assert_snapshot!(view::<Models>(models).to_text(Terminal::default(), &clock()), @"
    model              source      solved          ratio       cost  per solved    tokens in / out   p50        p95  problems
    gpt-5              bot     262 of 616  43 % [39, 46]  $1,217.90       $4.65  3,975,829 / 1,478  49 s  1 min 1 s       616
    claude-sonnet-4-5  –       274 of 616  44 % [39, 46]  $6,973.20      $25.45  3,975,829 / 1,478  49 s  1 min 1 s       616

    same quality as far as shown; claude-sonnet-4-5 costs 5.5 times as much
    common problems 616: both solved 206, only the first 56, only the second 68, neither 286
    ");
    assert!(view::<Models>(json!({"models": []})).is_empty());
}

#[test]
fn usage_has_a_total() {
    let figures = |key: Option<&str>, attempts: u64| {
        json!({
            "key": key, "attempts": attempts, "solved": attempts / 2, "ci": [0.2, 0.8],
            "tokens": {"input": 1000, "cached_input": 0, "cache_creation_input": 0, "output": 50,
                       "reasoning": 0},
            "cost": 3.5, "reported": 3.0, "priced": 0.5, "unpriced": attempts / 4,
            "unpriced_tokens": 0, "turns": 12, "duration_ms": 327129.0, "p50_ms": 350.0,
            "p95_ms": null,
        })
    };
    let report: UsageReport = view(json!({
        "rows": [figures(Some("2026-11-26"), 2), figures(None, 4)],
        "total": figures(None, 8),
        "omitted": 1,
    }));
    assert_snapshot!(report.to_text(Terminal::default(), &clock()), @"
                solved          ratio  tokens in / out     cost  reported  priced  unpriced  turns        time     p50
    2026-11-26  1 of 2  50 % [20, 80]       1,000 / 50    $3.50     $3.00   $0.50         0     12  5 min 27 s  350 ms
    –           2 of 4  50 % [20, 80]       1,000 / 50  ≥ $3.50     $3.00   $0.50         1     12  5 min 27 s  350 ms
    total       4 of 8  50 % [20, 80]       1,000 / 50  ≥ $3.50     $3.00   $0.50         2     12  5 min 27 s  350 ms

    1 more row; the total includes them; show them with --limit
    ");
    assert_snapshot!(report.to_markdown(&clock()), @"
    |  | solved | ratio | tokens in / out | cost | reported | priced | unpriced | turns | time | p50 |
    | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
    | 2026-11-26 | 1 of 2 | 50 % [20, 80] | 1,000 / 50 | $3.50 | $3.00 | $0.50 | 0 | 12 | 5 min 27 s | 350 ms |
    | – | 2 of 4 | 50 % [20, 80] | 1,000 / 50 | ≥ $3.50 | $3.00 | $0.50 | 1 | 12 | 5 min 27 s | 350 ms |
    | total | 4 of 8 | 50 % [20, 80] | 1,000 / 50 | ≥ $3.50 | $3.00 | $0.50 | 2 | 12 | 5 min 27 s | 350 ms |
    ");
    let none = json!({"rows": [], "total": figures(None, 0)});
    assert_eq!(view::<UsageReport>(none).to_text(TERMINAL, &clock()), "no attempts match\n");
}

#[test]
fn changes_are_shown_before_and_after() {
    let side = |kind: &str, cost: Option<f64>| {
        json!({
            "attempts": 2, "solved": 1, "last_kind": kind, "last_model": "gpt-5",
            "last": "2026-11-27T09:00:00Z", "mean_cost": cost, "mean_ms": 1500.0,
        })
    };
    let diff: Diff = view(json!({
        "since": "2026-11-26T12:00:00Z",
        "entries": [
            {"sig_hash": "03f203cc93b17365", "change": "failed", "before": side("ok", Some(1.0)),
             "after": side("tests_failed", Some(2.5))},
            {"sig_hash": "8d6fe0f61e205127", "change": "no_longer_run", "before": side("ok", None),
             "after": null},
        ],
        "omitted": 3,
    }));
    assert_snapshot!(diff.to_text(Terminal::default(), &clock()), @"
    change         sig_hash          kind before  kind after    model  cost before  after  time before  after  last seen
    failed         03f203cc93b17365  ok           tests_failed  gpt-5        $1.00  $2.50        1.5 s  1.5 s  3 h ago
    no longer run  8d6fe0f61e205127  ok           –             gpt-5            –      –        1.5 s      –  3 h ago

    3 more changes; show them with --limit
    ");
    assert_snapshot!(diff.to_markdown(&clock()), @"
    | change | sig_hash | kind before | kind after | model | cost before | after | time before | after | last seen |
    | --- | --- | --- | --- | --- | ---: | ---: | ---: | ---: | --- |
    | failed | 03f203cc93b17365 | ok | `tests_failed` | gpt-5 | $1.00 | $2.50 | 1.5 s | 1.5 s | 3 h ago |
    | no longer run | 8d6fe0f61e205127 | ok | – | gpt-5 | – | – | 1.5 s | – | 3 h ago |
    ");
    let none: Diff = view(json!({"since": "2026-11-26T12:00:00Z", "entries": []}));
    assert!(none.is_empty());
    assert_eq!(none.to_text(TERMINAL, &clock()), "nothing changed since 26 Nov 12:00\n");
}

#[test]
fn hints_are_compared_with_attempts_without() {
    let hints = |with: [u64; 2], without: [u64; 2], ci: [[f64; 2]; 2]| -> Hints {
        let figures = |[solved, attempts]: [u64; 2], ci: [f64; 2]| {
            json!({
                "attempts": attempts, "solved": solved, "ci": ci, "cost": 3.0, "unpriced": 0,
                "cost_per_solved": (solved > 0).then(|| 3.0 / solved as f64),
            })
        };
        view(json!({"with": figures(with, ci[0]), "without": figures(without, ci[1])}))
    };
    let some = hints([12, 20], [5, 40], [[0.39, 0.78], [0.05, 0.26]]);
    assert_snapshot!(some.to_text(TERMINAL, &clock()), @"
                   solved          ratio   cost  per solved  unpriced
    with a hint  12 of 20  60 % [39, 78]  $3.00       $0.25         0
    without       5 of 40   12 % [5, 26]  $3.00       $0.60         0

    more is solved with a hint, beyond chance
    ");
    assert_snapshot!(some.to_markdown(&clock()), @"
    |  | solved | ratio | cost | per solved | unpriced |
    | --- | ---: | ---: | ---: | ---: | ---: |
    | with a hint | 12 of 20 | 60 % [39, 78] | $3.00 | $0.25 | 0 |
    | without | 5 of 40 | 12 % [5, 26] | $3.00 | $0.60 | 0 |

    more is solved with a hint, beyond chance
    ");
    for (with, without, ci, verdict) in [
        ([1, 20], [30, 40], [[0.01, 0.24], [0.6, 0.86]], "less is solved with a hint"),
        ([1, 2], [20, 40], [[0.1, 0.9], [0.35, 0.65]], "the intervals overlap"),
        ([0, 0], [20, 40], [[0.0, 1.0], [0.35, 0.65]], "no attempt had a hint yet"),
        ([1, 2], [0, 0], [[0.1, 0.9], [0.0, 1.0]], "every attempt had a hint"),
    ] {
        let text = hints(with, without, ci).to_text(TERMINAL, &clock());
        assert!(text.contains(verdict), "{text}");
    }
    let none = hints([0, 0], [0, 0], [[0.0, 1.0]; 2]);
    assert!(none.is_empty());
    assert_eq!(none.to_text(TERMINAL, &clock()), "no attempts match\n");
}
