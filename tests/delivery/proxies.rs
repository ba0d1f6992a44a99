//! Requests of sinks through the proxies that the environment names.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use observer_testing::http::{HttpReceiver, Reply};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::support::certificates::certificates;
use crate::support::{DEFAULTS, OBSERVER, Observer, wait_until};

const EVENT: &str = r#"{"source":"job","event_kind":"ok","ok":true}"#;

/// Minimal proxy: `CONNECT host:port`, and requests in absolute form (RFC 9110, section 7.6;
/// RFC 9112, section 3.2.2).
struct Proxy {
    url: String,
    /// Method and target of each request.
    request_lines: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl Proxy {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let request_lines = Arc::new(Mutex::new(Vec::new()));
        let lines = request_lines.clone();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(forward(stream, lines.clone()));
            }
        });
        Self { url, request_lines, serving }
    }

    fn request_lines(&self) -> Vec<String> {
        self.request_lines.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Forwards one connection to one server. An error ends the connection, and the client retries.
async fn forward(stream: TcpStream, request_lines: Arc<Mutex<Vec<String>>>) -> std::io::Result<()> {
    let mut client = BufReader::new(stream);
    let mut line = String::new();
    client.read_line(&mut line).await?;
    let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
    let [method, target, version] = words.as_slice() else { return Ok(()) };
    request_lines.lock().unwrap().push(format!("{method} {target}"));
    if method == "CONNECT" {
        while line.trim_end() != "" {
            line.clear();
            client.read_line(&mut line).await?;
        }
        let mut server = TcpStream::connect(target).await?;
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
        copy_bidirectional(&mut client, &mut server).await?;
    } else {
        let (host, path) =
            target.strip_prefix("http://").and_then(|rest| rest.split_once('/')).unwrap();
        let mut server = TcpStream::connect(host).await?;
        // A next request on this connection would need its own forwarding.
        server
            .write_all(format!("{method} /{path} {version}connection: close\r\n").as_bytes())
            .await?;
        let mut response = Vec::new();
        let (mut from_client, mut to_client) = tokio::io::split(client);
        let (mut from_server, mut to_server) = server.split();
        tokio::select! {
            _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
            _ = from_server.read_to_end(&mut response) => {}
        }
        to_client.write_all(&response).await?;
        to_client.shutdown().await?;
    }
    Ok(())
}

fn config(url: &str, more: &str) -> String {
    format!(
        "{DEFAULTS}[sinks.hook]\ntype = \"http\"\nurl = \"{url}\"\nbody = \"ndjson\"\n\
         start = \"earliest\"\n\
         batch = {{ linger = \"1ms\" }}\nretry = {{ initial = \"50ms\", max = \"100ms\" }}\n\
         {more}\n"
    )
}

/// Starts an observer with proxies in its environment, without those that the test inherited.
fn observer(dir: &Path, config: &str, environment: &[(&str, &str)]) -> Observer {
    let mut command = Command::new(OBSERVER);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    command.current_dir(dir).envs(environment.iter().copied());
    Observer::launch(dir, config, command, &[])
}

#[tokio::test]
async fn http_request_uses_its_proxy_except_for_excluded_hosts() {
    let (proxy, receiver) = (Proxy::start().await, HttpReceiver::start());
    let config = config(&receiver.url("/hook"), "");
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        let (before, dir) = (proxy.request_lines().len(), tempfile::tempdir().unwrap());
        let running = observer(
            dir.path(),
            &config,
            &[(name, &proxy.url), ("HTTPS_PROXY", "http://127.0.0.1:1")],
        );
        assert_eq!(running.post(EVENT).await.status, 200);
        running.wait_until_caught_up().await;
        let lines = &proxy.request_lines()[before..];
        assert!(lines.contains(&format!("POST {}", receiver.url("/hook"))), "{name}: {lines:?}");
    }
    assert_eq!(receiver.accepted_items().len(), 3);

    let (before, dir) = (proxy.request_lines().len(), tempfile::tempdir().unwrap());
    let without = [("HTTP_PROXY", &*proxy.url), ("NO_PROXY", "example.com,127.0.0.1")];
    let running = observer(dir.path(), &config, &without);
    assert_eq!(running.post(EVENT).await.status, 200);
    running.wait_until_caught_up().await;
    assert_eq!((receiver.accepted_items().len(), proxy.request_lines().len()), (4, before));
}

#[tokio::test]
async fn https_request_uses_a_tunnel_through_the_proxy() {
    let (proxy, central_dir, edge_dir) =
        (Proxy::start().await, tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    certificates(central_dir.path());
    let tls =
        "[server.tls]\nlisten = \"127.0.0.1:0\"\ncert = \"server.pem\"\nkey = \"server-key.pem\"\n";
    let central =
        Observer::start(central_dir.path(), &format!("[server]\nlisten = \"127.0.0.1:0\"\n{tls}"));
    let secure = central.urls.iter().find(|url| url.starts_with("https://")).unwrap();
    let trust = format!("tls = {{ ca = {:?} }}", central_dir.path().join("ca.pem"));
    let config = config(&format!("{secure}/v1/events"), &trust);
    let edge = observer(
        edge_dir.path(),
        &config,
        &[("HTTPS_PROXY", &proxy.url), ("HTTP_PROXY", "http://127.0.0.1:1")],
    );
    assert_eq!(edge.post(EVENT).await.status, 200);
    edge.wait_until_caught_up().await;
    central.wait_until_caught_up().await;
    assert_eq!(central.archive().len(), 1);
    let tunnel = format!("CONNECT {}", secure.trim_start_matches("https://"));
    let lines = proxy.request_lines();
    assert!(!lines.is_empty() && lines.iter().all(|line| *line == tunnel), "{lines:?}");
}

#[tokio::test]
async fn failure_of_the_proxy_is_distinguished_from_that_of_the_receiver() {
    let (receiver, proxy, dir) =
        (HttpReceiver::start(), HttpReceiver::start(), tempfile::tempdir().unwrap());
    let config = config(&receiver.url("/hook"), "");
    proxy.set_default_reply(Reply::status(407));
    let reason = async |observer: &Observer| {
        observer.post(EVENT).await;
        let mut reason = String::new();
        wait_until("the sink has failed", async || {
            let status = observer.get("/v1/sinks").await.json();
            reason = status["sinks"][0]["reason"].as_str().unwrap_or_default().to_owned();
            !reason.is_empty()
        })
        .await;
        reason.replace(&receiver.address().to_string(), "hook:80")
    };
    let rejected = observer(dir.path(), &config, &[("HTTP_PROXY", &proxy.url(""))]);
    assert_eq!(
        reason(&rejected).await,
        "http://hook:80 responded with 407 Proxy Authentication Required; the proxy requires \
         credentials (checked with OPTIONS; see `check` if events receive another response)"
    );
    drop(rejected);
    proxy.stop().await;
    let unreachable = observer(dir.path(), &config, &[("HTTP_PROXY", &proxy.url(""))]);
    assert_eq!(
        reason(&unreachable).await,
        "http://hook:80 can't be reached: Connection refused (os error 111); nothing listens \
         there, or at the proxy of `HTTP_PROXY`, see `url`"
    );
    assert!(receiver.requests().is_empty());
}

#[tokio::test]
async fn proxy_that_a_sink_cannot_use_is_named_by_its_variable() {
    let webhook = |url: &str| config(url, "");
    let grpc = |url: &str| {
        format!(
            "{DEFAULTS}[sinks.hook]\ntype = \"otlp\"\nsignals = [\"logs\"]\nendpoint = \"{url}\"\n\
             start = \"earliest\"\nbatch = {{ linger = \"1ms\" }}\n"
        )
    };
    let receiver = HttpReceiver::start();
    let http = "http://127.0.0.1:1";
    let socks = "socks5://127.0.0.1:1";
    let table = [
        ("HTTP_PROXY", http, grpc(&receiver.url("")), "can't forward gRPC without TLS"),
        ("all_proxy", http, grpc(&receiver.url("")), "can't forward gRPC without TLS"),
        ("ALL_PROXY", socks, grpc(&receiver.url("")), "names a SOCKS proxy"),
        ("ALL_PROXY", socks, webhook(&receiver.url("/hook")), "names a SOCKS proxy"),
        ("http_proxy", "socks5h://127.0.0.1:1", webhook(&receiver.url("/hook")), "names a SOCKS"),
    ];
    for (variable, proxy, config, words) in table {
        let dir = tempfile::tempdir().unwrap();
        let running = observer(dir.path(), &config, &[(variable, proxy)]);
        assert_eq!(running.post(EVENT).await.status, 200);
        let mut reason = String::new();
        wait_until("the sink is parked", async || {
            let status = running.get("/v1/sinks").await.json();
            reason = status["sinks"][0]["reason"].as_str().unwrap_or_default().to_owned();
            status["sinks"][0]["state"] == "parked"
        })
        .await;
        let mut check = Command::new(OBSERVER);
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
            check.env_remove(name).env_remove(name.to_lowercase());
        }
        check.arg("check").current_dir(dir.path()).env(variable, proxy);
        let check = tokio::task::spawn_blocking(move || check.output()).await.unwrap().unwrap();
        assert_eq!(check.status.code(), Some(1));
        for text in [reason, String::from_utf8(check.stdout).unwrap()] {
            let is_named = text.contains(&format!("`{variable}`")) && text.contains(words);
            assert!(is_named, "{variable}={proxy}: {text}");
        }
    }
    assert!(receiver.requests().is_empty());
}
