//! `h2` as a server or a client, with raw frames on the other side. Everything is polled by hand,
//! so nothing waits and no runtime is needed.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::FutureExt as _;
use h2::client::{self, ResponseFuture, SendRequest};
use h2::server::{self, SendResponse};
use h2::{RecvStream, SendStream};
use http::Request;
use tokio::io::{AsyncRead as _, AsyncWrite as _, DuplexStream, ReadBuf, duplex};

use super::frames::{self, ACK, Frame, SETTINGS, frame};

/// Room for all that one side writes in a test.
const ROOM_BYTES: usize = 1 << 22;

/// An accepted request, and the handle to answer it.
pub(crate) type Accepted = (Request<RecvStream>, SendResponse<Bytes>);

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// Polls a future once. Returns true if it waits.
pub(crate) fn waits<F: Future + Unpin>(future: &mut F) -> bool {
    Pin::new(future).poll(&mut context()).is_pending()
}

/// Polls a future once. It must be ready.
pub(crate) fn now<F: Future>(future: F) -> F::Output {
    future.now_or_never().expect("it is ready")
}

/// The other side of `h2`.
pub(crate) struct Peer {
    io: DuplexStream,
    unparsed: Vec<u8>,
}

impl Peer {
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let written = Pin::new(&mut self.io).poll_write(&mut context(), bytes);
        // A closed connection takes nothing more.
        assert!(!matches!(written, Poll::Ready(Ok(count)) if count < bytes.len()), "{written:?}");
        assert!(written.is_ready(), "there is no room");
    }

    /// Takes the frames that `h2` has written.
    pub(crate) fn frames(&mut self) -> Vec<Frame> {
        let mut bytes = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            let read = Pin::new(&mut self.io).poll_read(&mut context(), &mut buffer);
            if read.is_pending() || buffer.filled().is_empty() {
                break;
            }
            self.unparsed.extend_from_slice(buffer.filled());
        }
        std::iter::from_fn(|| Frame::take(&mut self.unparsed)).collect()
    }

    /// The frames that `h2` has written, as text, without SETTINGS and WINDOW_UPDATE.
    pub(crate) fn seen(&mut self) -> Vec<String> {
        let frames = self.frames().into_iter();
        let kept = frames.filter(|frame| ![SETTINGS, frames::WINDOW_UPDATE].contains(&frame.kind));
        kept.map(|frame| frame.to_string()).collect()
    }
}

/// `h2` as a server.
pub(crate) struct Server {
    connection: server::Connection<DuplexStream, Bytes>,
    pub(crate) peer: Peer,
}

impl Server {
    pub(crate) fn new() -> Self {
        Self::with(&server::Builder::new())
    }

    pub(crate) fn with(builder: &server::Builder) -> Self {
        let (near, io) = duplex(ROOM_BYTES);
        let mut peer = Peer { io, unparsed: Vec::new() };
        peer.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        peer.send(&frame(SETTINGS, 0, 0, &[]));
        peer.send(&frame(SETTINGS, ACK, 0, &[]));
        let connection = now(builder.handshake(near)).expect("a preface was sent");
        let mut server = Self { connection, peer };
        assert!(server.accept().is_empty());
        server.peer.frames();
        server
    }

    /// Sends bytes to the server, and returns the requests that it accepts.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Vec<Accepted> {
        self.peer.send(bytes);
        self.accept()
    }

    /// Polls the server until it waits or has ended, and returns the requests that it accepts.
    pub(crate) fn accept(&mut self) -> Vec<Accepted> {
        let mut accepted = Vec::new();
        while let Poll::Ready(Some(Ok(request))) = self.connection.poll_accept(&mut context()) {
            accepted.push(request);
        }
        accepted
    }

    /// Sends bytes to the server, and returns the frames that it answers with.
    pub(crate) fn answers(&mut self, bytes: &[u8]) -> Vec<String> {
        let accepted = self.receive(bytes);
        let seen = self.peer.seen();
        drop(accepted);
        seen
    }
}

/// `h2` as a client.
pub(crate) struct Client {
    pub(crate) sender: Option<SendRequest<Bytes>>,
    pub(crate) connection: client::Connection<DuplexStream, Bytes>,
    pub(crate) peer: Peer,
}

impl Client {
    /// A client that has received SETTINGS.
    pub(crate) fn new() -> Self {
        Self::with(&client::Builder::new(), &frame(SETTINGS, 0, 0, &[]))
    }

    pub(crate) fn with(builder: &client::Builder, settings: &[u8]) -> Self {
        let mut client = Self::before_settings(builder);
        client.receive(settings);
        client.receive(&frame(SETTINGS, ACK, 0, &[]));
        client.peer.frames();
        client
    }

    pub(crate) fn before_settings(builder: &client::Builder) -> Self {
        let (near, io) = duplex(ROOM_BYTES);
        let (sender, connection) = now(builder.handshake(near)).expect("the preface is written");
        let mut client =
            Self { sender: Some(sender), connection, peer: Peer { io, unparsed: Vec::new() } };
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let mut read = [0; 24];
        let mut buffer = ReadBuf::new(&mut read);
        let polled = Pin::new(&mut client.peer.io).poll_read(&mut context(), &mut buffer);
        assert!(polled.is_ready() && buffer.filled() == preface);
        client
    }

    /// Sends a request without content. A new handle never waits for room for a stream.
    pub(crate) fn get(&self) -> ResponseFuture {
        let request = Request::get("http://a/").body(()).expect("valid");
        self.request(request, true).0
    }

    pub(crate) fn request(
        &self,
        request: Request<()>,
        is_over: bool,
    ) -> (ResponseFuture, SendStream<Bytes>) {
        let mut sender = self.sender.clone().expect("not dropped");
        sender.send_request(request, is_over).expect("accepted")
    }

    /// Polls the connection. Returns true once it has ended.
    pub(crate) fn poll(&mut self) -> bool {
        // The second poll sees what the first one has caused.
        (0..2).any(|_| !waits(&mut self.connection))
    }

    /// Sends bytes to the client. Returns true once its connection has ended.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> bool {
        self.peer.send(bytes);
        self.poll()
    }

    /// Sends bytes to the client, and returns the frames that it answers with.
    pub(crate) fn answers(&mut self, bytes: &[u8]) -> Vec<String> {
        self.receive(bytes);
        self.peer.seen()
    }
}
