use insta::assert_snapshot;

use super::super::support::store::SIG_HASH;
use super::Setup;

#[tokio::test]
async fn problems_are_listed_by_state() {
    let mut setup = Setup::new().await;
    assert_snapshot!(setup.get("/v1/signatures?limit=1").await, @r#"
    HTTP/1.1 200 OK
    content-type: application/json
    vary: accept
    link: <?limit=1&cursor=3-41%26x>; rel="next"
    {"problems":[{"sig_hash":"03f203cc93b17365","state":"fixed?","since":"2026-05-28T20:26:41Z","first_seen":"2026-05-28T20:26:40Z","last_seen":"2026-05-28T20:26:42Z","attempts":3,"solved":1,"cost":4.5,"wasted":0.25,"last_kind":"tests_failed","last_model":null}],"cursor":"3-41&x"}
    "#);
    assert_snapshot!(setup.get_as("/v1/signatures", "text/csv").await, @r#"
    HTTP/1.1 200 OK
    content-type: text/csv; charset=utf-8; header=present
    vary: accept
    link: <?cursor=3-41%26x>; rel="next"
    sig_hash,state,since,first_seen,last_seen,attempts,solved,cost,wasted,unpriced,last_kind,last_model
    03f203cc93b17365,fixed?,2026-05-28T20:26:41Z,2026-05-28T20:26:40Z,2026-05-28T20:26:42Z,3,1,4.5,0.25,0,tests_failed,
    "#);
    let path = "/v1/signatures?state=broken&state=fixed%3F&source=bot&model=gpt-5&since=2026-11-22\
                &until=2026-11-23&sort=recent&limit=7&cursor=x";
    assert_snapshot!(setup.recorded(path).await, @r#"ProblemsRequest { scope: Scope { sources: None }, states: [Broken, MaybeFixed], source: Some("bot"), model: Some("gpt-5"), since: Some(2026-11-22T00:00:00Z), until: Some(2026-11-23T00:00:00Z), sort: Recent, limit: 7, cursor: Some("x") }"#);
    assert_snapshot!(setup.recorded("/v1/signatures").await, @"ProblemsRequest { scope: Scope { sources: None }, states: [], source: None, model: None, since: None, until: None, sort: Wasted, limit: 100, cursor: None }");
}

#[tokio::test]
async fn problem_has_its_history_on_request() {
    let mut setup = Setup::new().await;
    let path = format!("/v1/signatures/{SIG_HASH}");
    let whole = setup.get(&path).await;
    assert_eq!((whole.status, whole.json()["state"].as_str()), (200, Some("fixed?")));
    assert!(whole.json().get("history").is_none() && whole.json().get("transitions").is_none());
    let listed = setup.get(&format!("{path}?history=2&transitions=1&model=gpt-5")).await.json();
    assert_eq!(listed["history"].as_array().unwrap().len(), 2);
    assert_eq!(listed["transitions"][0]["state"], "broken");
    assert_snapshot!(setup.requests.lock().unwrap().last().unwrap(), @r#"ProblemRequest { scope: Scope { sources: None }, sig_hash: "03f203cc93b17365", model: Some("gpt-5"), history: 2, transitions: 1 }"#);
}

#[tokio::test]
async fn problem_is_a_summary_for_a_prompt_or_a_table_of_attempts() {
    let mut setup = Setup::new().await;
    let path = format!("/v1/signatures/{SIG_HASH}");
    assert_snapshot!(setup.get_as(&path, "text/markdown").await, @"
    HTTP/1.1 200 OK
    content-type: text/markdown; charset=utf-8
    vary: accept
    1 of 3 solved.
    ");
    assert_snapshot!(setup.requests.lock().unwrap().last().unwrap(), @r#"SummaryRequest { scope: Scope { sources: None }, sig_hash: "03f203cc93b17365", model: None, style: Markdown, max_chars: 1000 }"#);
    let short = setup.get_as(&format!("{path}?max_chars=200&model=gpt-5"), "text/plain").await;
    assert_eq!(short.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_snapshot!(setup.requests.lock().unwrap().last().unwrap(), @r#"SummaryRequest { scope: Scope { sources: None }, sig_hash: "03f203cc93b17365", model: Some("gpt-5"), style: Prompt, max_chars: 200 }"#);
    assert_snapshot!(setup.get_as(&path, "text/csv").await, @r#"
    HTTP/1.1 200 OK
    content-type: text/csv; charset=utf-8; header=present
    vary: accept
    at,source,kind,ok,model,version,cost,duration_ms,text,event,corrects
    2026-05-28T20:26:42Z,bot,tests_failed,false,gpt-5,1.2,1.5,,"'=assert ""x""",00000000-0000-0000-0000-000000000002,00000000-0000-0000-0000-000000000007
    2026-05-28T20:26:41Z,bot,tests_failed,true,gpt-5,1.2,1.5,,"'=assert ""x""",00000000-0000-0000-0000-000000000001,00000000-0000-0000-0000-000000000007
    2026-05-28T20:26:40Z,bot,tests_failed,false,gpt-5,1.2,1.5,,"'=assert ""x""",00000000-0000-0000-0000-000000000000,00000000-0000-0000-0000-000000000007
    "#);
    assert_snapshot!(setup.requests.lock().unwrap().last().unwrap(), @r#"ProblemRequest { scope: Scope { sources: None }, sig_hash: "03f203cc93b17365", model: None, history: 100, transitions: 0 }"#);
}

#[tokio::test]
async fn unknown_problem_names_similar_ones() {
    let mut setup = Setup::new().await;
    assert_snapshot!(setup.get("/v1/signatures/03f2?model=m").await, @r#"
    HTTP/1.1 404 Not Found
    content-type: application/problem+json
    {"type":"about:blank","title":"Not Found","status":404,"detail":"no attempts at the problem \"03f2\" by the model \"m\"; similar signatures are \"03f203cc93b17365\""}
    "#);
    let summary = setup.get_as("/v1/signatures/03f2", "text/markdown").await;
    assert_eq!(summary.status, 200, "the store says that there are no attempts");
}

#[tokio::test]
async fn parameter_without_effect_on_the_media_type_is_an_error() {
    let mut setup = Setup::new().await;
    let path = format!("/v1/signatures/{SIG_HASH}");
    for (query, accept, field) in [
        ("max_chars=200", "application/json", "max_chars"),
        ("max_chars=200", "text/csv", "max_chars"),
        ("transitions=1", "text/csv", "transitions"),
        ("transitions=1", "text/markdown", "transitions"),
        ("history=1", "text/plain", "history"),
    ] {
        let response = setup.get_as(&format!("{path}?{query}"), accept).await;
        assert_eq!((response.status, &*response.text("field")), (400, field), "{response}");
    }
    let response = setup.get_as("/v1/models?a=x&b=y", "text/csv").await;
    assert_snapshot!(response, @r#"
    HTTP/1.1 400 Bad Request
    content-type: application/problem+json
    {"type":"about:blank","title":"Bad Request","status":400,"detail":"`a` has no effect on this response; accept application/json","field":"a"}
    "#);
}
