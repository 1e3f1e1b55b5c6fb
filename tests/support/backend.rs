//! A scripted HTTP/2-over-TLS backend, based on the h2 crate.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Mutex;

use bytes::Bytes;
use http::Request;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use super::certificate::acceptor;
use super::exchange::Exchange;
use super::within;
use crate::system::{TcpListener, TcpStream, spawn};

/// The requests and frames that a backend has received so far. Tests wait for conditions on it.
#[derive(Default)]
pub(crate) struct Seen {
    /// TCP connections accepted.
    pub(crate) connections: usize,
    /// Request heads, in the order in which they arrived.
    pub(crate) heads: Vec<Request<()>>,
    /// Streams open now, by connection.
    pub(crate) open: BTreeMap<usize, usize>,
    /// The maximum of streams open at once on one connection.
    pub(crate) most_open: usize,
    /// Number of executions of each request, by id.
    pub(crate) executed: BTreeMap<String, usize>,
    /// Reset codes received, one per reset stream.
    pub(crate) resets: Vec<h2::Reason>,
    /// Body bytes received, summed over all streams.
    pub(crate) received_bytes: usize,
    /// Body bytes sent within flow control, summed over all streams.
    pub(crate) sent_bytes: usize,
}

impl Seen {
    /// Streams open now.
    pub(crate) fn open(&self) -> usize {
        self.open.values().sum()
    }
}

/// The behaviour of a backend's connections, independent of requests.
#[derive(Clone, Copy, Default)]
pub(crate) struct Behaviour {
    /// SETTINGS_MAX_CONCURRENT_STREAMS; not announced if `None`.
    pub(crate) max_streams: Option<u32>,
    /// Number of requests after which a connection sends GOAWAY, in two steps.
    pub(crate) goaway_after: Option<usize>,
    /// Flow-control window of each stream; RFC 9113's default if `None`.
    pub(crate) window: Option<u32>,
    /// SETTINGS_MAX_HEADER_LIST_SIZE; not announced if `None`.
    pub(crate) header_list: Option<u32>,
    /// Plain TCP instead of TLS (h2c).
    pub(crate) cleartext: bool,
}

type Handler = dyn Fn(Exchange) -> Pin<Box<dyn Future<Output = ()>>>;

/// State shared by all connections and exchanges of a backend.
pub(crate) struct Shared {
    pub(crate) seen: watch::Sender<Seen>,
    behaviour: Behaviour,
    handler: Box<Handler>,
    go_away: broadcast::Sender<()>,
    connections: Mutex<Vec<JoinHandle<()>>>,
}

/// A running backend, on the test's runtime.
pub(crate) struct Backend {
    /// The address it listens on.
    pub(crate) address: SocketAddr,
    shared: Rc<Shared>,
    listener: Option<JoinHandle<()>>,
}

impl Backend {
    /// Starts a backend that passes every request to `handler`.
    pub(crate) async fn start<F, Answering>(behaviour: Behaviour, handler: F) -> Self
    where
        F: Fn(Exchange) -> Answering + 'static,
        Answering: Future<Output = ()> + 'static,
    {
        let shared = Rc::new(Shared {
            seen: watch::Sender::default(),
            behaviour,
            handler: Box::new(move |exchange| Box::pin(handler(exchange))),
            go_away: broadcast::Sender::new(16),
            connections: Mutex::default(),
        });
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut backend = Self { address: any_port, shared, listener: None };
        backend.listen().await;
        backend
    }

    /// Answers every request at once with 200 and the request's id as body.
    pub(crate) async fn healthy() -> Self {
        Self::start(Behaviour::default(), |exchange| async {
            let body = exchange.id();
            exchange.answer(200, body).await;
        })
        .await
    }

    /// Answers every request with 200 and its own body.
    pub(crate) async fn echo() -> Self {
        Self::start(Behaviour::default(), Exchange::echo).await
    }

    /// Passes every request to `handler` once the returned gate is open.
    pub(crate) async fn gated<F, Answering>(handler: F) -> (Self, watch::Sender<bool>)
    where
        F: Fn(Exchange) -> Answering + 'static,
        Answering: Future<Output = ()> + 'static,
    {
        let gate = watch::Sender::new(false);
        let opening = gate.clone();
        let handler = Rc::new(handler);
        let backend = Self::start(Behaviour::default(), move |exchange| {
            let (mut gate, handler) = (gate.subscribe(), Rc::clone(&handler));
            async move {
                if gate.wait_for(|open| *open).await.is_ok() {
                    handler(exchange).await;
                }
            }
        });
        (backend.await, opening)
    }

    /// The URL for `--backend`.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.shared.behaviour.cleartext { "h2c" } else { "https" };
        format!("{scheme}://{}", self.address)
    }

    /// Listens; after [`Backend::stop`], on the same port as before.
    pub(crate) async fn listen(&mut self) {
        assert!(self.listener.is_none(), "it is not listening yet");
        let listener = TcpListener::bind(self.address).await.expect("the port is free");
        self.address = listener.local_addr().expect("it is bound");
        self.listener = Some(spawn(accept(listener, Rc::clone(&self.shared))));
    }

    /// Stops listening and cuts every connection, as if the process was killed.
    pub(crate) async fn stop(&mut self) {
        if let Some(listener) = self.listener.take() {
            end(listener).await;
        }
        self.cut_connections().await;
    }

    /// Cuts every connection without GOAWAY, and keeps listening.
    pub(crate) async fn cut_connections(&self) {
        let connections =
            std::mem::take(&mut *self.shared.connections.lock().expect("the lock is not poisoned"));
        for connection in connections {
            end(connection).await;
        }
    }

    /// Drains every connection with GOAWAY, in two steps.
    pub(crate) fn go_away(&self) {
        // Sending fails if there is no connection.
        self.shared.go_away.send(()).expect("there are connections");
    }

    /// Reads what the backend has received so far.
    pub(crate) fn seen<T>(&self, read: impl FnOnce(&Seen) -> T) -> T {
        read(&self.shared.seen.borrow())
    }

    /// Waits until what the backend has received satisfies a condition.
    pub(crate) async fn wait_until(&self, what: &str, holds: impl FnMut(&Seen) -> bool) {
        let mut seen = self.shared.seen.subscribe();
        let waited = within(what, seen.wait_for(holds)).await;
        drop(waited.expect("the sender lives as long as self"));
    }
}

async fn end(task: JoinHandle<()>) {
    task.abort();
    // An aborted task ends with a JoinError, which is expected.
    let _ = task.await;
}

async fn accept(listener: TcpListener, shared: Rc<Shared>) {
    loop {
        let Ok((tcp, _)) = listener.accept().await else { continue };
        let mut number = 0;
        shared.seen.send_modify(|seen| {
            number = seen.connections;
            seen.connections += 1;
        });
        let go_away = shared.go_away.subscribe();
        let connection = spawn(greet(Rc::clone(&shared), tcp, number, go_away));
        shared.connections.lock().expect("the lock is not poisoned").push(connection);
    }
}

async fn greet(
    shared: Rc<Shared>,
    tcp: TcpStream,
    number: usize,
    go_away: broadcast::Receiver<()>,
) {
    tcp.set_nodelay(true).expect("a connected socket takes the option");
    if shared.behaviour.cleartext {
        return serve(shared, tcp, number, go_away).await;
    }
    let Ok(tls) = acceptor(&["h2"]).accept(tcp).await else { return };
    serve(shared, tls, number, go_away).await;
}

async fn serve<Io>(shared: Rc<Shared>, io: Io, number: usize, mut go_away: broadcast::Receiver<()>)
where
    Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let behaviour = shared.behaviour;
    let mut builder = h2::server::Builder::new();
    if let Some(max_streams) = behaviour.max_streams {
        builder.max_concurrent_streams(max_streams);
    }
    if let Some(most) = behaviour.header_list {
        builder.max_header_list_size(most);
    }
    if let Some(window) = behaviour.window {
        builder.initial_window_size(window).initial_connection_window_size(window);
    }
    let Ok(mut connection) = builder.handshake::<_, Bytes>(io).await else { return };
    let mut ordinal = 0;
    loop {
        tokio::select! {
            biased;
            Ok(()) = go_away.recv() => connection.graceful_shutdown(),
            accepted = connection.accept() => {
                let Some(Ok((request, respond))) = accepted else { return };
                ordinal += 1;
                if behaviour.goaway_after == Some(ordinal) {
                    connection.graceful_shutdown();
                }
                let exchange = Exchange::new(request, respond, number, &shared);
                let answering = (shared.handler)(exchange);
                spawn(answering);
            }
        }
    }
}
