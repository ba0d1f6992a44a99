//! Connections of a receiver.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::reply::{Action, Content, Reply};
use super::request::{ReceivedRequest, decode};
use crate::script::Script;

/// Serves HTTP/1.1 on one connection until it is closed.
pub(super) async fn connection(stream: TcpStream, script: Arc<Script<Reply, ReceivedRequest>>) {
    let service = service_fn(|request| respond(Arc::clone(&script), request));
    // The result is an error whenever the script closes the connection.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// Error that makes hyper close the connection without a response.
#[derive(Debug, thiserror::Error)]
#[error("the script closes the connection")]
struct CloseConnection;

async fn respond(
    script: Arc<Script<Reply, ReceivedRequest>>,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, CloseConnection> {
    let (head, mut body) = request.into_parts();
    let mut reply = script.next();
    let raw_body = match reply.action {
        Action::CloseMidRequest => first_chunk(&mut body).await,
        _ => body.collect().await.map_err(|_| CloseConnection)?.to_bytes(),
    };
    let mut received = ReceivedRequest {
        method: head.method.to_string(),
        path: head.uri.path_and_query().map_or_else(String::new, ToString::to_string),
        body: raw_body.clone(),
        raw_body,
        headers: head.headers,
        status: None,
        accepted: Vec::new(),
    };
    let content = evaluate(&mut reply, &mut received);
    script.record(received);

    reply.delay.elapsed().await;
    match (reply.action, content) {
        (Action::CloseMidResponse, _) => Ok(Response::new(ReplyBody::Partial(Step::Head))),
        (_, None) => Err(CloseConnection),
        (_, Some(content)) => Ok(response(content)),
    }
}

/// Decodes the body, chooses the reply, and completes the request with its result.
fn evaluate(reply: &mut Reply, received: &mut ReceivedRequest) -> Option<Content> {
    let decoded = match reply.action {
        Action::CloseMidRequest => Ok(received.body.clone()),
        _ => decode(&received.headers, &received.raw_body),
    };
    let content = match decoded {
        Ok(body) => {
            received.body = body;
            *reply = reply.clone().resolved(received);
            let (content, accepted) = reply.evaluate(received);
            received.accepted = accepted;
            content
        }
        Err(error) => Some(Content {
            status: 400,
            headers: Vec::new(),
            body: format!("the body can't be decoded: {error}"),
        }),
    };
    received.status = content.as_ref().map(|content| content.status);
    content
}

async fn first_chunk(body: &mut Incoming) -> Bytes {
    match body.frame().await {
        Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
        _ => Bytes::new(),
    }
}

fn response(content: Content) -> Response<ReplyBody> {
    let mut response = Response::builder().status(content.status);
    for (name, value) in content.headers {
        response = response.header(name, value);
    }
    response
        .body(ReplyBody::Complete(content.body.into()))
        .expect("the status and headers of a script are valid")
}

enum ReplyBody {
    Complete(Bytes),
    /// First half of the announced body, then an error.
    Partial(Step),
}

#[derive(Clone, Copy)]
enum Step {
    Head,
    /// The half was written, and hyper must send it before the error.
    Flush,
    End,
}

/// First half of the body that is announced.
const HALF: &str = r#"{"status":"acc"#;

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match *self {
            Self::Complete(ref mut bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Complete(ref mut bytes) => {
                Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes)))))
            }
            Self::Partial(Step::Head) => {
                *self = Self::Partial(Step::Flush);
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(HALF.as_bytes())))))
            }
            Self::Partial(Step::Flush) => {
                *self = Self::Partial(Step::End);
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Self::Partial(Step::End) => Poll::Ready(Some(Err(io::Error::other(CloseConnection)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Complete(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Complete(bytes) => bytes.len() as u64,
            Self::Partial(_) => 2 * HALF.len() as u64,
        })
    }
}
