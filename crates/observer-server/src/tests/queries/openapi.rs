//! Responses match the schemas of the OpenAPI document, and parameters those that are accepted.

use serde_json::Value;

use super::super::support::store::{EVENT_ID, SIG_HASH};
use super::Setup;
use super::schema::violations;

/// Requests by their path in the document. Together their responses have every optional member.
fn requests() -> Vec<(&'static str, String)> {
    let problem = "/v1/signatures/{sig_hash}";
    vec![
        ("/v1/events", "/v1/events".to_owned()),
        ("/v1/events/{id}", format!("/v1/events/{EVENT_ID}")),
        ("/v1/signatures", "/v1/signatures".to_owned()),
        (problem, format!("/v1/signatures/{SIG_HASH}")),
        (problem, format!("/v1/signatures/{SIG_HASH}?history=2&transitions=1")),
        ("/v1/models", "/v1/models?by_source=true&a=x&b=y".to_owned()),
        ("/v1/models", "/v1/models".to_owned()),
        ("/v1/usage", "/v1/usage".to_owned()),
        ("/v1/diff", "/v1/diff?since=1d".to_owned()),
        ("/v1/hints", "/v1/hints".to_owned()),
    ]
}

#[tokio::test]
async fn responses_match_their_schemas() {
    let mut setup = Setup::new().await;
    let document = setup.get("/openapi.json").await.json();
    for (path, request) in requests() {
        let response = setup.get(&request).await.json();
        let content = &document["paths"][path]["get"]["responses"]["200"]["content"];
        let schema = &content["application/json"]["schema"];
        assert!(schema.is_object(), "{path}: {content}");
        let violations = violations(&document, schema, &response, "$");
        assert_eq!(violations, Vec::<String>::new(), "{request}: {response}");
    }
}

#[tokio::test]
async fn documented_media_types_are_those_that_are_offered() {
    let mut setup = Setup::new().await;
    let document = setup.get("/openapi.json").await.json();
    for (path, request) in requests() {
        let content = &document["paths"][path]["get"]["responses"]["200"]["content"];
        let request = request.split('?').next().unwrap();
        let query = if path == "/v1/diff" { "?since=1d" } else { "" };
        for media in
            ["application/json", "application/x-ndjson", "text/csv", "text/markdown", "text/plain"]
        {
            let response = setup.get_as(&format!("{request}{query}"), media).await;
            let expected = if content.get(media).is_some() { 200 } else { 406 };
            assert_eq!(response.status, expected, "{path} {media}: {response}");
            if expected == 200 {
                assert!(response.header("content-type").unwrap().starts_with(media), "{response}");
            }
        }
    }
}

#[tokio::test]
async fn documented_parameters_are_accepted() {
    let mut setup = Setup::new().await;
    let document = setup.get("/openapi.json").await.json();
    let mut count = 0;
    for (path, request) in requests() {
        let parameters = document["paths"][path]["get"]["parameters"].as_array();
        for parameter in parameters.into_iter().flatten().filter(|one| one["in"] == "query") {
            count += 1;
            let name = parameter["name"].as_str().unwrap();
            let query = match name {
                "labels" => "label.branch=x".to_owned(),
                // Parameters that need another one, or another media type.
                "label" => "by=label&label=x".to_owned(),
                "a" | "b" => "a=x&b=y".to_owned(),
                "max_chars" => "history=1".to_owned(),
                // Parameters in the place of a segment of the path.
                "id" => format!("id={EVENT_ID}"),
                "sig_hash" if path.contains("{sig_hash}") => format!("sig_hash={SIG_HASH}"),
                _ => format!("{name}={}", example(&parameter["schema"])),
            };
            let since = if path == "/v1/diff" && name != "since" { "&since=1d" } else { "" };
            let request = request.split('?').next().unwrap();
            let response = setup.get(&format!("{request}?{query}{since}")).await;
            assert_eq!(response.status, 200, "{path} {query}: {response}");
        }
    }
    assert!(count > 40, "{count}");
}

/// Returns a value that a schema allows.
fn example(schema: &Value) -> String {
    if let Some(one_of) = schema["oneOf"].as_array() {
        let age = one_of.iter().any(|schema| schema["pattern"] == "^[1-9][0-9]{0,3}[smhdw]$");
        assert!(age, "{schema}");
        return "7d".to_owned();
    }
    if let Some(names) = schema["enum"].as_array() {
        return names[0].as_str().unwrap().to_owned();
    }
    match schema["type"].as_str().unwrap() {
        "array" => example(&schema["items"]),
        "boolean" => "true".to_owned(),
        "integer" => schema["maximum"].to_string(),
        _ => "UTC".to_owned(),
    }
}
