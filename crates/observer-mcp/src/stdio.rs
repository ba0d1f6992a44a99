//! The tools over standard input and output, for clients that start a process.
//!
//! The process answers the handshake and lists the tools by itself, and forwards each call to a
//! running observer in one HTTP request.

use std::sync::Arc;

use async_trait::async_trait;
use rmcp::model::{CallToolResult, ErrorData};
use rmcp::service::{QuitReason, ServerInitializeError};
use rmcp::transport::async_rw::AsyncRwTransport;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::answer::lines;
use crate::handler::Handler;

/// Destination of calls.
#[async_trait]
pub trait Forward: Send + Sync + 'static {
    /// Returns the answer of a running observer.
    ///
    /// # Errors
    /// A text for the model.
    async fn call(&self, tool: &str, arguments: Map<String, Value>) -> Result<String, String>;
}

/// Error of a conversation over standard input and output.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StdioError {
    /// The client sent something else than a handshake.
    #[error("the client did not begin with a handshake; start the command from an MCP client")]
    Handshake(#[source] Box<ServerInitializeError>),
    /// The conversation ended by an error.
    #[error("the conversation failed")]
    Failed(#[from] tokio::task::JoinError),
}

/// Serves one client until it closes `input`.
///
/// # Errors
/// If the client sends no handshake, or the conversation fails.
pub async fn serve(
    input: impl AsyncRead + Send + Unpin + 'static,
    output: impl AsyncWrite + Send + Unpin + 'static,
    forward: Arc<dyn Forward>,
) -> Result<(), StdioError> {
    let transport = AsyncRwTransport::new_server(input, output);
    let service = match rmcp::serve_server(Handler::Forward(forward), transport).await {
        Ok(service) => service,
        Err(ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
        Err(error) => return Err(StdioError::Handshake(Box::new(error))),
    };
    match service.waiting().await? {
        QuitReason::JoinError(error) => Err(error.into()),
        _ => Ok(()),
    }
}

/// Returns the message that calls a tool, for the body of an HTTP request.
#[must_use]
pub fn call_message(tool: &str, arguments: &Map<String, Value>) -> String {
    let params = json!({"name": tool, "arguments": arguments});
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string()
}

/// Reason for which a response has no answer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoAnswer {
    /// The tool or the protocol states an error, in a text for the model.
    #[error("{0}")]
    Error(String),
    /// The response is not one of MCP.
    #[error("unexpected response")]
    Foreign,
}

/// Returns the answer in the response to [`call_message`].
///
/// # Errors
/// If the response states an error, or is none of MCP.
pub fn read_response(body: &[u8]) -> Result<String, NoAnswer> {
    #[derive(Deserialize)]
    struct Response {
        result: Option<CallToolResult>,
        error: Option<ErrorData>,
    }
    let response: Response = serde_json::from_slice(body).map_err(|_| NoAnswer::Foreign)?;
    if let Some(error) = response.error {
        return Err(NoAnswer::Error(error.message.into_owned()));
    }
    let result = response.result.ok_or(NoAnswer::Foreign)?;
    let content = result.content.iter().filter_map(|block| block.as_text());
    let text = lines(content.map(|block| block.text.as_str()));
    match result.is_error {
        Some(true) => Err(NoAnswer::Error(text)),
        _ => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn response_is_an_answer_an_error_or_foreign() {
        let error = |text: &str| Err(NoAnswer::Error(text.to_owned()));
        let text = |text: &str| json!({"type": "text", "text": text});
        for (body, expected) in [
            (json!({"result": {"content": [text("a"), text("b")]}}), Ok("a\nb".to_owned())),
            (json!({"result": {"content": [text("no")], "isError": true}}), error("no")),
            (json!({"error": {"code": -32_602, "message": "unknown"}}), error("unknown")),
            (json!({"jsonrpc": "2.0", "id": 1}), Err(NoAnswer::Foreign)),
            (json!("<html>"), Err(NoAnswer::Foreign)),
        ] {
            assert_eq!(read_response(body.to_string().as_bytes()), expected, "{body}");
        }
    }
}
