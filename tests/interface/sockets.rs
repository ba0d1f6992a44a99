//! Sockets that a service manager opens before it starts the observer.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use crate::support::certificates::certificates;
use crate::support::{OBSERVER, Observer, text_of};

/// Passes TCP sockets to a program as systemd does: as descriptors from 3 on, with variables that
/// name them and the process. Its arguments: names, sockets (`-` for a file that is none), program.
const MANAGER: &str = r#"
import os, socket, sys
names, addresses = sys.argv[1], sys.argv[2].split(",")
passed = []
for address in addresses:
    if address == "-":
        passed.append(os.open("/dev/null", os.O_RDONLY))
        continue
    host, port = address.rsplit(":", 1)
    kind = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(kind, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, int(port)))
    listener.listen()
    passed.append(listener.detach())
high = [os.dup2(descriptor, 100 + index) for index, descriptor in enumerate(passed)]
for index, descriptor in enumerate(high):
    os.dup2(descriptor, 3 + index, inheritable=True)
    os.close(descriptor)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(passed)),
               "LISTEN_FDNAMES": names}
os.execv(sys.argv[3], sys.argv[3:])
"#;

fn manager(dir: &Path, names: &str, sockets: &str) -> Command {
    let mut command = Command::new("python3");
    command.args(["-c", MANAGER, names, sockets, OBSERVER]).current_dir(dir);
    command
}

fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn sockets_of_a_service_manager_replace_the_configured_addresses() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let (plain, tls) = (port(), port());
    // Another program has the configured addresses.
    let others = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [taken, tls_taken] = others.each_ref().map(|other| other.local_addr().unwrap());
    let config = format!(
        "[server]\nlisten = \"{taken}\"\n[server.tls]\nlisten = \"{tls_taken}\"\n\
         cert = \"server.pem\"\nkey = \"server-key.pem\"\n"
    );
    let sockets = format!("127.0.0.1:{plain},127.0.0.1:{tls},::1:{plain}");
    let command = manager(dir.path(), "observer.socket:tls:observer.socket", &sockets);
    let observer = Observer::launch(dir.path(), &config, command, &[]);
    assert_eq!(
        observer.urls,
        [
            format!("http://127.0.0.1:{plain}"),
            format!("http://[::1]:{plain}"),
            format!("https://127.0.0.1:{tls}")
        ]
    );
    let event = r#"{"source":"job","event_kind":"ok","ok":true}"#;
    assert_eq!(observer.post(event).await.status, 200);
    for url in &observer.urls {
        let tls: &[&str] = if url.starts_with("https") { &["--cacert", "ca.pem"] } else { &[] };
        let (code, text) = observer.run(&[&["health", "--url", url][..], tls].concat());
        assert_eq!(code, Some(0), "{text}");
    }
    let (status, _) = observer.terminate();
    assert!(status.success(), "{status}");
}

#[test]
fn sockets_that_can_not_be_used_are_named() {
    for (names, sockets, message) in [
        (
            "tls",
            "127.0.0.1:0",
            "observer: a socket for TLS was passed to the process; configure the certificate for \
             it in [server.tls]\n",
        ),
        (
            "events",
            "-",
            "observer: can't listen on socket 0 of the service manager, named \"events\"; pass TCP \
             sockets only: fd 3 is not a socket\n",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let output = manager(dir.path(), names, sockets).output().unwrap();
        let text = text_of(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.ends_with(message), "{text}");
    }
}
