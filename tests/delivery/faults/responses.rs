//! Responses that are cut, endless, large or malformed, and redirects.

use observer_testing::http::{HttpReceiver, Reply};

use super::raw::{End, RawServer};
use super::{RETRY, SERVER, good, post, sink, wait_for_sinks};
use crate::support::{Observer, wait_until};

fn head(status: &str, headers: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{headers}\r\n").into_bytes()
}

fn with_body(mut head: Vec<u8>, body: &[u8]) -> Vec<u8> {
    head.extend_from_slice(body);
    head
}

/// Returns a webhook and an OTLP/HTTP sink for two servers.
fn sinks_for(index: usize, servers: &[RawServer; 2]) -> String {
    let more = format!("start = \"earliest\"\nbatch = {{ linger = \"1ms\" }}\n{RETRY}\n");
    format!(
        "[sinks.w{index}]\ntype = \"http\"\nurl = \"{}\"\n{more}\
         [sinks.o{index}]\ntype = \"otlp\"\nprotocol = \"http/protobuf\"\nsignals = [\"logs\"]\n\
         compression = \"none\"\nendpoint = \"{}\"\n{more}",
        servers[0].url("/hook"),
        servers[1].url("")
    )
}

/// Starts two servers for each list of responses, and a program with a sink for each server.
async fn start(
    table: &[Vec<(Vec<u8>, End)>],
) -> (Vec<[RawServer; 2]>, tempfile::TempDir, Observer) {
    let (mut servers, mut config) = (Vec::new(), SERVER.to_owned());
    for (index, responses) in table.iter().enumerate() {
        let both =
            [RawServer::start(responses.clone()).await, RawServer::start(responses.clone()).await];
        config.push_str(&sinks_for(index, &both));
        servers.push(both);
    }
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), &config);
    (servers, dir, observer)
}

#[tokio::test]
async fn head_of_a_success_decides_whatever_follows() {
    let protobuf = "content-type: application/x-protobuf\r\n";
    let many: String = (0..150).map(|number| format!("x-h{number}: {number}\r\n")).collect();
    let large = vec![0; 4 << 20];
    let announced =
        |length: usize| head("200 OK", &format!("{protobuf}content-length: {length}\r\n"));
    let table: Vec<Vec<(Vec<u8>, End)>> = vec![
        vec![(with_body(announced(1000), b"cut"), End::Close)],
        vec![(with_body(announced(1000), b"silent"), End::Silence)],
        vec![(with_body(announced(1 << 20), b"slow"), End::Drip)],
        vec![(with_body(announced(large.len()), &large), End::Next)],
        vec![(head("200 OK", &format!("{protobuf}transfer-encoding: chunked\r\n")), End::Silence)],
        vec![(head("202 Accepted", &format!("{many}content-length: 0\r\n")), End::Next)],
        vec![(head("200 OK", "bad name: 1\r\nx\u{1}: 2\r\ncontent-length: 0\r\n"), End::Next)],
    ];
    let (servers, _dir, observer) = start(&table).await;
    post(&observer, good(0)).await;
    observer.wait_until_caught_up().await;
    for (index, both) in servers.iter().enumerate() {
        for (server, name) in both.iter().zip([format!("w{index}"), format!("o{index}/logs")]) {
            let status = sink(&observer, &name).await;
            assert_eq!(
                (&status["delivered"], &status["retried"]),
                (&1.into(), &0.into()),
                "{name}"
            );
            assert_eq!(server.posts(), 1, "{name}: the event was sent once");
        }
    }
}

#[tokio::test]
async fn head_of_a_rejection_decides_although_its_body_drips() {
    let accepted = (head("200 OK", "content-length: 0\r\n"), End::Next);
    let rejected = |status| {
        let bytes = with_body(head(status, "content-length: 1000000\r\n"), b"field of");
        vec![accepted.clone(), (bytes, End::Drip)]
    };
    let table = [rejected("422 Unprocessable Content"), rejected("400 Bad Request")];
    let (_servers, _dir, observer) = start(&table).await;
    post(&observer, good(0)).await;
    wait_for_sinks(&observer, "the first event is delivered", |sink| sink["delivered"] == 1).await;
    post(&observer, good(1)).await;
    wait_for_sinks(&observer, "the second event is a dead letter", |sink| sink["dead"] == 1).await;
}

#[tokio::test]
async fn response_whose_head_is_unreadable_is_named_and_repeats_back_off() {
    let many: String = (0..5000).map(|number| format!("x-h{number}: {number}\r\n")).collect();
    let length = "content-length: 0\r\n";
    let table = [
        vec![(head("200 OK", &format!("{many}{length}")), End::Next)],
        vec![(head("2OO OK", length), End::Next)],
        vec![(head("200 OK", "content-length: many\r\n"), End::Next)],
    ];
    let (servers, _dir, observer) = start(&table).await;
    post(&observer, good(0)).await;
    let words = "sent a response whose head can't be read";
    wait_for_sinks(&observer, "every reason names the response", |sink| {
        sink["reason"].as_str().is_some_and(|reason| reason.contains(words))
    })
    .await;
    wait_until("all were tried again", async || servers.iter().flatten().all(|s| s.posts() > 2))
        .await;
    for (index, both) in servers.iter().enumerate() {
        for (server, name) in both.iter().zip([format!("w{index}"), format!("o{index}/logs")]) {
            let before = server.posts();
            let status = sink(&observer, &name).await;
            let retried = usize::try_from(status["retried"].as_u64().unwrap()).unwrap();
            assert!(before <= retried + 2, "{name}: {before} requests, {retried} retries");
            assert_eq!((&status["delivered"], &status["dead"]), (&0.into(), &0.into()), "{name}");
        }
    }
}

#[tokio::test]
async fn redirect_is_followed_within_the_origin_only() {
    let elsewhere = HttpReceiver::start();
    let location = |url: String| {
        Reply::choose(move |request| match (request.method.as_str(), request.path.as_str()) {
            ("POST", "/hook") => Reply::status(307).with_header("location", url.clone()),
            _ => Reply::accept(),
        })
    };
    let receivers = [0, 1, 2].map(|_| HttpReceiver::start());
    receivers[0].set_default_reply(location(receivers[0].url("/new")));
    receivers[1].set_default_reply(location(elsewhere.url("/new")));
    let other_host = receivers[2].url("/new").replace("127.0.0.1", "localhost");
    receivers[2].set_default_reply(location(other_host));
    let mut config = SERVER.to_owned();
    for (index, receiver) in receivers.iter().enumerate() {
        config.push_str(&format!(
            "[sinks.s{index}]\ntype = \"http\"\nurl = \"{}\"\nredirects = 1\n\
             headers = {{ \"X-Api-Key\" = \"s3cret\" }}\nstart = \"earliest\"\n\
             batch = {{ linger = \"1ms\" }}\nretry = {{ initial = \"5ms\", max = \"20ms\" }}\n",
            receiver.url("/hook")
        ));
    }
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), &config);
    post(&observer, good(0)).await;
    wait_for_sinks(&observer, "each sink has delivered or names the redirect", |sink| {
        let is_refused = sink["reason"].as_str().is_some_and(|reason| reason.contains("307"));
        match sink["name"].as_str() {
            Some("s0") => sink["delivered"] == 1,
            _ => is_refused && sink["delivered"] == 0,
        }
    })
    .await;
    let followed = receivers[0].requests();
    let followed = followed.iter().find(|request| request.path == "/new").unwrap();
    assert_eq!(followed.header("x-api-key"), Some("s3cret"));
    assert!(elsewhere.requests().is_empty(), "no secret leaves the origin");
    let on_host = receivers[2].requests();
    assert!(on_host.iter().all(|request| request.path == "/hook"), "{on_host:?}");
}
