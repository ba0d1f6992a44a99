//! `observer mcp` as a client starts it: messages on standard input and output.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::support::knowledge_base::with_runs;
use crate::support::{DEFAULTS, OBSERVER, Observer};

/// Process of a client.
struct Conversation {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    id: u64,
}

impl Conversation {
    /// Starts the command in a folder, and shakes hands.
    fn begin(dir: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(OBSERVER);
        command.arg("mcp").args(arguments).current_dir(dir).env_remove("LH_OBSERVER_URL");
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let mut begun = Self { input: process.stdin.take(), process, output, id: 0 };
        let hello = json!({
            "protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        });
        let result = begun.ask("initialize", hello)["result"].clone();
        assert_eq!(result["serverInfo"]["name"], "observer");
        begun.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        begun
    }

    fn send(&mut self, message: &Value) {
        writeln!(self.input.as_mut().unwrap(), "{message}").unwrap();
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.id += 1;
        self.send(&json!({"jsonrpc": "2.0", "id": self.id, "method": method, "params": params}));
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        let response: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(response["id"], self.id, "{line}");
        response
    }

    /// Returns the text of the answer of a tool, and whether it is an error.
    fn call(&mut self, tool: &str, arguments: Value) -> (String, bool) {
        let response = self.ask("tools/call", json!({"name": tool, "arguments": arguments}));
        let result = &response["result"];
        let text = result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{response}"));
        (text.to_owned(), result["isError"].as_bool().unwrap_or(false))
    }

    /// Closes standard input, and returns the exit code.
    fn end(mut self) -> Option<i32> {
        drop(self.input.take());
        self.process.wait().unwrap().code()
    }
}

#[tokio::test]
async fn mcp_command_answers_over_the_admin_socket_and_the_url() {
    let dir = tempfile::tempdir().unwrap();
    let observer = with_runs(dir.path(), "").await;
    let url = observer.url.clone();
    for arguments in [&[][..], &["--url", &url]] {
        let mut conversation = Conversation::begin(dir.path(), arguments);
        let tools = conversation.ask("tools/list", json!({}))["result"]["tools"].clone();
        assert_eq!(tools.as_array().unwrap().len(), 5);
        let (text, is_error) = conversation.call("usage", json!({}));
        assert!(!is_error && text.contains("\ntotal,"), "{text}");
        let (text, is_error) = conversation.call("search", json!({"id": "none"}));
        assert!(is_error, "{text}");
        assert_eq!(text, "no event with the id \"none\"");
        assert_eq!(conversation.end(), Some(0));
    }
    let (_, log) = observer.terminate();
    assert!(!log.iter().any(|line| line.contains("rmcp")), "requests are not logged: {log:?}");
}

#[test]
fn mcp_command_explains_an_observer_that_refuses_or_is_unreachable() {
    let dir = tempfile::tempdir().unwrap();
    let token = "[access.tokens.a]\nscopes = [\"ingest\"]\n\
                 sha256 = \"ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb\"\n";
    let observer = Observer::start(dir.path(), &format!("{DEFAULTS}{token}"));
    let url = observer.url.clone();
    let mut conversation = Conversation::begin(dir.path(), &["--url", &url, "--token", "a"]);
    let (text, is_error) = conversation.call("usage", json!({}));
    assert!(is_error && text.starts_with("403 "), "{text}");
    drop(observer);
    let (text, is_error) = conversation.call("usage", json!({}));
    assert!(is_error && text.contains("is unreachable: "), "{text}");
    assert_eq!(conversation.end(), Some(0), "the conversation goes on until the client ends it");
}

#[test]
fn mcp_command_without_a_client_fails_with_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(OBSERVER);
    command.arg("mcp").current_dir(dir.path()).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(b"{\"jsonrpc\":\"2.0\",\"method\":\"x\"}\n").unwrap();
    let output = process.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("start the command from an MCP client"), "{errors}");
}
