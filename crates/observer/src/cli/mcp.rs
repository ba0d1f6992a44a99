//! `observer mcp`: the tools of the Model Context Protocol over standard input and output.
//!
//! The process forwards each call to a running observer, over its admin socket or its URL.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use clap::Args;
use observer_mcp::stdio::{self, Forward, NoAnswer, call_message, read_response};
use reqwest::{Method, StatusCode, Url};
use serde_json::{Map, Value};

use super::connect::error::detail;
use super::failure::Failure;
use super::remote::{ObserverArgs, Remote, Timeout};

const EXAMPLES: &str = "\
Examples:
  claude mcp add observer -- observer mcp
  codex mcp add observer -- observer mcp --url https://observer.example --token-file token

An MCP client starts this command and talks to it; a person has no use for its output. The tools are
`history`, `problems`, `models`, `usage` and `search`; none of them changes anything. Without --url
they read through the admin socket. With it, the token needs the scope `read`.

Exit codes:
  0  the client closed standard input
  1  the client sent another message than a handshake first
  2  invalid usage, or a token or certificate that can't be used";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct McpArgs {
    #[command(flatten)]
    observer: ObserverArgs,
}

/// Runs the command until the client closes standard input. An observer that is unreachable is an
/// error of a call, since it may start later than its clients.
pub(super) async fn run(arguments: McpArgs, config: Option<&Path>) -> Result<ExitCode, Failure> {
    let remote = Arc::new(Running(Remote::new(arguments.observer, config)?));
    stdio::serve(tokio::io::stdin(), tokio::io::stdout(), remote).await?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the URL of the tools. The URL that clients of HTTP are set up with may be given, too.
fn route(remote: &Remote) -> Url {
    let mut url = remote.at(&["mcp"]);
    if let Some(base) = url.path().strip_suffix("/mcp/mcp") {
        let path = format!("{base}/mcp");
        url.set_path(&path);
    }
    url
}

/// Running observer that answers calls.
struct Running(Remote);

#[async_trait]
impl Forward for Running {
    async fn call(&self, tool: &str, arguments: Map<String, Value>) -> Result<String, String> {
        let Self(remote) = self;
        let message = call_message(tool, &arguments);
        let url = route(remote);
        let response = remote.send(Method::POST, url, Some(message), Timeout::Default).await;
        let response = response.map_err(|error| error.to_string())?;
        if !response.status.is_success() {
            return Err(refusal(response.status, &response.body));
        }
        read_response(&response.body).map_err(|error| match error {
            NoAnswer::Foreign => {
                format!("{} is not an observer: unexpected response", remote.address())
            }
            error => error.to_string(),
        })
    }
}

/// Returns the text about a refused request.
fn refusal(status: StatusCode, body: &[u8]) -> String {
    format!("{} {}", status.as_u16(), detail(status, body))
}
