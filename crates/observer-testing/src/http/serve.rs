//! Connections, and the answers on them.

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

use super::reply::{Act, Content, Reply};
use super::request::{ReceivedRequest, decode};
use crate::script::Script;

pub(super) async fn connection(stream: TcpStream, script: Arc<Script<Reply, ReceivedRequest>>) {
    let service = service_fn(|request| answer(Arc::clone(&script), request));
    // A connection that was cut off ends in an error, as it should.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// The receiver hangs up.
#[derive(Debug, thiserror::Error)]
#[error("the receiver hangs up, as it was told")]
struct HangUp;

async fn answer(
    script: Arc<Script<Reply, ReceivedRequest>>,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, HangUp> {
    let (head, mut body) = request.into_parts();
    let answer = script.next();
    let raw_body = match answer.act {
        Act::CutRequest => first_part(&mut body).await,
        _ => body.collect().await.map_err(|_| HangUp)?.to_bytes(),
    };
    let mut received = ReceivedRequest {
        method: head.method.to_string(),
        path: head.uri.path_and_query().map_or_else(String::new, ToString::to_string),
        body: raw_body.clone(),
        raw_body,
        headers: head.headers,
        status: None,
        taken: Vec::new(),
    };
    let reply = judge(&answer, &mut received);
    script.keep(received);

    answer.wait.over().await;
    match (answer.act, reply) {
        (Act::CutAnswer, _) => Ok(Response::new(AnswerBody::Cut(Step::Head))),
        (_, None) => Err(HangUp),
        (_, Some(reply)) => Ok(response(reply)),
    }
}

fn judge(answer: &Reply, received: &mut ReceivedRequest) -> Option<Content> {
    let decoded = match answer.act {
        Act::CutRequest => Ok(received.body.clone()),
        _ => decode(&received.headers, &received.raw_body),
    };
    let reply = match decoded {
        Ok(body) => {
            received.body = body;
            let (reply, taken) = answer.judge(received);
            received.taken = taken;
            reply
        }
        Err(error) => Some(Content {
            status: 400,
            headers: Vec::new(),
            body: format!("the body can't be decoded: {error}"),
        }),
    };
    received.status = reply.as_ref().map(|reply| reply.status);
    reply
}

async fn first_part(body: &mut Incoming) -> Bytes {
    match body.frame().await {
        Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
        _ => Bytes::new(),
    }
}

fn response(reply: Content) -> Response<AnswerBody> {
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    response
        .body(AnswerBody::Whole(reply.body.into()))
        .expect("a test gives statuses and headers that can be sent")
}

enum AnswerBody {
    Whole(Bytes),
    /// Half of what was announced.
    Cut(Step),
}

#[derive(Clone, Copy)]
enum Step {
    Head,
    /// What was written goes out before the end.
    Half,
    End,
}

const HALF: &str = r#"{"status":"acc"#;

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match *self {
            Self::Whole(ref mut bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(ref mut bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Cut(Step::Head) => {
                *self = Self::Cut(Step::Half);
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(HALF.as_bytes())))))
            }
            Self::Cut(Step::Half) => {
                *self = Self::Cut(Step::End);
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Self::Cut(Step::End) => Poll::Ready(Some(Err(io::Error::other(HangUp)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Cut(_) => 2 * HALF.len() as u64,
        })
    }
}
