//! Connections of an OTLP receiver.

use std::future::pending;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
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

use super::connection::{ConnectionControl, CountingStream};
use super::message::{Message, ResponseBody};
use super::payload::{Payload, Signal};
use super::reply::{Action, Content, Reply};
use super::request::{Accepted, ReceivedRequest, Transport};
use super::{grpc, over_http};
use crate::script::Script;

type SharedScript = Arc<Script<Reply, ReceivedRequest>>;

/// Serves HTTP/1.1 or HTTP/2, as the client chooses, on one connection until it is closed.
pub(super) async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, script: SharedScript) {
    let control = Arc::new(ConnectionControl::default());
    let stream = CountingStream::new(stream, Arc::clone(&control));
    let serving = async {
        match tls {
            None => serve(stream, Arc::clone(&control), script).await,
            Some(acceptor) => match acceptor.accept(stream).into_fallible().await {
                Ok(stream) => serve(stream, Arc::clone(&control), script).await,
                // A close with unread bytes resets the connection, and the client loses the alert.
                Err((_, mut stream)) => {
                    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                }
            },
        }
    };
    tokio::select! {
        () = serving => {}
        () = control.close_requested() => {}
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    control: Arc<ConnectionControl>,
    script: SharedScript,
) {
    let service = service_fn(move |request| {
        let (control, script) = (Arc::clone(&control), Arc::clone(&script));
        async move { respond(control, &script, request).await }
    });
    // The result is an error if the client hangs up.
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// Responds to a request.
///
/// # Errors
/// If the stream of the request is to be reset.
async fn respond(
    control: Arc<ConnectionControl>,
    script: &SharedScript,
    request: Request<Incoming>,
) -> io::Result<Response<ResponseBody>> {
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
        return Ok(unknown_path(transport, path, head.headers, script));
    };
    let mut reply = script.next();
    let raw = match reply.action {
        Action::CloseMidRequest => first_chunk(&mut body).await,
        _ => match body.collect().await {
            Ok(body) => body.to_bytes(),
            // The client has hung up.
            Err(_) => return Ok(Response::default()),
        },
    };
    let (received, content) = evaluate(&mut reply, signal, transport, path, head.headers, &raw);
    script.record(received);

    reply.delay.elapsed().await;
    match (reply.action, content) {
        (Action::CloseMidResponse, _) => Ok(partial_response(control, transport)),
        (Action::ResetStream, _) => Err(io::Error::other("the script resets the stream")),
        (_, Some(content)) => Ok(transport.response(signal, content)),
        (_, None) => {
            control.close();
            pending().await
        }
    }
}

/// Decodes a request, chooses the reply and evaluates it. Returns the request to record, and the
/// response.
fn evaluate(
    reply: &mut Reply,
    signal: Signal,
    transport: Transport,
    path: String,
    headers: HeaderMap,
    raw: &Bytes,
) -> (ReceivedRequest, Option<Content>) {
    let (wire_size, invalid) = (raw.len(), |reason: &str| Payload::Invalid(reason.to_owned()));
    let mut received = ReceivedRequest {
        transport,
        path,
        payload: invalid("the script closed the connection in the middle of the request"),
        headers,
        wire_size,
        compression: None,
        code: None,
        accepted: Accepted::Nothing,
    };
    if matches!(reply.action, Action::CloseMidRequest) {
        return (received, None);
    }
    let decoded = transport.message(&received.headers, raw).and_then(|message| {
        let payload = signal.decode(&message.bytes).map_err(|error| {
            let text = format!("the message is not valid OTLP: {error}");
            Content::Status(if transport == Transport::Grpc {
                Status::internal(text)
            } else {
                Status::invalid_argument(text)
            })
        })?;
        Ok((message, payload))
    });
    let content = match decoded {
        Ok((message, payload)) => {
            received.payload = payload;
            received.wire_size = message.wire_size;
            received.compression = message.compression;
            *reply = reply.clone().resolved(&received);
            let (content, accepted) = reply.evaluate(&received, &message.bytes);
            received.accepted = accepted;
            content
        }
        Err(content) => {
            received.payload = invalid(&content.text());
            Some(content)
        }
    };
    received.code = content.as_ref().and_then(Content::code);
    (received, content)
}

/// Records a request to a path outside OTLP, without taking a reply from the script.
fn unknown_path(
    transport: Transport,
    path: String,
    headers: HeaderMap,
    script: &SharedScript,
) -> Response<ResponseBody> {
    let status = Status::unimplemented(format!("no OTLP service at {path}"));
    script.record(ReceivedRequest {
        transport,
        payload: Payload::Invalid(status.message().to_owned()),
        path,
        headers,
        wire_size: 0,
        compression: None,
        code: Some(Code::Unimplemented),
        accepted: Accepted::Nothing,
    });
    // The encoding of a status is the same for all signals.
    transport.response(Signal::Logs, Content::Status(status))
}

async fn first_chunk(body: &mut Incoming) -> Bytes {
    match body.frame().await {
        Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
        _ => Bytes::new(),
    }
}

/// Number of bytes that are sent of a response that announces twice as many.
///
/// It exceeds the size of the response's head, so that the client has a part of the body once this
/// number of bytes is written.
const HALF: usize = 4096;

/// Sends half of the announced body, then closes the connection.
fn partial_response(
    control: Arc<ConnectionControl>,
    transport: Transport,
) -> Response<ResponseBody> {
    let start = control.written();
    let half = match transport {
        Transport::Grpc => grpc::framed(2 * HALF, &[0; HALF]),
        Transport::Http => Bytes::from_static(&[0; HALF]),
    };
    let (mut sender, body) = Channel::new(1);
    tokio::spawn(async move {
        if sender.send_data(half).await.is_ok() {
            control.has_written(start + HALF as u64).await;
            control.close();
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

    fn response(self, signal: Signal, content: Content) -> Response<ResponseBody> {
        match self {
            Self::Grpc => grpc::response(signal, content),
            Self::Http => over_http::response(signal, content),
        }
    }
}
