//! Clients of Baton: HTTP/2 with prior knowledge, and HTTP/1.1.

use std::future::poll_fn;
use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Ping, PingPong, RecvStream, SendStream};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Mutex;

use super::within;
use crate::system::{TcpStream, spawn};

/// A complete response.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: StatusCode,
    /// The header fields.
    pub(crate) headers: HeaderMap,
    /// The whole body.
    pub(crate) body: Bytes,
    /// The trailer fields, if any.
    pub(crate) trailers: Option<HeaderMap>,
}

impl Answer {
    /// A header field as text; empty if missing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }
}

/// A request head with the absolute URI that HTTP/2 clients use.
pub(crate) fn head(method: Method, path: &str, id: &str) -> Request<()> {
    Request::builder()
        .method(method)
        .uri(format!("http://front.test{path}"))
        .header("x-request-id", id)
        .body(())
        .expect("a valid head")
}

/// One HTTP/2 connection to Baton.
pub(crate) struct Http2 {
    send: SendRequest<Bytes>,
    ping: Mutex<PingPong>,
    /// Completes when the connection ends.
    pub(crate) closed: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

impl Http2 {
    /// Connects with prior knowledge.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let tcp = connect(address).await;
        Self::over(tcp).await
    }

    /// Speaks HTTP/2 over an open connection.
    pub(crate) async fn over<Io>(io: Io) -> Self
    where
        Io: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let mut builder = h2::client::Builder::new();
        builder.enable_push(false);
        let handshake = within("HTTP/2 handshake with Baton", builder.handshake(io));
        let (send, mut connection) = handshake.await.expect("Baton speaks HTTP/2");
        let ping = connection.ping_pong().expect("taken only once");
        let closed = spawn(connection);
        Self { send, ping: Mutex::new(ping), closed }
    }

    /// Starts a request. Its body follows unless `complete`.
    pub(crate) async fn begin(
        &self,
        head: Request<()>,
        complete: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        let mut send = within("room for a stream", self.send.clone().ready()).await?;
        send.send_request(head, complete)
    }

    /// Sends a whole request and reads the whole response.
    pub(crate) async fn send(
        &self,
        head: Request<()>,
        body: impl Into<Bytes>,
    ) -> Result<Answer, h2::Error> {
        let body = body.into();
        let (response, mut stream) = self.begin(head, body.is_empty()).await?;
        if !body.is_empty() {
            // A response may arrive before the whole body is sent; then only the response counts.
            let _ = send_all(&mut stream, body, true).await;
        }
        let response = within("the response head", response).await?;
        read_answer(response).await
    }

    /// Sends a GET and reads the whole response.
    pub(crate) async fn get(&self, path: &str) -> Result<Answer, h2::Error> {
        self.send(head(Method::GET, path, path), Bytes::new()).await
    }

    /// A PING round trip: everything sent before it has arrived.
    pub(crate) async fn ping(&self) {
        let mut ping = self.ping.lock().await;
        let pong = within("Baton answers a PING", ping.ping(Ping::opaque())).await;
        pong.expect("the connection lives");
    }
}

/// Opens a TCP connection to Baton.
pub(crate) async fn connect(address: SocketAddr) -> TcpStream {
    let tcp = within("TCP connection to Baton", TcpStream::connect(address)).await;
    let tcp = tcp.expect("Baton listens");
    tcp.set_nodelay(true).expect("a connected socket takes the option");
    tcp
}

/// The admin interface's answer to a `GET` of this path, which must be a 200.
pub(crate) async fn ask(admin: SocketAddr, path: &str) -> String {
    let answer = Http1::connect(admin).await.get(path).await;
    let answer = answer.expect("the admin interface answers");
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    String::from_utf8(answer.body.to_vec()).expect("text")
}

/// Sends all of `body`, as flow control allows.
pub(crate) async fn send_all(
    stream: &mut SendStream<Bytes>,
    mut body: Bytes,
    last: bool,
) -> Result<(), h2::Error> {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let room = within("room to send", poll_fn(|context| stream.poll_capacity(context))).await;
        let Some(room) = room.transpose()? else { return Err(h2::Reason::CANCEL.into()) };
        let piece = body.split_to(room.min(body.len()));
        stream.send_data(piece, last && body.is_empty())?;
    }
    Ok(())
}

/// Reads one non-empty chunk of a body and releases its flow-control capacity.
pub(crate) async fn read_chunk(body: &mut RecvStream) -> Result<Option<Bytes>, h2::Error> {
    while let Some(chunk) = within("more of the body", body.data()).await.transpose()? {
        body.flow_control().release_capacity(chunk.len())?;
        if !chunk.is_empty() {
            return Ok(Some(chunk));
        }
    }
    Ok(None)
}

/// Reads a whole response.
pub(crate) async fn read_answer(response: Response<RecvStream>) -> Result<Answer, h2::Error> {
    let (parts, mut stream) = response.into_parts();
    let mut body = Vec::new();
    while let Some(chunk) = read_chunk(&mut stream).await? {
        body.extend_from_slice(&chunk);
    }
    let trailers = within("trailers or the end", stream.trailers()).await?;
    Ok(Answer { status: parts.status, headers: parts.headers, body: body.into(), trailers })
}

/// One HTTP/1.1 connection to Baton.
pub(crate) struct Http1 {
    send: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
}

impl Http1 {
    /// Connects.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::over(connect(address).await).await
    }

    /// Speaks HTTP/1.1 over an open connection.
    pub(crate) async fn over<Io>(io: Io) -> Self
    where
        Io: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(io));
        let (send, connection) = handshake.await.expect("the handshake sends nothing");
        spawn(connection);
        Self { send }
    }

    /// Sends a whole request and reads the whole response.
    pub(crate) async fn send(
        &mut self,
        mut head: Request<()>,
        body: impl Into<Bytes>,
    ) -> Result<Answer, hyper::Error> {
        // An HTTP/1.1 client sends the origin form, and the host in a field.
        let target = head.uri().path_and_query().expect("URIs of tests have a path").clone();
        let host = head.uri().host().map(|host| host.parse().expect("a valid host"));
        *head.uri_mut() = target.into();
        if let Some(host) = host {
            head.headers_mut().insert("host", host);
        }
        within("room for a request", self.send.ready()).await?;
        let request = head.map(|()| Full::new(body.into()));
        let response = within("the response head", self.send.send_request(request)).await?;
        let (parts, body) = response.into_parts();
        let collected = within("the whole body", body.collect()).await?;
        let trailers = collected.trailers().cloned();
        let body = collected.to_bytes();
        Ok(Answer { status: parts.status, headers: parts.headers, body, trailers })
    }

    /// Sends a GET and reads the whole response.
    pub(crate) async fn get(&mut self, path: &str) -> Result<Answer, hyper::Error> {
        self.send(head(Method::GET, path, path), Bytes::new()).await
    }
}
