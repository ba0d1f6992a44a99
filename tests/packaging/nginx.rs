//! The example of nginx in front of an observer: TLS, a path, and a stream.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::read;
use crate::support::certificates::certificates;
use crate::support::{DEFAULTS, Observer, client, is_installed, wait_until};

/// Running nginx, which is stopped on drop.
struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers end with their master only if that ends in good order.
        let _ = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}

/// Starts nginx with the example, in which addresses and paths are those of the test. Returns its
/// port.
async fn start(dir: &Path, observer: &Observer) -> (Nginx, u16) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut example = read("examples/proxy/nginx.conf");
    for (written, replacement) in [
        ("server 127.0.0.1:3800;", format!("server {};", observer.url.replace("http://", ""))),
        ("listen 443 ssl;", format!("listen 127.0.0.1:{port} ssl;")),
        ("observer.example.com", "localhost".to_owned()),
        ("/etc/nginx/observer.pem", format!("{}/server.pem", dir.display())),
        ("/etc/nginx/observer-key.pem", format!("{}/server-key.pem", dir.display())),
    ] {
        assert!(example.contains(written), "{written}");
        example = example.replace(written, &replacement);
    }
    let at = dir.display();
    let main = format!(
        "daemon off;\npid {at}/nginx.pid;\nerror_log stderr;\nevents {{}}\n\
         http {{\naccess_log off;\nclient_body_temp_path {at}/body;\nproxy_temp_path {at}/proxy;\n\
         fastcgi_temp_path {at}/fastcgi;\nuwsgi_temp_path {at}/uwsgi;\nscgi_temp_path {at}/scgi;\n\
         {example}}}\n"
    );
    std::fs::write(dir.join("nginx.conf"), main).unwrap();
    let mut command = Command::new("nginx");
    command.arg("-p").arg(dir).arg("-c").arg(dir.join("nginx.conf"));
    let errors = std::fs::File::create(dir.join("nginx.log")).unwrap();
    let nginx = Nginx(command.stdin(Stdio::null()).stderr(errors).spawn().unwrap());
    wait_until("nginx listens", async || {
        tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
    })
    .await;
    (nginx, port)
}

#[tokio::test]
async fn nginx_serves_the_observer_with_tls_under_a_path() {
    if !is_installed("nginx") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    // The workers of nginx are another user.
    let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.path(), everyone).unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    let (_nginx, port) = start(dir.path(), &observer).await;
    let url = format!("https://localhost:{port}/observer");
    let run = |arguments: &[&str]| {
        let common = ["--url", &url, "--cacert", "ca.pem"];
        observer.run(&[arguments, &common[..]].concat())
    };
    let (code, text) = run(&["health", "--ready"]);
    assert_eq!(code, Some(0), "{text}");

    // A batch that is larger than nginx accepts without the example.
    let filler = "x".repeat(100_000);
    let line = |n: usize| {
        format!(r#"{{"source":"job","event_kind":"ok","ok":true,"id":"{n}","extra":"{filler}"}}"#)
    };
    let lines: Vec<_> = (0..100).map(line).collect();
    std::fs::write(dir.path().join("events.ndjson"), lines.join("\n")).unwrap();
    let (code, text) = run(&["emit", "events.ndjson"]);
    assert!(text.contains("100 events: 100 accepted"), "{text}");
    assert_eq!(code, Some(0), "{text}");

    let pem = std::fs::read(dir.path().join("ca.pem")).unwrap();
    drop(client());
    let authority = reqwest::Certificate::from_pem(&pem).unwrap();
    let https = reqwest::Client::builder().tls_certs_only([authority]).build().unwrap();
    let reload = https.post(format!("{url}/-/reload")).send().await.unwrap();
    assert_eq!(reload.status(), 404, "administration stays on the machine");
    assert!(!reload.text().await.unwrap().contains("problem"));

    let mut stream = https.get(format!("{url}/v1/stream")).send().await.unwrap();
    assert_eq!(stream.status(), 200);
    assert_eq!(observer.post(r#"{"source":"late","event_kind":"ok","ok":true}"#).await.status, 200);
    let mut received = String::new();
    let read = async {
        while !received.contains(r#""source":"late""#) {
            let chunk = stream.chunk().await.unwrap().expect("the stream goes on");
            received.push_str(&String::from_utf8_lossy(&chunk));
        }
    };
    // The next comment of the stream, which could push the event through a buffer, is later.
    tokio::time::timeout(Duration::from_secs(10), read).await.expect("the event is not held back");
}
