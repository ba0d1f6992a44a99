use insta::assert_snapshot;

use super::Setup;

#[tokio::test]
async fn models_are_compared_on_request() {
    let mut setup = Setup::new().await;
    assert_snapshot!(setup.get("/v1/models").await, @r#"
    HTTP/1.1 200 OK
    content-type: application/json
    vary: accept
    {"models":[{"model":"gpt-5","attempts":616,"solved":262,"ci":[0.387,0.465],"cost":1217.9,"reported":1217.9,"priced":0.0,"cost_per_solved":null,"tokens":{"input":10,"cached_input":0,"cache_creation_input":0,"output":5,"reasoning":0},"turns":12,"p50_ms":1.0,"p95_ms":null,"problems":616,"comparable_on":616}]}
    "#);
    assert_snapshot!(setup.get_as("/v1/models?by_source=true", "text/csv").await, @"
    HTTP/1.1 200 OK
    content-type: text/csv; charset=utf-8; header=present
    vary: accept
    model,source,attempts,solved,ci_low,ci_high,cost,reported,priced,unpriced,cost_per_solved,input,cached_input,cache_creation_input,output,reasoning,turns,p50_ms,p95_ms,problems,comparable_on
    gpt-5,bot,616,262,0.387,0.465,1217.9,1217.9,0,0,,10,0,0,5,0,12,1,,616,616
    ");
    let path = "/v1/models?source=bot&sig_hash=s&since=2026-11-22&until=2026-11-23&a=x&b=y";
    let compared = setup.get(path).await;
    assert_snapshot!(compared.json()["comparison"], @r#"{"a":"x","a_cost_per_solved":4.65,"b":"y","b_cost_per_solved":null,"both":206,"common":616,"neither":286,"only_a":56,"only_b":68,"p":0.323,"text":"same quality as far as shown","verdict":"same"}"#);
    assert_snapshot!(setup.requests.lock().unwrap().last().unwrap(), @r#"ModelsRequest { scope: Scope { sources: None }, source: Some("bot"), sig_hash: Some("s"), since: Some(2026-11-22T00:00:00Z), until: Some(2026-11-23T00:00:00Z), by_source: false, compare: Some(("x", "y")) }"#);
    for (query, field) in [("a=x", "b"), ("b=x", "a"), ("a=x&b=x", "b")] {
        let response = setup.get(&format!("/v1/models?{query}")).await;
        assert_eq!((response.status, &*response.text("field")), (400, field), "{response}");
    }
}

#[tokio::test]
async fn usage_is_by_model_source_day_or_label() {
    let mut setup = Setup::new().await;
    assert_snapshot!(setup.get("/v1/usage").await, @r#"
    HTTP/1.1 200 OK
    content-type: application/json
    vary: accept
    {"rows":[{"key":"gpt-5","attempts":616,"solved":262,"ci":[0.387,0.465],"tokens":{"input":10,"cached_input":0,"cache_creation_input":0,"output":5,"reasoning":0},"cost":1217.9,"reported":1217.9,"priced":0.0,"unpriced":0,"unpriced_tokens":0,"turns":12,"duration_ms":1.5,"p50_ms":null,"p95_ms":2.0}],"total":{"key":null,"attempts":616,"solved":262,"ci":[0.387,0.465],"tokens":{"input":10,"cached_input":0,"cache_creation_input":0,"output":5,"reasoning":0},"cost":1217.9,"reported":1217.9,"priced":0.0,"unpriced":0,"unpriced_tokens":0,"turns":12,"duration_ms":1.5,"p50_ms":null,"p95_ms":2.0},"omitted":1}
    "#);
    assert_snapshot!(setup.get_as("/v1/usage", "text/csv").await, @"
    HTTP/1.1 200 OK
    content-type: text/csv; charset=utf-8; header=present
    vary: accept
    key,attempts,solved,ci_low,ci_high,input,cached_input,cache_creation_input,output,reasoning,cost,reported,priced,unpriced,unpriced_tokens,turns,duration_ms,p50_ms,p95_ms
    gpt-5,616,262,0.387,0.465,10,0,0,5,0,1217.9,1217.9,0,0,0,12,1.5,,2
    ");
    for (query, by) in [
        ("", "by: Model"),
        ("?by=model", "by: Model"),
        ("?by=source", "by: Source"),
        ("?by=day", "by: Day"),
        ("?by=label&label=branch", r#"by: Label("branch")"#),
    ] {
        let recorded = setup.recorded(&format!("/v1/usage{query}")).await;
        assert!(recorded.contains(by), "{query}: {recorded}");
    }
    for (query, field) in [
        ("by=label", "label"),
        ("label=branch", "label"),
        ("by=day&label=branch", "label"),
        ("by=week", "by"),
        ("tz=Berlin", "tz"),
    ] {
        let response = setup.get(&format!("/v1/usage?{query}")).await;
        assert_eq!((response.status, &*response.text("field")), (400, field), "{response}");
    }
}

#[tokio::test]
async fn dates_of_usage_are_those_of_the_time_zone() {
    let mut setup = Setup::new().await;
    let path = "/v1/usage?since=2026-11-22&until=2026-11-23&tz=Europe/Berlin&limit=3&source=bot\
                &model=m";
    assert_snapshot!(setup.recorded(path).await, @r#"UsageRequest { scope: Scope { sources: None }, by: Model, source: Some("bot"), model: Some("m"), since: Some(2026-11-21T23:00:00Z), until: Some(2026-11-22T23:00:00Z), tz: TimeZone(TZif("Europe/Berlin")), limit: 3 }"#);
}

#[tokio::test]
async fn diff_needs_a_moment() {
    let mut setup = Setup::new().await;
    assert_snapshot!(setup.get("/v1/diff?since=2026-11-22").await, @r#"
    HTTP/1.1 200 OK
    content-type: application/json
    vary: accept
    {"since":"2026-11-22T00:00:00Z","entries":[{"sig_hash":"03f203cc93b17365","change":"no_longer_run","before":{"attempts":2,"solved":1,"last_kind":"ok","last_model":null,"last":"2026-05-28T20:26:40Z","mean_cost":0.5,"mean_ms":null},"after":null}]}
    "#);
    assert_snapshot!(setup.get_as("/v1/diff?since=2026-11-22", "text/csv").await, @"
    HTTP/1.1 200 OK
    content-type: text/csv; charset=utf-8; header=present
    vary: accept
    sig_hash,change,before_attempts,before_solved,before_last_kind,before_last_model,before_last,before_mean_cost,before_mean_ms,after_attempts,after_solved,after_last_kind,after_last_model,after_last,after_mean_cost,after_mean_ms
    03f203cc93b17365,no_longer_run,2,1,ok,,2026-05-28T20:26:40Z,0.5,,,,,,,,
    ");
    let path = "/v1/diff?since=2026-11-22&change=failed&change=no_longer_run&source=bot&model=m\
                &limit=2";
    assert_snapshot!(setup.recorded(path).await, @r#"DiffRequest { scope: Scope { sources: None }, since: 2026-11-22T00:00:00Z, source: Some("bot"), model: Some("m"), changes: [Failed, NoLongerRun], limit: 2 }"#);
    assert_snapshot!(setup.get("/v1/diff").await, @r#"
    HTTP/1.1 400 Bad Request
    content-type: application/problem+json
    {"type":"about:blank","title":"Bad Request","status":400,"detail":"`since` is missing; give a moment such as 24h or 2026-11-22","field":"since"}
    "#);
    assert_snapshot!(setup.get("/v1/diff?since=1d&change=fail").await, @r#"
    HTTP/1.1 400 Bad Request
    content-type: application/problem+json
    {"type":"about:blank","title":"Bad Request","status":400,"detail":"`change` has the unknown value \"fail\"; did you mean `failed`?","field":"change"}
    "#);
}

#[tokio::test]
async fn hints_are_compared_with_attempts_without() {
    let mut setup = Setup::new().await;
    assert_snapshot!(setup.get("/v1/hints").await, @r#"
    HTTP/1.1 200 OK
    content-type: application/json
    vary: accept
    {"with":{"attempts":4,"solved":1,"ci":[0.0,1.0],"cost":1.0,"unpriced":0,"cost_per_solved":null},"without":{"attempts":9,"solved":1,"ci":[0.0,1.0],"cost":1.0,"unpriced":0,"cost_per_solved":null}}
    "#);
    assert_snapshot!(setup.get_as("/v1/hints", "text/csv").await, @"
    HTTP/1.1 200 OK
    content-type: text/csv; charset=utf-8; header=present
    vary: accept
    hint,attempts,solved,ci_low,ci_high,cost,unpriced,cost_per_solved
    true,4,1,0,1,1,0,
    false,9,1,0,1,1,0,
    ");
    let path = "/v1/hints?source=bot&model=m&since=2026-11-22&until=2026-11-23";
    assert_snapshot!(setup.recorded(path).await, @r#"HintsRequest { scope: Scope { sources: None }, source: Some("bot"), model: Some("m"), since: Some(2026-11-22T00:00:00Z), until: Some(2026-11-23T00:00:00Z) }"#);
}
