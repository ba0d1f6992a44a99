//! Connections, and the answers on them.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Channel};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tonic::{Code, Status};

use super::connection::{Line, Wire};
use super::payload::{Payload, Signal};
use super::reply::{Act, Content, Reply};
use super::request::{ReceivedRequest, Taken, Transport};
use super::{grpc, over_http};
use crate::script::Script;

pub(super) type AnswerBody = UnsyncBoxBody<Bytes, Infallible>;

/// What a request carries, before it is read.
pub(super) struct Message {
    pub(super) bytes: Bytes,
    pub(super) wire_size: usize,
    pub(super) compression: Option<String>,
}

type Told = Arc<Script<Reply, ReceivedRequest>>;

/// HTTP/1.1 and HTTP/2, whichever the client begins with.
pub(super) async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, script: Told) {
    let line = Arc::new(Line::default());
    let wire = Wire::new(stream, Arc::clone(&line));
    let serving = async {
        match tls {
            None => serve(wire, Arc::clone(&line), script).await,
            Some(acceptor) => match acceptor.accept(wire).into_fallible().await {
                Ok(stream) => serve(stream, Arc::clone(&line), script).await,
                // Invalid bytes would have the connection reset, and the alert lost.
                Err((_, mut wire)) => {
                    let _ = tokio::io::copy(&mut wire, &mut tokio::io::sink()).await;
                }
            },
        }
    };
    tokio::select! {
        () = serving => {}
        () = line.is_cut() => {}
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    line: Arc<Line>,
    script: Told,
) {
    let service = service_fn(move |request| {
        let (line, script) = (Arc::clone(&line), Arc::clone(&script));
        async move { Ok::<_, Infallible>(answer(line, &script, request).await) }
    });
    // Clients end connections as they like.
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    line: Arc<Line>,
    script: &Told,
    request: Request<Incoming>,
) -> Response<AnswerBody> {
    let (head, mut body) = request.into_parts();
    let is_grpc = head
        .headers
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    let path = head.uri.path().to_owned();
    let (transport, signal) = match is_grpc {
        true => (Transport::Grpc, Signal::of_grpc(&path)),
        false => (Transport::Http, Signal::of_http(&path)),
    };
    let Some(signal) = signal else {
        return stray(transport, path, head.headers, script);
    };
    let answer = script.next();
    let raw = match answer.act {
        Act::CutRequest => first_part(&mut body).await,
        _ => match body.collect().await {
            Ok(body) => body.to_bytes(),
            // The client has hung up.
            Err(_) => return Response::default(),
        },
    };
    let (received, reply) = read(&answer, signal, transport, path, head.headers, &raw);
    script.keep(received);

    answer.wait.over().await;
    match (answer.act, reply) {
        (Act::CutAnswer, _) => half_an_answer(line, transport),
        (_, Some(reply)) => transport.response(signal, reply),
        (_, None) => {
            line.cut();
            pending().await
        }
    }
}

fn read(
    answer: &Reply,
    signal: Signal,
    transport: Transport,
    path: String,
    headers: HeaderMap,
    raw: &Bytes,
) -> (ReceivedRequest, Option<Content>) {
    let (wire_size, unread) = (raw.len(), |why: &str| Payload::Invalid(why.to_owned()));
    let mut received = ReceivedRequest {
        transport,
        path,
        payload: unread("the receiver hung up while it was read"),
        headers,
        wire_size,
        compression: None,
        code: None,
        taken: Taken::Nothing,
    };
    if matches!(answer.act, Act::CutRequest) {
        return (received, None);
    }
    let read = transport.message(&received.headers, raw).and_then(|message| {
        let payload = signal.decode(&message.bytes).map_err(|error| {
            let text = format!("no OTLP: {error}");
            Content::Status(if transport == Transport::Grpc {
                Status::internal(text)
            } else {
                Status::invalid_argument(text)
            })
        })?;
        Ok((message, payload))
    });
    let reply = match read {
        Ok((message, payload)) => {
            let (reply, taken) = answer.judge(&payload, &message.bytes);
            received.payload = payload;
            received.taken = taken;
            received.wire_size = message.wire_size;
            received.compression = message.compression;
            reply
        }
        Err(reply) => {
            received.payload = unread(&reply.text());
            Some(reply)
        }
    };
    received.code = reply.as_ref().and_then(Content::code);
    (received, reply)
}

/// A request to somewhere else is kept, and the script goes on with the next one.
fn stray(
    transport: Transport,
    path: String,
    headers: HeaderMap,
    script: &Told,
) -> Response<AnswerBody> {
    let status = Status::unimplemented(format!("nothing of OTLP is at {path}"));
    script.keep(ReceivedRequest {
        transport,
        payload: Payload::Invalid(status.message().to_owned()),
        path,
        headers,
        wire_size: 0,
        compression: None,
        code: Some(Code::Unimplemented),
        taken: Taken::Nothing,
    });
    // What the signal is doesn't matter for a status.
    transport.response(Signal::Logs, Content::Status(status))
}

async fn first_part(body: &mut Incoming) -> Bytes {
    match body.frame().await {
        Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
        _ => Bytes::new(),
    }
}

/// So many bytes of an answer that is twice as long. They outweigh the heads around them, so that
/// the client has part of the body when they are out.
const HALF: usize = 4096;

fn half_an_answer(line: Arc<Line>, transport: Transport) -> Response<AnswerBody> {
    let begun = line.written();
    let half = match transport {
        Transport::Grpc => grpc::announced(2 * HALF, &[0; HALF]),
        Transport::Http => Bytes::from_static(&[0; HALF]),
    };
    let (mut sender, body) = Channel::new(1);
    tokio::spawn(async move {
        if sender.send_data(half).await.is_ok() {
            line.has_written(begun + HALF as u64).await;
            line.cut();
        }
    });
    let mut response = Response::new(body.boxed_unsync());
    match transport {
        Transport::Grpc => response.headers_mut().insert(CONTENT_TYPE, grpc::CONTENT),
        Transport::Http => response.headers_mut().insert(CONTENT_LENGTH, (2 * HALF).into()),
    };
    response
}

impl Transport {
    fn message(self, headers: &HeaderMap, raw: &Bytes) -> Result<Message, Content> {
        match self {
            Self::Grpc => grpc::message(headers, raw).map_err(Content::Status),
            Self::Http => over_http::message(headers, raw),
        }
    }

    fn response(self, signal: Signal, reply: Content) -> Response<AnswerBody> {
        match self {
            Self::Grpc => grpc::response(signal, reply),
            Self::Http => over_http::response(signal, reply),
        }
    }
}
