//! Connections, and the answers on them.

use std::future::pending;
use std::io;
use std::net::TcpListener;
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
use tokio::task::{JoinHandle, JoinSet};

use super::Shared;
use super::answer::{Act, Answer, Reply, Wait};
use super::received::{Received, decode};

/// All connections end with the task.
pub(super) fn spawn(listener: TcpListener, state: Arc<Shared>) -> JoinHandle<()> {
    listener.set_nonblocking(true).expect("a socket can be made non-blocking");
    let listener = tokio::net::TcpListener::from_std(listener).expect("a receiver starts within a tokio runtime");
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let state = Arc::clone(&state);
            connections.spawn(async move {
                let service = service_fn(|request| answer(Arc::clone(&state), request));
                // A connection that was cut off ends in an error, as it should.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
            while connections.try_join_next().is_some() {}
        }
    })
}

/// The receiver hangs up.
#[derive(Debug, thiserror::Error)]
#[error("the receiver hangs up, as it was told")]
struct HangUp;

async fn answer(state: Arc<Shared>, request: Request<Incoming>) -> Result<Response<AnswerBody>, HangUp> {
    let (head, mut body) = request.into_parts();
    let answer = {
        let mut told = state.told();
        told.script.pop_front().unwrap_or_else(|| told.otherwise.clone())
    };
    let raw_body = match answer.act {
        Act::CutRequest => first_part(&mut body).await,
        _ => body.collect().await.map_err(|_| HangUp)?.to_bytes(),
    };
    let mut received = Received {
        method: head.method.to_string(),
        path: head.uri.path_and_query().map_or_else(String::new, ToString::to_string),
        body: raw_body.clone(),
        raw_body,
        headers: head.headers,
        status: None,
        taken: Vec::new(),
    };
    let reply = judge(&answer, &mut received);
    state.told().requests.push(received);
    state.arrived.send_modify(|arrived| *arrived += 1);

    match answer.wait {
        Wait::No => {}
        Wait::Some(pause) => tokio::time::sleep(pause).await,
        Wait::Until(mut opened) => {
            // A gate that was dropped is open.
            let _ = opened.wait_for(|is_open| *is_open).await;
        }
        Wait::ForEver => pending().await,
    }
    match (answer.act, reply) {
        (Act::CutAnswer, _) => Ok(Response::new(AnswerBody::Cut(Step::Head))),
        (_, None) => Err(HangUp),
        (_, Some(reply)) => Ok(response(reply)),
    }
}

fn judge(answer: &Answer, received: &mut Received) -> Option<Reply> {
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
        Err(error) => {
            Some(Reply { status: 400, headers: Vec::new(), body: format!("the body can't be decoded: {error}") })
        }
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

fn response(reply: Reply) -> Response<AnswerBody> {
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    response.body(AnswerBody::Whole(reply.body.into())).expect("a test gives statuses and headers that can be sent")
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
